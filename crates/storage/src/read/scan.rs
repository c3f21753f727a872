//! [`Scan`]: the rows of a key range, batch by batch.
//!
//! A wide unordered scan reads every source by itself, under bitmaps of what newer ones hide
//! ([`layers`](super::layers)). For others the plan cuts the range into stretches. Raw ones are a
//! straight decode, row group by row group: no key is looked at, predicates run on encoded chunks
//! first, and a scan without columns decodes nothing. Masked ones do the same under a bitmap of the
//! rows that the snapshot sees. All others are merged.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use arrow_array::{ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter;
use arrow_select::take::take;

use super::encoded::{EncodedRows, take_rows};
use super::layers::{Layer, LayerRows};
use super::merge::{EntrySource, Merge, NewestPut};
use super::plan::{Planner, Reading, Stretch};
use super::shadow::{KeysRead, Shade};
use super::source::{FileSource, Groups, MemtableSource, SourceContext, TOUCHED_ROWS_MAX};
use super::visible::Visibility;
use super::{Predicate, ScanOrder, ScanRequest};
use crate::sstable::RowGroup;
use crate::state::{ReadView, TreeState};
use crate::{Error, Result, Snapshot};

/// A running scan: an iterator of batches that ends after the first error. It may move between
/// threads.
pub struct Scan {
    /// Made when first asked for.
    schema: OnceLock<SchemaRef>,
    context: SourceContext,
    view: Arc<ReadView>,
    filter: Option<Filter>,
    /// Holds the floor of compactions below what this scan sees.
    snapshot: Snapshot,
    /// In the scan's direction.
    stretches: VecDeque<Stretch>,
    running: Running,
    /// Rows still wanted.
    left: usize,
    /// Runs of memtables keep columns while they take less than this.
    run_bytes_max: usize,
    /// Rows of groups opened from now on may be left out if they fail it.
    narrowed: Option<Predicate>,
}

/// What rows must pass, and what they may be left out for.
#[derive(Clone, Copy)]
struct Filters<'a> {
    filter: Option<&'a Filter>,
    narrowed: Option<&'a Predicate>,
}

/// What rows must pass.
#[derive(Clone, Debug)]
struct Filter {
    predicate: Predicate,
    /// No row comes that fails it.
    exact: bool,
    /// The projection, and behind it the columns that only the predicate names.
    columns: Arc<[usize]>,
}

/// The stretch being read.
enum Running {
    Nothing,
    /// Sources by themselves, under what newer ones hide.
    Layers {
        layers: VecDeque<Layer>,
        /// The source that was opened last, and the last of all.
        source: usize,
        last: usize,
        keys: KeysRead,
        open: VecDeque<EncodedRows>,
        ready: VecDeque<(usize, Vec<ArrayRef>)>,
    },
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
    if request.exact && !request.filter.as_ref().is_none_or(Predicate::is_exact) {
        return Err(Error::invalid("floats have several orders: a filter over them is not exact"));
    }
    let view = snapshot.view_of(tree);
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
    let layers = match request.order {
        ScanOrder::Unordered if request.shadows => planner.layers()?,
        _ => None,
    };
    let (mut stretches, running) = match layers {
        Some(layers) => (VecDeque::new(), Running::layers(layers)),
        None => (VecDeque::from(planner.plan()?), Running::Nothing),
    };
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
    let is_filtered = request.filter.is_some() && !request.exact;
    let left = request.limit.filter(|_| !is_filtered).unwrap_or(usize::MAX);
    let filter = request.filter.as_ref().map(|predicate| {
        let mut columns = request.projection.clone();
        predicate.columns(&mut columns);
        Filter { predicate: predicate.clone(), exact: request.exact, columns: columns.into() }
    });
    let context = SourceContext {
        schemas,
        projection: request.projection.as_slice().into(),
        range: Arc::new(request.range.clone()),
        snapshot: snapshot.seq(),
        reverse,
        rows_max: request.batch_rows,
        part_rows: request.part_rows,
        counters: Arc::clone(&request.counters),
        watch: request.watch.clone(),
    };
    Ok(Scan {
        schema: OnceLock::new(),
        context,
        view,
        filter,
        snapshot: snapshot.clone(),
        stretches,
        running,
        left,
        run_bytes_max: tree.context().options.memory_bytes / RUNS_SHARE,
        narrowed: None,
    })
}

