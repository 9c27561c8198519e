//! Rounds: candidates run in turn, forward and backward, timed by the thread's CPU clock.

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};

use crate::report::Row;
use crate::stats::median;

/// A round of one candidate takes at least this long.
const SECONDS_MIN: f64 = 0.002;
const CALLS_MAX: f64 = 1e6;

/// Something to be timed.
pub struct Candidate<'a> {
    name: String,
    work: Box<dyn FnMut() -> Result<()> + 'a>,
}

/// The seconds of one call, in each round.
pub struct Timed {
    /// Whose.
    pub name: String,
    seconds: Vec<f64>,
}

impl<'a> Candidate<'a> {
    /// Names some work.
    pub fn new(name: impl Into<String>, work: impl FnMut() -> Result<()> + 'a) -> Self {
        Self { name: name.into(), work: Box::new(work) }
    }

    fn seconds(&mut self, calls: usize) -> Result<f64> {
        let start = cpu_seconds();
        for _ in 0..calls {
            (self.work)()?;
        }
        Ok((cpu_seconds() - start) / calls as f64)
    }
}

impl Timed {
    /// The seconds of several parts together, each so many times, round by round.
    pub fn sum(name: &str, parts: &[(&Self, f64)]) -> Self {
        let rounds = parts.iter().map(|(part, _)| part.seconds.len()).min().unwrap_or(0);
        let round = |round: usize| parts.iter().map(|(part, times)| part.seconds[round] * times).sum();
        Self { name: name.to_string(), seconds: (0..rounds).map(round).collect() }
    }

    /// GB/s (10^9) of the median round, when a call treats `bytes`.
    pub fn rate(&self, bytes: usize) -> f64 {
        bytes as f64 / median(&self.seconds).unwrap_or(f64::NAN) / 1e9
    }

    /// GB/s that three quarters of the rounds reach.
    fn low_rate(&self, bytes: usize) -> f64 {
        let mut seconds = self.seconds.clone();
        seconds.sort_by(f64::total_cmp);
        bytes as f64 / seconds[seconds.len() * 3 / 4] / 1e9
    }

    /// How many times faster than the peer: median, and what three quarters of the rounds reach.
    fn ratios(&self, peer: &Self) -> (f64, f64) {
        let mut ratios: Vec<f64> =
            self.seconds.iter().zip(&peer.seconds).map(|(own, theirs)| theirs / own).collect();
        ratios.sort_by(f64::total_cmp);
        (median(&ratios).unwrap_or(f64::NAN), ratios[ratios.len() / 4])
    }
}

/// Times all candidates in `rounds` rounds.
pub fn run(candidates: &mut [Candidate<'_>], rounds: usize) -> Result<Vec<Timed>> {
    let mut calls = Vec::new();
    for candidate in candidates.iter_mut() {
        candidate.seconds(1)?;
        let once = candidate.seconds(1)?.max(1e-9);
        calls.push((SECONDS_MIN / once).ceil().clamp(1.0, CALLS_MAX) as usize);
    }
    let mut timed: Vec<Timed> =
        candidates.iter().map(|c| Timed { name: c.name.clone(), seconds: Vec::new() }).collect();
    for round in 0..rounds {
        for place in 0..candidates.len() {
            let index = if round % 2 == 0 { place } else { candidates.len() - 1 - place };
            // Whatever the last one left in the caches is gone after one call.
            candidates[index].seconds(1)?;
            timed[index].seconds.push(candidates[index].seconds(calls[index])?);
        }
    }
    Ok(timed)
}

/// Rows of a subject against peers: `CASE/rate`, and `CASE/low`, which three quarters of the rounds reach.
pub fn rows(case: &str, subject: &Timed, name: &str, peers: &[&Timed], bytes: usize) -> Vec<Row> {
    let n = subject.seconds.len();
    let row = |case: String, subject: &str, peer: Option<&str>, value, ratio| Row {
        case,
        subject: subject.to_string(),
        peer: peer.map(String::from),
        value,
        unit: "GB/s",
        ratio,
        n,
    };
    let (rate, low) = (format!("{case}/rate"), format!("{case}/low"));
    let mut rows = Vec::new();
    for peer in peers {
        let ratios = subject.ratios(peer);
        rows.push(row(rate.clone(), name, Some(&peer.name), subject.rate(bytes), Some(ratios.0)));
        rows.push(row(low.clone(), name, Some(&peer.name), subject.low_rate(bytes), Some(ratios.1)));
    }
    if peers.is_empty() {
        rows.push(row(rate, name, None, subject.rate(bytes), None));
        rows.push(row(low, name, None, subject.low_rate(bytes), None));
    }
    rows
}

/// CPU time of this thread: what other processes take is not in it.
pub fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
