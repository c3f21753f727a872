//! fjall: a log-structured merge tree.

use std::path::Path;

use ::fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use super::About;
use super::keyvalue::{Pair, Reading, Store, Take};
use crate::tables::Result;

/// As Silt's engine has by default.
const CACHE_BYTES: u64 = 512 << 20;

#[derive(Clone)]
pub(super) struct Fjall(Database);

impl Fjall {
    fn table(&self, name: &str) -> Result<Keyspace> {
        Ok(self.0.keyspace(name, KeyspaceCreateOptions::default)?)
    }
}

impl Store for Fjall {
    fn about(&self) -> About {
        About {
            version: "3".to_owned(),
            enforces: "nothing: all writes are blind",
            syncs: "every commit, by persisting its batch",
        }
    }

    fn open(folder: &Path) -> Result<Self> {
        Ok(Self(Database::builder(folder.join("race.fjall")).cache_size(CACHE_BYTES).open()?))
    }

    fn create(&self, table: &str) -> Result<()> {
        self.table(table).map(drop)
    }

    fn load(&self, table: &str, pairs: &mut dyn Iterator<Item = Result<Pair>>) -> Result<u64> {
        let keyspace = self.table(table)?;
        let mut rows = 0;
        for pair in pairs {
            let (key, value) = pair?;
            keyspace.insert(key, value)?;
            rows += 1;
        }
        self.0.persist(PersistMode::SyncAll)?;
        Ok(rows)
    }

    fn write(&self, table: &str, pairs: &[Pair]) -> Result<()> {
        let keyspace = self.table(table)?;
        let mut batch = self.0.batch().durability(Some(PersistMode::SyncData));
        for (key, value) in pairs {
            batch.insert(&keyspace, &key[..], &value[..]);
        }
        Ok(batch.commit()?)
    }

    fn remove(&self, table: &str, keys: &[Vec<u8>]) -> Result<()> {
        let keyspace = self.table(table)?;
        let mut batch = self.0.batch().durability(Some(PersistMode::SyncData));
        for key in keys {
            batch.remove(&keyspace, &key[..]);
        }
        Ok(batch.commit()?)
    }

    fn read(&self, table: &str, work: &mut dyn FnMut(&dyn Reading) -> Result<()>) -> Result<()> {
        work(&Opened(self.table(table)?))
    }

    fn count(&self, table: &str) -> Result<u64> {
        Ok(self.table(table)?.len()? as u64)
    }
}

struct Opened(Keyspace);

impl Reading for Opened {
    fn get(&self, key: &[u8], take: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let found = self.0.get(key)?;
        if let Some(value) = &found {
            take(value);
        }
        Ok(found.is_some())
    }

    fn scan(&self, from: &[u8], to: &[u8], backwards: bool, take: Take<'_>) -> Result<()> {
        let mut range = self.0.range(from..to);
        let mut next = || if backwards { range.next_back() } else { range.next() };
        while let Some(pair) = next() {
            let (key, value) = pair.into_inner()?;
            if !take(&key, &value) {
                break;
            }
        }
        Ok(())
    }
}
