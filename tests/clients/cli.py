"""The command line's own verbs (`pangea cp`, `sync`, …) against the real server, over http and https.

Byte-exact round trips, sync both ways, going on after SIGKILL, dry runs that change nothing, errors that say what to do.
"""

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

from botocore.exceptions import ClientError

from harness import ACCESS_KEY, KIB, MIB, SECRET_KEY, Arguments, Server, binary, boto_list, check, clean_environment
from harness import equal, files_below, main, make_drives, random_bytes, read_object, same_bytes, workspace

DOMAIN = "s3.localhost"
SIZES = {"a": 0, "a-b": 1, "a.txt": 5 * KIB, "d/4k1": 4 * KIB + 1, "d/e/ü b+c%.json": 100 * KIB, "d/large": 21 * MIB + 1}
COMMAND_SECONDS = 120
NO_SERVER, NOT_ALLOWED, USAGE = 7, 8, 2


class Place:
    """One server, one alias for it, and a directory to work in."""

    def __init__(self, work, server, endpoint, cert=None):
        self.work, self.server, self.endpoint, self.cert = work, server, endpoint, cert
        work.mkdir()
        self.name = endpoint.split(":")[0] + (", virtual-host" if DOMAIN in endpoint else "")
        words = ["alias", "set", "x", endpoint, ACCESS_KEY, *(["--style", "virtual"] if DOMAIN in endpoint else [])]
        # With its CA the alias keeps it: no later command has to name it.
        self.run(*words, *(["--ca", cert] if cert else []), env={"PANGEA_SECRET_KEY": SECRET_KEY})

    def command(self, *words, env=None):
        environment = clean_environment(
            HOME=str(self.work), PANGEA_CONFIG_DIR=str(self.work / "settings"), LC_ALL="C.UTF-8", **(env or {})
        )
        return {"args": [binary(), *map(str, words)], "env": environment, "cwd": self.work}

    def run(self, *words, code=0, says=(), data=b"", env=None):
        """Runs a command that ends with `code` and whose standard error says these words; its standard output."""
        result = subprocess.run(
            **self.command(*words, env=env), input=data, capture_output=True, timeout=COMMAND_SECONDS, check=False
        )
        error = result.stderr.decode(errors="replace")
        equal(result.returncode, code, f"{self.name}: exit of {words[:6]}: {error[-2000:]}")
        check("panicked" not in error, error)
        for word in says:
            check(word in error, f"{self.name}: {words[:6]} does not say {word!r}: {error[-2000:]}")
        return result.stdout

    def json(self, *words):
        """The lines of a command with --json, read."""
        return [json.loads(line) for line in self.run(*words, "--json").decode().splitlines()]

    def deeds(self, *words):
        """What a command did or would do: (action, last part of the source)."""
        lines = [line for line in self.json(*words) if line["action"] != "summary"]
        return sorted((line["action"], line["source"].rsplit("/", 1)[-1]) for line in lines)


@contextlib.contextmanager
def places():
    with workspace() as work, contextlib.ExitStack() as stack:
        found = []
        for secure in (False, True):
            home = work / ("https" if secure else "http")
            home.mkdir()
            tls = ["--tls", "self"] if secure else []
            server = Server(make_drives(home, 1), home, ["--domain", DOMAIN, *tls])
            stack.callback(server.kill)
            server.start()
            cert = Path(server.drives[0]) / "tls/cert.pem" if secure else None
            if not secure:
                found.append(Place(home / "virtual", server, f"http://{DOMAIN}:{server.port}"))
            scheme = "https" if secure else "http"
            found.append(Place(home / "path", server, f"{scheme}://127.0.0.1:{server.port}", cert))
        try:
            yield found
        except BaseException:
            for place in found:
                print(place.server.log_tail(), flush=True)
            raise


@contextlib.contextmanager
def place():
    """One http server with one alias."""
    with workspace() as work:
        server = Server(make_drives(work, 1), work)
        try:
            server.start()
            yield Place(work / "work", server, server.endpoint)
        except BaseException:
            print(server.log_tail(), flush=True)
            raise
        finally:
            server.kill()


