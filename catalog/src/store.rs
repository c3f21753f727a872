//! The catalog's own tree: its schema, and its rows to names and back.
//!
//! One row per object, keyed by `(kind, id, part)`:
//!
//! ```text
//! kind           id         part      what the other columns say
//! 0 counter      0          0         number: the next id of a namespace, table or user
//! 1 namespace    its id     0         name
//! 2 table        its id     0         name, namespace, number: its tree, version: its schema's
//! 3 column       table's    position  name, type, number: its id, not_null, default,
//!                                     key: its position in the primary key, descending
//! 4 user         its id     0         name, type: its role, default: its password's verifier,
//!                                     version: how often it was altered, and one
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{UInt8Type, UInt32Type};
use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use silt_codec::{KeyCodec, KeyOrder, RowCodec, TreeColumn, TreeSchema, Value, ValueRef};
use silt_storage::{KeyRange, ScanRequest, Snapshot, Tree, TreeId, WriteBatch};

use crate::{
    CATALOG_TREE, CatalogSnapshot, ColumnDef, Error, KeyColumn, NamespaceId, Result, TableDef,
    TableId, UserDef, UserId,
};

/// What a row describes. Stored: the numbers never change.
#[derive(Clone, Copy)]
enum Kind {
    Counter = 0,
    Namespace = 1,
    Table = 2,
    Column = 3,
    User = 4,
}

/// Positions of the tree's columns, which are also their ids.
mod column {
    pub(super) const KIND: usize = 0;
    pub(super) const ID: usize = 1;
    pub(super) const PART: usize = 2;
    pub(super) const NAME: usize = 3;
    pub(super) const NAMESPACE: usize = 4;
    pub(super) const NUMBER: usize = 5;
    pub(super) const VERSION: usize = 6;
    pub(super) const TYPE: usize = 7;
    pub(super) const NOT_NULL: usize = 8;
    pub(super) const DEFAULT: usize = 9;
    pub(super) const KEY: usize = 10;
    pub(super) const DESCENDING: usize = 11;
    pub(super) const COUNT: usize = 12;
}

/// The schema of the catalog's tree.
pub(crate) fn tree_schema() -> TreeSchema {
    let types: [DataType; column::COUNT] = [
        DataType::UInt8,
        DataType::UInt32,
        DataType::UInt32,
        DataType::Utf8View,
        DataType::UInt32,
        DataType::UInt32,
        DataType::UInt32,
        DataType::Utf8View,
        DataType::Boolean,
        DataType::Utf8View,
        DataType::UInt32,
        DataType::Boolean,
    ];
    let columns = (0..).zip(types).map(|(id, data_type)| TreeColumn {
        id,
        data_type,
        nullable: id > 2,
        frozen: Value::Null,
    });
    TreeSchema { version: 1, columns: columns.collect(), key: vec![KeyOrder::default(); 3] }
}

/// Writes catalog rows into a batch.
#[derive(Debug)]
pub(crate) struct RowWriter {
    keys: Arc<KeyCodec>,
    rows: Arc<RowCodec>,
}

/// The columns behind the key, in their order.
type Cells<'a> = [ValueRef<'a>; column::COUNT - column::NAME];

const EMPTY: Cells<'static> = [ValueRef::Null; column::COUNT - column::NAME];

fn cell<'a>(cells: &mut Cells<'a>, index: usize, value: ValueRef<'a>) {
    cells[index - column::NAME] = value;
}

fn number(value: u32) -> ValueRef<'static> {
    ValueRef::UInt(value.into())
}

impl RowWriter {
    pub(crate) fn new(tree: &Tree) -> Self {
        Self { keys: tree.key_codec(), rows: tree.row_codec() }
    }

    pub(crate) fn put_counter(&self, batch: &mut WriteBatch, next_id: u32) -> Result<()> {
        let mut cells = EMPTY;
        cell(&mut cells, column::NUMBER, number(next_id));
        self.put(batch, Kind::Counter, 0, 0, &cells)
    }

    pub(crate) fn put_namespace(
        &self,
        batch: &mut WriteBatch,
        id: NamespaceId,
        name: &str,
    ) -> Result<()> {
        let mut cells = EMPTY;
        cell(&mut cells, column::NAME, ValueRef::Text(name));
        self.put(batch, Kind::Namespace, id, 0, &cells)
    }

    pub(crate) fn delete_namespace(&self, batch: &mut WriteBatch, id: NamespaceId) -> Result<()> {
        self.delete(batch, Kind::Namespace, id, 0)
    }

