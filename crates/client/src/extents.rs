//! The list of a composite that is spilled into a blob: version 1 (u8), count (u32), then blob 16, offset u64, length u64 each.

use pangea_core::codec::{Malformed, Put, Reader};
use pangea_core::id::BlobId;
use pangea_core::meta::Extent;

const VERSION: u8 = 1;
/// Bytes of one entry.
pub(crate) const EXTENT_BYTES: usize = 32;
/// The most slices of a composite: one for every part of an upload.
const EXTENTS_MAX: usize = 10_000;

pub(crate) fn encode_extents(extents: &[Extent]) -> Vec<u8> {
    assert!(extents.len() <= EXTENTS_MAX, "uploads have at most 10,000 parts");
    let mut out = Vec::with_capacity(5 + extents.len() * EXTENT_BYTES);
    out.put_u8(VERSION);
    out.put_u32(extents.len() as u32);
    for extent in extents {
        out.put_raw(&extent.blob.0);
        out.put_u64(extent.offset);
        out.put_u64(extent.len);
    }
    out
}

pub(crate) fn decode_extents(bytes: &[u8]) -> Result<Vec<Extent>, Malformed> {
    let mut r = Reader::new(bytes, "list of parts");
    if r.u8()? != VERSION {
        return Err(r.malformed());
    }
    let count = r.count(EXTENT_BYTES)?;
    if count > EXTENTS_MAX {
        return Err(r.malformed());
    }
    let extent =
        |r: &mut Reader<'_>| Ok(Extent { blob: BlobId(r.array()?), offset: r.u64()?, len: r.u64()? });
    let extents = (0..count).map(|_| extent(&mut r)).collect::<Result<_, _>>()?;
    r.finish()?;
    Ok(extents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_round_trips_and_every_cut_is_refused() {
        let extents: Vec<Extent> =
            (0..3).map(|n| Extent { blob: BlobId([n; 16]), offset: n.into(), len: 5 }).collect();
        let bytes = encode_extents(&extents);
        assert_eq!(decode_extents(&bytes), Ok(extents));
        assert!((0..bytes.len()).all(|cut| decode_extents(&bytes[..cut]).is_err()));
    }
}
