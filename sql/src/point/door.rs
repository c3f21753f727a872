//! [`Table`]: rows by key without SQL.

use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::scalar::ScalarValue;
use parking_lot::RwLock;
use silt_catalog::{TableDef, TableId};
use silt_storage::{KeyRange, ReadCounters, ScanOrder, Tree, WriteBatch};

use super::constant::{KeyField, Reading};
use super::found::{FoundRow, take_buffer};
use super::select::{PointScan, dress};
use crate::dml::mutation::{Gate, OnConflict};
use crate::ingest::reference;
use crate::planner::Binding;
use crate::result::RowStream;
use crate::role::{self, Deed};
use crate::session::bind;
use crate::transaction::Current;
use crate::{Error, ErrorKind, Result, Role, Shared};

/// A table, read and written by key without SQL. Each call is one statement: it sees the newest
/// rows, or commits before it returns; while the session it came from is in a transaction, it
/// belongs to that. May be used from many threads.
pub struct Table {
    shared: Arc<Shared>,
    role: Role,
    current: Arc<Current>,
    id: TableId,
    /// The columns given out, by name; all if none are named.
    columns: Option<Vec<String>>,
    opened: RwLock<Arc<Opened>>,
}

/// The table at one state of the catalog.
struct Opened {
    catalog_version: u64,
    table: Arc<TableDef>,
    tree: Tree,
    fields: Vec<KeyField>,
    schema: SchemaRef,
    projection: Vec<usize>,
}

impl Opened {
    fn new(binding: &Binding, table: &Arc<TableDef>, columns: Option<&[String]>) -> Result<Self> {
        if table.has_rowid() {
            return Err(Error::invalid(format!(
                "table {} has no primary key to find rows by",
                table.display_name()
            )));
        }
        let tree = binding.engine.tree(table.tree)?;
        let indices = match columns {
            None => (0..table.columns.len()).collect(),
            Some(names) => {
                let index = |name: &String| Ok(table.column_index(name)?);
                names.iter().map(index).collect::<Result<Vec<_>>>()?
            }
        };
        let fields: Vec<_> = indices.iter().map(|&index| table.columns[index].field()).collect();
        let positions = table.tree_positions();
        Ok(Self {
            catalog_version: binding.names.version(),
            table: Arc::clone(table),
            fields: KeyField::all(&tree.schema())?,
            tree,
            schema: Arc::new(Schema::new(fields)),
            projection: indices.into_iter().map(|index| positions[index]).collect(),
        })
    }

    /// The bytes of a key or of its first columns; none if no row can have it.
    fn key(&self, values: &[ScalarValue], whole: bool) -> Result<Option<Vec<u8>>> {
        if values.len() > self.fields.len() || whole && values.len() < self.fields.len() {
            return Err(Error::invalid(format!(
                "{} values for the key of table {}, which has {} columns",
                values.len(),
                self.table.display_name(),
                self.fields.len()
            )));
        }
        let mut key = Vec::with_capacity(64);
        for (value, field) in values.iter().zip(&self.fields) {
            let fits = match field.value_of(value) {
                Reading::Value(value) => field.put(value, &mut key),
                Reading::Owned(value) => field.put(value.as_ref(), &mut key),
                Reading::Null | Reading::Outside | Reading::Unsure => false,
            };
            if !fits {
                return Ok(None);
            }
        }
        Ok(Some(key))
    }
}

impl Table {
    pub(crate) fn new(
        shared: Arc<Shared>,
        role: Role,
        current: Arc<Current>,
        name: &str,
    ) -> Result<Self> {
        let binding = bind(&shared, current.get().as_ref(), false)?;
        let table = binding.table(&reference(name))?;
        let opened = RwLock::new(Arc::new(Opened::new(&binding, table, None)?));
        Ok(Self { id: table.id, columns: None, opened, shared, role, current })
    }

