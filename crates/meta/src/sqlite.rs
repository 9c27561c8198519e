//! The SQLite view: the tables of core in one SQLite file, rebuildable from snapshot and log at any time.
//!
//! Owns the schema (one table of key and row per core table; keys are BLOBs and compare bytewise) and the mark: which
//! cluster the view is of and which position of the log it shows, written in the transaction that brought it there. A
//! group of requests is one transaction. `apply` reads through staged changes and writes only at its end, and any error of
//! SQLite throws the whole group away, so no savepoint per request is needed.
//!
//! WAL with `synchronous=NORMAL`: after a power cut the view may be older than the log, never torn; the log brings it up
//! to date. Readers use connections of their own and never wait for the writer.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use pangea_core::codec::Malformed;
use pangea_core::id::ClusterId;
use pangea_core::meta::{Outcome, RawRow, Request, TableId, Tables, apply};
use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::error::MetaError;
use crate::sealed::Position;

/// The schema that this version writes and reads: a newer one is refused, an older one made again. Version 1 had no packs.
const SCHEMA_VERSION: i64 = 2;
/// Statements kept prepared by each connection: a few per table.
const STATEMENTS_MAX: usize = 128;
/// The WAL is written back when it holds this many pages of 4 KiB.
const CHECKPOINT_PAGES: u32 = 4000;
/// A view up to this size is checked page by page when it is opened.
const QUICK_CHECK_BYTES_MAX: u64 = 64 << 20;

/// Where the view lies.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ViewPlace {
    /// In a file, with `-wal` and `-shm` beside it.
    Path(PathBuf),
    /// In memory: every open rebuilds it.
    Memory,
}

/// Why the view failed.
#[derive(Debug)]
pub enum ViewError {
    /// SQLite said so.
    Sql(rusqlite::Error),
    /// A row is not what its format says.
    Malformed(TableId, Malformed),
}

impl From<rusqlite::Error> for ViewError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl ViewError {
    /// Whether the file itself is broken, so that only a rebuild helps.
    pub fn is_corrupt(&self) -> bool {
        match self {
            Self::Malformed(..) => true,
            Self::Sql(error) => matches!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
            ),
        }
    }
}

impl From<ViewError> for MetaError {
    fn from(error: ViewError) -> Self {
        let why = match error {
            ViewError::Sql(error) => error.to_string(),
            ViewError::Malformed(table, why) => format!("table {}: {why}", table.name()),
        };
        Self::View { why }
    }
}

/// A row of some table, with its key.
pub type DumpedRow = (TableId, Vec<u8>, Vec<u8>);

/// Which cluster a view is of, and how far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mark {
    pub cluster: ClusterId,
    pub position: Position,
}

/// What stands at a view's place.
pub(crate) enum Found {
    /// A view that may be used.
    Usable(SqliteTables, Mark),
    /// None, or one that must be rebuilt; and why.
    Rebuild(String),
}

struct Statements {
    get: String,
    put: String,
    remove: String,
    scan: String,
    scan_below: String,
}

fn statements(table: TableId) -> &'static Statements {
    static ALL: OnceLock<Vec<Statements>> = OnceLock::new();
    let all = ALL.get_or_init(|| {
        let of = |table: &TableId| {
            let name = table.name();
            Statements {
                get: format!("SELECT row FROM {name} WHERE key = ?1"),
                put: format!(
                    "INSERT INTO {name} (key, row) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET row = excluded.row"
                ),
                remove: format!("DELETE FROM {name} WHERE key = ?1"),
                scan: format!("SELECT key, row FROM {name} WHERE key >= ?1 ORDER BY key LIMIT ?2"),
                scan_below: format!(
                    "SELECT key, row FROM {name} WHERE key >= ?1 AND key < ?2 ORDER BY key LIMIT ?3"
                ),
            }
        };
        TableId::ALL.iter().map(of).collect()
    });
    &all[table as usize - 1]
}

/// The tables of core over one SQLite connection.
pub struct SqliteTables {
    db: Connection,
}

impl SqliteTables {
    /// A new, empty view; `place` must be free.
    pub(crate) fn create(place: &ViewPlace) -> Result<Self, ViewError> {
        let db = match place {
            ViewPlace::Path(path) => Connection::open(path)?,
            ViewPlace::Memory => Connection::open_in_memory()?,
        };
        let view = Self { db };
        view.configure(true)?;
        view.db.execute_batch(&schema())?;
        Ok(view)
    }

