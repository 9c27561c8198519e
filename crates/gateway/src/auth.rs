//! Who asks: the one credential lookup of a request, and the typed [`Principal`] that comes out of it.
//!
//! `s3s` verifies the signature with the secret that [`Keys::get_secret_key`] gives it, before it routes; then
//! [`Gatekeeper::check`] puts the principal into the request's extensions. A verb takes a [`Call`], and a `Call` can be
//! made only out of a request that carries a principal.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::HeaderMap;
use pangea_client::ClientError;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3Request, S3Result, TrailingHeaders, s3_error};

use crate::access::{Action, action, allowed};
use crate::metrics::Operation;
use crate::scope::{CURRENT, Scope};

/// The answer of a credential lookup.
pub type Lookup<'a> = Pin<Box<dyn Future<Output = Result<Option<Secret>, ClientError>> + Send + 'a>>;

/// The access keys, given by the node.
pub trait Credentials: Send + Sync {
    /// The secret of that access key; `None`: there is no such key. An error means that the keys cannot be read now,
    /// and denies.
    fn secret<'a>(&'a self, access_key: &'a str) -> Lookup<'a>;
}

/// What belongs to an access key. Neither printed nor compared; the secret is wiped when dropped.
#[derive(Clone)]
pub struct Secret {
    key: SecretKey,
    root: bool,
}

impl Secret {
    /// The secret of an access key; `root`: it may do everything.
    pub fn new(secret: String, root: bool) -> Self {
        Self { key: SecretKey::from(secret), root }
    }
}

/// Who a request is from: the holder of an access key that signed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// The access key's id.
    pub access_key: String,
    /// Whether it may do everything.
    pub root: bool,
}

/// The lookup, as `s3s` wants it.
pub(crate) struct Keys(pub(crate) Arc<dyn Credentials>);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let scope = CURRENT.try_with(Arc::clone).map_err(|_outside| s3_error!(InternalError))?;
        match self.0.secret(access_key).await {
            Ok(Some(secret)) => {
                scope.set_candidate(Principal { access_key: access_key.to_owned(), root: secret.root });
                Ok(secret.key)
            }
            Ok(None) => Err(s3_error!(InvalidAccessKeyId)),
            Err(error) => Err(scope.refuse(error)),
        }
    }
}

/// Runs after the signature is verified and the operation is known, before anything of the request is parsed or done.
pub(crate) struct Gatekeeper;

#[async_trait::async_trait]
impl S3Access for Gatekeeper {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let scope =
            cx.extensions_mut().get::<Arc<Scope>>().cloned().ok_or_else(|| s3_error!(InternalError))?;
        let name = cx.s3_op().name();
        scope.set_operation(Operation::named(name));
        let bucket = cx.s3_path().get_bucket_name().unwrap_or_default();
        let key = cx.s3_path().get_object_key();
        if !bucket.is_empty() {
            scope.set_target(bucket, key);
        }
        let Some(credentials) = cx.credentials() else {
            return Err(s3_error!(AccessDenied, "Anonymous requests are not allowed: sign the request."));
        };
        let principal =
            scope.candidate(&credentials.access_key).ok_or_else(|| s3_error!(AccessDenied))?.clone();
        let Some(action) = action(name) else {
            return Err(s3_error!(NotImplemented, "{name} is not implemented by this server."));
        };
        // Buckets belong to access keys; a request that insists on another owner must not succeed by accident.
        let insists = cx.headers().get("x-amz-expected-bucket-owner");
        if insists.is_some_and(|owner| owner.as_bytes() != principal.access_key.as_bytes()) {
            return Err(s3_error!(AccessDenied, "The bucket does not have the expected owner."));
        }
        if !allowed(&principal, action, bucket, key.unwrap_or_default()) {
            return Err(s3_error!(AccessDenied));
        }
        cx.extensions_mut().insert(principal);
        Ok(())
    }
}

/// A request on its way into a verb: authenticated, and allowed what its address says.
pub(crate) struct Call<T> {
    /// The operation's input.
    pub(crate) input: T,
    /// Who asks.
    pub(crate) principal: Principal,
    /// The request's own facts.
    pub(crate) scope: Arc<Scope>,
    /// All headers, for those that the input does not carry.
    pub(crate) headers: HeaderMap,
    /// The trailers of an aws-chunked body; there once the body is read.
    pub(crate) trailers: Option<TrailingHeaders>,
}

impl<T> Call<T> {
    /// Opens a request, if [`Gatekeeper`] let it through.
    pub(crate) fn open(mut request: S3Request<T>) -> S3Result<Self> {
        let principal = request.extensions.remove::<Principal>().ok_or_else(|| s3_error!(AccessDenied))?;
        let scope = request.extensions.remove::<Arc<Scope>>().ok_or_else(|| s3_error!(InternalError))?;
        scope.set_reached();
        let S3Request { input, headers, trailing_headers, .. } = request;
        Ok(Self { input, principal, scope, headers, trailers: trailing_headers })
    }

    /// Asks for what the address does not say: a copy's source, a key in a list.
    pub(crate) fn require(&self, action: Action, bucket: &str, key: &str) -> S3Result<()> {
        if allowed(&self.principal, action, bucket, key) { Ok(()) } else { Err(s3_error!(AccessDenied)) }
    }

    /// The answer to a failure of the data path.
    pub(crate) fn refuse(&self, error: ClientError) -> S3Error {
        self.scope.refuse(error)
    }
}
