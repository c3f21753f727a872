//! CREATE and DROP of tables and schemas, CREATE TABLE AS, TRUNCATE.
//!
//! A statement is read into a [`Ddl`] where it is planned, and run by [`Ddl::apply`]. What its
//! tree says and we do not do is refused by name: DataFusion's own planner would drop some of it.

mod create;

use std::sync::Arc;

use datafusion::execution::SendableRecordBatchStream;
use datafusion::sql::sqlparser::ast::{
    ObjectName, ObjectType, SchemaName, Statement, Truncate, TruncateIdentityOption,
};
use silt_catalog::{CatalogChange, CatalogSnapshot, MAIN_NAMESPACE, TableDef};
use silt_storage::{SeqNo, TreeId, WriteBatch};

pub(crate) use create::{plan_create, read_create, table_of};

use crate::dml::mutation::{Gate, OnConflict};
use crate::dml::{fold, table_reference};
use crate::interrupt::{Reading, Run};
use crate::planner::Binding;
use crate::shared::Shared;
use crate::{Error, Result, StatementResult};

/// A change of the catalog, ready to be made.
pub(crate) enum Ddl {
    CreateTable {
        /// Without id and tree.
        table: TableDef,
        if_not_exists: bool,
    },
    CreateTableAs {
        /// Without id and tree.
        table: TableDef,
        if_not_exists: bool,
        source: SendableRecordBatchStream,
    },
    CreateSchema {
        name: String,
        if_not_exists: bool,
    },
    DropTables {
        /// Namespaces and names.
        tables: Vec<(String, String)>,
        if_exists: bool,
    },
    DropSchemas {
        names: Vec<String>,
        if_exists: bool,
        cascade: bool,
    },
    Truncate {
        /// Namespaces and names.
        tables: Vec<(String, String)>,
        if_exists: bool,
    },
}

/// Reads the statements that need no plan; none for others.
pub(crate) fn read(binding: &Binding, statement: &Statement) -> Result<Option<Ddl>> {
    Ok(Some(match statement {
        Statement::CreateSchema {
            schema_name,
            if_not_exists,
            with,
            options,
            default_collate_spec,
            clone,
        } => {
            if with.is_some() || options.is_some() || clone.is_some() {
                return Err(Error::unsupported("an option of CREATE SCHEMA"));
            }
            if default_collate_spec.is_some() {
                return Err(Error::unsupported("COLLATE"));
            }
            let SchemaName::Simple(name) = schema_name else {
                return Err(Error::unsupported("AUTHORIZATION"));
            };
            Ddl::CreateSchema { name: schema(name)?, if_not_exists: *if_not_exists }
        }
        Statement::Drop {
            object_type,
            if_exists,
            names,
            cascade,
            restrict: _,
            purge,
            temporary,
            table,
        } => {
            if *purge || *temporary || table.is_some() {
                return Err(Error::unsupported("an option of DROP"));
            }
            match object_type {
                // Nothing depends on a table yet, so CASCADE and RESTRICT mean the same.
                ObjectType::Table => {
                    Ddl::DropTables { tables: tables(binding, names)?, if_exists: *if_exists }
                }
                ObjectType::Schema => Ddl::DropSchemas {
                    names: names.iter().map(schema).collect::<Result<_>>()?,
                    if_exists: *if_exists,
                    cascade: *cascade,
                },
                other => return Err(Error::unsupported(format!("DROP {other}"))),
            }
        }
        Statement::Truncate(Truncate {
            table_names,
            partitions,
            table: _,
            if_exists,
            identity,
            cascade: _,
            on_cluster,
        }) => {
            if partitions.is_some() || on_cluster.is_some() {
                return Err(Error::unsupported("an option of TRUNCATE"));
            }
            if matches!(identity, Some(TruncateIdentityOption::Continue)) {
                return Err(Error::unsupported("CONTINUE IDENTITY"));
            }
            let names: Vec<_> = table_names.iter().map(|target| target.name.clone()).collect();
            Ddl::Truncate { tables: tables(binding, &names)?, if_exists: *if_exists }
        }
        _ => return Ok(None),
    }))
}

fn schema(name: &ObjectName) -> Result<String> {
    match name.0.as_slice() {
        [part] if part.as_ident().is_some() => Ok(part.as_ident().map(fold).unwrap_or_default()),
        _ => Err(Error::invalid(format!("\"{name}\" is not the name of a schema"))),
    }
}

fn tables(binding: &Binding, names: &[ObjectName]) -> Result<Vec<(String, String)>> {
    names.iter().map(|name| binding.qualify(&table_reference(name)?)).collect()
}

