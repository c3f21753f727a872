//! Bit packing of 1,024 unsigned integers, in the order of FastLanes (Afroozeh, Boncz, VLDB 2023).
//!
//! `fastlanes` wants widths at compile time; here a `match` picks the instance, so that no unsafe
//! call is needed. A vector of width `w` takes `128 * w` bytes whatever the word it is packed in,
//! so the word follows from the width alone: the narrowest that holds it.

use arrow_buffer::ArrowNativeType;
use fastlanes::BitPacking;

/// The number of values packed together.
pub(super) const VECTOR: usize = 1024;

/// The bytes of one vector at a width of one bit.
pub(super) const BYTES_PER_BIT: usize = VECTOR / 8;

const _: () =
    assert!(cfg!(target_endian = "little"), "chunks are read in place as little-endian words");

/// FastLanes' order of the eight groups of rows; its own inverse.
const ORDER: [u8; 8] = [0, 4, 2, 6, 1, 5, 3, 7];

/// An unsigned word that vectors of some widths are packed in.
pub(super) trait Word: ArrowNativeType {
    /// Its size.
    const BITS: usize;

    /// Packs the low `width` bits of each value; `packed` holds `VECTOR * width / BITS` words.
    fn pack(width: usize, values: &[Self; VECTOR], packed: &mut [Self]);

    /// The inverse of [`pack`](Self::pack).
    fn unpack(width: usize, packed: &[Self], values: &mut [Self; VECTOR]);

    /// The low bits of `value`.
    fn truncate(value: u64) -> Self;

    /// The same number.
    fn widen(self) -> u64;

    /// The difference, wrapped.
    fn minus(self, other: Self) -> Self;

    /// The sum of as many as a vector has, or fewer.
    fn sum(values: &[Self]) -> u64;

    /// The sum of those whose bit is set, the first one's lowest.
    fn sum_of_set(values: &[Self; 64], bits: u64) -> u64;
}

macro_rules! word {
    ($word:ty, $sum:ty, $($width:literal)+) => {
        impl Word for $word {
            const BITS: usize = <$word>::BITS as usize;

            fn pack(width: usize, values: &[Self; VECTOR], packed: &mut [Self]) {
                match width {
                    $($width => {
                        const WORDS: usize = VECTOR * $width / <$word>::BITS as usize;
                        let packed: &mut [$word; WORDS] = packed.try_into().expect("one vector's words");
                        BitPacking::pack::<$width, WORDS>(values, packed);
                    })+
                    _ => unreachable!("width {width} is not packed in words of {} bits", Self::BITS),
                }
            }

            fn unpack(width: usize, packed: &[Self], values: &mut [Self; VECTOR]) {
                match width {
                    $($width => {
                        const WORDS: usize = VECTOR * $width / <$word>::BITS as usize;
                        let packed: &[$word; WORDS] = packed.try_into().expect("one vector's words");
                        BitPacking::unpack::<$width, WORDS>(packed, values);
                    })+
                    _ => unreachable!("width {width} is not packed in words of {} bits", Self::BITS),
                }
            }

            #[allow(clippy::cast_possible_truncation, reason = "that is its purpose, but for u64")]
            fn truncate(value: u64) -> Self {
                value as Self
            }

            #[inline]
            fn widen(self) -> u64 {
                self as u64
            }

            #[inline]
            fn minus(self, other: Self) -> Self {
                self.wrapping_sub(other)
            }

            #[inline]
            fn sum(values: &[Self]) -> u64 {
                let sum = |sum: $sum, &value: &$word| sum.wrapping_add(<$sum>::from(value));
                values.iter().fold(0, sum).into()
            }

            // Inlined, it is made of single values again.
            #[inline(never)]
            #[allow(clippy::cast_possible_truncation, reason = "the rest of the bits comes later")]
            fn sum_of_set(values: &[Self; 64], bits: u64) -> u64 {
                const BITS: usize = <$word>::BITS as usize;
                // A word's bits beside as many values: each keeps its own, and all of the value is
                // kept or none, so that a whole register is done at once.
                const EACH: [$word; BITS] = {
                    let mut each = [0; BITS];
                    let mut bit = 0;
                    while bit < BITS {
                        each[bit] = 1 << bit;
                        bit += 1;
                    }
                    each
                };
                let mut sum: $sum = 0;
                for (part, values) in values.as_chunks::<BITS>().0.iter().enumerate() {
                    let bits = (bits >> (part * BITS)) as $word;
                    for (&value, bit) in values.iter().zip(EACH) {
                        let taken = if bits & bit == bit { value } else { 0 };
                        sum = sum.wrapping_add(<$sum>::from(taken));
                    }
                }
                sum.into()
            }
        }
    };
}

word!(u8, u32, 1 2 3 4 5 6 7 8);
word!(u16, u32, 9 10 11 12 13 14 15 16);
word!(u32, u64, 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32);
word!(u64, u64, 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63 64);

