"""Metadata that is lost, rolled back or brought back from a backup, under a real server: what was acknowledged comes back exact,
what cannot is named, and what would lose something without saying so is refused.
"""

import json
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

from harness import COMMAND_SECONDS, KIB, MIB, Arguments, Failed, binary, boto_list, check, clean_environment, equal
from harness import main, random_bytes, read_object, running, same_bytes, shorten, sqlite_files

DRIVES = 4
BUCKET = "recover"
# Inline, packed, in chunks, and in several chunks.
SIZES = [0, 1, 4 * KIB, 5 * KIB, 60 * KIB, 300 * KIB, 6 * MIB]
INCOMPLETE = 9
METADATA = 5


def pangea(*command, exits=0):
    """Runs the binary; its exit must be `exits`. Gives standard output and error."""
    result = subprocess.run(
        [binary(), *map(str, command)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=clean_environment(),
        timeout=COMMAND_SECONDS,
        check=False,
    )
    out, err = result.stdout.decode(), result.stderr.decode()
    check("panicked" not in err, f"a panic is no error message\n{err}")
    equal(result.returncode, exits, f"exit of {shorten(command[:2])}: {out[-2000:]}{err[-2000:]}")
    return out, err


def report_of(*command, exits=0):
    return json.loads(pangea(*command, "--json", exits=exits)[0])


def fill(server, rng, prefix, copies=3):
    """Writes objects of all sizes; their bytes by key."""
    s3 = server.client()
    bodies = {f"{prefix}/{size}-{copy}": random_bytes(rng, size) for size in SIZES for copy in range(copies)}
    for key, body in bodies.items():
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    return bodies


def all_exact(server, bodies, when):
    s3 = server.client()
    equal(boto_list(s3, BUCKET), sorted(bodies), f"listing {when}")
    for key, body in bodies.items():
        same_bytes(read_object(s3, BUCKET, key), body, f"{key} {when}")


def meta_of(drive):
    return Path(drive) / "meta"


def drives_with_meta(server):
    return [drive for drive in server.drives if meta_of(drive).is_dir() and any(meta_of(drive).iterdir())]


def copy_meta(server, to):
    """Copies every metadata directory, as an operator's copy would; for `put_back`."""
    for number, drive in enumerate(server.drives):
        if meta_of(drive).is_dir():
            shutil.copytree(meta_of(drive), Path(to) / f"{number}")


def put_back(server, copies, numbers=None):
    for number, drive in enumerate(server.drives):
        if numbers is None or number in numbers:
            shutil.rmtree(meta_of(drive), ignore_errors=True)
            if (Path(copies) / f"{number}").is_dir():
                shutil.copytree(Path(copies) / f"{number}", meta_of(drive))


def meta_files(server):
    """Names and contents of all metadata files: to see that nothing was changed."""
    paths = [path for drive in server.drives for path in sorted(meta_of(drive).rglob("*")) if path.is_file()]
    logs = [path for path in paths if path.name.startswith(("log-", "snapshot-"))]
    return {str(path): path.read_bytes() for path in logs}


def all_views_are_lost(args):
    rng = random.Random(args.seed)
    with running(drive_count=DRIVES) as server:
        server.client().create_bucket(Bucket=BUCKET)
        bodies = fill(server, rng, "a")
        for stop in (server.stop, server.kill):
            stop()
            for path in sqlite_files(server.drives):
                path.unlink()
            report = report_of("recover", *server.drives, "--deep")
            check(report["stripes"] > 0 and report["lost_stripes"] == 0, f"every stripe is there: {report}")
            equal((report["bad_shards"], report["stray_shards"]), (0, 0), "shards that are wrong")
            equal(len(report["drives"]), DRIVES, "drives that were read")
            server.start()
            all_exact(server, bodies, "after all views were lost")
            # Without `recover` the start does it by itself.
            server.stop()
            for path in sqlite_files(server.drives):
                path.unlink()
            server.start()
            all_exact(server, bodies, "after a start without a view")


def one_metadata_directory_is_left(args):
    rng = random.Random(args.seed)
    with running(drive_count=DRIVES) as server:
        server.client().create_bucket(Bucket=BUCKET)
        bodies = fill(server, rng, "a")
        for left in drives_with_meta(server):
            server.kill()
            for drive in server.drives:
                if drive != left:
                    shutil.rmtree(meta_of(drive), ignore_errors=True)
            equal(drives_with_meta(server), [left], "directories with metadata")
            report = report_of("recover", *server.drives)
            equal(report["lost_stripes"], 0, "lost stripes")
            server.start()
            all_exact(server, bodies, f"with the metadata of {left} only")
            check(len(drives_with_meta(server)) > 1, "the other drives have the log again")
            bodies |= fill(server, rng, f"left-{len(bodies)}", copies=1)


def older_states_are_healed_or_refused(args):
    rng = random.Random(args.seed)
    with running(drive_count=DRIVES) as server:
        copies = Path(server.log).parent / "copies"
        s3 = server.client()
        s3.create_bucket(Bucket=BUCKET)
        bodies = fill(server, rng, "old")
        server.operator("meta", "backup", copies.parent / "for-the-snapshot")
        server.stop()
        copy_meta(server, copies)
        old_views = [path for path in sqlite_files(server.drives)]
        old_bytes = {path: path.read_bytes() for path in old_views}
        server.start()
        older = dict(bodies)
        bodies |= fill(server, rng, "new")
        server.stop()

        # An older view catches up from the log.
        for path, content in old_bytes.items():
            path.write_bytes(content)
        server.start()
        all_exact(server, bodies, "with an older view")
        server.stop()

        # One log drive is rolled back: the others heal it.
        have = [number for number, drive in enumerate(server.drives) if meta_of(drive).is_dir()]
        for number in have:
            put_back(server, copies, {number})
            server.start()
            all_exact(server, bodies, f"with drive {number} rolled back")
            server.stop()

        # All are rolled back: the superblocks know better.
        newest = Path(server.log).parent / "newest"
        copy_meta(server, newest)
        put_back(server, copies)
        before = meta_files(server)
        server.refuses_to_start("generation", "is known to exist")
        _, err = pangea("recover", *server.drives, exits=METADATA)
        check("generation" in err and "meta restore" in err, f"the refusal says what to do: {err}")
        equal(sorted(meta_files(server)), sorted(before), "files after the refusals")
        put_back(server, newest)
        server.start()
        all_exact(server, bodies, "after the newest was put back")
        server.stop()

        # Given up on purpose: what is lost is said, and the server goes on.
        put_back(server, copies)
        report = report_of("recover", *server.drives, "--force", exits=INCOMPLETE)
        check(report["restored"] is not None and report["unknown_complete"] > 0, f"what is missing: {report}")
        server.start()
        all_exact(server, older, "after going back to the older state")


def a_log_with_a_gap_is_refused_by_number(args):
    rng = random.Random(args.seed)
    with running(drive_count=1) as server:
        work = Path(server.log).parent
        server.client().create_bucket(Bucket=BUCKET)
        for turn in range(4):
            fill(server, rng, f"{turn}", copies=1)
            server.operator("meta", "backup", work / f"turn-{turn}")
            server.stop()
            if turn == 0:
                copy_meta(server, work / "copies")
            server.start()
        server.stop()
        for path in meta_of(server.drives[0]).iterdir():
            if not path.name.startswith("log-"):
                path.unlink()
        for path in (work / "copies" / "0").glob("snapshot-*"):
            shutil.copy(path, meta_of(server.drives[0]))
        server.refuses_to_start("are missing")
        _, err = pangea("recover", *server.drives, exits=METADATA)
        check("requests" in err and "missing" in err and "meta restore" in err, f"the gap by number: {err}")


def a_backup_is_made_while_clients_write_and_brought_back(args):
    rng = random.Random(args.seed)
    with running(drive_count=DRIVES) as server:
        work = Path(server.log).parent
        file = work / "backup"
        s3 = server.client()
        s3.create_bucket(Bucket=BUCKET)
        bodies = fill(server, rng, "before")
        s3.put_object(Bucket=BUCKET, Key="overwritten", Body=b"first " * 2000)
        bodies["overwritten"] = b"first " * 2000

        written, slowest = back_up_under_load(server, args.seed, file)
        print(f"    {written} objects written meanwhile, the slowest took {slowest:.2f} s", flush=True)
        check(written > 0, "nobody wrote during the backup")
        _, err = pangea("meta", "backup", file, "--admin", server.admin, exits=2)
        check("exists" in err, f"a backup is never overwritten: {err}")
        later = fill(server, rng, "later", copies=1)
        server.wait_until_whole()
        server.stop()

        # The drives know more: refused, and nothing is changed.
        before = meta_files(server)
        _, err = pangea("meta", "restore", file, *server.drives, exits=METADATA)
        check("requests would be lost" in err, f"how many are lost: {err}")
        equal(meta_files(server) == before, True, "the refusal changed nothing")

        for drive in server.drives:
            shutil.rmtree(meta_of(drive), ignore_errors=True)
        server.refuses_to_start("generation", "metadata")
        names = work / "names"
        names.write_text("".join(f"{key}\n" for key in later))
        restored = report_of(
            "meta", "restore", file, *server.drives, "--force", "--deep", "--problems", "1000", "--names", names,
            exits=INCOMPLETE,
        )
        report = restored["report"]
        equal((report["lost_stripes"], report["bad_shards"]), (0, 0), "stripes of what the backup knows")
        named = {found["key"] for found in report["unknown"] if found["complete"]}
        # Empty and inline objects have no shards: they went with the metadata.
        wanted = {key for key, body in later.items() if len(body) > 4 * KIB}
        check(wanted <= named, f"not reported: {sorted(wanted - named)}")
        check(all(found["bucket"] == BUCKET for found in report["unknown"]), "the bucket is named")
        server.start()
        for key, body in bodies.items():
            same_bytes(read_object(server.client(), BUCKET, key), body, f"{key} from before the backup")
        orphans = next(worker for worker in server.status()["workers"] if worker["name"] == "orphans")
        equal(orphans["state"], "paused", "shards that are all that is left are not deleted")
        after = random_bytes(rng, 100 * KIB)
        server.client().put_object(Bucket=BUCKET, Key="after", Body=after)
        server.stop()
        again = report_of("recover", *server.drives, exits=INCOMPLETE)
        check(again["unknown_complete"] >= len(wanted), f"still there: {again}")
        server.start()
        same_bytes(read_object(server.client(), BUCKET, "after"), after, "written after the restore")


def back_up_under_load(server, seed, file):
    """Backs up while three clients write; gives how many objects they wrote and how long the slowest took."""
    stop, counts, slowest, failures = threading.Event(), [0] * 3, [0.0] * 3, []

    def write(number):
        rng, s3 = random.Random(seed + number), server.client()
        try:
            while not stop.is_set():
                started = time.monotonic()
                body = random_bytes(rng, rng.choice([100, 10 * KIB, 200 * KIB]))
                s3.put_object(Bucket=BUCKET, Key=f"meanwhile/{number}/{counts[number]}", Body=body)
                slowest[number] = max(slowest[number], time.monotonic() - started)
                counts[number] += 1
        except Exception as error:  # told by the thread that waits
            failures.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    try:
        print(f"    {server.operator('meta', 'backup', file).splitlines()[0]}", flush=True)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise Failed(f"a write failed during the backup: {failures[0]}")
    check(max(slowest) < 10, f"a write waited {max(slowest):.1f} s for the backup")
    return sum(counts), max(slowest)


def damaged_cut_and_foreign_backups_change_nothing(args):
    rng = random.Random(args.seed)
    with running(drive_count=2) as server, running(drive_count=1) as other:
        work = Path(server.log).parent
        server.client().create_bucket(Bucket=BUCKET)
        bodies = fill(server, rng, "a", copies=1)
        server.operator("meta", "backup", work / "good")
        other.client().create_bucket(Bucket="other")
        other.operator("meta", "backup", work / "foreign")
        other.stop()
        _, err = pangea("meta", "restore", work / "good", *server.drives, "--force", exits=3)
        check("in use" in err or "running" in err or "locked" in err, f"a running server: {err}")
        server.stop()

        good = (work / "good").read_bytes()
        bad = {"empty": b"", "short": good[:300], "cut": good[:-512], "longer": good + bytes(512)}
        bad |= {"no backup": random_bytes(rng, len(good))}
        for at in (0, 9, 40, 100, 512, 600, len(good) // 2, len(good) - 1):
            bad[f"byte {at} flipped"] = good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :]
        before = meta_files(server)
        for name, content in bad.items():
            (work / "bad").write_bytes(content)
            _, err = pangea("meta", "restore", work / "bad", *server.drives, "--force", exits=METADATA)
            check("cannot be restored" in err and "nothing was changed" in err, f"{name}: {err}")
        _, err = pangea("meta", "restore", work / "foreign", *server.drives, "--force", exits=METADATA)
        check("is of cluster" in err, f"another cluster's: {err}")
        pangea("meta", "restore", work / "not there", *server.drives, exits=1)
        equal(meta_files(server) == before, True, "nothing was changed")
        server.start()
        all_exact(server, bodies, "after all the refusals")


def lost_shards_are_named_by_their_objects(args):
    rng = random.Random(args.seed)
    with running(drive_count=2, args=["--erasure", "2+0"]) as server:
        server.client().create_bucket(Bucket=BUCKET)
        bodies = fill(server, rng, "a", copies=1)
        server.stop()
        report = report_of("recover", server.drives[0], exits=INCOMPLETE)
        equal(len(report["missing_drives"]), 1, "drives that were not named")
        named = {found["key"] for found in report["lost_names"]}
        wanted = {key for key, body in bodies.items() if len(body) > 300 * KIB}
        check(wanted <= named, f"lost and not named: {sorted(wanted - named)} of {sorted(named)}")
        report = report_of("recover", *server.drives)
        equal(report["lost_objects"], 0, "with all drives nothing is lost")
        server.start()
        all_exact(server, bodies, "after recovering without a drive")


CHECKS = [
    all_views_are_lost,
    one_metadata_directory_is_left,
    older_states_are_healed_or_refused,
    a_log_with_a_gap_is_refused_by_number,
    a_backup_is_made_while_clients_write_and_brought_back,
    damaged_cut_and_foreign_backups_change_nothing,
    lost_shards_are_named_by_their_objects,
]

if __name__ == "__main__":
    main(CHECKS, Arguments(__doc__, seconds=340))
