//! Inputs that keep only rows whose partner in another table of the query is still there.
//!
//! Two inputs that are joined by several columns are compared row by row: neither's scan is asked
//! cheaply which rows the other wants. But where one of these columns is also equal to the key of a
//! table of which filters leave little, as in TPC-H's ninth query a part's number in `partsupp`, in
//! `lineitem` and in `part`, most rows of the one input find no partner in the end. A semi-join with
//! that table takes them away before they are collected; it is read twice for it.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{Column, NullEquality, Result};
use datafusion::logical_expr::{
    Expr, Filter, Join, JoinConstraint, JoinType, LogicalPlan, Projection,
};

use super::estimate::Input;
use super::{ASK_COST, BUILD_COST, Edge, Set, Tree};

/// Fewer rows are not worth a join more.
const ROWS_SAVED_MIN: f64 = 50_000.0;

/// To read a row of the other table once more and filter it costs as much as this many that probe
/// a hash table.
const READ_COST: f64 = 2.0;

/// Puts semi-joins upon those of `plans` for which it pays in this tree of joins.
pub(super) fn narrow(
    plans: &mut [LogicalPlan],
    inputs: &[Input],
    edges: &[Edge],
    tree: &Tree,
) -> Result<()> {
    let sides = tree.iter().flat_map(|&(_, (left, right))| [(left, right), (right, left)]);
    for (one, others) in sides.filter(|(one, _)| one.count_ones() == 1) {
        let at = place(one);
        if let Some((column, other, key)) = partner(one, others, plans, inputs, edges) {
            let left = std::mem::take(&mut plans[at]);
            let key = Expr::Column(key);
            let right = Projection::try_new(vec![key.clone()], Arc::new(plans[other].clone()))?;
            plans[at] = LogicalPlan::Join(Join::try_new(
                Arc::new(left),
                Arc::new(LogicalPlan::Projection(right)),
                vec![(Expr::Column(column), key)],
                None,
                JoinType::LeftSemi,
                JoinConstraint::On,
                NullEquality::NullEqualsNothing,
                false,
            )?);
        }
    }
    Ok(())
}

/// The table among `others` whose key narrows `one` most, if that pays, with both columns.
fn partner(
    one: Set,
    others: Set,
    plans: &[LogicalPlan],
    inputs: &[Input],
    edges: &[Edge],
) -> Option<(Column, usize, Column)> {
    let crossing: Vec<&Edge> = edges.iter().filter(|edge| edge.connects(one, others)).collect();
    let first = crossing.first()?.class;
    // By one column alone the scan is asked, or need not be.
    if crossing.iter().all(|edge| edge.class == first) || !is_plain(&plans[place(one)]) {
        return None;
    }
    let rows = inputs[place(one)].rows;
    let saved = |edge: &&Edge| {
        let column = edge.column_of(one)?;
        let set = if edge.left == one { edge.right } else { edge.left };
        let (key, other) = (edge.column_of(set)?, place(set));
        let partner = &inputs[other];
        if !partner.distinct(key).is_some_and(|(_, is_key)| is_key) || !is_plain(&plans[other]) {
            return None;
        }
        let left_out = rows * (1.0 - partner.rows / partner.base_rows);
        let cost = rows * ASK_COST + partner.base_rows * READ_COST;
        let pays = left_out >= ROWS_SAVED_MIN && left_out * BUILD_COST > cost;
        pays.then(|| (left_out, (column.clone(), other, key.clone())))
    };
    let best = crossing.iter().filter_map(saved).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map(|(_, found)| found)
}

fn place(set: Set) -> usize {
    usize::try_from(set.trailing_zeros()).unwrap_or(0)
}

/// Whether it is a table, filtered and renamed, that gives the same rows if it is read again.
fn is_plain(plan: &LogicalPlan) -> bool {
    let is_fixed = |expr: &Expr| {
        let is_query = |expr: &Expr| {
            matches!(expr, Expr::ScalarSubquery(_) | Expr::Exists(_) | Expr::InSubquery(_))
        };
        !expr.is_volatile() && matches!(expr.exists(|expr| Ok(is_query(expr))), Ok(false))
    };
    match plan {
        LogicalPlan::TableScan(scan) => scan.fetch.is_none() && scan.filters.iter().all(is_fixed),
        LogicalPlan::Filter(Filter { predicate, input, .. }) => {
            is_fixed(predicate) && is_plain(input)
        }
        LogicalPlan::SubqueryAlias(alias) => is_plain(&alias.input),
        LogicalPlan::Projection(projection) => {
            projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_)))
                && is_plain(&projection.input)
        }
        _ => false,
    }
}
