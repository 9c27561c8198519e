//! Listing: current objects in key order, rolled up at a delimiter by skipping, not by reading.

use pangea_core::meta::KeyRange;

use crate::client::Client;
use crate::door::{ClientError, List, ListEntry, ListPage};

/// Rows of one scan.
const SCAN_ROWS: usize = 1000;

impl Client {
    /// Lists a bucket's current objects.
    pub async fn list(&self, bucket: &str, list: List) -> Result<ListPage, ClientError> {
        let bucket = self.bucket(bucket).await?.id;
        let mut page = ListPage::default();
        if list.limit == 0 {
            return Ok(page);
        }
        let mut range = KeyRange { prefix: list.prefix.clone(), after: list.after.clone(), from: None };
        if let Some(group) =
            list.after.as_deref().and_then(|after| group_of(after, &list.prefix, &list.delimiter))
        {
            // The last page ended in a rolled-up prefix (or inside one that it showed): go on behind all of it.
            if list.after.as_deref() == Some(group) {
                match behind(group) {
                    Some(next) => {
                        range = KeyRange { prefix: list.prefix.clone(), after: None, from: Some(next) }
                    }
                    None => return Ok(page),
                }
            }
        }
        'scan: loop {
            let rows = SCAN_ROWS.min(list.limit - page.entries.len() + 1);
            let found = self.meta().heads(bucket, range.clone(), rows).await.map_err(ClientError::Meta)?;
            for (key, head) in found.heads {
                if head.delete_marker {
                    range = KeyRange { prefix: list.prefix.clone(), after: Some(key), from: None };
                    continue;
                }
                if page.entries.len() >= list.limit {
                    page.next = page.entries.last().map(name);
                    break 'scan;
                }
                if let Some(group) = group_of(&key, &list.prefix, &list.delimiter).map(<[u8]>::to_vec) {
                    let next = behind(&group);
                    page.entries.push(ListEntry::Prefix(group));
                    match next {
                        Some(next) => {
                            range = KeyRange { prefix: list.prefix.clone(), after: None, from: Some(next) };
                            continue 'scan;
                        }
                        None => break 'scan,
                    }
                }
                range = KeyRange { prefix: list.prefix.clone(), after: Some(key.clone()), from: None };
                page.entries.push(ListEntry::Object(key, head));
            }
            if !found.more {
                break;
            }
        }
        Ok(page)
    }
}

/// What a key is rolled up into: everything up to and with the first delimiter behind the prefix.
pub(crate) fn group_of<'a>(key: &'a [u8], prefix: &[u8], delimiter: &[u8]) -> Option<&'a [u8]> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(prefix)?;
    let at = rest.windows(delimiter.len()).position(|window| window == delimiter)?;
    Some(&key[..prefix.len() + at + delimiter.len()])
}

/// The first key behind all keys with this prefix; `None`: there is none.
pub(crate) fn behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

fn name(entry: &ListEntry) -> Vec<u8> {
    match entry {
        ListEntry::Object(key, _) | ListEntry::Prefix(key) => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_ends_with_its_delimiter_and_is_skipped_whole() {
        assert_eq!(group_of(b"a/b/c", b"a/", b"/"), Some(&b"a/b/"[..]));
        assert_eq!(group_of(b"a/b", b"a/", b"/"), None);
        assert_eq!(behind(b"a/b/"), Some(b"a/b0".to_vec()));
        assert_eq!(behind(b"a\xff"), Some(b"b".to_vec()));
        assert_eq!(behind(b"\xff\xff"), None);
    }
}
