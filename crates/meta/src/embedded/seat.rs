//! An embedded engine that can be given other drives while it runs: what a drained or failed log drive asks for.
//!
//! Owns the moment of the change. The engine is closed and opened again on the new drives, from a snapshot that was taken
//! just before, so the log is short; whoever asks meanwhile waits. If it does not open there, it is opened again where it
//! was.

use std::sync::{Arc, PoisonError, RwLock};

use pangea_core::meta::{Outcome, Request};

use super::EmbeddedMeta;
use crate::engine::Options;
use crate::error::MetaError;
use crate::port::{Meta, MetaStatus};
use crate::queries::{answer_queries, query_words};
use crate::sqlite::{SqliteTables, ViewError, ViewPlace};

query_words!();

/// See the module.
pub struct SeatedMeta {
    engine: RwLock<Arc<EmbeddedMeta>>,
}

impl SeatedMeta {
    /// Around an engine that was opened.
    pub fn new(engine: EmbeddedMeta) -> Self {
        Self { engine: RwLock::new(Arc::new(engine)) }
    }

    fn engine(&self) -> Arc<EmbeddedMeta> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Moves to other drives; `options` makes them, and is called again with `false` should the new ones not do. Slow:
    /// not for a thread that others wait for. `view_from` is where the view lies now, if it shall lie elsewhere.
    pub fn reseat(
        &self,
        options: impl Fn(bool) -> Result<Options, MetaError>,
        view_from: Option<&std::path::Path>,
    ) -> Result<(), MetaError> {
        let next = options(true)?;
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        engine.stop();
        if let (Some(from), ViewPlace::Path(to)) = (view_from, &next.view)
            && from != to
            && std::fs::copy(from, to).is_err()
        {
            // Without it the view is rebuilt from the snapshot and the log.
            let _ = std::fs::remove_file(to);
        }
        match EmbeddedMeta::open(next) {
            Ok(opened) => {
                *engine = Arc::new(opened);
                Ok(())
            }
            Err(error) => {
                *engine = Arc::new(EmbeddedMeta::open(options(false)?)?);
                Err(error)
            }
        }
    }

    fn read<R>(&self, f: impl FnOnce(&SqliteTables) -> Result<R, ViewError>) -> Result<R, MetaError> {
        self.engine().read(f)
    }
}

impl Meta for SeatedMeta {
    fn apply(&self, request: Request) -> Answer<'_, Outcome> {
        Box::pin(async move {
            let engine = self.engine();
            let answer = engine.apply(request.clone()).await;
            if !matches!(answer, Err(MetaError::Closed)) {
                return answer;
            }
            // It was closed for a change of drives between asking which it is and asking it: nothing was done.
            let next = self.engine();
            if Arc::ptr_eq(&engine, &next) { answer } else { next.apply(request).await }
        })
    }

    answer_queries!();

    fn status(&self) -> Answer<'_, MetaStatus> {
        Box::pin(async move { self.engine().status().await })
    }

    fn snapshot(&self) -> Answer<'_, u64> {
        Box::pin(async move { self.engine().snapshot().await })
    }
}
