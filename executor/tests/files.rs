//! Blocks of the public chain data and synthetic workloads, which share a layout: from a file to the
//! state before the block and the block's input.
//!
//! Does not know where the bytes are nor what a missing file means: each binary that includes this
//! file says so in a `support::data` of its own. Executes nothing.

use crate::support::data;
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy},
    eips::{
        eip2930::{AccessList, AccessListItem},
        eip7702::{Authorization, SignedAuthorization},
    },
    primitives::{Address, B256, Bloom, Bytes, Signature, TxKind, U64, U256, keccak256},
};
use executor::{
    Account, BlockEnv, BlockInput, ChainRules, EthereumRules, MemoryState, StateDiff, Transaction,
    state::{AccountDiff, SlotDiff},
    transaction::SignedTransaction,
};
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use serde::Deserialize;
use std::{collections::BTreeMap, sync::Arc};

/// A block or a workload as the file has it.
#[derive(Deserialize)]
pub(crate) struct File {
    pub(crate) env: Env,
    pub(crate) accounts: BTreeMap<Address, Prestate>,
    pub(crate) codes: BTreeMap<B256, Bytes>,
    pub(crate) hashes: BTreeMap<u64, B256>,
    pub(crate) txs: Vec<Tx>,
    /// Absent from workloads.
    pub(crate) expected: Option<Expected>,
    /// As many as transactions; none in workloads, whose transactions nobody signed.
    #[serde(default)]
    pub(crate) signatures: Vec<SignatureOf>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Env {
    pub(crate) number: u64,
    pub(crate) coinbase: Address,
    pub(crate) ts: u64,
    pub(crate) gas_limit: u64,
    pub(crate) basefee: u64,
    pub(crate) difficulty: U256,
    pub(crate) prevrandao: B256,
    pub(crate) excess_blob: Option<u64>,
    pub(crate) spec: String,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Prestate {
    pub(crate) balance: U256,
    pub(crate) nonce: u64,
    pub(crate) code_hash: Option<B256>,
    pub(crate) storage: BTreeMap<U256, U256>,
}

#[derive(Clone, Deserialize)]
pub(crate) struct Tx {
    pub(crate) ty: u8,
    pub(crate) from: Address,
    pub(crate) to: Option<Address>,
    pub(crate) nonce: u64,
    pub(crate) value: U256,
    pub(crate) data: Bytes,
    pub(crate) gas: u64,
    pub(crate) gas_price: u128,
    pub(crate) prio: Option<u128>,
    pub(crate) al: Vec<(Address, Vec<U256>)>,
    pub(crate) blobs: Vec<B256>,
    pub(crate) blob_fee: u128,
    #[serde(skip)]
    pub(crate) auths: Vec<SignedAuthorization>,
}

#[derive(Deserialize)]
pub(crate) struct Expected {
    pub(crate) gas_used: u64,
    pub(crate) receipts_root: B256,
    pub(crate) logs_bloom: Bloom,
}

#[derive(Deserialize)]
pub(crate) struct SignatureOf {
    pub(crate) r: U256,
    pub(crate) s: U256,
    pub(crate) v: U64,
    pub(crate) hash: B256,
}

/// The file of this name below the folder of public chain data, in either layout.
pub(crate) fn read(name: &str) -> Option<File> {
    let bytes = data(name)?;
    Some(if name == PRAGUE {
        common(serde_json::from_slice(&bytes).unwrap())
    } else {
        serde_json::from_slice(&bytes).unwrap()
    })
}

/// The one file in another layout.
const PRAGUE: &str = "mainnet-blocks/22546209.json.xz";

/// Its layout: codes inline, no signatures, nothing expected.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PragueFile {
    block: PragueEnv,
    transactions: Vec<PragueTx>,
    pre_state: BTreeMap<Address, PragueAccount>,
}

#[derive(Deserialize)]
struct PragueEnv {
    number: u64,
    coinbase: Address,
    timestamp: u64,
    gas_limit: u64,
    basefee: u64,
    difficulty: U256,
    prevrandao: B256,
    excess_blob_gas: Option<u64>,
    block_hashes: BTreeMap<u64, B256>,
}

#[derive(Deserialize)]
struct PragueAccount {
    balance: U256,
    nonce: u64,
    code: Option<Bytes>,
    storage: BTreeMap<U256, U256>,
}

#[derive(Deserialize)]
struct PragueTx {
    tx_type: u8,
    caller: Address,
    to: Option<Address>,
    nonce: u64,
    value: U256,
    data: Bytes,
    gas_limit: u64,
    gas_price: u128,
    gas_priority_fee: Option<u128>,
    access_list: Vec<PragueAccess>,
    blob_hashes: Vec<B256>,
    max_fee_per_blob_gas: u128,
    authorization_list: Vec<PragueAuthorization>,
}

#[derive(Deserialize)]
struct PragueAccess {
    address: Address,
    #[serde(alias = "storageKeys")]
    storage_keys: Vec<U256>,
}

#[derive(Deserialize)]
struct PragueAuthorization {
    chain_id: U256,
    address: Address,
    nonce: u64,
    y_parity: u8,
    r: U256,
    s: U256,
}

fn common(file: PragueFile) -> File {
    let mut codes = BTreeMap::new();
    let mut account = |given: PragueAccount| {
        let code = given.code.filter(|code| !code.is_empty());
        let code_hash = code.map(|code| {
            let hash = keccak256(&code);
            codes.insert(hash, code);
            hash
        });
        let PragueAccount { balance, nonce, storage, .. } = given;
        Prestate { balance, nonce, code_hash, storage }
    };
    let accounts = file.pre_state.into_iter();
    let accounts = accounts.map(|(address, given)| (address, account(given))).collect();
    let env = file.block;
    File {
        accounts,
        codes,
        hashes: env.block_hashes,
        txs: file.transactions.into_iter().map(common_tx).collect(),
        expected: None,
        signatures: Vec::new(),
        env: Env {
            number: env.number,
            coinbase: env.coinbase,
            ts: env.timestamp,
            gas_limit: env.gas_limit,
            basefee: env.basefee,
            difficulty: env.difficulty,
            prevrandao: env.prevrandao,
            excess_blob: env.excess_blob_gas,
            spec: "PRAGUE".to_owned(),
        },
    }
}

fn common_tx(tx: PragueTx) -> Tx {
    let authorization = |given: PragueAuthorization| {
        let PragueAuthorization { chain_id, address, nonce, y_parity, r, s } = given;
        let inner = Authorization { chain_id, address, nonce };
        SignedAuthorization::new_unchecked(inner, y_parity, r, s)
    };
    let access = |given: PragueAccess| (given.address, given.storage_keys);
    Tx {
        ty: tx.tx_type,
        from: tx.caller,
        to: tx.to,
        nonce: tx.nonce,
        value: tx.value,
        data: tx.data,
        gas: tx.gas_limit,
        gas_price: tx.gas_price,
        prio: tx.gas_priority_fee,
        al: tx.access_list.into_iter().map(access).collect(),
        blobs: tx.blob_hashes,
        blob_fee: tx.max_fee_per_blob_gas,
        auths: tx.authorization_list.into_iter().map(authorization).collect(),
    }
}

fn spec(name: &str) -> SpecId {
    match name {
        "FRONTIER" => SpecId::FRONTIER,
        "HOMESTEAD" => SpecId::HOMESTEAD,
        "TANGERINE" => SpecId::TANGERINE,
        "SPURIOUS_DRAGON" => SpecId::SPURIOUS_DRAGON,
        "BYZANTIUM" => SpecId::BYZANTIUM,
        "PETERSBURG" => SpecId::PETERSBURG,
        "ISTANBUL" => SpecId::ISTANBUL,
        "BERLIN" => SpecId::BERLIN,
        "LONDON" => SpecId::LONDON,
        "MERGE" => SpecId::MERGE,
        "SHANGHAI" => SpecId::SHANGHAI,
        "CANCUN" => SpecId::CANCUN,
        "PRAGUE" => SpecId::PRAGUE,
        other => panic!("hardfork {other}"),
    }
}

/// The signature and the chain id that its `v` carries. Execution looks at no signature, so that one
/// made of ones does where nobody signed.
fn signature(given: Option<&SignatureOf>) -> (Signature, Option<u64>) {
    let Some(given) = given else { return (Signature::new(U256::ONE, U256::ONE, false), None) };
    let v: u64 = given.v.to();
    let (odd, chain_id) = match v {
        0 | 1 => (v == 1, Some(1)),
        27 | 28 => (v == 28, None),
        _ => ((v - 35) % 2 == 1, Some((v - 35) / 2)),
    };
    (Signature::new(given.r, given.s, odd), chain_id)
}

fn sign(tx: &Tx, given: Option<&SignatureOf>) -> SignedTransaction {
    let (signature, chain_id) = signature(given);
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
        3 => TxEip4844 {
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
        _ => TxEip7702 {
            chain_id: 1,
            nonce,
            gas_limit,
            max_fee_per_gas: gas_price,
            max_priority_fee_per_gas,
            to: tx.to.unwrap(),
            value,
            access_list,
            authorization_list: tx.auths.clone(),
            input,
        }
        .into_signed(signature)
        .into(),
    }
}

/// The state before the block.
pub(crate) fn state(file: &File) -> MemoryState {
    let mut diff = StateDiff::default();
    // Before EIP-161 an empty account can exist, and a call of it is then cheaper.
    let has_empty = !spec(&file.env.spec).is_enabled_in(SpecId::SPURIOUS_DRAGON);
    for (address, given) in &file.accounts {
        let account = Account {
            nonce: given.nonce,
            balance_wei: given.balance,
            code_hash: given.code_hash.unwrap_or(Account::default().code_hash),
        };
        let slots = given.storage.iter().filter(|(_, value)| !value.is_zero());
        let slots = slots.map(|(slot, &after)| (*slot, SlotDiff { before: U256::ZERO, after }));
        let after = (has_empty || !account.is_empty()).then_some(account);
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

/// The block to be executed.
pub(crate) fn input(file: &File) -> BlockInput {
    let env = &file.env;
    let spec = spec(&env.spec);
    let cancun = spec.is_enabled_in(SpecId::CANCUN);
    let transactions = file.txs.iter().enumerate().map(|(index, tx)| {
        let given = file.signatures.get(index);
        // High-s signatures are valid in old transactions, so recovery is not the front door's.
        let transaction = Transaction::from_signed(sign(tx, given), tx.from);
        if let Some(given) = given {
            assert_eq!(transaction.hash(), given.hash, "block {}", env.number);
        }
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
