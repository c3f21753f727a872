//! Dynamic filters: what a running join or top-n above a scan still wants, while it runs.
//!
//! A hash join knows its build side's keys before it asks its probe side for the first row, and a
//! top-n its threshold better with every batch. What of that are comparisons with constants goes
//! into the storage scan, which leaves out row groups by zone maps and rows on encoded vectors. A
//! list of values of the first key column becomes lookups by key: an index join. The rest, such as
//! a look into the join's hash table, is evaluated on the columns it names before the others are
//! decoded, as long as it leaves out enough rows to pay; on a column of integers out of a narrow
//! range by a table of them ([`Tabulated`]).
//!
//! None of it is owed: the operators above check again.

use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::expressions::{BinaryExpr, Column, InListExpr, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr::{PhysicalExpr, split_conjunction};
use datafusion::physical_expr_common::physical_expr::{
    snapshot_generation, snapshot_physical_expr,
};
use silt_codec::{CompareOp, Value};
use silt_storage::{EncodedRows, KeyRange, Predicate};

use super::absorb::exact_predicate;
use super::pushdown::{Access, compare_op};
use super::scan::ScanParts;
use super::tabulated::{Tabulated, integer};
use crate::value::scalar_to_value;

/// Rows seen before it is decided whether an expression is worth evaluating here.
const ROWS_TRIED: usize = 32 << 10;

/// An expression goes on being evaluated if at most this many rows in ten pass.
const TENTHS_PASSING_MAX: usize = 6;

/// Where so many rows are looked at for one that is given out, or fewer, a condition is decided for
/// all of them: to pick rows costs more than to look into a table or to evaluate an expression.
const SPAN_TABULATED: usize = 7;
const SPAN_EVALUATED: usize = 2;

/// A bound of a join's keys is compared with if it leaves out one in so many values of the column.
const BOUND_LEAVES_OUT_MIN: i128 = 12;

/// A top-n gets so many rows, or few more, at once until it has a threshold and while that improves.
const ROWS_HURRIED: usize = 256;

/// A range is looked up by keys if there is at most one for this many rows of the table.
const ROWS_A_LOOKUP: usize = 2_000;

/// What narrows one partition of a scan.
pub(crate) struct Narrowing {
    filters: Vec<Arc<dyn PhysicalExpr>>,
    generation: Option<u64>,
    /// How often they were found changed.
    changes: usize,
    /// Whether there are some that want everything as yet.
    is_open: bool,
    /// What of the filters storage evaluates.
    pub(crate) predicate: Option<Predicate>,
    /// What is evaluated before the other columns are decoded, one after another.
    tests: Vec<Test>,
}

/// A condition, and whether it is worth evaluating here.
struct Test {
    condition: Condition,
    seen: usize,
    passed: usize,
}

enum Condition {
    Tabulated(Tabulated),
    Evaluated(Rest),
}

struct Rest {
    expr: Arc<dyn PhysicalExpr>,
    /// Positions in the scan's output.
    columns: Vec<usize>,
    schema: SchemaRef,
}

impl Narrowing {
    pub(crate) fn new(parts: &ScanParts) -> Self {
        Self {
            filters: parts.dynamic.clone(),
            generation: None,
            changes: 0,
            is_open: false,
            predicate: None,
            tests: Vec::new(),
        }
    }

    /// Looks at what the filters have become; whether that differs from before.
    pub(crate) fn refresh(&mut self, parts: &ScanParts) -> Result<bool> {
        let generation = self.filters.iter().map(snapshot_generation);
        let generation = generation.fold(0, u64::wrapping_add);
        if self.filters.is_empty() || self.generation == Some(generation) {
            return Ok(false);
        }
        self.generation = Some(generation);
        self.changes += 1;
        let (mut predicates, mut rest) = (Vec::new(), Vec::new());
        self.tests.clear();
        self.is_open = false;
        for filter in &self.filters {
            let filter = snapshot_physical_expr(Arc::clone(filter))?;
            self.is_open |= is_true(&filter);
            let conditions = split_conjunction(&filter);
            let is_told_more = conditions.iter().any(|one| !is_comparison(one));
            for one in conditions {
                match exact_predicate(one, parts) {
                    Some(bound) if is_told_more && is_wide(&bound, parts) => {}
                    Some(predicate) => predicates.push(predicate),
                    None if is_true(one) || lists_floats(one, parts) => {}
                    // A join's filter changes once, from nothing to its keys; a top-n's with every
                    // better row, and a table would be made anew each time.
                    None if self.changes > self.filters.len() + 1 => rest.push(Arc::clone(one)),
                    None => match Tabulated::new(one, parts)? {
                        Some(table) => self.tests.push(Test::new(Condition::Tabulated(table))),
                        None => rest.push(Arc::clone(one)),
                    },
                }
            }
        }
        // The fewer pass, the fewer are left for the others.
        self.tests.sort_by(|one, other| one.part().total_cmp(&other.part()));
        let is_never_null = |column: usize| {
            let place = parts.projection.iter().position(|&other| other == column);
            place.is_some_and(|place| !parts.schema.field(place).is_nullable())
        };
        predicates.iter_mut().for_each(|predicate| threshold(predicate, &is_never_null));
        self.predicate = match predicates.len() {
            0 | 1 => predicates.pop(),
            _ => Some(Predicate::And(predicates)),
        };
        if !rest.is_empty() {
            let rest = Rest::new(&datafusion::physical_expr::conjunction(rest), parts)?;
            self.tests.extend(rest.map(|rest| Test::new(Condition::Evaluated(rest))));
        }
        Ok(true)
    }

    /// Whether so many rows are better given out at once than gathered to a larger batch: a top-n
    /// has no threshold before it has seen rows, and a better one for those it sees.
    pub(crate) fn hurries(&self, rows: usize) -> bool {
        let improves = self.changes > self.filters.len();
        rows >= ROWS_HURRIED && (self.is_open || improves)
    }

    /// Only those of `rows` that may still be wanted.
    pub(crate) fn refine(&mut self, mut rows: EncodedRows) -> Result<EncodedRows> {
        let mut pays = true;
        for test in &mut self.tests {
            if rows.is_empty() {
                break;
            }
            test.seen += rows.len();
            rows = test.condition.refine(rows)?;
            test.passed += rows.len();
            pays &= test.pays();
        }
        if !pays {
            self.tests.retain(Test::pays);
        }
        Ok(rows)
    }

    /// The lookups that are left of `access` if the filters list values of the first key column.
    pub(crate) fn lookups(&self, parts: &ScanParts, access: &Access) -> Result<Option<Access>> {
        let (Access::Ranges(ranges), Some(Some(key))) = (access, parts.key.first()) else {
            return Ok(None);
        };
        let rows = parts.statistics.num_rows.get_value().copied().unwrap_or(0);
        for filter in &self.filters {
            let filter = snapshot_physical_expr(Arc::clone(filter))?;
            for one in split_conjunction(&filter) {
                let Some(list) = one.downcast_ref::<InListExpr>() else { continue };
                let column = list.expr().downcast_ref::<Column>();
                if list.negated()
                    || column.is_none_or(|column| column.index() != *key)
                    || list.list().len() > rows / ROWS_A_LOOKUP
                {
                    continue;
                }
                if let Some(prefixes) = prefixes(list, parts, *key) {
                    return Ok(Some(within(prefixes, parts, ranges)));
                }
            }
        }
        Ok(None)
    }
}

/// The bytes of the first key column for each value of a list, ascending.
fn prefixes(list: &InListExpr, parts: &ScanParts, key: usize) -> Option<Vec<Vec<u8>>> {
    let data_type = parts.schema.field(key).data_type();
    let codec = parts.tree.key_codec();
    let mut prefixes = Vec::with_capacity(list.list().len());
    for item in list.list() {
        let scalar = item.downcast_ref::<Literal>()?.value();
        if scalar.is_null() {
            continue;
        }
        if scalar.data_type() != *data_type {
            return None;
        }
        let value = scalar_to_value(scalar)?;
        let mut bytes = Vec::new();
        codec.encode_values(&[value.as_ref()], &mut bytes).ok()?;
        prefixes.push(bytes);
    }
    prefixes.sort_unstable();
    prefixes.dedup();
    Some(prefixes)
}

/// The keys that begin so and lie within `ranges`.
fn within(prefixes: Vec<Vec<u8>>, parts: &ScanParts, ranges: &[KeyRange]) -> Access {
    // A get looks at no predicate.
    let is_filtered = parts.absorbed && parts.predicate.is_some();
    if parts.tree.schema().key_len() == 1 && !is_filtered {
        let is_in = |key: &Vec<u8>| ranges.iter().any(|range| range.contains(key));
        return Access::Points(prefixes.into_iter().filter(is_in).collect());
    }
    let mut found = Vec::new();
    for prefix in prefixes {
        let of_prefix = KeyRange::prefix(prefix);
        found.extend(
            ranges.iter().map(|range| of_prefix.meet(range)).filter(|both| !both.is_empty()),
        );
    }
    Access::Ranges(found)
}

/// What a top-n wants, `a > 9 OR a = 9 AND b < 2`, becomes `a >= 9`: one comparison, which passes a
/// few rows more.
fn threshold(predicate: &mut Predicate, is_never_null: &dyn Fn(usize) -> bool) {
    fn leaves<'a>(predicate: &'a Predicate, is_or: bool, out: &mut Vec<&'a Predicate>) {
        match (predicate, is_or) {
            (Predicate::Or(parts), true) | (Predicate::And(parts), false) => {
                parts.iter().for_each(|part| leaves(part, is_or, out));
            }
            _ => out.push(predicate),
        }
    }
    let mut any = Vec::new();
    leaves(predicate, true, &mut any);
    any.retain(|one| !matches!(one, Predicate::IsNull(column) if is_never_null(*column)));
    let strict = any.iter().find_map(|one| match one {
        Predicate::Compare { column, op: CompareOp::Gt, value } => {
            Some((*column, CompareOp::GtEq, value))
        }
        Predicate::Compare { column, op: CompareOp::Lt, value } => {
            Some((*column, CompareOp::LtEq, value))
        }
        _ => None,
    });
    let Some((column, op, value)) = strict else { return };
    let is_within = |one: &Predicate| match one {
        Predicate::Compare { column: other, op: strict, value: bound } => {
            *other == column
                && bound == value
                && (*strict == CompareOp::Eq
                    || (*strict, op) == (CompareOp::Gt, CompareOp::GtEq)
                    || (*strict, op) == (CompareOp::Lt, CompareOp::LtEq))
        }
        _ => false,
    };
    let all_within = any.iter().all(|one| {
        let mut all = Vec::new();
        leaves(one, false, &mut all);
        all.into_iter().any(is_within)
    });
    if all_within {
        *predicate = Predicate::Compare { column, op, value: value.clone() };
    }
}

