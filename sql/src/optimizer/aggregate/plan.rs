//! [`Plan`]: what an aggregate over a scan computes, the same for all partitions.

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr_common::physical_expr::is_volatile;

use super::layout::Layout;
use super::sums::Sums;

/// What all partitions have in common.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// Keys, and the arguments of the functions that add nothing up.
    pub(super) layout: Layout,
    pub(super) sums: Sums,
    pub(super) functions: Vec<Function>,
    pub(super) group_schema: SchemaRef,
    /// Group columns, and states or, of complete groups, results.
    pub(super) schema: SchemaRef,
    /// Each source's rows come in the order of the group columns, and all of a group in one
    /// partition.
    pub(super) keyed: bool,
    /// That order: group columns by their places.
    pub(super) order: Vec<(usize, SortOptions)>,
}

/// An aggregate function.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Function {
    pub(super) expr: Arc<AggregateFunctionExpr>,
    /// It counts rows, whatever they hold.
    pub(super) counts_rows: bool,
    /// It wants the least, or else the greatest, value of this column of the scan alone.
    pub(super) extreme: Option<(usize, Ordering)>,
    /// It adds up numbers that need not be decoded, if a chunk's are stored so.
    pub(super) sum: Option<Summed>,
}

/// A function that is told sums, and the count of the rows if it wants it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Summed {
    /// Which of the plan's sums.
    pub(super) place: usize,
    /// The type that sums are kept in.
    pub(super) data_type: DataType,
    /// It averages.
    pub(super) counts: bool,
    /// Its argument as DataFusion computes it.
    pub(super) plain: Layout,
}

impl Plan {
    /// Whether it may come to something else another time.
    pub(super) fn is_volatile(&self) -> bool {
        let mut functions = self.functions.iter().flat_map(|function| function.expr.expressions());
        functions.any(|expr| is_volatile(&expr)) || self.layout.is_volatile()
    }
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

    /// The same, if what it adds up is one of `sums` over a scan. `schema` and `projection` are as
    /// in [`Layout::new`].
    pub(super) fn with_sum(
        mut self,
        sums: &mut Sums,
        schema: &SchemaRef,
        projection: Option<(&[Arc<dyn PhysicalExpr>], &SchemaRef)>,
    ) -> Result<Self> {
        let (data_type, counts) = match self.expr.fun().name() {
            "sum" => (self.expr.field().data_type().clone(), false),
            "avg" => match self.expr.state_fields()?.as_slice() {
                [_, sum] => (sum.data_type().clone(), true),
                _ => return Ok(self),
            },
            _ => return Ok(self),
        };
        let is_kept = match data_type {
            DataType::Decimal128(..) => true,
            DataType::Int64 => !counts,
            _ => false,
        };
        if !is_kept {
            return Ok(self);
        }
        let arguments = self.expr.expressions();
        let [argument] = arguments.as_slice() else { return Ok(self) };
        let over_scan = Arc::clone(argument).transform_up(|expr| {
            Ok(match (expr.downcast_ref::<Column>(), projection) {
                (Some(column), Some((exprs, _))) => {
                    Transformed::yes(Arc::clone(&exprs[column.index()]))
                }
                _ => Transformed::no(expr),
            })
        });
        if let Some(place) = sums.add(&over_scan.data()?, schema) {
            let plain = Layout::new(schema, projection, &[], vec![arguments])?;
            self.sum = Some(Summed { place, data_type, counts, plain });
        }
        Ok(self)
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
