//! Splits CSV text into records and fields.
//!
//! A field is quoted if its first byte is the quote; quotes elsewhere are text. Unlike most CSV
//! readers this one tells `""` from nothing, because the one is an empty text and the other NULL.

use std::io::{self, Read};
use std::ops::Range;

use crate::LINE_BYTES_MAX;
use crate::buffer::Window;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Dialect {
    pub(crate) delimiter: u8,
    pub(crate) quote: Option<u8>,
    /// Equal to the quote where a doubled quote stands for one.
    pub(crate) escape: Option<u8>,
}

/// What [`Records::advance`] came upon.
#[derive(Debug)]
pub(crate) enum Step {
    /// A record; its fields can be asked for.
    Record,
    /// A record that does not end as it should, as far as the end of its first line.
    Broken {
        reason: String,
        text: Vec<u8>,
    },
    End,
}

/// The records of an input, one at a time.
pub(crate) struct Records<R> {
    window: Window<R>,
    dialect: Dialect,
    /// Of the record read last.
    line: u64,
    length: usize,
    fields: Vec<Field>,
    /// The text of the fields that had escapes in them.
    unescaped: Vec<u8>,
}

struct Field {
    quoted: bool,
    escaped: bool,
    /// Within the record, or within `unescaped`.
    range: Range<usize>,
}

enum Scan {
    /// A record of so many bytes, with so many line ends.
    Record(usize, u64),
    /// The record goes on beyond what is in memory.
    Incomplete,
    Broken(String),
}

/// The text of a record's fields, checked to be UTF-8.
pub(crate) struct Texts<'a> {
    record: &'a str,
    unescaped: &'a str,
    fields: &'a [Field],
}

impl<'a> Texts<'a> {
    pub(crate) fn get(&self, index: usize) -> (&'a str, bool) {
        let field = &self.fields[index];
        let text = if field.escaped { self.unescaped } else { self.record };
        (&text[field.range.clone()], field.quoted)
    }
}

impl<R: Read> Records<R> {
    pub(crate) fn new(input: R, dialect: Dialect) -> Self {
        let (fields, unescaped) = (Vec::new(), Vec::new());
        Self { window: Window::new(input), dialect, line: 1, length: 0, fields, unescaped }
    }

    /// The line that the last record began on.
    pub(crate) fn line(&self) -> u64 {
        self.line
    }

    /// Lines gone past.
    pub(crate) fn lines_read(&self) -> u64 {
        self.window.line() - 1
    }

    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    /// The last record's bytes, line end included.
    pub(crate) fn raw(&self) -> &[u8] {
        self.window.consumed(self.length)
    }

    /// An empty line.
    pub(crate) fn is_blank(&self) -> bool {
        matches!(&self.fields[..], [field] if !field.quoted && field.range.is_empty())
    }

    /// The fields' text, or where it is not UTF-8.
    pub(crate) fn texts(&self) -> Result<Texts<'_>, String> {
        let record = std::str::from_utf8(self.raw());
        let record = record.map_err(|error| {
            format!("not UTF-8 from byte {} of the line on", error.valid_up_to() + 1)
        })?;
        let unescaped = std::str::from_utf8(&self.unescaped)
            .map_err(|_| "not UTF-8 within a quoted field".to_owned())?;
        Ok(Texts { record, unescaped, fields: &self.fields })
    }

    /// Goes on to the next record.
    pub(crate) fn advance(&mut self) -> io::Result<Step> {
        loop {
            self.line = self.window.line();
            let at_end = self.window.at_end();
            let unread = self.window.unread();
            if unread.is_empty() {
                if at_end {
                    return Ok(Step::End);
                }
                self.window.fill()?;
                continue;
            }
            self.fields.clear();
            self.unescaped.clear();
            let scan = scan(unread, at_end, self.dialect, &mut self.fields, &mut self.unescaped);
            match scan {
                Scan::Record(length, _) if length > LINE_BYTES_MAX => return self.too_long(),
                Scan::Record(length, lines) => {
                    self.window.consume(length, lines);
                    self.length = length;
                    return Ok(Step::Record);
                }
                Scan::Incomplete => {
                    if !self.window.fill()? {
                        return self.too_long();
                    }
                }
                Scan::Broken(reason) => return self.broken(reason),
            }
        }
    }

    fn too_long(&mut self) -> io::Result<Step> {
        self.broken(format!("a record is longer than {} MiB", LINE_BYTES_MAX >> 20))
    }

    fn broken(&mut self, reason: String) -> io::Result<Step> {
        let text = self.window.skip_line()?;
        Ok(Step::Broken { reason, text })
    }
}

