//! State: what execution reads, what it changed, and the trie that commits to it.
//!
//! [`StateView`] is the only way execution reads; [`StateDiff`] the only thing it writes. Nothing
//! here touches files or a database.

#[cfg(feature = "std")]
pub mod arena;
mod diff;
mod memory;
mod overlay;
#[cfg(feature = "std")]
mod recorder;
mod trie;
mod witness;

#[cfg(feature = "std")]
pub use arena::StateArena;
pub use diff::{AccountDiff, Changes, SlotDiff, StateDiff, Touched};
pub use memory::MemoryState;
pub use overlay::Overlay;
#[cfg(feature = "std")]
pub use recorder::{Recorded, Recorder};
#[cfg(feature = "std")]
use trie::{AccountLeaf, Part};
pub use trie::{AccountProof, SlotProof, StateTrie};
pub use witness::{ExecutionWitness, WitnessError, WitnessState};

use crate::error::ViewError;
use alloc::collections::{BTreeMap, BTreeSet};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use revm::bytecode::Bytecode;

/// Accounts, and the slots of each, that were read.
pub type Reads = BTreeMap<Address, BTreeSet<U256>>;

/// An account without its storage. Absent and empty (EIP-161) are both `None` at a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Transactions sent, or contracts created.
    pub nonce: u64,
    /// Balance in wei.
    pub balance_wei: U256,
    /// keccak-256 of the code; [`KECCAK256_EMPTY`] without code.
    pub code_hash: B256,
}

impl Default for Account {
    fn default() -> Self {
        Self { nonce: 0, balance_wei: U256::ZERO, code_hash: KECCAK256_EMPTY }
    }
}

impl Account {
    /// Empty in the sense of EIP-161: no nonce, no balance, no code.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The state before a block, as execution reads it. Implemented by the database, by
/// [`MemoryState`], and by an [`Overlay`] over either.
pub trait StateView {
    /// The account, or `None` where there is none.
    ///
    /// # Errors
    /// [`ViewError`] when the state cannot be read; absence is not an error.
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError>;

    /// A storage slot; zero where nothing was stored.
    ///
    /// # Errors
    /// [`ViewError`] when the state cannot be read.
    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError>;

    /// The code of this hash, analysed.
    ///
    /// # Errors
    /// [`ViewError::MissingCode`] when no account of the state has such code.
    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError>;

    /// Hash of an earlier block, for BLOCKHASH; asked only within its 256-block window.
    ///
    /// # Errors
    /// [`ViewError`] when it cannot be read.
    fn block_hash(&self, number: u64) -> Result<B256, ViewError>;

    /// The trie that commits to this state, or as much of it as reading `reads` and applying `diff`
    /// need: the rest may be known by its hash alone.
    ///
    /// # Errors
    /// [`ViewError::MissingNode`] where it cannot be had any more; otherwise the state cannot be read.
    fn trie_for(&self, reads: &Reads, diff: &StateDiff) -> Result<StateTrie, ViewError>;

    /// What commits to this state after a change. A view whose own engine computes roots has a faster
    /// way than this one, through the trie.
    ///
    /// # Errors
    /// As [`Self::trie_for`].
    fn after(&self, diff: &StateDiff) -> Result<PostState, ViewError> {
        let trie = self.trie_for(&Reads::default(), diff)?.apply(diff)?;
        Ok(PostState { root: trie.root(), trie: Some(trie) })
    }
}

/// What commits to a state after a change.
#[derive(Clone, Debug)]
pub struct PostState {
    /// State root.
    pub root: B256,
    /// Its trie, from a view that computes roots by one; an engine that keeps its own has none to
    /// give.
    pub trie: Option<StateTrie>,
}
