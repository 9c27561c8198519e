//! The ledger: what was asked of every key, what was answered, and which bytes each value stands for.
//!
//! A *value* is one attempt to write an object; its number travels in the object's attributes. A *content* is a byte
//! string; a copy gives one content a second value. Histories are cut at every restart, where each key is read once
//! while nobody writes.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::dice::Dice;
use crate::linear::{ABSENT, Answer, Asked, HISTORY_MAX, Operation, Value, explain};
use crate::report::Violation;

/// The attribute that carries a value's number.
pub(super) const VALUE_ATTRIBUTE: &str = "sim-value";
/// Room that a history keeps for the read that closes it.
const CLOSING_ROOM: usize = 2;

/// See the module.
#[derive(Default)]
pub(super) struct Ledger {
    /// Operations that were acknowledged.
    pub(super) acknowledged: u64,
    /// The first promise that was broken.
    pub(super) violation: Option<Violation>,
    contents: Vec<Content>,
    /// The content of value i+1.
    values: Vec<u32>,
    keys: BTreeMap<Vec<u8>, History>,
    moments: u64,
}

#[derive(Clone, Copy)]
struct Content {
    seed: u64,
    len: usize,
}

struct History {
    first: BTreeSet<Value>,
    operations: Vec<Operation>,
}

/// An operation that was begun.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Token {
    pub(super) key: Vec<u8>,
    began: u64,
}

impl Ledger {
    /// Draws bytes to write.
    pub(super) fn new_content(&mut self, len: usize, dice: &mut Dice) -> u32 {
        self.contents.push(Content { seed: dice.u64(), len });
        (self.contents.len() - 1) as u32
    }

    /// A number for an attempt to write a content.
    pub(super) fn new_value(&mut self, content: u32) -> Value {
        self.values.push(content);
        self.values.len() as Value
    }

    /// The content of a value that exists.
    pub(super) fn content_of(&self, value: Value) -> Option<u32> {
        self.values.get((value as usize).checked_sub(1)?).copied()
    }

    /// The bytes of a content: half of them noise, half of them compressible.
    pub(super) fn bytes_of(&self, content: u32) -> Bytes {
        let Content { seed, len } = self.contents[content as usize];
        let mut dice = Dice::new(seed, "content");
        let mut bytes = vec![0; len];
        if dice.chance(500) {
            dice.fill(&mut bytes);
        } else {
            let mut pattern = vec![0; dice.between(1, 200) as usize];
            dice.fill(&mut pattern);
            bytes.iter_mut().zip(pattern.iter().cycle()).for_each(|(byte, p)| *byte = *p);
            // No two contents are alike, so that an entity tag names one content.
            let own = seed.to_le_bytes();
            let at = len.min(own.len());
            bytes[..at].copy_from_slice(&own[..at]);
        }
        Bytes::from(bytes)
    }

    /// Notes that an operation begins; `None` if the key's history is full.
    pub(super) fn begin(&mut self, key: &[u8], asked: Asked) -> Option<Token> {
        self.moments += 1;
        let began = self.moments;
        let history = self.history(key);
        if history.operations.len() + CLOSING_ROOM >= HISTORY_MAX {
            return None;
        }
        history.operations.push(Operation { asked, answer: Answer::Unknown, began, ended: u64::MAX });
        Some(Token { key: key.to_vec(), began })
    }

    /// Notes an answer.
    pub(super) fn end(&mut self, token: &Token, answer: Answer) {
        self.moments += 1;
        let ended = self.moments;
        if answer != Answer::Unknown {
            self.acknowledged += 1;
            if let Some(operation) = self.operation(token) {
                (operation.answer, operation.ended) = (answer, ended);
            }
        }
    }

    /// Notes that an operation certainly did nothing, and told nothing.
    pub(super) fn cancel(&mut self, token: &Token) {
        let began = token.began;
        self.history(&token.key).operations.retain(|operation| operation.began != began);
    }

    /// Notes a broken promise; the first one counts.
    pub(super) fn blame(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    /// Closes a key's history with what was read while nobody wrote.
    pub(super) fn close(&mut self, key: &[u8], saw: Value) -> Result<(), Violation> {
        self.moments += 2;
        let (began, ended) = (self.moments - 1, self.moments);
        let closing = Operation { asked: Asked::Read, answer: Answer::Saw(saw), began, ended };
        self.history(key).operations.push(closing);
        let content = |value: Value| self.content_of(value).unwrap_or(u32::MAX);
        let history = &self.keys[key];
        if explain(&history.operations, &history.first, content).is_empty() {
            let before = &history.operations[..history.operations.len() - 1];
            let earlier = explain(before, &history.first, content);
            let text = describe(key, history);
            return Err(if earlier.is_empty() {
                Violation::Inconsistent { what: format!("no order explains {text}") }
            } else {
                Violation::Lost { what: format!("{text}, which may only be one of {earlier:?}") }
            });
        }
        let history = self.history(key);
        history.operations.clear();
        history.first = BTreeSet::from([saw]);
        Ok(())
    }

    /// Every key that was ever asked for.
    pub(super) fn keys(&self) -> Vec<Vec<u8>> {
        self.keys.keys().cloned().collect()
    }

    fn history(&mut self, key: &[u8]) -> &mut History {
        let fresh = || History { first: BTreeSet::from([ABSENT]), operations: Vec::new() };
        self.keys.entry(key.to_vec()).or_insert_with(fresh)
    }

    fn operation(&mut self, token: &Token) -> Option<&mut Operation> {
        self.history(&token.key).operations.iter_mut().find(|operation| operation.began == token.began)
    }
}

fn describe(key: &[u8], history: &History) -> String {
    let line = |o: &Operation| {
        let ended = if o.ended == u64::MAX { String::new() } else { o.ended.to_string() };
        format!("{:?} -> {:?} [{}..{ended}]", o.asked, o.answer, o.began)
    };
    let lines: Vec<String> = history.operations.iter().map(line).collect();
    format!("key {} from {:?}: {}", String::from_utf8_lossy(key), history.first, lines.join("; "))
}
