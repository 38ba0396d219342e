//! A state of which only the parts are known that one block touches: execution without a database.
//!
//! Everything in a witness is checked by hash against the parent's state root, so it may come from
//! anybody. What is missing is an error ([`ViewError::MissingNode`]), never a wrong value. The shape
//! is that of `debug_executionWitness`: trie nodes, codes, ancestor headers. How a witness is made is
//! not here: `record` does it.

use super::{Account, Reads, StateDiff, StateTrie, StateView};
use crate::error::ViewError;
use alloc::vec::Vec;
use alloy_consensus::Header;
use alloy_primitives::{
    Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256,
    map::{B256Map, HashMap},
};
use alloy_rlp::Decodable;
use revm::bytecode::Bytecode;
use serde::{Deserialize, Serialize};

/// What one needs to execute a block without its state, as `debug_executionWitness` has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecutionWitness {
    /// RLP of trie nodes, of accounts and of storage.
    pub state: Vec<Bytes>,
    /// Codes that were read.
    pub codes: Vec<Bytes>,
    /// Addresses and slots whose hashes are the paths in the tries. Execution does not need them.
    #[serde(default)]
    pub keys: Vec<Bytes>,
    /// RLP of ancestor headers, oldest first; the last is the parent.
    #[serde(default)]
    pub headers: Vec<Bytes>,
}

impl ExecutionWitness {
    /// The state before the block.
    ///
    /// # Errors
    /// [`WitnessError`] when a header, node or code does not fit.
    pub fn to_state(&self) -> Result<WitnessState, WitnessError> {
        let decode = |rlp: &Bytes| {
            let mut rest = &rlp[..];
            let header = Header::decode(&mut rest).ok().filter(|_| rest.is_empty());
            header.ok_or(WitnessError::Header)
        };
        let ancestors = self.headers.iter().map(decode).collect::<Result<_, _>>()?;
        WitnessState::new(&self.state, &self.codes, ancestors)
    }
}

/// A witness that does not hold together. Nothing was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// The witness has no header.
    #[error("witness without the parent header")]
    NoParent,
    /// An ancestor is not the parent of the header after it.
    #[error("ancestor {0} is not the parent of the next header")]
    Ancestors(u64),
    /// An ancestor header does not decode.
    #[error("malformed header")]
    Header,
    /// A code that no contract can have.
    #[error("malformed code")]
    Code,
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
    /// [`WitnessError`] when a header, node or code does not fit; surplus ones are ignored.
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
        let code_of = |code: &Bytes| {
            let decoded = Bytecode::new_raw_checked(code.clone());
            Ok((keccak256(code), decoded.map_err(|_| WitnessError::Code)?))
        };
        let codes = codes.iter().map(code_of).collect::<Result<_, _>>()?;
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

    fn trie_for(&self, _: &Reads, _: &StateDiff) -> Result<StateTrie, ViewError> {
        Ok(self.trie.clone())
    }
}
