"""Damage on the drives of a stopped or running server: everything stays readable, is named, and heals.

Six drives, so the default code survives the loss of two. That healing happened is proved by damaging other drives next.
"""

import os
import random
import time

from harness import KIB, MIB, Arguments, boto_list, check, equal, extent_files, files_below, main, random_bytes
from harness import read_object, run_pangea, running, same_bytes, sqlite_files

DRIVES = 6
SIZES = [0, 1, 4 * KIB, 4 * KIB + 1, 64 * KIB, 300 * KIB, 5 * MIB + 1, 12 * MIB]
FLIPS_PER_DRIVE = 64
FLIP_TRIES = 10_000
BLOCK_BYTES = 4 * KIB


def fill(server, seed):
    """Writes objects of all sizes; their bytes by key."""
    rng = random.Random(seed)
    s3 = server.client()
    s3.create_bucket(Bucket="heal")
    bodies = {f"{size}/{copy}": random_bytes(rng, size) for size in SIZES for copy in range(3)}
    for key, body in bodies.items():
        s3.put_object(Bucket="heal", Key=key, Body=body, Metadata={"size": str(len(body))})
    up = {"Bucket": "heal", "Key": "multipart"}
    up["UploadId"] = s3.create_multipart_upload(**up)["UploadId"]
    parts = [random_bytes(rng, size) for size in (5 * MIB, 6 * MIB, 7)]
    sent = [
        {"PartNumber": n, "ETag": s3.upload_part(**up, PartNumber=n, Body=part)["ETag"]}
        for n, part in enumerate(parts, 1)
    ]
    s3.complete_multipart_upload(**up, MultipartUpload={"Parts": sent})
    bodies["multipart"] = b"".join(parts)
    return bodies


def all_exact(server, bodies, when):
    s3 = server.client()
    equal(boto_list(s3, "heal"), sorted(bodies), f"listing {when}")
    for key, body in bodies.items():
        same_bytes(read_object(s3, "heal", key), body, f"{key} {when}")


def scrub(server):
    print(f"    scrub: {server.operator('scrub', '--now', '--wait').strip()[-300:]}", flush=True)


def truncate_all_files(drive):
    for path in files_below(drive):
        os.truncate(path, 0)


def flip_bytes(drive, rng):
    """Flips random bytes in blocks of random extents that hold something."""
    extents = extent_files(drive)
    flipped = 0
    for _ in range(FLIP_TRIES):
        path = rng.choice(extents)
        blocks = path.stat().st_size // BLOCK_BYTES
        if blocks == 0:
            continue
        at = rng.randrange(blocks) * BLOCK_BYTES
        with open(path, "r+b") as file:
            file.seek(at)
            if any(file.read(BLOCK_BYTES)):
                at += rng.randrange(BLOCK_BYTES)
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ rng.randrange(1, 256)]))
                flipped += 1
        if flipped == FLIPS_PER_DRIVE:
            return
    check(flipped > 0, f"{drive} holds nothing to damage")


def names(status, drives, what):
    """Status must name every one of these drives as other than well."""
    by_dir = {drive["dir"]: drive for drive in status["drives"]}
    for drive in drives:
        entry = by_dir.get(str(drive))
        check(entry is not None, f"status does not list {drive}: {status}")
        check(entry["state"] != "ok" or entry["errors"] > 0, f"status does not name {what} {drive}: {entry}")


def the_view_is_deleted_and_recovered(args):
    with running(drive_count=DRIVES) as server:
        bodies = fill(server, args.seed)
        for stop in (server.stop, server.kill):
            stop()
            for path in sqlite_files(server.drives):
                path.unlink()
            run_pangea(["recover", *server.drives])
            server.start()
            all_exact(server, bodies, f"after the SQLite file was deleted and recovered ({stop.__name__})")
            body = random_bytes(random.Random(args.seed), 100 * KIB)
            bodies[f"after {stop.__name__}"] = body
            server.client().put_object(Bucket="heal", Key=f"after {stop.__name__}", Body=body)
        server.wait_until_whole()


def two_drives_are_truncated_and_heal(args):
    rng = random.Random(args.seed)
    with running(drive_count=DRIVES) as server:
        bodies = fill(server, args.seed)
        server.wait_until_whole()
        drives = server.drives[:]
        rng.shuffle(drives)
        for damaged in (drives[:2], drives[2:4], drives[4:]):
            server.stop()
            for drive in damaged:
                truncate_all_files(drive)
            server.start()
            all_exact(server, bodies, f"with {damaged} truncated")
            body = random_bytes(rng, 2 * MIB)
            key = f"written while damaged {len(bodies)}"
            server.client().put_object(Bucket="heal", Key=key, Body=body)
            bodies[key] = body
            scrub(server)
            server.wait_until_whole()
            all_exact(server, bodies, f"after {damaged} healed")


def an_emptied_drive_is_refilled(args):
    with running(drive_count=DRIVES) as server:
        bodies = fill(server, args.seed)
        server.stop()
        emptied = server.drives[2]
        for path in files_below(emptied):
            path.unlink()
        server.start()
        all_exact(server, bodies, "with an emptied drive")
        scrub(server)
        server.wait_until_whole()
        check(any(path.stat().st_size > 0 for path in extent_files(emptied)), f"{emptied} was not refilled")


def flipped_bytes_are_found_and_heal(args):
    rng = random.Random(args.seed)
    with running(drive_count=DRIVES) as server:
        bodies = fill(server, args.seed)
        server.wait_until_whole()
        drives = server.drives[:]
        rng.shuffle(drives)
        # Once under the running server, once while it is stopped, then the last two to prove that both healed.
        for damaged, running_server in ((drives[:2], True), (drives[2:4], False), (drives[4:], True)):
            if not running_server:
                server.stop()
            for drive in damaged:
                flip_bytes(drive, rng)
            if not running_server:
                server.start()
            all_exact(server, bodies, f"with bytes flipped on {damaged}")
            scrub(server)
            names(server.status(), damaged, "the flipped bytes on")
            server.wait_until_whole()
            all_exact(server, bodies, f"after the flipped bytes on {damaged} healed")


def a_damaged_drive_is_named_at_once(args):
    with running(drive_count=DRIVES) as server:
        bodies = fill(server, args.seed)
        server.stop()
        away = server.drives[1]
        os.rename(away, f"{away}.away")
        os.mkdir(away)
        server.start()
        all_exact(server, bodies, "with a replaced drive")
        started = time.monotonic()
        survives = server.status()["survives"]
        check(survives, f"status says what is survived now: {survives!r}")
        scrub(server)
        server.wait_until_whole()
        print(f"    whole again after {time.monotonic() - started:.1f} s", flush=True)


CHECKS = [
    the_view_is_deleted_and_recovered,
    two_drives_are_truncated_and_heal,
    an_emptied_drive_is_refilled,
    flipped_bytes_are_found_and_heal,
    a_damaged_drive_is_named_at_once,
]

if __name__ == "__main__":
    main(CHECKS, Arguments(__doc__, seconds=340))
