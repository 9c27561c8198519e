//! Opening: recognise a database, make its schema if it is empty, refuse what is not this cluster's newest metadata.
//!
//! Several nodes may open one database at the same time: every step of making it may be repeated, and the row that names
//! the cluster is inserted last, by whoever is first.

use pangea_core::id::{ClusterId, RequestId};
use pangea_core::meta::{Command, Outcome, Refusal, Request, TableId, read};
use pangea_core::seam::random;
use std::sync::Arc;
use tokio_postgres::error::SqlState;

use crate::commit::Attempt;
use crate::error::{OpenError, Trouble, said};
use crate::known::Hints;
use crate::place::Place;
use crate::postgres::Options;
use crate::query;
use crate::session::{Call, Connector, Session};
use crate::sql;

/// How often making a schema that others make at the same time, or a generation, is tried.
const TRIES_MAX: usize = 32;

/// What an open found.
pub(crate) struct Opened {
    /// What an operator should know.
    pub(crate) notes: Vec<String>,
}

/// Connects and checks everything.
pub(crate) async fn open(options: &Options, connector: &Connector) -> Result<Opened, OpenError> {
    let place = &options.place;
    let mut session = connect(place, connector).await?;
    let mut notes = Vec::new();
    let found = match engine_row(&mut session).await {
        Ok(found) => found,
        Err(trouble) => return Err(failed(place, "reading what the database is", trouble)),
    };
    let (version, cluster) = match found {
        Some(found) => found,
        None if options.known_generation > 0 => {
            return Err(OpenError::Empty { place: place.to_string(), known: options.known_generation });
        }
        None => {
            notes.push(format!("made the schema at {place}"));
            make(&mut session, place, options.cluster).await?
        }
    };
    judge(place, version, cluster, options.cluster)?;
    start_generation(&mut session, options).await?;
    notes.extend(
        warnings(&mut session).await.map_err(|trouble| failed(place, "asking for settings", trouble))?,
    );
    Ok(Opened { notes })
}

/// The cluster whose metadata a database holds; none: it is empty. Changes nothing. Must run inside tokio.
pub async fn cluster_in(place: &Place, roots: Option<&[u8]>) -> Result<Option<ClusterId>, OpenError> {
    let tls = |why: String| OpenError::Tls { place: place.to_string(), why };
    let connector = Connector::new(place, roots).map_err(tls)?;
    let mut session = connect(place, &connector).await?;
    let found = engine_row(&mut session).await;
    let found = found.map_err(|trouble| failed(place, "reading what the database is", trouble))?;
    found.map(|(version, cluster)| known(place, version, cluster)).transpose()
}

async fn connect(place: &Place, connector: &Connector) -> Result<Session, OpenError> {
    // Once without our settings: this error still tells what is wrong.
    match connector.connect_raw().await {
        Ok(_) => {}
        Err(error) => return Err(refused(place, &error)),
    }
    connector.connect().await.map_err(|trouble| failed(place, "connecting", trouble))
}

/// What a failed connection means.
fn refused(place: &Place, error: &tokio_postgres::Error) -> OpenError {
    let (place, why) = (place.to_string(), said(error));
    match error.code() {
        Some(code)
            if *code == SqlState::INVALID_PASSWORD
                || *code == SqlState::INVALID_AUTHORIZATION_SPECIFICATION =>
        {
            OpenError::Denied { place, why }
        }
        Some(code) if *code == SqlState::INVALID_CATALOG_NAME => OpenError::NoDatabase { place },
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => OpenError::Forbidden { place, why },
        None if why.contains("TLS") || why.contains("certificate") => OpenError::Tls { place, why },
        None if why.contains("authentication") || why.contains("password") => {
            OpenError::Denied { place, why }
        }
        Some(_) | None => OpenError::Unreachable { place, why },
    }
}

fn failed(place: &Place, doing: &'static str, trouble: Trouble) -> OpenError {
    let place = place.to_string();
    match trouble {
        Trouble::Lost(why) => OpenError::Unreachable { place, why },
        Trouble::Refused { code: Some(SqlState::INSUFFICIENT_PRIVILEGE), why } => {
            OpenError::Forbidden { place, why }
        }
        Trouble::Refused { why, .. } => OpenError::Failed { place, doing, why },
        Trouble::Conflict | Trouble::Taken => OpenError::Failed {
            place,
            doing,
            why: "others were in the way again and again; try again".to_owned(),
        },
        Trouble::Malformed(table, what) => {
            OpenError::Failed { place, doing, why: format!("table {}: {what} is malformed", table.name()) }
        }
    }
}

/// The schema's version and the cluster; none: the database is empty, or was not finished.
async fn engine_row(session: &mut Session) -> Result<Option<(i64, Vec<u8>)>, Trouble> {
    match session.send(&[Call::plain(sql::READ_ENGINE)]).await {
        Ok(answers) => match answers[0].first() {
            Some(row) => Ok(Some((row.try_get(0)?, row.try_get(1)?))),
            None => Ok(None),
        },
        Err(trouble) if trouble.is(&SqlState::UNDEFINED_TABLE) => Ok(None),
        Err(trouble) => Err(trouble),
    }
}

