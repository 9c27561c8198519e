//! What clients do: one operation after the other, each noted in the ledger before and after.

use std::sync::{Arc, Mutex};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use pangea_client::{
    Accept, Body, Client, ClientError, CompletePart, List, ListEntry, Object, PART_BYTES_MIN, PutObject,
    UploadPart,
};
use pangea_core::meta::{Condition, VersionRow, VersionSelector};

use super::ledger::{Ledger, Token, VALUE_ATTRIBUTE};
use super::lock;
use crate::dice::Dice;
use crate::executor::Sim;
use crate::invariant::Invariant;
use crate::linear::{ABSENT, Answer, Asked, Value};
use crate::report::Violation;
use crate::trace::Happening;

/// The one bucket.
pub(super) const BUCKET: &str = "bucket";
const OWNER: &str = "sim";
/// The longest that a client thinks between two operations.
const THINK_US_MAX: u64 = 20_000;

/// One client.
pub(super) struct Worker {
    pub(super) sim: Sim,
    pub(super) client: Client,
    pub(super) ledger: Arc<Mutex<Ledger>>,
    pub(super) dice: Dice,
    pub(super) keys: u64,
    pub(super) number: u64,
}

/// What a client may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
enum Verb {
    Put = 1,
    Create,
    Replace,
    Get,
    Delete,
    List,
    Copy,
    Multipart,
    BrokenPut,
}

/// The value that a row names; `None` if it names none.
pub(super) fn value_of(row: &VersionRow) -> Option<Value> {
    let named = row.attributes.iter().find(|(name, _)| name == VALUE_ATTRIBUTE)?;
    named.1.parse().ok()
}

/// Reads a range and compares it with what its value stands for.
pub(super) async fn read_and_compare(
    client: &Client,
    ledger: &Mutex<Ledger>,
    object: &Object,
    range: std::ops::Range<u64>,
) -> Result<Value, ReadError> {
    let wrong = |what: String| ReadError::Wrong(Violation::WrongBytes { what });
    let key = String::from_utf8_lossy(&object.key).into_owned();
    let value = value_of(&object.version).ok_or_else(|| wrong(format!("{key} has no value of ours")))?;
    let expected = {
        let ledger = lock(ledger);
        let content = ledger
            .content_of(value)
            .ok_or_else(|| wrong(format!("{key} has value {value}, never written")))?;
        ledger.bytes_of(content)
    };
    if expected.len() as u64 != object.version.size {
        return Err(wrong(format!(
            "{key} value {value} has {} bytes, not {}",
            object.version.size,
            expected.len()
        )));
    }
    let read: Result<BytesMut, _> = client
        .read(object, range.clone())
        .try_fold(BytesMut::new(), |mut all, part| async move {
            all.extend_from_slice(&part);
            Ok(all)
        })
        .await;
    match read {
        Ok(bytes) if bytes[..] == expected[range.start as usize..range.end as usize] => Ok(value),
        Ok(bytes) => {
            Err(wrong(format!("{key} value {value} range {range:?}: {} bytes that differ", bytes.len())))
        }
        Err(error) => Err(ReadError::Failed(value, error.to_string())),
    }
}

/// Why a read gave nothing.
pub(super) enum ReadError {
    /// The metadata said which value it is, the bytes could not be had.
    Failed(Value, String),
    /// It gave something wrong.
    Wrong(Violation),
}

impl Worker {
    /// Does so many operations.
    pub(super) async fn work(mut self, operations: u64) {
        for _ in 0..operations {
            self.sim.sleep(self.dice.below(THINK_US_MAX)).await;
            let verb = self.dice.weighted(&[
                (25, Verb::Put),
                (12, Verb::Create),
                (8, Verb::Replace),
                (30, Verb::Get),
                (10, Verb::Delete),
                (5, Verb::List),
                (5, Verb::Copy),
                (4, Verb::Multipart),
                (3, Verb::BrokenPut),
            ]);
            let key = format!("dir{}/key", self.dice.below(self.keys)).into_bytes();
            self.sim.trace(Happening::Begin, &[self.number, verb as u64]);
            match verb {
                Verb::Put | Verb::Create | Verb::Replace | Verb::BrokenPut => self.put(&key, verb).await,
                Verb::Get => self.get(&key).await,
                Verb::Delete => self.delete(&key).await,
                Verb::List => self.list().await,
                Verb::Copy => self.copy(&key).await,
                Verb::Multipart => self.multipart(&key).await,
            }
            self.sim.trace(Happening::End, &[self.number, verb as u64]);
        }
    }

