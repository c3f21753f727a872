//! Filtering on encoded data: one bit a row, whether its value compares so with another one.
//!
//! A comparison becomes an interval of integers wherever the encoding has some: packed numbers,
//! codes of a sorted dictionary, the integers of ALP. Whole vectors are answered by their base and
//! width; in others the differences are compared as they are packed. Only strings without a
//! dictionary are looked at one by one.

use std::ops::Range;

use arrow_buffer::{BooleanBuffer, Buffer};

use super::CompareOp;
use super::alp::{Float, FloatInterval};
use super::bits::{VECTOR, test_all};
use super::chunk::{Body, Chunk, bytes_of, decimal, fixed_value};
use super::kind::Kind;
use super::packed::Interval;
use crate::{Error, Result, Value, ValueRef};

impl Chunk {
    /// Comparisons of whole numbers are one interval, which is looked for once.
    pub(super) fn filter_all(
        &self,
        comparisons: &[(CompareOp, &Value)],
        range: Range<usize>,
    ) -> Result<BooleanBuffer> {
        let interval = |&(op, value): &(CompareOp, &Value)| match &self.body {
            Body::Ints(_) => self.kind.place(&value.as_ref()).map(|place| place.interval(op)),
            _ => None,
        };
        let mut intervals = comparisons.iter().map(interval);
        let all = intervals.try_fold(Interval::ALL, |all, one| all.and(one?));
        if let (Some(all), Body::Ints(ints), true) =
            (all, &self.body, range.start <= range.end && range.end <= self.rows)
        {
            let holding = try_test_rows(range.clone(), |vectors| Ok(ints.test(vectors, all)))?;
            return Ok(self.valid(holding, &range));
        }
        let mut selected = BooleanBuffer::new_set(range.len());
        for (op, value) in comparisons {
            selected = &selected & &self.filter(*op, value, range.clone())?;
        }
        Ok(selected)
    }

    pub(super) fn filter(
        &self,
        op: CompareOp,
        value: &Value,
        range: Range<usize>,
    ) -> Result<BooleanBuffer> {
        if range.start > range.end || range.end > self.rows {
            return Err(Error::invalid(format!(
                "rows {range:?} of a column chunk of {}",
                self.rows
            )));
        }
        let value = value.as_ref();
        self.check_type(&value)?;
        let len = range.len();
        if value.is_null() || len == 0 || matches!(self.body, Body::Empty) {
            return Ok(BooleanBuffer::new_unset(len));
        }
        let holding = match (&self.body, &value) {
            (Body::Constant(constant), _) => match constant_holds(constant.value(), op, &value) {
                true => BooleanBuffer::new_set(len),
                false => BooleanBuffer::new_unset(len),
            },
            (Body::Bits(bits), ValueRef::Boolean(value)) => {
                let bits = bits.slice(range.start, len);
                match (op.holds(true.cmp(value)), op.holds(false.cmp(value))) {
                    (true, true) => BooleanBuffer::new_set(len),
                    (true, false) => bits,
                    (false, true) => !&bits,
                    (false, false) => BooleanBuffer::new_unset(len),
                }
            }
            _ => try_test_rows(range.clone(), |vectors| self.test(op, &value, vectors))?,
        };
        Ok(self.valid(holding, &range))
    }

    /// Those of the rows that are not null.
    fn valid(&self, rows: BooleanBuffer, range: &Range<usize>) -> BooleanBuffer {
        match &self.nulls {
            Some(nulls) => &rows & nulls.slice(range.start, range.len()).inner(),
            None => rows,
        }
    }

