//! Statements: from SQL text to rows, and from rows to the engine. The only crate that speaks
//! DataFusion; those above it pass it on.

mod appender;
mod error;
mod ingest;
mod options;
mod params;
mod prepared;
mod result;
mod session;
mod shared;

pub use appender::{AppendMode, Appender};
pub use error::{Error, ErrorKind, Position, Result};
pub use ingest::{IngestCounts, IngestTarget};
pub use options::SqlOptions;
pub use params::Params;
pub use prepared::Prepared;
pub use result::{RowStream, StatementResult};
pub use session::Session;
pub use shared::Shared;
