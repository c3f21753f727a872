//! [`SqlType`]: SQL's types, their spellings, and the Arrow type each is stored as.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields, IntervalUnit, TimeUnit};

use crate::{Error, ErrorKind, Result};

/// A column's type.
///
/// `Display` writes the spelling that the catalog stores and DESCRIBE shows; `FromStr` reads it
/// and every accepted alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlType {
    /// BOOLEAN.
    Boolean,
    /// TINYINT: 8 bits.
    TinyInt,
    /// SMALLINT: 16 bits.
    SmallInt,
    /// INTEGER: 32 bits.
    Integer,
    /// BIGINT: 64 bits.
    BigInt,
    /// UTINYINT: 8 bits unsigned.
    UTinyInt,
    /// USMALLINT: 16 bits unsigned.
    USmallInt,
    /// UINTEGER: 32 bits unsigned.
    UInteger,
    /// UBIGINT: 64 bits unsigned.
    UBigInt,
    /// REAL: 32-bit float.
    Real,
    /// DOUBLE: 64-bit float.
    Double,
    /// DECIMAL(precision, scale), to 38 digits.
    Decimal(u8, i8),
    /// TEXT, or VARCHAR(n) with at most n characters.
    Text(Option<u32>),
    /// BLOB.
    Blob,
    /// DATE.
    Date,
    /// TIME, microseconds.
    Time,
    /// TIMESTAMP without time zone, microseconds.
    Timestamp,
    /// TIMESTAMPTZ: microseconds, UTC.
    TimestampTz,
    /// INTERVAL: months, days, nanoseconds.
    Interval,
    /// UUID: 16 bytes.
    Uuid,
    /// JSON: text that was checked.
    Json,
    /// `T[]`.
    Array(Box<SqlType>),
    /// STRUCT(name T, ...).
    Struct(Vec<(String, SqlType)>),
    /// MAP(K, V).
    Map(Box<SqlType>, Box<SqlType>),
    /// FLOAT[n]: a vector of n 32-bit floats.
    Vector(i32),
}

