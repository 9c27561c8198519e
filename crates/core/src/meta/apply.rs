//! Apply: carries one command out on any engine's tables. The one place where outcomes are decided.
//!
//! Owns idempotence (a request id seen before gets its kept outcome and changes nothing) and the all-or-nothing rule (a
//! refused command changes nothing but its kept outcome; an engine's error changes nothing at all, and the caller throws the
//! group away). The rooms below decide, one family each; they see the tables only as `Staged`.
//!
//! | room | commands |
//! |---|---|
//! | `bucket` | buckets, their documents and keys |
//! | `object` | put and delete of versions and of their attributes, what conditions mean, which version is the head |
//! | `pack` | packs: many small objects in one commit, moving items, the index from items to versions |
//! | `upload` | multipart uploads |
//! | `blob` | references: acquire, bring, release, condemn, purge; the epoch check |
//! | `stripe` | todos |
//! | `cluster` | leases, access keys, settings, generations, expiry |

mod blob;
mod bucket;
mod cluster;
mod object;
mod pack;
mod stripe;
mod upload;

use super::command::{Command, Outcome, Refusal, Request};
use super::row::{OutcomeRow, StateRow};
use super::staged::{Change, Staged};
use super::tables::{OutcomeAges, Outcomes, States, Tables, Typed};

pub(super) use object::find_version;

/// How long outcomes and expired leases are kept.
pub const KEEP_MS: u64 = 24 * 3600 * 1000;
/// The most kept outcomes that one [`Command::Expire`] forgets: it stays short, and is sent again.
pub const EXPIRE_ROWS_MAX: usize = 20_000;
/// Parts of an upload are numbered 1 to this.
pub const PART_NUMBER_MAX: u16 = 10_000;
/// The setting that holds the oldest layout epoch that may still be written: `u32`, little-endian. Commits of blobs that
/// were placed at an older one are refused with [`Refusal::StaleEpoch`].
pub const WRITE_FLOOR: &str = "layout/write_floor";

/// Why a command went no further.
enum Stop<E> {
    /// Its own doing.
    Refused(Refusal),
    /// The engine's.
    Failed(E),
}

impl<E> From<E> for Stop<E> {
    fn from(error: E) -> Self {
        Self::Failed(error)
    }
}

/// What a step of a command gives.
type Step<R, T> = Result<R, Stop<<T as Tables>::Error>>;

fn refuse<R, E>(refusal: Refusal) -> Result<R, Stop<E>> {
    Err(Stop::Refused(refusal))
}

/// Refuses as a contradiction, unless `holds`.
fn require<E>(holds: bool, why: &'static str) -> Result<(), Stop<E>> {
    if holds { Ok(()) } else { refuse(Refusal::Invalid(why)) }
}

/// Carries `request` out, or repeats the outcome that its id was given before.
///
/// An error is the engine's: nothing may be kept of whatever it was in the middle of.
pub fn apply<T: Tables>(tables: &mut T, request: &Request) -> Result<Outcome, T::Error> {
    if let Some(kept) = tables.get::<Outcomes>(&request.id)? {
        return Ok(kept.outcome);
    }
    let mut staged = Staged::new(&*tables);
    let outcome = match run(&mut staged, request) {
        Ok(outcome) => outcome,
        Err(Stop::Refused(refusal)) => {
            staged.clear();
            Outcome::Refused(refusal)
        }
        Err(Stop::Failed(error)) => return Err(error),
    };
    let kept = OutcomeRow { at_ms: request.now_ms, outcome };
    staged.put::<Outcomes>(&request.id, &kept)?;
    staged.put::<OutcomeAges>(&(request.now_ms, request.id), &())?;
    let changes = staged.into_changes().collect();
    take_over(tables, changes)?;
    Ok(kept.outcome)
}

/// Makes staged changes real.
fn take_over<T: Tables>(tables: &mut T, changes: Vec<Change>) -> Result<(), T::Error> {
    for ((table, key), row) in changes {
        match row {
            Some(row) => tables.put_raw(table, &key, &row)?,
            None => tables.remove_raw(table, &key)?,
        }
    }
    Ok(())
}

/// The cluster's counters.
fn state<T: Tables>(t: &T) -> Step<StateRow, T> {
    Ok(t.get::<States>(&())?.unwrap_or_default())
}

fn run<T: Tables>(t: &mut T, request: &Request) -> Step<Outcome, T> {
    let now = request.now_ms;
    match &request.command {
        Command::CreateBucket { bucket, key } => bucket::create(t, bucket, key),
        Command::DeleteBucket { name } => bucket::delete(t, name),
        Command::SetVersioning { name, versioning } => bucket::set_versioning(t, name, *versioning),
        Command::SetCode { name, code } => bucket::set_code(t, name, *code),
        Command::SetDocument { name, document, value } => {
            bucket::set_document(t, name, document, value.as_deref())
        }
        Command::PutBucketKey { bucket, generation, key } => bucket::put_key(t, *bucket, *generation, key),
        Command::PutVersion { bucket, key, condition, version, blob } => {
            object::put(t, &object::Place { bucket: *bucket, key, now }, condition, version, blob.as_ref())
        }
        Command::DeleteVersion { bucket, key, condition, version, marker } => {
            object::delete(t, &object::Place { bucket: *bucket, key, now }, condition, *version, *marker)
        }
        Command::PutPack { pack, items } => pack::put(t, pack, items, now),
        Command::MovePacked { pack, moves } => pack::relocate(t, pack, moves, now),
        Command::SetAttribute { bucket, key, version, name, value } => {
            let place = object::Place { bucket: *bucket, key, now };
            object::set_attribute(t, &place, *version, name, value.as_deref())
        }
        Command::ReplaceContent { bucket, key, version, seen, blob } => {
            let place = object::Place { bucket: *bucket, key, now };
            object::replace_content(t, &place, *version, seen, blob)
        }
        Command::CreateUpload { upload, row } => upload::create(t, *upload, row),
        Command::PutPart { bucket, key, upload, number, part, blob } => {
            let place = upload::Place { bucket: *bucket, key, upload: *upload, now };
            upload::put_part(t, &place, *number, part, blob.as_ref())
        }
        Command::CompleteUpload { bucket, key, upload, condition, parts, version, blob } => {
            let place = upload::Place { bucket: *bucket, key, upload: *upload, now };
            upload::complete(t, &place, condition, parts, version, blob.as_ref())
        }
        Command::AbortUpload { bucket, key, upload } => {
            upload::abort(t, &upload::Place { bucket: *bucket, key, upload: *upload, now })
        }
        Command::AddTodo { chunk, todo } => stripe::add(t, *chunk, todo),
        Command::FinishTodo { chunk, seen, left } => stripe::finish(t, *chunk, seen, left.as_ref()),
        Command::Purge { blobs } => blob::purge(t, blobs, now),
        Command::AcquireLease { name, holder, duration_ms } => {
            cluster::acquire_lease(t, name, *holder, *duration_ms, now)
        }
        Command::ReleaseLease { name, holder } => cluster::release_lease(t, name, *holder),
        Command::PutAccessKey { id, row } => cluster::put_access_key(t, id, row),
        Command::ReplaceAccessKey { id, seen, row } => cluster::replace_access_key(t, id, seen, row),
        Command::DeleteAccessKey { id } => cluster::delete_access_key(t, id),
        Command::SetSettings { settings } => cluster::set_settings(t, settings),
        Command::SetSetting { name, expected, value } => cluster::set_setting(t, name, *expected, value),
        Command::StartGeneration { generation } => cluster::start_generation(t, *generation),
        Command::Expire => cluster::expire(t, now),
    }
}
