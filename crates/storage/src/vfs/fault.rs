//! A disk that fails when told to: the nth call of a kind, on paths of a kind, once or for ever,
//! or when a quota is reached. Counts and logs every call, so that a test can make each one fail
//! in turn.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{OpenMode, Vfs, VfsFile, VfsLock};

/// Kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpClass {
    /// Opening a file that exists.
    Open,
    /// Creating a file.
    Create,
    /// Reading bytes, lengths included.
    Read,
    /// Writing bytes.
    Write,
    /// Syncing a file, either way.
    Sync,
    /// Syncing a directory.
    SyncDir,
    /// Cutting or growing a file.
    SetLen,
    /// Reserving room.
    Allocate,
    /// Renaming.
    Rename,
    /// A second name.
    HardLink,
    /// Removing a file or directory.
    Remove,
    /// Listing a directory or asking whether something exists.
    List,
    /// Creating a directory.
    CreateDir,
    /// Locking.
    Lock,
    /// Asking for free space.
    FreeSpace,
}

impl OpClass {
    /// Whether the call may change the disk.
    pub fn is_change(self) -> bool {
        !matches!(self, Self::Open | Self::Read | Self::List | Self::Lock | Self::FreeSpace)
    }
}

/// How a call fails. The call has no effect, except that short writes write a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// An I/O error.
    Eio,
    /// A full disk.
    Enospc,
    /// Half of the bytes are written, then an I/O error.
    ShortEio,
    /// Half of the bytes are written, then a full disk.
    ShortEnospc,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Eio, Self::Enospc, Self::ShortEio, Self::ShortEnospc];

    fn error(self) -> io::Error {
        // The numbers of Linux, the BSDs and macOS alike.
        const EIO: i32 = 5;
        const ENOSPC: i32 = 28;
        io::Error::from_raw_os_error(match self {
            Self::Eio | Self::ShortEio => EIO,
            Self::Enospc | Self::ShortEnospc => ENOSPC,
        })
    }

    fn is_short(self) -> bool {
        matches!(self, Self::ShortEio | Self::ShortEnospc)
    }
}

/// One thing that goes wrong: by default the very next call, once.
#[derive(Clone, Debug)]
pub struct Fault {
    kind: FaultKind,
    classes: Vec<OpClass>,
    path: String,
    skip: u64,
    forever: bool,
}

impl Fault {
    /// A failure of `kind`.
    pub fn new(kind: FaultKind) -> Self {
        Self { kind, classes: Vec::new(), path: String::new(), skip: 0, forever: false }
    }

    /// Only calls of this class, or of one of those named so far.
    #[must_use]
    pub fn on(mut self, class: OpClass) -> Self {
        self.classes.push(class);
        self
    }

    /// Only calls on paths that fit `pattern`, in which `*` stands for anything: `wal/*.wal`. It
    /// may fit any part of the path.
    #[must_use]
    pub fn path(mut self, pattern: &str) -> Self {
        self.path = pattern.into();
        self
    }

    /// Lets `skip` calls that fit pass first.
    #[must_use]
    pub fn nth(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// All further calls that fit fail as well.
    #[must_use]
    pub fn forever(mut self) -> Self {
        self.forever = true;
        self
    }

    fn fits(&self, class: OpClass, path: &Path) -> bool {
        (self.classes.is_empty() || self.classes.contains(&class))
            && contains(&path.to_string_lossy(), &self.path)
    }
}

/// Whether the parts of `pattern` between its stars stand in `text`, in order.
fn contains(mut text: &str, pattern: &str) -> bool {
    pattern.split('*').all(|part| match text.find(part) {
        Some(at) => {
            text = &text[at + part.len()..];
            true
        }
        None => false,
    })
}

/// A call as it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// Its kind.
    pub class: OpClass,
    /// The path, or the new one of a rename.
    pub path: PathBuf,
    /// How it was made to fail, if it was.
    pub fault: Option<FaultKind>,
}

/// See the [module](self). Clones share plan and counters.
#[derive(Clone, Debug)]
pub struct FaultVfs {
    inner: Arc<dyn Vfs>,
    plan: Arc<Mutex<Plan>>,
}

#[derive(Debug, Default)]
struct Plan {
    faults: Vec<Fault>,
    log: Vec<Call>,
    quota: Option<u64>,
    used: u64,
}

impl FaultVfs {
    /// Passes everything on to `inner` until a fault is injected.
    pub fn new(inner: Arc<dyn Vfs>) -> Self {
        Self { inner, plan: Arc::default() }
    }

