"""Many real clients, each over http and https, path and virtual-host style where it can: write, list, read, delete.

Every one also does what it is known for. Virtual-host names lead to the server through a proxy of the test's own.
"""

import contextlib
import itertools
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import boto3
from botocore.config import Config

from harness import ACCESS_KEY, KIB, MIB, SECRET_KEY, Arguments, Server, check, clean_environment, equal
from harness import files_below, main, make_drives, random_bytes, refused, same_bytes, workspace
from proxy import environment, leading_to

DOMAIN = "s3.test"
SIZES = {"empty": 0, "dir/one": 1, "dir/4k1": 4 * KIB + 1, "dir/sub/ü b": 9 * MIB + 1}
CLIENT_SECONDS = 120


class Place:
    """One server and one way to address it."""

    def __init__(self, work, server, style, proxy, cert):
        self.work, self.server, self.style, self.cert = work, server, style, cert
        self.secure = cert is not None
        scheme = "https" if self.secure else "http"
        self.host = f"{DOMAIN}:{server.port}" if style == "virtual" else f"127.0.0.1:{server.port}"
        self.endpoint = f"{scheme}://{self.host}"
        self.name = f"{scheme}, {style}"
        self.proxy = proxy

    def environment(self, **more):
        kept = environment(self.proxy) if self.style == "virtual" else {}
        if self.secure:
            names = ("AWS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE")
            kept.update({name: str(self.cert) for name in names})
        return clean_environment(
            AWS_ACCESS_KEY_ID=ACCESS_KEY,
            AWS_SECRET_ACCESS_KEY=SECRET_KEY,
            AWS_DEFAULT_REGION="us-east-1",
            AWS_REGION="us-east-1",
            AWS_CONFIG_FILE="/dev/null",
            AWS_SHARED_CREDENTIALS_FILE="/dev/null",
            AWS_EC2_METADATA_DISABLED="true",
            LC_ALL="C.UTF-8",
            **kept,
            **more,
        )

    def run(self, *command, env=None, text=None):
        """Runs a client's command; its standard output."""
        result = subprocess.run(
            [*map(str, command)],
            input=text.encode() if text else b"",
            capture_output=True,
            env=env or self.environment(),
            cwd=self.work,
            timeout=CLIENT_SECONDS,
            check=False,
        )
        out, err = result.stdout.decode(errors="replace"), result.stderr.decode(errors="replace")
        equal(result.returncode, 0, f"{self.name}: exit of {command[:4]}: {out[-1500:]}{err[-3000:]}")
        return out


@contextlib.contextmanager
def places():
    """An http and an https server, each in both styles."""
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
            proxy = stack.enter_context(leading_to(server.port))
            for style in ("path", "virtual"):
                directory = home / style
                directory.mkdir()
                found.append(Place(directory, server, style, proxy, cert))
        try:
            yield found
        except BaseException:
            for place in found[::2]:
                print(place.server.log_tail(), flush=True)
            raise


def make_tree(top, seed):
    rng = random.Random(seed)
    for name, size in SIZES.items():
        path = top / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(random_bytes(rng, size))


def same_tree(one, other, what):
    files = sorted(str(path.relative_to(one)) for path in one.rglob("*") if path.is_file())
    back = sorted(str(path.relative_to(other)) for path in other.rglob("*") if path.is_file())
    equal(back, files, f"{what}: file names")
    for name in files:
        same_bytes((other / name).read_bytes(), (one / name).read_bytes(), f"{what}: {name}")


def bucket_of(client, place):
    return f"{client}-{'s' if place.secure else 'p'}-{place.style}"


def fresh(place, name):
    """A directory with the tree, and one for what comes back."""
    top = place.work / name
    make_tree(top / "tree", name)
    (top / "back").mkdir()
    return top / "tree", top / "back"


