//! [`GroupHeader`]: which chunks a row group has, and where.

use silt_codec::{ColumnId, Error, Result};

use super::ALIGNMENT;
use super::checksum::{Mixer, checksum};
use super::input::Input;

const MAGIC: &[u8; 4] = b"SRG\n";

/// The ids of the hidden columns. Persistent.
pub(super) const SEQ_COLUMN: ColumnId = u32::MAX - 1;
pub(super) const KIND_COLUMN: ColumnId = u32::MAX;

/// Long chunks have a checksum for each so many bytes. Persistent.
pub(super) const PIECE_BYTES: usize = 4 << 10;

const FIXED_LEN: usize = 24;
const CHUNK_LEN: usize = 24;

/// One chunk of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ChunkEntry {
    pub(super) column: ColumnId,
    /// The number of its `silt_codec::Encoding`.
    pub(super) encoding: u8,
    /// From the group's start.
    pub(super) offset: u32,
    pub(super) length: u32,
    /// Of the bytes alone: the same wherever the group stands.
    pub(super) checksum: u64,
    /// The symbol tables that it needs.
    pub(super) tables: Vec<u64>,
    /// The pieces of [`PIECE_BYTES`] that hold its front (`silt_codec::ColumnFront`); 0 if the
    /// chunk is read whole only.
    pub(super) front_pieces: u16,
    /// The checksum of each of its pieces, the last one's shorter perhaps; none if it is read
    /// whole only.
    pub(super) pieces: Vec<u64>,
}

impl ChunkEntry {
    /// The bytes of its front, which is not all of it; none if it is read whole only.
    pub(super) fn front_bytes(&self) -> Option<usize> {
        (self.front_pieces > 0).then(|| usize::from(self.front_pieces) * PIECE_BYTES)
    }

    /// The first of the pieces in `bytes`, which begin with number `first`, that is not what was
    /// written: its number, the checksum stored and the one computed.
    pub(super) fn damaged_piece(&self, first: usize, bytes: &[u8]) -> Option<(usize, u64, u64)> {
        let pieces = self.pieces.iter().enumerate().skip(first);
        let mut sums = pieces.zip(bytes.chunks(PIECE_BYTES).map(checksum));
        let damaged = sums.find(|((_, stored), computed)| *stored != computed);
        damaged.map(|((number, stored), computed)| (number, *stored, computed))
    }
}

/// The start of a row group: key columns, then `_seq` and `_kind` where they are not constant,
/// then the other columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct GroupHeader {
    pub(super) schema_version: u32,
    pub(super) rows: u32,
    pub(super) key_columns: u16,
    pub(super) chunks: Vec<ChunkEntry>,
}

impl GroupHeader {
    /// The length of its bytes.
    pub(super) fn len(&self) -> usize {
        let tables: usize = self.chunks.iter().map(|chunk| chunk.tables.len()).sum();
        let pieces: usize = self.chunks.iter().map(|chunk| chunk.pieces.len()).sum();
        FIXED_LEN + self.chunks.len() * CHUNK_LEN + (tables + pieces) * 8 + 8
    }

