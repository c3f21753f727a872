//! Statements: from SQL text to rows, and from rows to the engine. The only crate that speaks
//! DataFusion; those above it pass it on.

mod appender;
mod ddl;
mod dml;
mod error;
mod guard;
mod ingest;
mod optimizer;
mod options;
mod params;
mod parse;
mod planner;
mod point;
mod prepared;
mod provider;
mod refuse;
mod result;
mod rowid;
mod session;
mod shared;
mod statement;
mod utility;
mod uuid;
mod value;

pub use appender::{AppendMode, Appender};
pub use error::{Error, ErrorKind, Position, Result};
pub use ingest::{IngestCounts, IngestTarget};
pub use options::{ScanOptions, SqlOptions};
pub use params::Params;
pub use parse::{is_complete, statement_ranges};
pub use point::{FoundRow, Table};
pub use prepared::Prepared;
pub use result::{RowStream, StatementResult};
pub use session::Session;
pub use shared::Shared;
