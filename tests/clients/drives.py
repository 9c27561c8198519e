"""Drives that come, move, are replaced, leave, vanish and return while clients work: nothing acknowledged is lost.

The checks with a device-level error need root and loop devices; elsewhere they are skipped and say so.
"""

import contextlib
import os
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

from confine import Confined, limited
from harness import KIB, MIB, Arguments, Failed, Server, binary, check, clean_environment, equal
from harness import main, make_drives, random_bytes, read_object, running, same_bytes, serving, workspace

SIZES = [1, 4 * KIB, 20 * KIB, 128 * KIB + 1, 1 * MIB, 6 * MIB + 5]
LIMIT_BYTES = 256 * MIB
DETECT_SECONDS = 30
MOVE_SECONDS = 120


class Load:
    """Clients that write, overwrite, delete and read without a pause; what was acknowledged is remembered."""

    def __init__(self, server, seed, overwrites=True, pause=0.05, bucket="drives"):
        self.server, self.bucket, self.seed, self.overwrites = server, bucket, seed, overwrites
        self.pause = pause
        self.bodies, self.lock = {}, threading.Lock()
        self.failures, self.refused, self.done = [], 0, threading.Event()
        self.threads = []
        server.client().create_bucket(Bucket=bucket)

    def fill(self, copies=4):
        rng, s3 = random.Random(self.seed), self.server.client()
        for size in SIZES:
            for copy in range(copies):
                key, body = f"fill/{size}/{copy}", random_bytes(rng, size)
                s3.put_object(Bucket=self.bucket, Key=key, Body=body)
                self.bodies[key] = body

    def __enter__(self):
        self.done.clear()
        self.threads = [threading.Thread(target=self.work, args=(n,), daemon=True) for n in range(3)]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join(120)
            check(not thread.is_alive(), "a client hangs")

    def work(self, number):
        rng = random.Random(self.seed * 10 + number)
        s3 = self.server.client(retry=False)
        # Not as fast as it goes: what is overwritten keeps its space for a minute.
        while not self.done.wait(self.pause):
            key = f"load/{number}/{rng.randrange(40 if self.overwrites else 1 << 60)}"
            body = random_bytes(rng, rng.choice(SIZES))
            try:
                if self.overwrites and rng.random() < 0.15:
                    with self.lock:
                        self.bodies[key] = None
                    s3.delete_object(Bucket=self.bucket, Key=key)
                else:
                    s3.put_object(Bucket=self.bucket, Key=key, Body=body)
                    with self.lock:
                        self.bodies[key] = body
                with self.lock:
                    # Keys of other clients change under our eyes; our own and those of the filling do not.
                    stable = [k for k, b in self.bodies.items() if b and k.startswith(("fill", f"load/{number}/"))]
                    key = rng.choice(stable) if stable else None
                    wanted = self.bodies.get(key)
                if key:
                    same_bytes(read_object(s3, self.bucket, key), wanted, f"{key} under load")
            except Failed as error:
                self.failures.append(str(error))
                return
            except Exception as error:  # a request that failed: the key holds the old or the new bytes
                self.refused += 1
                self.failures.append(f"{key}: {error!r}")
                with self.lock:
                    self.bodies.pop(key, None)

    def settle(self, when):
        """No request may have failed, and everything that was acknowledged must be exact."""
        check(not self.failures, f"{when}: {len(self.failures)} requests failed: {self.failures[:3]}")
        self.exact(when)

    def exact(self, when):
        s3 = self.server.client()
        for key, body in sorted(self.bodies.items()):
            if body is not None:
                same_bytes(read_object(s3, self.bucket, key), body, f"{key} {when}")


def drive_command(server, *words, refused_with=None):
    """`pangea drive …` in a process of its own; what it says. With `refused_with` it must fail and say that."""
    result = subprocess.run(
        [binary(), *words, "--admin", server.admin],
        capture_output=True,
        text=True,
        env=clean_environment(),
        timeout=MOVE_SECONDS,
        check=False,
    )
    said = result.stdout + result.stderr
    if refused_with is None:
        check(result.returncode == 0, f"{words} ended with {result.returncode}: {said}")
    else:
        check(result.returncode != 0, f"{words} was accepted: {said}")
        check(refused_with in said, f"{words} does not say {refused_with!r}: {said}")
    return said


