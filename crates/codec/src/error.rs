//! The crate's one error, and the kinds that every crate of the project answers with.

use std::fmt;

/// What the caller can do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is wrong: correct it.
    Invalid,
    /// The thing named does not exist.
    NotFound,
    /// The thing, or the key, exists already.
    AlreadyExists,
    /// Another commit came first: run the statement or transaction again.
    Conflict,
    /// Well-formed, but not built yet; the message names what.
    Unsupported,
    /// Stored bytes are damaged: restore. The message names file and offset where they are known.
    Corrupt,
    /// The operating system refused: look at the disk.
    Io,
    /// The disk is full: free space, then go on.
    DiskFull,
    /// Another process has the database open.
    Locked,
    /// The handle or database was closed, or poisoned by a failed sync: reopen.
    Closed,
    /// The statement was cancelled.
    Interrupted,
    /// The user's role does not allow it: ask who administers the database.
    Denied,
    /// The statement asked for more memory or depth than it may have.
    ResourcesExhausted,
    /// A broken invariant: report it.
    Internal,
}

/// An error of the codec: a value that does not fit, or bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; the message is lower case and has no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// A request that cannot be met as it stands.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Stored bytes that cannot be what was written.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Corrupt, message)
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message without its kind.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<arrow_schema::ArrowError> for Error {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::invalid(error.to_string())
    }
}
