"""The power goes at any moment: what a real server really wrote and flushed below its file systems is recorded, and the
server is started on what a power cut may leave of it. Everything that was acknowledged before the cut must be there.

    clients -> pangea -> ext4 or xfs -> loop device -> recorder (a file system in user space, `recorder.py`)

The clients note after each answer how much the recorder has seen: in every state from there on the answer must hold. All
drives lose power at the same moment and each loses other writes. Then the kernel repairs the file systems and the server
starts; one time in four the power goes again meanwhile. Needs root, FUSE and loop devices; elsewhere it is skipped and says
so. `--states 800` is the long form (`cargo xtask soak power`).
"""

import contextlib
import json
import mmap
import os
import random
import shutil
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path

from botocore.exceptions import ClientError

import drives
from harness import Arguments, Failed, MIB, Server, check, main, workspace
from promises import BUCKET, SIZES_SMALL, Book, Load, Lost, Reader

# Sparse: only what is written takes memory.
DRIVE_BYTES = 1024 * MIB
WRITERS = 5
ANSWER_SECONDS = 60
UNMOUNT_SECONDS = 20
AGAIN_SECONDS_MAX = 0.25
FAILURES_MAX = 10
# One flush in so many is a busy one.
BUSY_PART = 8
SHAPES = [(1, "1+0", "ext4"), (4, "2+2", "ext4"), (4, "2+2", "xfs"), (6, "4+2", "ext4")]
MAKE = {
    # Nothing is left to be initialised later, by a thread of the kernel.
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K"],
}
# A state is a copy of the one before it, which the mount namespace of somebody else may still hold.
MOUNT = {"ext4": ["-t", "ext4"], "xfs": ["-t", "xfs", "-o", "nouuid"]}
REPAIR = {"ext4": ["e2fsck", "-fy"], "xfs": ["xfs_repair", "-L"]}
UNSAFE_STATES = 12
# Syncs that do nothing once the file exists that UNSYNCED names.
UNSAFE = """
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static int off(void) { return access(getenv("UNSYNCED"), F_OK) == 0; }
int fsync(int f) { return off() ? 0 : (int)syscall(SYS_fsync, f); }
int fdatasync(int f) { return off() ? 0 : (int)syscall(SYS_fdatasync, f); }
int syncfs(int f) { return off() ? 0 : (int)syscall(SYS_syncfs, f); }
"""


def why_not():
    """Why it cannot run here; None if it can."""
    return drives.no_loop_devices() or (None if os.path.exists("/dev/fuse") else "needs /dev/fuse")


def run(*command):
    return subprocess.run([str(word) for word in command], check=True, capture_output=True, text=True).stdout.strip()


def unmount(mount):
    """A process that was killed may hold files a moment longer."""
    started = time.monotonic()
    while subprocess.run(["umount", mount], check=False, capture_output=True).returncode:
        if time.monotonic() - started > UNMOUNT_SECONDS:
            subprocess.run(["umount", "-l", mount], check=False)
            raise Failed(f"{mount} is still in use")
        time.sleep(0.02)


class Recorder:
    """The process that stands for all drives, and orders to it."""

    def __init__(self, work):
        self.mount, control, moment = work / "recorder", work / "control", work / "moment"
        self.mount.mkdir()
        moment.write_bytes(bytes(8))
        script = Path(__file__).parent / "recorder.py"
        command = [sys.executable, script, self.mount, control, moment]
        self.process = subprocess.Popen([str(word) for word in command], stdout=subprocess.PIPE, text=True)
        check(self.process.stdout.readline() == "ready\n", "the recorder did not start")
        self.peer = socket.socket(socket.AF_UNIX)
        self.peer.settimeout(ANSWER_SECONDS)
        self.peer.connect(str(control))
        self.lines = self.peer.makefile("rwb")
        with open(moment, "rb") as file:
            self.counter = mmap.mmap(file.fileno(), 8, prot=mmap.PROT_READ)

    def moment(self):
        """How many writes and flushes of the recording it has remembered."""
        return struct.unpack_from("<Q", self.counter)[0]

    def order(self, verb, name, **more):
        self.lines.write(json.dumps({"verb": verb, "name": name, **more}).encode() + b"\n")
        self.lines.flush()
        answer = self.lines.readline()
        check(answer, "the recorder died")
        return json.loads(answer)

    def close(self):
        subprocess.run(["umount", "-l", self.mount], check=False)
        self.peer.close()
        self.process.kill()
        self.process.wait()


