//! [`RowGroup`]: one row group opened for reading.
//!
//! A [`GroupBlock`] is what the cache holds: the group's header and, each in a cell of its own,
//! the chunks read so far. A chunk is read, verified and opened once; after that it is a pointer
//! away, without a lock. A [`RowGroup`] is a block seen through one version of the tree's schema.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, OnceLock, Weak};

use arrow_array::cast::AsArray;
use arrow_array::types::{UInt8Type, UInt64Type};
use arrow_array::{ArrayRef, UInt32Array};
use arrow_buffer::Buffer;
use arrow_schema::DataType;
use parking_lot::Mutex;
use silt_codec::{
    ColumnChunk, ColumnEncoder, ColumnFront, ColumnId, KeyBuffer, KeyCodec, RowBuffer, Schemas,
    SymbolTables, TreeColumn, TreeSchema, ValueRef, array_of,
};

use super::checksum::checksum;
use super::file::TableFile;
use super::group_header::{ChunkEntry, GroupHeader, KIND_COLUMN, SEQ_COLUMN};
use super::reader::FileTables;
use super::{BlockCache, EntryBatch, GroupEntry};
use crate::{Error, OpKind, Result, SeqNo};

/// Chunks whose gap is smaller are read together: a gap this wide is read in the time of one call.
const COALESCE_GAP: usize = 64 << 10;

/// One read takes at most this much, larger chunks aside.
const COALESCE_MAX: usize = 8 << 20;

/// The values that a key's bytes begin with, and these bytes made of them again.
#[derive(Default)]
struct WholeColumns {
    values: RowBuffer,
    again: Vec<u8>,
}

thread_local! {
    static WHOLE_COLUMNS: RefCell<WholeColumns> = RefCell::default();
}

/// A row group in memory.
#[derive(Debug)]
pub(super) struct GroupBlock {
    pub(super) file: Arc<TableFile>,
    tables: Arc<FileTables>,
    schemas: Schemas,
    pub(super) cache: Weak<BlockCache>,
    number: usize,
    offset: u64,
    pub(super) header: GroupHeader,
    one_version: bool,
    constant_seq: Option<SeqNo>,
    constant_kind: Option<OpKind>,
    seq_slot: Option<usize>,
    kind_slot: Option<usize>,
    /// One a chunk of the header.
    pub(super) chunks: Box<[OnceLock<ColumnChunk>]>,
    /// Likewise: what gets have read of chunks that are not there.
    pub(super) fronts: Box<[OnceLock<ColumnFront>]>,
    /// Rows read by fronts.
    pub(super) front_rows: AtomicU32,
    /// Chunks of columns that the group lacks.
    frozen: FrozenList,
    /// The bytes read for it. Held while reading, so that no chunk is read twice.
    bytes: Mutex<u64>,
}

/// Chunks of frozen values: a list that only grows, so that what it lends stays.
#[derive(Debug, Default)]
struct FrozenList(OnceLock<Box<(ColumnId, ColumnChunk, FrozenList)>>);

/// What stays the same for all groups of a file.
pub(super) struct GroupSource<'a> {
    pub(super) file: &'a Arc<TableFile>,
    pub(super) tables: &'a Arc<FileTables>,
    pub(super) schemas: &'a Schemas,
    pub(super) cache: &'a Arc<BlockCache>,
}