fn is_comparison(expr: &Arc<dyn PhysicalExpr>) -> bool {
    expr.downcast_ref::<BinaryExpr>().is_some_and(|binary| compare_op(*binary.op()).is_some())
}

/// Whether a comparison leaves out next to nothing, if values lie evenly. A join tells the least and
/// the greatest of its keys beside the keys, and if these lie all over their column, to compare each
/// row with them is work for nothing.
fn is_wide(bound: &Predicate, parts: &ScanParts) -> bool {
    let Predicate::Compare { column, op, value } = bound else { return false };
    let place = parts.projection.iter().position(|other| other == column);
    let known = place.and_then(|place| parts.statistics.column_statistics.get(place));
    let Some(known) = known else { return false };
    let value = match value {
        Value::Int(value) => i128::from(*value),
        Value::UInt(value) => i128::from(*value),
        _ => return false,
    };
    let (Some(first), Some(last)) = (integer(&known.min_value), integer(&known.max_value)) else {
        return false;
    };
    let (first, last) = (i128::from(first), i128::from(last));
    let left_out = match op {
        CompareOp::Gt | CompareOp::GtEq => value - first,
        CompareOp::Lt | CompareOp::LtEq => last - value,
        CompareOp::Eq | CompareOp::NotEq => return false,
    };
    left_out * BOUND_LEAVES_OUT_MIN <= last - first
}

