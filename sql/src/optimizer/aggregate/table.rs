//! [`Table`]: the groups of a partition and what is known of each.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, RecordBatchOptions,
    UInt64Array, make_array,
};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer};
use datafusion::arrow::compute::concat_batches;
use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use silt_storage::EncodedRows;

use super::error;
use super::groups::{LocalGroups, LocalKey, expand};
use super::layout::{Key, Layout};
use super::plan::{Function, Plan, Summed};
use super::runs::Runs;
use super::sides::Sides;
use super::sums::Bound;
use crate::value::value_to_scalar;

/// More groups than this are given out before the input ends.
const GROUPS_MAX: usize = 1 << 17;
/// Columns are taken whole if at least one row in this many counts.
const WHOLE_BELOW: usize = 3;
/// The groups of a partition.
pub(super) struct Table {
    plan: Arc<Plan>,
    state: State,
    /// The source that rows are added of, 0 for the last.
    source: usize,
    /// What is known from sources before the last; none if there was none.
    sides: Option<Sides>,
    /// Rows of which all that is added up was added up as it is packed.
    pub(super) rows_added_up: usize,
}

enum State {
    /// Without GROUP BY: rows, and one accumulator a function that does not count them.
    One { rows: i64, functions: Vec<Option<Box<dyn Accumulator>>> },
    Many {
        groups: Box<dyn GroupValues>,
        /// Rows of each group.
        rows: Vec<i64>,
        functions: Vec<Option<Box<dyn GroupsAccumulator>>>,
    },
}

impl Table {
    pub(super) fn new(plan: Arc<Plan>) -> Result<Self> {
        let state = match plan.layout.keys.is_empty() {
            true => State::One {
                rows: 0,
                functions: accumulators(&plan, |function| function.create_accumulator())?,
            },
            false => State::Many {
                groups: match plan.keyed {
                    true => Box::new(Runs::default()),
                    false => {
                        new_group_values(Arc::clone(&plan.group_schema), &GroupOrdering::None)?
                    }
                },
                rows: Vec::new(),
                functions: accumulators(&plan, |function| function.create_groups_accumulator())?,
            },
        };
        Ok(Self { plan, state, source: 0, sides: None, rows_added_up: 0 })
    }

