//! Unsigned numbers of variable length (LEB128), in their shortest form only, so that a value has
//! one encoding. Owns nothing else.

use super::Malformed;

/// Longest encoding of a `u64`, in bytes.
pub const VARINT_BYTES_MAX: usize = 10;

/// Appends `value`: seven bits a byte, lowest first, the high bit set on all bytes but the last.
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Reads a number from the front of `bytes` and moves past it.
///
/// # Errors
/// [`Malformed::Truncated`] when the bytes end first, [`Malformed::Varint`] when the encoding is
/// longer than needed or the value exceeds 64 bits.
pub fn get(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0u64;
    for index in 0..VARINT_BYTES_MAX {
        let (byte, rest) = bytes.split_first().ok_or(Malformed::Truncated)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * u32::try_from(index).map_err(|_| Malformed::Varint)?;
        if shift == 63 && bits > 1 {
            return Err(Malformed::Varint);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            let padded = index > 0 && *byte == 0;
            return if padded { Err(Malformed::Varint) } else { Ok(value) };
        }
    }
    Err(Malformed::Varint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decode_inverts_encode(value: u64, tail: Vec<u8>) {
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert!(out.len() <= VARINT_BYTES_MAX);
            out.extend_from_slice(&tail);
            let mut bytes = out.as_slice();
            prop_assert_eq!(get(&mut bytes), Ok(value));
            prop_assert_eq!(bytes, tail.as_slice());
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            let mut rest = bytes.as_slice();
            if let Ok(value) = get(&mut rest) {
                let mut out = Vec::new();
                put(&mut out, value);
                prop_assert_eq!(out.as_slice(), &bytes[..bytes.len() - rest.len()]);
            }
        }
    }

    #[test]
    fn padded_and_oversized_numbers_are_refused() {
        assert_eq!(get(&mut [0x80, 0x00].as_slice()), Err(Malformed::Varint));
        assert_eq!(get(&mut [0xff; 9].as_slice()), Err(Malformed::Truncated));
        let mut over = [0xff; 10];
        over[9] = 0x02;
        assert_eq!(get(&mut over.as_slice()), Err(Malformed::Varint));
        assert_eq!(get(&mut [0xff; 11].as_slice()), Err(Malformed::Varint));
    }
}