def unlimited(server):
    server.operator("worker", "limit", "rebalance", "off")


def state_of(server, drive):
    states = {entry["dir"]: entry for entry in server.status()["drives"]}
    return states.get(str(drive), {"state": "gone", "reason": None})


def wait_for(server, drive, states, seconds, what):
    started = time.monotonic()
    while state_of(server, drive)["state"] not in states:
        waited = time.monotonic() - started
        check(waited < seconds, f"{what}: still {state_of(server, drive)} after {waited:.0f} s")
        time.sleep(0.2)
    return time.monotonic() - started


def drives_come_and_go_under_load(args, make=Server, look=lambda _server: None):
    """`make` makes the server, and `look` looks at it before it stops, each time."""
    with workspace() as work:
        drives = make_drives(work, 4)
        # Otherwise the code follows the number of drives, and fewer drives are refused.
        server = make(drives, work, ["--erasure", "2+2"])
        with serving(server):
            unlimited(server)
            # What is overwritten stays on a drained drive for a minute: too long for this test.
            load = Load(server, args.seed, overwrites=False)
            load.fill()
            with load:
                said = drive_command(server, "drive", "add", work / "more0", work / "more1")
                check("Layout 2 is in force" in said, said)
                said = drive_command(server, "drive", "drain", drives[0])
                check("safe to remove" in said, said)
                shutil.rmtree(drives[0])
                said = drive_command(server, "drive", "replace", drives[1], work / "more2")
                check("safe to remove" in said, said)
                check(not (drives[1] / "keys").exists(), "a drive that left still holds the key")
                check(not (drives[1] / "meta").exists(), "a drive that left still holds metadata")
                shutil.rmtree(drives[1])
            load.settle("after drives came and went")
            server.wait_until_whole()
            # The drives that were added need not be named at the next start.
            look(server)
            server.stop()
            server.drives = [str(drive) for drive in drives[2:]]
            server.start()
            equal(len(server.status()["drives"]), 5, "drives after the restart")
            server.wait_until_whole()
            load.exact("after the restart")
            # As robust as the code says: two of the five may go.
            look(server)
            server.stop()
            os.rename(work / "more2", work / "away")
            os.rename(drives[2], f"{drives[2]}.away")
            server.start()
            load.exact("with two drives away")
            look(server)


