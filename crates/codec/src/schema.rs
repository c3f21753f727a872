//! Which columns a tree has, and which of them form its key.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_array::Array;
use arrow_schema::{DataType, Field, Schema, SchemaRef};

use crate::bytes::{put_varint, take_byte, take_count, take_u32};
use crate::data_type::{is_supported, put_data_type, take_data_type, take_flag};
use crate::physical::{accepts, fits};
use crate::{Error, Result, Value, ValueRef};

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
        if self.version == 0 {
            return Err(Error::invalid("schema versions count from 1, not 0"));
        }
        if self.columns.len() > COLUMNS_MAX {
            let count = self.columns.len();
            return Err(Error::invalid(format!(
                "{count} columns, at most {COLUMNS_MAX} are possible"
            )));
        }
        if self.key.is_empty() || self.key.len() > self.columns.len() {
            let (key, columns) = (self.key.len(), self.columns.len());
            return Err(Error::invalid(format!("a key of {key} columns in a tree of {columns}")));
        }
        let mut ids = HashSet::new();
        self.columns.iter().try_for_each(|column| {
            if !ids.insert(column.id) {
                return Err(Error::invalid(format!("two columns have id {}", column.id)));
            }
            column.validate()
        })
    }

    /// The schema's bytes, as the manifest and SSTable footers hold them.
    ///
    /// ```text
    /// 1 | version | key columns | columns | descending (a byte a key column) | columns:
    /// id | nullable | type | frozen value          numbers are LEB128
    /// ```
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![LAYOUT];
        put_varint(&mut out, u64::from(self.version));
        put_varint(&mut out, self.key.len() as u64);
        put_varint(&mut out, self.columns.len() as u64);
        out.extend(self.key.iter().map(|order| u8::from(order.descending)));
        for column in &self.columns {
            put_varint(&mut out, u64::from(column.id));
            out.push(u8::from(column.nullable));
            put_data_type(&mut out, &column.data_type);
            column.frozen.encode(&mut out);
        }
        out
    }

    /// The schema of these bytes, validated.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no schema has.
    pub fn decode(mut bytes: &[u8]) -> Result<Self> {
        let bytes = &mut bytes;
        match take_byte(bytes)? {
            LAYOUT => {}
            other => {
                return Err(Error::corrupt(format!(
                    "schema layout {other}, this release knows {LAYOUT}"
                )));
            }
        }
        let version = take_u32(bytes, "schema version")?;
        let key_len = take_count(bytes, "key columns")?;
        let column_count = take_count(bytes, "columns")?;
        let order = |bytes: &mut &[u8]| Ok(KeyOrder { descending: take_flag(bytes)? });
        let key = (0..key_len).map(|_| order(bytes)).collect::<Result<Vec<_>>>()?;
        let columns =
            (0..column_count).map(|_| TreeColumn::decode(bytes)).collect::<Result<Vec<_>>>()?;
        if !bytes.is_empty() {
            return Err(Error::corrupt(format!("{} bytes after a schema", bytes.len())));
        }
        let schema = Self { version, columns, key };
        match schema.validate() {
            Ok(()) => Ok(schema),
            Err(error) => Err(Error::corrupt(format!("a stored schema: {error}"))),
        }
    }
}

/// The number of the layout that [`TreeSchema::encode`] writes. Persistent.
const LAYOUT: u8 = 1;

impl TreeColumn {
    fn validate(&self) -> Result<()> {
        let Self { id, data_type, frozen, .. } = self;
        if !is_supported(data_type) {
            return Err(Error::invalid(format!("column {id}: type {data_type} cannot be stored")));
        }
        if !frozen.is_null() && !fits(data_type, frozen.as_ref()) {
            return Err(Error::invalid(format!(
                "column {id} of type {data_type}: frozen value {frozen:?} does not fit"
            )));
        }
        Ok(())
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        Ok(Self {
            id: take_u32(bytes, "column id")?,
            nullable: take_flag(bytes)?,
            data_type: take_data_type(bytes)?,
            frozen: Value::decode(bytes)?,
        })
    }

    /// Refuses an array whose values are not this column's, or a NULL where none may be.
    pub(crate) fn check_array(&self, array: &dyn Array) -> Result<()> {
        self.check_array_type(array)?;
        match self.nullable || array.null_count() == 0 {
            true => Ok(()),
            false => Err(self.null_refused()),
        }
    }

    /// Refuses an array whose values are not this column's.
    pub(crate) fn check_array_type(&self, array: &dyn Array) -> Result<()> {
        let (Self { id, data_type, .. }, given) = (self, array.data_type());
        match accepts(data_type, given) {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "column {id} of type {data_type} given an array of type {given}"
            ))),
        }
    }

    #[cold]
    pub(crate) fn null_refused(&self) -> Error {
        Error::invalid(format!("NULL in column {}, which may hold none", self.id))
    }

    #[cold]
    pub(crate) fn mismatch(&self, value: ValueRef<'_>) -> Error {
        let Self { id, data_type, .. } = self;
        match value {
            ValueRef::Binary(v) => Error::invalid(format!(
                "column {id} of type {data_type} cannot hold binary of {} bytes",
                v.len()
            )),
            ValueRef::Text(_) => {
                Error::invalid(format!("column {id} of type {data_type} cannot hold text"))
            }
            ValueRef::Nested(v) => Error::invalid(format!(
                "column {id} of type {data_type} cannot hold {} values of type {}",
                v.len(),
                v.data_type()
            )),
            other => {
                Error::invalid(format!("column {id} of type {data_type} cannot hold {other:?}"))
            }
        }
    }
}