    /// Looks at what stands at `place`.
    pub(crate) fn find(place: &ViewPlace, cluster: ClusterId) -> Result<Found, MetaError> {
        let ViewPlace::Path(path) = place else {
            return Ok(Found::Rebuild("a view in memory starts empty".to_owned()));
        };
        if !path.exists() {
            return Ok(Found::Rebuild("there was no view".to_owned()));
        }
        let opened = Self::open_writer(path).and_then(|view| view.mark().map(|mark| (view, mark)));
        match opened {
            Ok((_, None)) => Ok(Found::Rebuild("the view was not finished".to_owned())),
            Ok((_, Some((schema, _)))) if schema > SCHEMA_VERSION => {
                let version = u16::try_from(schema).unwrap_or(u16::MAX);
                Err(MetaError::NewerFormat { file: path.display().to_string(), version })
            }
            Ok((_, Some((schema, _)))) if schema < SCHEMA_VERSION => {
                Ok(Found::Rebuild(format!("the view has the older schema {schema}")))
            }
            Ok((_, Some((_, mark)))) if mark.cluster != cluster => {
                Err(MetaError::OtherCluster { file: path.display().to_string(), found: mark.cluster })
            }
            Ok((view, Some((_, mark)))) => Ok(Found::Usable(view, mark)),
            Err(error) => Ok(Found::Rebuild(format!("the view cannot be read: {}", MetaError::from(error)))),
        }
    }

    fn open_writer(path: &Path) -> Result<Self, ViewError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let view = Self { db: Connection::open_with_flags(path, flags)? };
        view.configure(true)?;
        let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
        if bytes <= QUICK_CHECK_BYTES_MAX {
            let said: String = view.db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
            if said != "ok" {
                return Err(ViewError::Malformed(
                    TableId::State,
                    Malformed { what: "view: quick_check found a bad page" },
                ));
            }
        }
        Ok(view)
    }

    /// A connection that only reads.
    pub(crate) fn open_reader(path: &Path) -> Result<Self, ViewError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let view = Self { db: Connection::open_with_flags(path, flags)? };
        view.configure(false)?;
        Ok(view)
    }

    /// Removes a view's files, so that a new one can be made.
    pub(crate) fn remove(place: &ViewPlace) -> Result<(), MetaError> {
        let doing = "removing the old metadata view";
        each_file(place, doing, |path| std::fs::remove_file(path))
    }

    /// Moves a view's files aside while another is made.
    pub(crate) fn set_aside(place: &ViewPlace) -> Result<(), MetaError> {
        let doing = "setting the old metadata view aside";
        each_file(place, doing, |path| std::fs::rename(path, aside(path)))
    }

    /// Moves what was set aside back over whatever was made meanwhile.
    pub(crate) fn bring_back(place: &ViewPlace) -> Result<(), MetaError> {
        let ViewPlace::Path(path) = place else { return Ok(()) };
        if aside(path).exists() {
            Self::remove(place)?;
        }
        let doing = "bringing the old metadata view back";
        each_file(place, doing, |path| std::fs::rename(aside(path), path))
    }

    /// Removes what was set aside.
    pub(crate) fn forget_aside(place: &ViewPlace) -> Result<(), MetaError> {
        let doing = "removing the old metadata view";
        each_file(place, doing, |path| std::fs::remove_file(aside(path)))
    }

    fn configure(&self, writer: bool) -> Result<(), ViewError> {
        self.db.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        self.db.busy_timeout(std::time::Duration::from_secs(5))?;
        let cache_kib = if writer { 8192 } else { 2048 };
        self.db.execute_batch(&format!("PRAGMA cache_size = -{cache_kib}; PRAGMA temp_store = MEMORY;"))?;
        if writer {
            self.db.execute_batch(&format!(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES};"
            ))?;
        }
        Ok(())
    }

    fn mark(&self) -> Result<Option<(i64, Mark)>, ViewError> {
        let row =
            self.db.query_row("SELECT version, cluster, seq, chain FROM engine WHERE one = 1", [], |row| {
                Ok((
                    row.get::<_, i64>(0)?,
                    row.get::<_, [u8; 16]>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, [u8; 32]>(3)?,
                ))
            });
        Ok(row.optional()?.map(|(version, cluster, seq, chain)| {
            let position = Position { seq: seq as u64, chain };
            (version, Mark { cluster: ClusterId(cluster), position })
        }))
    }

    /// Writes the mark, within whatever transaction is open.
    fn set_mark(&self, mark: &Mark) -> Result<(), ViewError> {
        let mut statement = self.db.prepare_cached(
            "INSERT INTO engine (one, version, cluster, seq, chain) VALUES (1, ?1, ?2, ?3, ?4)
             ON CONFLICT (one) DO UPDATE SET seq = excluded.seq, chain = excluded.chain",
        )?;
        statement.execute(params![
            SCHEMA_VERSION,
            mark.cluster.0,
            mark.position.seq as i64,
            mark.position.chain
        ])?;
        Ok(())
    }

    /// Applies a group of requests and moves the mark, all in one transaction.
    pub(crate) fn apply_group(
        &mut self,
        requests: &[Request],
        mark: &Mark,
    ) -> Result<Vec<Outcome>, ViewError> {
        self.transaction(|view| {
            let outcomes = requests.iter().map(|request| apply(view, request)).collect::<Result<_, _>>()?;
            view.set_mark(mark)?;
            Ok(outcomes)
        })
    }

    /// Puts rows in one transaction, without a mark: the view is unfinished until it has one.
    pub(crate) fn load(&mut self, rows: &[DumpedRow]) -> Result<(), ViewError> {
        self.transaction(|view| rows.iter().try_for_each(|(table, key, row)| view.put_raw(*table, key, row)))
    }

    /// Declares a loaded view finished.
    pub(crate) fn finish(&mut self, mark: &Mark) -> Result<(), ViewError> {
        self.transaction(|view| view.set_mark(mark))
    }

    fn transaction<R>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<R, ViewError>,
    ) -> Result<R, ViewError> {
        self.db.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let result = work(self).and_then(|done| {
            self.db.prepare_cached("COMMIT")?.execute([])?;
            Ok(done)
        });
        if result.is_err() && !self.db.is_autocommit() {
            self.db.execute_batch("ROLLBACK")?;
        }
        result
    }

    /// Runs several reads on one state of the tables.
    pub(crate) fn consistently<R>(
        &self,
        read: impl FnOnce(&Self) -> Result<R, ViewError>,
    ) -> Result<R, ViewError> {
        self.db.prepare_cached("BEGIN")?.execute([])?;
        let result = read(self);
        self.db.prepare_cached("COMMIT")?.execute([])?;
        result
    }

    /// Begins a read transaction that stays at the state of now until the connection is dropped.
    pub(crate) fn pin(&self) -> Result<(), ViewError> {
        self.db.execute_batch("BEGIN; SELECT count(*) FROM engine;")?;
        Ok(())
    }

    /// Writes everything back into the main file, as far as readers let it.
    pub(crate) fn checkpoint(&self) -> Result<(), ViewError> {
        self.db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Every row of every table, by table number and key.
    pub fn dump(&self) -> Result<Vec<DumpedRow>, ViewError> {
        let mut rows = Vec::new();
        for table in TableId::ALL {
            rows.extend(
                self.scan_raw(*table, &[], None, usize::MAX)?
                    .into_iter()
                    .map(|(key, row)| (*table, key, row)),
            );
        }
        Ok(rows)
    }
}

