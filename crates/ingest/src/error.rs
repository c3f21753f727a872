//! The crate's one error: what was read, where, and what is wrong with it.

use std::fmt;
use std::sync::Arc;

/// What the caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request cannot be met as it stands: an unknown format, an option out of range, a column
    /// the target does not have.
    Invalid,
    /// There is no such file.
    NotFound,
    /// The input is not what its format says: a malformed line, a value of another type.
    Malformed,
    /// The operating system refused.
    Io,
    /// A broken invariant of our own.
    Internal,
}

/// An error of reading a file.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    file: Option<Arc<str>>,
    line: Option<u64>,
    reason: String,
    source: Option<Arc<std::io::Error>>,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; the reason is lower case and has no full stop.
    pub fn new(kind: ErrorKind, reason: impl Into<String>) -> Self {
        Self { kind, file: None, line: None, reason: reason.into(), source: None }
    }

    /// A request that cannot be met as it stands.
    pub fn invalid(reason: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, reason)
    }

    /// Input that is not what its format says; lines count from 1.
    pub fn malformed(file: &Arc<str>, line: Option<u64>, reason: impl Into<String>) -> Self {
        let mut error = Self::new(ErrorKind::Malformed, reason);
        error.file = Some(Arc::clone(file));
        error.line = line;
        error
    }

    /// What the operating system, or a decompressor, said while reading `file`.
    pub fn io(file: &Arc<str>, error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::NotFound,
            std::io::ErrorKind::InvalidData
            | std::io::ErrorKind::InvalidInput
            | std::io::ErrorKind::UnexpectedEof => ErrorKind::Malformed,
            _ => ErrorKind::Io,
        };
        let mut this = Self::new(kind, error.to_string());
        this.file = Some(Arc::clone(file));
        this.source = Some(Arc::new(error));
        this
    }

    /// The same error, saying which file it is about.
    #[must_use]
    pub fn in_file(mut self, file: &Arc<str>) -> Self {
        self.file.get_or_insert_with(|| Arc::clone(file));
        self
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The file, as the caller named it; `<stdin>` for standard input.
    pub fn file(&self) -> Option<&str> {
        self.file.as_deref()
    }

    /// The line, counted from 1, where the format has lines.
    pub fn line(&self) -> Option<u64> {
        self.line
    }

    /// What is wrong, without the place.
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.file, self.line) {
            (Some(file), Some(line)) => write!(f, "{file}, line {line}: {}", self.reason),
            (Some(file), None) => write!(f, "{file}: {}", self.reason),
            _ => f.write_str(&self.reason),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| &**error as _)
    }
}
