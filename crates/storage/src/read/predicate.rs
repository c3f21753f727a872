//! [`Predicate`]s on zone maps, to leave files and row groups out, and on encoded chunks, to
//! decode only the rows that pass.
//!
//! Both answer "may pass": what cannot be decided passes. Floats compare in the order of keys
//! here, where -0.0 equals 0.0 and every NaN is one value above all others, while SQL tells -0.0
//! from 0.0; so comparisons with zero are taken wider, and those with NaN are not decided.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::ops::Range;

use arrow_buffer::{BooleanBuffer, BooleanBufferBuilder};
use silt_codec::{CompareOp, Value, ValueRef, ZoneMap};

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
                for one in all {
                    let Some(passed) = one.select(group, rows)? else { continue };
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
    match group.chunk(column)?.filter(op, value, rows.clone()) {
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
