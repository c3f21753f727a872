//! [`Scan`]: the rows of a key range, batch by batch.
//!
//! The plan cuts the range into stretches. Raw ones are a straight decode, row group by row
//! group: no key is looked at, predicates run on encoded chunks first, and a scan without columns
//! decodes nothing. Masked ones do the same under a bitmap of the rows that the snapshot sees. All
//! others are merged.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_schema::SchemaRef;
use arrow_select::take::take;

use super::merge::{EntrySource, Merge, NewestPut};
use super::plan::{Planner, Reading, Stretch};
use super::source::{FileSource, Groups, MemtableSource, SourceContext};
use super::visible::Visibility;
use super::{Predicate, ScanOrder, ScanRequest};
use crate::sstable::RowGroup;
use crate::state::{ReadView, TreeState};
use crate::{Error, Result, Snapshot};

/// A running scan: an iterator of batches that ends after the first error. It may move between
/// threads.
pub struct Scan {
    schema: SchemaRef,
    context: SourceContext,
    view: Arc<ReadView>,
    filter: Option<Predicate>,
    /// Holds the floor of compactions below what this scan sees.
    snapshot: Snapshot,
    /// In the scan's direction.
    stretches: VecDeque<Stretch>,
    running: Running,
    /// Rows still wanted.
    left: usize,
}

/// The stretch being read.
enum Running {
    Nothing,
    /// Row groups of one source, in the scan's direction, and those opened already.
    Groups {
        reading: Reading,
        groups: VecDeque<Groups>,
        open: VecDeque<OpenGroup>,
    },
    Merge(Box<Merge<Box<dyn EntrySource + Send>, NewestPut>>),
}

/// A row group with rows left to give out, in the scan's direction.
struct OpenGroup {
    /// None if there are only rows to be counted.
    group: Option<RowGroup>,
    rows: Rows,
}

enum Rows {
    All(Range<usize>),
    /// Ascending, given out from the front or, in reverse, from the back.
    Some(Vec<u32>, Range<usize>),
}

/// See [`Tree::scan`](crate::Tree::scan).
pub(crate) fn scan(tree: &TreeState, request: &ScanRequest, snapshot: &Snapshot) -> Result<Scan> {
    if request.batch_rows == 0 {
        return Err(Error::invalid("a scan's batches have at least one row, not 0"));
    }
    let view = tree.read_view();
    let schemas = tree.schemas();
    let planner = Planner {
        tree,
        schemas: &schemas,
        view: &view,
        range: &request.range,
        snapshot: snapshot.seq(),
        filter: request.filter.as_ref(),
        counters: &request.counters,
    };
    let mut stretches = VecDeque::from(planner.plan()?);
    for stretch in &stretches {
        let counter = match stretch.reading {
            Reading::Raw | Reading::Masked => &request.counters.sections_raw,
            Reading::Merged => &request.counters.sections_merged,
        };
        counter.add(1);
    }
    let reverse = request.order == ScanOrder::Reverse;
    if reverse {
        stretches.make_contiguous().reverse();
    }
    let left = match (&request.filter, request.limit) {
        (None, Some(limit)) => limit,
        _ => usize::MAX,
    };
    let schema = schemas.current().arrow_schema(&request.projection);
    let context = SourceContext {
        schemas,
        projection: request.projection.as_slice().into(),
        range: Arc::new(request.range.clone()),
        snapshot: snapshot.seq(),
        reverse,
        rows_max: request.batch_rows,
        counters: Arc::clone(&request.counters),
    };
    Ok(Scan {
        schema,
        context,
        view,
        filter: request.filter.clone(),
        snapshot: snapshot.clone(),
        stretches,
        running: Running::Nothing,
        left,
    })
}

