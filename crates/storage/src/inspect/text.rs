//! The lines that descriptions are shown as.
//!
//! Values are shown as they are stored: dates, times and timestamps as the numbers they are kept
//! as. Text is quoted, escaped and cut.

use std::fmt;

use arrow_schema::DataType;
use silt_codec::{TreeSchema, Value};

use super::{
    BlockDescription, ChunkColumn, ChunkDescription, FileListing, GroupDescription, Listing,
    ManifestDescription, SsTableFile, TreeListing, WalEntry, WalItem,
};

/// Characters of a text that are shown.
const TEXT_CHARS_MAX: usize = 32;
/// Bytes of a binary value that are shown.
const BINARY_BYTES_MAX: usize = 16;

/// `3 rows`, `1 row`.
struct Count<T>(T, &'static str);

impl<T: fmt::Display + PartialEq + From<u8>> fmt::Display for Count<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0 == T::from(1) { "" } else { "s" };
        write!(f, "{} {}{plural}", self.0, self.1)
    }
}

/// A value beside its type, which says where a decimal's point is.
struct Shown<'a>(&'a Value, Option<&'a DataType>);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::Null => f.write_str("NULL"),
            Value::Boolean(v) => v.fmt(f),
            Value::Int(v) => v.fmt(f),
            Value::UInt(v) => v.fmt(f),
            Value::Float(v) => write!(f, "{v:?}"),
            Value::Decimal(v) => match self.1 {
                Some(DataType::Decimal128(_, scale)) if *scale != 0 => write!(f, "{v}e{}", -scale),
                _ => v.fmt(f),
            },
            Value::Interval(v) => {
                write!(f, "{} months {} days {} ns", v.months, v.days, v.nanoseconds)
            }
            Value::Text(v) => {
                let cut = v.chars().take(TEXT_CHARS_MAX).collect::<String>();
                let more = if cut.len() < v.len() { "..." } else { "" };
                write!(f, "'{}'{more}", cut.escape_debug())
            }
            Value::Binary(v) => {
                f.write_str("x'")?;
                for byte in v.iter().take(BINARY_BYTES_MAX) {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str(if v.len() > BINARY_BYTES_MAX { "'..." } else { "'" })
            }
            Value::Nested(v) => write!(f, "({})", v.data_type()),
        }
    }
}

/// Key values in parentheses.
struct Key<'a>(&'a [Value]);

impl fmt::Display for Key<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(")?;
        for (index, value) in self.0.iter().enumerate() {
            write!(f, "{}{}", if index == 0 { "" } else { ", " }, Shown(value, None))?;
        }
        f.write_str(")")
    }
}

/// Microseconds since 1970 as a date and a time of day, UTC.
struct Time(i64);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0.div_euclid(1_000_000), self.0.rem_euclid(1_000_000));
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Days to a civil date, eras of 400 years from 1 March of year 0 (Hinnant,
        // "chrono-Compatible Low-Level Date Algorithms").
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = (month_from_march + 2) % 12 + 1;
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

/// A schema in one line.
pub(super) fn schema(schema: &TreeSchema) -> String {
    let column = |(position, column): (usize, &silt_codec::TreeColumn)| {
        let key = match schema.key.get(position) {
            Some(order) if order.descending => " key descending",
            Some(_) => " key",
            None => "",
        };
        let null = if column.nullable { " null" } else { "" };
        format!("{} {}{key}{null}", column.id, column.data_type)
    };
    let columns: Vec<String> = schema.columns.iter().enumerate().map(column).collect();
    format!("schema version {}, columns {}", schema.version, columns.join(", "))
}

impl fmt::Display for SsTableFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: file {}, {}, {} in {}",
            self.path().display(),
            self.id(),
            Count(self.size(), "byte"),
            Count(self.rows(), "row"),
            Count(self.group_count() as u64, "row group"),
        )?;
        writeln!(f, "  database {:032x}", self.uuid())?;
        writeln!(f, "  footer checksum {:016x}", self.footer_checksum())?;
        writeln!(f, "  {}", schema(self.schema()))?;
        self.blocks().try_for_each(|block| writeln!(f, "  {block}"))
    }
}

impl fmt::Display for BlockDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.bytes {
            0 => write!(f, "{}: absent", self.name),
            bytes => write!(f, "{}: {} at {}", self.name, Count(bytes, "byte"), self.offset),
        }
    }
}

impl fmt::Display for GroupDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "row group {} at {}: {}, {}, {}, numbers {} to {}",
            self.number,
            self.offset,
            Count(self.bytes, "byte"),
            Count(self.rows, "row"),
            Count(self.deletes, "delete"),
            self.min_seq,
            self.max_seq,
        )?;
        f.write_str(if self.one_version { ", one version a key" } else { "" })?;
        f.write_str(if self.continued { ", continued" } else { "" })?;
        write!(f, "\n  keys {} to {}", Key(&self.first_key), Key(&self.last_key))?;
        self.chunks.iter().try_for_each(|chunk| write!(f, "\n  {chunk}"))
    }
}

