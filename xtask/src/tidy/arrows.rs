//! Arrows: which crate may use which. The table is the block ```` ```arrows ```` in ARCHITECTURE.md.
//!
//! A line reads `gateway, admin > client, meta`: the left may use the right. `anything` on the right lifts the rule,
//! `nothing` states that there is none. What is missing is forbidden. Tests may use what they like.

use std::collections::BTreeMap;

use super::Finding;
use crate::project::Member;

/// Where the table stands.
pub const TABLE: &str = "ARCHITECTURE.md";

const OPENING: &str = "```arrows";
const PREFIX: &str = "pangea-";
const ANYTHING: &str = "anything";
const NOTHING: &str = "nothing";

/// Compares the table with what the crates declare.
pub fn check(page: &str, members: &[Member]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let allowed = table(page, &mut findings);
    let short = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_string();
    let names: Vec<String> = members.iter().map(|member| short(&member.name)).collect();

    for (left, rights) in &allowed {
        for name in [left].into_iter().chain(rights) {
            if !names.contains(name) && name != ANYTHING && name != NOTHING {
                findings.push(Finding::new(
                    TABLE,
                    0,
                    format!("the arrows name {name:?}, which is no crate of ours"),
                ));
            }
        }
    }
    for member in members {
        let Some(rights) = allowed.get(&short(&member.name)) else {
            findings.push(Finding::new(TABLE, 0, format!("the arrows lack a line for {}", member.name)));
            continue;
        };
        for need in member.needs.iter().filter(|need| !need.dev) {
            let need = short(&need.name);
            if names.contains(&need)
                && !rights.contains(&need)
                && !rights.iter().any(|right| right == ANYTHING)
            {
                let what = format!("{} may not use {need}: no such arrow", short(&member.name));
                findings.push(Finding::new(TABLE, 0, what));
            }
        }
    }
    findings
}

/// The right side of every name on a left side.
fn table(page: &str, findings: &mut Vec<Finding>) -> BTreeMap<String, Vec<String>> {
    let mut allowed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut inside = false;
    for (index, line) in page.lines().enumerate() {
        match (inside, line.trim()) {
            (false, OPENING) => inside = true,
            (true, "```") => inside = false,
            (true, line) if !line.is_empty() => match line.split_once('>') {
                Some((left, right)) => {
                    for left in list(left) {
                        allowed.entry(left).or_default().extend(list(right));
                    }
                }
                None => findings.push(Finding::new(
                    TABLE,
                    index + 1,
                    "an arrow reads `left, left > right, right`",
                )),
            },
            _ => {}
        }
    }
    if allowed.is_empty() {
        findings.push(Finding::new(TABLE, 0, format!("there is no block {OPENING} with arrows")));
    }
    allowed
}

fn list(names: &str) -> Vec<String> {
    names.split(',').map(|name| name.trim().to_string()).filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::project::Dependency;

    fn member(name: &str, needs: &[&str], dev: &[&str]) -> Member {
        let need = |name: &&str, dev| Dependency { name: name.to_string(), dev };
        let needs = needs.iter().map(|name| need(name, false)).chain(dev.iter().map(|name| need(name, true)));
        Member { name: name.to_string(), needs: needs.collect() }
    }

    fn complaints(table: &str, members: &[Member]) -> Vec<String> {
        let page = format!("# Title\n{OPENING}\n{table}\n```\nafter > ignored\n");
        check(&page, members).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn allowed_arrows_foreign_crates_and_tests_pass() {
        let members = [
            member("pangea-core", &["bytes"], &[]),
            member("pangea-store", &["pangea-core"], &["pangea-sim"]),
            member("pangea-sim", &["pangea-store", "pangea-core"], &[]),
        ];
        let table = "core > nothing\nstore > core\nsim > anything";
        assert_eq!(complaints(table, &members), Vec::<String>::new());
    }

    #[test]
    fn a_missing_arrow_a_missing_line_and_an_unknown_name_are_found() {
        let members = [member("pangea-core", &["pangea-store"], &[]), member("pangea-store", &[], &[])];
        assert_eq!(
            complaints("core > nothing\nstore > nothing", &members),
            ["core may not use store: no such arrow"]
        );
        assert_eq!(complaints("core > store", &members), ["the arrows lack a line for pangea-store"]);
        let unknown = complaints("core, shop > store\nstore > nothing", &members);
        assert_eq!(unknown, ["the arrows name \"shop\", which is no crate of ours"]);
    }

    #[test]
    fn a_page_without_a_table_and_a_line_without_an_arrow_are_found() {
        assert!(check("# Title\n", &[])[0].what.contains("no block"));
        assert!(complaints("core store", &[])[0].contains("an arrow reads"));
    }
}
