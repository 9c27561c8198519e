"""Plain sockets that speak S3: for clients that behave as no library would, and for many at once at little cost."""

import socket
import threading
import urllib.parse

from harness import KIB, MIB

SOCKET_SECONDS = 120


def connect(server, small=False):
    """A connection; with `small` one that takes in very little unread."""
    sock = socket.socket()
    if small:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
    sock.settimeout(SOCKET_SECONDS)
    sock.connect(("127.0.0.1", server.port))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def presigned(server, method, bucket, key):
    """The target of a presigned request: what signs costs nothing while the clock runs."""
    signer = server.client(signature_version="s3v4")
    url = signer.generate_presigned_url(method, Params={"Bucket": bucket, "Key": key}, ExpiresIn=24 * 3600)
    parts = urllib.parse.urlsplit(url)
    return f"{parts.path}?{parts.query}"


def head(server, method, target, length=None, more=""):
    lines = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{more}"
    return (lines + (f"Content-Length: {length}\r\n" if length is not None else "") + "\r\n").encode()


def read_head(sock):
    """Status and length of an answer, and what came behind its head; status 0: the connection ended."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = sock.recv(64 * KIB)
        if not more:
            return 0, 0, b""
        data += more
    top, _, rest = data.partition(b"\r\n\r\n")
    lines = top.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines[1:])
    return int(lines[0].split()[1]), int(fields.get("content-length", 0)), rest


def read_all(sock):
    """Status and body of an answer."""
    status, length, data = read_head(sock)
    while len(data) < length:
        more = sock.recv(MIB)
        if not more:
            return 0, data
        data += more
    return status, data


class Worker(threading.Thread):
    """A thread whose error is seen: `work` is what it does."""

    def __init__(self):
        super().__init__(daemon=True)
        self.error = None

    def work(self):
        raise NotImplementedError

    def run(self):
        try:
            self.work()
        except Exception as error:  # raised where it is joined
            self.error = error

    def end(self):
        """Waits for it; raises what it died of."""
        self.join()
        if self.error:
            raise self.error
