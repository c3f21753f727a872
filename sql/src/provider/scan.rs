//! [`SiltScan`]: the operator under every query, over gets and scans of one tree.
//!
//! A scan opens at its first poll, not in `execute`: what is planned and never polled costs
//! nothing. Storage is synchronous and answers mostly from its cache, so a batch is decoded within
//! the poll, on the thread that wants it; DataFusion's cooperative wrapper yields between batches.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
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
    KeyRange, Predicate, ReadCounters, Scan, ScanOrder, ScanRequest, Snapshot, Tree,
};

use super::pushdown::Access;

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
    /// Rows wanted at most, of each partition.
    pub(crate) fetch: Option<usize>,
    /// Of the whole table, by column of `schema`.
    pub(crate) statistics: Statistics,
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
fn named(counters: &ReadCounters) -> [(&'static str, u64); 9] {
    [
        ("gets", counters.gets.get()),
        ("filter_misses", counters.filter_misses.get()),
        ("files_read", counters.files_read.get()),
        ("files_pruned", counters.files_pruned.get()),
        ("groups_read", counters.groups_read.get()),
        ("groups_pruned", counters.groups_pruned.get()),
        ("sections_raw", counters.sections_raw.get()),
        ("sections_merged", counters.sections_merged.get()),
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
        if parts.predicate.is_some() {
            write!(f, ", pruning=yes")?;
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
        _visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        _context: Arc<TaskContext>,
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
            metrics: BaselineMetrics::new(&self.metrics, partition),
            left: self.parts.fetch,
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
    metrics: BaselineMetrics,
    left: Option<usize>,
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
    fn next_batch(&mut self) -> silt_storage::Result<Option<RecordBatch>> {
        if self.left == Some(0) {
            return Ok(None);
        }
        loop {
            match &mut self.state {
                State::Waiting(Access::Points(points)) => {
                    let points = std::mem::take(points);
                    let ScanParts { tree, projection, snapshot, .. } = &*self.parts;
                    let found = tree.multi_get(&points, projection, snapshot, &self.counters)?;
                    self.state = State::Last(Some(found.batch));
                }
                State::Waiting(Access::Ranges(ranges)) => {
                    let mut ranges = std::mem::take(ranges);
                    if self.order != ScanOrder::Reverse {
                        ranges.reverse();
                    }
                    match ranges.pop() {
                        Some(range) => {
                            let scan = self.open(range)?;
                            self.state = State::Running(scan, ranges);
                        }
                        None => self.state = State::Last(None),
                    }
                }
                State::Running(scan, ranges) => match scan.next() {
                    Some(batch) => return batch.map(Some),
                    None => match ranges.pop() {
                        Some(range) => {
                            let ranges = std::mem::take(ranges);
                            let scan = self.open(range)?;
                            self.state = State::Running(scan, ranges);
                        }
                        None => self.state = State::Last(None),
                    },
                },
                State::Last(batch) => return Ok(batch.take().filter(|batch| batch.num_rows() > 0)),
            }
        }
    }

    fn open(&self, range: KeyRange) -> silt_storage::Result<Box<Scan>> {
        let parts = &self.parts;
        let request = ScanRequest {
            filter: parts.predicate.clone(),
            order: self.order,
            limit: self.left.filter(|_| parts.exact),
            counters: Arc::clone(&self.counters),
            ..ScanRequest::new(range, parts.projection.clone())
        };
        parts.tree.scan(&request, &parts.snapshot).map(Box::new)
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

impl Stream for ScanStream {
    type Item = Result<RecordBatch, DataFusionError>;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let timer = this.metrics.elapsed_compute().clone();
        let timer = timer.timer();
        let batch = match this.next_batch() {
            Ok(None) => None,
            Ok(Some(batch)) => Some(this.dress(batch)),
            Err(error) => {
                this.state = State::Last(None);
                Some(Err(crate::Error::from(error).into_datafusion()))
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