def make_tree(top, seed):
    rng = random.Random(seed)
    for name, size in SIZES.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random_bytes(rng, size))


def names_below(top):
    return sorted(str(path.relative_to(top)) for path in files_below(top))


def same_tree(one, other, what):
    equal(names_below(other), names_below(one), f"{what}: names")
    for name in names_below(one):
        same_bytes((other / name).read_bytes(), (one / name).read_bytes(), f"{what}: {name}")
        equal((other / name).stat().st_mtime_ns, (one / name).stat().st_mtime_ns, f"{what}: time of {name}")


def every_verb_in_every_place(args):
    with places() as found:
        for place in found:
            started = time.monotonic()
            bucket = f"verbs-{'s' if place.cert else 'p'}{'v' if DOMAIN in place.endpoint else ''}"
            round_trip(place, f"x/{bucket}", args.seed)
            single_objects(place, f"x/{bucket}", args.seed)
            place.run("rb", "--force", f"x/{bucket}")
            equal(place.json("ls", "x"), [], "buckets at the end")
            print(f"    {place.name}: {time.monotonic() - started:.1f} s", flush=True)


def round_trip(place, bucket, seed):
    tree = place.work / "tree"
    make_tree(tree, seed)
    place.run("mb", bucket)
    place.run("mb", bucket, code=1, says=["BucketAlreadyOwnedByYou", "--ignore-existing"])
    place.run("mb", "-p", bucket)
    equal(place.deeds("cp", "-r", "tree", f"{bucket}/", "-n")[0], ("upload", "4k1"), "what a dry run says")
    equal(place.json("ls", "-r", bucket), [], "objects after a dry run")
    place.run("cp", "-r", "tree", f"{bucket}/")
    lines = place.json("ls", "-r", bucket)
    equal({line["name"]: line["bytes"] for line in lines}, {f"tree/{k}": v for k, v in SIZES.items()}, "listing")
    place.run("cp", "-r", f"{bucket}/tree/", "back")
    same_tree(tree, place.work / "back", place.name)
    place.run("cp", "-r", f"{bucket}/tree", f"{bucket}/copy")
    place.run("cp", "-r", f"{bucket}/copy", "into/")
    same_tree(tree, place.work / "into/copy", f"{place.name}, copied inside")
    equal(place.json("du", bucket)[-1]["bytes"], 2 * sum(SIZES.values()), "du")
    found = place.run("find", bucket, "--name", "*.json", "--larger", "1k").decode().splitlines()
    equal(found, [f"{bucket}/{top}/d/e/ü b+c%.json" for top in ("copy", "tree")], "find")
    removed = place.deeds("rm", "-r", f"{bucket}/copy", "--exclude", "*.json")
    equal(len(removed), len(SIZES) - 1, "what rm -r removed")
    place.run("mv", "-r", f"{bucket}/copy/", f"{bucket}/moved/")
    equal([line["name"] for line in place.json("ls", "-r", f"{bucket}/moved/")], ["d/e/ü b+c%.json"], "moved")
    place.run("rm", "-r", bucket, code=USAGE, says=["--force"])


