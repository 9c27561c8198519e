//! `s3s`'s trait, delegating every operation to its file under `verb`. What is not listed answers NotImplemented.

use pangea_client::Client;
use s3s::{S3, S3Request, S3Response, S3Result, dto};

use crate::auth::Call;
use crate::verb;

/// What every verb works with.
pub(crate) struct Gate {
    /// The data path.
    pub(crate) client: Client,
    /// Seals continuation tokens.
    pub(crate) token_key: [u8; 32],
    /// Where we are.
    pub(crate) region: String,
}

/// See the module.
pub(crate) struct Adapter(Gate);

impl Adapter {
    /// Verbs over that data path.
    pub(crate) fn new(client: Client, token_key: [u8; 32], region: String) -> Self {
        Self(Gate { client, token_key, region })
    }
}

macro_rules! verbs {
    ($($verb:ident: $input:ident => $output:ident,)*) => {
        #[async_trait::async_trait]
        impl S3 for Adapter {
            $(async fn $verb(&self, request: S3Request<dto::$input>) -> S3Result<S3Response<dto::$output>> {
                verb::$verb::run(&self.0, Call::open(request)?).await
            })*
        }
    };
}

verbs! {
    abort_multipart_upload: AbortMultipartUploadInput => AbortMultipartUploadOutput,
    complete_multipart_upload: CompleteMultipartUploadInput => CompleteMultipartUploadOutput,
    copy_object: CopyObjectInput => CopyObjectOutput,
    create_bucket: CreateBucketInput => CreateBucketOutput,
    create_multipart_upload: CreateMultipartUploadInput => CreateMultipartUploadOutput,
    delete_bucket: DeleteBucketInput => DeleteBucketOutput,
    delete_object: DeleteObjectInput => DeleteObjectOutput,
    delete_objects: DeleteObjectsInput => DeleteObjectsOutput,
    get_bucket_location: GetBucketLocationInput => GetBucketLocationOutput,
    get_bucket_versioning: GetBucketVersioningInput => GetBucketVersioningOutput,
    get_object: GetObjectInput => GetObjectOutput,
    get_object_tagging: GetObjectTaggingInput => GetObjectTaggingOutput,
    head_bucket: HeadBucketInput => HeadBucketOutput,
    head_object: HeadObjectInput => HeadObjectOutput,
    list_buckets: ListBucketsInput => ListBucketsOutput,
    list_multipart_uploads: ListMultipartUploadsInput => ListMultipartUploadsOutput,
    list_objects: ListObjectsInput => ListObjectsOutput,
    list_objects_v2: ListObjectsV2Input => ListObjectsV2Output,
    list_parts: ListPartsInput => ListPartsOutput,
    put_bucket_versioning: PutBucketVersioningInput => PutBucketVersioningOutput,
    put_object: PutObjectInput => PutObjectOutput,
    upload_part: UploadPartInput => UploadPartOutput,
    upload_part_copy: UploadPartCopyInput => UploadPartCopyOutput,
}
