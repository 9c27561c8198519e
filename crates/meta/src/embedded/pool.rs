//! The pool of reading connections: made when needed, at most a few, used on the calling thread.

use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::error::MetaError;
use crate::sqlite::{SqliteTables, ViewError};

/// The most connections; further readers wait for one (reads take microseconds).
const READERS_MAX: usize = 8;

#[derive(Default)]
struct State {
    idle: Vec<SqliteTables>,
    open: usize,
}

/// Reading connections to one view.
pub(super) struct Pool {
    path: PathBuf,
    state: Mutex<State>,
    returned: Condvar,
}

impl Pool {
    /// No connections yet.
    pub fn new(path: PathBuf) -> Self {
        Self { path, state: Mutex::default(), returned: Condvar::new() }
    }

    /// Runs `f` on one state of the tables.
    pub fn read<R>(&self, f: impl FnOnce(&SqliteTables) -> Result<R, ViewError>) -> Result<R, MetaError> {
        let connection = self.borrow()?;
        let view = connection.view.as_ref().expect("taken only when dropped");
        Ok(view.consistently(f)?)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn borrow(&self) -> Result<Borrowed<'_>, MetaError> {
        let mut state = self.lock();
        loop {
            if let Some(view) = state.idle.pop() {
                return Ok(Borrowed { pool: self, view: Some(view) });
            }
            if state.open < READERS_MAX {
                state.open += 1;
                drop(state);
                // From here on the place is given back by `drop`, connection or not.
                let mut borrowed = Borrowed { pool: self, view: None };
                borrowed.view = Some(SqliteTables::open_reader(&self.path)?);
                return Ok(borrowed);
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

struct Borrowed<'a> {
    pool: &'a Pool,
    view: Option<SqliteTables>,
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        match self.view.take() {
            Some(view) => state.idle.push(view),
            None => state.open -= 1,
        }
        drop(state);
        self.pool.returned.notify_one();
    }
}
