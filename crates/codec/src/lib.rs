//! Rows and keys to bytes and back: order-preserving keys, row bytes, column encodings.
//!
//! Knows Arrow's types; knows no file and no tree.

mod error;
mod schema;
mod value;

pub use error::{Error, ErrorKind, Result};
pub use schema::{ColumnId, KeyOrder, TreeColumn, TreeSchema};
pub use value::{RowBuffer, Value, ValueRef};
