//! [`SsTableWriter`]: entries in order become an SSTable.
//!
//! Entries wait until a row group is full, then leave as one: cut between keys ([`Pending`]),
//! encoded column by column, appended to a buffer that is written when it holds a megabyte.
//! Key hashes are kept to the end, when the filters' size is known.

mod pending;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, UInt8Array, UInt64Array};
use arrow_schema::DataType;
use silt_codec::{
    ColumnEncoder, ColumnId, KeyBuffer, KeyCodec, SYMBOL_TABLES_MAX, SymbolTables, TreeSchema,
};

use self::pending::{Pending, Rows};
use super::bloom::Bloom;
use super::checksum::{Mixer, checksum};
use super::footer::{FOOTER_LEN, Footer, Handle, header};
use super::group_header::{ChunkEntry, GroupHeader, KIND_COLUMN, PIECE_BYTES, SEQ_COLUMN};
use super::index::GroupIndex;
use super::reader::{FileTables, open_key_chunks, unknown_zone};
use super::sketch::Sketches;
use super::statistics::Statistics;
use super::{EntryBatch, GroupEntry, SsTableReader, align};
use crate::key::key_hash;
use crate::version::FileMeta;
use crate::vfs::{Env, OpenMode, Vfs, VfsFile};
use crate::{Error, OpKind, Options, Result};

/// The buffer is written when it holds this much.
const WRITE_BYTES: usize = 1 << 20;

/// What became of a row group that was to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum CopyOutcome {
    /// It is in the file.
    Copied,
    /// It was encoded under another schema: decode it and append its entries.
    OtherSchema,
    /// The file would have too many symbol tables for a column: decode it and append its entries.
    SymbolTablesFull,
}

/// What a copied group's entries have as their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CopySeq {
    /// What they had.
    Keep,
    /// 0 (RULES.md 19): for a group of one version a key.
    Zero,
}

/// Writes one SSTable. Dropped before [`finish`](Self::finish), it removes the file.
#[derive(Debug)]
pub(crate) struct SsTableWriter {
    output: Output,
    schema: Arc<TreeSchema>,
    codec: KeyCodec,
    filter_bits: u32,
    piece_chunk_bytes: usize,
    pending: Pending,
    columns: Vec<ColumnWriter>,
    seq_encoder: ColumnEncoder,
    kind_encoder: ColumnEncoder,
    groups: Vec<GroupEntry>,
    statistics: Statistics,
    sketches: Sketches,
    /// The file whose sketches were taken last, with a group of its.
    sketched: Option<u64>,
    rows: u64,
    /// The last key appended or copied, and whether there is one.
    last_key: Vec<u8>,
    last_seq: Option<u64>,
    key_hashes: Vec<u64>,
    prefix: Vec<u8>,
    prefix_hashes: Vec<u64>,
}

/// What encodes a column, and the symbol tables that its chunks in this file need.
#[derive(Debug)]
struct ColumnWriter {
    id: ColumnId,
    encoder: ColumnEncoder,
    tables: SymbolTables,
}

impl SsTableWriter {
    /// Creates the file, which must not exist. Entries will have the columns of `schema`.
    pub(crate) fn create(
        env: &Env,
        path: &Path,
        id: u64,
        uuid: u128,
        schema: Arc<TreeSchema>,
        options: &Options,
    ) -> Result<Self> {
        let codec = KeyCodec::new(&schema)?;
        let columns = schema.columns.iter().map(|column| ColumnWriter {
            id: column.id,
            encoder: ColumnEncoder::new(column.data_type.clone()),
            tables: SymbolTables::default(),
        });
        let sketched = if options.paths.sketches { &*schema.columns } else { &[] };
        Ok(Self {
            output: Output::create(env, path, Mixer { uuid, file: id })?,
            codec,
            filter_bits: options.filter_bits,
            piece_chunk_bytes: options.piece_chunk_bytes,
            pending: Pending::new(&schema, options.group_rows, options.group_bytes),
            columns: columns.collect(),
            seq_encoder: ColumnEncoder::new(DataType::UInt64),
            kind_encoder: ColumnEncoder::new(DataType::UInt8),
            groups: Vec::new(),
            statistics: Statistics::new(schema.columns.iter().map(|column| column.id)),
            sketches: Sketches::new(sketched.iter().map(|column| column.id)),
            sketched: None,
            rows: 0,
            last_key: Vec::new(),
            last_seq: None,
            key_hashes: Vec::new(),
            prefix: Vec::new(),
            prefix_hashes: Vec::new(),
            schema,
        })
    }

