"""Runs a checkout of ceph/s3-tests against a server that it starts, and compares with what is recorded.

`run.py --suite DIR` reads tests/s3/results.txt: one line a test, `passed NAME`, `failed NAME` or `skipped NAME`. A test
that passed and does not any more is an error; one that passes and did not must be recorded (`--record`). The suite's own
files stay where they are; nothing of it is part of this project.
"""

import argparse
import configparser
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from harness import Server, make_drives, workspace  # noqa: E402  (the harness lies beside us)

RESULTS = HERE / "results.txt"
# The files of the suite that speak S3; the others are about IAM, STS, SNS and S3 Select.
FILES = ("test_s3.py", "test_headers.py")
USERS = ("s3 main", "s3 alt", "s3 tenant", "iam", "iam root", "iam alt root")
TEST_SECONDS = 120
WORKERS = "4"


def make_key(server, name):
    """An access key that may do everything with the buckets that it makes."""
    made = server.operator("key", "create", "--grant", "all:@own", "--description", f"s3-tests {name}", "--json")
    return json.loads(made)


def configuration(server):
    """The suite's configuration, with a key for each of its users."""
    config = configparser.RawConfigParser()
    config["DEFAULT"] = {"host": "127.0.0.1", "port": str(server.port), "is_secure": "False", "ssl_verify": "False"}
    config["fixtures"] = {"bucket prefix": "s3tests-{random}-", "iam name prefix": "s3t-", "iam path prefix": "/s3t/"}
    for name in USERS:
        key = make_key(server, name)
        config[name] = {
            "display_name": key["id"],
            "user_id": key["id"],
            "email": f"{name.replace(' ', '.')}@example.com",
            "access_key": key["id"],
            "secret_key": key["secret"],
            # us-east-1 is said by saying nothing.
            "api_name": "",
        }
    config["s3 tenant"]["tenant"] = "tenant"
    config["webidentity"] = {
        name: "none"
        for name in ("token", "aud", "sub", "azp", "user_token", "thumbprint", "KC_REALM")
    }
    return config


def run_suite(suite, config_file, report):
    files = [str(Path("s3tests/functional") / name) for name in FILES]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", WORKERS, "--tb=line"]
    command += [f"--timeout={TEST_SECONDS}", f"--junitxml={report}", *files]
    environment = {**os.environ, "S3TEST_CONF": str(config_file), "PYTHONDONTWRITEBYTECODE": "1"}
    # It fails where a test fails; what counts is the report.
    subprocess.run(command, cwd=suite, env=environment, stdout=subprocess.DEVNULL, check=False)


def read_report(report):
    """Outcome by test."""
    outcomes = {}
    for case in xml.etree.ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname').rsplit('.', 1)[-1]}::{case.get('name')}"
        kinds = {child.tag for child in case}
        bad = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        # A test whose teardown fails is reported twice.
        outcomes[name] = "failed" if outcomes.get(name) == "failed" else bad
    return outcomes


def read_recorded():
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    pairs = (line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: outcome for outcome, name in pairs}


def record(outcomes):
    lines = [f"{outcome} {name}" for name, outcome in sorted(outcomes.items())]
    RESULTS.write_text("# What ceph/s3-tests says of this server; written by `cargo xtask s3-tests --record`.\n")
    with RESULTS.open("a") as file:
        file.write("\n".join(lines) + "\n")


def compare(outcomes, recorded):
    """What is not as recorded, in words."""
    wrong = []
    for name in sorted({*outcomes, *recorded}):
        now, then = outcomes.get(name, "missing"), recorded.get(name, "unknown")
        if now != "passed" and then == "passed":
            wrong.append(f"newly {now}: {name}")
        elif now == "passed" and then != "passed":
            wrong.append(f"newly passing, record it with --record: {name}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, required=True, help="a checkout of ceph/s3-tests")
    parser.add_argument("--record", action="store_true", help="write the outcomes down instead of comparing them")
    args = parser.parse_args()
    if not (args.suite / "s3tests/functional/test_s3.py").exists():
        sys.exit(f"{args.suite} is no checkout of ceph/s3-tests")
    with workspace() as work, tempfile.TemporaryDirectory() as scratch:
        server = Server(make_drives(work, 1), work)
        try:
            server.start()
            config_file, report = Path(scratch) / "s3tests.conf", Path(scratch) / "report.xml"
            with config_file.open("w") as file:
                configuration(server).write(file)
            run_suite(args.suite.resolve(), config_file, report)
            alive = server.is_running()
            if not report.exists() or not alive:
                print(server.log_tail())
                sys.exit("the server ended" if not alive else "the suite could not be run: is pytest installed?")
            outcomes = read_report(report)
        finally:
            server.kill()
    wrong = [] if args.record else compare(outcomes, read_recorded())
    if args.record:
        record(outcomes)
    for line in wrong:
        print(line)
    counts = {kind: sum(outcome == kind for outcome in outcomes.values()) for kind in ("passed", "failed", "skipped")}
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
