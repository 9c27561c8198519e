//! Commit: one attempt at a batch of requests.
//!
//! ```text
//! pass over the batch ── notes rows it lacks ──▶ fetch them, one message ──┐
//!      ▲ └── lacks nothing ──▶ write everything and COMMIT, one message    │
//!      └───────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The first message looks at heads *before* BEGIN. Under SERIALIZABLE a key that is read and not found locks its whole
//! page of the index against the inserts of all others, so that unrelated new objects would abort each other; a head that
//! was missing is proved by its insert instead. An attempt leaves the session outside of any transaction, or broken.

use std::sync::Arc;

use pangea_core::meta::{Outcome, OutcomeRow, RawRow, Request, TableId, apply};
use tokio_postgres::Row;

use crate::changes::Writes;
use crate::error::Trouble;
use crate::known::{Hints, Known};
use crate::names::{Brought, RowKey};
use crate::session::{Call, Session};
use crate::sql;
use crate::working::{BadRow, Changes, Guess, Notes, Working};

/// The most rounds of reading. Three are usual; a purge or an expiry that pages through rows takes one a page.
const ROUNDS_MAX: usize = 1000;

/// Why an attempt came to nothing, as far as it knows.
pub(crate) struct Failed {
    pub(crate) trouble: Trouble,
    /// Whether COMMIT was sent and not answered.
    pub(crate) unknown: bool,
}

impl From<Trouble> for Failed {
    fn from(trouble: Trouble) -> Self {
        Self { trouble, unknown: false }
    }
}

impl From<BadRow> for Trouble {
    fn from(BadRow(table, why): BadRow) -> Self {
        Self::Malformed(table, why.what)
    }
}

/// One attempt.
pub(crate) struct Attempt<'a> {
    pub(crate) session: &'a mut Session,
    pub(crate) hints: &'a Hints,
    pub(crate) requests: &'a [Arc<Request>],
    /// Read everything, take nothing to be absent.
    pub(crate) careful: bool,
    /// Which part of the counters to add to.
    pub(crate) slot: i64,
}