    /// Appends entries, all behind those appended before.
    ///
    /// # Errors
    /// `Internal` for entries out of order or of other columns than the schema's: nothing more
    /// may be appended then. `Io`, `DiskFull` if the disk refuses.
    pub(crate) fn append(&mut self, entries: &EntryBatch) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        self.check_shape(entries)?;
        let starts = self.note_entries(entries)?;
        self.rows += entries.len() as u64;
        self.pending.push(entries.clone(), &starts);
        self.write_full_groups(false)
    }

    fn check_shape(&self, entries: &EntryBatch) -> Result<()> {
        let rows = entries.len();
        let has_rows = entries.columns.iter().all(|column| column.len() == rows);
        if entries.columns.len() != self.columns.len()
            || !has_rows
            || (entries.seqs.len(), entries.kinds.len()) != (rows, rows)
        {
            return Err(Error::internal(format!(
                "{rows} entries with {} columns for an sstable of {}",
                entries.columns.len(),
                self.columns.len()
            )));
        }
        Ok(())
    }

    /// Checks the order and hashes each key once; says which entries start a new key.
    fn note_entries(&mut self, entries: &EntryBatch) -> Result<Vec<bool>> {
        let mut starts = Vec::with_capacity(entries.len());
        let mut last_key = self.last_key.as_slice();
        let mut last_seq = self.last_seq;
        for (key, &seq) in entries.keys.iter().zip(&entries.seqs) {
            let is_new = match last_seq {
                None => true,
                Some(_) if last_key < key => true,
                Some(last_seq) if last_key == key && last_seq > seq => false,
                Some(last_seq) => {
                    return Err(Error::internal(format!(
                        "entries out of order: {last_key:02x?} at {last_seq}, then {key:02x?} at {seq}"
                    )));
                }
            };
            if is_new {
                self.key_hashes.push(key_hash(key));
                if self.schema.key_len() > 1 {
                    note_prefix(&self.codec, key, &mut self.prefix, &mut self.prefix_hashes)?;
                }
            }
            starts.push(is_new);
            last_key = key;
            last_seq = Some(seq);
        }
        let last_key = last_key.to_vec();
        self.last_key = last_key;
        self.last_seq = last_seq;
        Ok(starts)
    }

    fn write_full_groups(&mut self, all: bool) -> Result<()> {
        while let Some(rows) = self.pending.next_group(all)? {
            self.write_group(&rows)?;
        }
        Ok(())
    }

    fn write_group(&mut self, rows: &Rows) -> Result<()> {
        let count = u32::try_from(rows.seqs.len()).map_err(|_| Error::internal("group rows"))?;
        let [min_seq, max_seq] = [rows.seqs.iter().min(), rows.seqs.iter().max()]
            .map(|seq| seq.copied().unwrap_or_default());
        let deletes = rows.kinds.iter().filter(|&&kind| kind == OpKind::Delete).count();
        let deletes = u32::try_from(deletes).expect("no more than rows");

        let mut group = GroupBuilder::default();
        let key_len = self.schema.key_len();
        for (position, array) in rows.columns.iter().enumerate().take(key_len) {
            self.encode_column(position, array, &mut group)?;
        }
        if min_seq != max_seq {
            let seqs: ArrayRef = Arc::new(UInt64Array::from(rows.seqs.clone()));
            group.encode(SEQ_COLUMN, &mut self.seq_encoder, &seqs)?;
        }
        if deletes != 0 && deletes != count {
            let kinds = rows.kinds.iter().map(|&kind| kind as u8);
            let kinds: ArrayRef = Arc::new(UInt8Array::from_iter_values(kinds));
            group.encode(KIND_COLUMN, &mut self.kind_encoder, &kinds)?;
        }
        let key_chunks = group.chunks.len();
        for (position, array) in rows.columns.iter().enumerate().skip(key_len) {
            self.encode_column(position, array, &mut group)?;
        }

        let header = group.header(self.schema.version, count, key_len)?;
        let key_end = header.chunks[key_chunks - 1].offset + header.chunks[key_chunks - 1].length;
        let length = header.len() + group.bytes.len();
        self.groups.push(GroupEntry {
            first_key: rows.first_key.clone(),
            last_key: rows.last_key.clone(),
            offset: self.output.position(),
            length: u32::try_from(length).map_err(|_| Error::internal("a row group of 4 GiB"))?,
            header_length: u32::try_from(header.len()).expect("less than the group's"),
            key_end,
            rows: count,
            deletes,
            schema_version: self.schema.version,
            min_seq,
            max_seq,
            one_version: rows.one_version,
            continued: rows.continued,
        });
        self.output.append_group(&header, &group.bytes)
    }

    fn encode_column(
        &mut self,
        position: usize,
        array: &ArrayRef,
        group: &mut GroupBuilder,
    ) -> Result<()> {
        let column = &mut self.columns[position];
        let zone = group.encode(column.id, &mut column.encoder, array)?;
        if position >= self.schema.key_len() {
            group.seal_pieces(self.piece_chunk_bytes);
        }
        self.statistics.push(position, zone);
        self.sketches.add(position, array);
        for &name in group.last_tables() {
            if column.tables.get(name).is_none() {
                let bytes = column.encoder.symbol_tables().get(name);
                let bytes = bytes.ok_or_else(|| Error::internal("a chunk without its table"))?;
                column.tables.insert(bytes)?;
            }
        }
        Ok(())
    }

    /// Appends a row group as bytes, without decoding more than its keys. It must lie behind all
    /// entries so far; of groups that continue one another copy all, in order.
    ///
    /// # Errors
    /// `Corrupt` if the group is damaged; `Internal` if it does not lie behind.
    pub(crate) fn copy_group(
        &mut self,
        from: &SsTableReader,
        group: usize,
        seq: CopySeq,
    ) -> Result<CopyOutcome> {
        let source = &from.groups()[group];
        if source.schema_version != self.schema.version {
            return Ok(CopyOutcome::OtherSchema);
        }
        if seq == CopySeq::Zero && (!source.one_version || source.continued) {
            return Err(Error::internal("versions of one key cannot all have number 0"));
        }
        let (bytes, header) = from.raw_group(group)?;
        let ids = self.columns.iter().map(|column| column.id);
        let stored = header.chunks.iter().map(|chunk| chunk.column);
        if !ids.eq(stored.filter(|&id| id != SEQ_COLUMN && id != KIND_COLUMN)) {
            return Ok(CopyOutcome::OtherSchema);
        }
        if !self.has_room_for_tables(&header) {
            return Ok(CopyOutcome::SymbolTablesFull);
        }
        self.write_full_groups(true)?;
        let follows = self.last_seq.is_none()
            || self.last_key.as_slice() < &*source.first_key
            || (source.continued && self.last_key == *source.first_key);
        if !follows || (source.continued && self.groups.is_empty()) {
            return Err(Error::internal(format!(
                "a row group from {:02x?} on copied behind {:02x?}",
                source.first_key, self.last_key
            )));
        }
        self.note_copied_keys(from, group, &bytes, &header)?;
        self.take_tables(from, &header)?;
        let statistics = from.statistics()?;
        for (position, column) in self.columns.iter().enumerate() {
            let zones = statistics.column(column.id);
            let zone = zones.and_then(|zones| zones.get(group)).cloned();
            self.statistics.push(position, zone.unwrap_or_else(|| unknown_zone(source.rows)));
        }
        if self.sketched != Some(from.id()) {
            self.sketches.merge(from.sketches()?);
            self.sketched = Some(from.id());
        }
        let mut entry = source.clone();
        entry.offset = self.output.position();
        if seq == CopySeq::Zero {
            (entry.min_seq, entry.max_seq) = (0, 0);
        }
        self.rows += u64::from(entry.rows);
        self.last_key = entry.last_key.to_vec();
        self.last_seq = Some(entry.min_seq);
        let header_len = entry.header_length as usize;
        self.groups.push(entry);
        self.output.append_copy(&bytes, header_len)
    }

    fn has_room_for_tables(&self, header: &GroupHeader) -> bool {
        header.chunks.iter().all(|chunk| {
            let Some(column) = self.columns.iter().find(|column| column.id == chunk.column) else {
                return true;
            };
            let new = chunk.tables.iter().filter(|&&name| column.tables.get(name).is_none());
            column.tables.len() + new.count() <= SYMBOL_TABLES_MAX
        })
    }

    fn take_tables(&mut self, from: &SsTableReader, header: &GroupHeader) -> Result<()> {
        for chunk in &header.chunks {
            let column = self.columns.iter_mut().find(|column| column.id == chunk.column);
            let Some(column) = column else { continue };
            for &name in &chunk.tables {
                if column.tables.get(name).is_none() {
                    column.tables.insert(from.symbol_table(chunk.column, name)?)?;
                }
            }
        }
        Ok(())
    }

    /// Decodes the keys of a group for the filters, and checks their order on the way.
    fn note_copied_keys(
        &mut self,
        from: &SsTableReader,
        group: usize,
        bytes: &arrow_buffer::Buffer,
        header: &GroupHeader,
    ) -> Result<()> {
        let damaged = |error: silt_codec::Error| from.corrupt_group(group, error);
        let chunks = open_key_chunks(from, group, bytes, header, &self.schema)?;
        let rows = header.rows as usize;
        let columns: Vec<ArrayRef> = chunks
            .iter()
            .map(|chunk| chunk.decode(0..rows))
            .collect::<silt_codec::Result<_>>()
            .map_err(damaged)?;
        let mut keys = KeyBuffer::new();
        self.codec.encode_columns(&columns, &mut keys).map_err(damaged)?;
        let source = &from.groups()[group];
        if keys.is_empty()
            || [keys.get(0), keys.get(rows - 1)] != [&*source.first_key, &*source.last_key]
        {
            return Err(from.corrupt_group(group, "keys that are not those in the index"));
        }
        let mut last: Option<&[u8]> = source.continued.then_some(&*source.first_key);
        for key in keys.iter() {
            match last {
                Some(last) if last == key => continue,
                Some(last) if last > key => {
                    return Err(from.corrupt_group(group, "entries out of order"));
                }
                _ => {}
            }
            self.key_hashes.push(key_hash(key));
            if self.schema.key_len() > 1 {
                note_prefix(&self.codec, key, &mut self.prefix, &mut self.prefix_hashes)?;
            }
            last = Some(key);
        }
        Ok(())
    }

    /// Bytes of the groups so far; entries not yet in a group are not counted.
    pub(crate) fn bytes_written(&self) -> u64 {
        self.output.position()
    }

    /// Entries so far, those not yet in a group included.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Writes what is left and syncs the file. Its directory is the caller's to sync, the commit
    /// times of the entries his to fill in.
    ///
    /// # Errors
    /// `Internal` if there is no entry.
    pub(crate) fn finish(self) -> Result<FileMeta> {
        let (meta, written) = self.finish_unsynced()?;
        written.sync()?;
        Ok(meta)
    }

    /// As [`finish`](Self::finish), but leaves the sync to the caller.
    ///
    /// # Errors
    /// As there.
    pub(crate) fn finish_unsynced(mut self) -> Result<(FileMeta, Unsynced)> {
        self.write_full_groups(true)?;
        let (Some(first), Some(last)) = (self.groups.first(), self.groups.last()) else {
            return Err(Error::internal("an sstable without entries"));
        };
        let (smallest, largest) = (first.first_key.clone(), last.last_key.clone());
        let groups = u32::try_from(self.groups.len()).map_err(|_| Error::internal("groups"))?;
        let tables = self.columns.iter().map(|column| (column.id, &column.tables));
        let tables = FileTables::encode(tables);
        let key_filter = Bloom::build(&self.key_hashes, self.filter_bits);
        let prefix_filter = Bloom::build(&self.prefix_hashes, self.filter_bits);
        let output = &mut self.output;
        let footer = Footer {
            rows: self.rows,
            groups,
            schema_version: self.schema.version,
            symbol_tables: output.append_block(&tables)?,
            range_deletes: Handle::default(),
            key_filter: output.append_block(&key_filter.encode())?,
            prefix_filter: output.append_block(&prefix_filter.encode())?,
            index: output.append_block(&GroupIndex::encode(&self.groups))?,
            statistics: output.append_block(&self.statistics.encode())?,
            schema: output.append_block(&self.schema.encode())?,
            sketches: output.append_block(&self.sketches.encode())?,
        };
        let (size, footer_checksum) = output.finish(&footer)?;
        let all = |select: fn(&GroupEntry) -> u64| self.groups.iter().map(select);
        let meta = FileMeta {
            id: self.output.mixer.file,
            size,
            footer_checksum,
            smallest,
            largest,
            min_seq: all(|group| group.min_seq).min().unwrap_or_default(),
            max_seq: all(|group| group.max_seq).max().unwrap_or_default(),
            rows: self.rows,
            deletes: all(|group| u64::from(group.deletes)).sum(),
            groups,
            schema_version: self.schema.version,
            one_version: self.groups.iter().all(|group| group.one_version && !group.continued),
            file_seq: None,
            columns: self.statistics.merged(),
            commit_micros: (0, 0),
        };
        Ok((meta, Unsynced(self.output)))
    }

    /// Removes the file.
    pub(crate) fn abandon(self) {
        drop(self);
    }
}

