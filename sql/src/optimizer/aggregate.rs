//! Partial aggregates over a scan, on its rows before they are decoded.
//!
//! The rule puts a [`SiltAggregate`] in the place of a partial `AggregateExec` and the scan below;
//! what it gives out is what that would: group columns and the states of DataFusion's own
//! accumulators, which compute here as well. Ours is only how rows come to their groups
//! ([`groups`](super::groups)), that `count(*)` counts bits, and that columns are taken whole with
//! hidden rows masked where that is cheaper than cutting them out.
//!
//! Groups are given out early if they become many: a partial aggregate may name a group twice.

use std::cmp::Ordering;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Int64Array, RecordBatch, RecordBatchOptions,
    make_array,
};
use datafusion::arrow::buffer::{BooleanBuffer, NullBuffer};
use datafusion::arrow::datatypes::{DECIMAL128_MAX_PRECISION, DataType, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::{Accumulator, EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::aggregates::group_values::{GroupValues, new_group_values};
use datafusion::physical_plan::aggregates::order::GroupOrdering;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties, InputOrderMode,
    Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use futures::Stream;
use silt_storage::EncodedRows;

use super::groups::{LocalGroups, LocalKey, expand};
use super::layout::{Key, Layout};
use super::{Replacement, scan_of};
use crate::provider::scan::{EncodedReader, SiltScan};
use crate::value::value_to_scalar;

/// More groups than this are given out before the input ends.
const GROUPS_MAX: usize = 1 << 17;

/// Whole numbers that are grouped by may span this many values; beyond, keys hardly repeat within
/// a chunk and DataFusion's own way is as good.
const KEY_RANGE_MAX: i128 = 1 << 16;

/// Columns are taken whole if at least one row in this many counts.
const WHOLE_BELOW: usize = 3;

/// Chunks that one poll works through.
const CHUNKS_A_POLL: usize = 16;

/// The plan with our operator in the place of an aggregate, if it can stand there.
pub(super) fn replace(plan: &dyn ExecutionPlan) -> Replacement {
    let Some(aggregate) = plan.downcast_ref::<AggregateExec>() else { return Ok(None) };
    let partial = matches!(aggregate.mode(), AggregateMode::Partial);
    let single = matches!(aggregate.mode(), AggregateMode::Single)
        && aggregate.input().output_partitioning().partition_count() == 1;
    let plain = !aggregate.group_expr().has_grouping_set()
        && aggregate.filter_expr().iter().all(Option::is_none)
        && aggregate.limit_options().is_none()
        && *aggregate.input_order_mode() == InputOrderMode::Linear;
    if !(partial || single) || !plain {
        return Ok(None);
    }
    let (projection, scan) = match aggregate.input().downcast_ref::<ProjectionExec>() {
        Some(projection) => (Some(projection), scan_of(projection.input())),
        None => (None, scan_of(aggregate.input())),
    };
    let Some(scan) = scan else { return Ok(None) };
    if scan.parts().fetch.is_some() || !scan.parts().can_filter() {
        return Ok(None);
    }
    let grouped = !aggregate.group_expr().expr().is_empty();
    let supported = |function: &Arc<AggregateFunctionExpr>| {
        !function.is_distinct()
            && !function.ignore_nulls()
            && function.order_bys().is_empty()
            && (!grouped || function.groups_accumulator_supported())
            && matches!(function.fun().name(), "count" | "sum" | "min" | "max" | "avg")
    };
    if !aggregate.aggr_expr().iter().all(supported) {
        return Ok(None);
    }
    let exprs: Option<Vec<Arc<dyn PhysicalExpr>>> = projection
        .map(|projection| projection.expr().iter().map(|expr| Arc::clone(&expr.expr)).collect());
    let top = aggregate.input().schema();
    let between = exprs.as_deref().map(|exprs| (exprs, &top));
    let input_schema = aggregate.input_schema();
    let column_of = |index: usize| match &exprs {
        Some(exprs) => exprs[index].downcast_ref::<Column>().map(Column::index),
        None => Some(index),
    };
    let function = |expr| {
        let function = Function::new(expr, &top).with_sum(column_of);
        if exprs.is_some() { function } else { function.with_extreme() }
    };
    let functions: Vec<Function> = aggregate.aggr_expr().iter().map(function).collect();
    let arguments: Vec<_> = functions
        .iter()
        .map(|function| match function.counts_rows || function.sum.is_some() {
            true => Vec::new(),
            false => function.expr.expressions(),
        })
        .collect();
    let keys = aggregate.group_expr().input_exprs();
    let layout = Layout::new(&scan.parts().schema, between, &keys, arguments)?;
    if layout.keys.iter().any(|key| is_wide(key, scan)) {
        return Ok(None);
    }
    let group_schema = aggregate.group_expr().group_schema(&top)?;
    let schema = match partial {
        true => aggregate.schema(),
        false => {
            let functions = aggregate.aggr_expr().to_vec();
            let filters = vec![None; functions.len()];
            let as_partial = AggregateExec::try_new(
                AggregateMode::Partial,
                PhysicalGroupBy::clone(aggregate.group_expr()),
                functions,
                filters,
                Arc::clone(aggregate.input()),
                Arc::clone(&input_schema),
            )?;
            as_partial.schema()
        }
    };
    let ours: Arc<dyn ExecutionPlan> = Arc::new(SiltAggregate::new(
        Arc::new(scan.unordered()),
        Arc::new(Plan { layout, functions, group_schema, schema }),
    ));
    if partial {
        return Ok(Some(ours));
    }
    let functions = aggregate.aggr_expr().to_vec();
    let filters = vec![None; functions.len()];
    let last = AggregateExec::try_new(
        AggregateMode::Final,
        aggregate.group_expr().as_final(),
        functions,
        filters,
        ours,
        input_schema,
    )?;
    Ok(Some(Arc::new(last)))
}

/// Whether a key column has too many values to be worth it, as far as that is known.
fn is_wide(key: &Key, scan: &SiltScan) -> bool {
    let Key::Column(index) = key else { return false };
    let statistics = &scan.parts().statistics.column_statistics[*index];
    let number = |value: Option<&ScalarValue>| {
        let array = value?.cast_to(&DataType::Int64).ok()?;
        match array {
            ScalarValue::Int64(number) => number.map(i128::from),
            _ => None,
        }
    };
    if let Some(distinct) = statistics.distinct_count.get_value() {
        return *distinct > usize::try_from(KEY_RANGE_MAX).unwrap_or(usize::MAX);
    }
    if !scan.parts().schema.field(*index).data_type().is_integer() {
        return false;
    }
    let low = number(statistics.min_value.get_value());
    let high = number(statistics.max_value.get_value());
    matches!((low, high), (Some(low), Some(high)) if high - low > KEY_RANGE_MAX)
}

/// An aggregate function.
#[derive(Clone, Debug)]
struct Function {
    expr: Arc<AggregateFunctionExpr>,
    /// It counts rows, whatever they hold.
    counts_rows: bool,
    /// It wants the least, or else the greatest, value of this column of the scan alone.
    extreme: Option<(usize, Ordering)>,
    /// It adds up this column of the scan: its values need not be decoded.
    sum: Option<usize>,
}

impl Function {
    fn new(expr: &Arc<AggregateFunctionExpr>, schema: &SchemaRef) -> Self {
        let never_null = |argument: &Arc<dyn PhysicalExpr>| {
            let constant = argument.downcast_ref::<Literal>();
            let column = argument.downcast_ref::<Column>();
            constant.is_some_and(|constant| !constant.value().is_null())
                || column.is_some_and(|column| !schema.field(column.index()).is_nullable())
        };
        let counts_rows = expr.fun().name() == "count"
            && matches!(expr.expressions().as_slice(), [one] if never_null(one));
        Self { expr: Arc::clone(expr), counts_rows, extreme: None, sum: None }
    }
}

impl Function {
    /// The same, over a scan's own columns.
    fn with_extreme(mut self) -> Self {
        let wanted = match self.expr.fun().name() {
            "min" => Ordering::Less,
            "max" => Ordering::Greater,
            _ => return self,
        };
        if let [argument] = self.expr.expressions().as_slice()
            && let Some(column) = argument.downcast_ref::<Column>()
            && has_one_order(self.expr.field().data_type())
        {
            self.extreme = Some((column.index(), wanted));
        }
        self
    }

    /// The same, over a scan's columns; `column_of` says which of them a column of the input is.
    fn with_sum(mut self, column_of: impl Fn(usize) -> Option<usize>) -> Self {
        if self.expr.fun().name() == "sum"
            && let [argument] = self.expr.expressions().as_slice()
            && let Some(column) = argument.downcast_ref::<Column>()
            && matches!(self.expr.field().data_type(), DataType::Int64 | DataType::Decimal128(..))
        {
            self.sum = column_of(column.index());
        }
        self
    }
}

/// Whether zone maps keep the values of a type whole and in the order of `min` and `max`.
fn has_one_order(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Date32 | DataType::Timestamp(..) | DataType::Decimal128(..)
        )
}

/// What all partitions have in common.
#[derive(Debug)]
struct Plan {
    layout: Layout,
    functions: Vec<Function>,
    group_schema: SchemaRef,
    /// Group columns and states.
    schema: SchemaRef,
}

/// A partial aggregate over a scan.
#[derive(Debug)]
pub(crate) struct SiltAggregate {
    scan: Arc<SiltScan>,
    plan: Arc<Plan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SiltAggregate {
    fn new(scan: Arc<SiltScan>, plan: Arc<Plan>) -> Self {
        let partitions = scan.parts().partitions.len();
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&plan.schema)),
            Partitioning::UnknownPartitioning(partitions),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { scan, plan, properties: Arc::new(properties), metrics }
    }
}

