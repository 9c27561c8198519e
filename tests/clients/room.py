"""Sixteen large objects written and read back at once, in a control group of 256 MiB.

`--object-mib 1024` is the long form (`cargo xtask soak room`).
"""

import random
import time

from confine import confined
from harness import Arguments, MIB, check, equal, main
from raw import Worker, connect, head, presigned, read_all, read_head

LIMIT_BYTES = 256 * MIB
BUCKET = "room"
CLIENTS = 16
PIECE = MIB
# They begin one after the other, so that some write while others read.
APART_SECONDS = 0.05


def main_arguments():
    arguments = Arguments(__doc__, seconds=240)
    arguments.add_argument("--object-mib", type=int, default=24, help="size of each object")
    arguments.add_argument("--drives", type=int, default=4)
    return arguments


def pieces(number, mib):
    """The bytes of an object, a MiB at a time: cheap to make, never twice the same, not compressible."""
    noise = random.Random(number).randbytes(PIECE)
    for at in range(mib):
        turn = at * 4099 % PIECE
        yield noise[turn:] + noise[:turn]


class Client(Worker):
    """Writes an object and reads it back."""

    def __init__(self, server, number, mib):
        super().__init__()
        self.server, self.number, self.mib = server, number, mib
        self.put = presigned(server, "put_object", BUCKET, f"large-{number}")
        self.get = presigned(server, "get_object", BUCKET, f"large-{number}")

    def work(self):
        time.sleep(self.number * APART_SECONDS)
        with connect(self.server) as sock:
            sock.sendall(head(self.server, "PUT", self.put, self.mib * MIB))
            for piece in pieces(self.number, self.mib):
                sock.sendall(piece)
            status, body = read_all(sock)
            equal(status, 200, f"PUT of object {self.number}, answered {body[:300]}")
            sock.sendall(head(self.server, "GET", self.get))
            status, length, data = read_head(sock)
            equal((status, length), (200, self.mib * MIB), f"GET of object {self.number}")
            self.compare(sock, bytearray(data))

    def compare(self, sock, data):
        for at, piece in enumerate(pieces(self.number, self.mib)):
            while len(data) < PIECE:
                more = sock.recv(PIECE)
                check(more, f"object {self.number} broke off in MiB {at}")
                data += more
            check(data[:PIECE] == piece, f"object {self.number}: other bytes in MiB {at}")
            del data[:PIECE]
        equal(len(data), 0, "bytes behind the end")


def sixteen_large_objects_are_written_and_read_at_once(args):
    with confined(LIMIT_BYTES, args.drives, BUCKET) as server:
        clients = [Client(server, number, args.object_mib) for number in range(CLIENTS)]
        begun = time.monotonic()
        for client in clients:
            client.start()
        for client in clients:
            client.end()
        took = time.monotonic() - begun
        moved = 2 * CLIENTS * args.object_mib
        print(
            f"    {CLIENTS} × {args.object_mib} MiB in and out in {took:.1f} s, {moved / took:.0f} MiB/s;"
            f" {server.rss_bytes() // MIB} MiB of memory at most{server.charged()}",
            flush=True,
        )


if __name__ == "__main__":
    main([sixteen_large_objects_are_written_and_read_at_once], main_arguments())
