//! The same node with neither state root nor fold: what sealing costs whoever has no state to commit
//! to. Its view reads the real chain; its blocks go into a log of their own and nowhere else.

use alloy::primitives::{Address, B256, U256};
use executor::{
    BlockEnv, ExecutedBlock, Reads, Receipt, StateDiff, StateTrie, StateView, Transaction,
    ViewError,
    state::{Account, PostState},
};
use revm::bytecode::Bytecode;
use sequencer::store::{
    ChainView,
    log::{
        BlockRecord, DirectoryFiles, LogConfig, LogError, MiniBlockRecord, Opening, OrderLog,
        Record, RecordKind, SEGMENT_BYTES_MAX,
    },
};
use std::{path::Path, sync::Arc};

/// The root of every state.
const ROOT: B256 = B256::repeat_byte(0x5e);

/// A view of the chain that computes no roots.
#[derive(Debug)]
pub(crate) struct RootlessView(pub(crate) ChainView);

impl StateView for RootlessView {
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        self.0.account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        self.0.slot(address, slot)
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        self.0.code(code_hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        self.0.block_hash(number)
    }

    fn trie_for(&self, _: &Reads, _: &StateDiff) -> Result<StateTrie, ViewError> {
        Err(ViewError::MissingNode)
    }

    fn after(&self, _: &StateDiff) -> Result<PostState, ViewError> {
        Ok(PostState { root: ROOT, trie: None })
    }
}

/// A log alone.
#[derive(Debug)]
pub(crate) struct LogOnly(OrderLog);

impl LogOnly {
    pub(crate) fn open(directory: &Path) -> anyhow::Result<Self> {
        let files = Arc::new(DirectoryFiles::new(directory)?);
        let config = LogConfig { chain: B256::ZERO, segment_bytes_max: SEGMENT_BYTES_MAX };
        Ok(Self(OrderLog::open(files, config, 0, |_: Record<'_>| Ok::<_, LogError>(()))?))
    }

    /// Makes a mini-block durable: what was executed from index `first` on.
    pub(crate) fn extend(
        &self,
        env: &BlockEnv,
        (transactions, receipts): (&[Transaction], &[Receipt]),
        first: usize,
    ) -> anyhow::Result<()> {
        let BlockEnv { parent_hash, timestamp, prevrandao, .. } = *env;
        let opening = (first == 0).then_some(Opening { parent_hash, timestamp, prevrandao });
        let opens = (u32::try_from(first)?, opening);
        let payload = MiniBlockRecord::encode(opens, &transactions[first..], &receipts[first..]);
        let ticket = self.0.append(RecordKind::MiniBlock, env.number, &payload)?;
        Ok(self.0.wait(&ticket)?)
    }

    /// Makes the block durable.
    pub(crate) fn commit(&self, block: &ExecutedBlock) -> anyhow::Result<()> {
        let payload = BlockRecord::encode(block);
        let ticket = self.0.append(RecordKind::Block, block.header.number, &payload)?;
        Ok(self.0.wait(&ticket)?)
    }

    /// Drops what is durable, as a fold does.
    pub(crate) fn drop_durable(&self) -> anyhow::Result<()> {
        self.0.drop_through(self.0.durable_position(), 0)?;
        Ok(())
    }
}
