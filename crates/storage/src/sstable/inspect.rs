//! [`SsTableFile`]: an SSTable read by its own word, without a manifest or an engine.
//!
//! Nothing is cached. Header, footer and the blocks behind the groups are read and checked on
//! opening, a row group when it is asked for, so that damage in one leaves the others to be seen.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_buffer::Buffer;
use arrow_schema::DataType;
use silt_codec::{
    ColumnChunk, ColumnId, Encoding, KeyCodec, RowBuffer, SymbolTables, TreeSchema, Value, ZoneMap,
};

use super::bloom::Bloom;
use super::checksum::{Mixer, checksum};
use super::file::TableFile;
use super::footer::{BLOCK_NAMES, FOOTER_LEN, Footer, HEADER_LEN, read_header};
use super::group_header::{ChunkEntry, GroupHeader, KIND_COLUMN, SEQ_COLUMN};
use super::index::GroupIndex;
use super::reader::FileTables;
use super::sketch::Sketches;
use super::statistics::Statistics;
use crate::vfs::{Env, OpenMode};
use crate::{Error, Result, SeqNo};

/// An SSTable, seen from outside: what its footer says, and its row groups one by one.
///
/// `Display` writes all of it but the groups, in lines.
#[derive(Debug)]
pub struct SsTableFile {
    path: PathBuf,
    file: TableFile,
    size: u64,
    footer: Footer,
    footer_checksum: u64,
    schema: TreeSchema,
    codec: KeyCodec,
    index: GroupIndex,
    statistics: Statistics,
    tables: FileTables,
}

/// A block between the row groups and the footer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockDescription {
    /// What it holds.
    pub name: &'static str,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes; 0 if it is absent.
    pub bytes: u64,
}

/// One row group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupDescription {
    /// Its place in the file, from 0.
    pub number: usize,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes, header included.
    pub bytes: u64,
    /// Entries, deletes included.
    pub rows: u32,
    /// Entries that are deletes.
    pub deletes: u32,
    /// The lowest number of its entries; 0 in a bulk file, whose number the manifest holds.
    pub min_seq: SeqNo,
    /// The highest.
    pub max_seq: SeqNo,
    /// The schema version that it was encoded under.
    pub schema_version: u32,
    /// No key has two entries in it.
    pub one_version: bool,
    /// It goes on with the key that the group before ends with.
    pub continued: bool,
    /// The key of its first entry.
    pub first_key: Vec<Value>,
    /// The key of its last entry.
    pub last_key: Vec<Value>,
    /// Its chunks as they stand: key columns, hidden ones, the others.
    pub chunks: Vec<ChunkDescription>,
}

/// Whose values a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkColumn {
    /// A column of the tree.
    Column(ColumnId),
    /// The commit number of each entry.
    Seq,
    /// What each entry does.
    Kind,
}

/// One column of a row group.
#[derive(Clone, Debug, PartialEq)]
pub struct ChunkDescription {
    /// Whose it is.
    pub column: ChunkColumn,
    /// The type of its values.
    pub data_type: DataType,
    /// How they are laid out.
    pub encoding: Encoding,
    /// Where it begins in the file.
    pub offset: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Nulls.
    pub null_count: usize,
    /// The names of the symbol tables that it needs.
    pub symbol_tables: Vec<u64>,
    /// What the file's statistics say of it; none of a hidden column.
    pub zone: Option<ZoneMap>,
}

impl SsTableFile {
    /// Reads header, footer and every block but the row groups.
    ///
    /// # Errors
    /// `Corrupt` with file and offset of the damage; `Unsupported` for a later format; `Io`.
    pub fn open(env: &Env, path: &Path) -> Result<Self> {
        let opened = env.vfs.open(path, OpenMode::Read);
        let opened = opened.map_err(|error| Error::io(path, "open", error))?;
        let nobody = Mixer { uuid: 0, file: 0 };
        let file = TableFile::new(Arc::clone(&opened), path, nobody, Arc::default());
        let size = file.len()?;
        if size < (HEADER_LEN + FOOTER_LEN) as u64 {
            return Err(file.corrupt(size, format_args!("{size} bytes are no sstable")));
        }
        let header = file.read(0, HEADER_LEN)?;
        let mixer = read_header(&header).map_err(|error| file.locate(0, error))?;
        let file = TableFile::new(opened, path, mixer, Arc::default());
        let offset = size - FOOTER_LEN as u64;
        let bytes = file.read(offset, FOOTER_LEN)?;
        let (footer, footer_checksum) = Footer::decode_alone(&bytes, &mixer, offset)
            .map_err(|error| file.locate(offset, error))?;

        let block = |handle, name| file.read_block(handle, name);
        let schema = TreeSchema::decode(&block(footer.schema, "schema")?)
            .map_err(|error| file.locate(footer.schema.offset, error))?;
        let codec = KeyCodec::new(&schema)?;
        let index =
            GroupIndex::decode(&block(footer.index, "row-group index")?, footer.index.offset)
                .map_err(|error| file.locate(footer.index.offset, error))?;
        let rows: u64 = index.groups().iter().map(|group| u64::from(group.rows)).sum();
        if (index.groups().len(), rows) != (footer.groups as usize, footer.rows) {
            return Err(file.corrupt(
                footer.index.offset,
                format_args!(
                    "{rows} rows in {} groups, in the footer {} in {}",
                    index.groups().len(),
                    footer.rows,
                    footer.groups
                ),
            ));
        }
        let statistics =
            Statistics::decode(&block(footer.statistics, "statistics")?, index.groups().len())
                .map_err(|error| file.locate(footer.statistics.offset, error))?;
        for (handle, name) in
            [(footer.key_filter, "key filter"), (footer.prefix_filter, "prefix filter")]
        {
            let filter = block(handle, name)?;
            Bloom::decode(&filter).map_err(|error| file.locate(handle.offset, error))?;
        }
        Sketches::decode(&block(footer.sketches, "sketches")?)
            .map_err(|error| file.locate(footer.sketches.offset, error))?;
        block(footer.range_deletes, "range deletes")?;
        let tables = FileTables::new(footer.symbol_tables);
        tables.check(&file)?;
        let path = path.to_owned();
        Ok(Self {
            path,
            file,
            size,
            footer,
            footer_checksum,
            schema,
            codec,
            index,
            statistics,
            tables,
        })
    }