class Machine:
    """Drives behind the recorder, the file systems on them, and a server on those."""

    def __init__(self, work, recorder, count, code, fs):
        self.fs, self.name = fs, f"{count} drives, {code}, {fs}"
        self.recorder, self.mounts = recorder, [work / f"drive{number}" for number in range(count)]
        for mount in self.mounts:
            mount.mkdir()
        self.server = Server(self.mounts, work, ["--erasure", code])
        self.devices, self.repaired = [], 0

    def make(self, work):
        images = [str(work / f"image{number}") for number in range(len(self.mounts))]
        for image in images:
            with open(image, "wb") as file:
                file.truncate(DRIVE_BYTES)
            run(*MAKE[self.fs], image)
        self.recorder.order("record", "run", images=images)
        for image in images:
            os.unlink(image)

    def attach(self, name):
        """Mounts the drives of a recording; the kernel repairs what the power cut left."""
        for number, mount in enumerate(self.mounts):
            file = self.recorder.mount / f"{name}-{number}"
            self.devices.append(run("losetup", "-f", "--show", "--direct-io=off", file))
            try:
                run("mount", *MOUNT[self.fs], self.devices[-1], mount)
            except subprocess.CalledProcessError:
                # What was torn is more than the kernel repairs by itself: the operator's remedy.
                subprocess.run([*REPAIR[self.fs], self.devices[-1]], check=False, capture_output=True)
                self.repaired += 1
                run("mount", *MOUNT[self.fs], self.devices[-1], mount)

    def detach(self):
        self.server.kill()
        for mount in self.mounts:
            if mount.is_mount():
                unmount(mount)
        for device in self.devices:
            subprocess.run(["losetup", "-d", device], check=False)
        self.devices = []

    def flushes_pass_through(self):
        """An fsync on the file system must come out below as a flush, or the test would prove nothing."""
        for mount in self.mounts:
            before = len(self.recorder.order("log", "run")["flushes"])
            with open(mount / "probe", "wb") as file:
                file.write(b"probe")
                file.flush()
                os.fsync(file.fileno())
            check(len(self.recorder.order("log", "run")["flushes"]) > before, f"a sync of {mount} flushes no drive")
            os.unlink(mount / "probe")
            if (mount / "lost+found").exists():
                (mount / "lost+found").rmdir()


@contextlib.contextmanager
def machine(count, code, fs="ext4"):
    with workspace() as work, contextlib.closing(Recorder(work)) as recorder:
        it = Machine(work, recorder, count, code, fs)
        try:
            it.make(work)
            yield it
        except BaseException:
            print(it.server.log_tail(), flush=True)
            raise
        finally:
            it.detach()


def start(it, prefix=()):
    """A server on fresh drives, with a bucket; gives the moment from which on everything must be kept."""
    it.attach("run")
    it.flushes_pass_through()
    it.server.start(prefix)
    it.server.client().create_bucket(Bucket=BUCKET)
    return it.recorder.moment()


def record(it, args, first, restart=True):
    """Clients work on a server that is killed once in between; gives the book, and the moments it is about."""
    book = Book(it.recorder.moment)
    load, reader = Load(it.server, book, args.seed, WRITERS, SIZES_SMALL), Reader(it.server, book)
    if restart:
        with load:
            time.sleep(args.load_seconds / 2)
            it.server.kill()
        it.server.start()
        reader.judge(confirm=True)
    ended = sum(writer.ended for writer in load.writers)
    with load:
        time.sleep(args.load_seconds / 2)
    check(sum(writer.ended for writer in load.writers) == ended, "a request failed and nothing was wrong")
    log = it.recorder.order("log", "run")
    it.detach()
    flushes = [(at, waiting) for at, waiting in log["flushes"] if at >= first]
    print(
        f"    recorded {book.acknowledged()} acknowledged requests, {log['moment'] - first} writes and flushes,"
        f" {len(flushes)} of them flushes",
        flush=True,
    )
    return book, reader, flushes, log["moment"]


