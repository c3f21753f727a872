//! The manifest: a file of checksummed records, each one [`VersionEdit`]; and `CURRENT`, which
//! says which manifest counts.
//!
//! ```text
//! manifest-000007   header: magic "SILTMANI" | format version u32 | crc32 of the header u32
//!                           | database uuid u128 | manifest number u64                (40 bytes)
//!                   record: payload length u32 | crc32 of the other 12 header bytes and offset u32
//!                           | xxh3 of payload ^ mix(uuid, manifest number, offset) u64
//!                           | payload | zeroes up to a multiple of 8
//!
//! CURRENT           silt 1 manifest-000007 4096 <uuid, 32 hex> <crc32 of all before, 8 hex>\n
//! ```
//!
//! All numbers little-endian. The number behind the name is a length up to which the manifest was
//! synced when `CURRENT` was written: its snapshot, or all of it after a clean close. Damage
//! before that, or before a record that is whole, is corruption, for each record was synced before
//! the next was begun. Other damage is the torn tail of an edit that nobody was told of. Nothing
//! is appended behind a torn tail: every opening begins a manifest of its own.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::VersionEdit;
use crate::vfs::{Env, OpenMode, VfsFile};
use crate::{Error, ErrorKind, Result};

/// The format of everything in the directory. A greater one is refused before a byte is written.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// The greatest payload of one record; a snapshot is many records.
const RECORD_BYTES_MAX: usize = 64 << 20;

/// The greatest manifest that is read.
const MANIFEST_BYTES_MAX: u64 = 4 << 30;

/// `CURRENT` is one line.
const CURRENT_BYTES_MAX: u64 = 256;

const MAGIC: &[u8; 8] = b"SILTMANI";
const HEADER_BYTES: usize = 40;
const RECORD_HEADER_BYTES: usize = 16;

/// What `CURRENT` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    /// The manifest's number.
    pub(crate) manifest: u64,
    /// It was synced up to here.
    pub(crate) synced_len: u64,
    /// The database.
    pub(crate) uuid: u128,
}

/// The path of manifest `number` of the database in `dir`.
pub(crate) fn manifest_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("manifest-{number:06}"))
}

/// The number of a manifest's file name, if it is one.
pub(crate) fn manifest_number(name: &Path) -> Option<u64> {
    let digits = name.to_str()?.strip_prefix("manifest-")?;
    let is_number = digits.len() >= 6 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// The file that names the manifest.
pub(crate) fn current_path(dir: &Path) -> PathBuf {
    dir.join("CURRENT")
}

impl Current {
    /// Reads `CURRENT` of the database in `dir`; none if there is no such file.
    ///
    /// # Errors
    /// `Unsupported` for a format of a later release; `Corrupt`; `Io`.
    pub(crate) fn read(env: &Env, dir: &Path) -> Result<Option<Self>> {
        let path = current_path(dir);
        let file = match env.vfs.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(&path, "open", error)),
        };
        let bytes = read_whole(&*file, &path, CURRENT_BYTES_MAX)?;
        let text = std::str::from_utf8(&bytes);
        let text = text.map_err(|_| Error::corrupt(&path, 0, "not a line of text"))?;
        let format = text.strip_prefix("silt ").and_then(|rest| rest.split(' ').next());
        let format: u32 = format
            .and_then(|format| format.parse().ok())
            .ok_or_else(|| Error::corrupt(&path, 0, "does not begin with silt and a format"))?;
        if format > FORMAT_VERSION {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!(
                    "the database in {} has format {format}, this release reads formats up to \
                     {FORMAT_VERSION}",
                    dir.display()
                ),
            ));
        }
        Self::parse(text).map(Some).ok_or_else(|| Error::corrupt(&path, 0, "damaged line"))
    }

    fn parse(text: &str) -> Option<Self> {
        let line = text.strip_suffix('\n')?;
        let (checked, crc) = line.rsplit_once(' ')?;
        if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(checked.as_bytes()) {
            return None;
        }
        let mut words = checked.split(' ').skip(2);
        let manifest = manifest_number(Path::new(words.next()?))?;
        let synced_len = words.next()?.parse().ok()?;
        let uuid = u128::from_str_radix(words.next()?, 16).ok()?;
        words.next().is_none().then_some(Self { manifest, synced_len, uuid })
    }

    /// Makes `CURRENT` say this, durably: written beside it, synced, renamed over it.
    pub(crate) fn write(&self, env: &Env, dir: &Path) -> Result<()> {
        let mut line = format!(
            "silt {FORMAT_VERSION} manifest-{:06} {} {:032x}",
            self.manifest, self.synced_len, self.uuid
        );
        let crc = crc32fast::hash(line.as_bytes());
        line.push_str(&format!(" {crc:08x}\n"));
        let (path, beside) = (current_path(dir), dir.join("tmp").join("CURRENT.new"));
        match env.vfs.remove_file(&beside) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(&beside, "remove", error));
            }
            _ => {}
        }
        let written = env.vfs.open(&beside, OpenMode::CreateNew).and_then(|file| {
            file.write_all_at(0, line.as_bytes())?;
            file.sync_all()
        });
        written.map_err(|error| Error::io(&beside, "write", error))?;
        let renamed = env.vfs.rename(&beside, &path).and_then(|()| env.vfs.sync_dir(dir));
        renamed.map_err(|error| Error::io(&path, "replace", error))
    }
}