fn scan(
    bytes: &[u8],
    at_end: bool,
    dialect: Dialect,
    fields: &mut Vec<Field>,
    unescaped: &mut Vec<u8>,
) -> Scan {
    let Dialect { delimiter, quote, .. } = dialect;
    let mut at = 0;
    let mut lines = 0;
    loop {
        let end = if quote.is_some() && bytes.get(at).copied() == quote {
            let number = fields.len() + 1;
            match quoted_field(&bytes[at..], at_end, dialect, unescaped, &mut lines) {
                Quoted::Closed { length, escaped } => {
                    let range = match escaped {
                        Some(from) => from..unescaped.len(),
                        None => at + 1..at + length - 1,
                    };
                    fields.push(Field { quoted: true, escaped: escaped.is_some(), range });
                    at + length
                }
                Quoted::Open if at_end => {
                    return Scan::Broken(format!(
                        "the quote that opens field {number} is never closed"
                    ));
                }
                Quoted::Open => return Scan::Incomplete,
            }
        } else {
            let found = bytes[at..].iter().position(|byte| *byte == delimiter || *byte == b'\n');
            let end = match found {
                Some(length) => at + length,
                None if at_end => bytes.len(),
                None => return Scan::Incomplete,
            };
            let mut text = at..end;
            if bytes.get(end) != Some(&delimiter) && bytes[at..end].ends_with(b"\r") {
                text.end -= 1;
            }
            fields.push(Field { quoted: false, escaped: false, range: text });
            end
        };
        match &bytes[end..] {
            [] if at_end => return Scan::Record(end, lines),
            [] | [b'\r'] if !at_end => return Scan::Incomplete,
            [byte, ..] if *byte == delimiter => at = end + 1,
            [b'\n', ..] => return Scan::Record(end + 1, lines + 1),
            [b'\r', b'\n', ..] => return Scan::Record(end + 2, lines + 1),
            [b'\r'] => return Scan::Record(end + 1, lines),
            _ => {
                let number = fields.len();
                return Scan::Broken(format!("text behind the closing quote of field {number}"));
            }
        }
    }
}

enum Quoted {
    /// `length` counts both quotes; `escaped` is where the text begins in `unescaped`.
    Closed {
        length: usize,
        escaped: Option<usize>,
    },
    Open,
}