def single_objects(place, bucket, seed):
    data = random_bytes(random.Random(seed), 40 * MIB + 3)
    place.run("cp", "-", f"{bucket}/dir/piped", data=data)
    same_bytes(place.run("cat", f"{bucket}/dir/piped"), data, "cat")
    same_bytes(place.run("cp", f"{bucket}/dir/piped", "-"), data, "cp to standard output")
    same_bytes(place.run("cat", "--range", "5-1004", f"{bucket}/dir/piped"), data[5:1005], "a range")
    same_bytes(place.run("cat", "--range", "-7", f"{bucket}/dir/piped"), data[-7:], "the last bytes")
    place.run("cp", "tree/a.txt", f"{bucket}/page", "--content-type", "text/x", "--meta", "color=red")
    known = place.json("stat", f"{bucket}/page")[0]
    equal((known["content_type"], known["meta"]["color"], known["bytes"]), ("text/x", "red", 5 * KIB), "stat")
    check("crc64nvme" in known["checksums"], known)
    place.run("cp", f"{bucket}/page", f"{bucket}/page2", "--meta", "color=blue")
    known = place.json("stat", f"{bucket}/page2")[0]
    equal((known["content_type"], known["meta"]["color"]), ("text/x", "blue"), "stat of a copy with other metadata")
    place.run("cp", "tree/a.txt", f"{bucket}/page", "--if-none-match", code=1, says=["PreconditionFailed"])
    place.run("cp", "tree/d/large", f"{bucket}/dir/piped", "--if-none-match", code=1, says=["PreconditionFailed"])
    place.run("cp", "tree/d/large", f"{bucket}/new", "--if-none-match")
    (place.work / "to-move").write_bytes(b"moved")
    place.run("mv", "to-move", f"{bucket}/dir/")
    check(not (place.work / "to-move").exists(), "mv keeps its source")
    equal(place.run("cat", f"{bucket}/dir/to-move"), b"moved", "what was moved")


def objects_of_others_are_checked(args):
    """Parts without a checksum of the whole: their tag is the MD5 of MD5s, which is compared all the same."""
    with place() as p:
        p.run("mb", "x/others")
        client = p.server.client(request_checksum_calculation="when_required")
        data = random_bytes(random.Random(args.seed), 12 * MIB + 5)
        upload = client.create_multipart_upload(Bucket="others", Key="k")["UploadId"]
        parts = []
        for number, at in enumerate(range(0, len(data), 5 * MIB), 1):
            name = {"Bucket": "others", "Key": "k", "UploadId": upload, "PartNumber": number}
            parts.append({"PartNumber": number, "ETag": client.upload_part(Body=data[at : at + 5 * MIB], **name)["ETag"]})
        done = {"MultipartUpload": {"Parts": parts}, "UploadId": upload}
        client.complete_multipart_upload(Bucket="others", Key="k", **done)
        check("checksums" not in p.json("stat", "x/others/k")[0], "the object has a checksum of the whole")
        p.run("cp", "x/others/k", "back/")
        same_bytes((p.work / "back/k").read_bytes(), data, "an object in parts of another client")
        equal(p.deeds("sync", "x/others", "back", "--checksum"), [], "equal by checksum")
        (p.work / "back/k").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
        equal(p.deeds("sync", "x/others", "back", "--checksum"), [("download", "k")], "differs by checksum")


def versions(args):
    with place() as p:
        p.run("mb", "--with-versioning", "x/kept")
        for text in (b"one", b"two"):
            p.run("cp", "-", "x/kept/k", data=text)
        p.run("cp", "-", "x/kept/k2", data=b"other")
        p.run("rm", "x/kept/k")
        p.run("cat", "x/kept/k", code=1, says=["--versions"])
        lines = p.json("stat", "--versions", "x/kept/k")
        equal([(line["kind"], line["latest"]) for line in lines], [("marker", True), ("object", False), ("object", False)], "versions")
        old = lines[2]["version"]
        equal(p.run("cat", "--version-id", old, "x/kept/k"), b"one", "an old version")
        p.run("cp", "--version-id", old, "x/kept/k", "x/kept/again")
        equal(p.run("cat", "x/kept/again"), b"one", "a copy of an old version")
        p.run("rm", "--version-id", lines[0]["version"], "x/kept/k")
        equal(p.run("cat", "x/kept/k"), b"two", "after its marker was removed")
        p.run("rm", "--versions", "x/kept/k")
        equal([line["name"] for line in p.json("ls", "-r", "--versions", "x/kept")], ["again", "k2"], "what is left")
        p.run("rb", "x/kept", code=1, says=["rb --force"])
        p.run("rb", "--force", "x/kept")