impl Ddl {
    /// Makes the change.
    pub(crate) fn apply(
        self,
        shared: &Arc<Shared>,
        binding: &Binding,
        run: &Arc<Run>,
    ) -> Result<StatementResult> {
        let tag = self.tag();
        binding.check_writable(tag)?;
        let rows = match self {
            Self::CreateTable { table, if_not_exists } => {
                create_table(shared, binding, table, if_not_exists)?;
                0
            }
            Self::CreateTableAs { table, if_not_exists, source } => {
                let catalog = names(shared, binding);
                if catalog.find(&table.namespace, &table.name).is_some() {
                    if !if_not_exists {
                        return Err(exists(&table));
                    }
                    0
                } else {
                    let batches = shared.read(source, Reading::new(run))?;
                    let on_conflict = OnConflict::Error;
                    let run = Some(run);
                    let fill = Fill { shared, binding, on_conflict, run, replaces: false };
                    fill.create(table, batches.map(|batch| Ok(batch?.columns().to_vec())))?.rows
                }
            }
            Self::CreateSchema { name, if_not_exists } => {
                change(shared, binding, |change| {
                    if if_not_exists && change.snapshot().has_namespace(&name) {
                        return Ok(());
                    }
                    Ok(change.create_namespace(&name)?)
                })?;
                0
            }
            Self::DropTables { tables, if_exists } => {
                let trees = change(shared, binding, |change| {
                    let mut trees = Vec::new();
                    for (namespace, name) in &tables {
                        if if_exists && change.snapshot().find(namespace, name).is_none() {
                            continue;
                        }
                        let dropped = change.drop_table(namespace, name);
                        trees.push(dropped.map_err(|error| Error::from(error).about(name))?.tree);
                    }
                    Ok(trees)
                })?;
                forget(shared, binding, &trees);
                0
            }
            Self::DropSchemas { names, if_exists, cascade } => {
                drop_schemas(shared, binding, &names, if_exists, cascade)?;
                0
            }
            Self::Truncate { tables, if_exists } => {
                truncate(shared, binding, &tables, if_exists)?;
                0
            }
        };
        Ok(StatementResult::Count { tag, rows })
    }

    fn tag(&self) -> &'static str {
        match self {
            Self::CreateTable { .. } | Self::CreateTableAs { .. } => "CREATE TABLE",
            Self::CreateSchema { .. } => "CREATE SCHEMA",
            Self::DropTables { .. } => "DROP TABLE",
            Self::DropSchemas { .. } => "DROP SCHEMA",
            Self::Truncate { .. } => "TRUNCATE",
        }
    }
}

/// The catalog that a change would meet.
fn names(shared: &Shared, binding: &Binding) -> Arc<CatalogSnapshot> {
    match &binding.transaction {
        None => shared.catalog().current(),
        Some(_) => Arc::clone(&binding.names),
    }
}

