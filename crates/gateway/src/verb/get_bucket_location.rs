//! GetBucketLocation: <https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetBucketLocation.html>
//!
//! us-east-1 is said by saying nothing.

use s3s::dto::{BucketLocationConstraint, GetBucketLocationInput, GetBucketLocationOutput};
use s3s::{S3Response, S3Result};

use crate::adapter::Gate;
use crate::auth::Call;

pub(crate) async fn run(
    gate: &Gate,
    call: Call<GetBucketLocationInput>,
) -> S3Result<S3Response<GetBucketLocationOutput>> {
    gate.client.bucket(&call.input.bucket).await.map_err(|error| call.refuse(error))?;
    let place = (gate.region != "us-east-1").then(|| BucketLocationConstraint::from(gate.region.clone()));
    Ok(S3Response::new(GetBucketLocationOutput { location_constraint: place }))
}