/// Runs of one tree's memtables keep columns up to this share of the memory.
const RUNS_SHARE: usize = 8;

impl Running {
    fn layers(layers: Vec<Layer>) -> Self {
        let last = layers.last().map_or(0, |layer| layer.source);
        Self::Layers {
            layers: layers.into(),
            source: 0,
            last,
            keys: KeysRead::default(),
            open: VecDeque::new(),
            ready: VecDeque::new(),
        }
    }
}

impl Scan {
    /// The schema of its batches: columns are named by their ids.
    pub fn schema(&self) -> &SchemaRef {
        let SourceContext { schemas, projection, .. } = &self.context;
        self.schema.get_or_init(|| schemas.arrow_schema(projection))
    }

    /// The next rows before they are decoded. A scan is read either so or as batches.
    ///
    /// # Errors
    /// As batches have.
    pub fn next_encoded(&mut self) -> Result<Option<EncodedRows>> {
        while self.left > 0 {
            let rows = match &self.running {
                Running::Layers { .. } => match self.next_of_layers()? {
                    Some(rows) => Some(rows),
                    None => return Ok(None),
                },
                Running::Groups { .. } if !self.context.reverse => self.next_group()?,
                _ => {
                    let found = self.next_found(self.context.rows_max.min(self.left))?;
                    found.map(|(rows, columns)| EncodedRows::columns(columns, 0..rows, None))
                }
            };
            let Some(rows) = rows else {
                match self.stretches.pop_front() {
                    Some(stretch) => self.running = self.start(stretch),
                    None => return Ok(None),
                }
                continue;
            };
            let rows = rows.truncate(self.left);
            self.left -= rows.len();
            self.context.counters.rows.add(rows.len() as u64);
            return Ok(Some(rows));
        }
        Ok(None)
    }

    /// A number of the source that [`next_encoded`](Self::next_encoded) gave rows of last. It falls
    /// from source to source and is 0 for the last; each one's rows come in the key's order, and
    /// all rows do where there is only one.
    pub fn source(&self) -> usize {
        match &self.running {
            Running::Layers { source, last, .. } => last - source,
            _ => 0,
        }
    }

    /// Rows of row groups not opened yet may be left out from now on if they fail `predicate`, too.
    /// Whoever calls this asks for no limit.
    pub fn narrow(&mut self, predicate: Option<Predicate>) {
        self.narrowed = predicate;
    }

    /// The next rows of groups that are read in order.
    fn next_group(&mut self) -> Result<Option<EncodedRows>> {
        let Self { context, filter, narrowed, running, .. } = self;
        let Running::Groups { reading, groups, open } = running else { return Ok(None) };
        loop {
            if let Some(group) = open.pop_front() {
                let rows = group.into_encoded(context);
                match rows.is_empty() {
                    true => continue,
                    false => return Ok(Some(rows)),
                }
            }
            let Some(next) = groups.pop_front() else { return Ok(None) };
            if !may_match(context, narrowed.as_ref(), &next)? {
                continue;
            }
            let filters = Filters { filter: filter.as_ref(), narrowed: narrowed.as_ref() };
            match reading {
                Reading::Raw => open.extend(open_raw(context, filters, &next)?),
                _ => open_masked(context, filters, &next, open)?,
            }
        }
    }

    /// The next rows of a source of their own, at least one.
    fn next_of_layers(&mut self) -> Result<Option<EncodedRows>> {
        loop {
            let Running::Layers { layers, source, keys, open, .. } = &mut self.running else {
                return Ok(None);
            };
            if let Some(rows) = open.pop_front() {
                return Ok(Some(rows));
            }
            let Some(layer) = layers.pop_front() else { return Ok(None) };
            *source = layer.source;
            let memtables = &self.view.memtables;
            let run_bytes = || memtables.iter().map(|memtable| memtable.run_bytes()).sum::<usize>();
            let opening = Opening {
                context: &self.context,
                filters: Filters { filter: self.filter.as_ref(), narrowed: self.narrowed.as_ref() },
                keeps: &|| run_bytes() < self.run_bytes_max,
            };
            opening.open(&layer, keys, open)?;
        }
    }