def sync_both_ways(args):
    with place() as p:
        tree = p.work / "tree"
        make_tree(tree, args.seed)
        p.run("mb", "x/sync")
        count = len(SIZES)
        equal(len(p.deeds("sync", "tree", "x/sync/t", "-n")), count, "a dry run")
        equal(p.json("ls", "-r", "x/sync"), [], "objects after a dry run")
        equal(len(p.deeds("sync", "tree", "x/sync/t")), count, "the first sync")
        for how in ([], ["--checksum"], ["--size-only"]):
            equal(p.deeds("sync", "tree", "x/sync/t", *how), [], f"nothing to do {how}")
        # Same size, same time, other bytes: only a checksum tells.
        path, before = tree / "a.txt", (tree / "a.txt").stat()
        path.write_bytes(bytes(5 * KIB))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        equal(p.deeds("sync", "tree", "x/sync/t"), [], "equal size and time")
        equal(p.deeds("sync", "tree", "x/sync/t", "--checksum"), [("upload", "a.txt")], "other bytes")
        # Older than the object, but another time than the one that was copied.
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns - 10**12))
        equal(p.deeds("sync", "tree", "x/sync/t"), [("upload", "a.txt")], "an older file in its place")
        equal(len(p.deeds("sync", "x/sync/t", "back")), count, "the way back")
        same_tree(tree, p.work / "back", "synced back")
        equal(p.deeds("sync", "x/sync/t", "back"), [], "nothing to do on the way back")
        (tree / "d/4k1").unlink()
        (tree / "d/new").write_bytes(b"new")
        (p.work / "back/mine.log").write_bytes(b"kept")
        deleting = ["sync", "tree", "x/sync/t", "--delete", "--exclude", "a*"]
        wanted = [("remove", "4k1"), ("upload", "new")]
        equal(p.deeds(*deleting, "-n"), wanted, "a dry run with --delete")
        equal(p.deeds(*deleting), wanted, "--delete")
        wanted = [("download", "new"), ("remove", "4k1")]
        equal(p.deeds("sync", "x/sync/t", "back", "--delete", "--exclude", "*.log"), wanted, "--delete on the way back")
        check((p.work / "back/mine.log").exists(), "--delete removed what was excluded")
        p.run("sync", "x/sync/mistyped", "back", "--delete", code=1, says=["would be emptied"])
        check((p.work / "back/d/new").exists(), "an empty source emptied the target")
        equal(len(p.deeds("sync", "x/sync/t", "x/sync/u")), count, "between prefixes")
        equal(p.deeds("sync", "x/sync/t", "x/sync/u"), [], "nothing to do between prefixes")


def wait_until(happens, what, process):
    started = time.monotonic()
    while not happens():
        check(process.poll() is None, f"the command ended before {what}: {process.returncode}")
        check(time.monotonic() - started < 60, f"{what} did not happen")
        time.sleep(0.002)


def goes_on_after_a_kill(args):
    with place() as p:
        client = p.server.client()
        p.run("mb", "x/killed")
        data = random_bytes(random.Random(args.seed), 240 * MIB)
        (p.work / "large").write_bytes(data)
        slow = ["-P", "1", "--part-size", "5MiB"]

        def parts_there():
            for upload in client.list_multipart_uploads(Bucket="killed").get("Uploads", []):
                with contextlib.suppress(ClientError):
                    parts = client.list_parts(Bucket="killed", Key=upload["Key"], UploadId=upload["UploadId"])
                    return len(parts.get("Parts", []))
            return 0

        kill_when(p, lambda: parts_there() >= 3, "three parts were stored", "cp", "large", "x/killed/large", *slow)
        equal(boto_list(client, "killed"), [], "objects after the kill")
        there = parts_there()
        check(there >= 3, "the parts are gone")
        p.run("cp", "large", "x/killed/large", *slow, says=[f"going on, {there} parts are there"])
        same_bytes(read_object(client, "killed", "large"), data, "what went on")
        equal(p.json("ls", "--incomplete", "x/killed"), [], "unfinished uploads")

        state = p.work / "back.pangea-part.state"
        noted = lambda: state.exists() and state.read_bytes().count(b"\n") >= 4
        kill_when(p, noted, "three parts came", "cp", "x/killed/large", "back", *slow)
        check(not (p.work / "back").exists(), "a half download has the name of a whole one")
        p.run("cp", "x/killed/large", "back", *slow, says=["going on,"])
        same_bytes((p.work / "back").read_bytes(), data, "the download that went on")
        equal([path.name for path in p.work.glob("back.*")], [], "what a download leaves behind")

        # Another object in between: its parts must not be mixed.
        kill_when(p, noted, "three parts came", "cp", "x/killed/large", "back", *slow)
        other = data[:-1] + bytes([data[-1] ^ 1])
        (p.work / "large").write_bytes(other)
        p.run("cp", "large", "x/killed/large")
        p.run("cp", "x/killed/large", "back", *slow)
        same_bytes((p.work / "back").read_bytes(), other, "the download of another object")

        kill_when(p, lambda: parts_there() >= 2, "parts were stored", "cp", "large", "x/killed/given-up", *slow)
        equal(p.deeds("rm", "--incomplete", "x/killed/given-up"), [("abort", "given-up")], "rm --incomplete")
        p.run("cp", "large", "x/killed/given-up", *slow)
        same_bytes(read_object(client, "killed", "given-up"), other, "an upload begun anew")