/// Does something to every file of a view that is there.
fn each_file(
    place: &ViewPlace,
    doing: &'static str,
    work: impl Fn(&Path) -> std::io::Result<()>,
) -> Result<(), MetaError> {
    let ViewPlace::Path(path) = place else { return Ok(()) };
    for suffix in ["", "-wal", "-shm", "-journal"] {
        match work(&with_end(path, suffix)) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(MetaError::Io { doing, source });
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(end);
    PathBuf::from(name)
}

fn aside(path: &Path) -> PathBuf {
    with_end(path, ".aside")
}

/// Blobs are large rows under random keys: a plain table with an index keeps the rows in the order of writing. All others
/// are small, so the row lies with its key.
fn schema() -> String {
    let mut sql = "CREATE TABLE engine (one INTEGER PRIMARY KEY CHECK (one = 1), version INTEGER NOT NULL,
        cluster BLOB NOT NULL, seq INTEGER NOT NULL, chain BLOB NOT NULL);\n"
        .to_owned();
    for table in TableId::ALL {
        let name = table.name();
        sql += &match table {
            TableId::Blob => format!("CREATE TABLE {name} (key BLOB NOT NULL UNIQUE, row BLOB NOT NULL);\n"),
            _ => format!("CREATE TABLE {name} (key BLOB PRIMARY KEY, row BLOB NOT NULL) WITHOUT ROWID;\n"),
        };
    }
    sql
}

impl Tables for SqliteTables {
    type Error = ViewError;

    fn get_raw(&self, table: TableId, key: &[u8]) -> Result<Option<Vec<u8>>, ViewError> {
        let mut statement = self.db.prepare_cached(&statements(table).get)?;
        Ok(statement.query_row([key], |row| row.get(0)).optional()?)
    }

    fn put_raw(&mut self, table: TableId, key: &[u8], row: &[u8]) -> Result<(), ViewError> {
        self.db.prepare_cached(&statements(table).put)?.execute([key, row])?;
        Ok(())
    }

    fn remove_raw(&mut self, table: TableId, key: &[u8]) -> Result<(), ViewError> {
        self.db.prepare_cached(&statements(table).remove)?.execute([key])?;
        Ok(())
    }

    fn scan_raw(
        &self,
        table: TableId,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<RawRow>, ViewError> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let entry = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
        let rows = match to {
            Some(to) => {
                let mut statement = self.db.prepare_cached(&statements(table).scan_below)?;
                statement.query_map(params![from, to, limit], entry)?.collect::<Result<_, _>>()?
            }
            None => {
                let mut statement = self.db.prepare_cached(&statements(table).scan)?;
                statement.query_map(params![from, limit], entry)?.collect::<Result<_, _>>()?
            }
        };
        Ok(rows)
    }

    fn malformed(table: TableId, why: Malformed) -> ViewError {
        ViewError::Malformed(table, why)
    }
}
