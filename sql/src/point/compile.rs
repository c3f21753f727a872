//! From DataFusion's optimised plan to a [`PointSelect`], if it has the form.

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    Between, BinaryExpr, Expr, Limit, LogicalPlan, Operator, SortExpr, TableScan, Volatility,
};
use silt_catalog::TableDef;
use silt_storage::{ScanOrder, Tree};
use std::sync::Arc;

use super::constant::{Constant, KeyField};
use super::select::{PointSelect, Terms};
use crate::Result;
use crate::planner::{Binding, WITH_ROWID};
use crate::provider::SiltTable;

/// Whether every run of a plan means the same: no `now()`, nothing random, no query within.
pub(crate) fn is_steady(plan: &LogicalPlan) -> Result<bool> {
    is_everywhere(plan, is_steady_expr)
}

/// As [`is_steady`], but for queries within, which must be steady themselves.
pub(super) fn is_timeless(plan: &LogicalPlan) -> Result<bool> {
    is_everywhere(plan, |expr| !expr.exists(|expr| Ok(is_volatile(expr))).unwrap_or(true))
}

fn is_everywhere(plan: &LogicalPlan, holds: impl Fn(&Expr) -> bool) -> Result<bool> {
    let mut all = true;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            all &= holds(expr);
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(all)
}

fn is_volatile(expr: &Expr) -> bool {
    matches!(expr, Expr::ScalarFunction(call)
        if call.func.signature().volatility != Volatility::Immutable)
}

/// As [`is_steady`], of an expression.
pub(crate) fn is_steady_expr(expr: &Expr) -> bool {
    let differs = |expr: &Expr| match expr {
        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) => true,
        expr => is_volatile(expr),
    };
    expr.exists(|expr| Ok(differs(expr))).is_ok_and(|differs| !differs)
}

/// The plan's form, compiled; none if the planner must run it. `types` are those of the parameters.
pub(super) fn select(
    plan: &LogicalPlan,
    binding: &Binding,
    types: &[DataType],
) -> Result<Option<PointSelect>> {
    let schema: SchemaRef = Arc::new(plan.schema().as_arrow().clone());
    let Some(walk) = Walk::down(plan, types) else { return Ok(None) };
    let Some(scan) = walk.scan else { return Ok(None) };
    let Some((table, tree)) = table_of(scan, binding)? else { return Ok(None) };
    let fields = KeyField::all(&tree.schema())?;
    let compiler = Compiler { table, fields: &fields, types };
    let Some(terms) = compiler.terms(&walk.filters) else { return Ok(None) };
    let positions = table.tree_positions();
    let mut select = PointSelect {
        tree,
        schema,
        projection: walk.columns.iter().map(|&column| positions[column]).collect(),
        fields: Vec::new(),
        terms,
        order: ScanOrder::Unordered,
        fetch_first: walk.fetch_first,
        skip: walk.skip,
        fetch: walk.fetch,
    };
    let Some(order) = compiler.order(&select.terms, walk.sort.as_deref()) else { return Ok(None) };
    select.order = order;
    select.fields = fields;
    let limited = select.fetch.is_some() || select.fetch_first.is_some();
    let narrow = match select.terms.first() {
        None => false,
        // A scan of much is faster on several threads.
        Some(Terms::Range(lower, upper)) => lower.is_some() && upper.is_some(),
        Some(_) => true,
    };
    let one = select.is_get();
    Ok((one || narrow || limited).then_some(select))
}

/// The table that a scan reads; none if it is none of ours, or shows its row numbers.
pub(super) fn table_of<'b>(
    scan: &TableScan,
    binding: &'b Binding,
) -> Result<Option<(&'b Arc<TableDef>, Tree)>> {
    let reference = &scan.table_name;
    if reference.catalog() == Some(WITH_ROWID)
        || source_as_provider(&scan.source)?.downcast_ref::<SiltTable>().is_none()
    {
        return Ok(None);
    }
    let table = binding.table(reference)?;
    Ok(Some((table, binding.engine.tree(table.tree)?)))
}

/// How many rows a LIMIT skips and gives, where these are constants.
pub(super) fn counts(
    limit: &Limit,
    types: &[DataType],
) -> Option<(Option<Constant>, Option<Constant>)> {
    let count = |expr: &Option<Box<Expr>>| match expr {
        None => Some(None),
        Some(expr) => Constant::of_count(expr, types).map(Some),
    };
    Some((count(&limit.skip)?, count(&limit.fetch)?))
}

/// A predicate over columns of the table, by their position there.
pub(super) type Filter<'a> = (&'a Expr, Names<'a>);

/// How a predicate names columns.
#[derive(Clone)]
pub(super) enum Names<'a> {
    /// As the scan does.
    Table,
    /// By a node's schema, whose columns are these of the table.
    Node(&'a DFSchema, Vec<usize>),
}

