//! The figures behind docs/decisions/0001-formats.md: what sizes cost, what ranges read, how long manifests get.
//!
//! Arithmetic only, the same on every machine: `cargo run -p pangea-core --example format_figures`.

use pangea_core::ces::item::ITEM_OVERHEAD_BYTES;
use pangea_core::ces::segments_for;
use pangea_core::chunk::{Aead, Code, Codec, Shape};
use pangea_core::chunker::{self, record_bytes, stripe_bytes};
use pangea_core::id::BucketId;
use pangea_core::keys::{KeyRef, WrappedKey};
use pangea_core::manifest::{BlobHead, ChunkEntry, Manifest};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
/// Sizes drawn evenly over the logarithm.
const SIZES: u32 = 4000;
const TAG: usize = 16;

fn main() {
    overhead();
    alternatives();
    range_reads();
    manifests();
}

fn code(k: u8, m: u8) -> Code {
    Code::new(k, m).expect("a valid code")
}

fn log_uniform(from: u64, to: u64) -> impl Iterator<Item = u64> {
    let (from, to) = (from as f64, to as f64);
    (0..SIZES).map(move |i| (from * (to / from).powf((f64::from(i) + 0.5) / f64::from(SIZES))) as u64)
}

/// Mean of bytes on the drives over bytes of the object, and all bytes over all bytes.
fn ratios(from: u64, to: u64, cost: impl Fn(u64) -> f64) -> String {
    let (mut ratios, mut drives, mut bytes) = (0.0, 0.0, 0.0);
    for len in log_uniform(from, to) {
        let on_drives = cost(len);
        ratios += on_drives / len as f64;
        drives += on_drives;
        bytes += len as f64;
    }
    format!("mean {:.3}, by bytes {:.3}", ratios / f64::from(SIZES), drives / bytes)
}

/// What a blob of incompressible bytes takes.
fn blob(code: Code, len: u64) -> f64 {
    let chunk = u64::from(chunker::plan(Some(len), code).expect("not too long"));
    let fit = |bytes: u32| chunker::fit(code, Aead::Aes256Gcm, Codec::Raw, bytes, bytes).expect("it fits");
    (0..len).step_by(chunk as usize).map(|at| stripe_bytes(&fit(chunk.min(len - at) as u32)) as f64).sum()
}

/// The same object as one item of a full pack without holes: its share of a chunk that has no tags of its own.
fn packed(code: Code, len: u64) -> f64 {
    let pack_bytes = chunker::chunk_bytes_max(code);
    let shape = chunker::fit(code, Aead::Packed, Codec::Raw, pack_bytes, pack_bytes).expect("it fits");
    (len + ITEM_OVERHEAD_BYTES as u64) as f64 * stripe_bytes(&shape) as f64 / f64::from(pack_bytes)
}

fn overhead() {
    println!("bytes on the drives over bytes of the object, 10+4, incompressible");
    let code = code(10, 4);
    let model = Model::OURS;
    for (from, to) in [(16 * KIB, 5 * MIB), (128 * KIB, 5 * MIB), (5 * MIB, 64 * MIB)] {
        println!("  {} KiB to {} KiB: {}", from / KIB, to / KIB, ratios(from, to, |len| blob(code, len)));
    }
    for (from, to) in [(16 * KIB, 5 * MIB), (128 * KIB, 5 * MIB)] {
        let cost = |len| Model { smaller_k: false, ..model }.cost(code, len);
        println!("  {} KiB to {} KiB, k always 10: {}", from / KIB, to / KIB, ratios(from, to, cost));
    }
    for limit in [64 * KIB, 128 * KIB, 256 * KIB] {
        let cost = |len| if len < limit { packed(code, len) } else { blob(code, len) };
        println!(
            "  16 KiB to 5 MiB, full packs below {} KiB: {}",
            limit / KIB,
            ratios(16 * KIB, 5 * MIB, cost)
        );
    }
    for kib in [16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 5120] {
        let len = kib * KIB;
        println!(
            "  {kib} KiB: {:.3}, in a full pack {:.3}",
            blob(code, len) / len as f64,
            packed(code, len) / len as f64
        );
    }
}

/// A way of laying a chunk out, for comparison.
#[derive(Clone, Copy)]
struct Model {
    pieces_max: usize,
    /// Only powers of two.
    power_of_two: bool,
    /// Tag bytes at the end of every piece.
    tag: usize,
    /// Bytes more in every shard's header for each data piece of the chunk.
    header_per_piece: usize,
    smaller_k: bool,
}

impl Model {
    const OURS: Self =
        Self { pieces_max: 16, power_of_two: false, tag: TAG, header_per_piece: 0, smaller_k: true };

    /// Bytes of a one-chunk object on the drives: the cheapest layout that the model allows.
    fn cost(&self, code: Code, len: u64) -> f64 {
        let ks = if self.smaller_k { 1..=code.k() } else { code.k()..=code.k() };
        let costs =
            ks.flat_map(|k| (0..=9).filter_map(move |log2| self.stripe(k, code.m(), 1024 << log2, len)));
        costs.min().expect("a chunk fits") as f64
    }

