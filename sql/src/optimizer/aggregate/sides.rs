//! [`Sides`]: groups of a few rows beside those of the many, of which they may be part.
//!
//! A table's rows lie in one large source and a few small ones that came since; a row that was
//! replaced is hidden in all but the newest. Each source is read by itself and in the key's order, so
//! its groups come one after the other. Those of the small sources come first, are put together by
//! key, and wait: as the groups of the last source pass, each takes in what is known of the same
//! group here. What is left in the end are groups that the last source has no row of.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::types::Int64Type;
use datafusion::arrow::array::{
    ArrayRef, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array, make_comparator,
};
use datafusion::arrow::compute::{SortColumn, concat, lexsort_to_indices, partition, take};
use datafusion::common::Result;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};

use super::plan::Plan;
use super::table::accumulators;

/// The states of each function, or the counts of rows of one that counts them.
type States = Vec<Vec<ArrayRef>>;

/// Group columns, and what is known of the groups.
type Known = (Vec<ArrayRef>, States);

type Functions = [Option<Box<dyn GroupsAccumulator>>];

/// See the module.
#[derive(Default)]
pub(super) struct Sides {
    /// As sources gave them: each a stretch of groups by key, none twice.
    open: Vec<Known>,
    /// Put together, by key, none twice.
    keys: Vec<ArrayRef>,
    states: States,
    len: usize,
    /// The first that waits.
    at: usize,
    /// Those before that no group has taken in.
    alone: Vec<u32>,
}

impl Sides {
    /// Takes in the next groups of a source.
    pub(super) fn push(&mut self, keys: Vec<ArrayRef>, states: States) {
        self.open.push((keys, states));
    }

    /// Puts together what the sources gave.
    pub(super) fn close(&mut self, plan: &Plan) -> Result<()> {
        let open = std::mem::take(&mut self.open);
        let Some((keys, states)) = open.first() else { return Ok(()) };
        let whole = |column: &dyn Fn(&Known) -> ArrayRef| {
            let parts: Vec<ArrayRef> = open.iter().map(column).collect();
            let parts: Vec<_> = parts.iter().map(|part| &**part).collect();
            concat(&parts)
        };
        let keys: Vec<ArrayRef> = (0..keys.len())
            .map(|at| whole(&|(keys, _)| Arc::clone(&keys[at])))
            .collect::<Result<_, _>>()?;
        let of_function = |function: usize| {
            let states = (0..states[function].len())
                .map(|at| whole(&|(_, states)| Arc::clone(&states[function][at])));
            states.collect::<Result<Vec<_>, _>>()
        };
        let states: States = (0..states.len()).map(of_function).collect::<Result<_, _>>()?;
        let sorted: Vec<SortColumn> = plan
            .order
            .iter()
            .map(|&(place, options)| SortColumn {
                values: Arc::clone(&keys[place]),
                options: Some(options),
            })
            .collect();
        let by_key = lexsort_to_indices(&sorted, None)?;
        let keys = taken(&keys, &by_key)?;
        let states: States =
            states.iter().map(|states| taken(states, &by_key)).collect::<Result<_>>()?;
        let runs = partition(&keys)?.ranges();
        self.len = runs.len();
        if runs.len() == by_key.len() {
            (self.keys, self.states) = (keys, states);
            return Ok(());
        }
        let first = |start: usize| u32::try_from(start).unwrap_or(u32::MAX);
        let firsts = UInt32Array::from_iter_values(runs.iter().map(|run| first(run.start)));
        self.keys = taken(&keys, &firsts)?;
        let mut places = Vec::with_capacity(by_key.len());
        for (group, run) in runs.iter().enumerate() {
            places.resize(run.end, group);
        }
        let mut totals = vec![0; self.len];
        let mut functions = functions(plan)?;
        merge(&mut functions, &states, &places, &mut totals)?;
        let counts = || Arc::new(Int64Array::from(totals.clone())) as ArrayRef;
        self.states = functions
            .iter_mut()
            .map(|function| match function {
                None => Ok(vec![counts()]),
                Some(function) => function.state(EmitTo::All),
            })
            .collect::<Result<_>>()?;
        Ok(())
    }