    /// Adds a fault; several wait side by side, and the first that fits decides.
    pub fn inject(&self, fault: Fault) {
        self.plan.lock().faults.push(fault);
    }

    /// Takes all faults and the quota back.
    pub fn clear(&self) {
        let mut plan = self.plan.lock();
        plan.faults.clear();
        plan.quota = None;
    }

    /// From now on files may hold `bytes` together; what was written through this disk before
    /// counts. Writes beyond it write what fits and meet a full disk. Removed files and names
    /// written over give their bytes back.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.plan.lock().quota = bytes;
    }

    /// Bytes that files hold which were written through this disk.
    pub fn used(&self) -> u64 {
        self.plan.lock().used
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.plan.lock().log.len() as u64
    }

    /// Calls of a class so far.
    pub fn count(&self, class: OpClass) -> u64 {
        self.plan.lock().log.iter().filter(|call| call.class == class).count() as u64
    }

    /// Every call so far; empties the log and sets the counters to 0.
    pub fn take_log(&self) -> Vec<Call> {
        std::mem::take(&mut self.plan.lock().log)
    }

    /// Notes a call and says how it fails.
    fn call(&self, class: OpClass, path: &Path) -> Option<FaultKind> {
        let mut plan = self.plan.lock();
        let mut found = None;
        // Every fault counts every call that fits it, also one that another fault fails.
        plan.faults.retain_mut(|fault| {
            if !fault.fits(class, path) {
                return true;
            }
            if fault.skip > 0 {
                fault.skip -= 1;
                return true;
            }
            if found.is_some() {
                return true;
            }
            found = Some(fault.kind);
            fault.forever
        });
        plan.log.push(Call { class, path: path.into(), fault: found });
        found
    }

    fn pass(&self, class: OpClass, path: &Path) -> io::Result<()> {
        self.call(class, path).map_or(Ok(()), |fault| Err(fault.error()))
    }

    fn len_of(&self, path: &Path) -> u64 {
        self.inner.open(path, OpenMode::Read).and_then(|file| file.len()).unwrap_or(0)
    }
}

impl Vfs for FaultVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let class = if mode == OpenMode::CreateNew { OpClass::Create } else { OpClass::Open };
        self.pass(class, path)?;
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(FaultFile { vfs: self.clone(), path: path.into(), inner }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(OpClass::Rename, to)?;
        let freed = self.len_of(to);
        self.inner.rename(from, to)?;
        let mut plan = self.plan.lock();
        plan.used = plan.used.saturating_sub(freed);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.pass(OpClass::HardLink, to)?;
        self.inner.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.pass(OpClass::Remove, path)?;
        let freed = self.len_of(path);
        self.inner.remove_file(path)?;
        let mut plan = self.plan.lock();
        plan.used = plan.used.saturating_sub(freed);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.pass(OpClass::List, dir)?;
        self.inner.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass(OpClass::CreateDir, dir)?;
        self.inner.create_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass(OpClass::Remove, dir)?;
        self.inner.remove_dir(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.pass(OpClass::List, path)?;
        self.inner.exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.pass(OpClass::SyncDir, dir)?;
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path, exclusive: bool) -> io::Result<Box<dyn VfsLock>> {
        self.pass(OpClass::Lock, path)?;
        self.inner.lock(path, exclusive)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        self.pass(OpClass::FreeSpace, path)?;
        let plan = self.plan.lock();
        match plan.quota {
            Some(quota) => Ok(quota.saturating_sub(plan.used)),
            None => self.inner.free_space(path),
        }
    }
}

#[derive(Debug)]
struct FaultFile {
    vfs: FaultVfs,
    path: PathBuf,
    inner: Arc<dyn VfsFile>,
}

impl FaultFile {
    /// Writes within the quota; the plan is locked meanwhile, so that lengths add up.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut plan = self.vfs.plan.lock();
        let len = self.inner.len()?;
        let room = plan.quota.map_or(u64::MAX, |quota| quota.saturating_sub(plan.used));
        let reach = len.max(offset + bytes.len() as u64).min(len.saturating_add(room));
        let fits = usize::try_from(reach.saturating_sub(offset)).unwrap_or(0).min(bytes.len());
        if fits > 0 {
            self.inner.write_all_at(offset, &bytes[..fits])?;
            plan.used += self.inner.len()?.saturating_sub(len);
        }
        if fits < bytes.len() { Err(FaultKind::Enospc.error()) } else { Ok(()) }
    }
}

