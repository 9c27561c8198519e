//! `pangea-bench fleet`: how durable a code is, for a failure rate, a repair time, a scrub interval and domains.
//!
//! A Monte Carlo of one stripe with *failure biasing* (Lewis & Böhm 1984; Shahabuddin 1994): failures are drawn far more often
//! than they happen, and every run is weighted by how much less likely it really is, so that losses of one in 10^15 show in a
//! second. Where repair times are exponential and there are no domains and no latent errors, the Markov chain has a closed
//! form, which is printed beside. The model and its inputs are in docs/durability.md.

use anyhow::{Context as _, ensure};
use clap::Args;
use pangea_core::chunk::Code;

const HOURS_A_YEAR: f64 = 8766.0;

/// See the module.
#[derive(Args, Clone, Debug)]
pub struct Arguments {
    /// Erasure codes, K+M.
    #[arg(long = "code", default_values_t = ["2+2".to_owned(), "4+4".to_owned(), "10+4".to_owned()])]
    codes: Vec<String>,
    /// Drives that die in a year, of all (0.04 are 4 %).
    #[arg(long, default_value_t = 0.04)]
    afr: f64,
    /// From a drive's death to the last of its shards written elsewhere.
    #[arg(long, default_value_t = 6.0)]
    repair_hours: f64,
    /// Repairs take exponentially distributed times instead of one and the same.
    #[arg(long)]
    exponential: bool,
    /// Shards in a year that rot or cannot be read, of all, and are found by the next scrub only.
    #[arg(long, default_value_t = 0.0001)]
    latent: f64,
    /// Days between two scrubs.
    #[arg(long, default_value_t = 30.0)]
    scrub_days: f64,
    /// Domains (hosts, racks, sites) over which the shards lie evenly; 0: as many as shards.
    #[arg(long, default_value_t = 0)]
    domains: usize,
    /// Domains that are lost with all they hold in a year, of all.
    #[arg(long, default_value_t = 0.0)]
    domain_afr: f64,
    /// Partitions of the fleet: any one of them lost is some object lost.
    #[arg(long, default_value_t = 4096)]
    partitions: u32,
    /// Runs.
    #[arg(long, default_value_t = 400_000)]
    cycles: u64,
    /// Repeats the runs of a seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// One stripe and what happens to it; times in hours.
#[derive(Clone, Copy, Debug)]
struct Model {
    n: usize,
    m: usize,
    /// Deaths of a shard's drive.
    shard_rate: f64,
    repair: f64,
    exponential: bool,
    /// Whether a shard that nobody looked at is bad.
    latent: f64,
    domains: usize,
    domain_rate: f64,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    println!(
        "AFR {} %, repair {} h ({}), latent errors {} a shard-year, scrub every {} days, {} runs, seed {}",
        arguments.afr * 100.0,
        arguments.repair_hours,
        if arguments.exponential { "exponential" } else { "fixed" },
        arguments.latent,
        arguments.scrub_days,
        arguments.cycles,
        arguments.seed
    );
    println!(
        "| code | domains | losses a stripe-year | nines | closed form | ratio | years to a loss in {} partitions |",
        arguments.partitions
    );
    println!("|---|---|---|---|---|---|---|");
    for text in &arguments.codes {
        let code = Code::parse(text).with_context(|| format!("`{text}` is no code like 10+4"))?;
        let model = Model::new(arguments, code)?;
        let rate = model.losses_a_year(arguments.cycles, arguments.seed);
        let closed = model.closed_form().map_or(("-".into(), "-".into()), |closed| {
            (format!("{closed:.3e}"), format!("{:.3}", rate / closed))
        });
        println!(
            "| {text} | {} | {rate:.3e} | {:.1} | {} | {} | {:.3e} |",
            model.domains,
            nines(rate),
            closed.0,
            closed.1,
            1.0 / (rate * f64::from(arguments.partitions))
        );
    }
    Ok(())
}

/// The nines of not being lost in a year.
fn nines(losses_a_year: f64) -> f64 {
    -(-(-losses_a_year).exp_m1()).log10()
}

impl Model {
    fn new(arguments: &Arguments, code: Code) -> anyhow::Result<Self> {
        let positive = arguments.afr > 0.0 && arguments.repair_hours > 0.0 && arguments.cycles > 0;
        let sane = arguments.afr < 1.0 && arguments.latent >= 0.0 && arguments.domain_afr >= 0.0;
        ensure!(positive && sane, "rates are parts of one, and times are positive");
        let n = usize::from(code.n());
        let domains = if arguments.domains == 0 { n } else { arguments.domains };
        let hourly = |a_year: f64| -(1.0 - a_year).ln() / HOURS_A_YEAR;
        Ok(Self {
            n,
            m: usize::from(code.m()),
            shard_rate: hourly(arguments.afr),
            repair: arguments.repair_hours,
            exponential: arguments.exponential,
            // On average half an interval passes before somebody looks.
            latent: arguments.latent * arguments.scrub_days / 365.25 / 2.0,
            domains: domains.min(n),
            domain_rate: hourly(arguments.domain_afr),
        })
    }

