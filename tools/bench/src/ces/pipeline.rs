//! The whole pipeline of core's `ces` on one chunk, against a bound from the best external parts, measured alone in the same rounds.
//!
//! A write is sealing, hashing n/k bytes a byte, and parity; a healthy read is opening; a degraded read is hashing k shards,
//! rebuilding m, and opening. The bound is the sum of the parts' times: it copies nothing and moves nothing.

use anyhow::{Context, Result, anyhow, ensure};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use bytes::BytesMut;
use pangea_core::ces::{
    CompressPolicy, OpenChunk, SealChunk, SealedChunk, check_shard, open_range_into, pieces_of, rebuild_into,
    seal_chunk_in,
};
use pangea_core::chunk::{Aead, Code};
use pangea_core::chunker::chunk_bytes_max;
use pangea_core::id::BlobId;
use pangea_core::keys::DataKey;

use super::memory::fill;
use super::rounds::{self, Candidate, Timed};
use crate::payload::ObjectSize;
use crate::report::Report;

const KEY: [u8; 32] = [7; 32];
const BLOB: BlobId = BlobId([1; 16]);

/// What everybody works on.
pub struct Chunk {
    plain: Vec<u8>,
    sealed: SealedChunk,
    key: DataKey,
}

impl Chunk {
    /// A full chunk of incompressible bytes.
    pub fn new(code: Code) -> Self {
        let mut plain = vec![0; chunk_bytes_max(code) as usize];
        fill(&mut plain, 1);
        let key = DataKey::new(KEY);
        let sealed = seal_chunk_in(&job(code, &key, &plain), &mut BytesMut::new());
        Self { plain, sealed, key }
    }

    /// Seals it again.
    pub fn write(&self, code: Code, pool: &mut BytesMut) {
        std::hint::black_box(seal_chunk_in(&job(code, &self.key, &self.plain), pool));
    }

    /// Bytes of plaintext.
    pub fn bytes(&self) -> usize {
        self.plain.len()
    }
}

/// Measures writing and reading of full chunks with one code.
pub fn measure(code: Code, rounds: usize, report: &mut Report) -> Result<()> {
    let (k, m, n) = (f64::from(code.k()), code.m().min(code.k()), f64::from(code.n()));
    let chunk = Chunk::new(code);
    let bytes = chunk.plain.len();
    let (mut pool, mut opened, mut rebuilt) = (BytesMut::new(), Vec::new(), [Vec::new(), Vec::new()]);
    let mut candidates = vec![
        Candidate::new("write", || {
            chunk.write(code, &mut pool);
            Ok(())
        }),
        Candidate::new("read", || read(&chunk, &mut opened)),
        Candidate::new("degraded", || degraded(&chunk, m, &mut rebuilt)),
    ];
    candidates.extend(parts(&chunk, m)?);
    let timed = rounds::run(&mut candidates, rounds)?;
    let part = |name: &str| timed.iter().find(|timed| timed.name == name).context("a part");
    let bounds = [
        ("WRITE", "write", vec![(part("aws-lc seal")?, 1.0), (part("blake3")?, n / k), (part(ENCODE)?, 1.0)]),
        ("READ", "read", vec![(part("aws-lc open")?, 1.0)]),
        (
            "DEGRADED",
            "degraded",
            vec![(part("aws-lc open")?, 1.0), (part("blake3")?, 1.0), (part(REBUILD)?, 1.0)],
        ),
    ];
    for (case, own, parts) in bounds {
        let bound = Timed::sum("bound", &parts);
        let case = format!("{case}-{code}");
        report.add(rounds::rows(&case, part(own)?, "pangea", &[&bound], bytes));
        report.add(rounds::rows(&case, &bound, "bound", &[], bytes));
    }
    for part in &timed[3..] {
        report.add(rounds::rows(
            &format!("PART-{code}-{}", part.name.replace(' ', "-")),
            part,
            &part.name,
            &[],
            bytes,
        ));
    }
    Ok(())
}

