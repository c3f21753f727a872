//! How many rows an input of a join has, and how many values a column of it.
//!
//! Guesses, where tables know nothing: an equality keeps one row in twenty, a range three in ten.

use std::sync::Arc;

use datafusion::common::{Column, ScalarValue, Statistics};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, Join, JoinType, LogicalPlan, Operator, TableScan,
};

use crate::provider::SiltTable;

/// Rows of an input of which nothing is known.
const ROWS_UNKNOWN: f64 = 1_000.0;
/// Part of the rows that an equality keeps.
const EQUAL: f64 = 0.05;
/// Part of the rows that a range keeps.
const RANGE: f64 = 0.3;
/// Part of the rows that a pattern keeps.
const PATTERN: f64 = 0.1;

/// One input of a tree of joins.
pub(super) struct Input {
    /// Rows after its filters.
    pub(super) rows: f64,
    /// Rows before them.
    pub(super) base_rows: f64,
    table: Option<Table>,
}

/// What a table knows.
struct Table {
    statistics: Arc<Statistics>,
    names: Vec<String>,
    /// The position of the only key column.
    key: Option<usize>,
    /// The name of the key's first column.
    first_key: Option<String>,
    /// The names of all key columns.
    key_names: Option<Vec<String>>,
}

impl Input {
    pub(super) fn new(plan: &LogicalPlan) -> Self {
        let table = scan_of(plan).and_then(Table::of);
        let rows = rows(plan, table.as_ref()).max(1.0);
        let base_rows = table.as_ref().map_or(rows, Table::rows).max(rows);
        Self { rows, base_rows, table }
    }

    /// The rows of its table, if `columns` hold the table's whole key: as many values they have.
    pub(super) fn rows_by_key(&self, columns: &[&Column]) -> Option<f64> {
        let table = self.table.as_ref()?;
        let has = |name: &String| columns.iter().any(|column| column.name == *name);
        table.key_names.as_ref()?.iter().all(has).then(|| table.rows())
    }

    /// Whether rows are sought by this column: it is the key's first.
    pub(super) fn seeks(&self, column: &Column) -> bool {
        self.table.as_ref().is_some_and(|table| table.first_key.as_ref() == Some(&column.name))
    }

    /// How many values a column has before filters, and whether each stands in one row only.
    pub(super) fn distinct(&self, column: &Column) -> Option<(f64, bool)> {
        let table = self.table.as_ref()?;
        let index = table.names.iter().position(|name| *name == column.name)?;
        if table.key == Some(index) {
            return Some((table.rows(), true));
        }
        table.distinct(index).map(|distinct| (distinct, false))
    }
}

/// The table that an input reads, if nothing but filters and renamings stand between.
fn scan_of(plan: &LogicalPlan) -> Option<&TableScan> {
    match plan {
        LogicalPlan::TableScan(scan) => Some(scan),
        LogicalPlan::Filter(filter) => scan_of(&filter.input),
        LogicalPlan::SubqueryAlias(alias) => scan_of(&alias.input),
        LogicalPlan::Join(join)
            if matches!(join.join_type, JoinType::LeftSemi | JoinType::LeftAnti) =>
        {
            scan_of(&join.left)
        }
        LogicalPlan::Projection(projection)
            if projection.expr.iter().all(|expr| matches!(expr, Expr::Column(_))) =>
        {
            scan_of(&projection.input)
        }
        _ => None,
    }
}

fn rows(plan: &LogicalPlan, table: Option<&Table>) -> f64 {
    match plan {
        LogicalPlan::TableScan(scan) => {
            let all = table.map_or(ROWS_UNKNOWN, Table::rows);
            all * selectivity_of_all(scan.filters.iter(), table)
        }
        LogicalPlan::Filter(filter) => {
            // What the scan below was told already counts once.
            let known = match &*filter.input {
                LogicalPlan::TableScan(scan) => scan.filters.as_slice(),
                _ => &[],
            };
            let more = split_conjunction(&filter.predicate);
            let more = more.into_iter().filter(|one| !known.contains(one));
            rows(&filter.input, table) * selectivity_of_all(more, table)
        }
        LogicalPlan::Aggregate(aggregate) if aggregate.group_expr.is_empty() => 1.0,
        LogicalPlan::Aggregate(aggregate) => rows(&aggregate.input, None) * 0.2,
        LogicalPlan::Limit(limit) => rows(&limit.input, None).min(100.0),
        LogicalPlan::Values(values) => small(values.values.len()),
        LogicalPlan::EmptyRelation(_) => 1.0,
        LogicalPlan::Join(join) => {
            let of = |plan: &LogicalPlan| rows(plan, scan_of(plan).and_then(Table::of).as_ref());
            let (left, right) = (of(&join.left), of(&join.right));
            match join.join_type {
                JoinType::LeftSemi => match part_of_key(join) {
                    Some(part) => left * part,
                    None => (left * 0.5).min(right),
                },
                JoinType::LeftAnti => left * 0.5,
                JoinType::RightSemi | JoinType::RightAnti => right * 0.5,
                _ => left.max(right),
            }
        }
        other => match other.inputs().as_slice() {
            [input] => {
                let below = scan_of(input).and_then(Table::of);
                rows(input, table.or(below.as_ref()))
            }
            _ => ROWS_UNKNOWN,
        },
    }
}

