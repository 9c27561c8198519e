"""SIGKILL in mid-load, many times: what was acknowledged is there afterwards, byte-exact.

Each writer owns its keys, so that for every key the allowed states are known: the last acknowledged one, and those of
attempts after it that got no answer.
"""

import io
import random
import threading
import time

from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from harness import KIB, MIB, Arguments, boto_list, check, main, random_bytes, running, sha256

WRITERS = 6
KEYS_EACH = 40
SIZES = [0, 1, 4 * KIB, 4 * KIB + 1, 60 * KIB, 300 * KIB, 2 * MIB, 6 * MIB]
# Part sizes for the uploads in parts; small, so that a kill falls between parts often.
PARTS = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, use_threads=False)
LOAD_SECONDS_MAX = 1.5
GONE = None


class Writer:
    """Puts, overwrites and deletes its own keys, and remembers what was acknowledged."""

    def __init__(self, number, seed):
        self.number = number
        self.rng = random.Random(f"{seed} {number}")
        # Per key: the digests (GONE for absent) it may have; the acknowledged one first.
        self.allowed = {}
        self.acknowledged = 0
        self.unexpected = None

    def run(self, client, stop):
        """Writes until `stop` is set or the server is gone."""
        while not stop.is_set():
            key = f"w{self.number}/{self.rng.randrange(KEYS_EACH):02}"
            body = random_bytes(self.rng, self.rng.choice(SIZES)) if self.rng.random() < 0.85 else GONE
            state = GONE if body is GONE else sha256(body)
            self.allowed.setdefault(key, [GONE]).append(state)
            try:
                self.send(client, key, body)
            except ClientError as error:
                # While the server dies it may say so; anything else is a fault of its own.
                if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    self.unexpected = error
                return
            except BotoCoreError:
                return
            except Exception as error:
                # The transfer manager wraps a broken connection in errors of its own.
                if not stop.is_set() and "connect" not in str(error).lower():
                    self.unexpected = error
                return
            self.allowed[key] = [state]
            self.acknowledged += 1

    def send(self, client, key, body):
        if body is GONE:
            client.delete_object(Bucket="load", Key=key)
        elif len(body) > 5 * MIB:
            client.upload_fileobj(io.BytesIO(body), "load", key, Config=PARTS)
        else:
            client.put_object(Bucket="load", Key=key, Body=body)

    def verify(self, client, listed):
        """Compares every key with what it may be, and settles on what it is."""
        for key, states in self.allowed.items():
            try:
                state = sha256(client.get_object(Bucket="load", Key=key)["Body"].read())
            except ClientError as error:
                check(error.response["Error"]["Code"] == "NoSuchKey", f"reading {key}: {error}")
                state = GONE
            check(state in states, f"{key} is {state}, allowed are {states} (acknowledged first)")
            check((key in listed) == (state is not GONE), f"{key} is {state} and the listing says otherwise")
            self.allowed[key] = [state]


def acknowledged_objects_survive_kills(args):
    rng = random.Random(args.seed)
    with running(drive_count=6) as server:
        server.client().create_bucket(Bucket="load")
        writers = [Writer(number, args.seed) for number in range(WRITERS)]
        for kill in range(args.kills):
            before = sum(writer.acknowledged for writer in writers)
            load(server, writers, rng.uniform(0.05, LOAD_SECONDS_MAX))
            started = time.monotonic()
            # Every third time it dies again while it recovers.
            if kill % 3 == 2:
                die_while_starting(server, rng.uniform(0.0, 0.3))
            server.start()
            ready = time.monotonic() - started
            client = server.client()
            listed = set(boto_list(client, "load"))
            for writer in writers:
                if writer.unexpected:
                    raise writer.unexpected
                writer.verify(client, listed)
            written = sum(writer.acknowledged for writer in writers) - before
            print(f"    kill {kill + 1}: {written} acknowledged, ready after {ready:.1f} s, all exact", flush=True)
        check(sum(writer.acknowledged for writer in writers) > args.kills, "the load was no load")
        server.operator("scrub", "--now", "--wait")
        server.wait_until_whole()
        server.stop()


def load(server, writers, seconds):
    """Lets all writers run, kills the server after `seconds`, waits for the writers."""
    stop = threading.Event()
    # Each request is made once: a retry after the restart would blur what was acknowledged.
    client = server.client(retry=False, max_pool_connections=WRITERS, read_timeout=30)
    threads = [threading.Thread(target=writer.run, args=(client, stop), daemon=True) for writer in writers]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    check(server.is_running(), "the server died by itself")
    server.kill()
    stop.set()
    for thread in threads:
        thread.join()


def die_while_starting(server, seconds):
    """Starts the server and kills it after `seconds`, ready or not."""
    server.launch()
    time.sleep(seconds)
    server.kill()


CHECKS = [acknowledged_objects_survive_kills]

if __name__ == "__main__":
    arguments = Arguments(__doc__, seconds=1800)
    arguments.add_argument("--kills", type=int, default=50)
    main(CHECKS, arguments)
