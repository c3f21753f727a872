//! Which predicates become keys and key ranges, and which only prune.
//!
//! Everything happens on encoded bytes. The fields of a key are encoded one behind the other and
//! each keeps its column's order, descending columns included, so the constraints on one key
//! column are sets and intervals of that field's bytes, and a key range is a prefix of points with
//! at most one interval behind it.

use std::collections::BTreeSet;
use std::ops::Bound;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::logical_expr::expr::{InList, Like};
use datafusion::logical_expr::{Between, BinaryExpr, Expr, Operator};
use silt_codec::{CompareOp, KeyCodec, TreeSchema, Value, successor};
use silt_storage::{KeyRange, Predicate};

use crate::Result;
use crate::value::scalar_to_value;

/// Keys that one statement may name before its list is read as a range instead.
const POINTS_MAX: usize = 65_536;

/// How a scan reaches its rows.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Access {
    /// By whole keys, ascending and without repetition.
    Points(Vec<Vec<u8>>),
    /// By ranges of keys, ascending and disjoint.
    Ranges(Vec<KeyRange>),
}

/// What the filters of a scan come to.
#[derive(Clone, Debug)]
pub(crate) struct KeyPlan {
    /// The way to the rows.
    pub(crate) access: Access,
    /// For each filter, whether `access` alone enforces it.
    pub(crate) exact: Vec<bool>,
    /// How many of the first key columns have one value in each range.
    pub(crate) fixed: usize,
}

/// The key of a table as its predicates name it.
#[derive(Debug)]
pub(crate) struct KeyShape {
    fields: Vec<KeyField>,
}

#[derive(Debug)]
struct KeyField {
    /// The column's name; none for a hidden one.
    name: Option<String>,
    data_type: DataType,
    descending: bool,
    codec: KeyCodec,
}

/// What the filters say about one key column, in that field's bytes.
#[derive(Debug, Default)]
struct FieldLimits {
    points: Option<BTreeSet<Vec<u8>>>,
    lower: Option<(Vec<u8>, bool)>,
    upper: Option<(Vec<u8>, bool)>,
    filters: Vec<usize>,
}

#[derive(Debug)]
enum Limit {
    Points(Vec<Vec<u8>>),
    Lower(Vec<u8>, bool),
    Upper(Vec<u8>, bool),
}

impl KeyShape {
    /// The shape of `schema`'s key, whose columns SQL calls `names`.
    pub(crate) fn new(schema: &TreeSchema, names: Vec<Option<String>>) -> Result<Self> {
        let fields = schema.key_columns().iter().zip(&schema.key).zip(names);
        let fields = fields.map(|((column, order), name)| {
            let field = TreeSchema { version: 1, columns: vec![column.clone()], key: vec![*order] };
            Ok(KeyField {
                name,
                data_type: column.data_type.clone(),
                descending: order.descending,
                codec: KeyCodec::new(&field)?,
            })
        });
        Ok(Self { fields: fields.collect::<Result<_>>()? })
    }

    /// What `filters`, all of which must hold, say about the key.
    ///
    /// Placeholders count as constants: `exact` does not depend on values, only on their types.
    pub(crate) fn plan(&self, filters: &[&Expr]) -> KeyPlan {
        let mut limits: Vec<FieldLimits> =
            self.fields.iter().map(|_| FieldLimits::default()).collect();
        for (index, filter) in filters.iter().enumerate() {
            if let Some((field, found)) = self.limits_of(filter) {
                let limits = &mut limits[field];
                limits.filters.push(index);
                for limit in found {
                    limits.add(limit);
                }
            }
        }
        let mut exact = vec![false; filters.len()];
        let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
        let mut whole = true;
        let (mut ranges, mut fixed) = (None, 0);
        for field in limits {
            let Some(points) = field.admitted_points() else {
                whole = false;
                if field.lower.is_some() || field.upper.is_some() {
                    field.filters.iter().for_each(|&filter| exact[filter] = true);
                    ranges =
                        Some(prefixes.iter().filter_map(|prefix| field.range(prefix)).collect());
                }
                break;
            };
            if prefixes.len().saturating_mul(points.len()) > POINTS_MAX {
                whole = false;
                break;
            }
            field.filters.iter().for_each(|&filter| exact[filter] = true);
            fixed += 1;
            prefixes = prefixes
                .iter()
                .flat_map(|prefix| {
                    points.iter().map(move |point| [prefix.as_slice(), point].concat())
                })
                .collect();
        }
        let access = match ranges {
            _ if whole => Access::Points(prefixes),
            Some(ranges) => Access::Ranges(ranges),
            None => Access::Ranges(prefixes.into_iter().map(with_prefix).collect()),
        };
        KeyPlan { access, exact, fixed }
    }

