//! The Prague block of the public chain data that comes with its prestate, in a layout of its own.
//!
//! Owns the way from that file to the state before the block and the block's input. Nothing is
//! expected of the block there: it serves to compare executions with one another.

use crate::support::data;
use alloy::{
    consensus::{
        EthereumTxEnvelope, SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702,
        TxLegacy,
    },
    eips::{
        eip2930::{AccessList, AccessListItem},
        eip7702::{Authorization, SignedAuthorization},
    },
    primitives::{Address, B256, Bytes, Signature, TxKind, U256},
};
use executor::{
    Account, BlockEnv, BlockInput, ChainRules, EthereumRules, MemoryState, StateDiff, Transaction,
    state::{AccountDiff, SlotDiff},
    transaction::SignedTransaction,
};
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PrestateFile {
    block: Env,
    transactions: Vec<Tx>,
    pre_state: BTreeMap<Address, Prestate>,
}

#[derive(Deserialize)]
struct Env {
    number: u64,
    coinbase: Address,
    timestamp: u64,
    gas_limit: u64,
    basefee: u64,
    prevrandao: B256,
    excess_blob_gas: u64,
    chain_id: u64,
    block_hashes: BTreeMap<u64, B256>,
}

#[derive(Deserialize)]
struct Prestate {
    balance: U256,
    nonce: u64,
    code: Option<Bytes>,
    storage: BTreeMap<U256, U256>,
}

#[derive(Deserialize)]
struct Tx {
    tx_type: u8,
    caller: Address,
    to: Option<Address>,
    nonce: u64,
    value: U256,
    data: Bytes,
    gas_limit: u64,
    gas_price: u128,
    gas_priority_fee: Option<u128>,
    access_list: Vec<AccessItem>,
    blob_hashes: Vec<B256>,
    max_fee_per_blob_gas: u128,
    authorization_list: Vec<AuthorizationItem>,
}

#[derive(Deserialize)]
struct AccessItem {
    address: Address,
    storage_keys: Vec<U256>,
}

#[derive(Deserialize)]
struct AuthorizationItem {
    chain_id: U256,
    address: Address,
    nonce: u64,
    y_parity: u8,
    r: U256,
    s: U256,
}

/// The state before the block, and the block's input.
pub(crate) fn read(name: &str) -> Option<(MemoryState, BlockInput)> {
    let file: PrestateFile = serde_json::from_slice(&data(name)?).unwrap();
    Some((state(&file), input(&file)))
}

fn state(file: &PrestateFile) -> MemoryState {
    let mut diff = StateDiff::default();
    for (address, given) in &file.pre_state {
        let code = Bytecode::new_raw(given.code.clone().unwrap_or_default());
        let code_hash = code.hash_slow();
        let account = Account { nonce: given.nonce, balance_wei: given.balance, code_hash };
        let slots = given.storage.iter().filter(|(_, value)| !value.is_zero());
        let slots = slots.map(|(slot, &after)| (*slot, SlotDiff { before: U256::ZERO, after }));
        let after = (!account.is_empty()).then_some(account);
        let change = AccountDiff { before: None, after, wiped: false, slots: slots.collect() };
        diff.accounts.insert(*address, change);
        diff.codes.insert(code_hash, code);
    }
    let mut state = MemoryState::default();
    state.apply(&diff).unwrap();
    for (number, hash) in &file.block.block_hashes {
        state.set_block_hash(*number, *hash);
    }
    state
}

fn input(file: &PrestateFile) -> BlockInput {
    let env = &file.block;
    let transactions = file.transactions.iter();
    let transactions = transactions
        .map(|tx| Transaction::from_signed(signed(tx, env.chain_id), tx.caller))
        .collect();
    let rules = EthereumRules { chain_id: env.chain_id, spec: SpecId::PRAGUE };
    BlockInput {
        rules: Arc::new(ChainRules::Ethereum(rules)),
        env: BlockEnv {
            number: env.number,
            parent_hash: env.block_hashes[&(env.number - 1)],
            timestamp: env.timestamp,
            beneficiary: env.coinbase,
            gas_limit: env.gas_limit,
            base_fee_wei: Some(env.basefee),
            prevrandao: env.prevrandao,
            difficulty: U256::ZERO,
            parent_beacon_block_root: Some(B256::ZERO),
            excess_blob_gas: Some(env.excess_blob_gas),
            withdrawals: Some(Vec::new()),
            ommers: Vec::new(),
            extra_data: Bytes::new(),
        },
        transactions,
    }
}

/// The file has no signatures of transactions, and execution looks at none. Those of authorizations
/// it has, and they matter.
fn signed(tx: &Tx, chain_id: u64) -> SignedTransaction {
    let signature = Signature::new(U256::ONE, U256::ONE, false);
    let kind = tx.to.map_or(TxKind::Create, TxKind::Call);
    let to = tx.to.unwrap_or_default();
    let (nonce, gas_limit, value, input) = (tx.nonce, tx.gas_limit, tx.value, tx.data.clone());
    let items = tx.access_list.iter().map(|item| AccessListItem {
        address: item.address,
        storage_keys: item.storage_keys.iter().map(|key| B256::from(*key)).collect(),
    });
    let access_list = AccessList(items.collect());
    let (gas_price, max_fee_per_gas) = (tx.gas_price, tx.gas_price);
    let max_priority_fee_per_gas = tx.gas_priority_fee.unwrap_or(0);
    let (blob_versioned_hashes, max_fee_per_blob_gas) =
        (tx.blob_hashes.clone(), tx.max_fee_per_blob_gas);
    #[rustfmt::skip]
    let envelope = match tx.tx_type {
        0 => EthereumTxEnvelope::from(TxLegacy {
            chain_id: Some(chain_id), nonce, gas_price, gas_limit, to: kind, value, input,
        }.into_signed(signature)),
        1 => TxEip2930 {
            chain_id, nonce, gas_price, gas_limit, to: kind, value, access_list, input,
        }.into_signed(signature).into(),
        2 => TxEip1559 {
            chain_id, nonce, gas_limit, max_fee_per_gas, max_priority_fee_per_gas, to: kind, value,
            access_list, input,
        }.into_signed(signature).into(),
        3 => TxEip4844 {
            chain_id, nonce, gas_limit, max_fee_per_gas, max_priority_fee_per_gas, to, value,
            access_list, blob_versioned_hashes, max_fee_per_blob_gas, input,
        }.into_signed(signature).into(),
        4 => TxEip7702 {
            chain_id, nonce, gas_limit, max_fee_per_gas, max_priority_fee_per_gas, to, value,
            access_list, authorization_list: authorizations(tx), input,
        }.into_signed(signature).into(),
        other => panic!("type {other}"),
    };
    envelope
}

fn authorizations(tx: &Tx) -> Vec<SignedAuthorization> {
    let signed = |item: &AuthorizationItem| {
        let (chain_id, address, nonce) = (item.chain_id, item.address, item.nonce);
        let authorization = Authorization { chain_id, address, nonce };
        SignedAuthorization::new_unchecked(authorization, item.y_parity, item.r, item.s)
    };
    tx.authorization_list.iter().map(signed).collect()
}