impl Scan {
    /// The schema of its batches: columns are named by their ids.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        while self.left > 0 {
            let rows_max = self.context.rows_max.min(self.left);
            let found = match &mut self.running {
                Running::Nothing => None,
                Running::Groups { reading, groups, open } => next_of_groups(
                    &self.context,
                    *reading,
                    self.filter.as_ref(),
                    groups,
                    open,
                    rows_max,
                )?,
                Running::Merge(merge) => {
                    merge.next_merged()?.map(|merged| (merged.rows, merged.entries.columns))
                }
            };
            let Some((rows, columns)) = found else {
                match self.stretches.pop_front() {
                    Some(stretch) => self.running = self.start(stretch),
                    None => return Ok(None),
                }
                continue;
            };
            return self.give_out(rows, columns).map(Some);
        }
        Ok(None)
    }

    fn give_out(&mut self, rows: usize, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        // A merge gathers whole batches, whatever is left to give out.
        let batch = if rows > self.left { batch.slice(0, self.left) } else { batch };
        self.left -= batch.num_rows();
        self.context.counters.rows.add(batch.num_rows() as u64);
        Ok(batch)
    }

    fn start(&self, stretch: Stretch) -> Running {
        let Stretch { reading, groups, memtables } = stretch;
        let context = &self.context;
        if reading != Reading::Merged {
            let mut groups: VecDeque<Groups> =
                groups.into_iter().map(|(_, groups)| groups).collect();
            if context.reverse {
                groups.make_contiguous().reverse();
            }
            return Running::Groups { reading, groups, open: VecDeque::new() };
        }
        let mut context = context.clone();
        context.rows_max = context.rows_max.min(self.left.max(1));
        let mut sources: Vec<Box<dyn EntrySource + Send>> = Vec::new();
        for (number, range) in memtables {
            let memtable = Arc::clone(&self.view.memtables[number]);
            sources.push(Box::new(MemtableSource::new(&context, memtable, range)));
        }
        let mut by_source: Vec<(usize, VecDeque<Groups>)> = Vec::new();
        for (source, groups) in groups {
            let at = match by_source.binary_search_by_key(&source, |(source, _)| *source) {
                Ok(at) => at,
                Err(at) => {
                    by_source.insert(at, (source, VecDeque::new()));
                    at
                }
            };
            let pieces = &mut by_source[at].1;
            if context.reverse {
                pieces.push_front(groups);
            } else {
                pieces.push_back(groups);
            }
        }
        for (_, pieces) in by_source {
            sources.push(Box::new(FileSource::new(context.clone(), pieces)));
        }
        Running::Merge(Box::new(Merge::new(sources, NewestPut, context.reverse, context.rows_max)))
    }
}

impl Iterator for Scan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch();
        if next.is_err() {
            self.left = 0;
        }
        next.transpose()
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("range", &self.context.range)
            .field("snapshot", &self.snapshot)
            .field("stretches", &self.stretches.len())
            .finish_non_exhaustive()
    }
}

/// The next rows of one source's groups, at most `rows_max`.
fn next_of_groups(
    context: &SourceContext,
    reading: Reading,
    filter: Option<&Predicate>,
    groups: &mut VecDeque<Groups>,
    open: &mut VecDeque<OpenGroup>,
    rows_max: usize,
) -> Result<Option<(usize, Vec<ArrayRef>)>> {
    loop {
        while let Some(group) = open.front_mut() {
            match group.next(context, rows_max)? {
                Some(found) => return Ok(Some(found)),
                None => open.pop_front(),
            };
        }
        let Some(next) = groups.pop_front() else { return Ok(None) };
        if reading == Reading::Raw {
            open.extend(open_raw(context, filter, &next)?);
        } else {
            open_masked(context, filter, &next, open)?;
        }
    }
}

/// Opens a group of which every row in range is seen.
fn open_raw(
    context: &SourceContext,
    filter: Option<&Predicate>,
    groups: &Groups,
) -> Result<Option<OpenGroup>> {
    let index = groups.groups.start;
    let entry = &groups.reader.groups()[index];
    let is_whole =
        context.range.contains(&entry.first_key) && context.range.contains(&entry.last_key);
    if context.projection.is_empty() && filter.is_none() && is_whole {
        context.counters.groups_read.add(1);
        return Ok(Some(OpenGroup { group: None, rows: Rows::All(0..entry.rows as usize) }));
    }
    let (group, rows) = context.open_group(groups, index)?;
    let selected = match filter {
        Some(filter) => filter.select(&group, &rows)?,
        None => None,
    };
    let rows = match selected {
        Some(selected) if selected.count_set_bits() < rows.len() => {
            let row = |row: usize| u32::try_from(rows.start + row).expect("a group has fewer rows");
            Rows::some(selected.set_indices().map(row).collect())
        }
        _ => Rows::All(rows),
    };
    Ok(Some(OpenGroup { group: Some(group), rows }))
}