class Tally:
    """What was tried."""

    def __init__(self, quiet):
        self.quiet, self.failures, self.fates = quiet, [], {}
        self.states, self.again, self.keys = 0, 0, 0

    def add(self, fates):
        for fate, count in fates.items():
            self.fates[fate] = self.fates.get(fate, 0) + count

    def __str__(self):
        fates = ", ".join(f"{count} {fate}" for fate, count in sorted(self.fates.items()))
        return f"{self.states} states ({self.again} after a second cut), unflushed writes: {fates}; {self.keys} keys read"


def moments(rng, flushes, end, count):
    """Moments at and between flushes, evenly over the recording: just before a flush, just after it, or until the next. Every
    other one is just before a flush that finds much to do."""
    busy = sorted(sorted(flushes, key=lambda flush: flush[1])[-max(1, len(flushes) // BUSY_PART) :])
    chosen = []
    for turn in range(count):
        if turn % 2:
            chosen.append(busy[turn * len(busy) // count][0])
            continue
        number = turn * len(flushes) // count
        before = flushes[number][0]
        after = flushes[number + 1][0] if number + 1 < len(flushes) else end
        chosen.append(rng.choice([before, before + 1, rng.randint(before + 1, after)]))
    return sorted(chosen)


def try_states(it, args, states, recorded, quiet=False):
    _, reader, flushes, end = recorded
    tally = Tally(quiet)
    for turn, at in enumerate(moments(random.Random(args.seed), flushes, end, states)):
        seed = f"{args.seed} {it.name} {turn}"
        rng = random.Random(seed)
        tally.add(it.recorder.order("cut", "run", at=at, seed=seed, **{"as": "cut"})["fates"])
        names = ["cut"]
        try:
            it.attach("cut")
            if rng.random() < 0.25:
                cut_again(it, rng, tally)
                names.append("again")
            it.server.start()
            tally.keys += reader.judge(at)
        except (Lost, Failed, subprocess.CalledProcessError) as error:
            tally.failures.append(error)
            if not tally.quiet:
                print(f"    NOT KEPT: state {turn} of {states}, cut at {at} of {end}: {str(error)[:2000]}", flush=True)
        finally:
            it.detach()
            for name in names:
                it.recorder.order("drop", name)
        tally.states += 1
        if len(tally.failures) >= FAILURES_MAX:
            break
        if tally.states % 50 == 0:
            print(f"    {tally}", flush=True)
    return tally


def cut_again(it, rng, tally):
    """The server starts, and the power goes before or after it is ready: at any write of the repair or of the start."""
    it.server.launch()
    time.sleep(rng.uniform(0, AGAIN_SECONDS_MAX))
    moment = it.recorder.order("log", "cut")["moment"]
    it.detach()
    tally.again += 1
    order = {"at": rng.randint(0, moment), "seed": str(rng.random()), "as": "again"}
    tally.add(it.recorder.order("cut", "cut", **order)["fates"])
    it.attach("again")


def acknowledged_requests_survive_power_cuts(args):
    why = why_not()
    if why:
        return why
    chosen = SHAPES if args.drives is None else [shape for shape in SHAPES if shape[0] == args.drives]
    for count, code, fs in chosen:
        if not shutil.which(MAKE[fs][0]):
            print(f"    left out: {count} drives, {code}, {fs}: needs {MAKE[fs][0]}", flush=True)
            continue
        with machine(count, code, fs) as it:
            print(f"    {it.name}", flush=True)
            recorded = record(it, args, start(it))
            tally = try_states(it, args, -(-args.states // len(chosen)), recorded)
            print(f"    {tally}; file systems repaired by hand {it.repaired}; {len(tally.failures)} not kept", flush=True)
            check(not tally.failures, f"{len(tally.failures)} of {tally.states} states did not keep a promise")
    return None


def a_server_that_does_not_sync_is_found_out(args):
    """The test can fail: with syncs that do nothing, losses are found."""
    why = why_not() or (None if shutil.which("cc") else "needs a C compiler")
    if why:
        return why
    with machine(1, "1+0") as it:
        source, library = it.mounts[0].parent / "unsafe.c", it.mounts[0].parent / "unsafe.so"
        source.write_text(UNSAFE)
        run("cc", "-shared", "-fPIC", "-o", library, source)
        flag = source.with_name("unsynced")
        first = start(it, ["env", f"LD_PRELOAD={library}", f"UNSYNCED={flag}"])
        flag.touch()
        recorded = record(it, args, first, restart=False)
        tally = try_states(it, args, UNSAFE_STATES, recorded, quiet=True)
        lost = [error.count for error in tally.failures if isinstance(error, Lost)]
        check(lost, f"{tally.states} states, and nobody noticed that nothing is synced")
        print(f"    nothing was synced: {len(tally.failures)} of {tally.states} states found out, {sum(lost)} keys lost", flush=True)
    return None


def writes_go_on(server):
    """Waits until a write is taken; gives how long that was."""
    started, s3 = time.monotonic(), server.client(retry=False)
    while True:
        try:
            s3.put_object(Bucket="drives", Key="goes on", Body=b"")
            return time.monotonic() - started
        except ClientError as error:
            waited = time.monotonic() - started
            check(waited < drives.DETECT_SECONDS, f"nothing is written {waited:.0f} s after a drive was named: {error}")
            time.sleep(0.1)


def a_drive_is_pulled_in_mid_write(args):
    """From one write on, of which half arrives, everything that is asked of one drive fails. If it is the one with the view of
    the metadata, clients are told to come back while that is opened elsewhere; else they notice nothing."""
    why = why_not()
    if why:
        return why
    rng = random.Random(args.seed)
    with machine(4, "2+2") as it:
        start(it)
        load = drives.Load(it.server, args.seed)
        load.fill(copies=1)
        pulled = rng.randrange(len(it.mounts))
        with load:
            time.sleep(1)
            it.recorder.order("pull", "run", drive=pulled, after=rng.randint(1, 50))
            states = ["failed", "read-only", "missing"]
            took = drives.wait_for(it.server, it.mounts[pulled], states, drives.DETECT_SECONDS, "the pulled drive")
            reason = drives.state_of(it.server, it.mounts[pulled])["reason"]
            print(f"    drive {pulled} was pulled, and named after {took:.1f} s: {reason}", flush=True)
            took = writes_go_on(it.server)
            print(f"    writes go on after {took:.1f} s more", flush=True)
            time.sleep(1)
        others = [failure for failure in load.failures if "SlowDown" not in failure]
        check(not others, f"requests failed while a drive was pulled: {others[:3]}")
        print(f"    {len(load.failures)} requests were answered 503 SlowDown meanwhile", flush=True)
        load.exact("while a drive was pulled")
        it.server.kill()
        it.server.start()
        load.exact("after a start without the pulled drive")
    return None


CHECKS = [
    a_drive_is_pulled_in_mid_write,
    a_server_that_does_not_sync_is_found_out,
    acknowledged_requests_survive_power_cuts,
]

if __name__ == "__main__":
    arguments = Arguments(__doc__, seconds=600)
    arguments.add_argument("--states", type=int, default=48, help="over all shapes together")
    arguments.add_argument("--load-seconds", type=float, default=6)
    arguments.add_argument("--drives", type=int, choices=sorted({shape[0] for shape in SHAPES}), help="only these shapes")
    main(CHECKS, arguments)
