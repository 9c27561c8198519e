"""Several nodes as one: joined by token, written and read through any of them, killed, paused and cut off.

The first check makes a cluster by hand, as the README does. The second runs `pangea dev-cluster` with fourteen nodes in five
sites under a load whose every answer is remembered, and does to it what happens to machines.
"""

import json
import os
import random
import signal
import subprocess
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from harness import (
    ACCESS_KEY,
    KIB,
    MIB,
    SECRET_KEY,
    Arguments,
    Failed,
    Server,
    binary,
    check,
    clean_environment,
    equal,
    free_port,
    main,
    random_bytes,
    read_object,
    run_pangea,
    same_bytes,
    workspace,
)

BUCKET = "cluster"
SIZES = [0, 10, 4 * KIB, 5 * KIB, 100 * KIB, MIB, 6 * MIB + 5]
NODES, SITES = 14, 5
# What fourteen shards of 10+4 bear, and what writing bears.
LOST_FOR_READING, LOST_FOR_WRITING = 4, 3
# A dead node is noticed within this.
NOTICED_SECONDS = 5
RACERS = 12
# Objects of the load that are remembered and read again.
REMEMBERED = 400


def node(work, name, *more):
    """A server that other nodes reach, not started yet."""
    home = work / name
    home.mkdir()
    listen = f"127.0.0.1:{free_port()}"
    server = Server([home / "drive"], home, ["--node-listen", listen, "--label", f"host={name}", *more])
    server.node_listen = listen
    return server


def token(server):
    return json.loads(server.operator("cluster", "init", "--json"))["token"]


def join(server, with_token):
    """Starts it as a newcomer; the token is for the first start only."""
    server.args += ["--join", with_token]
    server.start()
    server.args = server.args[:-2]
    return server


def wait_for(what, holds, seconds=30):
    began = time.monotonic()
    while not holds():
        check(time.monotonic() - began < seconds, f"not within {seconds} s: {what}")
        time.sleep(0.1)
    return time.monotonic() - began


def ups(server):
    return sum(found["state"] == "up" for found in server.status()["nodes"])


def three_nodes_are_one_store(args):
    rng = random.Random(args.seed)
    with workspace() as work:
        servers = [node(work, f"n{number}") for number in range(3)]
        try:
            story_of_three(rng, work, servers)
        except BaseException:
            for server in servers:
                print(server.log_tail(), flush=True)
            raise
        finally:
            for server in servers:
                server.kill()


def story_of_three(rng, work, servers):
    first, second, third = servers
    first.start()
    ticket = token(first)
    wrong_tokens_are_refused(work, first, ticket)
    join(second, ticket)
    join(third, ticket)
    for server in servers:
        wait_for("three nodes answer each other", lambda server=server: ups(server) == 3)
    clients = [server.client(retry=False) for server in servers]
    clients[2].create_bucket(Bucket=BUCKET)
    objects = {}
    for number, size in enumerate(SIZES * 2):
        key, body = f"k{number}", random_bytes(rng, size)
        clients[number % 3].put_object(Bucket=BUCKET, Key=key, Body=body)
        objects[key] = body
    everywhere(clients, objects)
    one_winner(clients)
    keys_are_known_everywhere(servers)
    # A directory that is a cluster of its own is not swallowed by another.
    alone = node(work, "alone")
    alone.start()
    alone.stop()
    alone.args += ["--join", ticket]
    alone.refuses_to_start("belong to another cluster already")
    # A node killed and back, and the keeper of the metadata.
    third.kill()
    everywhere(clients[:2], objects)
    for number, size in enumerate(SIZES):
        key, body = f"without{number}", random_bytes(rng, size)
        clients[number % 2].put_object(Bucket=BUCKET, Key=key, Body=body)
        objects[key] = body
    first.kill()
    refused_for_now(clients[1])
    third.launch()
    first.start()
    wait_for("the third is ready", lambda: third.http_status("/health/ready") == 200)
    first.wait_until_whole()
    everywhere(clients, objects)
    a_node_leaves(first, third, clients, objects)


def wrong_tokens_are_refused(work, first, ticket):
    prefix, rest = ticket.split("-", 1)
    slipped = f"{prefix}-{'1' if rest[0] != '1' else '2'}{rest[1:]}"
    other = node(work, "other-cluster")
    other.start()
    foreign = token(other)
    other.kill()
    # The secret of another cluster, to this one's door.
    newcomer = node(work, "newcomer")
    for text, words in [
        ("nonsense", ["token"]),
        (slipped, ["token"]),
        (foreign, ["cannot be joined", "refused"]),
        (f"{foreign.split('@')[0]}@{first.node_listen}", ["another node", "other node", "cannot be joined"]),
    ]:
        newcomer.args = [*newcomer.args[:4], "--join", text]
        newcomer.refuses_to_start(*words)
    newcomer.args = ["--join", ticket]
    newcomer.refuses_to_start("--node-listen")
    newcomer.args = ["--node-listen", "0.0.0.0:0", "--join", ticket]
    newcomer.refuses_to_start("--advertise", "HOST:PORT")
    equal(len(first.status()["nodes"]), 1, "nodes after all that")


