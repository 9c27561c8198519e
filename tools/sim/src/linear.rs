//! Linearizability of one key: is there an order of the operations that explains every answer?
//!
//! A depth-first search over "which operation took effect next" (Wing and Gong 1993, with Lowe's memo of visited states).
//! An operation whose answer was never heard may have taken effect at any time after it began, or never.
//!
//! Many such writes would make the search exponential. So it lets one take effect only where somebody could notice: when
//! it changes the value, and when what comes next looks at the value. Any other order is equal to one without it.

use std::collections::BTreeSet;

/// The most operations of one history: the search keeps them in one word.
pub const HISTORY_MAX: usize = 64;

/// A value that a key can have; 0 is "does not exist".
pub type Value = u32;
/// The key does not exist.
pub const ABSENT: Value = 0;

/// What was asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Asked {
    /// Set it to this.
    Write(Value),
    /// Set it to this if it does not exist.
    Create(Value),
    /// Set it to this if its content is that one.
    Replace {
        /// The content that is expected.
        content: u32,
        /// The new value.
        value: Value,
    },
    /// Remove it.
    Delete,
    /// Say what it is.
    Read,
}

/// What was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Done.
    Done,
    /// The condition did not hold.
    Refused,
    /// It is this.
    Saw(Value),
    /// Nothing, or an error that leaves both open.
    Unknown,
}

/// One operation. `began` and `ended` are moments of one global count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Operation {
    /// What was asked.
    pub asked: Asked,
    /// What was answered.
    pub answer: Answer,
    /// When it was asked.
    pub began: u64,
    /// When it was answered; for ever, if not.
    pub ended: u64,
}

/// Looks for an order that explains the history from `first` on; `content` tells which content a value has.
/// Gives the values that the key may have at the end, or nothing if no order does.
pub fn explain(
    history: &[Operation],
    first: &BTreeSet<Value>,
    content: impl Fn(Value) -> u32,
) -> BTreeSet<Value> {
    assert!(history.len() <= HISTORY_MAX, "histories are cut where they are recorded");
    let search = Search { history, content: &content };
    let mut seen: BTreeSet<State> = BTreeSet::new();
    let start = |value: &Value| State { done: 0, value: *value, unnoticed: false };
    let mut open: Vec<State> = first.iter().map(start).collect();
    let mut ends = BTreeSet::new();
    while let Some(state) = open.pop() {
        if !seen.insert(state) {
            continue;
        }
        if search.is_over(state.done) {
            ends.insert(state.value);
        }
        open.extend(search.next(state));
    }
    ends
}

/// What has taken effect so far.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct State {
    /// One bit an operation.
    done: u64,
    value: Value,
    /// The value comes from an operation whose answer was never heard, and nothing has looked at it yet.
    unnoticed: bool,
}

struct Search<'a, F> {
    history: &'a [Operation],
    content: &'a F,
}

