//! Literals lifted out of a text, so that texts that differ in them alone are one statement.
//!
//! One pass over the bytes, much cheaper than tokens: whole numbers, texts, times and dates
//! (`TIMESTAMP '…'`, `DATE '…'`) that stand behind a comparison, in an IN list or behind LIMIT and
//! OFFSET leave a mark of their type in the key; the
//! rows of an INSERT's VALUES leave one mark for all. Everything else stays in the key as it is, so
//! two texts of one key differ only in what was lifted. What the pass does not know for certain
//! (comments, dollar quotes, prefixed strings, several statements) is not lifted at all.

use std::borrow::Cow;

use memchr::memchr;

use super::Arg;
use crate::params::Slot;

/// Marks in a key. A text that holds one of these bytes is not lifted.
const INT: u8 = 1;
const TEXT: u8 = 2;
const ROWS: u8 = 3;
const TIMESTAMP: u8 = 4;
const DATE: u8 = 5;
/// How the marks are called as parameters.
pub(super) const NAME: &str = "silt_lifted_";

/// A text without its literals.
#[derive(Debug)]
pub(crate) struct Lifted<'a> {
    pub(crate) key: String,
    pub(crate) literals: Vec<Arg<'a>>,
    pub(crate) rows: Option<ValueRows<'a>>,
}

/// The rows of a VALUES, cell by cell.
#[derive(Debug, Default)]
pub(crate) struct ValueRows<'a> {
    pub(crate) width: usize,
    pub(crate) cells: Vec<Cell<'a>>,
}

/// One value of a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Default,
    Boolean(bool),
    Int(i64),
    /// Digits with a point, perhaps a minus before them.
    Number(Cow<'a, str>),
    Text(Cow<'a, str>),
    Slot(Slot),
}

/// Lifts the literals of one statement; none where the pass is not certain.
pub(crate) fn lift(sql: &str) -> Option<Lifted<'_>> {
    let key = Vec::with_capacity(sql.len().min(1 << 10));
    let mut lifter = Lifter {
        sql,
        bytes: sql.as_bytes(),
        at: 0,
        copied: 0,
        key,
        literals: Vec::new(),
        rows: None,
        before: Before::Other,
        lists: Vec::new(),
        marks: 0,
        between: false,
        inserts: None,
    };
    lifter.run()?;
    let key = String::from_utf8(lifter.key).ok()?;
    Some(Lifted { key, literals: lifter.literals, rows: lifter.rows })
}

/// The statement of a key: its marks as parameters, its rows as one row of NULL.
pub(super) fn with_parameters(key: &str) -> String {
    let mut sql = String::with_capacity(key.len() + 64);
    let mut count = 0;
    for char in key.chars() {
        let parameter = match u8::try_from(char) {
            Ok(INT | TEXT) => format!(" ${NAME}{count} "),
            Ok(TIMESTAMP) => format!(" CAST(${NAME}{count} AS TIMESTAMP) "),
            Ok(DATE) => format!(" CAST(${NAME}{count} AS DATE) "),
            Ok(ROWS) => {
                sql.push_str(" (NULL) ");
                continue;
            }
            _ => {
                sql.push(char);
                continue;
            }
        };
        sql.push_str(&parameter);
        count += 1;
    }
    sql
}

/// What a literal may follow so that it is lifted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Before {
    Comparison,
    /// LIMIT or OFFSET.
    Count,
    In,
    /// A parenthesis or comma.
    Separator,
    Literal,
    Other,
}

struct Lifter<'a> {
    sql: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// The text before this is in the key.
    copied: usize,
    key: Vec<u8>,
    literals: Vec<Arg<'a>>,
    rows: Option<ValueRows<'a>>,
    before: Before,
    /// For each open parenthesis, whether it is an IN list's.
    lists: Vec<bool>,
    marks: usize,
    /// Whether a BETWEEN waits for its AND.
    between: bool,
    /// Whether the statement is an INSERT or REPLACE; unknown before its first word.
    inserts: Option<bool>,
}

impl Cell<'_> {
    /// The same cell with texts of its own.
    fn into_owned(self) -> Cell<'static> {
        match self {
            Self::Null => Cell::Null,
            Self::Default => Cell::Default,
            Self::Boolean(value) => Cell::Boolean(value),
            Self::Int(value) => Cell::Int(value),
            Self::Number(text) => Cell::Number(text.into_owned().into()),
            Self::Text(text) => Cell::Text(text.into_owned().into()),
            Self::Slot(slot) => Cell::Slot(slot),
        }
    }
}

impl Lifted<'_> {
    /// The parameters of the rows.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.rows.iter().flat_map(ValueRows::slots)
    }
}

impl ValueRows<'_> {
    /// The parameters.
    pub(crate) fn slots(&self) -> impl Iterator<Item = &Slot> {
        self.cells.iter().filter_map(|cell| match cell {
            Cell::Slot(slot) => Some(slot),
            _ => None,
        })
    }

    /// The same rows with texts of their own.
    pub(crate) fn into_owned(self) -> ValueRows<'static> {
        let cells = self.cells.into_iter().map(Cell::into_owned).collect();
        ValueRows { width: self.width, cells }
    }

    pub(crate) fn len(&self) -> usize {
        self.cells.len() / self.width.max(1)
    }
}

