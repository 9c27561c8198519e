//! The kept inputs: a few valid encodings for every target, always the same ones.
//!
//! `cargo run --manifest-path fuzz/Cargo.toml --bin seeds` writes them to `fuzz/seeds`. An input that found a bug joins them
//! by hand, under a name that tells its story.

use std::collections::{BTreeMap, BTreeSet};

use pangea_core::audit::{AuditRecord, Owner};
use pangea_core::ces::{CompressPolicy, SealChunk, SealedChunk, seal_chunk};
use pangea_core::chunk::{Aead, Code, Codec, Shape};
use pangea_core::chunker;
use pangea_core::id::{BlobId, BucketId, ChunkId, ClusterId, DriveId, NodeId, ShardId, UploadId, VersionId};
use pangea_core::keys::{DataKey, KeyRef, WrappedKey};
use pangea_core::layout::{Domain, Layout, LayoutDrive, Role, Slot};
use pangea_core::manifest::{BlobHead, ChunkEntry, Manifest};
use pangea_core::meta::history::History;
use pangea_core::meta::{MemoryTables, Outcome, TableId, apply};
use pangea_core::wire::{Fault, Frame, Payload, StoreRequest, StoreResponse};
use pangea_net::Refusal;
use pangea_net::frame::{Control, Header, Kind};
use pangea_net::proof::{self, Cluster, GREETING_BYTES, Greeted};
use pangea_store::format::checkpoint::{Checkpoint, ExtentUse, Grave, Location, Marks};
use pangea_store::format::record::{Body, Place, Stamp, encode_head};
use pangea_store::format::superblock::{Identity, Superblock};
use pangea_store::port::ChunkTag;

use crate::{drive, erasure, front_inputs as front, log, meta, sealed};

/// Requests of a made-up history that are looked through for one of each kind.
const HISTORY_REQUESTS: usize = 4000;
/// Where a request's command tag stands: behind version, id and time.
const COMMAND_TAG_AT: usize = 25;

/// One kept input: target, name, bytes.
pub type Seed = (&'static str, String, Vec<u8>);

/// All of them.
pub fn all() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut add = |target, name: &str, bytes| seeds.push((target, name.to_string(), bytes));
    add("superblock", "fresh", superblock());
    for (name, bytes) in records() {
        add("extent_record", name, bytes);
    }
    add("checkpoint", "two_extents", checkpoint());
    add("shard_header", "data_shard", shard_header(|_| 0));
    add("shard_header", "parity_shard", shard_header(|shards| shards - 1));
    for (name, bytes) in manifests() {
        add("manifest", name, bytes);
    }
    for (name, bytes) in audit_records() {
        add("audit_record", name, bytes);
    }
    add("layout", "six_drives", layout());
    for (name, bytes) in frames() {
        add("wire_frame", name, bytes);
    }
    add("node_frames", "a_conversation", node_frames());
    for (name, bytes) in crate::cluster::inputs() {
        add("cluster_words", name, bytes);
    }
    for (name, bytes) in chunks() {
        add("sealed_chunk", name, bytes);
    }
    for (name, bytes) in items() {
        add("sealed_item", name, bytes);
    }
    for (name, bytes) in erasure::inputs() {
        add("reconstruct", name, bytes);
    }
    for (name, bytes) in log::inputs() {
        add("meta_log", name, bytes);
    }
    for (target, name, bytes) in front::inputs() {
        add(target, name, bytes);
    }
    let (requests, rows) = history();
    for (tag, bytes) in requests {
        add("meta_request", &format!("command_{tag}"), bytes);
    }
    for (kind, bytes) in rows {
        add("meta_row", &format!("kind_{kind}"), bytes);
    }
    seeds
}

fn identity() -> Identity {
    Identity { cluster: ClusterId([0xc1; 16]), drive: DriveId([0xd1; 16]), slot: 2 }
}

fn noise(seed: u8, bytes: usize) -> Vec<u8> {
    let mut out = vec![0; bytes];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut out);
    out
}

fn code(k: u8, m: u8) -> Code {
    Code::new(k, m).expect("a valid code")
}

fn stripe() -> SealedChunk {
    let plain = noise(1, 5000);
    seal_chunk(&SealChunk {
        blob: BlobId([0xb1; 16]),
        chunk: 3,
        code: code(4, 2),
        aead: Aead::Aes256Gcm,
        key: &DataKey::new([0x6b; 32]),
        compress: CompressPolicy::Never,
        layout_epoch: 9,
        audit: &noise(2, 162),
        plain: &plain,
    })
}

