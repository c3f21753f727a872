//! [`multi_get`]: many rows by their keys.
//!
//! The keys are sorted, so that one walk over each source answers all of them: keys that a newer
//! source decided, with a row or with a delete, are not asked of an older one, and the keys of a
//! row group are found while it is open once.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use arrow_select::interleave::interleave;
use silt_codec::{BatchBuilder, RowBuffer, Schemas};

use super::ReadCounters;
use super::get::Reading;
use super::source::open_file;
use crate::key::key_hash;
use crate::memtable::TreeMemtable;
use crate::sstable::RowGroup;
use crate::state::TreeState;
use crate::version::LiveFile;
use crate::{OpKind, Result, SeqNo, Snapshot};

/// The rows that [`Tree::multi_get`](crate::Tree::multi_get) found.
#[derive(Clone, Debug)]
pub struct MultiGet {
    /// The rows found, in key order: the projection's columns, named by column id.
    pub batch: RecordBatch,
    /// For each row, the position of its key among those asked for.
    pub positions: Vec<u32>,
}

/// See [`Tree::multi_get`](crate::Tree::multi_get).
pub(crate) fn multi_get(
    tree: &TreeState,
    keys: &[Vec<u8>],
    projection: &[usize],
    snapshot: &Snapshot,
    counters: &ReadCounters,
) -> Result<MultiGet> {
    counters.gets.add(keys.len() as u64);
    let count = u32::try_from(keys.len())
        .map_err(|_| crate::Error::invalid(format!("{} keys in one lookup", keys.len())))?;
    let mut sorted: Vec<u32> = (0..count).collect();
    sorted.sort_unstable_by(|a, b| keys[*a as usize].cmp(&keys[*b as usize]).then(a.cmp(b)));

    let view = snapshot.view_of(tree);
    let schemas = tree.schemas();
    if keys.len() <= FEW_KEYS && tree.context().options.paths.few_keys {
        let reading = Reading { tree, view: &view, schemas: &schemas, projection, counters };
        return one_by_one(&reading, keys, sorted, snapshot.seq());
    }
    let mut lookup = Lookup {
        tree,
        schemas: &schemas,
        projection,
        snapshot: snapshot.seq(),
        counters,
        hashes: keys.iter().map(|key| key_hash(key)).collect(),
        found: vec![None; keys.len()],
        open: distinct(keys, &sorted),
        pieces: Vec::new(),
        last_file: None,
    };
    lookup.in_memtables(keys, &view.memtables)?;
    for file in &view.version.levels[0] {
        lookup.in_run(keys, std::slice::from_ref(file))?;
    }
    for files in &view.version.levels[1..] {
        lookup.in_run(keys, files)?;
    }
    let Lookup { found, pieces, .. } = lookup;
    answer(keys, &sorted, &found, &pieces, &schemas, projection, counters)
}

/// So few keys seldom share a row group, and are looked up one after the other.
const FEW_KEYS: usize = 8;

fn one_by_one(
    reading: &Reading<'_>,
    keys: &[Vec<u8>],
    sorted: Vec<u32>,
    snapshot: SeqNo,
) -> Result<MultiGet> {
    let Reading { schemas, projection, .. } = *reading;
    let mut builder = BatchBuilder::new(schemas, projection, sorted.len());
    let mut row = RowBuffer::new();
    let mut positions = Vec::with_capacity(sorted.len());
    for position in sorted {
        if reading.get(&keys[position as usize], snapshot, &mut row)? {
            builder.push_values(&row)?;
            positions.push(position);
        }
    }
    let options = RecordBatchOptions::new().with_row_count(Some(positions.len()));
    let schema = schemas.arrow_schema(projection);
    let batch = RecordBatch::try_new_with_options(schema, builder.finish()?, &options)?;
    Ok(MultiGet { batch, positions })
}

/// The first of each set of equal keys.
fn distinct(keys: &[Vec<u8>], sorted: &[u32]) -> Vec<u32> {
    let mut distinct = sorted.to_vec();
    distinct.dedup_by_key(|position| &keys[*position as usize]);
    distinct
}

/// Where a row was put: a piece and a row of it.
type Place = (usize, usize);

struct Lookup<'a> {
    tree: &'a TreeState,
    schemas: &'a Schemas,
    projection: &'a [usize],
    snapshot: SeqNo,
    counters: &'a ReadCounters,
    /// By position among the keys, as all that follow.
    hashes: Vec<u64>,
    found: Vec<Option<Place>>,
    /// Keys that no source has decided yet, ascending.
    open: Vec<u32>,
    /// Columns of rows found, a piece a row group.
    pieces: Vec<Vec<ArrayRef>>,
    /// The file counted as read last.
    last_file: Option<u64>,
}

/// The row group that keys are being looked up in.
struct OpenGroup {
    file: u64,
    index: usize,
    group: RowGroup,
    /// Rows wanted of it, in key order.
    rows: Vec<u32>,
}

