//! [`SiltAggregate`]: the operator.
//!
//! Groups are given out early if they become many: a partial aggregate may name a group twice.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::metrics::{
    BaselineMetrics, Count, ExecutionPlanMetricsSet, MetricBuilder, MetricsSet,
};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::Stream;

use super::plan::Plan;
use super::table::Table;
use crate::provider::scan::{EncodedReader, SiltScan};

/// Chunks that one poll works through.
const CHUNKS_A_POLL: usize = 16;
/// A partial aggregate over a scan.
#[derive(Debug)]
pub(crate) struct SiltAggregate {
    scan: Arc<SiltScan>,
    plan: Arc<Plan>,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

impl SiltAggregate {
    pub(super) fn new(scan: Arc<SiltScan>, plan: Arc<Plan>) -> Self {
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
            rows_added_up: MetricBuilder::new(&self.metrics).counter("rows_added_up", partition),
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
    rows_added_up: Count,
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
        self.rows_added_up.add(std::mem::take(&mut self.table.rows_added_up));
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
        self.table.schema()
    }
}
