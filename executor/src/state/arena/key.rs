//! Keys of the tries, and their nibbles. Every key is a keccak-256 hash or stands for one, so all are
//! 64 nibbles long.

use alloy_primitives::B256;

/// Nibbles of a key.
pub(super) const NIBBLES: u8 = 64;

/// The nibble at a depth below [`NIBBLES`].
#[inline]
pub(super) fn nibble(key: &B256, depth: u8) -> u8 {
    let byte = key[usize::from(depth / 2)];
    if depth.is_multiple_of(2) { byte >> 4 } else { byte & 15 }
}

/// Puts a nibble at a depth below [`NIBBLES`].
pub(super) fn set_nibble(key: &mut B256, depth: u8, nibble: u8) {
    let byte = &mut key[usize::from(depth / 2)];
    *byte = if depth.is_multiple_of(2) { *byte & 15 | nibble << 4 } else { *byte & 0xf0 | nibble };
}

/// How many nibbles two keys share from the start.
#[inline]
#[allow(clippy::cast_possible_truncation, reason = "at most 16 a word")]
pub(super) fn common(a: &B256, b: &B256) -> u8 {
    let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let mut shared = 0;
    for (a, b) in words {
        let difference = u64::from_be_bytes(*a) ^ u64::from_be_bytes(*b);
        // A word without difference has 64 leading zeros: 16 nibbles.
        shared += (difference.leading_zeros() / 4) as u8;
        if difference != 0 {
            break;
        }
    }
    shared
}

/// The first 32 bits, for sorting.
#[inline]
pub(super) fn prefix(key: &B256) -> u32 {
    let [a, b, c, d, ..] = key.0;
    u32::from_be_bytes([a, b, c, d])
}
