//! Summaries: from the rounds of a case to the rows of the report.

use anyhow::Result;

use super::case::{Case, Verb};
use super::round::Round;
use super::target::Target;
use crate::process::{self, Watched};
use crate::report::Row;
use crate::stats::{median, rounded};

/// CPU time is told per GB from this object size on, per request below it.
const PER_GB_BYTES: u64 = 64 << 10;
const MB: f64 = 1e6;
const GB: f64 = 1e9;

/// One figure of one server, not yet compared.
#[derive(Clone, PartialEq, Debug)]
struct Figure {
    name: &'static str,
    unit: &'static str,
    value: f64,
    n: usize,
}

/// The rows of a case: the subject (the first target) against each peer, then the peers alone.
///
/// `appends_ms`: what one append with fdatasync took on the same drive between the same rounds; a durable PUT of a small
/// object can reach no less.
pub fn rows(case: Case, targets: &[Target], rounds: &[Vec<Round>], appends_ms: &[f64]) -> Vec<Row> {
    let mut named: Vec<(&str, Vec<Figure>)> = (targets.iter().zip(rounds))
        .map(|(target, rounds)| (target.name.as_str(), figures(case, rounds)))
        .collect();
    if let Some(value) = median(appends_ms) {
        named.push(("drive append", vec![Figure { name: "p50", unit: "ms", value, n: appends_ms.len() }]));
    }
    compare(&case.to_string(), &named)
}

/// Whether the drive's own append is a peer of this case.
pub fn wants_appends(case: Case) -> bool {
    case.verb == Verb::Put && case.concurrency == 1 && case.size.bytes() < PER_GB_BYTES
}

/// One line of progress: the rates of a case.
pub fn progress(rows: &[Row]) -> String {
    let rates = rows.iter().filter(|row| row.case.ends_with("/rate"));
    let mut told: Vec<String> = Vec::new();
    for row in rates {
        let text = format!("{} {} {}", row.subject, rounded(row.value), row.unit);
        if !told.contains(&text) {
            told.push(text);
        }
    }
    told.join(", ")
}

/// What else the machine was doing when the run began: with more than a fraction of a task, absolute values mean little.
pub fn machine() -> Result<Row> {
    let value = process::load()?;
    Ok(Row {
        case: "MACHINE/load-before".to_string(),
        subject: "machine".to_string(),
        peer: None,
        value,
        unit: "tasks",
        ratio: None,
        n: 1,
    })
}

/// Resident memory of every server that is watched.
pub fn memory(when: &str, targets: &[Target]) -> Result<Vec<Row>> {
    let mut named = Vec::new();
    for target in targets {
        let bytes = target.watched.map(Watched::rss_bytes).transpose()?;
        let figure = |bytes: u64| Figure { name: "rss", unit: "MB", value: bytes as f64 / MB, n: 1 };
        named.push((target.name.as_str(), bytes.map(figure).into_iter().collect()));
    }
    Ok(compare(when, &named))
}

fn compare(case: &str, named: &[(&str, Vec<Figure>)]) -> Vec<Row> {
    let Some(((subject, figures), peers)) = named.split_first() else { return Vec::new() };
    let mut rows = Vec::new();
    let row = |figure: &Figure, subject: &str, peer: Option<&str>, ratio| Row {
        case: format!("{case}/{}", figure.name),
        subject: subject.to_string(),
        peer: peer.map(String::from),
        value: figure.value,
        unit: figure.unit,
        ratio,
        n: figure.n,
    };
    for figure in figures {
        let same = |other: &&Figure| other.name == figure.name && other.unit == figure.unit;
        let compared: Vec<(&str, &Figure)> =
            peers.iter().filter_map(|(peer, others)| Some((*peer, others.iter().find(same)?))).collect();
        if compared.is_empty() {
            rows.push(row(figure, subject, None, None));
        }
        for (peer, other) in &compared {
            rows.push(row(figure, subject, Some(peer), ratio(figure.value, other.value)));
        }
        rows.extend(compared.iter().map(|(peer, other)| row(other, peer, None, None)));
    }
    rows
}

fn ratio(value: f64, of: f64) -> Option<f64> {
    (of > 0.0).then(|| value / of)
}