def drives_come_and_go_in_little_memory(args):
    """The same with 256 MiB, and a scrub on top of it; the page cache counts as the kernel counts it."""
    with limited(LIMIT_BYTES) as (group, reason):
        if reason:
            return reason
        peaks = []

        def make(drives, work, words):
            server = Confined(drives, work, words)
            server.group = group
            return server

        def look(server):
            server.operator("scrub", "--now", "--wait")
            server.keeps_to(LIMIT_BYTES)
            peaks.append(server.rss_bytes() // MIB)
            print(f"    {peaks[-1]} MiB of memory at most{server.charged()}", flush=True)

        drives_come_and_go_under_load(args, make, look)
        equal(len(peaks), 3, "servers that were measured")
    return None


def the_only_drive_is_replaced_and_the_bucket_recoded(args):
    with workspace() as work:
        drives = make_drives(work, 1)
        server = Server(drives, work)
        with serving(server):
            unlimited(server)
            load = Load(server, args.seed, overwrites=False)
            load.fill(copies=1)
            said = drive_command(server, "drive", "replace", drives[0], work / "next")
            check("safe to remove" in said, said)
            server.kill()
            shutil.rmtree(drives[0])
            server.drives = [str(work / "next")]
            server.start()
            load.exact("on the drive that replaced the only one")
            # Three more drives, and what was written as 1+0 survives the loss of two.
            drive_command(server, "drive", "add", work / "a", work / "b", work / "c")
            check("recode" in server.status()["survives"], "status hides data under the old code")
            drive_command(server, "recode", "drives", "1+0", refused_with="--force")
            said = drive_command(server, "recode", "drives", "2+2", "--wait")
            check("all of its data" in said, said)
            load.exact("after recoding")
            os.rename(work / "a", work / "a.away")
            os.rename(work / "c", work / "c.away")
            for away in ("a", "c"):
                wait_for(server, work / away, ["missing"], DETECT_SECONDS, "a drive that is away")
            load.exact("with two of four drives away")


def kills_in_the_middle_of_a_move_lose_nothing(args):
    rng = random.Random(args.seed)
    with running(drive_count=5, args=["--erasure", "3+2"]) as server:
        server.operator("worker", "limit", "rebalance", "40M")
        load = Load(server, args.seed)
        load.fill(copies=10)
        work = Path(server.drives[0]).parent
        drive_command(server, "drive", "add", work / "more0")
        drive_command(server, "drive", "drain", "--no-wait", server.drives[0])
        for _ in range(5):
            time.sleep(rng.uniform(0.1, 1.0))
            server.kill()
            server.start()
        load.exact("after kills during the move")
        unlimited(server)
        wait_for(server, server.drives[0], ["gone"], MOVE_SECONDS, "the drained drive")
        server.wait_until_whole()
        load.exact("after the move")
        # A directory that is still named on the command line, but left, does not disturb a start.
        server.stop()
        server.start()
        check(any("left the cluster" in note for note in server.status()["notes"]), "the start says nothing of it")
        load.exact("after the restart")


def a_drive_that_vanishes_is_named_worked_around_and_taken_back(args):
    with running(drive_count=6) as server:
        load = Load(server, args.seed)
        load.fill()
        away = server.drives[3]
        with load:
            os.rename(away, f"{away}.away")
            took = wait_for(server, away, ["missing"], DETECT_SECONDS, "the vanished drive")
            print(f"    a drive that vanished was named after {took:.1f} s", flush=True)
            metrics = server.http_text("/metrics")
            check('pangea_drive_ok{slot="3"} 0' in metrics, "the metrics do not name the drive")
            time.sleep(2)
            # An empty directory in its place is not taken for it.
            os.mkdir(away)
            time.sleep(5)
            equal(state_of(server, away)["state"], "missing", "with an empty directory in its place")
            shutil.rmtree(away)
            os.rename(f"{away}.away", away)
            took = wait_for(server, away, ["ok"], DETECT_SECONDS, "the drive that came back")
            print(f"    it was taken back after {took:.1f} s", flush=True)
        load.settle("while a drive was away")
        server.wait_until_whole()
        for other in (server.drives[0], server.drives[1], server.drives[2]):
            os.rename(other, f"{other}.away")
        load.exact("from the drive that came back and two others")


def a_stale_copy_of_a_drive_is_brought_up_to_date(args):
    with running(drive_count=4) as server:
        load = Load(server, args.seed)
        load.fill(copies=2)
        server.stop()
        old = server.drives[1]
        shutil.copytree(old, f"{old}.old")
        server.start()
        with load:
            time.sleep(3)
        load.settle("before the drive was rolled back")
        shutil.move(old, f"{old}.new")
        wait_for(server, old, ["missing"], DETECT_SECONDS, "the drive that is exchanged")
        shutil.move(f"{old}.old", old)
        wait_for(server, old, ["ok"], DETECT_SECONDS, "the stale drive")
        server.wait_until_whole()
        os.rename(server.drives[0], f"{server.drives[0]}.away")
        os.rename(server.drives[2], f"{server.drives[2]}.away")
        load.exact("with the stale drive among those that are left")


def another_drive_in_its_place_is_not_taken_for_it(args):
    with running(drive_count=4) as server:
        load = Load(server, args.seed)
        load.fill(copies=1)
        one, other = server.drives[0], server.drives[1]
        os.rename(one, f"{one}.x")
        os.rename(other, one)
        os.rename(f"{one}.x", other)
        for drive in (one, other):
            wait_for(server, drive, ["missing"], DETECT_SECONDS, "a swapped drive")
        load.exact("with two drives swapped")
        os.rename(one, f"{one}.x")
        os.rename(other, one)
        os.rename(f"{one}.x", other)
        for drive in (one, other):
            wait_for(server, drive, ["ok"], DETECT_SECONDS, "a drive that was put back")
        server.wait_until_whole()
        load.exact("with both drives where they belong")


def what_cannot_be_is_refused_and_changes_nothing(args):
    with running(drive_count=3) as server:
        work = Path(server.drives[0]).parent
        (work / "full").mkdir()
        (work / "full" / "holiday.jpg").write_bytes(b"not a drive")
        (work / "file").write_bytes(b"")
        refusals = [
            (["drive", "add", work / "full"], "other files"),
            (["drive", "add", work / "file"], "not a directory"),
            (["drive", "add", work / "no" / "such"], "parent directory does not exist"),
            (["drive", "add", server.drives[0]], "already"),
            (["drive", "add", work / "new", work / "new"], "already"),
            (["drive", "drain", "nonsense"], "there is no drive"),
            (["drive", "drain", "17"], "there is no drive"),
            (["drive", "drain", server.drives[0]], "--force"),
            (["drive", "restore", server.drives[0]], "not being drained"),
            (["drive", "replace", server.drives[0], server.drives[1]], "already"),
            (["layout", "apply", "--code", "9"], "no code"),
            (["layout", "apply"], "no change"),
            (["layout", "apply", "--weight", "0"], "no `=`"),
            (["layout", "apply", "--epoch", "7", "--weight", "0=9"], "plan again"),
            (["worker", "pause", "laziness"], "there is no worker"),
            (["worker", "limit", "scrub", "fast"], "cannot be read"),
        ]
        for words, why in refusals:
            drive_command(server, *words, refused_with=why)
        equal(server.status()["layout"]["epoch"], 1, "the layout after nothing but refusals")
        check((work / "full" / "holiday.jpg").read_bytes() == b"not a drive", "other people's files were touched")
        check(not (work / "new").exists(), "a refused directory was made")
        said = drive_command(server, "layout", "plan", "--add", work / "planned")
        check("nothing was done yet" in said and not (work / "planned").exists(), said)
        # Paces hold over a restart.
        drive_command(server, "worker", "pause", "scrub")
        drive_command(server, "worker", "limit", "garbage", "3M")
        server.kill()
        server.start()
        workers = {worker["name"]: worker for worker in server.status()["workers"]}
        equal(workers["scrub"]["state"], "paused", "the scrub after a restart")
        equal(workers["garbage"]["limit_bytes_per_second"], 3_000_000, "the limit after a restart")


@contextlib.contextmanager
def loop_drive(work, name, megabytes):
    """A file system on a loop device, mounted; its mount point, and the file below it."""
    image, mount = Path(work) / f"{name}.img", Path(work) / name
    mount.mkdir()
    with open(image, "wb") as file:
        file.truncate(megabytes * MIB)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    device = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True).stdout.strip()
    try:
        subprocess.run(["mount", device, mount], check=True)
        (mount / "lost+found").rmdir()
        try:
            yield mount, image
        finally:
            subprocess.run(["umount", "-l", mount], check=False)
    finally:
        subprocess.run(["losetup", "-d", device], check=False)


