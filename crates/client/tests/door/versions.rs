//! Versions: listing them page by page, and setting attributes in place.

use pangea_client::{ClientError, ListVersions, VersionEntry};
use pangea_core::meta::{Condition, VersionSelector, Versioning};

use crate::rig::Rig;

/// Every entry, `key:id` (`*` current, `x` delete marker) or `[prefix]`, read by pages of `limit`.
fn list(rig: &Rig, prefix: &str, delimiter: &str, limit: usize) -> Vec<String> {
    let (mut after, mut shown) = (None, vec![]);
    loop {
        let list = ListVersions { prefix: prefix.into(), delimiter: delimiter.into(), after, limit };
        let page = rig.run(rig.client.list_versions("b", list)).expect("listed");
        assert!(page.entries.len() <= limit);
        for entry in &page.entries {
            shown.push(match entry {
                VersionEntry::Version(key, row, current) => {
                    let (current, marker) =
                        (if *current { "*" } else { "" }, if row.delete_marker { "x" } else { "" });
                    format!("{}:{}{current}{marker}", String::from_utf8_lossy(key), row.size)
                }
                VersionEntry::Prefix(prefix) => format!("[{}]", String::from_utf8_lossy(prefix)),
            });
        }
        after = page.entries.last().map(|entry| match entry {
            VersionEntry::Version(key, row, _) => (key.clone(), Some(VersionSelector::Id(row.id))),
            VersionEntry::Prefix(prefix) => (prefix.clone(), None),
        });
        if !page.more {
            return shown;
        }
    }
}

fn filled() -> Rig {
    let rig = Rig::new(1);
    rig.put("a", b"1").expect("put");
    rig.run(rig.client.set_versioning("b", Versioning::Enabled)).expect("switched on");
    for (key, size) in [("a", 2), ("a", 3), ("d/x", 4), ("d/x", 5), ("d/y", 6), ("e", 7)] {
        rig.put(key, &vec![0; size]).expect("put");
    }
    let delete = rig.client.delete_object("b", b"d/y", VersionSelector::Current, Condition::default());
    rig.run(delete).expect("a marker");
    rig
}

#[test]
fn pages_of_versions_have_no_gaps_whatever_their_size() {
    let rig = filled();
    for limit in 1..12 {
        let all = ["a:3*", "a:2", "a:1", "d/x:5*", "d/x:4", "d/y:0*x", "d/y:6", "e:7*"];
        assert_eq!(list(&rig, "", "", limit), all, "{limit}");
        assert_eq!(list(&rig, "", "/", limit), ["a:3*", "a:2", "a:1", "[d/]", "e:7*"], "{limit}");
        assert_eq!(list(&rig, "d/", "/", limit), ["d/x:5*", "d/x:4", "d/y:0*x", "d/y:6"], "{limit}");
        assert!(list(&rig, "z", "", limit).is_empty());
    }
}

#[test]
fn a_version_that_is_gone_restarts_its_key() {
    let rig = filled();
    let gone = VersionSelector::Id(rig.client.draw_version());
    let list = ListVersions { after: Some((b"a".to_vec(), Some(gone))), limit: 2, ..ListVersions::default() };
    let page = rig.run(rig.client.list_versions("b", list)).expect("listed");
    let sizes: Vec<u64> = page
        .entries
        .iter()
        .filter_map(|entry| match entry {
            VersionEntry::Version(_, row, _) => Some(row.size),
            VersionEntry::Prefix(_) => None,
        })
        .collect();
    assert_eq!((sizes, page.more), (vec![3, 2], true));
}

#[test]
fn an_attribute_is_set_and_removed_without_a_new_version() {
    let rig = filled();
    let before = list(&rig, "", "", 100);
    let set = |key: &str, version, value: Option<&str>| {
        let attribute = ("x-amz-tagging".to_owned(), value.map(str::to_owned));
        rig.run(rig.client.set_attribute("b", key.as_bytes(), version, attribute))
    };
    let tags = |key: &str, version| {
        let object = rig.run(rig.client.object("b", key.as_bytes(), version)).expect("there");
        object
            .version
            .attributes
            .into_iter()
            .find(|(name, _)| name == "x-amz-tagging")
            .map(|(_, value)| value)
    };
    assert!(set("a", VersionSelector::Null, Some("k=v")).expect("there").expect("versioned").1);
    assert_eq!(tags("a", VersionSelector::Null).as_deref(), Some("k=v"));
    assert_eq!(tags("a", VersionSelector::Current), None);
    set("a", VersionSelector::Null, None).expect("there");
    assert_eq!(tags("a", VersionSelector::Null), None);
    assert_eq!(list(&rig, "", "", 100), before);
    let unknown = VersionSelector::Id(rig.client.draw_version());
    assert!(matches!(set("a", unknown, None), Err(ClientError::NoSuchVersion)));
    for none in ["none", "d/y"] {
        let refused = set(none, VersionSelector::Current, None);
        assert!(matches!(refused, Err(ClientError::NoSuchKey { .. })), "{none}");
    }
}
