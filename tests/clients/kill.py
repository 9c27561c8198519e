"""SIGKILL in mid-load, many times: what was acknowledged is there afterwards, byte-exact.

One, four and six drives take turns. The server dies at any moment of the load, and every third time again while it starts,
up to three times in a row. `--kills 240` is the long form (`cargo xtask soak kills`).
"""

import random
import time

from harness import Arguments, check, main, running
from promises import BUCKET, SIZES, Book, Load, Reader

WRITERS = 6
LOAD_SECONDS_MAX = 1.5
# A start takes about half of this: some of these kills hit a server that is ready and at work behind the scenes.
START_SECONDS_MAX = 0.25
SHAPES = [(1, "1+0"), (4, "2+2"), (6, "4+2")]


def on_one_drive(args):
    acknowledged_requests_survive_kills(args, *SHAPES[0])


def on_four_drives_2_2(args):
    acknowledged_requests_survive_kills(args, *SHAPES[1])


def on_six_drives_4_2(args):
    acknowledged_requests_survive_kills(args, *SHAPES[2])


def acknowledged_requests_survive_kills(args, drives, code):
    wanted, kills, again = -(-args.kills // len(SHAPES)), 0, 0
    rng = random.Random(f"{args.seed} {code}")
    with running(drive_count=drives, args=["--erasure", code]) as server:
        server.client().create_bucket(Bucket=BUCKET)
        book = Book()
        load, reader = Load(server, book, f"{args.seed} {code}", WRITERS, SIZES), Reader(server, book)
        while kills < wanted:
            before = book.acknowledged()
            with load:
                time.sleep(rng.uniform(0.05, LOAD_SECONDS_MAX))
                check(server.is_running(), "the server died by itself")
                server.kill()
            kills, started = kills + 1, time.monotonic()
            while rng.random() < 1 / 3:
                die_while_starting(server, rng.uniform(0.0, START_SECONDS_MAX))
                kills, again = kills + 1, again + 1
            server.start()
            ready = time.monotonic() - started
            there = reader.judge(confirm=True)
            book.forget_races(server.client())
            written = book.acknowledged() - before
            print(f"    kill {kills}: {written} acknowledged, ready after {ready:.1f} s, {there} keys exact", flush=True)
        check(book.acknowledged() > kills, "the load was no load")
        server.operator("scrub", "--now", "--wait")
        server.wait_until_whole()
        reader.judge(confirm=True)
        server.stop()
        answers = ", ".join(f"{count} {kind}" for kind, count in sorted(book.answers.items()))
        print(f"    {kills} kills, {again} of them during a start; acknowledged: {answers}; 0 lost, 0 wrong", flush=True)


def die_while_starting(server, seconds):
    """Starts the server and kills it after `seconds`, ready or not."""
    server.launch()
    time.sleep(seconds)
    server.kill()


CHECKS = [on_one_drive, on_four_drives_2_2, on_six_drives_4_2]

if __name__ == "__main__":
    arguments = Arguments(__doc__, seconds=1800)
    arguments.add_argument("--kills", type=int, default=60, help="over all shapes together")
    main(CHECKS, arguments)
