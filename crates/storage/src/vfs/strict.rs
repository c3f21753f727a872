//! A disk in memory that forgets what was not synced.
//!
//! Bytes and directory entries are kept twice: as a running process sees them (*live*) and as
//! they would be found after a power cut (*durable*). A sync of a file copies its bytes and
//! length over, a sync of a directory its entries. [`StrictVfs::crash_image`] answers a new disk
//! as the machine might find it: what was synced is there, of the rest whatever the
//! [`CrashMode`] and the seed decide.
//!
//! Harsher than most file systems, on purpose: a file's sync does not sync its name, and names
//! that were not synced come and go one by one. Only a rename is one step.

mod image;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use super::{OpenMode, Vfs, VfsFile, VfsLock};

/// What a power cut leaves of the bytes and names that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashMode {
    /// Everything: the process died, the machine did not.
    KeepAll,
    /// Nothing.
    DropUnsynced,
    /// Pieces of 512 bytes or 4 KiB, and names, each by chance; zeroes where a piece is missing.
    KeepPieces,
    /// Everything but part of the last write.
    TearLast,
    /// As `KeepPieces`, with stale or random bytes where a piece beyond the synced length is
    /// missing.
    Garbage,
}

impl CrashMode {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::KeepAll, Self::DropUnsynced, Self::KeepPieces, Self::TearLast, Self::Garbage];
}

/// See the [module](self). Clones share the disk.
#[derive(Clone)]
pub struct StrictVfs {
    shared: Arc<Shared>,
}

type Observer = Arc<dyn Fn(&StrictVfs, u64) + Send + Sync>;

struct Shared {
    disk: Mutex<Disk>,
    sync_is_noop: AtomicBool,
    observer: RwLock<Option<Observer>>,
}

/// Taken before any [`FileNode`]'s lock; every change holds it, so that an image is one moment.
struct Disk {
    dirs: Vec<Dir>,
    /// Changes so far.
    ops: u64,
    last_write: Option<LastWrite>,
    locks: HashMap<PathBuf, LockState>,
}

const ROOT: usize = 0;

#[derive(Clone, Default)]
struct Dir {
    live: BTreeMap<OsString, Entry>,
    durable: BTreeMap<OsString, Entry>,
    /// What was done to `live` since the last sync. The halves of a rename share a number.
    pending: Vec<(u64, OsString, Option<Entry>)>,
}

#[derive(Clone)]
enum Entry {
    File(Arc<FileNode>),
    Dir(usize),
}

#[derive(Default)]
struct FileNode {
    state: RwLock<FileState>,
}

#[derive(Default)]
struct FileState {
    live: Arc<Vec<u8>>,
    durable: Arc<Vec<u8>>,
    /// Ranges of `live` that differ from `durable` or may; a live byte beyond the durable length
    /// is always in one.
    dirty: Vec<Range<usize>>,
}

struct LastWrite {
    file: Arc<FileNode>,
    range: Range<usize>,
    /// What stood in the range before, as far as the file reached.
    old: Vec<u8>,
    old_len: usize,
}

#[derive(Default)]
struct LockState {
    exclusive: bool,
    shared: usize,
}

impl StrictVfs {
    /// An empty disk.
    pub fn new() -> Self {
        Self::with_dirs(vec![Dir::default()])
    }

    fn with_dirs(dirs: Vec<Dir>) -> Self {
        let disk = Disk { dirs, ops: 0, last_write: None, locks: HashMap::new() };
        Self {
            shared: Arc::new(Shared {
                disk: Mutex::new(disk),
                sync_is_noop: AtomicBool::new(false),
                observer: RwLock::new(None),
            }),
        }
    }

    /// From now on syncs do nothing, and say that they did: a crash test that does not fail then
    /// proves nothing.
    pub fn set_sync_is_noop(&self, noop: bool) {
        self.shared.sync_is_noop.store(noop, Ordering::SeqCst);
    }

