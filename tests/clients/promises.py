"""What clients were told, and what may therefore be there after a crash: the load and the judge of `kill.py` and `power.py`.

Every request is remembered with the moment at which it was sent and the moment after which its answer was held. A moment
is a number that never falls; who cuts the power at moment `at` asks for what the answers held by then promise:

* a `Register` (a key of one client): the last answered state, or that of a request under way;
* a `Race` (many clients create one key with If-None-Match): at most one wins, and it is the winner that is found;
* a `Chain` (many clients replace one key with If-Match): every acknowledged replacement is an ancestor of what is found.
"""

import http.client
import random
import threading

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from harness import KIB, MIB, boto_list, check, random_bytes, sha256

BUCKET = "load"
GONE = None
LONG_AGO, FOR_EVER = -1, float("inf")
# (weight, bytes): inline, packed, one chunk, several chunks, in parts.
SIZES = [(1, 0), (2, 1), (5, KIB), (4, 4 * KIB), (4, 4 * KIB + 1), (5, 60 * KIB), (4, 300 * KIB), (3, 2 * MIB), (2, 6 * MIB)]
# Less of what is large, for drives that are small and states that are many.
SIZES_SMALL = [(1, 0), (2, 1), (6, KIB), (4, 4 * KIB), (4, 4 * KIB + 1), (6, 20 * KIB), (4, 60 * KIB), (2, 300 * KIB)]
PART_BYTES = 5 * MIB
KEYS_EACH = 24
READ_SECONDS = 60
SIGNED_SECONDS = 24 * 3600
DELETE_KEYS_MAX = 1000


class Attempt:
    """A request that changes a key: what it makes of it, when it was sent, when its answer was held (None: never)."""

    __slots__ = ("state", "begun", "told", "won", "before")

    def __init__(self, state, begun, before=None):
        self.state, self.begun, self.before = state, begun, before
        self.told, self.won = None, None

    def answer(self, moment, won=True):
        self.told, self.won = moment, won

    def is_known(self, at):
        return self.told is not None and self.told <= at


def absent():
    attempt = Attempt(GONE, LONG_AGO)
    attempt.answer(LONG_AGO)
    return attempt


class Register:
    """A key that one client writes, one request after the other."""

    def __init__(self):
        self.attempts = [absent()]

    def begin(self, state, moment):
        self.attempts.append(Attempt(state, moment))
        return self.attempts[-1]

    def judge(self, found, at):
        """Why `found` cannot be there at moment `at`; None if it can."""
        last = max(n for n, attempt in enumerate(self.attempts) if attempt.is_known(at))
        allowed = [attempt.state for attempt in self.attempts[last:] if attempt.begun <= at]
        return None if found in allowed else f"allowed are {allowed} (acknowledged first)"

    def confirm(self, found, moment):
        """It was read after a restart: requests that got no answer came to this, and what was read stays."""
        last = max(n for n, attempt in enumerate(self.attempts) if attempt.state == found)
        del self.attempts[last + 1 :]
        if self.attempts[last].told is None:
            self.attempts[last].answer(moment)


class Race:
    """A key that several clients try to create, each with If-None-Match."""

    def __init__(self):
        self.attempts = []

    def begin(self, state, moment):
        self.attempts.append(Attempt(state, moment))
        return self.attempts[-1]

    def judge(self, found, at):
        winners = [attempt for attempt in self.attempts if attempt.won]
        if len(winners) > 1:
            return f"{len(winners)} clients were told that they created it"
        possible = winners or [attempt for attempt in self.attempts if attempt.won is None]
        allowed = [attempt.state for attempt in possible if attempt.begun <= at]
        # Who was told that it exists knows that it does.
        if not any(attempt.is_known(at) for attempt in self.attempts):
            allowed.append(GONE)
        return None if found in allowed else f"allowed are {allowed}"

    def confirm(self, found, moment):
        for attempt in self.attempts:
            if attempt.won is None:
                attempt.won = attempt.state == found
                attempt.told = moment if attempt.won else None