def a_restart_of_the_server_is_waited_for(args):
    with place() as p:
        p.run("mb", "x/waits")
        data = random_bytes(random.Random(args.seed), 240 * MIB)
        (p.work / "large").write_bytes(data)
        slow = ["-P", "2", "--part-size", "5MiB"]
        state = p.work / "back.pangea-part.state"
        client = p.server.client()
        begun = lambda: bool(client.list_multipart_uploads(Bucket="waits").get("Uploads"))
        noted = lambda: state.exists() and state.read_bytes().count(b"\n") >= 3
        for happens, words in ((begun, ("large", "x/waits/k")), (noted, ("x/waits/k", "back"))):
            process = subprocess.Popen(**p.command("cp", *words, *slow), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
            try:
                wait_until(happens, "the copy has begun", process)
                p.server.kill()
                p.server.start()
                error = process.communicate(timeout=COMMAND_SECONDS)[1].decode()
            finally:
                process.kill()
                process.wait()
            equal(process.returncode, 0, f"a copy through a restart: {error}")
        same_bytes((p.work / "back").read_bytes(), data, "what went through two restarts")


def kill_when(p, happens, what, *words):
    process = subprocess.Popen(**p.command(*words), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(happens, what, process)
    finally:
        process.kill()
        process.wait()
    equal(process.returncode, -signal.SIGKILL, f"how {words[:3]} ended")


def bad_input_is_told(args):
    with place() as p:
        (p.work / "file").write_bytes(b"content")
        (p.work / "dir").mkdir()
        p.run("mb", "x/bad")
        client = p.server.client()
        client.put_object(Bucket="bad", Key="marker/", Body=b"")
        for key in ("../escape", "a//b", "good", "named/"):
            client.put_object(Bucket="bad", Key=key, Body=b"bytes")
        for code, words, says in (
            (1, ("cp", "file", "x/absent/k"), ["NoSuchBucket", "pangea mb x/absent"]),
            (1, ("cp", "x/bad/absent", "."), ["404", "pangea ls -r x/bad"]),
            (1, ("cat", "x/bad/absent"), ["404"]),
            (1, ("rm", "x/bad/absent"), ["404"]),
            (1, ("cp", "absent", "x/bad/"), ["absent"]),
            (1, ("cp", "dir", "x/bad/"), ["add -r"]),
            (1, ("cp", "-r", "x/bad/absent", "out"), ["nothing below"]),
            (1, ("cp", "-r", "x/bad", "out"), ["cannot be a path", "../escape", "named/"]),
            (1, ("cp", "-r", "x/bad/absent/", "out"), ["nothing below"]),
            (1, ("cat", "--range", "9-", "x/bad/good"), ["5 bytes"]),
            (USAGE, ("cp", "file", "dir"), ["both local"]),
            (USAGE, ("cp", "file", "file", "x/bad/k"), ["x/bad/k/"]),
            (USAGE, ("cp", "-", "x/bad/"), ["no name"]),
            (USAGE, ("cp", "x/bad/good", "x/bad/good"), ["the same"]),
            (USAGE, ("cp", "-r", "x/bad", "x/bad/below/"), ["lies in"]),
            (USAGE, ("sync", "x/bad", "x/bad/below"), ["lies in the other"]),
            (USAGE, ("sync", "file", "x/bad"), ["no directory"]),
            (USAGE, ("rb", "x/bad/good"), ["more than a bucket"]),
            (USAGE, ("cp", "file", "x/bad/k", "--part-size", "1k"), ["5MiB"]),
            (USAGE, ("cp", "file", "x/bad/k", "--include", "["), ["pattern"]),
            (USAGE, ("alias", "set", "env", p.endpoint), ["cannot be an alias"]),
        ):
            p.run(*words, code=code, says=["help:", *says], env={"PANGEA_SECRET_KEY": "s"})
        escaped = [path for path in files_below(p.work.parent) if path.name == "escape"]
        equal(escaped, [], "files outside of the target")
        equal((p.work / "out/good").read_bytes(), b"bytes", "the rest was copied")
        check((p.work / "file").read_bytes() == b"content", "the source was changed")
        wrong = {"PANGEA_HOST_wrong": f"http://{ACCESS_KEY}:wrong@127.0.0.1:{p.server.port}"}
        p.run("ls", "wrong", code=NOT_ALLOWED, says=["SignatureDoesNotMatch", "alias set"], env=wrong)
        nobody = {"PANGEA_HOST_nobody": "http://a:b@127.0.0.1:1"}
        p.run("ls", "nobody", code=NO_SERVER, says=["is it running"], env=nobody)
        result = subprocess.run(**p.command("cat", "x/bad/absent", "--json"), capture_output=True, check=False)
        equal(json.loads(result.stderr)["code"], 1, "an error for programs")
        equal((p.work / "settings/aliases.toml").stat().st_mode & 0o777, 0o600, "mode of the aliases")


def a_server_of_ones_own_needs_no_setting_up(args):
    with place() as p:
        local = {"PANGEA_LISTEN": f"127.0.0.1:{p.server.port}"}
        root = {"PANGEA_ROOT_ACCESS_KEY": ACCESS_KEY, "PANGEA_ROOT_SECRET_KEY": SECRET_KEY, **local}
        p.run("ls", "local", code=USAGE, says=["pangea alias make"], env=local)
        p.run("mb", "local/rooted", env=root)
        p.run("alias", "make", "mine", "--admin", p.server.admin)
        equal([line["name"] for line in p.json("ls", "mine")], ["rooted/"], "buckets by a made key")
        aws = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_ENDPOINT_URL": p.endpoint}
        p.run("cp", "-", "s3://rooted/k", data=b"by AWS variables", env=aws)
        equal(p.run("cat", "mine/rooted/k"), b"by AWS variables", "written by way of s3://")


def an_unknown_certificate_is_refused(args):
    with workspace() as work:
        server = Server(make_drives(work, 1), work, ["--tls", "self"])
        try:
            server.start()
            cert = Path(server.drives[0]) / "tls/cert.pem"
            p = Place(work / "work", server, f"https://127.0.0.1:{server.port}", cert)
            host = {"PANGEA_HOST_y": f"https://{ACCESS_KEY}:{SECRET_KEY}@127.0.0.1:{server.port}"}
            p.run("ls", "y", code=NO_SERVER, says=["--ca FILE"], env=host)
            p.run("ls", "y", "--insecure", env=host)
            p.run("ls", "y", "--ca", cert, env=host)
            p.run("ls", "x")
        finally:
            server.kill()


if __name__ == "__main__":
    main(
        [
            every_verb_in_every_place,
            objects_of_others_are_checked,
            versions,
            sync_both_ways,
            goes_on_after_a_kill,
            a_restart_of_the_server_is_waited_for,
            bad_input_is_told,
            a_server_of_ones_own_needs_no_setting_up,
            an_unknown_certificate_is_refused,
        ],
        Arguments(__doc__, 400),
    )