    /// The table's own row, without its columns'.
    pub(crate) fn put_table(
        &self,
        batch: &mut WriteBatch,
        namespace: NamespaceId,
        table: &TableDef,
    ) -> Result<()> {
        let mut cells = EMPTY;
        cell(&mut cells, column::NAME, ValueRef::Text(&table.name));
        cell(&mut cells, column::NAMESPACE, number(namespace));
        cell(&mut cells, column::NUMBER, number(table.tree.0));
        cell(&mut cells, column::VERSION, number(table.schema_version));
        self.put(batch, Kind::Table, table.id, 0, &cells)
    }

    pub(crate) fn put_columns(&self, batch: &mut WriteBatch, table: &TableDef) -> Result<()> {
        for (part, def) in (0..).zip(&table.columns) {
            let sql_type = def.sql_type.to_string();
            let mut cells = EMPTY;
            cell(&mut cells, column::NAME, ValueRef::Text(&def.name));
            cell(&mut cells, column::NUMBER, number(def.id));
            cell(&mut cells, column::TYPE, ValueRef::Text(&sql_type));
            cell(&mut cells, column::NOT_NULL, ValueRef::Boolean(def.not_null));
            if let Some(default) = &def.default {
                cell(&mut cells, column::DEFAULT, ValueRef::Text(default));
            }
            let key = (0..).zip(&table.primary_key).find(|(_, key)| key.id == def.id);
            if let Some((position, key)) = key {
                cell(&mut cells, column::KEY, number(position));
                cell(&mut cells, column::DESCENDING, ValueRef::Boolean(key.descending));
            }
            self.put(batch, Kind::Column, table.id, part, &cells)?;
        }
        Ok(())
    }

    pub(crate) fn delete_table(&self, batch: &mut WriteBatch, table: &TableDef) -> Result<()> {
        self.delete(batch, Kind::Table, table.id, 0)?;
        for (part, _) in (0..).zip(&table.columns) {
            self.delete(batch, Kind::Column, table.id, part)?;
        }
        Ok(())
    }

    pub(crate) fn put_user(&self, batch: &mut WriteBatch, user: &UserDef) -> Result<()> {
        let role = user.role.to_string();
        let mut cells = EMPTY;
        cell(&mut cells, column::NAME, ValueRef::Text(&user.name));
        cell(&mut cells, column::TYPE, ValueRef::Text(&role));
        cell(&mut cells, column::DEFAULT, ValueRef::Text(&user.verifier));
        cell(&mut cells, column::VERSION, number(user.version));
        self.put(batch, Kind::User, user.id, 0, &cells)
    }

    pub(crate) fn delete_user(&self, batch: &mut WriteBatch, id: UserId) -> Result<()> {
        self.delete(batch, Kind::User, id, 0)
    }

    fn key(&self, kind: Kind, id: u32, part: u32) -> Result<Vec<u8>> {
        let mut key = Vec::new();
        let kind = ValueRef::UInt(kind as u64);
        self.keys.encode_values(&[kind, number(id), number(part)], &mut key)?;
        Ok(key)
    }

    fn put(
        &self,
        batch: &mut WriteBatch,
        kind: Kind,
        id: u32,
        part: u32,
        cells: &Cells<'_>,
    ) -> Result<()> {
        let mut row = Vec::new();
        self.rows.encode_values(cells, &mut row)?;
        batch.put(CATALOG_TREE, &self.key(kind, id, part)?, &row);
        Ok(())
    }

    fn delete(&self, batch: &mut WriteBatch, kind: Kind, id: u32, part: u32) -> Result<()> {
        batch.delete(CATALOG_TREE, &self.key(kind, id, part)?);
        Ok(())
    }
}

/// Reads the whole catalog.
pub(crate) fn load(tree: &Tree, snapshot: &Snapshot) -> Result<CatalogSnapshot> {
    let mut loader = Loader::default();
    let request = ScanRequest::new(KeyRange::all(), (0..column::COUNT).collect());
    for batch in tree.scan(&request, snapshot)? {
        loader.add(&batch?)?;
    }
    loader.finish(snapshot)
}

/// A column, and its place in the key and whether it descends there.
type PlacedColumn = (ColumnDef, Option<(u32, bool)>);

/// Collects rows in any order; joins them at the end.
#[derive(Default)]
struct Loader {
    next_id: u32,
    namespaces: BTreeMap<NamespaceId, String>,
    tables: BTreeMap<TableId, (NamespaceId, TableDef)>,
    columns: BTreeMap<(TableId, u32), PlacedColumn>,
    users: BTreeMap<String, Arc<UserDef>>,
}

/// One row of a batch, by column.
struct Row<'a> {
    batch: &'a RecordBatch,
    index: usize,
}

