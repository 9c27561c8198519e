//! CompleteMultipartUpload: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>
//!
//! Everything is checked before the one commit: the list here, the parts in the data path, sizes and checksums in the
//! callback between.

use pangea_client::{ClientError, CompletePart};
use pangea_core::meta::{PartRow, UploadRow};
use s3s::dto::{CompleteMultipartUploadInput, CompleteMultipartUploadOutput, CompletedPart};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::attributes::{checksum, encryption, show_checksum};
use crate::auth::Call;
use crate::checksum::{ALGORITHM, Algorithm, TYPE, of_parts};
use crate::error::{body_fault, refused};
use crate::inlet::BodyFault;
use crate::options::PART_NUMBER_MAX;
use crate::{condition, names};

pub(crate) async fn run(
    gate: &Gate,
    call: Call<CompleteMultipartUploadInput>,
) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
    let input = &call.input;
    let upload = names::upload(&input.upload_id)?;
    let listed = input.multipart_upload.as_ref().and_then(|list| list.parts.as_deref()).unwrap_or_default();
    let parts = parts(listed)?;
    let condition = condition::of_write(input.if_match.as_ref(), input.if_none_match.as_ref());
    let wanted = Wanted::of(input)?;
    let accept = Box::new(move |upload: &UploadRow, parts: &[(u16, PartRow)]| {
        wanted.check(upload, parts).map_err(|error| ClientError::Body(refused(error)))
    });
    let done =
        gate.client.complete_upload(&input.bucket, input.key.as_bytes(), upload, parts, condition, accept);
    let done = done.await.map_err(|error| call.refuse(error))?;
    let checksum = checksum(&done.attributes);
    let mut output = CompleteMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        e_tag: Some(condition::told(done.etag)),
        key: Some(input.key.clone()),
        location: Some(format!("/{}/{}", input.bucket, input.key)),
        checksum_type: checksum.checksum_type.clone(),
        server_side_encryption: encryption(),
        version_id: done.version.map(|(id, null)| names::version_text(id, null)),
        ..CompleteMultipartUploadOutput::default()
    };
    show_checksum!(output, checksum);
    Ok(S3Response::new(output))
}

fn parts(listed: &[CompletedPart]) -> S3Result<Vec<CompletePart>> {
    if listed.is_empty() || listed.len() > usize::from(PART_NUMBER_MAX) {
        return Err(s3_error!(MalformedXML, "List between 1 and {PART_NUMBER_MAX} parts."));
    }
    listed.iter().map(part).collect()
}

fn part(listed: &CompletedPart) -> S3Result<CompletePart> {
    let (Some(number), Some(etag)) = (listed.part_number, &listed.e_tag) else {
        return Err(s3_error!(MalformedXML, "Every part has a PartNumber and an ETag."));
    };
    let number = names::part_number(number)?;
    let Some(md5) = condition::part_md5(etag) else {
        return Err(s3_error!(
            InvalidPart,
            "Part {number} was uploaded with another entity tag: list the parts."
        ));
    };
    let stated = stated(
        &listed.checksum_crc32,
        &listed.checksum_crc32c,
        &listed.checksum_crc64nvme,
        &listed.checksum_sha1,
        &listed.checksum_sha256,
    );
    let checksums =
        stated.into_iter().map(|(algorithm, value)| (algorithm.header().to_owned(), value)).collect();
    Ok(CompletePart { number, md5, checksums })
}

fn stated(
    crc32: &Option<String>,
    crc32c: &Option<String>,
    crc64nvme: &Option<String>,
    sha1: &Option<String>,
    sha256: &Option<String>,
) -> Vec<(Algorithm, String)> {
    let values = [
        (Algorithm::Crc32, crc32),
        (Algorithm::Crc32c, crc32c),
        (Algorithm::Crc64Nvme, crc64nvme),
        (Algorithm::Sha1, sha1),
        (Algorithm::Sha256, sha256),
    ];
    values.into_iter().filter_map(|(algorithm, value)| Some((algorithm, value.clone()?))).collect()
}

/// What the client says of the whole.
struct Wanted {
    size: Option<i64>,
    kind: Option<String>,
    checksum: Option<(Algorithm, String)>,
}

impl Wanted {
    fn of(input: &CompleteMultipartUploadInput) -> S3Result<Self> {
        let mut stated = stated(
            &input.checksum_crc32,
            &input.checksum_crc32c,
            &input.checksum_crc64nvme,
            &input.checksum_sha1,
            &input.checksum_sha256,
        );
        if stated.len() > 1 {
            return Err(s3_error!(InvalidRequest, "Expecting a single x-amz-checksum- header."));
        }
        let kind = input.checksum_type.as_ref().map(|kind| kind.as_str().to_owned());
        Ok(Self { size: input.mpu_object_size, kind, checksum: stated.pop() })
    }

