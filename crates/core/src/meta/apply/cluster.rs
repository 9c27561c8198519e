//! What belongs to no bucket: leases, access keys, settings, generations, and forgetting by age.

use super::{EXPIRE_ROWS_MAX, KEEP_MS, Outcome, Refusal, Step, WRITE_FLOOR, refuse, require, state};
use crate::id::LeaseId;
use crate::meta::reason;
use crate::meta::row::{AccessKeyRow, LeaseRow, SettingRow};
use crate::meta::tables::{AccessKeys, Leases, OutcomeAges, Outcomes, Settings, Span, States, Tables, Typed};
use crate::seam::WallMs;

/// Leases are looked through in pages of this many.
const LEASE_PAGE_ROWS: usize = 1000;

pub(super) fn acquire_lease<T: Tables>(
    t: &mut T,
    name: &str,
    holder: LeaseId,
    duration_ms: u64,
    now: WallMs,
) -> Step<Outcome, T> {
    require(holder != LeaseId::ZERO, reason::LEASE_HOLDER)?;
    let name = name.to_owned();
    let expires_ms = now.saturating_add(duration_ms);
    let lease = match t.get::<Leases>(&name)? {
        Some(held) if held.holder == holder => {
            // A clock that jumped back takes nothing away, and who watches sees that the holder is there.
            LeaseRow { expires_ms: expires_ms.max(held.expires_ms.saturating_add(1)), ..held }
        }
        Some(held) if held.expires_ms > now => return refuse(Refusal::LeaseHeld(held)),
        Some(_) | None => {
            let mut state = state(t)?;
            state.lease_token += 1;
            t.put::<States>(&(), &state)?;
            LeaseRow { holder, token: state.lease_token, expires_ms }
        }
    };
    t.put::<Leases>(&name, &lease)?;
    Ok(Outcome::Leased(lease))
}

pub(super) fn release_lease<T: Tables>(t: &mut T, name: &str, holder: LeaseId) -> Step<Outcome, T> {
    let name = name.to_owned();
    match t.get::<Leases>(&name)? {
        Some(held) if held.holder != holder => refuse(Refusal::LeaseHeld(held)),
        Some(_) => {
            t.remove::<Leases>(&name)?;
            Ok(Outcome::Done)
        }
        None => Ok(Outcome::Done),
    }
}

pub(super) fn put_access_key<T: Tables>(t: &mut T, id: &str, row: &AccessKeyRow) -> Step<Outcome, T> {
    t.put::<AccessKeys>(&id.to_owned(), row)?;
    Ok(Outcome::Done)
}

pub(super) fn replace_access_key<T: Tables>(
    t: &mut T,
    id: &str,
    seen: &AccessKeyRow,
    row: &AccessKeyRow,
) -> Step<Outcome, T> {
    if t.get::<AccessKeys>(&id.to_owned())?.as_ref() != Some(seen) {
        return refuse(Refusal::PreconditionFailed);
    }
    put_access_key(t, id, row)
}

pub(super) fn delete_access_key<T: Tables>(t: &mut T, id: &str) -> Step<Outcome, T> {
    t.remove::<AccessKeys>(&id.to_owned())?;
    Ok(Outcome::Done)
}

pub(super) fn set_setting<T: Tables>(t: &mut T, name: &str, expected: u64, value: &[u8]) -> Step<Outcome, T> {
    require(name != WRITE_FLOOR || value.len() == 4, reason::WRITE_FLOOR)?;
    let name = name.to_owned();
    let revision = t.get::<Settings>(&name)?.map_or(0, |row| row.revision);
    if revision != expected {
        return refuse(Refusal::SettingChanged { revision });
    }
    t.put::<Settings>(&name, &SettingRow { revision: revision + 1, value: value.to_vec() })?;
    Ok(Outcome::Setting { revision: revision + 1 })
}

/// All or none: a change of the layout is the new layout and its name.
pub(super) fn set_settings<T: Tables>(t: &mut T, settings: &[(String, u64, Vec<u8>)]) -> Step<Outcome, T> {
    for (name, expected, value) in settings {
        require(name != WRITE_FLOOR || value.len() == 4, reason::WRITE_FLOOR)?;
        let revision = t.get::<Settings>(name)?.map_or(0, |row| row.revision);
        if revision != *expected {
            return refuse(Refusal::SettingChanged { revision });
        }
    }
    for (name, expected, value) in settings {
        t.put::<Settings>(name, &SettingRow { revision: expected + 1, value: value.clone() })?;
    }
    Ok(Outcome::Done)
}

pub(super) fn start_generation<T: Tables>(t: &mut T, generation: u64) -> Step<Outcome, T> {
    let mut state = state(t)?;
    if generation <= state.generation {
        return refuse(Refusal::StaleGeneration { current: state.generation });
    }
    state.generation = generation;
    t.put::<States>(&(), &state)?;
    Ok(Outcome::Done)
}

pub(super) fn expire<T: Tables>(t: &mut T, now: WallMs) -> Step<Outcome, T> {
    let old = now.saturating_sub(KEEP_MS);
    let span = Span { from: Vec::new(), to: Some(old.to_be_bytes().to_vec()) };
    for ((at_ms, id), ()) in t.scan::<OutcomeAges>(&span, EXPIRE_ROWS_MAX)? {
        t.remove::<Outcomes>(&id)?;
        t.remove::<OutcomeAges>(&(at_ms, id))?;
    }
    let mut rest = Span::default();
    loop {
        let leases = t.scan::<Leases>(&rest, LEASE_PAGE_ROWS)?;
        for (name, _) in leases.iter().filter(|(_, lease)| lease.expires_ms < old) {
            t.remove::<Leases>(name)?;
        }
        match leases.last() {
            Some((last, _)) if leases.len() == LEASE_PAGE_ROWS => rest = Span::default().after(last),
            _ => return Ok(Outcome::Done),
        }
    }
}
