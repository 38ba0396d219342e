//! Real Ethereum blocks from Byzantium to Cancun: the signed transactions are put together again and
//! must have their real hashes and senders; executed, the block must have its real gas used, bloom
//! and receipts root.

use crate::support::data;
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxLegacy},
    eips::eip2930::{AccessList, AccessListItem},
    primitives::{Address, B256, Bloom, Bytes, Signature, TxKind, U64, U256},
};
use executor::{
    Account, BlockEnv, BlockInput, ChainRules, EthereumRules, MemoryState, Mode, StateDiff,
    Transaction,
    state::{AccountDiff, SlotDiff},
    transaction::SignedTransaction,
};
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// Every block of the data that these rules are complete for.
const BLOCKS: [u64; 25] = [
    4_370_000, 5_526_571, 5_891_667, 6_196_166, 7_280_000, 8_889_776, 9_068_998, 11_114_732,
    12_243_999, 12_459_406, 12_520_364, 13_217_637, 15_274_915, 15_537_394, 15_538_827, 17_666_333,
    19_426_586, 19_426_587, 19_917_570, 19_923_400, 19_929_064, 19_932_148, 19_932_703, 19_933_122,
    19_933_597,
];

#[derive(Deserialize)]
struct File {
    env: Env,
    accounts: BTreeMap<Address, Prestate>,
    codes: BTreeMap<B256, Bytes>,
    hashes: BTreeMap<u64, B256>,
    txs: Vec<Tx>,
    expected: Expected,
    signatures: Vec<SignatureOf>,
}

#[derive(Deserialize)]
struct Env {
    number: u64,
    coinbase: Address,
    ts: u64,
    gas_limit: u64,
    basefee: u64,
    difficulty: U256,
    prevrandao: B256,
    excess_blob: Option<u64>,
    spec: String,
}

#[derive(Deserialize)]
struct Prestate {
    balance: U256,
    nonce: u64,
    code_hash: Option<B256>,
    storage: BTreeMap<U256, U256>,
}

#[derive(Deserialize)]
struct Tx {
    ty: u8,
    from: Address,
    to: Option<Address>,
    nonce: u64,
    value: U256,
    data: Bytes,
    gas: u64,
    gas_price: u128,
    prio: Option<u128>,
    al: Vec<(Address, Vec<U256>)>,
    blobs: Vec<B256>,
    blob_fee: u128,
}

#[derive(Deserialize)]
struct Expected {
    gas_used: u64,
    receipts_root: B256,
    logs_bloom: Bloom,
}

#[derive(Deserialize)]
struct SignatureOf {
    r: U256,
    s: U256,
    v: U64,
    hash: B256,
}

fn spec(name: &str) -> SpecId {
    match name {
        "BYZANTIUM" => SpecId::BYZANTIUM,
        "PETERSBURG" => SpecId::PETERSBURG,
        "ISTANBUL" => SpecId::ISTANBUL,
        "BERLIN" => SpecId::BERLIN,
        "LONDON" => SpecId::LONDON,
        "MERGE" => SpecId::MERGE,
        "SHANGHAI" => SpecId::SHANGHAI,
        "CANCUN" => SpecId::CANCUN,
        other => panic!("hardfork {other}"),
    }
}

fn sign(tx: &Tx, given: &SignatureOf) -> SignedTransaction {
    let v: u64 = given.v.to();
    let (odd, chain_id) = match v {
        0 | 1 => (v == 1, Some(1)),
        27 | 28 => (v == 28, None),
        _ => ((v - 35) % 2 == 1, Some((v - 35) / 2)),
    };
    let signature = Signature::new(given.r, given.s, odd);
    let to = tx.to.map_or(TxKind::Create, TxKind::Call);
    let (nonce, gas_limit, value, input) = (tx.nonce, tx.gas, tx.value, tx.data.clone());
    let items = tx.al.iter().map(|(address, keys)| AccessListItem {
        address: *address,
        storage_keys: keys.iter().map(|key| B256::from(*key)).collect(),
    });
    let access_list = AccessList(items.collect());
    let gas_price = tx.gas_price;
    let max_priority_fee_per_gas = tx.prio.unwrap_or(0);
    match tx.ty {
        0 => TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input }
            .into_signed(signature)
            .into(),
        1 => TxEip2930 { chain_id: 1, nonce, gas_price, gas_limit, to, value, access_list, input }
            .into_signed(signature)
            .into(),
        2 => TxEip1559 {
            chain_id: 1,
            nonce,
            gas_limit,
            max_fee_per_gas: gas_price,
            max_priority_fee_per_gas,
            to,
            value,
            access_list,
            input,
        }
        .into_signed(signature)
        .into(),
        _ => TxEip4844 {
            chain_id: 1,
            nonce,
            gas_limit,
            max_fee_per_gas: gas_price,
            max_priority_fee_per_gas,
            to: tx.to.unwrap(),
            value,
            access_list,
            blob_versioned_hashes: tx.blobs.clone(),
            max_fee_per_blob_gas: tx.blob_fee,
            input,
        }
        .into_signed(signature)
        .into(),
    }
}

