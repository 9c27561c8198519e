//! Targets for what comes over the wire or lies beside the data: frames, shard headers, layouts, manifests, audit records.

use pangea_core::audit::AuditRecord;
use pangea_core::chunk::ShardHeader;
use pangea_core::codec::Reader;
use pangea_core::id::ClusterId;
use pangea_core::layout::Layout;
use pangea_core::manifest::Manifest;
use pangea_core::place::place;
use pangea_core::wire::Frame;
use pangea_net::certificate;
use pangea_net::frame::{Control, HEADER_BYTES, Header, Kind};
use pangea_net::proof::{Cluster, GREETING_BYTES, Role};

/// The most drives of a layout that is also asked for a placement: more only cost time.
const PLACED_DRIVES_MAX: usize = 64;

/// The head of a message.
pub fn frame(data: &[u8]) {
    if let Ok((frame, body_len)) = Frame::decode(data) {
        assert_eq!(Frame::decode(&frame.encode(body_len)).as_ref(), Ok(&(frame, body_len)), "read back");
    }
}

/// Frames between nodes, one behind another, as a connection reads them.
pub fn node_frames(mut data: &[u8]) {
    let cluster = Cluster::new(ClusterId([1; 16]), &[2; 32]);
    while let Some((header, rest)) = data.split_first_chunk::<HEADER_BYTES>() {
        let Ok(read) = Header::decode(*header) else { return };
        assert_eq!(read.encode(), *header, "one spelling");
        let Some((head, rest)) = rest.split_at_checked(read.head_bytes) else { return };
        match read.kind {
            Kind::Question | Kind::Answer => {}
            Kind::Greeting => {
                let greeting: &[u8; GREETING_BYTES] = head.try_into().expect("its header says so");
                assert!(cluster.check(&[3; 32], Role::Dialler, greeting).is_err(), "nobody guesses a proof");
            }
            Kind::Ping | Kind::Pong | Kind::Credit | Kind::Bye => {
                let control = Control::decode(read.kind, head).expect("its header says so");
                let mut again = Vec::new();
                control.encode(&mut again);
                assert_eq!(again.len(), HEADER_BYTES + head.len(), "as long as it was");
            }
        }
        let Some(rest) = rest.get(read.body_bytes..) else { return };
        data = rest;
    }
}

/// A certificate that a peer shows, at some time.
pub fn node_certificate(data: &[u8]) {
    // 2026-01-01. What is good is good again.
    let judged = certificate::node_of(data, 1_767_225_600);
    assert_eq!(judged, certificate::node_of(data, 1_767_225_600));
}

/// A shard header, and whatever stands behind it.
pub fn shard_header(data: &[u8]) {
    let mut r = Reader::new(data, "shard header");
    let Ok(header) = ShardHeader::decode(&mut r) else { return };
    let mut again = Vec::new();
    header.encode(&mut again);
    assert_eq!(again, data[..data.len() - r.rest().len()], "one spelling");
    let bytes = r.rest();
    let piece = header.shape.piece_bytes();
    let whole = &bytes[..bytes.len() / piece * piece];
    // Any bytes may claim to be a shard: the answer may be anything but a panic.
    let _ = header.first_bad_piece(0, whole);
    let _ = pangea_core::ces::check_shard(&header, bytes);
}

/// A layout, and one placement on it.
pub fn layout(data: &[u8]) {
    let Ok(layout) = Layout::decode(data) else { return };
    assert_eq!(Layout::decode(&layout.encode()).as_ref(), Ok(&layout), "read back");
    if layout.drives.len() <= PLACED_DRIVES_MAX {
        let partition = layout.partitions() - 1;
        if let Some(placement) = place(&layout, layout.code.n(), partition) {
            assert_eq!(placement.shards().len(), usize::from(layout.code.n()), "every shard is dealt");
        }
    }
}

/// A manifest: one spelling, and ranges that stay inside.
pub fn manifest(data: &[u8]) {
    let Ok(manifest) = Manifest::decode(data) else { return };
    assert_eq!(manifest.encode(), data, "one spelling");
    let len = manifest.blob_len();
    for at in [0, len / 2, len.saturating_sub(1), len] {
        for (chunk, within) in manifest.locate(at..at.saturating_add(1 << 16)).take(64) {
            let entry = manifest.chunk(chunk).expect("located chunks exist");
            assert!(
                within.start < within.end && within.end <= entry.shape.plain_len,
                "a range inside its chunk"
            );
        }
    }
}

/// An audit record in the clear.
pub fn audit_record(data: &[u8]) {
    if let Ok(record) = AuditRecord::decode(data) {
        let mut again = Vec::new();
        record.encode(&mut again);
        assert_eq!(again, data, "one spelling");
    }
}
