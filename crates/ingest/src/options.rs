//! What may be said about a file. Every default is right for most.

use std::path::Path;

use arrow_schema::SchemaRef;

use crate::error::{Error, Result};

/// The formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Values separated by a delimiter, a comma if not said.
    Csv,
    /// The same, separated by tabs.
    Tsv,
    /// One JSON object a line, or one array of objects.
    Json,
    /// Apache Parquet.
    Parquet,
    /// Arrow IPC, file (also called Feather, version 2) or stream.
    Arrow,
    /// RDF: N-Triples.
    NTriples,
    /// RDF: N-Quads.
    NQuads,
    /// RDF: Turtle.
    Turtle,
    /// RDF: TriG.
    TriG,
    /// RDF: RDF/XML.
    RdfXml,
    /// RDF: JSON-LD.
    JsonLd,
}

impl Format {
    /// The format of a file name's extension or of a name a user gave: `csv`, `nt`, `parquet`.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "csv" => Self::Csv,
            "tsv" | "tab" => Self::Tsv,
            "json" | "jsonl" | "ndjson" => Self::Json,
            "parquet" => Self::Parquet,
            "arrow" | "arrows" | "feather" | "ipc" => Self::Arrow,
            "nt" | "ntriples" | "n-triples" => Self::NTriples,
            "nq" | "nquads" | "n-quads" => Self::NQuads,
            "ttl" | "turtle" => Self::Turtle,
            "trig" => Self::TriG,
            "rdf" | "rdfxml" | "rdf-xml" | "owl" => Self::RdfXml,
            "jsonld" | "json-ld" => Self::JsonLd,
            _ => return None,
        })
    }

    /// The format that `path`'s extension names, one `.gz` or `.zst` behind it ignored.
    pub fn from_path(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        if matches!(extension.to_ascii_lowercase().as_str(), "gz" | "zst") {
            return Self::from_name(Path::new(path.file_stem()?).extension()?.to_str()?);
        }
        Self::from_name(extension)
    }

    /// True for the formats whose rows are RDF statements.
    pub fn is_rdf(self) -> bool {
        self.rdf().is_some()
    }

    pub(crate) fn rdf(self) -> Option<oxrdfio::RdfFormat> {
        use oxrdfio::{JsonLdProfileSet, RdfFormat};
        Some(match self {
            Self::NTriples => RdfFormat::NTriples,
            Self::NQuads => RdfFormat::NQuads,
            Self::Turtle => RdfFormat::Turtle,
            Self::TriG => RdfFormat::TriG,
            Self::RdfXml => RdfFormat::RdfXml,
            Self::JsonLd => RdfFormat::JsonLd { profile: JsonLdProfileSet::empty() },
            Self::Csv | Self::Tsv | Self::Json | Self::Parquet | Self::Arrow => return None,
        })
    }
}

/// What happens at a malformed line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// Reading ends with file, line and reason.
    #[default]
    Stop,
    /// The line is counted and given to the rejects sink; reading goes on.
    Skip,
}

/// How the columns of a [`Target`] are found in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Matching {
    /// By the names in the header line or the JSON keys, exactly or else without regard to case.
    /// A column of the target that the file lacks is left out of the batches, so that the caller
    /// can give it its default; one that only the file has is an error.
    #[default]
    Name,
    /// By their order; the header line, if there is one, is skipped. JSON has no order.
    Position,
}

/// The columns the caller wants; without one they are inferred.
#[derive(Clone, Debug)]
pub struct Target {
    /// Names and types.
    pub schema: SchemaRef,
    /// How they are found in the file. A CSV file without a header is always matched by position.
    pub matching: Matching,
}

