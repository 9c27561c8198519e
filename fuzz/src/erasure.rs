//! The target for rebuilding: shards that a liar sent, of any index and length, on every kernel.

use pangea_core::ces::rebuild;
use pangea_core::chunk::{Aead, Code, Codec, Shape};
use pangea_core::erasure::{Kernel, TooFew};

/// k, m, log2 of the piece size in KiB, number of shards that follow, and the bytes of one.
const HEAD_BYTES: usize = 6;
/// Larger codes and shards only cost the fuzzer time.
const SHARDS_MAX: u8 = 40;

/// Rebuilds every shard from whatever the input holds: too few are refused; else all kernels agree, and the result is one
/// stripe.
pub fn reconstruct(data: &[u8]) {
    let Some((head, rest)) = data.split_first_chunk::<HEAD_BYTES>() else { return };
    let Some(code) = Code::new(head[0] % SHARDS_MAX, head[1] % SHARDS_MAX) else { return };
    let bytes = usize::from(u16::from_le_bytes([head[4], head[5]]));
    let sent: Vec<(u8, &[u8])> = rest
        .chunks(bytes + 1)
        .take(usize::from(head[3]))
        .filter_map(|shard| shard.split_first())
        .map(|(index, shard)| (*index, shard))
        .collect();
    refuses_or_rebuilds(code, head[2], &sent);

    let fits = |(index, shard): &&(u8, &[u8])| *index < code.n() && shard.len() == bytes;
    let present: Vec<(u8, &[u8])> = sent.iter().filter(fits).copied().collect();
    let reference = stripe(Kernel::Portable, code, &present, bytes);
    for kernel in Kernel::available() {
        assert_eq!(stripe(kernel, code, &present, bytes), reference, "{kernel} agrees");
    }
    let Ok(stripe) = reference else { return };
    let mut distinct: Vec<u8> = present.iter().map(|(index, _)| *index).collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() == usize::from(code.k()) {
        // k shards, even a liar's, are a stripe.
        let shards: Vec<&[u8]> = stripe.iter().map(Vec::as_slice).collect();
        let (data, parity) = shards.split_at(code.k().into());
        assert!(Kernel::chosen().verify(code, data, parity), "what was rebuilt is one stripe");
    }
}

/// All shards of the stripe.
fn stripe(kernel: Kernel, code: Code, present: &[(u8, &[u8])], bytes: usize) -> Result<Vec<Vec<u8>>, TooFew> {
    let mut out = vec![vec![0xee; bytes]; code.n().into()];
    let mut rooms: Vec<(u8, &mut [u8])> = (0..code.n()).zip(out.iter_mut().map(Vec::as_mut_slice)).collect();
    kernel.reconstruct(code, present, &mut rooms)?;
    Ok(out)
}

/// Through the door that takes shards off the wire: wrong indices and lengths count as absent.
fn refuses_or_rebuilds(code: Code, piece_log2: u8, sent: &[(u8, &[u8])]) {
    let shape = Shape {
        code,
        piece_log2: piece_log2 % 3,
        pieces: 1,
        codec: Codec::Raw,
        aead: Aead::Packed,
        plain_len: 1,
        payload_len: 1,
    };
    let wanted: Vec<u8> = (0..code.n()).collect();
    match rebuild(&shape, 0..1, sent, &wanted) {
        Ok(rebuilt) => {
            assert!(rebuilt.iter().all(|(_, shard)| shard.len() == shape.piece_bytes()), "whole pieces")
        }
        Err(few) => assert!(few.have < few.need, "only too few are refused"),
    }
}

/// Inputs for [`reconstruct`]: enough shards, too few, one of them twice, one that is short and one of no stripe.
pub(crate) fn inputs() -> [(&'static str, Vec<u8>); 4] {
    let shard = |index: u8, bytes: usize| (index, (0..bytes).map(|at| (at * 7) as u8 ^ index).collect());
    [
        ("ten_and_four", input(10, 4, 100, &(4..14).map(|index| shard(index, 100)).collect::<Vec<_>>())),
        ("one_too_few", input(3, 2, 1024, &[shard(0, 1024), shard(4, 1024)])),
        ("one_twice", input(2, 2, 65, &[shard(1, 65), shard(1, 65), shard(3, 65)])),
        ("one_astray_and_one_short", input(1, 3, 8, &[shard(200, 8), shard(2, 8), shard(0, 5)])),
    ]
}

fn input(k: u8, m: u8, bytes: u16, shards: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![k, m, 0, shards.len() as u8];
    out.extend_from_slice(&bytes.to_le_bytes());
    for (index, shard) in shards {
        out.push(*index);
        out.extend_from_slice(shard);
    }
    out
}
