//! Sessions: one connection each, and round trips on it.
//!
//! Owns pipelining: the statements of a round trip leave in one go, in order, and all answers are read before anything is
//! concluded. A statement that fails inside a transaction fails all behind it, and a COMMIT behind it is a rollback, so the
//! first error in order is what happened.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use tokio_postgres::config::SslMode;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row, Statement};

use crate::error::Trouble;
use crate::place::{Place, TlsMode};
use crate::sql;
use crate::tls::Tls;

/// How long one host may take to let us in.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// How long all hosts together may.
const CONNECT_ALL_LIMIT: Duration = Duration::from_secs(20);
/// How long a round trip may take: above what the server itself allows a statement (`sql::SET_LIMITS`).
const REPLY_LIMIT: Duration = Duration::from_secs(25);
/// A server that is gone without a word is noticed after this.
const SILENCE_LIMIT: Duration = Duration::from_secs(15);
const KEEPALIVE: Duration = Duration::from_secs(5);

/// What connections are made with.
pub(crate) struct Connector {
    config: tokio_postgres::Config,
    tls: Option<Tls>,
}

impl Connector {
    /// Connections to `place`; `roots` are PEM certificates, or else those of the system.
    pub(crate) fn new(place: &Place, roots: Option<&[u8]>) -> Result<Self, String> {
        let mut config = place.config.clone();
        config
            .application_name("pangea")
            .connect_timeout(CONNECT_LIMIT)
            .tcp_user_timeout(SILENCE_LIMIT)
            .keepalives(true)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE);
        let tls = match place.tls {
            TlsMode::Disable => None,
            mode => Some(Tls::new(mode, roots)?),
        };
        debug_assert_eq!(tls.is_none(), config.get_ssl_mode() == SslMode::Disable);
        Ok(Self { config, tls })
    }

    /// A connection that only came about.
    pub(crate) async fn connect_raw(&self) -> Result<Session, tokio_postgres::Error> {
        let client = match self.tls.clone() {
            None => {
                let (client, connection) = self.config.connect(NoTls).await?;
                tokio::spawn(connection);
                client
            }
            Some(tls) => {
                let (client, connection) = self.config.connect(tls).await?;
                tokio::spawn(connection);
                client
            }
        };
        Ok(Session { client, prepared: HashMap::new(), broken: false })
    }

    /// A connection that is set up.
    pub(crate) async fn connect(&self) -> Result<Session, Trouble> {
        let work = async {
            let mut session = self.connect_raw().await?;
            session.set_up().await?;
            Ok(session)
        };
        let in_time = tokio::time::timeout(CONNECT_ALL_LIMIT, work).await;
        in_time.unwrap_or_else(|_| Err(Trouble::Lost("no host let us in in time".to_owned())))
    }
}

/// A statement with its arguments.
pub(crate) struct Call<'a> {
    sql: &'static str,
    arguments: Vec<&'a (dyn ToSql + Sync)>,
}

impl<'a> Call<'a> {
    /// A statement.
    pub(crate) fn new(sql: &'static str, arguments: Vec<&'a (dyn ToSql + Sync)>) -> Self {
        Self { sql, arguments }
    }

    /// A statement without arguments.
    pub(crate) fn plain(sql: &'static str) -> Self {
        Self { sql, arguments: Vec::new() }
    }
}

/// One connection.
pub(crate) struct Session {
    client: Client,
    prepared: HashMap<&'static str, Statement>,
    broken: bool,
}

impl Session {
    /// Whether nothing more can come of it.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken || self.client.is_closed()
    }

    /// One round trip.
    pub(crate) async fn send(&mut self, calls: &[Call<'_>]) -> Result<Vec<Vec<Row>>, Trouble> {
        let result = match tokio::time::timeout(REPLY_LIMIT, self.exchange(calls)).await {
            Ok(result) => result,
            Err(_) => Err(Trouble::Lost("the server did not answer in time".to_owned())),
        };
        self.broken |= matches!(result, Err(Trouble::Lost(_)));
        result
    }

    /// Leaves the transaction, whatever state it is in.
    pub(crate) async fn roll_back(&mut self) {
        if !self.is_broken() && self.send(&[Call::plain(sql::ROLLBACK)]).await.is_err() {
            self.broken = true; // its state is not known, so it is not used again
        }
    }

    async fn exchange(&mut self, calls: &[Call<'_>]) -> Result<Vec<Vec<Row>>, Trouble> {
        self.prepare(calls).await?;
        let (client, prepared) = (&self.client, &self.prepared);
        let sent = calls.iter().map(|call| client.query(&prepared[call.sql], &call.arguments));
        in_order(sent).await.into_iter().map(|answer| answer.map_err(Trouble::from)).collect()
    }

    async fn prepare(&mut self, calls: &[Call<'_>]) -> Result<(), Trouble> {
        let mut missing: Vec<&'static str> =
            calls.iter().map(|call| call.sql).filter(|sql| !self.prepared.contains_key(sql)).collect();
        missing.sort_unstable();
        missing.dedup();
        if missing.is_empty() {
            return Ok(());
        }
        let client = &self.client;
        let made = in_order(missing.iter().map(|sql| client.prepare(sql))).await;
        for (sql, statement) in missing.into_iter().zip(made) {
            self.prepared.insert(sql, statement?);
        }
        Ok(())
    }

    async fn set_up(&mut self) -> Result<(), Trouble> {
        let mut calls = vec![Call::plain(sql::SHOW_COMMIT)];
        calls.extend(sql::SET_LIMITS.map(Call::plain));
        let answers = self.send(&calls).await?;
        let waits: Option<String> = answers[0].first().and_then(|row| row.try_get(0).ok());
        // A stronger setting of the server's is left alone.
        if waits.is_some_and(|waits| waits == "off" || waits == "local") {
            self.send(&[Call::plain(sql::SET_COMMIT)]).await?;
        }
        for wish in sql::SET_WISHES {
            match self.send(&[Call::plain(wish)]).await {
                Ok(_) | Err(Trouble::Refused { .. }) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        Ok(())
    }
}

/// Runs futures side by side; each is begun in order before any is waited for, so that their messages leave in that order.
async fn in_order<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    enum Stage<F: Future> {
        Running(Pin<Box<F>>),
        Done(F::Output),
    }
    let mut stages: Vec<Stage<F>> = futures.map(|future| Stage::Running(Box::pin(future))).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for stage in &mut stages {
            if let Stage::Running(future) = stage {
                match future.as_mut().poll(context) {
                    Poll::Ready(output) => *stage = Stage::Done(output),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let done = stages.into_iter().map(|stage| match stage {
        Stage::Done(output) => output,
        Stage::Running(_) => unreachable!("the wait above ended"),
    });
    done.collect()
}
