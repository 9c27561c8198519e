//! An embedded engine that can be given other drives while it runs: what a drained or failed log drive asks for.
//!
//! Owns the moment of the change. The engine is closed and opened again on the new drives, from a snapshot that was taken
//! just before, so the log is short. Meanwhile queries are answered by the old view, which nobody changes, and commands wait.
//! If it does not open there, it is opened again where it was.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_channel::oneshot;
use pangea_core::meta::{Outcome, Request};

use super::EmbeddedMeta;
use crate::engine::Options;
use crate::error::MetaError;
use crate::port::{Meta, MetaStatus};
use crate::queries::{answer_queries, query_words};
use crate::sqlite::{SqliteTables, ViewError, ViewPlace};

query_words!();

/// What SQLite keeps beside a database.
const BESIDE_VIEW: [&str; 3] = ["-wal", "-shm", "-journal"];

/// See the module.
pub struct SeatedMeta {
    seat: Mutex<Seat>,
    /// One move at a time.
    moving: Mutex<()>,
}

struct Seat {
    engine: Arc<EmbeddedMeta>,
    /// While it moves: the commands that wait.
    waiting: Option<Vec<oneshot::Sender<()>>>,
}

impl SeatedMeta {
    /// Around an engine that was opened.
    pub fn new(engine: EmbeddedMeta) -> Self {
        let seat = Seat { engine: Arc::new(engine), waiting: None };
        Self { seat: Mutex::new(seat), moving: Mutex::default() }
    }

    fn seat(&self) -> MutexGuard<'_, Seat> {
        // Every change is one statement, so a panic elsewhere broke nothing.
        self.seat.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn engine(&self) -> Arc<EmbeddedMeta> {
        self.seat().engine.clone()
    }

    /// Moves to other drives; `options` makes them, and is called again with `false` should the new ones not do. Slow:
    /// not for a thread that others wait for. `view_from` is where the view lies now, if it shall lie elsewhere.
    pub fn reseat(
        &self,
        options: impl Fn(bool) -> Result<Options, MetaError>,
        view_from: Option<&Path>,
    ) -> Result<(), MetaError> {
        let _one = self.moving.lock().unwrap_or_else(PoisonError::into_inner);
        let next = options(true)?;
        let old = {
            let mut seat = self.seat();
            seat.waiting.get_or_insert_with(Vec::new);
            seat.engine.clone()
        };
        old.stop();
        let copied = copy_view(view_from, &next.view);
        let (engine, outcome) = match EmbeddedMeta::open(next) {
            Ok(opened) => (Some(opened), Ok(())),
            Err(error) => {
                copied.iter().for_each(|view| remove_view(view));
                match options(false).and_then(EmbeddedMeta::open) {
                    Ok(opened) => (Some(opened), Err(error)),
                    Err(worse) => (None, Err(worse)),
                }
            }
        };
        let waiting = {
            let mut seat = self.seat();
            seat.engine = engine.map_or(old, Arc::new);
            seat.waiting.take().unwrap_or_default()
        };
        for waiter in waiting {
            // Who stopped waiting does not want to know.
            let _ = waiter.send(());
        }
        outcome
    }

    /// Ready when no move is under way.
    async fn settled(&self) {
        let moved = {
            let mut seat = self.seat();
            let Some(waiting) = &mut seat.waiting else { return };
            let (waiter, moved) = oneshot::channel();
            waiting.push(waiter);
            moved
        };
        // A sender that is gone means that the move is over, too.
        let _ = moved.await;
    }

    fn read<R>(&self, f: impl FnOnce(&SqliteTables) -> Result<R, ViewError>) -> Result<R, MetaError> {
        self.engine().read(f)
    }
}

/// Copies the view to where it shall lie; says where, if it did. Without it, it is rebuilt from the snapshot and the log.
fn copy_view(from: Option<&Path>, to: &ViewPlace) -> Option<PathBuf> {
    let (Some(from), ViewPlace::Path(to)) = (from, to) else { return None };
    if from == to {
        return None;
    }
    // Another database's log beside the copy would be taken for its own.
    remove_view(to);
    if std::fs::copy(from, to).is_err() {
        remove_view(to);
    }
    Some(to.clone())
}

fn remove_view(view: &Path) {
    // What is not there need not be removed; what stays is found unusable at the next opening.
    let _ = std::fs::remove_file(view);
    for end in BESIDE_VIEW {
        let mut name = OsString::from(view);
        name.push(end);
        let _ = std::fs::remove_file(name);
    }
}

impl Meta for SeatedMeta {
    fn apply(&self, request: Request) -> Answer<'_, Outcome> {
        Box::pin(async move {
            loop {
                let engine = self.engine();
                let answer = engine.apply(request.clone()).await;
                if !matches!(answer, Err(MetaError::Closed)) {
                    return answer;
                }
                // It was closed for a move, so nothing was done; if it is closed for good, that is the answer.
                self.settled().await;
                if Arc::ptr_eq(&engine, &self.engine()) {
                    return answer;
                }
            }
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
