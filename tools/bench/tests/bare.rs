//! The bench against its own bare server: every object verb, the rows that come out, and that wrong bytes are noticed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

const BENCH: &str = env!("CARGO_BIN_EXE_pangea-bench");
const SHORT: [&str; 9] = ["s3", "--rounds", "1", "--seconds", "1", "--settle", "0", "--round-mib", "8"];

fn bench(arguments: &[&str]) -> Output {
    Command::new(BENCH).args(SHORT).args(arguments).output().expect("the bench starts")
}

fn rows(output: &Output) -> Vec<Value> {
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

/// A bare server with these payloads; it ends with its standard input.
fn bare_server(seed: &str) -> (Child, String) {
    let mut child = Command::new(BENCH)
        .args(["bare-server", "--seed", seed])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the bare server starts");
    let mut line = String::new();
    let stdout = child.stdout.take().expect("a pipe");
    BufReader::new(stdout).read_line(&mut line).expect("an address");
    let url = format!("http://{}", line.trim().strip_prefix("listening ").expect("an address"));
    (child, url)
}

#[test]
fn every_object_verb_gives_rows_against_a_peer() {
    let (mut child, url) = bare_server("5");
    let cases = "PUT-4KiB-2,GET-64KiB-2,HEAD-4KiB-1,DELETE-4KiB-2,MIXED-64KiB-4,CREATE-1KiB-4";
    let output =
        bench(&["--bare", "--seed", "5", "--json", "--endpoint", &url, "--objects", "100", "--case", cases]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = rows(&output);
    for case in cases.split(',') {
        let rate = format!("{case}/rate");
        let row =
            rows.iter().find(|row| row["case"] == rate.as_str() && row["subject"] == "pangea").expect(case);
        assert_eq!(
            (row["peer"].as_str(), row["unit"].as_str(), row["n"].as_u64()),
            (Some("bare"), Some("ops/s"), Some(1))
        );
        assert!(
            row["value"].as_f64().expect(case) > 0.0 && row["ratio"].as_f64().expect(case) > 0.0,
            "{row}"
        );
    }
    assert!(!rows.iter().any(|row| row["case"].as_str().is_some_and(|case| case.ends_with("/errors"))));
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success(), "the bare server ends with its standard input");
}

#[test]
fn a_server_that_answers_other_bytes_ends_the_run() {
    let (mut child, url) = bare_server("5");
    let output = bench(&["--endpoint", &url, "--seed", "6", "--case", "GET-4KiB-1"]);
    assert!(!output.status.success());
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("WRONG BYTES in /pangea-bench/read/4KiB/"), "{error}");
    drop(child.stdin.take());
    child.wait().expect("it ends");
}

#[test]
fn what_cannot_be_measured_is_said() {
    for (arguments, complaint) in [
        (&["--endpoint", "https://localhost:1"][..], "only http://"),
        (&[][..], "no server"),
        (&["--bare", "--case", "PUT-1MB-1"][..], "not a size"),
        (&["--bare", "--peer-name", "x"][..], "--peer-name"),
    ] {
        let output = bench(arguments);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(complaint), "{arguments:?}: {error}");
    }
}