def everywhere(clients, objects):
    for at, client in enumerate(clients):
        for key, body in objects.items():
            same_bytes(read_object(client, BUCKET, key), body, f"{key} through node {at}")
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        listed = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        check(set(objects) <= set(listed), f"the listing of node {at} lacks {set(objects) - set(listed)}")


def one_winner(clients):
    """Conditional writes through three gateways at once."""
    won, lost = [], []

    def race(number):
        try:
            clients[number % 3].put_object(Bucket=BUCKET, Key="race", Body=str(number).encode(), IfNoneMatch="*")
            won.append(number)
        except ClientError as error:
            lost.append(error.response["Error"]["Code"])

    racers = [threading.Thread(target=race, args=(number,)) for number in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    equal((len(won), set(lost)), (1, {"PreconditionFailed"}), "winners and what the others were told")
    for client in clients:
        same_bytes(read_object(client, BUCKET, "race"), str(won[0]).encode(), "what the winner wrote")
        # So that listings that are compared know nothing of it.
    clients[0].delete_object(Bucket=BUCKET, Key="race")


def keys_are_known_everywhere(servers):
    made = json.loads(servers[1].operator("key", "create", "--grant", f"read,list:{BUCKET}", "--json"))
    mine = {"access_key": made["id"], "secret_key": made["secret"]}
    for server in servers:
        server.client(retry=False, **mine).list_objects_v2(Bucket=BUCKET)
    servers[2].operator("key", "revoke", made["id"])
    for server in servers:
        try:
            server.client(retry=False, **mine).list_objects_v2(Bucket=BUCKET)
        except ClientError as error:
            equal(error.response["Error"]["Code"], "InvalidAccessKeyId", "a revoked key")
        else:
            raise Failed("a key that was revoked through another node works")


def refused_for_now(client):
    """Without the node that keeps the metadata: a clear 503, and nothing half done."""
    for act in (
        lambda: client.put_object(Bucket=BUCKET, Key="never", Body=b"x" * 9000),
        lambda: client.get_object(Bucket=BUCKET, Key="k1"),
    ):
        began = time.monotonic()
        try:
            act()
        except ClientError as error:
            equal(error.response["ResponseMetadata"]["HTTPStatusCode"], 503, "the answer meanwhile")
        else:
            raise Failed("a request was answered without the metadata")
        check(time.monotonic() - began < 10, "a refusal takes no ten seconds")


def a_node_leaves(first, leaving, clients, objects):
    listed = {found["addresses"][0]: found for found in first.status()["nodes"]}
    name = listed[leaving.node_listen]["key"][:12]
    refused_by_operator(first, "drives are in the layout", "node", "remove", name)
    first.operator("node", "drain", name, "--force")
    wait_for("the drained node holds nothing", lambda: not drives_of(first, listed[leaving.node_listen]["node"]), 120)
    first.operator("node", "remove", name)
    equal(len(first.status()["nodes"]), 2, "nodes that are left")
    leaving.kill()
    first.wait_until_whole()
    everywhere(clients[:2], objects)


def drives_of(server, name):
    return [drive for drive in server.status()["drives"] if drive["node"] == name]


def refused_by_operator(server, word, *command):
    result = subprocess.run(
        [binary(), *command, "--admin", server.admin], capture_output=True, text=True, timeout=60, check=False,
        env=clean_environment(),
    )
    check(result.returncode != 0 and word in result.stderr, f"wanted `{word}`: {result.stdout}{result.stderr}")


class Load(threading.Thread):
    """Writes and reads through nodes that are meant to answer; remembers what was acknowledged."""

    def __init__(self, lab, rng):
        super().__init__(daemon=True)
        self.lab, self.rng = lab, rng
        self.objects, self.reads, self.writes, self.refused, self.wrong = {}, 0, 0, [], []
        self.ended = threading.Event()

    def run(self):
        number = 0
        while not self.ended.is_set():
            nodes = self.lab.listening()
            client = self.lab.clients[self.rng.choice(nodes)]
            try:
                if number % 3 == 0 or not self.objects:
                    key, body = f"o{number}", random_bytes(self.rng, self.rng.choice(SIZES))
                    client.put_object(Bucket=BUCKET, Key=key, Body=body)
                    self.objects[key] = body
                    self.writes += 1
                    if len(self.objects) > REMEMBERED:
                        # What is remembered is held in memory; the oldest has been read often.
                        self.objects.pop(next(iter(self.objects)))
                else:
                    key = self.rng.choice(list(self.objects))
                    if read_object(client, BUCKET, key) != self.objects[key]:
                        self.wrong.append(key)
                    self.reads += 1
            except (ClientError, BotoCoreError) as error:
                self.refused.append((time.monotonic(), str(error)[:160]))
            number += 1

    def end(self):
        self.ended.set()
        self.join(60)
        check(not self.is_alive(), "the load does not end")
        equal(self.wrong, [], "objects with wrong bytes")


class Lab:
    """A dev cluster, and which of its nodes are meant to answer now."""

    def __init__(self, work):
        self.dir, self.port = work / "lab", 20_000 + os.getpid() % 20_000
        self.out, self.process, self.away = work / "out", None, set()
        self.clients = [self.client(number) for number in range(NODES)]

    def client(self, number):
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.port + number}",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name="us-east-1",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=60),
        )

    def start(self):
        listen = ["--listen", f"127.0.0.1:{self.port}"]
        shape = ["--nodes", str(NODES), "--sites", str(SITES), "--dir", str(self.dir)]
        keys = clean_environment(PANGEA_ROOT_ACCESS_KEY=ACCESS_KEY, PANGEA_ROOT_SECRET_KEY=SECRET_KEY)
        with open(self.out, "wb") as out:
            self.process = subprocess.Popen([binary(), "dev-cluster", *shape, *listen], stdout=out, stderr=out, env=keys)
        took = wait_for("the cluster is ready", self.is_ready, 180)
        print(f"    {NODES} nodes in {SITES} sites started in {took:.1f} s", flush=True)

    def is_ready(self):
        text = self.out.read_text()
        check(self.process.poll() is None, f"the cluster ended: {text}")
        return "Play with it" in text

    def stop(self):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            ended, self.process = self.process.wait(90), None
            return ended

    def listening(self):
        return [number for number in range(NODES) if number + 1 not in self.away]

    def play(self, what, *numbers):
        """Does something to nodes, which are meant to be away from then on."""
        # Nobody asks them while it happens.
        self.away |= set(numbers)
        time.sleep(0.3)
        run_pangea(["dev-cluster", what, "--dir", str(self.dir), *map(str, numbers)])

    def heal(self):
        keys = clean_environment(PANGEA_ROOT_ACCESS_KEY=ACCESS_KEY, PANGEA_ROOT_SECRET_KEY=SECRET_KEY)
        command = [binary(), "dev-cluster", "heal", "--dir", str(self.dir)]
        result = subprocess.run(command, capture_output=True, text=True, env=keys, timeout=150, check=False)
        equal(result.returncode, 0, f"heal: {result.stdout}{result.stderr}")
        self.away = set()

    def status(self):
        return json.loads(run_pangea(["status", "--json", "--admin", f"http://127.0.0.1:{self.port + 1000}"]))

    def wait_until_whole(self):
        return wait_for("all data is whole", lambda: self.status()["whole"], 150)


