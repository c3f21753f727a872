//! [`SsTableReader`]: an SSTable opened for reading.
//!
//! Opening reads footer and index; filters, zone maps and symbol tables are read when first asked
//! for. Row groups come through the [`BlockCache`].

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arrow_buffer::Buffer;
use silt_codec::{
    ColumnChunk, ColumnId, KeyCodec, Schemas, SymbolTables, TreeSchema, Value, ZoneMap,
};

use super::bloom::Bloom;
use super::checksum::{Mixer, checksum};
use super::file::{IoCounters, TableFile};
use super::footer::{BLOCK_NAMES, FOOTER_LEN, Footer, HEADER_LEN, Handle, check_header};
use super::group::{GroupBlock, GroupSource};
use super::group_header::GroupHeader;
use super::index::GroupIndex;
use super::input::Input;
use super::sketch::Sketches;
use super::statistics::Statistics;
use super::{BlockCache, GroupEntry, RowGroup};
use crate::version::FileMeta;
use crate::vfs::{Env, OpenMode};
use crate::{Error, Result};

/// A first read takes keys along with the header if they end before this.
const FIRST_READ_MAX: u32 = 1 << 20;

/// An SSTable opened for reading: index in memory, filters and zone maps once they were asked
/// for, row groups through the cache. Shared by threads.
#[derive(Debug)]
pub(crate) struct SsTableReader {
    file: Arc<TableFile>,
    footer: Footer,
    index: GroupIndex,
    tables: Arc<FileTables>,
    schemas: Schemas,
    cache: Arc<BlockCache>,
    key_filter: OnceLock<Bloom>,
    prefix_filter: OnceLock<Bloom>,
    statistics: OnceLock<Statistics>,
    sketches: OnceLock<Option<Sketches>>,
}

impl SsTableReader {
    /// Reads footer and index.
    ///
    /// # Errors
    /// `Corrupt`, with file and offset, for a file that is not the one `meta` was written for.
    pub(crate) fn open(
        env: &Env,
        path: &Path,
        meta: &FileMeta,
        uuid: u128,
        schemas: &Schemas,
        cache: Arc<BlockCache>,
    ) -> Result<Self> {
        let mixer = Mixer { uuid, file: meta.id };
        let counters = Arc::clone(cache.counters());
        let (file, footer) =
            Self::read_footer(env, path, mixer, meta.size, meta.footer_checksum, counters)?;
        let file = Arc::new(file);
        let index = Self::read_index(&file, &footer, meta)?;
        Ok(Self {
            tables: Arc::new(FileTables::new(footer.symbol_tables)),
            file,
            footer,
            index,
            schemas: schemas.clone(),
            cache,
            key_filter: OnceLock::new(),
            prefix_filter: OnceLock::new(),
            statistics: OnceLock::new(),
            sketches: OnceLock::new(),
        })
    }

    /// Opens a file of `size` bytes and reads its footer.
    fn read_footer(
        env: &Env,
        path: &Path,
        mixer: Mixer,
        size: u64,
        checksum: u64,
        counters: Arc<IoCounters>,
    ) -> Result<(TableFile, Footer)> {
        let file =
            env.vfs.open(path, OpenMode::Read).map_err(|error| Error::io(path, "open", error))?;
        let file = TableFile::new(file, path, mixer, counters);
        let len = file.len()?;
        if len != size || len < (HEADER_LEN + FOOTER_LEN) as u64 {
            return Err(
                file.corrupt(len, format_args!("the file has {len} bytes, in the manifest {size}"))
            );
        }
        let offset = len - FOOTER_LEN as u64;
        let bytes = file.read(offset, FOOTER_LEN)?;
        let footer = Footer::decode(&bytes, &mixer, offset, checksum)
            .map_err(|error| file.locate(offset, error))?;
        Ok((file, footer))
    }

