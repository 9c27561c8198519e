//! One request from head to last byte: id, screening, its turn, `s3s`, and the answer's last touch.
//!
//! `s3s` routes, verifies and parses; its error documents are written anew here, so that every answer has the same
//! shape: Code, Message (what, and how to right it), Resource, RequestId; no body for HEAD.

use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::{BuildHasher as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::body::{Body as _, Incoming};
use hyper::header::{
    ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, EXPECT, HOST,
    HeaderName, HeaderValue, ORIGIN, RANGE, RETRY_AFTER, SERVER, TRANSFER_ENCODING,
};
use hyper::http::request;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use pangea_client::Client;
use s3s::config::{S3Config, StaticConfigProvider};
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{HttpResponse, S3Error, S3Result, dto, s3_error};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::adapter::{Adapter, Gate};
use crate::auth::{Credentials, Gatekeeper, Keys};
use crate::connection::Phase;
use crate::cors::Rules;
use crate::error::{advice, body_fault, content_sha256_mismatch, custom, document, read_document, slow_down};
use crate::form;
use crate::host::Hosts;
use crate::inlet::{BodyFault, Inlet, Share};
use crate::jam::{Jam, Lines};
use crate::metrics::{Metrics, Operation};
use crate::names::BucketNames;
use crate::options::{DOCUMENT_BYTES_MAX, Options, Parts};
use crate::outlet::{Ending, Journal, Outlet};
use crate::pace::Pace;
use crate::rate::KeyRates;
use crate::scope::{CURRENT, Scope};
use crate::screen::{Plan, screen};
use crate::signed::BUCKET_REGION;
use crate::turnstile::Turnstile;
use crate::window::Windows;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-amz-request-id");
/// What 503 tells clients to wait, in seconds.
const RETRY_AFTER_S: &str = "1";

/// What finds out who asks, for requests that `s3s` does not carry.
pub(crate) struct Doorman {
    /// The data path.
    pub(crate) client: Client,
    /// The access keys.
    pub(crate) keys: Arc<dyn Credentials>,
    /// How fast each key may ask.
    pub(crate) rates: Arc<KeyRates>,
    /// Where we are.
    pub(crate) region: String,
}

/// Everything between a connection and the verbs.
pub(crate) struct Front {
    doorman: Doorman,
    service: S3Service,
    hosts: Hosts,
    options: Options,
    metrics: Arc<Metrics>,
    journal: Option<Arc<dyn Journal>>,
    requests: Arc<Turnstile>,
    forms: Arc<Turnstile>,
    body_kib: Arc<Turnstile>,
    /// Who waits for what bodies hold.
    lines: Lines,
    kept_kib: Arc<Semaphore>,
    id_base: u64,
    id_next: AtomicU64,
}

/// What the head told that is wanted once more for the answer.
struct Asked {
    method: Method,
    resource: String,
    bad_range: bool,
    hashed_body: bool,
    expects_continue: bool,
}

impl Front {
    /// Puts the layers together.
    pub(crate) fn new(parts: Parts, metrics: Arc<Metrics>) -> Self {
        let Parts { client, credentials, token_key, region, options, journal, tls: _ } = parts;
        let hosts = Hosts::new(&options.domains);
        let windows = Windows::new(options.answer_bytes_max, options.queue_wait);
        let gate = Gate { client: client.clone(), token_key, region: region.clone(), windows };
        let mut builder = S3ServiceBuilder::new(Adapter::new(gate));
        builder.set_auth(Keys(Arc::clone(&credentials)));
        let rates = Arc::new(KeyRates::new(options.key_requests_per_second));
        builder.set_access(Gatekeeper { client: client.clone(), rates: Arc::clone(&rates) });
        builder.set_validation(BucketNames);
        builder.set_host(hosts.clone());
        builder.set_config(Arc::new(StaticConfigProvider::new(Arc::new(config()))));
        let kib_max = (options.body_bytes_max >> 10).min(Semaphore::MAX_PERMITS);
        let requests = Turnstile::new(options.requests_max);
        let body_kib = Turnstile::new(kib_max.max(options.body_window_bytes() >> 10));
        let seen = (Arc::clone(&requests), Arc::clone(&body_kib), client.clone());
        let lines = move || [seen.0.line(), seen.1.line(), seen.2.waiting_for_memory()];
        Self {
            doorman: Doorman { client, keys: credentials, rates, region },
            service: builder.build(),
            hosts,
            metrics,
            journal,
            requests,
            forms: Turnstile::new(options.forms_max.max(1)),
            kept_kib: Arc::new(Semaphore::new(kib_max)),
            body_kib,
            lines: Arc::new(lines),
            options,
            // Unique ids need no secrecy: the standard library's own random seed will do.
            id_base: RandomState::new().build_hasher().finish(),
            id_next: AtomicU64::new(1),
        }
    }

    /// Serves one request.
    pub(crate) async fn serve(
        self: Arc<Self>,
        request: Request<Incoming>,
        phase: Phase,
    ) -> Result<Response<Outlet>, Infallible> {
        phase.serve();
        self.metrics.enter();
        let scope = Arc::new(Scope::new(self.next_id()));
        let mut ending = Ending {
            scope: Arc::clone(&scope),
            method: request.method().clone(),
            status: 0,
            code: None,
            metrics: Arc::clone(&self.metrics),
            journal: self.journal.clone(),
            phase: phase.clone(),
            slot: None,
        };
        let (head, body) = request.into_parts();
        scope.set_body_left(!body.is_end_stream());
        let asked = asked(&head);
        let malformed = phase.take_malformed();
        let bucket = bucket_of(&head, &self.hosts);
        let browser = head.headers.contains_key(ORIGIN).then(|| head.headers.clone());
        let answered = match self.admit(&head, malformed) {
            Ok(_) if asked.method == Method::OPTIONS => {
                self.preflight(&head.headers, &bucket, &scope, &mut ending).await
            }
            Ok(plan) if plan.form => self.form(head, body, (plan, &bucket), &scope, &mut ending).await,
            Ok(plan) => self.call(head, body, plan, &scope, &mut ending).await,
            Err(refusal) => Err(refusal),
        };
        let answer = match answered {
            Ok(answer) => answer,
            Err(refusal) => write_refusal(refusal, &asked, &scope, &mut ending),
        };
        let (mut head, body) = finish(answer, &asked, &scope, &mut ending).into_parts();
        if let Some(browser) = browser.filter(|_| asked.method != Method::OPTIONS) {
            let rules = self.rules(&bucket, &mut ending).await.unwrap_or_default();
            head.headers.extend(rules.answer(asked.method.as_str(), &browser).unwrap_or_default());
        }
        // Where some of the body is still to come, the connection ends: its bytes would be taken for those of the next head
        // (see `connection`). And botocore takes the status of a final answer to `Expect: 100-continue` for that of every
        // later request on the same connection.
        // So does it where too many connections keep their buffers.
        let is_kept = || phase.keep(&self.kept_kib, self.options.kept_kib(scope.bytes().0));
        if malformed || scope.body_left() || asked.expects_continue && !scope.body_asked() || !is_kept() {
            head.headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        ending.status = head.status.as_u16();
        Ok(Response::from_parts(head, Outlet::new(body, ending)))
    }

    /// hyper's buffer of a connection, at most.
    pub(crate) fn read_buffer_bytes(&self) -> usize {
        self.options.read_buffer_bytes()
    }

    fn next_id(&self) -> String {
        // An odd step walks through all 64-bit numbers before it repeats one.
        let step = self.id_next.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        format!("{:016X}", self.id_base.wrapping_add(step))
    }

    fn admit(&self, head: &request::Parts, malformed: bool) -> S3Result<Plan> {
        if malformed {
            return Err(s3_error!(
                InvalidRequest,
                "The head is ambiguous: send either Content-Length or Transfer-Encoding, and end lines with CRLF."
            ));
        }
        screen(head, &self.hosts, &self.doorman.region, &self.options)
    }

    async fn call(
        &self,
        head: request::Parts,
        body: Incoming,
        plan: Plan,
        scope: &Arc<Scope>,
        ending: &mut Ending,
    ) -> S3Result<HttpResponse> {
        ending.slot = Some(self.turn(&self.requests, 1).await?);
        let body = if body.is_end_stream() && plan.chunked.is_none() {
            s3s::Body::empty()
        } else {
            self.let_in(body, plan, scope).await?
        };
        let mut request = Request::from_parts(head, body);
        request.extensions_mut().insert(Arc::clone(scope));
        let answered = CURRENT.scope(Arc::clone(scope), self.service.call(request)).await;
        answered.map_err(|error| {
            scope.note(format!("{error:?}"));
            s3_error!(InternalError)
        })
    }

    /// Lets a body in, once there is memory for it.
    async fn let_in(&self, body: Incoming, plan: Plan, scope: &Arc<Scope>) -> S3Result<s3s::Body> {
        let usual = self.options.body_window_bytes();
        let window = usize::try_from(plan.bytes_max).unwrap_or(usize::MAX).min(usual);
        let held = self.turn(&self.body_kib, u32::try_from(window >> 10).unwrap_or(u32::MAX)).await?;
        let share = Share { all: Arc::clone(self.body_kib.places()), held, window: usual };
        let jam = Jam::new(Arc::clone(&self.lines));
        let pace = Pace { grace: self.options.body_grace, rate_min: self.options.body_rate_min };
        Ok(s3s::Body::http_body(Inlet::new(body, plan, Arc::clone(scope), pace, share).giving_way(jam)))
    }

    /// Serves a browser's form. Who sends it is known only when its fields have come: until then it has one of a few places
    /// of its own, for a short time, and takes none from requests that are signed in their head.
    async fn form(
        &self,
        head: request::Parts,
        body: Incoming,
        (plan, bucket): (Plan, &str),
        scope: &Arc<Scope>,
        ending: &mut Ending,
    ) -> S3Result<HttpResponse> {
        let place = self.turn(&self.forms, 1).await?;
        let opened = async {
            let body = self.let_in(body, plan, scope).await?;
            form::open(&self.doorman, scope, (&head, bucket), body).await
        };
        let opened = timeout(self.options.head_timeout, opened).await;
        let posted = opened.map_err(|_elapsed| body_fault(BodyFault::Slow))??;
        ending.slot = Some(self.turn(&self.requests, 1).await?);
        drop(place);
        form::carry_out(&self.doorman, scope, bucket, posted).await
    }

    /// A bucket's rules for browsers; none where they cannot be read. Strangers may ask: that takes a request's place, too.
    async fn rules(&self, bucket: &str, ending: &mut Ending) -> S3Result<Rules> {
        if bucket.is_empty() {
            return Ok(Rules::default());
        }
        if ending.slot.is_none() {
            ending.slot = Some(self.turn(&self.requests, 1).await?);
        }
        let row = self.doorman.client.bucket(bucket).await;
        Ok(row.map(|row| Rules::of_bucket(&row.documents)).unwrap_or_default())
    }

    /// Answers what a browser asks before a request. Nobody is asked who they are: the answer shows what any page could find out.
    async fn preflight(
        &self,
        headers: &HeaderMap,
        bucket: &str,
        scope: &Scope,
        ending: &mut Ending,
    ) -> S3Result<HttpResponse> {
        scope.set_operation(Operation::named("OptionsObject"));
        if !headers.contains_key(ORIGIN) || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            let message = "Insufficient information. Origin and Access-Control-Request-Method are needed.";
            return Err(custom("BadRequest", StatusCode::BAD_REQUEST, message));
        }
        let Some(allowed) = self.rules(bucket, ending).await?.preflight(headers) else {
            let message = "CORSResponse: This CORS request is not allowed: see the bucket's CORS rules.";
            return Err(custom("AccessForbidden", StatusCode::FORBIDDEN, message));
        };
        let mut answer = HttpResponse::new(s3s::Body::empty());
        *answer.headers_mut() = allowed;
        Ok(answer)
    }

    /// Waits for a place, but not for long.
    async fn turn(&self, places: &Turnstile, count: u32) -> S3Result<OwnedSemaphorePermit> {
        let passed = places.pass(count, self.options.queue_wait).await;
        passed.ok_or_else(|| slow_down("Too many requests at once: try again in a moment."))
    }
}

fn config() -> S3Config {
    let mut config = S3Config::default();
    config.xml_max_body_size = usize::try_from(DOCUMENT_BYTES_MAX).unwrap_or(usize::MAX);
    // Forms never reach s3s; should one slip through, these keep it small.
    config.post_object_max_file_size = DOCUMENT_BYTES_MAX;
    config.form_max_field_size = 64 << 10;
    config.form_max_fields_size = 256 << 10;
    config.form_max_parts = 100;
    config
}

/// The bucket that a request's address names; empty: none.
fn bucket_of(head: &request::Parts, hosts: &Hosts) -> String {
    let host = head.headers.get(HOST).and_then(|host| host.to_str().ok());
    let in_path = || head.uri.path().split('/').nth(1).unwrap_or_default().to_owned();
    host.and_then(|host| hosts.bucket(host)).unwrap_or_else(in_path)
}

fn asked(head: &request::Parts) -> Asked {
    let range = head.headers.get(RANGE).map(|value| value.to_str().unwrap_or_default());
    let hash = head.headers.get("x-amz-content-sha256");
    Asked {
        method: head.method.clone(),
        resource: head.uri.path().to_owned(),
        bad_range: range.is_some_and(|range| dto::Range::parse(range).is_err()),
        expects_continue: head.headers.contains_key(EXPECT),
        hashed_body: hash.is_some_and(|value| value.len() == 64),
    }
}

fn write_refusal(refusal: S3Error, asked: &Asked, scope: &Scope, ending: &mut Ending) -> HttpResponse {
    let status = refusal.status_code().unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let code = refusal.code().as_str();
    let headers = refusal.headers().cloned().unwrap_or_default();
    let message = refusal.message().unwrap_or_else(|| advice(code));
    let mut xml = document(code, message, false, &asked.resource, &scope.id);
    if let Some(region) = headers.get(BUCKET_REGION).and_then(|region| region.to_str().ok()) {
        xml = xml.replace("</Error>", &format!("<Region>{region}</Region></Error>"));
    }
    ending.code = Some(code.to_owned());
    write(status, headers, xml)
}

fn write(status: StatusCode, headers: HeaderMap, xml: String) -> HttpResponse {
    let mut response = Response::new(s3s::Body::from(xml));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

/// Rewrites what `s3s` answered where it is an error, and adds what every answer has.
fn finish(answer: HttpResponse, asked: &Asked, scope: &Scope, ending: &mut Ending) -> HttpResponse {
    let is_error = answer.status().as_u16() >= 300;
    let mut answer =
        if is_error && ending.code.is_none() { rewrite(answer, asked, scope, ending) } else { answer };
    if scope.operation() == Operation::named("GetObjectAttributes") && !is_error {
        answer = without_quotes(answer);
    }
    let status = answer.status();
    if asked.method == Method::HEAD && is_error || status == StatusCode::NOT_MODIFIED {
        *answer.body_mut() = s3s::Body::empty();
        answer.headers_mut().remove(CONTENT_TYPE);
        answer.headers_mut().remove(CONTENT_LENGTH);
    }
    // s3s answers a HEAD for a range with 200.
    if asked.method == Method::HEAD
        && status == StatusCode::OK
        && answer.headers().contains_key(CONTENT_RANGE)
    {
        *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    let headers = answer.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("Pangea"));
    if let Ok(id) = HeaderValue::try_from(scope.id.as_str()) {
        headers.insert(REQUEST_ID, id);
    }
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_S));
    }
    answer
}

