//! Numbers as people write them: where a number ends in decimal zeros, its digits and how many zeros.
//!
//! One byte of form, then payload bytes:
//!
//! ```text
//! form 0            zero, no payload
//! form 1 ..= 32     that many bytes, big-endian, the first not zero
//! form 64 + 32·(m−1) + (e−1)    m bytes d, 1 ..= 6, the first not zero: the number is d·10^e
//! ```
//! Owns this; the columns are the caller's.

use super::{
    Malformed,
    columns::{Column, Columns, Cursors},
};
use alloy::primitives::U256;

/// Longest mantissa, in bytes.
const MANTISSA_BYTES_MAX: usize = 6;
/// Exponents that pay: with fewer zeros the bytes say it as shortly.
const EXPONENT_MIN: u8 = 3;
/// Largest exponent that a form has room for.
const EXPONENT_MAX: u8 = 32;
const FORM_DECIMAL: u8 = 64;

/// The digits without decimal zeros at the end, and how many these were; the zeros beyond
/// `exponent_max` stay.
pub(super) fn decimal(mut value: U256, exponent_max: u8) -> (U256, u8) {
    let ten = U256::from(10);
    let mut exponent = 0;
    while exponent < exponent_max && !value.is_zero() {
        // Most numbers are short: the division of machine words is much faster.
        if let Ok(mut short) = u64::try_from(value) {
            while exponent < exponent_max && short % 10 == 0 {
                short /= 10;
                exponent += 1;
            }
            return (U256::from(short), exponent);
        }
        let (quotient, remainder) = value.div_rem(ten);
        if !remainder.is_zero() {
            break;
        }
        value = quotient;
        exponent += 1;
    }
    (value, exponent)
}

/// Writes a number.
pub(super) fn put(columns: &mut Columns, form: Column, payload: Column, value: U256) {
    let length = value.byte_len();
    let (mantissa, exponent) = decimal(value, EXPONENT_MAX);
    let short = mantissa.byte_len();
    let is_decimal = exponent >= EXPONENT_MIN && short <= MANTISSA_BYTES_MAX && short < length;
    let (code, value, length) = match is_decimal {
        true => (FORM_DECIMAL + 32 * (low(short) - 1) + (exponent - 1), mantissa, short),
        false => (low(length), value, length),
    };
    columns.byte(form, code);
    columns.bytes(payload, &value.to_be_bytes::<32>()[32 - length..]);
}

/// Reads a number.
///
/// # Errors
/// [`Malformed::Number`] when it is not in its form, [`Malformed::Truncated`] when a column ends.
pub(super) fn get(
    cursors: &mut Cursors<'_>,
    form: Column,
    payload: Column,
) -> Result<U256, Malformed> {
    let code = cursors.byte(form)?;
    let (length, exponent) = match code {
        0..=32 => (code, 0),
        FORM_DECIMAL.. => ((code - FORM_DECIMAL) / 32 + 1, (code - FORM_DECIMAL) % 32 + 1),
        _ => return Err(Malformed::Number),
    };
    scaled(cursors.bytes(payload, usize::from(length))?, exponent)
}

/// The number that these digits and an exponent are.
///
/// # Errors
/// [`Malformed::Number`] when the digits begin with zero, or the number has more than 256 bits.
pub(super) fn scaled(digits: &[u8], exponent: u8) -> Result<U256, Malformed> {
    if digits.first() == Some(&0) {
        return Err(Malformed::Number);
    }
    let digits = U256::try_from_be_slice(digits).ok_or(Malformed::Number)?;
    let scale = U256::from(10).checked_pow(U256::from(exponent)).ok_or(Malformed::Number)?;
    digits.checked_mul(scale).ok_or(Malformed::Number)
}

/// The low byte of a length that has no other.
fn low(length: usize) -> u8 {
    length.to_le_bytes()[0]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back(value: U256) -> U256 {
        let mut columns = Columns::new();
        put(&mut columns, Column::ValueForm, Column::Value, value);
        let content = columns.into_content();
        let mut cursors = Cursors::new(&content).unwrap();
        let back = get(&mut cursors, Column::ValueForm, Column::Value).unwrap();
        cursors.finish().unwrap();
        back
    }

    proptest! {
        #[test]
        fn every_number_comes_back(limbs: [u64; 4], shift in 0usize..256, zeros in 0u64..77) {
            let value = U256::from_limbs(limbs) >> shift;
            prop_assert_eq!(there_and_back(value), value);
            let round = value.wrapping_mul(U256::from(10).pow(U256::from(zeros)));
            prop_assert_eq!(there_and_back(round), round);
        }
    }

    #[test]
    fn what_no_form_says_is_refused() {
        let read = |form: u8, payload: &[u8]| {
            let mut columns = Columns::new();
            columns.byte(Column::ValueForm, form);
            columns.bytes(Column::Value, payload);
            let content = columns.into_content();
            get(&mut Cursors::new(&content).unwrap(), Column::ValueForm, Column::Value)
        };
        assert_eq!(read(0, &[]), Ok(U256::ZERO));
        assert_eq!(read(1, &[0]), Err(Malformed::Number));
        assert_eq!(read(2, &[1]), Err(Malformed::Truncated));
        assert_eq!(read(40, &[1; 40]), Err(Malformed::Number));
        assert_eq!(read(FORM_DECIMAL + 17, &[1]), Ok(U256::from(10).pow(U256::from(18))));
    }
}
