//! Arrays of views over strings that lie one behind the other.
//!
//! Arrow's safe constructors check views one by one, text for each of them anew, and for strings
//! of thirty bytes that costs as much as decoding them. Here the views are made from offsets that
//! were checked, and text is looked at once, as a whole: bytes below 128 are text wherever they
//! are cut. Other text takes the safe way.
//!
//! The one module of this crate with unsafe code: four calls of `new_unchecked`.

#![expect(unsafe_code, reason = "views made here need no second check; see above")]

use arrow_array::cast::AsArray;
use arrow_array::{BinaryViewArray, StringArray, StringViewArray, UInt32Array};
use arrow_buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_select::take::take;

use crate::{Error, Result};

/// The longest string that a view holds within itself.
const INLINE_BYTES_MAX: usize = 12;

/// The strings of `values` between each of `offsets`, which ascend from 0 or above, and the next, as
/// text.
pub(super) fn text_views(
    offsets: Vec<i32>,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> Result<StringViewArray> {
    if !values.is_ascii() {
        let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
        let array = StringArray::try_new(offsets, values, nulls).map_err(corrupt)?;
        return Ok(StringViewArray::from(&array));
    }
    let views = views(&offsets, &values, nulls.as_ref())?;
    // SAFETY: `views` are of strings within `values`, which is ASCII and so text wherever it is
    // cut, and there are as many nulls as views.
    Ok(unsafe { StringViewArray::new_unchecked(views, [values], nulls) })
}

/// The strings of `values` between each of `offsets`, which ascend from 0 or above, and the next.
pub(super) fn binary_views(
    offsets: Vec<i32>,
    values: Buffer,
    nulls: Option<NullBuffer>,
) -> Result<BinaryViewArray> {
    let views = views(&offsets, &values, nulls.as_ref())?;
    // SAFETY: `views` are of strings within `values`, and there are as many nulls as views.
    Ok(unsafe { BinaryViewArray::new_unchecked(views, [values], nulls) })
}

/// As [`text_views`], each row the string at its place between the offsets.
pub(super) fn text_views_at(
    offsets: Vec<i32>,
    values: Buffer,
    places: &[u32],
    nulls: Option<NullBuffer>,
) -> Result<StringViewArray> {
    if !values.is_ascii() {
        let strings = text_views(offsets, values, None)?;
        let taken = take(&strings, &UInt32Array::new(places.to_vec().into(), nulls), None)?;
        return Ok(taken.as_string_view().clone());
    }
    let views = views_at(&offsets, &values, places, nulls.as_ref())?;
    // SAFETY: `views` are of strings within `values`, which is ASCII and so text wherever it is
    // cut, and there are as many nulls as views.
    Ok(unsafe { StringViewArray::new_unchecked(views, [values], nulls) })
}

/// As [`binary_views`], each row the string at its place between the offsets.
pub(super) fn binary_views_at(
    offsets: &[i32],
    values: Buffer,
    places: &[u32],
    nulls: Option<NullBuffer>,
) -> Result<BinaryViewArray> {
    let views = views_at(offsets, &values, places, nulls.as_ref())?;
    // SAFETY: `views` are of strings within `values`, and there are as many nulls as views.
    Ok(unsafe { BinaryViewArray::new_unchecked(views, [values], nulls) })
}

fn corrupt(error: arrow_schema::ArrowError) -> Error {
    Error::corrupt(format!("strings of a column: {error}"))
}

/// The view of each string: its length, and itself if it is short, else its first four bytes and
/// its place in the first buffer. Checks that all lie within `values` and that `nulls` fit;
/// `offsets` ascend from 0 or above.
fn views(offsets: &[i32], values: &[u8], nulls: Option<&NullBuffer>) -> Result<ScalarBuffer<u128>> {
    check(offsets, values, offsets.len() - 1, nulls)?;
    let views = offsets.windows(2).map(|pair| {
        let start = position(pair[0]);
        view(values, start, position(pair[1]) - start)
    });
    Ok(ScalarBuffer::from_iter(views))
}

/// The same, of the string at each place.
fn views_at(
    offsets: &[i32],
    values: &[u8],
    places: &[u32],
    nulls: Option<&NullBuffer>,
) -> Result<ScalarBuffer<u128>> {
    check(offsets, values, places.len(), nulls)?;
    let views = places.iter().map(|&place| {
        let (start, end) = (offsets[place as usize], offsets[place as usize + 1]);
        view(values, position(start), position(end) - position(start))
    });
    Ok(ScalarBuffer::from_iter(views))
}

fn check(offsets: &[i32], values: &[u8], rows: usize, nulls: Option<&NullBuffer>) -> Result<()> {
    let end = position(offsets[offsets.len() - 1]);
    if end > values.len() {
        return Err(Error::corrupt(format!(
            "strings of a column end at {end} in {} bytes",
            values.len()
        )));
    }
    if let Some(nulls) = nulls.filter(|nulls| nulls.len() != rows) {
        return Err(Error::corrupt(format!("{} nulls for {rows} strings", nulls.len())));
    }
    Ok(())
}

#[inline]
fn view(values: &[u8], start: usize, length: usize) -> u128 {
    if length > INLINE_BYTES_MAX {
        let first = values
            .get(start..)
            .and_then(<[u8]>::first_chunk)
            .map_or(0, |first| u32::from_le_bytes(*first));
        // In two words: the place and the buffer's number, 0; the first bytes and the length.
        let (high, low) = ((start as u64) << 32, u64::from(first) << 32 | length as u64);
        return u128::from(high) << 64 | u128::from(low);
    }
    let mut bytes = [0; 16];
    bytes[0] = u8::try_from(length).expect("no longer than twelve");
    bytes[4..4 + length].copy_from_slice(&values[start..start + length]);
    u128::from_le_bytes(bytes)
}

fn position(offset: i32) -> usize {
    usize::try_from(offset).expect("offsets ascend from 0 or above")
}

#[cfg(test)]
mod tests {
    use arrow_array::Array;

    use super::*;

    fn lay_out(strings: &[&str]) -> (Vec<i32>, Buffer) {
        let offsets = OffsetBuffer::from_lengths(strings.iter().map(|string| string.len()));
        (offsets.to_vec(), Buffer::from_vec(strings.concat().into_bytes()))
    }

    #[test]
    fn views_are_those_that_arrow_makes() {
        let long = "x".repeat(70);
        let ascii: Vec<&str> = (0..40).map(|length| &long[..length]).chain(["end"]).collect();
        for strings in [ascii.as_slice(), &["é", "a", "übermäßig lange Wörter", ""], &[], &[""]]
        {
            for nulls in [None, Some(NullBuffer::new_valid(strings.len()))] {
                let (offsets, values) = lay_out(strings);
                let ours = text_views(offsets.clone(), values.clone(), nulls.clone()).unwrap();
                ours.to_data().validate_full().unwrap();
                let checked = OffsetBuffer::new(offsets.clone().into());
                let theirs = StringArray::try_new(checked, values.clone(), nulls.clone());
                assert_eq!(ours, StringViewArray::from(&theirs.unwrap()));
                let mut places: Vec<u32> = (0..).take(strings.len()).collect();
                places.reverse();
                let ours = text_views_at(offsets.clone(), values.clone(), &places, nulls.clone());
                ours.as_ref().unwrap().to_data().validate_full().unwrap();
                assert!(ours.unwrap().iter().flatten().eq(strings.iter().rev().copied()));
                let ours = binary_views_at(&offsets, values.clone(), &places, nulls.clone());
                ours.as_ref().unwrap().to_data().validate_full().unwrap();
                let reversed = strings.iter().rev().map(|string| string.as_bytes());
                assert!(ours.unwrap().iter().flatten().eq(reversed));
                let ours = binary_views(offsets, values, nulls).unwrap();
                ours.to_data().validate_full().unwrap();
                assert!(ours.iter().flatten().eq(strings.iter().map(|string| string.as_bytes())));
            }
        }
    }

    #[test]
    fn strings_beyond_their_bytes_and_nulls_of_another_length_are_refused() {
        let (offsets, values) = lay_out(&["some", "strings"]);
        let short = values.slice_with_length(0, 10);
        assert!(text_views(offsets.clone(), short.clone(), None).is_err());
        assert!(binary_views(offsets.clone(), short, None).is_err());
        let nulls = Some(NullBuffer::new_valid(3));
        assert!(text_views(offsets.clone(), values.clone(), nulls.clone()).is_err());
        assert!(binary_views(offsets, values, nulls).is_err());
    }

    #[test]
    fn text_cut_within_a_character_is_refused() {
        assert!(
            text_views(vec![0, 1, 2], Buffer::from_vec("é".as_bytes().to_vec()), None).is_err()
        );
    }
}