impl GroupBlock {
    /// Opens group `number` on its first bytes, which hold the header at least; chunks that lie
    /// in them whole are opened too.
    pub(super) fn open(
        source: &GroupSource<'_>,
        number: usize,
        entry: &GroupEntry,
        bytes: &Buffer,
    ) -> Result<Self> {
        let file = source.file;
        let header_bytes = &bytes[..entry.header_length as usize];
        let header = GroupHeader::decode(header_bytes, file.mixer(), entry.offset, entry.length)
            .map_err(|error| file.locate(entry.offset, error))?;
        if (header.rows, header.schema_version) != (entry.rows, entry.schema_version) {
            return Err(file.corrupt(
                entry.offset,
                format_args!(
                    "row group of {} rows and schema version {}, in the index {} and {}",
                    header.rows, header.schema_version, entry.rows, entry.schema_version
                ),
            ));
        }
        let key = source.schemas.current().key_columns();
        let is_key = |(column, chunk): (&TreeColumn, &ChunkEntry)| column.id == chunk.column;
        if usize::from(header.key_columns) != key.len()
            || !key.iter().zip(&header.chunks).all(is_key)
        {
            return Err(file.corrupt(entry.offset, "row group with another key than its tree's"));
        }
        let constant_kind = match entry.deletes {
            0 => Some(OpKind::Put),
            deletes if deletes == entry.rows => Some(OpKind::Delete),
            _ => None,
        };
        let [seq_slot, kind_slot] = [header.hidden(SEQ_COLUMN), header.hidden(KIND_COLUMN)];
        let constant_seq = entry.constant_seq();
        if (constant_seq.is_none() && seq_slot.is_none())
            || (constant_kind.is_none() && kind_slot.is_none())
        {
            return Err(file.corrupt(entry.offset, "row group without its hidden columns"));
        }
        let block = Self {
            file: Arc::clone(file),
            tables: Arc::clone(source.tables),
            schemas: source.schemas.clone(),
            cache: Arc::downgrade(source.cache),
            number,
            offset: entry.offset,
            chunks: header.chunks.iter().map(|_| OnceLock::new()).collect(),
            fronts: header.chunks.iter().map(|_| OnceLock::new()).collect(),
            front_rows: AtomicU32::new(0),
            header,
            one_version: entry.one_version,
            constant_seq,
            constant_kind,
            seq_slot,
            kind_slot,
            frozen: FrozenList::default(),
            bytes: Mutex::new(bytes.len() as u64),
        };
        let ends = |slot: &usize| block.span(*slot).end <= bytes.len();
        for slot in (0..block.chunks.len()).take_while(ends) {
            block.open_chunk(
                slot,
                bytes.slice_with_length(block.span(slot).start, block.span(slot).len()),
            )?;
        }
        Ok(block)
    }

    /// The bytes read for it.
    pub(super) fn bytes(&self) -> u64 {
        *self.bytes.lock()
    }

    /// Where a chunk stands in the group.
    pub(super) fn span(&self, slot: usize) -> Range<usize> {
        let entry = &self.header.chunks[slot];
        let start = entry.offset as usize;
        start..start + entry.length as usize
    }

    pub(super) fn chunk_offset(&self, slot: usize) -> u64 {
        self.offset + u64::from(self.header.chunks[slot].offset)
    }

    /// The chunk of the column that has this id and stands at `column` in its schema.
    pub(super) fn slot(&self, column: usize, id: ColumnId) -> Option<usize> {
        let key_columns = usize::from(self.header.key_columns);
        let hidden = usize::from(self.seq_slot.is_some()) + usize::from(self.kind_slot.is_some());
        let usual = if column < key_columns { column } else { column + hidden };
        let chunks = &self.header.chunks;
        match chunks.get(usual) {
            Some(chunk) if chunk.column == id => Some(usual),
            _ => chunks.iter().position(|chunk| chunk.column == id),
        }
    }

    fn chunk(&self, slot: usize) -> Result<&ColumnChunk> {
        if let Some(chunk) = self.chunks[slot].get() {
            return Ok(chunk);
        }
        self.load(&[slot])?;
        self.chunks[slot].get().ok_or_else(|| Error::internal("a chunk was read and is not there"))
    }

    /// Reads those of `slots`, ascending, that are not there yet.
    fn load(&self, slots: &[usize]) -> Result<()> {
        if slots.iter().all(|&slot| self.chunks[slot].get().is_some()) {
            return Ok(());
        }
        let is_there = |slot: usize| self.chunks[slot].get().is_some();
        self.load_spans(slots, is_there, |slot| self.span(slot))
    }