impl Row<'_> {
    fn number(&self, column: usize) -> Option<u32> {
        let array = self.batch.column(column).as_primitive::<UInt32Type>();
        array.is_valid(self.index).then(|| array.value(self.index))
    }

    fn text(&self, column: usize) -> Option<String> {
        let array = self.batch.column(column).as_string_view();
        array.is_valid(self.index).then(|| array.value(self.index).to_owned())
    }

    fn flag(&self, column: usize) -> bool {
        let array = self.batch.column(column).as_boolean();
        array.is_valid(self.index) && array.value(self.index)
    }

    fn need<T>(&self, found: Option<T>, what: &str) -> Result<T> {
        found.ok_or_else(|| {
            let kind = self.batch.column(column::KIND).as_primitive::<UInt8Type>();
            let id = self.batch.column(column::ID).as_primitive::<UInt32Type>();
            Error::corrupt(format!(
                "catalog row of kind {} and id {} has no {what}",
                kind.value(self.index),
                id.value(self.index)
            ))
        })
    }
}

impl Loader {
    fn add(&mut self, batch: &RecordBatch) -> Result<()> {
        let kinds = batch.column(column::KIND).as_primitive::<UInt8Type>();
        for index in 0..batch.num_rows() {
            let row = Row { batch, index };
            let id = row.need(row.number(column::ID), "id")?;
            match kinds.value(index) {
                0 => self.next_id = row.need(row.number(column::NUMBER), "number")?,
                1 => {
                    self.namespaces.insert(id, row.need(row.text(column::NAME), "name")?);
                }
                2 => {
                    let namespace = row.need(row.number(column::NAMESPACE), "namespace")?;
                    let table = TableDef {
                        id,
                        namespace: String::new(),
                        name: row.need(row.text(column::NAME), "name")?,
                        tree: TreeId(row.need(row.number(column::NUMBER), "tree")?),
                        schema_version: row.need(row.number(column::VERSION), "version")?,
                        columns: Vec::new(),
                        primary_key: Vec::new(),
                    };
                    self.tables.insert(id, (namespace, table));
                }
                3 => {
                    let part = row.need(row.number(column::PART), "part")?;
                    let sql_type = row.need(row.text(column::TYPE), "type")?;
                    let def = ColumnDef {
                        id: row.need(row.number(column::NUMBER), "column id")?,
                        name: row.need(row.text(column::NAME), "name")?,
                        sql_type: sql_type.parse()?,
                        not_null: row.flag(column::NOT_NULL),
                        default: row.text(column::DEFAULT),
                    };
                    let key = row
                        .number(column::KEY)
                        .map(|position| (position, row.flag(column::DESCENDING)));
                    self.columns.insert((id, part), (def, key));
                }
                4 => {
                    let user = UserDef {
                        id,
                        name: row.need(row.text(column::NAME), "name")?,
                        role: row.need(row.text(column::TYPE), "role")?.parse()?,
                        verifier: row.need(row.text(column::DEFAULT), "verifier")?,
                        version: row.need(row.number(column::VERSION), "version")?,
                    };
                    let name = user.name.clone();
                    if self.users.insert(name, Arc::new(user)).is_some() {
                        return Err(Error::corrupt(format!("user {id} has another user's name")));
                    }
                }
                kind => {
                    return Err(Error::new(
                        crate::ErrorKind::Unsupported,
                        format!(
                            "the catalog holds an object of kind {kind}: a newer release wrote it"
                        ),
                    ));
                }
            }
        }
        Ok(())
    }

    fn finish(mut self, snapshot: &Snapshot) -> Result<CatalogSnapshot> {
        let mut keys: BTreeMap<TableId, BTreeMap<u32, KeyColumn>> = BTreeMap::new();
        for ((table_id, _), (def, key)) in self.columns {
            let (_, table) = self.tables.get_mut(&table_id).ok_or_else(|| {
                Error::corrupt(format!("column \"{}\" belongs to no table", def.name))
            })?;
            if let Some((position, descending)) = key {
                let key = KeyColumn { id: def.id, descending };
                keys.entry(table_id).or_default().insert(position, key);
            }
            table.columns.push(def);
        }
        let mut tables = BTreeMap::new();
        for (id, (namespace, mut table)) in self.tables {
            table.namespace = self.namespaces.get(&namespace).cloned().ok_or_else(|| {
                Error::corrupt(format!("table \"{}\" belongs to no schema", table.name))
            })?;
            table.primary_key = keys.remove(&id).unwrap_or_default().into_values().collect();
            table.validate().map_err(|error| Error::corrupt(error.to_string()))?;
            tables.insert((table.namespace.clone(), table.name.clone()), Arc::new(table));
        }
        Ok(CatalogSnapshot {
            seq: snapshot.seq(),
            version: snapshot.seq(),
            namespaces: self.namespaces.into_iter().map(|(id, name)| (name, id)).collect(),
            tables,
            users: self.users,
            next_id: self.next_id.max(1),
        })
    }
}
