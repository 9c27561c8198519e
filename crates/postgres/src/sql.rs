//! Statements: every text that is ever sent to the server, and nothing that is put together while running.
//!
//! Owns the schema. Kept to what CockroachDB and YugabyteDB accept as well as PostgreSQL; `tests/subset.rs` parses each of
//! them and refuses what is outside of that subset, with the reason.
//!
//! ```text
//! pangea_engine        one row: schema version, cluster
//! pangea_<table>       k, v: the tables of core, their bytes as docs/formats.md gives them
//! pangea_head          k, v and blob: the blob that the content lies in, so that a GET is one query
//! pangea_usage         k, v: that the bucket is there; the row is never changed while it is
//! pangea_usage_part    what the bucket holds, in parts that are summed up: one writer, one slot
//! pangea_applied       how many requests were carried out, in such parts
//! ```

use pangea_core::meta::TableId;

/// The schema that this version makes, reads and writes.
pub const SCHEMA_VERSION: i64 = 1;

/// Makes what is missing of the schema, except core's tables; each may be repeated.
pub const CREATE_ENGINE: [&str; 3] = [
    "CREATE TABLE IF NOT EXISTS pangea_engine (one INT8 PRIMARY KEY, version INT8 NOT NULL, cluster BYTEA NOT NULL)",
    "CREATE TABLE IF NOT EXISTS pangea_usage_part (bucket BYTEA NOT NULL, slot INT8 NOT NULL, versions INT8 NOT NULL, \
     bytes INT8 NOT NULL, heads INT8 NOT NULL, uploads INT8 NOT NULL, commits INT8 NOT NULL, PRIMARY KEY (bucket, slot))",
    "CREATE TABLE IF NOT EXISTS pangea_applied (slot INT8 PRIMARY KEY, requests INT8 NOT NULL)",
];
/// What the database is.
pub const READ_ENGINE: &str = "SELECT version, cluster FROM pangea_engine WHERE one = 1";
/// Makes the database this cluster's, unless it is somebody's already.
pub const CLAIM_ENGINE: &str = "INSERT INTO pangea_engine (one, version, cluster) VALUES (1, $1::INT8, $2::BYTEA) ON CONFLICT (one) DO NOTHING";

/// The transaction of a batch.
pub const BEGIN: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";
/// The transaction of a query that takes several statements: all of them see one state.
pub const BEGIN_READING: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
/// Commits.
pub const COMMIT: &str = "COMMIT";
/// Gives up.
pub const ROLLBACK: &str = "ROLLBACK";

/// Heads with the blobs that their contents lie in.
pub const READ_HEADS: &str = "SELECT h.k, h.v, h.blob, b.v FROM pangea_head AS h LEFT JOIN pangea_blob AS b ON b.k = h.blob \
     WHERE h.k = ANY($1::BYTEA[])";
/// How many versions were ever committed to each bucket.
pub const READ_COMMITS: &str = "SELECT bucket, CAST(SUM(commits) AS INT8) FROM pangea_usage_part \
     WHERE bucket = ANY($1::BYTEA[]) GROUP BY bucket";
/// What a bucket holds, in parts; no row if there is no such bucket.
pub const READ_USAGE: &str = "SELECT COALESCE(p.versions, 0), COALESCE(p.bytes, 0), COALESCE(p.heads, 0), \
     COALESCE(p.uploads, 0), COALESCE(p.commits, 0) FROM pangea_usage AS u \
     LEFT JOIN pangea_usage_part AS p ON p.bucket = u.k WHERE u.k = $1::BYTEA";
/// Adds to what buckets hold.
pub const ADD_USAGE: &str = "INSERT INTO pangea_usage_part (bucket, slot, versions, bytes, heads, uploads, commits) \
     SELECT unnest($1::BYTEA[]), $2::INT8, unnest($3::INT8[]), unnest($4::INT8[]), unnest($5::INT8[]), \
     unnest($6::INT8[]), unnest($7::INT8[]) AS commits ON CONFLICT (bucket, slot) DO UPDATE SET \
     versions = pangea_usage_part.versions + excluded.versions, bytes = pangea_usage_part.bytes + excluded.bytes, \
     heads = pangea_usage_part.heads + excluded.heads, uploads = pangea_usage_part.uploads + excluded.uploads, \
     commits = pangea_usage_part.commits + excluded.commits";
/// Forgets what buckets held.
pub const REMOVE_USAGE: &str = "DELETE FROM pangea_usage_part WHERE bucket = ANY($1::BYTEA[])";
/// Counts requests.
pub const ADD_APPLIED: &str = "INSERT INTO pangea_applied (slot, requests) VALUES ($1::INT8, $2::INT8) \
     ON CONFLICT (slot) DO UPDATE SET requests = pangea_applied.requests + excluded.requests";
/// How many requests were ever carried out.
pub const READ_APPLIED: &str = "SELECT CAST(COALESCE(SUM(requests), 0) AS INT8) FROM pangea_applied";