impl<F: Fn(Value) -> u32> Search<'_, F> {
    /// Every answer that was heard is explained.
    fn is_over(&self, done: u64) -> bool {
        (0..self.history.len()).all(|i| done >> i & 1 == 1 || self.history[i].answer == Answer::Unknown)
    }

    fn next(&self, state: State) -> Vec<State> {
        let waiting = |i: &usize| state.done >> i & 1 == 0;
        // Nothing may take effect after another operation that was not yet done has been answered.
        let first_end = (0..self.history.len())
            .filter(waiting)
            .filter(|i| self.history[*i].answer != Answer::Unknown)
            .map(|i| self.history[i].ended)
            .min()
            .unwrap_or(u64::MAX);
        (0..self.history.len())
            .filter(waiting)
            .filter(|i| self.history[*i].began <= first_end)
            .filter_map(|i| {
                let operation = &self.history[i];
                let looks = !matches!(operation.asked, Asked::Write(_) | Asked::Delete);
                if state.unnoticed && !looks {
                    return None;
                }
                let value = self.effect(operation, state.value)?;
                let unheard = operation.answer == Answer::Unknown;
                if unheard && value == state.value {
                    return None;
                }
                Some(State { done: state.done | 1 << i, value, unnoticed: unheard })
            })
            .collect()
    }

    /// The value after the operation, if its answer is possible now.
    fn effect(&self, operation: &Operation, value: Value) -> Option<Value> {
        let (applies, new) = match operation.asked {
            Asked::Write(new) => (true, new),
            Asked::Create(new) => (value == ABSENT, new),
            Asked::Replace { content, value: new } => {
                (value != ABSENT && (self.content)(value) == content, new)
            }
            Asked::Delete => (true, ABSENT),
            Asked::Read => (false, value),
        };
        match operation.answer {
            Answer::Done => applies.then_some(new),
            Answer::Refused => (!applies).then_some(value),
            Answer::Saw(saw) => (saw == value).then_some(value),
            Answer::Unknown => Some(if applies { new } else { value }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;

    fn op(asked: Asked, answer: Answer, began: u64, ended: u64) -> Operation {
        Operation { asked, answer, began, ended }
    }

    fn ends(history: &[Operation]) -> Vec<Value> {
        explain(history, &BTreeSet::from([ABSENT]), |value| value).into_iter().collect()
    }

    #[test]
    fn one_winner_among_racers_is_fine_and_two_are_not() {
        let race = |second| {
            [
                op(Asked::Create(1), Answer::Done, 1, 10),
                op(Asked::Create(2), second, 2, 9),
                op(Asked::Read, Answer::Saw(1), 11, 12),
            ]
        };
        assert_eq!(ends(&race(Answer::Refused)), [1]);
        assert_eq!(ends(&race(Answer::Done)), []);
        assert_eq!(ends(&race(Answer::Unknown)), [1]);
    }

    #[test]
    fn a_read_never_goes_back() {
        let history = [
            op(Asked::Write(1), Answer::Done, 1, 2),
            op(Asked::Write(2), Answer::Done, 3, 8),
            op(Asked::Read, Answer::Saw(2), 4, 5),
            op(Asked::Read, Answer::Saw(1), 6, 7),
        ];
        assert_eq!(ends(&history), []);
        assert_eq!(ends(&history[..3]), [2]);
    }

    #[test]
    fn an_unheard_write_may_show_up_late_but_only_once() {
        let lost = op(Asked::Write(1), Answer::Unknown, 1, u64::MAX);
        let read = |saw, at| op(Asked::Read, Answer::Saw(saw), at, at + 1);
        assert_eq!(ends(&[lost, read(ABSENT, 10), read(1, 20)]), [1]);
        assert_eq!(ends(&[lost, read(1, 10), read(ABSENT, 20)]), []);
        assert_eq!(ends(&[lost]), [ABSENT, 1]);
    }

    #[test]
    fn a_replacement_needs_the_content_that_it_names() {
        let replace = |content, answer| op(Asked::Replace { content, value: 2 }, answer, 5, 6);
        let write = op(Asked::Write(1), Answer::Done, 1, 2);
        assert_eq!(ends(&[write, replace(1, Answer::Done)]), [2]);
        assert_eq!(ends(&[write, replace(9, Answer::Done)]), []);
        assert_eq!(ends(&[write, replace(9, Answer::Refused)]), [1]);
    }

    /// Every order there is, with nothing left out.
    fn all_ends(history: &[Operation], done: u64, value: Value, ends: &mut BTreeSet<Value>) {
        let search = Search { history, content: &|value| value };
        if search.is_over(done) {
            ends.insert(value);
        }
        let waits = |i: usize| done >> i & 1 == 0;
        let first_end = (0..history.len())
            .filter(|i| waits(*i) && history[*i].answer != Answer::Unknown)
            .map(|i| history[i].ended)
            .min()
            .unwrap_or(u64::MAX);
        for i in (0..history.len()).filter(|i| waits(*i) && history[*i].began <= first_end) {
            if let Some(value) = search.effect(&history[i], value) {
                all_ends(history, done | 1 << i, value, ends);
            }
        }
    }

    #[test]
    fn leaving_out_what_nobody_notices_changes_no_verdict() {
        let mut verdicts = [0, 0];
        for seed in 0..4_000 {
            let mut dice = Dice::new(seed, "history");
            let history: Vec<Operation> = (1..=dice.between(2, 6) as Value)
                .map(|n| {
                    let began = dice.below(20);
                    let asked = match dice.below(5) {
                        0 => Asked::Write(n),
                        1 => Asked::Create(n),
                        2 => Asked::Replace { content: dice.below(4) as u32, value: n },
                        3 => Asked::Delete,
                        _ => Asked::Read,
                    };
                    let conditional = matches!(asked, Asked::Create(_) | Asked::Replace { .. });
                    let answer = match (asked, dice.below(4)) {
                        (Asked::Read, _) => Answer::Saw(dice.below(5) as Value),
                        (_, 0..2) => Answer::Unknown,
                        (_, 2) if conditional => Answer::Refused,
                        _ => Answer::Done,
                    };
                    let ended = if answer == Answer::Unknown { u64::MAX } else { began + 1 + dice.below(8) };
                    op(asked, answer, began, ended)
                })
                .collect();
            let mut all = BTreeSet::new();
            all_ends(&history, 0, ABSENT, &mut all);
            assert_eq!(explain(&history, &BTreeSet::from([ABSENT]), |value| value), all, "{history:?}");
            verdicts[usize::from(all.is_empty())] += 1;
        }
        assert!(verdicts.iter().all(|count| *count > 500), "{verdicts:?}");
    }
}
