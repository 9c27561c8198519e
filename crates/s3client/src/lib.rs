//! A client of any S3 endpoint, with nothing of Pangea's inside: it works against every server that speaks S3.
//!
//! | room | owns |
//! |---|---|
//! | `endpoint` | where a server is, and the address of a bucket or key in it |
//! | `moment` | times as signatures, listings and headers write them |
//! | `sign` | AWS Signature Version 4 in the header |
//! | `tls` `pool` `body` | trust, connections, bodies that say how far they are |
//! | `call` | one request with its retries |
//! | `error` | why a request did not do what it should |
//! | `xml` | answers as trees, requests as text |
//! | `checksum` | what proves that bytes are the same |
//! | `bucket` `listing` `object` `multipart` | the operations |
//!
//! Bodies are held whole, so that each can be hashed before it is signed and sent again when a connection breaks: whoever
//! moves large objects moves them in parts and bounds how many are in flight.

mod body;
mod bucket;
mod call;
#[cfg(test)]
mod call_tests;
mod checksum;
mod endpoint;
mod error;
mod listing;
mod moment;
mod multipart;
mod object;
mod pool;
mod sign;
mod tls;
mod xml;

pub use body::Meter;
pub use bucket::Bucket;
pub use call::{Client, Options};
pub use checksum::{Algorithm, Proof, Sum, combine_crc64nvme, crc64nvme, crc64nvme_text};
pub use endpoint::{Endpoint, Style};
pub use error::S3Error;
pub use listing::{Listed, Page, PageAsk};
pub use moment::Moment;
pub use multipart::{DonePart, Upload};
pub use object::{Attributes, Guard, Head, Removal};
pub use sign::Credentials;
pub use tls::Trust;
