//! Dice: every random choice of a run, all of them drawn from one root seed.
//!
//! A stream is named by a label, so that one part of the world drawing once more does not disturb the others: a change in
//! the disk model leaves the workload of a seed as it was. (SplitMix64, Steele, Lea and Flood 2014.)

use std::sync::{Mutex, PoisonError};

use pangea_core::seam::Entropy;

/// One stream of choices.
#[derive(Clone, Debug)]
pub struct Dice {
    state: u64,
}

impl Dice {
    /// The stream `label` of a seed.
    pub fn new(seed: u64, label: &str) -> Self {
        let start =
            label.bytes().fold(mix(seed ^ 0x5041_4e47_4541), |state, byte| mix(state ^ u64::from(byte)));
        Self { state: start }
    }

    /// 64 random bits.
    pub fn u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number in `0..end`; 0 if `end` is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.u64()) * u128::from(end)) >> 64) as u64
    }

    /// A number in `from..=to`.
    pub fn between(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from).saturating_add(1))
    }

    /// An index into something of that length.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// True in `permille` of a thousand cases.
    pub fn chance(&mut self, permille: u64) -> bool {
        self.below(1000) < permille
    }

    /// One of these, by weight.
    pub fn weighted<T: Copy>(&mut self, choices: &[(u64, T)]) -> T {
        let total = choices.iter().map(|(weight, _)| weight).sum();
        let mut at = self.below(total);
        for (weight, choice) in choices {
            if at < *weight {
                return *choice;
            }
            at -= weight;
        }
        choices.last().expect("there is a choice").1
    }

    /// One of these.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.index(choices.len())]
    }

    /// Any order, all equally likely.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.index(last + 1));
        }
    }

    /// Random bytes.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for part in bytes.chunks_mut(8) {
            let word = self.u64().to_le_bytes();
            part.copy_from_slice(&word[..part.len()]);
        }
    }

    /// Random bytes, as an array.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.fill(&mut bytes);
        bytes
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Dice as the randomness that the product draws ids and keys from.
pub struct SimEntropy(Mutex<Dice>);

impl SimEntropy {
    /// Draws from this stream.
    pub fn new(dice: Dice) -> Self {
        Self(Mutex::new(dice))
    }
}

impl Entropy for SimEntropy {
    fn fill(&self, bytes: &mut [u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_repeats_and_labels_tell_streams_apart() {
        let draw = |seed, label| {
            let mut dice = Dice::new(seed, label);
            [dice.u64(), dice.u64(), dice.u64()]
        };
        assert_eq!(draw(7, "disk"), draw(7, "disk"));
        assert_ne!(draw(7, "disk"), draw(7, "net"));
        assert_ne!(draw(7, "disk"), draw(8, "disk"));
    }

    #[test]
    fn numbers_stay_in_range_and_reach_both_ends() {
        let mut dice = Dice::new(1, "range");
        let drawn: Vec<u64> = (0..1000).map(|_| dice.between(3, 6)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&3), Some(&6)));
        assert_eq!((dice.below(0), dice.below(1)), (0, 0));
    }
}