    /// The rate at which the chain of exponential failures and repairs reaches m + 1 missing shards.
    fn closed_form(&self) -> Option<f64> {
        if !self.exponential || self.latent > 0.0 || self.domain_rate > 0.0 {
            return None;
        }
        let (mut step, mut hours) = (0.0, 0.0);
        for missing in 0..=self.m {
            let birth = (self.n - missing) as f64 * self.shard_rate;
            step = (1.0 + missing as f64 / self.repair * step) / birth;
            hours += step;
        }
        Some(HOURS_A_YEAR / hours)
    }

    fn losses_a_year(&self, cycles: u64, seed: u64) -> f64 {
        let mut dice = Dice::new(seed);
        let lost: f64 = (0..cycles).map(|_| self.cycle(&mut dice)).sum();
        // A cycle is the time without a failure, and about one repair.
        let cycle_hours = 1.0 / self.hazard(&vec![0; self.domains]) + self.repair;
        lost / cycles as f64 / cycle_hours * HOURS_A_YEAR
    }

    fn shards_of(&self, domain: usize) -> usize {
        self.n / self.domains + usize::from(domain < self.n % self.domains)
    }

    /// Failures an hour with so many shards missing in each domain.
    fn hazard(&self, missing: &[usize]) -> f64 {
        let whole = self.n - missing.iter().sum::<usize>();
        let domains = (0..self.domains).filter(|d| missing[*d] < self.shards_of(*d)).count();
        whole as f64 * self.shard_rate + domains as f64 * self.domain_rate
    }

    /// From the first failure until all is whole again or lost: the weight with which it was lost.
    fn cycle(&self, dice: &mut Dice) -> f64 {
        let (mut now, mut weight, mut lost) = (0.0, 1.0, 0.0);
        let mut missing = vec![0; self.domains];
        // When each missing shard is back, and its domain.
        let mut repairs: Vec<(f64, usize)> = vec![];
        self.fail(now, &mut missing, &mut repairs, dice);
        loop {
            let gone = repairs.len();
            if gone > self.m {
                return lost + weight;
            }
            // Shards that turn out to be bad when they are needed: by expectation, without drawing.
            let bad = self.too_many_latent(gone);
            lost += weight * bad;
            weight *= 1.0 - bad;
            loop {
                let hazard = self.hazard(&missing);
                // As many failures as repairs, or as many as there really are.
                let biased = hazard.max(1.0 / self.repair);
                let next = repairs.iter().map(|(at, _)| *at).fold(f64::INFINITY, f64::min);
                let failure = now - dice.unit().ln() / biased;
                let until = failure.min(next);
                weight *= (-(hazard - biased) * (until - now)).exp();
                now = until;
                if failure < next {
                    weight *= hazard / biased;
                    self.fail(now, &mut missing, &mut repairs, dice);
                    break;
                }
                let at = repairs.iter().position(|(at, _)| *at == next).expect("the earliest is one of them");
                let (_, domain) = repairs.swap_remove(at);
                missing[domain] -= 1;
                if repairs.is_empty() {
                    return lost;
                }
            }
        }
    }

