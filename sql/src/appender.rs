//! [`Appender`]: rows into one table without SQL, through the same gate.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::execution::SessionState;
use datafusion::scalar::ScalarValue;
use silt_catalog::TableDef;

use crate::dml::mutation::{Gate, OnConflict};
use crate::dml::{Defaults, cast};
use crate::ingest::reference;
use crate::planner::{Binding, Bound, Planner};
use crate::role::{self, Deed};
use crate::session::bind;
use crate::transaction::{Current, Transaction};
use crate::{Error, ErrorKind, Result, Shared};

/// Rows given one by one become columns at this number.
const ROWS_PER_BATCH: usize = 8_192;

/// What happens to a row whose key is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendMode {
    /// The append fails.
    #[default]
    Insert,
    /// The new row replaces the old.
    Upsert,
    /// The old row stays.
    Ignore,
}

impl AppendMode {
    pub(crate) fn on_conflict(self) -> OnConflict {
        match self {
            Self::Insert => OnConflict::Error,
            Self::Upsert => OnConflict::Replace,
            Self::Ignore => OnConflict::Ignore,
        }
    }
}

/// Rows for one table, committed in parts: each [`flush`](Self::flush) is one commit, or one
/// statement of the transaction that its session is in.
pub struct Appender {
    shared: Arc<Shared>,
    state: Arc<SessionState>,
    current: Arc<Current>,
    /// The transaction that it was opened in, and ends with.
    opened_in: Option<Arc<Transaction>>,
    table: Arc<TableDef>,
    defaults: Defaults,
    mode: AppendMode,
    /// All columns of the table, in its order.
    batches: Vec<Vec<ArrayRef>>,
    rows: Vec<Vec<ScalarValue>>,
}

impl Appender {
    pub(crate) fn new(
        shared: Arc<Shared>,
        state: Arc<SessionState>,
        current: Arc<Current>,
        table: &str,
        mode: AppendMode,
    ) -> Result<Self> {
        let opened_in = current.get();
        let (table, defaults) = open(&shared, &state, opened_in.as_ref(), table)?;
        let (batches, rows) = (Vec::new(), Vec::new());
        Ok(Self { shared, state, current, opened_in, table, defaults, mode, batches, rows })
    }

    /// What happens to a row whose key is there already.
    pub fn mode(&self) -> AppendMode {
        self.mode
    }

    /// Adds a row: one value for each column of the table, in its order.
    ///
    /// # Errors
    /// `Invalid` if their number is wrong.
    pub fn append_row(&mut self, row: Vec<ScalarValue>) -> Result<()> {
        if row.len() != self.table.columns.len() {
            return Err(Error::invalid(format!(
                "a row of table {} has {} values, not {}",
                self.table.display_name(),
                self.table.columns.len(),
                row.len()
            )));
        }
        self.rows.push(row);
        if self.rows.len() == ROWS_PER_BATCH { self.collect() } else { Ok(()) }
    }

    /// Adds rows: the columns by name, missing ones take their DEFAULT.
    ///
    /// # Errors
    /// `NotFound` for a column that the table has not.
    pub fn append_batch(&mut self, batch: &RecordBatch) -> Result<()> {
        self.collect()?;
        self.batches.push(self.defaults.arrange(&self.table, batch)?);
        Ok(())
    }

    /// Commits what was added, or writes it into the session's transaction, and gives the number of
    /// rows written. Rows that a failed commit leaves are forgotten.
    ///
    /// # Errors
    /// `AlreadyExists` for a key that is there (mode insert); `Invalid` for a value that does not
    /// fit, or if the transaction that it was opened in is over; nothing of this part is then kept.
    pub fn flush(&mut self) -> Result<u64> {
        self.collect()?;
        let batches = std::mem::take(&mut self.batches);
        if batches.is_empty() {
            return Ok(0);
        }
        let transaction = self.current.get();
        if self.opened_in.is_some()
            && self.opened_in.as_ref().map(Arc::as_ptr) != transaction.as_ref().map(Arc::as_ptr)
        {
            let table = self.table.display_name();
            return Err(Error::invalid(format!(
                "the transaction that this appender to table {table} was opened in is over"
            )));
        }
        let _turn = transaction.as_ref().map(|own| own.turn());
        let current = Arc::clone(&self.current);
        current.guarded(|| {
            loop {
                let binding = bind(&self.shared, transaction.as_ref(), true)?;
                match self.write(&binding, &batches) {
                    // Another commit came between, of rows or of the table's definition.
                    Err(error) if binding.may_retry(&error) => self.reopen()?,
                    done => return done,
                }
            }
        })
    }

