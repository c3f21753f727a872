//! [`Plan`]: what an aggregate over a scan computes, the same for all partitions.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};

use super::layout::Layout;

/// What all partitions have in common.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) layout: Layout,
    pub(super) functions: Vec<Function>,
    pub(super) group_schema: SchemaRef,
    /// Group columns and states.
    pub(super) schema: SchemaRef,
}

/// An aggregate function.
#[derive(Clone, Debug)]
pub(super) struct Function {
    pub(super) expr: Arc<AggregateFunctionExpr>,
    /// It counts rows, whatever they hold.
    pub(super) counts_rows: bool,
    /// It wants the least, or else the greatest, value of this column of the scan alone.
    pub(super) extreme: Option<(usize, Ordering)>,
    /// It adds up this column of the scan: its values need not be decoded.
    pub(super) sum: Option<usize>,
}

impl Function {
    pub(super) fn new(expr: &Arc<AggregateFunctionExpr>, schema: &SchemaRef) -> Self {
        let never_null = |argument: &Arc<dyn PhysicalExpr>| {
            let constant = argument.downcast_ref::<Literal>();
            let column = argument.downcast_ref::<Column>();
            constant.is_some_and(|constant| !constant.value().is_null())
                || column.is_some_and(|column| !schema.field(column.index()).is_nullable())
        };
        let counts_rows = expr.fun().name() == "count"
            && matches!(expr.expressions().as_slice(), [one] if never_null(one));
        Self { expr: Arc::clone(expr), counts_rows, extreme: None, sum: None }
    }

    /// The same, over a scan's own columns.
    pub(super) fn with_extreme(mut self) -> Self {
        let wanted = match self.expr.fun().name() {
            "min" => Ordering::Less,
            "max" => Ordering::Greater,
            _ => return self,
        };
        if let [argument] = self.expr.expressions().as_slice()
            && let Some(column) = argument.downcast_ref::<Column>()
            && has_one_order(self.expr.field().data_type())
        {
            self.extreme = Some((column.index(), wanted));
        }
        self
    }

    /// The same, over a scan's columns; `column_of` says which of them a column of the input is.
    pub(super) fn with_sum(mut self, column_of: impl Fn(usize) -> Option<usize>) -> Self {
        if self.expr.fun().name() == "sum"
            && let [argument] = self.expr.expressions().as_slice()
            && let Some(column) = argument.downcast_ref::<Column>()
            && matches!(self.expr.field().data_type(), DataType::Int64 | DataType::Decimal128(..))
        {
            self.sum = column_of(column.index());
        }
        self
    }
}

/// Whether zone maps keep the values of a type whole and in the order of `min` and `max`.
fn has_one_order(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Date32 | DataType::Timestamp(..) | DataType::Decimal128(..)
        )
}