    /// Whether `plan` would enforce `filter` for some values of its constants: such a filter may
    /// have been promised before its placeholders were bound.
    pub(crate) fn may_be_exact(&self, filter: &Expr) -> bool {
        match filter {
            // Parts that are NULL by now were comparisons once.
            Expr::Literal(..) => true,
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or | Operator::And, right }) => {
                self.may_be_exact(left) && self.may_be_exact(right)
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                is_ordering(*op)
                    && (self.field_of(left).is_some() && is_constant(right)
                        || self.field_of(right).is_some() && is_constant(left))
            }
            Expr::InList(InList { expr, list, negated: false }) => {
                self.field_of(expr).is_some() && list.iter().all(is_constant)
            }
            Expr::Between(Between { expr, negated: false, low, high }) => {
                self.field_of(expr).is_some() && is_constant(low) && is_constant(high)
            }
            _ => false,
        }
    }

    fn field_of(&self, expr: &Expr) -> Option<usize> {
        let Expr::Column(column) = expr else { return None };
        self.fields.iter().position(|field| field.name.as_deref() == Some(column.name.as_str()))
    }

    fn limits_of(&self, filter: &Expr) -> Option<(usize, Vec<Limit>)> {
        match filter {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
                let (field, left) = self.limits_of(left)?;
                let (other, right) = self.limits_of(right)?;
                match (left.into_iter().next()?, right.into_iter().next()?) {
                    (Limit::Points(mut points), Limit::Points(more)) if field == other => {
                        points.extend(more);
                        Some((field, vec![Limit::Points(points)]))
                    }
                    _ => None,
                }
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match self.field_of(left) {
                Some(field) => self.comparison(field, *op, right),
                None => self.comparison(self.field_of(right)?, op.swap()?, left),
            },
            Expr::InList(InList { expr, list, negated: false }) => {
                let field = self.field_of(expr)?;
                let mut points = Vec::with_capacity(list.len());
                for item in list {
                    match self.constant(field, item)? {
                        Constant::Bytes(bytes) => points.push(bytes),
                        Constant::Null | Constant::Outside => {}
                    }
                }
                Some((field, vec![Limit::Points(points)]))
            }
            Expr::Between(Between { expr, negated: false, low, high }) => {
                let field = self.field_of(expr)?;
                let (_, mut limits) = self.comparison(field, Operator::GtEq, low)?;
                limits.extend(self.comparison(field, Operator::LtEq, high)?.1);
                Some((field, limits))
            }
            _ => None,
        }
    }

    fn comparison(
        &self,
        field: usize,
        op: Operator,
        constant: &Expr,
    ) -> Option<(usize, Vec<Limit>)> {
        let descending = self.fields[field].descending;
        if !is_ordering(op) {
            return None;
        }
        let bytes = match self.constant(field, constant)? {
            Constant::Bytes(bytes) => bytes,
            // A comparison with NULL holds for no row, nor does `=` with a value the type lacks.
            Constant::Null => return Some((field, vec![Limit::Points(Vec::new())])),
            Constant::Outside if op == Operator::Eq => {
                return Some((field, vec![Limit::Points(Vec::new())]));
            }
            Constant::Outside => return None,
        };
        let limit = match (op, descending) {
            (Operator::Eq, _) => Limit::Points(vec![bytes]),
            (Operator::Gt, false) | (Operator::Lt, true) => Limit::Lower(bytes, false),
            (Operator::GtEq, false) | (Operator::LtEq, true) => Limit::Lower(bytes, true),
            (Operator::Lt, false) | (Operator::Gt, true) => Limit::Upper(bytes, false),
            (Operator::LtEq, false) | (Operator::GtEq, true) => Limit::Upper(bytes, true),
            _ => return None,
        };
        Some((field, vec![limit]))
    }

    fn constant(&self, field: usize, expr: &Expr) -> Option<Constant> {
        let KeyField { data_type, codec, .. } = &self.fields[field];
        let scalar = match expr {
            Expr::Literal(scalar, _) => scalar,
            // Bound later; any point stands for it meanwhile.
            Expr::Placeholder(_) => return Some(Constant::Bytes(vec![0])),
            _ => return None,
        };
        if scalar.is_null() {
            return Some(Constant::Null);
        }
        let Some(scalar) = exact_cast(scalar, data_type) else { return Some(Constant::Outside) };
        let value = scalar_to_value(&scalar)?;
        // Keys hold no negative zero, but comparisons tell it from zero.
        if matches!(value, Value::Float(float) if float == 0.0 && float.is_sign_negative()) {
            return None;
        }
        let mut bytes = Vec::new();
        // A value beyond the size of any key equals none, and bounds are left to the filter.
        match codec.encode_values(&[value.as_ref()], &mut bytes) {
            Ok(()) => Some(Constant::Bytes(bytes)),
            Err(_) => Some(Constant::Outside),
        }
    }
}