    /// Changes made so far: writes, syncs, creations, renames, removals.
    pub fn ops(&self) -> u64 {
        self.shared.disk.lock().ops
    }

    /// Calls `observer` after every change with its number, on the thread that made it; it may
    /// take images.
    pub fn observe(&self, observer: impl Fn(&Self, u64) + Send + Sync + 'static) {
        *self.shared.observer.write() = Some(Arc::new(observer));
    }

    /// Ends [`observe`](Self::observe).
    pub fn stop_observing(&self) {
        *self.shared.observer.write() = None;
    }

    /// The disk as it might be found after the power is cut now: no locks, everything durable.
    /// The same seed and mode answer the same image.
    pub fn crash_image(&self, seed: u64, mode: CrashMode) -> Self {
        let disk = self.shared.disk.lock();
        Self::with_dirs(image::take(&disk, seed, mode))
    }

    /// All files with their live bytes, for comparisons.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        fn walk(disk: &Disk, dir: usize, at: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for (name, entry) in &disk.dirs[dir].live {
                match entry {
                    Entry::Dir(below) => walk(disk, *below, &at.join(name), found),
                    Entry::File(file) => {
                        found.insert(at.join(name), file.state.read().live.to_vec());
                    }
                }
            }
        }
        let mut found = BTreeMap::new();
        walk(&self.shared.disk.lock(), ROOT, Path::new("/"), &mut found);
        found
    }

    /// Changes a file's bytes behind everyone's back, durably: damage for tests.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let disk = self.shared.disk.lock();
        let file = disk.file(path)?;
        let mut state = file.state.write();
        change(Arc::make_mut(&mut state.live));
        state.durable = Arc::clone(&state.live);
        state.dirty.clear();
        Ok(())
    }

    /// Runs a change, counts it and shows it to the observer.
    fn change<T>(&self, change: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        let (result, number) = {
            let mut disk = self.shared.disk.lock();
            disk.ops += 1;
            (change(&mut disk), disk.ops)
        };
        let observer = self.shared.observer.read().clone();
        if let Some(observer) = observer {
            observer(self, number);
        }
        result
    }

    fn syncs(&self) -> bool {
        !self.shared.sync_is_noop.load(Ordering::SeqCst)
    }
}

impl Default for StrictVfs {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for StrictVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StrictVfs").field("ops", &self.ops()).finish_non_exhaustive()
    }
}

