//! Symbol tables (FSST).

use crate::Result;

/// The symbol tables of one column of one file, by content hash.
#[derive(Clone, Debug, Default)]
pub struct SymbolTables {}

impl SymbolTables {
    /// Adds a table's bytes and answers with their hash, the table's name.
    ///
    /// # Errors
    /// `Corrupt` for bytes that are not a table.
    pub fn insert(&mut self, _bytes: &[u8]) -> Result<u64> {
        todo!()
    }

    /// The bytes of the table of that name.
    pub fn get(&self, _hash: u64) -> Option<&[u8]> {
        todo!()
    }

    /// The names of the tables, ascending.
    pub fn names(&self) -> impl Iterator<Item = u64> + '_ {
        std::iter::empty()
    }

    /// The number of tables.
    pub fn len(&self) -> usize {
        todo!()
    }

    /// Whether there is no table.
    pub fn is_empty(&self) -> bool {
        todo!()
    }

    /// Appends all tables' bytes.
    pub fn encode(&self, _out: &mut Vec<u8>) {
        todo!()
    }

    /// Takes what [`encode`](Self::encode) appended off the front of `bytes`.
    ///
    /// # Errors
    /// `Corrupt` for other bytes.
    pub fn decode(_bytes: &mut &[u8]) -> Result<Self> {
        todo!()
    }
}
