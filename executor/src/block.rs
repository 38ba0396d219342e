//! A block before and after execution, and the header that commits to it.
//!
//! Owns the environment, the input, the output, and the one way in which a rollup's next input
//! follows from its parent: block builder and derivation both call [`BlockInput::rollup`], so they
//! cannot disagree.

#[cfg(feature = "std")]
use crate::keccak::{Backend, Batch};
use crate::{
    counters::Counters,
    deposit::{Deposit, L1Attributes, L1Origin},
    error::SkipReason,
    receipt::Receipt,
    rules::{ChainRules, ROLLUP_PARENT_BEACON_BLOCK_ROOT, RollupRules},
    state::{StateDiff, StateTrie},
    transaction::Transaction,
};
use alloc::{sync::Arc, vec::Vec};
use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header, constants::EMPTY_WITHDRAWALS};
use alloy_eips::{eip4895::Withdrawal, eip7685::EMPTY_REQUESTS_HASH};
#[cfg(feature = "std")]
use alloy_primitives::BloomInput;
use alloy_primitives::{Address, B64, B256, Bloom, Bytes, U256};
use alloy_rlp::BufMut;
use alloy_trie::root::ordered_trie_root_with_encoder;
use revm::primitives::hardfork::SpecId;

/// What a block's transactions can see, and what its header repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockEnv {
    /// Height.
    pub number: u64,
    /// Hash of the block before.
    pub parent_hash: B256,
    /// Seconds since 1970.
    pub timestamp: u64,
    /// Receives priority fees.
    pub beneficiary: Address,
    /// Gas limit of the block.
    pub gas_limit: u64,
    /// Base fee per gas in wei; `None` before London.
    pub base_fee_wei: Option<u64>,
    /// PREVRANDAO; the rollup repeats its L1 origin's. Before the Merge: the mix hash.
    pub prevrandao: B256,
    /// Proof-of-work difficulty; zero since the Merge.
    pub difficulty: U256,
    /// Parent beacon block root (EIP-4788); `None` before Cancun.
    pub parent_beacon_block_root: Option<B256>,
    /// Excess blob gas (EIP-4844); `None` before Cancun.
    pub excess_blob_gas: Option<u64>,
    /// Withdrawals (EIP-4895); `None` before Shanghai, always empty on a rollup.
    pub withdrawals: Option<Vec<Withdrawal>>,
    /// Ommers, which earn a reward before the Merge; empty since, and on a rollup.
    pub ommers: Vec<Ommer>,
    /// Header extra data; empty on a rollup.
    pub extra_data: Bytes,
}

/// A block that competed with an ancestor, as far as its reward goes (Yellow Paper, section 11.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ommer {
    /// Its height.
    pub number: u64,
    /// Its beneficiary.
    pub beneficiary: Address,
}

/// Everything a block follows from besides the state before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockInput {
    /// Rules of the chain.
    pub rules: Arc<ChainRules>,
    /// Environment.
    pub env: BlockEnv,
    /// Transactions in order: on a rollup the L1 attributes, the deposits, then the users'.
    pub transactions: Vec<Transaction>,
}

impl BlockInput {
    /// The input of a rollup block: L1 attributes and deposits first, then `transactions`.
    ///
    /// `sequence_number` counts the L2 blocks of the same `origin` from 0; `deposits` are the
    /// origin's, in log order, when it is 0, and empty otherwise. The caller has checked the
    /// timestamp against the parent and the origin.
    #[must_use]
    pub fn rollup(
        rules: &Arc<ChainRules>,
        parent: (&Header, B256),
        attributes: (&L1Origin, u64),
        timestamp: u64,
        deposits: Vec<Deposit>,
    ) -> Self {
        let (origin, sequence_number) = attributes;
        let env = BlockEnv::rollup(rules, parent, origin.prevrandao, timestamp);
        let first = L1Attributes::new(origin, sequence_number).to_deposit();
        let mandatory = core::iter::once(first).chain(deposits);
        Self {
            rules: rules.clone(),
            env,
            transactions: mandatory.map(Transaction::from_deposit).collect(),
        }
    }