async fn make(session: &mut Session, place: &Place, cluster: ClusterId) -> Result<(i64, Vec<u8>), OpenError> {
    let doing = "making the schema";
    let tables = TableId::ALL.iter().map(|table| sql::table(*table).create);
    for statement in sql::CREATE_ENGINE.into_iter().chain(tables) {
        let mut tries = 0;
        // Somebody who makes the same table at the same time can make this one fail; the next try finds it made.
        while let Err(trouble) = session.send(&[Call::plain(statement)]).await {
            tries += 1;
            let made = trouble.is(&SqlState::DUPLICATE_OBJECT) || trouble.is(&SqlState::DUPLICATE_TABLE);
            if !(made || matches!(trouble, Trouble::Conflict | Trouble::Taken)) || tries == TRIES_MAX {
                return Err(failed(place, doing, trouble));
            }
        }
    }
    let cluster = &cluster.0[..];
    let claim = Call::new(sql::CLAIM_ENGINE, vec![&sql::SCHEMA_VERSION, &cluster]);
    session.send(&[claim]).await.map_err(|trouble| failed(place, doing, trouble))?;
    let found = engine_row(session).await.map_err(|trouble| failed(place, doing, trouble))?;
    let why = || "the schema was made and is not there".to_owned();
    found.ok_or_else(|| OpenError::Failed { place: place.to_string(), doing, why: why() })
}

/// The cluster of a database with a schema that this version knows.
fn known(place: &Place, version: i64, cluster: Vec<u8>) -> Result<ClusterId, OpenError> {
    let (place, known) = (place.to_string(), sql::SCHEMA_VERSION);
    if version > known {
        return Err(OpenError::SchemaNewer { place, found: version, known });
    }
    if version < known {
        return Err(OpenError::SchemaUnknown { place, found: version, known });
    }
    let doing = "reading what the database is";
    let malformed = |_| OpenError::Failed { place, doing, why: "the cluster's id is malformed".to_owned() };
    <[u8; 16]>::try_from(cluster).map(ClusterId).map_err(malformed)
}

fn judge(place: &Place, version: i64, cluster: Vec<u8>, wanted: ClusterId) -> Result<(), OpenError> {
    let found = known(place, version, cluster)?;
    if found != wanted {
        return Err(OpenError::OtherCluster { place: place.to_string(), found, wanted });
    }
    Ok(())
}

/// Refuses a database that is older than what is known, and starts a generation: whoever restores a backup made before
/// this open will be noticed.
async fn start_generation(session: &mut Session, options: &Options) -> Result<(), OpenError> {
    let doing = "starting a generation";
    let place = &options.place;
    let hints = Hints::default();
    let mut last = Trouble::Conflict;
    for _ in 0..TRIES_MAX {
        let found =
            query::run(session, &|tables: &crate::working::Working<'_>| read::generation(tables)).await;
        let found = found.map_err(|trouble| failed(place, "reading the generation", trouble))?;
        if found < options.known_generation {
            let known = options.known_generation;
            return Err(OpenError::Restored { place: place.to_string(), found, known });
        }
        let command = Command::StartGeneration { generation: found.saturating_add(1) };
        let request = Request { id: RequestId(random(&*options.entropy)), now_ms: options.now_ms, command };
        let requests = [Arc::new(request)];
        let attempt = Attempt { session, hints: &hints, requests: &requests, careful: false, slot: 0 };
        match attempt.run().await {
            Ok(outcomes) if outcomes.iter().all(|outcome| *outcome == Outcome::Done) => return Ok(()),
            Ok(outcomes) => match outcomes.into_iter().next() {
                Some(Outcome::Refused(Refusal::StaleGeneration { .. })) => {} // another node was faster
                other => {
                    let why = format!("the answer was {other:?}");
                    return Err(OpenError::Failed { place: place.to_string(), doing, why });
                }
            },
            Err(error) if error.trouble == Trouble::Conflict => last = error.trouble,
            Err(error) => return Err(failed(place, doing, error.trouble)),
        }
    }
    Err(failed(place, doing, last))
}

/// Settings of the server with which what is acknowledged can be lost.
async fn warnings(session: &mut Session) -> Result<Vec<String>, Trouble> {
    let mut notes = Vec::new();
    for (statement, bad, note) in [
        (sql::SHOW_FSYNC, "off", "fsync is off at the server: a power cut there loses acknowledged commands"),
        (
            sql::SHOW_STANDBYS,
            "",
            "the server waits for no synchronous standby: losing its disk loses acknowledged commands",
        ),
    ] {
        match session.send(&[Call::plain(statement)]).await {
            Ok(answers) => {
                let value: Option<String> = answers[0].first().map(|row| row.try_get(0)).transpose()?;
                if value.as_deref() == Some(bad) {
                    notes.push(note.to_owned());
                }
            }
            Err(Trouble::Refused { .. }) => {} // a distributed engine has no such setting, and replicates by itself
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(notes)
}
