//! SiltDB: an embedded table store for programs that write all day and ask SQL questions of what
//! they just wrote. A database is a directory; rows live in typed tables with enforced primary
//! keys; a commit that returned survives power loss.
//!
//! ```
//! use siltdb::{Database, params};
//!
//! # fn main() -> siltdb::Result<()> {
//! # let folder = tempfile::tempdir().expect("a temporary folder");
//! # let path = folder.path().join("agents");
//! let db = Database::open(&path)?;
//! db.execute(
//!     "CREATE TABLE events (agent BIGINT, seq BIGINT, kind TEXT NOT NULL, cost DOUBLE,
//!                           PRIMARY KEY (agent, seq))",
//!     params![],
//! )?;
//!
//! // Each statement is a transaction by itself; it is on the disk when the call returns.
//! db.execute("INSERT INTO events VALUES (?, ?, ?, ?)", params![7, 1, "tool_call", 0.25])?;
//! db.execute("INSERT INTO events VALUES (7, 2, 'reply', 1.5), (8, 1, 'reply', NULL)", params![])?;
//!
//! // A key that is there already is refused, or updated if you say so.
//! let upsert = "INSERT INTO events VALUES (?, ?, ?, ?)
//!               ON CONFLICT (agent, seq) DO UPDATE SET cost = excluded.cost";
//! assert!(db.execute("INSERT INTO events VALUES (7, 1, 'again', 0)", params![]).is_err());
//! db.execute(upsert, params![8, 1, "reply", 0.5])?;
//!
//! let sum: f64 = db.query_row("SELECT sum(cost) FROM events", params![], |row| row.get(0))?;
//! assert_eq!(sum, 2.25);
//!
//! for row in db.query("SELECT agent, count(*) AS n FROM events GROUP BY agent ORDER BY agent", params![])? {
//!     let row = row?;
//!     println!("agent {} wrote {} events", row.get::<i64>("agent")?, row.get::<i64>("n")?);
//! }
//!
//! // Several statements become one transaction, which is run again if another one came first.
//! db.retry(|tx| {
//!     let cost: f64 = tx.query_row(
//!         "SELECT cost FROM events WHERE agent = 7 AND seq = 2", params![], |row| row.get(0))?;
//!     tx.execute("UPDATE events SET cost = ? WHERE agent = 7 AND seq = 2", params![cost - 0.5])?;
//!     tx.execute("UPDATE events SET cost = cost + 0.5 WHERE agent = 8 AND seq = 1", params![])
//! })?;
//!
//! // The same rows by key, as a key-value store gives them.
//! let events = db.table("events")?;
//! events.upsert(params![9, 1, "note", None::<f64>])?;
//! let kind: String = events.get(params![9, 1])?.expect("was just written").get("kind")?;
//! assert_eq!((kind.as_str(), events.scan(params![7])?.count()), ("note", 2));
//! events.delete(params![9, 1])?;
//!
//! // Or as Arrow, batch by batch.
//! let rows: usize = db.query_arrow("SELECT * FROM events", params![])?
//!     .map(|batch| batch.map(|batch| batch.num_rows()))
//!     .sum::<siltdb::Result<usize>>()?;
//! assert_eq!(rows, 3);
//! # db.close()
//! # }
//! ```

mod connection;
mod database;
pub mod inspect;
mod params;
mod row;
mod table;
mod transaction;

pub use connection::{ArrowRows, Connection, Statement};
pub use database::{Builder, Database};
pub use params::ToParam;
pub use row::{FromValue, Row, RowIndex, Rows};
pub use table::Table;
pub use transaction::Transaction;

/// Serves a database by Arrow Flight SQL until it is told to stop; see [`Server`]. The database
/// stays usable from this process.
///
/// # Errors
/// `Invalid` if it would be open to other machines without TLS and users; `Io` if it cannot listen.
#[cfg(feature = "server")]
pub fn serve(database: &Database, options: ServerOptions) -> Result<Server> {
    silt_server::serve(database.shared(), options)
}

pub use datafusion;
pub use datafusion::arrow;
pub use datafusion::scalar::ScalarValue;
#[cfg(feature = "server")]
pub use silt_server::{Clock, LOG_VARIABLE, Server, ServerOptions, TlsOptions, log_to_stderr};
pub use silt_sql::{
    AppendMode, Appender, Error, ErrorKind, IfExists, IngestCounts, IngestTarget, InterruptHandle,
    Params, Position, Result, Role, ScanOptions, SqlOptions, StatementResult, WriteOptions,
};
pub use silt_storage::{
    Counters, Description, Durability, FileDescription, LevelDescription, MemtableDescription,
    TreeDescription, WalSegmentDescription,
};
