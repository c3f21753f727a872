//! JSON: one object a line, or one array of objects, to rows.
//!
//! A key is a column. Objects and arrays as values become TEXT that holds them as they stand in the
//! file; strings are their content, so that a TEXT column of both cannot tell `"1"` from `1`. A key
//! that is missing is NULL, as is `null`. A key that is no column is an error.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::LINE_BYTES_MAX;
use crate::buffer::{self, LineLength, Window};
use crate::column::Rows;
use crate::decompress::Input;
use crate::error::{Error, Result};
use crate::infer;
use crate::options::{Matching, Options};
use crate::reader::{BatchSource, Context};
use crate::values::Class;
use crate::views::text_as_views;

struct Json {
    documents: Documents<Input>,
    rows: Rows,
    columns: Columns,
    hint: String,
}

/// Which key is which column.
struct Columns {
    count: usize,
    /// Grows by the keys that differ from a column's name in letter case alone.
    positions: HashMap<String, usize>,
}

impl Columns {
    fn position(&mut self, key: &str) -> Option<usize> {
        if let Some(position) = self.positions.get(key) {
            return Some(*position);
        }
        let mut names = self.positions.iter();
        let position = *names.find(|(name, _)| name.eq_ignore_ascii_case(key))?.1;
        self.positions.insert(key.to_owned(), position);
        Some(position)
    }
}

/// Looks at the sample and gives the columns and the reader of the rows.
pub(crate) fn open(
    input: Input,
    options: &Options,
    context: &Context,
) -> Result<(SchemaRef, Box<dyn BatchSource>)> {
    let io = |error| Error::io(&context.file, error);
    let (schema, names, input, hint) = match &options.target {
        Some(target) if target.matching == Matching::Position => {
            return Err(Error::invalid(
                "the keys of JSON objects have no order to match columns by",
            ));
        }
        Some(target) => {
            let fields = target.schema.fields();
            let names = fields.iter().map(|field| field.name().clone()).collect();
            (text_as_views(&target.schema, 0..fields.len()), names, input, String::new())
        }
        None => {
            let (sample, input) = buffer::sample(input, options.sample_rows).map_err(io)?;
            let columns = inferred(&sample, options.sample_rows).map_err(io)?;
            if columns.is_empty() {
                let reason = "there is no JSON object in the sample to infer columns from";
                return Err(Error::malformed(&context.file, None, reason));
            }
            let hint =
                format!(" (columns were inferred from the first {} rows)", options.sample_rows);
            let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
            (infer::schema(columns), names, input, hint)
        }
    };
    let columns = Columns {
        count: names.len(),
        positions: names.into_iter().enumerate().map(|(index, name)| (name, index)).collect(),
    };
    let rows = Rows::new(schema)?;
    let json = Json { documents: Documents::new(input), rows, columns, hint };
    Ok((json.rows.schema().clone(), Box::new(json)))
}

/// Names in the order they first appear in, and what their values look like.
fn inferred(sample: &[u8], rows: usize) -> std::io::Result<Vec<(String, Class)>> {
    let mut columns: Vec<(String, Class)> = Vec::new();
    let mut positions: HashMap<String, usize> = HashMap::new();
    let mut documents = Documents::new(sample);
    for _ in 0..rows {
        let object = match documents.advance()? {
            Document::End => break,
            Document::Refused { fatal: true, .. } => break,
            Document::Refused { .. } => continue,
            Document::Text => documents.text(),
        };
        let Ok(object) = parse(object) else { continue };
        for (key, value) in object.0 {
            let position = positions.get(&*key).copied().unwrap_or_else(|| {
                columns.push((key.clone().into_owned(), Class::Null));
                positions.insert(key.into_owned(), columns.len() - 1);
                columns.len() - 1
            });
            let class = &mut columns[position].1;
            *class = class.join(class_of(value));
        }
    }
    Ok(columns)
}

