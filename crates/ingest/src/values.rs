//! Text to typed values: the grammars of numbers, dates and times, and which of them a text is of.
//!
//! What is inferred is narrower than what is accepted for a type the caller gave: `007`, `+41` and
//! `t` are read as BIGINT or BOOLEAN where these are asked for, but never taken for them.

/// The type that a text looks like; ordered by nothing, joined by [`Class::join`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Class {
    /// Only NULL so far.
    #[default]
    Null,
    Boolean,
    BigInt,
    Double,
    Date,
    Timestamp,
    /// A timestamp with a zone.
    Instant,
    Text,
}

impl Class {
    /// The class of one value. A number with a leading zero or `+`, or beyond BIGINT, is text:
    /// more often than not it is an identifier, and reading it as a number would lose digits.
    pub(crate) fn of(text: &str) -> Self {
        let bytes = text.as_bytes();
        match bytes.first() {
            Some(b't' | b'T' | b'f' | b'F') if strict_boolean(text).is_some() => Self::Boolean,
            Some(b'0'..=b'9' | b'-' | b'.') => match number(bytes) {
                Some(Self::BigInt) if text.parse::<i64>().is_err() => Self::Text,
                Some(Self::Double) if !text.parse::<f64>().is_ok_and(f64::is_finite) => Self::Text,
                Some(class) => class,
                None if date(text).is_some() => Self::Date,
                None => match timestamp(text) {
                    Some((_, true)) => Self::Instant,
                    Some((_, false)) => Self::Timestamp,
                    None => Self::Text,
                },
            },
            _ => Self::Text,
        }
    }

    /// The narrowest class that holds both.
    pub(crate) fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::Null, class) | (class, Self::Null) => class,
            (Self::BigInt, Self::Double) | (Self::Double, Self::BigInt) => Self::Double,
            (Self::Date, Self::Timestamp) | (Self::Timestamp, Self::Date) => Self::Timestamp,
            _ => Self::Text,
        }
    }
}

/// `-?digits[.digits][e[+-]digits]` without superfluous leading zeros, as BigInt or Double.
fn number(bytes: &[u8]) -> Option<Class> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let whole = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if whole > 1 && digits[0] == b'0' {
        return None;
    }
    let mut rest = &digits[whole..];
    if rest.is_empty() {
        return (whole > 0).then_some(Class::BigInt);
    }
    if let Some(fraction) = rest.strip_prefix(b".") {
        let count = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if whole + count == 0 {
            return None;
        }
        rest = &fraction[count..];
    } else if whole == 0 {
        return None;
    }
    if let [b'e' | b'E', exponent @ ..] = rest {
        let exponent =
            exponent.strip_prefix(b"-").or(exponent.strip_prefix(b"+")).unwrap_or(exponent);
        return (!exponent.is_empty() && exponent.iter().all(u8::is_ascii_digit))
            .then_some(Class::Double);
    }
    rest.is_empty().then_some(Class::Double)
}

fn strict_boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "TRUE" | "True" => Some(true),
        "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// `true`, `t`, `yes`, `y`, `on`, `1` and their opposites, in any case.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    let is = |word: &&str| text.eq_ignore_ascii_case(word);
    if ["true", "t", "yes", "y", "on", "1"].iter().any(is) {
        Some(true)
    } else if ["false", "f", "no", "n", "off", "0"].iter().any(is) {
        Some(false)
    } else {
        None
    }
}

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub(crate) fn date(text: &str) -> Option<i32> {
    let (days, rest) = leading_date(text.as_bytes())?;
    rest.is_empty().then_some(days)
}

