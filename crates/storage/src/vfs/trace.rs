//! A disk that knows the order of things (PROMISES.md section 2) and notes every breach:
//!
//! - a file is renamed only once its bytes are synced;
//! - `CURRENT` is only ever replaced by a rename, and names a manifest whose bytes and name were
//!   synced before;
//! - a log segment is created only once every earlier one is synced, name included;
//! - an SSTable never changes after it was synced;
//! - no log segment, SSTable or manifest is removed while an edit or a new `CURRENT` is not
//!   synced, nor while the test's hook says that the durable manifest names it;
//! - none of these is read after its removal.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{OpenMode, Vfs, VfsFile, VfsLock};

/// See the [module](self). Clones share what was seen.
#[derive(Clone)]
pub struct TraceVfs {
    inner: Arc<dyn Vfs>,
    seen: Arc<Mutex<Seen>>,
}

type Named = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

#[derive(Default)]
struct Seen {
    /// Files that hold unsynced bytes.
    dirty: BTreeSet<PathBuf>,
    /// Names made or moved since their directory was synced.
    unsynced_names: BTreeSet<PathBuf>,
    /// SSTables that were synced.
    finished: BTreeSet<PathBuf>,
    /// Removed files by path, to be forgotten when the name is used again.
    removed: BTreeMap<PathBuf, ()>,
    violations: Vec<String>,
    named: Option<Named>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Current,
    Manifest,
    Log,
    Table,
    Other,
}

fn role(path: &Path) -> Role {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let extension = path.extension().and_then(|extension| extension.to_str());
    match (name, extension) {
        ("CURRENT", _) => Role::Current,
        (_, Some("wal")) => Role::Log,
        (_, Some("sst")) => Role::Table,
        (_, None) if name.starts_with("manifest-") => Role::Manifest,
        _ => Role::Other,
    }
}

impl TraceVfs {
    /// Passes everything on to `inner` and watches.
    pub fn new(inner: Arc<dyn Vfs>) -> Self {
        Self { inner, seen: Arc::default() }
    }

    /// Asks `named` before a removal whether the durable manifest names the file.
    pub fn set_named(&self, named: impl Fn(&Path) -> bool + Send + Sync + 'static) {
        self.seen.lock().named = Some(Arc::new(named));
    }

    /// The breaches seen so far.
    pub fn violations(&self) -> Vec<String> {
        self.seen.lock().violations.clone()
    }

    /// Fails the test if any breach was seen.
    ///
    /// # Panics
    /// Then.
    pub fn check(&self) {
        let violations = self.violations();
        assert!(violations.is_empty(), "order of writes broken: {violations:#?}");
    }

    /// `CURRENT` is about to point at what `from` says.
    fn check_current(&self, from: &Path, to: &Path) {
        let read = |file: Arc<dyn VfsFile>| {
            let len = usize::try_from(file.len()?.min(4096)).unwrap_or(4096);
            let mut text = vec![0; len];
            file.read_exact_at(0, &mut text).map(|()| text)
        };
        let text = self.inner.open(from, OpenMode::Read).and_then(read).unwrap_or_default();
        // The manifest's name stands in CURRENT as text, whatever stands around it.
        let Some(name) = manifest_name(&text) else {
            self.seen.lock().note(format!("{} names no manifest", from.display()));
            return;
        };
        let manifest = to.with_file_name(name);
        let exists = self.inner.exists(&manifest).unwrap_or(false);
        let mut seen = self.seen.lock();
        if !exists {
            seen.note(format!("CURRENT names {}, which is missing", manifest.display()));
        }
        if seen.dirty.contains(&manifest) || seen.unsynced_names.contains(&manifest) {
            seen.note(format!("CURRENT names {} before its sync", manifest.display()));
        }
    }

    fn check_removal(&self, path: &Path) {
        if !matches!(role(path), Role::Log | Role::Table | Role::Manifest) {
            return;
        }
        let named = {
            let mut seen = self.seen.lock();
            let unsynced = |path: &&PathBuf| matches!(role(path), Role::Manifest | Role::Current);
            let pending = seen.dirty.iter().chain(&seen.unsynced_names).find(unsynced).cloned();
            // A job that failed removes what it began, whatever the manifest is about to say.
            let abandoned = seen.dirty.contains(path) || seen.unsynced_names.contains(path);
            if let Some(pending) = pending
                && !abandoned
            {
                let (path, pending) = (path.display(), pending.display());
                seen.note(format!("{path} is removed before the sync of {pending}"));
            }
            seen.named.clone()
        };
        // The hook may look at the disk.
        if named.is_some_and(|named| named(path)) {
            let path = path.display();
            self.seen.lock().note(format!("{path} is removed, but the manifest names it"));
        }
    }
}

