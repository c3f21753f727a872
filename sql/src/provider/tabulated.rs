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
use datafusion::arrow::buffer::{BooleanBuffer, Buffer};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Result, ScalarValue};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::utils::collect_columns;
use silt_storage::EncodedRows;

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
    /// A bit for each integer from `first` on. Those beyond the range are not known, and pass.
    passes: Vec<u64>,
    null_passes: bool,
    /// The part of the range's integers that pass.
    pub(crate) part: f64,
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
        let passes = passes.finish();
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let part = passes.count_set_bits() as f64 / length as f64;
        let chunks = passes.bit_chunks();
        let beyond = chunks.remainder_bits() | u64::MAX << chunks.remainder_len();
        let passes = chunks.iter().chain([beyond]).collect();
        Ok(Some(Self { column, first, passes, null_passes, part }))
    }

    /// Which rows looked at pass, whether they are given out or not.
    pub(crate) fn select_whole(&self, rows: &EncodedRows) -> Result<BooleanBuffer> {
        let numbers = rows.numbers(self.column).map_err(crate::Error::from)?;
        let Some(numbers) = numbers else {
            return Ok(self.select(&rows.whole(self.column).map_err(crate::Error::from)?));
        };
        let mut passed = Bits::new(rows.span());
        let mut values: Vec<i64> = Vec::new();
        for stretch in rows.stretches() {
            values.clear();
            numbers.extend(stretch, &mut values);
            self.append(values.as_slice(), &mut passed);
        }
        Ok(passed.finish())
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
        let mut passed = Bits::new(column.len());
        self.append(column.values(), &mut passed);
        let passed = passed.finish();
        match (column.nulls(), self.null_passes) {
            (None, _) => passed,
            (Some(nulls), false) => &passed & nulls.inner(),
            (Some(nulls), true) => &passed | &!nulls.inner(),
        }
    }

    fn append<T: Copy + Into<i64>>(&self, values: &[T], passed: &mut Bits) {
        let (first, passes) = (self.first, self.passes.as_slice());
        for values in values.chunks(64) {
            let mut word = 0;
            for (row, &value) in values.iter().enumerate() {
                // Below the first it wraps around and lies beyond the last.
                let value: i64 = value.into();
                let place = value.wrapping_sub(first).cast_unsigned();
                let of_place = usize::try_from(place >> 6).ok().and_then(|at| passes.get(at));
                word |= (of_place.map_or(1, |bits| bits >> (place & 63) & 1)) << row;
            }
            passed.append(word, values.len());
        }
    }
}

/// Bits, one after another.
struct Bits {
    words: Vec<u64>,
    len: usize,
}

impl Bits {
    fn new(capacity: usize) -> Self {
        Self { words: Vec::with_capacity(capacity / 64 + 2), len: 0 }
    }

    /// Appends the lowest `count` bits of a word, at most 64, whose others are not set.
    fn append(&mut self, word: u64, count: usize) {
        let taken = self.len % 64;
        match self.words.last_mut().filter(|_| taken > 0) {
            Some(last) => {
                *last |= word << taken;
                if taken + count > 64 {
                    self.words.push(word >> (64 - taken));
                }
            }
            None => self.words.push(word),
        }
        self.len += count;
    }

    fn finish(self) -> BooleanBuffer {
        BooleanBuffer::new(Buffer::from_vec(self.words), 0, self.len)
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
pub(super) fn integer(value: &Precision<ScalarValue>) -> Option<i64> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_of_any_count_follow_one_another() {
        let counts = [64, 1, 63, 64, 17, 47, 5, 64, 64, 0, 30];
        let (mut bits, mut expected) = (Bits::new(0), Vec::new());
        let mut word = 0x9E37_79B9_7F4A_7C15_u64;
        for count in counts {
            word = word.rotate_left(13).wrapping_mul(5);
            let kept = if count == 64 { word } else { word & ((1 << count) - 1) };
            bits.append(kept, count);
            expected.extend((0..count).map(|bit| kept >> bit & 1 == 1));
        }
        assert_eq!(bits.finish(), BooleanBuffer::from(expected));
    }

    #[test]
    fn integers_beyond_the_range_pass() {
        // Of 100 to 227 the even ones.
        let passes = vec![0x5555_5555_5555_5555; 2];
        let passes = [passes, vec![u64::MAX]].concat();
        let table = Tabulated { column: 0, first: 100, passes, null_passes: false, part: 0.5 };
        let values: Vec<i64> = vec![100, 101, 226, 227, 228, 99, i64::MIN, i64::MAX, 0, -1];
        let values: ArrayRef = Arc::new(Int64Array::from(values));
        let passed: Vec<bool> = table.select(&values).iter().collect();
        assert_eq!(passed, [true, false, true, false, true, true, true, true, true, true]);
        let small: ArrayRef = Arc::new(Int64Array::from(vec![Some(102), None, Some(103)]));
        let passed: Vec<bool> = table.select(&small).iter().collect();
        assert_eq!(passed, [true, false, false]);
    }
}
