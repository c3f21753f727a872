//! Groups by the first columns of a table's key: a scan in the key's order has a group's rows next to
//! each other, and if no value of the first column lies in two partitions, in one of them. So the
//! groups of each partition are complete: nothing is hashed, sent to another partition, merged.
//!
//! Where rows were changed since, each source by itself has its rows in that order. Those that are
//! few are read first; what is known of their groups waits for the groups of the last, large source
//! ([`sides`](super::sides)).
//!
//! What comes of it is not distributed by any hash, and says so: whoever joins it by its key has
//! the groups that are left (after HAVING, say) dealt out as it needs them.

use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::physical_expr::PhysicalSortExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode};
use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
use datafusion::physical_plan::{ExecutionPlan, ReplaceChildrenOptions};

use super::super::{Replacement, absorb};
use super::layout::Key;
use super::operator::SiltAggregate;
use super::plan::Plan;
use super::{Basis, basis};
use crate::provider::pushdown::Access;
use crate::provider::scan::SiltScan;

/// With fewer values of the first column for each partition, partitions cut between them may be far
/// from equal.
const VALUES_A_PARTITION_MIN: usize = 64;

/// More rows beside the last source are hashed: what is known of their groups is held in memory.
const ROWS_ABOVE_MAX: u64 = 1 << 20;

/// The plan with our operator in the place of both halves of an aggregate, if it can stand there.
pub(in super::super) fn replace(plan: &dyn ExecutionPlan) -> Replacement {
    let Some(last) = plan.downcast_ref::<AggregateExec>() else { return Ok(None) };
    if !matches!(last.mode(), AggregateMode::Final | AggregateMode::FinalPartitioned)
        || last.limit_options().is_some()
    {
        return Ok(None);
    }
    let Some(first) = half(last.input()) else { return Ok(None) };
    // A filter that the scan evaluates is no hindrance.
    let filtered = match absorb::absorb(&**first.input())? {
        Some(input) => {
            let changed = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
            Some(Arc::clone(last.input()).replace_children(vec![input], changed)?)
        }
        None => None,
    };
    let Some(first) = half(filtered.as_ref().unwrap_or(last.input())) else { return Ok(None) };
    let Some(Basis { scan, layout, sums, functions }) = basis(first)? else { return Ok(None) };
    let columns: Option<Vec<usize>> = layout
        .keys
        .iter()
        .map(|key| match key {
            Key::Column(column) => Some(*column),
            Key::Truncated(_) | Key::Computed(_) => None,
        })
        .collect();
    let Some(columns) = columns else { return Ok(None) };
    let Some(order) = order(scan, &columns) else { return Ok(None) };
    let Some(scan) = scan.cut_by_first_key() else { return Ok(None) };
    let (group_schema, schema) =
        (first.group_expr().group_schema(&first.input().schema())?, last.schema());
    let sorted = |&(place, options): &(usize, SortOptions)| {
        let expr = Arc::new(Column::new(schema.field(place).name(), place));
        PhysicalSortExpr { expr, options }
    };
    // Groups that stand in other sources only come last.
    let ordering = match scan.is_forward() {
        true => order.iter().map(sorted).collect(),
        false => Vec::new(),
    };
    let plan = Plan { layout, sums, functions, group_schema, schema, keyed: true, order };
    Ok(Some(Arc::new(SiltAggregate::new(Arc::new(scan), Arc::new(plan), ordering))))
}

fn half(plan: &Arc<dyn ExecutionPlan>) -> Option<&AggregateExec> {
    let first = plan.downcast_ref::<AggregateExec>()?;
    matches!(first.mode(), AggregateMode::Partial).then_some(first)
}

/// The order of groups by these columns of the scan, by their places, if they are the first of its
/// key, each source's rows come so, and partitions can be cut between values of the first.
fn order(scan: &SiltScan, columns: &[usize]) -> Option<Vec<(usize, SortOptions)>> {
    let parts = scan.parts();
    if scan.is_reversed() || columns.is_empty() {
        return None;
    }
    if !scan.is_forward() {
        let rows = parts.statistics.num_rows.get_value().copied().unwrap_or(0);
        let above = scan.rows_above();
        let is_one =
            |access: &Access| matches!(access, Access::Ranges(ranges) if ranges.len() == 1);
        if above > ROWS_ABOVE_MAX
            || above * 2 > rows as u64
            || !parts.options.shadows
            || !parts.partitions.iter().all(is_one)
        {
            return None;
        }
    }
    let key: Option<Vec<usize>> = parts.key.iter().copied().take(columns.len()).collect();
    let key = key.filter(|key| key.len() == columns.len())?;
    let distinct = &parts.statistics.column_statistics.get(key[0])?.distinct_count;
    let values_min = match parts.partitions.len() {
        1 => 0,
        partitions => partitions * VALUES_A_PARTITION_MIN,
    };
    if distinct.get_value().is_some_and(|distinct| *distinct < values_min) {
        return None;
    }
    let place = |(column, sort): (&usize, PhysicalSortExpr)| {
        Some((columns.iter().position(|other| other == column)?, sort.options))
    };
    key.iter().zip(scan.ordering()).map(place).collect()
}
