//! Physical conditions that storage evaluates as DataFusion would: comparisons with constants.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal,
};
use datafusion::scalar::ScalarValue;
use silt_codec::Value;
use silt_storage::Predicate;

use super::pushdown::compare_op;
use super::scan::ScanParts;
use crate::value::scalar_to_value;

/// A longer list is left to DataFusion, which hashes it.
const LIST_MAX: usize = 16;

/// The condition as the scan evaluates it: true for exactly the rows for which `expr` is true.
pub(crate) fn exact_predicate(
    expr: &Arc<dyn PhysicalExpr>,
    parts: &ScanParts,
) -> Option<Predicate> {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return match binary.op() {
            Operator::And => Some(Predicate::And(vec![
                exact_predicate(binary.left(), parts)?,
                exact_predicate(binary.right(), parts)?,
            ])),
            Operator::Or => Some(Predicate::Or(vec![
                exact_predicate(binary.left(), parts)?,
                exact_predicate(binary.right(), parts)?,
            ])),
            op => match column_of(binary.left(), parts) {
                Some(column) => comparison(column, *op, binary.right()),
                None => comparison(column_of(binary.right(), parts)?, op.swap()?, binary.left()),
            },
        };
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        let (column, data_type) = column_of(list.expr(), parts)?;
        if list.negated() || list.list().len() > LIST_MAX {
            return None;
        }
        let values = list.list().iter().map(|item| value_of(item, &data_type));
        return Some(Predicate::In { column, values: values.collect::<Option<_>>()? });
    }
    if let Some(is_null) = expr.downcast_ref::<IsNullExpr>() {
        return Some(Predicate::IsNull(column_of(is_null.arg(), parts)?.0));
    }
    if let Some(is_not_null) = expr.downcast_ref::<IsNotNullExpr>() {
        return Some(Predicate::IsNotNull(column_of(is_not_null.arg(), parts)?.0));
    }
    if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        let (column, _) = column_of(like.expr(), parts)?;
        let pattern = like.pattern().downcast_ref::<Literal>()?.value();
        let prefix = pattern.try_as_str()??.strip_suffix('%')?;
        let plain = !prefix.is_empty() && !prefix.contains(['%', '_', '\\']);
        let prefix = prefix.to_owned();
        return (plain && !like.negated() && !like.case_insensitive())
            .then_some(Predicate::StartsWith { column, prefix });
    }
    None
}

/// The tree's column that `expr` is, if it is one whose comparisons are the same in storage as in
/// Arrow: floats have several orders.
fn column_of(expr: &Arc<dyn PhysicalExpr>, parts: &ScanParts) -> Option<(usize, DataType)> {
    let index = expr.downcast_ref::<Column>()?.index();
    let data_type = parts.schema.field(index).data_type().clone();
    let compares = data_type.is_integer()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Utf8View
                | DataType::Utf8
                | DataType::LargeUtf8
                | DataType::Date32
                | DataType::Timestamp(..)
                | DataType::Decimal128(..)
        );
    compares.then(|| (parts.projection[index], data_type))
}

fn comparison(
    (column, data_type): (usize, DataType),
    op: Operator,
    constant: &Arc<dyn PhysicalExpr>,
) -> Option<Predicate> {
    Some(Predicate::Compare { column, op: compare_op(op)?, value: value_of(constant, &data_type)? })
}

/// A constant of exactly the column's type; text may be in another layout.
fn value_of(expr: &Arc<dyn PhysicalExpr>, data_type: &DataType) -> Option<Value> {
    let scalar = expr.downcast_ref::<Literal>()?.value();
    if scalar.is_null() {
        return None;
    }
    let same = scalar.data_type() == *data_type;
    let text = |data_type: &DataType| {
        matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
    };
    if !(same || text(&scalar.data_type()) && text(data_type)) {
        return None;
    }
    let scalar: ScalarValue = if same { scalar.clone() } else { scalar.cast_to(data_type).ok()? };
    scalar_to_value(&scalar).filter(|value| !value.is_null())
}
