//! [`TableDef`]: a table as SQL sees it, and how its columns lie in the tree.

use arrow_schema::{Field, Schema, SchemaRef};
use silt_codec::{ColumnId, KeyOrder, TreeColumn, TreeSchema, Value};
use silt_storage::TreeId;
use std::sync::Arc;

use crate::{Error, ErrorKind, Result, SqlType, did_you_mean};

/// A table's number, never used again; the tree changes with TRUNCATE, this does not.
pub type TableId = u32;

/// The column id of the hidden key of a table without PRIMARY KEY.
pub const ROWID_COLUMN: ColumnId = 0;
/// The name of the hidden key of a table without PRIMARY KEY.
pub const ROWID_NAME: &str = "_rowid";

/// One column of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct ColumnDef {
    /// Stable across renames; 0 is the hidden row number's.
    pub id: ColumnId,
    /// The name, as folded or quoted when it was given.
    pub name: String,
    /// The SQL type.
    pub sql_type: SqlType,
    /// NULL is refused; true of every key column.
    pub not_null: bool,
    /// The DEFAULT expression as SQL text.
    pub default: Option<String>,
}

/// One column of a primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyColumn {
    /// The column.
    pub id: ColumnId,
    /// Greater values first.
    pub descending: bool,
}

/// A table: its names, columns and key, and the tree that holds its rows.
///
/// In the tree the key columns come first, in the key's order, then the others in the table's.
/// A table without PRIMARY KEY has a hidden BIGINT key `_rowid` ([`ROWID_COLUMN`]) there.
#[derive(Clone, Debug, PartialEq)]
pub struct TableDef {
    /// Its number.
    pub id: TableId,
    /// The namespace it lives in.
    pub namespace: String,
    /// Its name there.
    pub name: String,
    /// The tree that holds the rows.
    pub tree: TreeId,
    /// The version of the tree's schema that the columns describe.
    pub schema_version: u32,
    /// The columns in the order they were declared; without the hidden one.
    pub columns: Vec<ColumnDef>,
    /// The primary key; empty when there is none.
    pub primary_key: Vec<KeyColumn>,
}

impl TableDef {
    /// The name as messages show it: without `main`.
    pub fn display_name(&self) -> String {
        if self.namespace == crate::MAIN_NAMESPACE {
            self.name.clone()
        } else {
            format!("{}.{}", self.namespace, self.name)
        }
    }

    /// Whether the key is the hidden row number.
    pub fn has_rowid(&self) -> bool {
        self.primary_key.is_empty()
    }

    /// The position of the column of that name among [`columns`](Self::columns).
    ///
    /// # Errors
    /// `NotFound`, with the nearest name as a hint.
    pub fn column_index(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|column| column.name == name).ok_or_else(|| {
            let names = self.columns.iter().map(|column| column.name.as_str());
            Error::new(
                ErrorKind::NotFound,
                format!("column \"{name}\" does not exist in table \"{}\"", self.display_name()),
            )
            .with_hint(did_you_mean(name, names))
        })
    }

    /// The positions of the key columns among [`columns`](Self::columns), in key order; empty
    /// for a table with the hidden row number.
    pub fn key_indices(&self) -> Vec<usize> {
        self.primary_key
            .iter()
            .filter_map(|key| self.columns.iter().position(|column| column.id == key.id))
            .collect()
    }

    /// Whether the column at this position belongs to the key.
    pub fn is_key(&self, index: usize) -> bool {
        self.primary_key.iter().any(|key| key.id == self.columns[index].id)
    }

    /// For each tree column the position among [`columns`](Self::columns); `None` is the hidden
    /// row number.
    pub fn tree_order(&self) -> Vec<Option<usize>> {
        let mut order: Vec<Option<usize>> = if self.has_rowid() {
            vec![None]
        } else {
            self.key_indices().into_iter().map(Some).collect()
        };
        order.extend((0..self.columns.len()).filter(|&index| !self.is_key(index)).map(Some));
        order
    }

    /// For each of [`columns`](Self::columns) the position in the tree.
    pub fn tree_positions(&self) -> Vec<usize> {
        let mut positions = vec![0; self.columns.len()];
        for (position, index) in self.tree_order().into_iter().enumerate() {
            if let Some(index) = index {
                positions[index] = position;
            }
        }
        positions
    }

    /// The columns as Arrow, in the order they were declared.
    pub fn arrow_schema(&self) -> SchemaRef {
        Arc::new(Schema::new(self.columns.iter().map(ColumnDef::field).collect::<Vec<_>>()))
    }

    /// The columns as the tree stores them.
    pub fn tree_schema(&self) -> TreeSchema {
        let column = |index: Option<usize>| match index {
            None => TreeColumn {
                id: ROWID_COLUMN,
                data_type: SqlType::BigInt.arrow(),
                nullable: false,
                frozen: Value::Null,
            },
            Some(index) => {
                let column = &self.columns[index];
                TreeColumn {
                    id: column.id,
                    data_type: column.sql_type.arrow(),
                    nullable: !column.not_null,
                    frozen: Value::Null,
                }
            }
        };
        let key = if self.has_rowid() {
            vec![KeyOrder::default()]
        } else {
            self.primary_key.iter().map(|key| KeyOrder { descending: key.descending }).collect()
        };
        TreeSchema {
            version: self.schema_version,
            columns: self.tree_order().into_iter().map(column).collect(),
            key,
        }
    }

    /// Checks what can be checked without the engine: names, key columns, key types.
    ///
    /// # Errors
    /// `Invalid`, naming the column.
    pub fn validate(&self) -> Result<()> {
        let table = self.display_name();
        if self.columns.is_empty() {
            return Err(Error::invalid(format!("table \"{table}\" has no columns")));
        }
        for (index, column) in self.columns.iter().enumerate() {
            if column.name == ROWID_NAME {
                return Err(Error::invalid(format!(
                    "column name \"{ROWID_NAME}\" is reserved for the hidden row number"
                )));
            }
            if self.columns[..index].iter().any(|other| other.name == column.name) {
                return Err(Error::new(
                    ErrorKind::AlreadyExists,
                    format!("column \"{}\" is declared twice in table \"{table}\"", column.name),
                ));
            }
        }
        for (index, key) in self.primary_key.iter().enumerate() {
            let column =
                self.columns.iter().find(|column| column.id == key.id).ok_or_else(|| {
                    Error::corrupt(format!("table \"{table}\" has no key column {}", key.id))
                })?;
            if self.primary_key[..index].iter().any(|other| other.id == key.id) {
                return Err(Error::invalid(format!(
                    "column \"{}\" stands twice in the primary key of table \"{table}\"",
                    column.name
                )));
            }
            if !column.sql_type.can_be_key() {
                return Err(Error::invalid(format!(
                    "column \"{}\" of type {} cannot be part of the primary key of table \"{table}\"",
                    column.name, column.sql_type
                )));
            }
        }
        Ok(())
    }
}

impl ColumnDef {
    /// The column as an Arrow field.
    pub fn field(&self) -> Field {
        Field::new(&self.name, self.sql_type.arrow(), !self.not_null)
    }
}
