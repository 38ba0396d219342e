//! Block access lists in the shape of EIP-7928: which accounts and slots a block reads, and every
//! value they take on in it, by the transaction that gave it.
//!
//! Owns the list, its encoding, and what a list claims about the state before each transaction. A
//! list is a hint: no header of ours commits to it, so a decoded one is in order and bounded but may
//! be wrong in every value, and whoever uses it must compare what execution read. How a list is made
//! is in `record`. The EIP has the types; reads have no index there, only writes have.

mod claims;
mod record;

pub use claims::{Claims, StateBefore};
pub use record::access_list;

use alloc::vec::Vec;
use alloy_eips::eip7928::{
    AccountChanges, BlockAccessIndex, BlockAccessListValidationError,
    compute_block_access_list_hash, validate_block_access_list,
};
use alloy_primitives::{Address, B256, U256};
use alloy_rlp::Decodable;

/// Longest encoding that is decoded, in bytes: 64 MiB, several times the list of a full block of
/// 100,000 transfers. Decoding takes memory in proportion to it.
pub const ACCESS_LIST_BYTES_MAX: usize = 64 << 20;

/// An account, or one of its slots.
pub type AccessKey = (Address, Option<U256>);

/// Why bytes are not a list of the block. It costs the hint and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccessListError {
    /// More bytes than [`ACCESS_LIST_BYTES_MAX`].
    #[error("access list of {bytes} bytes")]
    Oversized {
        /// Size, in bytes.
        bytes: usize,
    },
    /// Not the RLP of a list.
    #[error("malformed access list: {0}")]
    Rlp(#[from] alloy_rlp::Error),
    /// Not in the one order that the EIP allows, or about transactions that the block has not.
    #[error("access list out of order: {0}")]
    Order(#[from] BlockAccessListValidationError),
}

/// The accounts of a block in order of their addresses, each once; slots and changes in order too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockAccessList(Vec<AccountChanges>);

impl BlockAccessList {
    /// Reads the list of a block of so many transactions, and checks that it is in order.
    ///
    /// # Errors
    /// [`AccessListError`]; values are not checked, they cannot be without execution.
    pub fn decode(bytes: &[u8], transactions: usize) -> Result<Self, AccessListError> {
        if bytes.len() > ACCESS_LIST_BYTES_MAX {
            return Err(AccessListError::Oversized { bytes: bytes.len() });
        }
        let mut rest = bytes;
        let accounts = Vec::<AccountChanges>::decode(&mut rest)?;
        if !rest.is_empty() {
            return Err(AccessListError::Rlp(alloy_rlp::Error::UnexpectedLength));
        }
        validate_block_access_list(&accounts, transactions)?;
        Ok(Self(accounts))
    }

    /// RLP as in the EIP.
    #[must_use]
    pub fn encoded(&self) -> Vec<u8> {
        alloy_rlp::encode(&self.0)
    }

    /// keccak-256 of the encoding.
    #[must_use]
    pub fn hash(&self) -> B256 {
        compute_block_access_list_hash(&self.0)
    }

    /// The accounts, in order.
    #[must_use]
    pub fn accounts(&self) -> &[AccountChanges] {
        &self.0
    }

    /// What the list says of an account.
    #[must_use]
    pub fn account(&self, address: Address) -> Option<&AccountChanges> {
        let at = self.0.binary_search_by_key(&address, |changes| changes.address).ok()?;
        self.0.get(at)
    }

    /// For each of so many transactions the accounts (balance, nonce or code) and slots that it
    /// changes, in order. What a transaction only reads is not in a list.
    #[must_use]
    pub fn writes(&self, transactions: usize) -> Vec<Vec<AccessKey>> {
        let mut writes = alloc::vec![Vec::new(); transactions];
        let mut add = |index: BlockAccessIndex, key: AccessKey| {
            let transaction = usize::try_from(index.get()).ok().and_then(|at| at.checked_sub(1));
            let keys: Option<&mut Vec<AccessKey>> = transaction.and_then(|at| writes.get_mut(at));
            // The kinds of an account's changes follow one another, so a repeated key is the last.
            if let Some(keys) = keys
                && keys.last() != Some(&key)
            {
                keys.push(key);
            }
        };
        for account in &self.0 {
            let key = (account.address, None);
            account.balance_changes.iter().for_each(|change| add(change.block_access_index, key));
            account.nonce_changes.iter().for_each(|change| add(change.block_access_index, key));
            account.code_changes.iter().for_each(|change| add(change.block_access_index, key));
            for slot in &account.storage_changes {
                let key = (account.address, Some(slot.slot));
                slot.changes.iter().for_each(|change| add(change.block_access_index, key));
            }
        }
        writes
    }
}
