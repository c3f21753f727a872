//! [`Tabulated`]: a condition on one integer column as the set of integers for which it is true.
//!
//! A look into a join's hash table costs a hash and a walk, a long list of values likewise, and
//! the same integers come again and again: six million rows of TPC-H's lineitem name two hundred
//! thousand parts. Where a column's range has fewer integers than the scan has rows, the condition
//! is evaluated once on each integer of the range, and a row costs one bit.

use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::types::{
    ArrowPrimitiveType, Date32Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type,
};
use datafusion::arrow::array::{
    Array, ArrayRef, BooleanBufferBuilder, Int64Array, RecordBatch, new_null_array,
};
use datafusion::arrow::buffer::BooleanBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;

use super::scan::ScanParts;

/// Integers evaluated at a time.
const CHUNK: usize = 8_192;

/// Rows of the table for each integer of the range, at least.
const ROWS_AN_INTEGER_MIN: usize = 2;

/// The most integers tabulated: two megabytes of bits.
const INTEGERS_MAX: usize = 16 << 20;

/// For which integers of a range a condition holds.
#[derive(Debug)]
pub(crate) struct Tabulated {
    /// The column's position in the scan's output.
    pub(crate) column: usize,
    first: i64,
    passes: BooleanBuffer,
    null_passes: bool,
}

impl Tabulated {
    /// The condition as a table; none if it names other columns than one of integers, or if the
    /// range is unknown, or too wide for it to pay in one partition of the scan.
    pub(crate) fn new(expr: &Arc<dyn PhysicalExpr>, parts: &ScanParts) -> Result<Option<Self>> {
        let columns = collect_columns(expr);
        let mut indices = columns.iter().map(Column::index);
        let (Some(column), None) = (indices.next(), indices.next()) else { return Ok(None) };
        let statistics = &parts.statistics;
        let (Some(known), Some(rows)) =
            (statistics.column_statistics.get(column), statistics.num_rows.get_value())
        else {
            return Ok(None);
        };
        let (Some(first), Some(last)) = (integer(&known.min_value), integer(&known.max_value))
        else {
            return Ok(None);
        };
        let rows = rows / parts.partitions.len().max(1);
        let length = last.checked_sub(first).and_then(|span| usize::try_from(span).ok());
        let Some(length) = length.map(|span| span.saturating_add(1)) else { return Ok(None) };
        if length > INTEGERS_MAX || length > rows / ROWS_AN_INTEGER_MIN {
            return Ok(None);
        }
        let alone = Arc::clone(expr).transform(|expr| {
            Ok(match expr.downcast_ref::<Column>() {
                Some(column) => Transformed::yes(Arc::new(Column::new(column.name(), 0)) as _),
                None => Transformed::no(expr),
            })
        });
        let alone = alone.data()?;
        let field = parts.schema.field(column).clone().with_nullable(true);
        let data_type = field.data_type().clone();
        let schema: SchemaRef = Arc::new(Schema::new(vec![field]));
        let mut passes = BooleanBufferBuilder::new(length);
        let mut next = first;
        while passes.len() < length {
            let here = CHUNK.min(length - passes.len());
            let integers = Int64Array::from_iter_values((next..).take(here));
            let integers = cast(&integers, &data_type)?;
            passes.append_buffer(&evaluate(&*alone, &schema, integers)?);
            next = next.saturating_add(CHUNK as i64);
        }
        let null_passes = evaluate(&*alone, &schema, new_null_array(&data_type, 1))?.value(0);
        Ok(Some(Self { column, first, passes: passes.finish(), null_passes }))
    }

    /// Which rows of its column pass. Integers beyond the range are not known, and do.
    pub(crate) fn select(&self, column: &ArrayRef) -> BooleanBuffer {
        match column.data_type() {
            DataType::Int8 => self.select_type::<Int8Type>(column),
            DataType::Int16 => self.select_type::<Int16Type>(column),
            DataType::Int32 => self.select_type::<Int32Type>(column),
            DataType::Int64 => self.select_type::<Int64Type>(column),
            DataType::UInt8 => self.select_type::<UInt8Type>(column),
            DataType::UInt16 => self.select_type::<UInt16Type>(column),
            DataType::UInt32 => self.select_type::<UInt32Type>(column),
            DataType::Date32 => self.select_type::<Date32Type>(column),
            _ => BooleanBuffer::new_set(column.len()),
        }
    }

    fn select_type<T>(&self, column: &ArrayRef) -> BooleanBuffer
    where
        T: ArrowPrimitiveType,
        T::Native: Into<i64>,
    {
        let column = column.as_primitive::<T>();
        let values = column.values();
        let passes = |row: usize| {
            let value: i64 = values[row].into();
            // Below the first it wraps around and lies beyond the last.
            match usize::try_from(value.wrapping_sub(self.first) as u64) {
                Ok(place) if place < self.passes.len() => self.passes.value(place),
                _ => true,
            }
        };
        let passed = BooleanBuffer::collect_bool(column.len(), passes);
        match (column.nulls(), self.null_passes) {
            (None, _) => passed,
            (Some(nulls), false) => &passed & nulls.inner(),
            (Some(nulls), true) => &passed | &!nulls.inner(),
        }
    }
}

fn evaluate(
    expr: &dyn PhysicalExpr,
    schema: &SchemaRef,
    values: ArrayRef,
) -> Result<BooleanBuffer> {
    let rows = values.len();
    let batch = RecordBatch::try_new(Arc::clone(schema), vec![values])?;
    let passed = expr.evaluate(&batch)?.into_array(rows)?;
    let passed = passed.as_boolean();
    Ok(match passed.nulls() {
        Some(nulls) => passed.values() & nulls.inner(),
        None => passed.values().clone(),
    })
}

/// An integer that is known, of any type that [`Tabulated::select`] reads.
fn integer(value: &Precision<ScalarValue>) -> Option<i64> {
    match value.get_value()? {
        ScalarValue::Int8(value) => value.map(i64::from),
        ScalarValue::Int16(value) => value.map(i64::from),
        ScalarValue::Int32(value) | ScalarValue::Date32(value) => value.map(i64::from),
        ScalarValue::Int64(value) => *value,
        ScalarValue::UInt8(value) => value.map(i64::from),
        ScalarValue::UInt16(value) => value.map(i64::from),
        ScalarValue::UInt32(value) => value.map(i64::from),
        _ => None,
    }
}
