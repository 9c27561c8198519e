//! Who may do what: every operation of the table, for keys of every kind.

use std::sync::Arc;

use super::{ACTIONS, Action, Target, action, allowed};
use crate::auth::{Principal, Scope};
use crate::grants::Grants;

fn principal(grants: &[&str]) -> Principal {
    let grants = Grants::parse(grants).expect("valid grants");
    Principal { access_key: "me".into(), scope: Scope::Granted(Arc::new(grants)) }
}

/// Bucket, who made it, key.
const TARGETS: [(&str, &str, &str); 5] =
    [("b", "you", "p/k"), ("b", "you", "q/k"), ("b", "me", "p/k"), ("c", "you", "p/k"), ("c", "me", "")];

/// The actions that those grants allow on a target, one letter each.
fn may(grants: &[&str], (bucket, owner, key): (&str, &str, &str)) -> String {
    let letters = [
        (Action::ListBuckets, 'B'),
        (Action::MakeBucket, 'M'),
        (Action::ManageBucket, 'm'),
        (Action::SeeBucket, 's'),
        (Action::List, 'l'),
        (Action::Read, 'r'),
        (Action::Write, 'w'),
        (Action::Delete, 'd'),
    ];
    let (principal, target) = (principal(grants), Target { bucket, owner: Some(owner), key });
    letters
        .iter()
        .filter(|(action, _)| allowed(&principal, *action, target))
        .map(|(_, letter)| *letter)
        .collect()
}

#[test]
fn grants_allow_what_they_say_and_nothing_else() {
    let cases: [(&[&str], [&str; 5]); 13] = [
        (&[], ["", "", "", "", ""]),
        (&["read:b"], ["Bsr", "Bsr", "Bsr", "B", "B"]),
        (&["read:b/p/"], ["Bsr", "Bs", "Bsr", "B", "B"]),
        (&["write:b/p/", "list:b"], ["Bslw", "Bsl", "Bslw", "B", "B"]),
        (&["delete:*"], ["Bsd", "Bsd", "Bsd", "Bsd", "Bsd"]),
        (&["manage:c"], ["B", "B", "B", "BMms", "BMms"]),
        (&["all:b"], ["BMmslrwd", "BMmslrwd", "BMmslrwd", "B", "B"]),
        (&["all:b/p/"], ["Bslrwd", "Bs", "Bslrwd", "B", "B"]),
        (&["all:*"], ["BMmslrwd", "BMmslrwd", "BMmslrwd", "BMmslrwd", "BMmslrwd"]),
        (&["all:@own"], ["BM", "BM", "BMmslrwd", "BM", "BMmslrwd"]),
        (&["read,list:@own"], ["B", "B", "Bslr", "B", "Bslr"]),
        (&["read:@own", "write:c"], ["B", "B", "Bsr", "Bsw", "Bsrw"]),
        (&["list:bb", "read:a*"], ["B", "B", "B", "B", "B"]),
    ];
    for (grants, expected) in cases {
        for (target, expected) in TARGETS.into_iter().zip(expected) {
            assert_eq!(may(grants, target), expected, "{grants:?} on {target:?}");
        }
    }
}

#[test]
fn every_operation_is_allowed_by_its_right_and_by_no_other() {
    let (own, other) = (Some("me"), Some("you"));
    for (operation, expected) in ACTIONS {
        assert_eq!(action(operation), Some(expected));
        let right = match expected {
            Action::ListBuckets | Action::SeeBucket => None,
            Action::MakeBucket | Action::ManageBucket => Some("manage"),
            Action::List => Some("list"),
            Action::Read => Some("read"),
            Action::Write => Some("write"),
            Action::Delete => Some("delete"),
        };
        let root = Principal { access_key: "r".into(), scope: Scope::Root };
        assert!(allowed(&root, expected, Target { bucket: "b", owner: other, key: "k" }), "{operation}");
        for given in ["read", "write", "list", "delete", "manage"] {
            let fits = right.is_none_or(|right| right == given);
            for (place, owner, key, inside) in [
                ("b", other, "k", true),
                ("b", None, "k", true),
                ("c", other, "k", false),
                ("@own", own, "k", true),
                ("b/k", other, "k", true),
                ("b/x", other, "k", false),
            ] {
                if place.contains('/') && given == "manage" {
                    continue;
                }
                let grants = principal(&[&format!("{given}:{place}")]);
                let told = allowed(&grants, expected, Target { bucket: "b", owner, key });
                // Where no key is asked for, a prefix makes no difference.
                let inside = inside
                    || expected == Action::ListBuckets
                    || expected == Action::SeeBucket && place.starts_with("b/");
                assert_eq!(told, fits && inside, "{operation} by {given}:{place}");
            }
        }
        let nobody = principal(&[]);
        assert!(!allowed(&nobody, expected, Target { bucket: "b", owner: own, key: "k" }), "{operation}");
    }
}

#[test]
fn an_operation_outside_the_table_does_not_exist() {
    for operation in ["GetObjectTorrent", "PutBucketPolicy", "getobject", ""] {
        assert_eq!(action(operation), None, "{operation}");
    }
}