enum Constant {
    Bytes(Vec<u8>),
    Null,
    /// No value of the column's type is equal to it.
    Outside,
}

impl FieldLimits {
    fn add(&mut self, limit: Limit) {
        match limit {
            Limit::Points(points) => {
                let points: BTreeSet<_> = points.into_iter().collect();
                self.points = Some(match self.points.take() {
                    Some(old) => old.intersection(&points).cloned().collect(),
                    None => points,
                });
            }
            Limit::Lower(bytes, inclusive) => {
                let tighter = self.lower.as_ref().is_none_or(|(old, old_inclusive)| {
                    bytes > *old || bytes == *old && *old_inclusive && !inclusive
                });
                if tighter {
                    self.lower = Some((bytes, inclusive));
                }
            }
            Limit::Upper(bytes, inclusive) => {
                let tighter = self.upper.as_ref().is_none_or(|(old, old_inclusive)| {
                    bytes < *old || bytes == *old && *old_inclusive && !inclusive
                });
                if tighter {
                    self.upper = Some((bytes, inclusive));
                }
            }
        }
    }

    /// The points that lie within the bounds; none where only bounds are known.
    fn admitted_points(&self) -> Option<Vec<Vec<u8>>> {
        let points = self.points.as_ref()?;
        let above = |point: &[u8]| match &self.lower {
            Some((bytes, true)) => point >= bytes.as_slice(),
            Some((bytes, false)) => point > bytes.as_slice(),
            None => true,
        };
        let below = |point: &[u8]| match &self.upper {
            Some((bytes, true)) => point <= bytes.as_slice(),
            Some((bytes, false)) => point < bytes.as_slice(),
            None => true,
        };
        Some(points.iter().filter(|point| above(point) && below(point)).cloned().collect())
    }

    /// The keys that begin with `prefix` and have this field within its bounds; none if that is
    /// behind every key.
    fn range(&self, prefix: &[u8]) -> Option<KeyRange> {
        let whole = with_prefix(prefix.to_vec());
        let start = match &self.lower {
            Some((bytes, true)) => Bound::Included([prefix, bytes].concat()),
            Some((bytes, false)) => match after([prefix, bytes].concat(), Bound::Included) {
                Bound::Unbounded => return None,
                start => start,
            },
            None => whole.start,
        };
        let end = match &self.upper {
            Some((bytes, true)) => after([prefix, bytes].concat(), Bound::Excluded),
            Some((bytes, false)) => Bound::Excluded([prefix, bytes].concat()),
            None => whole.end,
        };
        Some(KeyRange { start, end })
    }
}

/// The keys that begin with `prefix`.
fn with_prefix(prefix: Vec<u8>) -> KeyRange {
    if prefix.is_empty() { KeyRange::all() } else { KeyRange::prefix(prefix) }
}

/// The bound behind all keys that begin with `bytes`.
fn after(mut bytes: Vec<u8>, bound: fn(Vec<u8>) -> Bound<Vec<u8>>) -> Bound<Vec<u8>> {
    if successor(&mut bytes) { bound(bytes) } else { Bound::Unbounded }
}

/// Whether `op` holds for no row where one side is NULL, and is decided by the key's order.
fn is_ordering(op: Operator) -> bool {
    matches!(op, Operator::Eq | Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq)
}

fn is_constant(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(..) | Expr::Placeholder(_))
}

