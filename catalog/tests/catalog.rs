//! The catalog over the real engine, on a disk in memory.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use silt_catalog::{
    CATALOG_TREE, Catalog, ColumnDef, Error, ErrorKind, KeyColumn, ROWID_COLUMN, Role, SqlType,
    TableDef,
};
use silt_storage::vfs::{CrashMode, Env, OsClock, OsRandom, StrictVfs};
use silt_storage::{Engine, Options, TreeId, WriteBatch};

fn open(disk: &StrictVfs) -> Catalog {
    let env = Env {
        vfs: Arc::new(disk.clone()),
        clock: Arc::new(OsClock::new()),
        random: Arc::new(OsRandom::new()),
    };
    let options = Options { background: false, ..Options::default() };
    Catalog::open(Engine::open(env, Path::new("/db"), options).unwrap()).unwrap()
}

fn column(id: u32, name: &str, sql_type: &str) -> ColumnDef {
    let sql_type = sql_type.parse().unwrap();
    ColumnDef { id, name: name.to_owned(), sql_type, not_null: false, default: None }
}

fn table(name: &str) -> TableDef {
    let mut columns = vec![
        column(1, "note", "VARCHAR(20)"),
        column(2, "seq", "INTEGER"),
        column(3, "agent", "TEXT"),
        column(4, "shape", "STRUCT(\"a b\" DECIMAL(9,2), c TEXT[])"),
    ];
    columns[0].default = Some("'it''s'".to_owned());
    columns[1].not_null = true;
    columns[2].not_null = true;
    TableDef {
        id: 0,
        namespace: "main".to_owned(),
        name: name.to_owned(),
        tree: TreeId(0),
        schema_version: 1,
        columns,
        primary_key: vec![
            KeyColumn { id: 3, descending: false },
            KeyColumn { id: 2, descending: true },
        ],
    }
}

fn create(catalog: &Catalog, mut table: TableDef) -> Result<Arc<TableDef>, Error> {
    let engine = catalog.engine();
    table.tree = engine.create_tree(table.tree_schema())?;
    catalog.change(|change| change.create_table(table), |batch| commit(engine, batch))
}

fn commit(engine: &Engine, batch: WriteBatch) -> Result<u64, Error> {
    Ok(engine.commit(batch)?)
}

fn drop_table(catalog: &Catalog, name: &str) -> Result<Arc<TableDef>, Error> {
    catalog
        .change(|change| change.drop_table("main", name), |batch| commit(catalog.engine(), batch))
}

#[test]
fn definitions_survive_a_power_cut() {
    let disk = StrictVfs::new();
    let catalog = open(&disk);
    let made = create(&catalog, table("t")).unwrap();
    catalog
        .change(|change| change.create_namespace("kg"), |batch| commit(catalog.engine(), batch))
        .unwrap();
    let other = TableDef { namespace: "kg".to_owned(), ..table("t") };
    let other = create(&catalog, other).unwrap();
    for mode in CrashMode::ALL {
        let again = open(&disk.crash_image(7, mode));
        let names = again.current();
        assert_eq!(names.find("main", "t"), Some(&made));
        assert_eq!(names.find("kg", "t"), Some(&other));
        assert_eq!(names.namespaces().collect::<Vec<_>>(), ["kg", "main"]);
        let tree = again.engine().tree(made.tree).unwrap();
        assert_eq!(*tree.schema(), made.tree_schema());
    }
}

#[test]
fn numbers_of_dropped_tables_are_not_given_again() {
    let disk = StrictVfs::new();
    let catalog = open(&disk);
    let first = create(&catalog, table("t")).unwrap();
    drop_table(&catalog, "t").unwrap();
    drop(catalog);
    let catalog = open(&disk);
    let second = create(&catalog, table("t")).unwrap();
    assert!(second.id > first.id && second.tree > first.tree);
}

