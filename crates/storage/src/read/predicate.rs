//! [`Predicate`]s on zone maps, to leave files and row groups out, and on encoded chunks, to
//! decode only the rows that pass.
//!
//! Both answer "may pass": what cannot be decided passes. Floats compare in the order of keys
//! here, where -0.0 equals 0.0 and every NaN is one value above all others, while SQL tells -0.0
//! from 0.0; so comparisons with zero are taken wider, and those with NaN are not decided.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float32Type, Float64Type};
use arrow_array::{Array, ArrayRef, BooleanArray, Scalar};
use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use arrow_ord::cmp;
use arrow_schema::DataType;
use silt_codec::{CompareOp, Value, ValueRef, ZoneMap, array_of};

use super::Predicate;
use crate::sstable::RowGroup;
use crate::{ErrorKind, Result};

impl Predicate {
    /// Whether a row may pass where columns hold what `zone` says of them.
    pub(crate) fn may_match<'z>(
        &self,
        zone: &mut dyn FnMut(usize) -> Result<Option<Cow<'z, ZoneMap>>>,
    ) -> Result<bool> {
        Ok(match self {
            Self::Compare { column, op, value } => match (zone(*column)?, widened(*op, value)) {
                (Some(zone), Some(op)) => zone_may_match(&zone, op, &value.as_ref()),
                _ => true,
            },
            Self::In { column, values } => match zone(*column)? {
                Some(zone) => values.iter().any(|value| {
                    is_nan(value) || zone_may_match(&zone, CompareOp::Eq, &value.as_ref())
                }),
                None => true,
            },
            Self::IsNull(column) => zone(*column)?.is_none_or(|zone| zone.null_count > 0),
            Self::IsNotNull(column) => zone(*column)?.is_none_or(|zone| zone.value_count > 0),
            Self::StartsWith { column, prefix } => match zone(*column)? {
                Some(zone) => zone_may_start_with(&zone, prefix),
                None => true,
            },
            Self::And(all) => {
                for one in all {
                    if !one.may_match(zone)? {
                        return Ok(false);
                    }
                }
                true
            }
            Self::Or(any) => {
                for one in any {
                    if one.may_match(zone)? {
                        return Ok(true);
                    }
                }
                any.is_empty()
            }
        })
    }

    /// Which of `rows` may pass, evaluated on encoded chunks; none if that cannot be said.
    pub(crate) fn select(
        &self,
        group: &RowGroup,
        rows: &Range<usize>,
    ) -> Result<Option<BooleanBuffer>> {
        Ok(match self {
            Self::Compare { column, op, value } => match widened(*op, value) {
                Some(op) => compare(group, *column, op, value, rows)?,
                None => None,
            },
            Self::In { column, values } => {
                let mut selected = BooleanBuffer::new_unset(rows.len());
                for value in values {
                    if is_nan(value) {
                        return Ok(None);
                    }
                    match compare(group, *column, CompareOp::Eq, value, rows)? {
                        Some(equal) => selected = &selected | &equal,
                        None => return Ok(None),
                    }
                }
                Some(selected)
            }
            Self::IsNull(column) => Some(nulls(group, *column, rows)?),
            Self::IsNotNull(column) => Some(!&nulls(group, *column, rows)?),
            Self::StartsWith { column, prefix } => starts_with(group, *column, prefix, rows)?,
            Self::And(all) => {
                let mut selected: Option<BooleanBuffer> = None;
                for run in runs(all) {
                    let Some(passed) = select_run(run, group, rows)? else { continue };
                    let both = match selected {
                        Some(before) => &before & &passed,
                        None => passed,
                    };
                    if both.count_set_bits() == 0 {
                        return Ok(Some(both));
                    }
                    selected = Some(both);
                }
                selected
            }
            Self::Or(any) => {
                let mut selected: Option<BooleanBuffer> = None;
                for one in any {
                    let Some(passed) = one.select(group, rows)? else { return Ok(None) };
                    selected = Some(match selected {
                        Some(before) => &before | &passed,
                        None => passed,
                    });
                }
                selected
            }
        })
    }
}

