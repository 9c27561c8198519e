//! Every statement is held against what PostgreSQL, CockroachDB and YugabyteDB all accept. The list of what is allowed is
//! short, and what is not on it is refused; the list of what is denied is there for its reasons.

use std::ops::ControlFlow;

use pangea_postgres::sql;
use sqlparser::ast::{Expr, Function, ObjectName, SetExpr, Statement, TableFactor, Visit, Visitor};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

/// Functions that all of them have, with the same meaning.
const FUNCTIONS: [&str; 3] = ["coalesce", "sum", "unnest"];
/// Types that all of them have, by the same name and width. SERIAL and INT mean other widths on CockroachDB.
const TYPES: [&str; 4] = ["INT8", "BYTEA", "INT8[]", "BYTEA[]"];
/// Settings that all of them take (CockroachDB some of them without effect), or that we do without where they fail.
const SETTINGS: [&str; 8] = [
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "synchronous_commit",
    "synchronous_standby_names",
    "fsync",
    "enable_seqscan",
    "enable_bitmapscan",
];
const WISHES: [&str; 1] = ["plan_cache_mode"];

/// Words that must not stand in any statement, and why.
const DENIED: [(&str, &str); 24] = [
    ("PG_", "functions and catalogs of one engine: advisory locks do not lock on CockroachDB"),
    ("SERIAL", "widths differ, and sequences are a hot spot of distributed engines"),
    ("NEXTVAL", "sequences are a hot spot of distributed engines, and no transaction takes them back"),
    ("LISTEN", "notifications: CockroachDB has none, and poolers lose them"),
    ("NOTIFY", "notifications: CockroachDB has none"),
    ("CTID", "the place of a row: only PostgreSQL has it"),
    ("XMIN", "system columns: only PostgreSQL has them"),
    (
        "TEMP",
        "TEMPORARY too, by the parser: temporary tables: an experiment of CockroachDB's, and poolers lose them",
    ),
    ("TRIGGER", "triggers: young on CockroachDB, and logic belongs to core"),
    ("FUNCTION", "stored code: dialects differ, and logic belongs to core"),
    ("LANGUAGE", "stored code: dialects differ"),
    ("LOCK TABLE", "table locks: CockroachDB and YugabyteDB have none"),
    ("FOR UPDATE", "row locks that wait: SERIALIZABLE needs none, and engines differ in what they lock"),
    ("SKIP LOCKED", "engines differ"),
    ("DEFERRABLE", "CockroachDB does not defer"),
    ("REFERENCES", "foreign keys: the rules are core's, and each costs a read across the network"),
    ("COPY", "a protocol of its own; engines differ"),
    ("COLLATE", "bytes are compared as bytes"),
    ("LATERAL", "joins that distributed planners run row by row"),
    ("SAVEPOINT", "CockroachDB gives some of them another meaning"),
    ("RETURNING", "nothing needs it, and it keeps a pipeline from being blind"),
    ("INHERITS", "only PostgreSQL has it"),
    ("TABLESPACE", "only PostgreSQL has it"),
    ("CONCURRENTLY", "engines differ"),
];

/// Says what is outside of the subset; nothing if all is within.
fn judge(text: &str) -> Result<(), String> {
    let upper = text.to_uppercase();
    for (word, why) in DENIED {
        let found = upper.match_indices(word).any(|(at, _)| {
            let inner = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '_');
            let ends = word.ends_with('_') || !inner(upper[at + word.len()..].chars().next());
            !inner(upper[..at].chars().next_back()) && ends
        });
        if found {
            return Err(format!("{word}: {why}"));
        }
    }
    let parsed = Parser::parse_sql(&PostgreSqlDialect {}, text).map_err(|error| error.to_string())?;
    let [statement] = parsed.as_slice() else { return Err("not one statement".to_owned()) };
    match statement {
        Statement::Query(_)
        | Statement::Insert(_)
        | Statement::Delete(_)
        | Statement::StartTransaction { .. }
        | Statement::Commit { .. }
        | Statement::Rollback { .. } => {}
        Statement::CreateTable(table) => create(table)?,
        Statement::Set(_) | Statement::ShowVariable { .. } => setting(text)?,
        other => return Err(format!("a kind of statement that nobody looked at: {other}")),
    }
    match statement.visit(&mut Judge) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(why) => Err(why),
    }
}