impl Attempt<'_> {
    /// Tries to carry the requests out, in order, in one transaction.
    pub(crate) async fn run(mut self) -> Result<Vec<Outcome>, Failed> {
        let mut known = Known::default();
        let mut begun = false;
        let result = self.rounds(&mut known, &mut begun).await;
        if begun && result.is_err() {
            self.session.roll_back().await;
        }
        result
    }

    async fn rounds(&mut self, known: &mut Known, begun: &mut bool) -> Result<Vec<Outcome>, Failed> {
        let brought = Brought::by(self.requests.iter().map(AsRef::as_ref));
        for _ in 0..ROUNDS_MAX {
            let (outcomes, changes, mut notes) = self.pass(known, &brought)?;
            if notes.rows.is_empty() && notes.scans.is_empty() && notes.buckets.is_empty() {
                let unproved = |key: &&RowKey| !matches!(changes.get(*key), Some(Some(_)));
                notes.rows = notes.leaned.iter().filter(unproved).cloned().collect();
                if notes.rows.is_empty() {
                    self.write(known, changes, &notes, begun).await?;
                    return Ok(outcomes);
                }
                // These must be read inside, also if that is the first thing that is.
                self.fetch(known, &notes, begun, false).await?;
                continue;
            }
            let look = !*begun && !self.careful;
            self.fetch(known, &notes, begun, look).await?;
        }
        Err(Trouble::limit(format!("a command needs more than {ROUNDS_MAX} rounds of reading")).into())
    }

    fn pass(&self, known: &Known, brought: &Brought) -> Result<(Vec<Outcome>, Changes, Notes), Trouble> {
        let brought = (!self.careful).then_some(brought);
        let mut tables = Working::new(known, Some(Guess { hints: self.hints, brought }));
        let outcomes =
            self.requests.iter().map(|request| apply(&mut tables, request)).collect::<Result<_, _>>()?;
        let (changes, notes) = tables.finish();
        Ok((outcomes, changes, notes))
    }

    /// Fetches what a pass lacked. With `look`, heads are looked at before the transaction.
    async fn fetch(
        &mut self,
        known: &mut Known,
        notes: &Notes,
        begun: &mut bool,
        look: bool,
    ) -> Result<(), Trouble> {
        // One that was looked at and found is read inside now.
        let to_look = |key: &&RowKey| look && key.0 == TableId::Head && known.before(key).is_none();
        let (heads, rows): (Vec<&RowKey>, Vec<&RowKey>) = notes.rows.iter().partition(to_look);
        let looked: Vec<&[u8]> = heads.iter().map(|(_, key)| key.as_slice()).collect();
        let buckets: Vec<&[u8]> = notes.buckets.iter().map(Vec::as_slice).collect();
        let reads = Reads::new(rows.into_iter(), notes);
        let mut calls = Vec::new();
        if !looked.is_empty() {
            calls.push(Call::new(sql::READ_HEADS, vec![&looked]));
        }
        // The sum is read outside if that can be: inside, every writer of the bucket would be a conflict.
        if !buckets.is_empty() {
            calls.push(Call::new(sql::READ_COMMITS, vec![&buckets]));
        }
        let outside = calls.len();
        if !reads.is_empty() {
            if !*begun {
                calls.push(Call::plain(sql::BEGIN));
                *begun = true;
            }
            calls.extend(reads.calls());
        }
        let mut answers = self.session.send(&calls).await?.into_iter();
        if !looked.is_empty() {
            learn_looked(known, heads.into_iter().cloned(), &answers.next().unwrap_or_default())?;
        }
        if !buckets.is_empty() {
            learn_commits(known, &notes.buckets, &answers.next().unwrap_or_default())?;
        }
        let skipped = calls.len() - outside - reads.len();
        reads.learn(known, answers.skip(skipped))
    }

    /// Writes and commits.
    async fn write(
        &mut self,
        known: &Known,
        changes: Changes,
        notes: &Notes,
        begun: &mut bool,
    ) -> Result<(), Failed> {
        self.hints.remember(known, &changes);
        let writes = Writes::new(changes, known, &notes.leaned, self.slot).map_err(Trouble::from)?;
        let mut calls = if *begun { Vec::new() } else { vec![Call::plain(sql::BEGIN)] };
        *begun = true;
        calls.extend(writes.calls());
        calls.push(Call::plain(sql::COMMIT));
        match self.session.send(&calls).await {
            Ok(_) => Ok(()),
            Err(trouble) => {
                let unknown = matches!(trouble, Trouble::Lost(_));
                Err(Failed { trouble, unknown })
            }
        }
    }
}

/// Rows and ranges to read, as statements.
pub(crate) struct Reads {
    rows: Vec<Vec<Vec<u8>>>,
    scans: Vec<(crate::known::Range, usize, i64)>,
}

