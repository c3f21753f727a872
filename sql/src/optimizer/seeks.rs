//! Joins of few rows with a table by its key: their probe side is read by seeks
//! ([`SiltIndexJoin`]).
//!
//! What is few is estimated here, and known once the rows are there: the operator turns back to
//! the scan if they are more.

use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::{HashJoinExec, PartitionMode};
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};
use datafusion::physical_plan::work_table::WorkTableExec;

use super::Replacement;
use crate::provider::seek::{Seek, SiltIndexJoin};

/// Estimates may be too high by this factor: rows share keys, and finding out costs little.
const ROWS_A_KEY: usize = 4;

/// A join of few rows with a table by its key collects those rows as its build side.
pub(super) fn choose(plan: &dyn ExecutionPlan) -> Replacement {
    let Some(join) = plan.downcast_ref::<HashJoinExec>().filter(|join| !join.null_aware) else {
        return Ok(None);
    };
    let (left, right) = (join.left(), join.right());
    if Seek::serves(*join.join_type())
        && let Some(seek) = Seek::new(left, right, join.on())
        && are_few(left, &seek)?
    {
        let is_chosen = *join.partition_mode() == PartitionMode::CollectLeft;
        let chosen = || join.builder().with_partition_mode(PartitionMode::CollectLeft).build_exec();
        return if is_chosen { Ok(None) } else { chosen().map(Some) };
    }
    let swapped: Vec<_> =
        join.on().iter().map(|(left, right)| (Arc::clone(right), Arc::clone(left))).collect();
    if join.join_type().supports_swap()
        && Seek::serves(join.join_type().swap())
        && let Some(seek) = Seek::new(right, left, &swapped)
        && are_few(right, &seek)?
    {
        return join.swap_inputs(PartitionMode::CollectLeft).map(Some);
    }
    Ok(None)
}

/// A join that collects rows and meets a table by its key may seek it.
pub(super) fn seek(plan: &dyn ExecutionPlan) -> Replacement {
    let join = plan.downcast_ref::<HashJoinExec>().and_then(SiltIndexJoin::over);
    Ok(join.map(|join| Arc::new(join) as _))
}

/// Whether so few rows are expected that seeking their keys may be the cheaper way.
fn are_few(rows: &Arc<dyn ExecutionPlan>, seek: &Seek) -> Result<bool> {
    let known = StatisticsContext::new().compute(&**rows, &StatisticsArgs::new())?;
    match known.num_rows.get_value() {
        Some(rows) => Ok(*rows <= seek.keys_max.saturating_mul(ROWS_A_KEY)),
        None => is_recursion(rows),
    }
}

/// Whether rows come from the round before of a recursion: of these nothing is known, and often
/// they are few.
fn is_recursion(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let mut found = false;
    plan.apply(|plan| {
        found |= plan.downcast_ref::<WorkTableExec>().is_some();
        Ok(if found { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    Ok(found)
}
