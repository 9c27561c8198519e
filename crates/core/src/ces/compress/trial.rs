//! The trial: how long the LZ4 block of a sample would be, without writing it.
//!
//! LZ4 finds repetitions and nothing else, and passes over random bytes in ever longer steps; zstd's fastest level takes ten
//! times as long to say the same, most of it to set itself up. Only `compress` asks.

/// Bytes that a match repeats at least, and that are hashed to find it.
const MATCH_BYTES_MIN: usize = 4;
/// log2 of the places that are remembered.
const TABLE_LOG2: u32 = 12;
/// After so many places (log2) without a match the steps become one byte longer.
const PATIENCE_LOG2: u32 = 6;
/// What a match takes: its token and two bytes of distance.
const MATCH_COST: usize = 3;
/// The farthest back that two bytes reach.
const DISTANCE_MAX: usize = u16::MAX as usize;
/// A length counts up to 15 in the token, then in bytes of 255.
const LENGTH_STEP: usize = 255;

/// Bytes that an LZ4 block of `sample` takes, literals and matches; greedy, as its fastest level.
pub(super) fn lz4_bytes(sample: &[u8]) -> usize {
    let mut seen = [0_u32; 1 << TABLE_LOG2];
    let (mut cost, mut literals, mut at, mut misses) = (0, 0, 0, 1 << PATIENCE_LOG2);
    while let Some(word) = word(sample, at) {
        let slot = &mut seen[(word.wrapping_mul(2_654_435_761) >> (u32::BITS - TABLE_LOG2)) as usize];
        // Places are remembered plus one: zero is nobody.
        let before = std::mem::replace(slot, at as u32 + 1) as usize;
        let is_match =
            before > 0 && at + 1 - before <= DISTANCE_MAX && self::word(sample, before - 1) == Some(word);
        if !is_match {
            let step = misses >> PATIENCE_LOG2;
            misses += 1;
            literals += step;
            at += step;
            continue;
        }
        let (from, here) = (&sample[before - 1..], &sample[at..]);
        let len = from.iter().zip(here).take_while(|(a, b)| a == b).count();
        cost += literals + literals / LENGTH_STEP + MATCH_COST + len / LENGTH_STEP;
        (literals, misses) = (0, 1 << PATIENCE_LOG2);
        at += len;
    }
    // What is left behind the last step, and what that step passed over.
    let literals = (literals + sample.len()).saturating_sub(at);
    cost + literals + literals / LENGTH_STEP
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk::<MATCH_BYTES_MIN>().map(|word| u32::from_le_bytes(*word))
}

#[cfg(test)]
mod tests {
    use super::lz4_bytes;

    fn noise(bytes: usize) -> Vec<u8> {
        let mut out = vec![0; bytes];
        blake3::Hasher::new().finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn noise_gains_nothing_and_its_repetition_nearly_all() {
        for bytes in [0, 1, 3, 4, 5, 100, 1024, 49_152, 200_000] {
            let once = noise(bytes);
            let cost = lz4_bytes(&once);
            assert!((bytes..=bytes + bytes / 200 + 1).contains(&cost), "{bytes}: {cost}");
            if (16..=50_000).contains(&bytes) {
                let twice = lz4_bytes(&once.repeat(2));
                assert!(twice < bytes + bytes / 10 + 40, "{bytes} twice: {twice}");
            }
        }
        assert!(lz4_bytes(&[7; 50_000]) < 300);
    }

    #[test]
    fn words_are_found_again() {
        let text = "the quick brown fox jumps over the lazy dog; the dog sleeps; ".repeat(3);
        assert!(lz4_bytes(text.as_bytes()) < text.len() / 2);
        let sparse: Vec<u8> =
            noise(30_000).chunks(90).flat_map(|c| [c, &b"0123456789"[..]].concat()).collect();
        assert!(lz4_bytes(&sparse) < sparse.len() * 97 / 100, "a tenth of it repeats");
    }
}