/// Whether it is a list of floats. DataFusion tells -0.0 from 0.0 in lists, but not in joins, whose
/// build side's values such a list may be.
fn lists_floats(expr: &Arc<dyn PhysicalExpr>, parts: &ScanParts) -> bool {
    let list = expr.downcast_ref::<InListExpr>();
    let data_type = list.and_then(|list| list.expr().data_type(&parts.schema).ok());
    data_type.is_some_and(|data_type| data_type.is_floating())
}

fn is_true(expr: &Arc<dyn PhysicalExpr>) -> bool {
    let literal = expr.downcast_ref::<Literal>();
    literal.is_some_and(|literal| literal.value() == &true.into())
}

/// Whether a bit for each row looked at costs less than to pick those that are given out.
fn are_dense(rows: &EncodedRows, times: usize) -> bool {
    rows.span() <= rows.len() * times
}

impl Test {
    fn new(condition: Condition) -> Self {
        Self { condition, seen: 0, passed: 0 }
    }

    /// The part of values that pass, as far as it is known.
    fn part(&self) -> f64 {
        match &self.condition {
            Condition::Tabulated(table) => table.part,
            Condition::Evaluated(_) => 1.0,
        }
    }

    fn pays(&self) -> bool {
        self.seen <= ROWS_TRIED || self.passed * 10 <= self.seen * TENTHS_PASSING_MAX
    }
}