/// Decodes a column of the tree in the rows looked at.
pub(crate) type Decode<'a> = dyn Fn(usize) -> Result<ArrayRef> + 'a;

impl Predicate {
    /// Adds the columns that it names.
    pub(crate) fn columns(&self, out: &mut Vec<usize>) {
        match self {
            Self::Compare { column, .. }
            | Self::In { column, .. }
            | Self::StartsWith { column, .. }
            | Self::IsNull(column)
            | Self::IsNotNull(column) => {
                if !out.contains(column) {
                    out.push(*column);
                }
            }
            Self::And(all) | Self::Or(all) => all.iter().for_each(|one| one.columns(out)),
        }
    }

    /// Whether it says of every row exactly whether it passes: not where floats are compared, which
    /// have several orders.
    pub(crate) fn is_exact(&self) -> bool {
        match self {
            Self::Compare { value, .. } => !matches!(value, Value::Float(_)),
            Self::In { values, .. } => !values.iter().any(|value| matches!(value, Value::Float(_))),
            Self::And(all) | Self::Or(all) => all.iter().all(Self::is_exact),
            Self::StartsWith { .. } | Self::IsNull(_) | Self::IsNotNull(_) => true,
        }
    }

    /// Which of `rows` pass, evaluated on encoded chunks wherever those answer.
    pub(crate) fn select_exact(
        &self,
        group: &RowGroup,
        rows: &Range<usize>,
    ) -> Result<BooleanBuffer> {
        let encoded = |run: &[Self]| select_run(run, group, rows);
        self.evaluate(rows.len(), &encoded, &|column| group.decode(column, rows.clone()))
    }

    /// Which of `len` rows pass, given their columns; of floats, which may pass.
    pub(crate) fn select_arrays(&self, len: usize, decode: &Decode<'_>) -> Result<BooleanBuffer> {
        self.evaluate(len, &|_| Ok(None), decode)
    }

    fn evaluate(
        &self,
        len: usize,
        encoded: &dyn Fn(&[Self]) -> Result<Option<BooleanBuffer>>,
        decode: &Decode<'_>,
    ) -> Result<BooleanBuffer> {
        match self {
            Self::And(all) => {
                let mut selected = BooleanBuffer::new_set(len);
                for run in runs(all) {
                    let together = if run.len() > 1 { encoded(run)? } else { None };
                    match together {
                        Some(passed) => selected = &selected & &passed,
                        None => {
                            for one in run {
                                selected = &selected & &one.evaluate(len, encoded, decode)?;
                            }
                        }
                    }
                    if selected.count_set_bits() == 0 {
                        break;
                    }
                }
                Ok(selected)
            }
            Self::Or(any) => {
                let mut selected = BooleanBuffer::new_unset(len);
                for one in any {
                    selected = &selected | &one.evaluate(len, encoded, decode)?;
                }
                Ok(selected)
            }
            leaf => match encoded(std::slice::from_ref(leaf))? {
                Some(selected) => Ok(selected),
                None => leaf.evaluate_array(&decode(leaf.column())?),
            },
        }
    }

    /// The column of a condition on one column.
    fn column(&self) -> usize {
        let mut columns = Vec::new();
        self.columns(&mut columns);
        columns[0]
    }