class Chain:
    """A key that several clients replace, each naming with If-Match what it replaces."""

    def __init__(self):
        self.attempts = []

    def begin(self, state, moment, before):
        self.attempts.append(Attempt(state, moment, before))
        return self.attempts[-1]

    def judge(self, found, at):
        replaced = [attempt.before for attempt in self.attempts if attempt.won]
        if len(set(replaced)) < len(replaced):
            return "two clients were told that they replaced the same state"
        by_state = {attempt.state: attempt for attempt in self.attempts if attempt.won is not False and attempt.begun <= at}
        ancestors, state = set(), found
        while state is not GONE:
            if state not in by_state:
                return f"{state} was never there, or its writer was refused"
            ancestors.add(state)
            state = by_state[state].before
        lost = [a.state for a in self.attempts if a.is_known(at) and a.won and a.state not in ancestors]
        return f"acknowledged and not among its ancestors: {lost}" if lost else None

    def confirm(self, found, moment):
        by_state = {attempt.state: attempt for attempt in self.attempts if attempt.won is not False}
        while found is not GONE:
            if by_state[found].told is None:
                by_state[found].answer(moment)
            found = by_state[found].before
        for attempt in self.attempts:
            attempt.won = bool(attempt.won)


class Book:
    """All keys, and the answers so far."""

    def __init__(self, moment=lambda: 0):
        self.moment, self.lock = moment, threading.Lock()
        self.registers, self.races, self.chain = {}, {}, Chain()
        self.race, self.answers = 0, {}

    def all(self):
        return {**self.registers, **self.races, "chain": self.chain}

    def count(self, kind):
        with self.lock:
            self.answers[kind] = self.answers.get(kind, 0) + 1

    def acknowledged(self):
        return sum(self.answers.values())

    def register(self, key):
        with self.lock:
            return self.registers.setdefault(key, Register())

    def forget_races(self, client):
        """Deletes what the races left, so that they do not become ever more. From now on nobody wrote those keys."""
        keys = sorted(self.races)
        for at in range(0, len(keys), DELETE_KEYS_MAX):
            objects = [{"Key": key} for key in keys[at : at + DELETE_KEYS_MAX]]
            answer = client.delete_objects(Bucket=BUCKET, Delete={"Objects": objects})
            check(not answer.get("Errors"), f"deleting races: {answer.get('Errors')}")
        self.races = {}

    def next_race(self, rng):
        """A key that others try to create now, or soon."""
        with self.lock:
            self.race += rng.random() < 0.5
            key = f"race/{self.race}"
            return key, self.races.setdefault(key, Race())


class Writer:
    """A client: writes its own keys and takes part in the races, until it is stopped or the server dies."""

    def __init__(self, book, number, seed, sizes):
        self.book, self.number, self.sizes = book, number, sizes
        self.rng = random.Random(f"{seed} {number}")
        self.unexpected, self.ended = None, 0

    def run(self, client, stop):
        deeds = [(10, self.put), (2, self.delete), (1, self.delete_two), (1, self.multipart), (2, self.copy)]
        deeds += [(2, self.create), (2, self.replace)]
        weights, choices = zip(*deeds)
        while not stop.is_set():
            deed = self.rng.choices(choices, weights)[0]
            try:
                deed(client)
                self.book.count(deed.__name__)
            except ClientError as error:
                # A server that dies may say so; anything else is a fault of its own.
                if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    self.unexpected = error
                self.ended += 1
                return
            except (BotoCoreError, HTTPError, OSError):
                self.ended += 1
                return
            except Exception as error:  # told by who started us
                self.unexpected = error
                return

    def key(self):
        return f"w{self.number}/{self.rng.randrange(KEYS_EACH):02}"

    def body(self):
        weights, sizes = zip(*self.sizes)
        return random_bytes(self.rng, self.rng.choices(sizes, weights)[0])

    def begin(self, key, state):
        return self.book.register(key).begin(state, self.book.moment())

    def put(self, client):
        key, body = self.key(), self.body()
        attempt = self.begin(key, sha256(body))
        client.put_object(Bucket=BUCKET, Key=key, Body=body)
        attempt.answer(self.book.moment())

    def delete(self, client):
        key = self.key()
        attempt = self.begin(key, GONE)
        client.delete_object(Bucket=BUCKET, Key=key)
        attempt.answer(self.book.moment())

    def delete_two(self, client):
        keys = sorted({self.key(), self.key()})
        attempts = [self.begin(key, GONE) for key in keys]
        answer = client.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": key} for key in keys]})
        check(not answer.get("Errors"), f"deleting {keys}: {answer.get('Errors')}")
        for attempt in attempts:
            attempt.answer(self.book.moment())

    def multipart(self, client):
        key, parts = self.key(), [random_bytes(self.rng, PART_BYTES), self.body()]
        up = {"Bucket": BUCKET, "Key": key}
        up["UploadId"] = client.create_multipart_upload(**up)["UploadId"]
        sent = [
            {"PartNumber": number, "ETag": client.upload_part(**up, PartNumber=number, Body=part)["ETag"]}
            for number, part in enumerate(parts, 1)
        ]
        attempt = self.begin(key, sha256(b"".join(parts)))
        client.complete_multipart_upload(**up, MultipartUpload={"Parts": sent})
        attempt.answer(self.book.moment())

    def copy(self, client):
        source, key = self.key(), self.key()
        state = self.book.register(source).attempts[-1].state
        if source == key or state is GONE:
            return self.put(client)
        attempt = self.begin(key, state)
        client.copy_object(Bucket=BUCKET, Key=key, CopySource={"Bucket": BUCKET, "Key": source})
        attempt.answer(self.book.moment())
        return None

    def create(self, client):
        key, race = self.book.next_race(self.rng)
        body = random_bytes(self.rng, self.rng.choice([200, 20 * KIB]))
        attempt = race.begin(sha256(body), self.book.moment())
        try:
            client.put_object(Bucket=BUCKET, Key=key, Body=body, IfNoneMatch="*")
            won = True
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise
            won = False
            if error.response["Error"]["Code"] == "ConditionalRequestConflict":
                # It did not create the key, and was not told either that the key is there.
                attempt.won = False
                return
        attempt.answer(self.book.moment(), won)

    def replace(self, client):
        """Reads the chain's end and replaces it, if nobody was quicker."""
        before, tag = GONE, None
        try:
            answer = client.get_object(Bucket=BUCKET, Key="chain")
            before, tag = sha256(answer["Body"].read()), answer["ETag"]
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchKey":
                raise
        body = random_bytes(self.rng, self.rng.choice([300, 9 * KIB]))
        attempt = self.book.chain.begin(sha256(body), self.book.moment(), before)
        condition = {"IfMatch": tag} if tag else {"IfNoneMatch": "*"}
        try:
            client.put_object(Bucket=BUCKET, Key="chain", Body=body, **condition)
            attempt.answer(self.book.moment())
        except ClientError as error:
            if error.response["Error"]["Code"] not in ("PreconditionFailed", "ConditionalRequestConflict"):
                raise
            attempt.answer(self.book.moment(), won=False)


