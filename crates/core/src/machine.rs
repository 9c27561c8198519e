//! Machines: events in, actions out. Each is one operation's whole reasoning, without I/O or clock.
//!
//! | room | drives |
//! |---|---|
//! | [`put`] | one stripe's shards to their drives, until quorum and completion |
//! | [`get`] | one stripe's pieces, healthy, hedged or decoded |
//! | [`repair`] | one stripe back to whole: census, rebuild, bring home |

pub mod get;
pub mod put;
pub mod repair;