    fn check(self, upload: &UploadRow, parts: &[(u16, PartRow)]) -> S3Result<Vec<(String, String)>> {
        let size: u64 = parts.iter().map(|(_, part)| part.size).sum();
        if self.size.is_some_and(|wanted| u64::try_from(wanted) != Ok(size)) {
            return Err(s3_error!(InvalidRequest, "The parts have {size} bytes, not x-amz-mp-object-size."));
        }
        let stored =
            |name: &str| upload.attributes.iter().find(|(known, _)| known == name).map(|(_, v)| v.as_str());
        let kind = stored(TYPE);
        if self.kind.is_some() && self.kind.as_deref() != kind {
            return Err(s3_error!(
                InvalidRequest,
                "The upload was started with another x-amz-checksum-type."
            ));
        }
        let algorithm = stored(ALGORITHM).map(Algorithm::named).transpose()?;
        let computed = match (algorithm, kind) {
            (Some(algorithm), Some(kind)) => of_parts(algorithm, kind, parts).map(|value| (algorithm, value)),
            _ => None,
        };
        if let Some((wanted_algorithm, wanted)) = &self.checksum {
            let same = |value: &String| value == wanted || value.split('-').next() == Some(wanted.as_str());
            match &computed {
                Some((algorithm, value)) if algorithm == wanted_algorithm && same(value) => {}
                Some((algorithm, _)) if algorithm == wanted_algorithm => {
                    return Err(body_fault(BodyFault::Digest));
                }
                Some(_) | None => {
                    let name = wanted_algorithm.name();
                    return Err(s3_error!(
                        InvalidRequest,
                        "The upload was not started with {name} checksums."
                    ));
                }
            }
        }
        Ok(computed.map(|(algorithm, value)| (algorithm.header().to_owned(), value)).into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use pangea_core::id::BucketId;

    use super::*;

    fn upload(attributes: &[(&str, &str)]) -> UploadRow {
        let attributes = attributes.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        UploadRow { bucket: BucketId::ZERO, key: vec![], created_ms: 0, attributes, owner: String::new() }
    }

    fn rows() -> Vec<(u16, PartRow)> {
        // CRC-32 of "hello " and of "world".
        let part = |size, crc: &str| {
            let attributes = vec![(Algorithm::Crc32.header().to_owned(), crc.to_owned())];
            PartRow { content: None, size, md5: [0; 16], created_ms: 0, attributes }
        };
        vec![(1, part(6, "7YH59g==")), (2, part(5, "OncRQw=="))]
    }

    fn check(input: CompleteMultipartUploadInput, attributes: &[(&str, &str)]) -> String {
        let checked = Wanted::of(&input).and_then(|wanted| wanted.check(&upload(attributes), &rows()));
        checked.map_or_else(|error| error.code().as_str().to_owned(), |added| format!("{added:?}"))
    }

    #[test]
    fn the_whole_is_what_the_client_says() {
        let full = [(ALGORITHM, "CRC32"), (TYPE, "FULL_OBJECT")];
        let whole = "DUoRhQ==".to_owned();
        let added = "[(\"x-amz-checksum-crc32\", \"DUoRhQ==\")]";
        let input = CompleteMultipartUploadInput::default;
        assert_eq!(check(input(), &[]), "[]");
        assert_eq!(check(input(), &full), added);
        assert_eq!(
            check(CompleteMultipartUploadInput { checksum_crc32: Some(whole), ..input() }, &full),
            added
        );
        let wrong = Some("DUoRhg==".to_owned());
        assert_eq!(
            check(CompleteMultipartUploadInput { checksum_crc32: wrong.clone(), ..input() }, &full),
            "BadDigest"
        );
        assert_eq!(
            check(CompleteMultipartUploadInput { checksum_sha1: wrong, ..input() }, &full),
            "InvalidRequest"
        );
        assert_eq!(check(CompleteMultipartUploadInput { mpu_object_size: Some(11), ..input() }, &[]), "[]");
        assert_eq!(
            check(CompleteMultipartUploadInput { mpu_object_size: Some(12), ..input() }, &[]),
            "InvalidRequest"
        );
        assert_eq!(
            check(CompleteMultipartUploadInput { mpu_object_size: Some(-1), ..input() }, &[]),
            "InvalidRequest"
        );
        let kind = Some(s3s::dto::ChecksumType::from_static("COMPOSITE"));
        assert_eq!(
            check(CompleteMultipartUploadInput { checksum_type: kind, ..input() }, &full),
            "InvalidRequest"
        );
    }

    #[test]
    fn a_list_of_parts_is_parsed_strictly() {
        let etag = || Some("\"00000000000000000000000000000001\"".parse().expect("a tag"));
        let listed = |part_number, e_tag| CompletedPart { part_number, e_tag, ..CompletedPart::default() };
        let cases = [
            (vec![], "MalformedXML"),
            (vec![listed(Some(1), etag())], "1"),
            (vec![listed(None, etag())], "MalformedXML"),
            (vec![listed(Some(1), None)], "MalformedXML"),
            (vec![listed(Some(0), etag())], "InvalidArgument"),
            (vec![listed(Some(10_001), etag())], "InvalidArgument"),
            (vec![listed(Some(1), Some("\"zz\"".parse().expect("a tag")))], "InvalidPart"),
        ];
        for (list, expected) in cases {
            let told =
                parts(&list).map_or_else(|error| error.code().as_str().to_owned(), |p| p.len().to_string());
            assert_eq!(told, expected, "{list:?}");
        }
    }
}