    /// One shard dies, or a whole domain.
    fn fail(&self, now: f64, missing: &mut [usize], repairs: &mut Vec<(f64, usize)>, dice: &mut Dice) {
        let whole: Vec<usize> = (0..self.domains).map(|d| self.shards_of(d) - missing[d]).collect();
        let mut draw = dice.unit() * self.hazard(missing);
        let mut chosen = (0, 1);
        for (domain, shards) in whole.iter().enumerate().filter(|(_, shards)| **shards > 0) {
            chosen = (domain, 1);
            draw -= *shards as f64 * self.shard_rate;
            if draw <= 0.0 {
                break;
            }
            chosen = (domain, *shards);
            draw -= self.domain_rate;
            if draw <= 0.0 {
                break;
            }
        }
        let (domain, shards) = chosen;
        missing[domain] += shards;
        for _ in 0..shards {
            let takes = if self.exponential { -dice.unit().ln() * self.repair } else { self.repair };
            repairs.push((now + takes, domain));
        }
    }

    /// With `gone` shards missing: the probability that so many of the others are bad that the stripe is lost.
    fn too_many_latent(&self, gone: usize) -> f64 {
        let (left, needed) = (self.n - gone, self.m + 1 - gone);
        let (p, mut term, mut below) = (self.latent, (1.0 - self.latent).powi(left as i32), 0.0);
        if p == 0.0 {
            return 0.0;
        }
        for bad in 0..needed {
            below += term;
            term *= (left - bad) as f64 / (bad + 1) as f64 * p / (1.0 - p);
        }
        // The first term above is nearly all of it; the difference from one would be lost in rounding.
        let mut above = 0.0;
        for bad in needed..=left {
            above += term;
            term *= (left - bad) as f64 / (bad + 1) as f64 * p / (1.0 - p);
        }
        debug_assert!((below + above - 1.0).abs() < 1e-9);
        above
    }
}

/// Uniform numbers that repeat with the seed (SplitMix64; Steele, Lea & Flood 2014).
struct Dice(u64);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// In (0, 1].
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 + 1.0 / (1_u64 << 54) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(k: u8, m: u8) -> Model {
        let code = Code::new(k, m).expect("valid");
        Model {
            n: usize::from(code.n()),
            m: usize::from(m),
            shard_rate: 0.04 / HOURS_A_YEAR,
            repair: 24.0,
            exponential: true,
            latent: 0.0,
            domains: usize::from(code.n()),
            domain_rate: 0.0,
        }
    }

    #[test]
    fn the_runs_agree_with_the_closed_form_within_a_tenth() {
        for (k, m) in [(1, 1), (2, 1), (2, 2), (4, 2), (4, 4), (10, 4)] {
            let model = model(k, m);
            let closed = model.closed_form().expect("it applies");
            let ratio = model.losses_a_year(300_000, 7) / closed;
            assert!((0.9..1.1).contains(&ratio), "{k}+{m}: {ratio}");
        }
    }

    #[test]
    fn what_makes_it_worse_makes_it_worse() {
        let base = model(10, 4);
        let losses = |model: Model| model.losses_a_year(100_000, 3);
        let normal = losses(base);
        assert!(losses(Model { repair: 48.0, ..base }) > 4.0 * normal);
        assert!(losses(Model { shard_rate: 2.0 * base.shard_rate, ..base }) > 10.0 * normal);
        assert!(losses(Model { latent: 1e-4, ..base }) > normal);
        // Fourteen shards on five sites survive one of them, on three they do not.
        let site_rate = 0.01 / HOURS_A_YEAR;
        let five = losses(Model { domains: 5, domain_rate: site_rate, ..base });
        let three = losses(Model { domains: 3, domain_rate: site_rate, ..base });
        assert!(three > 100.0 * five && three > 0.019, "{three} against {five}");
    }

    #[test]
    fn nines_are_counted_down_to_the_smallest() {
        assert!((nines(1e-11) - 11.0).abs() < 0.01 && (nines(1e-20) - 20.0).abs() < 0.01);
    }
}
