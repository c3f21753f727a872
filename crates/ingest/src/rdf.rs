//! RDF: one row a statement.
//!
//! All columns are TEXT and never NULL. IRIs stand without brackets, blank nodes as `_:name` with
//! the file's own names (those without one get a random name). `object_kind` is `iri`, `blank` or
//! `literal`; `datatype` is '' for anything but a literal, for plain literals (`xsd:string`) and for
//! those with a language, which stands in `lang` in small letters; `graph` is '' for the default graph. Statements
//! that stand in the file twice are given twice.
//!
//! N-Triples and N-Quads are read in blocks of whole lines, so that a malformed line is refused with
//! its text and nothing of it gets in. Turtle and TriG are streams: skipping resumes where the parser
//! can, and what a statement gave before its error stays. RDF/XML and JSON-LD cannot be resumed.
//! JSON-LD is held in memory as far as its parser needs; remote contexts are not fetched.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, LazyLock};

use arrow_array::builder::StringViewBuilder;
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use oxrdf::{GraphName, NamedOrBlankNode, Quad, Term};
use oxrdfio::{RdfFormat, RdfParseError, RdfParser, ReaderQuadParser};

use crate::LINE_BYTES_MAX;
use crate::buffer::{LineLength, Window};
use crate::column::BATCH_BYTES;
use crate::decompress::Input;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{Format, Options};
use crate::reader::{BatchSource, Context};
use crate::xml::EntityGuard;

/// Bytes of N-Triples parsed at a time.
const BLOCK_BYTES: usize = 256 << 10;
const XSD_STRING: &str = "http://www.w3.org/2001/XMLSchema#string";

/// `subject, predicate, object, object_kind, datatype, lang, graph`.
pub static STATEMENT_SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let names = ["subject", "predicate", "object", "object_kind", "datatype", "lang", "graph"];
    let fields = names.map(|name| Field::new(name, DataType::Utf8View, false));
    Arc::new(Schema::new(fields.to_vec()))
});

/// Opens an RDF file; `base` is the IRI of the file itself, where it has one.
pub(crate) fn open(
    input: Input,
    format: Format,
    options: &Options,
    base: Option<String>,
) -> Result<(SchemaRef, Box<dyn BatchSource>)> {
    let syntax = format.rdf().expect("only RDF formats come here");
    let mut parser = RdfParser::from_format(syntax);
    if let Some(base) = options.base_iri.clone().or(base) {
        parser = parser.with_base_iri(&base).map_err(|error| {
            Error::invalid(format!("base IRI {base:?}: {}", lower(&error.to_string())))
        })?;
    }
    let source: Box<dyn BatchSource> = match syntax {
        RdfFormat::NTriples | RdfFormat::NQuads => {
            let (window, statements) = (Window::new(input), Statements::default());
            Box::new(Lines { window, parser, statements })
        }
        _ => {
            let resumable = matches!(syntax, RdfFormat::Turtle | RdfFormat::TriG);
            let input: Input = match syntax {
                RdfFormat::RdfXml => Box::new(EntityGuard::new(input)),
                _ => input,
            };
            let quads = parser.for_reader(input);
            Box::new(Stream { quads, resumable, statements: Statements::default() })
        }
    };
    Ok((Arc::clone(&STATEMENT_SCHEMA), source))
}

/// N-Triples and N-Quads.
struct Lines {
    window: Window<Input>,
    parser: RdfParser,
    statements: Statements,
}

impl BatchSource for Lines {
    fn next_batch(&mut self, context: &mut Context) -> Result<Option<RecordBatch>> {
        let file = Arc::clone(&context.file);
        let io = |error| Error::io(&file, error);
        while self.statements.ready.is_empty() {
            let first_line = self.window.line();
            match self.block().map_err(io)? {
                Block::End => {
                    self.statements.cut(0)?;
                    break;
                }
                Block::TooLong(text) => {
                    let reason = format!("a line is longer than {} MiB", LINE_BYTES_MAX >> 20);
                    context.refuse(Some(first_line), &reason, &text)?;
                }
                Block::Text(length) => self.parse(length, first_line, context)?,
            }
        }
        context.progress.set_lines(self.window.line() - 1);
        Ok(self.statements.ready.pop_front())
    }
}

enum Block {
    /// So many bytes were consumed.
    Text(usize),
    TooLong(Vec<u8>),
    End,
}

impl Lines {
    /// Consumes whole lines, as many as are in memory.
    fn block(&mut self) -> io::Result<Block> {
        let length = match self.window.line_length()? {
            LineLength::End => return Ok(Block::End),
            LineLength::TooLong => return self.window.skip_line().map(Block::TooLong),
            LineLength::Bytes(length) => length,
        };
        let unread = self.window.unread();
        let limit = unread.len().min(BLOCK_BYTES.max(length));
        let more = unread[length..limit].iter().rposition(|byte| *byte == b'\n');
        let length = length + more.map_or(0, |at| at + 1);
        let lines = unread[..length].iter().filter(|byte| **byte == b'\n').count();
        self.window.consume(length, lines as u64);
        Ok(Block::Text(length))
    }