impl fmt::Display for ChunkDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            ChunkColumn::Column(id) => write!(f, "column {id}")?,
            ChunkColumn::Seq => f.write_str("_seq")?,
            ChunkColumn::Kind => f.write_str("_kind")?,
        }
        let encoding = format!("{:?}", self.encoding).to_ascii_lowercase();
        write!(f, " at {}: {encoding}, {}", self.offset, Count(self.bytes, "byte"))?;
        if let Some(zone) = self.zone.as_ref().filter(|zone| zone.value_count > 0) {
            let bound = |value, exact| match value {
                &Value::Null => "unknown".to_owned(),
                value => {
                    let about = if exact { "" } else { "about " };
                    format!("{about}{}", Shown(value, Some(&self.data_type)))
                }
            };
            let (min, max) = (bound(&zone.min, zone.min_exact), bound(&zone.max, zone.max_exact));
            write!(f, ", {min} to {max}")?;
        }
        if self.null_count > 0 {
            write!(f, ", {}", Count(self.null_count as u64, "null"))?;
        }
        for (index, table) in self.symbol_tables.iter().enumerate() {
            write!(f, "{}{table:016x}", if index == 0 { ", symbol tables " } else { " " })?;
        }
        Ok(())
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "manifest {} of database {:032x}, log from segment {} on, {}",
            self.manifest,
            self.uuid,
            self.first_segment,
            if self.sealed { "closed" } else { "not closed" },
        )?;
        self.trees.iter().try_for_each(|tree| tree.fmt(f))
    }
}

impl fmt::Display for TreeListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "tree {}: flushed through {}, floor {}", self.id, self.flushed, self.floor)?;
        writeln!(f, "  {}", schema(&self.schema))?;
        self.files.iter().try_for_each(|file| writeln!(f, "  level {}: {file}", file.level))
    }
}

impl fmt::Display for FileListing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "file {}, {}, {}, {}, {}, ",
            self.id,
            Count(self.size, "byte"),
            Count(self.rows, "row"),
            Count(self.deletes, "delete"),
            Count(self.groups, "row group"),
        )?;
        match self.file_seq {
            Some(seq) => write!(f, "bulk load of number {seq}")?,
            None => write!(f, "numbers {} to {}", self.min_seq, self.max_seq)?,
        }
        f.write_str(if self.one_version { ", one version a key" } else { "" })?;
        write!(
            f,
            ", keys {} to {}, schema version {}, footer checksum {:016x}",
            Key(&self.first_key),
            Key(&self.last_key),
            self.schema_version,
            self.footer_checksum
        )
    }
}

impl fmt::Display for ManifestDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: manifest {} of database {:032x}, {} in {}, certain up to {}",
            self.path.display(),
            self.number,
            self.uuid,
            Count(self.entries.len() as u64, "edit"),
            Count(self.len, "byte"),
            self.synced_len,
        )?;
        for entry in &self.entries {
            writeln!(f, "offset {}, {}", entry.offset, Count(entry.bytes, "byte"))?;
            entry.changes.iter().try_for_each(|change| writeln!(f, "  {change}"))?;
        }
        match self.len.saturating_sub(self.end) {
            0 => Ok(()),
            torn => {
                writeln!(f, "offset {}, {}\n  an edit cut short", self.end, Count(torn, "byte"))
            }
        }
    }
}

impl fmt::Display for WalEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "segment {} offset {}: ", self.segment, self.offset)?;
        match &self.item {
            WalItem::Segment { uuid, predecessor, last_seq } => {
                write!(f, "begins behind number {last_seq}")?;
                if let Some((segment, end)) = predecessor {
                    write!(f, ", behind segment {segment}, which ends at {end}")?;
                }
                write!(f, ", database {uuid:032x}")
            }
            WalItem::Commit {
                seq,
                commit_micros,
                synced_to,
                bytes,
                trees,
                schema_changes,
                files,
            } => {
                let (time, bytes) = (Time(*commit_micros), Count(*bytes, "byte"));
                write!(f, "commit {seq}, {time}, {bytes}, synced to {synced_to}")?;
                for tree in trees {
                    write!(f, "; tree {}: ", tree.tree)?;
                    match (tree.puts, tree.deletes) {
                        (puts, 0) => Count(puts, "put").fmt(f)?,
                        (0, deletes) => Count(deletes, "delete").fmt(f)?,
                        (puts, deletes) => {
                            write!(f, "{}, {}", Count(puts, "put"), Count(deletes, "delete"))?;
                        }
                    }
                    write!(f, " of {}", Count(tree.bytes, "byte"))?;
                }
                for tree in schema_changes {
                    write!(f, "; tree {tree}: schema change")?;
                }
                for file in files {
                    write!(
                        f,
                        "; tree {}: file {}, {}, {}, footer checksum {:016x}",
                        file.tree,
                        file.id,
                        Count(file.size, "byte"),
                        Count(file.rows, "row"),
                        file.footer_checksum
                    )?;
                }
                Ok(())
            }
            WalItem::Promise { seq, synced_to, bytes } => {
                let bytes = Count(*bytes, "byte");
                write!(f, "promise behind number {seq}, {bytes}, synced to {synced_to}")
            }
            WalItem::Damage { error, bytes } => {
                write!(f, "damage of {}: {error}", Count(*bytes, "byte"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_dates() {
        let shown = |micros| Time(micros).to_string();
        assert_eq!(shown(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(shown(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(shown(951_782_400_000_000), "2000-02-29T00:00:00.000000Z");
        assert_eq!(shown(1_700_000_000_000_001), "2023-11-14T22:13:20.000001Z");
        assert_eq!(shown(4_107_542_400_000_000), "2100-03-01T00:00:00.000000Z");
    }

    #[test]
    fn values_are_quoted_and_cut() {
        let shown = |value: &Value| Shown(value, None).to_string();
        assert_eq!(shown(&Value::Text("it's\u{1b}[2J".to_owned())), r"'it\'s\u{1b}[2J'");
        let long = "é".repeat(40);
        assert_eq!(shown(&Value::Text(long)), format!("'{}'...", "é".repeat(32)));
        assert_eq!(shown(&Value::Binary(vec![0, 255])), "x'00ff'");
        let price = Value::Decimal(-1250);
        assert_eq!(Shown(&price, Some(&DataType::Decimal128(9, 2))).to_string(), "-1250e-2");
    }
}
