//! Limits on those who are not known yet: how many may be half way in, in all and from one address, and how often an address
//! may knock at the door for newcomers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// Addresses that are remembered for their knocking.
const REMEMBERED_MAX: usize = 1024;

/// How many may be half way in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CrowdLimits {
    /// In all.
    pub half_open_max: usize,
    /// From one address.
    pub half_open_per_ip_max: usize,
    /// Questions to join, from one address in a minute.
    pub joins_per_minute_max: u32,
}

impl Default for CrowdLimits {
    fn default() -> Self {
        Self { half_open_max: 512, half_open_per_ip_max: 256, joins_per_minute_max: 30 }
    }
}

/// See the module.
pub(crate) struct Crowd {
    limits: CrowdLimits,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    half_open: usize,
    per_ip: BTreeMap<IpAddr, usize>,
    knocks: BTreeMap<IpAddr, (Instant, u32)>,
}

/// One who is half way in.
pub(crate) struct Place {
    crowd: Arc<Crowd>,
    ip: IpAddr,
}

impl Crowd {
    pub(crate) fn new(limits: CrowdLimits) -> Arc<Self> {
        Arc::new(Self { limits, state: Mutex::default() })
    }

    /// Takes a place, if there is one.
    pub(crate) fn enter(self: &Arc<Self>, ip: IpAddr) -> Option<Place> {
        let ip = ip.to_canonical();
        let mut state = self.lock();
        let from_there = state.per_ip.get(&ip).copied().unwrap_or(0);
        if state.half_open >= self.limits.half_open_max || from_there >= self.limits.half_open_per_ip_max {
            return None;
        }
        state.half_open += 1;
        state.per_ip.insert(ip, from_there + 1);
        drop(state);
        Some(Place { crowd: self.clone(), ip })
    }

    /// Whether somebody from there may ask to join now.
    pub(crate) fn may_join(&self, ip: IpAddr, now: Instant) -> bool {
        const MINUTE: Duration = Duration::from_secs(60);
        let ip = ip.to_canonical();
        let mut state = self.lock();
        if state.knocks.len() >= REMEMBERED_MAX && !state.knocks.contains_key(&ip) {
            state.knocks.retain(|_, (since, _)| now.duration_since(*since) < MINUTE);
            if state.knocks.len() >= REMEMBERED_MAX {
                return false;
            }
        }
        let (since, count) = state.knocks.entry(ip).or_insert((now, 0));
        if now.duration_since(*since) >= MINUTE {
            (*since, *count) = (now, 0);
        }
        *count += 1;
        *count <= self.limits.joins_per_minute_max
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no code panics while it counts")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.crowd.lock();
        state.half_open -= 1;
        if let Some(count) = state.per_ip.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                state.per_ip.remove(&self.ip);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_in_all_and_by_address_and_given_back() {
        let limits = CrowdLimits { half_open_max: 3, half_open_per_ip_max: 2, joins_per_minute_max: 2 };
        let crowd = Crowd::new(limits);
        let [one, two, mapped]: [IpAddr; 3] =
            ["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.1"].map(|ip| ip.parse().expect("an address"));
        let places = [crowd.enter(one), crowd.enter(mapped)];
        assert!(places.iter().all(Option::is_some));
        assert!(crowd.enter(one).is_none(), "two from there");
        let third = crowd.enter(two);
        assert!(third.is_some() && crowd.enter(two).is_none(), "three in all");
        drop(places);
        assert!(crowd.enter(one).is_some());
        drop(third);
        let state = crowd.lock();
        assert_eq!((state.half_open, state.per_ip.len()), (0, 0));
    }

    #[test]
    fn who_knocks_too_often_waits_a_minute() {
        let crowd = Crowd::new(CrowdLimits { joins_per_minute_max: 2, ..CrowdLimits::default() });
        let ip: IpAddr = "10.0.0.1".parse().expect("an address");
        let now = Instant::now();
        assert_eq!([0, 1, 2].map(|_| crowd.may_join(ip, now)), [true, true, false]);
        assert!(crowd.may_join(ip, now + Duration::from_secs(61)));
        for number in 0..2000_u32 {
            crowd.may_join(IpAddr::from(number.to_be_bytes()), now);
        }
        assert!(crowd.lock().knocks.len() <= REMEMBERED_MAX);
    }
}
