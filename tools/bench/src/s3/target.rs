//! Targets: a server under load, the objects we have put there, and one measured round of a case on it.
//!
//! Owns the object numbers of a run: none is used twice on one server.

use std::cell::RefCell;
use std::ops::{Range, RangeInclusive};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use hyper::Method;

use super::case::{Case, Verb};
use super::listing;
use super::round::{self, Limits, Round};
use super::work::{Each, Key, Mixed, Op};
use crate::connection::{Connection, Endpoint};
use crate::payload::{ObjectSize, Payloads};
use crate::process::Watched;

/// How long preparing or clearing objects may take.
const PREPARING: Duration = Duration::from_secs(600);
const PREPARING_CONNECTIONS: usize = 16;
/// Objects that GET and HEAD go round in: at most so many, and at most so many bytes.
const READ_OBJECTS_MAX: u64 = 1000;
const READ_BYTES_MAX: u64 = 256 << 20;
/// Objects that a round of DELETE finds: so many per connection, within bounds. A slow peer has to write them first.
const DELETES_A_CONNECTION: u64 = 60;
const DELETES: RangeInclusive<u64> = 200..=1000;
/// Objects that a round of MIXED may delete before it has written some.
const MIXED_SPARE: u64 = 32;
/// Objects from this size on are removed after the round that wrote them; smaller ones at the end of the run.
const LARGE_BYTES: u64 = 1 << 20;
/// How long a server may take to answer its first request.
const READY_TRIES: u32 = 300;
const READY_PAUSE: Duration = Duration::from_millis(200);

const READ: &str = "read";
const WRITTEN: &str = "written";
const DELETED: &str = "deleted";
const MIXED: &str = "mixed";
const CREATED: &str = "created";

/// A set of objects on the server: those with these numbers.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Set {
    room: &'static str,
    size: ObjectSize,
    numbers: Range<u64>,
}

/// A server under load.
pub struct Target {
    /// As the report calls it.
    pub name: String,
    /// Where it is.
    pub endpoint: Rc<Endpoint>,
    /// Must be ours; made if it is missing.
    pub bucket: String,
    /// Its process, if we may look.
    pub watched: Option<Watched>,
    /// Whether it answers listings; the bare server does not.
    pub lists: bool,
    next_number: u64,
    /// What GET, HEAD and MIXED read; kept between cases.
    readable: Vec<Set>,
    /// What is to be removed at the end.
    left: Vec<Set>,
}

/// How much one case does.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    /// Of a round.
    pub limits: Limits,
    /// CREATE makes so many objects a round.
    pub creates: u64,
}

impl Target {
    /// Waits until the server answers, and makes the bucket.
    pub async fn open(
        name: &str,
        endpoint: Endpoint,
        bucket: &str,
        watched: Option<Watched>,
    ) -> Result<Self> {
        let target = Self {
            name: name.to_string(),
            endpoint: Rc::new(endpoint),
            bucket: bucket.to_string(),
            watched,
            lists: true,
            next_number: 0,
            readable: Vec::new(),
            left: Vec::new(),
        };
        let mut failure = None;
        for _ in 0..READY_TRIES {
            match target.make_bucket().await {
                Ok(()) => return Ok(target),
                Err(error) => failure = Some(error),
            }
            tokio::time::sleep(READY_PAUSE).await;
            // A server that died will not answer any more.
            watched.map(Watched::rss_bytes).transpose()?;
        }
        Err(failure.context("no try was made")?).with_context(|| format!("{name} does not answer"))
    }

    async fn make_bucket(&self) -> Result<()> {
        let mut connection = Connection::open(&self.endpoint).await?;
        let path = format!("/{}", self.bucket);
        if connection.order(Method::HEAD, &path, Bytes::new()).await.is_ok() {
            return Ok(());
        }
        Ok(connection.order(Method::PUT, &path, Bytes::new()).await?)
    }

    /// One round of a case; preparing and clearing are not measured.
    pub async fn round(&mut self, case: Case, payloads: &Rc<Payloads>, amount: Amount) -> Result<Round> {
        match case.verb {
            Verb::Put => self.put(case, payloads, amount.limits).await,
            Verb::Get | Verb::Head => self.read(case, payloads, amount.limits).await,
            Verb::Delete => self.delete(case, payloads, amount.limits).await,
            Verb::Mixed => self.mixed(case, payloads, amount.limits).await,
            Verb::Create => self.create(case, payloads, amount.creates).await,
            Verb::List => self.list(case, payloads, amount).await,
        }
        .with_context(|| format!("{case} on {}", self.name))
    }

    async fn put(&mut self, case: Case, payloads: &Rc<Payloads>, limits: Limits) -> Result<Round> {
        let numbers = self.next_number..u64::MAX;
        let work = Rc::new(RefCell::new(Each::once(Op::Put, WRITTEN, case.size, &numbers)));
        let outcome = round::run(self, payloads, &work, case.concurrency, limits).await;
        let start = self.next_number;
        self.next_number += work.borrow().drawn();
        self.forget(Set { room: WRITTEN, size: case.size, numbers: start..self.next_number }, payloads)
            .await?;
        outcome
    }

    async fn read(&mut self, case: Case, payloads: &Rc<Payloads>, limits: Limits) -> Result<Round> {
        let count = (READ_BYTES_MAX / case.size.bytes().max(1)).clamp(1, READ_OBJECTS_MAX);
        let set = self.readable(READ, case.size, count, payloads).await?;
        let op = if case.verb == Verb::Get { Op::Get } else { Op::Head };
        let work = Rc::new(RefCell::new(Each::forever(op, set.room, set.size, &set.numbers)));
        round::run(self, payloads, &work, case.concurrency, limits).await
    }

