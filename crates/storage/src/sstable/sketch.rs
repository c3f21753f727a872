//! [`Sketches`]: about how many different values each column of a file has.
//!
//! A HyperLogLog a column (Flajolet and others, 2007), read with Ertl's estimator ("New cardinality
//! estimation algorithms for HyperLogLog sketches", 2017), which needs no correction for few values
//! or many. 1,024 registers err by 3 %. Two sketches together are the greater of each register,
//! so files and groups are counted apart and put together; a group that is copied brings the whole
//! file's that it comes from.
//!
//! ```text
//! sketches := columns 4 | columns × (column 4 | form 1 | body)
//! body     := count 2 | count × (register 2 | rank 1)     form 0: those that are not zero
//!           | 1,024 ranks                                  form 1
//! ```

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use silt_codec::{ColumnId, Error, Result};
use twox_hash::XxHash3_64;

use super::input::Input;

/// The logarithm of the number of registers. Persistent.
const BITS: u32 = 10;
const REGISTERS: usize = 1 << BITS;
/// No rank is higher: so many bits of a hash are left, and one.
const RANK_MAX: u8 = 55;
const _: () = assert!(RANK_MAX as u32 == 64 - BITS + 1);
/// With more registers than these the dense form is the shorter one.
const SPARSE_MAX: usize = (REGISTERS - 2) / 3;

/// What is known of the number of values of one column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sketch {
    ranks: Vec<u8>,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { ranks: vec![0; REGISTERS] }
    }
}

impl Sketch {
    /// Adds the values of an array but for its NULLs; false for a type that is not counted.
    pub(super) fn add(&mut self, array: &ArrayRef) -> bool {
        let mut last = None;
        hash_values(array, |hash| {
            if last != Some(hash) {
                last = Some(hash);
                self.add_hash(hash);
            }
        })
    }

    fn add_hash(&mut self, hash: u64) {
        let register = usize::try_from(hash >> (64 - BITS)).unwrap_or(0);
        let rest = (hash << BITS) | (1 << (BITS - 1));
        let rank = u8::try_from(rest.leading_zeros() + 1).unwrap_or(RANK_MAX);
        let place = &mut self.ranks[register];
        *place = (*place).max(rank);
    }

    /// Adds what the other one counted.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (rank, other) in self.ranks.iter_mut().zip(&other.ranks) {
            *rank = (*rank).max(*other);
        }
    }

    /// About how many values were added.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate")]
    pub(crate) fn count(&self) -> u64 {
        let mut counts = [0_u32; RANK_MAX as usize + 1];
        for &rank in &self.ranks {
            counts[usize::from(rank.min(RANK_MAX))] += 1;
        }
        let registers = REGISTERS as f64;
        let part = |rank: usize| f64::from(counts[rank]) / registers;
        let mut sum = registers * tau(1.0 - part(usize::from(RANK_MAX)));
        for rank in (1..usize::from(RANK_MAX)).rev() {
            sum = 0.5 * (sum + f64::from(counts[rank]));
        }
        sum += registers * sigma(part(0));
        (registers * registers / (2.0 * std::f64::consts::LN_2) / sum).round() as u64
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let set = || self.ranks.iter().zip(0_u16..).filter(|(rank, _)| **rank > 0);
        let count = set().count();
        if count > SPARSE_MAX {
            out.push(1);
            out.extend_from_slice(&self.ranks);
            return;
        }
        out.push(0);
        out.extend_from_slice(&u16::try_from(count).unwrap_or_default().to_le_bytes());
        for (rank, register) in set() {
            out.extend_from_slice(&register.to_le_bytes());
            out.push(*rank);
        }
    }

    fn decode(input: &mut Input<'_>) -> Result<Self> {
        let mut sketch = Self::default();
        match input.u8()? {
            0 => {
                for _ in 0..input.u16()? {
                    let (register, rank) = (input.u16()?, input.u8()?);
                    let place = sketch.ranks.get_mut(usize::from(register));
                    let place = place.ok_or_else(|| {
                        Error::corrupt(format!("register {register} of a sketch"))
                    })?;
                    *place = rank;
                }
            }
            1 => sketch.ranks.copy_from_slice(input.take(REGISTERS)?),
            form => return Err(Error::corrupt(format!("a sketch of form {form}"))),
        }
        match sketch.ranks.iter().find(|rank| **rank > RANK_MAX) {
            Some(rank) => Err(Error::corrupt(format!("rank {rank} in a sketch"))),
            None => Ok(sketch),
        }
    }
}