    /// The next rows of layers, at most `rows_max`.
    fn next_decoded(&mut self, rows_max: usize) -> Result<Option<(usize, Vec<ArrayRef>)>> {
        loop {
            let Running::Layers { ready, .. } = &mut self.running else { return Ok(None) };
            if let Some((rows, columns)) = ready.pop_front() {
                if rows <= rows_max {
                    return Ok(Some((rows, columns)));
                }
                let part = |start: usize, len: usize| {
                    columns.iter().map(|column| column.slice(start, len)).collect::<Vec<_>>()
                };
                ready.push_front((rows - rows_max, part(rows_max, rows - rows_max)));
                return Ok(Some((rows_max, part(0, rows_max))));
            }
            let Some(rows) = self.next_of_layers()? else { return Ok(None) };
            let rows = rows.truncate(self.left);
            let columns = rows.decode()?;
            let Running::Layers { ready, .. } = &mut self.running else { return Ok(None) };
            ready.push_back((rows.len(), columns));
        }
    }

    /// The rows of a merge that pass the filter, if they must.
    fn passing(&self, rows: usize, mut columns: Vec<ArrayRef>) -> Result<(usize, Vec<ArrayRef>)> {
        let Some(Filter { predicate, exact: true, columns: read }) = &self.filter else {
            return Ok((rows, columns));
        };
        let selected =
            predicate.select_arrays(rows, &|column| column_of(column, read, &columns))?;
        let passed = selected.count_set_bits();
        columns.truncate(self.context.projection.len());
        if passed < rows {
            let mask = BooleanArray::new(selected, None);
            columns =
                columns.iter().map(|column| Ok(filter(column, &mask)?)).collect::<Result<_>>()?;
        }
        Ok((passed, columns))
    }

    /// The columns of the next batch, and its rows: who gives them names of its own needs no other
    /// batch around them.
    ///
    /// # Errors
    /// As batches have.
    pub fn next_columns(&mut self) -> Result<Option<(usize, Vec<ArrayRef>)>> {
        let next = self.next_decoded_or_found();
        if next.is_err() {
            self.left = 0;
        }
        next
    }

    fn next_decoded_or_found(&mut self) -> Result<Option<(usize, Vec<ArrayRef>)>> {
        while self.left > 0 {
            let rows_max = self.context.rows_max.min(self.left);
            if let Running::Layers { .. } = &self.running {
                let Some((rows, columns)) = self.next_decoded(rows_max)? else { return Ok(None) };
                return Ok(Some(self.give_out(rows, columns)));
            }
            let Some((rows, columns)) = self.next_found(rows_max)? else {
                match self.stretches.pop_front() {
                    Some(stretch) => self.running = self.start(stretch),
                    None => return Ok(None),
                }
                continue;
            };
            return Ok(Some(self.give_out(rows, columns)));
        }
        Ok(None)
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        let Some((rows, columns)) = self.next_columns()? else { return Ok(None) };
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(self.schema());
        let batch = RecordBatch::try_new_with_options(schema, columns, &options);
        Ok(Some(batch.inspect_err(|_| self.left = 0)?))
    }

    /// The next rows of the stretch being read.
    fn next_found(&mut self, rows_max: usize) -> Result<Option<(usize, Vec<ArrayRef>)>> {
        loop {
            match &mut self.running {
                Running::Nothing | Running::Layers { .. } => return Ok(None),
                Running::Groups { reading, groups, open } => {
                    let filters =
                        Filters { filter: self.filter.as_ref(), narrowed: self.narrowed.as_ref() };
                    return next_of_groups(
                        &self.context,
                        *reading,
                        filters,
                        groups,
                        open,
                        rows_max,
                    );
                }
                Running::Merge(merge) => {
                    let Some(merged) = merge.next_merged()? else { return Ok(None) };
                    let (rows, columns) = self.passing(merged.rows, merged.entries.columns)?;
                    if rows > 0 {
                        return Ok(Some((rows, columns)));
                    }
                }
            }
        }
    }

