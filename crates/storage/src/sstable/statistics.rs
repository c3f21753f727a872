//! [`Statistics`]: the zone map of every column of every row group.

use silt_codec::{ColumnId, Error, Result, ZoneMap};

use super::input::Input;

/// Zone maps by column, then by group.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Statistics {
    columns: Vec<(ColumnId, Vec<ZoneMap>)>,
}

impl Statistics {
    pub(super) fn new(columns: impl IntoIterator<Item = ColumnId>) -> Self {
        Self { columns: columns.into_iter().map(|column| (column, Vec::new())).collect() }
    }

    /// Adds the zone map of the next group for the column at `position`.
    pub(super) fn push(&mut self, position: usize, zone: ZoneMap) {
        self.columns[position].1.push(zone);
    }

    /// The zone maps of a column, one a group; none if the file lacks it.
    pub(super) fn column(&self, id: ColumnId) -> Option<&[ZoneMap]> {
        self.columns.iter().find(|(column, _)| *column == id).map(|(_, zones)| zones.as_slice())
    }

    /// One zone map a column.
    pub(super) fn merged(&self) -> Vec<(ColumnId, ZoneMap)> {
        let merge = |(id, zones): &(ColumnId, Vec<ZoneMap>)| {
            let (first, rest) = zones.split_first()?;
            let mut merged = first.clone();
            for zone in rest {
                merged.merge(zone);
            }
            Some((*id, merged))
        };
        self.columns.iter().filter_map(merge).collect()
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.columns.iter().map(|(_, zones)| zones.len() * size_of::<ZoneMap>()).sum()
    }

    /// `columns 4 | columns × (column 4 | groups × zone map)`
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let count = u32::try_from(self.columns.len()).expect("columns are limited to 4,096");
        out.extend_from_slice(&count.to_le_bytes());
        for (id, zones) in &self.columns {
            out.extend_from_slice(&id.to_le_bytes());
            for zone in zones {
                zone.encode(&mut out);
            }
        }
        out
    }

    pub(super) fn decode(bytes: &[u8], groups: usize) -> Result<Self> {
        let mut input = Input::new(bytes);
        // A zone map takes a byte at least.
        let count = input.count(4 + groups)?;
        let mut columns = Vec::with_capacity(count);
        for _ in 0..count {
            let id = input.u32()?;
            if groups > input.rest().len() {
                return Err(Error::corrupt(format!("zone maps of {groups} groups wanted")));
            }
            let zones = (0..groups).map(|_| ZoneMap::decode(input.rest_mut()));
            columns.push((id, zones.collect::<Result<_>>()?));
        }
        input.end()?;
        Ok(Self { columns })
    }
}
