"""Golden data directories: what every released format wrote is read by every later version, byte-exact.

tests/golden/FORMAT/LAYOUT.tar.xz holds the drives of a stopped server. `golden.py --make FORMAT` writes them with the
binary at hand: done once for a format, before its release; never again for the same one.
"""

import hashlib
import lzma
import random
import sys
import tarfile
from pathlib import Path

from harness import KIB, MIB, Arguments, Server, boto_list, check, equal, main, make_drives, read_object, workspace

GOLDEN = Path(__file__).resolve().parent.parent / "golden"
LAYOUTS = {"one-drive": 1, "six-drives": 6}
BUCKET = "golden"
COPY_BUCKET = "golden-copies"


def noise(size, seed):
    return random.Random(seed).randbytes(size)


def text(size, seed):
    line = b"%d: the same line again and again, as logs and tables have it\n" % seed
    return (line * (size // len(line) + 1))[:size]


def objects(drive_count):
    """What is in every golden directory: key -> bytes."""
    largest = 600_000 if drive_count == 1 else 250_000
    return {
        "empty": b"",
        "inline": noise(100, 1),
        "inline-most": noise(4 * KIB, 2),
        "small": noise(5_000, 3),
        "chunk": noise(100_000, 4),
        "chunks": noise(largest, 5),
        "text": text(3 * MIB, 6),
        "parts": text(5 * MIB, 7) + noise(10_000, 8),
        "überschrieben / key?": noise(7_000, 9),
        "copy-source": noise(6_000, 10),
    }


def write(server, drive_count):
    s3 = server.client()
    s3.create_bucket(Bucket=BUCKET)
    s3.create_bucket(Bucket=COPY_BUCKET)
    s3.put_object(Bucket=BUCKET, Key="überschrieben / key?", Body=b"an older content")
    for key, body in objects(drive_count).items():
        if key != "parts":
            s3.put_object(Bucket=BUCKET, Key=key, Body=body, Metadata={"seen": "first"}, ContentType="x/golden")
    upload = s3.create_multipart_upload(Bucket=BUCKET, Key="parts")["UploadId"]
    parts = []
    for number, body in enumerate([text(5 * MIB, 7), noise(10_000, 8)], 1):
        part = s3.upload_part(Bucket=BUCKET, Key="parts", UploadId=upload, PartNumber=number, Body=body)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(Bucket=BUCKET, Key="parts", UploadId=upload, MultipartUpload={"Parts": parts})
    s3.create_multipart_upload(Bucket=BUCKET, Key="unfinished")
    s3.copy_object(Bucket=COPY_BUCKET, Key="copied", CopySource={"Bucket": BUCKET, "Key": "copy-source"})
    s3.delete_object(Bucket=BUCKET, Key="copy-source")
    s3.put_bucket_versioning(Bucket=COPY_BUCKET, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=COPY_BUCKET, Key="versioned", Body=b"one")
    s3.put_object(Bucket=COPY_BUCKET, Key="versioned", Body=b"two")
    s3.put_object(Bucket=COPY_BUCKET, Key="hidden", Body=b"gone")
    s3.delete_object(Bucket=COPY_BUCKET, Key="hidden")


def read(server, drive_count, what):
    s3 = server.client()
    wanted = objects(drive_count)
    copied = wanted.pop("copy-source")
    equal(boto_list(s3, BUCKET), sorted(wanted, key=str.encode), f"{what}: the keys")
    for key, body in wanted.items():
        got = s3.get_object(Bucket=BUCKET, Key=key)
        equal(hashlib.sha256(got["Body"].read()).hexdigest(), hashlib.sha256(body).hexdigest(), f"{what}: {key}")
        if key != "parts":
            equal((got["Metadata"], got["ContentType"]), ({"seen": "first"}, "x/golden"), f"{what}: {key}'s metadata")
    check(s3.head_object(Bucket=BUCKET, Key="parts")["ETag"].endswith('-2"'), f"{what}: a multipart entity tag")
    uploads = s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
    equal([upload["Key"] for upload in uploads], ["unfinished"], f"{what}: uploads in progress")
    equal(boto_list(s3, COPY_BUCKET), ["copied", "versioned"], f"{what}: the keys of the copies")
    equal(read_object(s3, COPY_BUCKET, "copied"), copied, f"{what}: a copy whose source was deleted")
    equal(read_object(s3, COPY_BUCKET, "versioned"), b"two", f"{what}: the newest version")


def make(format_name):
    for layout, drive_count in LAYOUTS.items():
        with workspace() as work:
            drives = make_drives(work, drive_count)
            server = Server(drives, work)
            server.start()
            write(server, drive_count)
            read(server, drive_count, "just written")
            server.stop()
            target = GOLDEN / format_name / f"{layout}.tar.xz"
            check(not target.exists(), f"{target} exists: a released format's golden directories are never made anew")
            target.parent.mkdir(parents=True, exist_ok=True)
            with lzma.open(target, "wb", preset=9) as file, tarfile.open(fileobj=file, mode="w") as archive:
                for drive in drives:
                    archive.add(drive, arcname=drive.name)
            print(f"{target.relative_to(GOLDEN.parent)}: {target.stat().st_size} bytes")


def every_format_is_read(_args):
    archives = sorted(GOLDEN.glob("*/*.tar.xz"))
    check(archives, "there are no golden directories")
    for archive in archives:
        layout = archive.name.removesuffix(".tar.xz")
        what = f"{archive.parent.name}/{layout}"
        with workspace() as work:
            with lzma.open(archive) as file, tarfile.open(fileobj=file) as tar:
                tar.extractall(work)
            drive_count = LAYOUTS[layout]
            server = Server([work / f"drive{number}" for number in range(drive_count)], work)
            try:
                server.start()
                read(server, drive_count, what)
                server.operator("scrub", "--now", "--wait")
                server.wait_until_whole()
                server.client().put_object(Bucket=BUCKET, Key="written later", Body=b"by a later version")
                equal(read_object(server.client(), BUCKET, "written later"), b"by a later version", what)
                server.stop()
            except BaseException:
                print(server.log_tail(), flush=True)
                raise
            finally:
                server.kill()


if __name__ == "__main__":
    arguments = Arguments(__doc__, seconds=300)
    arguments.add_argument("--make", metavar="FORMAT")
    if "--make" in sys.argv:
        make(arguments.parse_args().make)
    else:
        main([every_format_is_read], arguments)
