//! A whole chain in memory: blocks executed by the executor over `MemoryState`, every state kept.

use alloy::primitives::{Address, B256, Bytes, U256, address, bytes};
use executor::{
    Account, BlockEnv, BlockInput, ChainRules, Deposit, Genesis, Header, L1Origin, MemoryState,
    Mode, Reads, RollupRules, StateDiff, StateTrie, StateView, Transaction, ViewError, execute,
    genesis::{GenesisAccount, GenesisL1},
};
use revm::bytecode::Bytecode;
use sequencer::{
    rpc::{Chain, ChainError, Heads, Rollup},
    store::{Head, StoredBlock, chain::TransactionAt},
    txpool::Pool,
};
use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

pub(crate) const CHAIN_ID: u64 = 420_420;
/// Reverts with its call data.
pub(crate) const REVERTER: Address = address!("0x00000000000000000000000000000000000a0001");
/// Emits one log without data; its topics are the two words of the call data.
pub(crate) const LOGGER: Address = address!("0x00000000000000000000000000000000000a0002");
/// Returns slot 0.
pub(crate) const READER: Address = address!("0x00000000000000000000000000000000000a0003");
/// Returns the timestamp.
pub(crate) const CLOCK: Address = address!("0x00000000000000000000000000000000000a0004");
/// Loops for ever.
pub(crate) const SPINNER: Address = address!("0x00000000000000000000000000000000000a0005");
/// Emits one log with one topic, the word of the call data.
pub(crate) const SMALL_LOGGER: Address = address!("0x00000000000000000000000000000000000a0006");
/// Code of [`READER`], which tests deploy too.
pub(crate) const READER_CODE: Bytes = bytes!("5f545f5260205ff3");

#[derive(Clone)]
struct Block {
    stored: StoredBlock,
    state: MemoryState,
}

/// All that the pool has for a block.
pub(crate) fn offered(pool: &Pool) -> Vec<Transaction> {
    pool.best(0, u64::MAX, Instant::now(), &|_| U256::ZERO).cloned().collect()
}

/// The chain; cloning shares it.
#[derive(Clone)]
pub(crate) struct MemoryChain(Arc<Inner>);

struct Inner {
    rules: Arc<ChainRules>,
    blocks: RwLock<Vec<Block>>,
    head: watch::Sender<Head>,
    /// The first block whose trie can still be had.
    first_trie: AtomicU64,
}

fn genesis(rich: &[Address]) -> Genesis {
    let contract = |code: Bytes| GenesisAccount {
        nonce: 1,
        code,
        storage: BTreeMap::from([(U256::ZERO, U256::from(7))]),
        ..Default::default()
    };
    let mut alloc: BTreeMap<_, _> = [
        (REVERTER, bytes!("365f5f37365ffd")),
        (LOGGER, bytes!("6020355f355f5fa200")),
        (READER, READER_CODE),
        (CLOCK, bytes!("425f5260205ff3")),
        (SPINNER, bytes!("5b5f56")),
        (SMALL_LOGGER, bytes!("5f355f5fa100")),
    ]
    .map(|(address, code)| (address, contract(code)))
    .into();
    alloc.extend(contracts::predeploys().map(|predeploy| {
        let code = predeploy.runtime_code;
        (predeploy.address, GenesisAccount { nonce: 1, code, ..Default::default() })
    }));
    let balance = U256::from(10_u128.pow(21));
    alloc.extend(rich.iter().map(|a| (*a, GenesisAccount { balance, ..Default::default() })));
    Genesis {
        rules: RollupRules { chain_id: CHAIN_ID, ..RollupRules::default() },
        timestamp: 1_700_000_000,
        alloc,
        l1: l1(),
    }
}

fn l1() -> GenesisL1 {
    GenesisL1 {
        chain_id: 1,
        origin_number: 1,
        origin_hash: origin().hash,
        blob_schedule: BTreeMap::new(),
        inbox: Address::ZERO,
        outputs: Address::ZERO,
        portal: Address::ZERO,
    }
}

pub(crate) fn origin() -> L1Origin {
    L1Origin {
        number: 1,
        hash: B256::repeat_byte(0x11),
        parent_hash: B256::ZERO,
        timestamp: 1_700_000_000,
        base_fee_wei: 1_000_000_000,
        blob_base_fee_wei: 3,
        prevrandao: B256::repeat_byte(0x22),
    }
}

impl MemoryChain {
    pub(crate) fn new(rich: &[Address]) -> Self {
        let genesis = genesis(rich);
        let (state, header, hash) = genesis.build().unwrap();
        let head = Head { number: 0, hash, timestamp: header.timestamp };
        let stored = StoredBlock { header, hash, transactions: vec![], receipts: vec![] };
        Self(Arc::new(Inner {
            rules: genesis.chain_rules(),
            blocks: RwLock::new(vec![Block { stored, state }]),
            head: watch::Sender::new(head),
            first_trie: AtomicU64::new(0),
        }))
    }

    fn tip(&self) -> Block {
        self.0.blocks.read().unwrap().last().unwrap().clone()
    }

    /// Executes the next block and makes it the head. Returns it.
    pub(crate) fn mine(
        &self,
        transactions: Vec<Transaction>,
        deposits: Vec<Deposit>,
    ) -> StoredBlock {
        let Block { stored: parent, mut state } = self.tip();
        let input = BlockInput::rollup(
            &self.0.rules,
            (&parent.header, parent.hash),
            (&origin(), parent.header.number),
            parent.header.timestamp + 1,
            deposits,
        );
        let block = execute(&state, &input.with_transactions(transactions), Mode::Sequential);
        let block = block.unwrap();
        state.apply_block(&block).unwrap();
        let stored = StoredBlock {
            header: block.header,
            hash: block.hash,
            transactions: block.transactions,
            receipts: block.receipts,
        };
        self.0.blocks.write().unwrap().push(Block { stored: stored.clone(), state });
        self.publish();
        stored
    }