    fn give_out(&mut self, rows: usize, mut columns: Vec<ArrayRef>) -> (usize, Vec<ArrayRef>) {
        // A merge gathers whole batches, whatever is left to give out.
        let given = rows.min(self.left);
        if given < rows {
            columns.iter_mut().for_each(|column| *column = column.slice(0, given));
        }
        self.left -= given;
        self.context.counters.rows.add(given as u64);
        (given, columns)
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
        if let Some(Filter { exact: true, columns, .. }) = &self.filter {
            context.projection = Arc::clone(columns);
        }
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
        self.next_batch().transpose()
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

impl Filters<'_> {
    fn is_none(self) -> bool {
        self.filter.is_none() && self.narrowed.is_none()
    }

    /// Which of `rows` pass, or may pass if that need not be exact; none if it cannot be said.
    fn select(self, group: &RowGroup, rows: &Range<usize>) -> Result<Option<BooleanBuffer>> {
        let wanted = match self.narrowed {
            Some(narrowed) => narrowed.select(group, rows)?,
            None => None,
        };
        if wanted.as_ref().is_some_and(|wanted| wanted.count_set_bits() == 0) {
            return Ok(wanted);
        }
        let selected = match self.filter {
            Some(Filter { predicate, exact: true, .. }) => {
                Some(predicate.select_exact(group, rows)?)
            }
            Some(Filter { predicate, .. }) => predicate.select(group, rows)?,
            None => None,
        };
        Ok(match (selected, wanted) {
            (Some(selected), Some(wanted)) => Some(&selected & &wanted),
            (selected, wanted) => selected.or(wanted),
        })
    }
}

/// Whether a row of the groups may pass what the scan was narrowed to.
fn may_match(
    context: &SourceContext,
    narrowed: Option<&Predicate>,
    groups: &Groups,
) -> Result<bool> {
    let (Some(narrowed), 1) = (narrowed, groups.groups.len()) else { return Ok(true) };
    let schema = context.schemas.current();
    let matches = narrowed
        .may_match(&mut |column| groups.reader.zone_map(groups.groups.start, schema, column))?;
    if !matches {
        context.counters.groups_pruned.add(1);
    }
    Ok(matches)
}

/// The column at `column` of the tree among those read.
fn column_of(column: usize, read: &[usize], columns: &[ArrayRef]) -> Result<ArrayRef> {
    let place = read.iter().position(|&other| other == column);
    let place = place.ok_or_else(|| Error::internal("a filter's column was not read"))?;
    Ok(Arc::clone(&columns[place]))
}

/// Opens layers.
struct Opening<'a> {
    context: &'a SourceContext,
    filters: Filters<'a>,
    /// Whether columns of runs may be kept.
    keeps: &'a dyn Fn() -> bool,
}

