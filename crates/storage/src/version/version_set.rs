//! [`VersionSet`]: the current version of every tree, and the manifest behind it.
//!
//! Every change goes through [`VersionSet::apply`]: worked out, synced in the manifest, then shown
//! to readers, memtables and files in one step. When the manifest has grown well beyond what it
//! describes, a new one begins with a snapshot.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::files::FileSet;
use super::manifest::{Current, ManifestWriter, manifest_number, manifest_path, read_manifest};
use super::{SweepQueue, VersionEdit};
use crate::state::{Context, TreeState};
use crate::vfs::Env;
use crate::wal::Promise;
use crate::{Error, ErrorKind, Result, TreeId};

/// A manifest of fewer bytes is not worth beginning anew.
const MANIFEST_BYTES_MIN: u64 = 1 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct VersionSet {
    context: Arc<Context>,
    next_file: AtomicU64,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    manifest: ManifestWriter,
    /// The manifest's length when its snapshot was written.
    snapshot_len: u64,
    files: FileSet,
    states: HashMap<TreeId, Arc<TreeState>>,
}

/// Reads what the manifest named by `current` says.
pub(crate) fn read_files(
    env: &Env,
    dir: &Path,
    current: Current,
    sweep: &Arc<SweepQueue>,
) -> Result<FileSet> {
    let mut files = FileSet::default();
    read_manifest(env, dir, current, |edit| {
        let prepared = files.prepare(&edit, sweep)?;
        files.install(&edit, &prepared)
    })?;
    Ok(files)
}

impl VersionSet {
    /// Begins manifest `number` with `files`, durably, and makes it the current one.
    pub(crate) fn create(context: Arc<Context>, files: FileSet, number: u64) -> Result<Self> {
        let manifest = write_snapshot(&context, &files, number)?;
        let next_file = AtomicU64::new(files.next_file.max(1));
        let inner = Inner { snapshot_len: manifest.len(), manifest, files, states: HashMap::new() };
        Ok(Self { context, next_file, inner: Mutex::new(inner) })
    }

    /// From now on edits of the tree are shown in `state`.
    pub(crate) fn attach(&self, state: Arc<TreeState>) {
        self.inner.lock().states.insert(state.id(), state);
    }

    /// Syncs `edit` in the manifest, then shows it to readers. Files removed go when the last
    /// reader of theirs is gone.
    ///
    /// Before: the files added are synced, their directory too, and the log is synced past every
    /// number in them.
    ///
    /// # Errors
    /// `DiskFull`, `NotFound` (the tree was dropped) and `Internal` (the edit does not fit the
    /// version): nothing has changed. Anything else poisons the database: whether the edit is in
    /// the manifest is not known, so files that it adds must not be removed.
    pub(crate) fn apply(&self, edit: VersionEdit) -> Result<()> {
        self.apply_with(|_| Ok(edit))
    }

    /// [`apply`](Self::apply) of an edit that is made while no other can come between.
    pub(crate) fn apply_with(
        &self,
        make: impl FnOnce(&FileSet) -> Result<VersionEdit>,
    ) -> Result<()> {
        let mut inner = self.inner.lock();
        self.context.health.check()?;
        let mut edit = make(&inner.files)?;
        edit.promise = Some(self.context.promise());
        edit.next_file = Some(self.next_file.load(Ordering::Relaxed));
        if let Some(tree) = gone_tree(&inner.files, &edit) {
            return Err(Error::new(ErrorKind::NotFound, format!("there is no tree {tree}")));
        }
        let prepared = inner.files.prepare(&edit, &self.context.sweep).map_err(Error::internal)?;
        let len = inner.manifest.len();
        let written = inner.manifest.append(&edit).and_then(|()| inner.manifest.sync());
        if let Err(error) = written {
            return Err(self.withdraw(&mut inner.manifest, len, error));
        }
        inner.files.install(&edit, &prepared).map_err(Error::internal)?;
        for (tree, version) in &prepared.versions {
            if let Some(state) = inner.states.get(tree) {
                let flushed = inner.files.trees.get(tree).map_or(0, |files| files.flushed);
                state.change_view(|view| {
                    view.version = Arc::clone(version);
                    view.memtables.retain(|memtable| memtable.frozen_at() > flushed);
                });
            }
        }
        for file in &prepared.retired {
            file.retire();
        }
        for tree in &edit.dropped_trees {
            inner.states.remove(tree);
        }
        let begun = self.begin_anew_if_long(&mut inner);
        drop(inner);
        drop(prepared);
        self.context.work.notify();
        begun
    }