    /// Appends its bytes for a group at `offset` in the file of `mixer`.
    pub(super) fn encode(&self, mixer: &Mixer, offset: u64, out: &mut Vec<u8>) {
        let start = out.len();
        let count = |len: usize| u16::try_from(len).expect("columns are limited to 4,096");
        let tables: usize = self.chunks.iter().map(|chunk| chunk.tables.len()).sum();
        let tables = u32::try_from(tables).expect("at most 255 tables a chunk");
        let pieces: usize = self.chunks.iter().map(|chunk| chunk.pieces.len()).sum();
        let pieces = u32::try_from(pieces).expect("a group has less than 4 GiB");
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.schema_version.to_le_bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.key_columns.to_le_bytes());
        out.extend_from_slice(&count(self.chunks.len()).to_le_bytes());
        out.extend_from_slice(&tables.to_le_bytes());
        out.extend_from_slice(&pieces.to_le_bytes());
        for chunk in &self.chunks {
            let tables = u8::try_from(chunk.tables.len()).expect("the writer checked");
            out.extend_from_slice(&chunk.column.to_le_bytes());
            out.extend_from_slice(&[chunk.encoding, tables]);
            out.extend_from_slice(&chunk.front_pieces.to_le_bytes());
            out.extend_from_slice(&chunk.offset.to_le_bytes());
            out.extend_from_slice(&chunk.length.to_le_bytes());
            out.extend_from_slice(&chunk.checksum.to_le_bytes());
        }
        for name in self.chunks.iter().flat_map(|chunk| &chunk.tables) {
            out.extend_from_slice(&name.to_le_bytes());
        }
        for piece in self.chunks.iter().flat_map(|chunk| &chunk.pieces) {
            out.extend_from_slice(&piece.to_le_bytes());
        }
        let sealed = mixer.seal(offset, &out[start..]);
        out.extend_from_slice(&sealed.to_le_bytes());
    }

    /// Reads the header of a group of `group_len` bytes at `offset`: `bytes` are exactly its own.
    pub(super) fn decode(bytes: &[u8], mixer: &Mixer, offset: u64, group_len: u32) -> Result<Self> {
        let Some((body, stored)) = bytes.split_last_chunk() else {
            return Err(Error::corrupt(format!("a row group's header of {} bytes", bytes.len())));
        };
        let (stored, computed) = (u64::from_le_bytes(*stored), mixer.seal(offset, body));
        if stored != computed {
            return Err(Error::corrupt(format!(
                "checksum of the row group's header: stored {stored:016x}, computed {computed:016x}"
            )));
        }
        let mut input = Input::new(body);
        if input.take(4)? != MAGIC {
            return Err(Error::corrupt("no row group"));
        }
        let schema_version = input.u32()?;
        let rows = input.u32()?;
        let key_columns = input.u16()?;
        let chunk_count = usize::from(input.u16()?);
        let table_count = input.u32()? as usize;
        let piece_count = input.u32()? as usize;
        let mut entries = Input::new(input.take(chunk_count * CHUNK_LEN)?);
        let mut names = Input::new(input.take(table_count.saturating_mul(8))?);
        let mut pieces = Input::new(input.take(piece_count.saturating_mul(8))?);
        input.end()?;
        if rows == 0 || usize::from(key_columns) > chunk_count {
            return Err(Error::corrupt(format!(
                "a row group of {rows} rows, {key_columns} key columns, {chunk_count} chunks"
            )));
        }
        let mut end = bytes.len();
        let mut chunks = Vec::with_capacity(chunk_count);
        for _ in 0..chunk_count {
            let column = entries.u32()?;
            let [encoding, tables] = [entries.u8()?, entries.u8()?];
            let front_pieces = entries.u16()?;
            let [offset, length] = [entries.u32()?, entries.u32()?];
            let piece_count = match front_pieces {
                0 => 0,
                _ => (length as usize).div_ceil(PIECE_BYTES),
            };
            if usize::from(front_pieces) > piece_count.saturating_sub(1) {
                return Err(Error::corrupt(format!(
                    "a chunk of {length} bytes with a front of {front_pieces} pieces"
                )));
            }
            let chunk = ChunkEntry {
                column,
                encoding,
                offset,
                length,
                checksum: entries.u64()?,
                tables: (0..tables).map(|_| names.u64()).collect::<Result<_>>()?,
                front_pieces,
                pieces: (0..piece_count).map(|_| pieces.u64()).collect::<Result<_>>()?,
            };
            let starts = chunk.offset as usize;
            if starts < end || !starts.is_multiple_of(ALIGNMENT) {
                return Err(Error::corrupt(format!("a chunk at {starts} of the row group")));
            }
            end = starts + chunk.length as usize;
            chunks.push(chunk);
        }
        names.end()?;
        pieces.end()?;
        if end > group_len as usize {
            return Err(Error::corrupt(format!("chunks of {end} bytes in a group of {group_len}")));
        }
        Ok(Self { schema_version, rows, key_columns, chunks })
    }

    /// Makes the header in the first `header_len` bytes of `group` one of a group at `offset` in
    /// the file of `mixer`.
    pub(super) fn remix(group: &mut [u8], header_len: usize, mixer: &Mixer, offset: u64) {
        let (body, rest) = group.split_at_mut(header_len - 8);
        rest[..8].copy_from_slice(&mixer.mix(offset, checksum(body)).to_le_bytes());
    }

    /// The chunk that holds the hidden column `id`, if it is not constant.
    pub(super) fn hidden(&self, id: ColumnId) -> Option<usize> {
        let key = usize::from(self.key_columns);
        let end = (key + 2).min(self.chunks.len());
        (key..end).find(|&slot| self.chunks[slot].column == id)
    }
}