/// What is found on the way from the top of a plan to its one scan.
#[derive(Default)]
pub(super) struct Walk<'a> {
    pub(super) scan: Option<&'a TableScan>,
    pub(super) filters: Vec<Filter<'a>>,
    sort: Option<Vec<(usize, bool)>>,
    fetch_first: Option<usize>,
    skip: Option<Constant>,
    fetch: Option<Constant>,
    /// Whether no limit may come further down.
    limited: bool,
    /// Whether a filter stood above.
    filtered: bool,
    /// Of the node last left, for each of its columns that of the table.
    pub(super) columns: Vec<usize>,
}

impl<'a> Walk<'a> {
    pub(super) fn down(plan: &'a LogicalPlan, types: &[DataType]) -> Option<Self> {
        let mut walk = Self::default();
        walk.node(plan, types)?;
        Some(walk)
    }

    /// Whether all rows that pass the filters are meant, in any order.
    pub(super) fn is_plain(&self) -> bool {
        self.sort.is_none()
            && self.fetch_first.is_none()
            && self.skip.is_none()
            && self.fetch.is_none()
    }

    fn node(&mut self, plan: &'a LogicalPlan, types: &[DataType]) -> Option<()> {
        match plan {
            LogicalPlan::Projection(projection) => {
                self.node(&projection.input, types)?;
                let input = projection.input.schema();
                let columns = projection.expr.iter().map(|expr| {
                    let column = plain_column(expr)?;
                    Some(self.columns[input.maybe_index_of_column(column)?])
                });
                self.columns = columns.collect::<Option<_>>()?;
            }
            LogicalPlan::SubqueryAlias(alias) => self.node(&alias.input, types)?,
            LogicalPlan::Limit(limit) => {
                // A limit within another, or below a sort, is rare enough.
                if self.limited {
                    return None;
                }
                self.limited = true;
                (self.skip, self.fetch) = counts(limit, types)?;
                self.node(&limit.input, types)?;
            }
            LogicalPlan::Sort(sort) => {
                if self.sort.is_some() || self.filtered && sort.fetch.is_some() {
                    return None;
                }
                self.sort = Some(Vec::new());
                self.fetch_first = sort.fetch;
                self.limited = true;
                self.node(&sort.input, types)?;
                let input = sort.input.schema();
                let columns = sort.expr.iter().map(|SortExpr { expr, asc, .. }| {
                    let Expr::Column(column) = expr else { return None };
                    Some((self.columns[input.maybe_index_of_column(column)?], !asc))
                });
                self.sort = Some(columns.collect::<Option<_>>()?);
            }
            LogicalPlan::Filter(filter) => {
                // A filter above a limit would see fewer rows.
                self.limited = true;
                self.filtered = true;
                self.node(&filter.input, types)?;
                let names = Names::Node(filter.input.schema(), self.columns.clone());
                let parts = split_conjunction(&filter.predicate).into_iter();
                self.filters.extend(parts.map(|part| (part, names.clone())));
            }
            LogicalPlan::TableScan(scan) => {
                let all = || (0..scan.source.schema().fields().len()).collect();
                self.columns = scan.projection.clone().unwrap_or_else(all);
                for filter in &scan.filters {
                    let parts = split_conjunction(filter).into_iter();
                    self.filters.extend(parts.map(|part| (part, Names::Table)));
                }
                if let Some(fetch) = scan.fetch {
                    if self.sort.is_some() || self.filtered {
                        return None;
                    }
                    self.fetch_first = Some(fetch);
                }
                self.scan = Some(scan);
            }
            _ => return None,
        }
        Some(())
    }
}

pub(super) fn plain_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain_column(&alias.expr),
        _ => None,
    }
}

/// What one predicate says about one key column.
#[derive(Debug)]
pub(super) enum Term {
    In(Vec<Constant>),
    Lower(Constant, bool),
    Upper(Constant, bool),
}

pub(super) struct Compiler<'a> {
    pub(super) table: &'a TableDef,
    pub(super) fields: &'a [KeyField],
    pub(super) types: &'a [DataType],
}

/// An end of a range, and whether it belongs to the range.
type End = (Constant, bool);