    /// Appends the users' transactions.
    #[must_use]
    pub fn with_transactions(
        mut self,
        transactions: impl IntoIterator<Item = Transaction>,
    ) -> Self {
        self.transactions.extend(transactions);
        self
    }
}

impl BlockEnv {
    /// The environment that a header repeats, to execute its block or a call in it. Withdrawals and
    /// ommers are not in a header; they are `None` and empty.
    #[must_use]
    pub fn of_header(header: &Header) -> Self {
        Self {
            number: header.number,
            parent_hash: header.parent_hash,
            timestamp: header.timestamp,
            beneficiary: header.beneficiary,
            gas_limit: header.gas_limit,
            base_fee_wei: header.base_fee_per_gas,
            prevrandao: header.mix_hash,
            difficulty: header.difficulty,
            parent_beacon_block_root: header.parent_beacon_block_root,
            excess_blob_gas: header.excess_blob_gas,
            withdrawals: None,
            ommers: Vec::new(),
            extra_data: header.extra_data.clone(),
        }
    }

    /// The environment of the rollup block after `parent`.
    #[must_use]
    pub fn rollup(
        rules: &ChainRules,
        parent: (&Header, B256),
        prevrandao: B256,
        timestamp: u64,
    ) -> Self {
        let default_rules = RollupRules::default();
        let rollup = match rules {
            ChainRules::Rollup(rollup) => rollup,
            ChainRules::Ethereum(_) => &default_rules,
        };
        let (header, parent_hash) = parent;
        Self {
            number: header.number + 1,
            parent_hash,
            timestamp,
            beneficiary: rollup.fee_recipient,
            gas_limit: rollup.gas_limit,
            base_fee_wei: Some(rollup.next_base_fee_wei(header)),
            prevrandao,
            difficulty: U256::ZERO,
            parent_beacon_block_root: Some(ROLLUP_PARENT_BEACON_BLOCK_ROOT),
            excess_blob_gas: Some(0),
            withdrawals: Some(Vec::new()),
            ommers: Vec::new(),
            extra_data: Bytes::new(),
        }
    }
}

/// A transaction that was offered to the block and is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The transaction.
    pub transaction: Transaction,
    /// Why.
    pub reason: SkipReason,
}

/// A sealed block with everything its execution produced.
#[derive(Clone, Debug)]
pub struct ExecutedBlock {
    /// Header.
    pub header: Header,
    /// keccak-256 of the header's RLP.
    pub hash: B256,
    /// Included transactions in order.
    pub transactions: Vec<Transaction>,
    /// One receipt per included transaction.
    pub receipts: Vec<Receipt>,
    /// Offered transactions that are not in the block, in the order of the offer.
    pub skipped: Vec<Skipped>,
    /// Change from the state before.
    pub diff: StateDiff,
    /// Trie after the block; shares everything unchanged with the trie before. `None` from a view whose
    /// own engine computes roots.
    pub trie: Option<StateTrie>,
    /// What executing it took. Two executions of the same block agree on everything but this.
    pub counters: Counters,
}

/// Root of the transactions trie over EIP-2718 bytes.
#[must_use]
pub fn transactions_root(transactions: &[Transaction]) -> B256 {
    ordered_root(transactions, |transaction, out| out.put_slice(transaction.raw()))
}

/// Root of the receipts trie over EIP-2718 bytes, and the union of the blooms.
#[must_use]
pub fn receipts_root(receipts: &[Receipt]) -> (B256, Bloom) {
    let blooms = blooms(receipts);
    let with_blooms: Vec<_> = receipts.iter().zip(&blooms).collect();
    let root = ordered_root(&with_blooms, |(receipt, bloom), out| receipt.encode_2718(bloom, out));
    (root, blooms.iter().fold(Bloom::ZERO, |all, bloom| all | *bloom))
}