impl Vfs for StrictVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let node = match mode {
            OpenMode::Read | OpenMode::ReadWrite => self.shared.disk.lock().file(path)?,
            OpenMode::CreateNew => self.change(|disk| {
                let (dir, name) = disk.parent(path)?;
                if disk.dirs[dir].live.contains_key(name) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                let node = Arc::new(FileNode::default());
                disk.set(dir, name, Some(Entry::File(Arc::clone(&node))));
                Ok(node)
            })?,
        };
        let writable = mode != OpenMode::Read;
        Ok(Arc::new(StrictFile { vfs: self.clone(), node, writable }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|disk| {
            let (from_dir, from_name) = disk.parent(from)?;
            let (to_dir, to_name) = disk.parent(to)?;
            let entry =
                disk.dirs[from_dir].live.get(from_name).ok_or(io::ErrorKind::NotFound)?.clone();
            if let Some(Entry::Dir(_)) = disk.dirs[to_dir].live.get(to_name) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            disk.set(from_dir, from_name, None);
            disk.set(to_dir, to_name, Some(entry));
            Ok(())
        })
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|disk| {
            let file = disk.file(from)?;
            let (dir, name) = disk.parent(to)?;
            if disk.dirs[dir].live.contains_key(name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            disk.set(dir, name, Some(Entry::File(file)));
            Ok(())
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.change(|disk| {
            disk.file(path)?;
            let (dir, name) = disk.parent(path)?;
            disk.set(dir, name, None);
            Ok(())
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let disk = self.shared.disk.lock();
        let dir = disk.dir(dir)?;
        Ok(disk.dirs[dir].live.keys().map(PathBuf::from).collect())
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|disk| {
            let mut at = ROOT;
            for name in names(dir)? {
                at = match disk.dirs[at].live.get(name) {
                    Some(Entry::Dir(below)) => *below,
                    Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                    None => {
                        let below = disk.dirs.len();
                        disk.dirs.push(Dir::default());
                        disk.set(at, name, Some(Entry::Dir(below)));
                        below
                    }
                };
            }
            Ok(())
        })
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|disk| {
            let below = disk.dir(dir)?;
            if !disk.dirs[below].live.is_empty() {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            let (above, name) = disk.parent(dir)?;
            disk.set(above, name, None);
            Ok(())
        })
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.shared.disk.lock().find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let syncs = self.syncs();
        self.change(|disk| {
            let dir = disk.dir(dir)?;
            if syncs {
                let Dir { live, durable, pending } = &mut disk.dirs[dir];
                pending.clear();
                durable.clone_from(live);
            }
            Ok(())
        })
    }

    fn lock(&self, path: &Path, exclusive: bool) -> io::Result<Box<dyn VfsLock>> {
        let key: PathBuf = names(path)?.into_iter().collect();
        let mut disk = self.shared.disk.lock();
        let (dir, name) = disk.parent(path)?;
        let held = disk.locks.entry(key.clone()).or_default();
        if held.exclusive || (exclusive && held.shared > 0) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        if exclusive {
            held.exclusive = true;
        } else {
            held.shared += 1;
        }
        let file = match disk.dirs[dir].live.get(name) {
            Some(Entry::File(file)) => Arc::clone(file),
            _ => {
                let file = Arc::new(FileNode::default());
                disk.set(dir, name, Some(Entry::File(Arc::clone(&file))));
                file
            }
        };
        if exclusive {
            let mut state = file.state.write();
            state.set_len(0);
            state.write(0, format!("{}\n", std::process::id()).as_bytes());
        }
        Ok(Box::new(StrictLock { vfs: self.clone(), key, exclusive }))
    }

    /// More than anyone needs; [`FaultVfs`](super::FaultVfs) has quotas.
    fn free_space(&self, _path: &Path) -> io::Result<u64> {
        Ok(1 << 40)
    }
}

struct StrictFile {
    vfs: StrictVfs,
    node: Arc<FileNode>,
    writable: bool,
}

impl fmt::Debug for StrictFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StrictFile").finish_non_exhaustive()
    }
}

impl StrictFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    fn sync(&self) -> io::Result<()> {
        let syncs = self.vfs.syncs();
        self.vfs.change(|disk| {
            if !syncs {
                return Ok(());
            }
            self.node.state.write().sync();
            if disk.last_write.as_ref().is_some_and(|last| Arc::ptr_eq(&last.file, &self.node)) {
                disk.last_write = None;
            }
            Ok(())
        })
    }
}

impl VfsFile for StrictFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let state = self.node.state.read();
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(state.live.len());
        let read = buf.len().min(state.live.len() - start);
        buf[..read].copy_from_slice(&state.live[start..start + read]);
        Ok(read)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.check_writable()?;
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.vfs.change(|disk| {
            let mut state = self.node.state.write();
            let old_len = state.live.len();
            let reach = offset.min(old_len)..(offset + bytes.len()).min(old_len);
            let old = state.live[reach].to_vec();
            state.write(offset, bytes);
            disk.last_write = Some(LastWrite {
                file: Arc::clone(&self.node),
                range: offset..offset + bytes.len(),
                old,
                old_len,
            });
            Ok(())
        })
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        self.vfs.change(|disk| {
            self.node.state.write().set_len(len);
            if disk.last_write.as_ref().is_some_and(|last| Arc::ptr_eq(&last.file, &self.node)) {
                disk.last_write = None;
            }
            Ok(())
        })
    }

    fn allocate(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.node.state.read().live.len() as u64)
    }
}

