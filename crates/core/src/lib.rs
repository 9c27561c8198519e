//! Pangea's pure centre: the language and every decision, without I/O, clock, randomness or async.
//!
//! | room | owns |
//! |---|---|
//! | [`id`] | the newtypes of everything that has a name |
//! | [`codec`] | the bounded reader and the writer behind all formats |
//! | [`seam`] | what the world lends: disks, clocks, randomness (contracts only) |
//! | [`chunk`] | the shape of a stripe and the header of a shard |
//! | [`seal`], [`keys`] | ciphers and nonces; keys, wrapping, derivation |
//! | [`erasure`], [`chunker`], [`ces`] | the Reed–Solomon code; sizes and shapes; compress, encrypt, shard |
//! | [`md5`] | entity tags, many streams at once |
//! | [`audit`], [`manifest`] | what a lone shard says of its owner; how a blob is put together |
//! | [`layout`], [`place`], [`survival`] | the drives of an epoch; which of them hold a partition; what may be lost |
//! | [`health`] | what becomes of a drive that is away or broken, and when its data is made whole elsewhere |
//! | [`meta`] | the metadata commands, their rows, and the state machine that decides them |
//! | [`machine`] | put, get and repair of one stripe: events in, actions out |
//! | [`wire`] | what nodes ask of each other's drives |
//! | [`cluster`] | members, what nodes say of themselves, how one joins |

pub mod audit;
pub mod ces;
pub mod chunk;
pub mod chunker;
pub mod cluster;
pub mod codec;
pub mod erasure;
pub mod health;
pub mod id;
pub mod keys;
pub mod layout;
pub mod machine;
pub mod manifest;
pub mod md5;
pub mod meta;
pub mod place;
pub mod seal;
pub mod seam;
pub mod survival;
pub mod wire;
