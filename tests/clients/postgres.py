"""Three nodes whose metadata lies in one PostgreSQL: any node serves everything, and any process may die.

The server is a real one in a temporary directory, killed and started again like the nodes. What must not be started is
refused: another cluster's database, an empty one, none, one that does not let us in.
"""

import contextlib
import functools
import json
import os
import pwd
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from botocore.exceptions import ClientError, HTTPClientError

from harness import KIB, Arguments, Failed, Server, boto_list, check, clean_environment, equal, free_port, main
from harness import make_drives, random_bytes, read_object, refused, run_pangea, same_bytes, serving, workspace

NODES = 3
# One of three shards is enough to read, two are needed to write.
CODE = "1+2"
PASSWORD = "p4ssword-of-the-database"
# How long a request waits for the database here.
PATIENCE = 4
TAKEOVER_SECONDS = 30
DATABASE_SECONDS = 30
SIZES = [0, 1, 4 * KIB, 100 * KIB, 700 * KIB]
BUCKET = "shared"
# What the binary ends with.
BAD_CONFIGURATION, BAD_METADATA, BAD_CLUSTER = 2, 5, 10


class Database:
    """A PostgreSQL server of one's own."""

    def __init__(self, work):
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        check(versions, "PostgreSQL is not installed: apt-get install postgresql")
        self.programs = versions[-1]
        self.port = free_port()
        self.directory = work / "postgres"
        self.directory.mkdir(mode=0o700)
        self.log = work / "postgres.log"
        self.process = None
        secret = work / "password"
        secret.write_text(PASSWORD)
        if os.geteuid() == 0:
            # It refuses to run as root.
            shutil.chown(self.directory, "postgres")
            shutil.chown(secret, "postgres")
            work.chmod(0o755)
        how = ["-A", "scram-sha-256", "--pwfile", secret, "-E", "UTF8", "--no-locale", "-N"]
        self.run("initdb", "-D", self.directory, "-U", "postgres", *how)

    def command(self, program, *args):
        as_owner = []
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            as_owner = ["--reuid", str(owner.pw_uid), "--regid", str(owner.pw_gid), "--clear-groups"]
        command = ["setpriv", "--pdeathsig", "KILL", *as_owner, self.programs / program, *args]
        return [str(part) for part in command]

    def run(self, program, *args):
        environment = clean_environment(PGPASSWORD=PASSWORD)
        done = subprocess.run(
            self.command(program, *args), cwd="/", env=environment, capture_output=True, timeout=60, check=False
        )
        check(done.returncode == 0, f"{program}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode()

    def start(self):
        """Starts it, or starts it again after it was killed."""
        (self.directory / "postmaster.pid").unlink(missing_ok=True)
        where = ["-D", self.directory, "-p", self.port, "-k", self.directory, "-h", "127.0.0.1"]
        with open(self.log, "ab") as log:
            command = self.command("postgres", *where, "-c", "max_connections=200")
            self.process = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        started = time.monotonic()
        while time.monotonic() - started < DATABASE_SECONDS:
            check(self.process.poll() is None, f"PostgreSQL ended: {self.log.read_text()[-2000:]}")
            with contextlib.suppress(Failed):
                self.run("pg_isready", "-q", "-h", "127.0.0.1", "-p", self.port)
                return
            time.sleep(0.1)
        raise Failed("PostgreSQL did not start")

    def kill(self):
        """SIGKILL: its children notice by themselves."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def sql(self, statement):
        self.run("psql", "-h", "127.0.0.1", "-p", self.port, "-U", "postgres", "-c", statement)

    def make(self, name):
        """Makes an empty database; its URL."""
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def url(self, name, password=PASSWORD):
        return f"postgres://postgres:{password}@127.0.0.1:{self.port}/{name}"


class Node(Server):
    """A server that is told of a database."""

    def __init__(self, work, name, url, *args):
        directory = work / name
        directory.mkdir()
        super().__init__(make_drives(directory, 1), directory, args)
        self.name, self.url = name, url

    def environment(self):
        named = {"PANGEA_META": self.url} if self.url else {}
        return {**super().environment(), **named, "PANGEA_META_PATIENCE": str(PATIENCE)}

    def refuses(self, code, *words, url=None, args=()):
        """Started with `url`, it must end with that exit code, saying all `words` and no password."""
        done = subprocess.run(
            [*self.command(), *args],
            env={**self.environment(), **({"PANGEA_META": url} if url else {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
        text = done.stdout.decode(errors="replace")
        equal(done.returncode, code, f"exit of {self.name}: {text}")
        missing = [word for word in words if word not in text]
        check(not missing, f"{self.name} does not say {missing}: {text}")
        check(PASSWORD not in text, f"{self.name} shows the password: {text}")
        print(f"    refused: {text.strip().splitlines()[-1][:200]}", flush=True)

    def worker(self, name):
        """How a worker is, on this node."""
        return next(worker["state"] for worker in self.status()["workers"] if worker["name"] == name)


class Load:
    """Writes objects through all nodes, one try each, and remembers what became of them."""

    def __init__(self, nodes, prefix):
        self.nodes, self.prefix, self.going = nodes, prefix, True
        self.kept, self.failed, self.lock = {}, [], threading.Lock()
        self.threads = [threading.Thread(target=self.write, args=(number,)) for number in range(2 * len(nodes))]
        for thread in self.threads:
            thread.start()

    def write(self, number):
        s3 = self.nodes[number % len(self.nodes)].client(retry=False)
        rng = random.Random(number)
        count = 0
        while self.going:
            key, body = f"{self.prefix}/{number}/{count:05}", random_bytes(rng, rng.choice(SIZES))
            try:
                s3.put_object(Bucket=BUCKET, Key=key, Body=body)
                with self.lock:
                    self.kept[key] = (body, time.monotonic())
            except (ClientError, HTTPClientError) as error:
                response = getattr(error, "response", {})
                status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", type(error).__name__)
                with self.lock:
                    self.failed.append((status, response.get("Error", {}).get("Code"), time.monotonic()))
                time.sleep(0.1)
            count += 1

    def end(self):
        self.going = False
        for thread in self.threads:
            thread.join()
        return self

    def kept_since(self, moment):
        with self.lock:
            return sum(1 for _, when in self.kept.values() if when > moment)


class Cluster:
    """The nodes, and the checks in their order."""

    def __init__(self, work, database):
        self.work, self.database = work, database
        self.url = database.make("pangea")
        self.bodies = {}
        port = free_port()
        self.nodes = [Node(work, "node0", self.url, "--node-listen", f"127.0.0.1:{port}", "--erasure", CODE)]

    def start(self, stack):
        first = stack.enter_context(serving(self.nodes[0]))
        self.token = self.make_token(first)
        for number in range(1, NODES):
            # Through any member.
            token = self.make_token(self.nodes[-1])
            args = ["--node-listen", f"127.0.0.1:{free_port()}", "--join", token]
            self.nodes.append(stack.enter_context(serving(Node(self.work, f"node{number}", self.url, *args))))

    def told(self, function):
        """The same check; when it fails, all logs are shown."""

        @functools.wraps(function)
        def checked(args):
            try:
                return function(args)
            except BaseException:
                for node in self.nodes:
                    print(f"{node.name}: {node.log_tail()}", flush=True)
                raise

        return checked

    def make_token(self, node):
        return json.loads(node.operator("cluster", "init", "--json"))["token"]

    def steward(self):
        """The node that does the shared work; none at the moment: None."""
        found = [node for node in self.nodes if node.is_running() and node.worker("completion") != "elsewhere"]
        check(len(found) < 2, f"two stewards: {[node.name for node in found]}")
        return found[0] if found else None

    def wait_for_steward(self, other_than=None):
        started = time.monotonic()
        while True:
            steward = self.steward()
            waited = time.monotonic() - started
            if steward and steward is not other_than:
                print(f"    {steward.name} is the steward after {waited:.1f} s", flush=True)
                return steward
            check(waited < TAKEOVER_SECONDS, f"no steward after {waited:.0f} s")
            time.sleep(0.3)

    def wait_for_repair_by(self, node):
        """What the one before left undone, this one does: the node that came back gets shards."""
        started = time.monotonic()
        while not re.search(r"this node is the steward(.|\n)*\b[1-9][0-9]* shards written", node.log.read_text()):
            check(time.monotonic() - started < 20, f"the new steward mends nothing: {node.log_tail()}")
            time.sleep(0.3)

    def all_exact(self, node, when):
        s3 = node.client()
        equal(boto_list(s3, BUCKET), sorted(self.bodies), f"listing through {node.name} {when}")
        for key, body in self.bodies.items():
            same_bytes(read_object(s3, BUCKET, key), body, f"{key} through {node.name} {when}")

    def any_node_serves_everything(self, args):
        rng = random.Random(args.seed)
        self.nodes[0].client().create_bucket(Bucket=BUCKET)
        for number, node in enumerate(self.nodes):
            s3 = node.client()
            for size in SIZES:
                key = f"{node.name}/{size}"
                self.bodies[key] = random_bytes(rng, size)
                s3.put_object(Bucket=BUCKET, Key=key, Body=self.bodies[key])
            gone = f"{node.name}/gone"
            s3.put_object(Bucket=BUCKET, Key=gone, Body=b"x")
            other = self.nodes[(number + 1) % NODES].client()
            other.delete_object(Bucket=BUCKET, Key=gone)
            with refused("NoSuchKey", 404, "what another node deleted"):
                read_object(s3, BUCKET, gone)
        for node in self.nodes:
            self.all_exact(node, "at first")
        status = self.nodes[1].status()
        equal(status["metadata"]["engine"], "postgres", "the engine")
        check(any("standby" in note for note in status["metadata"]["notes"]), "nothing is said of a missing standby")
        equal(len(status["nodes"]), NODES, "nodes")
        self.wait_for_steward()
        for node in self.nodes:
            done = subprocess.run(
                [*self.backup(node)], env=clean_environment(), capture_output=True, timeout=60, check=False
            )
            said = done.stderr.decode(errors="replace")
            check(done.returncode > 0 and "PostgreSQL" in said, f"a backup by {node.name}: {said}")

    def backup(self, node):
        return [os.environ["PANGEA_BIN"], "meta", "backup", str(self.work / "backup"), "--admin", node.admin]

    def of_racing_writers_through_three_gateways_one_wins(self, _args):
        clients = [node.client(retry=False) for node in self.nodes]
        for round_number in range(15):
            key, results = f"race/{round_number:02}", [None] * (2 * NODES)
            barrier = threading.Barrier(len(results))

            def race(number, key=key, results=results, barrier=barrier):
                barrier.wait()
                try:
                    clients[number % NODES].put_object(
                        Bucket=BUCKET, Key=key, Body=f"of {number}".encode(), IfNoneMatch="*"
                    )
                    results[number] = 200
                except ClientError as error:
                    results[number] = error.response["ResponseMetadata"]["HTTPStatusCode"]

            threads = [threading.Thread(target=race, args=(number,)) for number in range(len(results))]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            equal(results.count(200), 1, f"winners of {key}: {results}")
            # 409: two were at it at the same moment.
            check(set(results) <= {200, 409, 412}, f"answers to {key}: {results}")
            self.bodies[key] = f"of {results.index(200)}".encode()
            for client in clients:
                same_bytes(read_object(client, BUCKET, key), self.bodies[key], key)

    def any_node_may_be_killed_and_another_is_steward(self, _args):
        steward = self.wait_for_steward()
        others = [node for node in self.nodes if node is not steward]
        others[0].kill()
        # These lack the shards of the one that is down.
        s3 = steward.client()
        for number in range(12):
            key = f"with-two/{number:02}"
            self.bodies[key] = f"{number}".encode() * (10 + 7000 * number)
            s3.put_object(Bucket=BUCKET, Key=key, Body=self.bodies[key])
        equal(steward.status()["whole"], False, "whole with a node down")
        steward.kill()
        others[0].start()
        s3 = others[1].client()
        for key in list(self.bodies)[-12:]:
            same_bytes(read_object(s3, BUCKET, key), self.bodies[key], f"{key} with the steward down")
        next_one = self.wait_for_steward(other_than=steward)
        self.wait_for_repair_by(next_one)
        steward.start()
        self.nodes[0].wait_until_whole(30)
        equal(self.wait_for_steward().name, next_one.name, "the steward once all are back")
        for node in self.nodes:
            self.all_exact(node, "after the kills")

    def the_database_is_killed_under_load_and_nothing_is_lost(self, _args):
        load = Load(self.nodes, "load")
        time.sleep(1.5)
        self.database.kill()
        died = time.monotonic()
        time.sleep(2.5 * PATIENCE)
        self.database.start()
        back = time.monotonic()
        while load.kept_since(back) < 20:
            check(time.monotonic() - back < 20, f"requests do not go well again: {load.failed[-3:]}")
            time.sleep(0.1)
        load.end()
        statuses = {(status, code) for status, code, _ in load.failed}
        equal({status for status, _ in statuses}, {503}, f"answers while the database was away ({statuses})")
        check(load.kept_since(0) > load.kept_since(died) > 0, "the load did not go on before and after")
        print(f"    {len(load.kept)} objects kept, {len(load.failed)} requests answered {statuses}", flush=True)
        # What was answered 503 may be there; what was acknowledged must be.
        listed = boto_list(self.nodes[2].client(), BUCKET)
        equal(sorted(set(load.kept) - set(listed)), [], "acknowledged and not listed")
        clients = [node.client() for node in self.nodes]
        for number, (key, (body, _)) in enumerate(load.kept.items()):
            same_bytes(read_object(clients[number % NODES], BUCKET, key), body, key)
        self.wait_for_steward()

    def a_server_on_its_own_becomes_the_first_of_a_cluster(self, args):
        single = self.single = Node(self.work, "single", self.database.make("other"), "--erasure", "1+1")
        added, body = self.work / "added", random_bytes(random.Random(args.seed), 300 * KIB)
        added.mkdir()
        with serving(single):
            equal(single.status()["metadata"]["engine"], "postgres", "the engine of a single server")
            check(single.worker("completion") != "elsewhere", "a single server does its own work")
            single.operator("drive", "add", str(added))
            single.client().create_bucket(Bucket=BUCKET)
            single.client().put_object(Bucket=BUCKET, Key="own", Body=body)
            single.stop()
            single.args += ["--node-listen", f"127.0.0.1:{free_port()}"]
            single.start()
            status = single.status()
            equal([drive["state"] for drive in status["drives"]], ["ok", "ok"], "its drives, one of them added")
            equal([node["is_steward"] for node in status["nodes"]], [True], "a node alone is the steward")
            same_bytes(read_object(single.client(), BUCKET, "own"), body, "what it held before")
            single.stop()

    def what_does_not_belong_together_is_refused(self, _args):
        empty, single = self.database.make("empty"), self.single
        embedded = Node(self.work, "embedded", None)
        with serving(embedded):
            embedded.stop()
        joins = lambda: ["--node-listen", f"127.0.0.1:{free_port()}", "--join", self.token]
        new = lambda name, url: Node(self.work, name, url, *joins())
        new("new-empty", empty).refuses(BAD_METADATA, "holds no cluster")
        new("new-other", single.url).refuses(BAD_CLUSTER, "--meta", "same database")
        new("new-none", None).refuses(BAD_CLUSTER, "PostgreSQL", "--meta")
        single.refuses(BAD_METADATA, "belongs to cluster", url=self.url)
        single.refuses(BAD_METADATA, "is empty, but the drives know", url=empty)
        single.refuses(BAD_METADATA, "not let us in", url=self.database.url("other", "wrong"))
        single.refuses(BAD_METADATA, "no such database", url=self.database.url("nowhere"))
        embedded.refuses(BAD_METADATA, "lies on its drives", url=empty)
        single.url, url = None, single.url
        single.refuses(BAD_METADATA, "--meta")
        single.url = url
        embedded.refuses(BAD_CONFIGURATION, "PANGEA_META", url=f"mysql://u:{PASSWORD}@h/d")
        self.nodes[1].stop()
        self.nodes[1].url, url = None, self.nodes[1].url
        self.nodes[1].refuses(BAD_METADATA, "PostgreSQL", "--meta")
        self.nodes[1].url = url
        self.nodes[1].start()
        shown = run_pangea(["config", "--json", "--meta", self.url, "dir"])
        check(PASSWORD not in shown and "127.0.0.1" in shown, f"config shows {shown}")
        self.starts_wait_for_a_server_that_is_not_there(single)

    def starts_wait_for_a_server_that_is_not_there(self, single):
        single.url = single.url.replace(f":{self.database.port}/", f":{free_port()}/")
        single.launch()
        started = time.monotonic()
        while "waiting for the database" not in single.log.read_text():
            check(single.is_running() and time.monotonic() - started < 15, f"it does not wait\n{single.log_tail()}")
            time.sleep(0.1)
        single.process.send_signal(signal.SIGTERM)
        check(single.process.wait(10) > 0, "a start that was given up is no success")
        single.process = None

    def all_nodes_end_in_order_and_are_back(self, _args):
        for node in self.nodes:
            node.stop()
        for node in self.nodes:
            node.start()
        steward = self.wait_for_steward()
        marked = [node for node in steward.status()["nodes"] if node["is_steward"]]
        equal([node["is_this"] for node in marked], [True], f"the steward's own mark {json.dumps(marked)}")
        self.nodes[0].wait_until_whole(30)


def run():
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(workspace())
        database = Database(work)
        stack.callback(database.kill)
        database.start()
        cluster = Cluster(work, database)
        cluster.start(stack)
        checks = [
            cluster.any_node_serves_everything,
            cluster.of_racing_writers_through_three_gateways_one_wins,
            cluster.any_node_may_be_killed_and_another_is_steward,
            cluster.the_database_is_killed_under_load_and_nothing_is_lost,
            cluster.a_server_on_its_own_becomes_the_first_of_a_cluster,
            cluster.what_does_not_belong_together_is_refused,
            cluster.all_nodes_end_in_order_and_are_back,
        ]
        try:
            main([cluster.told(check) for check in checks], Arguments(__doc__, seconds=150))
        except SystemExit as end:
            status = end.code
    sys.exit(status)


if __name__ == "__main__":
    run()
