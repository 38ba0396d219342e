//! A history of a block a second, built without waiting: L1 blocks twelve seconds apart, a deposit that
//! funds the first account, and full blocks on those origins, executed and stored as the node does. For
//! the benchmark of followers and for the test that kills one.

use super::traffic::{Account, Traffic, token_init};
use alloy::{
    primitives::{B256, Bytes, TxKind, U256},
    providers::{DynProvider, Provider, ext::AnvilApi},
};
use anyhow::{Result, ensure};
use batcher::{
    derive::rules::{Epoch, latest_timestamp, next_origin_allowed},
    l1::L1Block,
};
use contracts::Portal;
use executor::{BlockInput, Genesis, Header, Knowledge, Options, Transaction, execute_with};
use sequencer::{
    commands::dev::test_account, l1_client::L1Client, settings::chain_directory, store::ChainStore,
};
use std::{collections::VecDeque, path::Path};

/// Seconds between L1 blocks.
const L1_BLOCK_SECS: u64 = 12;

/// What was built.
pub(crate) struct History {
    pub(crate) head: u64,
    pub(crate) hash: B256,
}

/// A chain that is being built.
struct Chain<'r> {
    genesis: &'r Genesis,
    store: ChainStore,
    knowledge: Knowledge,
    /// L1 blocks that are not used yet; the newest used one is `origin`.
    ahead: VecDeque<L1Block>,
    origin: L1Block,
    epoch: Epoch,
    parent: (Header, B256),
}

impl History {
    /// Builds so many full blocks of so many transactions in a node's data directory. `l1` signs as the
    /// first test account, on an Anvil at `l1_url`.
    pub(crate) async fn build(
        (l1, l1_url): (&DynProvider, &str),
        genesis: &Genesis,
        data_dir: &Path,
        (blocks, transactions): (u64, u64),
    ) -> Result<Self> {
        let owner = test_account(0)?.0;
        let portal = Portal::new(genesis.l1.portal, l1);
        let wei = U256::from(5_000) * U256::from(1_000_000_000_000_000_000_u64);
        let call = portal.depositTransaction(owner.address(), wei, 100_000, false, Bytes::new());
        ensure!(call.value(wei).send().await?.get_receipt().await?.status(), "no deposit");
        l1.anvil_mine(Some(blocks / L1_BLOCK_SECS + 2), Some(L1_BLOCK_SECS)).await?;
        let latest = l1.get_block_number().await?;
        let chain = Chain::open(l1_url, genesis, data_dir, latest).await?;
        // Nothing else runs meanwhile.
        tokio::task::block_in_place(|| chain.fill(Account::of(owner, 0), blocks, transactions))
    }
}

impl<'r> Chain<'r> {
    async fn open(
        l1_url: &str,
        genesis: &'r Genesis,
        data_dir: &Path,
        l1_latest: u64,
    ) -> Result<Self> {
        let reader = L1Client::connect(&[l1_url.parse()?], None, None)?.block_reader(genesis);
        let anchor = genesis.l1.origin_number;
        let origin = reader.block(anchor).await?;
        let mut ahead = VecDeque::new();
        for number in anchor + 1..=l1_latest {
            ahead.push_back(reader.block(number).await?);
        }
        let store = ChainStore::open(&chain_directory(data_dir), genesis)?;
        let (_, header, hash) = genesis.build()?;
        Ok(Self {
            genesis,
            store,
            knowledge: Knowledge::default(),
            ahead,
            origin,
            epoch: Epoch::genesis(genesis),
            parent: (header, hash),
        })
    }

    /// Builds everything.
    fn fill(mut self, mut owner: Account, blocks: u64, transactions: u64) -> Result<History> {
        let chain_id = self.genesis.rules.chain_id;
        // Up to the deposit.
        while self.ahead.iter().any(|block| !block.deposits.is_empty()) {
            self.add(Vec::new())?;
        }
        let token = owner.address().create(1);
        let mut traffic = Traffic::new(chain_id, token, transactions)?;
        // The deposit has taken the first nonce.
        owner.skip_nonce();
        let create = owner.sign(chain_id, TxKind::Create, U256::ZERO, token_init()?)?;
        self.add(vec![create])?;
        let funding = traffic.funding(&mut owner)?;
        self.add(funding)?;
        for _ in 0..blocks {
            self.add(traffic.block()?)?;
        }
        self.store.fold_all()?;
        let head = self.store.head();
        Ok(History { head: head.number, hash: head.hash })
    }

    fn next_timestamp(&self) -> u64 {
        self.parent.0.timestamp + 1
    }

    /// Adds a block of these transactions, all of which must get in.
    fn add(&mut self, transactions: Vec<Transaction>) -> Result<()> {
        let genesis = self.genesis;
        let timestamp = self.next_timestamp();
        if let Some(next) = self.ahead.pop_front_if(|next| next.origin.timestamp <= timestamp) {
            self.origin = next;
        }
        let origin = &self.origin.origin;
        ensure!(timestamp <= latest_timestamp(&genesis.rules, origin), "L1 is too far behind");
        self.epoch = next_origin_allowed(&self.epoch, origin)?;
        let deposits = match self.epoch.is_first() {
            true => self.origin.deposits.clone(),
            false => Vec::new(),
        };
        let (header, hash) = (&self.parent.0, self.parent.1);
        let place = (origin, self.epoch.sequence_number);
        let rules = genesis.chain_rules();
        let count = transactions.len();
        let input = BlockInput::rollup(&rules, (header, hash), place, timestamp, deposits);
        let view = self.store.view()?;
        let options = Options { knowledge: Some(&self.knowledge), ..Options::default() };
        let block = execute_with(&view, &input.with_transactions(transactions), options)?;
        ensure!(block.skipped.is_empty(), "{:?}", block.skipped.first());
        ensure!(
            block.receipts.iter().filter(|receipt| receipt.success).count() >= count,
            "reverted"
        );
        self.parent = (block.header.clone(), block.hash);
        self.store.seal(block)?;
        Ok(())
    }
}