impl Opening<'_> {
    /// Adds the rows of a layer that are seen and pass.
    fn open(
        &self,
        layer: &Layer,
        keys: &mut KeysRead,
        open: &mut VecDeque<EncodedRows>,
    ) -> Result<()> {
        let SourceContext { schemas, counters, .. } = self.context;
        counters.sections_shadowed.add(1);
        let mut shade = Shade { schemas, counters, read: keys, is_ahead: false };
        match &layer.rows {
            LayerRows::Groups(groups) => {
                if !may_match(self.context, self.filters.narrowed, groups)? {
                    return Ok(());
                }
                for index in groups.groups.clone() {
                    let hidden = shade.group(&layer.shadows, groups, index, &self.context.range)?;
                    let rows = self.open_group(groups, index, hidden.rows(), hidden.count())?;
                    open.extend(rows.filter(|rows| !rows.is_empty()));
                }
            }
            LayerRows::Run(run) => {
                let range = &self.context.range;
                let start = run.first_at(|key| range.is_after(key));
                let span = start..run.first_at(|key| !range.is_before(key)).max(start);
                if span.is_empty() {
                    return Ok(());
                }
                let hidden = shade.run(&layer.shadows, run)?;
                if hidden.count() == run.keys().len() {
                    counters.rows_hidden.add(hidden.count() as u64);
                    return Ok(());
                }
                let mut selected = hidden.rows().map(|rows| !&rows.slice(span.start, span.len()));
                let projection =
                    self.filters.filter.map_or(&self.context.projection, |filter| &filter.columns);
                let mut columns = run.columns(schemas, projection, (self.keeps)())?;
                let Filters { filter, narrowed } = self.filters;
                for predicate in filter.map(|filter| &filter.predicate).into_iter().chain(narrowed)
                {
                    let passed = predicate.select_arrays(span.len(), &|column| {
                        Ok(column_of(column, projection, &columns)?.slice(span.start, span.len()))
                    })?;
                    selected = Some(match selected {
                        Some(seen) => &seen & &passed,
                        None => passed,
                    });
                }
                columns.truncate(self.context.projection.len());
                counters.rows_hidden.add(hidden.count() as u64);
                let rows = EncodedRows::columns(columns, span, selected);
                open.extend((!rows.is_empty()).then_some(rows));
            }
        }
        Ok(())
    }

    fn open_group(
        &self,
        groups: &Groups,
        index: usize,
        hidden: Option<&BooleanBuffer>,
        count: usize,
    ) -> Result<Option<EncodedRows>> {
        let context = self.context;
        let entry = &groups.reader.groups()[index];
        if count == entry.rows as usize {
            context.counters.rows_hidden.add(count as u64);
            return Ok(None);
        }
        let is_whole =
            context.range.contains(&entry.first_key) && context.range.contains(&entry.last_key);
        if context.projection.is_empty() && self.filters.is_none() && is_whole {
            context.counters.groups_read.add(1);
            context.counters.rows_hidden.add(count as u64);
            return Ok(Some(EncodedRows::count(entry.rows as usize - count)));
        }
        let (group, rows) = context.open_group(groups, index)?;
        let mut selected = hidden.map(|hidden| !&hidden.slice(rows.start, rows.len()));
        if let Some(seen) = &selected {
            context.counters.rows_hidden.add((rows.len() - seen.count_set_bits()) as u64);
        }
        if let Some(passed) = self.filters.select(&group, &rows)? {
            selected = Some(match selected {
                Some(seen) => &seen & &passed,
                None => passed,
            });
        }
        let projection = Arc::clone(&context.projection);
        let rows = EncodedRows::group(group, projection, rows, selected);
        Ok(Some(rows.at(groups, index, context.schemas.current())))
    }
}

/// The next rows of one source's groups, at most `rows_max`.
fn next_of_groups(
    context: &SourceContext,
    reading: Reading,
    filters: Filters<'_>,
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
            open.extend(open_raw(context, filters, &next)?);
        } else {
            open_masked(context, filters, &next, open)?;
        }
    }
}

/// Opens a group of which every row in range is seen.
fn open_raw(
    context: &SourceContext,
    filters: Filters<'_>,
    groups: &Groups,
) -> Result<Option<OpenGroup>> {
    let index = groups.groups.start;
    let entry = &groups.reader.groups()[index];
    let is_whole =
        context.range.contains(&entry.first_key) && context.range.contains(&entry.last_key);
    if context.projection.is_empty() && filters.is_none() && is_whole {
        context.counters.groups_read.add(1);
        return Ok(Some(OpenGroup { group: None, rows: Rows::All(0..entry.rows as usize) }));
    }
    let (group, rows) = context.open_group(groups, index)?;
    let selected = filters.select(&group, &rows)?;
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
    filters: Filters<'_>,
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
        if !selected.is_empty()
            && let Some(passed) = filters.select(&group, &rows)?
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

impl OpenGroup {
    /// All its rows, of which none was given out yet.
    fn into_encoded(self, context: &SourceContext) -> EncodedRows {
        let Some(group) = self.group else {
            return match self.rows {
                Rows::All(rows) | Rows::Some(_, rows) => EncodedRows::count(rows.len()),
            };
        };
        let projection = Arc::clone(&context.projection);
        match self.rows {
            Rows::All(rows) => EncodedRows::group(group, projection, rows, None),
            Rows::Some(rows, _) => {
                let (Some(&first), Some(&last)) = (rows.first(), rows.last()) else {
                    return EncodedRows::count(0);
                };
                let span = first as usize..last as usize + 1;
                let mut selected = BooleanBufferBuilder::new(span.len());
                selected.append_n(span.len(), false);
                rows.iter().for_each(|row| selected.set_bit((row - first) as usize, true));
                EncodedRows::group(group, projection, span, Some(selected.finish()))
            }
        }
    }

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
        if let Rows::All(_) = &self.rows
            && count <= TOUCHED_ROWS_MAX
        {
            group.touch(&context.projection, now.start)?;
        }
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
