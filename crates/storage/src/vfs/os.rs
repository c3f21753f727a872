//! The operating system: the only file of the engine that touches `std::fs` and the clocks.

#![expect(clippy::disallowed_methods, reason = "this is where Vfs and Clock meet the system")]

use std::fs::{File, OpenOptions, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Clock, Env, OpenMode, Random, Vfs, VfsFile, VfsLock};

impl Env {
    /// The real disk, the real time, the real dice.
    pub fn os() -> Self {
        Self {
            vfs: Arc::new(OsVfs),
            clock: Arc::new(OsClock::new()),
            random: Arc::new(OsRandom::new()),
        }
    }
}

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsVfs;

impl Vfs for OsVfs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(OsFile(options.open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut names = std::fs::read_dir(dir)?
            .map(|entry| Ok(PathBuf::from(entry?.file_name())))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        std::fs::remove_dir(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path, exclusive: bool) -> io::Result<Box<dyn VfsLock>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let locked = if exclusive { file.try_lock() } else { file.try_lock_shared() };
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        if exclusive {
            // Whoever is refused reads who holds it; the lock itself, not this text, decides.
            file.set_len(0)?;
            file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)?;
        }
        Ok(Box::new(OsLock(file)))
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[derive(Debug)]
struct OsFile(File);

impl VfsFile for OsFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(buf, offset)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.0.sync_all()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    #[cfg(target_os = "linux")]
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        use rustix::fs::{FallocateFlags, fallocate};
        use rustix::io::Errno;
        match fallocate(&self.0, FallocateFlags::KEEP_SIZE, offset, len) {
            // Not every file system can; then bytes to come may meet a full disk.
            Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    #[cfg(not(target_os = "linux"))]
    fn allocate(&self, _offset: u64, _len: u64) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// The lock ends when the file is closed, also by a crash.
#[derive(Debug)]
struct OsLock(File);

impl VfsLock for OsLock {}

impl Drop for OsLock {
    fn drop(&mut self) {
        // Closing would not do while another thread starts a process: until that is another
        // program it has this file open too, and with it the lock.
        let _ = self.0.unlock();
    }
}

/// The clocks of the operating system.
#[derive(Clone, Debug)]
pub struct OsClock {
    start: Instant,
}

impl OsClock {
    /// A clock whose [`monotonic`](Clock::monotonic) time begins now.
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for OsClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for OsClock {
    fn now_micros(&self) -> i64 {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_micros()),
            Err(before) => i64::try_from(before.duration().as_micros()).map(|micros| -micros),
        };
        micros.unwrap_or(i64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }
}

/// Numbers seeded by the operating system, through the keys of the standard hash maps.
#[derive(Debug, Default)]
pub struct OsRandom {
    keys: RandomState,
    drawn: AtomicU64,
}

impl OsRandom {
    /// A new source.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Random for OsRandom {
    fn next_u64(&self) -> u64 {
        let mut hasher = self.keys.build_hasher();
        hasher.write_u64(self.drawn.fetch_add(1, Ordering::Relaxed));
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::super::lock_holder;
    use super::*;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_second_lock_is_refused_and_names_the_first_ones_pid() {
        let dir = folder();
        let path = dir.path().join("LOCK");
        let lock = OsVfs.lock(&path, true).unwrap();
        let refused = OsVfs.lock(&path, true).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        assert_eq!(lock_holder(&OsVfs, &path), Some(std::process::id()));
        assert_eq!(OsVfs.lock(&path, false).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        let shared = OsVfs.lock(&path, false).unwrap();
        let another = OsVfs.lock(&path, false).unwrap();
        assert_eq!(OsVfs.lock(&path, true).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        drop((shared, another));
        OsVfs.lock(&path, true).unwrap();
    }

    #[test]
    fn files_read_back_what_was_written_where() {
        let dir = folder();
        let path = dir.path().join("file");
        assert!(OsVfs.open(&path, OpenMode::Read).is_err());
        let file = OsVfs.open(&path, OpenMode::CreateNew).unwrap();
        assert!(OsVfs.open(&path, OpenMode::CreateNew).is_err());
        file.allocate(0, 1 << 20).unwrap();
        assert_eq!(file.len().unwrap(), 0, "room reserved is not length");
        file.write_all_at(3, b"there").unwrap();
        file.sync_all().unwrap();
        OsVfs.sync_dir(dir.path()).unwrap();
        let mut bytes = [9; 8];
        file.read_exact_at(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"\0\0\0there");
        assert_eq!(file.read_at(8, &mut bytes).unwrap(), 0);
        let second = dir.path().join("second");
        OsVfs.hard_link(&path, &second).unwrap();
        OsVfs.remove_file(&path).unwrap();
        OsVfs.rename(&second, &dir.path().join("third")).unwrap();
        assert_eq!(OsVfs.list(dir.path()).unwrap(), [PathBuf::from("third")]);
        assert!(OsVfs.free_space(dir.path()).unwrap() > 0);
    }

    #[test]
    fn random_numbers_differ_between_sources_and_draws() {
        let (one, two) = (OsRandom::new(), OsRandom::new());
        let drawn = [one.next_u64(), one.next_u64(), two.next_u64(), two.next_u64()];
        let distinct: std::collections::BTreeSet<_> = drawn.iter().collect();
        assert_eq!(distinct.len(), 4);
    }
}