    async fn put(&mut self, key: &[u8], verb: Verb) {
        let (mut condition, mut asked) = (Condition::default(), None);
        match verb {
            Verb::Create => condition.if_none_match = Some(None),
            Verb::Replace => {
                let Ok(object) = self.client.object(BUCKET, key, VersionSelector::Current).await else {
                    return;
                };
                let Some(content) = value_of(&object.version).and_then(|v| lock(&self.ledger).content_of(v))
                else {
                    return;
                };
                condition.if_match = Some(Some(object.version.etag));
                asked = Some(content);
            }
            _ => {}
        }
        let len = self.draw_len();
        let (value, bytes) = self.new_value(len);
        let asked = match (verb, asked) {
            (Verb::Create, _) => Asked::Create(value),
            (Verb::Replace, Some(content)) => Asked::Replace { content, value },
            _ => Asked::Write(value),
        };
        if verb == Verb::BrokenPut {
            // Nothing is noted: should the value ever be seen, no order explains it.
            let put = put_object(key, value, condition, Some(bytes.len() as u64 + 1));
            let body = self.body(bytes);
            if self.client.put_object(put, body, accept()).await.is_ok() {
                lock(&self.ledger).blame(Violation::Inconsistent {
                    what: "a body that ended early was accepted".to_owned(),
                });
            }
            return;
        }
        let Some(token) = lock(&self.ledger).begin(key, asked) else { return };
        let announced = self.dice.chance(700).then_some(bytes.len() as u64);
        let put = put_object(key, value, condition, announced);
        let body = self.body(bytes);
        let result = self.client.put_object(put, body, accept()).await;
        self.sim.tell(|| {
            format!("worker {}: {asked:?} of {}: {:?}", self.number, show(key), result.as_ref().map(|_| ()))
        });
        self.judge(&token, asked, result.map(|_| ()));
    }

    /// Notes how a write ended.
    fn judge(&self, token: &Token, asked: Asked, result: Result<(), ClientError>) {
        let conditional = matches!(asked, Asked::Create(_) | Asked::Replace { .. });
        self.sim.checked(Invariant::I12, u64::from(result.is_err()));
        let mut ledger = lock(&self.ledger);
        match result {
            Ok(()) => ledger.end(token, Answer::Done),
            Err(ClientError::PreconditionFailed | ClientError::NoSuchKey { .. }) if conditional => {
                ledger.end(token, Answer::Refused);
            }
            // A command that was retried may have been carried out the first time.
            Err(ClientError::Meta(_)) => ledger.end(token, Answer::Unknown),
            Err(ClientError::Unavailable { .. } | ClientError::Full | ClientError::SlowDown) => {
                ledger.cancel(token)
            }
            Err(error) => {
                ledger.blame(Violation::Unexplained {
                    what: format!("{asked:?} of {}: {error}", show(&token.key)),
                });
            }
        }
    }

    async fn get(&mut self, key: &[u8]) {
        let Some(token) = lock(&self.ledger).begin(key, Asked::Read) else { return };
        let object = self.client.object(BUCKET, key, VersionSelector::Current).await;
        let answer = match object {
            Ok(object) => {
                let size = object.version.size;
                let start = if self.dice.chance(500) { 0 } else { self.dice.below(size) };
                let end = if self.dice.chance(500) { size } else { self.dice.between(start, size) };
                self.sim.checked(Invariant::I2, 1);
                match read_and_compare(&self.client, &self.ledger, &object, start..end).await {
                    Ok(value) => Answer::Saw(value),
                    // Under faults a read may fail; what the metadata said still counts.
                    Err(ReadError::Failed(value, _)) => Answer::Saw(value),
                    Err(ReadError::Wrong(violation)) => return lock(&self.ledger).blame(violation),
                }
            }
            Err(ClientError::NoSuchKey { .. }) => Answer::Saw(ABSENT),
            Err(_) => return lock(&self.ledger).cancel(&token),
        };
        self.sim.tell(|| format!("worker {}: read of {}: {answer:?}", self.number, show(key)));
        lock(&self.ledger).end(&token, answer);
    }

    async fn delete(&mut self, key: &[u8]) {
        let Some(token) = lock(&self.ledger).begin(key, Asked::Delete) else { return };
        let deleted =
            self.client.delete_object(BUCKET, key, VersionSelector::Current, Condition::default()).await;
        self.sim.tell(|| {
            format!("worker {}: delete of {}: {:?}", self.number, show(key), deleted.as_ref().map(|_| ()))
        });
        self.judge(&token, Asked::Delete, deleted.map(|_| ()));
    }

    async fn list(&mut self) {
        let keys = lock(&self.ledger).keys();
        let mut tokens: Vec<Token> =
            keys.iter().filter_map(|key| lock(&self.ledger).begin(key, Asked::Read)).collect();
        let listed = list_all(&self.client, self.dice.between(1, 8) as usize).await;
        let mut ledger = lock(&self.ledger);
        let Ok(listed) = listed else {
            tokens.drain(..).for_each(|token| ledger.cancel(&token));
            return;
        };
        for token in tokens {
            let found = listed.iter().find(|(key, _)| *key == token.key);
            ledger.end(&token, Answer::Saw(found.map_or(ABSENT, |(_, value)| *value)));
        }
    }

