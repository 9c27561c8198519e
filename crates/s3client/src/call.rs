//! Calls: one request with its retries.
//!
//! Owns what is tried again and when: refusals that mean "later" (5xx, 429, SlowDown), connections that break, answers that
//! do not come. The wait doubles, with chance in it, and is never shorter than the endpoint asks for. A refusal that names
//! another region is asked for again there.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use hyper::header::HeaderMap;
use hyper::{Method, Request, Response};
use tokio::time::timeout;

use crate::body::{Meter, Metered};
use crate::endpoint::{Address, Endpoint, encode};
use crate::error::S3Error;
use crate::moment::Moment;
use crate::pool::{Pool, Sender};
use crate::sign::{Credentials, Signed, authorization, sha256_hex};
use crate::tls::Trust;
use crate::xml::Element;

/// Tries of one request unless told otherwise.
const TRIES: u32 = 8;
/// Tries of a connection while none was ever made.
const TRIES_TO_REACH: u32 = 3;
const WAIT_MIN: Duration = Duration::from_millis(100);
const WAIT_MAX: Duration = Duration::from_secs(20);
/// From the end of a request to the head of its answer, and between two pieces of a body.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Bytes a second that a connection has to take at least.
const UPLOAD_BYTES_PER_SECOND_MIN: u64 = 16 << 10;
/// An answer that is not an object is never longer.
const ANSWER_BYTES_MAX: usize = 64 << 20;
const AGENT: &str = concat!("pangea/", env!("CARGO_PKG_VERSION"));

/// Who is asked, as whom, how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server.
    pub endpoint: Endpoint,
    /// Who asks; `None`: nobody in particular.
    pub credentials: Option<Credentials>,
    /// What signatures name.
    pub region: String,
    /// Which certificates may be shown.
    pub trust: Trust,
    /// Tries of one request; `None` for the usual number.
    pub tries: Option<u32>,
}

/// A client of one endpoint. Cheap to share behind an [`Arc`].
pub struct Client {
    options: Options,
    pool: Pool,
    /// Buckets that live in another region than the client was told.
    regions: Mutex<HashMap<String, String>>,
    /// Whether any answer ever came: a server that restarts is waited for, one that never was is not.
    reached: AtomicBool,
}

/// One request, before it is signed.
pub(crate) struct Ask<'a> {
    pub(crate) method: Method,
    pub(crate) bucket: Option<&'a str>,
    pub(crate) key: Option<&'a str>,
    pub(crate) query: Vec<(&'a str, String)>,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
    /// Told of the bytes of the body, or of the answer's if `meters_answer`.
    pub(crate) meter: Meter,
    pub(crate) meters_answer: bool,
    pub(crate) answer_bytes_max: usize,
    /// How long the endpoint may think.
    pub(crate) silence_max: Duration,
}

/// A whole answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: Method, bucket: Option<&'a str>, key: Option<&'a str>) -> Self {
        Self {
            method,
            bucket,
            key,
            query: Vec::new(),
            headers: Vec::new(),
            body: Bytes::new(),
            meter: Meter::silent(),
            meters_answer: false,
            answer_bytes_max: ANSWER_BYTES_MAX,
            silence_max: SILENCE_MAX,
        }
    }

    pub(crate) fn query(mut self, name: &'a str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    pub(crate) fn maybe_query(self, name: &'a str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    pub(crate) fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn maybe_header(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.header(name, value),
            None => self,
        }
    }

    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The body as XML. A refusal behind a 200 (of copies and completions, which take long) becomes an error.
    pub(crate) fn xml(&self) -> Result<Element, S3Error> {
        let root = Element::parse(&self.body)?;
        if root.name == "Error" { Err(refusal(self.status, &self.headers, &self.body)) } else { Ok(root) }
    }
}

impl Client {
    /// Opens no connection yet.
    pub fn new(options: Options) -> Result<Self, S3Error> {
        let tls = if options.endpoint.is_secure() { Some(options.trust.config()?) } else { None };
        Ok(Self { options, pool: Pool::new(tls), regions: Mutex::default(), reached: AtomicBool::new(false) })
    }

    /// Who is asked, as whom, how.
    pub fn options(&self) -> &Options {
        &self.options
    }

    fn region(&self, bucket: Option<&str>) -> String {
        let regions = self.regions.lock().expect("a map does not panic");
        bucket.and_then(|bucket| regions.get(bucket)).unwrap_or(&self.options.region).clone()
    }

