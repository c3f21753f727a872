//! All versions of one tree's schema, with the codecs of each.
use std::sync::Arc;

use crate::{KeyCodec, Result, RowBuffer, RowCodec, TreeSchema};

/// Where a reader of rows finds the schema that a row was written by.
pub trait SchemaSource {
    /// The schema of this version.
    fn schema(&self, version: u32) -> Option<&Arc<TreeSchema>>;
}

/// All schema versions of one tree, ascending; the last is current. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Schemas {}

impl Schemas {
    /// The versions of a tree that has this one so far.
    ///
    /// # Errors
    /// `Invalid` if the schema is not sound.
    pub fn new(_schema: Arc<TreeSchema>) -> Result<Self> {
        todo!()
    }

    /// The same with a newer version, which becomes the current one.
    ///
    /// # Errors
    /// `Invalid` if its version is not above the current one, its key differs, or a column's type changed.
    pub fn with(&self, _schema: Arc<TreeSchema>) -> Result<Self> {
        todo!()
    }

    /// The current schema.
    pub fn current(&self) -> &Arc<TreeSchema> {
        todo!()
    }

    /// Every version, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<TreeSchema>> {
        std::iter::empty()
    }

    /// The key codec, the same for every version.
    pub fn key_codec(&self) -> &Arc<KeyCodec> {
        todo!()
    }

    /// The current row codec.
    pub fn row_codec(&self) -> &Arc<RowCodec> {
        todo!()
    }

    /// The row codec of a version.
    pub fn row_codec_of(&self, _version: u32) -> Option<&Arc<RowCodec>> {
        todo!()
    }

    /// Pushes the columns at `projection` (of the current schema) of one entry: key columns from
    /// its key, others from its row, matched by id if the row is older, else their frozen value.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no key or row has.
    pub fn read(
        &self,
        _key: &[u8],
        _row: &[u8],
        _projection: &[usize],
        _out: &mut RowBuffer,
    ) -> Result<()> {
        todo!()
    }
}

impl SchemaSource for Schemas {
    fn schema(&self, _version: u32) -> Option<&Arc<TreeSchema>> {
        todo!()
    }
}
