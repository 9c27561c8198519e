//! MD5, several streams at once: for S3's entity tags, and for nothing that must resist an attacker.
//!
//! One stream cannot be made fast: each of its steps waits for the one before. But steps of different streams go into the
//! lanes of one register, and sixteen streams then cost little more than two. A stream is an [`Md5`] that is fed as bytes
//! come; [`advance`] feeds many. Pure; who gathers streams, and when, is the business of `client`.

mod compress;
#[cfg(test)]
mod tests;
mod wide;

use compress::{BLOCK_BYTES, LANES_MAX, States};

/// Bytes of a hash.
pub const MD5_BYTES: usize = 16;

const START: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
/// The length in bits stands in the last bytes of the last block.
const LENGTH_BYTES: usize = 8;

/// A stream that is being hashed.
#[derive(Clone, Debug)]
pub struct Md5 {
    state: [u32; 4],
    /// Bytes taken so far; the last `len % 64` of them wait in `tail`.
    len: u64,
    tail: [u8; BLOCK_BYTES],
}

impl Default for Md5 {
    fn default() -> Self {
        Self::new()
    }
}

impl Md5 {
    /// A stream of no bytes yet.
    pub const fn new() -> Self {
        Self { state: START, len: 0, tail: [0; BLOCK_BYTES] }
    }

    /// The hash of bytes that are all there.
    pub fn hash(bytes: &[u8]) -> [u8; MD5_BYTES] {
        let mut md5 = Self::new();
        md5.update(bytes);
        md5.finish()
    }

    /// Takes the next bytes. Where several streams have bytes, [`advance`] does it for less.
    pub fn update(&mut self, bytes: &[u8]) {
        advance(&mut [(self, bytes)]);
    }

    /// The hash of all bytes taken.
    pub fn finish(mut self) -> [u8; MD5_BYTES] {
        let bits = self.len.wrapping_mul(8);
        let waiting = self.waiting();
        let mut end = [0; 2 * BLOCK_BYTES];
        end[..waiting].copy_from_slice(&self.tail[..waiting]);
        end[waiting] = 0x80;
        let blocks = if waiting + 1 + LENGTH_BYTES <= BLOCK_BYTES { 1 } else { 2 };
        end[blocks * BLOCK_BYTES - LENGTH_BYTES..][..LENGTH_BYTES].copy_from_slice(&bits.to_le_bytes());
        self.take_blocks(&end, blocks);
        let mut hash = [0; MD5_BYTES];
        hash.as_chunks_mut::<4>().0.iter_mut().zip(self.state).for_each(|(b, word)| *b = word.to_le_bytes());
        hash
    }

    /// How many bytes wait for the rest of their block.
    fn waiting(&self) -> usize {
        (self.len % BLOCK_BYTES as u64) as usize
    }

    fn take_blocks(&mut self, bytes: &[u8], blocks: usize) {
        let mut state = self.state.map(|word| [word]);
        compress::compress(&mut state, &[bytes], blocks);
        self.state = state.map(|[word]| word);
    }

    /// Completes a block that waits, if `bytes` suffice; what is left of them.
    fn complete<'b>(&mut self, bytes: &'b [u8]) -> &'b [u8] {
        let waiting = self.waiting();
        if waiting == 0 {
            return bytes;
        }
        let (now, rest) = bytes.split_at(bytes.len().min(BLOCK_BYTES - waiting));
        self.tail[waiting..waiting + now.len()].copy_from_slice(now);
        self.len += now.len() as u64;
        if self.waiting() == 0 {
            let block = self.tail;
            self.take_blocks(&block, 1);
        }
        rest
    }
}

/// Gives each stream its next bytes, as [`Md5::update`] does, many streams at a time. The byte slices are empty afterwards.
///
/// Best with as many streams as there are, and similar lengths: what is left when a stream ends runs with fewer lanes.
pub fn advance(streams: &mut [(&mut Md5, &[u8])]) {
    for (md5, bytes) in streams.iter_mut() {
        *bytes = md5.complete(bytes);
    }
    for group in streams.chunks_mut(wide::lanes()) {
        while lockstep(group) {}
    }
    for (md5, bytes) in streams {
        md5.tail[..bytes.len()].copy_from_slice(bytes);
        md5.len += bytes.len() as u64;
        *bytes = &[];
    }
}

/// Takes as many whole blocks as all have that have any; whether there were any.
fn lockstep(group: &mut [(&mut Md5, &[u8])]) -> bool {
    let mut active = [0; LANES_MAX];
    let (mut count, mut blocks) = (0, usize::MAX);
    for (number, (_, bytes)) in group.iter().enumerate().filter(|(_, (_, b))| b.len() >= BLOCK_BYTES) {
        active[count] = number;
        count += 1;
        blocks = blocks.min(bytes.len() / BLOCK_BYTES);
    }
    let active = &active[..count];
    match count {
        0 => return false,
        1 => take(group, active, blocks, compress::compress::<1>),
        2 => take(group, active, blocks, wide::compress_2),
        3..=4 => take(group, active, blocks, compress::compress::<4>),
        5..=8 => take(group, active, blocks, wide::compress_8),
        _ => take(group, active, blocks, wide::compress_16),
    }
    true
}

/// Takes `blocks` blocks of each active stream in N lanes; lanes too many do the last stream's work and are forgotten.
fn take<const N: usize>(
    group: &mut [(&mut Md5, &[u8])],
    active: &[usize],
    blocks: usize,
    compress: fn(&mut States<N>, &[&[u8]; N], usize),
) {
    let stream = |lane: usize| active[lane.min(active.len() - 1)];
    let lanes: [&[u8]; N] = std::array::from_fn(|lane| group[stream(lane)].1);
    let mut states: States<N> =
        std::array::from_fn(|word| std::array::from_fn(|lane| group[stream(lane)].0.state[word]));
    compress(&mut states, &lanes, blocks);
    for (lane, number) in active.iter().enumerate() {
        let (md5, bytes) = &mut group[*number];
        md5.state = states.map(|row| row[lane]);
        md5.len += (blocks * BLOCK_BYTES) as u64;
        *bytes = &bytes[blocks * BLOCK_BYTES..];
    }
}
