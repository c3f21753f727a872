//! [`Table`]: the door of a key-value store, to the same rows.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;

use crate::{ArrowRows, Params, Result, Row, Rows};

/// A table, read and written by key without SQL. Each call is one statement: it sees the newest
/// rows, or is on the disk when it returns. May be used from many threads.
///
/// Keys and rows are written as [`params!`](crate::params): the values of the key columns in the
/// key's order, those of a row in the order of the table's columns. A value that no value of its
/// column equals finds no row.
#[derive(Debug)]
pub struct Table {
    inner: silt_sql::Table,
}

impl Table {
    pub(crate) fn new(inner: silt_sql::Table) -> Self {
        Self { inner }
    }

    /// The same table, of whose columns reads give only these, in this order: fewer are faster.
    ///
    /// # Errors
    /// `NotFound` for a column that the table has not.
    pub fn with_columns(&self, columns: &[&str]) -> Result<Self> {
        self.inner.with_columns(columns).map(Self::new)
    }

    /// Names and types of the columns that reads give.
    pub fn schema(&self) -> SchemaRef {
        self.inner.schema()
    }

    /// The row with this key.
    ///
    /// # Errors
    /// `Invalid` if the number of values is not the key's; `NotFound` if the table is gone.
    pub fn get(&self, key: Params) -> Result<Option<Row>> {
        Ok(self.inner.get(key.values())?.map(Row::from))
    }

    /// The rows with these keys, all of one moment: for each key its row.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_many(&self, keys: &[Params]) -> Result<Vec<Option<Row>>> {
        let (batch, places) = self.inner.get_many(keys.iter().map(Params::values))?;
        let batch = Arc::new(batch);
        let row = |place: usize| Row::part(Arc::clone(&batch), place);
        Ok(places.into_iter().map(|place| place.map(row)).collect())
    }

    /// The rows whose keys begin with these values, in the key's order; all rows for none.
    ///
    /// # Errors
    /// `Invalid` if there are more values than key columns.
    pub fn scan(&self, prefix: Params) -> Result<Rows> {
        let rows = self.inner.scan(prefix.values())?;
        Ok(Rows::new(ArrowRows::new(self.schema(), rows)))
    }

    /// The last rows whose keys begin with these values, at most so many, the last one first.
    ///
    /// # Errors
    /// As [`scan`](Self::scan).
    pub fn last(&self, prefix: Params, rows: usize) -> Result<Rows> {
        let rows = self.inner.last(prefix.values(), rows)?;
        Ok(Rows::new(ArrowRows::new(self.schema(), rows)))
    }

    /// The rows from the key `from` up to but without the key `to`, in the key's order. Each may
    /// be the first values of a key.
    ///
    /// # Errors
    /// `Invalid` if there are more values than key columns, or one fits no key.
    pub fn scan_between(&self, from: Params, to: Params) -> Result<Rows> {
        let rows = self.inner.scan_between(from.values(), to.values())?;
        Ok(Rows::new(ArrowRows::new(self.schema(), rows)))
    }

    /// Writes a row, whatever was there: one value for each column of the table. Many rows are
    /// faster through an [`Appender`](crate::Appender) in mode upsert.
    ///
    /// # Errors
    /// `Invalid` for a value that does not fit its column.
    pub fn upsert(&self, row: Params) -> Result<()> {
        self.inner.upsert(row.values())
    }

    /// Removes the row with this key, if there is one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn delete(&self, key: Params) -> Result<()> {
        self.inner.delete(key.values())
    }
}