/// A written file that a power cut may still take. Dropped, it is removed.
#[derive(Debug)]
#[must_use]
pub(crate) struct Unsynced(Output);

impl Unsynced {
    /// Waits until the file is on the disk.
    pub(crate) fn sync(mut self) -> Result<()> {
        self.0.sync()
    }
}

/// Hashes the first column's bytes of `key` if they differ from those of the key before.
fn note_prefix(
    codec: &KeyCodec,
    key: &[u8],
    prefix: &mut Vec<u8>,
    hashes: &mut Vec<u64>,
) -> Result<()> {
    // No column's bytes begin with another value's bytes, so a key that goes on like the last
    // prefix has it.
    if prefix.is_empty() || !key.starts_with(prefix) {
        let len = codec.prefix_len(key, 1)?;
        prefix.clear();
        prefix.extend_from_slice(&key[..len]);
        hashes.push(key_hash(prefix));
    }
    Ok(())
}

/// The chunks of a group that is being encoded.
#[derive(Debug, Default)]
struct GroupBuilder {
    /// Offsets count from the first chunk until the header's length is known.
    chunks: Vec<ChunkEntry>,
    bytes: Vec<u8>,
    /// Of the last chunk.
    front_bytes: usize,
}

impl GroupBuilder {
    fn encode(
        &mut self,
        column: ColumnId,
        encoder: &mut ColumnEncoder,
        array: &ArrayRef,
    ) -> Result<silt_codec::ZoneMap> {
        align(&mut self.bytes);
        let start = self.bytes.len();
        let encoded = encoder.encode(array, &mut self.bytes)?;
        let number = |n: usize| u32::try_from(n).map_err(|_| Error::internal("a group of 4 GiB"));
        if encoded.symbol_tables.len() > usize::from(u8::MAX) {
            return Err(Error::internal(format!(
                "a chunk of column {column} with {} symbol tables",
                encoded.symbol_tables.len()
            )));
        }
        self.chunks.push(ChunkEntry {
            column,
            encoding: encoded.encoding as u8,
            offset: number(start)?,
            length: number(self.bytes.len() - start)?,
            checksum: checksum(&self.bytes[start..]),
            tables: encoded.symbol_tables,
            front_pieces: 0,
            pieces: Vec::new(),
        });
        self.front_bytes = encoded.front_bytes;
        Ok(encoded.zone)
    }