/// `bytes` begins with the opening quote.
fn quoted_field(
    bytes: &[u8],
    at_end: bool,
    dialect: Dialect,
    unescaped: &mut Vec<u8>,
    lines: &mut u64,
) -> Quoted {
    let mut escaped = None;
    let mut copied = 1;
    let mut at = 1;
    let mut inner_lines = 0;
    while let Some(&byte) = bytes.get(at) {
        let next = bytes.get(at + 1).copied();
        let is_quote = Some(byte) == dialect.quote;
        if Some(byte) == dialect.escape && (is_quote || next.is_some()) {
            if next.is_none() && !at_end {
                return Quoted::Open;
            }
            if next.is_some() && (next == dialect.quote || next == dialect.escape) {
                escaped.get_or_insert(unescaped.len());
                unescaped.extend_from_slice(&bytes[copied..at]);
                copied = at + 1;
                at += 2;
                continue;
            }
        }
        if is_quote {
            if escaped.is_some() {
                unescaped.extend_from_slice(&bytes[copied..at]);
            }
            *lines += inner_lines;
            return Quoted::Closed { length: at + 1, escaped };
        }
        inner_lines += u64::from(byte == b'\n');
        at += 1;
    }
    Quoted::Open
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIALECT: Dialect = Dialect { delimiter: b',', quote: Some(b'"'), escape: Some(b'"') };

    /// Gives its bytes one at a time, so that every border between reads is tried.
    struct Dripping<'a>(&'a [u8]);

    impl Read for Dripping<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(buffer.len()).min(1);
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn records(text: &str, dialect: Dialect) -> Vec<String> {
        let mut out = Vec::new();
        let mut records = Records::new(Dripping(text.as_bytes()), dialect);
        loop {
            match records.advance().unwrap() {
                Step::End => return out,
                Step::Broken { reason, .. } => out.push(format!("{}! {reason}", records.line())),
                Step::Record => {
                    let texts = records.texts().unwrap();
                    let fields: Vec<String> = (0..records.len())
                        .map(|index| texts.get(index))
                        .map(
                            |(text, quoted)| if quoted { format!("<{text}>") } else { text.into() },
                        )
                        .collect();
                    out.push(format!("{}: {}", records.line(), fields.join("|")));
                }
            }
        }
    }

    #[test]
    fn quoted_and_unquoted_fields_are_told_apart() {
        assert_eq!(records("a,\"b\",,\"\"\n1,2,3,4", DIALECT), ["1: a|<b>||<>", "2: 1|2|3|4"]);
    }

    #[test]
    fn line_ends_within_quotes_belong_to_the_field_and_are_counted() {
        let text = "a,\"b\nc\"\r\nd,\"e\"\"f,\"\r\ng,h\r\n";
        assert_eq!(records(text, DIALECT), ["1: a|<b\nc>", "3: d|<e\"f,>", "4: g|h"]);
    }

    #[test]
    fn a_backslash_may_escape_quotes() {
        let dialect = Dialect { escape: Some(b'\\'), ..DIALECT };
        let text = "\"a\\\"b\",\"c\\\\\",\"\\d\"\nx,y\n";
        assert_eq!(records(text, dialect), ["1: <a\"b>|<c\\>|<\\d>", "2: x|y"]);
    }

    #[test]
    fn without_quoting_quotes_are_text() {
        let dialect = Dialect { quote: None, escape: None, ..DIALECT };
        assert_eq!(records("\"a,b\"\n", dialect), ["1: \"a|b\""]);
        assert_eq!(records("a \"b\" c,d\n", DIALECT), ["1: a \"b\" c|d"]);
    }

    #[test]
    fn reading_goes_on_behind_the_first_line_of_a_broken_record() {
        let text = "a,\"b\" c\nd,e\nf,\"g\nh,i\n";
        assert_eq!(
            records(text, DIALECT),
            [
                "1! text behind the closing quote of field 2",
                "2: d|e",
                "3! the quote that opens field 2 is never closed",
                "4: h|i"
            ]
        );
    }

    #[test]
    fn an_end_without_a_line_end_is_an_end() {
        assert_eq!(records("a,", DIALECT), ["1: a|"]);
        assert_eq!(records("\"a\"", DIALECT), ["1: <a>"]);
        assert_eq!(records("\"a\"\r", DIALECT), ["1: <a>"]);
        assert_eq!(records("a\r\n", DIALECT), ["1: a"]);
        assert_eq!(records("", DIALECT), Vec::<String>::new());
    }

    #[test]
    fn a_record_beyond_the_limit_is_refused_and_passed_over() {
        let mut text = vec![b'x'; LINE_BYTES_MAX * 2];
        text.extend_from_slice(b"\na,b\n");
        let mut records = Records::new(&text[..], DIALECT);
        let Step::Broken { reason, .. } = records.advance().unwrap() else { panic!("not refused") };
        assert_eq!(reason, "a record is longer than 16 MiB");
        assert!(matches!(records.advance().unwrap(), Step::Record));
        assert_eq!((records.line(), records.len()), (2, 2));
    }
}
