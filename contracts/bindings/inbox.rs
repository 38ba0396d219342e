//! The hash rules of the inbox. `test/Inbox.t.sol` checks the same vectors against the contract.

use alloy::{
    primitives::{B256, U256, keccak256},
    sol_types::SolValue,
};

/// Domain of a batch whose bytes are the calldata of the appending transaction.
pub const KIND_CALLDATA: u8 = 0;

/// Domain of a batch whose bytes are in the blobs of the appending transaction.
pub const KIND_BLOB: u8 = 1;

/// Most blobs that one batch may have.
pub const MAX_BLOBS: usize = 6;

/// Accumulator after batch `id`, which was appended on top of `parent`. The first batch has parent
/// zero.
///
/// `keccak256(abi.encode(parent, id, kind, data_hash))`: it depends on content only, so a batch that
/// an L1 reorg dropped has the same accumulator when it is posted again.
#[must_use]
pub fn inbox_accumulator(parent: B256, id: u64, kind: u8, data_hash: B256) -> B256 {
    // The ABI pads every integer to a word, so a wider type encodes the same.
    keccak256((parent, id, U256::from(kind), data_hash).abi_encode())
}

/// Data hash of a blob batch: the hash of its versioned hashes, concatenated in order. That of a
/// calldata batch is the plain hash of its bytes.
#[must_use]
pub fn blobs_data_hash(versioned_hashes: &[B256]) -> B256 {
    keccak256(versioned_hashes.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::b256;

    #[test]
    fn accumulator_of_calldata_then_blobs_is_the_contracts() {
        let first = inbox_accumulator(B256::ZERO, 0, KIND_CALLDATA, keccak256(b"weft"));
        assert_eq!(
            first,
            b256!("7fce2eacf94a5b7d76b63c87c9e7f47119b37d51580d681a05e1ec4a00bf9d52")
        );
        let hashes = [B256::repeat_byte(1), B256::repeat_byte(2)];
        let second = inbox_accumulator(first, 1, KIND_BLOB, blobs_data_hash(&hashes));
        assert_eq!(
            second,
            b256!("96e98c1b4a2b5e23d74e9bae88602497e8077af729a30f55d3918bc0fad0e907")
        );
    }

    #[test]
    fn every_field_separates() {
        let (parent, data) = (B256::repeat_byte(7), B256::repeat_byte(8));
        let base = inbox_accumulator(parent, 1, KIND_BLOB, data);
        assert_ne!(base, inbox_accumulator(B256::ZERO, 1, KIND_BLOB, data));
        assert_ne!(base, inbox_accumulator(parent, 2, KIND_BLOB, data));
        assert_ne!(base, inbox_accumulator(parent, 1, KIND_CALLDATA, data));
        assert_ne!(base, inbox_accumulator(parent, 1, KIND_BLOB, parent));
    }

    #[test]
    fn blobs_are_hashed_in_order() {
        let (one, two) = (B256::repeat_byte(1), B256::repeat_byte(2));
        assert_ne!(blobs_data_hash(&[one, two]), blobs_data_hash(&[two, one]));
        assert_ne!(blobs_data_hash(&[one]), blobs_data_hash(&[one, one]));
    }
}
