//! Work: which request comes next, as plain data. Knows nothing of connections and clocks.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use crate::payload::ObjectSize;

/// Names an object, and with its number and size its content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Key {
    /// The first segment; keeps objects of different use apart.
    pub room: &'static str,
    /// Of the object.
    pub size: ObjectSize,
    /// Unique per server and run.
    pub number: u64,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{:010}", self.room, self.size, self.number)
    }
}

/// One request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    /// Write it.
    Put(Key),
    /// Read and compare it.
    Get(Key),
    /// Ask about it.
    Head(Key),
    /// Remove it.
    Delete(Key),
}

impl Op {
    /// Payload bytes that travel.
    pub fn bytes(&self) -> u64 {
        match self {
            Self::Put(key) | Self::Get(key) => key.size.bytes(),
            Self::Head(_) | Self::Delete(_) => 0,
        }
    }
}

/// A source of requests; all connections of a round draw from one.
pub trait Work {
    /// The next request; none when there is nothing left to do.
    fn next(&mut self) -> Option<Op>;
    /// Hears of every request that succeeded.
    fn done(&mut self, op: &Op);
}

/// One kind of request over a set of objects.
pub struct Each {
    op: fn(Key) -> Op,
    first: Key,
    count: u64,
    /// Begin again at the end.
    forever: bool,
    drawn: u64,
}

impl Each {
    /// Every object of the set once.
    pub fn once(op: fn(Key) -> Op, room: &'static str, size: ObjectSize, numbers: &Range<u64>) -> Self {
        let first = Key { room, size, number: numbers.start };
        Self { op, first, count: numbers.end.saturating_sub(numbers.start), forever: false, drawn: 0 }
    }

    /// The set again and again.
    pub fn forever(op: fn(Key) -> Op, room: &'static str, size: ObjectSize, numbers: &Range<u64>) -> Self {
        Self { forever: true, ..Self::once(op, room, size, numbers) }
    }

    /// How many were drawn.
    pub fn drawn(&self) -> u64 {
        self.drawn
    }
}

impl Work for Each {
    fn next(&mut self) -> Option<Op> {
        if self.count == 0 || (!self.forever && self.drawn == self.count) {
            return None;
        }
        let number = self.first.number + self.drawn % self.count;
        self.drawn += 1;
        Some((self.op)(Key { number, ..self.first }))
    }

    fn done(&mut self, _: &Op) {}
}

/// 45 % GET, 30 % HEAD, 15 % PUT, 10 % DELETE, in an order that is the same for every server.
///
/// Reads go to a base that stays; what is deleted was put before. So no request may ever fail.
pub struct Mixed {
    room: &'static str,
    size: ObjectSize,
    base: Range<u64>,
    next_number: u64,
    spare: VecDeque<u64>,
    drawn: u64,
}

impl Mixed {
    /// Reads `base`, writes from `next_number` on, deletes `spare` and what it wrote.
    pub fn new(
        room: &'static str,
        size: ObjectSize,
        base: Range<u64>,
        spare: Range<u64>,
        next_number: u64,
    ) -> Self {
        Self { room, size, base, next_number, spare: spare.collect(), drawn: 0 }
    }

    /// The number after the last one written.
    pub fn next_number(&self) -> u64 {
        self.next_number
    }
}

impl Work for Mixed {
    fn next(&mut self) -> Option<Op> {
        // 37 and 100 have no common divisor: each hundred holds every residue once, well mixed.
        let residue = self.drawn * 37 % 100;
        let read = self.base.start + self.drawn % (self.base.end - self.base.start).max(1);
        self.drawn += 1;
        let key = |number| Key { room: self.room, size: self.size, number };
        Some(match residue {
            0..45 => Op::Get(key(read)),
            45..75 => Op::Head(key(read)),
            90.. if !self.spare.is_empty() => Op::Delete(key(self.spare.pop_front()?)),
            _ => {
                self.next_number += 1;
                Op::Put(key(self.next_number - 1))
            }
        })
    }

    fn done(&mut self, op: &Op) {
        if let Op::Put(key) = op {
            self.spare.push_back(key.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size() -> ObjectSize {
        "4KiB".parse().expect("a size")
    }

    #[test]
    fn a_set_is_drawn_once_or_forever() {
        let numbers = |work: &mut Each, count: usize| -> Vec<u64> {
            std::iter::from_fn(|| work.next())
                .take(count)
                .map(|op| match op {
                    Op::Get(key) => key.number,
                    other => panic!("{other:?}"),
                })
                .collect()
        };
        assert_eq!(numbers(&mut Each::once(Op::Get, "r", size(), &(5..8)), 9), [5, 6, 7]);
        assert_eq!(numbers(&mut Each::forever(Op::Get, "r", size(), &(5..8)), 5), [5, 6, 7, 5, 6]);
        assert_eq!(numbers(&mut Each::forever(Op::Get, "r", size(), &(5..5)), 5), [0; 0]);
    }

    #[test]
    fn the_mix_has_its_shares_and_never_asks_for_what_is_gone() {
        let mut work = Mixed::new("mix", size(), 0..50, 50..60, 60);
        let (mut counts, mut deleted) = ([0; 4], std::collections::BTreeSet::new());
        for _ in 0..10_000 {
            let op = work.next().expect("endless");
            match op {
                Op::Get(key) => (counts[0] += 1, assert!(key.number < 50)).0,
                Op::Head(key) => (counts[1] += 1, assert!(key.number < 50)).0,
                Op::Put(_) => counts[2] += 1,
                Op::Delete(key) => {
                    (counts[3] += 1, assert!(key.number >= 50 && deleted.insert(key.number))).0
                }
            }
            work.done(&op);
        }
        assert_eq!(counts, [4500, 3000, 1500, 1000]);
    }

    #[test]
    fn keys_sort_as_their_numbers() {
        let key = |number| Key { room: "r", size: size(), number }.to_string();
        assert_eq!(key(7), "r/4KiB/0000000007");
        assert!(key(99_999) < key(100_000));
    }
}
