//! CreateBucket: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html>
//!
//! A bucket that the caller has already is 409 BucketAlreadyOwnedByYou in every region; every client takes that, and
//! only us-east-1 ever said 200.

use pangea_client::ClientError;
use s3s::dto::{CreateBucketInput, CreateBucketOutput};
use s3s::{S3Response, S3Result, s3_error};

use crate::adapter::Gate;
use crate::attributes::Wishes;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<CreateBucketInput>,
) -> S3Result<S3Response<CreateBucketOutput>> {
    let input = &call.input;
    let wishes = Wishes {
        acl: input.acl.as_ref().map(|acl| acl.as_str()),
        grants: input.grant_full_control.is_some()
            || input.grant_read.is_some()
            || input.grant_read_acp.is_some()
            || input.grant_write.is_some()
            || input.grant_write_acp.is_some(),
        lock: input.object_lock_enabled_for_bucket == Some(true),
        ..Wishes::default()
    };
    wishes.check()?;
    let place =
        input.create_bucket_configuration.as_ref().and_then(|config| config.location_constraint.as_ref());
    if let Some(place) =
        place.map(|place| place.as_str()).filter(|place| !place.is_empty() && *place != gate.region)
    {
        let here = &gate.region;
        return Err(s3_error!(
            InvalidLocationConstraint,
            "There is no region '{place}' here; use '{here}' or none."
        ));
    }
    match gate.client.create_bucket(&input.bucket, &call.principal.access_key).await {
        Ok(_) => Ok(S3Response::new(CreateBucketOutput { location: Some(format!("/{}", input.bucket)) })),
        Err(ClientError::BucketExists { owner })
            if owner == call.principal.access_key || call.principal.is_root() =>
        {
            Err(s3_error!(BucketAlreadyOwnedByYou, "You have a bucket of that name already."))
        }
        Err(error) => Err(call.refuse(error)),
    }
}