    fn evaluate_array(&self, array: &ArrayRef) -> Result<BooleanBuffer> {
        let scalar = |value: &Value| -> Result<Scalar<ArrayRef>> {
            Ok(Scalar::new(array_of(array.data_type(), std::slice::from_ref(value))?))
        };
        let is_true = |compared: BooleanArray| match compared.nulls() {
            Some(nulls) => compared.values() & nulls.inner(),
            None => compared.values().clone(),
        };
        Ok(match self {
            Self::Compare { op, value: Value::Float(number), .. } => {
                floats_may_pass(array, *op, *number)?
            }
            Self::In { values, .. }
                if values.iter().any(|value| matches!(value, Value::Float(_))) =>
            {
                BooleanBuffer::new_set(array.len())
            }
            Self::Compare { op, value, .. } => {
                let value = scalar(value)?;
                is_true(match op {
                    CompareOp::Eq => cmp::eq(array, &value)?,
                    CompareOp::NotEq => cmp::neq(array, &value)?,
                    CompareOp::Lt => cmp::lt(array, &value)?,
                    CompareOp::LtEq => cmp::lt_eq(array, &value)?,
                    CompareOp::Gt => cmp::gt(array, &value)?,
                    CompareOp::GtEq => cmp::gt_eq(array, &value)?,
                })
            }
            Self::In { values, .. } => {
                let mut selected = BooleanBuffer::new_unset(array.len());
                for value in values {
                    selected = &selected | &is_true(cmp::eq(array, &scalar(value)?)?);
                }
                selected
            }
            Self::StartsWith { prefix, .. } => {
                let from = is_true(cmp::gt_eq(array, &scalar(&Value::Text(prefix.clone()))?)?);
                match text_behind(prefix) {
                    Some(behind) => {
                        &from & &is_true(cmp::lt(array, &scalar(&Value::Text(behind))?)?)
                    }
                    None => from,
                }
            }
            Self::IsNull(_) => match array.logical_nulls() {
                Some(nulls) => !nulls.inner(),
                None => BooleanBuffer::new_unset(array.len()),
            },
            Self::IsNotNull(_) => match array.logical_nulls() {
                Some(nulls) => nulls.inner().clone(),
                None => BooleanBuffer::new_set(array.len()),
            },
            Self::And(_) | Self::Or(_) => unreachable!("they are taken apart before"),
        })
    }
}

/// Which floats compare so with `number` in any order that there is: a zero is taken for both
/// zeroes, and what is not a number may pass.
fn floats_may_pass(array: &ArrayRef, op: CompareOp, number: f64) -> Result<BooleanBuffer> {
    let numbers: Vec<Option<f64>> = match array.data_type() {
        DataType::Float32 => {
            array.as_primitive::<Float32Type>().iter().map(|number| number.map(f64::from)).collect()
        }
        DataType::Float64 => array.as_primitive::<Float64Type>().iter().collect(),
        _ => return Ok(BooleanBuffer::new_set(array.len())),
    };
    let passes = |other: Option<f64>| {
        other.is_some_and(|other| match other.partial_cmp(&number) {
            Some(order) => op.holds(order) || (number == 0.0 && other == 0.0),
            None => true,
        })
    };
    Ok(numbers.into_iter().map(passes).collect())
}

/// The comparison that passes at least what `op` passes in SQL's order; none if nothing can be
/// said.
fn widened(op: CompareOp, value: &Value) -> Option<CompareOp> {
    match value {
        Value::Null => None,
        Value::Float(value) if value.is_nan() => None,
        Value::Float(value) if *value == 0.0 => match op {
            CompareOp::Lt => Some(CompareOp::LtEq),
            CompareOp::Gt => Some(CompareOp::GtEq),
            CompareOp::NotEq => None,
            _ => Some(op),
        },
        _ => Some(op),
    }
}

/// Conditions one after another, where several compare one column with values other than floats
/// all of these at once.
fn runs(all: &[Predicate]) -> impl Iterator<Item = &[Predicate]> {
    let compared = |one: &Predicate| match one {
        Predicate::Compare { value: Value::Float(_), .. } => None,
        Predicate::Compare { column, .. } => Some(*column),
        _ => None,
    };
    all.chunk_by(move |a, b| compared(a).is_some() && compared(a) == compared(b))
}

