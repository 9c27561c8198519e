//! Reasons: what a command can contradict itself in. Each is the text of a `Refusal::Invalid`.
//!
//! Kept outcomes hold the text, so a reason is added here and never reworded.

macro_rules! reasons {
    ($($name:ident = $text:literal;)+) => {
        $(#[doc = concat!("“", $text, "”")] pub const $name: &str = $text;)+

        /// All of them.
        pub const ALL: &[&str] = &[$($name),+];
    };
}

reasons! {
    UNKNOWN = "a reason that this version does not know";
    BUCKET_ID_TAKEN = "the bucket id is taken";
    BUCKET_KEY_GENERATION = "bucket key generations count up from 1";
    VERSIONING_OFF = "versioning never goes back to off";
    VERSION_ID_ZERO = "a version id is never zero";
    VERSION_ID_TAKEN = "the key has a version of that id";
    VERSION_SIZE = "the version's size is not its content's";
    VERSION_CONTENT = "the version does not point at the blob it brings";
    EXTENT_OUTSIDE = "a slice reaches past its blob";
    BLOB_ID_ZERO = "a blob id is never zero";
    BLOB_ID_TAKEN = "the blob id is taken";
    BLOB_REFS_MAX = "the blob has as many references as there can be";
    BLOB_COMPOSITE = "a composite comes only with completing an upload";
    COMPOSITE_PARTS = "the composite is not the listed parts";
    SPILL = "the spilled blob is not the one that the body names";
    TODO_CHUNK = "a todo is of another blob than the one brought";
    UPLOAD_ID_TAKEN = "the upload id is taken";
    PART_NUMBER = "part numbers are 1 to 10,000";
    PART_CONTENT = "the part does not point at the blob it brings";
    PURGE_REFERENCED = "a purged blob is referenced";
    PURGE_SLICES = "the slices are not those of the spilled list";
    WRITE_FLOOR = "the write floor is four bytes";
    PACK_BODY = "a pack is a blob in chunks whose manifest fits its row";
    PACK_ITEM = "the content is no item of the pack";
    LEASE_HOLDER = "a lease holder is never zero";
}
