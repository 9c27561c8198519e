//! Uploads in parts.

use std::sync::Arc;

use super::Walker;
use super::bucket::{Content, Upload};
use super::lists::all;
use super::random::{encode, md5};
use crate::http::Ask;

const PART_BYTES_MIN: usize = 5 << 20;
/// So many uploads at a time.
const UPLOADS_MAX: usize = 4;
/// Of a hundred times that a large upload would come.
const LARGE_PERCENT: usize = 3;

impl Walker<'_> {
    pub(super) async fn upload(&mut self, bucket: usize) {
        let ids: Vec<String> = self.buckets[bucket].uploads.keys().cloned().collect();
        if ids.is_empty() || (ids.len() < UPLOADS_MAX && self.random.one_in(5)) {
            let key = self.random.key();
            return drop(self.begin(bucket, key).await);
        }
        let id = self.random.pick(&ids).clone();
        match self.random.below(10) {
            0..=3 => {
                let (number, body) = (1 + self.random.below(3) as u16, self.random.body());
                self.part(bucket, &id, number, body).await;
            }
            4 => self.part_copy(bucket, &id).await,
            5 => self.list_parts(bucket, &id).await,
            6 => self.list_uploads(bucket).await,
            7 | 8 => self.complete(bucket, &id).await,
            _ => {
                let target =
                    format!("{}?uploadId={id}", self.path(bucket, &self.buckets[bucket].uploads[&id].key));
                self.expect("abort", Ask::new("DELETE", &target), "204").await;
                self.buckets[bucket].uploads.remove(&id);
                self.expect("abort", Ask::new("DELETE", &target), "404 NoSuchUpload").await;
            }
        }
    }

    /// Two parts, the first of the least size that is allowed.
    pub(super) async fn large_upload(&mut self, bucket: usize) {
        if self.random.below(100) >= LARGE_PERCENT {
            return;
        }
        let key = self.random.key();
        let id = self.begin(bucket, key).await;
        let first = Arc::new(self.random.bytes(PART_BYTES_MIN));
        self.part(bucket, &id, 1, first).await;
        let second = self.random.body();
        self.part(bucket, &id, 3, second).await;
        self.complete(bucket, &id).await;
    }

    async fn begin(&mut self, bucket: usize, key: &str) -> String {
        let fresh = self.random.content();
        let ask = Ask::new("POST", &format!("{}?uploads", self.path(bucket, key)))
            .header("content-type", &fresh.kind)
            .header("x-amz-meta-note", &fresh.note)
            .body(b"");
        let id = self.expect("begin", ask, "200").await.xml("UploadId").expect("an upload has an id");
        let upload = Upload { key: key.to_owned(), kind: fresh.kind, note: fresh.note, ..Upload::default() };
        self.buckets[bucket].uploads.insert(id.clone(), upload);
        id
    }

    fn part_target(&self, bucket: usize, id: &str, number: u16) -> String {
        let upload = &self.buckets[bucket].uploads[id];
        format!("{}?partNumber={number}&uploadId={id}", self.path(bucket, &upload.key))
    }

    async fn part(&mut self, bucket: usize, id: &str, number: u16, body: Arc<Vec<u8>>) {
        let ask = Ask::new("PUT", &self.part_target(bucket, id, number)).body(&body);
        let answer = self.expect("part", ask, "200").await;
        let etag = md5(&body);
        assert_eq!(answer.get("etag"), Some(&*format!("\"{etag}\"")), "{}", self.place);
        let upload = self.buckets[bucket].uploads.get_mut(id).expect("it was picked");
        upload.parts.insert(number, (body, etag));
    }

    async fn part_copy(&mut self, bucket: usize, id: &str) {
        let (from, source, number) =
            (self.random.below(2), self.random.key(), 1 + self.random.below(3) as u16);
        let named = format!("/{}/{}", self.buckets[from].name, encode(source, false));
        let mut ask =
            Ask::new("PUT", &self.part_target(bucket, id, number)).header("x-amz-copy-source", &named);
        let Some(content) = self.buckets[from].current(source).cloned() else {
            return drop(self.expect("part copy", ask.body(b""), "404 NoSuchKey").await);
        };
        let mut bytes = 0..content.body.len();
        if self.random.one_in(2) && !bytes.is_empty() {
            let first = self.random.below(bytes.end);
            bytes = first..first + 1 + self.random.below(bytes.end - first);
            ask = ask.header("x-amz-copy-source-range", &format!("bytes={}-{}", bytes.start, bytes.end - 1));
        }
        let body = Arc::new(content.body[bytes].to_vec());
        let answer = self.expect("part copy", ask.body(b""), "200").await;
        let etag = md5(&body);
        let told = answer.xml("ETag").map(|tag| tag.replace("&quot;", "\""));
        assert_eq!(told, Some(format!("\"{etag}\"")), "{}", self.place);
        let upload = self.buckets[bucket].uploads.get_mut(id).expect("it was picked");
        upload.parts.insert(number, (body, etag));
    }

    async fn list_parts(&mut self, bucket: usize, id: &str) {
        let target = format!("{}?uploadId={id}", self.path(bucket, &self.buckets[bucket].uploads[id].key));
        let answer = self.expect("list parts", Ask::new("GET", &target), "200").await;
        let text = answer.text().replace("&quot;", "\"");
        let parts = &self.buckets[bucket].uploads[id].parts;
        let numbers: Vec<String> = parts.keys().map(u16::to_string).collect();
        let sizes: Vec<String> = parts.values().map(|(body, _)| body.len().to_string()).collect();
        let etags: Vec<String> = parts.values().map(|(_, etag)| format!("\"{etag}\"")).collect();
        assert_eq!(
            (all(&text, "PartNumber"), all(&text, "Size"), all(&text, "ETag")),
            (numbers, sizes, etags)
        );
    }

    async fn list_uploads(&mut self, bucket: usize) {
        let target = format!("/{}?uploads", self.buckets[bucket].name);
        let answer = self.expect("list uploads", Ask::new("GET", &target), "200").await;
        let mut seen = all(&answer.text(), "UploadId");
        seen.sort();
        let known: Vec<String> = self.buckets[bucket].uploads.keys().cloned().collect();
        assert_eq!(seen, known, "{}", self.place);
    }

    /// Completes as the parts allow, or with one of the mistakes that clients make.
    async fn complete(&mut self, bucket: usize, id: &str) {
        let upload = self.buckets[bucket].uploads[id].clone();
        let mut chosen: Vec<(u16, String)> =
            upload.parts.iter().map(|(number, (_, etag))| (*number, etag.clone())).collect();
        let small =
            chosen.iter().rev().skip(1).any(|(number, _)| upload.parts[number].0.len() < PART_BYTES_MIN);
        let mut expected = match (chosen.is_empty(), small) {
            (true, _) => "400 MalformedXML",
            (false, true) => "400 EntityTooSmall",
            (false, false) => "200",
        };
        if !chosen.is_empty() && self.random.one_in(5) {
            (expected, chosen) = match self.random.below(3) {
                0 => ("400 InvalidPart", vec![(chosen[0].0, md5(b"another"))]),
                1 => ("400 InvalidPart", vec![(9, chosen[0].1.clone())]),
                _ => ("400 InvalidPartOrder", vec![chosen[0].clone(), chosen[0].clone()]),
            };
        }
        let part = |(number, etag): &(u16, String)| {
            format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>")
        };
        let xml: String = chosen.iter().map(part).collect();
        let xml = format!("<CompleteMultipartUpload>{xml}</CompleteMultipartUpload>");
        let target = format!("{}?uploadId={id}", self.path(bucket, &upload.key));
        let answer = self.expect("complete", Ask::new("POST", &target).body(xml.as_bytes()), expected).await;
        if expected != "200" {
            return;
        }
        let bodies: Vec<&[u8]> = upload.parts.values().map(|(body, _)| body.as_slice()).collect();
        let digests: Vec<u8> = bodies
            .iter()
            .flat_map(|body| <s3s::crypto::Md5 as s3s::crypto::Checksum>::checksum(body))
            .collect();
        let content = Content {
            body: Arc::new(bodies.concat()),
            etag: format!("{}-{}", md5(&digests), bodies.len()),
            kind: upload.kind,
            note: upload.note,
            tags: vec![],
            parts: bodies.iter().map(|body| body.len()).collect(),
        };
        let told = answer.xml("ETag").map(|tag| tag.replace("&quot;", "\""));
        assert_eq!(told, Some(format!("\"{}\"", content.etag)), "{}", self.place);
        self.commit(bucket, &upload.key, &answer, content);
        self.buckets[bucket].uploads.remove(id);
    }
}
