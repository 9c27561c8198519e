"""Bad places to start in or to run out of: each a clear error, and nothing lost once the place is good again."""

import contextlib
import os
import random
import shutil
import socket
import subprocess

import blake3
from botocore.exceptions import ClientError

from harness import KIB, MIB, Arguments, Server, binary, boto_list, check, equal, files_below, main, make_drives
from harness import random_bytes, read_object, running, same_bytes, workspace

# docs/formats.md: two copies, each with its version after the magic and a BLAKE3 of what is before the hash.
SUPERBLOCK_FILE = "superblock"
COPY_OFFSETS = (0, 64 * KIB)
VERSION_AT, HASH_AT, COPY_END = 8, 96, 128

TMPFS_BYTES = 48 * MIB
NOBODY = 65534


def put_some(server, seed):
    """Writes a few objects; their bytes by key."""
    rng = random.Random(seed)
    s3 = server.client()
    s3.create_bucket(Bucket="kept")
    bodies = {str(size): random_bytes(rng, size) for size in (0, 1, 4 * KIB + 1, MIB)}
    for key, body in bodies.items():
        s3.put_object(Bucket="kept", Key=key, Body=body)
    return bodies


def still_there(server, bodies, when):
    """Starts the server in the good place, compares, and stops it."""
    server.start()
    s3 = server.client()
    equal(boto_list(s3, "kept"), sorted(bodies), f"listing {when}")
    for key, body in bodies.items():
        same_bytes(read_object(s3, "kept", key), body, f"{key} {when}")
    server.stop()


@contextlib.contextmanager
def mounted(where, options):
    """A tmpfs at `where`; None when this machine lets us mount nothing."""
    tried = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", where], capture_output=True, check=False)
    if tried.returncode != 0:
        yield None
        return
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", where], check=True)


def remount(where, options):
    subprocess.run(["mount", "-o", f"remount,{options}", where], check=True)


MOUNT_NEEDED = "needs root and the right to mount"


def a_full_disk_refuses_writes_and_loses_nothing(args):
    rng = random.Random(args.seed)
    with workspace() as work:
        drive = make_drives(work, 1)[0]
        if os.getuid() != 0:
            return MOUNT_NEEDED
        with mounted(drive, f"size={TMPFS_BYTES}") as where:
            if where is None:
                return MOUNT_NEEDED
            server = Server([drive], work)
            try:
                bodies = fill_up(server, rng, args.seed)
                still_there(server, bodies, "after a restart on the full disk")
                remount(where, f"size={2 * TMPFS_BYTES}")
                server.start()
                server.client().put_object(Bucket="kept", Key="room again", Body=b"x" * MIB)
                bodies["room again"] = b"x" * MIB
                server.stop()
                still_there(server, bodies, "after the disk grew")
            except BaseException:
                print(server.log_tail(), flush=True)
                raise
            finally:
                server.kill()
    return None


