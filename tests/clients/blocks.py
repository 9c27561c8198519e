"""What a drive holds, block by block, what was written and flushed, and what a power cut leaves of it. No input or output.

The model is that of a drive with a volatile cache: a flush makes durable whatever was written before it. Of later writes
each may be on the medium, missing, or there in part (units of 512 B or 4 KiB), in any order. Of two writes to one place the
later one may be missing; the earlier one never comes back over it.
"""

import random

PAGE = 4096
SECTOR = 512
ZEROS = bytes(PAGE)
FLUSH = None


class Image:
    """The bytes of a drive: pages of which most are zero. A copy costs next to nothing."""

    def __init__(self, size, pages=None):
        self.size, self.pages = size, pages if pages is not None else {}

    def copy(self):
        return Image(self.size, dict(self.pages))

    def load(self, parts):
        """Takes in `parts` of another image: pairs of an offset and bytes, in whole pages."""
        for offset, data in parts:
            for at in range(0, len(data), PAGE):
                if data[at : at + PAGE] != ZEROS:
                    self.pages[(offset + at) // PAGE] = data[at : at + PAGE]
        return self

    def read(self, offset, length):
        first, last = offset // PAGE, (offset + length + PAGE - 1) // PAGE
        found = b"".join([self.pages.get(number, ZEROS) for number in range(first, last)])
        return found[offset - first * PAGE :][:length]

    def write(self, offset, data):
        at = 0
        while at < len(data):
            number, inside = divmod(offset + at, PAGE)
            part = data[at : at + PAGE - inside]
            if len(part) < PAGE:
                page = self.pages.get(number, ZEROS)
                part = page[:inside] + part + page[inside + len(part) :]
            self.pages[number] = bytes(part)
            at += PAGE - inside


class Recording:
    """Drives that remember every write and flush, in the order in which they came. The length of the log is the moment."""

    def __init__(self, images):
        self.start = [image.copy() for image in images]
        self.images = images
        # (drive, offset, bytes), or (drive, FLUSH, None).
        self.log = []
        self.replay = None

    def write(self, drive, offset, data):
        self.images[drive].write(offset, data)
        self.log.append((drive, offset, data))

    def flush(self, drive):
        self.log.append((drive, FLUSH, None))

    def flushes(self):
        """The moments of all flushes, each with how many writes of all drives were not flushed just before."""
        found, waiting = [], [0] * len(self.start)
        for at, (drive, offset, _) in enumerate(self.log):
            if offset is FLUSH:
                found.append((at, sum(waiting)))
                waiting[drive] = 0
            else:
                waiting[drive] += 1
        return found

    def cut(self, at, seed):
        """The drives as a power cut of all of them at the moment `at` may leave them; and what that did to how many writes."""
        if self.replay is None or self.replay.moment > at:
            self.replay = Replay(self.start)
        self.replay.advance(self.log, at)
        rng, fates = random.Random(seed), {}
        images = [self.replay.survivors(drive, rng, fates) for drive in range(len(self.start))]
        return images, fates


class Replay:
    """A walk along a log: what is durable, and what is only written."""

    def __init__(self, start):
        self.moment, self.durable = 0, [image.copy() for image in start]
        self.waiting = [[] for _ in start]

    def advance(self, log, to):
        for drive, offset, data in log[self.moment : to]:
            if offset is FLUSH:
                for place, content in self.waiting[drive]:
                    self.durable[drive].write(place, content)
                self.waiting[drive].clear()
            else:
                self.waiting[drive].append((offset, data))
        self.moment = to

    def survivors(self, drive, rng, fates):
        """One drive's image. Drives that lose power together lose different things."""
        image, waiting = self.durable[drive].copy(), self.waiting[drive]
        mood = rng.choice(["none", "all", "prefix", "some", "torn", "torn"])
        end = rng.randrange(len(waiting) + 1)
        keep, tear = rng.random(), 0.5 if mood == "torn" else 0.0
        for number, (offset, data) in enumerate(waiting):
            survives = {"none": False, "all": True, "prefix": number < end}.get(mood, rng.random() < keep)
            torn = rng.random() < tear or (mood == "prefix" and number == end)
            fate = "torn" if torn else "kept" if survives else "lost"
            fates[fate] = fates.get(fate, 0) + 1
            if torn:
                write_torn(image, offset, data, rng)
            elif survives:
                image.write(offset, data)
        return image


def write_torn(image, offset, data, rng):
    """The first units of a write, or any of them."""
    unit = rng.choice([SECTOR, PAGE])
    units = -(-len(data) // unit)
    count = rng.randrange(units + 1)
    there = range(count) if rng.random() < 0.5 else sorted(rng.sample(range(units), count))
    for number in there:
        image.write(offset + number * unit, data[number * unit : (number + 1) * unit])
