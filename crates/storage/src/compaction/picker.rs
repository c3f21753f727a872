//! [`pick`]: which files a compaction takes, and what becomes of each.
//!
//! Level 0 is due by the number of its runs, the levels below by their bytes against a target. The
//! targets follow the last level's size, each a tenth of the one below, and level 0 goes straight
//! into the *base level*, the highest one whose target is worth having: so nearly all bytes lie in
//! the last level, whatever the tree's size (RocksDB's dynamic level sizes). Within a level the
//! file that overlaps the fewest bytes below, for its own, goes first.
//!
//! Files that share no key with another input are moved by the edit alone; see [`Compaction`].

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::read::section::{Span, cut};
use crate::version::{LEVELS, LiveFile, TreeVersion};
use crate::{Options, SeqNo};

/// The last level: no older version of a key lies below it.
const LAST_LEVEL: usize = LEVELS - 1;

/// More level-0 files than these, oldest first, wait for the next compaction.
const LEVEL_0_INPUTS_MAX: usize = 32;

/// What a compaction takes and where it puts it.
#[derive(Clone, Debug)]
pub(crate) struct Compaction {
    /// Where everything goes.
    pub(crate) output_level: usize,
    /// Files that are merged, with their levels: level 0 newest first, below by key.
    pub(crate) inputs: Vec<(usize, Arc<LiveFile>)>,
    /// Files that change their level and nothing else.
    pub(crate) moves: Vec<(usize, Arc<LiveFile>)>,
    /// Keys at which an output ends, ascending: the first keys of files that lie in the output
    /// level between the inputs.
    pub(crate) barriers: Vec<Box<[u8]>>,
    /// Keys at which an output had better end, ascending: the first keys of files one level below.
    pub(crate) borders: Vec<Box<[u8]>>,
    /// No older version of any input's keys lies below the output level: deletes may go.
    pub(crate) is_bottom: bool,
    /// The output level is the last one: numbers may become 0 (RULES.md 19).
    pub(crate) is_last_level: bool,
}

impl Compaction {
    /// All files taken: no other compaction may take them.
    pub(crate) fn files(&self) -> impl Iterator<Item = &(usize, Arc<LiveFile>)> {
        self.inputs.iter().chain(&self.moves)
    }

    /// The keys from the first to the last of all files taken.
    pub(crate) fn range(&self) -> Option<(&[u8], &[u8])> {
        let smallest = self.files().map(|(_, file)| &*file.smallest).min()?;
        let largest = self.files().map(|(_, file)| &*file.largest).max()?;
        Some((smallest, largest))
    }
}

/// The compaction that is due most, leaving alone the files in `busy` (by number); none if every
/// level is within its target.
pub(crate) fn pick(
    version: &TreeVersion,
    options: &Options,
    floor: SeqNo,
    busy: &BTreeSet<u64>,
) -> Option<Compaction> {
    let targets = Targets::of(version, options);
    let mut due: Vec<(f64, usize)> = (0..LAST_LEVEL)
        .map(|level| (targets.score(version, options, level), level))
        .filter(|(score, _)| *score >= 1.0)
        .collect();
    due.sort_by(|a, b| b.0.total_cmp(&a.0));
    let of_level = |(_, level): (f64, usize)| match level {
        0 => pick_level_0(version, targets.base, busy),
        _ => pick_file(version, &targets, level, busy),
    };
    due.into_iter()
        .find_map(of_level)
        .or_else(|| {
            let is_on = options.paths.compact_deletes;
            is_on.then(|| pick_deletes(version, targets.base, floor, busy)).flatten()
        })
        .or_else(|| pick_garbage(version, floor, busy))
}

/// Everything into the last level; none if it is there already and holds nothing to drop.
pub(crate) fn pick_all(version: &TreeVersion) -> Option<Compaction> {
    let chosen = version.files().map(|(level, file)| (level, Arc::clone(file))).collect();
    let compaction = assemble(version, chosen, LAST_LEVEL);
    let is_due = compaction.files().next().is_some();
    is_due.then_some(compaction)
}

/// Bytes that stand above the targets: what compaction is behind by.
pub(crate) fn debt_bytes(version: &TreeVersion, options: &Options) -> u64 {
    let targets = Targets::of(version, options);
    let runs = version.levels[0].len();
    let level_0 = if runs > options.level0_runs { version.level_bytes(0) } else { 0 };
    let above = |level: usize| version.level_bytes(level).saturating_sub(targets.bytes[level]);
    level_0 + (1..LAST_LEVEL).map(above).sum::<u64>()
}