def s3cmd(place):
    tree, back = fresh(place, "s3cmd")
    bucket = bucket_of("s3cmd", place)
    named = f"%(bucket)s.{place.host}" if place.style == "virtual" else place.host
    config = place.work / "s3cfg"
    lines = [
        "[default]",
        f"access_key = {ACCESS_KEY}",
        f"secret_key = {SECRET_KEY}",
        f"host_base = {place.host}",
        f"host_bucket = {named}",
        f"use_https = {place.secure}",
        "signature_v2 = False",
    ]
    if place.secure:
        lines.append(f"ca_certs_file = {place.cert}")
    if place.style == "virtual":
        host, port = place.proxy.removeprefix("http://").split(":")
        lines += [f"proxy_host = {host}", f"proxy_port = {port}"]
    config.write_text("\n".join(lines) + "\n")

    def run(*words):
        return place.run("s3cmd", "-c", config, *words)

    run("mb", f"s3://{bucket}")
    run("sync", "--multipart-chunk-size-mb=5", f"{tree}/", f"s3://{bucket}/t/")
    equal(len(run("ls", "-r", f"s3://{bucket}").splitlines()), len(SIZES), "s3cmd ls -r")
    run("sync", f"s3://{bucket}/t/", f"{back}/")
    same_tree(tree, back, f"s3cmd, {place.name}")
    check("File size: 1" in run("info", f"s3://{bucket}/t/dir/one"), "s3cmd info")
    run("setacl", "--acl-private", f"s3://{bucket}/t/dir/one")
    run("del", "-r", "-f", f"s3://{bucket}/")
    run("rb", f"s3://{bucket}")


def rclone(place):
    tree, back = fresh(place, "rclone")
    bucket = bucket_of("rclone", place)
    env = place.environment(
        RCLONE_CONFIG="/dev/null",
        RCLONE_CONFIG_R_TYPE="s3",
        RCLONE_CONFIG_R_PROVIDER="Other",
        RCLONE_CONFIG_R_ENV_AUTH="true",
        RCLONE_CONFIG_R_REGION="us-east-1",
        RCLONE_CONFIG_R_ENDPOINT=place.endpoint,
        RCLONE_CONFIG_R_FORCE_PATH_STYLE="false" if place.style == "virtual" else "true",
        RCLONE_CONFIG_R_CHUNK_SIZE="5Mi",
        RCLONE_CONFIG_R_UPLOAD_CUTOFF="5Mi",
    )
    # Its SDK would take the bundle for a directory of its own.
    env.pop("AWS_CA_BUNDLE", None)

    def run(*words):
        return place.run("rclone", *words, env=env)

    run("mkdir", f"r:{bucket}")
    run("sync", tree, f"r:{bucket}/t")
    run("check", "--download", tree, f"r:{bucket}/t")
    equal(len(run("lsf", "-R", "--files-only", f"r:{bucket}").splitlines()), len(SIZES), "rclone lsf")
    (tree / "dir/one").unlink()
    run("sync", tree, f"r:{bucket}/t")
    run("copy", f"r:{bucket}/t", back)
    same_tree(tree, back, f"rclone, {place.name}")
    run("purge", f"r:{bucket}")


def restic(place):
    tree, back = fresh(place, "restic")
    style = "dns" if place.style == "virtual" else "path"
    env = place.environment(RESTIC_PASSWORD="test", RESTIC_CACHE_DIR=str(place.work / "restic-cache"))
    repository = f"s3:{place.endpoint}/{bucket_of('restic', place)}/repo"

    def run(*words):
        return place.run("restic", "-r", repository, "-o", f"s3.bucket-lookup={style}", *words, env=env)

    run("init")
    run("backup", tree)
    run("backup", tree)
    run("check", "--read-data")
    run("restore", "latest", "--target", back)
    same_tree(tree, back / tree.relative_to("/"), f"restic, {place.name}")
    run("forget", "--keep-last", "1", "--prune")


