//! [`PointSelect`]: columns of the rows that a statement's keys name.
//!
//! Made of the plan that DataFusion's analyzer and optimizer left, so that names, types and
//! coercions are theirs. Plain columns over one table whose every predicate is one on key columns
//! qualify: each of the first columns equal to a constant or one of a list, then perhaps a range;
//! perhaps in the key's order, perhaps limited.

use std::ops::Bound;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, UInt64Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::SchemaRef;
use silt_codec::{RowBuffer, successor};
use silt_storage::{KeyRange, ReadCounters, Scan, ScanOrder, ScanRequest, Snapshot, Tree};

use super::constant::{Arg, Constant, KeyField, Reading};
use super::found::take_buffer;
use crate::Result;

/// Keys that one execution may name before the planner reads them as a range instead.
const KEYS_MAX: usize = 65_536;
/// Rows of a scan's first batch where no limit says how many are wanted.
const BATCH_ROWS: usize = 8_192;

/// What a statement's predicates say about one key column.
#[derive(Debug)]
pub(super) enum Terms {
    Equal(Constant),
    In(Vec<Constant>),
    /// Bounds in the key's direction; true where they are inclusive.
    Range(Option<(Constant, bool)>, Option<(Constant, bool)>),
}

/// A SELECT by keys. See the module.
#[derive(Debug)]
pub(crate) struct PointSelect {
    pub(super) tree: Tree,
    /// Names and types of the columns given out.
    pub(super) schema: SchemaRef,
    /// Their positions in the tree.
    pub(super) projection: Vec<usize>,
    pub(super) fields: Vec<KeyField>,
    /// For the first key columns, in order; only the last may be a range.
    pub(super) terms: Vec<Terms>,
    pub(super) order: ScanOrder,
    /// Rows of the scan before `skip` and `fetch` count.
    pub(super) fetch_first: Option<usize>,
    pub(super) skip: Option<Constant>,
    pub(super) fetch: Option<Constant>,
}

/// The rows of one execution.
pub(crate) enum Rows {
    None,
    One(RowBuffer),
    Batch(RecordBatch),
    Scan(Box<PointScan>),
}

/// What the arguments of one execution come to.
enum Keys {
    None,
    One(Vec<u8>),
    Points(Vec<Vec<u8>>),
    Ranges(Vec<KeyRange>),
}

impl PointSelect {
    pub(crate) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether it names one key, so that it gives at most one row.
    pub(super) fn is_get(&self) -> bool {
        self.is_whole() && self.terms.iter().all(|terms| matches!(terms, Terms::Equal(_)))
    }

    fn is_whole(&self) -> bool {
        self.terms.len() == self.fields.len()
            && !matches!(self.terms.last(), Some(Terms::Range(..)))
    }