def fill_up(server, rng, seed):
    """Writes until the disk is full; every acknowledged object by key. The server is stopped afterwards."""
    server.start()
    bodies = put_some(server, seed)
    s3 = server.client(retry=False)
    refused = None
    for number in range(4 * TMPFS_BYTES // MIB):
        key, body = f"fill/{number:04}", random_bytes(rng, MIB)
        try:
            s3.put_object(Bucket="kept", Key=key, Body=body)
        except ClientError as error:
            refused = error
            break
        bodies[key] = body
    check(refused is not None, "four times the disk's size was accepted")
    status = refused.response["ResponseMetadata"]["HTTPStatusCode"]
    check(status in (500, 503, 507), f"a full disk was answered with {refused.response['Error']} and {status}")
    print(f"    full after {len(bodies)} objects: {refused.response['Error']}", flush=True)
    check(server.is_running(), "the server died of a full disk")
    for key, body in bodies.items():
        same_bytes(read_object(s3, "kept", key), body, f"{key} on the full disk")
    server.stop()
    return bodies


def a_disk_without_room_refuses_to_start(_args):
    with workspace() as work:
        drive = make_drives(work, 1)[0]
        if os.getuid() != 0:
            return MOUNT_NEEDED
        with mounted(drive, "size=64k") as where:
            if where is None:
                return MOUNT_NEEDED
            Server([drive], work).refuses_to_start("space", "full", "room")
    return None


def a_read_only_disk_refuses_to_start(args):
    with workspace() as work:
        drive = make_drives(work, 1)[0]
        if os.getuid() != 0:
            return MOUNT_NEEDED
        with mounted(drive, f"size={4 * TMPFS_BYTES}") as where:
            if where is None:
                return MOUNT_NEEDED
            server = Server([drive], work)
            try:
                server.start()
                bodies = put_some(server, args.seed)
                server.stop()
                remount(where, "ro")
                server.refuses_to_start("read-only", "read only")
                remount(where, "rw")
                still_there(server, bodies, "after the disk was read-only")
            finally:
                server.kill()
    return None


def a_directory_we_may_not_write_refuses_to_start(args):
    with running() as server:
        bodies = put_some(server, args.seed)
        server.stop()
        drive = server.drives[0]
        if os.getuid() == 0:
            # Root may do all, so the server runs as nobody, from a copy of the binary that nobody can reach.
            with workspace() as open_work:
                os.chmod(open_work, 0o755)
                copy = shutil.copy(binary(), open_work / "pangea")
                os.chmod(copy, 0o755)
                drop = ["setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"]
                os.chmod(server.log.parent, 0o755)
                server.refuses_to_start("permission", "denied", prefix=drop, command=[copy, *server.command()[1:]])
        else:
            mode = os.stat(drive).st_mode
            os.chmod(drive, 0)
            server.refuses_to_start("permission", "denied")
            os.chmod(drive, mode)
        still_there(server, bodies, "after permission was denied")


def a_drive_of_another_cluster_refuses_to_start(args):
    with workspace() as work:
        ours, theirs = make_drives(work, 2, "ours"), make_drives(work, 2, "theirs")
        servers = [Server(drives, work) for drives in (ours, theirs)]
        kept = []
        try:
            for server, seed in zip(servers, (args.seed, args.seed + 1)):
                server.start()
                kept.append(put_some(server, seed))
                server.stop()
            for mixed in ([ours[0], theirs[1]], [theirs[0], ours[1]], [*ours, theirs[0]]):
                before = contents(ours + theirs)
                Server(mixed, work).refuses_to_start("cluster", "belongs")
                equal(contents(ours + theirs), before, f"a refused start with {mixed} touched the drives")
            for server, bodies in zip(servers, kept):
                still_there(server, bodies, "after its drives stood in a wrong slot")
        finally:
            for server in servers:
                server.kill()


def contents(drives):
    """Name, size and hash of every file with something in it; a lock file may come and go empty."""
    files = [path for drive in drives for path in files_below(drive)]
    return [(str(path), blake3.blake3(path.read_bytes()).hexdigest()) for path in files if path.stat().st_size > 0]


def drives_in_another_order_are_the_same_drives(args):
    with running(drive_count=4) as server:
        bodies = put_some(server, args.seed)
        server.stop()
        order = server.drives[:]
        server.drives = order[2:] + order[:2]
        still_there(server, bodies, "with its drives in another order")
        server.drives = order
        still_there(server, bodies, "with its drives in the old order")


def two_servers_on_one_directory_are_one_too_many(args):
    with running(drive_count=2) as server:
        bodies = put_some(server, args.seed)
        Server(server.drives, server.log.parent).refuses_to_start("in use", "another", "locked", "already")
        Server(server.drives[1:], server.log.parent).refuses_to_start("in use", "another", "locked", "already")
        check(server.is_running(), "the first server died")
        server.client().put_object(Bucket="kept", Key="after", Body=b"after")
        bodies["after"] = b"after"
        server.stop()
        still_there(server, bodies, "after a second server tried")


def a_taken_port_is_named(args):
    with running() as server:
        bodies = put_some(server, args.seed)
        server.stop()
        for port in (server.port, server.admin_port):
            with socket.socket() as taken:
                taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                taken.bind(("127.0.0.1", port))
                taken.listen()
                server.refuses_to_start(str(port))
        still_there(server, bodies, "after its ports were taken")


def a_newer_format_is_left_alone(args):
    with running() as server:
        bodies = put_some(server, args.seed)
        server.stop()
        found = [path for path in files_below(server.drives[0]) if path.name == SUPERBLOCK_FILE]
        equal(len(found), 1, "superblock files")
        before = found[0].read_bytes()
        newer = bytearray(before)
        for copy in COPY_OFFSETS:
            version = int.from_bytes(newer[copy + VERSION_AT : copy + VERSION_AT + 2], "little")
            if version == 0:
                continue
            newer[copy + VERSION_AT : copy + VERSION_AT + 2] = (version + 1).to_bytes(2, "little")
            newer[copy + HASH_AT : copy + COPY_END] = blake3.blake3(bytes(newer[copy : copy + HASH_AT])).digest()
        check(bytes(newer) != before, "the superblock was not found where docs/formats.md says")
        found[0].write_bytes(newer)
        server.refuses_to_start("newer")
        same_bytes(found[0].read_bytes(), bytes(newer), "the superblock of a newer format")
        found[0].write_bytes(before)
        still_there(server, bodies, "after a newer format was refused")


def arguments_that_make_no_sense_are_refused(_args):
    with workspace() as work:
        drives = make_drives(work, 2)
        (work / "file").write_bytes(b"not a directory")
        Server([work / "file"], work).refuses_to_start("directory")
        Server([drives[0], drives[0]], work).refuses_to_start("twice", "same", "already", "in use")
        for code in ("0+1", "1", "200+100", "x+y"):
            Server(drives, work, ["--erasure", code]).refuses_to_start("erasure", code)
        Server(drives, work, ["--config", str(work / "none.toml")]).refuses_to_start("none.toml")
        equal(contents(drives), [], "a refused first start left files behind")


CHECKS = [
    a_full_disk_refuses_writes_and_loses_nothing,
    a_disk_without_room_refuses_to_start,
    a_read_only_disk_refuses_to_start,
    a_directory_we_may_not_write_refuses_to_start,
    a_drive_of_another_cluster_refuses_to_start,
    drives_in_another_order_are_the_same_drives,
    two_servers_on_one_directory_are_one_too_many,
    a_taken_port_is_named,
    a_newer_format_is_left_alone,
    arguments_that_make_no_sense_are_refused,
]

if __name__ == "__main__":
    main(CHECKS, Arguments(__doc__, seconds=220))
