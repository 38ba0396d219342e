//! A state of which only the parts are known that one block touches: execution without a database.
//!
//! Everything in a witness is checked by hash against the parent's state root, so it may come from
//! anybody. What is missing is an error ([`ViewError::MissingNode`]), never a wrong value. The shape
//! is that of `debug_executionWitness`: trie nodes, codes, ancestor headers.

use super::{Account, StateTrie, StateView};
use crate::error::ViewError;
use alloc::vec::Vec;
use alloy_consensus::Header;
use alloy_primitives::{
    Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256,
    map::{B256Map, HashMap},
};
use revm::bytecode::Bytecode;

/// A witness that does not hold together. Nothing was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// The witness has no header.
    #[error("witness without the parent header")]
    NoParent,
    /// An ancestor is not the parent of the header after it.
    #[error("ancestor {0} is not the parent of the next header")]
    Ancestors(u64),
    /// A trie node does not decode, or is not what its place in the trie needs.
    #[error("malformed trie node")]
    Node,
}

/// Part of a state, known by proof.
#[derive(Clone, Debug)]
pub struct WitnessState {
    trie: StateTrie,
    codes: B256Map<Bytecode>,
    block_hashes: HashMap<u64, B256>,
    parent: Header,
    parent_hash: B256,
}

impl WitnessState {
    /// The state after the newest of `ancestors`, which are given in any order.
    ///
    /// # Errors
    /// [`WitnessError`] when a header or a node does not fit; surplus nodes and codes are ignored.
    pub fn new(
        nodes: &[Bytes],
        codes: &[Bytes],
        mut ancestors: Vec<Header>,
    ) -> Result<Self, WitnessError> {
        ancestors.sort_unstable_by_key(|header| header.number);
        let mut block_hashes = HashMap::default();
        let mut before: Option<B256> = None;
        for header in &ancestors {
            if before.is_some_and(|hash| hash != header.parent_hash) {
                return Err(WitnessError::Ancestors(header.number.saturating_sub(1)));
            }
            let hash = header.hash_slow();
            block_hashes.insert(header.number, hash);
            before = Some(hash);
        }
        let (Some(parent), Some(parent_hash)) = (ancestors.pop(), before) else {
            return Err(WitnessError::NoParent);
        };
        let nodes: B256Map<&Bytes> = nodes.iter().map(|node| (keccak256(node), node)).collect();
        let trie = StateTrie::from_witness(parent.state_root, &nodes)?;
        let code_of = |code: &Bytes| (keccak256(code), Bytecode::new_raw(code.clone()));
        let codes = codes.iter().map(code_of).collect();
        Ok(Self { trie, codes, block_hashes, parent, parent_hash })
    }

    /// The block that the state is after, and its hash.
    #[must_use]
    pub fn parent(&self) -> (&Header, B256) {
        (&self.parent, self.parent_hash)
    }
}

impl StateView for WitnessState {
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        self.trie.account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        self.trie.slot(address, slot)
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        if code_hash == KECCAK256_EMPTY {
            return Ok(Bytecode::default());
        }
        self.codes.get(&code_hash).cloned().ok_or(ViewError::MissingCode(code_hash))
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        self.block_hashes.get(&number).copied().ok_or(ViewError::MissingBlockHash(number))
    }

    fn trie(&self) -> &StateTrie {
        &self.trie
    }
}
