//! Blocks that are made up, the same in every run: transfers, ERC-20 transfers and swaps, and one
//! block with every kind of transaction.
//!
//! Kinds, gas limits and the 20 pools are those of the workload files. Those files have one
//! transaction a sender, with counters for addresses and one amount for all, which no codec should be
//! judged by; so people, amounts and fees are drawn here, with a skew: few send or receive often, and
//! many once. Signatures are real, because nothing else is as incompressible.

use crate::data::{Block, DataSet};
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxEnvelope, TxLegacy},
    eips::{
        Encodable2718,
        eip2930::{AccessList, AccessListItem},
        eip7702::Authorization,
    },
    network::TxSignerSync,
    primitives::{Address, B256, Bytes, Signature, TxKind, U256, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use anyhow::Result;
use std::collections::BTreeMap;

const CHAIN_ID: u64 = 7_357;
const TRANSACTIONS_PER_BLOCK: usize = 250;
const BLOCK_SEC: u64 = 2;
const FIRST_TIMESTAMP: u64 = 1_750_000_000;
/// People there are, for each transaction. Sending and receiving is skewed: an eighth of them do half
/// of it.
const PEOPLE_PER_TRANSACTION: usize = 1;
const TOKENS: u64 = 8;
const POOLS: u64 = 20;
/// Wei of a gwei.
const GWEI: u64 = 1_000_000_000;
/// Priority fees that wallets propose, in wei.
const PRIORITY_FEES: [u64; 4] = [GWEI / 1_000, GWEI / 100, GWEI / 10, 3 * GWEI / 2];
/// `transfer(address,uint256)`.
const TRANSFER: [u8; 4] = [0xa9, 0x05, 0x9c, 0xbb];
/// Uniswap's `exactInputSingle((address,address,uint24,address,uint256,uint256,uint160))`.
const SWAP: [u8; 4] = [0x04, 0xe4, 0x5a, 0xaf];

/// A name, and what makes the data.
type Named = (&'static str, fn() -> Result<DataSet>);

/// What is made up and measured.
pub(crate) const ALL: [Named; 3] = [
    ("transfers", || Scene::new("transfers", 6_000).blocks(Scene::transfer)),
    ("erc20", || Scene::new("erc20", 6_000).blocks(Scene::token_transfer)),
    ("swaps", || Scene::new("swaps", 2_000).blocks(Scene::swap)),
];

/// What a transaction does.
struct Call {
    to: Address,
    value: U256,
    input: Bytes,
    gas_limit: u64,
}

/// Somebody who has sent or received.
struct Person {
    signer: PrivateKeySigner,
    nonce: u64,
}

/// Data being made up.
struct Scene {
    name: &'static str,
    transactions: usize,
    random: u64,
    /// Those who came up so far, by how seldom they do.
    people: BTreeMap<u64, Person>,
    base_fee: u64,
}

impl Scene {
    fn new(name: &'static str, transactions: usize) -> Self {
        let mut seed = [0; 8];
        seed.copy_from_slice(&keccak256(name)[..8]);
        let random = u64::from_be_bytes(seed) | 1;
        Self { name, transactions, random, people: BTreeMap::new(), base_fee: GWEI / 20 }
    }

    /// xorshift64*: the same numbers on every machine and in every run.
    fn next(&mut self) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, count: u64) -> u64 {
        self.next() % count
    }

    /// Below `count`, the smaller the likelier: the cube of an even draw.
    fn skewed(&mut self, count: u64) -> u64 {
        let draw = u128::from(self.next() >> 32);
        let cube = (draw * draw * draw) >> 64;
        u64::try_from((cube * u128::from(count)) >> 32).unwrap_or_default()
    }

    fn word(&self, what: &str, index: u64) -> B256 {
        keccak256(format!("weft bench_batch {} {what} {index}", self.name))
    }

    fn contract(&self, what: &str, index: u64) -> Address {
        Address::from_word(self.word(what, index))
    }

    /// Somebody, who may have sent before.
    fn person(&mut self) -> Result<&mut Person> {
        let people = self.transactions * PEOPLE_PER_TRANSACTION;
        let index = self.skewed(u64::try_from(people)?);
        if !self.people.contains_key(&index) {
            let signer = PrivateKeySigner::from_bytes(&self.word("person", index))?;
            let nonce = self.skewed(2_000);
            self.people.insert(index, Person { signer, nonce });
        }
        self.people.get_mut(&index).ok_or_else(|| anyhow::anyhow!("nobody at {index}"))
    }

    /// Of ten amounts seven are round: up to three digits, then zeros.
    fn amount(&mut self, decimals: u64) -> U256 {
        let unit = U256::from(10).pow(U256::from(decimals - 3));
        if self.below(10) < 7 {
            let digits = self.below(3);
            let mantissa = 1 + self.below(10u64.pow(1 + u32::try_from(digits).unwrap_or_default()));
            return U256::from(mantissa) * unit * U256::from(10).pow(U256::from(self.below(4)));
        }
        self.exact(decimals)
    }

    /// With all its digits, as what a price was multiplied with: up to ten whole ones.
    fn exact(&mut self, decimals: u64) -> U256 {
        let whole = U256::from(10).pow(U256::from(decimals + 1));
        (U256::from(self.next()) * whole) >> 64
    }

    fn transfer(&mut self, _from: Address) -> Result<Call> {
        let to = self.person()?.signer.address();
        Ok(Call { to, value: self.amount(18), input: Bytes::new(), gas_limit: 21_000 })
    }

    fn token_transfer(&mut self, _from: Address) -> Result<Call> {
        let to = self.person()?.signer.address();
        let token = self.skewed(TOKENS);
        // The most used are in dollars, which have six decimals.
        let amount = self.amount(if token < 2 { 6 } else { 18 });
        let input = call(TRANSFER, &[to.into_word(), amount.into()]);
        let to = self.contract("token", token);
        Ok(Call { to, value: U256::ZERO, input, gas_limit: 100_000 })
    }

    /// One of the pair for the other, through a router, to whom it is that sends.
    fn swap(&mut self, from: Address) -> Result<Call> {
        let pool = self.skewed(POOLS);
        let pair = [2 * pool, 2 * pool + 1].map(|index| self.contract("token", index).into_word());
        let (sold, bought) = if self.below(2) == 0 { (0, 1) } else { (1, 0) };
        let fee = U256::from([500, 3_000, 10_000][usize::try_from(pool % 3)?]);
        let (amount, at_least) = (self.amount(18), self.exact(18));
        let fields = [
            pair[sold],
            pair[bought],
            fee.into(),
            from.into_word(),
            amount.into(),
            at_least.into(),
            B256::ZERO,
        ];
        let to = self.contract("router", 0);
        Ok(Call { to, value: U256::ZERO, input: call(SWAP, &fields), gas_limit: 200_000 })
    }

    /// As wallets propose it: a usual priority fee above twice the base fee.
    fn transaction(&mut self, does: fn(&mut Self, Address) -> Result<Call>) -> Result<Bytes> {
        let sender = self.person()?;
        let nonce = sender.nonce;
        sender.nonce += 1;
        let signer = sender.signer.clone();
        let Call { to, value, input, gas_limit } = does(self, signer.address())?;
        let priority_fee = PRIORITY_FEES[usize::try_from(self.skewed(4))?];
        let transaction = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit,
            max_fee_per_gas: u128::from(2 * self.base_fee + priority_fee),
            max_priority_fee_per_gas: priority_fee.into(),
            to: to.into(),
            value,
            input,
            access_list: AccessList::default(),
        };
        sign(transaction, &signer)
    }

    fn blocks(mut self, does: fn(&mut Self, Address) -> Result<Call>) -> Result<DataSet> {
        let mut blocks = Vec::new();
        for number in 1..=u64::try_from(self.transactions.div_ceil(TRANSACTIONS_PER_BLOCK))? {
            // It moves by up to an eighth from block to block.
            self.base_fee = self.base_fee * (875 + self.below(251)) / 1_000;
            let transactions = (0..TRANSACTIONS_PER_BLOCK).map(|_| self.transaction(does));
            blocks.push(block(number, transactions.collect::<Result<_>>()?));
        }
        Ok(data(self.name, blocks))
    }
}