/// Appends edits to one manifest.
#[derive(Debug)]
pub(crate) struct ManifestWriter {
    file: Arc<dyn VfsFile>,
    path: PathBuf,
    number: u64,
    uuid: u128,
    len: u64,
}

impl ManifestWriter {
    /// Creates manifest `number`. Nothing of it is synced yet.
    pub(crate) fn create(env: &Env, dir: &Path, uuid: u128, number: u64) -> Result<Self> {
        let path = manifest_path(dir, number);
        let io = |doing: &'static str| {
            let path = path.clone();
            move |error| Error::io(&path, doing, error)
        };
        let file = env.vfs.open(&path, OpenMode::CreateNew).map_err(io("create"))?;
        file.write_all_at(0, &header(uuid, number)).map_err(io("write"))?;
        Ok(Self { file, path, number, uuid, len: HEADER_BYTES as u64 })
    }

    /// Appends an edit, without syncing it.
    pub(crate) fn append(&mut self, edit: &VersionEdit) -> Result<()> {
        let payload = edit.encode();
        let len = u32::try_from(payload.len()).ok().filter(|_| payload.len() <= RECORD_BYTES_MAX);
        let len = len.ok_or_else(|| {
            let bytes = payload.len();
            Error::internal(format!("a manifest edit of {bytes} bytes, at most {RECORD_BYTES_MAX}"))
        })?;
        let checksum = XxHash3_64::oneshot(&payload) ^ mix(self.uuid, self.number, self.len);
        let mut record = Vec::with_capacity(RECORD_HEADER_BYTES + payload.len() + 8);
        record.extend_from_slice(&len.to_le_bytes());
        record.extend_from_slice(&record_crc(len, checksum, self.len).to_le_bytes());
        record.extend_from_slice(&checksum.to_le_bytes());
        record.extend_from_slice(&payload);
        record.resize(record.len().next_multiple_of(8), 0);
        let written = self.file.write_all_at(self.len, &record);
        written.map_err(|error| Error::io(&self.path, "write", error))?;
        self.len += record.len() as u64;
        Ok(())
    }

    /// Makes what was appended durable. The directory's entry is the creator's to sync.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|error| Error::io(&self.path, "sync", error))
    }

    /// Takes back everything beyond `len`, durably: after an append that met a full disk.
    pub(crate) fn cut(&mut self, len: u64) -> Result<()> {
        let cut = self.file.set_len(len).and_then(|()| self.file.sync_all());
        cut.map_err(|error| Error::io(&self.path, "cut", error))?;
        self.len = len;
        Ok(())
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// The manifest's number.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// What `CURRENT` has to say for this manifest to count, once it was synced.
    pub(crate) fn current(&self) -> Current {
        Current { manifest: self.number, synced_len: self.len, uuid: self.uuid }
    }
}

/// Hands every edit of the manifest that `current` names to `apply`, in order. An error of
/// `apply` is what is wrong with the edit.
///
/// # Errors
/// `Corrupt` with path and offset; `Unsupported` for a later format; `Io`.
pub(crate) fn read_manifest(
    env: &Env,
    dir: &Path,
    current: Current,
    mut apply: impl FnMut(VersionEdit) -> Result<(), String>,
) -> Result<()> {
    read_records(env, dir, current, |record| apply(record.edit)).map(|_| ())
}

/// One record of a manifest.
#[derive(Debug)]
pub(crate) struct ManifestRecord {
    /// Where it begins.
    pub(crate) offset: u64,
    /// Its bytes, header and padding included.
    pub(crate) bytes: u64,
    /// What it says.
    pub(crate) edit: VersionEdit,
}