    /// Flushes and closes. Dropping an appender forgets what was not flushed.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub fn finish(mut self) -> Result<u64> {
        self.flush()
    }

    fn write(&self, binding: &Binding, batches: &[Vec<ArrayRef>]) -> Result<u64> {
        binding.check_writable("an appender's write")?;
        let table = binding.names.table_by_id(self.table.id).ok_or_else(|| {
            let message =
                format!("table \"{}\" does not exist any more", self.table.display_name());
            Error::new(ErrorKind::NotFound, message)
        })?;
        let gate = Gate::new(&self.shared, binding, table)?;
        let mut insertion = gate.insert(self.mode.on_conflict());
        for batch in batches {
            insertion.push(batch)?;
        }
        Ok(insertion.finish()?.rows)
    }

    /// Looks at the table again.
    fn reopen(&mut self) -> Result<()> {
        let name = format!("\"{}\".\"{}\"", self.table.namespace, self.table.name);
        let (table, defaults) = open(&self.shared, &self.state, None, &name)?;
        if table.columns != self.table.columns {
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("the columns of table {} changed", table.display_name()),
            ));
        }
        self.table = table;
        self.defaults = defaults;
        Ok(())
    }

    /// Rows to columns.
    fn collect(&mut self) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let mut columns: Vec<Vec<ScalarValue>> =
            self.table.columns.iter().map(|_| Vec::with_capacity(rows.len())).collect();
        for row in rows {
            for (column, value) in columns.iter_mut().zip(row) {
                column.push(value);
            }
        }
        let columns = columns.into_iter().zip(&self.table.columns);
        let arrays = columns.map(|(values, column)| {
            let first = values.iter().find(|value| !value.is_null()).map(ScalarValue::data_type);
            let Some(first) = first else {
                return Ok(ScalarValue::Null.to_array_of_size(values.len())?);
            };
            let same = |value: &ScalarValue| value.data_type() == first;
            if values.iter().all(same) {
                return Ok(ScalarValue::iter_to_array(values)?);
            }
            // Values of several types: each is cast by itself, so that the error names it.
            let own = column.sql_type.arrow();
            let nullable = silt_catalog::ColumnDef { not_null: false, ..column.clone() };
            let values = values.into_iter().map(|value| {
                if value.is_null() {
                    return Ok(ScalarValue::try_from(&own)?);
                }
                let array = cast::assign(&self.table, &nullable, &value.to_array()?)?;
                Ok(ScalarValue::try_from_array(&array, 0)?)
            });
            let values = values.collect::<Result<Vec<_>>>()?;
            Ok(ScalarValue::iter_to_array(values)?)
        });
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        self.batches.push(arrays);
        Ok(())
    }
}

impl fmt::Debug for Appender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Appender")
            .field("table", &self.table.display_name())
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

fn open(
    shared: &Shared,
    state: &SessionState,
    transaction: Option<&Arc<Transaction>>,
    table: &str,
) -> Result<(Arc<TableDef>, Defaults)> {
    role::permit(state, Deed::ChangeRows)?;
    let binding = bind(shared, transaction, false)?;
    let table = Arc::clone(binding.table(&reference(table))?);
    let bound = Bound::default();
    let planner = Planner { state, binding: &binding, bound: &bound };
    let defaults = Defaults::new(&planner, &table)?;
    Ok((table, defaults))
}
