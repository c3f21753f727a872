//! [`SiltIndexJoin`]: a hash join whose probe side is read by seeks if few keys are asked for.
//!
//! It stands above a `HashJoinExec` whose probe side is a scan, and whose columns there are the
//! first columns of the table's key. When it runs it collects the build side's rows. Where they
//! turn out to have few keys, the scan becomes seeks of these keys and the join runs as it is over
//! both: what it gives is the same, since rows of other keys would find no partner. Where they are
//! many the join runs as planned, over what was collected and the rest of the build side.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::filter;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{HashSet, JoinType, Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::coop::CooperativeExec;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::joins::{HashJoinExec, JoinOnRef, PartitionMode};
use datafusion::physical_plan::metrics::{ExecutionPlanMetricsSet, MetricBuilder, MetricsSet};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use silt_codec::KeyBuffer;
use silt_storage::KeyRange;
use tokio::sync::OnceCell;

use super::pushdown::Access;
use super::scan::SiltScan;

/// A scan of so many rows costs as much as one seek.
const ROWS_A_SEEK: usize = 500;

/// Rows of the build side that are held back at most before it is decided.
const ROWS_COLLECTED_MAX: usize = 65_536;

/// Ranges of a scan that keys are looked for within.
const RANGES_MAX: usize = 16;

/// Each partition seeks so many keys before the next gets any.
const KEYS_A_PARTITION_MIN: usize = 64;

/// How a scan's keys are found from the rows it is joined with.
#[derive(Clone, Debug)]
pub(crate) struct Seek {
    /// The table, as EXPLAIN names it.
    table: String,
    /// Positions among the join's pairs of equal expressions, in the order of the key's columns.
    pairs: Vec<usize>,
    /// Whether they are all of the key's columns.
    is_whole: bool,
    /// With more keys the scan is the cheaper way.
    pub(crate) keys_max: usize,
}

impl Seek {
    /// The way from the rows of `build` to those of the scan `probe`, where `on` pairs expressions
    /// of both; none if `probe` is no scan by key, or one so small that seeks never pay.
    pub(crate) fn new(
        build: &Arc<dyn ExecutionPlan>,
        probe: &Arc<dyn ExecutionPlan>,
        on: JoinOnRef<'_>,
    ) -> Option<Self> {
        let (build_schema, probe_schema) = (build.schema(), probe.schema());
        let column = |(position, (theirs, ours)): (usize, &(_, Arc<dyn PhysicalExpr>))| {
            let theirs: &Arc<dyn PhysicalExpr> = theirs;
            let index = ours.downcast_ref::<Column>()?.index();
            let (scan, column) = scan_under(probe, index)?;
            let same =
                theirs.data_type(&build_schema).ok()? == *probe_schema.field(index).data_type();
            same.then_some((position, scan, column))
        };
        let columns: Vec<_> = on.iter().enumerate().filter_map(column).collect();
        let (_, scan, _) = columns.first()?;
        let parts = scan.parts();
        let in_order = parts.key.iter().map_while(|key| {
            let key = (*key)?;
            let (position, ..) = columns.iter().find(|(_, _, column)| *column == key)?;
            Some(*position)
        });
        let pairs: Vec<usize> = in_order.collect();
        let ranges = ranges_of(scan)?;
        let rows = parts.statistics.num_rows.get_value().copied().unwrap_or(0);
        let keys_max = rows / ROWS_A_SEEK;
        let fits = !pairs.is_empty()
            && keys_max > 0
            && ranges.len() <= RANGES_MAX
            && parts.fetch.is_none();
        fits.then(|| Self {
            table: parts.name.clone(),
            is_whole: pairs.len() == parts.key.len(),
            pairs,
            keys_max,
        })
    }

    /// Whether rows of the probe side without a partner are nowhere in the answer.
    pub(crate) fn serves(join_type: JoinType) -> bool {
        matches!(
            join_type,
            JoinType::Inner
                | JoinType::Left
                | JoinType::LeftSemi
                | JoinType::LeftAnti
                | JoinType::LeftMark
                | JoinType::RightSemi
        )
    }
}

/// The scan below, with the position of a column there, where each row of it comes out as it is
/// or not at all.
fn scan_under(plan: &Arc<dyn ExecutionPlan>, column: usize) -> Option<(&SiltScan, usize)> {
    if let Some(scan) = plan.downcast_ref::<SiltScan>() {
        return Some((scan, column));
    }
    if let Some(cooperative) = plan.downcast_ref::<CooperativeExec>() {
        return scan_under(cooperative.input(), column);
    }
    if let Some(filter) = plan.downcast_ref::<FilterExec>() {
        let column = match filter.projection() {
            Some(projection) => *projection.get(column)?,
            None => column,
        };
        return filter.fetch().is_none().then(|| scan_under(filter.input(), column))?;
    }
    let projection = plan.downcast_ref::<ProjectionExec>()?;
    let column = projection.expr().get(column)?.expr.downcast_ref::<Column>()?.index();
    scan_under(projection.input(), column)
}