    /// Adds what is known of these groups, which come by key and of which no later one is among
    /// those that wait before, to what `rows` and `functions` know: theirs are the first groups.
    pub(super) fn merge(
        &mut self,
        plan: &Plan,
        groups: &[ArrayRef],
        rows: &mut [i64],
        functions: &mut Functions,
    ) -> Result<()> {
        let (same, places) = self.pass(plan, groups)?;
        if places.is_empty() {
            return Ok(());
        }
        let same = UInt32Array::from(same);
        let states: States =
            self.states.iter().map(|states| taken(states, &same)).collect::<Result<_>>()?;
        merge(functions, &states, &places, rows)
    }

    /// Passes those that wait and are not behind the last of `groups`. Gives those that are among
    /// them, and their places there.
    fn pass(&mut self, plan: &Plan, groups: &[ArrayRef]) -> Result<(Vec<u32>, Vec<usize>)> {
        let (mut same, mut places) = (Vec::new(), Vec::new());
        let count = groups.first().map_or(0, |column| column.len());
        if self.at == self.len || count == 0 {
            return Ok((same, places));
        }
        let compare = plan
            .order
            .iter()
            .map(|&(place, options)| make_comparator(&self.keys[place], &groups[place], options));
        let compare = compare.collect::<Result<Vec<_>, _>>()?;
        let order = |ours: usize, group: usize| {
            let mut orders = compare.iter().map(|compare| compare(ours, group));
            orders.find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
        };
        let mut group = 0;
        while self.at < self.len {
            // The first group that is not before ours lies within ever longer steps.
            let (mut high, mut step) = (group, 1);
            while high < count && order(self.at, high).is_gt() {
                group = high + 1;
                high += step;
                step *= 2;
            }
            let mut high = high.min(count);
            while group < high {
                let middle = group + (high - group) / 2;
                match order(self.at, middle).is_gt() {
                    true => group = middle + 1,
                    false => high = middle,
                }
            }
            if group == count {
                break;
            }
            let ours = u32::try_from(self.at).unwrap_or(u32::MAX);
            if order(self.at, group).is_eq() {
                same.push(ours);
                places.push(group);
            } else {
                self.alone.push(ours);
            }
            self.at += 1;
        }
        Ok((same, places))
    }

    /// The groups that no other took in.
    pub(super) fn rest(&mut self, plan: &Plan) -> Result<RecordBatch> {
        let waiting = self.at..self.len;
        self.at = self.len;
        let mut alone = std::mem::take(&mut self.alone);
        alone.extend(waiting.filter_map(|at| u32::try_from(at).ok()));
        let schema = Arc::clone(&plan.schema);
        if alone.is_empty() {
            return Ok(RecordBatch::new_empty(schema));
        }
        let alone = UInt32Array::from(alone);
        let states: States =
            self.states.iter().map(|states| taken(states, &alone)).collect::<Result<_>>()?;
        let mut functions = functions(plan)?;
        let places: Vec<usize> = (0..alone.len()).collect();
        let mut totals = vec![0; alone.len()];
        merge(&mut functions, &states, &places, &mut totals)?;
        let mut columns = taken(&self.keys, &alone)?;
        for function in &mut functions {
            columns.push(match function {
                None => Arc::new(Int64Array::from(totals.clone())),
                Some(function) => function.evaluate(EmitTo::All)?,
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(alone.len()));
        Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
    }
}

fn functions(plan: &Plan) -> Result<Vec<Option<Box<dyn GroupsAccumulator>>>> {
    accumulators(plan, |function| function.create_groups_accumulator())
}

/// Adds states to groups at these places; there are as many groups as `rows`.
fn merge(
    functions: &mut Functions,
    states: &States,
    places: &[usize],
    rows: &mut [i64],
) -> Result<()> {
    let count = rows.len();
    let mut counted = false;
    for (function, states) in functions.iter_mut().zip(states) {
        match function {
            Some(function) => function.merge_batch(states, places, count)?,
            // All that count rows have counted the same.
            None if counted => {}
            None => {
                counted = true;
                let counts = states[0].as_primitive::<Int64Type>();
                for (place, count) in places.iter().zip(counts.values()) {
                    rows[*place] += count;
                }
            }
        }
    }
    Ok(())
}

fn taken(columns: &[ArrayRef], rows: &UInt32Array) -> Result<Vec<ArrayRef>> {
    Ok(columns.iter().map(|column| take(column, rows, None)).collect::<Result<_, _>>()?)
}
