//! The memory engine: the reference state machine behind the port. Nothing outlives the process.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use pangea_core::meta::{MemoryTables, Outcome, Request, apply};

use crate::error::MetaError;
use crate::port::{Meta, MetaStatus};
use crate::queries::{answer_queries, query_words};

query_words!();

/// Metadata in memory.
#[derive(Debug, Default)]
pub struct MemoryMeta {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    tables: MemoryTables,
    applied_seq: u64,
}

impl MemoryMeta {
    /// Without anything in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// A copy of the tables.
    pub fn tables(&self) -> MemoryTables {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).tables.clone()
    }

    fn read<R>(&self, f: impl FnOnce(&MemoryTables) -> Result<R, Infallible>) -> Result<R, MetaError> {
        let state = self.state.lock().map_err(|_| MetaError::Closed)?;
        let Ok(found) = f(&state.tables);
        Ok(found)
    }

    fn carry_out(&self, request: &Request) -> Result<Outcome, MetaError> {
        // A panic in `apply` may have left half a command behind: nothing is served from that.
        let mut state = self.state.lock().map_err(|_| MetaError::Closed)?;
        let Ok(outcome) = apply(&mut state.tables, request);
        state.applied_seq += 1;
        Ok(outcome)
    }
}

impl Meta for MemoryMeta {
    fn apply(&self, request: Request) -> Answer<'_, Outcome> {
        ready(self.carry_out(&request))
    }

    answer_queries!();

    fn status(&self) -> Answer<'_, MetaStatus> {
        let applied_seq = self.state.lock().map(|state| state.applied_seq).map_err(|_| MetaError::Closed);
        ready(applied_seq.and_then(|applied_seq| {
            let generation = self.read(read::generation)?;
            Ok(MetaStatus { engine: "memory", generation, applied_seq, ..MetaStatus::default() })
        }))
    }

    /// There is nothing to write to: answers with the newest sequence.
    fn snapshot(&self) -> Answer<'_, u64> {
        ready(self.state.lock().map(|state| state.applied_seq).map_err(|_| MetaError::Closed))
    }
}