/// All ranges of a scan; none if it names whole keys.
fn ranges_of(scan: &SiltScan) -> Option<Vec<&KeyRange>> {
    let mut all = Vec::new();
    for access in &scan.parts().partitions {
        match access {
            Access::Ranges(ranges) => all.extend(ranges),
            Access::Points(_) => return None,
        }
    }
    Some(all)
}

/// See the module.
#[derive(Debug)]
pub(crate) struct SiltIndexJoin {
    /// A `HashJoinExec` that collects its left side.
    join: Arc<dyn ExecutionPlan>,
    seek: Seek,
    /// What runs instead, once that is decided.
    decided: Arc<OnceCell<Arc<dyn ExecutionPlan>>>,
    metrics: ExecutionPlanMetricsSet,
}

impl SiltIndexJoin {
    /// The join with its probe side read by seeks; none if it cannot be.
    pub(crate) fn over(join: &HashJoinExec) -> Option<Self> {
        if *join.partition_mode() != PartitionMode::CollectLeft
            || join.null_aware
            || !Seek::serves(*join.join_type())
        {
            return None;
        }
        let seek = Seek::new(join.left(), join.right(), join.on())?;
        Some(Self::new(Arc::new(join.builder().build().ok()?), seek))
    }

    /// Nothing is decided of the new one: plans run again, in recursions.
    fn over_other(
        &self,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(join), true) => Ok(Arc::new(Self::new(join, self.seek.clone()))),
            _ => internal_err!("an index join has one child"),
        }
    }

    fn new(join: Arc<dyn ExecutionPlan>, seek: Seek) -> Self {
        let (decided, metrics) = (Arc::default(), ExecutionPlanMetricsSet::new());
        Self { join, seek, decided, metrics }
    }
}

impl DisplayAs for SiltIndexJoin {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Seek { table, pairs, is_whole, keys_max } = &self.seek;
        write!(f, "SiltIndexJoin: table={table}, ")?;
        match is_whole {
            true => write!(f, "by whole key")?,
            false => write!(f, "by {} key column(s)", pairs.len())?,
        }
        write!(f, ", keys_max={keys_max}")
    }
}

impl ExecutionPlan for SiltIndexJoin {
    fn name(&self) -> &'static str {
        "SiltIndexJoin"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.join.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.join]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        vec![false]
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.over_other(children)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.over_other(children)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(
        &self,
        partition: usize,
        context: Arc<TaskContext>,
    ) -> Result<SendableRecordBatchStream> {
        let (join, seek) = (Arc::clone(&self.join), self.seek.clone());
        let (decided, metrics) = (Arc::clone(&self.decided), self.metrics.clone());
        let run = async move {
            let decide = || decide(&join, &seek, &metrics, &context);
            let plan = decided.get_or_try_init(decide).await?;
            plan.execute(partition, Arc::clone(&context))
        };
        let rows = stream::once(run).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }
}

/// Reads the build side as far as it takes to know how the probe side is read.
async fn decide(
    join: &Arc<dyn ExecutionPlan>,
    seek: &Seek,
    metrics: &ExecutionPlanMetricsSet,
    context: &Arc<TaskContext>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(join) = join.downcast_ref::<HashJoinExec>() else {
        return internal_err!("an index join stands over a hash join");
    };
    let scan = join
        .on()
        .get(seek.pairs[0])
        .and_then(|(_, ours)| scan_under(join.right(), ours.downcast_ref::<Column>()?.index()));
    let Some((scan, _)) = scan else { return internal_err!("an index join has a scan below") };
    let mut rest = join.left().execute(0, Arc::clone(context))?;
    let (mut batches, mut rows) = (Vec::new(), 0);
    let mut keys = Keys { seek, scan, join, found: HashSet::default(), buffer: KeyBuffer::new() };
    let mut is_small = true;
    while is_small && let Some(batch) = rest.next().await {
        let batch = batch?;
        rows += batch.num_rows();
        is_small = keys.add(&batch)? && rows <= ROWS_COLLECTED_MAX;
        batches.push(batch);
    }
    let properties = Arc::clone(join.left().properties());
    let count = |name| MetricBuilder::new(metrics).global_counter(name);
    if !is_small {
        count("scans").add(1);
        let build = Collected::new(properties, batches, Some(rest));
        let children: Vec<Arc<dyn ExecutionPlan>> = vec![Arc::new(build), Arc::clone(join.right())];
        return join.builder().with_new_children(children)?.build_exec();
    }
    count("keys_sought").add(keys.found.len());
    // The join's own filter would tell the scan what it knows already.
    let own: Vec<_> = join.dynamic_expressions_produced();
    let own: Vec<u64> = own.iter().filter_map(|filter| filter.expression_id()).collect();
    let is_others = |filter: &dyn PhysicalExpr| {
        filter.expression_id().is_none_or(|filter| !own.contains(&filter))
    };
    let narrowed: Arc<dyn ExecutionPlan> = Arc::new(scan.seeking(keys.accesses(), is_others));
    let probe = Arc::clone(join.right()).transform_down(|plan| {
        Ok(match plan.downcast_ref::<SiltScan>() {
            Some(_) => Transformed::new(Arc::clone(&narrowed), true, TreeNodeRecursion::Stop),
            None => Transformed::no(plan),
        })
    });
    let build = Collected::new(properties, batches, None);
    join.builder().with_new_children(vec![Arc::new(build), probe.data()?])?.build_exec()
}

