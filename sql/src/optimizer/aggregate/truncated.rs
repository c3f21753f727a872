//! [`Truncated`]: timestamps cut down to whole hours and the like, as numbers of hours.
//!
//! `date_trunc('hour', ts)` divides each row's number by that of an hour, and who groups by it looks
//! its result up in a table. Within a chunk, though, times lie in few hours: counted from the
//! earliest of them, an hour's number is the group's, and it takes a multiplication to find it.

use std::sync::Arc;

use datafusion::arrow::array::cast::AsArray;
use datafusion::arrow::array::types::TimestampMicrosecondType;
use datafusion::arrow::array::{Array, ArrayRef, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, SchemaRef, TimeUnit};
use datafusion::common::Result;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};
use silt_storage::EncodedRows;

use super::error;
use super::groups::LocalKey;

/// Times that lie in more units within a chunk are truncated one by one.
const UNITS_MAX: i128 = 1 << 12;

/// Times without a zone, truncated.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Truncated {
    /// The column of the scan.
    pub(super) column: usize,
    /// In microseconds.
    unit: i64,
}

/// Units that a chunk's times lie in.
struct Units {
    first: i64,
    unit: i64,
    count: u32,
    /// Of a number's distance from the first unit so many low bits say nothing of its unit.
    shift: u32,
    /// What the rest is multiplied by; the upper half is the unit.
    reciprocal: u64,
}

impl Truncated {
    /// What the expression over a scan's columns is, if it is this.
    pub(super) fn of(expr: &Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Option<Self> {
        let function = expr.downcast_ref::<ScalarFunctionExpr>()?;
        let [unit, time] = function.args() else { return None };
        let column = time.downcast_ref::<Column>()?.index();
        let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
        if function.fun().name() != "date_trunc" || *schema.field(column).data_type() != micros {
            return None;
        }
        let unit = unit.downcast_ref::<Literal>()?.value().try_as_str()??;
        let unit = match unit.to_ascii_lowercase().as_str() {
            "millisecond" => 1_000,
            "second" => 1_000_000,
            "minute" => 60_000_000,
            "hour" => 3_600_000_000,
            "day" => 86_400_000_000,
            _ => return None,
        };
        Some(Self { column, unit })
    }

    /// The units of all rows of a chunk's [`whole`](EncodedRows::whole) columns; none if its times
    /// are not packed numbers, or lie in too many units.
    pub(super) fn of_chunk(&self, chunk: &EncodedRows) -> Result<Option<LocalKey>> {
        let Some(numbers) = chunk.numbers(self.column).map_err(error)? else { return Ok(None) };
        let (low, high) = numbers.bounds();
        let Some(units) = Units::new(low, high, self.unit) else { return Ok(None) };
        if units.count == 1 {
            return Ok(Some(LocalKey::new(units.starts(), None)));
        }
        let mut codes = Vec::with_capacity(chunk.span());
        let mut stretch = Vec::new();
        for rows in chunk.stretches() {
            stretch.clear();
            numbers.extend(rows, &mut stretch);
            units.extend(&stretch, &mut codes);
        }
        Ok(Some(LocalKey::new(units.starts(), Some(codes))))
    }

    /// The units of decoded times; none if some are null, or they lie in too many units.
    pub(super) fn of_array(&self, times: &ArrayRef) -> Option<LocalKey> {
        let times = times.as_primitive::<TimestampMicrosecondType>();
        if times.null_count() > 0 {
            return None;
        }
        let (low, high) = (times.values().iter().min()?, times.values().iter().max()?);
        let units = Units::new(*low, *high, self.unit)?;
        let mut codes = Vec::with_capacity(times.len());
        units.extend(times.values(), &mut codes);
        Some(LocalKey::new(units.starts(), Some(codes)))
    }

    /// Times truncated one by one, as DataFusion does it.
    pub(super) fn array(&self, times: &ArrayRef) -> ArrayRef {
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let truncated =
            times.values().iter().map(|time| time.wrapping_sub(time.rem_euclid(self.unit)));
        Arc::new(TimestampMicrosecondArray::new(truncated.collect(), times.nulls().cloned()))
    }
}

impl Units {
    /// Those from `low` to `high`, if they are not too many.
    fn new(low: i64, high: i64, unit: i64) -> Option<Self> {
        let first = low.checked_sub(low.rem_euclid(unit))?;
        let span = i128::from(high) - i128::from(first);
        let count = span / i128::from(unit) + 1;
        let shift = unit.trailing_zeros();
        // The upper half of the product is exact for what fits into 32 bits.
        if count > UNITS_MAX || span >> shift > i128::from(u32::MAX) {
            return None;
        }
        let reciprocal = u64::MAX / (unit.unsigned_abs() >> shift) + 1;
        Some(Self { first, unit, count: u32::try_from(count).ok()?, shift, reciprocal })
    }

    /// Appends the number of each time's unit. All lie in the units.
    fn extend(&self, times: &[i64], codes: &mut Vec<u32>) {
        let &Self { first, shift, reciprocal, .. } = self;
        codes.extend(times.iter().map(|time| {
            let distance = time.wrapping_sub(first).cast_unsigned() >> shift;
            let product = u128::from(distance) * u128::from(reciprocal);
            #[expect(clippy::cast_possible_truncation, reason = "units are few")]
            {
                (product >> 64) as u32
            }
        }));
    }

    fn starts(&self) -> ArrayRef {
        let starts = (0..i64::from(self.count)).map(|unit| self.first + unit * self.unit);
        Arc::new(TimestampMicrosecondArray::from_iter_values(starts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_of_a_unit_is_the_quotient() {
        let mut state = 7_u64;
        let mut below = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 11) % bound
        };
        for unit in [1_000, 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000_i64] {
            for _ in 0..200 {
                let low = below(1 << 52).cast_signed() - (1 << 51);
                let most = (1_u64 << 32 << unit.trailing_zeros()).min(4_000 * unit.unsigned_abs());
                let high = low + below(most - unit.unsigned_abs()).cast_signed();
                let Some(units) = Units::new(low, high, unit) else {
                    panic!("{low} {high} {unit}")
                };
                let span = (high - low).unsigned_abs() + 1;
                let mut times: Vec<i64> =
                    (0..50).map(|_| low + below(span).cast_signed()).collect();
                // Either side of each border.
                let borders = (1..i64::from(units.count)).map(|n| units.first + n * unit);
                times.extend(
                    borders.flat_map(|at| [at - 1, at]).filter(|at| (low..=high).contains(at)),
                );
                times.extend([low, high]);
                let mut codes = Vec::new();
                units.extend(&times, &mut codes);
                for (time, code) in times.iter().zip(codes) {
                    let first = units.first + i64::from(code) * unit;
                    assert_eq!(first, time - time.rem_euclid(unit), "{time} {unit}");
                    assert!(code < units.count);
                }
            }
        }
    }

    #[test]
    fn times_that_lie_far_apart_are_no_units() {
        assert!(Units::new(i64::MIN, 0, 3_600_000_000).is_none());
        assert!(Units::new(0, i64::MAX, 86_400_000_000).is_none());
        assert!(Units::new(0, 5_000_000, 1_000).is_none());
    }
}