impl<'a> Lifter<'a> {
    fn run(&mut self) -> Option<()> {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\n' | b'\r' => self.at += 1,
                0..32 => return None,
                b'0'..=b'9' => self.number(self.at)?,
                b'\'' => self.string()?,
                b'"' | b'`' => {
                    self.at += 2 + memchr(byte, &self.bytes[self.at + 1..])?;
                    self.before = Before::Other;
                }
                b'-' if self.next() == Some(b'-') => return None,
                b'-' if self.may_lift() && self.next().is_some_and(|b| b.is_ascii_digit()) => {
                    let start = self.at;
                    self.at += 1;
                    self.number(start)?;
                }
                b'/' if self.next() == Some(b'*') => return None,
                b'=' | b'<' | b'>' => self.step(Before::Comparison),
                b'(' => {
                    self.lists.push(self.before == Before::In);
                    self.step(Before::Separator);
                }
                b')' => {
                    self.lists.pop();
                    self.step(Before::Other);
                }
                b',' => self.step(Before::Separator),
                b';' => {
                    let rest = self.sql[self.at + 1..].trim_ascii();
                    if !rest.is_empty() {
                        return None;
                    }
                    self.step(Before::Other);
                }
                b'?' => {
                    if self.next().is_some_and(|byte| byte.is_ascii_digit()) {
                        self.at += 1;
                        self.digits();
                    } else {
                        self.marks += 1;
                        self.at += 1;
                    }
                    self.before = Before::Other;
                }
                b'$' => {
                    self.at += 1;
                    self.word();
                    if self.bytes.get(self.at) == Some(&b'$') {
                        return None;
                    }
                    self.before = Before::Other;
                }
                byte if is_word(byte) => self.name()?,
                _ => self.step(Before::Other),
            }
        }
        self.copy(self.at);
        Some(())
    }

    fn step(&mut self, before: Before) {
        self.before = before;
        self.at += 1;
    }

    fn next(&self) -> Option<u8> {
        self.bytes.get(self.at + 1).copied()
    }

    fn digits(&mut self) {
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    /// Passes the bytes of a word; a dollar ends it, since it may begin a quote.
    fn word(&mut self) {
        while self.bytes.get(self.at).is_some_and(|byte| is_word(*byte)) {
            self.at += 1;
        }
    }

    fn may_lift(&self) -> bool {
        self.inserts == Some(false)
            && match self.before {
                Before::Comparison | Before::Count => true,
                Before::Separator => self.lists.last() == Some(&true),
                _ => false,
            }
    }

    fn copy(&mut self, to: usize) {
        self.key.extend_from_slice(&self.bytes[self.copied..to]);
        self.copied = to;
    }

    fn mark(&mut self, start: usize, mark: u8, literal: Arg<'a>) {
        self.copy(start);
        self.key.push(mark);
        self.literals.push(literal);
        self.copied = self.at;
    }

    /// Passes a number whose first digit is next; `start` is where its sign is.
    fn number(&mut self, start: usize) -> Option<()> {
        let lift = self.may_lift();
        self.digits();
        let whole =
            !matches!(self.bytes.get(self.at), Some(byte) if *byte == b'.' || is_word(*byte));
        let parsed = self.sql[start..self.at].parse::<i64>();
        match parsed {
            Ok(number) if whole && lift => self.mark(start, INT, Arg::Int(number)),
            _ if whole => {}
            _ => {
                // What is left of it, in any of its spellings, stays in the key.
                while self.bytes.get(self.at).is_some_and(|b| is_word(*b) || *b == b'.') {
                    self.at += 1;
                }
            }
        }
        self.before = Before::Literal;
        Some(())
    }

    fn string(&mut self) -> Option<()> {
        // One text behind another, or behind a prefix, may be read as one.
        if self.before == Before::Literal {
            return None;
        }
        let lift = self.may_lift();
        let start = self.at;
        match lift {
            true => self.lift_string(start, TEXT)?,
            false => drop(self.pass_string()?),
        }
        self.before = Before::Literal;
        Some(())
    }

    /// Lifts the text that is next; `start` is where what tells its type is.
    fn lift_string(&mut self, start: usize, mark: u8) -> Option<()> {
        let quote = self.at;
        if self.pass_string()? {
            return None;
        }
        self.mark(start, mark, Arg::Text(&self.sql[quote + 1..self.at - 1]));
        Some(())
    }

    /// Passes a text; whether it has doubled quotes.
    fn pass_string(&mut self) -> Option<bool> {
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at += 1 + memchr(b'\'', &self.bytes[self.at..])?;
            if self.bytes.get(self.at) != Some(&b'\'') {
                return Some(escaped);
            }
            escaped = true;
            self.at += 1;
        }
    }

    fn name(&mut self) -> Option<()> {
        let start = self.at;
        self.word();
        // A dollar within a name, or a prefix of a text.
        if matches!(self.bytes.get(self.at), Some(b'$' | b'\'')) {
            return None;
        }
        let word = &self.bytes[start..self.at];
        let is = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
        if self.inserts.is_none() {
            self.inserts = match word.len() {
                6 if is("SELECT") || is("UPDATE") || is("DELETE") => Some(false),
                6 | 7 if is("INSERT") || is("REPLACE") => Some(true),
                _ => return None,
            };
        }
        let typed = match word.len() {
            4 if is("DATE") => Some(DATE),
            9 if is("TIMESTAMP") => Some(TIMESTAMP),
            _ => None,
        };
        if let Some(mark) = typed.filter(|_| self.may_lift()) {
            let end = self.at;
            self.space();
            if self.bytes.get(self.at) == Some(&b'\'') {
                self.lift_string(start, mark)?;
                self.before = Before::Literal;
                return Some(());
            }
            self.at = end;
        }
        self.before = match word.len() {
            2 if is("IN") => Before::In,
            3 if is("AND") && std::mem::take(&mut self.between) => Before::Comparison,
            5 if is("LIMIT") => Before::Count,
            6 if is("OFFSET") => Before::Count,
            7 if is("BETWEEN") => {
                self.between = true;
                Before::Comparison
            }
            6 if is("VALUES")
                && self.inserts == Some(true)
                && self.lists.is_empty()
                && self.rows.is_none() =>
            {
                self.copy(self.at);
                self.rows = Some(self.value_rows()?);
                self.key.push(ROWS);
                self.copied = self.at;
                Before::Other
            }
            _ => Before::Other,
        };
        Some(())
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes `byte` and the white space around it, if it is next.
    fn take(&mut self, byte: u8) -> bool {
        self.space();
        let found = self.bytes.get(self.at) == Some(&byte);
        if found {
            self.at += 1;
            self.space();
        }
        found
    }

    fn value_rows(&mut self) -> Option<ValueRows<'a>> {
        let mut rows = ValueRows::default();
        loop {
            if !self.take(b'(') {
                return None;
            }
            let first = rows.cells.len();
            loop {
                rows.cells.push(self.cell()?);
                if !self.take(b',') {
                    break;
                }
            }
            if self.bytes.get(self.at) != Some(&b')') {
                return None;
            }
            self.at += 1;
            let width = rows.cells.len() - first;
            if first == 0 {
                rows.width = width;
                // Long texts hold many rows of about this size.
                let more = self.bytes.len() / self.at.max(1);
                rows.cells.reserve(width * more.min(1 << 16));
            } else if rows.width != width {
                return None;
            }
            let end = self.at;
            if !self.take(b',') {
                self.at = end;
                return Some(rows);
            }
        }
    }

    fn cell(&mut self) -> Option<Cell<'a>> {
        let start = self.at;
        match *self.bytes.get(start)? {
            b'\'' => {
                let escaped = self.pass_string()?;
                let text = &self.sql[start + 1..self.at - 1];
                Some(Cell::Text(match escaped {
                    true => Cow::Owned(text.replace("''", "'")),
                    false => Cow::Borrowed(text),
                }))
            }
            b'0'..=b'9' | b'-' => {
                self.at += usize::from(self.bytes[start] == b'-');
                let digits = self.at;
                self.digits();
                let mut whole = self.at > digits;
                if self.bytes.get(self.at) == Some(&b'.') && whole {
                    self.at += 1;
                    self.digits();
                    whole = false;
                }
                if self.at == digits || self.bytes.get(self.at).is_some_and(|b| is_word(*b)) {
                    return None;
                }
                let text = &self.sql[start..self.at];
                match whole {
                    true => text.parse().ok().map(Cell::Int),
                    false => Some(Cell::Number(text.into())),
                }
            }
            b'?' => {
                self.at += 1;
                let digits = self.at;
                self.digits();
                if self.at > digits {
                    let number = self.sql[digits..self.at].parse().ok().filter(|n| *n > 0)?;
                    return Some(Cell::Slot(Slot::Number(number)));
                }
                self.marks += 1;
                Some(Cell::Slot(Slot::Number(self.marks)))
            }
            sign @ (b'$' | b':') => {
                self.at += 1;
                self.word();
                let name = &self.sql[start + 1..self.at];
                match (name.parse::<usize>(), sign) {
                    (Ok(1..), b'$') => Some(Cell::Slot(Slot::Number(name.parse().ok()?))),
                    (Ok(_), _) => None,
                    (Err(_), _) if name.is_empty() => None,
                    (Err(_), _) => Some(Cell::Slot(Slot::Named(name.to_owned()))),
                }
            }
            byte if is_word(byte) => {
                self.word();
                let word = &self.bytes[start..self.at];
                let is = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
                Some(match word.len() {
                    4 if is("NULL") => Cell::Null,
                    4 if is("TRUE") => Cell::Boolean(true),
                    5 if is("FALSE") => Cell::Boolean(false),
                    7 if is("DEFAULT") => Cell::Default,
                    _ => return None,
                })
            }
            _ => None,
        }
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'@' | b'#' | 128..)
}