    /// Reads `span` of those of `slots`, ascending, that are not there yet: a chunk whole, or its
    /// front.
    pub(super) fn load_spans(
        &self,
        slots: &[usize],
        is_there: impl Fn(usize) -> bool,
        span: impl Fn(usize) -> Range<usize>,
    ) -> Result<()> {
        let mut bytes = self.bytes.lock();
        let missing: Vec<usize> = slots.iter().copied().filter(|&slot| !is_there(slot)).collect();
        let mut rest = missing.as_slice();
        while let [first, ..] = rest {
            let start = span(*first).start;
            let neighbours = rest.windows(2).take_while(|pair| {
                let (left, right) = (span(pair[0]), span(pair[1]));
                right.start - left.end < COALESCE_GAP && right.end - start <= COALESCE_MAX
            });
            let (together, others) = rest.split_at(1 + neighbours.count());
            let end = span(together[together.len() - 1]).end;
            let buffer = self.file.read(self.offset + start as u64, end - start)?;
            for &slot in together {
                let span = span(slot);
                let bytes = buffer.slice_with_length(span.start - start, span.len());
                match bytes.len() < self.span(slot).len() {
                    true => self.open_front(slot, bytes)?,
                    false => self.open_chunk(slot, bytes)?,
                }
            }
            *bytes += buffer.len() as u64;
            rest = others;
        }
        Ok(())
    }

    fn open_chunk(&self, slot: usize, bytes: Buffer) -> Result<()> {
        let entry = &self.header.chunks[slot];
        let computed = checksum(&bytes);
        if computed != entry.checksum {
            return Err(self.file.corrupt(
                self.chunk_offset(slot),
                format_args!(
                    "checksum of a chunk of column {}: stored {:016x}, computed {computed:016x}",
                    entry.column, entry.checksum
                ),
            ));
        }
        let data_type = self.data_type(entry.column)?;
        let none = SymbolTables::default();
        let tables = self.tables_of(slot)?.unwrap_or(&none);
        let chunk = ColumnChunk::open(bytes, data_type, self.header.rows as usize, tables)
            .map_err(|error| self.locate(slot, error))?;
        // Another thread may have been as quick; its chunk is the same.
        let _ = self.chunks[slot].set(chunk);
        Ok(())
    }

    /// The symbol tables of a chunk's column, if the chunk needs one.
    pub(super) fn tables_of(&self, slot: usize) -> Result<Option<&SymbolTables>> {
        let entry = &self.header.chunks[slot];
        match entry.tables.as_slice() {
            [] => Ok(None),
            _ => self.tables.column(&self.file, entry.column).map(Some),
        }
    }

    /// The type of a column. A column's id is never used again, and its type never changes.
    pub(super) fn data_type(&self, id: ColumnId) -> Result<&DataType> {
        match id {
            SEQ_COLUMN => return Ok(&DataType::UInt64),
            KIND_COLUMN => return Ok(&DataType::UInt8),
            _ => {}
        }
        let mut schemas = self.schemas.iter();
        let column = schemas.find_map(|schema| Some(&schema.columns[schema.position(id)?]));
        column.map(|column| &column.data_type).ok_or_else(|| {
            self.file.corrupt(self.offset, format_args!("column {id} is in no schema of the tree"))
        })
    }

    pub(super) fn locate(&self, slot: usize, error: silt_codec::Error) -> Error {
        let column = self.header.chunks[slot].column;
        let named =
            silt_codec::Error::new(error.kind(), format!("column {column}: {}", error.message()));
        self.file.locate(self.chunk_offset(slot), named)
    }

    /// The chunk of a column that the group lacks: its frozen value in every row.
    fn frozen(&self, column: &TreeColumn) -> Result<&ColumnChunk> {
        let mut list = &self.frozen;
        loop {
            match list.0.get().map(|node| &**node) {
                Some((id, chunk, _)) if *id == column.id => return Ok(chunk),
                Some((_, _, rest)) => list = rest,
                None => {
                    let chunk = frozen_chunk(column, self.header.rows)?;
                    // If another thread was quicker, its node is looked at next.
                    let _ = list.0.set(Box::new((column.id, chunk, FrozenList::default())));
                }
            }
        }
    }

