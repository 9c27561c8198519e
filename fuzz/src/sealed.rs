//! The targets for sealed chunks and items: opening what anybody may have written, and rebuilding from what a liar sent.

use std::ops::Range;

use pangea_core::audit::SEALED_AUDIT_BYTES;
use pangea_core::ces::item::{ITEM_PLAIN_BYTES_MAX, SealItem, audit_of, open_item, seal_item, walk_items};
use pangea_core::ces::{
    CompressPolicy, OpenChunk, SealChunk, check_shard, open_range, pieces_of, rebuild, seal_chunk,
    segments_for,
};
use pangea_core::chunk::{Aead, Code, SHAPE_BYTES, Shape};
use pangea_core::codec::Reader;
use pangea_core::id::BlobId;
use pangea_core::keys::DataKey;

const BLOB: BlobId = BlobId([0xb1; 16]);
const CHUNK: u32 = 7;
/// Larger chunks only cost the fuzzer time.
const PLAIN_BYTES_MAX: u32 = 8 << 20;

fn key() -> DataKey {
    DataKey::new([0x6b; 32])
}

/// The first byte chooses: open hostile bytes, or seal honest ones, spoil them and open or rebuild.
pub fn chunk(data: &[u8]) {
    match data.split_first() {
        Some((choice, rest)) if choice % 2 == 0 => open_hostile(rest),
        Some((_, rest)) => spoil(rest),
        None => {}
    }
}

/// Shape, range, then pieces, all from the input. Without tags (a pack) the bytes go straight to the decompressor.
fn open_hostile(data: &[u8]) {
    let mut r = Reader::new(data, "input");
    let Ok(shape) = Shape::decode(&mut r) else { return };
    let (Ok(start), Ok(end)) = (r.u32(), r.u32()) else { return };
    if shape.plain_len > PLAIN_BYTES_MAX {
        return;
    }
    let mut bytes = r.rest().to_vec();
    bytes.resize(bytes.len().next_multiple_of(shape.piece_bytes()), 0);
    let pieces: Vec<(u32, &[u8])> = (0..).zip(bytes.chunks_exact(shape.piece_bytes())).collect();
    let key = key();
    let job = OpenChunk { blob: BLOB, chunk: CHUNK, shape: &shape, key: &key };
    if let Ok(plain) = open_range(&job, &pieces, start..end) {
        let wanted = start.min(shape.plain_len)..end.min(shape.plain_len);
        assert_eq!(plain.len(), wanted.len(), "as many bytes as asked for");
        assert!(plain.is_empty() || shape.aead == Aead::Packed, "nobody guesses a tag");
    }
}

/// k, m, cipher and policy, range, what to flip and which shards are lost; the rest is plaintext.
fn spoil(data: &[u8]) {
    let Some((head, plain)) = data.split_first_chunk::<SPOIL_BYTES>() else { return };
    let Some(code) = Code::new(head[0] % 16 + 1, head[1] % 6) else { return };
    let plain = &plain[..plain.len().min(pangea_core::chunker::chunk_bytes_max(code) as usize)];
    if plain.is_empty() {
        return;
    }
    let key = key();
    let aead = if head[2] & 1 == 0 { Aead::Aes256Gcm } else { Aead::XChaCha20Poly1305 };
    let compress = if head[2] & 2 == 0 { CompressPolicy::Never } else { CompressPolicy::DEFAULT };
    let job = SealChunk {
        blob: BLOB,
        chunk: CHUNK,
        code,
        aead,
        key: &key,
        compress,
        layout_epoch: 1,
        audit: &[],
        plain,
    };
    let sealed = seal_chunk(&job);
    let shape = sealed.shape;
    let number = |at: usize| usize::from(u16::from_le_bytes([head[at], head[at + 1]]));
    let mut shards: Vec<Vec<u8>> = sealed.shards.iter().map(|shard| shard.to_vec()).collect();
    let (victim, at, flip) = (number(5) % shards.len(), number(7) % shape.shard_bytes(), head[9]);
    shards[victim][at] ^= flip;
    let good = flip == 0;
    assert_eq!(check_shard(&sealed.headers[victim], &shards[victim]).is_ok(), good, "the liar is named");

    let start = (number(3) % plain.len()) as u32;
    let range = start..plain.len() as u32;
    let wanted = &plain[start as usize..];
    match open(&shape, &key, &shards, range.clone()) {
        Ok(opened) => assert_eq!(opened, wanted, "what opens is what was sealed"),
        Err(()) => assert!(!good, "what is whole opens"),
    }

    // Without the liar and up to m shards: all of it comes back.
    let lost = |index: u8| {
        usize::from(index) == victim
            || (0..code.m().saturating_sub(1))
                .any(|i| (head[2] >> 2).wrapping_add(i) % shape.code.n() == index)
    };
    let present: Vec<(u8, &[u8])> =
        (0..shape.code.n()).filter(|i| !lost(*i)).map(|i| (i, shards[usize::from(i)].as_slice())).collect();
    let missing: Vec<u8> = (0..shape.code.n()).filter(|i| lost(*i)).collect();
    match rebuild(&shape, 0..shape.pieces, &present, &missing) {
        Ok(rebuilt) => {
            for (index, bytes) in rebuilt {
                assert_eq!(bytes, sealed.shards[usize::from(index)], "rebuilt as it was");
            }
        }
        Err(_) => assert!(present.len() < usize::from(shape.code.k()), "k shards suffice"),
    }
}