/// What the rounds of one server amount to.
fn figures(case: Case, rounds: &[Round]) -> Vec<Figure> {
    let mut figures = Vec::new();
    let mut medians = |name, unit, of: &dyn Fn(&Round) -> Option<f64>| {
        let values: Vec<f64> = rounds.iter().filter_map(of).collect();
        let n = values.len();
        figures.extend(median(&values).map(|value| Figure { name, unit, value, n }));
    };
    let per_second = |round: &Round, count: f64| Some(count / round.wall.as_secs_f64().max(1e-9));
    let large =
        case.size.bytes() >= PER_GB_BYTES && !matches!(case.verb, Verb::List | Verb::Head | Verb::Delete);
    match case.verb {
        Verb::List => medians("rate", "keys/s", &|round| per_second(round, round.keys as f64)),
        _ => medians("rate", "ops/s", &|round| per_second(round, round.requests as f64)),
    }
    if large {
        medians("throughput", "MB/s", &|round| per_second(round, round.bytes as f64 / MB));
    }
    medians("p50", "ms", &|round| Some(round.p50 as f64 / 1e6));
    medians("p99", "ms", &|round| Some(round.p99 as f64 / 1e6));
    medians("rss", "MB", &|round| Some(round.rss?.1 as f64 / MB));
    if case.verb == Verb::List {
        medians("rss-growth", "MB", &|round| {
            round.rss.map(|(before, after)| (after as f64 - before as f64) / MB)
        });
    }
    if !matches!(case.verb, Verb::Get | Verb::Head | Verb::List) {
        medians("written", "KB/op", &|round| {
            Some(round.written? as f64 / 1e3 / round.requests.max(1) as f64)
        });
    }
    medians("client", "cores", &|round| per_second(round, round.client_cpu.as_secs_f64()));

    // Clock ticks are coarse: one quotient over all rounds, not the median of many.
    let cpu: Option<f64> = rounds.iter().map(|round| Some(round.cpu?.as_secs_f64())).sum();
    let (requests, bytes, errors) = rounds.iter().fold((0, 0, 0), |(requests, bytes, errors), round| {
        (requests + round.requests, bytes + round.bytes, errors + round.errors)
    });
    let n = rounds.len();
    match cpu {
        Some(cpu) if large && bytes > 0 => {
            figures.push(Figure { name: "cpu", unit: "s/GB", value: cpu / (bytes as f64 / GB), n });
        }
        Some(cpu) if requests > 0 => {
            figures.push(Figure { name: "cpu", unit: "us/op", value: cpu * 1e6 / requests as f64, n });
        }
        _ => {}
    }
    if errors > 0 {
        figures.push(Figure { name: "errors", unit: "count", value: errors as f64, n });
    }
    figures
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn round(requests: u64, seconds: u64) -> Round {
        Round {
            requests,
            bytes: requests << 20,
            wall: Duration::from_secs(seconds),
            p50: 2_000_000,
            p99: 9_000_000,
            cpu: Some(Duration::from_secs(1)),
            rss: Some((1_000_000, 3_000_000)),
            ..Round::default()
        }
    }

    fn value(figures: &[Figure], name: &str) -> (f64, &'static str) {
        let figure = figures.iter().find(|figure| figure.name == name).expect(name);
        (figure.value, figure.unit)
    }

    #[test]
    fn rates_are_medians_and_cpu_is_one_quotient() {
        let case: Case = "PUT-1MiB-4".parse().expect("a case");
        let figures = figures(case, &[round(100, 1), round(300, 1), round(100, 2)]);
        assert_eq!(value(&figures, "rate"), (100.0, "ops/s"));
        assert_eq!(value(&figures, "p99"), (9.0, "ms"));
        assert_eq!(value(&figures, "rss"), (3.0, "MB"));
        assert_eq!(value(&figures, "cpu"), (3.0 / (500.0 * 1.048_576e6 / 1e9), "s/GB"));
        assert!(figures.iter().all(|figure| figure.n == 3 && figure.name != "errors"));
    }

    #[test]
    fn the_subject_is_compared_with_every_peer_that_has_the_figure() {
        let figure = |value| vec![Figure { name: "rate", unit: "ops/s", value, n: 2 }];
        let rows =
            compare("X", &[("a", figure(6.0)), ("b", figure(2.0)), ("c", Vec::new()), ("d", figure(0.0))]);
        let short: Vec<_> = rows
            .iter()
            .map(|row| (row.subject.as_str(), row.peer.as_deref(), row.value, row.ratio))
            .collect();
        assert_eq!(
            short,
            [
                ("a", Some("b"), 6.0, Some(3.0)),
                ("a", Some("d"), 6.0, None),
                ("b", None, 2.0, None),
                ("d", None, 0.0, None)
            ]
        );
        assert_eq!(compare("X", &[("a", figure(6.0)), ("c", Vec::new())])[0].peer, None);
    }

    #[test]
    fn a_case_that_was_not_run_has_no_figures() {
        assert_eq!(figures("LIST-1KiB-1".parse().expect("a case"), &[]), []);
    }
}