    /// What the manifest would say of a file of which only the log has spoken: a bulk file whose
    /// edit a crash has cut off. Its commit's number and time are the caller's to set.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn read_meta(
        env: &Env,
        path: &Path,
        id: u64,
        size: u64,
        footer_checksum: u64,
        uuid: u128,
    ) -> Result<FileMeta> {
        let mixer = Mixer { uuid, file: id };
        let (file, footer) =
            Self::read_footer(env, path, mixer, size, footer_checksum, Arc::default())?;
        let block = file.read_block(footer.index, "row-group index")?;
        let index = GroupIndex::decode(&block, footer.index.offset)
            .map_err(|error| file.locate(footer.index.offset, error))?;
        let groups = index.groups();
        let (Some(first), Some(last)) = (groups.first(), groups.last()) else {
            return Err(file.corrupt(footer.index.offset, format_args!("no row group")));
        };
        let block = file.read_block(footer.statistics, "statistics")?;
        let statistics = Statistics::decode(&block, groups.len())
            .map_err(|error| file.locate(footer.statistics.offset, error))?;
        Ok(FileMeta {
            id,
            size,
            footer_checksum,
            smallest: first.first_key.clone(),
            largest: last.last_key.clone(),
            min_seq: groups.iter().map(|group| group.min_seq).min().unwrap_or_default(),
            max_seq: groups.iter().map(|group| group.max_seq).max().unwrap_or_default(),
            rows: footer.rows,
            deletes: groups.iter().map(|group| u64::from(group.deletes)).sum(),
            groups: footer.groups,
            schema_version: footer.schema_version,
            one_version: groups.iter().all(|group| group.one_version && !group.continued),
            file_seq: None,
            columns: statistics.merged(),
            commit_micros: (0, 0),
        })
    }

    fn read_index(file: &TableFile, footer: &Footer, meta: &FileMeta) -> Result<GroupIndex> {
        let block = file.read_block(footer.index, "row-group index")?;
        let index = GroupIndex::decode(&block, footer.index.offset)
            .map_err(|error| file.locate(footer.index.offset, error))?;
        let rows: u64 = index.groups().iter().map(|group| u64::from(group.rows)).sum();
        if index.groups().len() != footer.groups as usize
            || rows != footer.rows
            || (rows, footer.groups) != (meta.rows, meta.groups)
        {
            return Err(file.corrupt(
                footer.index.offset,
                format_args!(
                    "{rows} rows in {} groups, in the manifest {} in {}",
                    index.groups().len(),
                    meta.rows,
                    meta.groups
                ),
            ));
        }
        let Some(seq) = meta.file_seq else { return Ok(index) };
        // The number of a bulk file was not known when it was written: all its groups say 0.
        let mut groups = index.groups().to_vec();
        for group in &mut groups {
            if group.max_seq != 0 {
                return Err(file.corrupt(
                    footer.index.offset,
                    format_args!("number {} in a bulk file", group.max_seq),
                ));
            }
            group.min_seq = seq;
            group.max_seq = seq;
        }
        Ok(GroupIndex::new(groups))
    }

    /// The file's number.
    pub(crate) fn id(&self) -> u64 {
        self.file.mixer().file
    }

    /// Bytes of index, filters and zone maps in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.index.memory_bytes()
            + self.key_filter.get().map_or(0, Bloom::bytes)
            + self.prefix_filter.get().map_or(0, Bloom::bytes)
            + self.statistics.get().map_or(0, Statistics::memory_bytes)
            + self.sketches.get().and_then(Option::as_ref).map_or(0, Sketches::memory_bytes)
    }

    /// The row groups in key order.
    pub(crate) fn groups(&self) -> &[GroupEntry] {
        self.index.groups()
    }

    /// Whether the key of this hash ([`key_hash`](crate::key::key_hash)) may be here. False is certain.
    pub(crate) fn may_contain(&self, hash: u64) -> Result<bool> {
        let filter = self.filter(&self.key_filter, self.footer.key_filter, "key filter")?;
        Ok(filter.may_contain(hash))
    }

    /// Whether a key whose first column's bytes have this hash may be here. False is certain;
    /// where keys have one column it is never false.
    pub(crate) fn may_contain_prefix(&self, hash: u64) -> Result<bool> {
        let filter =
            self.filter(&self.prefix_filter, self.footer.prefix_filter, "prefix filter")?;
        Ok(filter.may_contain(hash))
    }

    fn filter<'a>(
        &self,
        cell: &'a OnceLock<Bloom>,
        handle: Handle,
        what: &str,
    ) -> Result<&'a Bloom> {
        if let Some(filter) = cell.get() {
            return Ok(filter);
        }
        let block = self.file.read_block(handle, what)?;
        let filter =
            Bloom::decode(&block).map_err(|error| self.file.locate(handle.offset, error))?;
        Ok(cell.get_or_init(|| filter))
    }

    /// The group where `key` is or would be: the last that starts at or before it, and of groups
    /// that continue one another the first. None if `key` is below the file.
    pub(crate) fn find_group(&self, key: &[u8]) -> Option<usize> {
        self.index.find(key)
    }

    /// The groups that stand as one with `group`: itself and those that continue it, or that it
    /// continues.
    pub(crate) fn chain(&self, group: usize) -> Range<usize> {
        self.index.chain(group)
    }

    /// A row group, its columns being positions in `schema`. `columns` are those soon wanted: what
    /// is missing of them is read now, neighbours together; others are read when asked for.
    pub(crate) fn group(
        &self,
        group: usize,
        schema: &Arc<TreeSchema>,
        columns: &[usize],
    ) -> Result<RowGroup> {
        let block = match self.cache.get(self.id(), group) {
            Some(block) => block,
            None => self.open_group(group, schema, columns)?,
        };
        let group = RowGroup::new(block, Arc::clone(schema));
        group.load(columns)?;
        Ok(group)
    }

    /// As [`group`](Self::group) for a reader of a row or a few: of a group that is not in memory
    /// the keys are read, and more where the cache has room for all.
    pub(crate) fn group_for_row(
        &self,
        group: usize,
        schema: &Arc<TreeSchema>,
        columns: &[usize],
    ) -> Result<RowGroup> {
        let block = match self.cache.get(self.id(), group) {
            Some(block) => block,
            None if self.cache.has_room(self.groups()[group].length.into()) => {
                return self.group(group, schema, columns);
            }
            None => self.open_group(group, schema, &[0])?,
        };
        Ok(RowGroup::new(block, Arc::clone(schema)))
    }

    /// Reads a group's header, and with it the keys or all if they are wanted too.
    fn open_group(
        &self,
        group: usize,
        schema: &TreeSchema,
        columns: &[usize],
    ) -> Result<Arc<GroupBlock>> {
        let entry = &self.groups()[group];
        let wants_keys = columns.iter().any(|&column| column < schema.key_len());
        let wants_all = columns.len() >= schema.columns.len();
        let length = if wants_all && entry.length <= FIRST_READ_MAX {
            entry.length
        } else if wants_keys && entry.key_end <= FIRST_READ_MAX {
            entry.key_end
        } else {
            entry.header_length
        };
        let bytes = self.file.read(entry.offset, length as usize)?;
        let block = Arc::new(GroupBlock::open(&self.source(), group, entry, &bytes)?);
        self.cache.put(self.id(), group, Arc::clone(&block), block.bytes());
        Ok(block)
    }

    fn source(&self) -> GroupSource<'_> {
        GroupSource {
            file: &self.file,
            tables: &self.tables,
            schemas: &self.schemas,
            cache: &self.cache,
        }
    }

    /// Reads what is missing of `columns` of the groups into the cache, for a scan that will come
    /// by.
    pub(crate) fn read_ahead(
        &self,
        groups: Range<usize>,
        schema: &Arc<TreeSchema>,
        columns: &[usize],
    ) -> Result<()> {
        for group in groups {
            self.group(group, schema, columns)?;
        }
        Ok(())
    }

    /// The zone map of the column at `column` of `schema` in a group; of its frozen value if the
    /// file lacks it; none if nothing is known.
    pub(crate) fn zone_map(
        &self,
        group: usize,
        schema: &TreeSchema,
        column: usize,
    ) -> Result<Option<Cow<'_, ZoneMap>>> {
        let column = &schema.columns[column];
        if let Some(zones) = self.statistics()?.column(column.id) {
            return Ok(zones.get(group).map(Cow::Borrowed));
        }
        let rows = self.groups()[group].rows;
        let is_null = column.frozen.is_null();
        Ok(Some(Cow::Owned(ZoneMap {
            min: column.frozen.clone(),
            max: column.frozen.clone(),
            min_exact: !is_null,
            max_exact: !is_null,
            null_count: if is_null { rows } else { 0 },
            value_count: if is_null { 0 } else { rows },
        })))
    }

    pub(super) fn statistics(&self) -> Result<&Statistics> {
        if let Some(statistics) = self.statistics.get() {
            return Ok(statistics);
        }
        let handle = self.footer.statistics;
        let block = self.file.read_block(handle, "statistics")?;
        let statistics = Statistics::decode(&block, self.groups().len())
            .map_err(|error| self.file.locate(handle.offset, error))?;
        Ok(self.statistics.get_or_init(|| statistics))
    }

    /// About how many values each column has; none in a file of an earlier release.
    pub(crate) fn sketches(&self) -> Result<Option<&Sketches>> {
        if let Some(sketches) = self.sketches.get() {
            return Ok(sketches.as_ref());
        }
        let handle = self.footer.sketches;
        let block = self.file.read_block(handle, "sketches")?;
        let sketches =
            Sketches::decode(&block).map_err(|error| self.file.locate(handle.offset, error))?;
        Ok(self.sketches.get_or_init(|| sketches).as_ref())
    }

    /// A whole group's bytes, every checksum verified.
    pub(super) fn raw_group(&self, group: usize) -> Result<(Buffer, GroupHeader)> {
        let entry = &self.groups()[group];
        let bytes = self.file.read(entry.offset, entry.length as usize)?;
        let header_bytes = &bytes[..entry.header_length as usize];
        let header =
            GroupHeader::decode(header_bytes, self.file.mixer(), entry.offset, entry.length)
                .map_err(|error| self.file.locate(entry.offset, error))?;
        for chunk in &header.chunks {
            let start = chunk.offset as usize;
            let computed = checksum(&bytes[start..start + chunk.length as usize]);
            if computed != chunk.checksum {
                return Err(self.file.corrupt(
                    entry.offset + u64::from(chunk.offset),
                    format_args!(
                        "checksum of a chunk of column {}: stored {:016x}, computed {computed:016x}",
                        chunk.column, chunk.checksum
                    ),
                ));
            }
        }
        Ok((bytes, header))
    }

    /// The blocks behind the groups, by name, in the footer's order.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (&'static str, Handle)> {
        BLOCK_NAMES.into_iter().zip(self.footer.handles())
    }

    /// The bytes of a symbol table of a column.
    pub(super) fn symbol_table(&self, column: ColumnId, name: u64) -> Result<&[u8]> {
        let tables = self.tables.column(&self.file, column)?;
        tables.get(name).ok_or_else(|| {
            self.file.corrupt(
                self.footer.symbol_tables.offset,
                format_args!("no symbol table {name:016x} of column {column}"),
            )
        })
    }

    /// Where damage in a group's content is to be told.
    pub(super) fn corrupt_group(&self, group: usize, what: impl std::fmt::Display) -> Error {
        self.file.corrupt(self.groups()[group].offset, what)
    }

    /// Reads and checks every byte that means something, decoding all there is.
    ///
    /// # Errors
    /// The first damage found.
    pub(crate) fn verify(&self, schema: &Arc<TreeSchema>, codec: &KeyCodec) -> Result<()> {
        let header = self.file.read(0, HEADER_LEN)?;
        check_header(&header, self.file.mixer()).map_err(|error| self.file.locate(0, error))?;
        for (name, handle) in self.blocks() {
            self.file.read_block(handle, name)?;
        }
        self.statistics()?;
        self.sketches()?;
        self.may_contain(0)?;
        self.may_contain_prefix(0)?;
        let columns: Vec<usize> = (0..schema.columns.len()).collect();
        for (number, entry) in self.groups().iter().enumerate() {
            let (bytes, header) = self.raw_group(number)?;
            for chunk in header.chunks.iter().filter(|chunk| chunk.front_pieces > 0) {
                let start = chunk.offset as usize;
                let bytes = &bytes[start..start + chunk.length as usize];
                if let Some((piece, ..)) = chunk.damaged_piece(0, bytes) {
                    let what = format_args!(
                        "piece {piece} of column {} is not that of its checksum",
                        chunk.column
                    );
                    return Err(self.corrupt_group(number, what));
                }
            }
            let group = self.group(number, schema, &columns)?;
            let entries = group.entries(codec, 0..group.rows(), &columns)?;
            let order = |row: usize| {
                let keys = entries.keys.get(row - 1).cmp(entries.keys.get(row));
                keys.then(entries.seqs[row].cmp(&entries.seqs[row - 1])).is_lt()
            };
            if !(1..entries.len()).all(order) {
                return Err(self.corrupt_group(number, "entries out of order"));
            }
            let ends = [entries.keys.get(0), entries.keys.get(entries.len() - 1)];
            if ends != [&*entry.first_key, &*entry.last_key] {
                return Err(self.corrupt_group(number, "keys that are not those in the index"));
            }
        }
        Ok(())
    }
}