    /// One bit a row of these vectors; what stands behind the last row means nothing.
    fn test(&self, op: CompareOp, value: &ValueRef<'_>, vectors: Range<usize>) -> Result<Vec<u64>> {
        let no_filter = || {
            Error::invalid(format!(
                "columns of type {} are not filtered by {value:?}",
                self.data_type
            ))
        };
        match &self.body {
            Body::Ints(ints) => {
                let place = self.kind.place(value).ok_or_else(no_filter)?;
                Ok(ints.test(vectors, place.interval(op)))
            }
            Body::Alp(alp) => {
                let ValueRef::Float(number) = value else { return Err(no_filter()) };
                let wanted = FloatInterval::new(op, *number);
                Ok(match self.kind {
                    Kind::Float32 => alp.test::<f32>(vectors, wanted),
                    _ => alp.test::<f64>(vectors, wanted),
                })
            }
            Body::Dictionary(dictionary) => {
                Ok(dictionary.test(vectors, op, bytes_of(self.kind, value).ok_or_else(no_filter)?))
            }
            Body::Strings(strings) => {
                strings.test(vectors, op, bytes_of(self.kind, value).ok_or_else(no_filter)?)
            }
            Body::Fixed(values) => {
                let rows = vectors.start * VECTOR..self.rows.min(vectors.end * VECTOR);
                let mut words = vec![0; vectors.len() * VECTOR / 64];
                self.test_fixed(values, op, value, rows, &mut words).ok_or_else(no_filter)?;
                Ok(words)
            }
            Body::Empty | Body::Constant(_) | Body::Bits(_) | Body::Nested(_) => Err(no_filter()),
        }
    }

    fn test_fixed(
        &self,
        values: &Buffer,
        op: CompareOp,
        value: &ValueRef<'_>,
        rows: Range<usize>,
        words: &mut [u64],
    ) -> Option<()> {
        match (self.kind, value) {
            (Kind::Int(int), _) => {
                let interval = self.kind.place(value)?.interval(op);
                let numbers: Vec<i64> = rows.map(|row| int.read(values, row)).collect();
                test_all(&numbers, words, |number| interval.holds(number));
            }
            (Kind::Float32, ValueRef::Float(number)) => {
                let wanted = FloatInterval::new(op, *number);
                test_all(&values.typed_data::<f32>()[rows], words, |number| {
                    wanted.holds(number.widen())
                });
            }
            (Kind::Float64, ValueRef::Float(number)) => {
                let wanted = FloatInterval::new(op, *number);
                test_all(&values.typed_data::<f64>()[rows], words, |number| wanted.holds(number));
            }
            (Kind::Decimal, ValueRef::Decimal(number)) => {
                let numbers: Vec<i128> = rows.map(|row| decimal(values, row)).collect();
                test_all(&numbers, words, |other| op.holds(other.cmp(number)));
            }
            _ => {
                for (index, row) in rows.enumerate() {
                    let holds = op.holds(fixed_value(self.kind, values, row).compare(value));
                    words[index / 64] |= u64::from(holds) << (index % 64);
                }
            }
        }
        Some(())
    }

    /// Checks that a column of this type can be compared with `value`.
    fn check_type(&self, value: &ValueRef<'_>) -> Result<()> {
        let fits = match (self.kind, value) {
            (_, ValueRef::Null)
            | (Kind::Boolean, ValueRef::Boolean(_))
            | (Kind::Float32 | Kind::Float64, ValueRef::Float(_))
            | (Kind::Interval, ValueRef::Interval(_)) => true,
            (Kind::Int(_) | Kind::Decimal, value) => self.kind.place(value).is_some(),
            (kind, value) => bytes_of(kind, value).is_some(),
        };
        match fits {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "column of type {} compared with {value:?}",
                self.data_type
            ))),
        }
    }
}

/// One bit a row of `range`, from a test of whole vectors.
fn try_test_rows(
    range: Range<usize>,
    test: impl FnOnce(Range<usize>) -> Result<Vec<u64>>,
) -> Result<BooleanBuffer> {
    let vectors = range.start / VECTOR..range.end.div_ceil(VECTOR);
    let first = vectors.start * VECTOR;
    let words = test(vectors)?;
    Ok(BooleanBuffer::new(Buffer::from_vec(words), range.start - first, range.len()))
}

fn constant_holds(constant: ValueRef<'_>, op: CompareOp, value: &ValueRef<'_>) -> bool {
    match (constant, value) {
        (ValueRef::Float(constant), ValueRef::Float(value)) => {
            FloatInterval::new(op, *value).holds(constant)
        }
        // A number outside the column's type compares by what it is.
        (ValueRef::Int(constant), ValueRef::UInt(value)) => {
            op.holds(i128::from(constant).cmp(&i128::from(*value)))
        }
        (ValueRef::UInt(constant), ValueRef::Int(value)) => {
            op.holds(i128::from(constant).cmp(&i128::from(*value)))
        }
        _ => op.holds(constant.compare(value)),
    }
}