    /// Sends until there is an answer that is final.
    pub(crate) async fn send(&self, ask: &Ask<'_>) -> Result<Answer, S3Error> {
        let tries = self.options.tries.unwrap_or(TRIES).max(1);
        let payload = sha256_hex(&ask.body);
        let mut wait = WAIT_MIN;
        let mut redirected = false;
        let mut failed = 0;
        loop {
            let moved = Arc::new(AtomicU64::new(0));
            let outcome = self.send_once(ask, &payload, &moved).await;
            let (error, later) = match outcome {
                Ok(answer) => {
                    self.reached.store(true, Ordering::Relaxed);
                    match verdict(&answer) {
                        None => return Ok(answer),
                        Some(refused) => refused,
                    }
                }
                Err(error) => {
                    let again = !matches!(
                        error,
                        S3Error::Tls { .. } | S3Error::Unusable { .. } | S3Error::Garbled { .. }
                    );
                    (error, again.then_some(Duration::ZERO))
                }
            };
            ask.meter.back(moved.load(Ordering::Relaxed));
            if let (S3Error::Refused { region: Some(region), .. }, Some(bucket), false) =
                (&error, ask.bucket, redirected)
            {
                redirected = true;
                self.regions.lock().expect("a map does not panic").insert(bucket.to_owned(), region.clone());
                continue;
            }
            failed += 1;
            let never_there = matches!(error, S3Error::Unreachable { .. })
                && !self.reached.load(Ordering::Relaxed)
                && failed >= TRIES_TO_REACH;
            let Some(asked_for) = later.filter(|_| failed < tries && !never_there) else {
                return Err(error);
            };
            tokio::time::sleep(jittered(wait).max(asked_for)).await;
            wait = (wait * 2).min(WAIT_MAX);
        }
    }

    async fn send_once(
        &self,
        ask: &Ask<'_>,
        payload: &str,
        moved: &Arc<AtomicU64>,
    ) -> Result<Answer, S3Error> {
        let address = self.options.endpoint.address(ask.bucket, ask.key);
        let url = self.options.endpoint.url();
        let sending = Duration::from_secs(ask.body.len() as u64 / UPLOAD_BYTES_PER_SECOND_MIN);
        loop {
            let (mut sender, used) = self.pool.take(&address, &url).await?;
            let request = self.request(ask, payload, &address, moved)?;
            let limit = ask.silence_max + sending;
            let late = |_| S3Error::Late { endpoint: url.clone(), seconds: limit.as_secs() };
            match timeout(limit, sender.send_request(request)).await.map_err(late)? {
                Ok(response) => return self.read(ask, &address, sender, response, moved).await,
                // The server closed a connection that it had kept: nothing was wrong but the moment.
                Err(error)
                    if used
                        && (error.is_canceled() || error.is_closed() || error.is_incomplete_message()) =>
                {
                    ask.meter.back(moved.swap(0, Ordering::Relaxed));
                }
                Err(error) => return Err(S3Error::Broken { endpoint: url, why: causes(&error) }),
            }
        }
    }

    fn request(
        &self,
        ask: &Ask<'_>,
        payload: &str,
        address: &Address,
        moved: &Arc<AtomicU64>,
    ) -> Result<Request<Metered>, S3Error> {
        let mut query: Vec<(String, String)> =
            ask.query.iter().map(|(name, value)| (encode(name, ""), encode(value, ""))).collect();
        query.sort();
        let query: Vec<String> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let query = query.join("&");
        let now = Moment::now();
        let mut headers = ask.headers.clone();
        headers.push(("host".into(), address.authority.clone()));
        headers.push(("x-amz-content-sha256".into(), payload.to_owned()));
        headers.push(("x-amz-date".into(), now.compact()));
        let who = self.options.credentials.as_ref();
        if let Some(token) = who.and_then(Credentials::token) {
            headers.push(("x-amz-security-token".into(), token.to_owned()));
        }
        headers.sort();
        let target =
            if query.is_empty() { address.path.clone() } else { format!("{}?{query}", address.path) };
        let mut request =
            Request::builder().method(ask.method.clone()).uri(target).header("user-agent", AGENT);
        if let Some(who) = who {
            let (method, path) = (ask.method.as_str(), address.path.as_str());
            let what = Signed { method, path, query: &query, headers: &headers, payload };
            let region = self.region(ask.bucket);
            request = request.header("authorization", authorization(who, &region, now, &what));
        }
        for (name, value) in &headers {
            request = request.header(name, value);
        }
        if matches!(ask.method, Method::PUT | Method::POST) {
            // Of an empty body, too, which hyper would leave out.
            request = request.header("content-length", ask.body.len());
        }
        let meter = if ask.meters_answer { Meter::silent() } else { ask.meter.clone() };
        let body = Metered::new(ask.body.clone(), meter, moved.clone());
        request
            .body(body)
            .map_err(|error| S3Error::Unusable { what: format!("the request cannot be sent: {error}") })
    }

