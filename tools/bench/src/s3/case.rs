//! Cases: what is measured, by name: `VERB-SIZE-CONCURRENCY`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use crate::payload::ObjectSize;

/// The most connections of one case.
pub const CONCURRENCY_MAX: usize = 256;

/// The cells of the project's speed table; a run without `--case` measures all of them.
const ALL: [&str; 33] = [
    "PUT-4KiB-1",
    "PUT-4KiB-4",
    "PUT-4KiB-16",
    "PUT-64KiB-1",
    "PUT-64KiB-4",
    "PUT-64KiB-16",
    "PUT-1MiB-1",
    "PUT-1MiB-4",
    "PUT-1MiB-16",
    "PUT-64MiB-1",
    "PUT-64MiB-4",
    "PUT-64MiB-16",
    "GET-4KiB-1",
    "GET-4KiB-4",
    "GET-4KiB-16",
    "GET-64KiB-1",
    "GET-64KiB-4",
    "GET-64KiB-16",
    "GET-1MiB-1",
    "GET-1MiB-4",
    "GET-1MiB-16",
    "GET-64MiB-1",
    "GET-64MiB-4",
    "GET-64MiB-16",
    "HEAD-4KiB-1",
    "HEAD-4KiB-4",
    "HEAD-4KiB-16",
    "DELETE-4KiB-1",
    "DELETE-4KiB-4",
    "DELETE-4KiB-16",
    "MIXED-1MiB-20",
    "CREATE-1KiB-16",
    "LIST-1KiB-1",
];

/// What is done in a case.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// New keys.
    Put,
    /// Objects that were written before; every byte is compared.
    Get,
    /// Metadata of the same objects.
    Head,
    /// Objects that were written just before.
    Delete,
    /// 45 % GET, 30 % HEAD, 15 % PUT, 10 % DELETE.
    Mixed,
    /// A fixed number of objects, until all are there.
    Create,
    /// Pages of 1,000 keys over everything that `Create` made.
    List,
}

const VERBS: [(Verb, &str); 7] = [
    (Verb::Put, "PUT"),
    (Verb::Get, "GET"),
    (Verb::Head, "HEAD"),
    (Verb::Delete, "DELETE"),
    (Verb::Mixed, "MIXED"),
    (Verb::Create, "CREATE"),
    (Verb::List, "LIST"),
];

/// One cell of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Case {
    /// What is done.
    pub verb: Verb,
    /// With objects of this size.
    pub size: ObjectSize,
    /// Over so many connections, each with one request at a time.
    pub concurrency: usize,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = VERBS.iter().find(|(verb, _)| *verb == self.verb).map_or("", |(_, name)| *name);
        write!(f, "{verb}-{}-{}", self.size, self.concurrency)
    }
}

impl FromStr for Case {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut parts = text.split('-');
        let (Some(name), Some(size), Some(concurrency), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            bail!("not a case: {text:?} (PUT-4KiB-1, or a verb alone for all of its cases)");
        };
        let (verb, _) = VERBS
            .into_iter()
            .find(|(_, known)| *known == name)
            .with_context(|| format!("no such verb: {name:?}"))?;
        let concurrency = concurrency.parse().with_context(|| format!("{text}: not a concurrency"))?;
        ensure!(
            (1..=CONCURRENCY_MAX).contains(&concurrency),
            "{text}: concurrency is 1 to {CONCURRENCY_MAX}"
        );
        Ok(Self { verb, size: size.parse()?, concurrency })
    }
}

/// The named cases; a verb alone means all of its cases, no name at all means the whole table.
pub fn chosen(names: &[String]) -> Result<Vec<Case>> {
    if names.is_empty() {
        return ALL.iter().map(|name| name.parse()).collect();
    }
    let mut cases = Vec::new();
    for name in names {
        let mut of_verb = ALL.iter().filter(|case| case.split('-').next() == Some(name)).peekable();
        if of_verb.peek().is_none() {
            cases.push(name.parse()?);
        }
        for case in of_verb {
            cases.push(case.parse()?);
        }
    }
    Ok(cases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_well_formed_and_names_are_their_own_display() {
        let cases = chosen(&[]).expect("the table");
        assert_eq!(cases.iter().map(Case::to_string).collect::<Vec<_>>(), ALL);
    }

    #[test]
    fn names_choose_one_cell_and_verbs_a_column() {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let cases = chosen(&names(&["DELETE", "PUT-3KiB-7"])).expect("known");
        let written: Vec<String> = cases.iter().map(Case::to_string).collect();
        assert_eq!(written, ["DELETE-4KiB-1", "DELETE-4KiB-4", "DELETE-4KiB-16", "PUT-3KiB-7"]);
        for wrong in [
            "",
            "PUT-",
            "PUT-4KiB",
            "PUT-4KiB-0",
            "PUT-4KiB-257",
            "PUT-65MiB-1",
            "put-4KiB-1",
            "PUT-4KiB-1-1",
        ] {
            assert!(chosen(&names(&[wrong])).is_err(), "{wrong:?}");
        }
    }
}