/// Bytes that each level may hold.
#[derive(Debug, PartialEq, Eq)]
struct Targets {
    /// Where level 0 goes: at or above the highest level with a file.
    base: usize,
    /// Levels above this one hold less than is worth a level: they are emptied.
    needed: usize,
    bytes: [u64; LEVELS],
}

impl Targets {
    fn of(version: &TreeVersion, options: &Options) -> Self {
        let base_max = base_bytes(options);
        let fanout = options.fanout.max(2);
        let largest = (1..LEVELS).map(|level| version.level_bytes(level)).max().unwrap_or(0);
        let first = (1..LEVELS).find(|level| !version.levels[*level].is_empty());

        // Downward from the last level, until a level's share is small enough to be the base.
        let mut needed = LAST_LEVEL;
        let mut share = largest;
        while needed > 1 && share > base_max {
            needed -= 1;
            share /= fanout;
        }
        let mut bytes = [u64::MAX; LEVELS];
        let mut target = share.min(base_max);
        for bytes in &mut bytes[needed..] {
            *bytes = target.max(base_max);
            target = target.saturating_mul(fanout);
        }
        let base = first.map_or(needed, |first| first.min(needed));
        Self { base, needed, bytes }
    }

    /// How due a level is: from 1.0 on it is.
    fn score(&self, version: &TreeVersion, options: &Options, level: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a score is a rough figure")]
        let ratio = |is: u64, may_be: u64| is as f64 / may_be.max(1) as f64;
        if level == 0 {
            return ratio(version.levels[0].len() as u64, options.level0_runs.max(1) as u64);
        }
        if level < self.needed {
            // After everything that is really due.
            return if version.levels[level].is_empty() { 0.0 } else { 1.0 };
        }
        ratio(version.level_bytes(level), self.bytes[level])
    }
}

/// The size up to which the base level grows: what a full level 0 brings at once.
fn base_bytes(options: &Options) -> u64 {
    (options.memtable_bytes as u64 * options.level0_runs.max(1) as u64).max(options.file_bytes)
}

/// All of level 0, the oldest first if it holds very many files, into the base level.
fn pick_level_0(version: &TreeVersion, base: usize, busy: &BTreeSet<u64>) -> Option<Compaction> {
    let files = &version.levels[0];
    if files.iter().any(|file| busy.contains(&file.id)) {
        return None;
    }
    let oldest = files.len().saturating_sub(LEVEL_0_INPUTS_MAX);
    let chosen = files[oldest..].iter().map(|file| (0, Arc::clone(file))).collect();
    without_busy(assemble(version, chosen, base), busy)
}

/// The file of `level` that is cheapest to move down, and all others that nothing overlaps as long
/// as the level is above its target.
fn pick_file(
    version: &TreeVersion,
    targets: &Targets,
    level: usize,
    busy: &BTreeSet<u64>,
) -> Option<Compaction> {
    let overlap = |file: &LiveFile| -> u64 {
        let below = version.overlapping(level + 1, &file.smallest, &file.largest);
        below.iter().map(|file| file.size).sum()
    };
    // Bytes rewritten for each byte moved down, in thousandths; deletes count as gain.
    let cost = |file: &Arc<LiveFile>| {
        let gain = file.size + file.size * file.deletes / file.rows.max(1);
        overlap(file).saturating_mul(1_000) / gain.max(1)
    };
    let mut files: Vec<(u64, &Arc<LiveFile>)> =
        version.levels[level].iter().map(|file| (cost(file), file)).collect();
    files.sort_by_key(|(cost, file)| (*cost, file.id));
    let target = if level < targets.needed { 0 } else { targets.bytes[level] };
    let mut surplus = version.level_bytes(level).saturating_sub(target);
    let mut chosen = Vec::new();
    for (cost, file) in files {
        if busy.contains(&file.id) {
            continue;
        }
        if cost > 0 {
            let merged = || assemble(version, vec![(level, Arc::clone(file))], level + 1);
            if !chosen.is_empty() {
                break;
            }
            if let Some(compaction) = without_busy(merged(), busy) {
                return Some(compaction);
            }
            continue;
        }
        chosen.push((level, Arc::clone(file)));
        surplus = surplus.saturating_sub(file.size);
        if surplus == 0 {
            break;
        }
    }
    (!chosen.is_empty()).then(|| assemble(version, chosen, level + 1))
}

