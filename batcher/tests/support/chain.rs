//! A small rollup, executed for real, on an L1 of the test's making.

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::eip2718::Encodable2718,
    primitives::{Address, B256, Bytes, TxKind, U256, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use batcher::{
    derive::{
        L1Lookup,
        rules::{Epoch, check_timestamp, next_origin_allowed},
    },
    encoder::{BlockId, SourceBlock},
    source::{BlockSource, SourceError},
};
use executor::{
    BlockInput, ChainRules, Deposit, Genesis, Header, L1Origin, MemoryState, Mode, RollupRules,
    Transaction, execute,
    genesis::{GenesisAccount, GenesisL1},
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

/// The account that sends.
pub(crate) fn sender() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::repeat_byte(0x42)).unwrap()
}

/// A genesis anchored at an L1 block, in which [`sender`] has ether.
pub(crate) fn genesis(anchor: &L1Origin) -> Genesis {
    let rich = GenesisAccount { balance: U256::from(10).pow(U256::from(24)), ..Default::default() };
    Genesis {
        rules: RollupRules { sequencer_drift_secs_max: 600, ..RollupRules::default() },
        timestamp: anchor.timestamp,
        alloc: [(sender().address(), rich)].into(),
        l1: GenesisL1 {
            chain_id: 31_337,
            origin_number: anchor.number,
            origin_hash: anchor.hash,
            inbox: Address::ZERO,
            outputs: Address::ZERO,
            portal: Address::ZERO,
            blob_schedule: [(0, 8_346_193)].into(),
        },
    }
}

/// A signed transfer with some data.
pub(crate) fn transfer(chain_id: u64, nonce: u64, input: Bytes) -> Transaction {
    let gas_limit = 21_000 + 40 * input.len() as u64;
    let tx = TxEip1559 {
        chain_id,
        nonce,
        gas_limit,
        max_fee_per_gas: 1_000_000_000,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(Address::repeat_byte(0x77)),
        value: U256::from(1),
        access_list: Vec::new().into(),
        input,
    };
    let signature = sender().sign_hash_sync(&tx.signature_hash()).unwrap();
    let raw = TxEnvelope::Eip1559(tx.into_signed(signature)).encoded_2718();
    Transaction::decode_signed(raw.into()).unwrap()
}

/// A rollup and its executed blocks, the genesis block first.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    pub(crate) genesis: Genesis,
    pub(crate) blocks: Vec<SourceBlock>,
    /// What they were executed from, without genesis.
    inputs: Vec<BlockInput>,
    pub(crate) epoch: Epoch,
    state: MemoryState,
    nonce: u64,
}

impl Chain {
    pub(crate) fn new(genesis: Genesis) -> Self {
        let (state, header, hash) = genesis.build().unwrap();
        let epoch = Epoch::genesis(&genesis);
        let blocks = vec![SourceBlock { header, hash, transactions: Vec::new() }];
        Self { genesis, blocks, inputs: Vec::new(), epoch, state, nonce: 0 }
    }

    /// The blocks, executed once more.
    pub(crate) fn blocks_again(&self) -> Vec<SourceBlock> {
        let mut again = Self::new(self.genesis.clone());
        for input in &self.inputs {
            again.execute(input, self.epoch);
        }
        again.blocks
    }

    pub(crate) fn rules(&self) -> Arc<ChainRules> {
        self.genesis.chain_rules()
    }

    pub(crate) fn head(&self) -> &SourceBlock {
        self.blocks.last().unwrap()
    }

    pub(crate) fn genesis_header(&self) -> (Header, B256) {
        (self.blocks[0].header.clone(), self.blocks[0].hash)
    }

    /// Executes an input on the head and appends the block.
    pub(crate) fn execute(&mut self, input: &BlockInput, epoch: Epoch) -> SourceBlock {
        let executed = execute(&self.state, input, Mode::Sequential).unwrap();
        self.state.apply_block(&executed).unwrap();
        let block = SourceBlock::from(&executed);
        self.blocks.push(block.clone());
        self.inputs.push(input.clone());
        self.epoch = epoch;
        block
    }