fn state(file: &File) -> MemoryState {
    let mut diff = StateDiff::default();
    for (address, given) in &file.accounts {
        let account = Account {
            nonce: given.nonce,
            balance_wei: given.balance,
            code_hash: given.code_hash.unwrap_or(Account::default().code_hash),
        };
        let slots = given.storage.iter().filter(|(_, value)| !value.is_zero());
        let slots = slots.map(|(slot, &after)| (*slot, SlotDiff { before: U256::ZERO, after }));
        let after = (!account.is_empty()).then_some(account);
        let change = AccountDiff { before: None, after, wiped: false, slots: slots.collect() };
        diff.accounts.insert(*address, change);
    }
    let codes = file.codes.iter();
    diff.codes.extend(codes.map(|(hash, code)| (*hash, Bytecode::new_raw(code.clone()))));
    let mut state = MemoryState::default();
    state.apply(&diff).unwrap();
    for (number, hash) in &file.hashes {
        state.set_block_hash(*number, *hash);
    }
    state
}

fn input(file: &File) -> BlockInput {
    let env = &file.env;
    let spec = spec(&env.spec);
    let cancun = spec.is_enabled_in(SpecId::CANCUN);
    let signed = file.txs.iter().zip(&file.signatures);
    let transactions = signed.map(|(tx, signature)| {
        let signed = sign(tx, signature);
        // High-s signatures are valid in old transactions, so recovery is not the front door's.
        let transaction = Transaction::from_signed(signed, tx.from);
        assert_eq!(transaction.hash(), signature.hash, "block {}", env.number);
        transaction
    });
    let rules = EthereumRules { chain_id: 1, spec };
    BlockInput {
        rules: Arc::new(ChainRules::Ethereum(rules)),
        env: BlockEnv {
            number: env.number,
            parent_hash: file.hashes.get(&(env.number - 1)).copied().unwrap_or_default(),
            timestamp: env.ts,
            beneficiary: env.coinbase,
            gas_limit: env.gas_limit,
            base_fee_wei: spec.is_enabled_in(SpecId::LONDON).then_some(env.basefee),
            prevrandao: env.prevrandao,
            difficulty: env.difficulty,
            // Its contract is not in the data, so that the system call changes nothing.
            parent_beacon_block_root: cancun.then_some(B256::ZERO),
            excess_blob_gas: env.excess_blob,
            withdrawals: None,
            ommers: Vec::new(),
            extra_data: Bytes::new(),
        },
        transactions: transactions.collect(),
    }
}

#[test]
fn real_blocks_give_their_gas_bloom_and_receipts() {
    let mut gas = 0;
    for number in BLOCKS {
        let Some(bytes) = data(&format!("mainnet-blocks/{number}.json.xz")) else { return };
        let file: File = serde_json::from_slice(&bytes).unwrap();
        let block = executor::execute(&state(&file), &input(&file), Mode::Sequential).unwrap();
        assert!(block.skipped.is_empty(), "block {number}: {:?}", block.skipped[0].reason);
        assert_eq!(block.header.gas_used, file.expected.gas_used, "block {number}");
        assert_eq!(block.header.logs_bloom, file.expected.logs_bloom, "block {number}");
        assert_eq!(block.header.receipts_root, file.expected.receipts_root, "block {number}");
        gas += block.header.gas_used;
    }
    println!("mainnet blocks: {} executed, {gas} gas", BLOCKS.len());
}

#[test]
fn real_signatures_recover_to_their_senders() {
    let Some(bytes) = data("mainnet-blocks/19933597.json.xz") else { return };
    let file: File = serde_json::from_slice(&bytes).unwrap();
    for (tx, transaction) in file.txs.iter().zip(input(&file).transactions) {
        let decoded = Transaction::decode_signed(transaction.raw().clone()).unwrap();
        assert_eq!((decoded.sender(), decoded.hash()), (tx.from, transaction.hash()));
    }
}
