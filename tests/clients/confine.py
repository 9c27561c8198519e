"""A memory limit around a server: a control group of its own, where this machine lets us make one."""

import contextlib
import os
from pathlib import Path

from harness import KIB, MIB, Server, check, make_drives, workspace

V2 = Path("/sys/fs/cgroup")
V1 = Path("/sys/fs/cgroup/memory")


class Group:
    """A control group with a memory limit; `prefix` starts a command inside."""

    def __init__(self, directory, peak):
        self.directory, self.peak = directory, peak

    @property
    def prefix(self):
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.directory / "cgroup.procs")]

    def peak_bytes(self):
        """The most that was ever charged, page cache included; None where the kernel does not count it."""
        with contextlib.suppress(OSError, ValueError):
            return int((self.directory / self.peak).read_text())
        return None

    def killed(self):
        """How many processes the kernel killed in here for want of memory."""
        for name in ("memory.events", "memory.oom_control"):
            with contextlib.suppress(OSError):
                for line in (self.directory / name).read_text().splitlines():
                    if line.startswith("oom_kill "):
                        return int(line.split()[1])
        return 0


def make(limit_bytes):
    """A group, or the reason why there is none."""
    if (V2 / "cgroup.controllers").exists():
        directory, limit, peak = V2 / f"pangea-{os.getpid()}", "memory.max", "memory.peak"
        with contextlib.suppress(OSError):
            (V2 / "cgroup.subtree_control").write_text("+memory")
    elif (V1 / "memory.limit_in_bytes").exists():
        directory, limit, peak = V1 / f"pangea-{os.getpid()}", "memory.limit_in_bytes", "memory.max_usage_in_bytes"
    else:
        return None, "there are no control groups for memory"
    try:
        directory.mkdir(exist_ok=True)
        (directory / limit).write_text(str(limit_bytes))
        with contextlib.suppress(OSError):
            (directory / "memory.swap.max").write_text("0")
    except OSError as error:
        with contextlib.suppress(OSError):
            directory.rmdir()
        return None, f"no control group can be made: {error}"
    return Group(directory, peak), None


@contextlib.contextmanager
def limited(limit_bytes):
    """A group (or None) and the reason why there is none (or None); removed at the end."""
    group, reason = make(limit_bytes)
    try:
        yield group, reason
    finally:
        if group:
            with contextlib.suppress(OSError):
                group.directory.rmdir()


class Confined(Server):
    """A server in a group, where there is one. Without one it does not know of the limit and must keep to it all the same
    only where its memory is that of a small machine: then it is measured and not judged."""

    group = None

    def launch(self, prefix=()):
        super().launch([*(self.group.prefix if self.group else ()), *prefix])

    def keeps_to(self, limit_bytes):
        """It must run still, and within the limit."""
        check(self.is_running(), "the server ended")
        if self.group:
            check(not self.group.killed(), "the kernel killed the server for want of memory")
            check(self.rss_bytes() < limit_bytes, f"{self.rss_bytes() // MIB} MiB of memory")

    def rss_bytes(self, field="VmHWM"):
        """Resident memory: the most there ever was, or with `VmRSS` what there is."""
        with open(f"/proc/{self.process.pid}/status") as status:
            line = next((line for line in status if line.startswith(field + ":")), None)
        check(line, "the server has ended")
        return int(line.split()[1]) * KIB

    def charged(self):
        """What the kernel charged at most, in words."""
        peak = self.group.peak_bytes() if self.group else None
        return f", {peak // MIB} MiB charged with the page cache" if peak else ""


@contextlib.contextmanager
def confined(limit_bytes, drive_count, bucket):
    """A server with that limit, and a bucket. At the end it must run still, and within the limit."""
    with limited(limit_bytes) as (group, reason), workspace() as work:
        if reason:
            print(f"    not confined, only measured: {reason}", flush=True)
        server = Confined(make_drives(work, drive_count), work)
        server.group = group
        try:
            server.start()
            server.client().create_bucket(Bucket=bucket)
            yield server
            server.keeps_to(limit_bytes)
        except BaseException:
            print(server.log_tail(), flush=True)
            raise
        finally:
            server.kill()
