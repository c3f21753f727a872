//! The one place where files are opened: what users hand in is no part of a database, so the
//! engine's `Vfs` has no say in it.
#![expect(
    clippy::disallowed_methods,
    reason = "files to ingest, and the list of refused lines, are the user's and not the engine's"
)]

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::reader::Reject;

/// Opens `path`; the length is known of regular files only.
pub(crate) fn open(path: &Path, name: &Arc<str>) -> Result<(File, Option<u64>)> {
    let file = File::open(path).map_err(|error| Error::io(name, error))?;
    let metadata = file.metadata().map_err(|error| Error::io(name, error))?;
    if metadata.is_dir() {
        return Err(Error::invalid("this is a folder, not a file").in_file(name));
    }
    Ok((file, metadata.is_file().then_some(metadata.len())))
}

/// A CSV file of refused lines with the columns `file,line,reason,text`, which `silt ingest` can
/// read again.
#[derive(Debug)]
pub struct RejectsFile {
    file: BufWriter<File>,
    name: Arc<str>,
}

impl RejectsFile {
    /// Creates or empties `path`.
    ///
    /// # Errors
    /// `Io` or `NotFound` with the file's name.
    pub fn create(path: &Path) -> Result<Self> {
        let name: Arc<str> = path.display().to_string().into();
        let file = File::create(path).map_err(|error| Error::io(&name, error))?;
        let mut this = Self { file: BufWriter::new(file), name };
        writeln!(this.file, "file,line,reason,text")
            .map_err(|error| Error::io(&this.name, error))?;
        Ok(this)
    }

    /// Writes one refused line.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn write(&mut self, reject: &Reject<'_>) -> io::Result<()> {
        quoted(&mut self.file, reject.file)?;
        write!(self.file, ",{},", reject.line.map(|line| line.to_string()).unwrap_or_default())?;
        quoted(&mut self.file, reject.reason)?;
        self.file.write_all(b",")?;
        quoted(&mut self.file, &String::from_utf8_lossy(reject.text))?;
        self.file.write_all(b"\n")
    }

    /// Writes out what is buffered.
    ///
    /// # Errors
    /// `Io` with the file's name.
    pub fn finish(mut self) -> Result<()> {
        self.file.flush().map_err(|error| Error::io(&self.name, error))
    }
}

fn quoted(out: &mut impl Write, text: &str) -> io::Result<()> {
    out.write_all(b"\"")?;
    out.write_all(text.replace('"', "\"\"").as_bytes())?;
    out.write_all(b"\"")
}
