//! Histories: random but reproducible requests that exercise every command, mostly sensibly, sometimes absurdly.
//!
//! Owns a small generator of its own (the same seed gives the same requests for ever, on every platform). It looks at a
//! reference state to know what exists, so that most commands succeed. Used by this crate's tests, by the differential
//! suite of every engine and by the simulator; never in production.

mod packs;

use super::command::{Command, Condition, NewBlob, NewVersion, PartRef, Request, VersionSelector};
use super::memory::MemoryTables;
use super::read;
use super::row::{
    AccessKeyRow, BlobBody, BucketKeyRow, BucketRow, Content, ETag, Extent, PartRow, TodoRow, UploadRow,
    Versioning,
};
use crate::chunk::Code;
use crate::id::{BlobId, BucketId, ChunkId, DriveId, LeaseId, RequestId, UploadId, VersionId};
use crate::keys::{KeyRef, WrappedKey};

/// Names and keys come from small pools, so that commands meet.
const BUCKET_NAMES: [&str; 4] = ["alpha", "beta", "gamma", QUIET];
/// This bucket is seldom written to, so that it can be deleted.
const QUIET: &str = "quiet";
const KEYS: [&[u8]; 6] = [b"", b"a", b"a\0", b"a/b", b"b\xff", b"c"];
const NAMES: [&str; 3] = ["gc", "scrub/1", "layout/1"];

/// A source of requests.
#[derive(Clone, Debug)]
pub struct History {
    state: u64,
    now_ms: u64,
    last: Option<Request>,
}

