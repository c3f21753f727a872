//! Arrays to chunks: which encoding, and what was learned for the next chunk.
//!
//! ```text
//! all null, or one value         constant
//! integers, dates, times,        packed, unless plain is smaller
//!   decimals within i64
//! strings                        dictionary if at most a third of the rows are distinct,
//!                                else symbols if they save a fifth, else plain
//! floats                         ALP, unless plain is smaller
//! lists, structs, maps           nested
//! ```

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_buffer::{BooleanBuffer, Buffer, IntervalMonthDayNano, NullBuffer};
use arrow_schema::DataType;

use super::alp::{Exponents, Float, Planned};
use super::chunk::HEADER_BYTES;
use super::constant::{self, Single};
use super::cursor::put_array;
use super::dictionary::Distinct;
use super::kind::{Kind, byte_strings};
use super::symbols::{SymbolTables, SymbolTrainer};
use super::{CHUNK_RAW_BYTES_MAX, CHUNK_ROWS_MAX, Encoding, ZoneMap, nested, packed, plain};
use crate::{Error, Result, Value};

/// What encoding one chunk came to.
#[derive(Clone, Debug, PartialEq)]
pub struct EncodedChunk {
    /// How the values are laid out.
    pub encoding: Encoding,
    /// Least and greatest value, and the number of nulls.
    pub zone: ZoneMap,
    /// The names of the symbol tables that it cannot be read without. Whoever copies the chunk
    /// into another file takes them along.
    pub symbol_tables: Vec<u64>,
    /// Of a chunk of strings the bytes in front of those in which they are stored one by one: as
    /// many at least does [`ColumnFront`](super::ColumnFront) take. Of others all.
    pub front_bytes: usize,
}

/// Encodes the chunks of one column of one file, carrying what it learned from one to the next.
#[derive(Debug)]
pub struct ColumnEncoder {
    data_type: DataType,
    learned: Learned,
    tables: SymbolTables,
}

impl ColumnEncoder {
    /// An encoder for a column of this type.
    pub fn new(data_type: DataType) -> Self {
        Self { data_type, learned: Learned::default(), tables: SymbolTables::default() }
    }

    /// Appends the chunk's bytes to `out`, a multiple of eight of them.
    ///
    /// `array` is of the column's type, or its `Utf8`/`Binary` sibling of other offsets.
    ///
    /// # Errors
    /// `Invalid` for another type, too many rows or too many bytes; `out` is then as it was.
    pub fn encode(&mut self, array: &ArrayRef, out: &mut Vec<u8>) -> Result<EncodedChunk> {
        if array.len() > CHUNK_ROWS_MAX {
            return Err(Error::invalid(format!(
                "{} rows for one column chunk; it holds {CHUNK_ROWS_MAX}",
                array.len()
            )));
        }
        let before = out.len();
        let mut writer =
            Writer { out, tables: &mut self.tables, used: Vec::new(), stored_bytes: 0 };
        let encoded = writer.chunk(&mut self.learned, &self.data_type, array);
        let (mut used, stored_bytes) = (writer.used, writer.stored_bytes);
        match encoded {
            Ok((encoding, zone)) => {
                used.sort_unstable();
                used.dedup();
                // Strings within a list are read with the list.
                let behind = if encoding == Encoding::Nested { 0 } else { stored_bytes };
                let front_bytes = out.len() - before - behind;
                Ok(EncodedChunk { encoding, zone, symbol_tables: used, front_bytes })
            }
            Err(error) => {
                out.truncate(before);
                Err(error)
            }
        }
    }

    /// The symbol tables that the chunks encoded so far name; they go into the file.
    pub fn symbol_tables(&self) -> &SymbolTables {
        &self.tables
    }
}

/// What one column's chunks have taught so far.
#[derive(Debug, Default)]
struct Learned {
    symbols: SymbolTrainer,
    exponents: Option<Exponents>,
    children: Vec<Learned>,
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    tables: &'a mut SymbolTables,
    used: Vec<u64>,
    /// Bytes at the end in which strings are stored one by one, with their padding.
    stored_bytes: usize,
}