fn setting(text: &str) -> Result<(), String> {
    let name = text.split_whitespace().nth(1).unwrap_or_default();
    let known = SETTINGS.contains(&name) || (WISHES.contains(&name) && sql::SET_WISHES.contains(&text));
    if known { Ok(()) } else { Err(format!("the setting {name}")) }
}

fn create(table: &sqlparser::ast::CreateTable) -> Result<(), String> {
    for column in &table.columns {
        let name = column.data_type.to_string();
        if !TYPES.contains(&name.as_str()) {
            return Err(format!("the type {name}"));
        }
    }
    if table.temporary {
        return Err("a temporary table".to_owned());
    }
    if !table.if_not_exists {
        return Err("making a table must be repeatable".to_owned());
    }
    let keyed = table
        .constraints
        .iter()
        .map(ToString::to_string)
        .chain(table.columns.iter().map(ToString::to_string));
    if !keyed.into_iter().any(|text| text.contains("PRIMARY KEY")) {
        return Err("a table without a primary key: distributed engines make a hidden one".to_owned());
    }
    Ok(())
}

struct Judge;

impl Visitor for Judge {
    type Break = String;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<String> {
        match expr {
            Expr::Function(Function { name, over: None, .. }) => {
                let name = name.to_string().to_lowercase();
                if FUNCTIONS.contains(&name.as_str()) {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(format!("the function {name}"))
                }
            }
            Expr::Cast { data_type, .. } => {
                let name = data_type.to_string();
                if TYPES.contains(&name.as_str()) {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(format!("the type {name}"))
                }
            }
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::Value(_)
            | Expr::BinaryOp { .. }
            | Expr::AnyOp { .. }
            | Expr::Nested(_) => ControlFlow::Continue(()),
            other => ControlFlow::Break(format!("an expression that nobody looked at: {other}")),
        }
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<String> {
        if relation.to_string().starts_with("pangea_") {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(format!("a table that is not ours: {relation}"))
        }
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<String> {
        match factor {
            TableFactor::Table { args: None, .. } => ControlFlow::Continue(()),
            other => ControlFlow::Break(format!("a source of rows that is no table: {other}")),
        }
    }

    fn pre_visit_query(&mut self, query: &sqlparser::ast::Query) -> ControlFlow<String> {
        let plain =
            matches!(*query.body, SetExpr::Select(_) | SetExpr::SetOperation { .. } | SetExpr::Values(_));
        if query.with.is_some() || !plain || !query.locks.is_empty() {
            return ControlFlow::Break("WITH, or a lock".to_owned());
        }
        ControlFlow::Continue(())
    }
}

#[test]
fn every_statement_is_within_the_subset() {
    let all = sql::all();
    assert!(all.len() > 130, "all of them are looked at: {}", all.len());
    let outside: Vec<String> =
        all.iter().filter_map(|text| judge(text).err().map(|why| format!("{text}\n    {why}"))).collect();
    assert!(outside.is_empty(), "{}", outside.join("\n"));
}

#[test]
fn what_is_outside_is_noticed() {
    for text in [
        "SELECT pg_advisory_lock(1)",
        "CREATE TEMPORARY TABLE IF NOT EXISTS pangea_x (k BYTEA PRIMARY KEY)",
        "CREATE TABLE IF NOT EXISTS pangea_x (k SERIAL PRIMARY KEY)",
        "CREATE TABLE IF NOT EXISTS pangea_x (k INT PRIMARY KEY)",
        "CREATE TABLE IF NOT EXISTS pangea_x (k BYTEA)",
        "CREATE TABLE pangea_x (k BYTEA PRIMARY KEY)",
        "CREATE TEMP TABLE IF NOT EXISTS pangea_x (k BYTEA PRIMARY KEY)",
        "LISTEN news",
        "SELECT ctid FROM pangea_head",
        "SELECT k FROM pangea_head FOR UPDATE",
        "SELECT k FROM pg_class",
        "SELECT now() FROM pangea_head",
        "SELECT k FROM generate_series(1, 2) AS k",
        "WITH x AS (SELECT 1) SELECT * FROM x",
        "SELECT k::TEXT FROM pangea_head",
        "SELECT k FROM pangea_head WHERE k LIKE 'a%'",
        "SET work_mem = '1GB'",
        "VACUUM",
        "SELECT 1; SELECT 2",
        "nonsense",
    ] {
        assert!(judge(text).is_err(), "{text} was let through");
    }
}
