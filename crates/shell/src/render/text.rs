//! Text as a terminal shows it: what it does with control characters, and how wide it is.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text with everything that a terminal might act upon made visible: control characters, and
/// the marks that turn the direction of writing.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if u32::from(c) < 0x100 && is_hidden(c) => {
                write!(out, "\\x{:02x}", u32::from(c)).expect("a string takes any text");
            }
            c if is_hidden(c) => {
                write!(out, "\\u{{{:x}}}", u32::from(c)).expect("a string takes any text");
            }
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

pub(super) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}')
}

/// Columns that the text takes.
pub(crate) fn width(text: &str) -> usize {
    text.width()
}

/// The text in exactly `columns`, padded on one side, or cut with an ellipsis at its end.
pub(super) fn fitted(text: &str, columns: usize, right: bool, out: &mut String) {
    let full = width(text);
    if full <= columns {
        let pad = columns - full;
        out.extend(std::iter::repeat_n(' ', if right { pad } else { 0 }));
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', if right { 0 } else { pad }));
        return;
    }
    let mut left = columns.saturating_sub(1);
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        out.push(c);
    }
    if columns > 0 {
        out.push('…');
    }
    out.extend(std::iter::repeat_n(' ', left));
}