impl Reads {
    /// These rows, and the ranges of `notes`.
    pub(crate) fn new<'a>(rows: impl Iterator<Item = &'a RowKey>, notes: &Notes) -> Self {
        let mut by_table = vec![Vec::new(); TableId::ALL.len()];
        for (table, key) in rows {
            by_table[*table as usize - 1].push(key.clone());
        }
        let limited = |limit: usize| i64::try_from(limit).unwrap_or(i64::MAX);
        let scans =
            notes.scans.iter().map(|(range, limit)| (range.clone(), *limit, limited(*limit))).collect();
        Self { rows: by_table, scans }
    }

    fn asks_rows(&self) -> bool {
        self.rows.iter().any(|keys| !keys.is_empty())
    }

    /// How many statements these are.
    pub(crate) fn len(&self) -> usize {
        usize::from(self.asks_rows()) + self.scans.len()
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The statements: one for all rows, one for each range.
    pub(crate) fn calls(&self) -> Vec<Call<'_>> {
        let mut calls = Vec::with_capacity(self.len());
        if self.asks_rows() {
            calls.push(Call::new(sql::READ_ROWS, self.rows.iter().map(|keys| keys as _).collect()));
        }
        for (range, _, limit) in &self.scans {
            let texts = sql::table(range.table);
            calls.push(match &range.to {
                Some(to) => Call::new(texts.scan_below, vec![&range.from, to, limit]),
                None => Call::new(texts.scan, vec![&range.from, limit]),
            });
        }
        calls
    }

    /// Takes the answers in.
    pub(crate) fn learn(
        self,
        known: &mut Known,
        mut answers: impl Iterator<Item = Vec<Row>>,
    ) -> Result<(), Trouble> {
        if self.asks_rows() {
            for (at, keys) in self.rows.iter().enumerate() {
                for key in keys {
                    known.learn((TableId::ALL[at], key.clone()), None);
                }
            }
            for row in answers.next().unwrap_or_default() {
                let number: i64 = row.try_get(0)?;
                let table = u8::try_from(number).ok().and_then(TableId::from_u8);
                let Some(table) = table else {
                    return Err(Trouble::limit(format!("the server told of a table {number}")));
                };
                known.learn((table, row.try_get(1)?), Some(row.try_get(2)?));
            }
        }
        for ((range, limit, _), rows) in self.scans.into_iter().zip(answers) {
            let rows = rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
            let rows: Vec<RawRow> = rows.collect::<Result<_, Trouble>>()?;
            known.learn_scan(range, limit, rows);
        }
        Ok(())
    }
}

fn learn_looked(known: &mut Known, keys: impl Iterator<Item = RowKey>, rows: &[Row]) -> Result<(), Trouble> {
    let mut found = Vec::with_capacity(rows.len());
    for row in rows {
        let key: Vec<u8> = row.try_get(0)?;
        known.learn_before((TableId::Head, key.clone()), row.try_get(1)?);
        let blob: Option<Vec<u8>> = row.try_get(2)?;
        if let (Some(blob), Some(row)) = (blob, row.try_get::<_, Option<Vec<u8>>>(3)?) {
            known.learn_before((TableId::Blob, blob), row);
        }
        found.push(key);
    }
    found.sort_unstable();
    for key in keys.filter(|(_, key)| found.binary_search(key).is_err()) {
        known.learn_absent(key);
    }
    Ok(())
}

fn learn_commits(
    known: &mut Known,
    buckets: &std::collections::BTreeSet<Vec<u8>>,
    rows: &[Row],
) -> Result<(), Trouble> {
    for bucket in buckets {
        known.learn_commits(bucket.clone(), 0);
    }
    for row in rows {
        let commits: i64 = row.try_get(1)?;
        known.learn_commits(row.try_get(0)?, u64::try_from(commits).unwrap_or(0));
    }
    Ok(())
}

/// The outcomes that were kept of these requests, by id.
pub(crate) async fn kept(
    session: &mut Session,
    requests: &[Arc<Request>],
) -> Result<Vec<([u8; 16], Outcome)>, Trouble> {
    let mut rows = vec![Vec::new(); TableId::ALL.len()];
    rows[TableId::Outcome as usize - 1] = requests.iter().map(|request| request.id.0.to_vec()).collect();
    let arguments = rows.iter().map(|keys: &Vec<Vec<u8>>| keys as _).collect();
    let answers = session.send(&[Call::new(sql::READ_ROWS, arguments)]).await?;
    let mut kept = Vec::new();
    for row in answers.into_iter().flatten() {
        let (key, bytes): (Vec<u8>, Vec<u8>) = (row.try_get(1)?, row.try_get(2)?);
        let outcome =
            OutcomeRow::decode(&bytes).map_err(|why| Trouble::Malformed(TableId::Outcome, why.what))?;
        let id = key.try_into().map_err(|_| Trouble::Malformed(TableId::Outcome, "key"))?;
        kept.push((id, outcome.outcome));
    }
    Ok(kept)
}

/// Commits something of our own, so that all that was committed before is where our commits are.
pub(crate) async fn settle(session: &mut Session, slot: i64) -> Result<(), Trouble> {
    session.send(&[Call::new(sql::ADD_APPLIED, vec![&slot, &0_i64])]).await.map(drop)
}