/// Whether what this connection commits survives a power cut of the server.
pub const SHOW_COMMIT: &str = "SHOW synchronous_commit";
/// Makes a commit wait for the disk where the server's default does not.
pub const SET_COMMIT: &str = "SET synchronous_commit = 'on'";
/// What a server that only pretends to write says.
pub const SHOW_FSYNC: &str = "SHOW fsync";
/// Which standbys a commit waits for.
pub const SHOW_STANDBYS: &str = "SHOW synchronous_standby_names";
/// How long one statement may take, and how long it may wait for a lock.
pub const SET_LIMITS: [&str; 3] = [
    "SET statement_timeout = '20s'",
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '60s'",
];
/// What keeps predicate locks narrow and plans cheap. A server that does not know one of them does without.
pub const SET_WISHES: [&str; 3] = [
    "SET enable_seqscan = 'off'",
    "SET enable_bitmapscan = 'off'",
    "SET plan_cache_mode = 'force_generic_plan'",
];

/// The statements of one table.
pub struct TableSql {
    /// Makes it.
    pub create: &'static str,
    /// At most `$2` rows at or above `$1`.
    pub scan: &'static str,
    /// At most `$3` rows at or above `$1` and below `$2`.
    pub scan_below: &'static str,
    /// Makes rows that must not be there.
    pub insert: &'static str,
    /// Makes or replaces rows.
    pub upsert: &'static str,
    /// Removes rows.
    pub remove: &'static str,
}

macro_rules! table_sql {
    ($name:literal, $($column:literal, $value:literal, $update:literal)?) => {
        TableSql {
            create: concat!(
                "CREATE TABLE IF NOT EXISTS pangea_", $name, " (k BYTEA PRIMARY KEY, v BYTEA NOT NULL", $($column, " BYTEA",)? ")"
            ),
            scan: concat!("SELECT k, v FROM pangea_", $name, " WHERE k >= $1::BYTEA ORDER BY k LIMIT $2::INT8"),
            scan_below: concat!(
                "SELECT k, v FROM pangea_", $name, " WHERE k >= $1::BYTEA AND k < $2::BYTEA ORDER BY k LIMIT $3::INT8"
            ),
            insert: concat!(
                "INSERT INTO pangea_", $name, " (k, v", $($column,)? ") SELECT unnest($1::BYTEA[]) AS k, unnest($2::BYTEA[]) AS v", $($value,)? ""
            ),
            upsert: concat!(
                "INSERT INTO pangea_", $name, " (k, v", $($column,)? ") SELECT unnest($1::BYTEA[]) AS k, unnest($2::BYTEA[]) AS v", $($value,)?
                " ON CONFLICT (k) DO UPDATE SET v = excluded.v", $($update,)? ""
            ),
            remove: concat!("DELETE FROM pangea_", $name, " WHERE k = ANY($1::BYTEA[])"),
        }
    };
}

macro_rules! tables {
    ($first:literal $first_name:literal, $($number:literal $name:literal $($column:literal $value:literal $update:literal)?,)+) => {
        /// The statements of each table, by its number from 1.
        const TABLES: &[TableSql] =
            &[table_sql!($first_name,), $(table_sql!($name, $($column, $value, $update)?)),+];
        /// The numbers and names above, for holding them against core's.
        #[cfg(test)]
        const NAMES: &[(u8, &str)] = &[($first, $first_name), $(($number, $name)),+];

        /// Rows of any tables by their keys, in one statement: one array of keys a table, in the order of the tables.
        pub const READ_ROWS: &str = concat!(
            "SELECT ", $first, "::INT8, k, v FROM pangea_", $first_name, " WHERE k = ANY($", $first, "::BYTEA[])",
            $(" UNION ALL SELECT ", $number, "::INT8, k, v FROM pangea_", $name, " WHERE k = ANY($", $number, "::BYTEA[])"),+
        );
    };
}

tables! {
    1 "bucket",
    2 "bucket_name",
    3 "bucket_key",
    4 "usage",
    5 "head" ", blob" ", unnest($3::BYTEA[]) AS blob" ", blob = excluded.blob",
    6 "version",
    7 "version_seq",
    8 "blob",
    9 "condemned",
    10 "upload",
    11 "part",
    12 "todo",
    13 "lease",
    14 "access_key",
    15 "setting",
    16 "outcome",
    17 "outcome_age",
    18 "state",
    19 "pack",
    20 "pack_entry",
}

/// The statements of a table.
pub fn table(table: TableId) -> &'static TableSql {
    &TABLES[table as usize - 1]
}

/// Every statement there is, for the test that holds them against the subset.
pub fn all() -> Vec<&'static str> {
    let mut all = vec![
        READ_ENGINE,
        CLAIM_ENGINE,
        BEGIN,
        BEGIN_READING,
        COMMIT,
        ROLLBACK,
        READ_HEADS,
        READ_COMMITS,
        READ_USAGE,
        ADD_USAGE,
        REMOVE_USAGE,
        ADD_APPLIED,
        READ_APPLIED,
        READ_ROWS,
        SHOW_COMMIT,
        SET_COMMIT,
        SHOW_FSYNC,
        SHOW_STANDBYS,
    ];
    all.extend(CREATE_ENGINE);
    all.extend(SET_LIMITS);
    all.extend(SET_WISHES);
    for sql in TABLES {
        all.extend([sql.create, sql.scan, sql.scan_below, sql.insert, sql.upsert, sql.remove]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_those_of_core() {
        let core: Vec<(u8, &str)> = TableId::ALL.iter().map(|table| (*table as u8, table.name())).collect();
        assert_eq!(NAMES, core);
    }
}
