"""A forwarding proxy that leads every host name to one server: so clients can be given virtual-host names without DNS."""

import contextlib
import os
import socket
import threading

HEAD_BYTES_MAX = 64 << 10
PIECE_BYTES = 256 << 10


@contextlib.contextmanager
def leading_to(port):
    """A proxy to 127.0.0.1:`port`; gives its URL. Its threads end with their connections."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, args=(listener, port), daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def accept(listener, port):
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=serve, args=(client, port), daemon=True).start()


def serve(client, port):
    with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", port)) as server:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < HEAD_BYTES_MAX:
            piece = client.recv(PIECE_BYTES)
            if not piece:
                return
            head += piece
        if head.startswith(b"CONNECT "):
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        else:
            server.sendall(rewritten(head))
        back = threading.Thread(target=copy, args=(server, client), daemon=True)
        back.start()
        copy(client, server, rewritten if not head.startswith(b"CONNECT ") else bytes)
        back.join()


def rewritten(data):
    """`GET http://host/path` becomes `GET /path`; other bytes stay. Heads of later requests start their pieces."""
    line, end, rest = data.partition(b"\r\n")
    words = line.split(b" ")
    if not end or len(words) != 3 or not words[1].startswith(b"http://"):
        return data
    path = b"/" + words[1].split(b"/", 3)[3] if words[1].count(b"/") > 2 else b"/"
    return b" ".join((words[0], path, words[2])) + end + rest


def copy(source, target, change=bytes):
    with contextlib.suppress(OSError):
        while piece := source.recv(PIECE_BYTES):
            target.sendall(change(piece))
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def environment(url):
    """The variables by which clients find it."""
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    return {**{name: url for name in names}, "no_proxy": "", "NO_PROXY": os.devnull}