/// Root of the trie over a list, by as many lanes of keccak as the processor has.
#[cfg(feature = "std")]
fn ordered_root<T>(items: &[T], encode: impl Fn(&T, &mut Vec<u8>)) -> B256 {
    let by_index = |index: usize, out: &mut Vec<u8>| encode(&items[index], out);
    let root = crate::ordered_root::ordered_root(Backend::detect(), items.len(), by_index);
    root.unwrap_or_else(|| ordered_trie_root_with_encoder(items, encode))
}

#[cfg(not(feature = "std"))]
fn ordered_root<T>(items: &[T], encode: impl Fn(&T, &mut Vec<u8>)) -> B256 {
    ordered_trie_root_with_encoder(items, encode)
}

/// The bloom of each receipt; what goes into all of them is hashed together.
#[cfg(feature = "std")]
fn blooms(receipts: &[Receipt]) -> Vec<Bloom> {
    let Some(mut batch) = Batch::new(Backend::detect()) else {
        return receipts.iter().map(Receipt::bloom).collect();
    };
    let mut blooms = alloc::vec![Bloom::ZERO; receipts.len()];
    let mut accrue = |index: usize, hash: B256| blooms[index].accrue(BloomInput::Hash(hash));
    for (index, log) in receipts
        .iter()
        .enumerate()
        .flat_map(|(index, r)| r.logs.iter().map(move |log| (index, log)))
    {
        batch.push(index, log.address.as_slice(), &mut accrue);
        for topic in log.topics() {
            batch.push(index, topic.as_slice(), &mut accrue);
        }
    }
    batch.finish(&mut accrue);
    blooms
}

#[cfg(not(feature = "std"))]
fn blooms(receipts: &[Receipt]) -> Vec<Bloom> {
    receipts.iter().map(Receipt::bloom).collect()
}

/// What the header commits to besides the environment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commitments {
    pub(crate) state_root: B256,
    pub(crate) transactions_root: B256,
    pub(crate) receipts_root: B256,
    pub(crate) logs_bloom: Bloom,
    pub(crate) gas_used: u64,
    pub(crate) blob_gas_used: u64,
    pub(crate) requests_hash: Option<B256>,
}

/// Puts a header together in Ethereum's shape.
pub(crate) fn header(env: &BlockEnv, spec: SpecId, commitments: &Commitments) -> Header {
    let cancun = spec.is_enabled_in(SpecId::CANCUN);
    Header {
        parent_hash: env.parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: env.beneficiary,
        state_root: commitments.state_root,
        transactions_root: commitments.transactions_root,
        receipts_root: commitments.receipts_root,
        logs_bloom: commitments.logs_bloom,
        difficulty: env.difficulty,
        number: env.number,
        gas_limit: env.gas_limit,
        gas_used: commitments.gas_used,
        timestamp: env.timestamp,
        extra_data: env.extra_data.clone(),
        mix_hash: env.prevrandao,
        nonce: B64::ZERO,
        base_fee_per_gas: env.base_fee_wei,
        withdrawals_root: env.withdrawals.as_deref().map(|withdrawals| {
            if withdrawals.is_empty() {
                EMPTY_WITHDRAWALS
            } else {
                alloy_consensus::proofs::calculate_withdrawals_root(withdrawals)
            }
        }),
        blob_gas_used: cancun.then_some(commitments.blob_gas_used),
        excess_blob_gas: env.excess_blob_gas,
        parent_beacon_block_root: env.parent_beacon_block_root,
        requests_hash: commitments
            .requests_hash
            .or_else(|| spec.is_enabled_in(SpecId::PRAGUE).then_some(EMPTY_REQUESTS_HASH)),
        block_access_list_hash: None,
        slot_number: None,
    }
}
