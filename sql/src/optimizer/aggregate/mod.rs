//! Partial aggregates over a scan, on its rows before they are decoded.
//!
//! The rule puts a [`SiltAggregate`] in the place of a partial `AggregateExec` and the scan below;
//! what it gives out is what that would: group columns and the states of DataFusion's own
//! accumulators, which compute here as well. Ours is only how rows come to their groups
//! ([`groups`]), that `count(*)` counts bits, that numbers are computed with and added up as they are
//! packed ([`sums`]), and that columns are taken whole with hidden rows masked where that is cheaper
//! than cutting them out.
//!
//! Where groups are by the first columns of a table's key, [`keyed`] puts it in the place of the whole
//! aggregate.
//!
//! Equal aggregates of one plan share what they compute ([`kept`]).
//!
//! The rule (here) makes a [`Plan`] of the aggregate; the operator reads chunk after chunk of the
//! scan and adds each to its partition's [`table`] of groups.

mod groups;
pub(super) mod kept;
pub(super) mod keyed;
mod layout;
mod operator;
mod plan;
mod runs;
mod sides;
mod sums;
mod table;
mod truncated;

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties, InputOrderMode};

use super::{Replacement, scan_of};
use crate::provider::scan::SiltScan;
use layout::{Key, Layout};
pub(super) use operator::SiltAggregate;
use plan::{Function, Plan};
use sums::Sums;

/// Whole numbers that are grouped by may span this many values; beyond, keys hardly repeat within
/// a chunk and DataFusion's own way is as good.
const KEY_RANGE_MAX: i128 = 1 << 16;

/// The plan with our operator in the place of an aggregate, if it can stand there.
pub(super) fn replace(plan: &dyn ExecutionPlan) -> Replacement {
    let Some(aggregate) = plan.downcast_ref::<AggregateExec>() else { return Ok(None) };
    let partial = matches!(aggregate.mode(), AggregateMode::Partial);
    let single = matches!(aggregate.mode(), AggregateMode::Single)
        && aggregate.input().output_partitioning().partition_count() == 1;
    if !(partial || single) || *aggregate.input_order_mode() != InputOrderMode::Linear {
        return Ok(None);
    }
    let Some(Basis { scan, layout, sums, functions }) = basis(aggregate)? else { return Ok(None) };
    if layout.keys.iter().any(|key| is_wide(key, scan)) {
        return Ok(None);
    }
    let input_schema = aggregate.input_schema();
    let group_schema = aggregate.group_expr().group_schema(&aggregate.input().schema())?;
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
    let keyed = false;
    let ours: Arc<dyn ExecutionPlan> = Arc::new(SiltAggregate::new(
        Arc::new(scan.unordered()),
        Arc::new(Plan { layout, sums, functions, group_schema, schema, keyed, order: Vec::new() }),
        Vec::new(),
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

/// What an aggregate computes over which scan.
struct Basis<'a> {
    scan: &'a SiltScan,
    layout: Layout,
    sums: Sums,
    functions: Vec<Function>,
}

/// The basis of an aggregate over a scan's rows, if we can compute all of it.
fn basis(aggregate: &AggregateExec) -> Result<Option<Basis<'_>>> {
    let plain = !aggregate.group_expr().has_grouping_set()
        && aggregate.filter_expr().iter().all(Option::is_none)
        && aggregate.limit_options().is_none();
    if !plain {
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
    let mut sums = Sums::default();
    let function = |expr| {
        let function = Function::new(expr, &top);
        let function = function.with_sum(&mut sums, &scan.parts().schema, between)?;
        Ok(if exprs.is_some() { function } else { function.with_extreme() })
    };
    let functions: Vec<Function> =
        aggregate.aggr_expr().iter().map(function).collect::<Result<_>>()?;
    let arguments: Vec<_> = functions
        .iter()
        .map(|function| match function.counts_rows || function.sum.is_some() {
            true => Vec::new(),
            false => function.expr.expressions(),
        })
        .collect();
    let keys = aggregate.group_expr().input_exprs();
    let layout = Layout::new(&scan.parts().schema, between, &keys, arguments)?;
    Ok(Some(Basis { scan, layout, sums, functions }))
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

fn error(error: silt_storage::Error) -> DataFusionError {
    crate::Error::from(error).into()
}
