//! [`Table`]: the groups of a partition and what is known of each.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, RecordBatchOptions,
    make_array,
};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer};
use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, SchemaRef};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use silt_storage::EncodedRows;

use super::groups::{LocalGroups, LocalKey, expand};
use super::layout::{Key, Layout};
use super::plan::{Function, Plan};
use crate::value::value_to_scalar;

/// More groups than this are given out before the input ends.
const GROUPS_MAX: usize = 1 << 17;
/// Columns are taken whole if at least one row in this many counts.
const WHOLE_BELOW: usize = 3;
/// The groups of a partition.
pub(super) struct Table {
    plan: Arc<Plan>,
    state: State,
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
                groups: new_group_values(Arc::clone(&plan.group_schema), &GroupOrdering::None)?,
                rows: Vec::new(),
                functions: accumulators(&plan, |function| function.create_groups_accumulator())?,
            },
        };
        Ok(Self { plan, state })
    }

    /// Of what it gives out.
    pub(super) fn schema(&self) -> SchemaRef {
        Arc::clone(&self.plan.schema)
    }

    pub(super) fn is_full(&self) -> bool {
        matches!(&self.state, State::Many { groups, .. } if groups.len() > GROUPS_MAX)
    }

    pub(super) fn add(&mut self, chunk: &EncodedRows) -> Result<()> {
        if chunk.is_empty() || self.is_within(chunk)? {
            return Ok(());
        }
        let total = self.plan.layout.total;
        let dense = match total {
            true => chunk.len() * WHOLE_BELOW >= chunk.span(),
            false => chunk.len() * 8 >= chunk.span() * 7,
        };
        if chunk.selected().is_none() || !dense {
            return self.add_chunk(chunk, chunk.selected().is_none());
        }
        match self.add_chunk(chunk, true) {
            // An expression may fail for a row that does not count.
            Err(_) if !total => self.add_chunk(chunk, false),
            added => added,
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

    /// Adds the rows of a chunk, its columns taken whole or cut down to them. If an expression fails
    /// nothing is added.
    fn add_chunk(&mut self, chunk: &EncodedRows, whole: bool) -> Result<()> {
        let Layout { read, keys, .. } = &self.plan.layout;
        let selected = chunk.selected().filter(|_| whole);
        let rows = if whole { chunk.span() } else { chunk.len() };
        let column = |index: usize| decoded(chunk, index, whole);
        let columns = match whole {
            true => read.iter().map(|&index| chunk.whole(index)).collect(),
            false => chunk.decode_columns(read),
        };
        let columns = columns.map_err(error)?;
        if let State::One { rows: count, functions } = &mut self.state {
            let len = i64::try_from(chunk.len()).unwrap_or(i64::MAX);
            if functions.iter().all(Option::is_none) {
                *count += len;
                return Ok(());
            }
            let batch = self.plan.layout.batch(columns, rows)?;
            let values: Vec<Vec<ArrayRef>> = self
                .plan
                .layout
                .arguments
                .iter()
                .map(|exprs| evaluate(exprs, &batch))
                .collect::<Result<_>>()?;
            // What an expression made of a masked row need not be NULL.
            let mask = |array: &ArrayRef| match selected {
                Some(selected) => masked(array, selected),
                None => Ok(Arc::clone(array)),
            };
            for (at, function) in functions.iter_mut().enumerate() {
                let Some(function) = function else { continue };
                let values = match self.plan.functions[at].sum {
                    None => values[at].iter().map(mask).collect::<Result<Vec<_>>>()?,
                    Some(column) => {
                        let mut sums = [0];
                        match whole && chunk.add_up(column, None, &mut sums).map_err(error)? {
                            true => vec![numbers(&self.plan, at, &sums)?],
                            false => vec![mask(&decoded(chunk, column, whole)?)?],
                        }
                    }
                };
                function.update_batch(&values)?;
            }
            *count += len;
            return Ok(());
        }
        let batch = self.plan.layout.batch(columns, rows)?;
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
                Key::Computed(expr) => expr.evaluate(&batch)?.into_array(rows)?,
            };
            match LocalKey::of_array(&array)? {
                Some(key) => local.push(key),
                None => {
                    plain = Some(());
                    break;
                }
            }
        }
        let arguments = &self.plan.layout.arguments;
        let mut values: Vec<Vec<ArrayRef>> =
            arguments.iter().map(|exprs| evaluate(exprs, &batch)).collect::<Result<_>>()?;
        let expanded = match plain {
            None => match LocalGroups::new(local, rows) {
                Ok(groups) => return self.add_local(&groups, chunk, whole, values),
                Err(local) => expand(&local, rows)?,
            },
            Some(()) => {
                let key = |key: &Key| match key {
                    Key::Column(index) => column(*index),
                    Key::Computed(expr) => expr.evaluate(&batch)?.into_array(rows),
                };
                keys.iter().map(key).collect::<Result<_>>()?
            }
        };
        for (function, values) in self.plan.functions.iter().zip(&mut values) {
            values.extend(function.sum.map(column).transpose()?);
        }
        self.add_rows(&expanded, rows, selected, &values)
    }

    /// Adds rows by the groups of their chunk, taken whole or cut down. `values` are the arguments
    /// of all functions but plain sums.
    fn add_local(
        &mut self,
        local: &LocalGroups,
        chunk: &EncodedRows,
        whole: bool,
        mut values: Vec<Vec<ArrayRef>>,
    ) -> Result<()> {
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
        let mut left = Vec::with_capacity(functions.len());
        for (at, function) in functions.iter_mut().enumerate() {
            let Some(function) = function else { continue };
            let Some(column) = self.plan.functions[at].sum else {
                left.push((function, std::mem::take(&mut values[at])));
                continue;
            };
            let mut sums = vec![0; counts.len()];
            match whole && chunk.add_up(column, local.codes.as_deref(), &mut sums).map_err(error)? {
                true => {
                    let sums: Vec<i128> = used.iter().map(|&group| sums[group as usize]).collect();
                    let sums = numbers(&self.plan, at, &sums)?;
                    function.update_batch(&[sums], &places, None, totals.len())?;
                }
                false => left.push((function, vec![decoded(chunk, column, whole)?])),
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

    /// All groups and states; the table is empty afterwards.
    pub(super) fn take(&mut self) -> Result<RecordBatch> {
        let schema = Arc::clone(&self.plan.schema);
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
                let count = groups.len();
                let mut columns = match count {
                    0 => return Ok(RecordBatch::new_empty(schema)),
                    _ => groups.emit(EmitTo::All)?,
                };
                let totals = std::mem::take(rows);
                for function in functions {
                    match function {
                        None => columns.push(Arc::new(Int64Array::from(totals.clone()))),
                        Some(function) => columns.extend(function.state(EmitTo::All)?),
                    }
                }
                (columns, count)
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(count));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }
}

fn accumulators<A>(
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

/// A column of the chunk, whole or cut down to the rows that count.
fn decoded(chunk: &EncodedRows, column: usize, whole: bool) -> Result<ArrayRef> {
    let column = match whole {
        true => chunk.whole(column),
        false => chunk.decode_columns(&[column]).map(|mut columns| columns.swap_remove(0)),
    };
    column.map_err(error)
}

/// Sums as values of the column that a plain sum adds up. Like DataFusion's they wrap.
fn numbers(plan: &Plan, function: usize, sums: &[i128]) -> Result<ArrayRef> {
    Ok(match plan.functions[function].expr.field().data_type() {
        DataType::Decimal128(_, scale) => {
            let sums = Decimal128Array::from_iter_values(sums.iter().copied());
            Arc::new(sums.with_precision_and_scale(DECIMAL128_MAX_PRECISION, *scale)?)
        }
        #[expect(clippy::cast_possible_truncation, reason = "sums of BIGINT wrap")]
        _ => Arc::new(Int64Array::from_iter_values(sums.iter().map(|&sum| sum as i64))),
    })
}

fn error(error: silt_storage::Error) -> DataFusionError {
    crate::Error::from(error).into()
}

/// The column with all rows but the selected ones NULL, which no function counts.
fn masked(column: &ArrayRef, selected: &BooleanBuffer) -> Result<ArrayRef> {
    let selected = NullBuffer::new(selected.clone());
    let nulls = NullBuffer::union(column.logical_nulls().as_ref(), Some(&selected));
    let data = column.to_data().into_builder().nulls(nulls).build()?;
    Ok(make_array(data))
}
