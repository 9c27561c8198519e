//! What a request wants to do, and whether it may: one table, one pure function, deny by default.
//!
//! An operation that is not in the table cannot be reached, whoever asks: whoever adds a verb decides here first.

use crate::auth::{Principal, Scope};
use crate::grants::Right;

/// What an operation does, as far as permission is concerned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Sees which buckets there are; each is asked for on its own.
    ListBuckets,
    /// Makes a bucket.
    MakeBucket,
    /// Removes or reconfigures a bucket.
    ManageBucket,
    /// Sees that a bucket exists, where it is and how it is configured.
    SeeBucket,
    /// Sees keys, versions, uploads and parts.
    List,
    /// Reads objects.
    Read,
    /// Writes objects and parts; gives uploads up.
    Write,
    /// Deletes objects.
    Delete,
}

/// What an action is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target<'a> {
    /// The bucket; empty where the action has none.
    pub(crate) bucket: &'a str,
    /// Who made it, if that is known.
    pub(crate) owner: Option<&'a str>,
    /// The key, or what the keys of a listing begin with; empty where the action has none.
    pub(crate) key: &'a str,
}

/// Every operation that exists here, and what it does to the bucket and key in its address. Copy sources and the keys
/// of a DeleteObjects are asked for one by one in their verbs.
const ACTIONS: [(&str, Action); 62] = [
    ("AbortMultipartUpload", Action::Write),
    ("CompleteMultipartUpload", Action::Write),
    ("CopyObject", Action::Write),
    ("CreateBucket", Action::MakeBucket),
    ("CreateMultipartUpload", Action::Write),
    ("DeleteBucket", Action::ManageBucket),
    ("DeleteBucketCors", Action::ManageBucket),
    ("DeleteBucketEncryption", Action::ManageBucket),
    ("DeleteBucketLifecycle", Action::ManageBucket),
    ("DeleteBucketPolicy", Action::ManageBucket),
    ("DeleteBucketReplication", Action::ManageBucket),
    ("DeleteBucketTagging", Action::ManageBucket),
    ("DeleteBucketWebsite", Action::ManageBucket),
    ("DeleteObject", Action::Delete),
    ("DeleteObjectTagging", Action::Write),
    ("DeleteObjects", Action::SeeBucket),
    ("GetBucketAccelerateConfiguration", Action::SeeBucket),
    ("GetBucketAcl", Action::SeeBucket),
    ("GetBucketCors", Action::SeeBucket),
    ("GetBucketEncryption", Action::SeeBucket),
    ("GetBucketLifecycleConfiguration", Action::SeeBucket),
    ("GetBucketLocation", Action::SeeBucket),
    ("GetBucketLogging", Action::SeeBucket),
    ("GetBucketNotificationConfiguration", Action::SeeBucket),
    ("GetBucketOwnershipControls", Action::SeeBucket),
    ("GetBucketPolicy", Action::SeeBucket),
    ("GetBucketPolicyStatus", Action::SeeBucket),
    ("GetBucketReplication", Action::SeeBucket),
    ("GetBucketRequestPayment", Action::SeeBucket),
    ("GetBucketTagging", Action::SeeBucket),
    ("GetBucketVersioning", Action::SeeBucket),
    ("GetBucketWebsite", Action::SeeBucket),
    ("GetObject", Action::Read),
    ("GetObjectAcl", Action::Read),
    ("GetObjectAttributes", Action::Read),
    ("GetObjectLegalHold", Action::Read),
    ("GetObjectLockConfiguration", Action::SeeBucket),
    ("GetObjectRetention", Action::Read),
    ("GetObjectTagging", Action::Read),
    ("GetPublicAccessBlock", Action::SeeBucket),
    ("HeadBucket", Action::SeeBucket),
    ("HeadObject", Action::Read),
    ("ListBuckets", Action::ListBuckets),
    ("ListMultipartUploads", Action::List),
    ("ListObjectVersions", Action::List),
    ("ListObjects", Action::List),
    ("ListObjectsV2", Action::List),
    ("ListParts", Action::List),
    ("PostObject", Action::Write),
    ("PutBucketAcl", Action::ManageBucket),
    ("PutBucketCors", Action::ManageBucket),
    ("PutBucketEncryption", Action::ManageBucket),
    ("PutBucketOwnershipControls", Action::ManageBucket),
    ("PutBucketRequestPayment", Action::ManageBucket),
    ("PutBucketTagging", Action::ManageBucket),
    ("PutBucketVersioning", Action::ManageBucket),
    ("PutObject", Action::Write),
    ("PutObjectAcl", Action::Write),
    ("PutObjectTagging", Action::Write),
    ("PutPublicAccessBlock", Action::ManageBucket),
    ("UploadPart", Action::Write),
    ("UploadPartCopy", Action::Write),
];

/// What the operation of that S3 name does; `None`: there is no such operation here.
pub(crate) fn action(operation: &str) -> Option<Action> {
    ACTIONS.iter().find(|(name, _)| *name == operation).map(|(_, action)| *action)
}

/// Whether `principal` may do `action` to that target: the one place where this is decided.
///
/// The root key may do everything, every other key what its grants say, and nothing else.
pub(crate) fn allowed(principal: &Principal, action: Action, target: Target<'_>) -> bool {
    let grants = match &principal.scope {
        Scope::Root => return true,
        Scope::Granted(grants) => grants,
    };
    let own = target.owner == Some(principal.access_key.as_str());
    let cover = |right| grants.cover(right, target.bucket, own, target.key);
    match action {
        Action::ListBuckets => !grants.is_empty(),
        // Whoever makes a bucket is its owner.
        Action::MakeBucket => grants.cover(Right::Manage, target.bucket, true, ""),
        Action::ManageBucket => grants.cover(Right::Manage, target.bucket, own, ""),
        Action::SeeBucket => grants.mention(target.bucket, own),
        Action::List => cover(Right::List),
        Action::Read => cover(Right::Read),
        Action::Write => cover(Right::Write),
        Action::Delete => cover(Right::Delete),
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