/// Chunk sizes of the curve.
const CURVE: [&str; 7] = ["16KiB", "64KiB", "256KiB", "1MiB", "5MiB", "16MiB", "64MiB"];

/// Measures writing of whole chunks of many sizes.
pub fn curve(code: Code, rounds: usize, report: &mut Report) -> Result<()> {
    for size in CURVE {
        let size: ObjectSize = size.parse()?;
        let bytes = usize::try_from(size.bytes())?;
        let mut plain = vec![0; bytes];
        fill(&mut plain, 1);
        let (key, mut pool) = (DataKey::new(KEY), BytesMut::new());
        let write = Candidate::new("write", || {
            std::hint::black_box(seal_chunk_in(&job(code, &key, &plain), &mut pool));
            Ok(())
        });
        let timed = rounds::run(&mut [write], rounds)?;
        report.add(rounds::rows(&format!("CURVE-{code}-{size}"), &timed[0], "pangea", &[], bytes));
    }
    Ok(())
}

/// Sealing `plain`, uncompressed.
pub fn job<'a>(code: Code, key: &'a DataKey, plain: &'a [u8]) -> SealChunk<'a> {
    SealChunk {
        blob: BLOB,
        chunk: 0,
        code,
        aead: Aead::Aes256Gcm,
        key,
        compress: CompressPolicy::Never,
        layout_epoch: 1,
        audit: &[0; 162],
        plain,
    }
}

fn open(chunk: &Chunk, pieces: &[(u32, &[u8])], buffer: &mut Vec<u8>) -> Result<()> {
    let shape = &chunk.sealed.shape;
    let job = OpenChunk { blob: BLOB, chunk: 0, shape, key: &chunk.key };
    let plain = open_range_into(&job, pieces, 0..u32::MAX, buffer)?;
    ensure!(plain.len() == chunk.plain.len(), "all of it");
    std::hint::black_box(buffer);
    Ok(())
}

/// Opens all of it.
pub fn read(chunk: &Chunk, buffer: &mut Vec<u8>) -> Result<()> {
    let shape = &chunk.sealed.shape;
    let shards = (0..shape.code.k()).zip(&chunk.sealed.shards);
    let pieces: Vec<(u32, &[u8])> = shards.flat_map(|(i, shard)| pieces_of(shape, i, 0, shard)).collect();
    open(chunk, &pieces, buffer)
}

/// The first `lost` data shards are gone.
fn degraded(chunk: &Chunk, lost: u8, [rebuilt, buffer]: &mut [Vec<u8>; 2]) -> Result<()> {
    let shape = &chunk.sealed.shape;
    let all = (0..shape.code.n()).zip(&chunk.sealed.shards);
    let present: Vec<(u8, &[u8])> =
        all.skip(lost.into()).take(shape.code.k().into()).map(|(index, shard)| (index, &shard[..])).collect();
    for (index, shard) in &present {
        check_shard(&chunk.sealed.headers[usize::from(*index)], shard).map_err(|bad| anyhow!("{bad}"))?;
    }
    rebuilt.resize(usize::from(lost) * shape.shard_bytes(), 0);
    let mut rooms: Vec<(u8, &mut [u8])> =
        (0..lost).zip(rebuilt.chunks_exact_mut(shape.shard_bytes())).collect();
    rebuild_into(shape, 0..shape.pieces, &present, &mut rooms)?;
    let data = rooms.iter().map(|(index, shard)| (*index, &**shard)).chain(present.iter().copied());
    let data = data.filter(|(index, _)| *index < shape.code.k());
    let pieces: Vec<(u32, &[u8])> =
        data.flat_map(|(index, shard)| pieces_of(shape, index, 0, shard)).collect();
    open(chunk, &pieces, buffer)
}

#[cfg(feature = "peers")]
const ENCODE: &str = "isa-l encode";
#[cfg(not(feature = "peers"))]
const ENCODE: &str = "own encode";
#[cfg(feature = "peers")]
const REBUILD: &str = "isa-l rebuild";
#[cfg(not(feature = "peers"))]
const REBUILD: &str = "own rebuild";