    fn stripe(&self, k: u8, m: u8, piece: usize, len: u64) -> Option<usize> {
        let segments = (len as usize).div_ceil(piece - self.tag);
        let pieces = segments.div_ceil(k.into());
        let pieces = if self.power_of_two { pieces.next_power_of_two() } else { pieces };
        // A shard stays within 512 KiB, but for the two pieces that the last bytes of 5 MiB may need.
        let fits = pieces <= self.pieces_max && piece * pieces <= 544 * 1024;
        let header = self.header_per_piece * pieces * usize::from(k);
        let record = (record_bytes(piece, pieces) + header).next_multiple_of(4096);
        let rounded = if header == 0 { record_bytes(piece, pieces) } else { record };
        fits.then_some(rounded * usize::from(k + m))
    }
}

fn alternatives() {
    println!("one chunk of 16 KiB to 5 MiB less the tags, other layouts");
    let full = u64::from(chunker::chunk_bytes_max(code(10, 4)));
    let ours = Model::OURS;
    let models = [
        ("ours: 16 pieces, tags in the pieces", ours),
        ("32 pieces", Model { pieces_max: 32, ..ours }),
        ("64 pieces", Model { pieces_max: 64, ..ours }),
        ("8 pieces", Model { pieces_max: 8, ..ours }),
        ("one piece of 2^j KiB a shard", Model { pieces_max: 1, ..ours }),
        ("the same, k always 10", Model { pieces_max: 1, smaller_k: false, ..ours }),
        ("all tags in every header", Model { tag: 0, header_per_piece: TAG, ..ours }),
        ("tags in the manifest", Model { tag: 0, ..ours }),
    ];
    for (name, model) in models {
        let all = ratios(16 * KIB, full, |len| model.cost(code(10, 4), len));
        let large = ratios(128 * KIB, full, |len| model.cost(code(10, 4), len));
        println!("  {name}: 16 KiB up: {all}; 128 KiB up: {large}");
    }
    for len in [64 * KIB, 2662 * KIB] {
        let model = Model { pieces_max: 1, smaller_k: false, ..ours };
        println!(
            "  {} KiB as one power of two, k 10: {:.2}",
            len / KIB,
            model.cost(code(10, 4), len) / len as f64
        );
    }
}

fn range_reads() {
    let plain = chunker::chunk_bytes_max(code(10, 4));
    let shape = chunker::fit(code(10, 4), Aead::Aes256Gcm, Codec::Raw, plain, plain).expect("it fits");
    let (mut most, mut sum, mut offsets, mut at_most) = (0, 0_u64, 0_u64, 0_u64);
    for start in 0..=plain - 65_536 {
        let reads = segments_for(&shape, start..start + 65_536);
        let bytes: usize = reads.iter().map(|read| read.pieces.len() * shape.piece_bytes()).sum();
        at_most = if bytes > most { 1 } else { at_most + u64::from(bytes == most) };
        most = most.max(bytes);
        sum += bytes as u64;
        offsets += 1;
    }
    assert!(most <= 128 * 1024, "a 64 KiB range reads at most 128 KiB");
    println!(
        "64 KiB at each of the {offsets} offsets of a {plain}-byte chunk ({} x {} KiB pieces a shard):",
        shape.pieces,
        shape.piece_bytes() / 1024
    );
    println!(
        "  most {} KiB (at {at_most} offsets), mean {:.2} KiB",
        most / 1024,
        sum as f64 / offsets as f64 / 1024.0
    );
}

fn manifests() {
    let chunk = chunker::chunk_bytes_max(code(10, 4));
    let head = BlobHead {
        chunk_bytes: chunk,
        aead: Aead::Aes256Gcm,
        code: code(10, 4),
        key: KeyRef { bucket: BucketId([1; 16]), generation: 1 },
        data_key: WrappedKey { nonce: [2; 12], sealed: [3; 48] },
    };
    let entry = |payload: u32| -> ChunkEntry {
        let codec = if payload < chunk { Codec::Zstd } else { Codec::Raw };
        let shape: Shape =
            chunker::fit(code(10, 4), Aead::Aes256Gcm, codec, chunk, payload).expect("it fits");
        ChunkEntry { shape, salt: 0, layout_epoch: 1 }
    };
    println!("manifests at 10+4, {chunk} bytes a chunk");
    for (name, bytes) in [("5 GB", 5_000_000_000_u64), ("5 TB", 5_000_000_000_000), ("50 TiB", 50 << 40)] {
        let chunks = bytes / u64::from(chunk);
        let (mut equal, mut different) = (Manifest::new(head.clone()), Manifest::new(head.clone()));
        let entries = [entry(chunk), entry(chunk / 2), entry(chunk / 2 - 1)];
        for number in 0..chunks {
            equal.push(entries[0]).expect("a full chunk");
            different.push(entries[1 + (number % 2) as usize]).expect("a full chunk");
        }
        let (equal, spilled) = (equal.encoded_len(), different.encoded_len());
        println!(
            "  {name}: {chunks} full chunks, {equal} bytes if all are alike, {spilled} if none is like its neighbour"
        );
    }
    println!("  10,000 parts: {} bytes of list", 5 + 10_000 * 32);
}