fn leading_date(bytes: &[u8]) -> Option<(i32, &[u8])> {
    let (date, rest) = bytes.split_at_checked(10)?;
    let [y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = *date else { return None };
    let year = two(y0, y1)? * 100 + two(y2, y3)?;
    let (month, day) = (two(m0, m1)?, two(d0, d1)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 => 28 + i32::from(leap),
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => return None,
    };
    if day < 1 || day > length {
        return None;
    }
    // Howard Hinnant, "chrono-compatible low-level date algorithms": days_from_civil.
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some((era * 146_097 + day_of_era - 719_468, rest))
}

fn two(tens: u8, ones: u8) -> Option<i32> {
    let digit = |byte: u8| byte.is_ascii_digit().then(|| i32::from(byte - b'0'));
    Some(digit(tens)? * 10 + digit(ones)?)
}

/// Microseconds since midnight of `HH:MM[:SS[.fraction]]`.
pub(crate) fn time(text: &str) -> Option<i64> {
    let (micros, rest) = leading_time(text.as_bytes())?;
    rest.is_empty().then_some(micros)
}

/// Digits of a fraction beyond the sixth are cut off.
fn leading_time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let [h0, h1, b':', m0, m1, rest @ ..] = bytes else { return None };
    let (hour, minute) = (two(*h0, *h1)?, two(*m0, *m1)?);
    let mut seconds = 0;
    let mut micros = 0;
    let mut rest = rest;
    if let [b':', s0, s1, after @ ..] = rest {
        seconds = two(*s0, *s1)?;
        rest = after;
        if let [b'.', fraction @ ..] = rest {
            let count = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if count == 0 {
                return None;
            }
            for place in 0..6 {
                let digit = fraction[..count].get(place).map_or(0, |byte| byte - b'0');
                micros = micros * 10 + i64::from(digit);
            }
            rest = &fraction[count..];
        }
    }
    if hour > 23 || minute > 59 || seconds > 59 {
        return None;
    }
    Some((i64::from(hour * 3600 + minute * 60 + seconds) * 1_000_000 + micros, rest))
}

/// Microseconds since 1970-01-01 of `YYYY-MM-DD[( |T)HH:MM[:SS[.fraction]][zone]]`, and whether a
/// zone was given (`Z`, `UTC`, `+HH`, `+HHMM`, `+HH:MM`) and applied.
pub(crate) fn timestamp(text: &str) -> Option<(i64, bool)> {
    let (days, rest) = leading_date(text.as_bytes())?;
    let midnight = i64::from(days) * 86_400_000_000;
    let [b' ' | b'T' | b't', rest @ ..] = rest else {
        return rest.is_empty().then_some((midnight, false));
    };
    let (micros, zone) = leading_time(rest)?;
    let zone = zone.strip_prefix(b" ").unwrap_or(zone);
    let (sign, offset) = match zone {
        [] => return Some((midnight + micros, false)),
        b"Z" | b"z" | b"UTC" => return Some((midnight + micros, true)),
        [b'+', offset @ ..] => (1, offset),
        [b'-', offset @ ..] => (-1, offset),
        _ => return None,
    };
    let minutes = match *offset {
        [h0, h1] => two(h0, h1)? * 60,
        [h0, h1, m0, m1] | [h0, h1, b':', m0, m1] => two(h0, h1)? * 60 + two(m0, m1)?,
        _ => return None,
    };
    if minutes > 18 * 60 {
        return None;
    }
    Some((midnight + micros - sign * i64::from(minutes) * 60_000_000, true))
}

/// The unscaled value of a decimal number with `scale` digits behind the point; further digits are
/// rounded half away from zero. `None` if it is no number or needs more than `precision` digits.
pub(crate) fn decimal(text: &str, precision: u8, scale: i8) -> Option<i128> {
    let bytes = text.as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    let (mantissa, exponent) = match digits.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => {
            (&digits[..at], std::str::from_utf8(&digits[at + 1..]).ok()?.parse::<i16>().ok()?)
        }
        None => (digits, 0),
    };
    let point = mantissa.iter().position(|byte| *byte == b'.').unwrap_or(mantissa.len());
    let (whole, fraction) = (&mantissa[..point], mantissa.get(point + 1..).unwrap_or_default());
    let all = || whole.iter().chain(fraction);
    if whole.is_empty() && fraction.is_empty() || !all().all(u8::is_ascii_digit) {
        return None;
    }
    // How many of the digits count: those before the point, moved by exponent and scale.
    let kept = i64::try_from(whole.len()).ok()? + i64::from(exponent) + i64::from(scale);
    let limit = 10_i128.checked_pow(u32::from(precision))?;
    let mut value: i128 = 0;
    let mut seen = 0;
    for digit in all().map(|byte| i128::from(byte - b'0')) {
        if seen >= kept {
            value += i128::from(seen == kept && digit >= 5);
            seen = kept;
            break;
        }
        value = value.checked_mul(10)?.checked_add(digit)?;
        seen += 1;
    }
    while seen < kept {
        if value == 0 {
            break;
        }
        value = value.checked_mul(10)?;
        seen += 1;
    }
    if value >= limit {
        return None;
    }
    Some(if negative { -value } else { value })
}