impl Compiler<'_> {
    /// The terms on the first key columns, if the predicates are that and nothing else.
    fn terms(&self, filters: &[Filter<'_>]) -> Option<Vec<Terms>> {
        let mut points: Vec<Option<Vec<Constant>>> = self.fields.iter().map(|_| None).collect();
        let mut bounds: Vec<(Option<End>, Option<End>)> =
            self.fields.iter().map(|_| (None, None)).collect();
        let mut seen: Vec<String> = Vec::new();
        for (filter, names) in filters {
            // Some predicates stand both above the scan and within it.
            let (field, terms) = self.term(filter, names)?;
            let shown = format!("{field} {terms:?}");
            if seen.contains(&shown) {
                continue;
            }
            seen.push(shown);
            for term in terms {
                match term {
                    Term::In(constants) if points[field].is_none() => {
                        points[field] = Some(constants);
                    }
                    Term::Lower(bound, inclusive) if bounds[field].0.is_none() => {
                        bounds[field].0 = Some((bound, inclusive));
                    }
                    Term::Upper(bound, inclusive) if bounds[field].1.is_none() => {
                        bounds[field].1 = Some((bound, inclusive));
                    }
                    _ => return None,
                }
            }
        }
        let mut terms = Vec::new();
        let mut ended = false;
        for (points, bounds) in points.into_iter().zip(bounds) {
            let has_bounds = bounds.0.is_some() || bounds.1.is_some();
            if ended && (points.is_some() || has_bounds) {
                return None;
            }
            match points {
                Some(_) if has_bounds => return None,
                Some(mut points) if points.len() == 1 => terms.push(Terms::Equal(points.pop()?)),
                Some(points) => terms.push(Terms::In(points)),
                None => {
                    ended = true;
                    if has_bounds {
                        terms.push(Terms::Range(bounds.0, bounds.1));
                    }
                }
            }
        }
        Some(terms)
    }

    /// What a predicate says about one key column, if it does.
    pub(super) fn term(&self, filter: &Expr, names: &Names<'_>) -> Option<(usize, Vec<Term>)> {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                let (field, left) = self.term(left, names)?;
                let (other, right) = self.term(right, names)?;
                match (left.into_iter().next()?, right.into_iter().next()?) {
                    (Term::In(mut points), Term::In(more)) if field == other => {
                        points.extend(more);
                        Some((field, vec![Term::In(points)]))
                    }
                    _ => None,
                }
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                match self.comparison(left, *op, right, names) {
                    Some(found) => Some(found),
                    None => self.comparison(right, op.swap()?, left, names),
                }
            }
            Expr::InList(InList { expr, list, negated: false }) => {
                let (field, compared) = self.column(expr, names)?;
                let constants = list.iter().map(|item| self.constant(item, field, compared));
                Some((field, vec![Term::In(constants.collect::<Option<_>>()?)]))
            }
            Expr::Between(Between { expr, negated: false, low, high }) => {
                let (field, mut terms) = self.comparison(expr, Operator::GtEq, low, names)?;
                terms.extend(self.comparison(expr, Operator::LtEq, high, names)?.1);
                Some((field, terms))
            }
            _ => None,
        }
    }

    fn comparison(
        &self,
        column: &Expr,
        op: Operator,
        constant: &Expr,
        names: &Names<'_>,
    ) -> Option<(usize, Vec<Term>)> {
        let (field, compared) = self.column(column, names)?;
        let constant = self.constant(constant, field, compared)?;
        let term = match (op, self.fields[field].descending) {
            (Operator::Eq, _) => Term::In(vec![constant]),
            (Operator::Gt, false) | (Operator::Lt, true) => Term::Lower(constant, false),
            (Operator::GtEq, false) | (Operator::LtEq, true) => Term::Lower(constant, true),
            (Operator::Lt, false) | (Operator::Gt, true) => Term::Upper(constant, false),
            (Operator::LtEq, false) | (Operator::GtEq, true) => Term::Upper(constant, true),
            _ => return None,
        };
        Some((field, vec![term]))
    }

    fn constant(&self, expr: &Expr, field: usize, compared: Option<&DataType>) -> Option<Constant> {
        Constant::new(expr, &self.fields[field].data_type, compared, self.types)
    }

    /// The key column that an expression is, and the type it is cast to.
    fn column<'e>(
        &self,
        expr: &'e Expr,
        names: &Names<'_>,
    ) -> Option<(usize, Option<&'e DataType>)> {
        let (expr, compared) = match expr {
            Expr::Cast(cast) => (&*cast.expr, Some(cast.field.data_type())),
            expr => (expr, None),
        };
        let Expr::Column(column) = expr else { return None };
        let index = match names {
            Names::Table => self.table.column_index(&column.name).ok()?,
            Names::Node(schema, columns) => columns[schema.maybe_index_of_column(column)?],
        };
        let field = self.table.key_indices().iter().position(|&key| key == index)?;
        Some((field, compared))
    }

    /// The scan's order that the sort asks for; none if there is none.
    fn order(&self, terms: &[Terms], sort: Option<&[(usize, bool)]>) -> Option<ScanOrder> {
        let Some(sort) = sort else { return Some(ScanOrder::Unordered) };
        let equal = |field: usize| matches!(terms.get(field), Some(Terms::Equal(_)));
        // Columns that are equal in all rows order nothing.
        let mut free = (0..self.fields.len()).filter(|&field| !equal(field));
        let keys = self.table.key_indices();
        let mut order = ScanOrder::Unordered;
        let mut seen = Vec::new();
        for (column, descending) in sort {
            if seen.contains(column) || keys.iter().position(|key| key == column).is_some_and(equal)
            {
                continue;
            }
            seen.push(*column);
            // Behind the whole key nothing is left to order.
            let Some(field) = free.next() else { break };
            if keys.get(field) != Some(column) {
                return None;
            }
            let wanted = match *descending == self.fields[field].descending {
                true => ScanOrder::Forward,
                false => ScanOrder::Reverse,
            };
            match order {
                ScanOrder::Unordered => order = wanted,
                order if order != wanted => return None,
                _ => {}
            }
        }
        Some(order)
    }
}
