//! [`FileSet`]: what the manifest says, in memory: every tree's schemas and files, and the log's
//! first segment.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use silt_codec::TreeSchema;

use super::{LEVELS, LiveFile, SweepQueue, TreeVersion, VersionEdit};
use crate::wal::Promise;
use crate::{SeqNo, TreeId};

/// One tree as the manifest knows it.
#[derive(Clone, Debug, Default)]
pub(crate) struct TreeFiles {
    /// All versions of its schema, ascending.
    pub(crate) schemas: Vec<Arc<TreeSchema>>,
    /// Its files.
    pub(crate) version: Arc<TreeVersion>,
    /// Every entry at or below this is in the files.
    pub(crate) flushed: SeqNo,
    /// No read below this any more.
    pub(crate) floor: SeqNo,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(crate) struct FileSet {
    pub(crate) trees: BTreeMap<TreeId, TreeFiles>,
    /// The first log segment that replay needs.
    pub(crate) first_segment: u64,
    /// The number of the next tree.
    pub(crate) next_tree: u32,
    /// Above the id of every file so far.
    pub(crate) next_file: u64,
    /// Bulk commits whose files are placed, with the segment of their record.
    pub(crate) applied_bulk: BTreeMap<SeqNo, u64>,
    /// The greatest promise of any edit.
    pub(crate) promise: Promise,
    /// Where the log was closed, if nothing followed.
    pub(crate) seal: Option<Promise>,
}

/// An edit worked out but not yet shown to anybody.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) versions: Vec<(TreeId, Arc<TreeVersion>)>,
    /// Files that are in no version any more.
    pub(super) retired: Vec<Arc<LiveFile>>,
}

impl FileSet {
    /// Works out what `edit` makes of the trees it touches, or says why it cannot be.
    pub(super) fn prepare(
        &self,
        edit: &VersionEdit,
        sweep: &Arc<SweepQueue>,
    ) -> Result<Prepared, String> {
        let mut touched: BTreeMap<TreeId, TreeVersion> = BTreeMap::new();
        let mut taken: HashMap<u64, Arc<LiveFile>> = HashMap::new();
        for file in &edit.removed {
            let level = &mut self.touch(&mut touched, file.tree, edit)?.levels[file.level];
            let index = level.iter().position(|live| live.id == file.id).ok_or_else(|| {
                format!("file {} is not in level {} of tree {}", file.id, file.level, file.tree)
            })?;
            taken.insert(file.id, level.remove(index));
        }
        for file in &edit.added {
            let level = &mut self.touch(&mut touched, file.tree, edit)?.levels[file.level];
            // A file that only changes its level stays open.
            let live = match taken.remove(&file.meta.id) {
                Some(live) if *live.meta() == file.meta => live,
                _ => Arc::new(LiveFile::new(file.meta.clone(), Arc::clone(sweep))),
            };
            level.push(live);
        }
        for (tree, version) in &mut touched {
            for level in 0..LEVELS {
                order(*tree, level, &mut version.levels[level])?;
            }
        }
        let mut retired: Vec<_> = taken.into_values().collect();
        for tree in &edit.dropped_trees {
            let files = self.trees.get(tree).ok_or_else(|| format!("there is no tree {tree}"))?;
            retired.extend(files.version.files().map(|(_, file)| Arc::clone(file)));
        }
        let versions = touched.into_iter().map(|(tree, version)| (tree, Arc::new(version)));
        Ok(Prepared { versions: versions.collect(), retired })
    }

