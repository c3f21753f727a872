//! [`SiltDistinct`]: distinct short strings, in a table of their own ([`keys`]).
//!
//! It stands in the place of the last `AggregateExec` over one column of strings without functions:
//! `SELECT DISTINCT`, and what DataFusion makes of `count(DISTINCT ...)`. It keeps that at hand. At
//! the first string that is too long, or where memory is short, it hands over what it has and all
//! that is still to come: DataFusion's operator holds strings of any length, and spills.

mod keys;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, internal_err};
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::execution::{RecordBatchStream, SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet};
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, InputOrderMode, PlanProperties,
    ReplaceChildrenOptions,
};
use futures::{Stream, StreamExt};

use super::Replacement;
use crate::provider::seek::Collected;
use keys::ShortKeys;

/// The plan with our operator in the place of an aggregate, if it can stand there.
pub(super) fn replace(plan: &dyn ExecutionPlan) -> Replacement {
    let Some(aggregate) = plan.downcast_ref::<AggregateExec>() else { return Ok(None) };
    let is_last =
        matches!(aggregate.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned);
    let groups = aggregate.group_expr();
    if !is_last
        || groups.has_grouping_set()
        || !aggregate.aggr_expr().is_empty()
        || aggregate.limit_options().is_some()
        || *aggregate.input_order_mode() != InputOrderMode::Linear
    {
        return Ok(None);
    }
    let [(expr, _)] = groups.expr() else { return Ok(None) };
    let Some(column) = expr.downcast_ref::<Column>().map(Column::index) else { return Ok(None) };
    let (input, output) = (aggregate.input().schema(), aggregate.schema());
    if *input.field(column).data_type() != DataType::Utf8View
        || *output.field(0).data_type() != DataType::Utf8View
        || input.fields().len() != 1
        || output.fields().len() != 1
    {
        return Ok(None);
    }
    let aggregate = Arc::new(aggregate.clone());
    Ok(Some(Arc::new(SiltDistinct { aggregate, column, metrics: ExecutionPlanMetricsSet::new() })))
}

/// Distinct strings of a column.
#[derive(Debug)]
struct SiltDistinct {
    /// What it stands in the place of.
    aggregate: Arc<dyn ExecutionPlan>,
    /// The column of its input.
    column: usize,
    metrics: ExecutionPlanMetricsSet,
}

impl SiltDistinct {
    fn over(&self, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        let aggregate = replaced(&self.aggregate, children)?;
        let metrics = ExecutionPlanMetricsSet::new();
        Ok(Arc::new(Self { aggregate, column: self.column, metrics }))
    }
}

/// The same over other children.
fn replaced(
    plan: &Arc<dyn ExecutionPlan>,
    children: Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(plan).replace_children(children, options)
}

impl DisplayAs for SiltDistinct {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SiltDistinct: gby=[{}]", self.schema().field(0).name())
    }
}

impl ExecutionPlan for SiltDistinct {
    fn name(&self) -> &'static str {
        "SiltDistinct"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.aggregate.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        self.aggregate.children()
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _options: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.over(children)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.over(children)
    }

    fn apply_expressions(
        &self,
        visit: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.aggregate.apply_expressions(visit)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let [input] = self.aggregate.children()[..] else {
            return internal_err!("an aggregate has one input");
        };
        let consumer = MemoryConsumer::new(format!("SiltDistinct[{partition}]"));
        Ok(Box::pin(DistinctStream {
            aggregate: Arc::clone(&self.aggregate),
            column: self.column,
            input: Some(input.execute(partition, Arc::clone(&context))?),
            memory: consumer.register(context.memory_pool()),
            rows_max: context.session_config().batch_size(),
            context,
            schema: self.schema(),
            keys: ShortKeys::new(),
            ready: Vec::new(),
            handed_over: None,
            metrics: BaselineMetrics::new(&self.metrics, partition),
        }))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

struct DistinctStream {
    aggregate: Arc<dyn ExecutionPlan>,
    column: usize,
    /// None once it has ended or was handed over.
    input: Option<SendableRecordBatchStream>,
    memory: MemoryReservation,
    rows_max: usize,
    context: Arc<TaskContext>,
    schema: SchemaRef,
    keys: ShortKeys,
    /// Last first.
    ready: Vec<RecordBatch>,
    /// Who goes on.
    handed_over: Option<SendableRecordBatchStream>,
    metrics: BaselineMetrics,
}

impl DistinctStream {
    /// Takes in rows; hands over if that cannot be done here.
    fn add(&mut self, batch: RecordBatch) -> Result<()> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timer = timer.timer();
        let added = self.keys.add(batch.column(self.column).as_string_view());
        if added && self.memory.try_resize(self.keys.bytes()).is_ok() {
            return Ok(());
        }
        let Some(input) = self.input.take() else { return Ok(()) };
        let schema = input.schema();
        let mut known = vec![batch];
        while let Some(strings) = self.keys.take_some()? {
            known.push(RecordBatch::try_new(Arc::clone(&schema), vec![strings])?);
        }
        self.memory.free();
        let [from] = self.aggregate.children()[..] else {
            return internal_err!("an aggregate has one input");
        };
        let rows = Collected::new(Arc::clone(from.properties()), known, Some(input));
        let aggregate = replaced(&self.aggregate, vec![Arc::new(rows)])?;
        self.handed_over = Some(aggregate.execute(0, Arc::clone(&self.context))?);
        Ok(())
    }

    /// The next strings, after all rows were taken in.
    fn give_out(&mut self) -> Result<Option<RecordBatch>> {
        let timer = self.metrics.elapsed_compute().clone();
        let _timer = timer.timer();
        while self.ready.is_empty() {
            let Some(strings) = self.keys.take_some()? else { return Ok(None) };
            self.cut(strings)?;
        }
        Ok(self.ready.pop())
    }

    fn cut(&mut self, strings: ArrayRef) -> Result<()> {
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), vec![strings])?;
        let starts = (0..batch.num_rows()).step_by(self.rows_max).rev();
        let part = |start: usize| batch.slice(start, self.rows_max.min(batch.num_rows() - start));
        self.ready.extend(starts.map(part));
        Ok(())
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<RecordBatch>>> {
        while let Some(input) = &mut self.input {
            match ready!(input.poll_next_unpin(context)) {
                Some(Ok(batch)) => {
                    if let Err(error) = self.add(batch) {
                        self.input = None;
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => self.input = None,
            }
        }
        match &mut self.handed_over {
            Some(rows) => rows.poll_next_unpin(context),
            None => Poll::Ready(self.give_out().transpose()),
        }
    }
}

impl Stream for DistinctStream {
    type Item = Result<RecordBatch>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.poll(context);
        self.metrics.record_poll(next)
    }
}

impl RecordBatchStream for DistinctStream {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }
}
