//! CreateMultipartUpload: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateMultipartUpload.html>

use s3s::dto::{ChecksumAlgorithm, ChecksumType, CreateMultipartUploadInput, CreateMultipartUploadOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::attributes::{encryption, taken};
use crate::auth::Call;
use crate::checksum::{ALGORITHM, Algorithm, TYPE};

pub(crate) async fn run(
    gate: &Gate,
    mut call: Call<CreateMultipartUploadInput>,
) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
    let input = &mut call.input;
    let mut attributes = taken!(input)?.attributes()?;
    let wanted = input.checksum_type.as_ref().map(ChecksumType::as_str);
    let checksum = match &input.checksum_algorithm {
        Some(name) => {
            let algorithm = Algorithm::named(name.as_str())?;
            Some((algorithm, algorithm.kind(wanted)?))
        }
        None if wanted.is_some() => {
            return Err(s3_error!(InvalidRequest, "x-amz-checksum-type needs x-amz-checksum-algorithm."));
        }
        None => None,
    };
    if let Some((algorithm, kind)) = checksum {
        attributes.push((ALGORITHM.to_owned(), algorithm.name().to_owned()));
        attributes.push((TYPE.to_owned(), kind.to_owned()));
    }
    attributes.sort_unstable();
    let server_side_encryption = encryption();
    let input = &call.input;
    let (client, owner) = (&gate.client, &call.principal.access_key);
    let upload = client.create_upload(&input.bucket, input.key.as_bytes(), attributes, owner).await;
    let upload = upload.map_err(|error| call.refuse(error))?;
    Ok(S3Response::new(CreateMultipartUploadOutput {
        bucket: Some(input.bucket.clone()),
        checksum_algorithm: checksum.map(|(algorithm, _)| ChecksumAlgorithm::from_static(algorithm.name())),
        checksum_type: checksum.map(|(_, kind)| ChecksumType::from_static(kind)),
        key: Some(input.key.clone()),
        server_side_encryption,
        upload_id: Some(upload.to_string()),
        ..CreateMultipartUploadOutput::default()
    }))
}