class Load:
    """Writers that write at once."""

    def __init__(self, server, book, seed, writers, sizes):
        self.writers = [Writer(book, number, seed, sizes) for number in range(writers)]
        self.server, self.stop, self.threads = server, threading.Event(), []

    def __enter__(self):
        # Each request is made once: a retry after a restart would blur what was acknowledged.
        client = self.server.client(retry=False, max_pool_connections=len(self.writers), read_timeout=30)
        self.stop.clear()
        self.threads = [threading.Thread(target=w.run, args=(client, self.stop), daemon=True) for w in self.writers]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        for writer in self.writers:
            if writer.unexpected:
                raise writer.unexpected


class Reader:
    """Reads every key of a book back and judges it; cheap enough to do it hundreds of times."""

    def __init__(self, server, book):
        self.server, self.book, self.targets = server, book, {}
        self.signer, self.lister = server.client(signature_version="s3v4"), server.client()

    def read(self, connection, key):
        if key not in self.targets:
            url = self.signer.generate_presigned_url("get_object", Params={"Bucket": BUCKET, "Key": key}, ExpiresIn=SIGNED_SECONDS)
            self.targets[key] = url.removeprefix(self.server.endpoint)
        connection.request("GET", self.targets[key])
        answer = connection.getresponse()
        body = answer.read()
        if answer.status == 404 and b"NoSuchKey" in body:
            return GONE
        check(answer.status == 200, f"GET of {key}: {answer.status} {body[:300]}")
        return sha256(body)

    def judge(self, at=FOR_EVER, confirm=False):
        """Gives how many keys are there; raises where a key is not what was promised by the moment `at`. With `confirm` what
        was read is what the next judgement starts from."""
        listed = set(boto_list(self.lister, BUCKET))
        keys, wrong, there = self.book.all(), [], 0
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=READ_SECONDS)
        for key, promised in sorted(keys.items()):
            try:
                found = self.read(connection, key)
            except AssertionError as error:
                wrong.append(str(error))
                continue
            why = promised.judge(found, at)
            if why:
                wrong.append(f"{key} is {found}: {why}")
            elif confirm:
                promised.confirm(found, self.book.moment())
            if (key in listed) != (found is not GONE):
                wrong.append(f"{key} is {found} and the listing says otherwise")
            there += found is not GONE
        connection.close()
        wrong += [f"{key} is listed and nobody wrote it" for key in listed - set(keys)]
        if wrong:
            raise Lost(wrong)
        return there


class Lost(AssertionError):
    """Promises that were not kept."""

    def __init__(self, wrong):
        super().__init__(f"{len(wrong)} promises were not kept: " + "; ".join(wrong[:5]))
        self.count = len(wrong)