/// A file of deletes mostly, one for every eight rows below or more, that no snapshot tells apart
/// from what it deletes: going down, they take rows with them that every scan would look at.
fn pick_deletes(
    version: &TreeVersion,
    base: usize,
    floor: SeqNo,
    busy: &BTreeSet<u64>,
) -> Option<Compaction> {
    let rows_below = |level: usize, file: &LiveFile| -> u64 {
        let below = (level + 1..LEVELS)
            .flat_map(|level| version.overlapping(level, &file.smallest, &file.largest));
        below.map(|file| file.rows).sum()
    };
    let is_dense = |level: usize, file: &LiveFile| {
        file.max_seq <= floor
            && file.deletes * 2 > file.rows
            && file.deletes * 8 >= rows_below(level, file)
    };
    (0..LAST_LEVEL).find_map(|level| {
        let mut dense = version.levels[level].iter().filter(|file| is_dense(level, file));
        match level {
            0 => dense.next().and_then(|_| pick_level_0(version, base, busy)),
            _ => dense.find_map(|file| {
                let chosen = vec![(level, Arc::clone(file))];
                without_busy(assemble(version, chosen, level + 1), busy)
            }),
        }
    })
}

/// A file of the last level of which a quarter are deletes that no snapshot needs any more.
fn pick_garbage(version: &TreeVersion, floor: SeqNo, busy: &BTreeSet<u64>) -> Option<Compaction> {
    let is_garbage = |file: &&Arc<LiveFile>| {
        file.max_seq <= floor && file.deletes * 4 > file.rows && !busy.contains(&file.id)
    };
    let file = version.levels[LAST_LEVEL].iter().find(is_garbage)?;
    Some(assemble(version, vec![(LAST_LEVEL, Arc::clone(file))], LAST_LEVEL))
}

fn without_busy(compaction: Compaction, busy: &BTreeSet<u64>) -> Option<Compaction> {
    let is_busy = compaction.files().any(|(_, file)| busy.contains(&file.id));
    (!is_busy).then_some(compaction)
}

/// Adds what `chosen` overlaps in the output level, and tells apart what is merged, moved and left.
fn assemble(
    version: &TreeVersion,
    chosen: Vec<(usize, Arc<LiveFile>)>,
    output_level: usize,
) -> Compaction {
    let mut files = chosen;
    let known: BTreeSet<u64> = files.iter().map(|(_, file)| file.id).collect();
    for file in &version.levels[output_level] {
        let meets = |(_, other): &(usize, Arc<LiveFile>)| {
            file.smallest <= other.largest && other.smallest <= file.largest
        };
        if !known.contains(&file.id) && files.iter().any(meets) {
            files.push((output_level, Arc::clone(file)));
        }
    }
    let is_last_level = output_level == LAST_LEVEL;
    let smallest = files.iter().map(|(_, file)| &*file.smallest).min();
    let largest = files.iter().map(|(_, file)| &*file.largest).max();
    let is_bottom = match (smallest, largest) {
        (Some(smallest), Some(largest)) => {
            (output_level + 1..LEVELS).all(|level| !version.overlaps(level, smallest, largest))
        }
        _ => true,
    };

    let spans = files.iter().map(|(level, file)| Span {
        first: &file.smallest,
        last: &file.largest,
        source: *level,
        what: (*level, Arc::clone(file)),
    });
    let mut merged = BTreeSet::new();
    let mut moves = Vec::new();
    for section in cut(spans.collect()) {
        match section.spans.as_slice() {
            [span] if !(is_last_level && has_something_to_drop(&span.what.1)) => {
                if span.what.0 != output_level {
                    moves.push(span.what.clone());
                }
            }
            spans => merged.extend(spans.iter().map(|span| span.what.1.id)),
        }
    }
    let mut barriers: Vec<Box<[u8]>> = version.levels[output_level]
        .iter()
        .filter(|file| !merged.contains(&file.id))
        .chain(moves.iter().map(|(_, file)| file))
        .map(|file| file.smallest.clone())
        .collect();
    barriers.sort();
    let borders = match version.levels.get(output_level + 1) {
        Some(files) => files.iter().map(|file| file.smallest.clone()).collect(),
        None => Vec::new(),
    };
    // In the version's order: level 0 newest first, below by key.
    let inputs = version
        .files()
        .filter(|(_, file)| merged.contains(&file.id))
        .map(|(level, file)| (level, Arc::clone(file)))
        .collect();
    Compaction { output_level, inputs, moves, barriers, borders, is_bottom, is_last_level }
}

/// Whether a rewrite into the last level may find entries that nobody sees.
fn has_something_to_drop(file: &LiveFile) -> bool {
    file.deletes > 0 || !file.one_version
}

#[cfg(test)]
#[path = "picker_tests.rs"]
mod tests;
