//! Reading and writing plain numbers and lengths for [`BlockRecord`](super::BlockRecord). Every read
//! is checked against what is left, and every count against what its items take at the least, so
//! damaged bytes can neither be read past nor ask for memory. Does not know what the bytes mean.

use alloy::primitives::U256;

/// What is left to read.
#[derive(Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A number of items of at least `item_bytes` each.
    pub(super) fn count(&mut self, item_bytes: usize) -> Option<usize> {
        let count = usize::try_from(u32::from_le_bytes(self.array()?)).ok()?;
        (count.checked_mul(item_bytes)? <= self.0.len()).then_some(count)
    }

    /// Bytes with their length.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.count(1)?;
        self.take(length)
    }

    /// Big endian without leading zeros, its length in one byte.
    pub(super) fn u256(&mut self) -> Option<U256> {
        let length = usize::from(self.byte()?);
        let bytes = self.take(length)?;
        let is_canonical = length <= 32 && bytes.first() != Some(&0);
        is_canonical.then(|| U256::from_be_slice(bytes))
    }
}

pub(super) fn put_count(out: &mut Vec<u8>, count: usize) {
    // A count over 2^32 has no memory to be in; it would not read back, which the reader notices.
    out.extend_from_slice(&u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(&number.to_le_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

pub(super) fn put_u256(out: &mut Vec<u8>, number: U256) {
    let bytes = number.to_be_bytes::<32>();
    let trimmed = &bytes[number.leading_zeros() / 8..];
    // At most 32.
    out.push(u8::try_from(trimmed.len()).unwrap_or(32));
    out.extend_from_slice(trimmed);
}