#[test]
fn a_change_that_fails_leaves_names_and_rows_as_they_were() {
    let disk = StrictVfs::new();
    let catalog = open(&disk);
    create(&catalog, table("t")).unwrap();
    let before = catalog.current();
    let error = create(&catalog, table("t")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    let failed = catalog.change(
        |change| change.drop_table("main", "t"),
        |_| Err::<u64, _>(Error::invalid("not now")),
    );
    assert_eq!(failed.unwrap_err().to_string(), "not now");
    assert!(Arc::ptr_eq(&before, &catalog.current()));
    drop(catalog);
    assert!(open(&disk).current().find("main", "t").is_some());
}

#[test]
fn trees_that_no_table_names_are_swept_on_opening() {
    let disk = StrictVfs::new();
    let catalog = open(&disk);
    let kept = create(&catalog, table("t")).unwrap().tree;
    // A CREATE TABLE that died between the tree and its row.
    let lost = catalog.engine().create_tree(table("u").tree_schema()).unwrap();
    drop(catalog);
    let trees = open(&disk).engine().trees();
    assert_eq!(trees, [CATALOG_TREE, kept]);
    assert!(!trees.contains(&lost));
}

#[test]
fn a_reader_keeps_the_table_that_is_dropped_under_it() {
    let disk = StrictVfs::new();
    let catalog = open(&disk);
    let made = create(&catalog, table("t")).unwrap();
    let (names, snapshot) = catalog.read();
    drop_table(&catalog, "t").unwrap();
    assert!(catalog.current().find("main", "t").is_none());
    let tree = names.table("main", "t").unwrap().tree;
    assert_eq!(tree, made.tree);
    let tree = catalog.engine().tree(tree).unwrap();
    assert_eq!(tree.statistics(&snapshot).rows, 0);
}

#[test]
fn a_write_under_an_old_catalog_conflicts() {
    let disk = StrictVfs::new();
    let catalog = open(&disk);
    let made = create(&catalog, table("t")).unwrap();
    let (names, snapshot) = catalog.read_for_write();
    drop_table(&catalog, "t").unwrap();
    let mut batch = WriteBatch::new();
    batch.set_base(snapshot.seq());
    batch.set_catalog_seq(names.seq());
    batch.delete(made.tree, b"any key");
    assert_eq!(catalog.engine().commit(batch).unwrap_err().kind(), ErrorKind::Conflict);
}

#[test]
fn key_columns_lie_first_in_the_tree() {
    let table = table("t");
    assert_eq!(table.key_indices(), [2, 1]);
    assert_eq!(table.tree_order(), [Some(2), Some(1), Some(0), Some(3)]);
    assert_eq!(table.tree_positions(), [2, 1, 0, 3]);
    let tree = table.tree_schema();
    assert_eq!(tree.columns.iter().map(|column| column.id).collect::<Vec<_>>(), [3, 2, 1, 4]);
    assert_eq!(tree.key.iter().map(|key| key.descending).collect::<Vec<_>>(), [false, true]);
    let keyless = TableDef { primary_key: vec![], ..table };
    assert_eq!(keyless.tree_order(), [None, Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(keyless.tree_positions(), [1, 2, 3, 4]);
    assert_eq!(keyless.tree_schema().columns[0].id, ROWID_COLUMN);
    assert_eq!(keyless.tree_schema().columns[0].data_type, SqlType::BigInt.arrow());
}

#[test]
fn unknown_names_come_with_the_nearest_one() {
    let disk = StrictVfs::new();
    let catalog = open(&disk);
    create(&catalog, table("events")).unwrap();
    let names = catalog.current();
    let error = names.table("main", "evnets").unwrap_err();
    assert_eq!(
        (error.kind(), error.hint()),
        (ErrorKind::NotFound, Some("did you mean \"events\"?"))
    );
    let error = names.table("mian", "events").unwrap_err();
    assert_eq!(error.to_string(), "schema \"mian\" does not exist");
    assert_eq!(error.hint(), Some("did you mean \"main\"?"));
    let error = names.table("main", "events").unwrap().column_index("agnet").unwrap_err();
    assert_eq!(error.hint(), Some("did you mean \"agent\"?"));
}

fn on_users<T>(
    catalog: &Catalog,
    plan: impl FnOnce(&mut silt_catalog::CatalogChange<'_>) -> Result<T, Error>,
) -> Result<T, Error> {
    catalog.change(plan, |batch| commit(catalog.engine(), batch))
}

#[test]
fn users_are_there_after_reopening_and_a_change_shows_in_their_version() {
    let disk = StrictVfs::new();
    let catalog = open(&disk);
    on_users(&catalog, |change| change.create_user("root", Role::Admin, "v1")).unwrap();
    on_users(&catalog, |change| change.create_user("ann", Role::Reader, "v2")).unwrap();
    on_users(&catalog, |change| change.create_user("bob", Role::Writer, "v3")).unwrap();
    on_users(&catalog, |change| change.alter_user("ann", Some(Role::Writer), None)).unwrap();
    on_users(&catalog, |change| change.alter_user("ann", None, Some("v4"))).unwrap();
    on_users(&catalog, |change| change.drop_user("bob")).unwrap();
    let before: Vec<_> = catalog.current().users().cloned().collect();
    catalog.engine().close().unwrap();
    drop(catalog);
    let catalog = open(&disk);
    let users: Vec<_> = catalog.current().users().cloned().collect();
    assert_eq!(users, before);
    let shown: Vec<_> = users
        .iter()
        .map(|user| (user.name.as_str(), user.role, user.verifier.as_str(), user.version))
        .collect();
    assert_eq!(shown, [("ann", Role::Writer, "v4", 3), ("root", Role::Admin, "v1", 1)]);
    assert!(!format!("{users:?}").contains("v4"), "a verifier is never shown");
    // A user of the same name is another one.
    on_users(&catalog, |change| change.create_user("bob", Role::Reader, "v5")).unwrap();
    let bob = catalog.current().find_user("bob").unwrap().id;
    assert!(users.iter().all(|user| user.id < bob));
}

#[test]
fn somebody_can_always_administer_users() {
    let catalog = open(&StrictVfs::new());
    let refused = |result: Result<(), Error>| result.unwrap_err().to_string();
    let first = on_users(&catalog, |change| change.create_user("ann", Role::Writer, "v"));
    assert_eq!(refused(first), "the first user must be an admin");
    on_users(&catalog, |change| change.create_user("root", Role::Admin, "v")).unwrap();
    on_users(&catalog, |change| change.create_user("ann", Role::Writer, "v")).unwrap();
    let last = "user \"root\" is the last admin";
    assert_eq!(refused(on_users(&catalog, |change| change.drop_user("root"))), last);
    let demoted = on_users(&catalog, |change| change.alter_user("root", Some(Role::Reader), None));
    assert_eq!(refused(demoted), last);
    on_users(&catalog, |change| change.alter_user("ann", Some(Role::Admin), None)).unwrap();
    on_users(&catalog, |change| change.drop_user("root")).unwrap();
    on_users(&catalog, |change| change.drop_user("ann")).unwrap();
    assert!(!catalog.current().has_users());
}

#[test]
fn names_that_no_login_could_carry_are_refused() {
    let catalog = open(&StrictVfs::new());
    for name in ["", "a:b", "a\nb", &"x".repeat(129)] {
        let made = on_users(&catalog, |change| change.create_user(name, Role::Admin, "v"));
        assert_eq!(made.unwrap_err().kind(), ErrorKind::Invalid, "{name:?}");
    }
    on_users(&catalog, |change| change.create_user("Zoë O'Neil", Role::Admin, "v")).unwrap();
    let again = on_users(&catalog, |change| change.create_user("Zoë O'Neil", Role::Admin, "v"));
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AlreadyExists);
}
