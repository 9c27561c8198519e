//! `pangea worker`: background work, shown, paused, slowed down and woken.

use std::process::ExitCode;

use pangea_node::control::{Control as _, WorkerWish};
use pangea_node::remote::wait;

use crate::args::{AdminArgs, WorkerArgs, WorkerCommand};
use crate::operate::{json, remote};
use crate::{Failure, print, status as render};

pub(crate) fn run(args: &WorkerArgs) -> Result<ExitCode, Failure> {
    let (wish, admin) = match &args.command {
        WorkerCommand::List { admin, json } => return list(admin, *json),
        WorkerCommand::Pause { name, admin } => (WorkerWish { paused: Some(true), ..of(name) }, admin),
        WorkerCommand::Resume { name, admin } => (WorkerWish { paused: Some(false), ..of(name) }, admin),
        WorkerCommand::Run { name, admin } => (WorkerWish { run: true, ..of(name) }, admin),
        WorkerCommand::Limit { name, rate, admin } => {
            let advice = "write a number of bytes a second like 100M, or `off`";
            let rate = parse_rate(rate);
            let rate = rate.ok_or_else(|| Failure::new("the rate cannot be read", advice, 2))?;
            (WorkerWish { bytes_per_second: Some(rate), ..of(name) }, admin)
        }
    };
    print(&render::worker(&wait(remote(admin)?.set_worker(wish))?));
    Ok(ExitCode::SUCCESS)
}

fn of(name: &str) -> WorkerWish {
    WorkerWish { name: name.to_owned(), ..WorkerWish::default() }
}

fn list(admin: &AdminArgs, as_json: bool) -> Result<ExitCode, Failure> {
    let status = wait(remote(admin)?.status())?;
    print(&match as_json {
        true => json(&status.workers)?,
        false => status.workers.iter().map(render::worker).collect(),
    });
    Ok(ExitCode::SUCCESS)
}

/// Bytes a second, with k, M or G (powers of ten) or Ki, Mi, Gi; 0 for `off`.
fn parse_rate(text: &str) -> Option<u64> {
    if text == "off" {
        return Some(0);
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "k" | "K" => 1000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|rate| *rate > 0)
}

#[cfg(test)]
mod tests {
    use super::parse_rate;

    #[test]
    fn rates_are_numbers_with_units_or_off() {
        let cases = [
            ("off", Some(0)),
            ("100M", Some(100_000_000)),
            ("64Mi", Some(64 << 20)),
            ("7", Some(7)),
            ("0", None),
            ("M", None),
            ("1T", None),
            ("-1", None),
            ("99999999999G", None),
        ];
        for (text, rate) in cases {
            assert_eq!(parse_rate(text), rate, "{text}");
        }
    }
}