impl Writer<'_> {
    fn chunk(
        &mut self,
        learned: &mut Learned,
        data_type: &DataType,
        array: &ArrayRef,
    ) -> Result<(Encoding, ZoneMap)> {
        let kind = Kind::of(data_type)?;
        let given = Kind::of(array.data_type())?;
        let same_kind = match (kind, given) {
            (Kind::Text(_), Kind::Text(_))
            | (Kind::Binary(_), Kind::Binary(_))
            | (Kind::Nested, Kind::Nested) => true,
            _ => array.data_type() == data_type,
        };
        if !same_kind {
            return Err(Error::invalid(format!(
                "array of type {} for a column of type {data_type}",
                array.data_type()
            )));
        }
        let rows = array.len();
        if rows.saturating_mul(kind.value_bytes()) > CHUNK_RAW_BYTES_MAX {
            return Err(Error::invalid(format!(
                "{rows} values of type {data_type} for one column chunk"
            )));
        }
        let nulls = array.logical_nulls().filter(|nulls| nulls.null_count() > 0);
        let null_count = nulls.as_ref().map_or(0, NullBuffer::null_count);
        let at = self.header(rows, null_count, nulls.as_ref().filter(|_| null_count < rows));
        let (encoding, zone) = if null_count == rows {
            (Encoding::Constant, ZoneMap::unknown())
        } else {
            self.body(learned, data_type, kind, array, nulls.as_ref())?
        };
        self.out[at] = encoding as u8;
        let count = |count: usize| u32::try_from(count).expect("rows were bounded above");
        Ok((
            encoding,
            ZoneMap {
                null_count: count(null_count),
                value_count: count(rows - null_count),
                ..zone
            },
        ))
    }

    /// Appends header and validity; the encoding is filled in later, at the place it answers with.
    fn header(&mut self, rows: usize, null_count: usize, nulls: Option<&NullBuffer>) -> usize {
        let at = self.out.len();
        self.out.resize(at + HEADER_BYTES, 0);
        let number =
            |count: usize| u32::try_from(count).expect("rows were bounded above").to_le_bytes();
        self.out[at + 1] = u8::from(nulls.is_some());
        self.out[at + 4..at + 8].copy_from_slice(&number(rows));
        self.out[at + 8..at + 12].copy_from_slice(&number(null_count));
        if let Some(nulls) = nulls {
            self.bits(nulls.inner());
        }
        at
    }

    /// Appends bits, padded to whole words.
    fn bits(&mut self, bits: &BooleanBuffer) {
        let words: Vec<u64> =
            bits.bit_chunks().iter_padded().take(bits.len().div_ceil(64)).collect();
        put_array(&words, self.out);
    }

    fn body(
        &mut self,
        learned: &mut Learned,
        data_type: &DataType,
        kind: Kind,
        array: &ArrayRef,
        nulls: Option<&NullBuffer>,
    ) -> Result<(Encoding, ZoneMap)> {
        let data = array.to_data();
        match kind {
            Kind::Boolean => Ok(self.booleans(array.as_boolean().values(), nulls)),
            Kind::Int(int) => {
                let mut values = int.ordered(&data);
                fill_nulls(&mut values, nulls);
                Ok(self.ints(kind, &values))
            }
            Kind::Decimal => Ok(self.decimals(&data.buffer::<i128>(0)[..data.len()], nulls)),
            Kind::Interval => {
                Ok(self.intervals(&data.buffer::<IntervalMonthDayNano>(0)[..data.len()], nulls))
            }
            Kind::Float32 => Ok(self.floats(
                learned,
                &data.buffer::<f32>(0)[..data.len()],
                nulls,
                Single::Float32,
            )),
            Kind::Float64 => Ok(self.floats(
                learned,
                &data.buffer::<f64>(0)[..data.len()],
                nulls,
                Single::Float64,
            )),
            Kind::Text(_) | Kind::Binary(_) | Kind::Fixed(_) => {
                let values = byte_strings(array)
                    .ok_or_else(|| Error::invalid(format!("{data_type} has no bytes")))?;
                self.strings(learned, kind, &values, nulls)
            }
            Kind::Nested => self.nested(learned, data_type, array),
        }
    }

    fn booleans(
        &mut self,
        values: &BooleanBuffer,
        nulls: Option<&NullBuffer>,
    ) -> (Encoding, ZoneMap) {
        let valid = nulls.map_or(values.len(), |nulls| nulls.len() - nulls.null_count());
        let set = nulls.map_or_else(
            || values.count_set_bits(),
            |nulls| (values & nulls.inner()).count_set_bits(),
        );
        let zone = ZoneMap::exact(Value::Boolean(set == valid), Value::Boolean(set > 0));
        if set == 0 || set == valid {
            constant::write(&Single::Boolean(set > 0), self.out);
            return (Encoding::Constant, zone);
        }
        self.bits(values);
        (Encoding::Plain, zone)
    }

    fn ints(&mut self, kind: Kind, values: &[i64]) -> (Encoding, ZoneMap) {
        let (min, max) = packed::min_max(values);
        let zone = ZoneMap::exact(kind.int_value(min).to_value(), kind.int_value(max).to_value());
        if min == max {
            match kind {
                Kind::Decimal => constant::write(&Single::Decimal(min.into()), self.out),
                _ => constant::write(&Single::Int(min), self.out),
            }
            return (Encoding::Constant, zone);
        }
        let at = self.out.len();
        packed::write(values, self.out);
        if self.out.len() - at <= values.len() * kind.value_bytes() {
            return (Encoding::Packed, zone);
        }
        self.out.truncate(at);
        plain::write_ints(values, kind, self.out);
        (Encoding::Plain, zone)
    }

    fn decimals(&mut self, values: &[i128], nulls: Option<&NullBuffer>) -> (Encoding, ZoneMap) {
        #[expect(clippy::cast_possible_truncation, reason = "compared with the original")]
        let narrow = |value: i128| value as i64;
        let fits = |value: i128| i128::from(narrow(value)) == value;
        let mut numbers: Vec<i64> = values.iter().map(|&value| narrow(value)).collect();
        if nulls.is_none() && values.iter().all(|&value| fits(value)) {
            return self.ints(Kind::Decimal, &numbers);
        }
        let mut values = values.to_vec();
        fill_nulls(&mut values, nulls);
        if values.iter().all(|&value| fits(value)) {
            fill_nulls(&mut numbers, nulls);
            return self.ints(Kind::Decimal, &numbers);
        }
        let (min, max) = values
            .iter()
            .fold((i128::MAX, i128::MIN), |(min, max), &value| (min.min(value), max.max(value)));
        let zone = ZoneMap::exact(Value::Decimal(min), Value::Decimal(max));
        if min == max {
            constant::write(&Single::Decimal(min), self.out);
            return (Encoding::Constant, zone);
        }
        put_array(&values, self.out);
        (Encoding::Plain, zone)
    }

    fn intervals(
        &mut self,
        values: &[IntervalMonthDayNano],
        nulls: Option<&NullBuffer>,
    ) -> (Encoding, ZoneMap) {
        let mut values = values.to_vec();
        fill_nulls(&mut values, nulls);
        if values.iter().all(|value| *value == values[0]) {
            constant::write(&Single::Interval(values[0]), self.out);
            return (Encoding::Constant, ZoneMap::unknown());
        }
        put_array(&values, self.out);
        (Encoding::Plain, ZoneMap::unknown())
    }

    fn floats<F: Float + arrow_buffer::ArrowNativeType>(
        &mut self,
        learned: &mut Learned,
        values: &[F],
        nulls: Option<&NullBuffer>,
        single: impl Fn(F) -> Single,
    ) -> (Encoding, ZoneMap) {
        let mut values = values.to_vec();
        fill_nulls(&mut values, nulls);
        let zone = ZoneMap::floats(values.iter().map(|value| value.widen()));
        if values.iter().all(|value| value.same(values[0])) {
            constant::write(&single(values[0]), self.out);
            return (Encoding::Constant, zone);
        }
        let at = self.out.len();
        if let Some(planned) = Planned::of(&values, learned.exponents) {
            learned.exponents = Some(planned.exponents());
            planned.write(self.out);
            if self.out.len() - at < values.len() * size_of::<F>() {
                return (Encoding::Alp, zone);
            }
            self.out.truncate(at);
        }
        put_array(&values, self.out);
        (Encoding::Plain, zone)
    }

    fn strings(
        &mut self,
        learned: &mut Learned,
        kind: Kind,
        values: &[&[u8]],
        nulls: Option<&NullBuffer>,
    ) -> Result<(Encoding, ZoneMap)> {
        let raw: usize = values.iter().map(|value| value.len()).sum();
        if raw > CHUNK_RAW_BYTES_MAX {
            return Err(Error::invalid(format!(
                "{raw} bytes of strings for one column chunk; it holds {CHUNK_RAW_BYTES_MAX}"
            )));
        }
        let is_valid = |row: usize| nulls.is_none_or(|nulls| nulls.is_valid(row));
        let mut valid = (0..values.len()).filter(|&row| is_valid(row)).map(|row| values[row]);
        let first = valid.next().unwrap_or_default();
        let text = matches!(kind, Kind::Text(_));
        if valid.all(|value| value == first) {
            constant::write(&Single::Bytes(Buffer::from_slice_ref(first)), self.out);
            return Ok((Encoding::Constant, ZoneMap::strings(first, first, text)));
        }
        let plain_bytes = match kind {
            Kind::Fixed(size) => values.len() * size,
            _ => raw + values.len() * 2,
        };
        if let Some(distinct) = Distinct::of(values, nulls)
            && distinct.bytes() < plain_bytes
        {
            let zone = ZoneMap::strings(distinct.first(), distinct.last(), text);
            self.used.extend(distinct.write(&mut learned.symbols, self.tables, self.out)?);
            return Ok((Encoding::Dictionary, zone));
        }
        let mut valid = (0..values.len()).filter(|&row| is_valid(row)).map(|row| values[row]);
        let first = valid.next().unwrap_or_default();
        let (min, max) =
            valid.fold((first, first), |(min, max), value| (min.min(value), max.max(value)));
        let zone = ZoneMap::strings(min, max, text);
        if let Kind::Fixed(size) = kind {
            for value in values {
                self.out.extend_from_slice(value);
                // A null has no bytes of its own.
                self.out.resize(self.out.len() + size - value.len(), 0);
            }
            super::cursor::pad(values.len() * size, self.out);
            return Ok((Encoding::Plain, zone));
        }
        match learned.symbols.compress(values, raw, self.tables)? {
            Some(compressed) => {
                self.used.push(compressed.table());
                self.stored_bytes = compressed.stored_bytes().next_multiple_of(8);
                compressed.write(&mut learned.symbols, self.out);
                Ok((Encoding::Symbols, zone))
            }
            None => {
                plain::write_strings(values, self.out);
                self.stored_bytes = raw.next_multiple_of(8);
                Ok((Encoding::Plain, zone))
            }
        }
    }

    fn nested(
        &mut self,
        learned: &mut Learned,
        data_type: &DataType,
        array: &ArrayRef,
    ) -> Result<(Encoding, ZoneMap)> {
        let children = nested::children(array, self.out)?;
        let types = nested::child_types(data_type);
        let alike = std::mem::discriminant(data_type) == std::mem::discriminant(array.data_type());
        if !alike || children.len() != types.len() {
            return Err(Error::invalid(format!(
                "array of type {} for a column of type {data_type}",
                array.data_type()
            )));
        }
        learned.children.resize_with(children.len(), Learned::default);
        for ((child, data_type), learned) in children.iter().zip(types).zip(&mut learned.children) {
            let at = nested::begin_child(child.len(), self.out);
            self.chunk(learned, data_type, child)?;
            nested::end_child(at, self.out);
        }
        Ok((Encoding::Nested, ZoneMap::unknown()))
    }
}

/// Gives each null row the value of the row before it, those in front that of the first valid row:
/// what stands there means nothing, and so it costs nothing.
fn fill_nulls<T: Copy>(values: &mut [T], nulls: Option<&NullBuffer>) {
    let Some(nulls) = nulls else { return };
    let Some(first) = nulls.inner().set_indices().next() else { return };
    let mut last = values[first];
    for (row, value) in values.iter_mut().enumerate() {
        match nulls.is_valid(row) {
            true => last = *value,
            false => *value = last,
        }
    }
}
