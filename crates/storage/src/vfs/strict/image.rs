//! What a power cut leaves.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::sync::Arc;

use parking_lot::RwLock;

use super::super::{Random, SeededRandom};
use super::{CrashMode, Dir, Disk, Entry, FileNode, FileState, LastWrite, ROOT};

/// The directories of a new disk, as the machine might find them; `seed` and `mode` decide.
pub(super) fn take(disk: &Disk, seed: u64, mode: CrashMode) -> Vec<Dir> {
    let mut image = Imager {
        disk,
        mode,
        seed,
        random: SeededRandom::new(seed),
        dirs: vec![Dir::default()],
        files: HashMap::new(),
    };
    image.dir(ROOT, ROOT);
    image.dirs
}

struct Imager<'a> {
    disk: &'a Disk,
    mode: CrashMode,
    seed: u64,
    random: SeededRandom,
    dirs: Vec<Dir>,
    /// New files by the address of the old, so that hard links stay one file.
    files: HashMap<*const FileNode, Arc<FileNode>>,
}

impl Imager<'_> {
    fn dir(&mut self, old: usize, new: usize) {
        let entries = self.entries(&self.disk.dirs[old]);
        let mut kept = BTreeMap::new();
        for (name, entry) in entries {
            let entry = match entry {
                Entry::File(file) => Entry::File(self.file(&file)),
                Entry::Dir(below) => {
                    let number = self.dirs.len();
                    self.dirs.push(Dir::default());
                    self.dir(below, number);
                    Entry::Dir(number)
                }
            };
            kept.insert(name, entry);
        }
        self.dirs[new] = Dir { durable: kept.clone(), live: kept, pending: Vec::new() };
    }

    fn entries(&self, dir: &Dir) -> BTreeMap<OsString, Entry> {
        match self.mode {
            CrashMode::KeepAll | CrashMode::TearLast => dir.live.clone(),
            CrashMode::DropUnsynced => dir.durable.clone(),
            CrashMode::KeepPieces | CrashMode::Garbage => {
                let mut entries = dir.durable.clone();
                for (op, name, entry) in &dir.pending {
                    // By the operation's number, not by the next die: both halves of a rename
                    // fall the same way.
                    if SeededRandom::new(self.seed ^ op.rotate_left(32)).chance(50) {
                        match entry {
                            Some(entry) => entries.insert(name.clone(), entry.clone()),
                            None => entries.remove(name),
                        };
                    }
                }
                entries
            }
        }
    }

    fn file(&mut self, old: &Arc<FileNode>) -> Arc<FileNode> {
        if let Some(new) = self.files.get(&Arc::as_ptr(old)) {
            return Arc::clone(new);
        }
        let bytes = self.bytes(old);
        let state = FileState { live: Arc::clone(&bytes), durable: bytes, dirty: Vec::new() };
        let new = Arc::new(FileNode { state: RwLock::new(state) });
        self.files.insert(Arc::as_ptr(old), Arc::clone(&new));
        new
    }

    fn bytes(&self, file: &Arc<FileNode>) -> Arc<Vec<u8>> {
        let state = file.state.read();
        match self.mode {
            CrashMode::KeepAll => Arc::clone(&state.live),
            CrashMode::DropUnsynced => Arc::clone(&state.durable),
            CrashMode::TearLast => match &self.disk.last_write {
                Some(last) if Arc::ptr_eq(&last.file, file) => Arc::new(self.torn(&state, last)),
                _ => Arc::clone(&state.live),
            },
            CrashMode::KeepPieces | CrashMode::Garbage => {
                if state.dirty.is_empty() && state.live.len() == state.durable.len() {
                    Arc::clone(&state.durable)
                } else {
                    Arc::new(self.pieces(&state))
                }
            }
        }
    }

    /// The live bytes with only a beginning of the last write.
    fn torn(&self, state: &FileState, last: &LastWrite) -> Vec<u8> {
        let written = last.range.len();
        let mut kept = self.below(written);
        if self.random.chance(50) {
            kept -= kept % 512;
        }
        let mut bytes = state.live.to_vec();
        let lost = last.range.start + kept..last.range.end;
        for at in lost.clone() {
            bytes[at] = last.old.get(at - last.range.start).copied().unwrap_or(0);
        }
        // A file that the write made longer may have its new length already, or not.
        if last.range.end > last.old_len && self.random.chance(50) {
            bytes.truncate(lost.start.max(last.old_len));
        }
        bytes
    }

    fn pieces(&self, state: &FileState) -> Vec<u8> {
        let (durable_len, live_len) = (state.durable.len(), state.live.len());
        let len = match self.random.below(4) {
            0 => durable_len,
            1 => durable_len.min(live_len) + self.below(durable_len.abs_diff(live_len)),
            _ => live_len,
        };
        let piece = if self.random.chance(50) { 512 } else { 4096 };
        let percent = [10, 50, 90][self.below(3)];
        let mut bytes = state.durable[..durable_len.min(len)].to_vec();
        bytes.resize(len, 0);
        if self.mode == CrashMode::Garbage && len > durable_len {
            self.garbage(state, &mut bytes[durable_len..]);
        }
        for range in &state.dirty {
            let mut at = range.start;
            while at < range.end.min(len) {
                let end = (at - at % piece + piece).min(range.end).min(len);
                if self.random.chance(percent) {
                    bytes[at..end].copy_from_slice(&state.live[at..end]);
                }
                at = end;
            }
        }
        bytes
    }

    /// Random bytes, or bytes of the same file from elsewhere: whole records at a wrong place.
    fn garbage(&self, state: &FileState, bytes: &mut [u8]) {
        let stale = self.below(state.durable.len()) & !7;
        if self.random.chance(50) && stale < state.durable.len() {
            let from = &state.durable[stale..];
            for (to, from) in bytes.iter_mut().zip(from.iter().cycle()) {
                *to = *from;
            }
        } else {
            for to in bytes {
                *to = self.random.next_u64().to_le_bytes()[0];
            }
        }
    }

    fn below(&self, bound: usize) -> usize {
        let drawn = self.random.below(bound.max(1) as u64);
        usize::try_from(drawn).expect("it is below a usize")
    }
}