/// The part of a table's keys that a semi-join asks for, if it asks for keys.
fn part_of_key(semi: &Join) -> Option<f64> {
    let [(_, Expr::Column(key))] = semi.on.as_slice() else { return None };
    let partner = Input::new(&semi.right);
    let (_, is_key) = partner.distinct(key)?;
    is_key.then(|| partner.rows / partner.base_rows)
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn small(count: usize) -> f64 {
    count as f64
}

fn selectivity_of_all<'a>(exprs: impl Iterator<Item = &'a Expr>, table: Option<&Table>) -> f64 {
    exprs.map(|expr| selectivity(expr, table)).product()
}

fn selectivity(expr: &Expr, table: Option<&Table>) -> f64 {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            selectivity(left, table) * selectivity(right, table)
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            (selectivity(left, table) + selectivity(right, table)).min(1.0)
        }
        Expr::Not(inner) => 1.0 - selectivity(inner, table),
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
            (Expr::Column(column), Expr::Literal(value, _)) => compare(column, *op, value, table),
            // A value that is bound later.
            (Expr::Column(column), Expr::Placeholder(_))
            | (Expr::Placeholder(_), Expr::Column(column))
                if *op == Operator::Eq =>
            {
                equal(column, table)
            }
            (Expr::Literal(value, _), Expr::Column(column)) => {
                op.swap().map_or(RANGE, |op| compare(column, op, value, table))
            }
            _ => RANGE,
        },
        Expr::Between(Between { expr, negated: false, low, high }) => {
            match (&**expr, &**low, &**high) {
                (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) => {
                    let above = compare(column, Operator::GtEq, low, table);
                    let below = compare(column, Operator::LtEq, high, table);
                    (above + below - 1.0).max(0.01)
                }
                _ => RANGE,
            }
        }
        Expr::InList(InList { expr, list, negated }) => {
            let one = match &**expr {
                Expr::Column(column) => equal(column, table),
                _ => EQUAL,
            };
            let some = (one * small(list.len())).min(1.0);
            if *negated { 1.0 - some } else { some }
        }
        Expr::Like(like) if !like.negated => PATTERN,
        Expr::Like(_) => 1.0 - PATTERN,
        Expr::IsNull(_) => EQUAL,
        Expr::IsNotNull(_) => 1.0 - EQUAL,
        _ => RANGE,
    }
}

fn equal(column: &Column, table: Option<&Table>) -> f64 {
    let distinct = table.and_then(|table| {
        let index = table.names.iter().position(|name| *name == column.name)?;
        table.distinct(index).or_else(|| Some(1.0 / EQUAL).map(|guess| guess.min(table.rows())))
    });
    distinct.map_or(EQUAL, |distinct| 1.0 / distinct.max(1.0))
}

fn compare(column: &Column, op: Operator, value: &ScalarValue, table: Option<&Table>) -> f64 {
    match op {
        Operator::Eq => return equal(column, table),
        Operator::NotEq => return 1.0 - equal(column, table),
        Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {}
        _ => return RANGE,
    }
    let part = table.and_then(|table| {
        let index = table.names.iter().position(|name| *name == column.name)?;
        let (low, high) = table.bounds(index)?;
        let at = number(value)?;
        (high > low).then(|| ((at - low) / (high - low)).clamp(0.0, 1.0))
    });
    match (part, op) {
        (Some(part), Operator::Lt | Operator::LtEq) => part.max(0.001),
        (Some(part), _) => (1.0 - part).max(0.001),
        (None, _) => RANGE,
    }
}

impl Table {
    fn of(scan: &TableScan) -> Option<Self> {
        let provider = source_as_provider(&scan.source).ok()?;
        let table = provider.downcast_ref::<SiltTable>()?;
        let schema = scan.source.schema();
        let names = schema.fields().iter().map(|field| field.name().clone()).collect();
        Some(Self {
            statistics: table.table_statistics(),
            names,
            key: table.only_key(),
            first_key: table.first_key().map(str::to_owned),
            key_names: table.key_names(),
        })
    }

    fn rows(&self) -> f64 {
        self.statistics.num_rows.get_value().map_or(ROWS_UNKNOWN, |rows| small(*rows)).max(1.0)
    }

    fn bounds(&self, index: usize) -> Option<(f64, f64)> {
        let column = &self.statistics.column_statistics[index];
        Some((number(column.min_value.get_value()?)?, number(column.max_value.get_value()?)?))
    }

    fn distinct(&self, index: usize) -> Option<f64> {
        let column = &self.statistics.column_statistics[index];
        if let Some(distinct) = column.distinct_count.get_value() {
            return Some(small(*distinct));
        }
        let value = column.min_value.get_value()?;
        let counts = value.data_type().is_integer() || matches!(value, ScalarValue::Date32(_));
        let (low, high) = self.bounds(index)?;
        counts.then(|| (high - low + 1.0).min(self.rows()))
    }
}

/// A value as a number, if it is one or stands on a line as numbers do.
fn number(value: &ScalarValue) -> Option<f64> {
    use datafusion::arrow::datatypes::DataType;
    let value = match value {
        ScalarValue::Date32(days) => ScalarValue::Int32(*days),
        ScalarValue::TimestampMicrosecond(micros, _) => ScalarValue::Int64(*micros),
        other => other.clone(),
    };
    match value.cast_to(&DataType::Float64).ok()? {
        ScalarValue::Float64(number) => number,
        _ => None,
    }
}
