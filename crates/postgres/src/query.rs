//! Queries: the reading half of the port.
//!
//! A query is run on working tables until it lacks nothing. One that asks for a single statement takes no transaction; one
//! that asks for more sees a single state of the database (REPEATABLE READ). A head comes with its blob, so a GET is one
//! query. Reads always go to the server that takes writes: what was answered is seen.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use pangea_core::id::BucketId;
use pangea_core::meta::{TableId, UsageRow};
use pangea_meta::MetaError;
use tokio::time::Instant;

use crate::commit::Reads;
use crate::error::Trouble;
use crate::known::Known;
use crate::names::RowKey;
use crate::pool::Pool;
use crate::session::{Call, Session};
use crate::sql;
use crate::working::{BadRow, Notes, Working};

/// The most rounds of one query; three are the most that one takes.
const ROUNDS_MAX: usize = 16;
/// The wait before a query is tried again.
const WAIT: Duration = Duration::from_millis(50);

/// A query, on any tables.
pub(crate) trait Query<R>: Fn(&Working<'_>) -> Result<R, BadRow> + Send + Sync {}
impl<R, F: Fn(&Working<'_>) -> Result<R, BadRow> + Send + Sync> Query<R> for F {}

/// Whoever reads.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) pool: Arc<Pool>,
    /// For how long a query is tried.
    pub(crate) patience: Duration,
}

/// Something that is asked on one connection.
trait Ask<R>: Send + Sync {
    fn ask<'s>(&'s self, session: &'s mut Session) -> Asked<'s, R>;
}

type Asked<'s, R> = Pin<Box<dyn Future<Output = Result<R, Trouble>> + Send + 's>>;

/// A query on working tables.
struct OnTables<Q>(Q);

impl<R: Send + 'static, Q: Query<R>> Ask<R> for OnTables<Q> {
    fn ask<'s>(&'s self, session: &'s mut Session) -> Asked<'s, R> {
        Box::pin(run(session, &self.0))
    }
}

/// What a bucket holds.
struct Usage(BucketId);

impl Ask<Option<UsageRow>> for Usage {
    fn ask<'s>(&'s self, session: &'s mut Session) -> Asked<'s, Option<UsageRow>> {
        Box::pin(async move {
            let bucket = &self.0.0[..];
            let answers = session.send(&[Call::new(sql::READ_USAGE, vec![&bucket])]).await?;
            let mut sum: Option<UsageRow> = None;
            for row in answers.into_iter().flatten() {
                let sum = sum.get_or_insert_default();
                let add = |at: usize, to: &mut u64| -> Result<(), Trouble> {
                    *to = to.wrapping_add(row.try_get::<_, i64>(at)? as u64); // two's complement
                    Ok(())
                };
                add(0, &mut sum.versions)?;
                add(1, &mut sum.bytes)?;
                add(2, &mut sum.heads)?;
                add(3, &mut sum.uploads)?;
                add(4, &mut sum.last_seq)?;
            }
            Ok(sum)
        })
    }
}

/// How many requests were ever carried out.
struct Applied;

impl Ask<u64> for Applied {
    fn ask<'s>(&'s self, session: &'s mut Session) -> Asked<'s, u64> {
        Box::pin(async move {
            let answers = session.send(&[Call::plain(sql::READ_APPLIED)]).await?;
            let applied: Option<i64> = answers[0].first().map(|row| row.try_get(0)).transpose()?;
            Ok(u64::try_from(applied.unwrap_or(0)).unwrap_or(0))
        })
    }
}

