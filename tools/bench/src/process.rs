//! Processes: the CPU time and the memory of a server, from `/proc`.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// A process to watch; it is only read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watched(pub u32);

impl Watched {
    /// This process.
    pub fn own() -> Self {
        Self(std::process::id())
    }

    /// User and system time of all its threads so far, in steps of a clock tick (10 ms as a rule).
    pub fn cpu(self) -> Result<Duration> {
        let path = format!("/proc/{}/stat", self.0);
        let stat = fs::read_to_string(&path).with_context(|| format!("{path}: is the process alive?"))?;
        let ticks = cpu_ticks(&stat).with_context(|| format!("{path}: not understood"))?;
        Ok(Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64))
    }

    /// Its resident memory in bytes.
    pub fn rss_bytes(self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.0);
        let status = fs::read_to_string(&path).with_context(|| format!("{path}: is the process alive?"))?;
        rss(&status).with_context(|| format!("{path}: not understood"))
    }

    /// Bytes that it has caused to be written to drives so far; none when the kernel does not let us look.
    pub fn written_bytes(self) -> Option<u64> {
        let io = fs::read_to_string(format!("/proc/{}/io", self.0)).ok()?;
        io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
    }
}

/// How many tasks wanted to run in the last minute: what else the machine does while we measure.
pub fn load() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("/proc/loadavg")?;
    let first = text.split_ascii_whitespace().next().context("/proc/loadavg is empty")?;
    first.parse().context("/proc/loadavg: not understood")
}

/// utime + stime, fields 14 and 15 of `stat`; the name in field 2 may contain spaces and parentheses.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    user.checked_add(system)
}

fn rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) S 1 2 3 4 5 6 7 8 9 10 700 30 0 0 20 0 1 0 5";
        assert_eq!(cpu_ticks(stat), Some(730));
        assert_eq!((cpu_ticks("42 (a) S 1 2"), cpu_ticks("")), (None, None));
        assert_eq!(rss("Name:\tx\nVmRSS:\t  1234 kB\n"), Some(1234 * 1024));
        assert_eq!(rss("Name:\tx\n"), None);
    }

    #[test]
    fn our_own_process_can_be_watched() {
        assert!(Watched::own().rss_bytes().expect("own process") > 0);
        assert!(Watched::own().cpu().is_ok());
    }
}
