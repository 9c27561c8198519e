"""A file system in user space whose files are drives: every write and flush of them is remembered, and power cuts can be tried.

Run as a process of its own: `recorder.py MOUNT SOCKET MOMENT`. It mounts itself at MOUNT (as root; the kernel's FUSE
protocol is spoken here, no library is needed), obeys JSON lines that come over the Unix socket, and keeps the number of
remembered writes and flushes in the file MOMENT, where others may map it. One thread does everything, so the order in
which requests are remembered is the order in which they were answered.
"""

import ctypes
import errno
import json
import mmap
import os
import selectors
import socket
import stat
import struct
import sys

from blocks import Image, Recording

# <linux/fuse.h>, protocol 7.31.
LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE, FSYNC = 1, 2, 3, 4, 14, 15, 16, 17, 18, 20
FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS, INTERRUPT, DESTROY, BATCH_FORGET = 25, 26, 27, 28, 29, 34, 36, 38, 42
IN_HEADER, OUT_HEADER = struct.Struct("<IIQQIIIHH"), struct.Struct("<IiQ")
MAJOR, MINOR = 7, 31
ASYNC_READ, BIG_WRITES, MAX_PAGES = 1 << 0, 1 << 5, 1 << 22
FOPEN_DIRECT_IO = 1
WRITE_BYTES_MAX = 1 << 20
PAGES_MAX = 256
READ_BUFFER_BYTES = WRITE_BYTES_MAX + (1 << 16)
LINE_BYTES_MAX = 1 << 20
ROOT = 1
NO_ANSWER = object()


