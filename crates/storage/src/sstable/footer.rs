//! The two ends of a file: its header, and the [`Footer`] that says where everything else is.

use silt_codec::{Error, Result};

use super::checksum::{self, Mixer};
use super::input::Input;

/// The newest format that this code writes, and the newest that it reads. Persistent.
///
/// Of version 1 are files without checksums of pieces; else they are the same.
const FORMAT_VERSION: u32 = 2;

/// The oldest format that this code reads. Persistent.
const FORMAT_VERSION_MIN: u32 = 1;

/// How key bytes are made of key columns: `silt_codec::KeyCodec`. Persistent.
const KEY_CODEC: u8 = 1;

const HEADER_MAGIC: &[u8; 8] = b"SILTSST\n";
const FOOTER_MAGIC: &[u8; 8] = b"SILTEND\n";

pub(super) const HEADER_LEN: usize = 64;
pub(super) const FOOTER_LEN: usize = 256;

/// The first bytes of a file.
pub(super) fn header(mixer: &Mixer) -> Vec<u8> {
    header_of(mixer, FORMAT_VERSION)
}

fn header_of(mixer: &Mixer, version: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_LEN);
    out.extend_from_slice(HEADER_MAGIC);
    out.extend_from_slice(&version.to_le_bytes());
    out.extend_from_slice(&[checksum::ALGORITHM, 0, 0, 0]);
    out.extend_from_slice(&mixer.uuid.to_le_bytes());
    out.extend_from_slice(&mixer.file.to_le_bytes());
    out.resize(HEADER_LEN - 8, 0);
    out.extend_from_slice(&mixer.seal(0, &out).to_le_bytes());
    out
}

/// Checks the first bytes of a file.
pub(super) fn check_header(bytes: &[u8], mixer: &Mixer) -> Result<()> {
    if !is_header(bytes, mixer) {
        return Err(Error::corrupt("the file's header is not what was written"));
    }
    Ok(())
}

fn is_header(bytes: &[u8], mixer: &Mixer) -> bool {
    (FORMAT_VERSION_MIN..=FORMAT_VERSION).any(|version| bytes == header_of(mixer, version))
}

/// Whose file these first bytes begin, by their own word.
pub(super) fn read_header(bytes: &[u8]) -> Result<Mixer> {
    let mut input = Input::new(bytes);
    if input.take(8)? != HEADER_MAGIC {
        return Err(Error::corrupt("no sstable begins here"));
    }
    let version = input.u32()?;
    let algorithm = input.u8()?;
    input.take(3)?;
    let mixer = Mixer { uuid: input.u128()?, file: input.u64()? };
    if is_header(bytes, &mixer) {
        return Ok(mixer);
    }
    // Of another release, or damaged: only a format that is not ours can say which.
    match (version, algorithm) {
        (FORMAT_VERSION_MIN..=FORMAT_VERSION, checksum::ALGORITHM) => {
            check_header(bytes, &mixer).map(|()| mixer)
        }
        _ => Err(Error::new(
            silt_codec::ErrorKind::Unsupported,
            format!(
                "file format {version}, checksum {algorithm}: this release reads {FORMAT_VERSION}, {}",
                checksum::ALGORITHM
            ),
        )),
    }
}

/// Where a block stands. One of no bytes is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) offset: u64,
    pub(super) length: u64,
    /// Mixed with the block's place.
    pub(super) checksum: u64,
}

/// What stands at the end of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Footer {
    pub(super) rows: u64,
    pub(super) groups: u32,
    pub(super) schema_version: u32,
    pub(super) symbol_tables: Handle,
    /// Always absent in this format version: the place is kept.
    pub(super) range_deletes: Handle,
    pub(super) key_filter: Handle,
    pub(super) prefix_filter: Handle,
    pub(super) index: Handle,
    pub(super) statistics: Handle,
    pub(super) schema: Handle,
    /// Absent in files of earlier releases, which had zeros here.
    pub(super) sketches: Handle,
}

/// The blocks in the order of [`Footer::handles`].
pub(super) const BLOCK_NAMES: [&str; 8] = [
    "symbol tables",
    "range deletes",
    "key filter",
    "prefix filter",
    "row-group index",
    "statistics",
    "schema",
    "sketches",
];

impl Footer {
    pub(super) fn handles(&self) -> [Handle; 8] {
        [
            self.symbol_tables,
            self.range_deletes,
            self.key_filter,
            self.prefix_filter,
            self.index,
            self.statistics,
            self.schema,
            self.sketches,
        ]
    }

