//! Get: one stripe's pieces.
//!
//! ```text
//! Healthy --all wanted pieces--> Open --tags good--> done
//!    |--Failed / Slow---> Degraded --k shards' pieces--> Decode --> done
//!    `--BadTag----------> Blame (check every shard that was used) --bad ones out--> Degraded
//! ```
//!
//! Healthy reads ask only the data shards that hold wanted pieces, at their homes. Whatever fails or is slow is first
//! looked for at the shard's other candidates (a stand-in, a place from before a move), and other shards are asked at the
//! same time; any k shards give the wanted pieces of the rest. Pieces are columns: decoding piece p of one shard needs
//! piece p of k others, so a degraded read asks every shard for the same range of pieces.

use std::collections::VecDeque;
use std::ops::Range;

use crate::chunk::Code;
use crate::layout::Slot;
use crate::wire::Fault;

/// The most candidates that are asked for one shard before it is given up.
pub const CANDIDATES_MAX: usize = 24;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A read came back with the pieces that were asked for.
    Got {
        /// Shard index.
        index: u8,
    },
    /// A read did not.
    Failed {
        /// Shard index.
        index: u8,
        /// Who was asked.
        slot: Slot,
        /// Why.
        fault: Fault,
    },
    /// What is still out takes longer than reads usually do: hedge.
    Slow,
    /// A tag did not verify although every piece came: some shard lies.
    BadTag,
    /// The check of a shard's bytes against its header's piece values found it good or bad.
    Checked {
        /// Shard index.
        index: u8,
        /// Whether its bytes are what its header says, and its header that of the sealing.
        good: bool,
    },
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Read these pieces of a shard.
    Read {
        /// Shard index.
        index: u8,
        /// Whom to ask.
        slot: Slot,
        /// Which pieces.
        pieces: Range<u8>,
    },
    /// Check a shard's bytes against its header; answer with [`Event::Checked`].
    Check {
        /// Shard index.
        index: u8,
        /// Who gave it.
        slot: Slot,
    },
}

/// What can be done with what is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Ready {
    /// Every wanted piece is there: open them.
    Open,
    /// Decode the wanted shards' pieces from these k, then open.
    Decode {
        /// Indices of shards whose pieces (the whole range) are there.
        from: Vec<u8>,
    },
    /// Fewer than k good shards exist among those that answered.
    Unreadable {
        /// Good ones.
        found: u8,
    },
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum State {
    Idle,
    Asked { slot: Slot, pieces: Range<u8> },
    Got { slot: Slot, pieces: Range<u8> },
    Checking { slot: Slot, pieces: Range<u8> },
    Lost,
}

/// See the module.
#[derive(Debug)]
pub struct Get {
    code: Code,
    /// Wanted data shards and their pieces.
    wanted: Vec<(u8, Range<u8>)>,
    /// The range of pieces that a degraded read needs of every shard.
    column: Range<u8>,
    candidates: Vec<VecDeque<Slot>>,
    shards: Vec<State>,
    degraded: bool,
    /// Liars that the last check of everybody found; `None` before the first.
    liars: Option<u8>,
    actions: VecDeque<Action>,
    /// Shards that were not where they should be, or not what they should be.
    reports: Vec<(u8, Slot, Fault)>,
}

impl Get {
    /// Starts: asks for the wanted pieces. `candidates` gives every shard's places, likeliest first.
    pub fn new(code: Code, wanted: Vec<(u8, Range<u8>)>, candidates: impl Fn(u8) -> Vec<Slot>) -> Self {
        assert!(wanted.iter().all(|(index, pieces)| *index < code.k() && !pieces.is_empty()));
        let start = wanted.iter().map(|(_, pieces)| pieces.start).min().unwrap_or(0);
        let end = wanted.iter().map(|(_, pieces)| pieces.end).max().unwrap_or(0);
        let places = |index| candidates(index).into_iter().take(CANDIDATES_MAX).collect();
        let mut get = Self {
            code,
            column: start..end,
            candidates: (0..code.n()).map(places).collect(),
            shards: vec![State::Idle; usize::from(code.n())],
            degraded: false,
            liars: None,
            actions: VecDeque::new(),
            reports: vec![],
            wanted,
        };
        for (index, pieces) in get.wanted.clone() {
            get.ask(index, pieces);
        }
        if get.shards.contains(&State::Lost) {
            get.degrade();
        }
        get
    }