    /// An append that met a full disk is taken back; after any other failure nobody knows whether
    /// the edit is there.
    fn withdraw(&self, manifest: &mut ManifestWriter, len: u64, error: Error) -> Error {
        if error.kind() == ErrorKind::DiskFull && manifest.cut(len).is_ok() {
            return error;
        }
        self.context.health.poison(&error);
        error
    }

    fn begin_anew_if_long(&self, inner: &mut Inner) -> Result<()> {
        let len = inner.manifest.len();
        if len < MANIFEST_BYTES_MIN.max(inner.snapshot_len.saturating_mul(4)) {
            return Ok(());
        }
        let old = inner.manifest.number();
        inner.files.next_file = self.next_file.load(Ordering::Relaxed);
        match write_snapshot(&self.context, &inner.files, old + 1) {
            Ok(manifest) => {
                inner.snapshot_len = manifest.len();
                inner.manifest = manifest;
                let path = manifest_path(&self.context.dir, old);
                let removed = self.context.env.vfs.remove_file(&path);
                removed.map_err(|error| Error::io(&path, "remove", error))
            }
            // The old manifest goes on unless CURRENT may have been replaced.
            Err(error) if error.kind() == ErrorKind::DiskFull => {
                let path = manifest_path(&self.context.dir, old + 1);
                match (Current::read(&self.context.env, &self.context.dir), error) {
                    (Ok(Some(current)), _) if current.manifest == old => {
                        let _ = self.context.env.vfs.remove_file(&path);
                        Ok(())
                    }
                    (_, error) => {
                        self.context.health.poison(&error);
                        Err(error)
                    }
                }
            }
            Err(error) => {
                self.context.health.poison(&error);
                Err(error)
            }
        }
    }

    /// The log is closed at `seal`: the last edit of this manifest.
    pub(crate) fn seal(&self, seal: Promise) -> Result<()> {
        let mut inner = self.inner.lock();
        self.context.health.check()?;
        let edit = VersionEdit {
            seal: Some(seal),
            promise: Some(seal),
            next_file: Some(self.next_file.load(Ordering::Relaxed)),
            ..VersionEdit::default()
        };
        inner.manifest.append(&edit)?;
        inner.manifest.sync()?;
        inner.manifest.current().write(&self.context.env, &self.context.dir)
    }

    /// A number for a new file, above every one in the manifest and on disk.
    pub(crate) fn next_file_id(&self) -> u64 {
        self.next_file.fetch_add(1, Ordering::Relaxed)
    }

    /// Looks at what the manifest says now.
    pub(crate) fn read<T>(&self, look: impl FnOnce(&FileSet) -> T) -> T {
        look(&self.inner.lock().files)
    }

    /// The number of the manifest in use.
    pub(crate) fn manifest_number(&self) -> u64 {
        self.inner.lock().manifest.number()
    }
}

/// A tree that `edit` is about and that was dropped.
fn gone_tree(files: &FileSet, edit: &VersionEdit) -> Option<TreeId> {
    let flushed = edit.flushed.iter().chain(&edit.floors).map(|(tree, _)| *tree);
    let moved = edit.removed.iter().map(|file| file.tree);
    let moved = moved.chain(edit.added.iter().map(|file| file.tree));
    let mut named = flushed.chain(moved).chain(edit.dropped_trees.iter().copied());
    named.find(|tree| !files.trees.contains_key(tree))
}

/// A manifest that holds `files` alone, durable and current.
fn write_snapshot(context: &Context, files: &FileSet, number: u64) -> Result<ManifestWriter> {
    let (env, dir) = (&context.env, &context.dir);
    let mut manifest = ManifestWriter::create(env, dir, context.uuid, number)?;
    for edit in files.snapshot() {
        manifest.append(&edit)?;
    }
    manifest.sync()?;
    env.vfs.sync_dir(dir).map_err(|error| Error::io(dir, "sync", error))?;
    manifest.current().write(env, dir)?;
    Ok(manifest)
}

/// The numbers of all manifests in `dir`.
pub(crate) fn manifests(env: &Env, dir: &Path) -> io::Result<Vec<u64>> {
    Ok(env.vfs.list(dir)?.iter().filter_map(|name| manifest_number(name)).collect())
}