    /// The footer's bytes at `offset`, and its checksum, which ends them.
    pub(super) fn encode(&self, mixer: &Mixer, offset: u64) -> (Vec<u8>, u64) {
        let mut out = Vec::with_capacity(FOOTER_LEN);
        out.extend_from_slice(FOOTER_MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&[KEY_CODEC, checksum::ALGORITHM, 0, 0]);
        out.extend_from_slice(&mixer.uuid.to_le_bytes());
        out.extend_from_slice(&mixer.file.to_le_bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&self.groups.to_le_bytes());
        out.extend_from_slice(&self.schema_version.to_le_bytes());
        for handle in self.handles() {
            out.extend_from_slice(&handle.offset.to_le_bytes());
            out.extend_from_slice(&handle.length.to_le_bytes());
            out.extend_from_slice(&handle.checksum.to_le_bytes());
        }
        out.resize(FOOTER_LEN - 8, 0);
        let checksum = mixer.seal(offset, &out);
        out.extend_from_slice(&checksum.to_le_bytes());
        (out, checksum)
    }

    /// The footer of the file of `mixer`, at `offset`, whose checksum the manifest says is
    /// `expected`.
    pub(super) fn decode(bytes: &[u8], mixer: &Mixer, offset: u64, expected: u64) -> Result<Self> {
        let Some((body, stored)) = bytes.split_last_chunk() else {
            return Err(Error::corrupt(format!("a footer of {} bytes", bytes.len())));
        };
        let (stored, computed) = (u64::from_le_bytes(*stored), mixer.seal(offset, body));
        if stored != computed || stored != expected {
            return Err(Error::corrupt(format!(
                "checksum of the footer: in the manifest {expected:016x}, stored {stored:016x}, computed {computed:016x}"
            )));
        }
        Self::parse(body, mixer, offset)
    }

    /// The footer and its checksum, by their own word: for who has no manifest.
    pub(super) fn decode_alone(bytes: &[u8], mixer: &Mixer, offset: u64) -> Result<(Self, u64)> {
        let Some((body, stored)) = bytes.split_last_chunk() else {
            return Err(Error::corrupt(format!("a footer of {} bytes", bytes.len())));
        };
        let (stored, computed) = (u64::from_le_bytes(*stored), mixer.seal(offset, body));
        if stored != computed {
            return Err(Error::corrupt(format!(
                "checksum of the footer: stored {stored:016x}, computed {computed:016x}"
            )));
        }
        Ok((Self::parse(body, mixer, offset)?, stored))
    }

    fn parse(body: &[u8], mixer: &Mixer, offset: u64) -> Result<Self> {
        let mut input = Input::new(body);
        if input.take(8)? != FOOTER_MAGIC {
            return Err(Error::corrupt("no footer"));
        }
        let version = input.u32()?;
        let [key_codec, algorithm] = [input.u8()?, input.u8()?];
        let is_known = (FORMAT_VERSION_MIN..=FORMAT_VERSION).contains(&version);
        if !is_known || (key_codec, algorithm) != (KEY_CODEC, checksum::ALGORITHM) {
            return Err(Error::new(
                silt_codec::ErrorKind::Unsupported,
                format!(
                    "file format {version}, key codec {key_codec}, checksum {algorithm}: this release reads {FORMAT_VERSION}, {KEY_CODEC}, {}",
                    checksum::ALGORITHM
                ),
            ));
        }
        input.u16()?;
        if (input.u128()?, input.u64()?) != (mixer.uuid, mixer.file) {
            return Err(Error::corrupt("the footer of another file"));
        }
        let rows = input.u64()?;
        let groups = input.u32()?;
        let schema_version = input.u32()?;
        let mut block = || -> Result<Handle> {
            let handle =
                Handle { offset: input.u64()?, length: input.u64()?, checksum: input.u64()? };
            let end = handle.offset.checked_add(handle.length);
            if end.is_none_or(|end| end > offset) {
                return Err(Error::corrupt(format!(
                    "a block of {} bytes at {} passes the footer",
                    handle.length, handle.offset
                )));
            }
            Ok(handle)
        };
        Ok(Self {
            rows,
            groups,
            schema_version,
            symbol_tables: block()?,
            range_deletes: block()?,
            key_filter: block()?,
            prefix_filter: block()?,
            index: block()?,
            statistics: block()?,
            schema: block()?,
            sketches: block()?,
        })
    }
}
