//! The one gate through which rows enter storage.
//!
//! Every change of rows, whatever statement, appender or file it comes from, arrives here as
//! batches of columns in the table's order. The gate casts them to the columns' types, refuses
//! NULL where there may be none, encodes keys and rows, checks for duplicates at the statement's
//! snapshot, and makes one [`WriteBatch`], or a [`BulkLoad`] when there is much. The number of the
//! snapshot goes along as the batch's base, so that a commit in between is found and the statement
//! can run again. In a transaction the batch, or the load, joins what the transaction wrote before;
//! its own base is looked at when it commits.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use datafusion::arrow::record_batch::RecordBatch;
use silt_catalog::{ROWID_NAME, TableDef};
use silt_codec::{KeyBuffer, KeyCodec, RowBuffer, RowCodec, array_of};
use silt_storage::{BulkLoad, OnDuplicate, ReadCounters, SeqNo, Snapshot, Tree, WriteBatch};

use super::cast;
use super::upsert::Upsert;
use crate::interrupt::{Claim, Run, Writing};
use crate::planner::Binding;
use crate::rowid::RowIds;
use crate::{Error, ErrorKind, Result, Shared};

/// What a batch needs for an operation, beyond key and row.
const OPERATION_BYTES: usize = 48;

/// What happens to a new row whose key is there already.
#[derive(Clone, Debug)]
pub(crate) enum OnConflict {
    /// The statement fails.
    Error,
    /// The old row stays.
    Ignore,
    /// The new row takes its place, whatever it was.
    Replace,
    /// The old row is changed.
    Update(Arc<Upsert>),
}

/// How many rows a change touched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changed {
    /// Rows written or removed.
    pub(crate) rows: u64,
    /// New rows left out because their key was there.
    pub(crate) kept: u64,
}

/// The way into one table at one moment.
#[derive(Debug)]
pub(crate) struct Gate<'a> {
    binding: &'a Binding,
    row_ids: &'a RowIds,
    table: &'a TableDef,
    tree: Tree,
    /// For each tree column its place among the table's.
    order: Vec<Option<usize>>,
    keys: Arc<KeyCodec>,
    rows: Arc<RowCodec>,
    /// Whether many rows go around log and memtable.
    bulk_loads: bool,
    /// The statement, or load, that changes rows and may be interrupted; none for appenders, which
    /// end with their source.
    run: Option<Arc<Run>>,
    /// What is held until the commit, of the statement's memory.
    claim: Claim,
}

impl<'a> Gate<'a> {
    /// `table` names its tree, also where the catalog does not name the table yet.
    pub(crate) fn new(
        shared: &'a Shared,
        binding: &'a Binding,
        table: &'a TableDef,
    ) -> Result<Self> {
        let tree = binding.engine.tree(table.tree)?;
        let order = table.tree_order();
        let (keys, rows) = (tree.key_codec(), tree.row_codec());
        let (row_ids, run, claim) = (shared.row_ids(), None, Claim::default());
        let bulk_loads = shared.options().writes.bulk_loads;
        Ok(Self { binding, row_ids, table, tree, order, keys, rows, bulk_loads, run, claim })
    }

    /// The same for a statement, which `tag` names.
    pub(crate) fn for_run(self, run: &Arc<Run>, tag: &str) -> Self {
        Self { run: Some(Arc::clone(run)), claim: run.claim(tag), ..self }
    }

    /// The same for a load: what it holds is bounded by the engine's own options.
    pub(crate) fn for_load(self, run: &Arc<Run>) -> Self {
        Self { run: Some(Arc::clone(run)), ..self }
    }

    /// Looks whether the change may go on, now that it holds so many bytes.
    fn check(&self, bytes: usize) -> Result<()> {
        self.go_on()?;
        self.claim.resize(bytes)
    }

    /// Looks whether the change may go on.
    fn go_on(&self) -> Result<()> {
        self.run.as_ref().map_or(Ok(()), |run| run.check())
    }

    fn snapshot(&self) -> &Snapshot {
        &self.binding.snapshot
    }

    /// The number of the catalog that the statement was planned under.
    pub(crate) fn catalog_seq(&self) -> SeqNo {
        self.binding.names.seq()
    }

    /// Checked columns in the tree's order, from columns in the table's. A hidden row number is
    /// made up unless `row_ids` holds the rows' own.
    fn conform(&self, columns: &[ArrayRef], row_ids: Option<&ArrayRef>) -> Result<Vec<ArrayRef>> {
        let assign =
            |index: usize| cast::assign(self.table, &self.table.columns[index], &columns[index]);
        self.conform_by(columns, row_ids, assign)
    }