impl FileState {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        let live = Arc::make_mut(&mut self.live);
        let start = offset.min(live.len());
        let end = offset + bytes.len();
        if offset >= live.len() {
            live.resize(offset, 0);
            live.extend_from_slice(bytes);
        } else {
            if end > live.len() {
                live.resize(end, 0);
            }
            live[offset..end].copy_from_slice(bytes);
        }
        self.mark(start..end);
    }

    fn set_len(&mut self, len: usize) {
        let old = self.live.len();
        Arc::make_mut(&mut self.live).resize(len, 0);
        if len > old {
            self.mark(old..len);
        } else {
            self.dirty.retain_mut(|range| {
                range.end = range.end.min(len);
                range.start < range.end
            });
        }
    }

    fn mark(&mut self, range: Range<usize>) {
        match self.dirty.last_mut() {
            Some(last) if range.start <= last.end && last.start <= range.end => {
                last.start = last.start.min(range.start);
                last.end = last.end.max(range.end);
            }
            _ if range.is_empty() => {}
            _ => self.dirty.push(range),
        }
    }

    fn sync(&mut self) {
        let durable = Arc::make_mut(&mut self.durable);
        durable.resize(self.live.len(), 0);
        for range in self.dirty.drain(..) {
            durable[range.clone()].copy_from_slice(&self.live[range]);
        }
    }
}

impl Disk {
    fn find(&self, path: &Path) -> io::Result<Entry> {
        let mut at = Entry::Dir(ROOT);
        for name in names(path)? {
            let Entry::Dir(dir) = at else { return Err(io::ErrorKind::NotADirectory.into()) };
            at = self.dirs[dir].live.get(name).ok_or(io::ErrorKind::NotFound)?.clone();
        }
        Ok(at)
    }

    fn dir(&self, path: &Path) -> io::Result<usize> {
        match self.find(path)? {
            Entry::Dir(dir) => Ok(dir),
            Entry::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&self, path: &Path) -> io::Result<Arc<FileNode>> {
        match self.find(path)? {
            Entry::File(file) => Ok(file),
            Entry::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn parent<'a>(&self, path: &'a Path) -> io::Result<(usize, &'a OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        Ok((self.dir(path.parent().unwrap_or(Path::new("")))?, name))
    }

    fn set(&mut self, dir: usize, name: &OsStr, entry: Option<Entry>) {
        let op = self.ops;
        let dir = &mut self.dirs[dir];
        match entry.clone() {
            Some(entry) => dir.live.insert(name.into(), entry),
            None => dir.live.remove(name),
        };
        dir.pending.push((op, name.into(), entry));
    }
}

/// The names along a path; absolute and relative paths begin at the same root.
fn names(path: &Path) -> io::Result<Vec<&OsStr>> {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(Ok(name)),
            Component::RootDir | Component::CurDir => None,
            Component::ParentDir | Component::Prefix(_) => {
                Some(Err(io::ErrorKind::InvalidInput.into()))
            }
        })
        .collect()
}

struct StrictLock {
    vfs: StrictVfs,
    key: PathBuf,
    exclusive: bool,
}

impl fmt::Debug for StrictLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StrictLock").field("path", &self.key).finish_non_exhaustive()
    }
}

impl VfsLock for StrictLock {}