/// Gives `each` the hash of every value of an array, in order, but for its NULLs; false for a type
/// that is not counted. Persistent.
pub(crate) fn hash_values(array: &ArrayRef, mut each: impl FnMut(u64)) -> bool {
    match array.data_type() {
        DataType::Boolean => {
            for value in array.as_boolean().iter().flatten() {
                each(mix(u64::from(value)));
            }
        }
        DataType::Utf8View => hash_texts(array.as_string_view().iter(), each),
        DataType::Utf8 => hash_texts(array.as_string::<i32>().iter(), each),
        DataType::LargeUtf8 => hash_texts(array.as_string::<i64>().iter(), each),
        DataType::BinaryView => hash_texts(array.as_binary_view().iter(), each),
        DataType::Binary => hash_texts(array.as_binary::<i32>().iter(), each),
        DataType::LargeBinary => hash_texts(array.as_binary::<i64>().iter(), each),
        other => match other.primitive_width() {
            Some(1) => hash_words(array, |bytes: [u8; 1]| u64::from(bytes[0]), each),
            Some(2) => hash_words(array, |bytes| u64::from(u16::from_le_bytes(bytes)), each),
            Some(4) => hash_words(array, |bytes| u64::from(u32::from_le_bytes(bytes)), each),
            Some(8) => hash_words(array, u64::from_le_bytes, each),
            Some(16) => {
                let word = |bytes: [u8; 16]| {
                    let word = u128::from_le_bytes(bytes);
                    let [low, high] = [word, word >> 64]
                        .map(|word| u64::try_from(word & u128::from(u64::MAX)).unwrap_or_default());
                    // A small number's upper half is nothing but its sign.
                    low ^ high.rotate_left(32)
                };
                hash_words(array, word, each);
            }
            _ => return false,
        },
    }
    true
}

fn hash_words<const N: usize>(
    array: &ArrayRef,
    word: impl Fn([u8; N]) -> u64,
    mut each: impl FnMut(u64),
) {
    let data = array.to_data();
    let bytes = data.buffers().first().map_or(&[][..], |buffer| buffer.as_slice());
    let (values, _) = bytes.as_chunks::<N>();
    let values = values.get(data.offset()..data.offset() + data.len()).unwrap_or_default();
    let nulls = array.nulls();
    for (row, value) in values.iter().enumerate() {
        if !nulls.is_some_and(|nulls| nulls.is_null(row)) {
            each(mix(word(*value)));
        }
    }
}

fn hash_texts<'a, T: AsRef<[u8]> + ?Sized + 'a>(
    texts: impl Iterator<Item = Option<&'a T>>,
    mut each: impl FnMut(u64),
) {
    let mut last: Option<(&[u8], u64)> = None;
    for text in texts.flatten() {
        let text = text.as_ref();
        let hash = match last {
            Some((last, hash)) if last == text => hash,
            _ => XxHash3_64::oneshot(text),
        };
        last = Some((text, hash));
        each(hash);
    }
}

/// Spreads a word over all bits (the last steps of SplitMix64). Persistent.
fn mix(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z <= before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z >= before {
            return z / 3.0;
        }
    }
}

/// A sketch for each column of a file; none where not all of its values were counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sketches {
    columns: Vec<(ColumnId, Option<Sketch>)>,
}

impl Sketches {
    pub(super) fn new(columns: impl IntoIterator<Item = ColumnId>) -> Self {
        Self { columns: columns.into_iter().map(|id| (id, Some(Sketch::default()))).collect() }
    }

    /// Adds values of the column at `position`.
    pub(super) fn add(&mut self, position: usize, array: &ArrayRef) {
        let Some((_, place)) = self.columns.get_mut(position) else { return };
        if let Some(sketch) = place
            && !sketch.add(array)
        {
            *place = None;
        }
    }

    /// Adds what another file counted, or none if it did not.
    pub(super) fn merge(&mut self, other: Option<&Self>) {
        for (id, place) in &mut self.columns {
            match (&mut *place, other.and_then(|other| other.column(*id))) {
                (Some(sketch), Some(other)) => sketch.merge(other),
                _ => *place = None,
            }
        }
    }

