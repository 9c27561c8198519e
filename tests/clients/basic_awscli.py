"""Debian's aws command against the server: cp, mv, sync, ls, rm, rb, presigned reads, byte-exact."""

import filecmp
import random
import subprocess
import urllib.request

from harness import ACCESS_KEY, KIB, MIB, SECRET_KEY, Arguments, check, clean_environment, equal, main, random_bytes
from harness import running, same_bytes, workspace

# Debian's, not one that some version switcher puts first.
AWS = "/usr/bin/aws"
TREE = {"empty": 0, "one": 1, "sub/4k": 4 * KIB, "sub/4k1": 4 * KIB + 1, "sub/deep/ü b": 5 * MIB + 1}
LARGE_BYTES = 200_000_000


def aws(server, *command, exit_code=0):
    """Runs `aws` against the server; its standard output."""
    settings = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/dev/null",
        "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
        "AWS_PAGER": "",
        "LC_ALL": "C.UTF-8",
    }
    result = subprocess.run(
        [AWS, "--endpoint-url", server.endpoint, *map(str, command)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=clean_environment(**settings),
        timeout=120,
        check=False,
    )
    text = result.stdout.decode()
    equal(result.returncode, exit_code, f"exit of aws {command}: {text}{result.stderr.decode(errors='replace')}")
    return text + result.stderr.decode() if exit_code else text


def make_tree(top, seed):
    rng = random.Random(seed)
    for name, size in TREE.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random_bytes(rng, size))


def same_tree(one, other):
    names = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    equal(sorted(str(path.relative_to(other)) for path in other.rglob("*") if path.is_file()), names, "file names")
    differing = [name for name in names if not filecmp.cmp(one / name, other / name, shallow=False)]
    equal(differing, [], "files that differ")


def trees_are_synced_there_and_back(args):
    with running() as server, workspace() as work:
        make_tree(work / "tree", args.seed)
        aws(server, "s3", "mb", "s3://trees")
        aws(server, "s3", "sync", work / "tree", "s3://trees/t/")
        aws(server, "s3", "sync", "s3://trees/t/", work / "back")
        same_tree(work / "tree", work / "back")
        equal(aws(server, "s3", "sync", work / "tree", "s3://trees/t/").strip(), "", "a second sync has nothing to do")
        (work / "tree/one").unlink()
        aws(server, "s3", "sync", "--delete", work / "tree", "s3://trees/t/")
        listing = aws(server, "s3", "ls", "--recursive", "s3://trees/")
        equal(len(listing.splitlines()), len(TREE) - 1, f"objects after sync --delete:\n{listing}")
        check("PRE sub/" in aws(server, "s3", "ls", "s3://trees/t/"), "ls shows a prefix")
        aws(server, "s3", "cp", "--recursive", "s3://trees/t/", "s3://trees/copy/")
        aws(server, "s3", "sync", "s3://trees/copy/", work / "copy")
        same_tree(work / "tree", work / "copy")


def a_large_file_goes_up_and_comes_down(args):
    with running() as server, workspace() as work:
        body = random_bytes(random.Random(args.seed), LARGE_BYTES)
        (work / "large").write_bytes(body)
        aws(server, "s3", "mb", "s3://large")
        aws(server, "s3", "cp", "--no-progress", work / "large", "s3://large/l")
        aws(server, "s3", "mv", "--no-progress", "s3://large/l", "s3://large/moved")
        aws(server, "s3", "cp", "--no-progress", "s3://large/moved", work / "back")
        same_bytes((work / "back").read_bytes(), body, "200 MB")
        url = aws(server, "s3", "presign", "s3://large/moved").strip()
        request = urllib.request.Request(url, headers={"Range": "bytes=5242870-5242890"})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        same_bytes(opener.open(request, timeout=60).read(), body[5242870:5242891], "a range by a presigned URL")


def buckets_are_removed_and_errors_named(_args):
    with running() as server, workspace() as work:
        (work / "f").write_bytes(b"x")
        aws(server, "s3", "mb", "s3://gone")
        aws(server, "s3", "cp", work / "f", "s3://gone/f")
        check("BucketNotEmpty" in aws(server, "s3", "rb", "s3://gone", exit_code=1), "rb of a bucket with an object")
        aws(server, "s3", "rm", "s3://gone/f")
        aws(server, "s3", "rb", "s3://gone")
        check("NoSuchBucket" in aws(server, "s3", "ls", "s3://gone", exit_code=254), "ls of a removed bucket")
        aws(server, "s3", "mb", "s3://forced")
        aws(server, "s3", "cp", work / "f", "s3://forced/f")
        aws(server, "s3", "rb", "--force", "s3://forced")
        equal(aws(server, "s3", "ls").strip(), "", "buckets that are left")


CHECKS = [trees_are_synced_there_and_back, a_large_file_goes_up_and_comes_down, buckets_are_removed_and_errors_named]

if __name__ == "__main__":
    main(CHECKS, Arguments(__doc__, seconds=280))
