//! Which columns a tree has, and which of them form its key.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::{Result, Value};

/// The most columns a tree may have.
pub const COLUMNS_MAX: usize = 4096;

/// A column's number, never used again within its tree once dropped.
pub type ColumnId = u32;

/// One column of a tree.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeColumn {
    /// Stable across renames and schema versions.
    pub id: ColumnId,
    /// How values are stored: one of the types that `is_supported` names.
    pub data_type: DataType,
    /// Whether NULL may stand here. Key columns of tables never may; those of indexes may.
    pub nullable: bool,
    /// What rows written before the column existed hold in it.
    pub frozen: Value,
}

/// The direction of one key column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyOrder {
    /// Greater values first.
    pub descending: bool,
}

/// The columns of a tree at one schema version.
///
/// The first `key.len()` columns form the key, in this order; the others follow in any order.
#[derive(Clone, Debug, PartialEq)]
pub struct TreeSchema {
    /// Counts up from 1 within a tree; stored with every row and row group.
    pub version: u32,
    /// All columns, key columns first.
    pub columns: Vec<TreeColumn>,
    /// One entry a key column.
    pub key: Vec<KeyOrder>,
}

impl TreeSchema {
    /// The number of key columns.
    pub fn key_len(&self) -> usize {
        self.key.len()
    }

    /// The key columns.
    pub fn key_columns(&self) -> &[TreeColumn] {
        &self.columns[..self.key.len()]
    }

    /// The columns behind the key.
    pub fn value_columns(&self) -> &[TreeColumn] {
        &self.columns[self.key.len()..]
    }

    /// The position of the column with this id.
    pub fn position(&self, id: ColumnId) -> Option<usize> {
        self.columns.iter().position(|column| column.id == id)
    }

    /// An Arrow schema of the columns at `projection`, named by their ids: names are SQL's.
    pub fn arrow_schema(&self, projection: &[usize]) -> SchemaRef {
        let field = |&index: &usize| {
            let column = &self.columns[index];
            Field::new(column.id.to_string(), column.data_type.clone(), column.nullable)
        };
        Arc::new(Schema::new(projection.iter().map(field).collect::<Vec<_>>()))
    }

    /// Whether the schema is sound: what every reader and writer of the tree relies on.
    ///
    /// # Errors
    /// `Invalid`, naming the column and what is wrong with it.
    pub fn validate(&self) -> Result<()> {
        todo!()
    }

    /// The schema's bytes, as the manifest and SSTable footers hold them.
    pub fn encode(&self) -> Vec<u8> {
        todo!()
    }

    /// The schema of these bytes, validated.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no schema has.
    pub fn decode(_bytes: &[u8]) -> Result<Self> {
        todo!()
    }
}