    /// Gives the last chunk a checksum for each piece, if the strings behind its front take
    /// `bytes_min` at least.
    fn seal_pieces(&mut self, bytes_min: usize) {
        let Some(chunk) = self.chunks.last_mut() else { return };
        let length = chunk.length as usize;
        let front_pieces = self.front_bytes.div_ceil(PIECE_BYTES);
        let (Ok(pieces), Some(behind)) =
            (u16::try_from(front_pieces), length.checked_sub(front_pieces * PIECE_BYTES))
        else {
            return;
        };
        if behind < bytes_min.max(1) {
            return;
        }
        let start = chunk.offset as usize;
        let bytes = &self.bytes[start..start + length];
        chunk.front_pieces = pieces;
        chunk.pieces = bytes.chunks(PIECE_BYTES).map(checksum).collect();
    }

    fn last_tables(&self) -> &[u64] {
        self.chunks.last().map_or(&[], |chunk| &chunk.tables)
    }

    fn header(&mut self, schema_version: u32, rows: u32, key_len: usize) -> Result<GroupHeader> {
        align(&mut self.bytes);
        let mut header = GroupHeader {
            schema_version,
            rows,
            key_columns: u16::try_from(key_len).expect("columns are limited to 4,096"),
            chunks: std::mem::take(&mut self.chunks),
        };
        let header_len = header.len();
        u32::try_from(header_len + self.bytes.len())
            .map_err(|_| Error::internal("a group of 4 GiB"))?;
        let header_len = u32::try_from(header_len).expect("less than the sum");
        for chunk in &mut header.chunks {
            chunk.offset += header_len;
        }
        Ok(header)
    }
}