/// One frame of every kind, as two nodes exchange them.
fn node_frames() -> Vec<u8> {
    let mut out =
        Header { kind: Kind::Greeting, head_bytes: GREETING_BYTES, body_bytes: 0 }.encode().to_vec();
    let cluster = Cluster::new(ClusterId([0xc1; 16]), &[0x5e; 32]);
    let said = Greeted { instance: 7, window_bytes: 1 << 20 };
    out.extend(cluster.greeting(&[0xe0; 32], proof::Role::Dialler, said));
    for kind in [Kind::Question, Kind::Answer] {
        out.extend(Header { kind, head_bytes: 18, body_bytes: 100 }.encode());
        out.extend(noise(9, 118));
    }
    for control in [Control::Ping(5), Control::Pong(5), Control::Credit(4096), Control::Bye(Refusal::Closing)]
    {
        control.encode(&mut out);
    }
    out
}

fn superblock() -> Vec<u8> {
    let superblock = Superblock {
        identity: identity(),
        sequence: 5,
        layout_epoch: 6,
        meta_generation: 7,
        created_ms: 1_800_000_000_000,
    };
    superblock.encode()[..160].to_vec()
}

fn records() -> Vec<(&'static str, Vec<u8>)> {
    let stamp = Stamp { identity: identity(), batch: 7, sequence: 9, at: Place { extent: 1, block: 2 } };
    let tombstones = (0..3).map(shard_id).collect();
    vec![
        ("shard", encode_head(&stamp, &Body::Shard(stripe().headers[1].clone()))),
        ("tombstones", encode_head(&stamp, &Body::Tombstones(tombstones))),
        ("no_tombstones", encode_head(&stamp, &Body::Tombstones(vec![]))),
    ]
}

fn shard_id(index: u8) -> ShardId {
    ShardId { chunk: ChunkId { blob: BlobId([0xb2; 16]), chunk: 4 }, index }
}

fn checkpoint() -> Vec<u8> {
    let at = |block| Place { extent: 4, block };
    let location =
        |block| Location { at: at(block), tag: ChunkTag([9; 8]), header_len: 150, piece_log2: 2, pieces: 3 };
    let checkpoint = Checkpoint {
        marks: Marks { next_batch: 5, next_sequence: 6, next_extent: 7, last_record: Some(at(8)) },
        extents: [
            (3, ExtentUse { used_blocks: 9, sealed: true }),
            (4, ExtentUse { used_blocks: 12, sealed: false }),
        ]
        .into(),
        live: (0..2).map(|index| (shard_id(index), location(u32::from(index) * 4))).collect(),
        graves: [(shard_id(3), Grave { extents: vec![3, 4], tombstone: Some(4) })].into(),
    };
    drive::write_checkpoint(&checkpoint, &identity())
}

fn shard_header(choose: fn(usize) -> usize) -> Vec<u8> {
    let sealed = stripe();
    let index = choose(sealed.shards.len());
    let mut out = Vec::new();
    sealed.headers[index].encode(&mut out);
    out.extend_from_slice(&sealed.shards[index]);
    out
}

fn manifests() -> Vec<(&'static str, Vec<u8>)> {
    let head = |chunk_bytes| BlobHead {
        chunk_bytes,
        aead: Aead::Aes256Gcm,
        code: code(10, 4),
        key: KeyRef { bucket: BucketId([0xb3; 16]), generation: 2 },
        data_key: WrappedKey { nonce: [3; 12], sealed: [4; 48] },
    };
    let full = chunker::chunk_bytes_max(code(10, 4));
    let entry = |plain: u32, payload: u32, salt| {
        let codec = if payload < plain { Codec::Zstd } else { Codec::Raw };
        let shape = chunker::fit(code(10, 4), Aead::Aes256Gcm, codec, plain, payload).expect("it fits");
        ChunkEntry { shape, salt, layout_epoch: 5 }
    };
    let empty = Manifest::new(head(full));
    let mut raw = Manifest::new(head(full));
    let mut mixed = Manifest::new(head(full));
    for number in 0..5 {
        raw.push(entry(full, full, 0)).expect("a full chunk");
        mixed.push(entry(full, full / (number + 1), number as u16 / 2)).expect("a full chunk");
    }
    mixed.push(entry(70_001, 70_001, 1)).expect("the last chunk");
    vec![("empty", empty.encode()), ("one_run", raw.encode()), ("six_runs", mixed.encode())]
}

fn audit_records() -> Vec<(&'static str, Vec<u8>)> {
    let record = |owner, blob_len| {
        let record = AuditRecord {
            owner,
            blob_len,
            chunk_bytes: 5_240_320,
            created_ms: 1_800_000_000_000,
            key: KeyRef { bucket: BucketId([0xb4; 16]), generation: 1 },
            data_key: WrappedKey { nonce: [5; 12], sealed: [6; 48] },
            name_hash: AuditRecord::hash_name(b"photos/1.jpg"),
        };
        let mut out = Vec::new();
        record.encode(&mut out);
        out
    };
    vec![
        ("version", record(Owner::Version(VersionId([1; 16])), Some(10_000_000))),
        ("upload", record(Owner::Upload(UploadId([2; 16])), None)),
        ("pack", record(Owner::Pack, Some(100_000))),
    ]
}