    /// As [`conform`](Self::conform), for rows that nothing but storage reads.
    fn conform_for_storage(&self, columns: &[ArrayRef]) -> Result<Vec<ArrayRef>> {
        let keys: Vec<_> = self.order.iter().take(self.keys.key_len()).flatten().collect();
        let assign = |index: usize| {
            let (column, array) = (&self.table.columns[index], &columns[index]);
            match keys.contains(&&index) {
                true => cast::assign(self.table, column, array),
                false => cast::assign_for_storage(self.table, column, array),
            }
        };
        self.conform_by(columns, None, assign)
    }

    fn conform_by(
        &self,
        columns: &[ArrayRef],
        row_ids: Option<&ArrayRef>,
        assign: impl Fn(usize) -> Result<ArrayRef>,
    ) -> Result<Vec<ArrayRef>> {
        let rows = columns.first().map_or(0, Array::len);
        let column = |place: &Option<usize>| match place {
            Some(index) => assign(*index),
            None => match row_ids {
                Some(row_ids) => Ok(Arc::clone(row_ids)),
                None => {
                    let first = self.row_ids.take(&self.tree, self.snapshot(), rows)?;
                    Ok(Arc::new(Int64Array::from_iter_values((first..).take(rows))) as ArrayRef)
                }
            },
        };
        let mut columns = self.order.iter().map(column).collect::<Result<Vec<_>>>()?;
        let key = self.keys.normalise(&columns[..self.keys.key_len()])?;
        columns.splice(..key.len(), key);
        Ok(columns)
    }

    fn encode(&self, columns: &[ArrayRef]) -> Result<(KeyBuffer, KeyBuffer)> {
        let (key, values) = columns.split_at(self.keys.key_len());
        let mut keys = KeyBuffer::new();
        self.keys.encode_columns(key, &mut keys).map_err(|error| self.explain(error.into()))?;
        let rows = self.rows.encode_batch(values, keys.len());
        let rows = rows.map_err(|error| self.explain(error.into()))?;
        Ok((keys, rows))
    }

    fn encode_keys(&self, columns: &[ArrayRef]) -> Result<KeyBuffer> {
        let key = self.keys.normalise(columns)?;
        let mut keys = KeyBuffer::new();
        self.keys.encode_columns(&key, &mut keys)?;
        Ok(keys)
    }

    /// A batch that conflicts with commits since the snapshot.
    fn batch(&self) -> WriteBatch {
        let mut batch = WriteBatch::new();
        batch.set_base(self.snapshot().seq());
        batch.set_catalog_seq(self.catalog_seq());
        batch
    }

    /// Commits rows, or removes them; or writes them into the statement's transaction. Gives the
    /// commit's number, where there is one.
    pub(crate) fn commit(&self, batch: WriteBatch) -> Result<Option<SeqNo>> {
        self.binding.commit(batch).map_err(|error| self.explain(error))
    }

    fn bulk_load(&self, duplicates: OnDuplicate) -> Result<BulkLoad> {
        let tree = self.tree.id();
        let load = match &self.binding.transaction {
            None => self.binding.engine.bulk_load(tree, duplicates)?,
            Some(transaction) => transaction.bulk_load(tree, duplicates)?,
        };
        Ok(match &self.run {
            None => load,
            Some(run) => load.watched(Arc::new(Writing(Arc::clone(run)))),
        })
    }

    /// Removes the rows with the keys in `batches`; a key may come twice.
    pub(crate) fn delete(
        &self,
        batches: impl Iterator<Item = Result<RecordBatch>>,
    ) -> Result<Changed> {
        let mut batch = self.batch();
        for keys in batches {
            for key in self.encode_keys(keys?.columns())?.iter() {
                batch.delete(self.tree.id(), key);
            }
            self.check(held_by(&batch))?;
        }
        let rows = count(batch.len());
        self.commit(batch)?;
        Ok(Changed { rows, kept: 0 })
    }