    fn parse(&mut self, length: usize, first_line: u64, context: &mut Context) -> Result<()> {
        let text = self.window.consumed(length);
        let quads: Result<Vec<Quad>, _> = self.parser.clone().for_slice(text).collect();
        if let Ok(quads) = quads {
            return quads
                .iter()
                .try_for_each(|quad| self.statements.push(quad, context.batch_rows));
        }
        // One of the lines is malformed: each by itself, then.
        for (line, text) in (first_line..).zip(text.split_inclusive(|byte| *byte == b'\n')) {
            match self.parser.clone().for_slice(text).collect::<Result<Vec<Quad>, _>>() {
                Ok(quads) => {
                    for quad in &quads {
                        self.statements.push(quad, context.batch_rows)?;
                    }
                }
                Err(error) => {
                    let column = error.location().map(|place| place.start.column + 1);
                    let column = column.map(|column| format!(" at column {column}"));
                    let reason = unplaced(&error.to_string()) + &column.unwrap_or_default();
                    context.refuse(Some(line), &reason, text)?;
                }
            }
        }
        Ok(())
    }
}

/// Turtle, TriG, RDF/XML and JSON-LD.
struct Stream {
    quads: ReaderQuadParser<Input>,
    resumable: bool,
    statements: Statements,
}

impl BatchSource for Stream {
    fn next_batch(&mut self, context: &mut Context) -> Result<Option<RecordBatch>> {
        while self.statements.ready.is_empty() {
            let error = match self.quads.next() {
                None => {
                    self.statements.cut(0)?;
                    break;
                }
                Some(Ok(quad)) => {
                    self.statements.push(&quad, context.batch_rows)?;
                    continue;
                }
                Some(Err(RdfParseError::Io(error))) => return Err(Error::io(&context.file, error)),
                Some(Err(RdfParseError::Syntax(error))) => error,
            };
            let line = error.location().map(|place| place.start.line + 1);
            let column =
                error.location().map(|place| format!(" at column {}", place.start.column + 1));
            let reason = unplaced(&error.to_string()) + &column.unwrap_or_default();
            if let Some(line) = line {
                context.progress.set_lines(line);
            }
            if !self.resumable {
                return Err(Error::malformed(&context.file, line, reason));
            }
            context.refuse(line, &reason, &[])?;
        }
        Ok(self.statements.ready.pop_front())
    }
}

/// The parsers' messages begin with their own idea of the place, which knows no block and no file.
fn unplaced(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let placed = message
        .strip_prefix("Parser error at line ")
        .or(message.strip_prefix("Parser error between line "));
    let bare = placed.and_then(|rest| rest.split_once(": ")).map_or(message, |(_, bare)| bare);
    lower(bare.trim_end_matches('.'))
}

/// With a small first letter, unless the first word is an acronym.
fn lower(message: &str) -> String {
    let mut letters = message.chars();
    match (letters.next(), letters.clone().next()) {
        (Some(first), second) if !second.is_some_and(char::is_uppercase) => {
            first.to_lowercase().chain(letters).collect()
        }
        _ => message.to_owned(),
    }
}

/// Statements on their way into batches.
#[derive(Default)]
struct Statements {
    columns: [StringViewBuilder; 7],
    rows: usize,
    bytes: usize,
    ready: VecDeque<RecordBatch>,
}

impl Statements {
    fn push(&mut self, quad: &Quad, batch_rows: usize) -> Result<()> {
        let [subject, predicate, object, kind, datatype, lang, graph] = &mut self.columns;
        self.bytes += match &quad.subject {
            NamedOrBlankNode::NamedNode(node) => append(subject, node.as_str()),
            NamedOrBlankNode::BlankNode(node) => append_blank(subject, node.as_str()),
        };
        self.bytes += append(predicate, quad.predicate.as_str());
        let (bytes, object_kind, object_datatype, object_lang) = match &quad.object {
            Term::NamedNode(node) => (append(object, node.as_str()), "iri", "", ""),
            Term::BlankNode(node) => (append_blank(object, node.as_str()), "blank", "", ""),
            Term::Literal(literal) => {
                let bytes = append(object, literal.value());
                let datatype = literal.datatype().as_str();
                match literal.language() {
                    Some(lang) => (bytes, "literal", "", lang),
                    None if datatype == XSD_STRING => (bytes, "literal", "", ""),
                    None => (bytes, "literal", datatype, ""),
                }
            }
        };
        self.bytes += bytes;
        append(kind, object_kind);
        self.bytes += append(datatype, object_datatype) + append(lang, object_lang);
        self.bytes += match &quad.graph_name {
            GraphName::NamedNode(node) => append(graph, node.as_str()),
            GraphName::BlankNode(node) => append_blank(graph, node.as_str()),
            GraphName::DefaultGraph => append(graph, ""),
        };
        self.rows += 1;
        if self.bytes >= BATCH_BYTES { self.cut(0) } else { self.cut(batch_rows - 1) }
    }

    /// Makes a batch of the rows so far if they are more than `rows`.
    fn cut(&mut self, rows: usize) -> Result<()> {
        if self.rows > rows {
            let columns =
                self.columns.iter_mut().map(|column| Arc::new(column.finish()) as ArrayRef);
            let batch = RecordBatch::try_new(Arc::clone(&STATEMENT_SCHEMA), columns.collect());
            let batch =
                batch.map_err(|error| Error::new(ErrorKind::Internal, error.to_string()))?;
            self.ready.push_back(batch);
            (self.rows, self.bytes) = (0, 0);
        }
        Ok(())
    }
}

fn append(column: &mut StringViewBuilder, text: &str) -> usize {
    column.append_value(text);
    text.len()
}

fn append_blank(column: &mut StringViewBuilder, name: &str) -> usize {
    append(column, &format!("_:{name}"))
}