    /// Of what it gives out.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.plan.schema)
    }

    /// Whether groups should be given out: those that no row will belong to any more, or all if
    /// they are many.
    pub(super) fn is_full(&self) -> bool {
        let count_max = if self.plan.keyed { 1 } else { GROUPS_MAX };
        matches!(&self.state, State::Many { groups, .. } if groups.len() > count_max)
    }

    /// Rows that are added from now on are of this source; 0 is the last one. Groups that are
    /// complete within a source only wait for those of the last.
    pub(super) fn turn_to(&mut self, source: usize) -> Result<()> {
        if !self.plan.keyed || self.source == source {
            return Ok(());
        }
        if self.source > 0 {
            self.set_aside(true)?;
        }
        self.source = source;
        if let (0, Some(sides)) = (source, &mut self.sides) {
            sides.close(&self.plan)?;
        }
        Ok(())
    }

    /// Puts what is known of groups aside: of all if it is the source's `end`, else of those that
    /// no row of it will belong to any more.
    fn set_aside(&mut self, end: bool) -> Result<()> {
        let State::Many { groups, rows, functions } = &mut self.state else { return Ok(()) };
        let count = groups.len().saturating_sub(usize::from(!end));
        if count == 0 {
            return Ok(());
        }
        let emit = if end { EmitTo::All } else { EmitTo::First(count) };
        let keys = groups.emit(emit)?;
        let left = rows.split_off(count);
        let totals = std::mem::replace(rows, left);
        let mut states = Vec::with_capacity(functions.len());
        for function in functions {
            states.push(match function {
                None => vec![Arc::new(Int64Array::from(totals.clone())) as ArrayRef],
                Some(function) => function.state(emit)?,
            });
        }
        self.sides.get_or_insert_default().push(keys, states);
        Ok(())
    }

    pub(super) fn add(&mut self, chunk: &EncodedRows) -> Result<()> {
        if chunk.is_empty() || self.is_within(chunk)? {
            return Ok(());
        }
        let plan = Arc::clone(&self.plan);
        let bound = plan.sums.bind(chunk)?;
        let total = plan.layout.total
            && plan
                .functions
                .iter()
                .filter_map(|function| function.sum.as_ref())
                .all(|sum| bound.has(sum.place) || sum.plain.total);
        let dense = match total {
            true => chunk.len() * WHOLE_BELOW >= chunk.span(),
            false => chunk.len() * 8 >= chunk.span() * 7,
        };
        match chunk.selected() {
            None => self.add_chunk(chunk, Some(&bound)),
            Some(_) if !dense => self.add_chunk(chunk, None),
            Some(_) => match self.add_chunk(chunk, Some(&bound)) {
                // An expression may fail for a row that does not count.
                Err(_) if !total => self.add_chunk(chunk, None),
                added => added,
            },
        }
    }

    /// Whether the chunk holds nothing that is less or greater than what was seen, and nothing but
    /// that is wanted: its rows are counted then.
    fn is_within(&mut self, chunk: &EncodedRows) -> Result<bool> {
        let State::One { rows, functions } = &mut self.state else { return Ok(false) };
        if *rows == 0 {
            return Ok(false);
        }
        for (function, accumulator) in self.plan.functions.iter().zip(functions) {
            let Some(accumulator) = accumulator else { continue };
            let Some((column, wanted)) = function.extreme else { return Ok(false) };
            let Some(zone) = chunk.bounds(column).map_err(error)? else {
                return Ok(false);
            };
            let bound = if wanted.is_lt() { &zone.min } else { &zone.max };
            if zone.value_count == 0 {
                continue;
            }
            let bound = value_to_scalar(bound, function.expr.field().data_type())?;
            let seen = accumulator.evaluate()?;
            if bound.is_null() || seen.is_null() {
                return Ok(false);
            }
            if bound.partial_cmp(&seen).is_none_or(|order| order == wanted) {
                return Ok(false);
            }
        }
        *rows += i64::try_from(chunk.len()).unwrap_or(i64::MAX);
        Ok(true)
    }

    /// Adds the rows of a chunk: its columns taken whole, with what can be added up `bound` to it, or
    /// cut down to them. If an expression fails nothing is added.
    fn add_chunk(&mut self, chunk: &EncodedRows, bound: Option<&Bound<'_>>) -> Result<()> {
        let plan = Arc::clone(&self.plan);
        let Layout { read, keys, .. } = &plan.layout;
        let whole = bound.is_some();
        let selected = chunk.selected().filter(|_| whole);
        let rows = if whole { chunk.span() } else { chunk.len() };
        if let State::One { rows: count, functions } = &mut self.state
            && functions.iter().all(Option::is_none)
        {
            *count += i64::try_from(chunk.len()).unwrap_or(i64::MAX);
            return Ok(());
        }
        let column = |index: usize| Ok(columns(chunk, &[index], whole)?.swap_remove(0));
        let batch = plan.layout.batch(columns(chunk, read, whole)?, rows)?;
        let mut values = Vec::with_capacity(plan.functions.len());
        for (function, exprs) in plan.functions.iter().zip(&plan.layout.arguments) {
            values.push(match &function.sum {
                Some(sum) if bound.is_some_and(|bound| bound.has(sum.place)) => Argument::Sum(sum),
                Some(Summed { plain, .. }) => {
                    let batch = plain.batch(columns(chunk, &plain.read, whole)?, rows)?;
                    Argument::Values(evaluate(&plain.arguments[0], &batch)?)
                }
                None => Argument::Values(evaluate(exprs, &batch)?),
            });
        }
        if let State::One { .. } = &self.state {
            return self.add_one(chunk, bound, values);
        }
        let decoded = |key: &Key| match key {
            Key::Column(index) => column(*index),
            Key::Truncated(truncated) => Ok(truncated.array(&column(truncated.column)?)),
            Key::Computed(expr) => expr.evaluate(&batch)?.into_array(rows),
        };
        if plan.keyed {
            let columns = keys.iter().map(decoded).collect::<Result<Vec<_>>>()?;
            return self.add_local(&LocalGroups::of_runs(&columns)?, chunk, bound, values);
        }
        let mut local = Vec::with_capacity(keys.len());
        let mut plain = None;
        for key in keys {
            let array = match key {
                Key::Column(index) => {
                    if let Some(codes) = chunk.codes(*index).map_err(error)? {
                        let key = LocalKey::of_codes(codes)?;
                        local.push(match chunk.selected() {
                            Some(selected) if !whole => key.filter(selected),
                            _ => key,
                        });
                        continue;
                    }
                    column(*index)?
                }
                Key::Truncated(truncated) => {
                    let packed = if whole { truncated.of_chunk(chunk)? } else { None };
                    if let Some(key) = packed {
                        local.push(key);
                        continue;
                    }
                    let times = column(truncated.column)?;
                    if let Some(key) = truncated.of_array(&times) {
                        local.push(key);
                        continue;
                    }
                    truncated.array(&times)
                }
                Key::Computed(_) => decoded(key)?,
            };
            match LocalKey::of_array(&array)? {
                Some(key) => local.push(key),
                None => {
                    plain = Some(());
                    break;
                }
            }
        }
        let expanded = match plain {
            None => match LocalGroups::new(local, rows) {
                Ok(groups) => return self.add_local(&groups, chunk, bound, values),
                Err(local) => expand(&local, rows)?,
            },
            Some(()) => keys.iter().map(decoded).collect::<Result<_>>()?,
        };
        let mut arguments = Vec::with_capacity(values.len());
        for argument in values {
            arguments.push(match argument {
                Argument::Values(values) => values,
                // Groups are too many to add up by.
                Argument::Sum(Summed { plain, .. }) => {
                    let batch = plain.batch(columns(chunk, &plain.read, whole)?, rows)?;
                    evaluate(&plain.arguments[0], &batch)?
                }
            });
        }
        self.add_rows(&expanded, rows, selected, &arguments)
    }

    /// Adds rows that are all of one group.
    fn add_one(
        &mut self,
        chunk: &EncodedRows,
        bound: Option<&Bound<'_>>,
        values: Vec<Argument<'_>>,
    ) -> Result<()> {
        let State::One { rows, functions } = &mut self.state else { return Ok(()) };
        let sums = bound.map_or_else(|| Ok(Vec::new()), |bound| bound.add_up(chunk, None, 1))?;
        let len = i64::try_from(chunk.len()).unwrap_or(i64::MAX);
        // What an expression made of a masked row need not be NULL.
        let selected = chunk.selected().filter(|_| bound.is_some());
        let mask = |array: &ArrayRef| match selected {
            Some(selected) => masked(array, selected),
            None => Ok(Arc::clone(array)),
        };
        for (function, argument) in functions.iter_mut().zip(values) {
            let Some(function) = function else { continue };
            match argument {
                Argument::Values(values) => {
                    let values: Vec<ArrayRef> = values.iter().map(mask).collect::<Result<_>>()?;
                    function.update_batch(&values)?;
                }
                Argument::Sum(sum) => {
                    let sums = sums[sum.place].as_deref().unwrap_or_default();
                    let sums = numbers(&sum.data_type, sums)?;
                    match sum.counts {
                        true => function.merge_batch(&[counted(&[len]), sums])?,
                        false => function.update_batch(&[sums])?,
                    }
                }
            }
        }
        *rows += len;
        self.rows_added_up += bound.map_or(0, |bound| bound.rows_added_up(chunk));
        Ok(())
    }

    /// Adds rows by the groups of their chunk.
    fn add_local(
        &mut self,
        local: &LocalGroups,
        chunk: &EncodedRows,
        bound: Option<&Bound<'_>>,
        values: Vec<Argument<'_>>,
    ) -> Result<()> {
        let whole = bound.is_some();
        let selected = chunk.selected().filter(|_| whole);
        let rows = if whole { chunk.span() } else { chunk.len() };
        let State::Many { groups, rows: totals, functions } = &mut self.state else {
            return Ok(());
        };
        let counts = local.counts(rows, selected);
        let used: Vec<u32> = (0_u32..)
            .zip(&counts)
            .filter(|(_, count)| **count > 0)
            .map(|(group, _)| group)
            .collect();
        if used.is_empty() {
            return Ok(());
        }
        let mut places = Vec::new();
        groups.intern(&local.keys(&used)?, &mut places)?;
        totals.resize(groups.len(), 0);
        // Rows that do not count may be of groups that have no place: any will do for them.
        let mut place_of = vec![0_usize; counts.len()];
        for (&group, &place) in used.iter().zip(&places) {
            totals[place] += counts[group as usize];
            place_of[group as usize] = place;
        }
        // Sums of the chunk's groups are rows of these groups.
        let sums = match bound {
            Some(bound) => bound.add_up(chunk, local.codes.as_deref(), counts.len())?,
            None => Vec::new(),
        };
        if let Some(bound) = bound {
            self.rows_added_up += bound.rows_added_up(chunk);
        }
        let of_used: Vec<i64> = used.iter().map(|&group| counts[group as usize]).collect();
        let mut left = Vec::with_capacity(functions.len());
        for (function, argument) in functions.iter_mut().zip(values) {
            let Some(function) = function else { continue };
            let sum = match argument {
                Argument::Values(values) => {
                    left.push((function, values));
                    continue;
                }
                Argument::Sum(sum) => sum,
            };
            let sums = sums[sum.place].as_deref().unwrap_or_default();
            let sums: Vec<i128> = used.iter().map(|&group| sums[group as usize]).collect();
            let sums = numbers(&sum.data_type, &sums)?;
            match sum.counts {
                true => {
                    let states = [counted(&of_used), sums];
                    function.merge_batch(&states, &places, totals.len())?;
                }
                false => function.update_batch(&[sums], &places, None, totals.len())?,
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        let group_of_row: Vec<usize> = match &local.codes {
            Some(codes) => codes.iter().map(|&code| place_of[code as usize]).collect(),
            None => vec![place_of[0]; rows],
        };
        update(left.into_iter(), &group_of_row, selected, totals.len())
    }

    /// Adds rows by their keys, one by one; all of those that do not count, first.
    fn add_rows(
        &mut self,
        keys: &[ArrayRef],
        rows: usize,
        selected: Option<&BooleanBuffer>,
        values: &[Vec<ArrayRef>],
    ) -> Result<()> {
        let State::Many { groups, rows: totals, functions } = &mut self.state else {
            return Ok(());
        };
        let mask = selected.map(|selected| BooleanArray::new(selected.clone(), None));
        let cut = |array: &ArrayRef| match &mask {
            Some(mask) => Ok(datafusion::arrow::compute::filter(array, mask)?),
            None => Ok(Arc::clone(array)),
        };
        let keys: Vec<ArrayRef> = keys.iter().map(cut).collect::<Result<_>>()?;
        let mut places = Vec::new();
        groups.intern(&keys, &mut places)?;
        debug_assert_eq!(places.len(), selected.map_or(rows, BooleanBuffer::count_set_bits));
        totals.resize(groups.len(), 0);
        places.iter().for_each(|&place| totals[place] += 1);
        let values: Vec<Vec<ArrayRef>> = values
            .iter()
            .map(|values| values.iter().map(cut).collect::<Result<_>>())
            .collect::<Result<_>>()?;
        let functions = functions.iter_mut().zip(values);
        let functions =
            functions.filter_map(|(function, values)| Some((function.as_mut()?, values)));
        update(functions, &places, None, totals.len())
    }

    /// Groups and what is known of them: all if it is the `last` time, or they need not be complete.
    /// They are gone afterwards.
    pub(super) fn take(&mut self, last: bool) -> Result<RecordBatch> {
        if last {
            self.turn_to(0)?;
        }
        let schema = Arc::clone(&self.plan.schema);
        let keyed = self.plan.keyed;
        if self.source > 0 {
            self.set_aside(false)?;
            return Ok(RecordBatch::new_empty(schema));
        }
        let taken = self.take_known(last, keyed, schema)?;
        match &mut self.sides {
            Some(sides) if last => {
                let rest = sides.rest(&self.plan)?;
                Ok(concat_batches(&self.plan.schema, [&taken, &rest])?)
            }
            _ => Ok(taken),
        }
    }

    fn take_known(&mut self, last: bool, keyed: bool, schema: SchemaRef) -> Result<RecordBatch> {
        let (columns, count) = match &mut self.state {
            State::One { rows, functions } => {
                let mut columns = Vec::new();
                for function in functions {
                    match function {
                        None => columns.push(Arc::new(Int64Array::from(vec![*rows])) as ArrayRef),
                        Some(function) => {
                            for state in function.state()? {
                                columns.push(state.to_array()?);
                            }
                        }
                    }
                }
                (columns, 1)
            }
            State::Many { groups, rows, functions } => {
                // More rows of the last group may come.
                let open = usize::from(keyed && !last);
                let count = groups.len().saturating_sub(open);
                let emit = match open {
                    0 => EmitTo::All,
                    _ => EmitTo::First(count),
                };
                let mut columns = match count {
                    0 => return Ok(RecordBatch::new_empty(schema)),
                    _ => groups.emit(emit)?,
                };
                if let Some(sides) = &mut self.sides {
                    sides.merge(&self.plan, &columns, rows, functions)?;
                }
                let left = rows.split_off(count);
                let totals = std::mem::replace(rows, left);
                for function in functions {
                    match function {
                        None => columns.push(Arc::new(Int64Array::from(totals.clone()))),
                        Some(function) if keyed => columns.push(function.evaluate(emit)?),
                        Some(function) => columns.extend(function.state(emit)?),
                    }
                }
                (columns, count)
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }
}

/// What a function is told of a chunk's rows.
enum Argument<'a> {
    /// A value a row.
    Values(Vec<ArrayRef>),
    /// What they add up to.
    Sum(&'a Summed),
}

pub(super) fn accumulators<A>(
    plan: &Plan,
    create: impl Fn(&AggregateFunctionExpr) -> Result<A>,
) -> Result<Vec<Option<A>>> {
    let one = |function: &Function| match function.counts_rows {
        true => Ok(None),
        false => create(&function.expr).map(Some),
    };
    plan.functions.iter().map(one).collect()
}

fn evaluate(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    let rows = batch.num_rows();
    exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(rows)).collect()
}

fn update<'a>(
    functions: impl Iterator<Item = (&'a mut Box<dyn GroupsAccumulator>, Vec<ArrayRef>)>,
    groups: &[usize],
    selected: Option<&BooleanBuffer>,
    count: usize,
) -> Result<()> {
    let mask = selected.map(|selected| BooleanArray::new(selected.clone(), None));
    for (function, values) in functions {
        function.update_batch(&values, groups, mask.as_ref(), count)?;
    }
    Ok(())
}

/// Columns of the chunk, whole or cut down to the rows that count.
fn columns(chunk: &EncodedRows, indices: &[usize], whole: bool) -> Result<Vec<ArrayRef>> {
    match whole {
        true => indices.iter().map(|&index| chunk.whole(index).map_err(error)).collect(),
        false => chunk.decode_columns(indices).map_err(error),
    }
}

/// Counts of rows as an average keeps them.
fn counted(counts: &[i64]) -> ArrayRef {
    Arc::new(UInt64Array::from_iter_values(counts.iter().map(|count| count.unsigned_abs())))
}

/// Sums as values that a function adds up. Like DataFusion's they wrap.
fn numbers(data_type: &DataType, sums: &[i128]) -> Result<ArrayRef> {
    Ok(match data_type {
        DataType::Decimal128(_, scale) => {
            let sums = Decimal128Array::from_iter_values(sums.iter().copied());
            Arc::new(sums.with_precision_and_scale(DECIMAL128_MAX_PRECISION, *scale)?)
        }
        #[expect(clippy::cast_possible_truncation, reason = "sums of BIGINT wrap")]
        _ => Arc::new(Int64Array::from_iter_values(sums.iter().map(|&sum| sum as i64))),
    })
}

/// The column with all rows but the selected ones NULL, which no function counts.
fn masked(column: &ArrayRef, selected: &BooleanBuffer) -> Result<ArrayRef> {
    let selected = NullBuffer::new(selected.clone());
    let nulls = NullBuffer::union(column.logical_nulls().as_ref(), Some(&selected));
    let data = column.to_data().into_builder().nulls(nulls).build()?;
    Ok(make_array(data))
}