    /// Changes rows: each of `batches` has the old key's columns, then all new ones in the table's
    /// order. `moves` says whether keys may change.
    pub(crate) fn update(
        &self,
        batches: impl Iterator<Item = Result<RecordBatch>>,
        moves: bool,
    ) -> Result<Changed> {
        let tree = self.tree.id();
        let key_len = self.keys.key_len();
        let mut batch = self.batch();
        let mut old_keys: HashSet<Box<[u8]>> = HashSet::new();
        let mut moved: Vec<(KeyBuffer, KeyBuffer)> = Vec::new();
        let (mut rows, mut held) = (0, 0);
        for changed in batches {
            let changed = changed?;
            let (old, new) = changed.columns().split_at(key_len);
            let row_ids = self.table.has_rowid().then(|| &old[0]);
            let old = self.encode_keys(old)?;
            let (keys, values) = self.encode(&self.conform(new, row_ids)?)?;
            rows += count(old.len());
            held += old.byte_len() + old.len() * size_of::<Box<[u8]>>();
            for key in old.iter() {
                if !old_keys.insert(key.into()) {
                    return Err(Error::invalid(format!(
                        "UPDATE matches the row with key {} more than once",
                        self.shown_key(key)
                    )));
                }
            }
            if moves {
                old.iter().for_each(|key| batch.delete(tree, key));
                // They are copied into the batch, too, in the end.
                held += 2 * (keys.byte_len() + values.byte_len());
                moved.push((keys, values));
            } else {
                for (key, row) in keys.iter().zip(values.iter()) {
                    batch.put(tree, key, row);
                }
            }
            self.check(held + held_by(&batch))?;
        }
        // A new key is free if no row has it, or the row that has it moves away.
        let mut arriving = Vec::new();
        for (keys, values) in &moved {
            self.go_on()?;
            for (key, row) in keys.iter().zip(values.iter()) {
                if matches!(batch.get(tree, key), Some(Some(_))) {
                    return Err(self.duplicate(key));
                }
                batch.put(tree, key, row);
                if !old_keys.contains(key) {
                    arriving.push(key.to_vec());
                }
            }
        }
        if let Some(taken) = self.present(&arriving)?.first() {
            return Err(self.duplicate(&arriving[*taken]));
        }
        self.go_on()?;
        self.commit(batch)?;
        Ok(Changed { rows, kept: 0 })
    }

    /// Which of the keys have rows: positions, in key order.
    fn present(&self, keys: &[Vec<u8>]) -> Result<Vec<usize>> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.tree.multi_get(keys, &[], self.snapshot(), &ReadCounters::new())?;
        Ok(found.positions.into_iter().map(index).collect())
    }

    /// Begins to add rows.
    pub(crate) fn insert(&self, on_conflict: OnConflict) -> Insertion<'_> {
        self.insertion(on_conflict, false)
    }

    /// Begins to add rows to a tree that nobody else knows yet.
    pub(crate) fn insert_into_new(&self, on_conflict: OnConflict) -> Insertion<'_> {
        self.insertion(on_conflict, true)
    }

    fn insertion(&self, on_conflict: OnConflict, new: bool) -> Insertion<'_> {
        Insertion {
            gate: self,
            new,
            on_conflict,
            pending: Vec::new(),
            pending_bytes: 0,
            bulk_above: match self.bulk_loads {
                true => self.binding.engine.options().memtable_bytes / 2,
                false => usize::MAX,
            },
            bulk: None,
        }
    }

    /// A duplicate or conflict of this table with its key shown; other errors as they are.
    fn explain(&self, error: silt_storage::Error) -> Error {
        explain(error, self.table, &self.tree)
    }

    fn duplicate(&self, key: &[u8]) -> Error {
        duplicate(key, self.table, &self.tree)
    }

    fn shown_key(&self, key: &[u8]) -> String {
        shown_key(key, self.table, &self.tree)
    }

    /// The table's columns in its own order, from the tree's.
    fn declared(&self, columns: &[ArrayRef]) -> Vec<ArrayRef> {
        let positions = self.table.tree_positions();
        positions.into_iter().map(|position| Arc::clone(&columns[position])).collect()
    }
}

/// New rows on their way in: kept until it shows how many they are.
pub(crate) struct Insertion<'a> {
    gate: &'a Gate<'a>,
    /// Whether the tree is new: no key can be there, nobody can come between.
    new: bool,
    on_conflict: OnConflict,
    /// Checked columns in the tree's order.
    pending: Vec<Vec<ArrayRef>>,
    pending_bytes: usize,
    /// More than this goes around log and memtable.
    bulk_above: usize,
    bulk: Option<BulkLoad>,
}

