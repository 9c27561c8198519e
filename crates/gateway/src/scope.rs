//! One request's own facts: its id, what it turned out to be, what went wrong, how many bytes moved.
//!
//! Made by `front`, carried in the request's extensions, read once more when the answer has gone out. It is shared
//! between the body streams and the verb, so everything in it is a cell of its own.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;

use s3s::S3Error;

use crate::auth::Principal;
use crate::inlet::BodyFault;
use crate::metrics::Operation;

tokio::task_local! {
    /// The request that the current task serves: the credential lookup of `s3s` gets no request, only a key id.
    pub(crate) static CURRENT: Arc<Scope>;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Scope {
    /// Sixteen hex digits, unique per process and start.
    pub(crate) id: String,
    /// When the head was complete.
    pub(crate) started: Instant,
    operation: OnceLock<Operation>,
    target: OnceLock<(String, Option<String>)>,
    principal: OnceLock<Principal>,
    fault: Mutex<Option<BodyFault>>,
    cause: Mutex<Option<String>>,
    verified: AtomicBool,
    reached: AtomicBool,
    body_asked: AtomicBool,
    body_left: AtomicBool,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

impl Scope {
    /// A request that has just arrived.
    pub(crate) fn new(id: String) -> Self {
        Self {
            id,
            started: Instant::now(),
            operation: OnceLock::new(),
            target: OnceLock::new(),
            principal: OnceLock::new(),
            fault: Mutex::new(None),
            cause: Mutex::new(None),
            verified: AtomicBool::new(false),
            reached: AtomicBool::new(false),
            body_asked: AtomicBool::new(false),
            body_left: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
        }
    }

    /// Records what the request is; the first word stands.
    pub(crate) fn set_operation(&self, operation: Operation) {
        let _first_stands = self.operation.set(operation);
    }

    /// What the request is, as far as it was understood.
    pub(crate) fn operation(&self) -> Operation {
        self.operation.get().copied().unwrap_or(Operation::UNKNOWN)
    }

    /// Records what the request is about.
    pub(crate) fn set_target(&self, bucket: &str, key: Option<&str>) {
        let _first_stands = self.target.set((bucket.to_owned(), key.map(str::to_owned)));
    }

    /// Bucket and key.
    pub(crate) fn target(&self) -> Option<&(String, Option<String>)> {
        self.target.get()
    }

    /// Records whose secret the signature is about to be checked with.
    pub(crate) fn set_candidate(&self, principal: Principal) {
        let _one_lookup_per_request = self.principal.set(principal);
    }

    /// Whose secret the signature was checked with, if it is that key's.
    pub(crate) fn candidate(&self, access_key: &str) -> Option<&Principal> {
        self.principal.get().filter(|principal| principal.access_key == access_key)
    }

    /// Records that the signature was right.
    pub(crate) fn set_verified(&self) {
        self.verified.store(true, Ordering::Relaxed);
    }

    /// Who asked, once the signature was found right.
    pub(crate) fn verified(&self) -> Option<&Principal> {
        self.principal.get().filter(|_| self.verified.load(Ordering::Relaxed))
    }

    /// Records why the body is no good; the first reason stands.
    pub(crate) fn set_fault(&self, fault: BodyFault) {
        if let Ok(mut slot) = self.fault.lock() {
            slot.get_or_insert(fault);
        }
    }

    /// Why the body is no good.
    pub(crate) fn fault(&self) -> Option<BodyFault> {
        self.fault.lock().ok().and_then(|slot| *slot)
    }

    /// Notes what the log shall say beside the answer.
    pub(crate) fn note(&self, cause: impl Into<String>) {
        if let Ok(mut slot) = self.cause.lock() {
            slot.get_or_insert(cause.into());
        }
    }

    /// What the log shall say.
    pub(crate) fn cause(&self) -> Option<String> {
        self.cause.lock().ok().and_then(|slot| slot.clone())
    }

    /// Records that a verb has begun.
    pub(crate) fn set_reached(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// Whether a verb has begun: before that, an internal error can only come from the body.
    pub(crate) fn reached(&self) -> bool {
        self.reached.load(Ordering::Relaxed)
    }

    /// Records that the body was asked for: a client that waits for `100 Continue` has got it.
    pub(crate) fn set_body_asked(&self) {
        self.body_asked.store(true, Ordering::Relaxed);
    }

    /// Whether it was.
    pub(crate) fn body_asked(&self) -> bool {
        self.body_asked.load(Ordering::Relaxed)
    }

    /// Records whether some of the body is still to come.
    pub(crate) fn set_body_left(&self, left: bool) {
        self.body_left.store(left, Ordering::Relaxed);
    }

    /// Whether some of it is.
    pub(crate) fn body_left(&self) -> bool {
        self.body_left.load(Ordering::Relaxed)
    }

    /// Counts body bytes that came.
    pub(crate) fn count_in(&self, bytes: usize) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts body bytes that went.
    pub(crate) fn count_out(&self, bytes: usize) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Body bytes in and out.
    pub(crate) fn bytes(&self) -> (u64, u64) {
        (self.bytes_in.load(Ordering::Relaxed), self.bytes_out.load(Ordering::Relaxed))
    }

    /// The answer to a failure of the data path; what people must know goes to the log, not to the client.
    pub(crate) fn refuse(&self, error: pangea_client::ClientError) -> S3Error {
        crate::error::from_client(error, self)
    }
}
