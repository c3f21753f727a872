//! [`SiltAggregate`]: the operator.
//!
//! Groups are given out early if they become many: a partial aggregate may name a group twice. Of
//! those that are complete within a partition, each chunk gives out all but the last.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, PhysicalSortExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::Stream;

use super::kept::{Keeper, Kept, Turn};
use super::layout::Key;
use super::plan::Plan;
use super::table::Table;
use crate::provider::scan::{EncodedReader, SiltScan};

/// Chunks that one poll works through.
const CHUNKS_A_POLL: usize = 16;

/// An aggregate over a scan: a partial one, or one whose groups are complete within a partition.
#[derive(Debug)]
pub(crate) struct SiltAggregate {
    scan: Arc<SiltScan>,
    plan: Arc<Plan>,
    properties: Arc<PlanProperties>,
    /// Where others compute the same.
    kept: Option<Arc<Kept>>,
    metrics: ExecutionPlanMetricsSet,
}

impl SiltAggregate {
    /// `ordering` is that of the groups of each partition.
    pub(super) fn new(
        scan: Arc<SiltScan>,
        plan: Arc<Plan>,
        ordering: Vec<PhysicalSortExpr>,
    ) -> Self {
        let partitions = scan.parts().partitions.len();
        let schema = Arc::clone(&plan.schema);
        let properties = PlanProperties::new(
            match ordering.is_empty() {
                true => EquivalenceProperties::new(schema),
                false => EquivalenceProperties::new_with_orderings(schema, [ordering]),
            },
            Partitioning::UnknownPartitioning(partitions),
            if plan.keyed { EmissionType::Incremental } else { EmissionType::Final },
            Boundedness::Bounded,
        );
        let metrics = ExecutionPlanMetricsSet::new();
        Self { scan, plan, properties: Arc::new(properties), kept: None, metrics }
    }

    /// Whether each partition of the other one gives out the same.
    pub(super) fn computes_same(&self, other: &Self) -> bool {
        self.plan == other.plan && !self.plan.is_volatile() && self.scan.reads_same(&other.scan)
    }

    /// The scan whose rows it takes.
    pub(in crate::optimizer) fn scan(&self) -> &SiltScan {
        &self.scan
    }

    /// The same over another scan of the same rows.
    pub(in crate::optimizer) fn over(&self, scan: SiltScan) -> Self {
        Self {
            scan: Arc::new(scan),
            plan: Arc::clone(&self.plan),
            properties: Arc::clone(&self.properties),
            kept: None,
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }

    /// The same, which keeps what it gives out for others, or takes it from them.
    pub(super) fn keeping(&self, kept: &Arc<Kept>) -> Self {
        Self {
            scan: Arc::clone(&self.scan),
            plan: Arc::clone(&self.plan),
            properties: Arc::clone(&self.properties),
            kept: Some(Arc::clone(kept)),
            metrics: ExecutionPlanMetricsSet::new(),
        }
    }
}

impl SiltAggregate {
    /// What a filter of groups by their key says of rows; none if it is not by the key alone.
    fn over_scan(&self, filter: &Arc<dyn PhysicalExpr>) -> Option<Arc<dyn PhysicalExpr>> {
        let over_scan = Arc::clone(filter).transform_up(|expr| {
            let Some(column) = expr.downcast_ref::<Column>() else {
                return Ok(Transformed::no(expr));
            };
            match self.plan.layout.keys.get(column.index()) {
                Some(Key::Column(column)) => {
                    let name = self.scan.parts().schema.field(*column).name();
                    Ok(Transformed::yes(Arc::new(Column::new(name, *column)) as _))
                }
                _ => internal_err!("it is not of the key"),
            }
        });
        over_scan.data().ok()
    }
}

impl DisplayAs for SiltAggregate {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            self.plan.functions.iter().map(|function| function.expr.name()).collect();
        let keys: Vec<&str> =
            self.plan.group_schema.fields().iter().map(|field| field.name().as_str()).collect();
        write!(f, "SiltAggregate: gby=[{}], aggr=[{}]", keys.join(", "), names.join(", "))?;
        if self.plan.keyed {
            write!(f, ", order=key, partitions={}", self.scan.parts().partitions.len())?;
        }
        if self.kept.is_some() {
            write!(f, ", shared")?;
        }
        Ok(())
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
            reader: self.scan.reader(partition, &context)?,
            metrics: BaselineMetrics::new(&self.metrics, partition),
            rows_max: context.session_config().batch_size(),
            table: Table::new(Arc::clone(&self.plan))?,
            rows_added_up: MetricBuilder::new(&self.metrics).counter("rows_added_up", partition),
            kept: self.kept.as_ref().map(|kept| Shared {
                kept: Arc::clone(kept),
                partition,
                taken_over: MetricBuilder::new(&self.metrics).counter("taken_over", partition),
                context,
            }),
            keeper: None,
            ready: Vec::new(),
            ended: false,
        }))
    }

    fn handle_child_pushdown_result(
        &self,
        phase: FilterPushdownPhase,
        result: ChildPushdownResult,
        _config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        let filters = result.parent_filters.iter();
        let filters = filters.filter_map(|filter| self.over_scan(&filter.filter)).collect();
        let propagation = FilterPushdownPropagation::all_unsupported(result);
        if !self.plan.keyed {
            return Ok(propagation);
        }
        let Some(scan) = self.scan.told(phase, filters) else { return Ok(propagation) };
        Ok(propagation.with_updated_node(Arc::new(self.over(scan))))
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
    rows_added_up: Count,
    /// Not begun with.
    kept: Option<Shared>,
    keeper: Option<Keeper>,
    /// Last first.
    ready: Vec<RecordBatch>,
    ended: bool,
}

/// What others compute as well.
struct Shared {
    kept: Arc<Kept>,
    partition: usize,
    /// Whether it was computed before.
    taken_over: Count,
    context: Arc<TaskContext>,
}

impl AggregateStream {
    /// Whether there is something to give out, or nothing any more.
    fn advance(&mut self) -> Result<bool> {
        if let Some(shared) = self.kept.take() {
            match shared.kept.begin(shared.partition, &shared.context) {
                Turn::First(keeper) => self.keeper = Some(keeper),
                Turn::Again(batches) => {
                    shared.taken_over.add(1);
                    self.ended = true;
                    batches.iter().for_each(|batch| self.cut(batch));
                    self.ready.reverse();
                }
                Turn::Alone => {}
            }
        }
        for _ in 0..CHUNKS_A_POLL {
            if self.ended || !self.ready.is_empty() {
                return Ok(true);
            }
            match self.reader.next()? {
                Some(rows) => {
                    self.table.turn_to(self.reader.source())?;
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
        self.rows_added_up.add(std::mem::take(&mut self.table.rows_added_up));
        let batch = self.table.take(self.ended)?;
        self.keeper = self.keeper.take().and_then(|keeper| keeper.keep(&batch));
        if self.ended
            && let Some(keeper) = self.keeper.take()
        {
            keeper.end();
        }
        self.cut(&batch);
        self.ready.reverse();
        Ok(())
    }

    fn cut(&mut self, batch: &RecordBatch) {
        let mut start = 0;
        while start < batch.num_rows() {
            let rows = self.rows_max.min(batch.num_rows() - start);
            self.ready.push(batch.slice(start, rows));
            start += rows;
        }
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
                this.keeper = None;
                this.ready.clear();
                Some(Err(error))
            }
        };
        this.metrics.record_poll(Poll::Ready(next))
    }
}

impl RecordBatchStream for AggregateStream {
    fn schema(&self) -> SchemaRef {
        self.table.schema()
    }
}