impl Insertion<'_> {
    /// Adds rows: all columns of the table, in its order.
    pub(crate) fn push(&mut self, columns: &[ArrayRef]) -> Result<()> {
        if columns.first().is_none_or(|column| column.is_empty()) {
            return Ok(());
        }
        let columns = match self.on_conflict {
            // New rows meet old ones in expressions.
            OnConflict::Update(_) => self.gate.conform(columns, None)?,
            _ => self.gate.conform_for_storage(columns)?,
        };
        if let Some(bulk) = &mut self.bulk {
            bulk.push(columns).map_err(|error| self.gate.explain(error))?;
            return self.gate.check(0);
        }
        self.pending_bytes += columns.iter().map(slice_bytes).sum::<usize>();
        self.gate.check(self.pending_bytes)?;
        self.pending.push(columns);
        let duplicates = match &self.on_conflict {
            OnConflict::Error => OnDuplicate::Error,
            OnConflict::Ignore => OnDuplicate::Keep,
            OnConflict::Replace => OnDuplicate::Replace,
            // Old rows must be read first, so these stay in memory.
            OnConflict::Update(_) => return Ok(()),
        };
        if self.pending_bytes > self.bulk_above {
            let mut bulk = self.gate.bulk_load(duplicates)?;
            for columns in self.pending.drain(..) {
                bulk.push(columns).map_err(|error| self.gate.explain(error))?;
            }
            // What a load holds is bounded by the engine's own options.
            self.gate.check(0)?;
            self.bulk = Some(bulk);
        }
        Ok(())
    }

    /// Writes the rows: the statement's commit, if it is in no transaction.
    pub(crate) fn finish(self) -> Result<Changed> {
        Ok(self.finish_with(WriteBatch::new())?.0)
    }

    /// Writes the rows together with other changes.
    pub(crate) fn finish_with(mut self, with: WriteBatch) -> Result<(Changed, Option<SeqNo>)> {
        let gate = self.gate;
        if let Some(bulk) = self.bulk.take() {
            let mut with = with;
            with.set_catalog_seq(gate.catalog_seq());
            let outcome = bulk.finish(with).map_err(|error| gate.explain(error))?;
            let seq = gate.binding.transaction.is_none().then_some(outcome.seq);
            return Ok((Changed { rows: outcome.rows, kept: outcome.kept }, seq));
        }
        let mut batch = with;
        batch.set_catalog_seq(gate.catalog_seq());
        if !self.new && !matches!(self.on_conflict, OnConflict::Replace) {
            batch.set_base(gate.snapshot().seq());
        }
        let mut changed = Changed::default();
        for columns in &self.pending {
            self.put(columns, &mut batch, &mut changed)?;
            gate.check(self.pending_bytes + held_by(&batch))?;
        }
        let seq = gate.commit(batch)?;
        Ok((changed, seq))
    }

    fn put(
        &self,
        columns: &[ArrayRef],
        batch: &mut WriteBatch,
        changed: &mut Changed,
    ) -> Result<()> {
        let gate = self.gate;
        let tree = gate.tree.id();
        let (keys, rows) = gate.encode(columns)?;
        if let OnConflict::Replace = self.on_conflict {
            for (key, row) in keys.iter().zip(rows.iter()) {
                batch.put(tree, key, row);
            }
            changed.rows += count(keys.len());
            return Ok(());
        }
        if let OnConflict::Update(upsert) = &self.on_conflict {
            return self.upsert(upsert, columns, &keys, &rows, batch, changed);
        }
        let candidates: Vec<Vec<u8>> = keys.iter().map(<[u8]>::to_vec).collect();
        // A row number is new by construction.
        let all_new = self.new || gate.table.has_rowid();
        let taken = if all_new { Vec::new() } else { gate.present(&candidates)? };
        let ignore = matches!(self.on_conflict, OnConflict::Ignore);
        if let (false, Some(first)) = (ignore, taken.first()) {
            return Err(gate.duplicate(&candidates[*first]));
        }
        let taken: HashSet<usize> = taken.into_iter().collect();
        for (position, (key, row)) in keys.iter().zip(rows.iter()).enumerate() {
            if !taken.contains(&position) && batch.get(tree, key).is_none() {
                batch.put(tree, key, row);
                changed.rows += 1;
            } else if ignore {
                changed.kept += 1;
            } else {
                return Err(gate.duplicate(key));
            }
        }
        Ok(())
    }

    fn upsert(
        &self,
        upsert: &Upsert,
        columns: &[ArrayRef],
        keys: &KeyBuffer,
        rows: &KeyBuffer,
        batch: &mut WriteBatch,
        changed: &mut Changed,
    ) -> Result<()> {
        let gate = self.gate;
        let tree = gate.tree.id();
        let candidates: Vec<Vec<u8>> = keys.iter().map(<[u8]>::to_vec).collect();
        let all: Vec<usize> = (0..columns.len()).collect();
        let found =
            gate.tree.multi_get(&candidates, &all, gate.snapshot(), &ReadCounters::new())?;
        let taken: HashSet<usize> = found.positions.iter().copied().map(index).collect();
        // Also a row that the condition leaves alone counts as seen.
        let mut seen = HashSet::with_capacity(candidates.len());
        for (position, (key, row)) in keys.iter().zip(rows.iter()).enumerate() {
            if !seen.insert(key) || batch.get(tree, key).is_some() {
                return Err(Error::invalid(format!(
                    "ON CONFLICT DO UPDATE meets the row with key {} in table {} twice",
                    gate.shown_key(key),
                    gate.table.display_name()
                )));
            }
            if !taken.contains(&position) {
                batch.put(tree, key, row);
                changed.rows += 1;
            }
        }
        if taken.is_empty() {
            return Ok(());
        }
        let old = gate.declared(found.batch.columns());
        let new = gate.declared(columns);
        let updated = upsert.apply(old, new, &found.positions)?;
        changed.kept += count(taken.len() - updated.positions.len());
        changed.rows += count(updated.positions.len());
        if updated.positions.is_empty() {
            return Ok(());
        }
        let (keys, rows) = gate.encode(&gate.conform(&updated.columns, None)?)?;
        for (key, row) in keys.iter().zip(rows.iter()) {
            batch.put(tree, key, row);
        }
        Ok(())
    }
}

