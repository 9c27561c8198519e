//! Pangea's pure centre: the language and every decision, without I/O, clock, randomness or async.
//!
//! | room | owns |
//! |---|---|
//! | [`id`] | the newtypes of everything that has a name |
//! | [`codec`] | the bounded reader and the writer behind all formats |
//! | [`seam`] | what the world lends: disks, clocks, randomness (contracts only) |
//! | [`seal`], [`keys`] | ciphers and nonces; keys, wrapping, derivation |
//! | [`erasure`], [`chunker`], [`ces`] | the Reed–Solomon code; sizes and shapes; compress, encrypt, shard |
//! | [`audit`], [`manifest`] | what a lone shard says of its owner; how a blob is put together |

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
