//! Loading: rows of another engine into an empty database.
//!
//! Owns no order: rows are rows. The database must hold nothing but what an open makes, because counters are added to and a
//! second load would count twice; one that was interrupted is dropped and begun again.

use pangea_core::meta::{TableId, read};
use pangea_meta::MetaError;

use crate::changes::Writes;
use crate::error::Trouble;
use crate::known::Known;
use crate::query;
use crate::session::{Call, Connector, Session};
use crate::sql;
use crate::working::{Changes, Working};

/// A row of some table, with its key.
pub type LoadedRow = (TableId, Vec<u8>, Vec<u8>);

/// What one transaction of a load takes at most, in rows and bytes.
const ROWS_MAX: usize = 5_000;
const BYTES_MAX: usize = 4 << 20;

/// Loads all rows.
pub(crate) async fn load(
    connector: &Connector,
    chunks: impl Iterator<Item = Vec<LoadedRow>>,
) -> Result<(), MetaError> {
    let mut session = connector.connect().await.map_err(Trouble::into_meta)?;
    let empty = query::run(&mut session, &is_empty).await.map_err(Trouble::into_meta)?;
    if !empty {
        let why = "the database holds metadata already: load into an empty one (drop it and create it again)";
        return Err(MetaError::Unavailable { why: why.to_owned() });
    }
    let (mut changes, mut bytes) = (Changes::new(), 0);
    for (table, key, row) in chunks.flatten() {
        bytes += key.len() + row.len();
        changes.insert((table, key), Some(row));
        if changes.len() >= ROWS_MAX || bytes >= BYTES_MAX {
            write(&mut session, std::mem::take(&mut changes)).await.map_err(Trouble::into_meta)?;
            bytes = 0;
        }
    }
    write(&mut session, changes).await.map_err(Trouble::into_meta)
}

fn is_empty(tables: &Working<'_>) -> Result<bool, crate::working::BadRow> {
    // What is anywhere: a bucket leaves its keys behind, an object its blob.
    Ok(read::bucket_keys(tables, None, 1)?.is_empty()
        && read::blobs(tables, None, 1)?.is_empty()
        && read::access_keys(tables, None, 1)?.is_empty())
}

async fn write(session: &mut Session, changes: Changes) -> Result<(), Trouble> {
    let writes = Writes::new(changes, &Known::default(), &Default::default(), 0)?;
    let mut calls = vec![Call::plain(sql::BEGIN)];
    calls.extend(writes.calls());
    calls.push(Call::plain(sql::COMMIT));
    let sent = session.send(&calls).await.map(drop);
    if sent.is_err() {
        session.roll_back().await;
    }
    sent
}