impl DisplayAs for SiltAggregate {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            self.plan.functions.iter().map(|function| function.expr.name()).collect();
        let keys: Vec<&str> =
            self.plan.group_schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "SiltAggregate: gby=[{}], aggr=[{}]", keys.join(", "), names.join(", "))
    }
}

impl ExecutionPlan for SiltAggregate {
    fn name(&self) -> &'static str {
        "SiltAggregate"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        // The scan is read undecoded, not run: nothing may be put in between.
        Vec::new()
    }

    fn replace_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        Ok(Box::pin(AggregateStream {
            reader: self.scan.reader(partition)?,
            metrics: BaselineMetrics::new(&self.metrics, partition),
            rows_max: context.session_config().batch_size(),
            table: Table::new(Arc::clone(&self.plan))?,
            ready: Vec::new(),
            ended: false,
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut metrics = self.metrics.clone_inner();
        for metric in self.scan.metrics().iter().flat_map(MetricsSet::iter) {
            metrics.push(Arc::clone(metric));
        }
        Some(metrics)
    }
}

struct AggregateStream {
    reader: EncodedReader,
    metrics: BaselineMetrics,
    rows_max: usize,
    table: Table,
    /// Last first.
    ready: Vec<RecordBatch>,
    ended: bool,
}

impl AggregateStream {
    /// Whether there is something to give out, or nothing any more.
    fn advance(&mut self) -> Result<bool> {
        for _ in 0..CHUNKS_A_POLL {
            if self.ended || !self.ready.is_empty() {
                return Ok(true);
            }
            match self.reader.next()? {
                Some(rows) => {
                    self.table.add(&rows)?;
                    if self.table.is_full() {
                        self.give_out()?;
                    }
                }
                None => {
                    self.ended = true;
                    self.give_out()?;
                }
            }
        }
        Ok(false)
    }

    fn give_out(&mut self) -> Result<()> {
        let batch = self.table.take()?;
        let mut start = 0;
        while start < batch.num_rows() {
            let rows = self.rows_max.min(batch.num_rows() - start);
            self.ready.push(batch.slice(start, rows));
            start += rows;
        }
        self.ready.reverse();
        Ok(())
    }
}

impl Stream for AggregateStream {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let timer = this.metrics.elapsed_compute().clone();
        let timer = timer.timer();
        let advanced = this.advance();
        timer.done();
        let next = match advanced {
            Ok(true) => this.ready.pop().map(Ok),
            Ok(false) => {
                // Others get their turn, and whoever wants to stop this can.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            Err(error) => {
                this.ended = true;
                this.ready.clear();
                Some(Err(error))
            }
        };
        this.metrics.record_poll(Poll::Ready(next))
    }
}

impl RecordBatchStream for AggregateStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.table.plan.schema)
    }
}

/// The groups of a partition.
struct Table {
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
    fn new(plan: Arc<Plan>) -> Result<Self> {
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

    fn is_full(&self) -> bool {
        matches!(&self.state, State::Many { groups, .. } if groups.len() > GROUPS_MAX)
    }

    fn add(&mut self, chunk: &EncodedRows) -> Result<()> {
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
    fn take(&mut self) -> Result<RecordBatch> {
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