def s5cmd(place):
    if place.style == "virtual":
        return "it knows no virtual hosts but AWS's own"
    tree, back = fresh(place, "s5cmd")
    bucket = bucket_of("s5cmd", place)

    def run(*words):
        verify = ["--no-verify-ssl"] if place.secure else []
        return place.run(tool("s5cmd"), "--endpoint-url", place.endpoint, *verify, *words)

    run("mb", f"s3://{bucket}")
    run("cp", "-p", "5", f"{tree}/", f"s3://{bucket}/t/")
    equal(len(run("ls", f"s3://{bucket}/*").splitlines()), len(SIZES), "s5cmd ls")
    run("sync", f"s3://{bucket}/t/*", f"{back}/")
    same_tree(tree, back, f"s5cmd, {place.name}")
    run("rm", f"s3://{bucket}/*")
    run("rb", f"s3://{bucket}")
    return None


def awscli_v1(place):
    tree, back = fresh(place, "aws1")
    bucket = bucket_of("aws1", place)
    config = place.work / "aws1.cfg"
    config.write_text(f"[default]\ns3 =\n  addressing_style = {place.style}\n")
    env = {**place.environment(), "AWS_CONFIG_FILE": str(config)}

    def run(*words):
        return place.run(tool("aws", "aws1"), "--endpoint-url", place.endpoint, *words, env=env)

    run("s3", "mb", f"s3://{bucket}")
    run("s3", "sync", tree, f"s3://{bucket}/t/")
    run("s3", "sync", f"s3://{bucket}/t/", back)
    same_tree(tree, back, f"aws-cli 1, {place.name}")
    names = json.loads(run("s3api", "list-objects-v2", "--bucket", bucket))["Contents"]
    equal(len(names), len(SIZES), "aws-cli 1 list")
    run("s3", "rb", "--force", f"s3://{bucket}")


def python_library(name, venv=None):
    """A client that is a Python library: its steps are a script of their own, in its own interpreter."""

    def client(place):
        if place.style == "virtual" and name == "s3fs":
            return "it takes no proxy from the environment"
        script = Path(__file__).resolve().parent / "libraries" / f"{name}_steps.py"
        place.run(
            tool("python", venv),
            script,
            place.endpoint,
            bucket_of(name, place),
            place.style,
            place.cert or "-",
            env=place.environment(PYTHONDONTWRITEBYTECODE="1"),
        )
        return None

    client.__name__ = name
    return client


def aws_sdk_js(place):
    if place.style == "virtual":
        return "it takes no proxy from the environment"
    script = Path(__file__).resolve().parent / "libraries" / "aws_sdk_js_steps.mjs"
    modules = Path(os.environ["PANGEA_TEST_NODE"]) / "node_modules"
    link = place.work / "node_modules"
    link.symlink_to(modules)
    copy = place.work / script.name
    copy.write_text(script.read_text())
    place.run("node", copy, place.endpoint, bucket_of("js", place), place.style)
    return None


def tool(name, venv=None):
    """A program of this interpreter's venv, or of a sister of it."""
    here = Path(sys.prefix)
    return (here if venv is None else here.parent / f"{here.name}-{venv}") / "bin" / name


def boto3_everywhere(place):
    """boto3 itself in all four ways: over https it sends chunked bodies without any Content-Length."""
    proxies = {"http": place.proxy, "https": place.proxy} if place.style == "virtual" else {}
    s3 = boto3.client(
        "s3",
        endpoint_url=place.endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name="us-east-1",
        verify=str(place.cert) if place.secure else None,
        config=Config(s3={"addressing_style": place.style}, proxies=proxies),
    )
    bucket = bucket_of("boto3", place)
    s3.create_bucket(Bucket=bucket)
    rng = random.Random(bucket)
    for key, size in SIZES.items():
        body = random_bytes(rng, size)
        s3.put_object(Bucket=bucket, Key=key, Body=body, Tagging="a=1")
        same_bytes(s3.get_object(Bucket=bucket, Key=key)["Body"].read(), body, f"boto3, {place.name}: {key}")
    equal(s3.get_object_tagging(Bucket=bucket, Key="empty")["TagSet"], [{"Key": "a", "Value": "1"}], "tags")
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="empty", Body=b"not")
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    versions = [version for page in pages for version in page.get("Versions", [])]
    equal(len(versions), len(SIZES) + 1, "versions")
    doomed = [{"Key": version["Key"], "VersionId": version["VersionId"]} for version in versions]
    check("Errors" not in s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed}), "a delete failed")
    s3.delete_bucket(Bucket=bucket)


