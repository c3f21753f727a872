//! [`SiltScan`]: the operator under every query, over gets and scans of one tree.
//!
//! A scan opens at its first poll, not in `execute`: what is planned and never polled costs
//! nothing. Storage is synchronous and answers mostly from its cache, so a batch is decoded within
//! the poll, on the thread that wants it; DataFusion's cooperative wrapper yields between batches.

use std::fmt;
use std::ops::Bound;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{BatchCoalescer, SortOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, Statistics, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::DynamicFilterTracking;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, Metric, MetricValue, MetricsSet,
};
use datafusion::physical_plan::sort_pushdown::SortOrderPushdownResult;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions, StatisticsArgs,
};
use futures::Stream;
use silt_storage::{
    EncodedRows, KeyRange, Predicate, ReadCounters, Scan, ScanOrder, ScanRequest, Snapshot, Tree,
};

use super::dynamic::Narrowing;
use super::pushdown::Access;
use crate::ScanOptions;
use crate::interrupt::Run;

/// Rows that small batches are put together to.
const BATCH_ROWS: usize = 8_192;

/// How many values a column is taken to have of which nothing is known, as in files of
/// earlier releases. DataFusion would take all to differ, and a join by the column to give nearly
/// nothing. (PostgreSQL's guess as well.)
const DISTINCT_GUESSED: usize = 200;

/// What a [`SiltScan`] is made of.
#[derive(Clone, Debug)]
pub(crate) struct ScanParts {
    /// As EXPLAIN names the table.
    pub(crate) name: String,
    /// The columns given out.
    pub(crate) schema: SchemaRef,
    /// Their positions in the tree.
    pub(crate) projection: Vec<usize>,
    /// For each key column its position in `schema`, if it is there.
    pub(crate) key: Vec<Option<usize>>,
    /// The tree read.
    pub(crate) tree: Tree,
    /// The moment read.
    pub(crate) snapshot: Snapshot,
    /// The way to the rows of each partition; partitions ascend by key.
    pub(crate) partitions: Vec<Access>,
    /// Rows that fail it may be left out.
    pub(crate) predicate: Option<Predicate>,
    /// Whether `partitions` alone enforce every filter of the query.
    pub(crate) exact: bool,
    /// Whether the scan itself leaves out what fails `predicate`.
    pub(crate) absorbed: bool,
    /// Over `schema`: what a running operator above still wants. Rows that fail may be left out.
    pub(crate) dynamic: Vec<Arc<dyn PhysicalExpr>>,
    /// What the scan may do by itself.
    pub(crate) options: ScanOptions,
    /// Rows wanted at most, of each partition.
    pub(crate) fetch: Option<usize>,
    /// Of the rows that `partitions` reach, by column of `schema`.
    pub(crate) statistics: Statistics,
}

impl ScanParts {
    /// Whether filters may be evaluated here: not where whole keys are named.
    pub(crate) fn can_filter(&self) -> bool {
        self.partitions.iter().all(|access| matches!(access, Access::Ranges(_)))
    }

    /// The same with these columns only, in this order.
    pub(crate) fn project(&self, columns: &[usize]) -> Result<Self> {
        let place = |at: usize| columns.iter().position(|&column| column == at);
        Ok(Self {
            schema: Arc::new(self.schema.project(columns)?),
            projection: columns.iter().map(|&column| self.projection[column]).collect(),
            key: self.key.iter().map(|column| column.and_then(place)).collect(),
            statistics: self.statistics.clone().project(Some(&columns.to_vec())),
            dynamic: self.dynamic.iter().filter_map(|expr| moved(expr, &place)).collect(),
            ..self.clone()
        })
    }
}

/// The expression over other columns; none if it names one that is gone.
fn moved(
    expr: &Arc<dyn PhysicalExpr>,
    place: &dyn Fn(usize) -> Option<usize>,
) -> Option<Arc<dyn PhysicalExpr>> {
    let moved = Arc::clone(expr).transform_up(|expr| {
        let Some(column) = expr.downcast_ref::<Column>() else { return Ok(Transformed::no(expr)) };
        match place(column.index()) {
            Some(index) => Ok(Transformed::yes(Arc::new(Column::new(column.name(), index)) as _)),
            None => internal_err!("the column is gone"),
        }
    });
    moved.data().ok()
}

