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
//! | [`transport`] | the `sim` engine of the message port |
//! | [`meta`] | the real metadata engine behind its port, in virtual time |
//! | [`node`] | machines, drives, and the process that runs on them |
//! | [`linear`] | is there an order that explains every answer? |
//! | [`shards`] | shards made up from numbers |
//! | [`scenario`] | worlds: workload, model, plan of faults |
//! | [`report`] | what a run reports |

pub mod dice;
pub mod disk;
pub mod executor;
pub mod fault;
pub mod invariant;
pub mod linear;
pub mod meta;
pub mod node;
pub mod power;
pub mod report;
pub mod scenario;
pub mod shards;
pub mod store;
pub mod trace;
pub mod transport;