CLIENTS = [
    boto3_everywhere,
    s3cmd,
    rclone,
    restic,
    s5cmd,
    awscli_v1,
    python_library("pyarrow"),
    python_library("obstore"),
    python_library("s3fs", "s3fs"),
    aws_sdk_js,
]


def every_client_everywhere(_args):
    with places() as found:
        for client, place in itertools.product(CLIENTS, found):
            started = time.monotonic()
            skipped = client(place)
            told = f"left out, {skipped}" if skipped else f"{time.monotonic() - started:.1f} s"
            print(f"    {client.__name__}: {place.name}: {told}", flush=True)


def keys_do_what_was_granted_until_they_are_revoked(_args):
    """Access keys through the command line, over a restart; no secret in the log of requests or on the drives."""
    with workspace() as work:
        log = work / "requests.log"
        server = Server(make_drives(work, 1), work, ["--request-log", str(log)])
        try:
            server.start()
            root = server.client()
            root.create_bucket(Bucket="shared")
            root.put_object(Bucket="shared", Key="in/k", Body=b"x")
            grants = ("--grant", "read,list:shared/in/", "--grant", "write:shared/out/")
            made = json.loads(server.operator("key", "create", *grants, "--description", "a test", "--json"))
            server.stop()
            server.start()
            s3 = server.client(retry=False, access_key=made["id"], secret_key=made["secret"])
            same_bytes(s3.get_object(Bucket="shared", Key="in/k")["Body"].read(), b"x", "a granted read")
            s3.put_object(Bucket="shared", Key="out/k", Body=b"y")
            equal([bucket["Name"] for bucket in s3.list_buckets()["Buckets"]], ["shared"], "buckets it sees")
            for what, request in (
                ("read", lambda: s3.get_object(Bucket="shared", Key="out/k")),
                ("write", lambda: s3.put_object(Bucket="shared", Key="in/k", Body=b"z")),
                ("list", lambda: s3.list_objects_v2(Bucket="shared")),
                ("delete", lambda: s3.delete_object(Bucket="shared", Key="in/k")),
                ("bucket", lambda: s3.create_bucket(Bucket="mine")),
            ):
                with refused("AccessDenied", 403, what):
                    request()
            check(made["id"] in server.operator("key", "list"), "key list")
            check(made["secret"] not in server.operator("key", "list", "--json"), "key list shows a secret")
            server.operator("key", "revoke", made["id"])
            with refused("InvalidAccessKeyId", 403, "a revoked key"):
                s3.get_object(Bucket="shared", Key="in/k")
            server.stop()
            lines = [json.loads(line) for line in log.read_text().splitlines()]
            check(any(line["access_key"] == made["id"] and line["operation"] == "PutObject" for line in lines), "log")
            # A key that is not there any more proved nothing: its name is not taken for who asked.
            equal([line["access_key"] for line in lines if line["code"] == "InvalidAccessKeyId"], [""], "log of a stranger")
            for path in (*files_below(server.drives[0]), log, server.log):
                for secret in (made["secret"], SECRET_KEY):
                    check(secret.encode() not in path.read_bytes(), f"a secret lies in {path.name}")
        finally:
            server.kill()


CHECKS = [keys_do_what_was_granted_until_they_are_revoked, every_client_everywhere]

if __name__ == "__main__":
    main(CHECKS, Arguments(__doc__, seconds=400))
