//! Buckets: CreateBucket, DeleteBucket, ListBuckets, HeadBucket, PutBucketVersioning.

use hyper::Method;

use crate::call::{Ask, Client};
use crate::error::S3Error;
use crate::moment::Moment;

/// A bucket as ListBuckets shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created: Option<Moment>,
}

impl Client {
    /// All buckets that this key may see.
    pub async fn buckets(&self) -> Result<Vec<Bucket>, S3Error> {
        let root = self.send(&Ask::new(Method::GET, None, None)).await?.xml()?;
        let buckets = root.child("Buckets").ok_or_else(|| S3Error::garbled("a list of buckets"))?;
        let bucket = |element: &crate::xml::Element| Bucket {
            name: element.text_of("Name").to_owned(),
            created: Moment::from_iso(element.text_of("CreationDate")),
        };
        Ok(buckets.all("Bucket").map(bucket).collect())
    }

    /// Makes a bucket, in the client's region or another.
    pub async fn create_bucket(&self, name: &str, region: Option<&str>) -> Result<(), S3Error> {
        let region = region.unwrap_or(&self.options().region);
        // us-east-1 is where buckets are that name no region, and AWS refuses to have it named.
        let body = if region == "us-east-1" {
            String::new()
        } else {
            format!(
                "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{}\
                 </LocationConstraint></CreateBucketConfiguration>",
                crate::xml::escape(region)
            )
        };
        self.send(&Ask::new(Method::PUT, Some(name), None).body(body)).await.map(drop)
    }

    /// Removes an empty bucket.
    pub async fn delete_bucket(&self, name: &str) -> Result<(), S3Error> {
        self.send(&Ask::new(Method::DELETE, Some(name), None)).await.map(drop)
    }

    /// Whether there is such a bucket that this key may use; its region, if the endpoint says it.
    pub async fn head_bucket(&self, name: &str) -> Result<Option<String>, S3Error> {
        let answer = self.send(&Ask::new(Method::HEAD, Some(name), None)).await?;
        Ok(answer.header("x-amz-bucket-region").map(str::to_owned))
    }

    /// Keeps all versions of this bucket's objects from now on.
    pub async fn enable_versioning(&self, name: &str) -> Result<(), S3Error> {
        let body = "<VersioningConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Status>Enabled</Status>\
                    </VersioningConfiguration>";
        let ask = Ask::new(Method::PUT, Some(name), None).query("versioning", "").body(body);
        self.send(&ask.with_md5()).await.map(drop)
    }

    /// `Enabled`, `Suspended`, or nothing.
    pub async fn versioning(&self, name: &str) -> Result<Option<String>, S3Error> {
        let ask = Ask::new(Method::GET, Some(name), None).query("versioning", "");
        Ok(self.send(&ask).await?.xml()?.some_text_of("Status"))
    }
}

impl Ask<'_> {
    /// Adds Content-MD5, which S3 wants with documents.
    pub(crate) fn with_md5(self) -> Self {
        use md5::Digest as _;
        let sum = base64_simd::STANDARD.encode_to_string(md5::Md5::digest(&self.body));
        self.header("content-md5", sum)
    }
}