/// The bytes of `\x` and hexadecimal digits, or else of the text itself.
pub(crate) fn binary(text: &str) -> Option<Vec<u8>> {
    let Some(digits) = text.strip_prefix("\\x") else { return Some(text.as_bytes().to_vec()) };
    hexadecimal(digits.as_bytes())
}

/// The 16 bytes of a UUID, hyphens optional.
pub(crate) fn uuid(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    let digits: Vec<u8> = text.bytes().filter(|byte| *byte != b'-').collect();
    hexadecimal(&digits).filter(|bytes| bytes.len() == 16)
}

fn hexadecimal(digits: &[u8]) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    digits.chunks_exact(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_would_lose_digits_are_taken_for_text() {
        for text in
            ["007", "+41791234567", "9223372036854775808", "-", ".", "1.2.3", "00.5", "1e", ""]
        {
            assert_eq!(Class::of(text), Class::Text, "{text:?}");
        }
        for text in ["0", "-1", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(Class::of(text), Class::BigInt, "{text:?}");
        }
        for text in ["0.5", "-.5", "5.", "1e5", "1E-5", "-6.081689834590001"] {
            assert_eq!(Class::of(text), Class::Double, "{text:?}");
        }
        assert_eq!(Class::of("1e999"), Class::Text);
        assert_eq!(Class::of("nan"), Class::Text);
    }

    #[test]
    fn dates_and_times_are_those_of_the_calendar() {
        assert_eq!(date("1970-01-01"), Some(0));
        assert_eq!(date("2000-02-29"), Some(11_016));
        assert_eq!(date("1969-12-31"), Some(-1));
        assert_eq!(date("0001-01-01"), Some(-719_162));
        assert_eq!(date("9999-12-31"), Some(2_932_896));
        for text in ["1900-02-29", "2023-00-01", "2023-13-01", "2023-04-31", "23-04-01", "2023-4-1"]
        {
            assert_eq!(date(text), None, "{text}");
        }
        assert_eq!(time("23:59:59.1234567"), Some(86_399_123_456));
        assert_eq!(time("24:00"), None);
        assert_eq!(timestamp("1970-01-01 00:01"), Some((60_000_000, false)));
        assert_eq!(timestamp("1970-01-01T01:00:00.5+01:00"), Some((500_000, true)));
        assert_eq!(timestamp("1969-12-31T23:00:00-0100"), Some((0, true)));
        assert_eq!(timestamp("1970-01-01T00:00:00Z"), Some((0, true)));
        assert_eq!(timestamp("1970-01-01T00:00:00 nowhere"), None);
        assert_eq!(Class::of("2024-02-30"), Class::Text);
        assert_eq!(Class::of("2024-02-29"), Class::Date);
        assert_eq!(Class::of("2024-02-29 10:00:00"), Class::Timestamp);
    }

    #[test]
    fn decimals_are_rounded_to_their_scale_and_refused_beyond_their_precision() {
        assert_eq!(decimal("1.005", 10, 2), Some(101));
        assert_eq!(decimal("-1.004", 10, 2), Some(-100));
        assert_eq!(decimal("12", 10, 2), Some(1200));
        assert_eq!(decimal("1.5e3", 10, 2), Some(150_000));
        assert_eq!(decimal("1.5e-3", 10, 2), Some(0));
        assert_eq!(decimal("0.009", 10, 2), Some(1));
        assert_eq!(decimal("99999999.99", 10, 2), Some(9_999_999_999));
        assert_eq!(decimal("99999999.999", 10, 2), None);
        assert_eq!(decimal("1e40", 38, 0), None);
        assert_eq!(decimal("0e300", 38, 0), Some(0));
        for text in ["", "-", ".", "1x", "1e", "e5", "1.2.3"] {
            assert_eq!(decimal(text, 10, 2), None, "{text:?}");
        }
    }

    #[test]
    fn classes_join_to_the_narrowest_that_holds_both() {
        assert_eq!(Class::BigInt.join(Class::Double), Class::Double);
        assert_eq!(Class::Date.join(Class::Timestamp), Class::Timestamp);
        assert_eq!(Class::Date.join(Class::Instant), Class::Text);
        assert_eq!(Class::Null.join(Class::Boolean), Class::Boolean);
        assert_eq!(Class::Boolean.join(Class::BigInt), Class::Text);
    }
}