/// One value of a packed vector, without a branch on the width.
#[inline]
pub(super) fn unpack_single<W: Word>(width: usize, packed: &[W], index: usize) -> u64 {
    let lanes = VECTOR / W::BITS;
    let lane = index % lanes;
    let group = (index % 128 - lane) / 16;
    let row = usize::from(ORDER[group % 8]) * 8 + index / 128;
    let bit = row * width;
    let word = bit / W::BITS * lanes + lane;
    let shift = bit % W::BITS;
    let low = packed[word].widen() >> shift;
    let value = if shift + width > W::BITS {
        let high = packed[word + lanes].widen();
        low | high << (W::BITS - shift)
    } else {
        low
    };
    value & mask(width)
}

/// The greatest value of `width` bits.
#[inline]
pub(super) fn mask(width: usize) -> u64 {
    if width == 0 { 0 } else { u64::MAX >> (64 - width.min(64)) }
}

/// The bits that `value` needs.
#[inline]
pub(super) fn width_of(value: u64) -> usize {
    (64 - value.leading_zeros()) as usize
}

/// Sixty-four flags of 0 or 1 as bits, the first one lowest.
#[inline]
fn flags_to_word(flags: &[u8; 64]) -> u64 {
    let mut word = 0;
    for (index, eight) in flags.as_chunks::<8>().0.iter().enumerate() {
        // Each byte's bit is moved beside its neighbour's in the topmost byte of the product.
        let bits = u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        word |= bits << (8 * index);
    }
    word
}

/// One bit a value: whether `test` holds. A full chunk of 64 is computed at a time.
#[inline]
pub(super) fn test_all<T: Copy>(values: &[T], words: &mut [u64], test: impl Fn(T) -> bool) {
    let mut flags = [0u8; 64];
    let (chunks, rest) = values.as_chunks::<64>();
    for (word, chunk) in words.iter_mut().zip(chunks) {
        for (flag, &value) in flags.iter_mut().zip(chunk) {
            *flag = u8::from(test(value));
        }
        *word = flags_to_word(&flags);
    }
    if !rest.is_empty() {
        let mut word = 0;
        for (index, &value) in rest.iter().enumerate() {
            word |= u64::from(test(value)) << index;
        }
        words[chunks.len()] = word;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn randoms() -> impl FnMut() -> u64 {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        move || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            state >> 7 ^ state << 9
        }
    }

    fn round_trip<W: Word>(width: usize) {
        let mut random = randoms();
        let values: [W; VECTOR] = std::array::from_fn(|_| W::truncate(random() & mask(width)));
        let mut packed = vec![W::truncate(0); VECTOR * width / W::BITS];
        W::pack(width, &values, &mut packed);
        let mut unpacked = [W::truncate(0); VECTOR];
        W::unpack(width, &packed, &mut unpacked);
        assert!(values == unpacked, "width {width}");
        for (index, &value) in values.iter().enumerate() {
            let value = value.widen();
            assert_eq!(unpack_single(width, &packed, index), value, "width {width}, index {index}");
        }
    }

    #[test]
    fn every_width_unpacks_to_what_was_packed_at_once_and_one_by_one() {
        (1..=8).for_each(round_trip::<u8>);
        (9..=16).for_each(round_trip::<u16>);
        (17..=32).for_each(round_trip::<u32>);
        (33..=64).for_each(round_trip::<u64>);
    }

    fn sums<W: Word>(width: usize) {
        let mut random = randoms();
        let greatest = mask(width.min(45));
        for some in [true, false] {
            let values: [W; VECTOR] = std::array::from_fn(|_| {
                W::truncate(if some { random() & greatest } else { greatest })
            });
            assert_eq!(W::sum(&values), values.iter().map(|value| value.widen()).sum::<u64>());
            for values in values.as_chunks::<64>().0 {
                for bits in [0, 1, 1 << 63, u64::MAX, random(), random(), random() & random()] {
                    let set = values.iter().enumerate().filter(|(row, _)| bits >> row & 1 == 1);
                    let sum: u64 = set.map(|(_, value)| value.widen()).sum();
                    assert_eq!(W::sum_of_set(values, bits), sum, "width {width}, {bits:x}");
                }
            }
        }
    }

    #[test]
    fn sums_under_bits_are_those_of_values_taken_one_by_one() {
        (1..=8).for_each(sums::<u8>);
        (9..=16).for_each(sums::<u16>);
        (17..=32).for_each(sums::<u32>);
        (33..=64).for_each(sums::<u64>);
    }

    #[test]
    fn tests_of_values_become_bits_in_their_order() {
        for len in [0, 1, 63, 64, 65, 130] {
            let values: Vec<u32> = (0..len).collect();
            let mut words = vec![0; values.len().div_ceil(64)];
            test_all(&values, &mut words, |value| value % 3 == 0);
            for value in values {
                let bit = words[value as usize / 64] >> (value % 64) & 1;
                assert_eq!(bit == 1, value % 3 == 0, "value {value} of {len}");
            }
        }
    }
}
