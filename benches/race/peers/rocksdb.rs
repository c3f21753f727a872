//! RocksDB: a log-structured merge tree. Built in by the feature `rocksdb`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::rocksdb::{
    BlockBasedOptions, BoundColumnFamily, Cache, ColumnFamilyDescriptor, DBCompressionType,
    DBWithThreadMode, MultiThreaded, Options, ReadOptions, WriteBatch, WriteOptions,
};

use super::About;
use super::keyvalue::{Pair, Reading, Store, Take};
use crate::tables::Result;

/// As Silt's engine has by default.
const CACHE_BYTES: usize = 512 << 20;
/// Bits a key in Bloom filters.
const FILTER_BITS: f64 = 10.0;
/// Rows of a batch of a load.
const LOAD_ROWS: usize = 10_000;

type Database = DBWithThreadMode<MultiThreaded>;

#[derive(Clone)]
pub(super) struct RocksDb {
    database: Arc<Database>,
    /// Of every table.
    options: Options,
}

impl RocksDb {
    fn table(&self, name: &str) -> Result<Arc<BoundColumnFamily<'_>>> {
        Ok(self.database.cf_handle(name).ok_or_else(|| format!("there is no table {name}"))?)
    }

    fn commit(&self, batch: WriteBatch) -> Result<()> {
        let mut options = WriteOptions::new();
        options.set_sync(true);
        Ok(self.database.write_opt(batch, &options)?)
    }
}

/// The library's version, which it writes into its file of options.
fn version(folder: &Path) -> Option<String> {
    let files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let is_options = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("OPTIONS-"))
    };
    let options = std::fs::read_to_string(files.into_iter().find(is_options)?).ok()?;
    let line = options.lines().find_map(|line| line.trim().strip_prefix("rocksdb_version="))?;
    Some(line.to_owned())
}

impl Store for RocksDb {
    fn about(&self) -> About {
        About {
            version: version(self.database.path()).unwrap_or_else(|| "?".to_owned()),
            enforces: "nothing: all writes are blind",
            syncs: "every commit, as a batch with sync; those of several threads together",
        }
    }

    fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("race.rocksdb");
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
        blocks.set_bloom_filter(FILTER_BITS, false);
        let mut options = Options::default();
        options.create_if_missing(true);
        options.increase_parallelism(2);
        options.set_compression_type(DBCompressionType::Lz4);
        options.set_block_based_table_factory(&blocks);
        // There is none to list before the first opening.
        let tables = Database::list_cf(&options, &path).unwrap_or_else(|_| vec!["default".into()]);
        let tables = tables.iter().map(|name| ColumnFamilyDescriptor::new(name, options.clone()));
        let database = Arc::new(Database::open_cf_descriptors(&options, path, tables)?);
        Ok(Self { database, options })
    }

    fn create(&self, table: &str) -> Result<()> {
        Ok(self.database.create_cf(table, &self.options)?)
    }

    fn load(&self, table: &str, pairs: &mut dyn Iterator<Item = Result<Pair>>) -> Result<u64> {
        let table = self.table(table)?;
        let (mut batch, mut rows) = (WriteBatch::default(), 0);
        for pair in pairs {
            let (key, value) = pair?;
            batch.put_cf(&table, key, value);
            rows += 1;
            if batch.len() == LOAD_ROWS {
                self.database.write(std::mem::take(&mut batch))?;
            }
        }
        self.commit(batch)?;
        // What an empty last batch would leave unsynced.
        self.database.flush_wal(true)?;
        Ok(rows)
    }

    fn write(&self, table: &str, pairs: &[Pair]) -> Result<()> {
        let table = self.table(table)?;
        let mut batch = WriteBatch::default();
        for (key, value) in pairs {
            batch.put_cf(&table, key, value);
        }
        self.commit(batch)
    }

    fn remove(&self, table: &str, keys: &[Vec<u8>]) -> Result<()> {
        let table = self.table(table)?;
        let mut batch = WriteBatch::default();
        for key in keys {
            batch.delete_cf(&table, key);
        }
        self.commit(batch)
    }

    fn read(&self, table: &str, work: &mut dyn FnMut(&dyn Reading) -> Result<()>) -> Result<()> {
        work(&Opened { database: &self.database, table: self.table(table)? })
    }

    fn count(&self, table: &str) -> Result<u64> {
        let mut rows = 0;
        self.read(table, &mut |reading| {
            reading.scan(&[], &[0xff; 64], false, &mut |_, _| {
                rows += 1;
                true
            })
        })?;
        Ok(rows)
    }
}

struct Opened<'a> {
    database: &'a Database,
    table: Arc<BoundColumnFamily<'a>>,
}

impl Reading for Opened<'_> {
    fn get(&self, key: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let found = self.database.get_pinned_cf(&self.table, key)?;
        if let Some(value) = &found {
            take(value);
        }
        Ok(found.is_some())
    }

    fn scan(&self, from: &[u8], to: &[u8], backwards: bool, take: Take<'_>) -> Result<()> {
        let mut options = ReadOptions::default();
        options.set_iterate_lower_bound(from);
        options.set_iterate_upper_bound(to);
        let mut rows = self.database.raw_iterator_cf_opt(&self.table, options);
        if backwards {
            rows.seek_to_last()
        } else {
            rows.seek_to_first()
        }
        while let Some((key, value)) = rows.item() {
            if !take(key, value) {
                break;
            }
            if backwards { rows.prev() } else { rows.next() }
        }
        Ok(rows.status()?)
    }
}