    /// Mines what the pool offers and tells it.
    pub(crate) fn mine_pool(&self, pool: &std::sync::Mutex<Pool>) -> StoredBlock {
        let offered = offered(&pool.lock().unwrap());
        let block = self.mine(offered, vec![]);
        let signed = block.transactions.iter().filter(|tx| tx.as_signed().is_some());
        let mined: Vec<_> = signed.clone().map(|tx| (tx.sender(), tx.nonce() + 1)).collect();
        let mut pool = pool.lock().unwrap();
        pool.note_ordered(signed.map(Transaction::hash), block.header.number, Instant::now());
        pool.remove_mined(&mined);
        block
    }

    /// Goes back to a block; returns what was removed.
    pub(crate) fn roll_back(&self, number: usize) -> Vec<StoredBlock> {
        let removed = self.0.blocks.write().unwrap().split_off(number + 1);
        self.publish();
        removed.into_iter().map(|block| block.stored).collect()
    }

    /// As a store does with time: the blocks answer, but without proofs.
    pub(crate) fn forget_tries_before(&self, number: u64) {
        self.0.first_trie.store(number, Ordering::Relaxed);
    }

    /// As if a mistake had sealed the newest block with another header.
    pub(crate) fn forge(&self, change: impl FnOnce(&mut Header)) {
        let mut blocks = self.0.blocks.write().unwrap();
        let stored = &mut blocks.last_mut().unwrap().stored;
        change(&mut stored.header);
        stored.hash = stored.header.hash_slow();
        drop(blocks);
        self.publish();
    }

    fn publish(&self) {
        let StoredBlock { header, hash, .. } = self.tip().stored;
        self.0.head.send_replace(Head { number: header.number, hash, timestamp: header.timestamp });
    }

    fn at<T>(&self, number: u64, read: impl Fn(&Block) -> T) -> Option<T> {
        self.0.blocks.read().unwrap().get(usize::try_from(number).ok()?).map(read)
    }
}

impl Chain for MemoryChain {
    type View = BlockState;

    fn rules(&self) -> &Arc<ChainRules> {
        &self.0.rules
    }

    fn heads(&self) -> Heads {
        let latest = self.0.head.borrow().number;
        Heads { latest, safe: latest.saturating_sub(1), finalized: latest.saturating_sub(2) }
    }

    fn subscribe_head(&self) -> watch::Receiver<Head> {
        self.0.head.subscribe()
    }

    fn pending_env(&self) -> Result<BlockEnv, ChainError> {
        let parent = self.tip().stored;
        let timestamp = parent.header.timestamp + 1;
        let parent = (&parent.header, parent.hash);
        Ok(BlockEnv::rollup(&self.0.rules, parent, origin().prevrandao, timestamp))
    }

    fn header(&self, number: u64) -> Result<Option<(Header, B256)>, ChainError> {
        Ok(self.at(number, |block| (block.stored.header.clone(), block.stored.hash)))
    }

    fn block(&self, number: u64) -> Result<Option<StoredBlock>, ChainError> {
        Ok(self.at(number, |block| block.stored.clone()))
    }

    fn block_number(&self, hash: B256) -> Result<Option<u64>, ChainError> {
        let blocks = self.0.blocks.read().unwrap();
        let found = blocks.iter().find(|block| block.stored.hash == hash);
        Ok(found.map(|block| block.stored.header.number))
    }

    fn transaction_position(&self, hash: B256) -> Result<Option<(u64, usize)>, ChainError> {
        let blocks = self.0.blocks.read().unwrap();
        let positions: HashMap<B256, (u64, usize)> = blocks
            .iter()
            .flat_map(|block| {
                let number = block.stored.header.number;
                let hashes = block.stored.transactions.iter().enumerate();
                hashes.map(move |(index, tx)| (tx.hash(), (number, index)))
            })
            .collect();
        Ok(positions.get(&hash).copied())
    }

    fn transaction_at(
        &self,
        number: u64,
        index: usize,
    ) -> Result<Option<TransactionAt>, ChainError> {
        let Some(block) = self.block(number)? else { return Ok(None) };
        let Some(transaction) = block.transactions.get(index).cloned() else { return Ok(None) };
        let receipt = block.receipts[index].clone();
        let before = index.checked_sub(1).map_or(0, |i| block.receipts[i].cumulative_gas_used);
        let logs = block.receipts[..index].iter().map(|receipt| receipt.logs.len() as u64);
        Ok(Some(TransactionAt {
            gas_used: receipt.cumulative_gas_used - before,
            first_log_index: logs.sum(),
            transaction,
            receipt,
        }))
    }

    fn rollup(&self) -> Option<Rollup> {
        Some(Rollup { l1: l1(), block_time: Duration::from_millis(250) })
    }

    fn view(&self, number: u64) -> Result<Option<BlockState>, ChainError> {
        let has_trie = number >= self.0.first_trie.load(Ordering::Relaxed);
        Ok(self.at(number, |block| BlockState { state: block.state.clone(), has_trie }))
    }
}

/// The state after a block, whose trie may be gone.
pub(crate) struct BlockState {
    state: MemoryState,
    has_trie: bool,
}

impl StateView for BlockState {
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        self.state.account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        self.state.slot(address, slot)
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        self.state.code(code_hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        self.state.block_hash(number)
    }

    fn trie_for(&self, reads: &Reads, diff: &StateDiff) -> Result<StateTrie, ViewError> {
        if !self.has_trie {
            return Err(ViewError::MissingNode);
        }
        self.state.trie_for(reads, diff)
    }
}