    /// The same table, of whose columns reads give only these, in this order.
    ///
    /// # Errors
    /// `NotFound` for a column that the table has not.
    pub fn with_columns(&self, columns: &[&str]) -> Result<Self> {
        let columns: Vec<String> = columns.iter().map(|&name| name.to_owned()).collect();
        let binding = self.bind()?;
        let table = self.definition(&binding)?;
        let opened = Opened::new(&binding, table, Some(&columns))?;
        Ok(Self {
            shared: Arc::clone(&self.shared),
            role: self.role,
            current: Arc::clone(&self.current),
            id: self.id,
            columns: Some(columns),
            opened: RwLock::new(Arc::new(opened)),
        })
    }

    /// Names and types of the columns that reads give.
    pub fn schema(&self) -> SchemaRef {
        Arc::clone(&self.opened.read().schema)
    }

    /// The row with this key.
    ///
    /// # Errors
    /// `Invalid` if the number of values is not the key's; `NotFound` if the table is gone.
    pub fn get(&self, key: &[ScalarValue]) -> Result<Option<FoundRow>> {
        let binding = self.bind()?;
        let opened = self.opened(&binding)?;
        let Some(key) = opened.key(key, true)? else { return Ok(None) };
        let (mut row, counters) = (take_buffer(), ReadCounters::new());
        let found =
            opened.tree.get(&key, &opened.projection, &binding.snapshot, &counters, &mut row)?;
        Ok(found.then(|| FoundRow::new(Arc::clone(&opened.schema), row)))
    }