impl Condition {
    fn refine(&self, rows: EncodedRows) -> Result<EncodedRows> {
        match self {
            Self::Tabulated(table) if are_dense(&rows, SPAN_TABULATED) => {
                let passed = table.select_whole(&rows)?;
                Ok(rows.meet(&passed))
            }
            Self::Tabulated(table) => {
                let columns = rows.decode_columns(&[table.column]);
                let columns = columns.map_err(crate::Error::from)?;
                Ok(rows.refine(&table.select(&columns[0])))
            }
            Self::Evaluated(rest) => rest.refine(rows),
        }
    }
}

impl Rest {
    fn new(expr: &Arc<dyn PhysicalExpr>, parts: &ScanParts) -> Result<Option<Self>> {
        let mut columns: Vec<usize> = collect_columns(expr).iter().map(Column::index).collect();
        columns.sort_unstable();
        columns.dedup();
        // Where nothing else is decoded there is nothing to save.
        if columns.is_empty() || columns.len() == parts.projection.len() {
            return Ok(None);
        }
        let moved = Arc::clone(expr).transform(|expr| {
            Ok(match expr.downcast_ref::<Column>() {
                Some(column) => {
                    let place = columns.binary_search(&column.index()).unwrap_or_default();
                    Transformed::yes(Arc::new(Column::new(column.name(), place)) as _)
                }
                None => Transformed::no(expr),
            })
        });
        let schema: Schema = parts.schema.project(&columns)?;
        Ok(Some(Self { expr: moved.data()?, columns, schema: Arc::new(schema) }))
    }

    fn refine(&self, rows: EncodedRows) -> Result<EncodedRows> {
        // Rows that are not given out may hold what the expression fails on, and do not count.
        if are_dense(&rows, SPAN_EVALUATED)
            && let Ok(columns) = self.columns.iter().map(|&column| rows.whole(column)).collect()
            && let Ok(passed) = self.evaluate(columns, rows.span())
        {
            return Ok(rows.meet(&passed));
        }
        let columns = rows.decode_columns(&self.columns).map_err(crate::Error::from)?;
        let passed = self.evaluate(columns, rows.len())?;
        Ok(rows.refine(&passed))
    }

    fn evaluate(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<BooleanBuffer> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let schema = Arc::clone(&self.schema);
        let batch = RecordBatch::try_new_with_options(schema, columns, &options)?;
        let passed = self.expr.evaluate(&batch)?.into_array(rows)?;
        let passed = passed.as_boolean();
        Ok(match passed.nulls() {
            Some(nulls) => passed.values() & nulls.inner(),
            None => passed.values().clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(column: usize, op: CompareOp, value: i64) -> Predicate {
        Predicate::Compare { column, op, value: Value::Int(value) }
    }

    /// `a > 9 OR a = 9 AND b < 2`, as a top-n says it of an order by `a DESC, b`.
    fn wanted(op: CompareOp) -> Vec<Predicate> {
        let tie = vec![compare(0, CompareOp::Eq, 9), compare(1, CompareOp::Lt, 2)];
        vec![compare(0, op, 9), Predicate::And(tie)]
    }

    fn becomes(predicate: Predicate) -> Predicate {
        let mut predicate = predicate;
        threshold(&mut predicate, &|column| column == 0);
        predicate
    }

    #[test]
    fn what_a_top_n_wants_becomes_one_comparison() {
        let is_null = Predicate::IsNull(0);
        let nested =
            Predicate::Or(vec![Predicate::Or(vec![is_null, wanted(CompareOp::Gt).remove(0)]), {
                wanted(CompareOp::Gt).remove(1)
            }]);
        assert_eq!(becomes(nested), compare(0, CompareOp::GtEq, 9));
        let least = Predicate::Or(wanted(CompareOp::Lt));
        assert_eq!(becomes(least), compare(0, CompareOp::LtEq, 9));
    }

    #[test]
    fn other_conditions_stay_as_they_are() {
        let or = |more: Predicate| {
            let mut any = wanted(CompareOp::Gt);
            any.push(more);
            Predicate::Or(any)
        };
        for predicate in [
            or(Predicate::IsNull(1)),
            or(compare(1, CompareOp::Gt, 9)),
            or(compare(0, CompareOp::Eq, 8)),
            or(compare(0, CompareOp::Lt, 9)),
            compare(1, CompareOp::Eq, 9),
            Predicate::And(vec![compare(0, CompareOp::Eq, 9), compare(1, CompareOp::Lt, 2)]),
        ] {
            assert_eq!(becomes(predicate.clone()), predicate);
        }
    }
}