    /// Tells the cache what the block weighs now.
    pub(super) fn weigh(self: &Arc<Self>) {
        if let Some(cache) = self.cache.upgrade() {
            let bytes = self.bytes.lock();
            cache.put(self.file.mixer().file, self.number, Arc::clone(self), *bytes);
        }
    }
}

fn frozen_chunk(column: &TreeColumn, rows: u32) -> Result<ColumnChunk> {
    let one = array_of(&column.data_type, std::slice::from_ref(&column.frozen))?;
    let all = arrow_select::take::take(&one, &UInt32Array::from_value(0, rows as usize), None)?;
    let mut encoder = ColumnEncoder::new(column.data_type.clone());
    let mut bytes = Vec::new();
    encoder.encode(&all, &mut bytes)?;
    let tables = encoder.symbol_tables();
    // The encoder's bytes are not aligned; a copy into arrow's allocation is.
    let bytes = Buffer::from_slice_ref(&bytes);
    Ok(ColumnChunk::open(bytes, &column.data_type, rows as usize, tables)?)
}

/// One row group, seen through one version of the tree's schema: columns are positions in it.
///
/// Chunks are read when first wanted and stay with the cached group. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RowGroup {
    pub(super) block: Arc<GroupBlock>,
    pub(super) schema: Arc<TreeSchema>,
}

impl RowGroup {
    pub(super) fn new(block: Arc<GroupBlock>, schema: Arc<TreeSchema>) -> Self {
        Self { block, schema }
    }

    /// The number of entries.
    pub(crate) fn rows(&self) -> usize {
        self.block.header.rows as usize
    }

    /// A column's chunk, read now if it was not yet. A column that the group lacks is a chunk of
    /// its frozen value: deletes have it too.
    pub(crate) fn chunk(&self, column: usize) -> Result<&ColumnChunk> {
        let wanted = &self.schema.columns[column];
        match self.block.slot(column, wanted.id) {
            Some(slot) => self.chunk_in(slot),
            None => self.block.frozen(wanted),
        }
    }

    fn chunk_in(&self, slot: usize) -> Result<&ColumnChunk> {
        if let Some(chunk) = self.block.chunks[slot].get() {
            return Ok(chunk);
        }
        let chunk = self.block.chunk(slot)?;
        self.block.weigh();
        Ok(chunk)
    }

    /// Reads what is missing of these columns, neighbours together.
    pub(crate) fn load(&self, columns: &[usize]) -> Result<()> {
        // The usual case first: all are there, and nothing is allocated.
        if self.has(columns) {
            return Ok(());
        }
        self.block.load(&self.slots(columns))?;
        self.block.weigh();
        Ok(())
    }

    /// Whether the chunks of all these columns are there.
    fn has(&self, columns: &[usize]) -> bool {
        let position = |&column: &usize| self.block.slot(column, self.schema.columns[column].id);
        columns.iter().filter_map(position).all(|slot| self.block.chunks[slot].get().is_some())
    }

    /// The chunks of these columns, ascending.
    pub(super) fn slots(&self, columns: &[usize]) -> Vec<usize> {
        let position = |&column: &usize| self.block.slot(column, self.schema.columns[column].id);
        let mut slots: Vec<usize> = columns.iter().filter_map(position).collect();
        slots.sort_unstable();
        slots.dedup();
        slots
    }

    /// The encoded bytes of these columns, read or not.
    pub(crate) fn encoded_bytes(&self, columns: &[usize]) -> u64 {
        let slot = |&column: &usize| self.block.slot(column, self.schema.columns[column].id);
        let length = |slot: usize| u64::from(self.block.header.chunks[slot].length);
        columns.iter().filter_map(slot).map(length).sum()
    }

    /// Appends the value of `column` at `row` to `out`.
    pub(crate) fn value(&self, column: usize, row: usize, out: &mut RowBuffer) -> Result<()> {
        self.chunk(column)?.value(row, out).map_err(|error| self.locate(column, error))
    }

