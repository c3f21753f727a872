//! All versions of one tree's schema, with the codecs of each: what reading an entry takes.
//!
//! A row is read by the version that wrote it. How each of that version's columns meets the current
//! schema (matched by id, else the frozen value) is worked out once, when a version is added.

use std::sync::Arc;

use arrow_schema::{FieldRef, Fields, Schema, SchemaRef};

use crate::bytes::take_varint;
use crate::row_view::version_of_head;
use crate::{Error, KeyCodec, Result, RowBuffer, RowCodec, RowView, TreeSchema};

/// Where a reader of rows finds the schema that a row was written by.
pub trait SchemaSource {
    /// The schema of this version.
    fn schema(&self, version: u32) -> Option<&Arc<TreeSchema>>;
}

/// All schema versions of one tree, ascending; the last is current. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Schemas {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    key: Arc<KeyCodec>,
    /// Ascending by version; never empty.
    versions: Vec<SchemaVersion>,
    /// One a column of the current schema.
    fields: Vec<FieldRef>,
}

/// One version, seen from the current one.
#[derive(Clone, Debug)]
pub(crate) struct SchemaVersion {
    pub(crate) row: Arc<RowCodec>,
    /// One a column of the current schema.
    pub(crate) sources: Vec<ColumnSource>,
}

/// Where a column of the current schema is found in an entry of some version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColumnSource {
    /// The key column at this position.
    Key(usize),
    /// The value column at this position behind the key.
    Row(usize),
    /// Nowhere: the version did not know it.
    Frozen,
}

fn fields(schema: &TreeSchema) -> Vec<FieldRef> {
    let all: Vec<usize> = (0..schema.columns.len()).collect();
    schema.arrow_schema(&all).fields().iter().cloned().collect()
}

impl Schemas {
    /// The versions of a tree that has this one so far.
    ///
    /// # Errors
    /// `Invalid` if the schema is not sound, or its key's types cannot be keys.
    pub fn new(schema: Arc<TreeSchema>) -> Result<Self> {
        let key = Arc::new(KeyCodec::new(&schema)?);
        let row = Arc::new(RowCodec::new(schema.clone())?);
        let sources = sources(&schema, &schema);
        let fields = fields(&schema);
        let versions = vec![SchemaVersion { row, sources }];
        Ok(Self { inner: Arc::new(Inner { key, versions, fields }) })
    }

    /// The same with a newer version, which becomes the current one.
    ///
    /// # Errors
    /// `Invalid` if its version is not above the current one, its key differs, or a column's type
    /// changed: a column of another type is another column.
    pub fn with(&self, schema: Arc<TreeSchema>) -> Result<Self> {
        let current = self.current();
        if schema.version <= current.version {
            let (new, old) = (schema.version, current.version);
            return Err(Error::invalid(format!("schema version {new} after version {old}")));
        }
        let row = Arc::new(RowCodec::new(schema.clone())?);
        self.iter().try_for_each(|older| check_successor(older, &schema))?;
        let versions = self.inner.versions.iter().map(|version| &version.row).chain([&row]);
        let versions = versions
            .map(|row| SchemaVersion { row: row.clone(), sources: sources(row.schema(), &schema) });
        let versions = versions.collect();
        let (key, fields) = (self.inner.key.clone(), fields(&schema));
        Ok(Self { inner: Arc::new(Inner { key, versions, fields }) })
    }

    /// The current schema.
    pub fn current(&self) -> &Arc<TreeSchema> {
        self.row_codec().schema()
    }

    /// What [`TreeSchema::arrow_schema`] says of the current schema, quicker.
    pub fn arrow_schema(&self, projection: &[usize]) -> SchemaRef {
        let fields = projection.iter().map(|&index| Arc::clone(&self.inner.fields[index]));
        Arc::new(Schema::new(fields.collect::<Fields>()))
    }

    /// Every version, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<TreeSchema>> {
        self.inner.versions.iter().map(|version| version.row.schema())
    }

    /// The key codec, the same for every version.
    pub fn key_codec(&self) -> &Arc<KeyCodec> {
        &self.inner.key
    }

    /// The current row codec.
    pub fn row_codec(&self) -> &Arc<RowCodec> {
        &self.inner.versions[self.inner.versions.len() - 1].row
    }

    /// The row codec of a version.
    pub fn row_codec_of(&self, version: u32) -> Option<&Arc<RowCodec>> {
        self.version(version).map(|version| &version.row)
    }

    /// Pushes the columns at `projection` (of the current schema) of one entry: key columns from
    /// its key, others from its row, matched by id if the row is older, else their frozen value.
    ///
    /// # Errors
    /// `Corrupt` for bytes that no key or row has, or a version that this tree does not know.
    ///
    /// # Panics
    /// If a position in `projection` is not one of the schema.
    pub fn read(
        &self,
        key: &[u8],
        row: &[u8],
        projection: &[usize],
        out: &mut RowBuffer,
    ) -> Result<()> {
        let version = self.version_of(row)?;
        let view = RowView::new(&version.row, row)?;
        for &column in projection {
            match version.sources[column] {
                ColumnSource::Key(index) => self.inner.key.decode_column(key, index, out)?,
                ColumnSource::Row(index) => view.push_to(index, out)?,
                ColumnSource::Frozen => out.push(self.current().columns[column].frozen.as_ref()),
            }
        }
        Ok(())
    }

    /// The version that wrote these row bytes.
    #[inline]
    pub(crate) fn version_of(&self, row: &[u8]) -> Result<&SchemaVersion> {
        let number = version_of_head(take_varint(&mut &*row)?)?;
        self.version(number).ok_or_else(|| {
            let current = self.current().version;
            Error::corrupt(format!(
                "a row of schema version {number}; the current version is {current}"
            ))
        })
    }

    #[inline]
    fn version(&self, number: u32) -> Option<&SchemaVersion> {
        // Nearly every row is of the current version.
        let versions = &self.inner.versions;
        versions.iter().rev().find(|version| version.row.schema().version == number)
    }
}

impl SchemaSource for Schemas {
    fn schema(&self, version: u32) -> Option<&Arc<TreeSchema>> {
        self.row_codec_of(version).map(|row| row.schema())
    }
}

fn sources(version: &TreeSchema, current: &TreeSchema) -> Vec<ColumnSource> {
    let source = |(position, id)| match version.position(id) {
        _ if position < current.key_len() => ColumnSource::Key(position),
        Some(found) => ColumnSource::Row(found - version.key_len()),
        None => ColumnSource::Frozen,
    };
    current.columns.iter().map(|column| column.id).enumerate().map(source).collect()
}

fn check_successor(older: &TreeSchema, newer: &TreeSchema) -> Result<()> {
    let key = |schema: &TreeSchema| -> Vec<_> {
        schema
            .key_columns()
            .iter()
            .map(|column| (column.id, column.data_type.clone(), column.nullable))
            .collect()
    };
    if older.key != newer.key || key(older) != key(newer) {
        let (older, newer) = (older.version, newer.version);
        return Err(Error::invalid(format!(
            "schema version {newer} has another key than version {older}"
        )));
    }
    for column in &newer.columns {
        let Some(position) = older.position(column.id) else { continue };
        let before = &older.columns[position].data_type;
        if *before != column.data_type {
            let (id, after) = (column.id, &column.data_type);
            return Err(Error::invalid(format!(
                "column {id} of type {before} cannot become {after}"
            )));
        }
    }
    Ok(())
}
