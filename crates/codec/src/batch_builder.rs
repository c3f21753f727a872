//! Entries to Arrow columns: flushes and scans of memtables.
//!
//! Reads key and row bytes where they lie and copies each value once, into the column it belongs to.

use arrow_array::ArrayRef;

use crate::column_builder::ColumnBuilder;
use crate::key::no_more;
use crate::schemas::ColumnSource;
use crate::{Error, Result, RowBuffer, RowView, Schemas};

/// Gathers entries (key bytes and row bytes) into the columns of the current schema.
#[derive(Debug)]
pub struct BatchBuilder {
    schemas: Schemas,
    columns: Vec<ProjectedColumn>,
    /// For each key column, the places in `columns` that want it.
    key_columns: Vec<Vec<usize>>,
    /// How many key columns have to be walked for those.
    key_wanted: usize,
    rows: usize,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct ProjectedColumn {
    /// In the current schema.
    position: usize,
    builder: ColumnBuilder,
}

impl BatchBuilder {
    /// A builder of the columns at `projection` (of the current schema), with room for `capacity` rows.
    ///
    /// # Panics
    /// If a position in `projection` is not one of the schema.
    pub fn new(schemas: &Schemas, projection: &[usize], capacity: usize) -> Self {
        let schema = schemas.current();
        let mut key_columns = vec![Vec::new(); schema.key_len()];
        let column = |(place, &position): (usize, &usize)| {
            if let Some(places) = key_columns.get_mut(position) {
                places.push(place);
            }
            let builder = ColumnBuilder::new(&schema.columns[position].data_type, capacity);
            ProjectedColumn {
                position,
                builder: builder.expect("a sound schema has types that are stored"),
            }
        };
        let columns = projection.iter().enumerate().map(column).collect();
        let key_wanted =
            key_columns.iter().rposition(|places| !places.is_empty()).map_or(0, |last| last + 1);
        Self {
            schemas: schemas.clone(),
            columns,
            key_columns,
            key_wanted,
            rows: 0,
            scratch: Vec::new(),
        }
    }

    /// The number of rows pushed.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Appends an entry; `row` is `None` for a delete, whose value columns become NULL.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no key or row has; the builder is of no use afterwards.
    pub fn push(&mut self, key: &[u8], row: Option<&[u8]>) -> Result<()> {
        self.push_key(key)?;
        let key_len = self.key_columns.len();
        let values = self.columns.iter_mut().filter(|column| column.position >= key_len);
        let Some(row) = row else {
            values.for_each(|column| column.builder.push_null());
            self.rows += 1;
            return Ok(());
        };
        let version = self.schemas.version_of(row)?;
        let view = RowView::new(&version.row, row)?;
        for column in values {
            match version.sources[column.position] {
                ColumnSource::Row(index) => column.builder.push_raw(view.raw(index)?)?,
                ColumnSource::Frozen => {
                    let frozen = &self.schemas.current().columns[column.position].frozen;
                    assert!(
                        column.builder.push(frozen.as_ref()),
                        "a sound schema has frozen values that fit"
                    );
                }
                ColumnSource::Key(_) => unreachable!("value columns are behind the key"),
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// Appends a row's values, one a column of the projection.
    ///
    /// # Errors
    /// `Invalid` for values of other types, or another number of them; the builder is of no use
    /// afterwards.
    pub fn push_values(&mut self, row: &RowBuffer) -> Result<()> {
        if row.len() != self.columns.len() {
            let (given, wanted) = (row.len(), self.columns.len());
            return Err(Error::invalid(format!("{given} values for {wanted} columns")));
        }
        for (column, value) in self.columns.iter_mut().zip(row.iter()) {
            if !column.builder.push(value) {
                let position = column.position;
                return Err(Error::invalid(format!("column {position} cannot hold {value:?}")));
            }
        }
        self.rows += 1;
        Ok(())
    }

    /// The columns in the projection's order; the builder is empty and may be used again.
    ///
    /// # Errors
    /// `Corrupt` for nested values that cannot be put together.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.rows = 0;
        self.columns.iter_mut().map(|column| column.builder.finish()).collect()
    }

    fn push_key(&mut self, key: &[u8]) -> Result<()> {
        let mut rest = key;
        let fields = self.schemas.key_codec().fields();
        for (field, places) in fields.iter().zip(&self.key_columns).take(self.key_wanted) {
            let bytes = field.take(&mut rest)?;
            if places.is_empty() {
                continue;
            }
            let value = field.value(bytes, &mut self.scratch)?;
            for &place in places {
                if !self.columns[place].builder.push(value) {
                    return Err(Error::corrupt(format!(
                        "key column {} holds {value:?}",
                        self.columns[place].position
                    )));
                }
            }
        }
        if self.key_wanted == fields.len() { no_more(rest) } else { Ok(()) }
    }
}