impl SqlType {
    /// The Arrow type of a column of this type, as stored and as queried.
    pub fn arrow(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::TinyInt => DataType::Int8,
            Self::SmallInt => DataType::Int16,
            Self::Integer => DataType::Int32,
            Self::BigInt => DataType::Int64,
            Self::UTinyInt => DataType::UInt8,
            Self::USmallInt => DataType::UInt16,
            Self::UInteger => DataType::UInt32,
            Self::UBigInt => DataType::UInt64,
            Self::Real => DataType::Float32,
            Self::Double => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::Text(_) | Self::Json => DataType::Utf8View,
            Self::Blob => DataType::BinaryView,
            Self::Date => DataType::Date32,
            Self::Time => DataType::Time64(TimeUnit::Microsecond),
            Self::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::TimestampTz => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Interval => DataType::Interval(IntervalUnit::MonthDayNano),
            Self::Uuid => DataType::FixedSizeBinary(16),
            Self::Array(element) => {
                DataType::List(Arc::new(Field::new("item", element.arrow(), true)))
            }
            Self::Struct(fields) => {
                let field = |(name, kind): &(String, Self)| Field::new(name, kind.arrow(), true);
                DataType::Struct(fields.iter().map(field).collect())
            }
            Self::Map(key, value) => {
                let entries = Fields::from(vec![
                    Field::new("key", key.arrow(), false),
                    Field::new("value", value.arrow(), true),
                ]);
                let entries = Field::new("entries", DataType::Struct(entries), false);
                DataType::Map(Arc::new(entries), false)
            }
            Self::Vector(length) => DataType::FixedSizeList(
                Arc::new(Field::new("item", DataType::Float32, true)),
                *length,
            ),
        }
    }

    /// The type of a column that is to hold this Arrow type, as CREATE TABLE AS and ingest make
    /// one. Every text is TEXT, every binary BLOB, time stamps are cut to microseconds.
    ///
    /// # Errors
    /// `Unsupported` for types that have no SQL type here.
    pub fn from_arrow(data_type: &DataType) -> Result<Self> {
        Ok(match data_type {
            DataType::Boolean => Self::Boolean,
            DataType::Int8 => Self::TinyInt,
            DataType::Int16 => Self::SmallInt,
            DataType::Int32 => Self::Integer,
            DataType::Int64 => Self::BigInt,
            DataType::UInt8 => Self::UTinyInt,
            DataType::UInt16 => Self::USmallInt,
            DataType::UInt32 => Self::UInteger,
            DataType::UInt64 => Self::UBigInt,
            DataType::Float16 | DataType::Float32 => Self::Real,
            DataType::Float64 => Self::Double,
            DataType::Decimal32(precision, scale)
            | DataType::Decimal64(precision, scale)
            | DataType::Decimal128(precision, scale) => Self::Decimal(*precision, *scale),
            DataType::Decimal256(precision, scale) if *precision <= 38 => {
                Self::Decimal(*precision, *scale)
            }
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
                Self::Text(None)
            }
            DataType::FixedSizeBinary(16) => Self::Uuid,
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => Self::Blob,
            DataType::Date32 => Self::Date,
            DataType::Date64 | DataType::Timestamp(_, None) => Self::Timestamp,
            DataType::Time32(_) | DataType::Time64(_) => Self::Time,
            DataType::Timestamp(_, Some(_)) => Self::TimestampTz,
            DataType::Interval(_) => Self::Interval,
            DataType::Dictionary(_, values) => Self::from_arrow(values)?,
            DataType::FixedSizeList(field, length)
                if *field.data_type() == DataType::Float32 && *length > 0 =>
            {
                Self::Vector(*length)
            }
            DataType::List(field)
            | DataType::LargeList(field)
            | DataType::ListView(field)
            | DataType::LargeListView(field)
            | DataType::FixedSizeList(field, _) => {
                Self::Array(Box::new(Self::from_arrow(field.data_type())?))
            }
            DataType::Struct(fields) => Self::Struct(
                fields
                    .iter()
                    .map(|field| Ok((field.name().clone(), Self::from_arrow(field.data_type())?)))
                    .collect::<Result<_>>()?,
            ),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(fields) if fields.len() == 2 => Self::Map(
                    Box::new(Self::from_arrow(fields[0].data_type())?),
                    Box::new(Self::from_arrow(fields[1].data_type())?),
                ),
                other => return Err(unsupported(other)),
            },
            other => return Err(unsupported(other)),
        })
    }

    /// Whether columns of this type have an order that a key can follow.
    pub fn can_be_key(&self) -> bool {
        !matches!(
            self,
            Self::Interval
                | Self::Json
                | Self::Array(_)
                | Self::Struct(_)
                | Self::Map(..)
                | Self::Vector(_)
        )
    }
}

fn unsupported(data_type: &DataType) -> Error {
    Error::new(ErrorKind::Unsupported, format!("no column type for arrow type {data_type}"))
}

impl fmt::Display for SqlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Boolean => "BOOLEAN",
            Self::TinyInt => "TINYINT",
            Self::SmallInt => "SMALLINT",
            Self::Integer => "INTEGER",
            Self::BigInt => "BIGINT",
            Self::UTinyInt => "UTINYINT",
            Self::USmallInt => "USMALLINT",
            Self::UInteger => "UINTEGER",
            Self::UBigInt => "UBIGINT",
            Self::Real => "REAL",
            Self::Double => "DOUBLE",
            Self::Decimal(precision, scale) => return write!(f, "DECIMAL({precision},{scale})"),
            Self::Text(None) => "TEXT",
            Self::Text(Some(length)) => return write!(f, "VARCHAR({length})"),
            Self::Blob => "BLOB",
            Self::Date => "DATE",
            Self::Time => "TIME",
            Self::Timestamp => "TIMESTAMP",
            Self::TimestampTz => "TIMESTAMPTZ",
            Self::Interval => "INTERVAL",
            Self::Uuid => "UUID",
            Self::Json => "JSON",
            Self::Array(element) => return write!(f, "{element}[]"),
            Self::Struct(fields) => {
                f.write_str("STRUCT(")?;
                for (index, (name, kind)) in fields.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}\"{}\" {kind}", name.replace('"', "\"\""))?;
                }
                return f.write_str(")");
            }
            Self::Map(key, value) => return write!(f, "MAP({key}, {value})"),
            Self::Vector(length) => return write!(f, "FLOAT[{length}]"),
        };
        f.write_str(name)
    }
}

