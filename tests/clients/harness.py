"""The harness of the client tests: a real `pangea` process on free ports with drives in a temporary directory.

PANGEA_BIN names the binary. Every script is a list of checks run by `main`; the first that fails ends the script with
exit 1 and the server's log. A script that hangs is ended by its own alarm, and no server outlives its script.
"""

import argparse
import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.request
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

ACCESS_KEY = "PANGEATESTACCESSKEY0"
SECRET_KEY = "pangea/test+secret/key0123456789abcdefgh"

KIB = 1 << 10
MIB = 1 << 20

READY_SECONDS = 60
STOP_SECONDS = 60
REFUSE_SECONDS = 60
COMMAND_SECONDS = 300
LOG_TAIL_BYTES = 16 * KIB
READY_POLL_SECONDS = 0.05


class Failed(AssertionError):
    """A check that does not hold; the message says what was expected."""


def check(holds, message):
    """Raises unless `holds`."""
    if not holds:
        raise Failed(message)


def equal(got, wanted, what):
    """Raises unless both are equal; long values are cut."""
    if got != wanted:
        raise Failed(f"{what}: got {shorten(got)}, wanted {shorten(wanted)}")


def same_bytes(got, wanted, what):
    """Raises unless both byte strings are equal, and says where they part."""
    if got == wanted:
        return
    at = next((i for i, (a, b) in enumerate(zip(got, wanted)) if a != b), min(len(got), len(wanted)))
    raise Failed(f"{what}: {len(got)} bytes instead of {len(wanted)}, first difference at {at}")


def shorten(value):
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:400]}… ({len(text)} characters)"


@contextlib.contextmanager
def refused(code, status, what):
    """The body must raise a ClientError with this S3 code (or one of several) and this HTTP status."""
    codes = (code,) if isinstance(code, str) else code
    try:
        yield
    except ClientError as error:
        got = (error.response["Error"].get("Code"), error.response["ResponseMetadata"]["HTTPStatusCode"])
        check(got[0] in codes and got[1] == status, f"{what}: refused with {got}, wanted {codes} and {status}")
        return
    raise Failed(f"{what}: accepted, wanted a refusal with {codes}")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def random_bytes(rng, size):
    """`size` bytes that repeat with the seed."""
    return rng.randbytes(size)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def binary():
    path = os.environ.get("PANGEA_BIN")
    if not path or not os.access(path, os.X_OK):
        raise Failed(f"PANGEA_BIN must name the pangea binary, it is {path!r}")
    return path


def clean_environment(**more):
    """The environment without anything of this machine's own S3, proxy or Pangea settings."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "PANGEA_")) and not name.lower().endswith("_proxy")
    }
    return {**kept, **more}


class Server:
    """One `pangea server` over some drive directories; survives restarts with its ports and its log."""

    def __init__(self, drives, work, args=()):
        self.drives = [str(drive) for drive in drives]
        self.args = list(args)
        self.log = Path(work) / "server.log"
        self.port, self.admin_port = free_port(), free_port()
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.admin = f"http://127.0.0.1:{self.admin_port}"
        self.process = None

    def command(self):
        listen = ["--listen", f"127.0.0.1:{self.port}", "--admin-listen", f"127.0.0.1:{self.admin_port}"]
        return [binary(), "server", *self.drives, *listen, *self.args]

    def environment(self):
        return clean_environment(PANGEA_ROOT_ACCESS_KEY=ACCESS_KEY, PANGEA_ROOT_SECRET_KEY=SECRET_KEY)

    def launch(self, prefix=()):
        """Starts it and does not wait."""
        check(self.process is None, "the server runs already")
        # The kernel ends the server when this process dies, however that happens.
        guard = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                [*guard, *prefix, *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
            )

    def start(self, prefix=()):
        """Starts it and waits until it is ready."""
        self.launch(prefix)
        started = time.monotonic()
        while time.monotonic() - started < READY_SECONDS:
            status = self.process.poll()
            if status is not None:
                self.process = None
                raise Failed(f"the server ended with {status} instead of getting ready\n{self.log_tail()}")
            if self.http_status("/health/ready") == 200:
                return self
            time.sleep(READY_POLL_SECONDS)
        self.kill()
        raise Failed(f"the server was not ready within {READY_SECONDS} s\n{self.log_tail()}")

    def http_status(self, path):
        """The status the admin port answers with; None when it does not answer."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            return opener.open(self.admin + path, timeout=5).status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def http_text(self, path):
        """The text the admin port answers with."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        return opener.open(self.admin + path, timeout=30).read().decode()

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """SIGTERM; the server must end by itself, with exit 0."""
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"the server did not end within {STOP_SECONDS} s of SIGTERM") from None
        self.process = None
        equal(status, 0, "exit after SIGTERM")

    def kill(self):
        """SIGKILL, to this one process."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def refuses_to_start(self, *words, prefix=(), command=None):
        """The start must fail by itself: exit other than 0, one of `words` in its output, no panic."""
        result = subprocess.run(
            [*prefix, *(command or self.command())],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self.environment(),
            timeout=REFUSE_SECONDS,
            check=False,
        )
        text = result.stdout.decode(errors="replace")
        check(result.returncode > 0, f"wanted a refusal, got exit {result.returncode}\n{text}")
        check("panicked" not in text, f"a panic is no error message\n{text}")
        found = any(word.lower() in text.lower() for word in words)
        check(found, f"the message names none of {words}:\n{text}")
        print(f"    refused: {text.strip().splitlines()[-1][:200]}")

    def log_tail(self):
        if not self.log.exists():
            return "(no log)"
        text = self.log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace")
        return f"--- server log ---\n{text}\n--- end of log ---"

    def client(self, retry=True, **config):
        """A boto3 client with default settings; without `retry` each request is made once."""
        if not retry:
            config["retries"] = {"total_max_attempts": 1}
            config.setdefault("connect_timeout", 10)
            config.setdefault("read_timeout", 60)
        session = boto3.session.Session(
            aws_access_key_id=config.pop("access_key", ACCESS_KEY),
            aws_secret_access_key=config.pop("secret_key", SECRET_KEY),
            region_name="us-east-1",
        )
        return session.client("s3", endpoint_url=self.endpoint, config=Config(**config) if config else None)

    def operator(self, *command):
        """An operator command against the running server; its standard output."""
        return run_pangea([*command, "--admin", self.admin])

    def status(self):
        """`pangea status --json`, read."""
        return json.loads(self.operator("status", "--json"))

    def wait_until_whole(self, seconds=120):
        """Waits until status says that every stripe has all its shards: top-level `"whole": true`."""
        started = time.monotonic()
        while True:
            status = self.status()
            check(isinstance(status.get("whole"), bool), f"status has no boolean `whole`: {shorten(status)}")
            if status["whole"]:
                return status
            waited = time.monotonic() - started
            check(waited < seconds, f"still not whole after {waited:.0f} s: {json.dumps(status)[:2000]}")
            time.sleep(0.5)