/// Options of [`open`](crate::open).
#[derive(Clone, Debug)]
pub struct Options {
    /// The format. Default: by the file's extension; standard input has none.
    pub format: Option<Format>,
    /// CSV: the first line names the columns. Default true; without it they are `column1` to
    /// `columnN`.
    pub header: bool,
    /// CSV: the byte between fields. Default a comma, in TSV a tab.
    pub delimiter: Option<u8>,
    /// CSV: the byte around fields that hold delimiters or line breaks; `None` for no quoting.
    /// Default `"`.
    pub quote: Option<u8>,
    /// CSV: the byte before a quote (or itself) within quotes. Default: the quote, doubled.
    pub escape: Option<u8>,
    /// CSV: unquoted fields that mean NULL. Default: the empty one.
    pub nulls: Vec<String>,
    /// The columns wanted, of CSV and JSON. Default: inferred.
    pub target: Option<Target>,
    /// Rows looked at to infer columns and types. Default 10,000 (at most 16 MiB of text).
    pub sample_rows: usize,
    /// Rows of a batch at most. Default 8,192.
    pub batch_rows: usize,
    /// What happens at a malformed line. Default: stop.
    pub on_error: OnError,
    /// RDF: what relative IRIs are resolved against. Default: the file's own `file:` IRI.
    pub base_iri: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: None,
            header: true,
            delimiter: None,
            quote: Some(b'"'),
            escape: None,
            nulls: vec![String::new()],
            target: None,
            sample_rows: 10_000,
            batch_rows: 8_192,
            on_error: OnError::Stop,
            base_iri: None,
        }
    }
}

impl Options {
    /// Sets one option from text, as a command line or a `WITH (...)` list gives it: `format`,
    /// `header`, `delimiter` (one character, or `\t`), `quote` and `escape` (one character, or
    /// nothing), `null`, `sample`, `on_error` (`stop`, `skip`), `base_iri`.
    ///
    /// The first `null` of a set of options should come after [`Options::clear_nulls`].
    ///
    /// # Errors
    /// `Invalid`, naming option and value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let wrong = |expected: &str| {
            Error::invalid(format!("option {name} is {value:?} where {expected} is expected"))
        };
        let byte = || match value {
            "\\t" => Ok(b'\t'),
            _ => match value.as_bytes() {
                [byte] if byte.is_ascii() && !matches!(byte, b'\n' | b'\r') => Ok(*byte),
                _ => Err(wrong("one ASCII character")),
            },
        };
        match name.to_ascii_lowercase().as_str() {
            "format" => {
                let format = Format::from_name(value);
                self.format = Some(format.ok_or_else(|| {
                    wrong("csv, tsv, json, parquet, arrow, nt, nq, ttl, trig, rdf or jsonld")
                })?);
            }
            "header" => match value.to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" | "1" | "" => self.header = true,
                "false" | "off" | "no" | "0" => self.header = false,
                _ => return Err(wrong("true or false")),
            },
            "delimiter" | "delim" | "sep" => self.delimiter = Some(byte()?),
            "quote" => self.quote = if value.is_empty() { None } else { Some(byte()?) },
            "escape" => self.escape = if value.is_empty() { None } else { Some(byte()?) },
            "null" | "nullstr" => self.nulls.push(value.to_owned()),
            "sample" | "sample_rows" => {
                let rows: usize = value.parse().map_err(|_| wrong("a number of rows"))?;
                if rows == 0 {
                    return Err(wrong("at least one row"));
                }
                self.sample_rows = rows;
            }
            "on_error" => match value.to_ascii_lowercase().as_str() {
                "stop" => self.on_error = OnError::Stop,
                "skip" => self.on_error = OnError::Skip,
                _ => return Err(wrong("stop or skip")),
            },
            "base" | "base_iri" => self.base_iri = Some(value.to_owned()),
            _ => return Err(Error::invalid(format!("there is no option {name}"))),
        }
        Ok(())
    }

    /// Forgets the texts that mean NULL, the default too.
    pub fn clear_nulls(&mut self) {
        self.nulls.clear();
    }

    pub(crate) fn validate(&self) -> Result<()> {
        if self.batch_rows == 0 || self.sample_rows == 0 {
            return Err(Error::invalid("batches and samples hold at least one row"));
        }
        let delimiter = self.delimiter;
        for (name, byte) in
            [("delimiter", delimiter), ("quote", self.quote), ("escape", self.escape)]
        {
            if byte.is_some_and(|byte| !byte.is_ascii() || byte == b'\n' || byte == b'\r') {
                return Err(Error::invalid(format!(
                    "{name} must be an ASCII character and no line break"
                )));
            }
        }
        if delimiter.is_some() && (delimiter == self.quote || delimiter == self.escape) {
            return Err(Error::invalid("delimiter, quote and escape must differ"));
        }
        Ok(())
    }
}
