//! A derived chain in memory: the newest state, and of every block its hash and output root. Cannot go
//! back; the blocks of the newest append may be derived again.

use super::{Counts, SettleError, off_thread};
use alloy::primitives::B256;
use async_trait::async_trait;
use batcher::{
    derive::Derived,
    tracker::{DerivedChain, TrackError},
};
use contracts::L2_TO_L1_MESSAGE_PASSER;
use executor::{
    BlockInput, ExecuteError, Genesis, Header, Knowledge, MemoryState, Options, ViewError,
    execute_with, genesis::output_root,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The chain; cloning shares it.
#[derive(Clone, Debug)]
pub struct MemoryChain(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// What the blocks so far taught about the next ones.
    knowledge: Knowledge,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct State {
    memory: MemoryState,
    head: Header,
    /// Hash and output root of every block from genesis on.
    blocks: Vec<(B256, B256)>,
    newest: Newest,
}

/// What the newest append gave so far: where reading L1 fails in the middle of one, it is derived again
/// from its first block on. As much as a channel holds.
#[derive(Debug, Default)]
struct Newest {
    append_id: u64,
    settled: Vec<(BlockInput, Header, B256)>,
}

impl Newest {
    fn find(&self, derived: &Derived) -> Option<(Header, B256)> {
        let mut settled = self.settled.iter().filter(|_| self.append_id == derived.append_id);
        let (_, header, hash) = settled.find(|(input, ..)| *input == derived.input)?;
        Some((header.clone(), *hash))
    }

    fn add(&mut self, derived: Derived, (header, hash): (Header, B256)) {
        if self.append_id != derived.append_id {
            *self = Self { append_id: derived.append_id, settled: Vec::new() };
        }
        self.settled.push((derived.input, header, hash));
    }
}

impl MemoryChain {
    /// The chain with its genesis block.
    ///
    /// # Errors
    /// [`ViewError`] when the genesis state cannot be computed.
    pub fn new(genesis: &Genesis, counts: Arc<Counts>) -> Result<Self, ViewError> {
        let (memory, head, hash) = genesis.build()?;
        let root = root_of(&memory, head.state_root, hash)?;
        let state = Mutex::new(State {
            memory,
            head,
            blocks: vec![(hash, root)],
            newest: Newest::default(),
        });
        Ok(Self(Arc::new(Inner { state, knowledge: Knowledge::default(), counts })))
    }

    // What fails while it is held has changed nothing.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest block's header.
    #[must_use]
    pub fn head(&self) -> Header {
        self.state().head.clone()
    }

    /// Hash and output root of every block, from genesis on.
    #[must_use]
    pub fn blocks(&self) -> Vec<(B256, B256)> {
        self.state().blocks.clone()
    }

    fn settle(&self, derived: Derived) -> Result<(Header, B256), SettleError> {
        let (input, number) = (&derived.input, derived.input.env.number);
        let mut state = self.state();
        if let Some(settled) = state.newest.find(&derived) {
            return Ok(settled);
        }
        if state.head.number.checked_add(1) != Some(number) {
            return Err(SettleError::NotNext { number });
        }
        let options = Options { knowledge: Some(&self.0.knowledge), ..Options::default() };
        let block = execute_with(&state.memory, input, options)
            .map_err(|error| SettleError::Execute { number, error })?;
        let applied = state.memory.apply_block(&block).map_err(ExecuteError::from);
        applied.map_err(|error| SettleError::Execute { number, error })?;
        let root = root_of(&state.memory, block.header.state_root, block.hash)?;
        state.blocks.push((block.hash, root));
        state.head = block.header.clone();
        self.0.counts.executed(number, &block.transactions);
        let settled = (block.header, block.hash);
        state.newest.add(derived, settled.clone());
        Ok(settled)
    }
}

#[async_trait]
impl DerivedChain for MemoryChain {
    async fn settle(&self, derived: Derived) -> Result<(Header, B256), TrackError> {
        let chain = self.clone();
        off_thread(move || chain.settle(derived)).await
    }
}

fn root_of(state: &MemoryState, state_root: B256, hash: B256) -> Result<B256, ViewError> {
    let messages = state.trie().storage_root(L2_TO_L1_MESSAGE_PASSER)?;
    Ok(output_root(state_root, messages, hash))
}
