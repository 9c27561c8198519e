//! Listings: both kinds of objects, versions, page by page.

use super::Walker;
use super::random::{decode, encode};
use crate::http::{Answer, Ask};

/// All texts between such tags.
pub(super) fn all(text: &str, tag: &str) -> Vec<String> {
    let cut = |part: &str| part.split(&format!("</{tag}>")).next().unwrap_or_default().to_owned();
    text.split(&format!("<{tag}>")).skip(1).map(cut).collect()
}

fn one(text: &str, tag: &str) -> String {
    all(text, tag).into_iter().next().unwrap_or_default()
}

/// Keys (as the model shows them) and prefixes of a page.
fn entries(page: &Answer) -> (Vec<String>, Vec<String>) {
    let text = page.text().replace("&quot;", "\"");
    let key = |entry: &String| {
        format!("{} {} {}", decode(&one(entry, "Key")), one(entry, "Size"), one(entry, "ETag"))
    };
    let prefixes = all(&text, "CommonPrefixes").iter().map(|entry| decode(&one(entry, "Prefix"))).collect();
    (all(&text, "Contents").iter().map(key).collect(), prefixes)
}

impl Walker<'_> {
    pub(super) async fn list(&mut self, bucket: usize) {
        let prefix = *self.random.pick(&["", "", "a", "a/", "foo/", "d/", "ü", "none"]);
        let delimiter = *self.random.pick(&["", "/", "/", "//", "o"]);
        let after = *self.random.pick(&["", "", "a", "a/b", "foo/", "k"]);
        let page = *self.random.pick(&[1, 2, 3, 1000]);
        let v2 = self.random.one_in(2);
        let (keys, prefixes) = self.buckets[bucket].listed(prefix, delimiter, after);
        let (mut seen_keys, mut seen_prefixes) = (vec![], vec![]);
        let base = format!(
            "/{}?{}encoding-type=url&prefix={}&delimiter={}&max-keys={page}",
            self.buckets[bucket].name,
            if v2 { "list-type=2&" } else { "" },
            encode(prefix, true),
            encode(delimiter, true)
        );
        let start = if v2 { "start-after" } else { "marker" };
        let mut position =
            if after.is_empty() { String::new() } else { format!("&{start}={}", encode(after, true)) };
        loop {
            let ask = Ask::new("GET", &format!("{base}{position}"));
            let answer = self.expect(if v2 { "list v2" } else { "list v1" }, ask, "200").await;
            let (keys, prefixes) = entries(&answer);
            assert!(keys.len() + prefixes.len() <= page, "{}: {}", self.place, answer.text());
            let last_key = all(&answer.text(), "Contents").last().map(|entry| one(entry, "Key"));
            seen_keys.extend(keys);
            seen_prefixes.extend(prefixes);
            if answer.xml("IsTruncated").as_deref() != Some("true") {
                break;
            }
            position = match (v2, answer.xml("NextContinuationToken"), answer.xml("NextMarker")) {
                (true, Some(token), _) => format!("&continuation-token={}", encode(&token, true)),
                (false, _, Some(marker)) => format!("&marker={}", encode(&decode(&marker), true)),
                (false, _, None) if delimiter.is_empty() => {
                    format!("&marker={}", encode(&decode(&last_key.expect("a page has a key")), true))
                }
                _ => panic!("{}: nowhere to go on: {}", self.place, answer.text()),
            };
        }
        assert_eq!((seen_keys, seen_prefixes), (keys, prefixes), "{}: {base} after {after}", self.place);
    }

    pub(super) async fn list_versions(&mut self, bucket: usize) {
        let prefix = *self.random.pick(&["", "", "a", "foo", "none"]);
        let page = *self.random.pick(&[1, 3, 1000]);
        let (versions, markers) = self.buckets[bucket].listed_versions(prefix);
        let (mut seen_versions, mut seen_markers) = (vec![], vec![]);
        let name = &self.buckets[bucket].name;
        let base =
            format!("/{name}?versions&encoding-type=url&prefix={}&max-keys={page}", encode(prefix, true));
        let mut position = String::new();
        loop {
            let answer =
                self.expect("list versions", Ask::new("GET", &format!("{base}{position}")), "200").await;
            let text = answer.text().replace("&quot;", "\"");
            let shown = |entry: &String| {
                format!(
                    "{} {} {}",
                    decode(&one(entry, "Key")),
                    one(entry, "VersionId"),
                    one(entry, "IsLatest")
                )
            };
            let version =
                |entry: &String| format!("{} {} {}", shown(entry), one(entry, "Size"), one(entry, "ETag"));
            seen_versions.extend(all(&text, "Version").iter().map(version));
            seen_markers.extend(all(&text, "DeleteMarker").iter().map(shown));
            let Some(key) = answer.xml("NextKeyMarker") else { break };
            let id = answer.xml("NextVersionIdMarker").unwrap_or_default();
            position = format!("&key-marker={}&version-id-marker={id}", encode(&decode(&key), true));
        }
        assert_eq!((seen_versions, seen_markers), (versions, markers), "{}: {base}", self.place);
    }
}