    /// Appends the values of the columns at `projection` at `row` to `out`. Where they are not in
    /// memory and the cache is full, no more is read than this row needs.
    pub(crate) fn row(&self, projection: &[usize], row: usize, out: &mut RowBuffer) -> Result<()> {
        if !self.has(projection) && !self.load_for_row(projection)? {
            return self.row_by_fronts(projection, row, out);
        }
        self.touch(projection, row)?;
        projection.iter().try_for_each(|&column| self.value(column, row, out))
    }

    /// Waits for the memory of the values at `row` once, and not once a column.
    pub(crate) fn touch(&self, columns: &[usize], row: usize) -> Result<()> {
        if columns.len() > 1 {
            let mut touched = 0;
            for &column in columns {
                touched ^= self.chunk(column)?.touch(row);
            }
            std::hint::black_box(touched);
        }
        Ok(())
    }

    /// What the codec said about a column's chunk, with file and offset.
    pub(crate) fn locate(&self, column: usize, error: silt_codec::Error) -> Error {
        match self.block.slot(column, self.schema.columns[column].id) {
            Some(slot) => self.block.locate(slot, error),
            None => error.into(),
        }
    }

    /// The rows whose key begins with `values`: all versions of a key, newest first, or all rows
    /// of a key prefix. If there are none, an empty range where they would be.
    pub(crate) fn find(&self, values: &RowBuffer) -> Result<Range<usize>> {
        self.find_first(values, values.len())
    }

    fn find_first(&self, values: &RowBuffer, columns: usize) -> Result<Range<usize>> {
        self.load_keys(columns)?;
        let mut rows = 0..self.rows();
        for (column, order) in self.schema.key.iter().enumerate().take(columns) {
            let (chunk, value) = (self.chunk(column)?, values.get(column));
            if self.block.one_version && column + 1 == self.schema.key_len() {
                // Of a whole key there is one row or none.
                rows.start = lower_bound(chunk, rows.clone(), &value, order.descending);
                let is_here = !rows.is_empty() && chunk.compare_at(rows.start, &value).is_eq();
                rows.end = rows.start + usize::from(is_here);
            } else {
                rows = equal_range(chunk, rows.clone(), &value, order.descending);
            }
            if rows.is_empty() {
                break;
            }
        }
        Ok(rows)
    }

    fn load_keys(&self, columns: usize) -> Result<()> {
        if self.block.chunks[..columns].iter().all(|chunk| chunk.get().is_some()) {
            return Ok(());
        }
        let slots: Vec<usize> = (0..usize::from(self.block.header.key_columns)).collect();
        self.block.load(&slots)?;
        self.block.weigh();
        Ok(())
    }

    /// The rows whose keys begin with `prefix`, if that is whole columns; none if it is not.
    pub(crate) fn rows_of_prefix(
        &self,
        codec: &KeyCodec,
        prefix: &[u8],
    ) -> Result<Option<Range<usize>>> {
        WHOLE_COLUMNS.with_borrow_mut(|scratch| {
            let whole = self.whole_columns(codec, prefix, scratch);
            let values = &scratch.values;
            if values.is_empty() || whole < prefix.len() {
                return Ok(None);
            }
            self.find_first(values, values.len()).map(Some)
        })
    }

    /// Puts the values of the columns that `key` begins with there, and says how many of its bytes
    /// they are.
    fn whole_columns(&self, codec: &KeyCodec, key: &[u8], scratch: &mut WholeColumns) -> usize {
        let WholeColumns { values, again } = scratch;
        values.clear();
        let mut whole = 0;
        for column in 0..self.schema.key_len() {
            let Ok(len) = codec.prefix_len(key, column + 1) else { break };
            if len > key.len() || codec.decode_column(key, column, values).is_err() {
                break;
            }
            whole = len;
        }
        // Bytes that decode but are no key's, as beside a NaN, order as bytes only.
        again.clear();
        if codec.encode_row(values, again).is_err() || *again != key[..whole] {
            values.clear();
            return 0;
        }
        whole
    }

