//! The pool of reading connections: bounded, made when needed, thrown away when broken.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::Trouble;
use crate::session::{Connector, Session};

/// Reading connections.
pub(crate) struct Pool {
    connector: Arc<Connector>,
    idle: Mutex<Vec<Session>>,
    places: Arc<Semaphore>,
}

/// A connection taken out; it goes back by [`Pool::give_back`], or is dropped with whatever state it is in.
pub(crate) struct Taken {
    pub(crate) session: Session,
    place: OwnedSemaphorePermit,
}

impl Pool {
    /// At most `connections`.
    pub(crate) fn new(connector: Arc<Connector>, connections: usize) -> Self {
        Self { connector, idle: Mutex::default(), places: Arc::new(Semaphore::new(connections)) }
    }

    /// Waits for a connection.
    pub(crate) async fn take(&self) -> Result<Taken, Trouble> {
        let closed = |_| Trouble::Lost("the engine was shut down".to_owned());
        let place = self.places.clone().acquire_owned().await.map_err(closed)?;
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(session) if session.is_broken() => {}
                Some(session) => return Ok(Taken { session, place }),
                None => return Ok(Taken { session: self.connector.connect().await?, place }),
            }
        }
    }

    /// Gives a connection back that is in no transaction.
    pub(crate) fn give_back(&self, taken: Taken) {
        if !taken.session.is_broken() {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(taken.session);
        }
        drop(taken.place);
    }
}