/// Which of `rows` may pass all conditions of a run; none if that cannot be said.
fn select_run(
    run: &[Predicate],
    group: &RowGroup,
    rows: &Range<usize>,
) -> Result<Option<BooleanBuffer>> {
    let comparison = |one| match one {
        &Predicate::Compare { column, op, ref value } => Some((column, (op, value))),
        _ => None,
    };
    let (Some((column, _)), true) = (run.first().and_then(comparison), run.len() > 1) else {
        return run.first().map_or(Ok(None), |one| one.select(group, rows));
    };
    let all: Vec<_> = run.iter().filter_map(comparison).map(|(_, compared)| compared).collect();
    compared(group.chunk(column)?.filter_all(&all, rows.clone()))
}

fn is_nan(value: &Value) -> bool {
    matches!(value, Value::Float(value) if value.is_nan())
}

fn compare(
    group: &RowGroup,
    column: usize,
    op: CompareOp,
    value: &Value,
    rows: &Range<usize>,
) -> Result<Option<BooleanBuffer>> {
    compared(group.chunk(column)?.filter(op, value, rows.clone()))
}

fn compared(selected: silt_codec::Result<BooleanBuffer>) -> Result<Option<BooleanBuffer>> {
    match selected {
        Ok(selected) => Ok(Some(selected)),
        // A value of another type: the caller's own evaluation will say what it makes of it.
        Err(error) if error.kind() == ErrorKind::Invalid => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn nulls(group: &RowGroup, column: usize, rows: &Range<usize>) -> Result<BooleanBuffer> {
    let chunk = group.chunk(column)?;
    if chunk.null_count() == 0 {
        return Ok(BooleanBuffer::new_unset(rows.len()));
    }
    let mut nulls = BooleanBufferBuilder::new(rows.len());
    rows.clone().for_each(|row| nulls.append(chunk.is_null(row)));
    Ok(nulls.finish())
}

fn starts_with(
    group: &RowGroup,
    column: usize,
    prefix: &str,
    rows: &Range<usize>,
) -> Result<Option<BooleanBuffer>> {
    let from = Value::Text(prefix.to_owned());
    let Some(from) = compare(group, column, CompareOp::GtEq, &from, rows)? else {
        return Ok(None);
    };
    let Some(behind) = text_behind(prefix) else { return Ok(Some(from)) };
    let below = compare(group, column, CompareOp::Lt, &Value::Text(behind), rows)?;
    Ok(below.map(|below| &from & &below))
}

/// A text above all that begin with `prefix`, and not above any other that is above them; UTF-8
/// sorts as its code points do.
fn text_behind(prefix: &str) -> Option<String> {
    let mut behind = prefix.to_owned();
    while let Some(last) = behind.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            _ => char::from_u32(u32::from(last) + 1),
        };
        if let Some(next) = next {
            behind.push(next);
            return Some(behind);
        }
    }
    None
}

fn zone_may_match(zone: &ZoneMap, op: CompareOp, value: &ValueRef<'_>) -> bool {
    if zone.value_count == 0 {
        return false;
    }
    // How the bound lies to the value; unknown bounds are as wide as can be.
    let min = (!zone.min.is_null()).then(|| zone.min.as_ref().compare(value));
    let max = (!zone.max.is_null()).then(|| zone.max.as_ref().compare(value));
    let min = min.unwrap_or(Ordering::Less);
    let max = max.unwrap_or(Ordering::Greater);
    match op {
        CompareOp::Eq => min.is_le() && max.is_ge(),
        CompareOp::NotEq => !(min.is_eq() && max.is_eq() && zone.min_exact && zone.max_exact),
        CompareOp::Lt => min.is_lt(),
        CompareOp::LtEq => min.is_le(),
        CompareOp::Gt => max.is_gt(),
        CompareOp::GtEq => max.is_ge(),
    }
}