    async fn delete(&mut self, case: Case, payloads: &Rc<Payloads>, limits: Limits) -> Result<Round> {
        let count = (DELETES_A_CONNECTION * case.concurrency as u64).clamp(*DELETES.start(), *DELETES.end());
        let set = self.prepare(DELETED, case.size, count, payloads).await?;
        let work = Rc::new(RefCell::new(Each::once(Op::Delete, set.room, set.size, &set.numbers)));
        let round = round::run(self, payloads, &work, case.concurrency, limits).await?;
        let rest = set.numbers.start + work.borrow().drawn()..set.numbers.end;
        self.forget(Set { numbers: rest, ..set }, payloads).await?;
        Ok(round)
    }

    async fn mixed(&mut self, case: Case, payloads: &Rc<Payloads>, limits: Limits) -> Result<Round> {
        let count = (READ_BYTES_MAX / case.size.bytes().max(1)).clamp(1, READ_OBJECTS_MAX);
        let base = self.readable(MIXED, case.size, count, payloads).await?;
        let spare = self.prepare(MIXED, case.size, MIXED_SPARE, payloads).await?;
        let start = spare.numbers.start;
        let mixed = Mixed::new(MIXED, case.size, base.numbers, spare.numbers, self.next_number);
        let work = Rc::new(RefCell::new(mixed));
        let outcome = round::run(self, payloads, &work, case.concurrency, limits).await;
        self.next_number = work.borrow().next_number();
        self.forget(Set { room: MIXED, size: case.size, numbers: start..self.next_number }, payloads).await?;
        outcome
    }

    async fn create(&mut self, case: Case, payloads: &Rc<Payloads>, count: u64) -> Result<Round> {
        let start = self.next_number;
        let numbers = start..start + count;
        let work = Rc::new(RefCell::new(Each::once(Op::Put, CREATED, case.size, &numbers)));
        let limits = Limits { time: PREPARING, bytes: u64::MAX };
        let outcome = round::run(self, payloads, &work, case.concurrency, limits).await;
        self.next_number += work.borrow().drawn();
        self.left.push(Set { room: CREATED, size: case.size, numbers: start..self.next_number });
        outcome
    }

    async fn list(&mut self, case: Case, payloads: &Rc<Payloads>, amount: Amount) -> Result<Round> {
        if self.created(case.size) == 0 {
            let set = self.prepare(CREATED, case.size, amount.creates, payloads).await?;
            self.left.push(set);
        }
        let expected = listing::Expected {
            bucket: self.bucket.clone(),
            prefix: format!("{CREATED}/{}/", case.size),
            keys: self.created(case.size),
        };
        round::timed(self, case.concurrency, |connection, tally, begun| {
            let expected = expected.clone();
            async move { listing::run(connection, expected, &tally, begun, amount.limits).await }
        })
        .await
    }

    fn created(&self, size: ObjectSize) -> u64 {
        let sets = self.left.iter().filter(|set| set.room == CREATED && set.size == size);
        sets.map(|set| set.numbers.end - set.numbers.start).sum()
    }

    /// Objects that are there already, or are written now.
    async fn readable(
        &mut self,
        room: &'static str,
        size: ObjectSize,
        count: u64,
        payloads: &Rc<Payloads>,
    ) -> Result<Set> {
        if let Some(set) = self.readable.iter().find(|set| set.room == room && set.size == size) {
            return Ok(set.clone());
        }
        let set = self.prepare(room, size, count, payloads).await?;
        self.readable.push(set.clone());
        self.left.push(set.clone());
        Ok(set)
    }

    async fn prepare(
        &mut self,
        room: &'static str,
        size: ObjectSize,
        count: u64,
        payloads: &Rc<Payloads>,
    ) -> Result<Set> {
        let numbers = self.next_number..self.next_number + count;
        self.next_number += count;
        let set = Set { room, size, numbers };
        self.every(Op::Put, &set, payloads).await.context("preparing objects")?;
        Ok(set)
    }

    /// Removes large objects now; leaves small ones to [`Target::clear`], so that no round of another case pays for it.
    async fn forget(&mut self, set: Set, payloads: &Rc<Payloads>) -> Result<()> {
        if set.size.bytes() < LARGE_BYTES {
            self.left.push(set);
            return Ok(());
        }
        self.every(Op::Delete, &set, payloads).await.context("removing objects")
    }

    /// Removes every object of the run.
    pub async fn clear(&mut self, payloads: &Rc<Payloads>) -> Result<()> {
        for set in std::mem::take(&mut self.left) {
            self.every(Op::Delete, &set, payloads).await.context("removing objects")?;
        }
        Ok(())
    }

    async fn every(&self, op: fn(Key) -> Op, set: &Set, payloads: &Rc<Payloads>) -> Result<()> {
        let work = Rc::new(RefCell::new(Each::once(op, set.room, set.size, &set.numbers)));
        let limits = Limits { time: PREPARING, bytes: u64::MAX };
        let round = round::run(self, payloads, &work, PREPARING_CONNECTIONS, limits).await?;
        let count = set.numbers.end - set.numbers.start;
        ensure!(round.requests == count, "{} of {count} requests within {PREPARING:?}", round.requests);
        Ok(())
    }
}