    async fn copy(&mut self, key: &[u8]) {
        let from = format!("dir{}/key", self.dice.below(self.keys)).into_bytes();
        let Ok(object) = self.client.object(BUCKET, &from, VersionSelector::Current).await else { return };
        let Some(content) = value_of(&object.version).and_then(|v| lock(&self.ledger).content_of(v)) else {
            return;
        };
        let value = lock(&self.ledger).new_value(content);
        let asked = Asked::Write(value);
        let Some(token) = lock(&self.ledger).begin(key, asked) else { return };
        let put = put_object(key, value, Condition::default(), None);
        match self.client.copy_object(&object, put).await {
            // The source was overwritten meanwhile, and its blob freed.
            Err(ClientError::NoSuchKey { .. } | ClientError::NoSuchVersion) => {
                lock(&self.ledger).cancel(&token)
            }
            result => self.judge(&token, asked, result.map(|_| ())),
        }
    }

    async fn multipart(&mut self, key: &[u8]) {
        let large = self.dice.chance(150);
        let first = if large { PART_BYTES_MIN as usize + self.dice.index(100_000) } else { 0 };
        let len = first + self.draw_len().min(200_000);
        let (value, bytes) = self.new_value(len);
        let attributes = vec![(VALUE_ATTRIBUTE.to_owned(), value.to_string())];
        let Ok(upload) = self.client.create_upload(BUCKET, key, attributes, OWNER).await else { return };
        let slices = if large { vec![bytes.slice(..first), bytes.slice(first..)] } else { vec![bytes] };
        let mut parts = Vec::new();
        for (number, slice) in (1..).zip(slices) {
            let part = UploadPart { bucket: BUCKET.to_owned(), key: key.to_vec(), upload, number, len: None };
            let body = self.body(slice);
            match self.client.put_part(part, body, accept()).await {
                Ok(done) => parts.push(CompletePart { number, md5: done.part.md5, checksums: vec![] }),
                // A part that failed leaves an upload behind, as clients do.
                Err(_) => return,
            }
        }
        let asked = Asked::Write(value);
        let Some(token) = lock(&self.ledger).begin(key, asked) else { return };
        let accept = Box::new(|_: &_, _: &_| Ok(vec![]));
        let done =
            self.client.complete_upload(BUCKET, key, upload, parts, Condition::default(), accept).await;
        match done {
            // An answer that was lost and a repeated question: the upload is gone, the version may be there.
            Err(ClientError::NoSuchUpload) => lock(&self.ledger).end(&token, Answer::Unknown),
            done => self.judge(&token, asked, done.map(|_| ())),
        }
    }

    fn new_value(&mut self, len: usize) -> (Value, Bytes) {
        let mut ledger = lock(&self.ledger);
        let content = ledger.new_content(len, &mut self.dice);
        (ledger.new_value(content), ledger.bytes_of(content))
    }

    fn draw_len(&mut self) -> usize {
        let end =
            self.dice.weighted(&[(25, 5_000), (40, 70_000), (28, 400_000), (4, 3_000_000), (1, 7_000_000)]);
        self.dice.between(16, end) as usize
    }

    /// A body in uneven parts, some of which come late.
    fn body(&mut self, bytes: Bytes) -> Body {
        let (sim, dice) = (self.sim.clone(), Dice::new(self.dice.u64(), "body"));
        let parts = stream::unfold((bytes, dice), move |(mut rest, mut dice)| {
            let sim = sim.clone();
            async move {
                if rest.is_empty() {
                    return None;
                }
                if dice.chance(100) {
                    sim.sleep(dice.below(5_000)).await;
                }
                let part = rest.split_to(dice.between(1, rest.len() as u64) as usize);
                Some((Ok(part), (rest, dice)))
            }
        });
        parts.boxed()
    }
}

/// Every key with its value, page by page.
pub(super) async fn list_all(client: &Client, limit: usize) -> Result<Vec<(Vec<u8>, Value)>, ClientError> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let list = List { limit, after: after.take(), ..List::default() };
        let page = client.list(BUCKET, list).await?;
        for entry in page.entries {
            if let ListEntry::Object(key, row) = entry {
                all.push((key, value_of(&row).unwrap_or(Value::MAX)));
            }
        }
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(all),
        }
    }
}

fn put_object(key: &[u8], value: Value, condition: Condition, len: Option<u64>) -> PutObject {
    let attributes = vec![(VALUE_ATTRIBUTE.to_owned(), value.to_string())];
    PutObject { bucket: BUCKET.to_owned(), key: key.to_vec(), condition, attributes, len }
}

fn accept() -> Accept {
    Box::new(|_| Ok(vec![]))
}

fn show(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

/// Makes the bucket; one that is there already is no error.
pub(super) async fn make_bucket(client: &Client) -> Result<(), ClientError> {
    match client.create_bucket(BUCKET, OWNER).await {
        Ok(_) | Err(ClientError::BucketExists { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
