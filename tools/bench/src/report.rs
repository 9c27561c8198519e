//! Reports: rows for machines, a table for people.
//!
//! A row of the subject stands once per peer and carries the ratio (subject ÷ peer); a row of a peer stands once, for
//! reference. `n` is the number of rounds (of samples, for a drive) whose median the value is.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::stats::rounded;

/// One figure.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// `PUT-4KiB-16/p50`: the case, then what was measured in it.
    pub case: String,
    /// Whose figure it is.
    pub subject: String,
    /// Against whom.
    pub peer: Option<String>,
    /// In `unit`.
    pub value: f64,
    /// `ops/s`, `keys/s`, `MB/s` (10⁶), `ms`, `s/GB` (10⁹), `us/op`, `KB/op`, `MB`, `cores`, `tasks`,
    /// `count`.
    pub unit: &'static str,
    /// Subject ÷ peer, of the unrounded values.
    pub ratio: Option<f64>,
    /// How many measurements the value is the median of.
    pub n: usize,
}

/// Everything a run found.
#[derive(Default)]
pub struct Report {
    /// In the order in which it was found.
    rows: Vec<Row>,
    json: bool,
}

impl Report {
    /// As JSON, rows are printed when they are found: a run that is interrupted has said what it knew.
    pub fn new(json: bool) -> Self {
        Self { rows: Vec::new(), json }
    }

    /// Takes in what was found.
    pub fn add(&mut self, rows: impl IntoIterator<Item = Row>) {
        for row in rows {
            if self.json {
                println!("{}", row.json());
            }
            self.rows.push(row);
        }
    }

    /// The table, for people.
    pub fn print(&self) {
        if !self.json {
            print!("{}", self.table());
        }
    }

    /// A Markdown table: a line per figure, a column per subject, then one per ratio.
    fn table(&self) -> String {
        let mut subjects: Vec<&str> = Vec::new();
        let mut peers: Vec<&str> = Vec::new();
        let mut lines: Vec<(&str, &str)> = Vec::new();
        let mut cells: BTreeMap<(&str, String), String> = BTreeMap::new();
        for row in &self.rows {
            push_new(&mut subjects, &row.subject);
            push_new(&mut lines, (&row.case, row.unit));
            cells.insert((&row.case, row.subject.clone()), rounded(row.value).to_string());
            if let (Some(peer), Some(ratio)) = (&row.peer, row.ratio) {
                push_new(&mut peers, peer);
                cells.insert((&row.case, format!("÷ {peer}")), format!("{ratio:.2}"));
            }
        }
        let columns: Vec<String> = (subjects.iter().map(ToString::to_string))
            .chain(peers.iter().map(|peer| format!("÷ {peer}")))
            .collect();
        let mut grid = vec![["case".to_string(), "unit".to_string()].to_vec()];
        grid[0].extend(columns.iter().cloned());
        for (case, unit) in lines {
            let mut line = vec![case.to_string(), unit.to_string()];
            line.extend(columns.iter().map(|name| cells.remove(&(case, name.clone())).unwrap_or_default()));
            grid.push(line);
        }
        markdown(&grid)
    }
}

impl Row {
    fn json(&self) -> Value {
        json!({
            "case": self.case,
            "subject": self.subject,
            "peer": self.peer,
            "value": rounded(self.value),
            "unit": self.unit,
            "ratio": self.ratio.map(rounded),
            "n": self.n,
        })
    }
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn markdown(grid: &[Vec<String>]) -> String {
    let width = |column: usize| grid.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..grid[0].len()).map(width).collect();
    let mut text = String::new();
    for (index, line) in grid.iter().enumerate() {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            // Words to the left, numbers to the right.
            text += &if column < 2 { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") };
        }
        text += "|\n";
        if index == 0 {
            for (column, &width) in widths.iter().enumerate() {
                let dashes = "-".repeat(width + 1);
                text += &if column < 2 { format!("|{dashes}-") } else { format!("|{dashes}:") };
            }
            text += "|\n";
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(case: &str, subject: &str, peer: Option<&str>, value: f64, ratio: Option<f64>) -> Row {
        let (case, subject) = (case.to_string(), subject.to_string());
        Row { case, subject, peer: peer.map(String::from), value, unit: "ops/s", ratio, n: 5 }
    }

    #[test]
    fn rows_are_flat_json_and_the_table_has_a_column_per_subject_and_ratio() {
        let report = Report {
            rows: vec![
                row("PUT-4KiB-1/rate", "pangea", Some("garage"), 1000.0, Some(4.0)),
                row("PUT-4KiB-1/rate", "garage", None, 250.04, None),
                row("GET-4KiB-1/rate", "pangea", None, 5.0, None),
            ],
            json: false,
        };
        assert_eq!(
            report.rows[0].json().to_string(),
            r#"{"case":"PUT-4KiB-1/rate","n":5,"peer":"garage","ratio":4.0,"subject":"pangea","unit":"ops/s","value":1000.0}"#
        );
        assert_eq!(report.rows[1].json()["peer"], Value::Null);
        assert_eq!(
            report.table(),
            "\
| case            | unit  | pangea | garage | ÷ garage |
|-----------------|-------|-------:|-------:|---------:|
| PUT-4KiB-1/rate | ops/s |   1000 |    250 |     4.00 |
| GET-4KiB-1/rate | ops/s |      5 |        |          |
"
        );
    }
}
