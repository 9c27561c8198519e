//! What a request wants to do, and whether it may: one table, one pure function, deny by default.
//!
//! An operation that is not in the table cannot be reached, whoever asks: whoever adds a verb decides here first.

use crate::auth::Principal;

/// What an operation does, as far as permission is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Sees which buckets there are.
    ListBuckets,
    /// Makes, removes or reconfigures a bucket.
    ManageBucket,
    /// Sees that a bucket exists, where it is and how it is configured.
    SeeBucket,
    /// Sees keys, uploads and parts.
    List,
    /// Reads objects.
    Read,
    /// Writes objects and parts.
    Write,
    /// Deletes objects; gives uploads up.
    Delete,
}

/// Every operation that exists here, and what it does to the bucket and key in its address. Copy sources and the keys
/// of a DeleteObjects are asked for one by one in their verbs.
const ACTIONS: [(&str, Action); 23] = [
    ("AbortMultipartUpload", Action::Delete),
    ("CompleteMultipartUpload", Action::Write),
    ("CopyObject", Action::Write),
    ("CreateBucket", Action::ManageBucket),
    ("CreateMultipartUpload", Action::Write),
    ("DeleteBucket", Action::ManageBucket),
    ("DeleteObject", Action::Delete),
    ("DeleteObjects", Action::SeeBucket),
    ("GetBucketLocation", Action::SeeBucket),
    ("GetBucketVersioning", Action::SeeBucket),
    ("GetObject", Action::Read),
    ("GetObjectTagging", Action::Read),
    ("HeadBucket", Action::SeeBucket),
    ("HeadObject", Action::Read),
    ("ListBuckets", Action::ListBuckets),
    ("ListMultipartUploads", Action::List),
    ("ListObjects", Action::List),
    ("ListObjectsV2", Action::List),
    ("ListParts", Action::List),
    ("PutBucketVersioning", Action::ManageBucket),
    ("PutObject", Action::Write),
    ("UploadPart", Action::Write),
    ("UploadPartCopy", Action::Write),
];

/// What the operation of that S3 name does; `None`: there is no such operation here.
pub(crate) fn action(operation: &str) -> Option<Action> {
    ACTIONS.iter().find(|(name, _)| *name == operation).map(|(_, action)| *action)
}

/// Whether `principal` may do `action` on that bucket and key (empty where the action has none).
///
/// The root key may do everything, every other key nothing: scoped grants come with access keys, and belong here.
pub(crate) fn allowed(principal: &Principal, action: Action, _bucket: &str, _key: &str) -> bool {
    match action {
        Action::ListBuckets
        | Action::ManageBucket
        | Action::SeeBucket
        | Action::List
        | Action::Read
        | Action::Write
        | Action::Delete => principal.root,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_key_may_do_anything_and_it_may_do_everything() {
        for (operation, expected) in ACTIONS {
            assert_eq!(action(operation), Some(expected));
            for root in [true, false] {
                let principal = Principal { access_key: "k".into(), root };
                assert_eq!(allowed(&principal, expected, "b", "key"), root, "{operation}");
            }
        }
    }

    #[test]
    fn an_operation_outside_the_table_does_not_exist() {
        for operation in ["GetObjectTorrent", "PutBucketPolicy", "getobject", ""] {
            assert_eq!(action(operation), None, "{operation}");
        }
    }
}
