//! Who asks: the one credential lookup of a request, and the typed [`Principal`] that comes out of it.
//!
//! `s3s` verifies the signature with the secret that [`Keys::get_secret_key`] gives it, before it routes; then
//! [`Gatekeeper::check`] puts the principal into the request's extensions. A verb takes a [`Call`], and a `Call` can be
//! made only out of a request that carries a principal.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use hyper::HeaderMap;
use pangea_client::{Client, ClientError};
use pangea_core::meta::BucketRow;
use s3s::access::{S3Access, S3AccessContext};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3Request, S3Result, TrailingHeaders, s3_error};

use crate::access::{Action, Target, action, allowed};
use crate::grants::Grants;
use crate::metrics::Operation;
use crate::rate::KeyRates;
use crate::scope::{CURRENT, Scope as RequestScope};
use crate::screen::query;

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
    pub(crate) key: SecretKey,
    pub(crate) scope: Scope,
}

impl Secret {
    /// The secret of a key that may do everything.
    pub fn root(secret: String) -> Self {
        Self { key: SecretKey::from(secret), scope: Scope::Root }
    }

    /// The secret of a key that may do what was granted.
    pub fn granted(secret: String, grants: Arc<Grants>) -> Self {
        Self { key: SecretKey::from(secret), scope: Scope::Granted(grants) }
    }
}

/// How far a key reaches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Everything.
    Root,
    /// What was granted.
    Granted(Arc<Grants>),
}

/// Who a request is from: the holder of an access key that signed it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Principal {
    /// The access key's id.
    pub access_key: String,
    /// How far it reaches.
    pub scope: Scope,
}

impl Principal {
    /// Whether it may do everything.
    pub(crate) fn is_root(&self) -> bool {
        self.scope == Scope::Root
    }

    /// Whether it matters to this principal who made a bucket.
    fn asks_owner(&self) -> bool {
        match &self.scope {
            Scope::Root => false,
            Scope::Granted(grants) => grants.ask_owner(),
        }
    }
}

/// Asks whether a principal may do an action, and finds out whose the bucket is where that matters.
///
/// A bucket that is not there has no owner: a key that depends on it is told so, as the verb would have told it.
pub(crate) async fn authorise(
    client: &Client,
    scope: &RequestScope,
    principal: &Principal,
    action: Action,
    (bucket, key): (&str, &str),
) -> S3Result<()> {
    let allowed_for = |owner| allowed(principal, action, Target { bucket, owner, key });
    if allowed_for(None) {
        return Ok(());
    }
    if !principal.asks_owner() || bucket.is_empty() {
        return Err(s3_error!(AccessDenied));
    }
    let row = client.bucket(bucket).await.map_err(|error| scope.refuse(error))?;
    if allowed_for(Some(&row.owner)) { Ok(()) } else { Err(s3_error!(AccessDenied)) }
}

/// The lookup, as `s3s` wants it.
pub(crate) struct Keys(pub(crate) Arc<dyn Credentials>);

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        let scope = CURRENT.try_with(Arc::clone).map_err(|_outside| s3_error!(InternalError))?;
        match self.0.secret(access_key).await {
            Ok(Some(secret)) => {
                scope.set_candidate(Principal { access_key: access_key.to_owned(), scope: secret.scope });
                Ok(secret.key)
            }
            Ok(None) => Err(s3_error!(InvalidAccessKeyId)),
            Err(error) => Err(scope.refuse(error)),
        }
    }
}

/// Runs after the signature is verified and the operation is known, before anything of the request is parsed or done.
pub(crate) struct Gatekeeper {
    /// Tells whose a bucket is.
    pub(crate) client: Client,
    /// How fast each key may ask.
    pub(crate) rates: Arc<KeyRates>,
}

#[async_trait::async_trait]
impl S3Access for Gatekeeper {
    async fn check(&self, cx: &mut S3AccessContext<'_>) -> S3Result<()> {
        let scope = cx
            .extensions_mut()
            .get::<Arc<RequestScope>>()
            .cloned()
            .ok_or_else(|| s3_error!(InternalError))?;
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
        scope.set_verified();
        self.rates.take(&principal.access_key)?;
        let Some(action) = action(name) else {
            return Err(s3_error!(NotImplemented, "{name} is not implemented by this server."));
        };
        let key = match key {
            Some(key) => key.to_owned(),
            None if action == Action::List => listed(cx.uri()),
            None => String::new(),
        };
        authorise(&self.client, &scope, &principal, action, (bucket, &key)).await?;
        // Not before: whoever may not use a bucket must not find out whose it is.
        let insists = cx.headers().get("x-amz-expected-bucket-owner");
        if let Some(insists) = insists.map(|value| value.to_str().unwrap_or_default()) {
            expect_owner(&self.client, &scope, bucket, insists).await?;
        }
        cx.extensions_mut().insert(principal);
        Ok(())
    }
}

/// What the keys of a listing begin with, as its query says; the verbs ask again with what they understood.
fn listed(uri: &hyper::Uri) -> String {
    query(uri).into_iter().find(|(name, _)| name == "prefix").map(|(_, prefix)| prefix).unwrap_or_default()
}

/// A request that insists on another owner must not succeed by accident.
pub(crate) async fn expect_owner(
    client: &Client,
    scope: &RequestScope,
    bucket: &str,
    expected: &str,
) -> S3Result<()> {
    match client.bucket(bucket).await {
        Ok(row) if row.owner == expected => Ok(()),
        // The verb says so itself.
        Err(ClientError::NoSuchBucket) => Ok(()),
        Ok(_) => Err(s3_error!(AccessDenied, "The bucket does not have the expected owner.")),
        Err(error) => Err(scope.refuse(error)),
    }
}

/// A request on its way into a verb: authenticated, and allowed what its address says.
pub(crate) struct Call<T> {
    /// The operation's input.
    pub(crate) input: T,
    /// Who asks.
    pub(crate) principal: Principal,
    /// The request's own facts.
    pub(crate) scope: Arc<RequestScope>,
    /// All headers, for those that the input does not carry.
    pub(crate) headers: HeaderMap,
    /// The trailers of an aws-chunked body; there once the body is read.
    pub(crate) trailers: Option<TrailingHeaders>,
}

impl<T> Call<T> {
    /// Opens a request, if [`Gatekeeper`] let it through.
    pub(crate) fn open(mut request: S3Request<T>) -> S3Result<Self> {
        let principal = request.extensions.remove::<Principal>().ok_or_else(|| s3_error!(AccessDenied))?;
        let scope =
            request.extensions.remove::<Arc<RequestScope>>().ok_or_else(|| s3_error!(InternalError))?;
        scope.set_reached();
        let S3Request { input, headers, trailing_headers, .. } = request;
        Ok(Self { input, principal, scope, headers, trailers: trailing_headers })
    }

    /// Asks for what the address does not say: a copy's source, a listing's prefix.
    pub(crate) async fn require(
        &self,
        client: &Client,
        action: Action,
        bucket: &str,
        key: &str,
    ) -> S3Result<()> {
        authorise(client, &self.scope, &self.principal, action, (bucket, key)).await
    }

    /// The same where the bucket was read already.
    pub(crate) fn require_in(&self, action: Action, bucket: &BucketRow, key: &str) -> S3Result<()> {
        let target = Target { bucket: &bucket.name, owner: Some(&bucket.owner), key };
        if allowed(&self.principal, action, target) { Ok(()) } else { Err(s3_error!(AccessDenied)) }
    }

    /// The answer to a failure of the data path.
    pub(crate) fn refuse(&self, error: ClientError) -> S3Error {
        self.scope.refuse(error)
    }
}