/// The file that is being written.
#[derive(Debug)]
struct Output {
    vfs: Arc<dyn Vfs>,
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    mixer: Mixer,
    /// Bytes not yet written, which belong at `written`.
    buffer: Vec<u8>,
    written: u64,
    finished: bool,
}

impl Output {
    fn create(env: &Env, path: &Path, mixer: Mixer) -> Result<Self> {
        let file = env
            .vfs
            .open(path, OpenMode::CreateNew)
            .map_err(|error| Error::io(path, "create", error))?;
        let buffer = header(&mixer);
        let vfs = Arc::clone(&env.vfs);
        Ok(Self { vfs, file, path: path.to_owned(), mixer, buffer, written: 0, finished: false })
    }

    /// Where the next byte goes.
    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    fn append_group(&mut self, header: &GroupHeader, chunks: &[u8]) -> Result<()> {
        let offset = self.position();
        header.encode(&self.mixer, offset, &mut self.buffer);
        self.buffer.extend_from_slice(chunks);
        self.write_if_full()
    }

    fn append_copy(&mut self, group: &[u8], header_len: usize) -> Result<CopyOutcome> {
        let (offset, start) = (self.position(), self.buffer.len());
        self.buffer.extend_from_slice(group);
        GroupHeader::remix(&mut self.buffer[start..], header_len, &self.mixer, offset);
        align(&mut self.buffer);
        self.write_if_full()?;
        Ok(CopyOutcome::Copied)
    }