    /// The first row whose key is not below `key`, any bytes: bounds of ranges need not be keys.
    ///
    /// Whole columns that `key` begins with are searched for as values; only where it ends within
    /// a column keys are encoded for comparison, a dozen of them.
    pub(crate) fn lower_bound_bytes(&self, codec: &KeyCodec, key: &[u8]) -> Result<usize> {
        let (mut rows, whole) = WHOLE_COLUMNS.with_borrow_mut(|scratch| -> Result<_> {
            let whole = self.whole_columns(codec, key, scratch);
            let values = &scratch.values;
            let rows = match values.is_empty() {
                true => 0..self.rows(),
                false => self.find_first(values, values.len())?,
            };
            Ok((rows, whole))
        })?;
        if whole == key.len() || rows.is_empty() {
            return Ok(rows.start);
        }
        self.load_keys(self.schema.key_len())?;
        let mut other = Vec::new();
        while !rows.is_empty() {
            let middle = rows.start + rows.len() / 2;
            other.clear();
            self.key_at(codec, middle, &mut other)?;
            if other.as_slice() < key {
                rows.start = middle + 1;
            } else {
                rows.end = middle;
            }
        }
        Ok(rows.start)
    }

    /// Appends the key of `row` to `key`.
    pub(crate) fn key_at(&self, codec: &KeyCodec, row: usize, key: &mut Vec<u8>) -> Result<()> {
        let mut values = RowBuffer::new();
        for column in 0..self.schema.key_len() {
            self.value(column, row, &mut values)?;
        }
        let values: Vec<ValueRef<'_>> = values.iter().collect();
        Ok(codec.encode_values(&values, key)?)
    }

    /// The rows of all versions of the key at `row`.
    pub(crate) fn versions_of(&self, row: usize) -> Result<Range<usize>> {
        let mut values = RowBuffer::new();
        for column in 0..self.schema.key_len() {
            self.value(column, row, &mut values)?;
        }
        self.find(&values)
    }

    /// The key columns of `rows`.
    pub(crate) fn decode_keys(&self, rows: Range<usize>) -> Result<Vec<ArrayRef>> {
        self.load_keys(self.schema.key_len())?;
        (0..self.schema.key_len()).map(|column| self.decode(column, rows.clone())).collect()
    }

    /// The values of a column in `rows`.
    pub(crate) fn decode(&self, column: usize, rows: Range<usize>) -> Result<ArrayRef> {
        self.chunk(column)?.decode(rows).map_err(|error| self.locate(column, error))
    }

    /// The number that all entries have, if it is one.
    pub(crate) fn constant_seq(&self) -> Option<SeqNo> {
        self.block.constant_seq
    }

    /// What all entries do, if it is one thing.
    pub(crate) fn constant_kind(&self) -> Option<OpKind> {
        self.block.constant_kind
    }

    fn seq_chunk(&self) -> Result<&ColumnChunk> {
        self.hidden_chunk(self.block.seq_slot)
    }

    fn kind_chunk(&self) -> Result<&ColumnChunk> {
        self.hidden_chunk(self.block.kind_slot)
    }

    fn hidden_chunk(&self, slot: Option<usize>) -> Result<&ColumnChunk> {
        // Opening the block checked that what is not constant has a chunk.
        self.chunk_in(slot.ok_or_else(|| Error::internal("a hidden column that is constant"))?)
    }

    /// The number of the entry at `row`.
    pub(crate) fn seq(&self, row: usize) -> Result<SeqNo> {
        match self.block.constant_seq {
            Some(seq) => Ok(seq),
            None => Ok(self.seqs(row..row + 1)?[0]),
        }
    }

    /// What the entry at `row` does.
    pub(crate) fn kind(&self, row: usize) -> Result<OpKind> {
        if let Some(kind) = self.block.constant_kind {
            return Ok(kind);
        }
        let put = ValueRef::UInt(u64::from(OpKind::Put as u8));
        Ok(if self.kind_chunk()?.compare_at(row, &put).is_eq() {
            OpKind::Put
        } else {
            OpKind::Delete
        })
    }