    /// The sketch of a column.
    pub(crate) fn column(&self, id: ColumnId) -> Option<&Sketch> {
        let found = self.columns.iter().find(|(column, _)| *column == id);
        found.and_then(|(_, sketch)| sketch.as_ref())
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.columns.len() * REGISTERS
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let known = || self.columns.iter().filter_map(|(id, sketch)| Some((id, sketch.as_ref()?)));
        let mut out = Vec::new();
        let count = u32::try_from(known().count()).expect("columns are limited to 4,096");
        out.extend_from_slice(&count.to_le_bytes());
        for (id, sketch) in known() {
            out.extend_from_slice(&id.to_le_bytes());
            sketch.encode(&mut out);
        }
        out
    }

    /// The sketches of a block; none if the file has no such block, as older ones.
    pub(super) fn decode(bytes: &[u8]) -> Result<Option<Self>> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let mut input = Input::new(bytes);
        let mut columns = Vec::new();
        for _ in 0..input.count(7)? {
            columns.push((input.u32()?, Some(Sketch::decode(&mut input)?)));
        }
        input.end()?;
        Ok(Some(Self { columns }))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{Decimal128Array, Int64Array, StringViewArray};

    use super::*;

    fn integers(values: impl Iterator<Item = i64>) -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(values))
    }

    fn count(array: ArrayRef) -> u64 {
        let mut sketch = Sketch::default();
        assert!(sketch.add(&array));
        sketch.count()
    }

    fn assert_near(found: u64, wanted: u64) {
        let off = found.abs_diff(wanted);
        assert!(off * 10 <= wanted, "{found} instead of {wanted}");
    }

    #[test]
    fn counts_are_near_the_truth_from_none_to_a_million() {
        assert_eq!(count(integers(0..0)), 0);
        assert_eq!(count(integers([7, 7, 7].into_iter())), 1);
        for wanted in [2, 10, 50, 300, 1_000, 3_000, 20_000, 1_000_000_u64] {
            let bound = i64::try_from(wanted).unwrap();
            assert_near(count(integers((0..bound).chain(0..bound / 2))), wanted);
            let texts = (0..wanted.min(50_000)).map(|n| format!("entity/{n:07}"));
            assert_near(
                count(Arc::new(StringViewArray::from_iter_values(texts))),
                wanted.min(50_000),
            );
            let decimals = (0..wanted).map(|n| i128::from(n) * 100 - 5_000);
            assert_near(count(Arc::new(Decimal128Array::from_iter_values(decimals))), wanted);
        }
    }

    #[test]
    fn nulls_are_no_values_and_slices_count_their_own_rows() {
        let array: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1), None, Some(2), None]));
        assert_eq!(count(Arc::clone(&array)), 2);
        assert_eq!(count(array.slice(2, 3)), 1);
        assert_eq!(count(array.slice(4, 1)), 0);
    }

    #[test]
    fn two_together_count_what_one_would_have() {
        let (mut one, mut other, mut both) =
            (Sketch::default(), Sketch::default(), Sketch::default());
        one.add(&integers(0..5_000));
        other.add(&integers(4_000..9_000));
        both.add(&integers(0..9_000));
        one.merge(&other);
        assert_eq!(one, both);
    }

    #[test]
    fn both_forms_come_back_and_damage_is_refused() {
        for values in [0, 3, 100, 100_000] {
            let mut sketches = Sketches::new([4, 9]);
            sketches.add(0, &integers(0..values));
            sketches.columns[1].1 = None;
            let bytes = sketches.encode();
            let back = Sketches::decode(&bytes).unwrap().unwrap();
            assert_eq!(back.column(4), sketches.column(4));
            assert!(back.column(9).is_none());
            for end in 1..bytes.len() {
                assert!(Sketches::decode(&bytes[..end]).is_err(), "{end} of {}", bytes.len());
            }
        }
        assert!(Sketches::decode(&[]).unwrap().is_none());
        let bad = [1, 0, 0, 0, 4, 0, 0, 0, 0, 1, 0, 0xff, 0xff, 1];
        assert!(Sketches::decode(&bad).is_err(), "a register that is not there");
    }
}