/// Changes the catalog: now, or within the statement's transaction.
pub(crate) fn change<T>(
    shared: &Shared,
    binding: &Binding,
    plan: impl FnOnce(&mut CatalogChange<'_>) -> Result<T>,
) -> Result<T> {
    change_with(shared, binding, plan, |batch| Ok(binding.commit(batch)?))
}

/// As [`change`]; `write` makes one commit of the rows that describe it and others.
fn change_with<T>(
    shared: &Shared,
    binding: &Binding,
    plan: impl FnOnce(&mut CatalogChange<'_>) -> Result<T>,
    write: impl FnOnce(WriteBatch) -> Result<Option<SeqNo>>,
) -> Result<T> {
    match &binding.transaction {
        None => shared.catalog().change(plan, |batch| {
            write(batch)?.ok_or_else(|| Error::internal("a commit has no number"))
        }),
        Some(transaction) => transaction.change_catalog(plan, |batch| write(batch).map(drop)),
    }
}

/// Forgets the row numbers of tables that are gone; a transaction's are when it commits.
fn forget(shared: &Shared, binding: &Binding, trees: &[TreeId]) {
    if binding.transaction.is_none() {
        trees.iter().for_each(|tree| shared.row_ids().forget(*tree));
    }
}

pub(crate) fn exists(table: &TableDef) -> Error {
    Error::new(
        crate::ErrorKind::AlreadyExists,
        format!("table \"{}\" already exists", table.display_name()),
    )
    .about(&table.name)
}

/// Makes an empty tree, and retires it again if what is done with it fails.
fn with_tree<T>(
    shared: &Shared,
    binding: &Binding,
    table: &mut TableDef,
    work: impl FnOnce(&mut TableDef) -> Result<T>,
) -> Result<T> {
    table.validate()?;
    table.tree = create_tree(binding, table)?;
    let done = work(table);
    if done.is_err() {
        discard(shared, table.tree);
    }
    done
}

/// A new tree for a table's rows; it goes if the statement's transaction does.
fn create_tree(binding: &Binding, table: &TableDef) -> Result<TreeId> {
    let mut schema = table.tree_schema();
    schema.version = 1;
    let tree = binding.engine.create_tree(schema)?;
    if let Some(transaction) = &binding.transaction {
        transaction.adopt(tree);
    }
    Ok(tree)
}

/// A tree that no table names. What cannot be retired now is swept when the database is opened.
fn discard(shared: &Shared, tree: TreeId) {
    drop(shared.engine().retire_tree(tree));
    shared.row_ids().forget(tree);
}

pub(crate) fn create_table(
    shared: &Shared,
    binding: &Binding,
    mut table: TableDef,
    if_not_exists: bool,
) -> Result<()> {
    if names(shared, binding).find(&table.namespace, &table.name).is_some() {
        return if if_not_exists { Ok(()) } else { Err(exists(&table)) };
    }
    let made = with_tree(shared, binding, &mut table, |table| {
        change(shared, binding, |change| Ok(change.create_table(table.clone())?))?;
        Ok(())
    });
    match made {
        // Another session made it just now.
        Err(error) if if_not_exists && error.kind() == crate::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// A new table and its rows in one commit.
pub(crate) struct Fill<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) binding: &'a Binding,
    pub(crate) on_conflict: OnConflict,
    /// A load that may be interrupted.
    pub(crate) run: Option<&'a Arc<Run>>,
    /// Whether a table of that name goes when the new one comes.
    pub(crate) replaces: bool,
}

impl Fill<'_> {
    /// Makes the table with the rows of `batches`, each all columns in the table's order.
    pub(crate) fn create(
        self,
        mut table: TableDef,
        batches: impl Iterator<Item = Result<Vec<datafusion::arrow::array::ArrayRef>>>,
    ) -> Result<crate::dml::mutation::Changed> {
        let Self { shared, binding, on_conflict, run, replaces } = self;
        with_tree(shared, binding, &mut table, |table| {
            let gate = Gate::new(shared, binding, table)?;
            let gate = match run {
                Some(run) => gate.for_load(run),
                None => gate,
            };
            let mut insertion = gate.insert_into_new(on_conflict);
            for columns in batches {
                insertion.push(&columns?)?;
            }
            let mut changed = Default::default();
            let old = change_with(
                shared,
                binding,
                |change| {
                    let (namespace, name) = (&table.namespace, &table.name);
                    let old = match replaces && change.snapshot().find(namespace, name).is_some() {
                        true => Some(change.drop_table(namespace, name)?.tree),
                        false => None,
                    };
                    change.create_table(table.clone())?;
                    Ok(old)
                },
                |batch| {
                    let (rows, seq) = insertion.finish_with(batch)?;
                    changed = rows;
                    Ok(seq)
                },
            )?;
            forget(shared, binding, old.as_slice());
            Ok(changed)
        })
    }
}

fn drop_schemas(
    shared: &Shared,
    binding: &Binding,
    names: &[String],
    if_exists: bool,
    cascade: bool,
) -> Result<()> {
    if let Some(name) = names.iter().find(|name| *name == MAIN_NAMESPACE) {
        return Err(Error::invalid(format!("schema \"{name}\" cannot be dropped")));
    }
    let trees = change(shared, binding, |change| {
        let mut trees = Vec::new();
        for name in names {
            if if_exists && !change.snapshot().has_namespace(name) {
                continue;
            }
            let tables: Vec<_> =
                change.snapshot().tables_in(name).map(|table| table.name.clone()).collect();
            for table in tables.iter().filter(|_| cascade) {
                trees.push(change.drop_table(name, table)?.tree);
            }
            change.drop_namespace(name).map_err(|error| Error::from(error).about(name))?;
        }
        Ok(trees)
    })?;
    forget(shared, binding, &trees);
    Ok(())
}

/// All tables in one commit, each with a new tree.
fn truncate(
    shared: &Shared,
    binding: &Binding,
    tables: &[(String, String)],
    if_exists: bool,
) -> Result<()> {
    let (mut old, mut fresh) = (Vec::new(), Vec::new());
    let done = change(shared, binding, |change| {
        for (namespace, name) in tables {
            if if_exists && change.snapshot().find(namespace, name).is_none() {
                continue;
            }
            let table = change.snapshot().table(namespace, name);
            let table = table.map_err(|error| Error::from(error).about(name))?;
            old.push(table.tree);
            let tree = create_tree(binding, table)?;
            fresh.push(tree);
            change.replace_tree(namespace, name, tree)?;
        }
        Ok(())
    });
    match &done {
        Ok(()) => forget(shared, binding, &old),
        Err(_) => fresh.into_iter().for_each(|tree| discard(shared, tree)),
    }
    done
}
