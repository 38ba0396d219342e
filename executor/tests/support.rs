//! What the tests share: a funded chain, signers, signed transactions.

use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    eips::Encodable2718,
    network::TxSignerSync,
    primitives::{Address, B256, Bytes, TxKind, U256},
    signers::local::PrivateKeySigner,
};
use executor::{
    BlockInput, ChainRules, Deposit, ExecutedBlock, Genesis, Header, L1Origin, MemoryState, Mode,
    RollupRules, Transaction,
    genesis::{GenesisAccount, GenesisL1},
};
use std::{collections::BTreeMap, sync::Arc};

/// One ether in wei.
pub(crate) fn ether(count: u64) -> U256 {
    U256::from(count) * U256::from(1_000_000_000_000_000_000u64)
}

/// The signer number `index`; its key is the number.
pub(crate) fn signer(index: u64) -> PrivateKeySigner {
    let mut key = [0x11u8; 32];
    key[24..].copy_from_slice(&index.to_be_bytes());
    PrivateKeySigner::from_bytes(&B256::from(key)).unwrap()
}

/// A genesis with the given accounts.
pub(crate) fn genesis(accounts: impl IntoIterator<Item = (Address, GenesisAccount)>) -> Genesis {
    let l1 = GenesisL1 {
        chain_id: 31_337,
        origin_number: 0,
        origin_hash: B256::ZERO,
        blob_schedule: BTreeMap::from([(0, 5_007_716)]),
        inbox: Address::ZERO,
        outputs: Address::ZERO,
        portal: Address::ZERO,
    };
    let alloc: BTreeMap<_, _> = accounts.into_iter().collect();
    Genesis { rules: RollupRules::default(), timestamp: 1_700_000_000, alloc, l1 }
}

/// A chain in memory, and the signers that have ether on it.
pub(crate) struct Chain {
    pub(crate) state: MemoryState,
    pub(crate) header: Header,
    pub(crate) hash: B256,
    pub(crate) rules: Arc<ChainRules>,
}

impl Chain {
    /// `signers` accounts with 1,000 ether each.
    pub(crate) fn new(signers: u64) -> Self {
        let accounts = (0..signers).map(|index| {
            let account = GenesisAccount { balance: ether(1_000), ..GenesisAccount::default() };
            (signer(index).address(), account)
        });
        Self::from_genesis(&genesis(accounts))
    }

    pub(crate) fn from_genesis(genesis: &Genesis) -> Self {
        let (state, header, hash) = genesis.build().unwrap();
        Self { state, header, hash, rules: genesis.chain_rules() }
    }

    /// Input of the next block.
    pub(crate) fn input(&self, deposits: Vec<Deposit>, transactions: &[Transaction]) -> BlockInput {
        let origin = L1Origin {
            number: 1,
            hash: B256::repeat_byte(1),
            parent_hash: B256::ZERO,
            timestamp: self.header.timestamp,
            base_fee_wei: 7,
            blob_base_fee_wei: 1,
            prevrandao: B256::repeat_byte(9),
        };
        let timestamp = self.header.timestamp + 1;
        let parent = (&self.header, self.hash);
        BlockInput::rollup(&self.rules, parent, (&origin, 0), timestamp, deposits)
            .with_transactions(transactions.iter().cloned())
    }

    /// Executes the next block and moves on to it.
    pub(crate) fn advance(
        &mut self,
        deposits: Vec<Deposit>,
        transactions: &[Transaction],
    ) -> ExecutedBlock {
        let input = self.input(deposits, transactions);
        let block = executor::execute(&self.state, &input, Mode::Sequential).unwrap();
        self.state.apply_block(&block).unwrap();
        self.header = block.header.clone();
        self.hash = block.hash;
        block
    }
}

/// An unsigned EIP-1559 transaction of the test chain.
pub(crate) fn request(
    nonce: u64,
    to: TxKind,
    value: U256,
    gas_limit: u64,
    input: Bytes,
) -> TxEip1559 {
    TxEip1559 {
        chain_id: RollupRules::default().chain_id,
        nonce,
        gas_limit,
        max_fee_per_gas: 1_000_000_000,
        max_priority_fee_per_gas: 1,
        to,
        value,
        access_list: Default::default(),
        input,
    }
}

/// Signs and takes the transaction through the front door's decoder.
pub(crate) fn sign(mut request: TxEip1559, signer: &PrivateKeySigner) -> Transaction {
    let signature = signer.sign_transaction_sync(&mut request).unwrap();
    let envelope = alloy::consensus::TxEnvelope::from(request.into_signed(signature));
    Transaction::decode_signed(envelope.encoded_2718().into()).unwrap()
}

/// A plain transfer.
pub(crate) fn transfer(from: u64, nonce: u64, to: Address, value: U256) -> Transaction {
    sign(request(nonce, to.into(), value, 21_000, Bytes::new()), &signer(from))
}

/// A deposit that mints and calls.
pub(crate) fn deposit(
    from: Address,
    to: TxKind,
    mint_wei: u128,
    value: U256,
    gas_limit: u64,
) -> Deposit {
    let source_hash = executor::deposit::user_source_hash(B256::repeat_byte(1), mint_wei as u64);
    Deposit { source_hash, from, to, mint_wei, value, gas_limit, input: Bytes::new() }
}

/// Says that a test did not run, and why: on stderr, and for the count that ends `make test`.
pub(crate) fn skip(reason: &str) {
    eprintln!("skipped: {reason}");
    if let Some(path) = std::env::var_os("WEFT_SKIP_LOG") {
        let mut log = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        std::io::Write::write_all(&mut log, format!("skipped: {reason}\n").as_bytes()).unwrap();
    }
}

/// A file of the public chain data, unpacked; `None`, visibly, where it is absent.
pub(crate) fn data(name: &str) -> Option<Vec<u8>> {
    let default = std::path::PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let path = std::env::var_os("WEFT_DATA").map_or(default, Into::into).join(name);
    let Ok(packed) = std::fs::read(&path) else {
        skip(&format!("no data at {}", path.display()));
        return None;
    };
    let mut bytes = Vec::new();
    lzma_rs::xz_decompress(&mut &packed[..], &mut bytes).unwrap();
    Some(bytes)
}
