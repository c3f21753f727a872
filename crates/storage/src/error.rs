//! The engine's one error.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

pub use silt_codec::ErrorKind;

use crate::TreeId;

/// An error of the engine. Cheap to clone: the committers of one group share theirs.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Arc<std::io::Error>>,
    key: Option<(TreeId, Arc<[u8]>)>,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind`; the message is lower case and has no full stop.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None, key: None }
    }

    /// A request that cannot be met as it stands.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// Damaged bytes, with the file and offset where they stand.
    pub fn corrupt(path: &Path, offset: u64, what: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Corrupt, format!("{} at offset {offset}: {what}", path.display()))
    }

    /// A broken invariant of our own.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// What the operating system said about `path`; a full disk has a kind of its own.
    pub fn io(path: &Path, doing: &str, error: std::io::Error) -> Self {
        let kind = match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                ErrorKind::DiskFull
            }
            _ => ErrorKind::Io,
        };
        let message = format!("cannot {doing} {}: {error}", path.display());
        Self { kind, message, source: Some(Arc::new(error)), key: None }
    }

    /// A key that must be new and is not.
    pub fn duplicate(tree: TreeId, key: &[u8]) -> Self {
        let mut error =
            Self::new(ErrorKind::AlreadyExists, format!("duplicate key in tree {tree}"));
        error.key = Some((tree, key.into()));
        error
    }

    /// A key that another commit wrote since the writer's snapshot.
    pub fn conflict(tree: TreeId, key: &[u8]) -> Self {
        let mut error = Self::new(
            ErrorKind::Conflict,
            format!("a key of tree {tree} was written by a later commit"),
        );
        error.key = Some((tree, key.into()));
        error
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The tree and key of a duplicate or a conflict.
    pub fn key(&self) -> Option<(TreeId, &[u8])> {
        self.key.as_ref().map(|(tree, key)| (*tree, &**key))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| &**error as _)
    }
}

impl From<silt_codec::Error> for Error {
    fn from(error: silt_codec::Error) -> Self {
        Self::new(error.kind(), error.message())
    }
}

impl From<arrow_schema::ArrowError> for Error {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::internal(error.to_string())
    }
}
