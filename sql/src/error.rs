//! The crate's one error, and the way from DataFusion's to it and back.

use std::fmt;
use std::sync::Arc;

use datafusion::common::{Diagnostic, SchemaError};
use datafusion::error::DataFusionError;

pub use silt_catalog::ErrorKind;

/// Where in a statement's text something stands; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The line.
    pub line: u64,
    /// The column.
    pub column: u64,
}

/// What went wrong with a statement.
#[derive(Clone, Debug)]
pub struct Error {
    inner: Box<Inner>,
}

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    position: Option<Position>,
    hint: Option<String>,
    /// The name it is about, to find its place in the text.
    subject: Option<String>,
    /// Where the kind alone does not say it.
    sqlstate: Option<&'static str>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; the message is lower case and has no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        let message = message.into();
        let inner = Inner {
            kind,
            message,
            position: None,
            hint: None,
            subject: None,
            sqlstate: None,
            source: None,
        };
        Self { inner: Box::new(inner) }
    }

    /// A statement that cannot be run as it stands.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// A statement, clause or type that is understood but not built; `what` is its name.
    pub fn unsupported(what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Unsupported, format!("{what} is not supported yet"))
    }

    /// A broken invariant of our own.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The same error, at a place in the statement unless it has one already.
    #[must_use]
    pub fn at(mut self, position: Option<Position>) -> Self {
        self.inner.position = self.inner.position.or(position);
        self
    }

    /// The same error, its place counted from further up in a longer text.
    #[must_use]
    pub fn shifted(mut self, start: Position) -> Self {
        if let Some(position) = &mut self.inner.position {
            if position.line == 1 {
                position.column += start.column - 1;
            }
            position.line += start.line - 1;
        }
        self
    }

    /// The same error with a hint, unless it has one already.
    #[must_use]
    pub fn with_hint(mut self, hint: Option<String>) -> Self {
        self.inner.hint = self.inner.hint.or(hint);
        self
    }

    /// The same error under a state of its own.
    pub(crate) fn with_sqlstate(mut self, sqlstate: &'static str) -> Self {
        self.inner.sqlstate = Some(sqlstate);
        self
    }

    /// The same error, about a name that stands in the statement's text.
    pub(crate) fn about(mut self, name: &str) -> Self {
        self.inner.subject = Some(name.to_owned());
        self
    }

    /// The name it is about, as long as its place is not known.
    pub(crate) fn subject(&self) -> Option<&str> {
        self.inner.subject.as_deref().filter(|_| self.inner.position.is_none())
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.inner.kind
    }

    /// The message without kind, place and hint.
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Where in the statement's text, where that is known.
    pub fn position(&self) -> Option<Position> {
        self.inner.position
    }

    /// A suggestion such as `did you mean "events"?`.
    pub fn hint(&self) -> Option<&str> {
        self.inner.hint.as_deref()
    }

    /// The five characters by which SQL clients know this kind of error.
    pub fn sqlstate(&self) -> &'static str {
        if let Some(sqlstate) = self.inner.sqlstate {
            return sqlstate;
        }
        match self.inner.kind {
            ErrorKind::Invalid => "42000",
            ErrorKind::NotFound => "42P01",
            ErrorKind::AlreadyExists => "23505",
            ErrorKind::Conflict => "40001",
            ErrorKind::Unsupported => "0A000",
            ErrorKind::Corrupt => "XX001",
            ErrorKind::Io => "58030",
            ErrorKind::DiskFull => "53100",
            ErrorKind::Locked => "55006",
            ErrorKind::Closed => "57P01",
            ErrorKind::Interrupted => "57014",
            ErrorKind::Denied => "42501",
            ErrorKind::ResourcesExhausted => "53200",
            _ => "XX000",
        }
    }

    /// As DataFusion carries it; [`From`] finds it again inside.
    pub fn into_datafusion(self) -> DataFusionError {
        DataFusionError::External(Box::new(self))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.inner.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.inner.source.as_ref().map(|source| &**source as _)
    }
}

impl From<silt_storage::Error> for Error {
    fn from(error: silt_storage::Error) -> Self {
        let mut ours = Self::new(error.kind(), error.to_string());
        ours.inner.source = Some(Arc::new(error));
        ours
    }
}