impl Drop for SsTableReader {
    fn drop(&mut self) {
        self.cache.forget(self.id(), 0..self.groups().len());
    }
}

/// The symbol tables of a file, read when the first chunk needs one.
#[derive(Debug)]
pub(super) struct FileTables {
    handle: Handle,
    columns: OnceLock<Vec<(ColumnId, SymbolTables)>>,
}

impl FileTables {
    pub(super) fn new(handle: Handle) -> Self {
        Self { handle, columns: OnceLock::new() }
    }

    /// The tables of a column, which a chunk says it needs.
    pub(super) fn column(&self, file: &TableFile, id: ColumnId) -> Result<&SymbolTables> {
        let columns = match self.columns.get() {
            Some(columns) => columns,
            None => {
                let read = self.read(file)?;
                self.columns.get_or_init(|| read)
            }
        };
        columns.iter().find(|(column, _)| *column == id).map(|(_, tables)| tables).ok_or_else(
            || file.corrupt(self.handle.offset, format_args!("no symbol table of column {id}")),
        )
    }

    /// Reads all of them, whether a chunk needs one or not.
    pub(super) fn check(&self, file: &TableFile) -> Result<()> {
        self.read(file).map(|_| ())
    }

    fn read(&self, file: &TableFile) -> Result<Vec<(ColumnId, SymbolTables)>> {
        let block = file.read_block(self.handle, "symbol tables")?;
        Self::decode(&block).map_err(|error| file.locate(self.handle.offset, error))
    }