impl Drop for StrictLock {
    fn drop(&mut self) {
        let mut disk = self.vfs.shared.disk.lock();
        if let Some(held) = disk.locks.get_mut(&self.key) {
            if self.exclusive {
                held.exclusive = false;
            } else {
                held.shared -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(vfs: &StrictVfs, path: &str, bytes: &[u8]) -> Arc<dyn VfsFile> {
        let file = vfs.open(Path::new(path), OpenMode::CreateNew).unwrap();
        file.write_all_at(0, bytes).unwrap();
        file
    }

    fn read(vfs: &StrictVfs, path: &str) -> Option<Vec<u8>> {
        vfs.files().remove(Path::new(path))
    }

    fn settled() -> (StrictVfs, Arc<dyn VfsFile>) {
        let vfs = StrictVfs::new();
        vfs.create_dir(Path::new("/db")).unwrap();
        vfs.sync_dir(Path::new("/")).unwrap();
        let file = write(&vfs, "/db/file", b"synced");
        file.sync_data().unwrap();
        vfs.sync_dir(Path::new("/db")).unwrap();
        (vfs, file)
    }

    #[test]
    fn unsynced_bytes_vanish() {
        let (vfs, file) = settled();
        file.write_all_at(6, b" and not").unwrap();
        file.write_all_at(0, b"S").unwrap();
        let image = vfs.crash_image(1, CrashMode::DropUnsynced);
        assert_eq!(read(&image, "/db/file").unwrap(), b"synced");
        assert_eq!(read(&vfs, "/db/file").unwrap(), b"Synced and not");
        file.sync_data().unwrap();
        let image = vfs.crash_image(1, CrashMode::DropUnsynced);
        assert_eq!(read(&image, "/db/file").unwrap(), b"Synced and not");
    }

    #[test]
    fn a_file_without_dir_sync_vanishes_though_its_bytes_were_synced() {
        let (vfs, _) = settled();
        write(&vfs, "/db/new", b"bytes").sync_all().unwrap();
        let image = vfs.crash_image(1, CrashMode::DropUnsynced);
        assert_eq!(read(&image, "/db/new"), None);
        vfs.sync_dir(Path::new("/db")).unwrap();
        let image = vfs.crash_image(1, CrashMode::DropUnsynced);
        assert_eq!(read(&image, "/db/new").unwrap(), b"bytes");
    }

    #[test]
    fn a_rename_without_dir_sync_may_vanish_and_never_loses_both_names() {
        let (vfs, _) = settled();
        write(&vfs, "/db/new", b"new").sync_all().unwrap();
        vfs.sync_dir(Path::new("/db")).unwrap();
        vfs.rename(Path::new("/db/new"), Path::new("/db/file")).unwrap();
        let mut seen = [0; 2];
        for seed in 0..64 {
            let image = vfs.crash_image(seed, CrashMode::KeepPieces);
            match (read(&image, "/db/file"), read(&image, "/db/new")) {
                (Some(old), Some(new)) if old == b"synced" && new == b"new" => seen[0] += 1,
                (Some(new), None) if new == b"new" => seen[1] += 1,
                other => panic!("seed {seed}: {other:?}"),
            }
        }
        assert!(seen[0] > 8 && seen[1] > 8, "{seen:?}");
    }

    #[test]
    fn a_removal_without_dir_sync_may_come_undone() {
        let (vfs, file) = settled();
        vfs.remove_file(Path::new("/db/file")).unwrap();
        let mut bytes = [0; 6];
        file.read_exact_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"synced", "an open file can be read after its removal");
        let image = vfs.crash_image(1, CrashMode::DropUnsynced);
        assert_eq!(read(&image, "/db/file").unwrap(), b"synced");
        vfs.sync_dir(Path::new("/db")).unwrap();
        assert_eq!(read(&vfs.crash_image(1, CrashMode::DropUnsynced), "/db/file"), None);
    }

    #[test]
    fn pieces_are_kept_or_lost_one_by_one_and_synced_ones_always_kept() {
        let vfs = StrictVfs::new();
        let file = write(&vfs, "/file", &[1; 4096]);
        file.sync_data().unwrap();
        vfs.sync_dir(Path::new("/")).unwrap();
        file.write_all_at(4096, &[2; 16384]).unwrap();
        let mut holes = 0;
        for seed in 0..64 {
            for mode in [CrashMode::KeepPieces, CrashMode::Garbage] {
                let bytes = read(&vfs.crash_image(seed, mode), "/file").unwrap();
                assert!(bytes[..4096].iter().all(|byte| *byte == 1));
                let last = bytes.iter().rposition(|byte| *byte == 2).unwrap_or(0);
                holes += usize::from(bytes[4096..].iter().take(last).any(|byte| *byte != 2));
                assert_eq!(read(&vfs.crash_image(seed, mode), "/file").unwrap(), bytes);
            }
        }
        assert!(holes > 16, "{holes}");
    }

    #[test]
    fn the_last_write_alone_is_torn() {
        let (vfs, file) = settled();
        file.write_all_at(6, &[7; 100]).unwrap();
        file.write_all_at(2, &[8; 1000]).unwrap();
        let mut torn = 0;
        for seed in 0..64 {
            let bytes = read(&vfs.crash_image(seed, CrashMode::TearLast), "/db/file").unwrap();
            let kept = bytes[2..].iter().take_while(|byte| **byte == 8).count();
            torn += usize::from(kept < 1000);
            assert_eq!(&bytes[..2], b"sy");
            for (at, byte) in bytes.iter().enumerate().skip(2 + kept) {
                let before = match at {
                    0..6 => b"synced"[at],
                    6..106 => 7,
                    _ => 0,
                };
                assert_eq!(*byte, before, "seed {seed} offset {at}");
            }
        }
        assert!(torn > 32, "{torn}");
    }

    #[test]
    fn a_cut_file_that_grows_again_never_shows_its_old_bytes() {
        let (vfs, file) = settled();
        file.set_len(2).unwrap();
        file.set_len(6).unwrap();
        file.sync_data().unwrap();
        let image = vfs.crash_image(1, CrashMode::DropUnsynced);
        assert_eq!(read(&image, "/db/file").unwrap(), b"sy\0\0\0\0");
    }

    #[test]
    fn a_sync_that_does_nothing_is_found_out() {
        let (vfs, file) = settled();
        vfs.set_sync_is_noop(true);
        file.write_all_at(0, b"SYNCED").unwrap();
        file.sync_all().unwrap();
        let image = vfs.crash_image(1, CrashMode::DropUnsynced);
        assert_eq!(read(&image, "/db/file").unwrap(), b"synced");
    }

    #[test]
    fn every_change_is_shown_to_the_observer_and_images_can_be_taken_there() {
        let vfs = StrictVfs::new();
        let lengths = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&lengths);
        vfs.observe(move |vfs, op| {
            let image = vfs.crash_image(op, CrashMode::KeepAll);
            seen.lock().push((op, read(&image, "/file").map(|bytes| bytes.len())));
        });
        let file = write(&vfs, "/file", b"12");
        file.sync_all().unwrap();
        file.set_len(1).unwrap();
        vfs.stop_observing();
        vfs.remove_file(Path::new("/file")).unwrap();
        assert_eq!(*lengths.lock(), [(1, Some(0)), (2, Some(2)), (3, Some(2)), (4, Some(1))]);
        assert_eq!(vfs.ops(), 5);
    }

    #[test]
    fn locks_exclude_name_their_holder_and_end_with_the_power() {
        let (vfs, _) = settled();
        let path = Path::new("/db/LOCK");
        let lock = vfs.lock(path, true).unwrap();
        assert_eq!(vfs.lock(path, true).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(vfs.lock(path, false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(super::super::lock_holder(&vfs, path), Some(std::process::id()));
        vfs.crash_image(1, CrashMode::KeepAll).lock(path, true).unwrap();
        drop(lock);
        let (_one, _two) = (vfs.lock(path, false).unwrap(), vfs.lock(path, false).unwrap());
        assert_eq!(vfs.lock(path, true).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
