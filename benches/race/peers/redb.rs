//! redb: a copy-on-write B+ tree; each commit is synced.

use std::path::Path;
use std::sync::Arc;

use ::redb::{Database, ReadOnlyTable, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use super::About;
use super::keyvalue::{Pair, Reading, Store, Take};
use crate::tables::Result;

/// As Silt's engine has by default.
const CACHE_BYTES: usize = 512 << 20;

const fn definition(table: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(table)
}

#[derive(Clone)]
pub(super) struct Redb(Arc<Database>);

impl Store for Redb {
    fn about(&self) -> About {
        About {
            version: "4".to_owned(),
            enforces: "the key (an insert gives back what was there; loads look at it)",
            syncs: "every commit; one writer at a time",
        }
    }

    fn open(folder: &Path) -> Result<Self> {
        let mut builder = Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        Ok(Self(Arc::new(builder.create(folder.join("race.redb"))?)))
    }

    fn create(&self, table: &str) -> Result<()> {
        let transaction = self.0.begin_write()?;
        transaction.open_table(definition(table))?;
        Ok(transaction.commit()?)
    }

    fn load(&self, table: &str, pairs: &mut dyn Iterator<Item = Result<Pair>>) -> Result<u64> {
        let transaction = self.0.begin_write()?;
        let mut rows = 0;
        {
            let mut table = transaction.open_table(definition(table))?;
            for pair in pairs {
                let (key, value) = pair?;
                if table.insert(&key[..], &value[..])?.is_some() {
                    return Err("a key came twice".into());
                }
                rows += 1;
            }
        }
        transaction.commit()?;
        Ok(rows)
    }

    fn write(&self, table: &str, pairs: &[Pair]) -> Result<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(definition(table))?;
            for (key, value) in pairs {
                table.insert(&key[..], &value[..])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn remove(&self, table: &str, keys: &[Vec<u8>]) -> Result<()> {
        let transaction = self.0.begin_write()?;
        {
            let mut table = transaction.open_table(definition(table))?;
            for key in keys {
                table.remove(&key[..])?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn read(&self, table: &str, work: &mut dyn FnMut(&dyn Reading) -> Result<()>) -> Result<()> {
        let transaction = self.0.begin_read()?;
        work(&Opened(transaction.open_table(definition(table))?))
    }

    fn count(&self, table: &str) -> Result<u64> {
        Ok(self.0.begin_read()?.open_table(definition(table))?.len()?)
    }
}

struct Opened(ReadOnlyTable<&'static [u8], &'static [u8]>);

impl Reading for Opened {
    fn get(&self, key: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let found = self.0.get(key)?;
        if let Some(value) = &found {
            take(value.value());
        }
        Ok(found.is_some())
    }

    fn scan(&self, from: &[u8], to: &[u8], backwards: bool, take: Take<'_>) -> Result<()> {
        let mut range = self.0.range(from..to)?;
        let mut next = || if backwards { range.next_back() } else { range.next() };
        while let Some(pair) = next() {
            let (key, value) = pair?;
            if !take(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }
}