    /// `columns 4 | columns × (column 4 | length 4 | tables)`; nothing if there is no table.
    pub(super) fn encode<'a>(
        columns: impl IntoIterator<Item = (ColumnId, &'a SymbolTables)>,
    ) -> Vec<u8> {
        let columns: Vec<_> =
            columns.into_iter().filter(|(_, tables)| !tables.is_empty()).collect();
        let mut out = Vec::new();
        if columns.is_empty() {
            return out;
        }
        let number = |len: usize| u32::try_from(len).expect("tables of 2 KiB").to_le_bytes();
        out.extend_from_slice(&number(columns.len()));
        for (id, tables) in columns {
            let mut bytes = Vec::new();
            tables.encode(&mut bytes);
            out.extend_from_slice(&id.to_le_bytes());
            out.extend_from_slice(&number(bytes.len()));
            out.extend_from_slice(&bytes);
        }
        out
    }

    fn decode(bytes: &[u8]) -> silt_codec::Result<Vec<(ColumnId, SymbolTables)>> {
        let mut columns = Vec::new();
        if bytes.is_empty() {
            return Ok(columns);
        }
        let mut input = Input::new(bytes);
        for _ in 0..input.count(8)? {
            let id = input.u32()?;
            let len = input.u32()? as usize;
            let mut bytes = input.take(len)?;
            columns.push((id, SymbolTables::decode(&mut bytes)?));
        }
        input.end()?;
        Ok(columns)
    }
}