impl VfsFile for FaultFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.vfs.pass(OpClass::Read, &self.path)?;
        self.inner.read_at(offset, buf)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match self.vfs.call(OpClass::Write, &self.path) {
            None => self.write(offset, bytes),
            Some(fault) => {
                if fault.is_short() {
                    self.write(offset, &bytes[..bytes.len() / 2])?;
                }
                Err(fault.error())
            }
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.vfs.pass(OpClass::Sync, &self.path)?;
        self.inner.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.vfs.pass(OpClass::Sync, &self.path)?;
        self.inner.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.vfs.pass(OpClass::SetLen, &self.path)?;
        let mut plan = self.vfs.plan.lock();
        let old = self.inner.len()?;
        let used = (plan.used + len).saturating_sub(old);
        if len > old && plan.quota.is_some_and(|quota| used > quota) {
            return Err(FaultKind::Enospc.error());
        }
        self.inner.set_len(len)?;
        plan.used = used;
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.vfs.pass(OpClass::Allocate, &self.path)?;
        self.inner.allocate(offset, len)
    }

    fn len(&self) -> io::Result<u64> {
        self.vfs.pass(OpClass::Read, &self.path)?;
        self.inner.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::StrictVfs;
    use super::*;

    fn disk() -> FaultVfs {
        FaultVfs::new(Arc::new(StrictVfs::new()))
    }

    fn create(vfs: &FaultVfs, path: &str) -> io::Result<Arc<dyn VfsFile>> {
        vfs.open(Path::new(path), OpenMode::CreateNew)
    }

    #[test]
    fn the_nth_call_that_fits_fails_once() {
        let vfs = disk();
        let (log, table) = (create(&vfs, "/1.wal").unwrap(), create(&vfs, "/1.sst").unwrap());
        vfs.inject(Fault::new(FaultKind::Eio).on(OpClass::Write).path("*.wal").nth(1));
        log.write_all_at(0, b"1").unwrap();
        table.write_all_at(0, b"1").unwrap();
        assert_eq!(log.write_all_at(1, b"2").unwrap_err().raw_os_error(), Some(5));
        log.write_all_at(1, b"3").unwrap();
        log.sync_all().unwrap();
        assert_eq!(vfs.count(OpClass::Write), 4);
        let log = vfs.take_log();
        let failed: Vec<_> = log.iter().filter(|call| call.fault.is_some()).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].path, Path::new("/1.wal"));
    }

    #[test]
    fn a_fault_for_ever_lasts_until_it_is_cleared() {
        let vfs = disk();
        let file = create(&vfs, "/file").unwrap();
        vfs.inject(Fault::new(FaultKind::Enospc).on(OpClass::Sync).forever());
        for _ in 0..3 {
            assert_eq!(file.sync_data().unwrap_err().kind(), io::ErrorKind::StorageFull);
        }
        vfs.clear();
        file.sync_data().unwrap();
    }

    #[test]
    fn a_short_write_leaves_half_of_its_bytes() {
        let vfs = disk();
        let file = create(&vfs, "/file").unwrap();
        vfs.inject(Fault::new(FaultKind::ShortEnospc).on(OpClass::Write));
        let error = file.write_all_at(0, b"12345678").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 4);
    }

    #[test]
    fn a_quota_is_reached_and_removals_give_room_again() {
        let vfs = disk();
        let file = create(&vfs, "/file").unwrap();
        file.write_all_at(0, &[1; 60]).unwrap();
        vfs.set_quota(Some(100));
        let more = create(&vfs, "/more").unwrap();
        let error = more.write_all_at(0, &[2; 60]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!((more.len().unwrap(), vfs.used()), (40, 100));
        assert_eq!(vfs.free_space(Path::new("/")).unwrap(), 0);
        file.write_all_at(0, &[3; 60]).unwrap();
        assert!(more.set_len(41).is_err());
        more.set_len(10).unwrap();
        assert_eq!(vfs.free_space(Path::new("/")).unwrap(), 30);
        vfs.remove_file(Path::new("/file")).unwrap();
        more.write_all_at(10, &[2; 90]).unwrap();
        assert!(more.write_all_at(100, &[2]).is_err());
        create(&vfs, "/third").unwrap();
        vfs.rename(Path::new("/third"), Path::new("/more")).unwrap();
        assert_eq!(vfs.used(), 0);
    }

    #[test]
    fn patterns_fit_parts_in_order() {
        assert!(contains("/db/wal/01.wal", "wal/*.wal"));
        assert!(contains("/db/CURRENT", ""));
        assert!(!contains("/db/wal/01.sst", "wal/*.wal"));
        assert!(!contains("/db/sst/01.wal", "wal/*.sst"));
    }
}
