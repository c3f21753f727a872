//! [`Optimised`]: a query's plan, optimised once with its parameters open.
//!
//! Most of planning is the optimizer's; its work on one run's plan serves the next as well, if it
//! would not have done better for knowing the values. It would where a value is cast before it is
//! compared (the scan takes bare constants for keys), so such parameters are given in the type that
//! they are cast to; and where a column is cast, a parameter calculated with or a limit is one, so
//! such plans are optimised at each run.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, Filter, LogicalPlan, Operator};
use datafusion::scalar::ScalarValue;

use super::constant::slot_of;
use crate::Result;
use crate::planner::{Bound, detach};
use crate::statement::Setting;

/// An optimised plan with open parameters.
#[derive(Clone, Debug)]
pub(crate) struct Optimised {
    pub(crate) plan: LogicalPlan,
    /// Parameters behind the statement's own: each is one of those in another type.
    casts: Arc<[(usize, DataType)]>,
}

impl Optimised {
    /// The plan of a query that means the same in every run; none if each run must optimise it.
    pub(crate) fn new(setting: &Setting, plan: &LogicalPlan) -> Result<Option<Self>> {
        // A bare NULL takes its type from where it stands once it is there.
        if setting.bound.0.iter().any(|value| matches!(value, ScalarValue::Null)) {
            return Ok(None);
        }
        let state = &setting.state;
        let options = state.config_options();
        let plan = state.analyzer().execute_and_check(plan.clone(), options, |_, _| {})?;
        let (plan, casts) = with_casts_as_parameters(plan, setting.bound.0.len())?;
        let plan = state.optimize(&plan)?;
        Ok(serves_all_values(&plan)?.then(|| Self { plan, casts: casts.into() }))
    }

    /// The same, its tables at no moment.
    pub(crate) fn detached(self) -> Result<Self> {
        Ok(Self { plan: detach(self.plan)?, casts: self.casts })
    }

    /// The values for the plan's parameters; none if a cast fails, which the planner explains.
    pub(crate) fn values(&self, bound: &[ScalarValue]) -> Option<Bound> {
        let mut values = bound.to_vec();
        for (slot, data_type) in self.casts.iter() {
            values.push(bound.get(*slot)?.cast_to(data_type).ok()?);
        }
        Some(Bound(values))
    }
}

/// Parameters that predicates cast become parameters of the type they are cast to.
fn with_casts_as_parameters(
    plan: LogicalPlan,
    parameters: usize,
) -> Result<(LogicalPlan, Vec<(usize, DataType)>)> {
    let mut casts: Vec<(usize, DataType)> = Vec::new();
    let mut parameter = |expr: Expr| {
        let Expr::Cast(cast) = &expr else { return Ok(Transformed::no(expr)) };
        let Expr::Placeholder(inner) = &*cast.expr else { return Ok(Transformed::no(expr)) };
        let Some(slot) = slot_of(&inner.id) else { return Ok(Transformed::no(expr)) };
        let wanted = (slot, cast.field.data_type().clone());
        let place = casts.iter().position(|known| *known == wanted).unwrap_or_else(|| {
            casts.push(wanted.clone());
            casts.len() - 1
        });
        let field = Arc::new(Field::new("parameter", wanted.1, true));
        let id = format!("${}", parameters + place + 1);
        Ok(Transformed::yes(Expr::Placeholder(Placeholder::new_with_field(id, Some(field)))))
    };
    let plan = plan.transform_up(|node| {
        let LogicalPlan::Filter(filter) = node else { return Ok(Transformed::no(node)) };
        let predicate = filter.predicate.transform_up(&mut parameter)?.data;
        Ok(Transformed::yes(LogicalPlan::Filter(Filter::try_new(predicate, filter.input)?)))
    })?;
    Ok((plan.data, casts))
}

fn is_arithmetic(op: Operator) -> bool {
    use Operator::{Divide, Minus, Modulo, Multiply, Plus};
    matches!(op, Plus | Minus | Multiply | Divide | Modulo)
}

/// Whether the optimizer could not have done more with the values.
fn serves_all_values(plan: &LogicalPlan) -> Result<bool> {
    let mut serves = true;
    plan.apply_with_subqueries(|node| {
        let filters: Vec<&Expr> = match node {
            LogicalPlan::Filter(filter) => vec![&filter.predicate],
            LogicalPlan::TableScan(scan) => scan.filters.iter().collect(),
            LogicalPlan::Limit(limit) => {
                let counts = [&limit.skip, &limit.fetch].into_iter().flatten();
                serves &= counts.into_iter().all(|count| matches!(**count, Expr::Literal(..)));
                Vec::new()
            }
            _ => Vec::new(),
        };
        let parts = filters.into_iter().flat_map(split_conjunction);
        serves &= parts.into_iter().all(|part| {
            let any =
                |wanted: fn(&Expr) -> bool| part.exists(|expr| Ok(wanted(expr))).unwrap_or(true);
            let open = any(|expr| matches!(expr, Expr::Placeholder(_)));
            let more = |expr: &Expr| {
                matches!(expr, Expr::Cast(_) | Expr::ScalarFunction(_) | Expr::Negative(_))
                    || matches!(expr, Expr::BinaryExpr(binary) if is_arithmetic(binary.op))
            };
            !open || !any(more)
        });
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(serves)
}