/// [`read_manifest`] with the place of every record. Answers where the last whole one ends and
/// how long the file is: between them stands a torn tail.
pub(crate) fn read_records(
    env: &Env,
    dir: &Path,
    current: Current,
    mut apply: impl FnMut(ManifestRecord) -> Result<(), String>,
) -> Result<(u64, u64)> {
    let path = manifest_path(dir, current.manifest);
    let file = env.vfs.open(&path, OpenMode::Read).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            Error::corrupt(&path, 0, "named by CURRENT, and missing")
        } else {
            Error::io(&path, "open", error)
        }
    })?;
    let bytes = read_whole(&*file, &path, MANIFEST_BYTES_MAX)?;
    let corrupt = |offset: usize, what: &str| Error::corrupt(&path, offset as u64, what);
    check_header(&bytes, current).map_err(|what| corrupt(0, &what))?;
    let mut offset = HEADER_BYTES;
    while let Some(payload) = record_at(&bytes, offset, current) {
        let len = (RECORD_HEADER_BYTES + payload.len()).next_multiple_of(8);
        let place = (offset as u64, len as u64);
        let record = |edit| ManifestRecord { offset: place.0, bytes: place.1, edit };
        let applied = VersionEdit::decode(payload).and_then(|edit| apply(record(edit)));
        applied.map_err(|what| corrupt(offset, &what))?;
        offset += len;
    }
    if (offset as u64) < current.synced_len {
        let promised = current.synced_len;
        return Err(corrupt(offset, &format!("damaged record, synced up to {promised}")));
    }
    let later =
        (offset + 8..bytes.len()).step_by(8).find(|at| record_at(&bytes, *at, current).is_some());
    if let Some(later) = later {
        return Err(corrupt(offset, &format!("damaged record before a whole one at {later}")));
    }
    Ok((offset as u64, bytes.len() as u64))
}

