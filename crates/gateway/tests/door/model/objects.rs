//! Objects: put, get, head, delete, copy, tags.

use super::Walker;
use super::bucket::{Content, Keeps};
use super::random::encode;
use crate::http::{Answer, Ask};

/// What a read or a copy finds: the content, or the refusal.
type Found = Result<Content, &'static str>;

impl Walker<'_> {
    /// One of a key's versions, one that is not there, or none in particular.
    fn some_version(&mut self, bucket: usize, key: &str) -> Option<String> {
        let ids: Vec<String> = self.buckets[bucket]
            .keys
            .get(key)
            .into_iter()
            .flatten()
            .map(|version| version.id.clone())
            .collect();
        match self.random.below(6) {
            0 => Some("null".to_owned()),
            1 => Some("000000000000000000000000000000ff".to_owned()),
            2 | 3 if !ids.is_empty() => Some(self.random.pick(&ids).clone()),
            _ => None,
        }
    }

    fn find(&self, bucket: usize, key: &str, id: Option<&str>) -> Found {
        let bucket = &self.buckets[bucket];
        match id {
            None => bucket.current(key).cloned().ok_or("404 NoSuchKey"),
            Some(id) => {
                let version = bucket.version(key, id).ok_or("404 NoSuchVersion")?;
                version.content.clone().ok_or("405 MethodNotAllowed")
            }
        }
    }

    pub(super) async fn put(&mut self, bucket: usize) {
        let (key, content) = (self.random.key(), self.random.content());
        let mut ask = Ask::new("PUT", &self.path(bucket, key))
            .header("content-type", &content.kind)
            .header("x-amz-meta-note", &content.note);
        if let Some((name, value)) = content.tags.first() {
            ask = ask.header("x-amz-tagging", &format!("{name}={value}"));
        }
        let now = self.buckets[bucket].current(key).map(|content| content.etag.clone());
        let (ask, expected) = self.condition(ask, now.as_deref());
        let answer = self.expect("put", ask.body(&content.body), expected).await;
        if expected == "200" {
            assert_eq!(answer.get("etag"), Some(&*format!("\"{}\"", content.etag)), "{}", self.place);
            self.commit(bucket, key, &answer, content);
        }
    }

    /// A condition on a write, sometimes, and what becomes of the write.
    pub(super) fn condition(&mut self, ask: Ask, now: Option<&str>) -> (Ask, &'static str) {
        match (self.random.below(10), now) {
            (0, None) => (ask.header("if-none-match", "*"), "200"),
            (0, Some(_)) => (ask.header("if-none-match", "*"), "412 PreconditionFailed"),
            (1, None) => (ask.header("if-match", "\"00000000000000000000000000000000\""), "404 NoSuchKey"),
            (1, Some(_)) => {
                (ask.header("if-match", "\"00000000000000000000000000000000\""), "412 PreconditionFailed")
            }
            (2, Some(etag)) => (ask.header("if-match", &format!("\"{etag}\"")), "200"),
            _ => (ask, "200"),
        }
    }

    /// The server said that a write was done.
    pub(super) fn commit(&mut self, bucket: usize, key: &str, answer: &Answer, content: Content) {
        let told = answer.get("x-amz-version-id");
        match self.buckets[bucket].keeps {
            Keeps::Never => assert_eq!(told, None, "{}", self.place),
            Keeps::Suspended => assert_eq!(told, Some("null"), "{}", self.place),
            Keeps::Versions => assert!(told.is_some_and(|id| id != "null"), "{}: {told:?}", self.place),
        }
        self.buckets[bucket].push(key, told, Some(content));
    }

    pub(super) async fn get(&mut self, bucket: usize) {
        let key = self.random.key();
        let id = self.some_version(bucket, key);
        let found = self.find(bucket, key, id.as_deref());
        let query = id.as_ref().map(|id| format!("?versionId={id}")).unwrap_or_default();
        let ask = Ask::new("GET", &format!("{}{query}", self.path(bucket, key)));
        let content = match found {
            Err(refusal) => return drop(self.expect("get", ask, refusal).await),
            Ok(content) => content,
        };
        let len = content.body.len();
        let etag = format!("\"{}\"", content.etag);
        let (ask, expected, range) = match self.random.below(12) {
            0 => (ask.header("if-none-match", &etag), "304", 0..0),
            1 => (ask.header("if-match", "\"0\""), "412 PreconditionFailed", 0..0),
            2 => (ask.header("if-match", &etag), "200", 0..len),
            3..=5 => self.range(ask, len),
            6 => {
                let number = 1 + self.random.below(3);
                let ends: Vec<usize> = content
                    .parts
                    .iter()
                    .scan(0, |end, size| {
                        *end += size;
                        Some(*end)
                    })
                    .collect();
                let parts = if ends.is_empty() { vec![len] } else { ends };
                let start = if number == 1 { Some(0) } else { parts.get(number - 2).copied() };
                let target =
                    format!("{}{}partNumber={number}", ask.target, if query.is_empty() { "?" } else { "&" });
                let ask = Ask { target, ..ask };
                match (start, parts.get(number - 1)) {
                    (Some(start), Some(end)) if start < *end => (ask, "206", start..*end),
                    (Some(_), Some(_)) => (ask, "200", 0..0),
                    _ => (ask, "416 InvalidPartNumber", 0..0),
                }
            }
            _ => (ask, "200", 0..len),
        };
        let answer = self.expect("get", ask, expected).await;
        if matches!(expected, "200" | "206") {
            assert!(answer.body == content.body[range], "{}: other bytes", self.place);
            self.compare(&answer, &content);
        }
    }

    /// A range of any kind, and which bytes it means.
    fn range(&mut self, ask: Ask, len: usize) -> (Ask, &'static str, std::ops::Range<usize>) {
        let first = self.random.below(len + 2);
        let more = self.random.below(len + 2);
        let (text, range) = match self.random.below(3) {
            0 => (format!("bytes={first}-{}", first + more), first..(first + more + 1).min(len)),
            1 => (format!("bytes={first}-"), first..len),
            _ => (format!("bytes=-{}", more + 1), len.saturating_sub(more + 1)..len),
        };
        let ask = ask.header("range", &text);
        // The last bytes of nothing are nothing (RFC 9110 section 14.1.2 calls that satisfiable).
        if len == 0 && text.starts_with("bytes=-") {
            return (ask, "200", 0..0);
        }
        if range.start < len { (ask, "206", range) } else { (ask, "416 InvalidRange", 0..0) }
    }

    fn compare(&self, answer: &Answer, content: &Content) {
        let told = |name| answer.get(name).unwrap_or_default().to_owned();
        let tags = content.tags.len().to_string();
        let seen = [told("etag"), told("content-type"), told("x-amz-meta-note"), told("x-amz-tagging-count")];
        let known = [
            format!("\"{}\"", content.etag),
            content.kind.clone(),
            content.note.clone(),
            if content.tags.is_empty() { String::new() } else { tags },
        ];
        assert_eq!(seen, known, "{}", self.place);
    }

    pub(super) async fn head(&mut self, bucket: usize) {
        let key = self.random.key();
        let id = self.some_version(bucket, key);
        let query = id.as_ref().map(|id| format!("?versionId={id}")).unwrap_or_default();
        let ask = Ask::new("HEAD", &format!("{}{query}", self.path(bucket, key)));
        match self.find(bucket, key, id.as_deref()) {
            Err(refusal) => drop(self.expect("head", ask, refusal).await),
            Ok(content) => {
                let answer = self.expect("head", ask, "200").await;
                let len = content.body.len().to_string();
                assert_eq!(answer.get("content-length"), Some(&*len), "{}", self.place);
                self.compare(&answer, &content);
            }
        }
    }

    pub(super) async fn delete(&mut self, bucket: usize) {
        let key = self.random.key();
        let id = self.some_version(bucket, key);
        let query = id.as_ref().map(|id| format!("?versionId={id}")).unwrap_or_default();
        let ask = Ask::new("DELETE", &format!("{}{query}", self.path(bucket, key)));
        let answer = self.expect("delete", ask, "204").await;
        match id {
            None => self.buckets[bucket].delete(key, answer.get("x-amz-version-id")),
            Some(id) => {
                let was = self.buckets[bucket].version(key, &id).map(|version| version.content.is_none());
                let marker = answer.get("x-amz-delete-marker") == Some("true");
                assert_eq!(marker, was.unwrap_or_default(), "{}", self.place);
                self.buckets[bucket].delete_version(key, &id);
            }
        }
    }

    /// Old versions go with this one, so that the model stays small.
    pub(super) async fn delete_many(&mut self, bucket: usize) {
        let mut wanted: Vec<(&str, Option<String>)> = vec![];
        for _ in 0..1 + self.random.below(4) {
            let key = self.random.key();
            if wanted.iter().all(|(known, _)| *known != key) {
                let versions = self.buckets[bucket].keys.get(key).map(Vec::as_slice).unwrap_or_default();
                let old = versions.iter().skip(1).map(|version| (key, Some(version.id.clone())));
                wanted.extend(old);
                wanted.push((key, None));
            }
        }
        let object = |(key, id): &(&str, Option<String>)| {
            let id = id.as_ref().map(|id| format!("<VersionId>{id}</VersionId>")).unwrap_or_default();
            let key = key.replace('&', "&amp;").replace('<', "&lt;");
            format!("<Object><Key>{key}</Key>{id}</Object>")
        };
        let xml = format!("<Delete>{}</Delete>", wanted.iter().map(object).collect::<String>());
        let digest = <s3s::crypto::Md5 as s3s::crypto::Checksum>::checksum(xml.as_bytes());
        let ask = Ask::new("POST", &format!("/{}?delete", self.buckets[bucket].name))
            .header("content-md5", &base64_simd::STANDARD.encode_to_string(digest));
        let answer = self.expect("delete many", ask.body(xml.as_bytes()), "200").await;
        let text = answer.text();
        let told: Vec<&str> = text.split("<Deleted>").skip(1).collect();
        assert_eq!((told.len(), text.contains("<Error>")), (wanted.len(), false), "{}: {text}", self.place);
        for ((key, id), told) in wanted.iter().zip(told) {
            let marker = told.split("<DeleteMarkerVersionId>").nth(1).and_then(|rest| rest.split('<').next());
            match id {
                Some(id) => self.buckets[bucket].delete_version(key, id),
                None => self.buckets[bucket].delete(key, marker),
            }
        }
    }

    pub(super) async fn copy(&mut self, to: usize) {
        let (from, source, key) = (self.random.below(2), self.random.key(), self.random.key());
        let id = self.some_version(from, source);
        let query = id.as_ref().map(|id| format!("?versionId={id}")).unwrap_or_default();
        let named = format!("/{}/{}{query}", self.buckets[from].name, encode(source, false));
        let mut ask = Ask::new("PUT", &self.path(to, key)).header("x-amz-copy-source", &named);
        let fresh = self.random.content();
        let replace = self.random.one_in(3);
        if replace {
            ask = ask
                .header("x-amz-metadata-directive", "REPLACE")
                .header("content-type", &fresh.kind)
                .header("x-amz-meta-note", &fresh.note);
        }
        let is_self = (from, source, &id) == (to, key, &None);
        let found = self.find(from, source, id.as_deref());
        let expected = match &found {
            _ if is_self && !replace => "400 InvalidRequest",
            Err("405 MethodNotAllowed") => "400 InvalidRequest",
            Err(refusal) => refusal,
            Ok(_) => "200",
        };
        let answer = self.expect("copy", ask.body(b""), expected).await;
        if let (Ok(content), "200") = (found, expected) {
            let mut copied = content;
            // A copy is no upload in parts, but keeps its tag and, with us, its parts.
            if replace {
                (copied.kind, copied.note) = (fresh.kind, fresh.note);
            }
            assert_eq!(
                answer.xml("ETag").map(|tag| tag.replace("&quot;", "\"")),
                Some(format!("\"{}\"", copied.etag))
            );
            self.commit(to, key, &answer, copied);
        }
    }

    pub(super) async fn tags(&mut self, bucket: usize) {
        let key = self.random.key();
        let id = self.some_version(bucket, key);
        let version = id.as_ref().map(|id| format!("&versionId={id}")).unwrap_or_default();
        let target = format!("{}?tagging{version}", self.path(bucket, key));
        let found = self.find(bucket, key, id.as_deref());
        let refusal = found.as_ref().err().copied();
        match self.random.below(3) {
            0 => {
                let answer =
                    self.expect("get tags", Ask::new("GET", &target), refusal.unwrap_or("200")).await;
                if let Ok(content) = found {
                    let shown: String = content
                        .tags
                        .iter()
                        .map(|(name, value)| format!("<Tag><Key>{name}</Key><Value>{value}</Value></Tag>"))
                        .collect();
                    assert_eq!(answer.xml("TagSet").unwrap_or_default(), shown, "{}", self.place);
                }
            }
            1 => {
                let value = self.random.below(100).to_string();
                let xml = format!(
                    "<Tagging><TagSet><Tag><Key>t</Key><Value>{value}</Value></Tag></TagSet></Tagging>"
                );
                let ask = Ask::new("PUT", &target).body(xml.as_bytes());
                self.expect("put tags", ask, refusal.unwrap_or("200")).await;
                if let Some(content) = self.buckets[bucket].content_mut(key, id.as_deref()) {
                    content.tags = vec![("t".to_owned(), value)];
                }
            }
            _ => {
                self.expect("delete tags", Ask::new("DELETE", &target), refusal.unwrap_or("204")).await;
                if let Some(content) = self.buckets[bucket].content_mut(key, id.as_deref()) {
                    content.tags.clear();
                }
            }
        }
    }
}
