//! What every fuzz target does with its input, and the inputs that fuzzing starts from.
//!
//! A target takes any bytes, must not panic, and checks that what was accepted is written back as it was. Where a hash or a
//! tag would stop every mutation at the door, the target puts the right one in place first, so that the fields behind it
//! are reached. `seeds` makes the kept inputs of `seeds/TARGET`; a test holds the committed files to it.

pub mod cluster;
pub mod drive;
pub mod erasure;
pub mod front;
pub mod front_inputs;
pub mod log;
pub mod meta;
pub mod sealed;
pub mod seeds;
pub mod settings;
pub mod wire;

// The rig of the tests at the gateway's door.
#[path = "../../crates/gateway/tests/door/http.rs"]
pub mod http;
#[path = "../../crates/gateway/tests/door/rig.rs"]
pub mod rig;
#[path = "../../crates/gateway/tests/door/sign.rs"]
pub mod sign;