    /// The rows at `snapshot`; none if the planner must say what the arguments mean.
    pub(crate) fn run(&self, args: &[Arg<'_>], snapshot: &Snapshot) -> Result<Option<Rows>> {
        let count = |constant: &Option<Constant>| match constant {
            None => Some(None),
            Some(constant) => constant.read_count(args).map(Some),
        };
        let (Some(skip), Some(fetch)) = (count(&self.skip), count(&self.fetch)) else {
            return Ok(None);
        };
        let skip = skip.unwrap_or(0);
        let first = self.fetch_first.unwrap_or(usize::MAX);
        let left = fetch.unwrap_or(usize::MAX).min(first.saturating_sub(skip));
        let Some(keys) = self.keys(args) else { return Ok(None) };
        if left == 0 {
            return Ok(Some(Rows::None));
        }
        Ok(Some(match keys {
            Keys::None => Rows::None,
            Keys::One(_) if skip > 0 => Rows::None,
            Keys::One(key) => {
                let mut row = take_buffer();
                let counters = ReadCounters::new();
                match self.tree.get(&key, &self.projection, snapshot, &counters, &mut row)? {
                    true => Rows::One(row),
                    false => Rows::None,
                }
            }
            Keys::Points(points) => self.multi_get(&points, skip, left, snapshot)?,
            Keys::Ranges(mut ranges) => {
                if self.order != ScanOrder::Reverse {
                    ranges.reverse();
                }
                Rows::Scan(Box::new(PointScan {
                    tree: self.tree.clone(),
                    schema: Arc::clone(&self.schema),
                    projection: self.projection.clone(),
                    order: self.order,
                    snapshot: snapshot.clone(),
                    ranges,
                    running: None,
                    skip,
                    left,
                }))
            }
        }))
    }

    fn multi_get(
        &self,
        keys: &[Vec<u8>],
        skip: usize,
        left: usize,
        snapshot: &Snapshot,
    ) -> Result<Rows> {
        let found = self.tree.multi_get(keys, &self.projection, snapshot, &ReadCounters::new())?;
        let mut batch = dress(&self.schema, found.batch)?;
        if self.order == ScanOrder::Reverse {
            let rows = u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
            batch = take_record_batch(&batch, &UInt64Array::from_iter_values((0..rows).rev()))?;
        }
        let skip = skip.min(batch.num_rows());
        let left = left.min(batch.num_rows() - skip);
        Ok(if left == 0 { Rows::None } else { Rows::Batch(batch.slice(skip, left)) })
    }

    /// The keys that the arguments name, ascending.
    fn keys(&self, args: &[Arg<'_>]) -> Option<Keys> {
        let mut prefixes = vec![Vec::with_capacity(64)];
        for (terms, field) in self.terms.iter().zip(&self.fields) {
            match terms {
                Terms::Equal(constant) => match put(constant, args, field, &mut prefixes)? {
                    true => {}
                    false => return Some(Keys::None),
                },
                Terms::In(constants) => {
                    let points = points(constants, args, field)?;
                    if prefixes.len().saturating_mul(points.len()) > KEYS_MAX {
                        return None;
                    }
                    let each = |prefix: &Vec<u8>| {
                        let joined = |point: &Vec<u8>| [prefix.as_slice(), point].concat();
                        points.iter().map(joined).collect::<Vec<_>>()
                    };
                    prefixes = prefixes.iter().flat_map(each).collect();
                }
                Terms::Range(lower, upper) => {
                    let (lower, upper) = (bound(lower, args, field)?, bound(upper, args, field)?);
                    if matches!(lower, Limit::Nothing) || matches!(upper, Limit::Nothing) {
                        return Some(Keys::None);
                    }
                    let ranges = prefixes.iter().filter_map(|prefix| range(prefix, &lower, &upper));
                    let ranges = ranges.filter(|range| !range.is_empty());
                    return Some(Keys::Ranges(ranges.collect()));
                }
            }
        }
        if !self.is_whole() {
            return Some(Keys::Ranges(prefixes.into_iter().map(KeyRange::prefix).collect()));
        }
        Some(match prefixes.len() {
            0 => Keys::None,
            1 => Keys::One(prefixes.pop().unwrap_or_default()),
            _ => Keys::Points(prefixes),
        })
    }
}

/// Appends a constant's field to every prefix; false if no row is equal to it, none if the planner
/// must decide.
pub(super) fn put(
    constant: &Constant,
    args: &[Arg<'_>],
    field: &KeyField,
    prefixes: &mut [Vec<u8>],
) -> Option<bool> {
    let owned;
    let value = match constant.read(args, field) {
        Reading::Value(value) => value,
        Reading::Owned(value) => {
            owned = value;
            owned.as_ref()
        }
        Reading::Null | Reading::Outside => return Some(false),
        Reading::Unsure => return None,
    };
    Some(prefixes.iter_mut().all(|prefix| field.put(value, prefix)))
}

/// The fields of a list's constants, ascending and without repetition.
fn points(constants: &[Constant], args: &[Arg<'_>], field: &KeyField) -> Option<Vec<Vec<u8>>> {
    let mut points = Vec::with_capacity(constants.len());
    for constant in constants {
        let mut point = [Vec::new()];
        if put(constant, args, field, &mut point)? {
            let [point] = point;
            points.push(point);
        }
    }
    points.sort_unstable();
    points.dedup();
    Some(points)
}

/// One side of a range, in a field's bytes.
enum Limit {
    /// None on this side.
    Open,
    At(Vec<u8>, bool),
    /// Compared with NULL: no row at all.
    Nothing,
}

fn bound(bound: &Option<(Constant, bool)>, args: &[Arg<'_>], field: &KeyField) -> Option<Limit> {
    let Some((constant, inclusive)) = bound else { return Some(Limit::Open) };
    let mut bytes = Vec::new();
    let put = match constant.read(args, field) {
        Reading::Value(value) => field.put(value, &mut bytes),
        Reading::Owned(value) => field.put(value.as_ref(), &mut bytes),
        Reading::Null => return Some(Limit::Nothing),
        Reading::Outside | Reading::Unsure => false,
    };
    put.then_some(Limit::At(bytes, *inclusive))
}

/// The keys that begin with `prefix` and have the next field within the limits; none if that is
/// behind every key.
fn range(prefix: &[u8], lower: &Limit, upper: &Limit) -> Option<KeyRange> {
    let whole = match prefix.is_empty() {
        true => KeyRange::all(),
        false => KeyRange::prefix(prefix.to_vec()),
    };
    let start = match lower {
        Limit::At(bytes, true) => Bound::Included([prefix, bytes].concat()),
        Limit::At(bytes, false) => Bound::Included(behind([prefix, bytes].concat())?),
        Limit::Open | Limit::Nothing => whole.start,
    };
    let end = match upper {
        Limit::At(bytes, true) => match behind([prefix, bytes].concat()) {
            Some(bytes) => Bound::Excluded(bytes),
            None => Bound::Unbounded,
        },
        Limit::At(bytes, false) => Bound::Excluded([prefix, bytes].concat()),
        Limit::Open | Limit::Nothing => whole.end,
    };
    Some(KeyRange { start, end })
}

/// The first bytes behind all keys that begin with `bytes`.
fn behind(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    successor(&mut bytes).then_some(bytes)
}

/// The batch under SQL's names.
pub(super) fn dress(schema: &SchemaRef, batch: RecordBatch) -> Result<RecordBatch> {
    let (_, columns, rows) = batch.into_parts();
    dress_columns(schema, rows, columns)
}

fn dress_columns(schema: &SchemaRef, rows: usize, columns: Vec<ArrayRef>) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)?)
}

/// Rows of key ranges, read when they are asked for.
pub(crate) struct PointScan {
    tree: Tree,
    schema: SchemaRef,
    projection: Vec<usize>,
    order: ScanOrder,
    snapshot: Snapshot,
    /// Those to come, the next one last.
    ranges: Vec<KeyRange>,
    running: Option<Box<Scan>>,
    skip: usize,
    left: usize,
}

impl PointScan {
    /// The first rows of one range, in its order.
    pub(super) fn new(
        tree: Tree,
        schema: SchemaRef,
        projection: Vec<usize>,
        order: ScanOrder,
        snapshot: Snapshot,
        range: KeyRange,
        left: usize,
    ) -> Self {
        let ranges = vec![range];
        let skip = 0;
        Self { tree, schema, projection, order, snapshot, ranges, running: None, skip, left }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        while self.left > 0 {
            let Some(scan) = &mut self.running else {
                let Some(range) = self.ranges.pop() else { return Ok(None) };
                let wanted = self.skip.saturating_add(self.left);
                let limited = wanted < usize::MAX;
                let request = ScanRequest {
                    order: self.order,
                    limit: limited.then_some(wanted),
                    batch_rows: wanted.clamp(1, BATCH_ROWS),
                    ..ScanRequest::new(range, self.projection.clone())
                };
                self.running = Some(Box::new(self.tree.scan(&request, &self.snapshot)?));
                continue;
            };
            let Some((rows, mut columns)) = scan.next_columns()? else {
                self.running = None;
                continue;
            };
            let skipped = self.skip.min(rows);
            let taken = self.left.min(rows - skipped);
            self.skip -= skipped;
            self.left -= taken;
            if taken == 0 {
                continue;
            }
            if taken < rows {
                columns.iter_mut().for_each(|column| *column = column.slice(skipped, taken));
            }
            return dress_columns(&self.schema, taken, columns).map(Some);
        }
        Ok(None)
    }
}

impl Iterator for PointScan {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_batch();
        if next.is_err() {
            self.left = 0;
        }
        next.transpose()
    }
}
