//! Rows and keys to bytes and back: order-preserving keys, row bytes, column encodings.
//!
//! Knows Arrow's types; knows no file and no tree.

mod batch_builder;
mod bytes;
mod column;
mod column_builder;
mod data_type;
mod error;
mod key;
mod key_buffer;
mod key_columns;
mod nested;
mod physical;
mod row;
mod row_view;
mod schema;
mod schemas;
mod value;

pub use batch_builder::BatchBuilder;
pub use column::{
    CHUNK_RAW_BYTES_MAX, CHUNK_ROWS_MAX, ColumnChunk, ColumnCodes, ColumnEncoder, ColumnFront,
    ColumnNumbers, CompareOp, EncodedChunk, Encoding, NUMBERS_TOGETHER, SYMBOL_TABLES_MAX,
    SymbolTables, ZONE_BYTES_MAX, ZoneMap,
};
pub use data_type::{is_supported, stored_type};
pub use error::{Error, ErrorKind, Result};
pub use key::{KEY_BYTES_MAX, KeyCodec, successor};
pub use key_buffer::KeyBuffer;
pub use row::{ROW_BYTES_MAX, RowCodec, RowsBuffer};
pub use row_view::{RowCell, RowView};
pub use schema::{COLUMNS_MAX, ColumnId, KeyOrder, TreeColumn, TreeSchema};
pub use schemas::{SchemaSource, Schemas};
pub use value::{RowBuffer, Value, ValueRef, array_of};
