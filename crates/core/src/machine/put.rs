//! Put: one stripe's shards to their drives.
//!
//! ```text
//! Sending --Stored x w--> Quorum --Stored x n--> Done(whole)
//!    |                       `--Straggled-----> Done(some missing: a todo)
//!    `--no candidate left, fewer than w can still arrive--> Failed
//! ```
//!
//! Every shard first goes to its home; a home that is absent or fails is stood in for by the next drive that holds no
//! shard of the stripe, and when there is none, by one that holds the fewest (doubling up). An acknowledgement needs
//! `code.write_quorum()` durable shards (D5). What is missing at the end, and who stands in for whom, becomes the
//! stripe's todo.

use std::collections::VecDeque;

use crate::chunk::Code;
use crate::layout::Slot;
use crate::place::Placement;

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// A shard is durable.
    Stored {
        /// Its index.
        index: u8,
        /// Where.
        slot: Slot,
    },
    /// A drive did not take a shard.
    Refused {
        /// Its index.
        index: u8,
        /// Where.
        slot: Slot,
    },
    /// Whoever still waits after the quorum has waited long enough.
    Straggled,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Store a shard.
    Send {
        /// Its index.
        index: u8,
        /// Where.
        slot: Slot,
    },
    /// The quorum is reached: start the stragglers' timer.
    Quorum,
}

/// How it ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The quorum is durable.
    Stored {
        /// Indices that are nowhere yet.
        missing: Vec<u8>,
        /// Shards that lie elsewhere than at home.
        stand_ins: Vec<(u8, Slot)>,
    },
    /// The quorum cannot be reached.
    Failed {
        /// Durable shards.
        stored: u8,
        /// Needed.
        quorum: u8,
    },
}

/// See the module.
#[derive(Debug)]
pub struct Put {
    code: Code,
    placement: Placement,
    /// Where each shard lies or is on its way to; `None`: given up.
    at: Vec<Option<Slot>>,
    stored: Vec<bool>,
    /// Slots that refused something or are absent: not asked again for this stripe.
    out: Vec<Slot>,
    actions: VecDeque<Action>,
    quorum_told: bool,
    straggled: bool,
}

impl Put {
    /// Starts: every shard to its home, or past those that are not `present`.
    pub fn new(code: Code, placement: Placement, present: impl Fn(Slot) -> bool) -> Self {
        assert!(placement.shards().len() >= usize::from(code.n()), "the placement deals every shard");
        let all = placement.shards().iter().chain(placement.stand_ins());
        let out = all.copied().filter(|slot| !present(*slot)).collect();
        let n = usize::from(code.n());
        let mut put = Self {
            code,
            placement,
            at: vec![None; n],
            stored: vec![false; n],
            out,
            actions: VecDeque::new(),
            quorum_told: false,
            straggled: false,
        };
        // Homes first, so that stand-ins are chosen among drives that hold nothing.
        for index in 0..code.n() {
            let home = put.home(index);
            if !put.out.contains(&home) {
                put.send(index, home);
            }
        }
        for index in 0..code.n() {
            if put.at[usize::from(index)].is_none() {
                put.send_elsewhere(index);
            }
        }
        put
    }