fn header(uuid: u128, number: u64) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[16..32].copy_from_slice(&uuid.to_le_bytes());
    header[32..].copy_from_slice(&number.to_le_bytes());
    let crc = crc32fast::hash(&header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

fn check_header(bytes: &[u8], current: Current) -> Result<(), String> {
    let expected = header(current.uuid, current.manifest);
    match bytes.first_chunk::<HEADER_BYTES>() {
        None => Err(format!("{} bytes, shorter than a header", bytes.len())),
        Some(found) if *found == expected => Ok(()),
        Some(_) => Err("the header is not that of this database's manifest".to_owned()),
    }
}

/// The payload of the record at `offset`, if one stands there whole.
fn record_at(bytes: &[u8], offset: usize, current: Current) -> Option<&[u8]> {
    let rest = bytes.get(offset..)?;
    let (head, rest) = rest.split_first_chunk::<RECORD_HEADER_BYTES>()?;
    let len = u32::from_le_bytes(*head.first_chunk()?);
    let crc = u32::from_le_bytes(*head[4..].first_chunk()?);
    let checksum = u64::from_le_bytes(*head[8..].first_chunk()?);
    if crc != record_crc(len, checksum, offset as u64) {
        return None;
    }
    let payload = rest.get(..usize::try_from(len).ok()?)?;
    let expected =
        XxHash3_64::oneshot(payload) ^ mix(current.uuid, current.manifest, offset as u64);
    (checksum == expected).then_some(payload)
}

fn record_crc(len: u32, checksum: u64, offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&len.to_le_bytes());
    hasher.update(&checksum.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.finalize()
}

/// What a record's checksum is mixed with, so that one of another place or database fails.
fn mix(uuid: u128, number: u64, offset: u64) -> u64 {
    let mut place = [0; 32];
    place[..16].copy_from_slice(&uuid.to_le_bytes());
    place[16..24].copy_from_slice(&number.to_le_bytes());
    place[24..].copy_from_slice(&offset.to_le_bytes());
    XxHash3_64::oneshot(&place)
}

fn read_whole(file: &dyn VfsFile, path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let len = file.len().map_err(|error| Error::io(path, "measure", error))?;
    let fits = usize::try_from(len).ok().filter(|_| len <= bytes_max);
    let len = fits.ok_or_else(|| Error::corrupt(path, bytes_max, format!("{len} bytes long")))?;
    let mut bytes = vec![0; len];
    file.read_exact_at(0, &mut bytes).map_err(|error| Error::io(path, "read", error))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{ManualClock, SeededRandom, StrictVfs, Vfs};
    use crate::wal::{Promise, WalPosition};

    const UUID: u128 = 0x1234_5678_9abc_def0;

    fn env() -> (StrictVfs, Env) {
        let vfs = StrictVfs::new();
        vfs.create_dir(Path::new("/db/tmp")).unwrap();
        let env = Env {
            vfs: Arc::new(vfs.clone()),
            clock: Arc::new(ManualClock::new(0)),
            random: Arc::new(SeededRandom::new(1)),
        };
        (vfs, env)
    }

    fn edit(number: u64) -> VersionEdit {
        let promise = Promise { position: WalPosition::new(number, 64), last_seq: number };
        VersionEdit { promise: Some(promise), next_file: Some(number), ..VersionEdit::default() }
    }

    fn read(env: &Env, current: Current) -> Result<Vec<VersionEdit>> {
        let mut edits = Vec::new();
        read_manifest(env, Path::new("/db"), current, |edit| {
            edits.push(edit);
            Ok(())
        })?;
        Ok(edits)
    }

    /// A manifest of a snapshot of one edit and `later` edits behind it.
    fn manifest(env: &Env, later: u64) -> (Current, Vec<u64>) {
        let mut writer = ManifestWriter::create(env, Path::new("/db"), UUID, 7).unwrap();
        writer.append(&edit(0)).unwrap();
        let current = writer.current();
        let mut ends = vec![writer.len()];
        for number in 1..=later {
            writer.append(&edit(number)).unwrap();
            ends.push(writer.len());
        }
        writer.sync().unwrap();
        (current, ends)
    }

    #[test]
    fn edits_come_back_in_order() {
        let (_, env) = env();
        let (current, _) = manifest(&env, 3);
        assert_eq!(read(&env, current).unwrap(), (0..=3).map(edit).collect::<Vec<_>>());
    }

    #[test]
    fn torn_edit_at_the_end_was_never_told_to_anybody() {
        let (vfs, env) = env();
        let (current, ends) = manifest(&env, 3);
        let path = manifest_path(Path::new("/db"), 7);
        let whole = vfs.files()[&path].clone();
        for len in ends[2]..ends[3] - 7 {
            let len = usize::try_from(len).unwrap();
            vfs.damage(&path, |bytes| {
                bytes.clone_from(&whole);
                bytes.truncate(len);
            })
            .unwrap();
            assert_eq!(read(&env, current).unwrap().len(), 3, "cut at {len}");
        }
        vfs.damage(&path, |bytes| {
            bytes.clone_from(&whole);
            let end = bytes.len();
            bytes[end - 20] ^= 1;
        })
        .unwrap();
        assert_eq!(read(&env, current).unwrap().len(), 3);
    }

    #[test]
    fn damage_before_a_whole_edit_or_in_the_synced_part_is_corruption() {
        let (vfs, env) = env();
        let (current, ends) = manifest(&env, 3);
        let path = manifest_path(Path::new("/db"), 7);
        for at in [ends[0] - 10, ends[1] - 10, ends[2] - 10] {
            let at = usize::try_from(at).unwrap();
            vfs.damage(&path, |bytes| bytes[at] ^= 1).unwrap();
            let error = read(&env, current).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains("manifest-000007 at offset"), "{error}");
            vfs.damage(&path, |bytes| bytes[at] ^= 1).unwrap();
        }
        vfs.damage(&path, |bytes| bytes.truncate(usize::try_from(ends[0]).unwrap() - 8)).unwrap();
        assert_eq!(read(&env, current).unwrap_err().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn manifest_of_another_database_or_number_is_refused() {
        let (_, env) = env();
        let (current, _) = manifest(&env, 1);
        let other = Current { uuid: UUID + 1, ..current };
        assert_eq!(read(&env, other).unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(
            read(&env, Current { manifest: 8, ..current }).unwrap_err().kind(),
            ErrorKind::Corrupt
        );
    }

    #[test]
    fn current_is_replaced_whole_and_any_flipped_bit_is_seen() {
        let (vfs, env) = env();
        let dir = Path::new("/db");
        assert_eq!(Current::read(&env, dir).unwrap(), None);
        for manifest in [1, 2] {
            let current = Current { manifest, synced_len: 4096, uuid: UUID };
            current.write(&env, dir).unwrap();
            assert_eq!(Current::read(&env, dir).unwrap(), Some(current));
        }
        let len = vfs.files()[&current_path(dir)].len();
        for at in 0..len {
            vfs.damage(&current_path(dir), |bytes| bytes[at] ^= 1).unwrap();
            assert!(Current::read(&env, dir).is_err(), "byte {at}");
            vfs.damage(&current_path(dir), |bytes| bytes[at] ^= 1).unwrap();
        }
    }

    #[test]
    fn random_bytes_are_no_edit_and_harm_nobody() {
        use crate::vfs::Random;
        for seed in 0..2_000 {
            let random = SeededRandom::new(seed);
            let bytes: Vec<u8> = (0..random.below(200))
                .map(|_| u8::try_from(random.next_u64() & 0xff).unwrap_or(0))
                .map(|byte| if byte < 128 { byte % 14 } else { byte })
                .collect();
            let _ = VersionEdit::decode(&bytes);
        }
    }
}
