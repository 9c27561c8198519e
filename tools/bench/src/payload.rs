//! Payloads: what objects contain, made once, incompressible, different for every object, and checkable without a copy.
//!
//! Owns the ring of random bytes. An object is a window into it; its place follows from the object's number, so client and
//! bare server agree on every byte of an object by its key alone.
//!
//! Windows start 4,099 bytes apart: no two objects out of a million share an aligned 1 MiB block, so that a server
//! which stores equal blocks once (Garage does) gains nothing.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;

/// The largest object of a case.
pub const OBJECT_BYTES_MAX: u64 = 64 << 20;
/// Where windows may start; a power of two, so that an odd step visits every place before it repeats.
const STARTS: u64 = 1 << 24;
const STEP: u64 = 4099;

const UNITS: [(&str, u32); 3] = [("MiB", 20), ("KiB", 10), ("B", 0)];

/// How large the objects of a case are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ObjectSize(u64);

impl ObjectSize {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ObjectSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, shift) = UNITS
            .into_iter()
            .find(|(_, shift)| self.0 > 0 && self.0.trailing_zeros() >= *shift)
            .unwrap_or(("B", 0));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

impl FromStr for ObjectSize {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        for (unit, shift) in UNITS {
            if let Some(count) = text.strip_suffix(unit) {
                let count: u64 = count.parse().with_context(|| format!("not a size: {text:?}"))?;
                ensure!(count <= OBJECT_BYTES_MAX >> shift, "{text} is more than {}", Self(OBJECT_BYTES_MAX));
                return Ok(Self(count << shift));
            }
        }
        bail!("not a size: {text:?} (4KiB, 64MiB, …)")
    }
}

/// The bytes of all objects of a run.
pub struct Payloads(Bytes);

impl Payloads {
    /// Runs with different seeds share no bytes, so a server that was loaded before has seen none of them.
    pub fn new(seed: u64) -> Self {
        let mut state = seed;
        let mut ring = Vec::with_capacity((STARTS + OBJECT_BYTES_MAX) as usize);
        while ring.len() < (STARTS + OBJECT_BYTES_MAX) as usize {
            ring.extend_from_slice(&split_mix(&mut state).to_le_bytes());
        }
        Self(Bytes::from(ring))
    }

    /// The content of the object with this number; shared, never copied.
    pub fn object(&self, number: u64, size: ObjectSize) -> Bytes {
        let start = (number.wrapping_mul(STEP) % STARTS) as usize;
        self.0.slice(start..start + size.bytes() as usize)
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014): enough to be incompressible.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_they_are_written() {
        for (text, bytes) in [("0B", 0), ("1B", 1), ("4KiB", 4096), ("1MiB", 1 << 20), ("64MiB", 64 << 20)] {
            let size: ObjectSize = text.parse().expect(text);
            assert_eq!((size.bytes(), size.to_string().as_str()), (bytes, text));
        }
        for text in ["", "4", "KiB", "4kb", "65MiB", "-1B", "99999999999999999999MiB"] {
            assert!(text.parse::<ObjectSize>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn objects_differ_from_each_other_and_between_seeds_and_come_out_the_same_again() {
        let payloads = Payloads::new(7);
        let size: ObjectSize = "64KiB".parse().expect("a size");
        let object = payloads.object(3, size);
        assert_eq!(object.len() as u64, size.bytes());
        assert_eq!(object, payloads.object(3, size));
        assert_ne!(object, payloads.object(4, size));
        assert_ne!(object, Payloads::new(8).object(3, size));
        let mut starts: Vec<u64> = (0..100_000).map(|number| number * STEP % STARTS).collect();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts.len(), 100_000);
        let blocks: std::collections::BTreeSet<u64> =
            (0..1 << 20).map(|number| number * STEP % STARTS % (1 << 20)).collect();
        assert_eq!(blocks.len(), 1 << 20, "no shared 1 MiB block within a million objects");
    }
}
