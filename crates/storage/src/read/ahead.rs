//! Bitmaps of what is hidden ([`shadow`](super::shadow)) that are made before a reader asks.
//!
//! A new file has none, and its first reader would work out what every newer source hides of every
//! row group of it. Whoever put the file there does that instead, where the tree is one that is
//! scanned: a flush and a compaction for their files, behind all that waits for them. And so does
//! who commits very many rows, for the whole tree, since they hide others all over it.
//!
//! Flushes and compactions look only at what is in files, and in runs of memtables that readers
//! made: to make runs of their own would leave a reader who stands a little below with none that
//! are his.

use super::layers::LayerRows;
use super::plan::Planner;
use super::shadow::{KeysRead, Shade};
use super::{KeyRange, ReadCounters};
use crate::state::{ReadView, TreeState};
use crate::{Result, SeqNo};

/// Whose bitmaps are made.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shaded<'a> {
    /// Those of some files, of what readers can know already.
    Files(&'a [u64]),
    /// All that a reader at this number wants, which is published.
    All(SeqNo),
}

/// Works out what is hidden of the tree's rows.
///
/// # Errors
/// As a scan. Nothing depends on it: what is missing readers make.
pub(crate) fn shade(tree: &TreeState, shaded: Shaded<'_>) -> Result<()> {
    // In this order: all that is published is in the view.
    let published = tree.context().snapshots.published();
    let view = tree.read_view();
    let range = KeyRange::all();
    let counters = ReadCounters::new();
    let schemas = tree.schemas();
    let planner = Planner {
        tree,
        schemas: &schemas,
        view: &view,
        range: &range,
        snapshot: match shaded {
            Shaded::Files(_) => known_through(&view, published),
            Shaded::All(seq) => seq,
        },
        filter: None,
        counters: &counters,
    };
    let Some(layers) = planner.layers()? else { return Ok(()) };
    let mut read = KeysRead::default();
    for layer in layers {
        if tree.context().is_stopping() {
            return Ok(());
        }
        let mut shade =
            Shade { schemas: &schemas, counters: &counters, read: &mut read, is_ahead: true };
        match (&layer.rows, shaded) {
            (LayerRows::Groups(groups), Shaded::Files(files))
                if !files.contains(&groups.file.id) => {}
            (LayerRows::Groups(groups), _) => {
                for index in groups.groups.clone() {
                    shade.group(&layer.shadows, groups, index, &range)?;
                }
            }
            (LayerRows::Run(run), Shaded::All(_)) => drop(shade.run(&layer.shadows, run)?),
            (LayerRows::Run(_), Shaded::Files(_)) => {}
        }
    }
    Ok(())
}

/// The greatest number up to which every entry is in a file or in a run; all up to `published` are
/// in the view.
fn known_through(view: &ReadView, published: SeqNo) -> SeqNo {
    let waiting = view.memtables.iter().filter_map(|memtable| memtable.first_without_run());
    waiting.map(|seq| seq.saturating_sub(1)).fold(published, SeqNo::min)
}