    /// Takes an event in.
    pub fn handle(&mut self, event: Event) {
        match event {
            Event::Stored { index, slot } => {
                if self.at[usize::from(index)] == Some(slot) {
                    self.stored[usize::from(index)] = true;
                }
                if self.stored_count() >= self.code.write_quorum() && !self.quorum_told {
                    self.quorum_told = true;
                    self.actions.push_back(Action::Quorum);
                }
            }
            Event::Refused { index, slot } => {
                if !self.out.contains(&slot) {
                    self.out.push(slot);
                }
                if self.at[usize::from(index)] == Some(slot) && !self.stored[usize::from(index)] {
                    self.at[usize::from(index)] = None;
                    self.send_elsewhere(index);
                }
            }
            Event::Straggled => self.straggled = true,
        }
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// How it ended, once it has.
    pub fn end(&self) -> Option<End> {
        let (stored, quorum) = (self.stored_count(), self.code.write_quorum());
        let waiting = self.at.iter().zip(&self.stored).any(|(at, stored)| at.is_some() && !stored);
        if stored >= quorum && (!waiting || self.straggled) {
            let indices = || (0..self.code.n()).filter(|i| self.stored[usize::from(*i)]);
            let missing = (0..self.code.n()).filter(|i| !self.stored[usize::from(*i)]).collect();
            let stand_ins = indices()
                .filter_map(|index| Some((index, self.at[usize::from(index)]?)))
                .filter(|(index, slot)| *slot != self.home(*index))
                .collect();
            return Some(End::Stored { missing, stand_ins });
        }
        (stored < quorum && !waiting).then_some(End::Failed { stored, quorum })
    }

    fn home(&self, index: u8) -> Slot {
        self.placement.shards()[usize::from(index)]
    }

    fn stored_count(&self) -> u8 {
        self.stored.iter().filter(|stored| **stored).count() as u8
    }

    fn send(&mut self, index: u8, slot: Slot) {
        self.at[usize::from(index)] = Some(slot);
        self.actions.push_back(Action::Send { index, slot });
    }

    /// To the first candidate with the fewest shards of this stripe; to none if all are out.
    fn send_elsewhere(&mut self, index: u8) {
        let held = |slot: Slot| self.at.iter().filter(|at| **at == Some(slot)).count();
        let candidates = self.placement.takers(index).filter(|slot| !self.out.contains(slot));
        if let Some(slot) = candidates.min_by_key(|slot| held(*slot)) {
            self.send(index, slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::tests::layout;
    use crate::place::place;

    fn put(drives: u16, code: (u8, u8), absent: &[usize]) -> (Put, Placement) {
        let code = Code::new(code.0, code.1).expect("valid");
        let placement = place(&layout(drives, 1, 100), code.n(), 3).expect("drives");
        let absent: Vec<Slot> = absent.iter().map(|i| placement.shards()[*i]).collect();
        (Put::new(code, placement.clone(), |slot| !absent.contains(&slot)), placement)
    }

    fn sends(put: &mut Put) -> Vec<(u8, Slot)> {
        let mut sends = vec![];
        while let Some(action) = put.poll_action() {
            if let Action::Send { index, slot } = action {
                sends.push((index, slot));
            }
        }
        sends
    }

    #[test]
    fn a_healthy_put_sends_every_shard_home_and_ends_whole() {
        let (mut put, placement) = put(14, (10, 4), &[]);
        let sent = sends(&mut put);
        assert!(
            sent.iter().all(|(i, slot)| placement.shards()[usize::from(*i)] == *slot) && sent.len() == 14
        );
        for (index, slot) in sent {
            assert_eq!(put.end(), None);
            put.handle(Event::Stored { index, slot });
        }
        assert_eq!(put.end(), Some(End::Stored { missing: vec![], stand_ins: vec![] }));
    }

    #[test]
    fn stragglers_are_given_up_only_after_the_quorum() {
        let (mut put, _) = put(14, (10, 4), &[]);
        let sent = sends(&mut put);
        put.handle(Event::Straggled);
        for (index, slot) in sent.iter().take(10) {
            put.handle(Event::Stored { index: *index, slot: *slot });
        }
        assert_eq!(put.end(), None, "ten of fourteen are no quorum");
        put.handle(Event::Stored { index: sent[10].0, slot: sent[10].1 });
        assert_eq!(put.end(), Some(End::Stored { missing: vec![11, 12, 13], stand_ins: vec![] }));
    }

    #[test]
    fn an_absent_drive_is_stood_in_for_and_few_drives_double_up() {
        let (mut spare, placement) = put(15, (10, 4), &[2]);
        let sent = sends(&mut spare);
        assert!(sent.contains(&(2, placement.stand_ins()[0])));
        let (mut six, _) = put(6, (3, 3), &[1]);
        let sent = sends(&mut six);
        assert_eq!(sent.len(), 6);
        for (index, slot) in &sent {
            assert!(sent.iter().filter(|(_, s)| s == slot).count() <= 2);
            six.handle(Event::Stored { index: *index, slot: *slot });
        }
        assert!(
            matches!(six.end(), Some(End::Stored { missing, stand_ins }) if missing.is_empty() && stand_ins.len() == 1)
        );
    }

    #[test]
    fn when_no_drive_takes_it_the_put_fails() {
        let (mut put, _) = put(3, (2, 1), &[]);
        let mut queue = sends(&mut put);
        while let Some((index, slot)) = queue.pop() {
            put.handle(Event::Refused { index, slot });
            queue.extend(sends(&mut put));
        }
        assert_eq!(put.end(), Some(End::Failed { stored: 0, quorum: 3 }));
    }

    #[test]
    fn a_late_answer_of_a_drive_that_was_given_up_counts_for_nothing() {
        let (mut put, placement) = put(4, (2, 1), &[]);
        let sent = sends(&mut put);
        put.handle(Event::Refused { index: 0, slot: sent[0].1 });
        put.handle(Event::Stored { index: 0, slot: sent[0].1 });
        assert_eq!(put.stored_count(), 0);
        assert_eq!(sends(&mut put), vec![(0, placement.stand_ins()[0])]);
    }
}
