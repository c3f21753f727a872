//! The log-structured merge engine.

mod batch;
mod error;
mod key;
mod options;
pub mod vfs;
#[allow(dead_code, unused_imports, reason = "commit and recovery are being built upon it")]
mod wal;

pub use batch::WriteBatch;
pub use error::{Error, ErrorKind, Result};
pub use key::{OpKind, SEQ_MAX, SeqNo, TreeId};
pub use options::{Durability, Options};