/// The external parts, each over as many bytes as the chunk has.
fn parts<'a>(chunk: &'a Chunk, lost: u8) -> Result<Vec<Candidate<'a>>> {
    let cipher = || {
        let key = UnboundKey::new(&AES_256_GCM, &KEY).map_err(|_| anyhow!("a key"))?;
        anyhow::Ok(LessSafeKey::new(key))
    };
    let (sealer, opener) = (cipher()?, cipher()?);
    let nonce = || Nonce::assume_unique_for_key([1; 12]);
    let mut buffer = chunk.plain.clone();
    let mut sealed = chunk.plain.clone();
    let tag = opener
        .seal_in_place_separate_tag(nonce(), Aad::empty(), &mut sealed)
        .map_err(|_| anyhow!("aws-lc seals"))?;
    let mut opened = vec![0; sealed.len()];
    let mut candidates = vec![
        Candidate::new("aws-lc seal", move || {
            let tag = sealer.seal_in_place_separate_tag(nonce(), Aad::empty(), &mut buffer);
            tag.map(drop).map_err(|_| anyhow!("aws-lc seals"))
        }),
        Candidate::new("aws-lc open", move || {
            opener
                .open_separate_gather(nonce(), Aad::empty(), &sealed, tag.as_ref(), &mut opened)
                .map_err(|_| anyhow!("aws-lc opens"))
        }),
        Candidate::new("blake3", || {
            std::hint::black_box(blake3::hash(&chunk.plain));
            Ok(())
        }),
    ];
    candidates.extend(coding(chunk, lost)?);
    Ok(candidates)
}

/// The erasure code alone, on the shards as they lie in a sealed chunk.
fn coding<'a>(chunk: &'a Chunk, lost: u8) -> Result<[Candidate<'a>; 2]> {
    let code = chunk.sealed.shape.code;
    let shards: Vec<(u8, &[u8])> =
        (0..code.n()).zip(chunk.sealed.shards.iter().map(|shard| &shard[..])).collect();
    let k = usize::from(code.k());
    let data: Vec<(u8, &[u8])> = shards[..k].to_vec();
    let kept: Vec<(u8, &[u8])> = shards[usize::from(lost)..][..k].to_vec();
    Ok([
        coder(code, data, (code.k()..code.n()).collect(), ENCODE)?,
        coder(code, kept, (0..lost).collect(), REBUILD)?,
    ])
}

/// Computes `wanted` shards from others, all in one allocation.
#[cfg(feature = "peers")]
fn coder<'a>(code: Code, present: Vec<(u8, &'a [u8])>, wanted: Vec<u8>, name: &str) -> Result<Candidate<'a>> {
    let rows = super::erasure::rows(code, &present, &wanted)?;
    let plan = super::raw::isa_l::IsaL::new(present.len(), &rows, false)?;
    let shards: Vec<&[u8]> = present.iter().map(|(_, shard)| *shard).collect();
    let mut out = vec![0; shards[0].len() * wanted.len()];
    Ok(Candidate::new(name, move || {
        let mut rooms: Vec<&mut [u8]> = out.chunks_exact_mut(shards[0].len()).collect();
        plan.run(&shards, &mut rooms)
    }))
}

#[cfg(not(feature = "peers"))]
fn coder<'a>(code: Code, present: Vec<(u8, &'a [u8])>, wanted: Vec<u8>, name: &str) -> Result<Candidate<'a>> {
    let bytes = present.first().context("shards")?.1.len();
    let mut out = vec![0; bytes * wanted.len()];
    Ok(Candidate::new(name, move || {
        let mut rooms: Vec<(u8, &mut [u8])> =
            wanted.iter().copied().zip(out.chunks_exact_mut(bytes)).collect();
        Ok(pangea_core::erasure::reconstruct(code, &present, &mut rooms)?)
    }))
}
