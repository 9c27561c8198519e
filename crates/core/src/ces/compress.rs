//! Compression: whether it pays, and the bounded way back.
//!
//! One zstd frame a chunk. Two samples decide first, one of entropy and one of repetitions (`trial`), so that incompressible
//! data costs under one per cent; what gains less than five per cent stays raw. `native` and `portable` (wasm32) read each other's frames; the frames themselves differ.

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(any(test, target_arch = "wasm32"))]
pub(super) mod portable;
mod trial;

#[cfg(not(target_arch = "wasm32"))]
use native as backend;
#[cfg(target_arch = "wasm32")]
use portable as backend;

/// Samples of the entropy test, spread evenly.
const SAMPLES: usize = 16;
/// Bytes of each: 8 KiB together, of which random bytes show 7.98 bits.
const SAMPLE_BYTES: usize = 512;
/// Samples for a trial of what the entropy test takes for random: it finds repetitions.
const TRIALS: usize = 3;
/// Each is this fraction of the chunk, so that small chunks stay cheap,
const TRIAL_FRACTION: usize = 32;
/// but at least this many bytes
const TRIAL_BYTES_MIN: usize = 1024;
/// and at most this many.
const TRIAL_BYTES_MAX: usize = 16 * 1024;
/// Bits a byte above which only a repetition could help.
const ENTROPY_BITS_MAX: f32 = 7.8;
/// What the trial must gain for the whole chunk to be tried.
const TRIAL_GAIN_PERCENT_MIN: usize = 3;
/// What compression must gain to be kept.
const GAIN_PERCENT_MIN: usize = 5;

/// Whether and how hard to compress.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompressPolicy {
    /// Not at all.
    Never,
    /// By zstd if a sample says that it may pay.
    Zstd {
        /// 1 (a busy machine) to 9; others are taken for the nearest of these. 3 is the usual choice.
        level: u8,
    },
}

impl CompressPolicy {
    /// The usual choice: zstd level 3.
    pub const DEFAULT: Self = Self::Zstd { level: 3 };
}

/// A zstd frame of `plain`, if the policy allows it and it gains enough. Sealing an item asks this; on its own it is for
/// measuring.
pub fn compress_chunk(plain: &[u8], policy: CompressPolicy) -> Option<Vec<u8>> {
    if !may_pay(plain, policy) {
        return None;
    }
    let mut frame = vec![0; frame_bytes_max(plain.len())];
    let bytes = compress_into(plain, policy, &mut frame)?;
    frame.truncate(bytes);
    Some(frame)
}

/// Whether the policy allows compression and the samples promise something.
pub(super) fn may_pay(plain: &[u8], policy: CompressPolicy) -> bool {
    policy != CompressPolicy::Never && (entropy_bits(plain) <= ENTROPY_BITS_MAX || has_repetitions(plain))
}

/// The longest frame that is kept of so many bytes: the room that [`compress_into`] is given.
pub(super) fn frame_bytes_max(plain_len: usize) -> usize {
    below(plain_len, GAIN_PERCENT_MIN)
}

/// Writes a frame of `plain` to the start of `room`, which is all that it may take, and says how long it is.
pub(super) fn compress_into(plain: &[u8], policy: CompressPolicy, room: &mut [u8]) -> Option<usize> {
    let CompressPolicy::Zstd { level } = policy else { return None };
    backend::compress(plain, level.clamp(1, 9), room)
}

/// The plaintext of one frame, if it is exactly `plain_len` bytes long; never makes room for more.
pub(super) fn decompress(frame: &[u8], plain_len: usize) -> Option<Vec<u8>> {
    backend::decompress(frame, plain_len)
}

/// The Shannon entropy of a sample, in bits a byte.
fn entropy_bits(plain: &[u8]) -> f32 {
    let (mut counts, mut total) = ([0u32; 256], 0);
    for sample in samples(plain, SAMPLES, SAMPLE_BYTES) {
        total += sample.len();
        sample.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
    }
    // Σ −p·log2 p with p = count ÷ total.
    let weighted = |count: &u32| *count as f32 * (*count as f32).log2();
    let sum: f32 = counts.iter().filter(|count| **count > 1).map(weighted).sum();
    (total as f32).log2() - sum / total as f32
}

fn has_repetitions(plain: &[u8]) -> bool {
    let bytes = (plain.len() / TRIAL_FRACTION).clamp(TRIAL_BYTES_MIN, TRIAL_BYTES_MAX);
    // Together, so that one sample can repeat another.
    let sample = samples(plain, TRIALS, bytes).collect::<Vec<_>>().concat();
    trial::lz4_bytes(&sample) <= below(sample.len(), TRIAL_GAIN_PERCENT_MIN)
}

/// `count` samples of `bytes` spread evenly over `plain`, or all of it if it is not longer than they are.
fn samples(plain: &[u8], count: usize, bytes: usize) -> impl Iterator<Item = &[u8]> {
    let (count, bytes) = if plain.len() <= count * bytes { (1, plain.len()) } else { (count, bytes) };
    let step = (plain.len() - bytes) / count.saturating_sub(1).max(1);
    (0..count).map(move |sample| &plain[sample * step..][..bytes])
}

/// The longest frame that still gains `percent` over `bytes`.
fn below(bytes: usize, percent: usize) -> usize {
    (bytes as u64 * (100 - percent as u64) / 100) as usize
}

#[cfg(test)]
mod tests;