def run_pangea(command):
    """Runs the binary with these arguments; exit other than 0 is a failure that shows its output."""
    result = subprocess.run(
        [binary(), *map(str, command)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=clean_environment(),
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        raise Failed(f"pangea {command[0]} ended with {result.returncode}: {result.stderr.decode(errors='replace')}")
    return result.stdout.decode()


def make_drives(work, count, name="drive"):
    """`count` empty directories; directories are drives."""
    drives = [Path(work) / f"{name}{number}" for number in range(count)]
    for drive in drives:
        drive.mkdir()
    return drives


def files_below(directory):
    return sorted(path for path in Path(directory).rglob("*") if path.is_file())


def sqlite_files(drives):
    """The SQLite databases below the drives, known by their first bytes, with their journals."""
    found = []
    for path in (path for drive in drives for path in files_below(drive)):
        with open(path, "rb") as file:
            if file.read(16) == b"SQLite format 3\0":
                found.append(path)
                found.extend(Path(f"{path}{end}") for end in ("-wal", "-shm", "-journal"))
    found = [path for path in found if path.exists()]
    check(found, "there is no SQLite file below the drives")
    return found


def extent_files(drive):
    found = [path for path in files_below(drive) if path.parent.name == "extents"]
    check(found, f"{drive} has no extents")
    return found


def boto_list(client, bucket, **more):
    """All keys of a bucket, through the paginator."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, **more)
    return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


def read_object(client, bucket, key, **more):
    return client.get_object(Bucket=bucket, Key=key, **more)["Body"].read()


@contextlib.contextmanager
def workspace():
    """A temporary directory, removed at the end."""
    work = tempfile.mkdtemp(prefix="pangea-test-", dir=os.environ.get("TMPDIR"))
    try:
        yield Path(work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def serving(server):
    """The server, started; its log is printed when the body fails, and it is killed at the end."""
    try:
        yield server.start()
    except BaseException:
        print(server.log_tail(), flush=True)
        raise
    finally:
        server.kill()


@contextlib.contextmanager
def running(drive_count=1, args=(), work=None):
    """A ready server over fresh drives; its log is printed when the body fails."""
    with contextlib.ExitStack() as stack:
        work = work or stack.enter_context(workspace())
        server = Server(make_drives(work, drive_count), work, args)
        yield stack.enter_context(serving(server))


class Arguments(argparse.ArgumentParser):
    """Every script takes --seed and --seconds; the seed is printed, so that a run can be repeated."""

    def __init__(self, text, seconds):
        super().__init__(description=text)
        self.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
        self.add_argument("--seconds", type=int, default=seconds, help="the script fails when it takes longer")


def too_late(_signal, _frame):
    raise Failed("the script took longer than its --seconds")


def main(checks, arguments):
    """Runs the checks, functions of the parsed arguments, in order and ends the process.

    A check that returns a string was skipped for that reason.
    """
    args = arguments.parse_args()
    signal.signal(signal.SIGALRM, too_late)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    signal.alarm(args.seconds)
    print(f"seed {args.seed}", flush=True)
    for function in checks:
        name = re.sub("_", " ", function.__name__)
        started = time.monotonic()
        try:
            skipped = function(args)
        except Exception:
            traceback.print_exc()
            print(f"  FAILED {name} (repeat with --seed {args.seed})", flush=True)
            os._exit(1)
        took = time.monotonic() - started
        print(f"  skipped {name}: {skipped}" if skipped else f"  ok {name} ({took:.1f} s)", flush=True)
    sys.exit(0)