fn zone_may_start_with(zone: &ZoneMap, prefix: &str) -> bool {
    if zone.value_count == 0 {
        return false;
    }
    let from_below = match &zone.min {
        Value::Text(min) => min.as_str() <= prefix || min.starts_with(prefix),
        _ => true,
    };
    let to_above = match &zone.max {
        Value::Text(max) => max.as_str() >= prefix,
        _ => true,
    };
    from_below && to_above
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(min: Value, max: Value, null_count: u32, value_count: u32) -> ZoneMap {
        ZoneMap { min, max, min_exact: true, max_exact: true, null_count, value_count }
    }

    fn matches(predicate: &Predicate, zone: &ZoneMap) -> bool {
        predicate.may_match(&mut |_| Ok(Some(Cow::Borrowed(zone)))).unwrap()
    }

    fn compare_with(op: CompareOp, value: Value) -> Predicate {
        Predicate::Compare { column: 0, op, value }
    }

    #[test]
    fn zone_map_says_which_comparisons_can_hold() {
        let ten_to_twenty = zone(Value::Int(10), Value::Int(20), 0, 5);
        let cases = [
            (CompareOp::Eq, 9, false),
            (CompareOp::Eq, 10, true),
            (CompareOp::Eq, 21, false),
            (CompareOp::Lt, 10, false),
            (CompareOp::LtEq, 10, true),
            (CompareOp::Gt, 20, false),
            (CompareOp::GtEq, 20, true),
            (CompareOp::NotEq, 15, true),
        ];
        for (op, value, expected) in cases {
            let predicate = compare_with(op, Value::Int(value));
            assert_eq!(matches(&predicate, &ten_to_twenty), expected, "{op:?} {value}");
        }
        let only_ten = zone(Value::Int(10), Value::Int(10), 0, 5);
        assert!(!matches(&compare_with(CompareOp::NotEq, Value::Int(10)), &only_ten));
    }

    #[test]
    fn unknown_bounds_and_columns_never_prune() {
        let unknown = zone(Value::Null, Value::Null, 0, 5);
        assert!(matches(&compare_with(CompareOp::Eq, Value::Int(1)), &unknown));
        let predicate = compare_with(CompareOp::Eq, Value::Int(1));
        assert!(predicate.may_match(&mut |_| Ok(None)).unwrap());
    }

    #[test]
    fn nulls_alone_match_only_is_null() {
        let nulls = zone(Value::Null, Value::Null, 5, 0);
        assert!(matches(&Predicate::IsNull(0), &nulls));
        assert!(!matches(&Predicate::IsNotNull(0), &nulls));
        assert!(!matches(&compare_with(CompareOp::Eq, Value::Int(1)), &nulls));
    }

    #[test]
    fn prefix_is_looked_for_between_the_bounds() {
        let text = |text: &str| Value::Text(text.to_owned());
        let words = zone(text("banana"), text("cherry"), 0, 5);
        let starts = |prefix: &str| Predicate::StartsWith { column: 0, prefix: prefix.to_owned() };
        for (prefix, expected) in
            [("a", false), ("b", true), ("banana s", true), ("c", true), ("d", false)]
        {
            assert_eq!(matches(&starts(prefix), &words), expected, "{prefix}");
        }
        assert_eq!(text_behind("ab").as_deref(), Some("ac"));
        assert_eq!(text_behind("a\u{10ffff}").as_deref(), Some("b"));
        assert_eq!(text_behind("\u{10ffff}"), None);
        assert_eq!(text_behind("\u{d7ff}").as_deref(), Some("\u{e000}"));
    }

    #[test]
    fn comparison_with_zero_keeps_the_zero_of_the_other_sign() {
        let zero = zone(Value::Float(-0.0), Value::Float(-0.0), 0, 1);
        assert!(matches(&compare_with(CompareOp::Lt, Value::Float(0.0)), &zero));
        assert!(matches(&compare_with(CompareOp::NotEq, Value::Float(0.0)), &zero));
        assert!(matches(&compare_with(CompareOp::Lt, Value::Float(f64::NAN)), &zero));
    }
}