    /// The first row of `rows`, versions of one key newest first, whose number is at most
    /// `snapshot`; none if all are newer.
    pub(crate) fn visible(&self, rows: Range<usize>, snapshot: SeqNo) -> Result<Option<usize>> {
        if let Some(seq) = self.block.constant_seq {
            return Ok((seq <= snapshot && !rows.is_empty()).then_some(rows.start));
        }
        let chunk = self.seq_chunk()?;
        let newer = ValueRef::UInt(snapshot);
        let row = partition_point(rows.clone(), |row| chunk.compare_at(row, &newer).is_gt());
        Ok((row < rows.end).then_some(row))
    }

    /// The numbers of `rows`.
    pub(crate) fn seqs(&self, rows: Range<usize>) -> Result<Vec<SeqNo>> {
        if let Some(seq) = self.block.constant_seq {
            return Ok(vec![seq; rows.len()]);
        }
        let seqs = self.seq_chunk()?.decode(rows)?;
        Ok(seqs.as_primitive::<UInt64Type>().values().to_vec())
    }

    /// What the entries at `rows` do.
    pub(crate) fn kinds(&self, rows: Range<usize>) -> Result<Vec<OpKind>> {
        if let Some(kind) = self.block.constant_kind {
            return Ok(vec![kind; rows.len()]);
        }
        let kinds = self.kind_chunk()?.decode(rows)?;
        let kind = |&number: &u8| {
            OpKind::from_u8(number).ok_or_else(|| {
                self.block
                    .file
                    .corrupt(self.block.offset, format_args!("an entry of kind {number}"))
            })
        };
        kinds.as_primitive::<UInt8Type>().values().iter().map(kind).collect()
    }

    /// The keys of `rows`.
    pub(crate) fn keys(&self, codec: &KeyCodec, rows: Range<usize>) -> Result<KeyBuffer> {
        let mut keys = KeyBuffer::new();
        codec.encode_columns(&self.decode_keys(rows)?, &mut keys)?;
        Ok(keys)
    }

    /// The entries at `rows`, with the columns at `projection`.
    pub(crate) fn entries(
        &self,
        codec: &KeyCodec,
        rows: Range<usize>,
        projection: &[usize],
    ) -> Result<EntryBatch> {
        self.load(projection)?;
        let key_columns = self.decode_keys(rows.clone())?;
        let mut keys = KeyBuffer::new();
        codec.encode_columns(&key_columns, &mut keys)?;
        let column = |&column: &usize| match key_columns.get(column) {
            Some(array) => Ok(Arc::clone(array)),
            None => self.decode(column, rows.clone()),
        };
        Ok(EntryBatch {
            keys,
            columns: projection.iter().map(column).collect::<Result<_>>()?,
            seqs: self.seqs(rows.clone())?,
            kinds: self.kinds(rows)?,
        })
    }
}

fn lower_bound(
    chunk: &ColumnChunk,
    rows: Range<usize>,
    value: &ValueRef<'_>,
    descending: bool,
) -> usize {
    if descending {
        return partition_point(rows, |row| chunk.compare_at(row, value).is_gt());
    }
    chunk.lower_bound(rows, value)
}

/// The rows of `rows` that hold `value`; if there are none, an empty range where they would be.
fn equal_range(
    chunk: &ColumnChunk,
    rows: Range<usize>,
    value: &ValueRef<'_>,
    descending: bool,
) -> Range<usize> {
    if descending {
        let start = partition_point(rows.clone(), |row| chunk.compare_at(row, value).is_gt());
        return start..partition_point(start..rows.end, |row| chunk.compare_at(row, value).is_ge());
    }
    chunk.equal_range(rows, value)
}

/// The first row of `rows` for which `before` is false; it is true for none behind that one.
fn partition_point(mut rows: Range<usize>, before: impl Fn(usize) -> bool) -> usize {
    while !rows.is_empty() {
        let middle = rows.start + rows.len() / 2;
        if before(middle) {
            rows.start = middle + 1;
        } else {
            rows.end = middle;
        }
    }
    rows.start
}