    /// Seals a block of `transfers` transfers with `data_bytes` bytes each, as the builder would.
    pub(crate) fn seal(
        &mut self,
        l1: &FakeL1,
        origin: u64,
        (transfers, data_bytes): (usize, usize),
    ) -> SourceBlock {
        let (origin, deposits) = l1.blocks[&origin].clone();
        let epoch = next_origin_allowed(&self.epoch, &origin).unwrap();
        let parent = self.head();
        let timestamp = parent.header.timestamp.max(origin.timestamp);
        let ChainRules::Rollup(rules) = &*self.rules() else { panic!("not a rollup") };
        check_timestamp(rules, parent.header.timestamp, &origin, timestamp).unwrap();
        let deposits = if epoch.is_first() { deposits } else { Vec::new() };
        let parent = (&parent.header, parent.hash);
        let place = (&origin, epoch.sequence_number);
        let input = BlockInput::rollup(&self.rules(), parent, place, timestamp, deposits);
        let chain_id = self.genesis.rules.chain_id;
        let transactions: Vec<_> = (0..transfers)
            .map(|i| {
                transfer(chain_id, self.nonce + i as u64, noise(self.nonce + i as u64, data_bytes))
            })
            .collect();
        self.nonce += transfers as u64;
        let block = self.execute(&input.with_transactions(transactions), epoch);
        assert_eq!(block.to_batch().unwrap().transactions.len(), transfers);
        block
    }
}

/// Incompressible bytes.
pub(crate) fn noise(seed: u64, bytes: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect::<Vec<_>>().into()
}

/// L1 blocks with their deposits.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeL1 {
    pub(crate) blocks: BTreeMap<u64, (L1Origin, Vec<Deposit>)>,
}

impl FakeL1 {
    /// Blocks `first..first + count`, twelve seconds apart, each with one deposit.
    pub(crate) fn new(first: u64, count: u64) -> Self {
        let hash = |number: u64| keccak256(number.to_be_bytes());
        let block = |number: u64| {
            let origin = L1Origin {
                number,
                hash: hash(number),
                parent_hash: hash(number - 1),
                timestamp: 1_700_000_000 + 12 * number,
                base_fee_wei: 7,
                blob_base_fee_wei: 1,
                prevrandao: B256::repeat_byte(9),
            };
            let deposit = Deposit {
                source_hash: executor::deposit::user_source_hash(origin.hash, 0),
                from: Address::repeat_byte(0x11),
                to: TxKind::Call(Address::repeat_byte(0x22)),
                mint_wei: 5,
                value: U256::from(3),
                gas_limit: 50_000,
                input: Bytes::new(),
            };
            (number, (origin, vec![deposit]))
        };
        Self { blocks: (first..first + count).map(block).collect() }
    }
}

impl L1Lookup for FakeL1 {
    fn origin(&self, number: u64) -> Option<L1Origin> {
        self.blocks.get(&number).map(|(origin, _)| *origin)
    }

    fn deposits(&self, number: u64) -> Option<Vec<Deposit>> {
        self.blocks.get(&number).map(|(_, deposits)| deposits.clone())
    }
}

/// A chain as the poster sees it; the test goes on sealing.
#[derive(Clone, Debug)]
pub(crate) struct SharedChain(pub(crate) Arc<Mutex<Chain>>);

impl SharedChain {
    pub(crate) fn new(chain: Chain) -> Self {
        Self(Arc::new(Mutex::new(chain)))
    }
}

#[async_trait::async_trait]
impl BlockSource for SharedChain {
    async fn head(&self) -> Result<BlockId, SourceError> {
        Ok(self.0.lock().unwrap().head().id())
    }

    async fn block(&self, number: u64) -> Result<Option<SourceBlock>, SourceError> {
        Ok(self.0.lock().unwrap().blocks.get(usize::try_from(number).unwrap()).cloned())
    }

    async fn replay(&self, input: &BlockInput) -> Result<Option<Header>, SourceError> {
        let chain = self.0.lock().unwrap().clone();
        let (mut state, ..) = chain.genesis.build().unwrap();
        let before = usize::try_from(input.env.number).unwrap() - 1;
        for block in &chain.inputs[..before] {
            let again = execute(&state, block, Mode::Sequential).unwrap();
            state.apply_block(&again).unwrap();
        }
        Ok(Some(execute(&state, input, Mode::Sequential).unwrap().header))
    }

    async fn output_root(&self, block: BlockId) -> Result<Option<B256>, SourceError> {
        let block = self.block(block.number).await?.filter(|b| b.hash == block.hash);
        let root = |b: SourceBlock| {
            executor::genesis::output_root(b.header.state_root, B256::ZERO, b.hash)
        };
        Ok(block.map(root))
    }
}
