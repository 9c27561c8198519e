//! ListMultipartUploads: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListMultipartUploads.html>

use pangea_core::id::UploadId;
use pangea_core::meta::UploadRow;
use s3s::dto::{
    CommonPrefix, Initiator, ListMultipartUploadsInput, ListMultipartUploadsOutput, MultipartUpload,
    StorageClass,
};
use s3s::{S3Response, S3Result};

use crate::access::Action;
use crate::adapter::Gate;
use crate::attributes::time;
use crate::auth::Call;
use crate::listing::{self, Encoding};
use crate::names;
use crate::options::PAGE_MAX;

/// A page under way: what is shown, and where it goes on.
#[derive(Default)]
struct Page {
    uploads: Vec<(UploadId, UploadRow)>,
    prefixes: Vec<Vec<u8>>,
    position: Option<(Vec<u8>, UploadId)>,
    more: bool,
}

impl Page {
    fn len(&self) -> usize {
        self.uploads.len() + self.prefixes.len()
    }

    /// Takes one upload; false: the page is full before it.
    fn take(&mut self, id: UploadId, row: UploadRow, prefix: &str, delimiter: &str, limit: usize) -> bool {
        let key = row.key.clone();
        let group = group(&key, prefix, delimiter);
        let shown = group.as_ref().is_some_and(|group| self.prefixes.last() == Some(group));
        if !shown && self.len() >= limit {
            self.more = true;
            return false;
        }
        match group {
            Some(_) if shown => {}
            Some(group) => self.prefixes.push(group),
            None => self.uploads.push((id, row)),
        }
        self.position = Some((key, id));
        true
    }
}

fn group(key: &[u8], prefix: &str, delimiter: &str) -> Option<Vec<u8>> {
    if delimiter.is_empty() {
        return None;
    }
    let rest = key.strip_prefix(prefix.as_bytes())?;
    let at = rest.windows(delimiter.len()).position(|window| window == delimiter.as_bytes())?;
    Some(key[..prefix.len() + at + delimiter.len()].to_vec())
}

pub(crate) async fn run(
    gate: &Gate,
    call: Call<ListMultipartUploadsInput>,
) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
    let input = &call.input;
    let limit = listing::limit("max-uploads", input.max_uploads)?;
    let encoding = Encoding::of(input.encoding_type.as_ref())?;
    let prefix = input.prefix.as_deref().unwrap_or_default();
    call.require(&gate.client, Action::List, &input.bucket, prefix).await?;
    let delimiter = input.delimiter.as_deref().unwrap_or_default();
    let key_marker = input.key_marker.as_deref().filter(|marker| !marker.is_empty());
    let id_marker = input.upload_id_marker.as_deref().filter(|marker| !marker.is_empty());
    let mut after = match (key_marker, id_marker) {
        (None, _) => None,
        (Some(key), Some(id)) => Some((key.as_bytes().to_vec(), names::upload(id)?)),
        // Without an id: behind all uploads of that key.
        (Some(key), None) => Some((key.as_bytes().to_vec(), UploadId([u8::MAX; 16]))),
    };
    gate.client.bucket(&input.bucket).await.map_err(|error| call.refuse(error))?;
    let mut page = Page::default();
    'pages: loop {
        // A page of nothing leads nowhere.
        if limit == 0 {
            break;
        }
        let found = gate.client.uploads(&input.bucket, prefix.as_bytes(), after.take(), PAGE_MAX).await;
        let (rows, more) = found.map_err(|error| call.refuse(error))?;
        for (id, row) in rows {
            if !page.take(id, row, prefix, delimiter, limit) {
                break 'pages;
            }
        }
        if !more {
            break;
        }
        after = page.position.clone();
    }
    let next = page.position.filter(|_| page.more);
    let (next_key_marker, next_upload_id_marker) = match next {
        Some((key, id)) => (Some(encoding.name(&key)), Some(id.to_string())),
        None => (None, None),
    };
    Ok(S3Response::new(ListMultipartUploadsOutput {
        bucket: Some(input.bucket.clone()),
        common_prefixes: Some(page.prefixes.iter().map(|one| shown(&encoding.name(one))).collect()),
        delimiter: (!delimiter.is_empty()).then(|| encoding.name(delimiter.as_bytes())),
        encoding_type: encoding.told(),
        is_truncated: Some(page.more),
        key_marker: Some(encoding.name(key_marker.unwrap_or_default().as_bytes())),
        max_uploads: i32::try_from(limit).ok(),
        next_key_marker,
        next_upload_id_marker,
        prefix: Some(encoding.name(prefix.as_bytes())),
        upload_id_marker: Some(id_marker.unwrap_or_default().to_owned()),
        uploads: Some(page.uploads.into_iter().map(|(id, row)| told(id, &row, encoding)).collect()),
        ..ListMultipartUploadsOutput::default()
    }))
}

fn shown(prefix: &str) -> CommonPrefix {
    CommonPrefix { prefix: Some(prefix.to_owned()) }
}

fn told(id: UploadId, row: &UploadRow, encoding: Encoding) -> MultipartUpload {
    MultipartUpload {
        initiated: Some(time(row.created_ms)),
        initiator: Some(Initiator { display_name: Some(row.owner.clone()), id: Some(row.owner.clone()) }),
        key: Some(encoding.name(&row.key)),
        owner: Some(listing::owner(&row.owner)),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        upload_id: Some(id.to_string()),
        ..MultipartUpload::default()
    }
}

#[cfg(test)]
mod tests {
    use pangea_core::id::BucketId;

    use super::*;

    #[test]
    fn uploads_roll_up_and_pages_end_where_they_are_full() {
        let row = |key: &str| UploadRow {
            bucket: BucketId::ZERO,
            key: key.into(),
            created_ms: 0,
            attributes: vec![],
            owner: String::new(),
        };
        let keys = ["a", "b/1", "b/2", "c"];
        for (limit, delimiter, expected) in [
            (10, "/", "2 1 false"),
            (10, "", "4 0 false"),
            (2, "/", "1 1 true"),
            (1, "/", "1 0 true"),
            (2, "", "2 0 true"),
        ] {
            let mut page = Page::default();
            for key in keys {
                if !page.take(UploadId::ZERO, row(key), "", delimiter, limit) {
                    break;
                }
            }
            let told = format!("{} {} {}", page.uploads.len(), page.prefixes.len(), page.more);
            assert_eq!(told, expected, "{limit} {delimiter:?}");
        }
    }
}