fn layout() -> Vec<u8> {
    let drive = |slot: u16| LayoutDrive {
        slot: Slot(slot),
        drive: DriveId([slot as u8; 16]),
        node: NodeId([slot as u8 / 2; 32]),
        weight: 100 + u32::from(slot),
        role: [Role::Active, Role::Draining, Role::Active, Role::Gone][usize::from(slot) % 4],
        domain: Domain {
            site: format!("s{}", slot / 3),
            host: format!("h{}", slot / 2),
            ..Domain::default()
        },
        path: format!("d{slot}"),
    };
    let drives = (0..6).map(drive).collect();
    Layout { epoch: 3, partitions_log2: 12, code: code(3, 3), drives, tables: vec![] }.encode()
}

fn frames() -> Vec<(&'static str, Vec<u8>)> {
    let drive = DriveId([0xd1; 16]);
    let header = stripe().headers[0].clone();
    let request = |request| Payload::Request { patience_ms: 30_000, request };
    let payloads = [
        ("put", request(StoreRequest::Put { drive, header: Box::new(header.clone()) })),
        ("read", request(StoreRequest::Read { drive, shard: shard_id(1), first: 2, pieces: 3 })),
        ("verify", request(StoreRequest::Verify { drive, shard: shard_id(1) })),
        ("delete", request(StoreRequest::Delete { drive, shards: (0..3).map(shard_id).collect() })),
        ("list", request(StoreRequest::List { drive, after: Some(shard_id(0)), limit: 100 })),
        ("header", Payload::Response(StoreResponse::Header(Box::new(header)))),
        ("shards", Payload::Response(StoreResponse::Shards((0..3).map(shard_id).collect()))),
        ("failed", Payload::Response(StoreResponse::Failed(Fault::Full))),
        ("cancel", Payload::Cancel),
    ];
    payloads.map(|(name, payload)| (name, Frame { request_id: 42, payload }.encode(17))).into()
}

fn chunks() -> Vec<(&'static str, Vec<u8>)> {
    let raw = Shape {
        code: code(2, 1),
        piece_log2: 0,
        pieces: 1,
        codec: Codec::Raw,
        aead: Aead::Packed,
        plain_len: 2000,
        payload_len: 2000,
    };
    let frame = zstd_frame_of_zeros();
    let zstd = Shape { codec: Codec::Zstd, payload_len: frame.len() as u32, ..raw };
    let gcm = Shape { aead: Aead::Aes256Gcm, ..raw };
    let mut text = b"the same words again and again, ".repeat(80);
    text.truncate(2500);
    vec![
        ("hostile_pack", sealed::hostile_input(&raw, 10..1900, &noise(3, 2048))),
        ("hostile_zstd", sealed::hostile_input(&zstd, 0..2000, &frame)),
        ("hostile_gcm", sealed::hostile_input(&gcm, 0..2000, &noise(4, 2048))),
        ("spoiled_gcm", sealed::spoil_input([3, 2, 0, 7, 0, 1, 0, 9, 0, 0x40], &noise(5, 3000))),
        ("spoiled_xchacha_zstd", sealed::spoil_input([9, 4, 7, 0, 1, 2, 0, 0, 1, 1], &text)),
        ("whole_single_piece", sealed::spoil_input([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], b"one piece")),
    ]
}

fn items() -> Vec<(&'static str, Vec<u8>)> {
    let text = b"the same words again and again, ".repeat(80);
    vec![
        ("hostile_pack", sealed::hostile_pack_input(&noise(6, 500))),
        ("hostile_text_pack", sealed::hostile_pack_input(&text)),
        ("whole", sealed::spoil_item_input([0, 0, 0, 0], b"one item")),
        ("spoiled_head", sealed::spoil_item_input([1, 8, 0, 1], &noise(7, 300))),
        ("spoiled_text", sealed::spoil_item_input([2, 240, 0, 0x80], &text)),
    ]
}

/// 2000 zero bytes as one zstd frame: magic, single segment with a two-byte size, one run-length block.
fn zstd_frame_of_zeros() -> Vec<u8> {
    let size = (2000_u16 - 256).to_le_bytes();
    let block = (2000_u32 << 3 | 1 << 1 | 1).to_le_bytes();
    [&[0x28, 0xb5, 0x2f, 0xfd, 0x60][..], &size, &block[..3], &[0]].concat()
}

/// One request of each command, and one row of each table, by tag.
type Kinds = BTreeMap<u8, Vec<u8>>;