const SPOIL_BYTES: usize = 10;

/// The first byte chooses: walk and open a hostile pack, or seal an honest item, flip a bit of it and open it.
pub fn item(data: &[u8]) {
    match data.split_first() {
        Some((choice, rest)) if choice % 2 == 0 => open_hostile_pack(rest),
        Some((_, rest)) => spoil_item(rest),
        None => {}
    }
}

fn open_hostile_pack(payload: &[u8]) {
    let (items, whole) = walk_items(payload);
    let end = items.iter().fold(0, |end, (at, head)| {
        assert!(at.start == end && at.len() == head.item_len as usize, "items stand one behind the other");
        let item = &payload[at.clone()];
        assert_eq!(audit_of(item).map(<[u8]>::len), Some(SEALED_AUDIT_BYTES));
        assert!(open_item(head.id, &key(), head.plain_len, item).is_err(), "nobody guesses a tag");
        at.end
    });
    assert_eq!(whole, end == payload.len());
}

/// Cipher and policy, which byte to flip and how; the rest is plaintext.
fn spoil_item(data: &[u8]) {
    let Some((head, plain)) = data.split_first_chunk::<4>() else { return };
    let plain = &plain[..plain.len().min(ITEM_PLAIN_BYTES_MAX as usize)];
    if plain.is_empty() {
        return;
    }
    let aead = if head[0] & 1 == 0 { Aead::Aes256Gcm } else { Aead::XChaCha20Poly1305 };
    let compress = if head[0] & 2 == 0 { CompressPolicy::Never } else { CompressPolicy::DEFAULT };
    let audit = [0xa; SEALED_AUDIT_BYTES];
    let mut item = seal_item(&SealItem { id: BLOB, aead, key: &key(), compress, audit: &audit, plain });
    assert_eq!(walk_items(&item).0.len(), 1);
    let at = usize::from(u16::from_le_bytes([head[1], head[2]])) % item.len();
    item[at] ^= head[3];
    let is_audit = (AUDIT_AT..AUDIT_AT + SEALED_AUDIT_BYTES).contains(&at);
    match open_item(BLOB, &key(), plain.len() as u32, &item) {
        Ok(opened) => assert!(opened == plain && (head[3] == 0 || is_audit), "what opens is what was sealed"),
        Err(_) => assert!(head[3] != 0 && !is_audit, "what is whole opens"),
    }
}

/// Where an item's audit record stands; it is sealed by itself.
const AUDIT_AT: usize = 28;

/// An input for [`item`] that walks a pack of two items, sealed under another key than the target's, and a rest.
pub(crate) fn hostile_pack_input(plain: &[u8]) -> Vec<u8> {
    let other = DataKey::new([1; 32]);
    let seal = |id, aead| {
        let (compress, audit) = (CompressPolicy::DEFAULT, &[0xa; SEALED_AUDIT_BYTES]);
        seal_item(&SealItem { id: BlobId([id; 16]), aead, key: &other, compress, audit, plain })
    };
    [&[0][..], &seal(1, Aead::Aes256Gcm), &seal(2, Aead::XChaCha20Poly1305), b"rest"].concat()
}

/// An input for [`item`] that seals, spoils and opens `plain`.
pub(crate) fn spoil_item_input(head: [u8; 4], plain: &[u8]) -> Vec<u8> {
    [&[1][..], &head, plain].concat()
}

fn open(shape: &Shape, key: &DataKey, shards: &[Vec<u8>], range: Range<u32>) -> Result<Vec<u8>, ()> {
    let mut pieces = Vec::new();
    for read in segments_for(shape, range.clone()) {
        let bytes = &shards[usize::from(read.index)][read.bytes(shape)];
        pieces.extend(pieces_of(shape, read.index, read.pieces.start, bytes));
    }
    let job = OpenChunk { blob: BLOB, chunk: CHUNK, shape, key };
    open_range(&job, &pieces, range).map(|plain| plain.to_vec()).map_err(|_| ())
}

/// An input for [`chunk`] that opens `pieces` as `shape` says.
pub(crate) fn hostile_input(shape: &Shape, range: Range<u32>, pieces: &[u8]) -> Vec<u8> {
    let mut out = vec![0];
    assert_eq!(
        {
            shape.encode(&mut out);
            out.len()
        },
        1 + SHAPE_BYTES
    );
    out.extend_from_slice(&range.start.to_le_bytes());
    out.extend_from_slice(&range.end.to_le_bytes());
    out.extend_from_slice(pieces);
    out
}

/// An input for [`chunk`] that seals, spoils and opens `plain`.
pub(crate) fn spoil_input(head: [u8; SPOIL_BYTES], plain: &[u8]) -> Vec<u8> {
    [&[1][..], &head, plain].concat()
}
