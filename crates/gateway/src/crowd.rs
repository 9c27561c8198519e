//! How many connections each address has open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Connections by address; an address without any is not remembered, so the connections' own limit bounds this.
pub(crate) struct Crowds {
    /// Of one address; 0: any number.
    max: usize,
    counts: Counts,
}

impl Crowds {
    /// With so many connections of one address; 0: any number.
    pub(crate) fn new(max: usize) -> Self {
        Self { max, counts: Counts::default() }
    }

    /// One more connection of that address; `None`: it has enough.
    pub(crate) fn enter(&self, address: IpAddr) -> Option<Member> {
        // An IPv4 address is the same behind either kind of socket.
        let address = address.to_canonical();
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.get(&address).copied().unwrap_or_default();
        if self.max > 0 && count >= self.max {
            return None;
        }
        counts.insert(address, count + 1);
        Some(Member { address, counts: Arc::clone(&self.counts) })
    }
}

/// A connection that is counted until it is dropped.
pub(crate) struct Member {
    address: IpAddr,
    counts: Counts,
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        match counts.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_gets_them_back() {
        let address = |text: &str| text.parse::<IpAddr>().expect("an address");
        let crowds = Crowds::new(2);
        let first = crowds.enter(address("10.0.0.1"));
        let second = crowds.enter(address("::ffff:10.0.0.1"));
        assert!(first.is_some() && second.is_some());
        assert!(crowds.enter(address("10.0.0.1")).is_none());
        assert!(crowds.enter(address("10.0.0.2")).is_some());
        drop(second);
        assert!(crowds.enter(address("10.0.0.1")).is_some());
        drop(first);
        assert!(crowds.counts.lock().expect("nobody panicked").is_empty());
        let any = Crowds::new(0);
        let members: Vec<_> = (0..100).map(|_| any.enter(address("::1"))).collect();
        assert!(members.iter().all(Option::is_some));
    }
}
