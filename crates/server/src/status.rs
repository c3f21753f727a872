//! Errors of statements as clients see them.
//!
//! The code says what the client can do, the message is the statement's own, with place and hint.
//! What is the server's own affair (files, paths, broken invariants) is logged here and not told.

use datafusion::arrow::error::ArrowError;
use silt_sql::{Error, ErrorKind};
use tonic::{Code, Status};

/// The header that holds the five characters of SQL's error state.
const SQLSTATE: &str = "sqlstate";

/// An error as a status.
pub(crate) fn status(error: &Error) -> Status {
    let code = code(error.kind());
    let message = match told(error.kind()) {
        Some(told) => {
            tracing::error!(kind = ?error.kind(), error = %error, "a statement met a fault");
            told.to_owned()
        }
        None => message(error),
    };
    let mut status = Status::new(code, message);
    if let Ok(state) = error.sqlstate().parse() {
        status.metadata_mut().insert(SQLSTATE, state);
    }
    status
}

/// An error of Arrow's, from what a client sent.
pub(crate) fn of_arrow(error: &ArrowError) -> Status {
    Status::invalid_argument(format!("the rows cannot be read: {error}"))
}

fn message(error: &Error) -> String {
    let mut text = error.message().to_owned();
    if let Some(place) = error.position() {
        text.push_str(&format!(" (line {}, column {})", place.line, place.column));
    }
    if let Some(hint) = error.hint() {
        text.push_str(&format!("; {hint}"));
    }
    text
}

fn code(kind: ErrorKind) -> Code {
    match kind {
        ErrorKind::Invalid => Code::InvalidArgument,
        ErrorKind::NotFound => Code::NotFound,
        ErrorKind::AlreadyExists => Code::AlreadyExists,
        ErrorKind::Conflict => Code::Aborted,
        ErrorKind::Unsupported => Code::Unimplemented,
        ErrorKind::Denied => Code::PermissionDenied,
        ErrorKind::Corrupt => Code::DataLoss,
        ErrorKind::DiskFull | ErrorKind::ResourcesExhausted => Code::ResourceExhausted,
        ErrorKind::Locked | ErrorKind::Closed => Code::Unavailable,
        ErrorKind::Interrupted => Code::Cancelled,
        _ => Code::Internal,
    }
}

/// What is said instead of messages that name files.
fn told(kind: ErrorKind) -> Option<&'static str> {
    match kind {
        ErrorKind::Corrupt => {
            Some("the database is damaged where the statement reads: see the log")
        }
        ErrorKind::Io => Some("the server could not read or write a file: see its log"),
        ErrorKind::DiskFull => Some("the server's disk is full"),
        ErrorKind::Locked => Some("the database is in use by another process"),
        ErrorKind::Closed => Some("the database is closed"),
        ErrorKind::Internal => Some("the server made a mistake: see its log"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_tell_what_to_do_and_no_path_is_told() {
        let told = |kind| status(&Error::new(kind, "cannot read /srv/data/000042.sst"));
        for (kind, code) in [
            (ErrorKind::Corrupt, Code::DataLoss),
            (ErrorKind::Io, Code::Internal),
            (ErrorKind::DiskFull, Code::ResourceExhausted),
            (ErrorKind::Internal, Code::Internal),
        ] {
            let status = told(kind);
            assert_eq!(status.code(), code);
            assert!(!status.message().contains("/srv"), "{status}");
        }
        let error = Error::new(ErrorKind::Conflict, "table \"t\" was changed");
        let status = status(&error);
        assert_eq!((status.code(), status.message()), (Code::Aborted, "table \"t\" was changed"));
        assert_eq!(status.metadata().get(SQLSTATE).unwrap(), "40001");
    }
}
