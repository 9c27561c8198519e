//! Stripes that are not whole: the durable queue of completion and repair.

use super::{Outcome, Refusal, Step, refuse};
use crate::id::ChunkId;
use crate::meta::row::TodoRow;
use crate::meta::tables::{Blobs, Tables, Todos, Typed};

pub(super) fn add<T: Tables>(t: &mut T, chunk: ChunkId, todo: &TodoRow) -> Step<Outcome, T> {
    if t.get::<Blobs>(&chunk.blob)?.is_none() {
        return refuse(Refusal::NoSuchBlob);
    }
    merge(t, chunk, todo)?;
    Ok(Outcome::Done)
}

/// Adds to what is known of a stripe: all that is missing, the newest stand-in per shard, the earliest time.
pub(super) fn merge<T: Tables>(t: &mut T, chunk: ChunkId, todo: &TodoRow) -> Step<(), T> {
    let mut merged = todo.clone();
    if let Some(known) = t.get::<Todos>(&chunk)? {
        merged.missing.extend(known.missing);
        let older = known.stand_ins.into_iter().filter(|(i, _)| todo.stand_ins.iter().all(|(j, _)| i != j));
        merged.stand_ins.extend(older);
        merged.since_ms = merged.since_ms.min(known.since_ms);
    }
    write(t, chunk, merged)
}

pub(super) fn finish<T: Tables>(
    t: &mut T,
    chunk: ChunkId,
    seen: &TodoRow,
    left: Option<&TodoRow>,
) -> Step<Outcome, T> {
    if t.get::<Todos>(&chunk)?.as_ref() == Some(seen) {
        write(t, chunk, left.cloned().unwrap_or_default())?;
    }
    Ok(Outcome::Done)
}

/// Writes an entry in its one canonical form (sorted, each shard once); an empty one is removed.
fn write<T: Tables>(t: &mut T, chunk: ChunkId, mut todo: TodoRow) -> Step<(), T> {
    todo.missing.sort_unstable();
    todo.missing.dedup();
    todo.stand_ins.sort_unstable();
    todo.stand_ins.dedup_by_key(|(index, _)| *index);
    if todo.missing.is_empty() && todo.stand_ins.is_empty() {
        t.remove::<Todos>(&chunk)?;
    } else {
        t.put::<Todos>(&chunk, &todo)?;
    }
    Ok(())
}