    fn touch<'a>(
        &self,
        touched: &'a mut BTreeMap<TreeId, TreeVersion>,
        tree: TreeId,
        edit: &VersionEdit,
    ) -> Result<&'a mut TreeVersion, String> {
        match touched.entry(tree) {
            Entry::Occupied(touched) => Ok(touched.into_mut()),
            Entry::Vacant(place) => {
                let is_new = edit.schemas.iter().any(|(registered, _)| *registered == tree);
                match self.trees.get(&tree) {
                    Some(files) => Ok(place.insert(TreeVersion::clone(&files.version))),
                    None if is_new => Ok(place.insert(TreeVersion::default())),
                    None => Err(format!("there is no tree {tree}")),
                }
            }
        }
    }

    /// Makes `edit` part of the set.
    pub(super) fn install(
        &mut self,
        edit: &VersionEdit,
        prepared: &Prepared,
    ) -> Result<(), String> {
        for (tree, schema) in &edit.schemas {
            let files = self.trees.entry(*tree).or_default();
            let last = files.schemas.last().map_or(0, |last| last.version);
            if schema.version <= last {
                let version = schema.version;
                return Err(format!("schema version {version} of tree {tree} after {last}"));
            }
            files.schemas.push(Arc::clone(schema));
            self.next_tree = self.next_tree.max(tree.0 + 1);
        }
        for (tree, version) in &prepared.versions {
            if let Some(files) = self.trees.get_mut(tree) {
                files.version = Arc::clone(version);
            }
        }
        let numbers = [(&edit.flushed, true), (&edit.floors, false)];
        for (tree, seq, is_flushed) in numbers
            .into_iter()
            .flat_map(|(numbers, flushed)| numbers.iter().map(move |(t, s)| (*t, *s, flushed)))
        {
            let files =
                self.trees.get_mut(&tree).ok_or_else(|| format!("there is no tree {tree}"))?;
            let number = if is_flushed { &mut files.flushed } else { &mut files.floor };
            *number = seq.max(*number);
        }
        for tree in &edit.dropped_trees {
            self.trees.remove(tree);
        }
        self.applied_bulk.extend(edit.applied_bulk.iter().copied());
        if let Some(first) = edit.first_segment {
            self.first_segment = first;
            self.applied_bulk.retain(|_, segment| *segment >= first);
        }
        if let Some(promise) =
            edit.promise.filter(|promise| promise.position > self.promise.position)
        {
            self.promise = promise;
        }
        self.next_file = self.next_file.max(edit.next_file.unwrap_or(0));
        self.next_tree = self.next_tree.max(edit.next_tree.unwrap_or(0));
        self.seal = edit.seal;
        Ok(())
    }

    /// Edits that make this set out of nothing.
    pub(super) fn snapshot(&self) -> Vec<VersionEdit> {
        let mut edits = vec![VersionEdit {
            promise: Some(self.promise),
            next_file: Some(self.next_file),
            next_tree: Some(self.next_tree),
            first_segment: Some(self.first_segment),
            applied_bulk: self.applied_bulk.iter().map(|(seq, segment)| (*seq, *segment)).collect(),
            ..VersionEdit::default()
        }];
        for (tree, files) in &self.trees {
            edits.push(VersionEdit {
                schemas: files.schemas.iter().map(|schema| (*tree, Arc::clone(schema))).collect(),
                flushed: vec![(*tree, files.flushed)],
                floors: vec![(*tree, files.floor)],
                ..VersionEdit::default()
            });
            let added = files.version.files().map(|(level, file)| super::AddedFile {
                tree: *tree,
                level,
                meta: file.meta().clone(),
            });
            let added: Vec<_> = added.collect();
            edits.extend(
                added
                    .chunks(SNAPSHOT_FILES)
                    .map(|files| VersionEdit { added: files.to_vec(), ..VersionEdit::default() }),
            );
        }
        edits
    }
}

/// Files in one record of a snapshot.
const SNAPSHOT_FILES: usize = 256;

/// Sorts a level and checks that it is one.
fn order(tree: TreeId, level: usize, files: &mut [Arc<LiveFile>]) -> Result<(), String> {
    if level == 0 {
        // Newest first. Files of one number are of one bulk commit and do not overlap.
        files.sort_by(|a, b| b.max_seq.cmp(&a.max_seq).then_with(|| a.smallest.cmp(&b.smallest)));
        return Ok(());
    }
    files.sort_by(|a, b| a.smallest.cmp(&b.smallest));
    let overlap = files.windows(2).find(|pair| pair[0].largest >= pair[1].smallest);
    match overlap {
        None => Ok(()),
        Some(pair) => Err(format!(
            "files {} and {} of level {level} of tree {tree} overlap",
            pair[0].id, pair[1].id
        )),
    }
}
