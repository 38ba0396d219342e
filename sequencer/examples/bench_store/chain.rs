//! The chain that is measured: its genesis, a directory with so many accounts, and the next block.
//!
//! The accounts come in blocks without transfers, made by hand: a genesis file with a million of them
//! would be read at every start, which no real one is.

use crate::{
    rootless::RootlessView,
    traffic::{FIRST_NONCE, Traffic, address},
};
use alloy::primitives::{Address, B256, U256};
use anyhow::Context;
use executor::{
    BlockInput, ExecutedBlock, Execution, Genesis, Header, Knowledge, L1Origin, Mode, Options,
    RollupRules, StateView, Transaction,
    genesis::GenesisL1,
    state::{Account, AccountDiff},
};
use sequencer::store::{ChainStore, chain::ChainOptions};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// New accounts of a block while the chain grows to its size.
const GROWTH: u64 = 50_000;
/// Mini-blocks of a block: under load the node makes one every few milliseconds.
const MINI_BLOCKS: usize = 20;

#[derive(Debug)]
pub(crate) struct Chain {
    genesis: Genesis,
    directory: PathBuf,
    pub(crate) accounts: u64,
}

impl Chain {
    /// A chain that is there.
    pub(crate) fn at(directory: PathBuf, accounts: u64) -> Self {
        Self { genesis: genesis(), directory, accounts }
    }

    /// Makes the directory and the accounts, all of them folded.
    pub(crate) fn create(directory: PathBuf, accounts: u64) -> anyhow::Result<Self> {
        let started = Instant::now();
        let chain = Self::at(directory, accounts);
        let store = chain.open(ChainOptions::default())?;
        for first in (0..accounts).step_by(GROWTH as usize) {
            let last = accounts.min(first + GROWTH);
            store.commit(&chain.growth(&store, first..last)?)?;
        }
        store.fold_all()?;
        eprintln!("a chain of {accounts} accounts made in {:.1?}", started.elapsed());
        Ok(chain)
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn open(&self, options: ChainOptions) -> anyhow::Result<ChainStore> {
        Ok(ChainStore::open_with(&self.directory, &self.genesis, options)?)
    }

    /// The traffic after the store's head.
    pub(crate) fn traffic(&self, store: &ChainStore) -> Traffic {
        let mut traffic = Traffic::new(self.genesis.rules.chain_id, self.accounts);
        let grown = self.accounts.div_ceil(GROWTH);
        (grown + 1..=store.head().number).for_each(|number| traffic.follow(number));
        traffic
    }

    /// The block after this parent, with the L1 attributes alone.
    fn input_after(&self, parent: (&Header, B256)) -> BlockInput {
        let origin = L1Origin {
            number: self.genesis.l1.origin_number,
            hash: self.genesis.l1.origin_hash,
            parent_hash: B256::ZERO,
            timestamp: self.genesis.timestamp,
            base_fee_wei: 1,
            blob_base_fee_wei: 1,
            prevrandao: B256::ZERO,
        };
        let (rules, timestamp) = (self.genesis.chain_rules(), parent.0.timestamp + 1);
        BlockInput::rollup(&rules, parent, (&origin, parent.0.number), timestamp, Vec::new())
    }

    /// The block after the head.
    pub(crate) fn input(&self, store: &ChainStore) -> anyhow::Result<BlockInput> {
        let (header, hash) =
            store.header(store.head().number)?.context("the head has no header")?;
        Ok(self.input_after((&header, hash)))
    }

    /// The next block, with new accounts that no transaction made.
    fn growth(
        &self,
        store: &ChainStore,
        accounts: std::ops::Range<u64>,
    ) -> anyhow::Result<ExecutedBlock> {
        let input = self.input(store)?;
        let view = RootlessView(store.view()?);
        let mut block = executor::execute(&view, &input, Mode::Sequential)?;
        let account = Account {
            nonce: FIRST_NONCE,
            balance_wei: U256::from(10_u128.pow(20)),
            ..Account::default()
        };
        let new = AccountDiff { after: Some(account), ..AccountDiff::default() };
        block.diff.accounts.extend(accounts.map(|account| (address(account), new.clone())));
        block.header.state_root = store.view()?.after(&block.diff)?.root;
        block.hash = block.header.hash_slow();
        Ok(block)
    }
}

/// Executes the transactions of a block as the builder does: mini-blocks one after another, spread over
/// `time`. `each` makes what was executed from this index on durable.
pub(crate) fn execute_in_mini_blocks<'v, V: StateView + Sync>(
    view: &'v V,
    (input, transfers): (BlockInput, &[Transaction]),
    (knowledge, time): (&'v Knowledge, Duration),
    mut each: impl FnMut(&mut Execution<'v, V>, usize) -> anyhow::Result<()>,
) -> anyhow::Result<Execution<'v, V>> {
    let options =
        Options { knowledge: Some(knowledge), reports_changes: true, ..Options::default() };
    let mut execution = Execution::begin(view, input.rules, input.env, options)?;
    execution.extend(&input.transactions)?;
    let (mut due, mut first) = (Instant::now(), 0);
    let chunk = transfers.len().div_ceil(MINI_BLOCKS).max(1);
    for part in transfers.chunks(chunk) {
        wait_until(due);
        execution.extend(part)?;
        each(&mut execution, first)?;
        first = execution.included().0.len();
        due += time / MINI_BLOCKS as u32;
    }
    Ok(execution)
}

/// Executes a whole block, as fast as it goes.
pub(crate) fn execute_whole<'v, V: StateView + Sync>(
    view: &'v V,
    block: (BlockInput, &[Transaction]),
    knowledge: &'v Knowledge,
) -> anyhow::Result<ExecutedBlock> {
    let schedule = (knowledge, Duration::ZERO);
    Ok(execute_in_mini_blocks(view, block, schedule, |_, _| Ok(()))?.seal()?)
}

/// A benchmark of blocks with fewer transfers than said would flatter.
pub(crate) fn check_none_skipped(block: &ExecutedBlock) -> anyhow::Result<()> {
    let reason = block.skipped.first().map(|skipped| format!("{:?}", skipped.reason));
    anyhow::ensure!(reason.is_none(), "a transfer was skipped: {}", reason.unwrap_or_default());
    Ok(())
}

/// Waits without work.
pub(crate) fn wait_until(due: Instant) {
    while let Some(left) = due.checked_duration_since(Instant::now()).filter(|l| !l.is_zero()) {
        std::thread::park_timeout(left);
    }
}

/// For as long as anybody waits here.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(3600);

fn genesis() -> Genesis {
    Genesis {
        rules: RollupRules::default(),
        timestamp: 1_700_000_000,
        alloc: BTreeMap::new(),
        l1: GenesisL1 {
            chain_id: 1,
            origin_number: 10,
            origin_hash: B256::repeat_byte(10),
            blob_schedule: BTreeMap::new(),
            inbox: Address::ZERO,
            outputs: Address::ZERO,
            portal: Address::ZERO,
        },
    }
}