def no_loop_devices():
    """Why there are none here; None if there are."""
    if os.geteuid() != 0:
        return "needs root"
    if not shutil.which("losetup") or not shutil.which("mkfs.ext4"):
        return "needs losetup and mkfs.ext4"
    found = subprocess.run(["losetup", "-f"], capture_output=True, check=False)
    return None if found.returncode == 0 else "needs loop devices"


def a_drive_that_fails_at_the_device_is_given_up_and_made_whole_elsewhere(args):
    why = no_loop_devices()
    if why:
        return why
    with workspace() as work, contextlib.ExitStack() as stack:
        mounts = [stack.enter_context(loop_drive(work, f"loop{n}", 2000)) for n in range(6)]
        server = Server([mount for mount, _ in mounts], work, ["--erasure", "3+2"])
        with serving(server):
            unlimited(server)
            load = Load(server, args.seed, pause=0.3)
            load.fill()
            broken, image = mounts[2]
            with load:
                # The medium ends in the middle of the device: reads and writes beyond fail with EIO.
                os.truncate(image, 40 * MIB)
                subprocess.run(["losetup", "-c", device_of(broken)], check=False)
                drop_caches()
                took = wait_for(server, broken, ["failed", "read-only", "missing", "draining", "gone"], DETECT_SECONDS, "EIO")
                print(f"    EIO was named after {took:.1f} s: {state_of(server, broken)['reason']}", flush=True)
                # Broken for good: its data is made whole on the others after a minute.
                took = wait_for(server, broken, ["gone"], 200, "the broken drive's data")
                print(f"    it was made whole elsewhere after {took:.0f} s more", flush=True)
            load.settle("while a drive failed")
            server.wait_until_whole()
            load.exact("after the drive was given up")
    return None