/// The keys that the build side asks for.
struct Keys<'a> {
    seek: &'a Seek,
    scan: &'a SiltScan,
    join: &'a HashJoinExec,
    found: HashSet<Vec<u8>>,
    buffer: KeyBuffer,
}

impl Keys<'_> {
    /// Adds those of some rows; whether they are few enough still.
    fn add(&mut self, batch: &RecordBatch) -> Result<bool> {
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.seek.pairs.len());
        for pair in &self.seek.pairs {
            let (theirs, _) = &self.join.on()[*pair];
            columns.push(theirs.evaluate(batch)?.into_array(batch.num_rows())?);
        }
        // Keys hold no NULL.
        let nulls = columns.iter().fold(None, |all, column| {
            NullBuffer::union(all.as_ref(), column.logical_nulls().as_ref())
        });
        if let Some(nulls) = nulls.filter(|nulls| nulls.null_count() > 0) {
            let valid = BooleanArray::new(nulls.into_inner(), None);
            for column in &mut columns {
                *column = filter(column, &valid)?;
            }
        }
        self.buffer.clear();
        let codec = self.scan.parts().tree.key_codec();
        if codec.encode_columns(&columns, &mut self.buffer).is_err() {
            // A value longer than any key; the join finds no partner for it either way.
            return Ok(false);
        }
        // Where it turns out that they are too many, no key is looked at in vain.
        for key in self.buffer.iter() {
            if !self.found.contains(key) {
                if self.found.len() == self.seek.keys_max {
                    return Ok(false);
                }
                self.found.insert(key.to_vec());
            }
        }
        Ok(true)
    }

    /// The way to their rows for each partition of the scan.
    fn accesses(self) -> Vec<Access> {
        let parts = self.scan.parts();
        let mut keys: Vec<Vec<u8>> = self.found.into_iter().collect();
        keys.sort_unstable();
        let ranges = ranges_of(self.scan).unwrap_or_default();
        let partitions = parts.partitions.len();
        let size = keys.len().div_ceil(partitions).max(KEYS_A_PARTITION_MIN);
        // A get looks at no predicate.
        let is_filtered = parts.absorbed && parts.predicate.is_some();
        let by_get = self.seek.is_whole && !is_filtered && !self.scan.is_reversed();
        let mut accesses: Vec<Access> = keys
            .chunks(size)
            .map(|keys| match by_get {
                true => {
                    let is_in = |key: &&Vec<u8>| ranges.iter().any(|range| range.contains(key));
                    Access::Points(keys.iter().filter(is_in).cloned().collect())
                }
                false => {
                    let within = |key: &Vec<u8>| {
                        let of_key = KeyRange::prefix(key.clone());
                        let both = ranges.iter().map(move |range| of_key.meet(range));
                        both.filter(|both| !both.is_empty()).collect::<Vec<_>>()
                    };
                    Access::Ranges(keys.iter().flat_map(within).collect())
                }
            })
            .collect();
        accesses.resize(partitions, Access::Points(Vec::new()));
        accesses
    }
}

/// Rows as far as they were read, and the rest of them, in one partition. It runs once.
pub(crate) struct Collected {
    properties: Arc<PlanProperties>,
    rows: Mutex<Option<Rows>>,
}

/// Batches, and what comes after them.
type Rows = (Vec<RecordBatch>, Option<SendableRecordBatchStream>);

impl Collected {
    /// Rows that come as those of an operator with these properties.
    pub(crate) fn new(
        properties: Arc<PlanProperties>,
        batches: Vec<RecordBatch>,
        rest: Option<SendableRecordBatchStream>,
    ) -> Self {
        Self { properties, rows: Mutex::new(Some((batches, rest))) }
    }
}

impl fmt::Debug for Collected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Collected").finish_non_exhaustive()
    }
}

impl DisplayAs for Collected {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Collected")
    }
}

impl ExecutionPlan for Collected {
    fn name(&self) -> &'static str {
        "Collected"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some((batches, rest)) = self.rows.lock().take().filter(|_| partition == 0) else {
            return internal_err!("rows that were collected are read once");
        };
        let rows = stream::iter(batches.into_iter().map(Ok));
        let schema = self.schema();
        Ok(match rest {
            Some(rest) => Box::pin(RecordBatchStreamAdapter::new(schema, rows.chain(rest))),
            None => Box::pin(RecordBatchStreamAdapter::new(schema, rows)),
        })
    }
}