/// In this one document AWS writes the entity tag without quotes; `s3s` knows tags with quotes only.
fn without_quotes(answer: HttpResponse) -> HttpResponse {
    let (mut head, body) = answer.into_parts();
    let bytes = body.bytes().unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let text = text.replace("<ETag>\"", "<ETag>").replace("\"</ETag>", "</ETag>");
    head.headers.remove(CONTENT_LENGTH);
    Response::from_parts(head, s3s::Body::from(text))
}

fn rewrite(answer: HttpResponse, asked: &Asked, scope: &Scope, ending: &mut Ending) -> HttpResponse {
    let status = answer.status();
    let (mut head, body) = answer.into_parts();
    let bytes = body.bytes().unwrap_or_default();
    let text = std::str::from_utf8(&bytes).unwrap_or_default();
    let Some((code, message)) = read_document(text) else {
        return Response::from_parts(head, body);
    };
    if let Some(better) = better_answer(code, asked, scope) {
        return write_refusal(better, asked, scope, ending);
    }
    head.headers.remove(CONTENT_LENGTH);
    head.headers.remove(TRANSFER_ENCODING);
    ending.code = Some(code.to_owned());
    // s3s says "Unknown operation" for what it cannot route.
    let message = message.filter(|message| !message.is_empty() && *message != "Unknown operation");
    let xml = match message {
        Some(message) => document(code, message, true, &asked.resource, &scope.id),
        None => document(code, advice(code), false, &asked.resource, &scope.id),
    };
    write(status, head.headers, xml)
}

/// What `s3s` could not know: why a document's body failed, and that a senseless range is not a client's crime.
fn better_answer(code: &str, asked: &Asked, scope: &Scope) -> Option<S3Error> {
    if scope.reached() {
        return None;
    }
    match code {
        "InternalError" => match scope.fault() {
            Some(fault) => Some(body_fault(fault)),
            None if asked.hashed_body && scope.cause().is_none() => Some(content_sha256_mismatch()),
            None => None,
        },
        "InvalidArgument" if asked.bad_range => Some(s3_error!(
            InvalidRange,
            "The Range is not one range of bytes: use bytes=FIRST-LAST, bytes=FIRST- or bytes=-LAST."
        )),
        _ => None,
    }
}