    /// Takes an event in.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Got { index } => {
                if let State::Asked { slot, pieces } = self.shard(index).clone() {
                    *self.shard(index) = State::Got { slot, pieces };
                }
                // It was asked for its own pieces before the read was degraded: decoding needs the column of it.
                if self.degraded && !matches!(self.ready(), Some(Ready::Open | Ready::Decode { .. })) {
                    self.degrade();
                }
            }
            Event::Failed { index, slot, fault } => self.failed(index, slot, fault),
            Event::Slow => self.degrade(),
            Event::BadTag => self.blame(),
            Event::Checked { index, good } => self.checked(index, good),
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What is possible now; `None`: wait for more events.
    pub fn ready(&self) -> Option<Ready> {
        if self.shards.iter().any(|state| matches!(state, State::Checking { .. })) {
            return None;
        }
        let has = |index: u8, wanted: &Range<u8>| match &self.shards[usize::from(index)] {
            State::Got { pieces, .. } => pieces.start <= wanted.start && pieces.end >= wanted.end,
            _ => false,
        };
        if self.wanted.iter().all(|(index, pieces)| has(*index, pieces)) {
            return Some(Ready::Open);
        }
        let whole: Vec<u8> =
            (0..self.code.n()).filter(|i| has(*i, &self.column)).take(self.code.k().into()).collect();
        if whole.len() == usize::from(self.code.k()) {
            return Some(Ready::Decode { from: whole });
        }
        let out = self.shards.iter().any(|state| matches!(state, State::Asked { .. }));
        let idle = self.degraded && self.shards.contains(&State::Idle);
        (!out && !idle).then_some(Ready::Unreadable { found: whole.len() as u8 })
    }

    /// Shards that were missing or bad, and where: for read-repair.
    pub fn reports(&self) -> &[(u8, Slot, Fault)] {
        &self.reports
    }

    /// Whether the last check of everybody found no liar: if a tag still fails, the sealing itself is damaged.
    pub fn is_exonerated(&self) -> bool {
        self.liars == Some(0)
    }

    fn shard(&mut self, index: u8) -> &mut State {
        &mut self.shards[usize::from(index)]
    }

    fn ask(&mut self, index: u8, pieces: Range<u8>) {
        *self.shard(index) = match self.candidates[usize::from(index)].pop_front() {
            Some(slot) => {
                self.actions.push_back(Action::Read { index, slot, pieces: pieces.clone() });
                State::Asked { slot, pieces }
            }
            None => State::Lost,
        };
    }

    fn failed(&mut self, index: u8, slot: Slot, fault: Fault) {
        let State::Asked { slot: asked, pieces } = self.shard(index).clone() else { return };
        if asked != slot {
            return;
        }
        self.reports.push((index, slot, fault));
        self.ask(index, pieces);
        self.degrade();
    }

    /// Asks for the column of every shard that is not already asked for all of it.
    fn degrade(&mut self) {
        self.degraded = true;
        let column = self.column.clone();
        for index in 0..self.code.n() {
            let short = match self.shard(index) {
                State::Idle => true,
                State::Got { pieces, .. } => *pieces != column,
                State::Asked { .. } | State::Checking { .. } | State::Lost => false,
            };
            if !short || self.enough() {
                continue;
            }
            // A shard that gave some of the column is asked again for all of it, where it was found.
            if let State::Got { slot, .. } = self.shard(index).clone() {
                self.candidates[usize::from(index)].push_front(slot);
            }
            self.ask(index, column.clone());
        }
    }

    /// Whether shards that have the column, or were asked for it and have not failed, already suffice with one to spare.
    fn enough(&self) -> bool {
        let promising = self.shards.iter().filter(|state| match state {
            State::Got { pieces, .. } => *pieces == self.column,
            State::Asked { pieces, .. } => *pieces == self.column,
            _ => false,
        });
        promising.count() > usize::from(self.code.k())
    }

    fn blame(&mut self) {
        self.liars = Some(0);
        for index in 0..self.code.n() {
            if let State::Got { slot, pieces } = self.shard(index).clone() {
                self.actions.push_back(Action::Check { index, slot });
                *self.shard(index) = State::Checking { slot, pieces };
            }
        }
    }

    fn checked(&mut self, index: u8, good: bool) {
        let State::Checking { slot, pieces } = self.shard(index).clone() else { return };
        if good {
            *self.shard(index) = State::Got { slot, pieces };
        } else {
            self.reports.push((index, slot, Fault::Corrupt));
            self.liars = self.liars.map(|liars| liars + 1);
            let column = self.column.clone();
            self.ask(index, column);
        }
        if !self.shards.iter().any(|state| matches!(state, State::Checking { .. })) && !self.is_exonerated() {
            self.degrade();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: (u8, u8) = (4, 2);

    fn get(wanted: &[(u8, Range<u8>)]) -> Get {
        let code = Code::new(CODE.0, CODE.1).expect("valid");
        Get::new(code, wanted.to_vec(), |index| vec![Slot(index.into()), Slot(100 + u16::from(index))])
    }

    fn reads(get: &mut Get) -> Vec<(u8, Slot, Range<u8>)> {
        let mut reads = vec![];
        while let Some(action) = get.poll_action() {
            if let Action::Read { index, slot, pieces } = action {
                reads.push((index, slot, pieces));
            }
        }
        reads
    }

    #[test]
    fn a_healthy_read_asks_only_for_what_is_wanted() {
        let mut get = get(&[(1, 2..4), (2, 0..1)]);
        assert_eq!(reads(&mut get), vec![(1, Slot(1), 2..4), (2, Slot(2), 0..1)]);
        get.handle(Event::Got { index: 1 });
        assert_eq!(get.ready(), None);
        get.handle(Event::Got { index: 2 });
        assert_eq!(get.ready(), Some(Ready::Open));
        assert!(get.reports().is_empty());
    }

    #[test]
    fn a_lost_shard_is_looked_for_elsewhere_and_decoded_meanwhile() {
        let mut get = get(&[(1, 2..4)]);
        reads(&mut get);
        get.handle(Event::Failed { index: 1, slot: Slot(1), fault: Fault::Missing });
        let asked = reads(&mut get);
        assert_eq!(asked[0], (1, Slot(101), 2..4));
        assert_eq!(asked.len(), 5, "its stand-in, and enough others: {asked:?}");
        for index in [0, 2, 3] {
            get.handle(Event::Got { index });
            assert_eq!(get.ready(), None);
        }
        get.handle(Event::Got { index: 4 });
        assert_eq!(get.ready(), Some(Ready::Decode { from: vec![0, 2, 3, 4] }));
        assert_eq!(get.reports(), [(1, Slot(1), Fault::Missing)]);
    }

    #[test]
    fn a_slow_shard_is_hedged() {
        let mut get = get(&[(0, 0..1)]);
        reads(&mut get);
        get.handle(Event::Slow);
        assert!(reads(&mut get).len() >= 3);
        get.handle(Event::Got { index: 0 });
        assert_eq!(get.ready(), Some(Ready::Open), "the slow one came after all");
    }

    #[test]
    fn a_bad_tag_names_the_liar_and_reads_around_it() {
        let mut get = get(&[(0, 0..1), (1, 0..1)]);
        reads(&mut get);
        get.handle(Event::Got { index: 0 });
        get.handle(Event::Got { index: 1 });
        get.handle(Event::BadTag);
        assert_eq!(get.ready(), None);
        get.handle(Event::Checked { index: 0, good: true });
        get.handle(Event::Checked { index: 1, good: false });
        assert_eq!(get.reports(), [(1, Slot(1), Fault::Corrupt)]);
        assert!(!get.is_exonerated());
        let asked = reads(&mut get);
        assert!(asked.contains(&(1, Slot(101), 0..1)) && asked.len() >= 4, "{asked:?}");
        // Read around it, and the tag still fails: now nobody lies.
        [1, 2].into_iter().for_each(|index| get.handle(Event::Got { index }));
        assert_eq!(get.ready(), Some(Ready::Open));
        get.handle(Event::BadTag);
        (0..6).for_each(|index| get.handle(Event::Checked { index, good: true }));
        assert!(get.is_exonerated());
    }

    #[test]
    fn a_short_answer_that_was_under_way_when_another_shard_failed_is_asked_again_for_the_column() {
        // The tail of a chunk: the last data shard holds fewer wanted pieces than the others. (Simulator, cluster seed 6.)
        let code = Code::new(2, 1).expect("valid");
        let mut get = Get::new(code, vec![(0, 0..7), (1, 0..6)], |index| vec![Slot(index.into())]);
        reads(&mut get);
        get.handle(Event::Failed { index: 0, slot: Slot(0), fault: Fault::Missing });
        assert_eq!(reads(&mut get), vec![(2, Slot(2), 0..7)]);
        get.handle(Event::Got { index: 2 });
        assert_eq!(get.ready(), None);
        get.handle(Event::Got { index: 1 });
        assert_eq!(reads(&mut get), vec![(1, Slot(1), 0..7)]);
        assert_eq!(get.ready(), None, "one whole shard is out, the other is there");
        get.handle(Event::Got { index: 1 });
        assert_eq!(get.ready(), Some(Ready::Decode { from: vec![1, 2] }));
    }

    #[test]
    fn fewer_than_k_good_shards_are_said_so_never_more_waiting() {
        let mut get = get(&[(0, 0..1)]);
        let mut queue = reads(&mut get);
        while let Some((index, slot, _)) = queue.pop() {
            if index >= 3 {
                get.handle(Event::Got { index });
            } else {
                get.handle(Event::Failed { index, slot, fault: Fault::Missing });
            }
            queue.extend(reads(&mut get));
        }
        assert_eq!(get.ready(), Some(Ready::Unreadable { found: 3 }));
    }
}
