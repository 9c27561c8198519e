//! Blobs: who refers to them, and when they may be forgotten.
//!
//! Every version, part and composite slice that names a blob holds one reference, and a spilled manifest or list is held by
//! the blob that it describes:
//!
//! ```text
//! bring ─▶ referenced (refs ≥ 1) ─ release of the last ─▶ condemned (refs 0) ─ purge ─▶ gone
//!              ▲      │ acquire: +1, release: −1            never referenced again
//!              └──────┘
//! ```
//!
//! A composite keeps its slices' references until it is purged itself, so its bytes stay readable while it is condemned.

use super::{Outcome, Refusal, Step, WRITE_FLOOR, refuse, require, state};
use crate::id::BlobId;
use crate::meta::command::NewBlob;
use crate::meta::reason;
use crate::meta::row::{BlobBody, BlobRow, Extent};
use crate::meta::tables::{Blobs, CondemnedBlobs, Settings, Span, Tables, Todos, Typed};
use crate::seam::WallMs;

/// Todos of a purged blob are removed in pages of this many.
const TODO_PAGE_ROWS: usize = 1000;

/// One more reference to an existing blob.
pub(super) fn acquire<T: Tables>(t: &mut T, extent: &Extent) -> Step<(), T> {
    let Some(mut row) = t.get::<Blobs>(&extent.blob)?.filter(|row| row.refs > 0) else {
        return refuse(Refusal::NoSuchBlob);
    };
    let end = extent.offset.checked_add(extent.len);
    require(end.is_some_and(|end| end <= row.len), reason::EXTENT_OUTSIDE)?;
    require(row.refs < u32::MAX, reason::BLOB_REFS_MAX)?;
    row.refs += 1;
    t.put::<Blobs>(&extent.blob, &row)?;
    Ok(())
}

/// A blob that comes into being, with one reference; and with it the one that its manifest or list was spilled to.
pub(super) fn bring<T: Tables>(t: &mut T, new: &NewBlob, now: WallMs) -> Step<(), T> {
    let spilled_to = match &new.body {
        BlobBody::ChunkedSpilled { manifest, .. } => Some(*manifest),
        BlobBody::CompositeSpilled { list, .. } => Some(*list),
        BlobBody::Inline { .. } | BlobBody::Chunked { .. } | BlobBody::Composite { .. } => None,
    };
    require(spilled_to == new.spill.as_ref().map(|(id, ..)| *id), reason::SPILL)?;
    check_epoch(t, new)?;
    create(t, new.id, new.len, &new.body, now)?;
    if let Some((id, len, body)) = &new.spill {
        require(matches!(body, BlobBody::Inline { .. } | BlobBody::Chunked { .. }), reason::SPILL)?;
        create(t, *id, *len, body, now)?;
    }
    for (chunk, todo) in &new.todos {
        require(chunk.blob == new.id || Some(chunk.blob) == spilled_to, reason::TODO_CHUNK)?;
        super::stripe::merge(t, *chunk, todo)?;
    }
    Ok(())
}

/// Inline bytes and composites lie on no drive, so no layout epoch can be too old for them.
fn check_epoch<T: Tables>(t: &T, new: &NewBlob) -> Step<(), T> {
    let placed = |body: &BlobBody| matches!(body, BlobBody::Chunked { .. } | BlobBody::ChunkedSpilled { .. });
    if !placed(&new.body) && !new.spill.as_ref().is_some_and(|(_, _, body)| placed(body)) {
        return Ok(());
    }
    let Some(setting) = t.get::<Settings>(&WRITE_FLOOR.to_owned())? else { return Ok(()) };
    let oldest = setting.value.try_into().map(u32::from_le_bytes).unwrap_or(u32::MAX);
    if new.layout_epoch < oldest { refuse(Refusal::StaleEpoch { oldest }) } else { Ok(()) }
}

fn create<T: Tables>(t: &mut T, id: BlobId, len: u64, body: &BlobBody, now: WallMs) -> Step<(), T> {
    require(id != BlobId::ZERO, reason::BLOB_ID_ZERO)?;
    require(t.get::<Blobs>(&id)?.is_none(), reason::BLOB_ID_TAKEN)?;
    let row = BlobRow {
        refs: 1,
        condemned_generation: 0,
        condemned_ms: 0,
        len,
        created_ms: now,
        body: body.clone(),
    };
    t.put::<Blobs>(&id, &row)?;
    Ok(())
}

/// One reference less; the last one condemns the blob.
pub(super) fn release<T: Tables>(t: &mut T, id: BlobId, now: WallMs) -> Step<(), T> {
    let Some(mut row) = t.get::<Blobs>(&id)?.filter(|row| row.refs > 0) else {
        return Ok(()); // never by our own doing; a version whose blob is lost can still be deleted
    };
    row.refs -= 1;
    if row.refs == 0 {
        row.condemned_generation = state(t)?.generation;
        row.condemned_ms = now;
        t.put::<CondemnedBlobs>(&(row.condemned_generation, id), &())?;
    }
    t.put::<Blobs>(&id, &row)?;
    Ok(())
}

/// Forgets condemned blobs; one that is gone already is skipped, so a purge may be repeated.
pub(super) fn purge<T: Tables>(t: &mut T, blobs: &[(BlobId, Vec<BlobId>)], now: WallMs) -> Step<Outcome, T> {
    for (id, slices) in blobs {
        let Some(row) = t.get::<Blobs>(id)? else { continue };
        require(row.refs == 0, reason::PURGE_REFERENCED)?;
        for child in children(&row.body, slices)? {
            let referenced = t.get::<Blobs>(&child)?.is_some_and(|row| row.refs > 0);
            require(referenced, reason::PURGE_SLICES)?;
            release(t, child, now)?;
        }
        t.remove::<Blobs>(id)?;
        t.remove::<CondemnedBlobs>(&(row.condemned_generation, *id))?;
        loop {
            let todos = t.scan::<Todos>(&Span::prefix(id.0.to_vec()), TODO_PAGE_ROWS)?;
            for (chunk, _) in &todos {
                t.remove::<Todos>(chunk)?;
            }
            if todos.len() < TODO_PAGE_ROWS {
                break;
            }
        }
    }
    Ok(Outcome::Done)
}

/// The blobs that a body refers to, as often as it does.
fn children<E>(body: &BlobBody, slices: &[BlobId]) -> Result<Vec<BlobId>, super::Stop<E>> {
    let expected = if let BlobBody::CompositeSpilled { parts, .. } = body { *parts as usize } else { 0 };
    require(slices.len() == expected, reason::PURGE_SLICES)?;
    Ok(match body {
        BlobBody::Inline { .. } | BlobBody::Chunked { .. } => Vec::new(),
        BlobBody::ChunkedSpilled { manifest, .. } => vec![*manifest],
        BlobBody::Composite { parts } => parts.iter().map(|extent| extent.blob).collect(),
        BlobBody::CompositeSpilled { list, .. } => slices.iter().copied().chain([*list]).collect(),
    })
}