fn class_of(value: &RawValue) -> Class {
    match value.get().as_bytes() {
        [b'n', ..] => Class::Null,
        [b't' | b'f', ..] => Class::Boolean,
        [b'"', ..] => match Class::of(text(value).as_deref().unwrap_or_default()) {
            class @ (Class::Date | Class::Timestamp | Class::Instant) => class,
            _ => Class::Text,
        },
        [b'{' | b'[', ..] => Class::Text,
        _ => Class::of(value.get()),
    }
}

/// The text that stands for a value; `None` for `null`.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    let raw = value.get();
    match raw.as_bytes() {
        [b'n', ..] => None,
        [b'"', content @ .., b'"'] if !content.contains(&b'\\') => {
            Some(Cow::Borrowed(&raw[1..raw.len() - 1]))
        }
        // A raw value is valid JSON, but an escape may still be half a surrogate pair.
        [b'"', ..] => {
            Some(serde_json::from_str(raw).map_or(Cow::Borrowed(raw), |text: String| text.into()))
        }
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// A JSON object in the order of its keys, values as they stand.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(KeyVisitor)
    }
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ObjectVisitor;
        impl<'de> Visitor<'de> for ObjectVisitor {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
                    entries.push((key.0, value));
                }
                Ok(Object(entries))
            }
        }
        deserializer.deserialize_map(ObjectVisitor)
    }
}

fn parse(text: &[u8]) -> Result<Object<'_>, String> {
    let text = std::str::from_utf8(text).map_err(|error| {
        format!("not UTF-8 from byte {} of the line on", error.valid_up_to() + 1)
    })?;
    serde_json::from_str(text).map_err(|error| {
        // The place is within the document, which need not begin its line.
        let message = error.to_string();
        let reason = message.split(" at line ").next().unwrap_or_default();
        match error.line() {
            0 | 1 => format!("{reason} at byte {}", error.column()),
            line => format!("{reason} at line {line} of the object"),
        }
    })
}

impl BatchSource for Json {
    fn next_batch(&mut self, context: &mut Context) -> Result<Option<RecordBatch>> {
        while !self.rows.is_full(context.batch_rows) {
            let document = self.documents.advance();
            let line = Some(self.documents.line);
            match document.map_err(|error| Error::io(&context.file, error))? {
                Document::End => break,
                Document::Refused { reason, fatal: true, .. } => {
                    return Err(Error::malformed(&context.file, line, reason));
                }
                Document::Refused { reason, text, .. } => context.refuse(line, &reason, &text)?,
                Document::Text => {
                    let text = self.documents.text();
                    if let Err(reason) = add(&mut self.rows, &mut self.columns, &self.hint, text) {
                        context.refuse(line, &reason, text)?;
                    }
                }
            }
        }
        context.progress.set_lines(self.documents.window.line() - 1);
        self.rows.finish()
    }
}

fn add(rows: &mut Rows, columns: &mut Columns, hint: &str, object: &[u8]) -> Result<(), String> {
    let object = parse(object)?;
    let mut cells: Vec<Option<Cow<'_, str>>> = vec![None; columns.count];
    for (key, value) in object.0 {
        let column = columns.position(&key).ok_or_else(|| {
            format!("key {} is none of the columns{hint}", crate::column::shortened(&key))
        })?;
        cells[column] = text(value);
    }
    rows.push(|column| cells[column].as_deref()).map_err(|reason| reason + hint)
}

/// The texts of the objects of an input, one at a time.
struct Documents<R> {
    window: Window<R>,
    layout: Layout,
    /// Of the object read last.
    line: u64,
    length: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    Unknown,
    Lines,
    Array,
    Ended,
}

enum Document {
    Text,
    /// `fatal` where it cannot be told how to go on.
    Refused {
        reason: String,
        text: Vec<u8>,
        fatal: bool,
    },
    End,
}