/// `scalar` as a value of `data_type` that is equal to it, if there is one.
pub(crate) fn exact_cast(scalar: &ScalarValue, data_type: &DataType) -> Option<ScalarValue> {
    if scalar.data_type() == *data_type {
        return Some(scalar.clone());
    }
    let cast = scalar.cast_to(data_type).ok()?;
    let back = cast.cast_to(&scalar.data_type()).ok()?;
    (!cast.is_null() && back == *scalar).then_some(cast)
}

/// A column as predicates find it: its position in the tree, and its type.
pub(crate) type ColumnLookup<'a> = dyn Fn(&str) -> Option<(usize, DataType)> + 'a;

/// What storage may use of `expr` to skip rows: true for every row that `expr` keeps.
pub(crate) fn pruning_predicate(expr: &Expr, columns: &ColumnLookup<'_>) -> Option<Predicate> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::And, right }) => {
            match (pruning_predicate(left, columns), pruning_predicate(right, columns)) {
                (Some(left), Some(right)) => Some(Predicate::And(vec![left, right])),
                (one, other) => one.or(other),
            }
        }
        Expr::BinaryExpr(BinaryExpr { left, op: Operator::Or, right }) => {
            Some(Predicate::Or(vec![
                pruning_predicate(left, columns)?,
                pruning_predicate(right, columns)?,
            ]))
        }
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => match (&**left, &**right) {
            (Expr::Column(column), Expr::Literal(scalar, _)) => {
                compare(&column.name, *op, scalar, columns)
            }
            (Expr::Literal(scalar, _), Expr::Column(column)) => {
                compare(&column.name, op.swap()?, scalar, columns)
            }
            _ => None,
        },
        Expr::InList(InList { expr, list, negated: false }) => {
            let Expr::Column(column) = &**expr else { return None };
            let (column, data_type) = columns(&column.name)?;
            let values = list.iter().map(|item| match item {
                Expr::Literal(scalar, _) => value_of(scalar, &data_type),
                _ => None,
            });
            Some(Predicate::In { column, values: values.collect::<Option<_>>()? })
        }
        Expr::IsNull(inner) => {
            let Expr::Column(column) = &**inner else { return None };
            Some(Predicate::IsNull(columns(&column.name)?.0))
        }
        Expr::IsNotNull(inner) => {
            let Expr::Column(column) = &**inner else { return None };
            Some(Predicate::IsNotNull(columns(&column.name)?.0))
        }
        Expr::Between(Between { expr, negated: false, low, high }) => {
            match (&**expr, &**low, &**high) {
                (Expr::Column(column), Expr::Literal(low, _), Expr::Literal(high, _)) => {
                    Some(Predicate::And(vec![
                        compare(&column.name, Operator::GtEq, low, columns)?,
                        compare(&column.name, Operator::LtEq, high, columns)?,
                    ]))
                }
                _ => None,
            }
        }
        Expr::Like(Like {
            negated: false,
            expr,
            pattern,
            escape_char: None,
            case_insensitive: false,
        }) => match (&**expr, &**pattern) {
            (Expr::Column(column), Expr::Literal(pattern, _)) => {
                let pattern = pattern.try_as_str()??;
                let prefix = pattern.strip_suffix('%')?;
                let (column, _) = columns(&column.name)?;
                let plain = !prefix.is_empty() && !prefix.contains(['%', '_', '\\']);
                plain.then(|| Predicate::StartsWith { column, prefix: prefix.to_owned() })
            }
            _ => None,
        },
        _ => None,
    }
}

/// A comparison in storage's words, if it is one.
pub(super) fn compare_op(op: Operator) -> Option<CompareOp> {
    Some(match op {
        Operator::Eq => CompareOp::Eq,
        Operator::NotEq => CompareOp::NotEq,
        Operator::Lt => CompareOp::Lt,
        Operator::LtEq => CompareOp::LtEq,
        Operator::Gt => CompareOp::Gt,
        Operator::GtEq => CompareOp::GtEq,
        _ => return None,
    })
}

fn compare(
    name: &str,
    op: Operator,
    scalar: &ScalarValue,
    columns: &ColumnLookup<'_>,
) -> Option<Predicate> {
    let (column, data_type) = columns(name)?;
    Some(Predicate::Compare { column, op: compare_op(op)?, value: value_of(scalar, &data_type)? })
}

fn value_of(scalar: &ScalarValue, data_type: &DataType) -> Option<Value> {
    scalar_to_value(&exact_cast(scalar, data_type)?).filter(|value| !value.is_null())
}