class Drives:
    """The files: `NAME-0`, `NAME-1`, … of every recording by that name."""

    def __init__(self, moment):
        self.moment, self.recordings, self.files, self.next = moment, {}, {}, ROOT + 1
        self.counted = None
        # Drives that are pulled: how many writes they still take.
        self.pulled = {}

    def add(self, name, images, counted=False):
        recording = self.recordings[name] = Recording(images)
        for drive in range(len(images)):
            self.files[self.next] = (f"{name}-{drive}", recording, drive)
            self.next += 1
        if counted:
            self.counted = recording
            self.count(recording)

    def drop(self, name):
        gone = self.recordings.pop(name)
        self.files = {node: file for node, file in self.files.items() if file[1] is not gone}

    def node_of(self, name):
        return next((node for node, file in self.files.items() if file[0] == name), None)

    def count(self, recording):
        if recording is self.counted:
            struct.pack_into("<Q", self.moment, 0, len(recording.log))

    def write(self, node, offset, data):
        _, recording, drive = self.files[node]
        if node in self.pulled:
            self.pulled[node] -= 1
            if self.pulled[node] <= 0:
                # The half of it that arrived before the plug was out.
                recording.images[drive].write(offset, data[: len(data) // 2])
                raise OSError(errno.EIO, "the drive is pulled")
        recording.write(drive, offset, data)
        self.count(recording)

    def flush(self, node):
        _, recording, drive = self.files[node]
        recording.flush(drive)
        self.count(recording)

    def read(self, node, offset, length):
        _, recording, drive = self.files[node]
        return recording.images[drive].read(offset, length)

    def size(self, node):
        if node not in self.files:
            raise OSError(errno.ENOENT, "the drive was dropped")
        _, recording, drive = self.files[node]
        return recording.images[drive].size

    def obey(self, order):
        """Carries out an order of the control socket; its answer."""
        verb, name = order["verb"], order["name"]
        if verb == "record":
            images = [Image(os.path.getsize(path)).load(parts_of(path)) for path in order["images"]]
            self.add(name, images, counted=True)
            return {}
        if verb == "log":
            recording = self.recordings[name]
            return {"moment": len(recording.log), "flushes": recording.flushes()}
        if verb == "cut":
            images, fates = self.recordings[name].cut(order["at"], order["seed"])
            self.add(order["as"], images)
            return {"fates": fates}
        if verb == "pull":
            self.pulled[self.node_of(f"{name}-{order['drive']}")] = order["after"]
            return {}
        if verb == "drop":
            self.drop(name)
            return {}
        raise ValueError(f"no verb {verb!r}")


def parts_of(path):
    """Where a sparse file holds something, and what."""
    with open(path, "rb") as file:
        offset = 0
        while True:
            try:
                offset = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                raise
            end = os.lseek(file.fileno(), offset, os.SEEK_HOLE)
            yield offset, os.pread(file.fileno(), end - offset, offset)
            offset = end


class Fuse:
    """The kernel's requests."""

    def __init__(self, drives, mount):
        self.drives = drives
        self.fd = os.open("/dev/fuse", os.O_RDWR)
        self.buffer = bytearray(READ_BUFFER_BYTES)
        options = f"fd={self.fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mount(b"recorder", os.fsencode(mount), b"fuse.recorder", 0, options):
            raise OSError(ctypes.get_errno(), "mounting FUSE failed", mount)

    def serve(self):
        """Answers one request; False when the file system was unmounted."""
        try:
            length = os.readv(self.fd, [self.buffer])
        except OSError as error:
            if error.errno == errno.ENODEV:
                return False
            if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                return True
            raise
        _, opcode, unique, node, *_ = IN_HEADER.unpack_from(self.buffer)
        body = memoryview(self.buffer)[IN_HEADER.size : length]
        try:
            answer, code = self.handle(opcode, node, body), 0
        except OSError as error:
            answer, code = b"", -error.errno
        if answer is not NO_ANSWER:
            try:
                os.writev(self.fd, [OUT_HEADER.pack(OUT_HEADER.size + len(answer), code, unique), answer])
            except OSError as error:
                # Who asked was interrupted and waits no more.
                if error.errno != errno.ENOENT:
                    raise
        return True

    def handle(self, opcode, node, body):
        if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
            return NO_ANSWER
        if opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return self.drives.read(self.known(node), offset, size)
        if opcode == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            self.drives.write(self.known(node), offset, bytes(body[40 : 40 + size]))
            return struct.pack("<II", size, 0)
        if opcode == FSYNC:
            self.drives.flush(self.known(node))
            return b""
        return self.handle_rare(opcode, node, body)

    def handle_rare(self, opcode, node, body):
        if opcode == INIT:
            flags = ASYNC_READ | BIG_WRITES | MAX_PAGES
            numbers = (MAJOR, MINOR, 0, flags, 0, 0, WRITE_BYTES_MAX, 1, PAGES_MAX, 0)
            return struct.pack("<IIIIHHIIHH", *numbers) + bytes(32)
        if opcode == LOOKUP:
            found = self.drives.node_of(bytes(body).rstrip(b"\0").decode())
            if node != ROOT or found is None:
                raise OSError(errno.ENOENT, "no such drive")
            return struct.pack("<QQQQII", found, 0, 0, 0, 0, 0) + self.attributes(found)
        if opcode in (GETATTR, SETATTR):
            return struct.pack("<QII", 0, 0, 0) + self.attributes(node)
        if opcode in (OPEN, OPENDIR):
            return struct.pack("<QII", node, FOPEN_DIRECT_IO if opcode == OPEN else 0, 0)
        if opcode == STATFS:
            return struct.pack("<QQQQQIIII", 1 << 20, 1 << 20, 1 << 20, 1 << 10, 1 << 10, 4096, 255, 4096, 0) + bytes(24)
        if opcode in (RELEASE, RELEASEDIR, FLUSH, ACCESS, DESTROY, READDIR):
            return b""
        # Among them FALLOCATE: the loop device then offers no discards, and zeros are written as zeros.
        raise OSError(errno.ENOSYS, "not offered")

    def known(self, node):
        if node not in self.drives.files or self.drives.pulled.get(node, 1) <= 0:
            raise OSError(errno.EIO, "the drive is not there")
        return node

    def attributes(self, node):
        root = node == ROOT
        size = 0 if root else self.drives.size(node)
        mode = stat.S_IFDIR | 0o755 if root else stat.S_IFREG | 0o600
        return struct.pack("<QQQQQQIIIIIIIIII", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def main():
    mount, control, moment = sys.argv[1:]
    with open(moment, "r+b") as file:
        drives = Drives(mmap.mmap(file.fileno(), 8))
    fuse = Fuse(drives, mount)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(control)
    listener.listen(1)
    print("ready", flush=True)
    peer, _ = listener.accept()
    lines = peer.makefile("rwb")
    selector = selectors.DefaultSelector()
    selector.register(fuse.fd, selectors.EVENT_READ)
    selector.register(peer, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is peer:
                line = lines.readline(LINE_BYTES_MAX)
                if not line:
                    return
                lines.write(json.dumps(drives.obey(json.loads(line))).encode() + b"\n")
                lines.flush()
            elif not fuse.serve():
                return


if __name__ == "__main__":
    main()