    /// The rows with these keys: one batch, and for each key the row's place there. Cheaper than
    /// as many gets, which may not see one moment.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn get_many<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k [ScalarValue]>,
    ) -> Result<(RecordBatch, Vec<Option<usize>>)> {
        let binding = self.bind()?;
        let opened = self.opened(&binding)?;
        let (mut encoded, mut asked, mut count) = (Vec::new(), Vec::new(), 0);
        for key in keys {
            if let Some(key) = opened.key(key, true)? {
                encoded.push(key);
                asked.push(count);
            }
            count += 1;
        }
        let counters = ReadCounters::new();
        let found =
            opened.tree.multi_get(&encoded, &opened.projection, &binding.snapshot, &counters)?;
        let mut places = vec![None; count];
        for (place, position) in found.positions.into_iter().enumerate() {
            places[asked[usize::try_from(position).unwrap_or(usize::MAX)]] = Some(place);
        }
        Ok((dress(&opened.schema, found.batch)?, places))
    }

    /// The rows whose keys begin with these values, in the key's order; all rows for no values.
    ///
    /// # Errors
    /// `Invalid` if there are more values than key columns.
    pub fn scan(&self, prefix: &[ScalarValue]) -> Result<RowStream> {
        let binding = self.bind()?;
        let opened = self.opened(&binding)?;
        let range = opened.key(prefix, false)?.map(KeyRange::prefix);
        Ok(self.stream(&binding, &opened, range, ScanOrder::Forward, usize::MAX))
    }

    /// The last rows whose keys begin with these values, at most so many, the last one first.
    ///
    /// # Errors
    /// `Invalid` if there are more values than key columns.
    pub fn last(&self, prefix: &[ScalarValue], rows: usize) -> Result<RowStream> {
        let binding = self.bind()?;
        let opened = self.opened(&binding)?;
        let range = opened.key(prefix, false)?.map(KeyRange::prefix);
        Ok(self.stream(&binding, &opened, range, ScanOrder::Reverse, rows))
    }

    /// The rows from the key `from` up to but without the key `to`, in the key's order; each may
    /// be the first values of a key.
    ///
    /// # Errors
    /// `Invalid` if there are more values than key columns, or one fits no key.
    pub fn scan_between(&self, from: &[ScalarValue], to: &[ScalarValue]) -> Result<RowStream> {
        let binding = self.bind()?;
        let opened = self.opened(&binding)?;
        let bound = |values| {
            let misfit = || Error::invalid("a bound that no key of the table can have");
            opened.key(values, false)?.ok_or_else(misfit)
        };
        let range =
            KeyRange { start: Bound::Included(bound(from)?), end: Bound::Excluded(bound(to)?) };
        let range = (!range.is_empty()).then_some(range);
        Ok(self.stream(&binding, &opened, range, ScanOrder::Forward, usize::MAX))
    }

    fn bind(&self) -> Result<Binding> {
        bind(&self.shared, self.current.get().as_ref(), false)
    }

    fn stream(
        &self,
        binding: &Binding,
        opened: &Opened,
        range: Option<KeyRange>,
        order: ScanOrder,
        rows: usize,
    ) -> RowStream {
        let Some(range) = range else { return RowStream::ready(Vec::new()) };
        let scan = PointScan::new(
            opened.tree.clone(),
            Arc::clone(&opened.schema),
            opened.projection.clone(),
            order,
            binding.snapshot.clone(),
            range,
            rows,
        );
        RowStream::scan(Arc::clone(&self.shared), Box::new(scan))
    }

    /// Writes a row, whatever was there: one value for each column of the table, in its order.
    ///
    /// # Errors
    /// `Invalid` for a value that does not fit its column.
    pub fn upsert(&self, row: &[ScalarValue]) -> Result<()> {
        let arrays = row.iter().map(ScalarValue::to_array).collect::<Result<Vec<_>, _>>()?;
        self.upsert_columns(&arrays).map(drop)
    }

    /// Writes rows together: all columns of the table, in its order. Of rows with one key the last
    /// stays. Gives their number.
    ///
    /// # Errors
    /// As [`upsert`](Self::upsert); then no row is written.
    pub fn upsert_columns(&self, columns: &[ArrayRef]) -> Result<u64> {
        self.write(|gate, opened| {
            if columns.len() != opened.table.columns.len() {
                return Err(Error::invalid(format!(
                    "a row of table {} has {} values, not {}",
                    opened.table.display_name(),
                    opened.table.columns.len(),
                    columns.len()
                )));
            }
            let mut insertion = gate.insert(OnConflict::Replace);
            insertion.push(columns)?;
            Ok(insertion.finish()?.rows)
        })
    }

    /// Removes the row with this key, if there is one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn delete(&self, key: &[ScalarValue]) -> Result<()> {
        self.write(|gate, opened| {
            let Some(key) = opened.key(key, true)? else { return Ok(()) };
            let mut batch = WriteBatch::new();
            batch.set_catalog_seq(gate.catalog_seq());
            batch.delete(opened.tree.id(), &key);
            gate.commit(batch).map(drop)
        })
    }

    /// Blind writes lose against changes of the table's definition alone.
    fn write<T>(&self, write: impl Fn(&Gate<'_>, &Opened) -> Result<T>) -> Result<T> {
        role::permit_role(self.role, Deed::ChangeRows)?;
        self.current.guarded(|| {
            let transaction = self.current.get();
            let _turn = transaction.as_ref().map(|own| own.turn());
            loop {
                let binding = bind(&self.shared, transaction.as_ref(), true)?;
                binding.check_writable("a write")?;
                let opened = self.opened(&binding)?;
                let gate = Gate::new(&self.shared, &binding, &opened.table)?;
                match write(&gate, &opened) {
                    Err(error) if binding.may_retry(&error) => {}
                    done => return done,
                }
            }
        })
    }

    fn definition<'b>(&self, binding: &'b Binding) -> Result<&'b Arc<TableDef>> {
        let name = self.opened.read().table.display_name();
        // The number of a table that was rolled back is given again.
        let table = binding.names.table_by_id(self.id);
        table.filter(|table| table.display_name() == name).ok_or_else(|| {
            Error::new(ErrorKind::NotFound, format!("table \"{name}\" does not exist any more"))
        })
    }

    fn opened(&self, binding: &Binding) -> Result<Arc<Opened>> {
        let opened = Arc::clone(&self.opened.read());
        if opened.catalog_version == binding.names.version() {
            return Ok(opened);
        }
        let table = self.definition(binding)?;
        let opened = Arc::new(Opened::new(binding, table, self.columns.as_deref())?);
        *self.opened.write() = Arc::clone(&opened);
        Ok(opened)
    }
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.opened.read().table.display_name();
        f.debug_struct("Table").field("name", &name).finish_non_exhaustive()
    }
}