/// A duplicate or conflict of this table with its key shown; other errors as they are.
pub(crate) fn explain(error: silt_storage::Error, table: &TableDef, tree: &Tree) -> Error {
    match error.key() {
        Some((id, key)) if id == tree.id() => match error.kind() {
            ErrorKind::AlreadyExists => duplicate(key, table, tree),
            ErrorKind::Conflict => Error::new(
                ErrorKind::Conflict,
                format!(
                    "the row with key {} in table {} was written by another commit",
                    shown_key(key, table, tree),
                    table.display_name()
                ),
            ),
            _ => error.into(),
        },
        _ => error.into(),
    }
}

fn duplicate(key: &[u8], table: &TableDef, tree: &Tree) -> Error {
    let key = shown_key(key, table, tree);
    let message = format!("duplicate key {key} in table {}", table.display_name());
    Error::new(ErrorKind::AlreadyExists, message)
}

/// `(agent_id, seq) = (7, 12)`.
fn shown_key(key: &[u8], table: &TableDef, tree: &Tree) -> String {
    let mut row = RowBuffer::new();
    if tree.key_codec().decode(key, &mut row).is_err() {
        return "?".to_owned();
    }
    let (schema, order) = (tree.schema(), table.tree_order());
    let name = |place: &Option<usize>| match place {
        Some(index) => table.columns[*index].name.as_str(),
        None => ROWID_NAME,
    };
    let names: Vec<_> = order.iter().take(row.len()).map(name).collect();
    let values = row.iter().zip(schema.key_columns()).map(|(value, column)| {
        let value = value.to_value();
        match array_of(&column.data_type, std::slice::from_ref(&value)) {
            Ok(array) => cast::plain(&array, 0),
            Err(_) => format!("{value:?}"),
        }
    });
    format!("({}) = ({})", names.join(", "), values.collect::<Vec<_>>().join(", "))
}

/// About how much of memory these rows take: views count with the whole of their buffers, which
/// many batches may share.
fn slice_bytes(array: &ArrayRef) -> usize {
    if let Some(texts) = array.as_string_view_opt() {
        return texts.lengths().map(|length| 16 + index(length)).sum();
    }
    if let Some(binaries) = array.as_binary_view_opt() {
        return binaries.lengths().map(|length| 16 + index(length)).sum();
    }
    array.to_data().get_slice_memory_size().unwrap_or_else(|_| array.get_array_memory_size())
}

/// About how much of memory a batch takes.
fn held_by(batch: &WriteBatch) -> usize {
    batch.bytes() + batch.len() * OPERATION_BYTES
}

fn index(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}