    fn append_block(&mut self, bytes: &[u8]) -> Result<Handle> {
        if bytes.is_empty() {
            return Ok(Handle::default());
        }
        let offset = self.position();
        let handle =
            Handle { offset, length: bytes.len() as u64, checksum: self.mixer.seal(offset, bytes) };
        self.buffer.extend_from_slice(bytes);
        align(&mut self.buffer);
        self.write_if_full()?;
        Ok(handle)
    }

    /// Writes the footer, and answers with the file's size and the footer's checksum.
    fn finish(&mut self, footer: &Footer) -> Result<(u64, u64)> {
        let (bytes, checksum) = footer.encode(&self.mixer, self.position());
        debug_assert_eq!(bytes.len(), FOOTER_LEN);
        self.buffer.extend_from_slice(&bytes);
        self.write()?;
        self.buffer = Vec::new();
        Ok((self.written, checksum))
    }

    fn sync(&mut self) -> Result<()> {
        self.file.sync_all().map_err(|error| Error::io(&self.path, "sync", error))?;
        self.finished = true;
        Ok(())
    }

    fn write_if_full(&mut self) -> Result<()> {
        if self.buffer.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> Result<()> {
        self.file
            .write_all_at(self.written, &self.buffer)
            .map_err(|error| Error::io(&self.path, "write", error))?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.finished {
            // Best effort: what stays is swept when the database is opened.
            let _ = self.vfs.remove_file(&self.path);
        }
    }
}
