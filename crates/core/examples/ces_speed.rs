//! How fast one core seals, opens, rebuilds and checks a full chunk: `cargo run --release -p pangea-core --example ces_speed`.
//!
//! Prints GB/s (10^9) of plaintext, the median of several rounds. A figure for the README comes from `pangea-bench`, which
//! compares with a named peer in the same run; this one is for whoever works on `ces`.

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use pangea_core::ces::{
    CompressPolicy, OpenChunk, SealChunk, check_shard, open_range, pieces_of, rebuild, seal_chunk_in,
};
use pangea_core::chunk::{Aead, Code, Codec};
use pangea_core::chunker::{chunk_bytes_max, fit};
use pangea_core::erasure;
use pangea_core::id::BlobId;
use pangea_core::keys::DataKey;

const ROUNDS: usize = 9;

fn main() {
    let code = Code::new(10, 4).expect("a valid code");
    for (name, plain) in [
        ("noise", noise(chunk_bytes_max(code) as usize)),
        ("text", text(chunk_bytes_max(code) as usize)),
        ("noise 64 KiB", noise(64 * 1024)),
        ("noise 4 KiB", noise(4096)),
    ] {
        for aead in [Aead::Aes256Gcm, Aead::XChaCha20Poly1305] {
            measure(name, code, aead, &plain);
        }
    }
    measure_erasure(code);
    let lens: Vec<u32> = (1..=10_000).map(|number| number * 500).collect();
    let start = Instant::now();
    for len in &lens {
        black_box(fit(code, Aead::Aes256Gcm, Codec::Raw, *len, *len));
    }
    println!("fit: {:.2} us a chunk", start.elapsed().as_secs_f64() * 1e6 / lens.len() as f64);
}

fn measure(name: &str, code: Code, aead: Aead, plain: &[u8]) {
    let (key, blob) = (DataKey::new([7; 32]), BlobId([1; 16]));
    let job = SealChunk {
        blob,
        chunk: 0,
        code,
        aead,
        key: &key,
        compress: CompressPolicy::DEFAULT,
        layout_epoch: 1,
        audit: &[0; 162],
        plain,
    };
    let mut pool = BytesMut::new();
    let seal = rate(plain.len(), || drop(black_box(seal_chunk_in(&job, &mut pool))));
    let raw = SealChunk { compress: CompressPolicy::Never, ..job };
    let never = rate(plain.len(), || drop(black_box(seal_chunk_in(&raw, &mut pool))));
    let sealed = seal_chunk_in(&job, &mut pool);
    let shape = sealed.shape;
    let opening = OpenChunk { blob, chunk: 0, shape: &shape, key: &key };
    let pieces: Vec<(u32, &[u8])> =
        (0..shape.code.k()).flat_map(|i| pieces_of(&shape, i, 0, &sealed.shards[usize::from(i)])).collect();
    let open =
        rate(plain.len(), || drop(black_box(open_range(&opening, &pieces, 0..u32::MAX)).expect("it opens")));
    let check = rate(plain.len(), || {
        let mut shards = sealed.headers.iter().zip(&sealed.shards);
        shards.try_for_each(|(header, shard)| check_shard(header, shard)).expect("they are good");
    });
    let (lost, kept) =
        (0..shape.code.n()).partition::<Vec<u8>, _>(|i| *i < shape.code.m().min(shape.code.k()));
    let present: Vec<(u8, &[u8])> = kept.iter().map(|i| (*i, &sealed.shards[usize::from(*i)][..])).collect();
    let rebuilt = rate(plain.len(), || {
        drop(black_box(rebuild(&shape, 0..shape.pieces, &present, &lost)).expect("enough are left"));
    });
    let one = rate(plain.len(), || {
        drop(black_box(rebuild(&shape, 0..shape.pieces, &present, &lost[..1])).expect("enough are left"));
    });
    println!(
        "{name}, {aead:?}, {}: seal {seal:.2} (uncompressed {never:.2}), open {open:.2}, check all shards {check:.2}, rebuild 4 {rebuilt:.2}, rebuild 1 {one:.2}",
        shape.code
    );
}

fn measure_erasure(code: Code) {
    let bytes = 512 * 1024;
    let data: Vec<Vec<u8>> = (0..code.k()).map(|_| noise(bytes)).collect();
    let data: Vec<&[u8]> = data.iter().map(Vec::as_slice).collect();
    let mut parity = vec![vec![0; bytes]; code.m().into()];
    let encode = rate(bytes * data.len(), || {
        let mut rooms: Vec<&mut [u8]> = parity.iter_mut().map(Vec::as_mut_slice).collect();
        erasure::encode(code, &data, &mut rooms);
    });
    println!("erasure encode {code}: {encode:.2}");
}

/// GB/s of the median round.
fn rate(bytes: usize, mut work: impl FnMut()) -> f64 {
    let repeats = (4 << 20) / bytes.max(1) + 1;
    let mut seconds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            (0..repeats).for_each(|_| work());
            start.elapsed().as_secs_f64() / repeats as f64
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    bytes as f64 / seconds[ROUNDS / 2] / 1e9
}

fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..bytes).map(|_| next()).collect()
}

fn text(bytes: usize) -> Vec<u8> {
    let words =
        ["shard", "stripe", "quorum", "piece", "of", "the", "a", "lease", "drive", "sealed", "chunk", "and"];
    let order = noise(bytes);
    order
        .iter()
        .flat_map(|b| [words[usize::from(*b) % words.len()].as_bytes(), b" "].concat())
        .take(bytes)
        .collect()
}
