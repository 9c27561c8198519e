"""Clients that waste the server's time and memory, in a control group of 256 MiB: good clients go on, memory stays bounded.

10,000 idle connections; heads, bodies and forms that drip; readers that hardly read; uploads that break off.
"""

import contextlib
import random
import resource
import socket
import struct
import threading
import time

from confine import confined
from harness import Arguments, KIB, MIB, check, main
from raw import Worker, connect, head, presigned, read_all

LIMIT_BYTES = 256 * MIB
BUCKET = "stress"
DRIVES = 4
IDLE = 10_000
SPARE_FILES = 1_000
SLOW_HEADS, SLOW_BODIES, SLOW_READERS, SLOW_FORMS = 200, 100, 40, 60
READ_BYTES = 24 * MIB
GOOD_CLIENTS = 6
GOOD_SECONDS = 15
# Far above what is usual, far below what a client would notice as an outage.
GOOD_SECONDS_MAX = 10
FORM = (
    f"POST /{BUCKET} HTTP/1.1\r\nHost: h\r\nContent-Length: 9000\r\n"
    "Content-Type: multipart/form-data; boundary=B\r\n\r\n--B\r\n"
).encode()


class Nuisance(Worker):
    """All connections that hold on to something, driven by one thread."""

    def __init__(self, server):
        super().__init__()
        self.server, self.stopping = server, threading.Event()
        self.put = presigned(server, "put_object", BUCKET, "slow")
        self.get = presigned(server, "get_object", BUCKET, "large")
        self.aborted = 0
        self.idle, self.readers, self.drips = [], [], []

    def open_all(self):
        count = min(IDLE, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FILES)
        if count < IDLE:
            print(f"    {count} idle connections only: this machine allows no more open files", flush=True)
        self.idle = [connect(self.server) for _ in range(count)]
        self.readers = [connect(self.server, small=True) for _ in range(SLOW_READERS)]
        for sock in self.readers:
            sock.sendall(head(self.server, "GET", self.get))
            sock.setblocking(False)
        for count, begin in [
            (SLOW_HEADS, b"GET / HTTP/1.1\r\nHost: h\r\nX-Slow: "),
            (SLOW_BODIES, head(self.server, "PUT", self.put, 64 * MIB)),
            (SLOW_FORMS, FORM),
        ]:
            for _ in range(count):
                sock = connect(self.server)
                sock.sendall(begin)
                sock.setblocking(False)
                self.drips.append(sock)

    def work(self):
        while not self.stopping.wait(0.5):
            # Those that were given up are closed: that is the point.
            for sock in self.drips:
                with contextlib.suppress(OSError):
                    sock.send(b"x")
            for sock in self.readers:
                with contextlib.suppress(OSError):
                    sock.recv(512)
            for _ in range(4):
                self.abort_one()

    def abort_one(self):
        sock = connect(self.server)
        with contextlib.suppress(OSError):
            sock.sendall(head(self.server, "PUT", self.put, 8 * MIB))
            sock.settimeout(2)
            sock.sendall(bytes(random.randrange(3 * MIB)))
        # A reset instead of an orderly end.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
        self.aborted += 1

    def close(self):
        self.stopping.set()
        self.end()
        for sock in [*self.idle, *self.readers, *self.drips]:
            sock.close()


class Good(Worker):
    """A client that writes and reads back, and remembers how long each request took."""

    def __init__(self, server, number, until):
        super().__init__()
        self.server, self.until, self.times = server, until, []
        self.size = 4 * KIB if number % 2 else MIB
        self.put = presigned(server, "put_object", BUCKET, f"good-{number}")
        self.get = presigned(server, "get_object", BUCKET, f"good-{number}")
        self.random = random.Random(number)

    def work(self):
        with connect(self.server) as sock:
            while time.monotonic() < self.until:
                body = self.random.randbytes(self.size)
                self.timed(sock, head(self.server, "PUT", self.put, len(body)) + body, b"")
                self.timed(sock, head(self.server, "GET", self.get), body)

    def timed(self, sock, request, expected):
        started = time.monotonic()
        sock.sendall(request)
        status, body = read_all(sock)
        self.times.append(time.monotonic() - started)
        check(status == 200, f"a good client was answered {status}: {body[:400]}")
        check(body == expected, "a good client read other bytes than it wrote")


def good_clients_go_on_among_ten_thousand_bad_ones(_args):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with confined(LIMIT_BYTES, DRIVES, BUCKET) as server:
        idle_rss = server.rss_bytes("VmRSS")
        server.client().put_object(Bucket=BUCKET, Key="large", Body=random.randbytes(READ_BYTES))
        nuisance = Nuisance(server)
        nuisance.open_all()
        nuisance.start()
        until = time.monotonic() + GOOD_SECONDS
        good = [Good(server, number, until) for number in range(GOOD_CLIENTS)]
        for client in good:
            client.start()
        for client in good:
            client.end()
        nuisance.close()
        times = sorted(took for client in good for took in client.times)
        print(
            f"    {len(nuisance.idle)} idle, {len(nuisance.drips)} dripping, {len(nuisance.readers)} hardly reading,"
            f" {nuisance.aborted} broken off; {len(times)} good requests: p50 {times[len(times) // 2] * 1e3:.1f} ms,"
            f" p99 {times[len(times) * 99 // 100] * 1e3:.0f} ms, slowest {times[-1] * 1e3:.0f} ms; memory"
            f" {idle_rss // MIB} MiB idle, {server.rss_bytes() // MIB} MiB at most{server.charged()}",
            flush=True,
        )
        check(len(times) > 10 * GOOD_CLIENTS, f"only {len(times)} good requests in {GOOD_SECONDS} s")
        check(times[-1] < GOOD_SECONDS_MAX, f"a good request took {times[-1]:.1f} s")


if __name__ == "__main__":
    main([good_clients_go_on_among_ten_thousand_bad_ones], Arguments(__doc__, seconds=240))