/// Opens groups that stand as one and finds the rows that are seen, then those of them that may
/// pass the filter.
fn open_masked(
    context: &SourceContext,
    filter: Option<&Predicate>,
    groups: &Groups,
    open: &mut VecDeque<OpenGroup>,
) -> Result<()> {
    let mut visibility = Visibility::new(context.snapshot, false);
    for index in groups.groups.clone() {
        let (group, rows) = context.open_group(groups, index)?;
        let first = u32::try_from(rows.start).expect("a row group has fewer rows");
        let mut selected = Vec::new();
        if groups.is_one_version() {
            let (seqs, kinds) = (group.seqs(rows.clone())?, group.kinds(rows.clone())?);
            visibility.select_unique(&seqs, &kinds, &mut selected);
        } else {
            let entries = group.entries(context.schemas.key_codec(), rows.clone(), &[])?;
            visibility.select(&entries.keys, &entries.seqs, &entries.kinds, &mut selected);
        }
        if let Some(filter) = filter
            && !selected.is_empty()
            && let Some(passed) = filter.select(&group, &rows)?
        {
            selected.retain(|row| passed.value(*row as usize));
        }
        if selected.is_empty() {
            continue;
        }
        selected.iter_mut().for_each(|row| *row += first);
        let group = OpenGroup { group: Some(group), rows: Rows::some(selected) };
        if context.reverse {
            open.push_front(group);
        } else {
            open.push_back(group);
        }
    }
    Ok(())
}

impl Rows {
    fn some(rows: Vec<u32>) -> Self {
        let all = 0..rows.len();
        Self::Some(rows, all)
    }
}

/// Below one row in this many, rows are decoded one by one instead of with all between them.
const SPARSE: usize = 8;

impl OpenGroup {
    fn next(
        &mut self,
        context: &SourceContext,
        rows_max: usize,
    ) -> Result<Option<(usize, Vec<ArrayRef>)>> {
        let left = match &mut self.rows {
            Rows::All(left) | Rows::Some(_, left) => left,
        };
        if left.start == left.end {
            return Ok(None);
        }
        let count = left.len().min(rows_max);
        let now = if context.reverse {
            left.end -= count;
            left.end..left.end + count
        } else {
            left.start += count;
            left.start - count..left.start
        };
        let Some(group) = &self.group else { return Ok(Some((count, Vec::new()))) };
        let column = |&column: &usize| match &self.rows {
            Rows::All(_) if !context.reverse => group.decode(column, now.clone()),
            Rows::All(_) => {
                let rows = (0..u32::try_from(count).expect("a batch has fewer rows")).rev();
                let decoded = group.decode(column, now.clone())?;
                Ok(take(&decoded, &UInt32Array::from_iter_values(rows), None)?)
            }
            Rows::Some(rows, _) => take_rows(group, column, &rows[now.clone()], context.reverse),
        };
        let columns = context.projection.iter().map(column).collect::<Result<_>>()?;
        Ok(Some((count, columns)))
    }
}

/// Decodes ascending `rows` of a column, last first if `reverse`.
fn take_rows(group: &RowGroup, column: usize, rows: &[u32], reverse: bool) -> Result<ArrayRef> {
    let pick = |rows: &[u32]| {
        let taken = group.chunk(column)?.take(rows);
        taken.map_err(|error| group.locate(column, error))
    };
    let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
        return pick(rows);
    };
    let span = (last - first) as usize + 1;
    if span / rows.len() >= SPARSE {
        if reverse {
            return pick(&rows.iter().rev().copied().collect::<Vec<_>>());
        }
        return pick(rows);
    }
    let decoded = group.decode(column, *first as usize..*last as usize + 1)?;
    if span == rows.len() && !reverse {
        return Ok(decoded);
    }
    let from_first = rows.iter().map(|row| row - first);
    let rows = if reverse {
        UInt32Array::from_iter_values(from_first.rev())
    } else {
        UInt32Array::from_iter_values(from_first)
    };
    Ok(take(&decoded, &rows, None)?)
}
