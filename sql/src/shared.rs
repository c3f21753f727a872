//! [`Shared`]: what all sessions of one open database have in common.

use std::path::Path;
use std::sync::Arc;

use silt_storage::vfs::Env;

use crate::{Result, SqlOptions};

/// One open database: engine, catalog, threads and memory of its statements.
#[derive(Debug)]
pub struct Shared {
    options: SqlOptions,
}

impl Shared {
    /// Opens the database in `dir`, or makes one if the options allow it.
    ///
    /// # Errors
    /// `Locked` if another process has it open, `NotFound` if there is none and none may be made,
    /// `Corrupt` and `Io` from the engine.
    pub fn open(
        env: Env,
        dir: &Path,
        storage: silt_storage::Options,
        options: SqlOptions,
    ) -> Result<Arc<Self>> {
        let _ = (env, dir, storage);
        Ok(Arc::new(Self { options }))
    }

    /// A database that is gone when it is closed.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn in_memory(storage: silt_storage::Options, options: SqlOptions) -> Result<Arc<Self>> {
        let _ = storage;
        Ok(Arc::new(Self { options }))
    }

    /// The options it was opened with.
    pub fn options(&self) -> &SqlOptions {
        &self.options
    }

    /// Writes out what is in memory and closes the files. Sessions that live on fail with
    /// `Closed`.
    ///
    /// # Errors
    /// `Io` if the last sync fails.
    pub fn close(&self) -> Result<()> {
        todo!("engine")
    }
}
