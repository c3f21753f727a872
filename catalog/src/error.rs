//! The crate's one error.

use std::fmt;

pub use silt_storage::ErrorKind;

/// An error of the catalog: a name that is missing or taken, a definition that cannot be, or an
/// error of the engine below.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<silt_storage::Error>,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; the message is lower case and has no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// A definition that cannot be as it stands.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// A catalog row that cannot be what was written.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// The same error with a hint, if there is one.
    #[must_use]
    pub fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// A suggestion such as `did you mean "events"?`.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The engine's error, where it is the cause.
    pub fn storage(&self) -> Option<&silt_storage::Error> {
        self.source.as_ref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| error as _)
    }
}

impl From<silt_storage::Error> for Error {
    fn from(error: silt_storage::Error) -> Self {
        Self { kind: error.kind(), message: error.to_string(), hint: None, source: Some(error) }
    }
}

impl From<silt_codec::Error> for Error {
    fn from(error: silt_codec::Error) -> Self {
        silt_storage::Error::from(error).into()
    }
}