impl From<silt_catalog::Error> for Error {
    fn from(error: silt_catalog::Error) -> Self {
        let mut ours = Self::new(error.kind(), error.to_string());
        ours.inner.hint = error.hint().map(str::to_owned);
        ours.inner.source = Some(Arc::new(error));
        ours
    }
}

impl From<silt_codec::Error> for Error {
    fn from(error: silt_codec::Error) -> Self {
        Self::new(error.kind(), error.message())
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        error.into_datafusion()
    }
}

impl From<datafusion::arrow::error::ArrowError> for Error {
    fn from(error: datafusion::arrow::error::ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        let mut ours = match find_ours(&error) {
            Some(ours) => ours,
            None => translate(error.find_root()),
        };
        if let Some(diagnostic) = error.diagnostic() {
            ours = ours.at(position_of(diagnostic));
        }
        ours
    }
}

/// Our own error, however deep it was wrapped on its way through DataFusion.
fn find_ours(error: &DataFusionError) -> Option<Error> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref::<Error>() {
            return Some(ours.clone());
        }
        if let Some(storage) = error.downcast_ref::<silt_storage::Error>() {
            return Some(storage.clone().into());
        }
        if let Some(catalog) = error.downcast_ref::<silt_catalog::Error>() {
            return Some(catalog.clone().into());
        }
        if let Some(DataFusionError::Shared(inner)) = error.downcast_ref::<DataFusionError>() {
            return find_ours(inner);
        }
        if let Some(DataFusionError::External(inner)) = error.downcast_ref::<DataFusionError>() {
            next = Some(&**inner);
            continue;
        }
        next = error.source();
    }
    None
}

fn translate(error: &DataFusionError) -> Error {
    let kind = match error {
        DataFusionError::SQL(..)
        | DataFusionError::Plan(_)
        | DataFusionError::SchemaError(..)
        | DataFusionError::ArrowError(..)
        | DataFusionError::Configuration(_)
        | DataFusionError::Execution(_) => ErrorKind::Invalid,
        DataFusionError::NotImplemented(_) => ErrorKind::Unsupported,
        DataFusionError::ResourcesExhausted(_) => ErrorKind::ResourcesExhausted,
        DataFusionError::IoError(_) | DataFusionError::ObjectStore(_) => ErrorKind::Io,
        _ => ErrorKind::Internal,
    };
    if let DataFusionError::SchemaError(schema, _) = error
        && let SchemaError::FieldNotFound { field, valid_fields } = &**schema
    {
        let shown = field.flat_name();
        let hint = silt_catalog::did_you_mean(
            field.name(),
            valid_fields.iter().map(|column| column.name()),
        );
        return Error::new(ErrorKind::NotFound, format!("column \"{shown}\" does not exist"))
            .with_hint(hint)
            .about(field.name());
    }
    plain(kind, &error.message())
}

/// DataFusion's message without its advice on DataFusion.
fn plain(kind: ErrorKind, message: &str) -> Error {
    let message = match message.find("No function matches the given name") {
        // What comes before repeats each signature as an internal error.
        Some(start) => message[start..].lines().next().unwrap_or_default(),
        None => message,
    };
    let (message, _) = message
        .split_once("\nThis issue was likely caused by a bug in DataFusion")
        .unwrap_or((message, ""));
    // Its suggestions have nothing in common with the name but their signature: only a near one
    // is passed on.
    let (message, suggested) = match message.split_once("\nDid you mean '") {
        Some((message, suggested)) => (message, suggested.trim_end_matches(['?', '.', '\''])),
        None => (message, ""),
    };
    let function = message.split('\'').nth(1).filter(|_| message.starts_with("Invalid function"));
    if let Some(function) = function {
        let hint = silt_catalog::did_you_mean(
            function,
            [suggested].into_iter().filter(|name| !name.is_empty()),
        );
        let message = format!("function \"{function}\" does not exist");
        return Error::new(ErrorKind::NotFound, message).with_hint(hint).about(function);
    }
    Error::new(kind, crate::parse::lower_first(message))
}

fn position_of(diagnostic: &Diagnostic) -> Option<Position> {
    let start = diagnostic.span?.start;
    (start.line > 0).then_some(Position { line: start.line, column: start.column })
}