impl<R: std::io::Read> Documents<R> {
    fn new(input: R) -> Self {
        Self { window: Window::new(input), layout: Layout::Unknown, line: 1, length: 0 }
    }

    fn text(&self) -> &[u8] {
        self.window.consumed(self.length)
    }

    fn advance(&mut self) -> std::io::Result<Document> {
        loop {
            match self.layout {
                Layout::Unknown => match self.skip_space(|byte| byte.is_ascii_whitespace())? {
                    None => self.layout = Layout::Ended,
                    Some(b'[') => {
                        self.window.consume(1, 0);
                        self.layout = Layout::Array;
                    }
                    Some(_) => self.layout = Layout::Lines,
                },
                Layout::Lines => return self.next_line(),
                Layout::Array => return self.next_element(),
                Layout::Ended => return Ok(Document::End),
            }
        }
    }

    /// Goes past bytes that `space` holds for, and returns the next.
    fn skip_space(&mut self, space: impl Fn(u8) -> bool) -> std::io::Result<Option<u8>> {
        loop {
            let unread = self.window.unread();
            let length = unread.iter().position(|byte| !space(*byte)).unwrap_or(unread.len());
            let next = unread.get(length).copied();
            let lines = unread[..length].iter().filter(|byte| **byte == b'\n').count();
            self.window.consume(length, lines as u64);
            if next.is_some() || self.window.at_end() {
                return Ok(next);
            }
            self.window.fill()?;
        }
    }

    fn next_line(&mut self) -> std::io::Result<Document> {
        loop {
            self.line = self.window.line();
            let length = match self.window.line_length()? {
                LineLength::End => return Ok(Document::End),
                LineLength::Bytes(length) => length,
                LineLength::TooLong => {
                    let text = self.window.skip_line()?;
                    let reason = format!("a line is longer than {} MiB", LINE_BYTES_MAX >> 20);
                    return Ok(Document::Refused { reason, text, fatal: false });
                }
            };
            self.window.consume(length, 1);
            self.length = length;
            if !self.text().trim_ascii().is_empty() {
                return Ok(Document::Text);
            }
        }
    }

    fn next_element(&mut self) -> std::io::Result<Document> {
        let next = self.skip_space(|byte| byte.is_ascii_whitespace() || byte == b',')?;
        self.line = self.window.line();
        let fatal = |reason: &str| {
            Ok(Document::Refused { reason: reason.to_owned(), text: Vec::new(), fatal: true })
        };
        match next {
            Some(b'{') => {}
            Some(b']') => {
                self.window.consume(1, 0);
                self.layout = Layout::Ended;
                let behind = self.skip_space(|byte| byte.is_ascii_whitespace())?;
                self.line = self.window.line();
                return match behind {
                    None => Ok(Document::End),
                    Some(_) => fatal("text behind the end of the array"),
                };
            }
            Some(_) => return fatal("an element of the array is not an object"),
            None => return fatal("the array is not closed"),
        }
        let mut scan = ElementScan::default();
        loop {
            if let Some(length) = scan.run(self.window.unread()) {
                self.window.consume(length, scan.lines);
                self.length = length;
                return Ok(Document::Text);
            }
            if self.window.at_end() {
                return fatal("the object is not closed");
            }
            if !self.window.fill()? {
                return fatal("an object is longer than 16 MiB");
            }
        }
    }
}

/// Finds the end of an object by its brackets and strings.
#[derive(Default)]
struct ElementScan {
    at: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    lines: u64,
}

impl ElementScan {
    /// The object's length once its end is within `bytes`, which only grow from call to call.
    fn run(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(byte) = bytes.get(self.at) {
            self.at += 1;
            self.lines += u64::from(*byte == b'\n');
            match byte {
                _ if self.escaped => self.escaped = false,
                b'\\' if self.in_string => self.escaped = true,
                b'"' => self.in_string = !self.in_string,
                _ if self.in_string => {}
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(self.at);
                    }
                }
                _ => {}
            }
        }
        None
    }
}
