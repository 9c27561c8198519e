//! The trace: a hash over everything that happens in a run, so that two runs can be compared.

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub enum Happening {
    /// A task was polled.
    Poll = 1,
    /// A process died.
    Kill = 2,
    /// The wall clock jumped.
    ClockJump = 3,
    /// A disk was asked something.
    Disk = 4,
    /// A disk lost its power, and what survived was decided.
    PowerCut = 5,
    /// A fault was injected.
    Fault = 6,
    /// A message was sent, lost or delivered.
    Message = 7,
    /// An operation of the workload began.
    Begin = 8,
    /// An operation of the workload ended.
    End = 9,
    /// A process started.
    Start = 10,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
}

impl Trace {
    /// An empty trace of a seed.
    pub fn new(seed: u64) -> Self {
        Self { hash: seed ^ 0x7472_6163_6521, events: 0 }
    }

    /// Notes an event with its facts, which must not depend on the build: no addresses, no sizes of types.
    pub fn add(&mut self, what: Happening, facts: &[u64]) {
        self.events += 1;
        self.fold(what as u64);
        facts.iter().for_each(|fact| self.fold(*fact));
    }

    /// Everything so far.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many events.
    pub fn events(&self) -> u64 {
        self.events
    }

    fn fold(&mut self, word: u64) {
        let product =
            u128::from(self.hash ^ word ^ 0x9e37_79b9_7f4a_7c15).wrapping_mul(0xd6e8_feb8_6659_fd93);
        self.hash = (product as u64) ^ ((product >> 64) as u64) ^ self.hash.rotate_left(23);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_facts_count() {
        let hash = |events: &[(Happening, u64)]| {
            let mut trace = Trace::new(1);
            events.iter().for_each(|(what, fact)| trace.add(*what, &[*fact]));
            trace.hash()
        };
        let (a, b) = ((Happening::Begin, 1), (Happening::End, 1));
        assert_eq!(hash(&[a, b]), hash(&[a, b]));
        assert_ne!(hash(&[a, b]), hash(&[b, a]));
        assert_ne!(hash(&[a]), hash(&[(Happening::Begin, 2)]));
    }
}