impl Reader {
    /// Answers a query.
    pub(crate) async fn read<R: Send + 'static>(&self, query: impl Query<R>) -> Result<R, MetaError> {
        self.patiently(&OnTables(query)).await
    }

    /// What a bucket holds.
    pub(crate) async fn usage(&self, bucket: BucketId) -> Result<Option<UsageRow>, MetaError> {
        self.patiently(&Usage(bucket)).await
    }

    /// How many requests were ever carried out.
    pub(crate) async fn applied(&self) -> Result<u64, MetaError> {
        self.patiently(&Applied).await
    }

    /// Tries until it works, or time is up.
    async fn patiently<R>(&self, asker: &dyn Ask<R>) -> Result<R, MetaError> {
        let until = Instant::now() + self.patience;
        loop {
            let result = match tokio::time::timeout_at(until, self.pool.take()).await {
                Ok(Ok(mut taken)) => {
                    let result = asker.ask(&mut taken.session).await;
                    self.pool.give_back(taken);
                    result
                }
                Ok(Err(trouble)) => Err(trouble),
                Err(_) => Err(Trouble::Lost("all connections are busy, or no host lets us in".to_owned())),
            };
            match result {
                Ok(answer) => return Ok(answer),
                Err(Trouble::Lost(_) | Trouble::Conflict) if Instant::now() + WAIT < until => {
                    tokio::time::sleep(WAIT).await;
                }
                Err(trouble) => return Err(trouble.into_meta()),
            }
        }
    }
}

/// Runs a query on one connection, which is in no transaction before and after, or broken.
pub(crate) async fn run<R>(session: &mut Session, query: &impl Query<R>) -> Result<R, Trouble> {
    let mut begun = false;
    let result = rounds(session, query, &mut begun).await;
    if begun {
        session.roll_back().await; // nothing was written
    }
    result
}

async fn rounds<R>(session: &mut Session, query: &impl Query<R>, begun: &mut bool) -> Result<R, Trouble> {
    let mut known = Known::default();
    let mut all = Notes::default();
    for _ in 0..ROUNDS_MAX {
        let tables = Working::new(&known, None);
        let answer = query(&tables)?;
        let (_, mut lacked) = tables.finish();
        if lacked.rows.is_empty() && lacked.scans.is_empty() {
            return Ok(answer);
        }
        all.rows.extend(lacked.rows.iter().cloned());
        all.scans.extend(lacked.scans.iter().map(|(range, limit)| (range.clone(), *limit)));
        if !*begun && known.is_empty() && lacked.rows.len() + lacked.scans.len() == 1 {
            fetch(session, &mut known, &lacked, begun, false).await?;
            continue;
        }
        if !*begun && !known.is_empty() {
            // What was read before the transaction is read again in it, so that all of it is of one state.
            known = Known::default();
            lacked.rows.clone_from(&all.rows);
            lacked.scans.clone_from(&all.scans);
        }
        fetch(session, &mut known, &lacked, begun, true).await?;
    }
    Err(Trouble::limit(format!("a query needs more than {ROUNDS_MAX} rounds of reading")))
}

async fn fetch(
    session: &mut Session,
    known: &mut Known,
    lacked: &Notes,
    begun: &mut bool,
    in_transaction: bool,
) -> Result<(), Trouble> {
    let (heads, rows): (BTreeSet<&RowKey>, BTreeSet<&RowKey>) =
        lacked.rows.iter().partition(|(table, _)| *table == TableId::Head);
    let keys: Vec<&[u8]> = heads.iter().map(|(_, key)| key.as_slice()).collect();
    let reads = Reads::new(rows.into_iter(), lacked);
    let mut calls = Vec::new();
    if in_transaction && !*begun {
        *begun = true;
        calls.push(Call::plain(sql::BEGIN_READING));
    }
    let begin = calls.len();
    if !keys.is_empty() {
        calls.push(Call::new(sql::READ_HEADS, vec![&keys]));
    }
    calls.extend(reads.calls());
    let mut answers = session.send(&calls).await?.into_iter().skip(begin);
    if !keys.is_empty() {
        for key in heads {
            known.learn(key.clone(), None);
        }
        for row in answers.next().unwrap_or_default() {
            known.learn((TableId::Head, row.try_get(0)?), Some(row.try_get(1)?));
            if let Some(blob) = row.try_get::<_, Option<Vec<u8>>>(2)? {
                known.learn((TableId::Blob, blob), row.try_get(3)?);
            }
        }
    }
    reads.learn(known, answers)
}