impl History {
    /// The history of that seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, now_ms: 1_000_000_000_000, last: None }
    }

    /// The next request; `model` is the state that the requests so far led to.
    pub fn next(&mut self, model: &MemoryTables) -> Request {
        if self.one_in(20)
            && let Some(last) = &self.last
        {
            return last.clone(); // a retry
        }
        self.now_ms += self.below(5_000);
        if self.one_in(300) {
            self.now_ms += 30 * 3600 * 1000;
        }
        let request = Request { id: RequestId(self.id()), now_ms: self.now_ms, command: self.command(model) };
        self.last = Some(request.clone());
        request
    }

    /// A random number below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        // splitmix64
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn pick<X: Clone>(&mut self, from: &[X]) -> Option<X> {
        if from.is_empty() { None } else { from.get(self.below(from.len() as u64) as usize).cloned() }
    }

    fn id(&mut self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.below(u64::MAX).to_be_bytes());
        id[8..].copy_from_slice(&self.below(u64::MAX).to_be_bytes());
        id
    }

    fn command(&mut self, model: &MemoryTables) -> Command {
        match self.below(100) {
            0..4 => self.create_bucket(),
            4..10 => self.bucket_command(model),
            10..30 => self.put_version(model),
            30..31 => self.set_attribute(model),
            31..32 => self.replace_content(model),
            32..37 => self.put_pack(model),
            37..40 => self.move_packed(model),
            40..55 => self.delete_version(model),
            55..59 => self.create_upload(model),
            59..72 => self.put_part(model),
            72..78 => self.complete_upload(model),
            78..80 => self.abort_upload(model),
            80..86 => self.stripe_command(model),
            86..91 => self.purge(model),
            91..96 => self.lease_command(),
            _ => self.cluster_command(model),
        }
    }

    fn name(&mut self) -> String {
        BUCKET_NAMES[self.below(4) as usize].to_owned()
    }

    fn key(&mut self) -> Vec<u8> {
        KEYS[self.below(6) as usize].to_vec()
    }

    /// An existing bucket, or (seldom) one that never was.
    fn bucket(&mut self, model: &MemoryTables) -> BucketId {
        let Ok(mut buckets) = read::buckets(model, None, 10);
        buckets.retain(|bucket| bucket.name != QUIET || self.one_in(40));
        match self.pick(&buckets) {
            Some(bucket) if !self.one_in(40) => bucket.id,
            _ => BucketId([9; 16]),
        }
    }

    fn wrapped(&mut self) -> WrappedKey {
        let mut sealed = [0; 48];
        sealed[..16].copy_from_slice(&self.id());
        WrappedKey { nonce: [1; 12], sealed }
    }

    fn bucket_key(&mut self) -> BucketKeyRow {
        BucketKeyRow { master_generation: self.below(3) as u32, wrapped: self.wrapped() }
    }

    fn create_bucket(&mut self) -> Command {
        let id = if self.one_in(5) { BucketId([5; 16]) } else { BucketId(self.id()) };
        let bucket = BucketRow {
            id,
            name: self.name(),
            created_ms: self.now_ms,
            owner: "root".to_owned(),
            code: Code::new(2 + self.below(8) as u8, 2),
            region_pin: String::new(),
            versioning: Versioning::Off,
            key_generation: 1,
            documents: Vec::new(),
        };
        Command::CreateBucket { bucket, key: self.bucket_key() }
    }

    fn bucket_command(&mut self, model: &MemoryTables) -> Command {
        let name = self.name();
        match self.below(10) {
            9 => {
                let settings = NAMES[..2].iter().map(|name| {
                    let Ok(known) = read::setting(model, name);
                    let expected = if self.one_in(6) { 7 } else { known.map_or(0, |(revision, _)| revision) };
                    ((*name).to_owned(), expected, self.id().to_vec())
                });
                Command::SetSettings { settings: settings.collect() }
            }
            8 => Command::SetCode { name, code: Code::new(1 + self.below(9) as u8, self.below(4) as u8) },
            0 => Command::DeleteBucket { name },
            1..4 => {
                let all = [Versioning::Off, Versioning::Enabled, Versioning::Suspended];
                Command::SetVersioning { name, versioning: all[self.below(3) as usize] }
            }
            4..6 => {
                let value = if self.one_in(3) { None } else { Some(self.id().to_vec()) };
                Command::SetDocument { name, document: format!("doc{}", self.below(3)), value }
            }
            _ => {
                let bucket = self.bucket(model);
                Command::PutBucketKey { bucket, generation: 1 + self.below(4) as u32, key: self.bucket_key() }
            }
        }
    }

    fn etag(&mut self) -> ETag {
        ETag { md5: [self.below(4) as u8; 16], parts: 0 }
    }

    fn condition(&mut self) -> Condition {
        let asked = if self.one_in(2) { None } else { Some(self.etag()) };
        match self.below(8) {
            0 => Condition { if_match: Some(asked), if_none_match: None },
            1 => Condition { if_match: None, if_none_match: Some(asked) },
            _ => Condition::default(),
        }
    }

    fn blob_id(&mut self, model: &MemoryTables) -> BlobId {
        if self.one_in(40) {
            return self.existing_blob(model).map_or(BlobId::ZERO, |(id, _)| id);
        }
        BlobId(self.id())
    }

    fn existing_blob(&mut self, model: &MemoryTables) -> Option<(BlobId, u64)> {
        let after = BlobId(self.id());
        let Ok(mut found) = read::blobs(model, Some(after), 1);
        if found.is_empty() {
            let Ok(first) = read::blobs(model, None, 1);
            found = first;
        }
        found.pop().map(|(id, row)| (id, row.len))
    }

    fn new_blob(&mut self, model: &MemoryTables) -> NewBlob {
        let id = self.blob_id(model);
        let len = self.below(1 << 20);
        let (body, spill) = match self.below(4) {
            0 | 1 => {
                let key = KeyRef { bucket: BucketId([5; 16]), generation: 1 };
                (BlobBody::Inline { key, sealed: self.id().to_vec() }, None)
            }
            2 => (BlobBody::Chunked { manifest: self.id().to_vec() }, None),
            _ => {
                let manifest = BlobId(self.id());
                let spill = (manifest, 50_000, BlobBody::Chunked { manifest: self.id().to_vec() });
                (BlobBody::ChunkedSpilled { manifest, manifest_len: 50_000 }, Some(spill))
            }
        };
        let chunk = ChunkId { blob: id, chunk: self.below(3) as u32 };
        let todos = if self.one_in(4) { vec![(chunk, self.todo_row())] } else { Vec::new() };
        NewBlob { id, len, body, spill, todos, layout_epoch: self.below(6) as u32 }
    }

    fn attributes(&mut self) -> Vec<(String, String)> {
        if self.one_in(2) {
            Vec::new()
        } else {
            vec![("content-type".to_owned(), format!("x/{}", self.below(9)))]
        }
    }

    fn version_of(&mut self, content: Content) -> NewVersion {
        let size = match &content {
            Content::Empty => 0,
            Content::Blob(extent) => extent.len,
            Content::Packed(item) => item.at.len.min(4_000),
        };
        let id = if self.one_in(60) { VersionId([3; 16]) } else { VersionId(self.id()) };
        let size = if self.one_in(60) { size + 1 } else { size };
        NewVersion {
            id,
            size,
            etag: self.etag(),
            content,
            attributes: self.attributes(),
            part_sizes: Vec::new(),
        }
    }

    /// A slice of an existing blob, nearly always within it.
    fn slice(&mut self, model: &MemoryTables) -> Option<Extent> {
        let (blob, len) = self.existing_blob(model)?;
        if self.one_in(30) {
            return Some(Extent { blob, offset: u64::MAX - 1, len: 9 });
        }
        let offset = self.below(len + 1);
        Some(Extent { blob, offset, len: len - offset })
    }

    fn put_version(&mut self, model: &MemoryTables) -> Command {
        let mut blob = None;
        let content = match self.below(10) {
            0 => Content::Empty,
            1..4 => self.slice(model).map_or(Content::Empty, Content::Blob),
            4 => self.copied_item(model),
            choice => {
                let new = self.new_blob(model);
                let (id, len) = (new.id, new.len);
                blob = Some(new);
                let whole = Content::Blob(Extent { blob: id, offset: 0, len });
                if choice == 9 && self.one_in(10) { self.packed(id, 0) } else { whole }
            }
        };
        let version = self.version_of(content);
        let bucket = self.bucket(model);
        Command::PutVersion { bucket, key: self.key(), condition: self.condition(), version, blob }
    }

    fn selector(&mut self, model: &MemoryTables, bucket: BucketId, key: &[u8]) -> VersionSelector {
        match self.below(4) {
            0 | 1 => VersionSelector::Current,
            2 => VersionSelector::Null,
            _ => {
                let Ok(page) = read::versions(model, bucket, &Default::default(), None, 50);
                let of_key: Vec<VersionId> =
                    page.versions.iter().filter(|(k, ..)| *k == key).map(|(_, row, _)| row.id).collect();
                VersionSelector::Id(self.pick(&of_key).unwrap_or(VersionId([3; 16])))
            }
        }
    }

    fn set_attribute(&mut self, model: &MemoryTables) -> Command {
        let (bucket, key) = (self.bucket(model), self.key());
        let version = self.selector(model, bucket, &key);
        let name = ["content-type", "x-amz-tagging"][self.below(2) as usize].to_owned();
        let value = if self.one_in(3) { None } else { Some(format!("a={}", self.below(9))) };
        Command::SetAttribute { bucket, key, version, name, value }
    }

    fn replace_content(&mut self, model: &MemoryTables) -> Command {
        let bucket = self.bucket(model);
        let Ok(page) = read::versions(model, bucket, &Default::default(), None, 50);
        let known: Vec<(Vec<u8>, VersionId, Extent)> = page
            .versions
            .iter()
            .filter_map(|(key, row, _)| match row.content {
                Content::Blob(extent) => Some((key.clone(), row.id, extent)),
                _ => None,
            })
            .collect();
        let mut blob = self.new_blob(model);
        let any = (self.key(), VersionId([3; 16]), Extent { blob: blob.id, offset: 0, len: blob.len });
        let (key, version, mut seen) = self.pick(&known).unwrap_or(any);
        if !self.one_in(20) {
            blob.len = seen.len;
        }
        if self.one_in(20) {
            seen.offset += 1;
        }
        Command::ReplaceContent { bucket, key, version, seen, blob }
    }

    fn delete_version(&mut self, model: &MemoryTables) -> Command {
        let (bucket, key) = (self.bucket(model), self.key());
        let version = self.selector(model, bucket, &key);
        let condition = self.condition();
        Command::DeleteVersion { bucket, key, condition, version, marker: VersionId(self.id()) }
    }

    fn create_upload(&mut self, model: &MemoryTables) -> Command {
        let row = UploadRow {
            bucket: self.bucket(model),
            key: self.key(),
            created_ms: self.now_ms,
            attributes: self.attributes(),
            owner: "root".to_owned(),
        };
        Command::CreateUpload { upload: UploadId(self.id()), row }
    }

    fn upload(&mut self, model: &MemoryTables) -> (BucketId, Vec<u8>, UploadId) {
        let bucket = self.bucket(model);
        let Ok(uploads) = read::uploads(model, bucket, None, b"", 20);
        match self.pick(&uploads) {
            Some((upload, row)) => (bucket, row.key, upload),
            None => (bucket, self.key(), UploadId([8; 16])),
        }
    }

    fn put_part(&mut self, model: &MemoryTables) -> Command {
        let (bucket, key, upload) = self.upload(model);
        let mut blob = None;
        let content = match self.below(8) {
            0 => None,
            1..4 => self.slice(model),
            _ => {
                let new = self.new_blob(model);
                let extent = Extent { blob: new.id, offset: 0, len: new.len };
                blob = Some(new);
                Some(extent)
            }
        };
        let part = PartRow {
            size: content.map_or(0, |extent| extent.len),
            content,
            md5: [self.below(4) as u8; 16],
            created_ms: self.now_ms,
            attributes: self.attributes(),
        };
        let number = if self.one_in(50) { 0 } else { 1 + self.below(5) as u16 };
        Command::PutPart { bucket, key, upload, number, part, blob }
    }

    fn complete_upload(&mut self, model: &MemoryTables) -> Command {
        let (bucket, key, upload) = self.upload(model);
        let Ok(rows) = read::parts(model, upload, 0, 100);
        let kept: Vec<(u16, PartRow)> = rows.into_iter().filter(|_| !self.one_in(4)).collect();
        let mut parts: Vec<PartRef> = kept
            .iter()
            .map(|(number, row)| PartRef { number: *number, blob: row.content.map(|extent| extent.blob) })
            .collect();
        if self.one_in(12) {
            parts.reverse();
        }
        if self.one_in(12) {
            parts.push(PartRef { number: 9_999, blob: None });
        }
        let slices: Vec<Extent> = kept.iter().filter_map(|(_, row)| row.content).collect();
        let (content, blob) = self.assembled(slices);
        let version = self.version_of(content);
        Command::CompleteUpload { bucket, key, upload, condition: self.condition(), parts, version, blob }
    }

    fn assembled(&mut self, slices: Vec<Extent>) -> (Content, Option<NewBlob>) {
        match slices.as_slice() {
            [] => return (Content::Empty, None),
            [slice] if !self.one_in(3) => return (Content::Blob(*slice), None),
            _ => {}
        }
        let (id, len) = (BlobId(self.id()), slices.iter().map(|slice| slice.len).sum());
        let (body, spill) = if self.one_in(2) {
            (BlobBody::Composite { parts: slices }, None)
        } else {
            // The list blob's manifest stands for its content here: whoever purges it reads the slices back from it.
            let list = BlobId(self.id());
            let manifest = slices.iter().flat_map(|slice| slice.blob.0).collect();
            let spill = (list, 20_000, BlobBody::Chunked { manifest });
            (BlobBody::CompositeSpilled { list, list_len: 20_000, parts: slices.len() as u32 }, Some(spill))
        };
        let new = NewBlob { id, len, body, spill, todos: Vec::new(), layout_epoch: 100 };
        (Content::Blob(Extent { blob: id, offset: 0, len }), Some(new))
    }

    fn abort_upload(&mut self, model: &MemoryTables) -> Command {
        let (bucket, key, upload) = self.upload(model);
        Command::AbortUpload { bucket, key, upload }
    }

    fn todo_row(&mut self) -> TodoRow {
        let missing = (0..self.below(3)).map(|_| self.below(14) as u8).collect();
        let stand_ins = (0..self.below(3)).map(|_| (self.below(14) as u8, DriveId([2; 16]))).collect();
        TodoRow { missing, stand_ins, since_ms: self.now_ms }
    }

    fn stripe_command(&mut self, model: &MemoryTables) -> Command {
        let Ok(known) = read::todos(model, None, 20);
        match self.pick(&known) {
            Some((chunk, seen)) if self.one_in(2) => {
                let left = if self.one_in(2) { Some(self.todo_row()) } else { None };
                let seen = if self.one_in(5) { self.todo_row() } else { seen };
                Command::FinishTodo { chunk, seen, left }
            }
            _ => {
                let blob = self.existing_blob(model).map_or(BlobId([4; 16]), |(id, _)| id);
                let chunk = ChunkId { blob, chunk: self.below(3) as u32 };
                Command::AddTodo { chunk, todo: self.todo_row() }
            }
        }
    }

    fn purge(&mut self, model: &MemoryTables) -> Command {
        if self.one_in(20) {
            let any = self.existing_blob(model).map_or(BlobId([4; 16]), |(id, _)| id);
            return Command::Purge { blobs: vec![(any, Vec::new())] };
        }
        let Ok(condemned) = read::condemned(model, None, 5);
        let blobs = condemned.into_iter().map(|(_, id)| (id, spilled_slices(model, id))).collect();
        Command::Purge { blobs }
    }

    fn lease_command(&mut self) -> Command {
        let name = NAMES[self.below(3) as usize].to_owned();
        let holder = LeaseId([1 + self.below(3) as u8; 16]);
        if self.one_in(3) {
            return Command::ReleaseLease { name, holder };
        }
        Command::AcquireLease { name, holder, duration_ms: self.below(60_000) }
    }

    fn cluster_command(&mut self, model: &MemoryTables) -> Command {
        match self.below(9) {
            8 => {
                let id = self.name();
                let Ok(known) = read::access_key(model, &id);
                let row = self.access_key();
                Command::ReplaceAccessKey { id, seen: known.unwrap_or_else(|| row.clone()), row }
            }
            0 => Command::PutAccessKey { id: self.name(), row: self.access_key() },
            1 => Command::DeleteAccessKey { id: self.name() },
            2 | 3 => {
                let name = NAMES[self.below(3) as usize].to_owned();
                let Ok(known) = read::setting(model, &name);
                let expected = if self.one_in(4) { 7 } else { known.map_or(0, |(revision, _)| revision) };
                Command::SetSetting { name, expected, value: self.id().to_vec() }
            }
            4 => {
                let name = super::WRITE_FLOOR.to_owned();
                let Ok(known) = read::setting(model, &name);
                let value = (self.below(4) as u32).to_le_bytes().to_vec();
                Command::SetSetting { name, expected: known.map_or(0, |(revision, _)| revision), value }
            }
            5 | 6 => {
                let Ok(generation) = read::generation(model);
                Command::StartGeneration { generation: generation + self.below(3) }
            }
            _ => Command::Expire,
        }
    }

    fn access_key(&mut self) -> AccessKeyRow {
        AccessKeyRow {
            sealed_secret: self.id().to_vec(),
            master_generation: 1,
            created_ms: self.now_ms,
            description: "é".to_owned(),
            root: self.one_in(2),
            grants: Vec::new(),
        }
    }
}

/// The blobs that a spilled composite of a history refers to; none for any other blob.
pub fn spilled_slices(model: &MemoryTables, id: BlobId) -> Vec<BlobId> {
    let Ok(Some(row)) = read::blob(model, id) else { return Vec::new() };
    let BlobBody::CompositeSpilled { list, .. } = row.body else { return Vec::new() };
    let Ok(Some(list)) = read::blob(model, list) else { return Vec::new() };
    let BlobBody::Chunked { manifest } = list.body else { return Vec::new() };
    manifest.as_chunks::<16>().0.iter().map(|id| BlobId(*id)).collect()
}