    async fn read(
        &self,
        ask: &Ask<'_>,
        address: &Address,
        sender: Sender,
        response: Response<Incoming>,
        moved: &AtomicU64,
    ) -> Result<Answer, S3Error> {
        let url = self.options.endpoint.url();
        let status = response.status().as_u16();
        let (head, mut incoming) = response.into_parts();
        let good = ask.meters_answer && head.status.is_success();
        let mut body =
            BytesMut::with_capacity(incoming.size_hint().lower().min(ask.answer_bytes_max as u64) as usize);
        loop {
            let late = |_| S3Error::Late { endpoint: url.clone(), seconds: ask.silence_max.as_secs() };
            let Some(frame) = timeout(ask.silence_max, incoming.frame()).await.map_err(late)? else { break };
            let frame =
                frame.map_err(|error| S3Error::Broken { endpoint: url.clone(), why: causes(&error) })?;
            let Ok(data) = frame.into_data() else { continue };
            if body.len() + data.len() > ask.answer_bytes_max.max(if good { 0 } else { ANSWER_BYTES_MAX }) {
                return Err(S3Error::garbled(format!("more than {} bytes came", ask.answer_bytes_max)));
            }
            body.extend_from_slice(&data);
            if good {
                moved.fetch_add(data.len() as u64, Ordering::Relaxed);
                ask.meter.moved(data.len());
            }
        }
        self.pool.give_back(&address.authority, sender);
        Ok(Answer { status, headers: head.headers, body: body.freeze() })
    }
}

/// Nothing when the answer is good; else why not, and when it makes sense to ask again.
fn verdict(answer: &Answer) -> Option<(S3Error, Option<Duration>)> {
    if (200..300).contains(&answer.status) {
        // Copies and completions say 200 before they know. An object may look like a refusal, so only what is XML counts.
        let is_error = answer.header("content-type").is_some_and(|kind| kind.contains("xml"))
            && answer.header("etag").is_none()
            && answer.body.len() < 4096
            && Element::parse(&answer.body).is_ok_and(|root| root.name == "Error");
        if !is_error {
            return None;
        }
    }
    let error = refusal(answer.status, &answer.headers, &answer.body);
    let code = error.code().unwrap_or_default();
    let later = matches!(answer.status, 429 | 500 | 502 | 503 | 504)
        || matches!(
            code,
            "SlowDown" | "RequestTimeout" | "InternalError" | "ServiceUnavailable" | "OperationAborted"
        )
        || code == "ThrottlingException";
    let asked_for =
        answer.header("retry-after").and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
    Some((error, later.then(|| asked_for.unwrap_or_default().min(WAIT_MAX))))
}

/// The refusal in an answer; without a body, its status in words.
fn refusal(status: u16, headers: &HeaderMap, body: &[u8]) -> S3Error {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let root = Element::parse(body).ok().filter(|root| root.name == "Error").unwrap_or_default();
    let known = match status {
        301 | 307 => "PermanentRedirect",
        304 => "NotModified",
        400 => "BadRequest",
        403 => "AccessDenied",
        404 => "NotFound",
        405 => "MethodNotAllowed",
        412 => "PreconditionFailed",
        416 => "InvalidRange",
        429 => "SlowDown",
        500 => "InternalError",
        501 => "NotImplemented",
        503 => "ServiceUnavailable",
        _ => "HTTP error",
    };
    let code = root.some_text_of("Code").unwrap_or_else(|| known.to_owned());
    let named = header("x-amz-bucket-region").or_else(|| root.some_text_of("Region"));
    let misplaced = matches!(status, 301 | 307) || code == "AuthorizationHeaderMalformed" || status == 400;
    S3Error::Refused {
        status,
        message: root.text_of("Message").to_owned(),
        request_id: header("x-amz-request-id").or_else(|| root.some_text_of("RequestId")).unwrap_or_default(),
        region: named.filter(|_| misplaced),
        code,
    }
}

/// An error with what lies under it: hyper's own words are "connection error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut under = error.source();
    while let Some(error) = under {
        text = format!("{text}: {error}");
        under = error.source();
    }
    text
}

/// Between half and the whole, so that many clients do not come back at once.
fn jittered(wait: Duration) -> Duration {
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |t| t.subsec_nanos());
    wait / 2 + wait.mul_f64(f64::from(nanos % 1000) / 2000.0)
}
