//! Metadata in PostgreSQL: the engine of the metadata port that many nodes share.
//!
//! The same commands as in every other engine, decided by the same `apply` of core: [`PostgresMeta`] fetches the rows that
//! `apply` asks for, buffers what it writes, and commits a batch of commands as one SERIALIZABLE transaction.
//!
//! | room | owns |
//! |---|---|
//! | [`postgres`] | the engine as a port: its lanes, its readers, its end |
//! | [`place`] | where the server is: the URL, and what TLS it asks for |
//! | [`error`] | why an open fails; which of the server's errors mean what |
//! | [`sql`] | every statement that is ever sent |
//! | `open` | recognise, make, refuse a database |
//! | `queue` `lane` | commands that wait; batches of them, tried until they are committed |
//! | `commit` | one attempt: rounds of reading and deciding, then one message that writes and commits |
//! | `known` `working` `changes` | what was read; what `apply` sees of it; what it changed |
//! | `names` | what a command names before anything was read |
//! | `query` | the reading half of the port |
//! | `load` | rows of another engine into an empty database |
//! | `session` `pool` `tls` | connections |
//! | [`scratch`] | a server of one's own, for tests and benchmarks |

mod changes;
mod commit;
pub mod error;
mod known;
mod lane;
mod load;
mod names;
mod open;
pub mod place;
mod pool;
pub mod postgres;
mod query;
mod queue;
pub mod scratch;
mod session;
pub mod sql;
mod tls;
mod working;

pub use error::OpenError;
pub use load::LoadedRow;
pub use open::cluster_in;
pub use place::{BadPlace, Place, TlsMode};
pub use postgres::{Options, PostgresMeta};