/// Gets or scans of one tree.
#[derive(Debug)]
pub(crate) struct SiltScan {
    parts: Arc<ScanParts>,
    order: ScanOrder,
    properties: Arc<PlanProperties>,
    counters: Arc<ReadCounters>,
    metrics: ExecutionPlanMetricsSet,
}

impl SiltScan {
    /// A scan in key order where that costs nothing, else in any order.
    pub(crate) fn new(parts: ScanParts) -> Result<Self> {
        let mut settled = true;
        for access in &parts.partitions {
            let Access::Ranges(ranges) = access else { continue };
            for range in ranges {
                let here = parts.tree.is_settled(range, &parts.snapshot);
                settled = settled && here.map_err(crate::Error::from)?;
            }
        }
        let order = if settled { ScanOrder::Forward } else { ScanOrder::Unordered };
        Ok(Self::with_order(Arc::new(parts), order))
    }

    fn with_order(parts: Arc<ScanParts>, order: ScanOrder) -> Self {
        let schema = Arc::clone(&parts.schema);
        let ordering = key_ordering(&parts, order);
        let equivalences = match ordering.is_empty() {
            true => EquivalenceProperties::new(schema),
            false => EquivalenceProperties::new_with_orderings(schema, [ordering]),
        };
        let properties = PlanProperties::new(
            equivalences,
            Partitioning::UnknownPartitioning(parts.partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        );
        Self {
            parts,
            order,
            properties: Arc::new(properties),
            counters: Arc::new(ReadCounters::default()),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// What it is made of.
    pub(crate) fn parts(&self) -> &ScanParts {
        &self.parts
    }

    /// Whether each partition of the other one gives out the same rows; not where anybody else may
    /// narrow them while it runs.
    pub(crate) fn reads_same(&self, other: &Self) -> bool {
        let (one, other_parts) = (&*self.parts, &*other.parts);
        one.tree.id() == other_parts.tree.id()
            && one.snapshot.is_same(&other_parts.snapshot)
            && one.schema == other_parts.schema
            && one.projection == other_parts.projection
            && one.partitions == other_parts.partitions
            && one.predicate == other_parts.predicate
            && one.absorbed == other_parts.absorbed
            && one.dynamic.is_empty()
            && other_parts.dynamic.is_empty()
            && one.fetch == other_parts.fetch
            && self.order == other.order
    }

    /// The same in any order.
    pub(crate) fn unordered(&self) -> Self {
        Self::with_order(Arc::clone(&self.parts), ScanOrder::Unordered)
    }

    /// A scan of `parts`, in this one's order, that leaves out what fails `predicate`.
    pub(crate) fn filtered(&self, parts: ScanParts, predicate: Predicate) -> Self {
        let parts = ScanParts {
            predicate: Some(predicate),
            absorbed: true,
            statistics: parts.statistics.clone().to_inexact(),
            ..parts
        };
        Self::with_order(Arc::new(parts), self.order)
    }

    /// The same, told by those of these filters over its columns that are dynamic, if it can be told
    /// any.
    pub(crate) fn told(
        &self,
        phase: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Option<Self> {
        let is_dynamic = |filter: &Arc<dyn PhysicalExpr>| {
            DynamicFilterTracking::classify(filter).contains_dynamic_filter()
        };
        let dynamic: Vec<_> = filters.into_iter().filter(is_dynamic).collect();
        let wanted = phase == FilterPushdownPhase::Post
            && self.parts.options.dynamic
            && self.parts.can_filter()
            && self.parts.fetch.is_none();
        if !wanted || dynamic.is_empty() {
            return None;
        }
        let parts = ScanParts { dynamic, ..(*self.parts).clone() };
        Some(Self::with_order(Arc::new(parts), self.order))
    }

    /// The same, told only by those of its dynamic filters that are `wanted`; none if all are.
    pub(crate) fn told_by(&self, wanted: impl Fn(&Arc<dyn PhysicalExpr>) -> bool) -> Option<Self> {
        let mut parts = (*self.parts).clone();
        parts.dynamic.retain(wanted);
        let fewer = parts.dynamic.len() < self.parts.dynamic.len();
        fewer.then(|| Self::with_order(Arc::new(parts), self.order))
    }

    /// The same, reaching its rows by `partitions`, which are as many and lie within its own, and
    /// told by those of its dynamic filters that are `wanted`. What it counts counts here.
    pub(crate) fn seeking(
        &self,
        partitions: Vec<Access>,
        wanted: impl Fn(&dyn PhysicalExpr) -> bool,
    ) -> Self {
        let mut parts = (*self.parts).clone();
        parts.partitions = partitions;
        parts.dynamic.retain(|filter| wanted(&**filter));
        Self {
            parts: Arc::new(parts),
            order: self.order,
            properties: Arc::clone(&self.properties),
            counters: Arc::clone(&self.counters),
            metrics: self.metrics.clone(),
        }
    }

    /// Whether rows come in the reverse of the key's order.
    pub(crate) fn is_reversed(&self) -> bool {
        self.order == ScanOrder::Reverse
    }

    /// Whether rows of a partition come in the key's order.
    pub(crate) fn is_forward(&self) -> bool {
        self.order == ScanOrder::Forward
    }

    /// The order of each source's rows: the key's, as far as its columns are given out. It is that
    /// of all rows if they come in the key's order.
    pub(crate) fn ordering(&self) -> Vec<PhysicalSortExpr> {
        key_ordering(&self.parts, ScanOrder::Forward)
    }

    /// About how many rows come from other sources than the last.
    pub(crate) fn rows_above(&self) -> u64 {
        self.parts.tree.rows_above(&self.parts.snapshot)
    }

    /// The same with all rows of one value of the key's first column in one partition: each border
    /// lies where that value begins. None if rows are too few of these values for it.
    pub(crate) fn cut_by_first_key(&self) -> Option<Self> {
        let mut parts = (*self.parts).clone();
        let codec = parts.tree.key_codec();
        let mut last: Option<&mut KeyRange> = None;
        for access in &mut parts.partitions {
            let Access::Ranges(ranges) = access else { return None };
            if let Some(before) = last {
                let first = ranges.first_mut()?;
                let Bound::Included(border) = &mut first.start else { return None };
                if before.end != Bound::Excluded(border.clone()) {
                    return None;
                }
                border.truncate(codec.prefix_len(border, 1).ok()?);
                before.end = Bound::Excluded(border.clone());
                if before.is_empty() {
                    return None;
                }
            }
            last = ranges.last_mut();
        }
        Some(Self::with_order(Arc::new(parts), self.order))
    }

    /// The rows of a partition before they are decoded, in its order.
    pub(crate) fn reader(&self, partition: usize, context: &TaskContext) -> Result<EncodedReader> {
        let Some(access) = self.parts.partitions.get(partition) else {
            return internal_err!("partition {partition} of a scan");
        };
        let ranges = match access {
            Access::Ranges(ranges) => ranges.iter().rev().cloned().collect(),
            Access::Points(_) => return internal_err!("keys are not scanned"),
        };
        let (parts, counters) = (Arc::clone(&self.parts), Arc::clone(&self.counters));
        let (narrowing, order) = (Narrowing::new(&parts), self.order);
        let run = context.session_config().get_extension::<Run>();
        Ok(EncodedReader { parts, counters, run, ranges, order, scan: None, narrowing })
    }

    /// Whether batches may come out small.
    fn coalesces(&self) -> bool {
        (self.parts.absorbed || !self.parts.dynamic.is_empty()) && self.parts.fetch.is_none()
    }

    fn with_parts(&self, parts: ScanParts, order: ScanOrder) -> Arc<dyn ExecutionPlan> {
        Arc::new(Self::with_order(Arc::new(parts), order))
    }

    fn points(&self) -> Option<&[Vec<u8>]> {
        match self.parts.partitions.as_slice() {
            [Access::Points(points)] => Some(points),
            _ => None,
        }
    }
}

/// The order of rows by the key columns that are given out, up to the first that is not.
fn key_ordering(parts: &ScanParts, order: ScanOrder) -> Vec<PhysicalSortExpr> {
    let reverse = match order {
        ScanOrder::Unordered => return Vec::new(),
        ScanOrder::Forward => false,
        ScanOrder::Reverse => true,
    };
    let tree_schema = parts.tree.schema();
    let columns = parts.key.iter().zip(&tree_schema.key);
    columns
        .map_while(|(column, key)| {
            let column = (*column)?;
            let descending = key.descending != reverse;
            let expr = Column::new(parts.schema.field(column).name(), column);
            // Keys hold no NULL, so where NULLs would stand is free; the usual default matches.
            let options = SortOptions { descending, nulls_first: descending };
            Some(PhysicalSortExpr { expr: Arc::new(expr), options })
        })
        .collect()
}

/// What EXPLAIN ANALYZE shows of a scan.
fn named(counters: &ReadCounters) -> [(&'static str, u64); 13] {
    [
        ("gets", counters.gets.get()),
        ("filter_misses", counters.filter_misses.get()),
        ("files_read", counters.files_read.get()),
        ("files_pruned", counters.files_pruned.get()),
        ("groups_read", counters.groups_read.get()),
        ("groups_pruned", counters.groups_pruned.get()),
        ("sections_raw", counters.sections_raw.get()),
        ("sections_merged", counters.sections_merged.get()),
        ("sections_shadowed", counters.sections_shadowed.get()),
        ("rows_hidden", counters.rows_hidden.get()),
        ("shadows_cached", counters.shadows_cached.get()),
        ("shadows_built", counters.shadows_built.get()),
        ("bytes_read", counters.bytes_read.get()),
    ]
}

impl DisplayAs for SiltScan {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = &self.parts;
        write!(f, "SiltScan: table={}, ", parts.name)?;
        match self.points() {
            Some([]) => write!(f, "nothing")?,
            Some([_]) => write!(f, "get")?,
            Some(points) => write!(f, "multi_get of {} keys", points.len())?,
            None => {
                let ranges = parts.partitions.iter().flat_map(|access| match access {
                    Access::Ranges(ranges) => ranges.as_slice(),
                    Access::Points(_) => &[],
                });
                let ranges: Vec<&KeyRange> = ranges.collect();
                let unbounded = |range: &&KeyRange| **range == KeyRange::all();
                let whole = match ranges.as_slice() {
                    [one] => unbounded(one),
                    [first, .., last] if parts.partitions.len() > 1 => {
                        first.start == KeyRange::all().start && last.end == KeyRange::all().end
                    }
                    _ => false,
                };
                match whole {
                    true => write!(f, "scan of all keys")?,
                    false => write!(f, "scan of {} key range(s)", ranges.len())?,
                }
                write!(f, ", partitions={}", parts.partitions.len())?;
                match self.order {
                    ScanOrder::Unordered => {}
                    ScanOrder::Forward => write!(f, ", order=key")?,
                    ScanOrder::Reverse => write!(f, ", order=key reversed")?,
                }
            }
        }
        let names: Vec<&str> =
            parts.schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, ", projection=[{}]", names.join(", "))?;
        match (&parts.predicate, parts.absorbed) {
            (Some(_), true) => write!(f, ", filter=yes")?,
            (Some(_), false) => write!(f, ", pruning=yes")?,
            (None, _) => {}
        }
        if let Some(fetch) = parts.fetch {
            write!(f, ", fetch={fetch}")?;
        }
        Ok(())
    }
}

impl ExecutionPlan for SiltScan {
    fn name(&self) -> &'static str {
        "SiltScan"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
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
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        for filter in &self.parts.dynamic {
            if visit(filter)? == TreeNodeRecursion::Stop {
                return Ok(TreeNodeRecursion::Stop);
            }
        }
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let Some(access) = self.parts.partitions.get(partition) else {
            return internal_err!(
                "partition {partition} of a scan of {}",
                self.parts.partitions.len()
            );
        };
        Ok(Box::pin(ScanStream {
            parts: Arc::clone(&self.parts),
            order: self.order,
            counters: Arc::clone(&self.counters),
            run: context.session_config().get_extension::<Run>(),
            metrics: BaselineMetrics::new(&self.metrics, partition),
            left: self.parts.fetch,
            narrowing: Narrowing::new(&self.parts),
            coalescer: self.coalesces().then(|| {
                BatchCoalescer::new(Arc::clone(&self.parts.schema), BATCH_ROWS)
                    .with_biggest_coalesce_batch_size(Some(BATCH_ROWS / 2))
            }),
            state: State::Waiting(access.clone()),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        let mut metrics = self.metrics.clone_inner();
        for (name, value) in named(&self.counters) {
            let count = Count::new();
            count.add(usize::try_from(value).unwrap_or(usize::MAX));
            let value = MetricValue::Count { name: name.into(), count };
            metrics.push(Arc::new(Metric::new(value, None)));
        }
        Some(metrics)
    }

    fn statistics_from_inputs(
        &self,
        _inputs: &[Arc<Statistics>],
        args: &StatisticsArgs,
    ) -> Result<Arc<Statistics>> {
        let parts = &self.parts;
        let mut statistics = parts.statistics.clone();
        let whole = parts.exact
            && parts.fetch.is_none()
            && matches!(parts.partitions.as_slice(), [Access::Ranges(ranges)] if *ranges == [KeyRange::all()]);
        let split = args.partition().is_some() && parts.partitions.len() > 1;
        if let Some(points) = self.points() {
            statistics = statistics.to_inexact();
            statistics.num_rows = Precision::Inexact(points.len());
        } else if !whole || split {
            statistics = statistics.to_inexact();
            if split {
                let share = |rows: usize| rows / parts.partitions.len();
                statistics.num_rows = match statistics.num_rows {
                    Precision::Inexact(rows) | Precision::Exact(rows) => {
                        Precision::Inexact(share(rows))
                    }
                    Precision::Absent => Precision::Absent,
                };
            }
        }
        if let Some(fetch) = parts.fetch {
            statistics.num_rows = statistics.num_rows.min(&Precision::Inexact(fetch));
        }
        if let Some(&rows) = statistics.num_rows.get_value() {
            for column in &mut statistics.column_statistics {
                if column.distinct_count == Precision::Absent {
                    column.distinct_count = Precision::Inexact(rows.min(DISTINCT_GUESSED));
                }
            }
        }
        Ok(Arc::new(statistics))
    }

    fn with_fetch(&self, limit: Option<usize>) -> Option<Arc<dyn ExecutionPlan>> {
        // Rows that a filter above takes away must not count.
        let parts = ScanParts { fetch: limit, ..(*self.parts).clone() };
        (self.parts.exact || limit.is_none()).then(|| self.with_parts(parts, self.order))
    }

    fn fetch(&self) -> Option<usize> {
        self.parts.fetch
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let filters: Vec<Arc<dyn PhysicalExpr>> =
            result.parent_filters.iter().map(|filter| Arc::clone(&filter.filter)).collect();
        let propagation = FilterPushdownPropagation::all_unsupported(result);
        match self.told(phase, filters) {
            Some(scan) => Ok(propagation.with_updated_node(Arc::new(scan))),
            None => Ok(propagation),
        }
    }

    fn try_pushdown_sort(
        &self,
        wanted: &[PhysicalSortExpr],
    ) -> Result<SortOrderPushdownResult<Arc<dyn ExecutionPlan>>> {
        for order in [ScanOrder::Forward, ScanOrder::Reverse] {
            let ordering = key_ordering(&self.parts, order);
            let fits = !wanted.is_empty()
                && wanted.len() <= ordering.len()
                && wanted.iter().zip(&ordering).all(|(wanted, has)| {
                    wanted.expr.eq(&has.expr) && wanted.options.descending == has.options.descending
                });
            if !fits {
                continue;
            }
            if self.points().is_some() && order == ScanOrder::Reverse {
                return Ok(SortOrderPushdownResult::Unsupported);
            }
            // One partition: its ranges follow one another in key order, nothing is merged above.
            let mut parts = (*self.parts).clone();
            if self.points().is_none() {
                let ranges = parts.partitions.into_iter().flat_map(|access| match access {
                    Access::Ranges(ranges) => ranges,
                    Access::Points(_) => Vec::new(),
                });
                parts.partitions = vec![Access::Ranges(ranges.collect())];
            }
            return Ok(SortOrderPushdownResult::Exact { inner: self.with_parts(parts, order) });
        }
        Ok(SortOrderPushdownResult::Unsupported)
    }
}

/// One partition of a running scan.
struct ScanStream {
    parts: Arc<ScanParts>,
    order: ScanOrder,
    counters: Arc<ReadCounters>,
    /// Asked before each batch whether there is to be one.
    run: Option<Arc<Run>>,
    metrics: BaselineMetrics,
    left: Option<usize>,
    narrowing: Narrowing,
    /// Puts small batches together; none where batches come as they are.
    coalescer: Option<BatchCoalescer>,
    state: State,
}

enum State {
    /// Not polled yet.
    Waiting(Access),
    /// The open scan, and the ranges to come in reverse order.
    Running(Box<Scan>, Vec<KeyRange>),
    /// A batch that is left to give, as a whole.
    Last(Option<RecordBatch>),
}

impl ScanStream {
    /// The next rows under SQL's names.
    fn next_dressed(&mut self) -> Result<Option<RecordBatch>> {
        if self.coalescer.is_none() {
            return self.next_batch()?.map(|batch| self.dress(batch)).transpose();
        }
        loop {
            if let Some(batch) =
                self.coalescer.as_mut().and_then(BatchCoalescer::next_completed_batch)
            {
                return Ok(Some(batch));
            }
            let batch = self.next_batch()?.map(|batch| self.dress(batch)).transpose()?;
            let Some(coalescer) = &mut self.coalescer else { return Ok(batch) };
            match batch {
                Some(batch) => {
                    coalescer.push_batch(batch)?;
                    if self.narrowing.hurries(coalescer.get_buffered_rows()) {
                        coalescer.finish_buffered_batch()?;
                    }
                }
                None => {
                    coalescer.finish_buffered_batch()?;
                    let last = coalescer.next_completed_batch();
                    self.coalescer = None;
                    return Ok(last);
                }
            }
        }
    }

    fn next_batch(&mut self) -> Result<Option<RecordBatch>> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let storage = |error: silt_storage::Error| DataFusionError::from(crate::Error::from(error));
        self.run.as_ref().map_or(Ok(()), |run| run.check_read())?;
        loop {
            match &mut self.state {
                State::Waiting(access) => {
                    let access = access.clone();
                    self.start(access)?;
                }
                State::Running(scan, ranges) => {
                    if let Some(batch) = next_narrowed(scan, &mut self.narrowing, &self.parts)? {
                        return Ok(Some(batch));
                    }
                    match ranges.pop() {
                        Some(range) => {
                            let ranges = std::mem::take(ranges);
                            let scan = self.open(range).map_err(storage)?;
                            self.state = State::Running(scan, ranges);
                        }
                        None => self.state = State::Last(None),
                    }
                }
                State::Last(batch) => return Ok(batch.take().filter(|batch| batch.num_rows() > 0)),
            }
        }
    }

    fn start(&mut self, access: Access) -> Result<()> {
        let storage = |error: silt_storage::Error| DataFusionError::from(crate::Error::from(error));
        self.narrowing.refresh(&self.parts)?;
        let narrowed = match self.order {
            ScanOrder::Reverse => None,
            _ => self.narrowing.lookups(&self.parts, &access)?,
        };
        self.state = match narrowed.unwrap_or(access) {
            Access::Points(points) => {
                let ScanParts { tree, projection, snapshot, .. } = &*self.parts;
                let found = tree
                    .multi_get(&points, projection, snapshot, &self.counters)
                    .map_err(storage)?;
                State::Last(Some(found.batch))
            }
            Access::Ranges(mut ranges) => {
                if self.order != ScanOrder::Reverse {
                    ranges.reverse();
                }
                match ranges.pop() {
                    Some(range) => State::Running(self.open(range).map_err(storage)?, ranges),
                    None => State::Last(None),
                }
            }
        };
        Ok(())
    }

    fn open(&self, range: KeyRange) -> silt_storage::Result<Box<Scan>> {
        let Self { parts, order, left, counters, run, .. } = self;
        let mut scan = open(parts, range, *order, *left, counters, run.as_ref())?;
        scan.narrow(self.narrowing.predicate.clone());
        Ok(scan)
    }

    /// The batch under SQL's names, cut at what is left to give.
    fn dress(&mut self, batch: RecordBatch) -> Result<RecordBatch> {
        let batch = match self.left {
            Some(left) if left < batch.num_rows() => batch.slice(0, left),
            _ => batch,
        };
        if let Some(left) = &mut self.left {
            *left -= batch.num_rows();
        }
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let (_, columns, _) = batch.into_parts();
        Ok(RecordBatch::try_new_with_options(Arc::clone(&self.parts.schema), columns, &options)?)
    }
}

/// The next rows of a scan that are still wanted.
fn next_narrowed(
    scan: &mut Scan,
    narrowing: &mut Narrowing,
    parts: &ScanParts,
) -> Result<Option<RecordBatch>> {
    let storage = |error: silt_storage::Error| DataFusionError::from(crate::Error::from(error));
    if parts.dynamic.is_empty() {
        return scan.next().transpose().map_err(storage);
    }
    loop {
        if narrowing.refresh(parts)? {
            scan.narrow(narrowing.predicate.clone());
        }
        let Some(rows) = scan.next_encoded().map_err(storage)? else { return Ok(None) };
        let rows = narrowing.refine(rows)?;
        if !rows.is_empty() {
            let columns = rows.decode().map_err(storage)?;
            let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
            let schema = Arc::clone(scan.schema());
            return Ok(Some(RecordBatch::try_new_with_options(schema, columns, &options)?));
        }
    }
}

fn open(
    parts: &ScanParts,
    range: KeyRange,
    order: ScanOrder,
    left: Option<usize>,
    counters: &Arc<ReadCounters>,
    run: Option<&Arc<Run>>,
) -> silt_storage::Result<Box<Scan>> {
    let request = ScanRequest {
        filter: parts.predicate.clone(),
        exact: parts.absorbed,
        shadows: parts.options.shadows,
        order,
        limit: left.filter(|_| parts.exact || parts.absorbed),
        counters: Arc::clone(counters),
        watch: run.map(|run| Arc::clone(run) as _),
        ..ScanRequest::new(range, parts.projection.clone())
    };
    parts.tree.scan(&request, &parts.snapshot).map(Box::new)
}

/// The rows of one partition before they are decoded.
pub(crate) struct EncodedReader {
    parts: Arc<ScanParts>,
    counters: Arc<ReadCounters>,
    run: Option<Arc<Run>>,
    /// Last first.
    ranges: Vec<KeyRange>,
    order: ScanOrder,
    scan: Option<Box<Scan>>,
    narrowing: Narrowing,
}

impl EncodedReader {
    /// A number of the source that the rows given last stand in: 0 for the last source, and greater
    /// for those before. It falls within a range; each source's rows come in the key's order.
    pub(crate) fn source(&self) -> usize {
        self.scan.as_ref().map_or(0, |scan| scan.source())
    }

    /// The next rows.
    pub(crate) fn next(&mut self) -> Result<Option<EncodedRows>> {
        loop {
            let changed = self.narrowing.refresh(&self.parts)?;
            if let Some(scan) = &mut self.scan {
                if changed {
                    scan.narrow(self.narrowing.predicate.clone());
                }
                if let Some(rows) = scan.next_encoded().map_err(crate::Error::from)? {
                    let rows = self.narrowing.refine(rows)?;
                    match rows.is_empty() {
                        true => continue,
                        false => return Ok(Some(rows)),
                    }
                }
            }
            let Some(range) = self.ranges.pop() else {
                self.scan = None;
                return Ok(None);
            };
            let (order, run) = (self.order, self.run.as_ref());
            let scan = open(&self.parts, range, order, None, &self.counters, run);
            let mut scan = scan.map_err(crate::Error::from)?;
            scan.narrow(self.narrowing.predicate.clone());
            self.scan = Some(scan);
        }
    }
}

impl Stream for ScanStream {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let timer = this.metrics.elapsed_compute().clone();
        let timer = timer.timer();
        let batch = match this.next_dressed() {
            Ok(batch) => batch.map(Ok),
            Err(error) => {
                this.state = State::Last(None);
                Some(Err(error))
            }
        };
        timer.done();
        this.metrics.record_poll(Poll::Ready(batch))
    }
}

impl RecordBatchStream for ScanStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.parts.schema)
    }
}
