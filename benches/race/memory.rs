//! Resident memory of this process and bytes of a folder.

use std::fs;
use std::path::Path;

/// Starts a new peak. Where the system has no such thing, the peak is that of the whole run.
pub fn forget_peak() {
    drop(fs::write("/proc/self/clear_refs", "5"));
}

/// The peak of resident memory, in MB; none where the system does not tell.
pub fn peak_mb() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Bytes that a folder's files take on the disk, in MB: holes and preallocated ends count as the
/// file system counts them.
pub fn folder_mb(folder: &Path) -> f64 {
    fn bytes(folder: &Path) -> u64 {
        use std::os::unix::fs::MetadataExt;
        let Ok(entries) = fs::read_dir(folder) else { return 0 };
        let of = |entry: fs::DirEntry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes(&entry.path()),
            Ok(metadata) => metadata.blocks() * 512,
            // It was deleted meanwhile.
            Err(_) => 0,
        };
        entries.filter_map(Result::ok).map(of).sum()
    }
    bytes(folder) as f64 / 1e6
}
