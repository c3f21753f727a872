//! Statements: from SQL text to rows, and from rows to the engine. The only crate that speaks
//! DataFusion; those above it pass it on.

mod appender;
mod control;
mod ddl;
mod dml;
mod error;
mod guard;
mod ingest;
mod interrupt;
mod memory;
mod optimizer;
mod options;
mod params;
mod parse;
mod password;
mod planner;
mod point;
mod prepared;
mod provider;
mod refuse;
mod result;
mod role;
mod rowid;
mod session;
mod shared;
mod statement;
mod transaction;
mod users;
mod utility;
mod uuid;
mod value;
mod watch;

pub use appender::{AppendMode, Appender};
pub use error::{Error, ErrorKind, Position, Result};
pub use ingest::{IfExists, IngestCounts, IngestTarget};
pub use interrupt::InterruptHandle;
pub use options::{ScanOptions, SqlOptions, WriteOptions};
pub use params::Params;
pub use parse::{is_complete, statement_ranges, without_literals};
pub use password::{PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN, password_matches};
pub use point::{FoundRow, Table};
pub use prepared::{Description, ParameterDescription, Prepared};
pub use result::{RowStream, StatementResult};
pub use session::Session;
pub use shared::Shared;
pub use silt_catalog::Role;
