//! [`Told`]: no scan is told what is wanted of another column that has the same name.
//!
//! DataFusion hands a join's or top-n's dynamic filter down from operator to operator, and finds its
//! columns in the rows of each by their names. Where two columns there have one name, as those of a
//! table joined with itself, it takes the first, and a scan that believed it would leave out rows that
//! are wanted. So a scan is told nothing by way of rows in which the name of a column that the filter
//! is of occurs twice.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::common::config::ConfigOptions;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::{ExecutionPlan, ReplaceChildrenOptions};

use super::aggregate::SiltAggregate;
use crate::provider::scan::SiltScan;

/// See the module. It follows DataFusion's pushdown of dynamic filters.
#[derive(Debug)]
pub(super) struct Told;

impl PhysicalOptimizerRule for Told {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(checked(&plan, &mut Vec::new())?.unwrap_or(plan))
    }

    fn name(&self) -> &'static str {
        "silt_told_by_name"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan with scans that are told less; none if none is. `above` are the operators above it, from
/// the root on.
fn checked(
    plan: &Arc<dyn ExecutionPlan>,
    above: &mut Vec<Arc<dyn ExecutionPlan>>,
) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    if let Some(scan) = plan.downcast_ref::<SiltScan>() {
        let told = scan.told_by(|filter| is_certain(filter, above));
        return Ok(told.map(|scan| Arc::new(scan) as _));
    }
    if let Some(aggregate) = plan.downcast_ref::<SiltAggregate>() {
        let told = aggregate.scan().told_by(|filter| is_certain(filter, above));
        return Ok(told.map(|scan| Arc::new(aggregate.over(scan)) as _));
    }
    above.push(Arc::clone(plan));
    let mut children: Vec<_> = plan.children().into_iter().map(Arc::clone).collect();
    let mut changed = false;
    for child in &mut children {
        if let Some(other) = checked(child, above)? {
            *child = other;
            changed = true;
        }
    }
    above.pop();
    let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    changed.then(|| Arc::clone(plan).replace_children(children, options)).transpose()
}

/// Whether names were enough to bring a filter from its operator down to a scan.
///
/// That operator names columns of its own input by their places, and so needs no names; the rows of
/// those further down are where they are looked for.
fn is_certain(filter: &Arc<dyn PhysicalExpr>, above: &[Arc<dyn ExecutionPlan>]) -> bool {
    let mut names: HashSet<String> =
        collect_columns(filter).iter().map(|column| column.name().to_owned()).collect();
    let id = filter.expression_id();
    let makes = |plan: &Arc<dyn ExecutionPlan>| {
        let made = plan.dynamic_expressions_produced();
        id.is_some() && made.iter().any(|made| made.expression_id() == id)
    };
    let from = above.iter().rposition(makes).map_or(0, |maker| maker + 2);
    for plan in above.get(from..).unwrap_or_default().iter().rev() {
        if let Some(projection) = plan.downcast_ref::<ProjectionExec>() {
            let of_them = |expr: &Arc<dyn PhysicalExpr>| {
                collect_columns(expr).iter().any(|column| names.contains(column.name()))
            };
            names = projection
                .expr()
                .iter()
                .filter(|expr| of_them(&expr.expr))
                .map(|expr| expr.alias.clone())
                .collect();
        }
        let schema = plan.schema();
        let twice = |name: &String| {
            schema.fields().iter().filter(|field| field.name() == name).nth(1).is_some()
        };
        if names.iter().any(twice) {
            return false;
        }
    }
    true
}