fn manifest_name(text: &[u8]) -> Option<&str> {
    let start = text.windows(9).position(|window| window == b"manifest-")?;
    let digits = text[start + 9..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[start..start + 9 + digits]).ok()
}

impl Seen {
    fn note(&mut self, violation: String) {
        self.violations.push(violation);
    }

    fn appears(&mut self, path: &Path) {
        self.removed.remove(path);
        self.finished.remove(path);
        self.unsynced_names.insert(path.into());
    }

    fn disappears(&mut self, path: &Path) {
        self.dirty.remove(path);
        self.unsynced_names.remove(path);
        self.finished.remove(path);
        self.removed.insert(path.into(), ());
    }

    fn created(&mut self, path: &Path) {
        match role(path) {
            Role::Current => self.note("CURRENT is created in place".into()),
            Role::Log => {
                let of_log = |other: &&PathBuf| role(other) == Role::Log;
                let unsynced = self.dirty.iter().chain(&self.unsynced_names).find(of_log).cloned();
                if let Some(earlier) = unsynced {
                    let (path, earlier) = (path.display(), earlier.display());
                    self.note(format!("{path} begins before the sync of {earlier}"));
                }
            }
            Role::Manifest | Role::Table | Role::Other => {}
        }
        self.appears(path);
    }

    fn written(&mut self, path: &Path) {
        if role(path) == Role::Current {
            self.note("CURRENT is written in place".into());
        }
        if self.finished.contains(path) {
            self.note(format!("{} is written after its sync", path.display()));
        }
        self.dirty.insert(path.into());
    }
}

