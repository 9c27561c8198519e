//! Errors: why a request did not do what it should. What to do about it is the caller's to say: it knows who asks.

use std::fmt;

/// See the module. Secrets are in none of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S3Error {
    /// The endpoint said no, after as many tries as made sense.
    Refused {
        /// The HTTP status.
        status: u16,
        /// S3's code, or the status in words when there was no body (HEAD).
        code: String,
        /// The endpoint's own words.
        message: String,
        /// The endpoint's id of the request; empty when it gave none.
        request_id: String,
        /// The region that the endpoint names instead of ours.
        region: Option<String>,
    },
    /// No connection could be made.
    Unreachable {
        /// Scheme, host and port.
        endpoint: String,
        /// The system's words.
        why: String,
    },
    /// The endpoint's certificate is not one that we trust, or it speaks no TLS.
    Tls {
        /// Scheme, host and port.
        endpoint: String,
        /// The library's words.
        why: String,
    },
    /// Connections broke until there were no tries left.
    Broken {
        /// Scheme, host and port.
        endpoint: String,
        /// The last one's end.
        why: String,
    },
    /// No answer in time.
    Late {
        /// Scheme, host and port.
        endpoint: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The answer is not S3's, or longer than is taken.
    Garbled {
        /// What was expected.
        what: String,
    },
    /// The bytes that came are not the bytes that were stored.
    Corrupt {
        /// Which check failed.
        check: String,
        /// What the endpoint promised.
        wanted: String,
        /// What came.
        got: String,
    },
    /// The settings cannot be used.
    Unusable {
        /// What is wrong with which.
        what: String,
    },
}

impl S3Error {
    /// S3's code, if the endpoint refused.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Refused { code, .. } => Some(code),
            _ => None,
        }
    }

    /// Whether what was asked for is not there.
    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    pub(crate) fn garbled(what: impl Into<String>) -> Self {
        Self::Garbled { what: what.into() }
    }
}

impl fmt::Display for S3Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { status, code, message, request_id, .. } => {
                write!(f, "{code} ({status})")?;
                if !message.is_empty() {
                    write!(f, ": {message}")?;
                }
                if !request_id.is_empty() {
                    write!(f, " [request {request_id}]")?;
                }
                Ok(())
            }
            Self::Unreachable { endpoint, why } => write!(f, "{endpoint} cannot be reached: {why}"),
            Self::Tls { endpoint, why } => write!(f, "{endpoint}: TLS: {why}"),
            Self::Broken { endpoint, why } => write!(f, "{endpoint}: the connection broke: {why}"),
            Self::Late { endpoint, seconds } => write!(f, "{endpoint}: no answer within {seconds} s"),
            Self::Garbled { what } => write!(f, "the answer is not what S3 answers: {what}"),
            Self::Corrupt { check, wanted, got } => {
                write!(f, "the bytes are not those that were stored: {check} is {got}, not {wanted}")
            }
            Self::Unusable { what } => f.write_str(what),
        }
    }
}

impl std::error::Error for S3Error {}
