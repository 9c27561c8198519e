//! Packs: many small objects in one commit, and the index that leads from an item back to its versions.
//!
//! Every version whose content is an item holds one reference to the pack and has one entry in the index. A pack's row
//! counts the bytes of the items that have entries, so that moving them out of packs that are mostly garbage never has to
//! walk the versions. While a command makes a pack, it holds a reference itself; given back at the end, it condemns a pack
//! that nothing came to refer to.

use super::object::{self, Place, find_version, rewrite};
use super::{Outcome, Refusal, Step, Stop, blob, refuse, require, take_over};
use crate::id::VersionId;
use crate::meta::command::{ItemOutcome, NewPack, PackedMove, PackedPut, VersionSelector};
use crate::meta::reason;
use crate::meta::row::{BlobBody, Content, Extent, PackEntry, PackRow, PackedItem};
use crate::meta::staged::Staged;
use crate::meta::table_key::item_of_pack;
use crate::meta::tables::{PackEntries, Packs, Span, Tables, Typed};
use crate::seam::WallMs;

/// The most versions that one command moves; the others stay where they are, for another time.
const MOVED_VERSIONS_MAX: usize = 2000;

pub(super) fn put<T: Tables>(t: &mut T, new: &NewPack, items: &[PackedPut], now: WallMs) -> Step<Outcome, T> {
    begin(t, new, now)?;
    let outcomes = items.iter().map(|item| put_item(t, new, item, now)).collect::<Result<_, _>>()?;
    end(t, new, now)?;
    Ok(Outcome::Items(outcomes))
}

/// One object: a refusal changes nothing but its own outcome.
fn put_item<T: Tables>(t: &mut T, new: &NewPack, item: &PackedPut, now: WallMs) -> Step<ItemOutcome, T> {
    let mut staged = Staged::new(&*t);
    let place = Place { bucket: item.bucket, key: &item.key, now };
    let is_of_pack =
        matches!(&item.version.content, Content::Packed(packed) if packed.at.blob == new.blob.id);
    let done = require(is_of_pack, reason::PACK_ITEM)
        .and_then(|()| object::put(&mut staged, &place, &item.condition, &item.version, None));
    match done {
        Ok(Outcome::Committed { version, null, versioned }) => {
            let changes = staged.into_changes().collect();
            take_over(t, changes)?;
            Ok(ItemOutcome::Committed { version, null, versioned })
        }
        Ok(_) => unreachable!("a put commits or is refused"),
        Err(Stop::Refused(refusal)) => Ok(ItemOutcome::Refused(refusal)),
        Err(Stop::Failed(error)) => Err(Stop::Failed(error)),
    }
}

pub(super) fn relocate<T: Tables>(
    t: &mut T,
    new: &NewPack,
    moves: &[PackedMove],
    now: WallMs,
) -> Step<Outcome, T> {
    begin(t, new, now)?;
    let mut room = MOVED_VERSIONS_MAX;
    for item in moves {
        require(item.from.blob != new.blob.id, reason::PACK_ITEM)?;
        let to = Extent { blob: new.blob.id, offset: item.to, len: item.from.len };
        let found = if room == 0 { Vec::new() } else { entries(t, &item.from, room)? };
        room -= found.len();
        for entry in found {
            let place = Place { bucket: entry.bucket, key: &entry.key, now };
            let selector = VersionSelector::Id(entry.version);
            let Some((mut row, is_head)) = find_version(t, place.bucket, place.key, selector)? else {
                continue;
            };
            let Content::Packed(old) = &row.content else { continue };
            let (old, moved) = (old.clone(), PackedItem { at: to, ..old.clone() });
            require(old.at == item.from, reason::PACK_ITEM)?;
            hold(t, &place, row.id, &moved)?;
            let_go(t, &place, row.id, &old)?;
            row.content = Content::Packed(moved);
            rewrite(t, &place, &row, is_head)?;
        }
    }
    end(t, new, now)?;
    Ok(Outcome::Done)
}

fn begin<T: Tables>(t: &mut T, new: &NewPack, now: WallMs) -> Step<(), T> {
    require(matches!(new.blob.body, BlobBody::Chunked { .. }), reason::PACK_BODY)?;
    blob::bring(t, &new.blob, now)?;
    let row = PackRow { live: 0, len: new.blob.len, code: new.code, region_pin: new.region_pin.clone() };
    t.put::<Packs>(&new.blob.id, &row)?;
    Ok(())
}

fn end<T: Tables>(t: &mut T, new: &NewPack, now: WallMs) -> Step<(), T> {
    if t.get::<Packs>(&new.blob.id)?.is_some_and(|pack| pack.live == 0) {
        t.remove::<Packs>(&new.blob.id)?;
    }
    blob::release(t, new.blob.id, now)
}

/// A version comes to refer to an item.
pub(super) fn hold<T: Tables>(
    t: &mut T,
    place: &Place<'_>,
    version: VersionId,
    item: &PackedItem,
) -> Step<(), T> {
    blob::acquire(t, &item.at)?;
    let Some(mut pack) = t.get::<Packs>(&item.at.blob)? else {
        return refuse(Refusal::Invalid(reason::PACK_ITEM));
    };
    match entries(t, &item.at, 1)?.first() {
        // Another length at the same place would be another item.
        Some(other) => require(t.get::<PackEntries>(other)? == Some(item.at.len), reason::PACK_ITEM)?,
        None => {
            require(item.at.len > 0, reason::PACK_ITEM)?;
            pack.live = pack.live.saturating_add(item.at.len);
            t.put::<Packs>(&item.at.blob, &pack)?;
        }
    }
    t.put::<PackEntries>(&entry(place, version, item), &item.at.len)?;
    Ok(())
}

/// A version refers to an item no more.
pub(super) fn let_go<T: Tables>(
    t: &mut T,
    place: &Place<'_>,
    version: VersionId,
    item: &PackedItem,
) -> Step<(), T> {
    t.remove::<PackEntries>(&entry(place, version, item))?;
    if let Some(mut pack) = t.get::<Packs>(&item.at.blob)?
        && entries(t, &item.at, 1)?.is_empty()
    {
        pack.live = pack.live.saturating_sub(item.at.len);
        if pack.live == 0 {
            t.remove::<Packs>(&item.at.blob)?;
        } else {
            t.put::<Packs>(&item.at.blob, &pack)?;
        }
    }
    blob::release(t, item.at.blob, place.now)
}

fn entry(place: &Place<'_>, version: VersionId, item: &PackedItem) -> PackEntry {
    PackEntry {
        pack: item.at.blob,
        offset: item.at.offset,
        bucket: place.bucket,
        version,
        key: place.key.to_vec(),
    }
}

/// At most `limit` of the versions of an item.
fn entries<T: Tables>(t: &T, item: &Extent, limit: usize) -> Step<Vec<PackEntry>, T> {
    let found = t.scan::<PackEntries>(&Span::prefix(item_of_pack(item.blob, item.offset)), limit)?;
    Ok(found.into_iter().map(|(entry, _)| entry).collect())
}
