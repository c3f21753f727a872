//! [`Layout`]: which columns of a scan an aggregate reads, and as what.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{CastExpr, Column};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_expr_common::physical_expr::is_volatile;

use super::truncated::Truncated;

/// A key column of an aggregate.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Key {
    /// A column of the scan, taken as codes where it is stored so.
    Column(usize),
    /// Times that are truncated.
    Truncated(Truncated),
    /// The key at this place is computed.
    Computed(Arc<dyn PhysicalExpr>),
}

/// How an aggregate's expressions are computed from a scan's columns.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    /// The scan's columns that are decoded.
    pub(super) read: Vec<usize>,
    read_schema: SchemaRef,
    /// What a projection between makes of them; none if there is none.
    projected: Option<(Vec<Arc<dyn PhysicalExpr>>, SchemaRef)>,
    pub(super) keys: Vec<Key>,
    /// The arguments of each aggregate.
    pub(super) arguments: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    /// Whether everything can be computed for rows that do not count, too, and cannot fail there.
    pub(super) total: bool,
}

impl Layout {
    /// `projection` lies between the scan, whose columns are `schema`, and the aggregate.
    pub(super) fn new(
        schema: &SchemaRef,
        projection: Option<(&[Arc<dyn PhysicalExpr>], &SchemaRef)>,
        keys: &[Arc<dyn PhysicalExpr>],
        arguments: Vec<Vec<Arc<dyn PhysicalExpr>>>,
    ) -> Result<Self> {
        let source = |index: usize| match projection {
            Some((exprs, _)) => exprs[index].downcast_ref::<Column>().map(Column::index),
            None => Some(index),
        };
        let truncated = |key: &Arc<dyn PhysicalExpr>| match projection {
            Some((exprs, _)) => Truncated::of(&over_scan(key, exprs)?, schema),
            None => Truncated::of(key, schema),
        };
        let mut keys: Vec<Key> = keys
            .iter()
            .map(|key| {
                let column = key.downcast_ref::<Column>().and_then(|key| source(key.index()));
                match (column, truncated(key)) {
                    (Some(column), _) => Key::Column(column),
                    (None, Some(truncated)) => Key::Truncated(truncated),
                    (None, None) => Key::Computed(Arc::clone(key)),
                }
            })
            .collect();
        let mut arguments = arguments;
        // First over the projection's output, then over the scan.
        let mut used: Vec<&mut Arc<dyn PhysicalExpr>> = arguments.iter_mut().flatten().collect();
        used.extend(keys.iter_mut().filter_map(|key| match key {
            Key::Computed(expr) => Some(expr),
            Key::Column(_) | Key::Truncated(_) => None,
        }));
        let top = projection.map_or(schema, |(_, schema)| schema);
        let wanted = compact(&mut used)?;
        let mut total = used.iter().all(|expr| is_total(expr));
        let (read, projected) = match projection {
            None => (wanted, None),
            Some((exprs, _)) => {
                let mut exprs: Vec<_> =
                    wanted.iter().map(|&index| Arc::clone(&exprs[index])).collect();
                let projected_schema = Arc::new(top.project(&wanted)?);
                let read = compact(&mut exprs.iter_mut().collect::<Vec<_>>())?;
                total = total && exprs.iter().all(is_total);
                (read, Some((exprs, projected_schema)))
            }
        };
        let read_schema = Arc::new(schema.project(&read)?);
        Ok(Self { read, read_schema, projected, keys, arguments, total })
    }

    /// Whether it may come to something else another time.
    pub(super) fn is_volatile(&self) -> bool {
        let projected = self.projected.iter().flat_map(|(exprs, _)| exprs);
        let computed = self.keys.iter().filter_map(|key| match key {
            Key::Computed(expr) => Some(expr),
            Key::Column(_) | Key::Truncated(_) => None,
        });
        self.arguments.iter().flatten().chain(projected).chain(computed).any(is_volatile)
    }

    /// The columns that arguments and computed keys are evaluated on, given those read.
    pub(super) fn batch(&self, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let nullable = |schema: &SchemaRef| relaxed(schema);
        let batch =
            RecordBatch::try_new_with_options(nullable(&self.read_schema), columns, &options)?;
        let Some((exprs, schema)) = &self.projected else { return Ok(batch) };
        let columns = exprs.iter().map(|expr| expr.evaluate(&batch)?.into_array(rows));
        let columns = columns.collect::<Result<_>>()?;
        Ok(RecordBatch::try_new_with_options(nullable(schema), columns, &options)?)
    }
}

/// An expression over a projection's output as one over its input.
fn over_scan(
    expr: &Arc<dyn PhysicalExpr>,
    exprs: &[Arc<dyn PhysicalExpr>],
) -> Option<Arc<dyn PhysicalExpr>> {
    let over_scan = Arc::clone(expr).transform_up(|expr| {
        Ok(match expr.downcast_ref::<Column>() {
            Some(column) => Transformed::yes(Arc::clone(&exprs[column.index()])),
            None => Transformed::no(expr),
        })
    });
    over_scan.data().ok()
}

/// The schema with all columns nullable: an expression may make NULL of what is not.
fn relaxed(schema: &SchemaRef) -> SchemaRef {
    let fields = schema.fields().iter().map(|field| match field.is_nullable() {
        true => Arc::clone(field),
        false => Arc::new(Field::clone(field).with_nullable(true)),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// Rewrites columns to positions among those that occur, and returns these.
fn compact(exprs: &mut [&mut Arc<dyn PhysicalExpr>]) -> Result<Vec<usize>> {
    let mut used: Vec<usize> = Vec::new();
    for expr in exprs.iter() {
        for column in collect_columns(expr) {
            if !used.contains(&column.index()) {
                used.push(column.index());
            }
        }
    }
    used.sort_unstable();
    for expr in exprs {
        let moved = Arc::clone(expr).transform(|expr| {
            Ok(match expr.downcast_ref::<Column>() {
                Some(column) => {
                    let place = used.binary_search(&column.index()).unwrap_or_default();
                    Transformed::yes(Arc::new(Column::new(column.name(), place)) as _)
                }
                None => Transformed::no(expr),
            })
        });
        **expr = moved.data()?;
    }
    Ok(used)
}

/// Whether an expression has a value for every row, and is computed without decoding strings anew.
fn is_total(expr: &Arc<dyn PhysicalExpr>) -> bool {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let float = matches!(cast.cast_type(), DataType::Float64);
        return float && cast.expr().downcast_ref::<Column>().is_some();
    }
    expr.downcast_ref::<Column>().is_some()
}
