//! A disk whose sync always takes the same: what work beside a sync is worth, where the real one
//! changes from one second to the next.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use silt_storage::vfs::{OpenMode, OsVfs, Vfs, VfsFile, VfsLock};

/// The operating system's files; a sync waits and does nothing.
#[derive(Debug)]
pub struct SteadyDisk(pub Duration);

#[derive(Debug)]
struct SteadyFile(Arc<dyn VfsFile>, Duration);

impl Vfs for SteadyDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        Ok(Arc::new(SteadyFile(OsVfs.open(path, mode)?, self.0)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsVfs.rename(from, to)
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsVfs.hard_link(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        OsVfs.remove_file(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        OsVfs.list(dir)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        OsVfs.create_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        OsVfs.remove_dir(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        OsVfs.exists(path)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path, exclusive: bool) -> io::Result<Box<dyn VfsLock>> {
        OsVfs.lock(path, exclusive)
    }

    fn free_space(&self, path: &Path) -> io::Result<u64> {
        OsVfs.free_space(path)
    }
}

impl VfsFile for SteadyFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(offset, bytes)
    }

    fn sync_data(&self) -> io::Result<()> {
        std::thread::sleep(self.1);
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.allocate(offset, len)
    }

    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
}