impl FromStr for SqlType {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut reader = Reader { text, rest: text, depth: 0 };
        let parsed = reader.sql_type()?;
        if reader.rest.trim().is_empty() { Ok(parsed) } else { Err(reader.unknown()) }
    }
}

/// How deep types may nest.
const DEPTH_MAX: usize = 32;

/// Reads a type from its spelling, left to right.
struct Reader<'a> {
    text: &'a str,
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn unknown(&self) -> Error {
        Error::new(ErrorKind::Unsupported, format!("unknown type {}", self.text))
    }

    fn invalid(&self, why: &str) -> Error {
        Error::invalid(format!("type {}: {why}", self.text))
    }

    fn sql_type(&mut self) -> Result<SqlType> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.invalid("nested too deep"));
        }
        let mut parsed = self.scalar_or_named()?;
        while self.eat("[") {
            if self.eat("]") {
                parsed = SqlType::Array(Box::new(parsed));
                continue;
            }
            let length = self.number()?;
            self.expect("]")?;
            if !matches!(parsed, SqlType::Real) {
                return Err(self.invalid("a fixed length is for FLOAT[n] only"));
            }
            let length = i32::try_from(length)
                .ok()
                .filter(|length| (1..=65_536).contains(length))
                .ok_or_else(|| self.invalid("a vector has 1 to 65536 elements"))?;
            parsed = SqlType::Vector(length);
        }
        self.depth -= 1;
        Ok(parsed)
    }

    fn scalar_or_named(&mut self) -> Result<SqlType> {
        let word = self.word().ok_or_else(|| self.unknown())?.to_ascii_uppercase();
        Ok(match word.as_str() {
            "BOOLEAN" | "BOOL" | "LOGICAL" => SqlType::Boolean,
            "TINYINT" | "INT1" => self.maybe_unsigned(SqlType::TinyInt, SqlType::UTinyInt),
            "SMALLINT" | "INT2" | "SHORT" => {
                self.maybe_unsigned(SqlType::SmallInt, SqlType::USmallInt)
            }
            "INTEGER" | "INT" | "INT4" | "SIGNED" | "MEDIUMINT" => {
                self.maybe_unsigned(SqlType::Integer, SqlType::UInteger)
            }
            "BIGINT" | "INT8" | "LONG" => self.maybe_unsigned(SqlType::BigInt, SqlType::UBigInt),
            "INT16" => SqlType::SmallInt,
            "INT32" => SqlType::Integer,
            "INT64" => SqlType::BigInt,
            "UTINYINT" | "UINT8" => SqlType::UTinyInt,
            "USMALLINT" | "UINT16" => SqlType::USmallInt,
            "UINTEGER" | "UINT32" => SqlType::UInteger,
            "UBIGINT" | "UINT64" => SqlType::UBigInt,
            "REAL" | "FLOAT4" | "FLOAT32" => SqlType::Real,
            "FLOAT" => self.float()?,
            "DOUBLE" => {
                self.eat_word("PRECISION");
                SqlType::Double
            }
            "FLOAT8" | "FLOAT64" => SqlType::Double,
            "DECIMAL" | "NUMERIC" | "DEC" => self.decimal()?,
            "TEXT" | "STRING" | "CLOB" => SqlType::Text(self.length()?),
            "VARCHAR" | "NVARCHAR" => SqlType::Text(self.length()?),
            "CHARACTER" | "CHAR" if self.eat_word("VARYING") => SqlType::Text(self.length()?),
            // CHAR(n) pads with spaces elsewhere; that is refused, not imitated.
            "CHARACTER" | "CHAR" => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "type CHAR(n) is not supported: use VARCHAR(n) or TEXT",
                ));
            }
            "BLOB" | "BYTEA" | "BINARY" | "VARBINARY" => {
                if self.length()?.is_some() {
                    return Err(self.invalid("a BLOB has no length"));
                }
                SqlType::Blob
            }
            "DATE" => SqlType::Date,
            "TIME" => {
                self.precision()?;
                if self.time_zone()? {
                    return Err(Error::new(
                        ErrorKind::Unsupported,
                        "type TIME WITH TIME ZONE is not supported",
                    ));
                }
                SqlType::Time
            }
            "TIMESTAMP" => {
                self.precision()?;
                if self.time_zone()? { SqlType::TimestampTz } else { SqlType::Timestamp }
            }
            "DATETIME" => {
                self.precision()?;
                SqlType::Timestamp
            }
            "TIMESTAMPTZ" => {
                self.precision()?;
                SqlType::TimestampTz
            }
            "INTERVAL" => SqlType::Interval,
            "UUID" => SqlType::Uuid,
            "JSON" => SqlType::Json,
            "ARRAY" => {
                let close = self.open()?;
                let element = self.sql_type()?;
                self.expect(close)?;
                SqlType::Array(Box::new(element))
            }
            "STRUCT" | "ROW" => self.fields()?,
            "MAP" => {
                let close = self.open()?;
                let key = self.sql_type()?;
                self.expect(",")?;
                let value = self.sql_type()?;
                self.expect(close)?;
                SqlType::Map(Box::new(key), Box::new(value))
            }
            _ => return Err(self.unknown()),
        })
    }

    fn maybe_unsigned(&mut self, signed: SqlType, unsigned: SqlType) -> SqlType {
        if self.eat_word("UNSIGNED") { unsigned } else { signed }
    }

    /// FLOAT is REAL, as in DuckDB and for FLOAT[n]; FLOAT(25) to FLOAT(53) are DOUBLE.
    fn float(&mut self) -> Result<SqlType> {
        match self.length()? {
            Some(25..=53) => Ok(SqlType::Double),
            None | Some(1..=24) => Ok(SqlType::Real),
            Some(_) => Err(self.invalid("FLOAT has 1 to 53 binary digits")),
        }
    }

    fn decimal(&mut self) -> Result<SqlType> {
        if !self.eat("(") {
            return Ok(SqlType::Decimal(18, 3));
        }
        let precision = self.number()?;
        let scale = if self.eat(",") { self.number()? } else { 0 };
        self.expect(")")?;
        match (u8::try_from(precision), i8::try_from(scale)) {
            (Ok(precision @ 1..=38), Ok(scale))
                if u64::from(precision) >= scale.unsigned_abs().into() =>
            {
                Ok(SqlType::Decimal(precision, scale))
            }
            _ => Err(self.invalid("a DECIMAL has 1 to 38 digits, and no more behind the point")),
        }
    }

    fn fields(&mut self) -> Result<SqlType> {
        let close = self.open()?;
        let mut fields = Vec::new();
        loop {
            let name = self.name().ok_or_else(|| self.unknown())?;
            fields.push((name, self.sql_type()?));
            if !self.eat(",") {
                break;
            }
        }
        self.expect(close)?;
        Ok(SqlType::Struct(fields))
    }

    /// Whether WITH TIME ZONE follows.
    fn time_zone(&mut self) -> Result<bool> {
        let with = self.eat_word("WITH");
        if !with && !self.eat_word("WITHOUT") {
            return Ok(false);
        }
        if self.eat_word("TIME") && self.eat_word("ZONE") { Ok(with) } else { Err(self.unknown()) }
    }

    /// A precision of time: up to six digits are kept anyway.
    fn precision(&mut self) -> Result<()> {
        match self.length()? {
            None | Some(6) => Ok(()),
            Some(digits) => Err(Error::new(
                ErrorKind::Unsupported,
                format!("{digits} digits of a second are not supported: times have 6"),
            )),
        }
    }

    fn length(&mut self) -> Result<Option<u32>> {
        if !self.eat("(") {
            return Ok(None);
        }
        let length = self.number()?;
        self.expect(")")?;
        match u32::try_from(length) {
            Ok(length) if length > 0 => Ok(Some(length)),
            _ => Err(self.invalid("a length is 1 to 4294967295")),
        }
    }

    fn open(&mut self) -> Result<&'static str> {
        if self.eat("(") {
            Ok(")")
        } else if self.eat("<") {
            Ok(">")
        } else {
            Err(self.unknown())
        }
    }

    fn word(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        let end =
            self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        if end == 0 {
            return None;
        }
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(word.to_owned())
    }

    /// A field's name: quoted as it stands, else folded.
    fn name(&mut self) -> Option<String> {
        self.rest = self.rest.trim_start();
        let Some(mut rest) = self.rest.strip_prefix('"') else {
            return Some(self.word()?.to_lowercase());
        };
        let mut name = String::new();
        loop {
            let end = rest.find('"')?;
            name.push_str(&rest[..end]);
            rest = &rest[end + 1..];
            match rest.strip_prefix('"') {
                Some(more) => {
                    name.push('"');
                    rest = more;
                }
                None => break,
            }
        }
        self.rest = rest;
        Some(name)
    }

    fn number(&mut self) -> Result<u64> {
        self.word().and_then(|word| word.parse().ok()).ok_or_else(|| self.unknown())
    }

    fn eat(&mut self, sign: &str) -> bool {
        self.rest = self.rest.trim_start();
        match self.rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn eat_word(&mut self, wanted: &str) -> bool {
        let before = self.rest;
        if self.word().is_some_and(|word| word.eq_ignore_ascii_case(wanted)) {
            true
        } else {
            self.rest = before;
            false
        }
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        if self.eat(sign) { Ok(()) } else { Err(self.unknown()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> SqlType {
        text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn every_spelling_that_is_shown_is_read_back() {
        for text in [
            "BOOLEAN",
            "TINYINT",
            "SMALLINT",
            "INTEGER",
            "BIGINT",
            "UTINYINT",
            "USMALLINT",
            "UINTEGER",
            "UBIGINT",
            "REAL",
            "DOUBLE",
            "DECIMAL(38,10)",
            "TEXT",
            "VARCHAR(20)",
            "BLOB",
            "DATE",
            "TIME",
            "TIMESTAMP",
            "TIMESTAMPTZ",
            "INTERVAL",
            "UUID",
            "JSON",
            "TEXT[]",
            "INTEGER[][]",
            "FLOAT[768]",
            "MAP(TEXT, BIGINT)",
            "STRUCT(\"a\" INTEGER, \"B \"\"c\" TEXT[])",
        ] {
            assert_eq!(parse(text).to_string(), text);
        }
    }

    #[test]
    fn aliases_mean_their_type() {
        assert_eq!(parse("int unsigned"), SqlType::UInteger);
        assert_eq!(parse("double precision"), SqlType::Double);
        assert_eq!(parse("character varying(7)"), SqlType::Text(Some(7)));
        assert_eq!(parse("timestamp with time zone"), SqlType::TimestampTz);
        assert_eq!(parse("timestamp(6) without time zone"), SqlType::Timestamp);
        assert_eq!(parse("numeric(5)"), SqlType::Decimal(5, 0));
        assert_eq!(parse("float"), SqlType::Real);
        assert_eq!(parse("float(53)"), SqlType::Double);
        assert_eq!(parse("ARRAY<INT>"), SqlType::Array(Box::new(SqlType::Integer)));
    }

    #[test]
    fn what_is_not_a_type_is_refused_by_name() {
        for (text, message) in [
            ("GEOMETRY", "unknown type GEOMETRY"),
            ("CHAR(3)", "type CHAR(n) is not supported: use VARCHAR(n) or TEXT"),
            (
                "DECIMAL(39,0)",
                "type DECIMAL(39,0): a DECIMAL has 1 to 38 digits, and no more behind the point",
            ),
            ("INTEGER[3]", "type INTEGER[3]: a fixed length is for FLOAT[n] only"),
            ("TIMESTAMP(9)", "9 digits of a second are not supported: times have 6"),
            ("TEXT)", "unknown type TEXT)"),
        ] {
            assert_eq!(text.parse::<SqlType>().unwrap_err().to_string(), message);
        }
        assert!(
            format!("{}TEXT{}", "MAP(TEXT,".repeat(99), ")".repeat(99)).parse::<SqlType>().is_err()
        );
    }

    #[test]
    fn a_type_survives_its_arrow_type_where_arrow_can_tell() {
        for text in [
            "BOOLEAN",
            "TINYINT",
            "UBIGINT",
            "DOUBLE",
            "DECIMAL(10,2)",
            "TEXT",
            "BLOB",
            "DATE",
            "TIME",
            "TIMESTAMP",
            "TIMESTAMPTZ",
            "INTERVAL",
            "UUID",
            "TEXT[]",
            "FLOAT[3]",
            "MAP(TEXT, INTEGER)",
            "STRUCT(\"a\" DATE)",
        ] {
            let sql_type = parse(text);
            assert_eq!(SqlType::from_arrow(&sql_type.arrow()).unwrap(), sql_type);
        }
    }
}