/// Opens the key chunks of a raw group.
pub(super) fn open_key_chunks(
    reader: &SsTableReader,
    group: usize,
    bytes: &Buffer,
    header: &GroupHeader,
    schema: &TreeSchema,
) -> Result<Vec<ColumnChunk>> {
    let none = SymbolTables::default();
    let open = |(column, chunk): (&silt_codec::TreeColumn, &super::group_header::ChunkEntry)| {
        if column.id != chunk.column {
            return Err(reader.corrupt_group(group, "row group with another key than its tree's"));
        }
        let tables = match chunk.tables.as_slice() {
            [] => &none,
            _ => reader.tables.column(&reader.file, chunk.column)?,
        };
        let part = bytes.slice_with_length(chunk.offset as usize, chunk.length as usize);
        ColumnChunk::open(part, &column.data_type, header.rows as usize, tables)
            .map_err(|error| reader.corrupt_group(group, error))
    };
    schema.key_columns().iter().zip(&header.chunks).map(open).collect()
}

/// A zone map that says nothing.
pub(super) fn unknown_zone(rows: u32) -> ZoneMap {
    ZoneMap {
        min: Value::Null,
        max: Value::Null,
        min_exact: false,
        max_exact: false,
        null_count: 0,
        value_count: rows,
    }
}
