//! Pangea's pure centre: the language and every decision, without I/O, clock, randomness or async.
//!
//! | room | owns |
//! |---|---|
//! | [`id`] | the newtypes of everything that has a name |
//! | [`codec`] | the bounded reader and the writer behind all formats |
//! | [`seam`] | what the world lends: disks, clocks, randomness (contracts only) |

pub mod codec;
pub mod id;
pub mod seam;
pub mod chunk;
pub mod layout;
pub mod machine;
pub mod place;
pub mod wire;
pub mod seal;
pub mod keys;
pub mod meta;
pub mod erasure;
pub mod chunker;
pub mod ces;
pub mod audit;
pub mod manifest;
