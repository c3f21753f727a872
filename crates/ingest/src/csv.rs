//! CSV and TSV: records to rows, with columns given or inferred.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;

use crate::buffer;
use crate::column::Rows;
use crate::decompress::Input;
use crate::error::{Error, Result};
use crate::infer;
use crate::options::{Format, Matching, Options, Target};
use crate::reader::{BatchSource, Context};
use crate::records::{Dialect, Records, Step};
use crate::values::Class;
use crate::views::text_as_views;

struct Csv {
    records: Records<Input>,
    rows: Rows,
    /// Where in a record each column stands.
    positions: Vec<usize>,
    /// Fields of every record.
    fields: usize,
    nulls: Vec<String>,
    /// Said behind an error about a value's type.
    hint: String,
    header: bool,
}

/// Looks at the sample and gives the columns and the reader of the rows.
pub(crate) fn open(
    input: Input,
    format: Format,
    options: &Options,
    context: &Context,
) -> Result<(SchemaRef, Box<dyn BatchSource>)> {
    let delimiter = if format == Format::Tsv { b'\t' } else { b',' };
    let escape = options.escape.or(options.quote);
    let delimiter = options.delimiter.unwrap_or(delimiter);
    let dialect = Dialect { delimiter, quote: options.quote, escape };
    if options.quote == Some(delimiter) || options.escape == Some(delimiter) {
        return Err(Error::invalid("delimiter, quote and escape must differ"));
    }
    let lines = if options.target.is_some() { 1 } else { options.sample_rows };
    let (sample, input) =
        buffer::sample(input, lines).map_err(|error| Error::io(&context.file, error))?;
    let first = first_record(&sample, dialect, context)?;
    let mut hint = String::new();
    let (schema, positions, fields) = match (&options.target, first) {
        (Some(target), Some(first)) => {
            let by_name = options.header && target.matching == Matching::Name;
            let matching = if by_name { Matching::Name } else { Matching::Position };
            let target = Target { schema: target.schema.clone(), matching };
            let (schema, positions) = infer::matched(&first, &target)?;
            (schema, positions, first.len())
        }
        (Some(target), None) => {
            let columns = target.schema.fields().len();
            let schema = text_as_views(&target.schema, 0..columns);
            (schema, (0..columns).collect(), columns)
        }
        (None, Some(first)) => {
            let fields = first.len();
            let names = if options.header { first } else { vec![String::new(); fields] };
            let classes = classes(&sample, dialect, fields, options, context)?;
            hint = format!(
                " (the column's type was inferred from the first {} rows)",
                options.sample_rows
            );
            (infer::schema(names.into_iter().zip(classes)), (0..fields).collect(), fields)
        }
        (None, None) => {
            let reason = "the file is empty, so that its columns cannot be inferred";
            return Err(Error::malformed(&context.file, None, reason));
        }
    };
    let csv = Csv {
        records: Records::new(input, dialect),
        rows: Rows::new(schema)?,
        positions,
        fields,
        nulls: options.nulls.clone(),
        hint,
        header: options.header,
    };
    Ok((csv.rows.schema().clone(), Box::new(csv)))
}

/// The fields of the first line that is not empty. If it is broken there is nothing to go by.
fn first_record(sample: &[u8], dialect: Dialect, context: &Context) -> Result<Option<Vec<String>>> {
    let mut records = Records::new(sample, dialect);
    loop {
        let step = records.advance().map_err(|error| Error::io(&context.file, error))?;
        let reason = match step {
            Step::End => return Ok(None),
            Step::Record if records.is_blank() => continue,
            Step::Record => match records.texts() {
                Ok(texts) => {
                    let text = |index| texts.get(index).0.trim_ascii().to_owned();
                    return Ok(Some((0..records.len()).map(text).collect()));
                }
                Err(reason) => reason,
            },
            Step::Broken { reason, .. } => reason,
        };
        return Err(Error::malformed(&context.file, Some(records.line()), reason));
    }
}

/// What the columns of the sample's well-formed records look like.
fn classes(
    sample: &[u8],
    dialect: Dialect,
    fields: usize,
    options: &Options,
    context: &Context,
) -> Result<Vec<Class>> {
    let mut classes = vec![Class::Null; fields];
    let mut records = Records::new(sample, dialect);
    let mut header = options.header;
    let mut rows = 0;
    while rows < options.sample_rows {
        match records.advance().map_err(|error| Error::io(&context.file, error))? {
            Step::End => break,
            Step::Broken { .. } => continue,
            Step::Record if records.is_blank() => continue,
            Step::Record if std::mem::take(&mut header) => continue,
            Step::Record => {}
        }
        let Ok(texts) = records.texts() else { continue };
        if records.len() != fields {
            continue;
        }
        rows += 1;
        for (index, class) in classes.iter_mut().enumerate() {
            let (text, quoted) = texts.get(index);
            if *class != Class::Text && (quoted || !is_null(&options.nulls, text)) {
                *class = class.join(Class::of(text));
            }
        }
    }
    Ok(classes)
}

fn is_null(nulls: &[String], text: &str) -> bool {
    nulls.iter().any(|null| null == text)
}

impl BatchSource for Csv {
    fn next_batch(&mut self, context: &mut Context) -> Result<Option<RecordBatch>> {
        let file = context.file.clone();
        while !self.rows.is_full(context.batch_rows) {
            let step = self.records.advance().map_err(|error| Error::io(&file, error))?;
            let line = self.records.line();
            match step {
                Step::End => break,
                Step::Broken { reason, text } => context.refuse(Some(line), &reason, &text)?,
                Step::Record if self.records.is_blank() && (self.header || self.fields != 1) => {}
                Step::Record if std::mem::take(&mut self.header) => {}
                Step::Record => {
                    if let Err(reason) = self.add() {
                        context.refuse(Some(line), &reason, self.records.raw())?;
                    }
                }
            }
        }
        context.progress.set_lines(self.records.lines_read());
        self.rows.finish()
    }
}

impl Csv {
    fn add(&mut self) -> Result<(), String> {
        let found = self.records.len();
        if found != self.fields {
            let expected = self.fields;
            return Err(format!("{found} fields where {expected} are expected"));
        }
        let texts = self.records.texts()?;
        let (positions, nulls) = (&self.positions, &self.nulls);
        let added = self.rows.push(|column| {
            let (text, quoted) = texts.get(positions[column]);
            (quoted || !is_null(nulls, text)).then_some(text)
        });
        added.map_err(|reason| reason + &self.hint)
    }
}
