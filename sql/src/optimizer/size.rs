//! [`is_small`]: whether a query reads so few rows that one thread is done before others begin.
//!
//! Such queries are planned for one partition: dealing rows out to tasks and putting them together
//! again costs some hundred microseconds, more than the rows do.

use datafusion::common::Result;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::{Expr, Join, JoinType, LogicalPlan, TableScan};

use crate::ScanOptions;
use crate::provider::SiltTable;
use crate::provider::seek::Seek;

/// More rows are read by several threads.
const ROWS_MAX: f64 = 10_000.0;
/// A seek takes as long as so many rows of a scan.
const ROWS_A_SEEK: f64 = 10.0;
/// Rows in a round of a recursion, as long as nothing is known of them.
const ROWS_A_ROUND: f64 = 100.0;
/// Rows that a seek finds, where nothing is known of the values.
const ROWS_FOUND: f64 = 10.0;

/// What a part of a plan does.
#[derive(Clone, Copy, Debug, Default)]
struct Work {
    /// Rows that it gives.
    rows: f64,
    /// Rows that it reads.
    read: f64,
}

/// See the module.
pub(crate) fn is_small(plan: &LogicalPlan, options: &ScanOptions) -> Result<bool> {
    Ok(work(plan, options.seeks)?.is_some_and(|work| work.read <= ROWS_MAX))
}

/// Whether a query reads one table and joins nothing: its plan is the same however many rows it
/// reads, but for the number of partitions, which the scan chooses when it is planned.
pub(crate) fn reads_one_table(plan: &LogicalPlan) -> bool {
    let below = match plan {
        LogicalPlan::TableScan(scan) => return !scan.filters.iter().any(has_query),
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Window(_) => plan.inputs(),
        _ => return false,
    };
    !plan.expressions().iter().any(has_query) && below.into_iter().all(reads_one_table)
}

/// What the plan does; none where that is not known, or much.
fn work(plan: &LogicalPlan, seeks: bool) -> Result<Option<Work>> {
    if plan.expressions().iter().any(has_query) {
        return Ok(None);
    }
    match plan {
        LogicalPlan::TableScan(scan) => of_scan(scan),
        LogicalPlan::Join(join) => of_join(join, seeks),
        LogicalPlan::EmptyRelation(_) | LogicalPlan::Values(_) => Ok(Some(Work::default())),
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Aggregate(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Distinct(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::RecursiveQuery(_) => {
            let mut all = Work::default();
            for input in plan.inputs() {
                let Some(one) = work(input, seeks)? else { return Ok(None) };
                all.rows += one.rows;
                all.read += one.read;
            }
            Ok(Some(all))
        }
        _ => Ok(None),
    }
}

fn has_query(expr: &Expr) -> bool {
    let is_query = |expr: &Expr| {
        matches!(
            expr,
            Expr::ScalarSubquery(_)
                | Expr::InSubquery(_)
                | Expr::Exists(_)
                | Expr::SetComparison(_)
                | Expr::OuterReferenceColumn(..)
        )
    };
    expr.exists(|expr| Ok(is_query(expr))).unwrap_or(true)
}

fn of_scan(scan: &TableScan) -> Result<Option<Work>> {
    let provider = source_as_provider(&scan.source)?;
    let rows = match provider.downcast_ref::<SiltTable>() {
        Some(table) => as_f64(table.rows_read(&scan.filters)?),
        None => ROWS_A_ROUND,
    };
    Ok(Some(Work { rows, read: rows }))
}

/// A join reads both sides, or seeks one by the rows of the other.
fn of_join(join: &Join, seeks: bool) -> Result<Option<Work>> {
    let sides = [work(&join.left, seeks)?, work(&join.right, seeks)?];
    let sought = |table: &LogicalPlan, ours: fn(&(Expr, Expr)) -> &Expr, join_type: JoinType| {
        let Some(table) = scan_of(table).filter(|_| seeks && Seek::serves(join_type)) else {
            return Ok(None);
        };
        let provider = source_as_provider(&table.source)?;
        let Some(table) = provider.downcast_ref::<SiltTable>() else { return Ok(None) };
        let is_key = |pair: &(Expr, Expr)| match ours(pair) {
            Expr::Column(column) => table.first_key() == Some(column.name.as_str()),
            _ => false,
        };
        Ok::<_, datafusion::error::DataFusionError>(
            join.on.iter().any(is_key).then(|| table.rows_a_first_key().map_or(ROWS_FOUND, as_f64)),
        )
    };
    let by_seeks = |asking: Option<Work>, found: Option<f64>| {
        let (asking, found) = (asking?, found?);
        let rows = asking.rows * found;
        Some(Work { rows, read: asking.read + asking.rows * ROWS_A_SEEK + rows })
    };
    let [left, right] = sides;
    let scanned = left.zip(right).map(|(left, right)| {
        // Every pair of rows is looked at where no equality says which.
        let (rows, pairs) = match join.on.is_empty() {
            true => (left.rows * right.rows, left.rows * right.rows),
            false => (left.rows.max(right.rows), 0.0),
        };
        Work { rows, read: left.read + right.read + pairs }
    });
    let ways = [
        scanned,
        by_seeks(left, sought(&join.right, |(_, right)| right, join.join_type)?),
        by_seeks(right, sought(&join.left, |(left, _)| left, join.join_type.swap())?),
    ];
    Ok(ways.into_iter().flatten().min_by(|a, b| a.read.total_cmp(&b.read)))
}

/// The table below, where nothing but filters and renamings stand between.
fn scan_of(plan: &LogicalPlan) -> Option<&TableScan> {
    match plan {
        LogicalPlan::TableScan(scan) => Some(scan),
        LogicalPlan::Filter(filter) => scan_of(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => scan_of(&alias.input),
        LogicalPlan::Projection(projection)
            if projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) =>
        {
            scan_of(&projection.input)
        }
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn as_f64(count: usize) -> f64 {
    count as f64
}
