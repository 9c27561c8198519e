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
