//! The log-structured merge engine.

mod batch;
mod error;
mod key;
mod options;
pub mod vfs;

pub use batch::WriteBatch;
pub use error::{Error, ErrorKind, Result};
pub use key::{OpKind, SEQ_MAX, SeqNo, TreeId};
pub use options::{Durability, Options};