/// The shortest request of every command and the shortest row of every table that a made-up history leaves.
fn history() -> (Kinds, Kinds) {
    let (mut requests, mut rows) = (Kinds::new(), Kinds::new());
    let mut tables = MemoryTables::new();
    let mut history = History::new(1);
    let mut outcomes = BTreeSet::<Vec<u8>>::new();
    for _ in 0..HISTORY_REQUESTS {
        let request = history.next(&tables);
        let Ok(outcome) = apply(&mut tables, &request);
        let mut bytes = Vec::new();
        request.encode(&mut bytes);
        keep_shortest(&mut requests, bytes[COMMAND_TAG_AT], bytes);
        outcomes.insert(Outcome::encode(&outcome));
        for (table, _, row) in tables.dump() {
            if let Some(kind) = row_kind(table) {
                keep_shortest(&mut rows, kind, [&[kind], row].concat());
            }
        }
    }
    for outcome in outcomes {
        keep_shortest(&mut rows, meta::ROW_KINDS - 1, [&[meta::ROW_KINDS - 1], outcome.as_slice()].concat());
    }
    (requests, rows)
}

fn keep_shortest(kinds: &mut Kinds, kind: u8, bytes: Vec<u8>) {
    match kinds.get(&kind) {
        Some(kept) if kept.len() <= bytes.len() => {}
        _ => drop(kinds.insert(kind, bytes)),
    }
}

/// The number by which [`meta::row`] knows a table's rows.
fn row_kind(table: TableId) -> Option<u8> {
    Some(match table {
        TableId::Bucket => 0,
        TableId::BucketKey => 1,
        TableId::Usage => 2,
        TableId::Head | TableId::Version => 3,
        TableId::Blob => 4,
        TableId::Upload => 5,
        TableId::Part => 6,
        TableId::Todo => 7,
        TableId::Lease => 8,
        TableId::AccessKey => 9,
        TableId::Setting => 10,
        TableId::State => 11,
        TableId::Outcome => 12,
        TableId::Pack => 13,
        TableId::PackEntry
        | TableId::BucketName
        | TableId::VersionSeq
        | TableId::Condemned
        | TableId::OutcomeAge => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    /// What a target is called and does.
    type Target = (&'static str, fn(&[u8]));

    const TARGETS: [Target; 22] = [
        ("audit_record", crate::wire::audit_record),
        ("checkpoint", drive::checkpoint),
        ("extent_record", drive::extent_record),
        ("cluster_words", crate::cluster::words),
        ("front_chunked", crate::front::chunked),
        ("front_form", crate::front::form),
        ("front_range", crate::front::range),
        ("front_sigv4", crate::front::sigv4),
        ("front_xml", crate::front::xml),
        ("layout", crate::wire::layout),
        ("manifest", crate::wire::manifest),
        ("meta_log", log::damages),
        ("meta_request", meta::request),
        ("meta_row", meta::row),
        ("node_certificate", crate::wire::node_certificate),
        ("node_frames", crate::wire::node_frames),
        ("sealed_chunk", sealed::chunk),
        ("sealed_item", sealed::item),
        ("settings_toml", crate::settings::toml),
        ("shard_header", crate::wire::shard_header),
        ("superblock", drive::superblock),
        ("wire_frame", crate::wire::frame),
    ];

    #[test]
    fn the_committed_seeds_are_those_made_here_and_every_target_takes_all_of_them() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
        for (target, name, bytes) in all() {
            let path = dir.join(target).join(&name);
            assert_eq!(std::fs::read(&path).ok(), Some(bytes), "{}: run the seeds binary", path.display());
        }
        for (target, run) in TARGETS {
            let seeds = std::fs::read_dir(dir.join(target)).expect("every target has seeds");
            let runs = seeds
                .map(|seed| run(&std::fs::read(seed.expect("listed").path()).expect("readable")))
                .count();
            assert!(runs > 0, "{target} has no seeds");
        }
    }

    #[test]
    fn seeds_are_valid_encodings() {
        for (target, name, bytes) in all() {
            let accepted = match target {
                "manifest" => Manifest::decode(&bytes).is_ok(),
                "layout" => Layout::decode(&bytes).is_ok(),
                "audit_record" => AuditRecord::decode(&bytes).is_ok(),
                "wire_frame" => Frame::decode(&bytes).is_ok(),
                "meta_request" => pangea_core::meta::Request::decode(&bytes).is_ok(),
                "superblock" => Superblock::decode(&bytes) != pangea_store::format::superblock::Copy::Bad,
                "extent_record" => pangea_store::format::record::decode_head(&bytes).is_ok(),
                _ => true,
            };
            assert!(accepted, "{target}/{name}");
        }
    }
}