    /// Where it stands.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The number that it was written under.
    pub fn id(&self) -> u64 {
        self.file.mixer().file
    }

    /// The database that it was written for.
    pub fn uuid(&self) -> u128 {
        self.file.mixer().uuid
    }

    /// The checksum that the manifest, or a bulk load's log record, must have of it.
    pub fn footer_checksum(&self) -> u64 {
        self.footer_checksum
    }

    /// The schema that it was written under.
    pub fn schema(&self) -> &TreeSchema {
        &self.schema
    }

    /// Entries, deletes included.
    pub fn rows(&self) -> u64 {
        self.footer.rows
    }

    /// The number of row groups.
    pub fn group_count(&self) -> usize {
        self.index.groups().len()
    }

    /// The blocks behind the row groups, in the footer's order.
    pub fn blocks(&self) -> impl Iterator<Item = BlockDescription> {
        BLOCK_NAMES.into_iter().zip(self.footer.handles()).map(|(name, handle)| BlockDescription {
            name,
            offset: handle.offset,
            bytes: handle.length,
        })
    }

    /// The row groups in key order; each is read whole, and every checksum in it verified. One
    /// that is damaged is an error, and the next one follows.
    pub fn groups(&self) -> impl Iterator<Item = Result<GroupDescription>> {
        (0..self.group_count()).map(|number| self.group(number))
    }

    fn group(&self, number: usize) -> Result<GroupDescription> {
        let entry = &self.index.groups()[number];
        let bytes = self.file.read(entry.offset, entry.length as usize)?;
        let head = &bytes[..entry.header_length as usize];
        let header = GroupHeader::decode(head, self.file.mixer(), entry.offset, entry.length)
            .map_err(|error| self.file.locate(entry.offset, error))?;
        if (header.rows, header.schema_version) != (entry.rows, entry.schema_version) {
            return Err(self.file.corrupt(
                entry.offset,
                format_args!(
                    "row group of {} rows and schema version {}, in the index {} and {}",
                    header.rows, header.schema_version, entry.rows, entry.schema_version
                ),
            ));
        }
        let chunks = header.chunks.iter();
        let chunks = chunks.map(|chunk| self.chunk(number, header.rows, chunk, &bytes));
        Ok(GroupDescription {
            number,
            offset: entry.offset,
            bytes: entry.length.into(),
            rows: entry.rows,
            deletes: entry.deletes,
            min_seq: entry.min_seq,
            max_seq: entry.max_seq,
            schema_version: entry.schema_version,
            one_version: entry.one_version,
            continued: entry.continued,
            first_key: self.key(&entry.first_key)?,
            last_key: self.key(&entry.last_key)?,
            chunks: chunks.collect::<Result<_>>()?,
        })
    }

    fn chunk(
        &self,
        group: usize,
        rows: u32,
        chunk: &ChunkEntry,
        group_bytes: &Buffer,
    ) -> Result<ChunkDescription> {
        let offset = self.index.groups()[group].offset + u64::from(chunk.offset);
        let bytes = group_bytes.slice_with_length(chunk.offset as usize, chunk.length as usize);
        let computed = checksum(&bytes);
        if computed != chunk.checksum {
            return Err(self.file.corrupt(
                offset,
                format_args!(
                    "checksum of a chunk of column {}: stored {:016x}, computed {computed:016x}",
                    chunk.column, chunk.checksum
                ),
            ));
        }
        let (column, data_type) = match chunk.column {
            SEQ_COLUMN => (ChunkColumn::Seq, DataType::UInt64),
            KIND_COLUMN => (ChunkColumn::Kind, DataType::UInt8),
            id => {
                let position = self.schema.position(id).ok_or_else(|| {
                    self.file.corrupt(offset, format_args!("column {id} is not in the schema"))
                })?;
                (ChunkColumn::Column(id), self.schema.columns[position].data_type.clone())
            }
        };
        let none = SymbolTables::default();
        let tables = match chunk.tables.as_slice() {
            [] => &none,
            _ => self.tables.column(&self.file, chunk.column)?,
        };
        let opened = ColumnChunk::open(bytes, &data_type, rows as usize, tables)
            .map_err(|error| self.file.locate(offset, error))?;
        let zones = self.statistics.column(chunk.column);
        Ok(ChunkDescription {
            column,
            data_type,
            encoding: opened.encoding(),
            offset,
            bytes: chunk.length.into(),
            null_count: opened.null_count(),
            symbol_tables: chunk.tables.clone(),
            zone: zones.and_then(|zones| zones.get(group)).cloned(),
        })
    }

    fn key(&self, key: &[u8]) -> Result<Vec<Value>> {
        let mut row = RowBuffer::new();
        self.codec
            .decode(key, &mut row)
            .map_err(|error| self.file.locate(self.footer.index.offset, error))?;
        Ok(row.iter().map(|value| value.to_value()).collect())
    }
}