def fourteen_nodes_lose_four_a_few_and_all(args):
    rng = random.Random(args.seed)
    with workspace() as work:
        lab = Lab(work)
        load = Load(lab, rng)
        try:
            lab.start()
            lab.clients[5].create_bucket(Bucket=BUCKET)
            equal(lab.status()["layout"]["code"], "10+4", "the code of fourteen nodes")
            lab.wait_until_whole()
            load.start()
            story_of_fourteen(rng, lab, load)
        except BaseException:
            print(lab.out.read_text(), flush=True)
            for log in sorted(lab.dir.glob("node-*/log")):
                print(f"--- {log.parent.name}\n{log.read_bytes()[-1500:].decode(errors='replace')}", flush=True)
            raise
        finally:
            load.ended.set()
            lab.stop()


def story_of_fourteen(rng, lab, load):
    # The first keeps the metadata; its end is told below.
    others = range(2, NODES + 1)
    for what, count in (("kill", LOST_FOR_READING), ("partition", LOST_FOR_WRITING), ("pause", LOST_FOR_WRITING)):
        before = len(load.refused)
        numbers = rng.sample(others, count)
        began = time.monotonic()
        lab.play(what, *numbers)
        time.sleep(NOTICED_SECONDS + 2)
        late = [why for at, why in load.refused[before:] if at > began + NOTICED_SECONDS + 1]
        equal(late, [], f"requests refused long after `{what}` of {numbers}")
        everything_is_there(lab, load)
        lab.heal()
        took = lab.wait_until_whole()
        print(
            f"    {what} {numbers}: {len(load.refused) - before} requests refused meanwhile, whole {took:.1f} s after heal; "
            f"{load.writes} writes and {load.reads} reads so far",
            flush=True,
        )
    load.end()
    everything_is_there(lab, load)
    lab.play("kill", *range(1, NODES + 1))
    lab.heal()
    took = wait_for("all nodes answer", lambda: all(found["state"] == "up" for found in lab.status()["nodes"]))
    everything_is_there(lab, load)
    print(f"    all {NODES} killed at once: {len(load.objects)} objects exact, all nodes up after {took:.1f} s", flush=True)


def everything_is_there(lab, load):
    nodes = lab.listening()
    for at, (key, body) in enumerate(list(load.objects.items())):
        same_bytes(read_object(lab.clients[nodes[at % len(nodes)]], BUCKET, key), body, key)


if __name__ == "__main__":
    main([three_nodes_are_one_store, fourteen_nodes_lose_four_a_few_and_all], Arguments(__doc__, seconds=600))
