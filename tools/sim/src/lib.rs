//! The simulator: the real code on one thread, in virtual time, with every fault, repeatable from one seed.
//!
//! | room | owns |
//! |---|---|
//! | [`dice`] | every random choice |
//! | [`trace`] | the hash over everything that happens |
//! | [`fault`] | the kinds of faults, counted |
//! | [`executor`] | tasks, processes, virtual time |
//! | [`power`] | a machine's supply, cut between two disk operations |
//! | [`disk`] | disks with crashes and damage |
//! | [`store`] | the real extent store behind its port, in virtual time |
//! | [`shards`] | shards made up from numbers |
//! | [`scenario`] | worlds: workload, model, plan of faults |
//! | [`report`] | what a run reports |

pub mod dice;
pub mod disk;
pub mod executor;
pub mod fault;
pub mod power;
pub mod report;
pub mod scenario;
pub mod shards;
pub mod store;
pub mod trace;