impl Lookup<'_> {
    fn in_memtables(&mut self, keys: &[Vec<u8>], memtables: &[Arc<TreeMemtable>]) -> Result<()> {
        // Made for the first row found: mostly there is none.
        let mut builder: Option<BatchBuilder> = None;
        let Self { schemas, projection, hashes, open, found, snapshot, .. } = self;
        let rows_max = open.len();
        for memtable in memtables {
            let mut failed = Ok(());
            open.retain(|&position| {
                let position = position as usize;
                if !memtable.may_contain(hashes[position]) {
                    return true;
                }
                let decided = memtable.get(&keys[position], *snapshot, |entry| {
                    if entry.kind == OpKind::Put && failed.is_ok() {
                        let builder = builder.get_or_insert_with(|| {
                            BatchBuilder::new(schemas, projection, rows_max)
                        });
                        found[position] = Some((0, builder.len()));
                        failed = builder.push(entry.key, Some(entry.row));
                    }
                });
                !decided
            });
            failed?;
        }
        if let Some(mut builder) = builder {
            self.pieces.push(builder.finish()?);
        }
        Ok(())
    }

    /// Looks the open keys up in files that share no key.
    fn in_run(&mut self, keys: &[Vec<u8>], files: &[Arc<LiveFile>]) -> Result<()> {
        let mut values = RowBuffer::new();
        let mut current: Option<OpenGroup> = None;
        for position in std::mem::take(&mut self.open) {
            let key = keys[position as usize].as_slice();
            let at = files.partition_point(|file| *file.largest < *key);
            let decided = match files.get(at) {
                Some(file) if *file.smallest <= *key && file.min_seq <= self.snapshot => {
                    self.in_file(file, key, position, &mut values, &mut current)?
                }
                _ => false,
            };
            if !decided {
                self.open.push(position);
            }
        }
        self.take_rows(current)
    }

    /// Looks one key up in a file; whether that decided it.
    fn in_file(
        &mut self,
        file: &LiveFile,
        key: &[u8],
        position: u32,
        values: &mut RowBuffer,
        current: &mut Option<OpenGroup>,
    ) -> Result<bool> {
        let reader = open_file(self.tree.context(), self.schemas, file)?;
        if !reader.may_contain(self.hashes[position as usize])? {
            self.counters.filter_misses.add(1);
            return Ok(false);
        }
        if self.last_file != Some(file.id) {
            self.counters.files_read.add(1);
            self.last_file = Some(file.id);
        }
        let Some(group) = reader.find_group(key) else { return Ok(false) };
        values.clear();
        self.schemas.key_codec().decode(key, values)?;
        for index in reader.chain(group) {
            let entry = &reader.groups()[index];
            if *entry.last_key < *key || entry.min_seq > self.snapshot {
                continue;
            }
            if !current.as_ref().is_some_and(|open| open.file == file.id && open.index == index) {
                self.take_rows(current.take())?;
                self.counters.groups_read.add(1);
                let group = reader.group_for_row(index, self.schemas.current(), self.projection)?;
                *current = Some(OpenGroup { file: file.id, index, group, rows: Vec::new() });
            }
            let Some(open) = current else { continue };
            let rows = open.group.find(values)?;
            let Some(row) = open.group.visible(rows, self.snapshot)? else { continue };
            if open.group.kind(row)? == OpKind::Put {
                self.found[position as usize] = Some((self.pieces.len(), open.rows.len()));
                open.rows.push(u32::try_from(row).expect("a row group has fewer rows"));
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// Decodes the rows found in a group: they become the next piece.
    fn take_rows(&mut self, group: Option<OpenGroup>) -> Result<()> {
        let Some(OpenGroup { group, rows, .. }) = group else { return Ok(()) };
        if rows.is_empty() {
            return Ok(());
        }
        if group.is_better_by_row(self.projection, rows.len()) {
            let mut builder = BatchBuilder::new(self.schemas, self.projection, rows.len());
            let mut values = RowBuffer::new();
            for row in rows {
                values.clear();
                group.row(self.projection, row as usize, &mut values)?;
                builder.push_values(&values)?;
            }
            self.pieces.push(builder.finish()?);
            return Ok(());
        }
        group.load(self.projection)?;
        let take = |&column: &usize| {
            let taken = group.chunk(column)?.take(&rows);
            taken.map_err(|error| group.locate(column, error))
        };
        self.pieces.push(self.projection.iter().map(take).collect::<Result<_>>()?);
        Ok(())
    }
}

/// Puts the rows found into key order.
fn answer(
    keys: &[Vec<u8>],
    sorted: &[u32],
    found: &[Option<Place>],
    pieces: &[Vec<ArrayRef>],
    schemas: &Schemas,
    projection: &[usize],
    counters: &ReadCounters,
) -> Result<MultiGet> {
    let mut positions = Vec::with_capacity(sorted.len());
    let mut places = Vec::with_capacity(sorted.len());
    let mut first_equal: Option<u32> = None;
    for &position in sorted {
        // Of equal keys the first one was looked up.
        let first = match first_equal {
            Some(first) if keys[first as usize] == keys[position as usize] => first,
            _ => position,
        };
        first_equal = Some(first);
        if let Some(place) = found[first as usize] {
            positions.push(position);
            places.push(place);
        }
    }
    let gather = |column: usize| -> Result<ArrayRef> {
        let arrays: Vec<&dyn Array> = pieces.iter().map(|piece| piece[column].as_ref()).collect();
        Ok(interleave(&arrays, &places)?)
    };
    let schema = schemas.arrow_schema(projection);
    if places.is_empty() {
        return Ok(MultiGet { batch: RecordBatch::new_empty(schema), positions });
    }
    let columns = (0..projection.len()).map(gather).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(places.len()));
    let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
    counters.rows.add(positions.len() as u64);
    Ok(MultiGet { batch, positions })
}