fn block(number: u64, transactions: Vec<Bytes>) -> Block {
    Block { number, timestamp: FIRST_TIMESTAMP + BLOCK_SEC * number, transactions }
}

fn data(name: &str, blocks: Vec<Block>) -> DataSet {
    let name = name.to_owned();
    DataSet { name, chain_id: CHAIN_ID, before: Vec::new(), blocks, left_out: 0 }
}

fn call(selector: [u8; 4], words: &[B256]) -> Bytes {
    [&selector, words.concat().as_slice()].concat().into()
}

fn sign<T>(mut transaction: T, signer: &PrivateKeySigner) -> Result<Bytes>
where
    T: SignableTransaction<Signature>,
    TxEnvelope: From<alloy::consensus::Signed<T>>,
{
    let signature = signer.sign_transaction_sync(&mut transaction)?;
    Ok(TxEnvelope::from(transaction.into_signed(signature)).encoded_2718().into())
}

/// A block with every kind of transaction and the odd ones of each, between empty blocks.
pub(crate) fn every_kind() -> Result<DataSet> {
    let signer = PrivateKeySigner::from_bytes(&keccak256("weft bench_batch every kind"))?;
    let to = Address::repeat_byte(0xa5);
    let input = Bytes::from_static(&[0x60, 0x00, 0xff]);
    let access_list = AccessList(vec![AccessListItem {
        address: to,
        storage_keys: vec![B256::ZERO, B256::repeat_byte(7)],
    }]);
    let delegation = Authorization { chain_id: U256::from(CHAIN_ID), address: to, nonce: 9 };
    let delegation_signature = signer.sign_hash_sync(&delegation.signature_hash())?;
    let legacy = TxLegacy {
        chain_id: Some(CHAIN_ID),
        gas_price: 7,
        gas_limit: 21_000,
        to: to.into(),
        ..TxLegacy::default()
    };
    let chain_id = CHAIN_ID;
    let dynamic = TxEip1559 {
        chain_id,
        nonce: u64::MAX - 1,
        gas_limit: u64::MAX,
        max_fee_per_gas: u128::MAX,
        value: U256::MAX,
        to: TxKind::Create,
        input: input.clone(),
        ..TxEip1559::default()
    };
    let with_list = TxEip2930 {
        chain_id,
        to: to.into(),
        access_list: access_list.clone(),
        input: input.clone(),
        ..TxEip2930::default()
    };
    let delegating = TxEip7702 {
        chain_id,
        to,
        access_list: access_list.clone(),
        authorization_list: vec![delegation.into_signed(delegation_signature)],
        ..TxEip7702::default()
    };
    let transactions = vec![
        sign(legacy.clone(), &signer)?,
        sign(TxLegacy { chain_id: None, nonce: 1, ..legacy.clone() }, &signer)?,
        sign(TxLegacy { nonce: 2, to: TxKind::Create, input, ..legacy }, &signer)?,
        sign(with_list.clone(), &signer)?,
        sign(TxEip2930 { to: TxKind::Create, ..with_list }, &signer)?,
        sign(TxEip1559 { to: to.into(), access_list, ..dynamic.clone() }, &signer)?,
        sign(dynamic, &signer)?,
        sign(delegating, &signer)?,
    ];
    let blocks = vec![block(1, Vec::new()), block(2, transactions), block(3, Vec::new())];
    Ok(data("every kind of transaction", blocks))
}
