//! Statements: from SQL text to rows, and from rows to the engine. The only crate that speaks
//! DataFusion; those above it pass it on.

mod appender;
mod error;
#[allow(dead_code, reason = "the session is being built upon it")]
pub(crate) mod guard;
mod ingest;
mod options;
mod params;
mod prepared;
#[allow(dead_code, unused_imports, reason = "the session is being built upon it")]
pub(crate) mod provider;
mod result;
mod session;
mod shared;
#[allow(dead_code, reason = "the session is being built upon it")]
mod value;

pub use appender::{AppendMode, Appender};
pub use error::{Error, ErrorKind, Position, Result};
pub use ingest::{IngestCounts, IngestTarget};
pub use options::SqlOptions;
pub use params::Params;
pub use prepared::Prepared;
pub use result::{RowStream, StatementResult};
pub use session::Session;
pub use shared::Shared;
