//! Zone maps: what a chunk holds, said in two values and two counts.

use crate::{Error, Result, Value};

/// Longer text and binary is cut to this many bytes, or a few less, in a zone map.
pub const ZONE_BYTES_MAX: usize = 64;

/// The least and greatest value of a chunk, file or table column, in the order of keys.
///
/// Bounds are never narrower than the values. Long text and binary is cut: the least downward, the
/// greatest upward. A bound is `Null` if there is no value (`value_count` is 0) or no bound is
/// known: of nested columns and intervals, or above text of the greatest characters only.
///
/// Floats: NaN is above all numbers and -0.0 equals 0.0, as in keys. Arrow's comparisons put -0.0
/// below 0.0 and NaN with its sign set below all numbers; bounds hold in that order, too: such a
/// NaN leaves the least value unknown, and for a least value of -0.0 stands the number below it.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneMap {
    /// Not above any value.
    pub min: Value,
    /// Not below any value.
    pub max: Value,
    /// Whether `min` is itself a value of the column.
    pub min_exact: bool,
    /// Whether `max` is itself a value of the column.
    pub max_exact: bool,
    /// The number of nulls.
    pub null_count: u32,
    /// The number of values that are not null.
    pub value_count: u32,
}

impl ZoneMap {
    /// Exact bounds.
    pub(super) fn exact(min: Value, max: Value) -> Self {
        Self { min, max, min_exact: true, max_exact: true, null_count: 0, value_count: 0 }
    }

    /// No known bounds.
    pub(super) fn unknown() -> Self {
        Self { min_exact: false, max_exact: false, ..Self::exact(Value::Null, Value::Null) }
    }

    /// The bounds of floats.
    pub(super) fn floats(values: impl Iterator<Item = f64>) -> Self {
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        let (mut numbers, mut nans, mut signed_nans, mut negative_zero) =
            (false, false, false, false);
        for value in values {
            if value.is_nan() {
                nans = true;
                signed_nans |= value.is_sign_negative();
            } else {
                numbers = true;
                negative_zero |= value.to_bits() == (-0.0_f64).to_bits();
                // The zero that `min` keeps of two may be either; it is put right below.
                (min, max) = (min.min(value), max.max(value));
            }
        }
        let mut zone = Self::exact(Value::Float(min), Value::Float(max));
        if nans {
            zone.max = Value::Float(f64::NAN);
        }
        if !numbers {
            zone.min = Value::Float(f64::NAN);
        }
        if numbers && min == 0.0 {
            zone.min_exact = !negative_zero;
            zone.min = Value::Float(if negative_zero { (-0.0_f64).next_down() } else { 0.0 });
        }
        if !nans && max == 0.0 {
            zone.max = Value::Float(0.0);
        }
        if signed_nans {
            (zone.min, zone.min_exact) = (Value::Null, false);
        }
        zone
    }

    /// The bounds of text, given the least and greatest of its bytes.
    pub(super) fn strings(min: &[u8], max: &[u8], text: bool) -> Self {
        let (low, high) = match text {
            true => (cut_text_down(min).map(Value::Text), cut_text_up(max).map(Value::Text)),
            false => (
                Some(Value::Binary(min[..min.len().min(ZONE_BYTES_MAX)].to_vec())),
                cut_bytes_up(max).map(Value::Binary),
            ),
        };
        let fits = |bytes: &[u8]| bytes.len() <= ZONE_BYTES_MAX;
        Self {
            min_exact: fits(min) && low.is_some(),
            max_exact: fits(max) && high.is_some(),
            ..Self::exact(low.unwrap_or(Value::Null), high.unwrap_or(Value::Null))
        }
    }

    /// Makes this the zone map of both together.
    pub fn merge(&mut self, other: &Self) {
        match (self.value_count, other.value_count) {
            (_, 0) => {}
            (0, _) => *self = Self { null_count: self.null_count, ..other.with_nulls(0) },
            _ => {
                if self.min.is_null() || other.min.is_null() {
                    (self.min, self.min_exact) = (Value::Null, false);
                } else if other.min.as_ref().compare(&self.min.as_ref()).is_lt() {
                    (self.min, self.min_exact) = (other.min.clone(), other.min_exact);
                }
                if self.max.is_null() || other.max.is_null() {
                    (self.max, self.max_exact) = (Value::Null, false);
                } else if other.max.as_ref().compare(&self.max.as_ref()).is_gt() {
                    (self.max, self.max_exact) = (other.max.clone(), other.max_exact);
                }
                self.value_count = self.value_count.saturating_add(other.value_count);
            }
        }
        self.null_count = self.null_count.saturating_add(other.null_count);
    }

    fn with_nulls(&self, null_count: u32) -> Self {
        Self { null_count, ..self.clone() }
    }

    /// Appends the bytes of this zone map: both counts, a byte of flags, both bounds.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.null_count.to_le_bytes());
        out.extend_from_slice(&self.value_count.to_le_bytes());
        out.push(u8::from(self.min_exact) | u8::from(self.max_exact) << 1);
        self.min.encode(out);
        self.max.encode(out);
    }

    /// Takes a zone map off the front of `bytes`.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no zone map has.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self> {
        let Some((&[n0, n1, n2, n3, v0, v1, v2, v3, flags], mut rest)) = bytes.split_first_chunk()
        else {
            return Err(Error::corrupt("zone map cut short"));
        };
        if flags > 3 {
            return Err(Error::corrupt(format!("zone map with flags {flags}")));
        }
        let (min, max) = (Value::decode(&mut rest)?, Value::decode(&mut rest)?);
        *bytes = rest;
        Ok(Self {
            min,
            max,
            min_exact: flags & 1 != 0,
            max_exact: flags & 2 != 0,
            null_count: u32::from_le_bytes([n0, n1, n2, n3]),
            value_count: u32::from_le_bytes([v0, v1, v2, v3]),
        })
    }
}

fn cut_text_down(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    Some(text[..text.floor_char_boundary(ZONE_BYTES_MAX)].to_owned())
}

/// A text of at most the limit that is not below `bytes`; `None` if no character can be raised.
fn cut_text_up(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    if text.len() <= ZONE_BYTES_MAX {
        return Some(text.to_owned());
    }
    let mut cut = text[..text.floor_char_boundary(ZONE_BYTES_MAX)].to_owned();
    while let Some(last) = cut.pop() {
        // The next character; behind 0xD7FF the surrogates are left out.
        let next =
            if last == '\u{d7ff}' { Some('\u{e000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            cut.push(next);
            return Some(cut);
        }
    }
    None
}

fn cut_bytes_up(bytes: &[u8]) -> Option<Vec<u8>> {
    if bytes.len() <= ZONE_BYTES_MAX {
        return Some(bytes.to_vec());
    }
    let mut cut = bytes[..ZONE_BYTES_MAX].to_vec();
    while let Some(last) = cut.pop() {
        if last < u8::MAX {
            cut.push(last + 1);
            return Some(cut);
        }
    }
    None
}