impl std::fmt::Debug for TraceVfs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceVfs").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Vfs for TraceVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let inner = self.inner.open(path, mode)?;
        if mode == OpenMode::CreateNew {
            self.seen.lock().created(path);
        }
        Ok(Arc::new(TraceFile { vfs: self.clone(), path: path.into(), inner }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if self.seen.lock().dirty.contains(from) {
            let (from, to) = (from.display(), to.display());
            self.seen.lock().note(format!("{from} is renamed to {to} before its sync"));
        }
        if role(to) == Role::Current {
            self.check_current(from, to);
        }
        self.inner.rename(from, to)?;
        let mut seen = self.seen.lock();
        let finished = seen.finished.contains(from);
        seen.disappears(from);
        seen.appears(to);
        if finished {
            seen.finished.insert(to.into());
        }
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.hard_link(from, to)?;
        self.seen.lock().appears(to);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check_removal(path);
        self.inner.remove_file(path)?;
        self.seen.lock().disappears(path);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.inner.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.create_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.remove_dir(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Names that appear while the sync runs may miss it.
        let names: Vec<_> = {
            let seen = self.seen.lock();
            seen.unsynced_names.iter().filter(|path| path.parent() == Some(dir)).cloned().collect()
        };
        self.inner.sync_dir(dir)?;
        let mut seen = self.seen.lock();
        for name in names {
            seen.unsynced_names.remove(&name);
        }
        Ok(())
    }

    fn lock(&self, path: &Path, exclusive: bool) -> io::Result<Box<dyn VfsLock>> {
        self.inner.lock(path, exclusive)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.inner.free_space(path)
    }
}

#[derive(Debug)]
struct TraceFile {
    vfs: TraceVfs,
    path: PathBuf,
    inner: Arc<dyn VfsFile>,
}

impl TraceFile {
    fn sync(&self, sync: impl FnOnce(&dyn VfsFile) -> io::Result<()>) -> io::Result<()> {
        // Bytes written while the sync runs may miss it: those are marked again by their write,
        // which comes after this.
        let was_dirty = self.vfs.seen.lock().dirty.remove(&self.path);
        let synced = sync(&*self.inner);
        let mut seen = self.vfs.seen.lock();
        if synced.is_err() && was_dirty {
            seen.dirty.insert(self.path.clone());
        }
        if synced.is_ok() && role(&self.path) == Role::Table {
            seen.finished.insert(self.path.clone());
        }
        synced
    }
}

impl VfsFile for TraceFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if role(&self.path) != Role::Other {
            let mut seen = self.vfs.seen.lock();
            if seen.removed.contains_key(&self.path) {
                seen.note(format!("{} is read after its removal", self.path.display()));
            }
        }
        self.inner.read_at(offset, buf)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.vfs.seen.lock().written(&self.path);
        self.inner.write_all_at(offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(|file| file.sync_data())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(|file| file.sync_all())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.vfs.seen.lock().written(&self.path);
        self.inner.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.inner.allocate(offset, len)
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::StrictVfs;
    use super::*;

    fn disk() -> TraceVfs {
        TraceVfs::new(Arc::new(StrictVfs::new()))
    }

    fn write(vfs: &TraceVfs, path: &str, bytes: &[u8]) -> Arc<dyn VfsFile> {
        let file = vfs.open(Path::new(path), OpenMode::CreateNew).unwrap();
        file.write_all_at(0, bytes).unwrap();
        file
    }

    fn rename(vfs: &TraceVfs, from: &str, to: &str) {
        vfs.rename(Path::new(from), Path::new(to)).unwrap();
    }

    fn sync_root(vfs: &TraceVfs) {
        vfs.sync_dir(Path::new("/")).unwrap();
    }

    #[test]
    fn the_right_order_raises_nothing() {
        let vfs = disk();
        let table = write(&vfs, "/1.sst", b"table");
        table.sync_all().unwrap();
        write(&vfs, "/1.wal", b"log").sync_all().unwrap();
        let manifest = write(&vfs, "/manifest-000001", b"snapshot");
        manifest.sync_all().unwrap();
        sync_root(&vfs);
        write(&vfs, "/CURRENT.new", b"manifest-000001\n").sync_all().unwrap();
        rename(&vfs, "/CURRENT.new", "/CURRENT");
        sync_root(&vfs);
        write(&vfs, "/2.wal", b"log").sync_all().unwrap();
        manifest.write_all_at(8, b"edit").unwrap();
        manifest.sync_data().unwrap();
        vfs.remove_file(Path::new("/1.wal")).unwrap();
        vfs.check();
    }

    #[test]
    fn a_rename_before_the_sync_is_noted() {
        let vfs = disk();
        write(&vfs, "/new", b"bytes");
        rename(&vfs, "/new", "/old");
        assert_eq!(vfs.violations().len(), 1);
    }

    #[test]
    fn current_is_noted_when_written_in_place_or_ahead_of_its_manifest() {
        let vfs = disk();
        write(&vfs, "/CURRENT", b"manifest-000001");
        assert_eq!(vfs.violations().len(), 2, "created and written");

        let vfs = disk();
        write(&vfs, "/manifest-000001", b"snapshot").sync_all().unwrap();
        write(&vfs, "/CURRENT.new", b"manifest-000001").sync_all().unwrap();
        rename(&vfs, "/CURRENT.new", "/CURRENT");
        assert!(vfs.violations()[0].contains("before its sync"), "the directory was not synced");
    }

    #[test]
    fn a_removal_before_the_edit_is_synced_is_noted() {
        let vfs = disk();
        write(&vfs, "/1.sst", b"table").sync_all().unwrap();
        let manifest = write(&vfs, "/manifest-000001", b"snapshot");
        manifest.sync_all().unwrap();
        sync_root(&vfs);
        manifest.write_all_at(8, b"edit").unwrap();
        vfs.remove_file(Path::new("/1.sst")).unwrap();
        assert!(vfs.violations()[0].contains("1.sst"));
        vfs.set_named(|path| path.ends_with("manifest-000001"));
        manifest.sync_data().unwrap();
        vfs.remove_file(Path::new("/manifest-000001")).unwrap();
        assert!(vfs.violations()[1].contains("names it"));
    }

    #[test]
    fn a_finished_table_is_noted_when_it_changes_or_is_read_after_its_removal() {
        let vfs = disk();
        let table = write(&vfs, "/1.sst", b"table");
        table.sync_all().unwrap();
        table.write_all_at(0, b"T").unwrap();
        assert_eq!(vfs.violations().len(), 1);
        vfs.remove_file(Path::new("/1.sst")).unwrap();
        table.read_at(0, &mut [0]).unwrap();
        assert_eq!(vfs.violations().len(), 2);
    }

    #[test]
    fn a_segment_that_begins_before_the_sync_of_the_last_is_noted() {
        let vfs = disk();
        write(&vfs, "/1.wal", b"log").sync_all().unwrap();
        write(&vfs, "/2.wal", b"log");
        assert_eq!(vfs.violations().len(), 1, "its name was not synced");
    }
}