def device_of(mount):
    found = subprocess.run(["findmnt", "-n", "-o", "SOURCE", mount], check=True, capture_output=True, text=True)
    return found.stdout.strip()


def drop_caches():
    with contextlib.suppress(OSError):
        Path("/proc/sys/vm/drop_caches").write_text("3")


def a_full_file_system_is_worked_around_and_gives_space_back(args):
    why = no_loop_devices()
    if why:
        return why
    with workspace() as work, contextlib.ExitStack() as stack:
        mounts = [stack.enter_context(loop_drive(work, f"loop{n}", 200)) for n in range(3)]
        server = Server([mount for mount, _ in mounts], work)
        with serving(server):
            s3 = server.client(retry=False)
            s3.create_bucket(Bucket="full")
            rng = random.Random(args.seed)
            bodies, refused = {}, 0
            for number in range(400):
                body = random_bytes(rng, rng.choice([20 * KIB, 2 * MIB]))
                try:
                    s3.put_object(Bucket="full", Key=str(number), Body=body)
                    bodies[str(number)] = body
                except Exception as error:
                    refused += 1
                    check("SlowDown" in str(error) or "InsufficientStorage" in str(error) or "507" in str(error), repr(error))
                    if refused > 5:
                        break
            check(refused > 5, "the drives never filled up")
            for key, body in bodies.items():
                same_bytes(read_object(s3, "full", key), body, f"{key} on full drives")
            # Deleting works on full drives, small objects that share packs included, and room comes back.
            doomed = sorted(bodies)[: len(bodies) * 3 // 4]
            for key in doomed:
                s3.delete_object(Bucket="full", Key=key)
                del bodies[key]
            started = time.monotonic()
            while True:
                server.operator("worker", "run", "repack")
                server.operator("worker", "run", "garbage")
                server.operator("worker", "run", "compaction")
                try:
                    s3.put_object(Bucket="full", Key="again", Body=bytes(8 * MIB))
                    break
                except Exception:
                    check(time.monotonic() - started < 180, f"no room after deleting: {server.status()}")
                    time.sleep(5)
            for key, body in bodies.items():
                same_bytes(read_object(s3, "full", key), body, f"{key} after room came back")
            server.stop()
            server.start()
            for key, body in bodies.items():
                same_bytes(read_object(server.client(), "full", key), body, f"{key} after a restart")
    return None


CHECKS = [
    what_cannot_be_is_refused_and_changes_nothing,
    drives_come_and_go_under_load,
    drives_come_and_go_in_little_memory,
    the_only_drive_is_replaced_and_the_bucket_recoded,
    kills_in_the_middle_of_a_move_lose_nothing,
    a_drive_that_vanishes_is_named_worked_around_and_taken_back,
    a_stale_copy_of_a_drive_is_brought_up_to_date,
    another_drive_in_its_place_is_not_taken_for_it,
    a_full_file_system_is_worked_around_and_gives_space_back,
    a_drive_that_fails_at_the_device_is_given_up_and_made_whole_elsewhere,
]

if __name__ == "__main__":
    arguments = Arguments(__doc__, seconds=900)
    arguments.add_argument("--only", help="only checks with this in their name")
    chosen = arguments.parse_known_args()[0].only
    main([c for c in CHECKS if not chosen or chosen in c.__name__], arguments)
