//! A chain recomputed from what JSON-RPC says about it, and from nothing else: header to block hash,
//! transactions to their hashes, senders and root, receipts to their root and bloom, proofs against
//! the state root.
//!
//! Deliberately none of the node's encoders: RLP, keccak and signature recovery are ethers', the trie
//! of a list is written out here, and proofs are verified by alloy-trie's verifier.

use alloy::{
    consensus::TrieAccount,
    primitives::{Address, B256, Bytes, U256, hex, keccak256},
    trie::{Nibbles, proof::verify_proof},
};
use ethers_core::{
    types::{H256, RecoveryMessage, Signature},
    utils::{keccak256 as keccak, rlp::RlpStream},
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// EIP-2718 type of a deposit.
const DEPOSIT: u64 = 0x7e;

/// JSON-RPC of the node under test.
pub(crate) struct Rpc {
    url: String,
    http: reqwest::Client,
}

impl Rpc {
    pub(crate) fn new(url: String) -> Self {
        Self { url, http: reqwest::Client::new() }
    }

    /// The result of a call that has to succeed.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let sent = self.http.post(&self.url).body(request.to_string()).send().await.unwrap();
        let mut answer: Value = sent.json().await.unwrap();
        assert!(answer.get("error").is_none(), "{method} {params}: {answer}");
        answer["result"].take()
    }
}

/// What a recomputed chain has.
#[derive(Debug, Default)]
pub(crate) struct Recomputed {
    pub(crate) blocks: u64,
    /// Transactions by type.
    pub(crate) types: BTreeMap<u64, u64>,
    pub(crate) creations: u64,
    pub(crate) failures: u64,
    /// Logs by their number of topics.
    pub(crate) topics: BTreeMap<usize, u64>,
    /// Blocks with nothing but what opens every block.
    pub(crate) empty_blocks: u64,
    /// State root of each block.
    pub(crate) state_roots: Vec<B256>,
}

/// Recomputes every block from genesis to the newest.
pub(crate) async fn recompute(rpc: &Rpc) -> Recomputed {
    let mut seen = Recomputed::default();
    let head = quantity(&rpc.call("eth_blockNumber", json!([])).await);
    let mut parent: Option<Value> = None;
    for number in 0..=head {
        let tag = json!(format!("{number:#x}"));
        let block = rpc.call("eth_getBlockByNumber", json!([tag, true])).await;
        let receipts = rpc.call("eth_getBlockReceipts", json!([block["hash"]])).await;
        let transactions = block["transactions"].as_array().unwrap();
        let receipts = receipts.as_array().unwrap();
        assert_eq!(transactions.len(), receipts.len(), "block {number}");
        if let Some(parent) = &parent {
            assert_eq!(block["parentHash"], parent["hash"], "block {number}");
        }
        let raw = check_transactions(rpc, &block, transactions).await;
        check_receipts(rpc, &block, transactions, receipts).await;
        let header = encoded_header(&block);
        assert_eq!(block["hash"], json!(B256::from(keccak(&header))), "hash of block {number}");
        assert_eq!(quantity(&block["size"]), size(&header, transactions, &raw), "block {number}");
        seen.count(&block, transactions, receipts);
        parent = Some(block);
    }
    seen
}

impl Recomputed {
    fn count(&mut self, block: &Value, transactions: &[Value], receipts: &[Value]) {
        self.blocks += 1;
        self.empty_blocks += u64::from(transactions.len() == 1);
        self.state_roots.push(block["stateRoot"].as_str().unwrap().parse().unwrap());
        for (transaction, receipt) in transactions.iter().zip(receipts) {
            *self.types.entry(quantity(&transaction["type"])).or_default() += 1;
            self.creations += u64::from(transaction["to"].is_null());
            self.failures += u64::from(receipt["status"] == "0x0");
            for log in receipt["logs"].as_array().unwrap() {
                *self.topics.entry(log["topics"].as_array().unwrap().len()).or_default() += 1;
            }
        }
    }
}

fn quantity(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("no quantity: {value}"));
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

/// Bytes as they are.
fn data(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap_or_else(|| panic!("no bytes: {value}"))).unwrap()
}

/// A number as RLP has it: big-endian without leading zeros.
fn number(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("no number: {value}"));
    let digits = text.strip_prefix("0x").unwrap().trim_start_matches('0');
    let padded =
        if digits.len().is_multiple_of(2) { digits.to_owned() } else { format!("0{digits}") };
    hex::decode(padded).unwrap()
}

/// An address, or nothing for a creation.
fn recipient(value: &Value) -> Vec<u8> {
    if value.is_null() { Vec::new() } else { data(value) }
}

/// A list of finished items.
fn list(items: &[Vec<u8>]) -> Vec<u8> {
    let mut stream = RlpStream::new_list(items.len());
    for item in items {
        stream.append_raw(item, 1);
    }
    stream.out().to_vec()
}

/// A string.
fn string(bytes: &[u8]) -> Vec<u8> {
    let mut stream = RlpStream::new();
    stream.append(&bytes.to_vec());
    stream.out().to_vec()
}

fn strings(items: &[Vec<u8>]) -> Vec<Vec<u8>> {
    items.iter().map(|item| string(item)).collect()
}

/// The header's RLP from the fields of the block object.
fn encoded_header(block: &Value) -> Vec<u8> {
    let mut items: Vec<Vec<u8>> =
        ["parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot"]
            .map(|name| data(&block[name]))
            .into();
    items.push(data(&block["logsBloom"]));
    let numbers = ["difficulty", "number", "gasLimit", "gasUsed", "timestamp"];
    items.extend(numbers.map(|name| number(&block[name])));
    items.extend(["extraData", "mixHash", "nonce"].map(|name| data(&block[name])));
    // What later forks added, in their order; a header may end before them.
    type Read = fn(&Value) -> Vec<u8>;
    let added: [(&str, Read); 6] = [
        ("baseFeePerGas", number),
        ("withdrawalsRoot", data),
        ("blobGasUsed", number),
        ("excessBlobGas", number),
        ("parentBeaconBlockRoot", data),
        ("requestsHash", data),
    ];
    let present = added.iter().take_while(|(name, _)| !block[*name].is_null());
    items.extend(present.map(|(name, read)| read(&block[*name])));
    list(&strings(&items))
}

/// Bytes of the whole block's RLP: header, transactions, no ommers, no withdrawals.
fn size(header: &[u8], transactions: &[Value], raw: &[Vec<u8>]) -> u64 {
    let items: Vec<Vec<u8>> = transactions
        .iter()
        .zip(raw)
        .map(|(tx, raw)| if tx["type"] == "0x0" { raw.clone() } else { string(raw) })
        .collect();
    list(&[header.to_vec(), list(&items), list(&[]), list(&[])]).len() as u64
}

/// Recomputes every transaction's bytes, hash and sender, and the root. Returns the bytes.
async fn check_transactions(rpc: &Rpc, block: &Value, transactions: &[Value]) -> Vec<Vec<u8>> {
    let mut encoded = Vec::new();
    for (index, transaction) in transactions.iter().enumerate() {
        let hash = &transaction["hash"];
        let raw = signed_bytes(transaction);
        assert_eq!(*hash, json!(B256::from(keccak(&raw))), "{transaction}");
        let given = rpc.call("eth_getRawTransactionByHash", json!([hash])).await;
        assert_eq!(data(&given), raw, "{transaction}");
        assert_eq!(rpc.call("eth_getTransactionByHash", json!([hash])).await, *transaction);
        let place = json!([block["hash"], format!("{index:#x}")]);
        let at = rpc.call("eth_getTransactionByBlockHashAndIndex", place).await;
        assert_eq!(at, *transaction);
        assert_eq!(transaction["blockHash"], block["hash"]);
        assert_eq!(transaction["blockNumber"], block["number"]);
        assert_eq!(quantity(&transaction["transactionIndex"]), index as u64);
        if quantity(&transaction["type"]) != DEPOSIT {
            let from: Address = transaction["from"].as_str().unwrap().parse().unwrap();
            assert_eq!(sender(transaction), from, "{transaction}");
        }
        encoded.push(raw);
    }
    assert_eq!(block["transactionsRoot"], json!(list_root(&encoded)), "{}", block["number"]);
    encoded
}

fn access_list(transaction: &Value) -> Vec<u8> {
    let entries = transaction["accessList"].as_array().unwrap().iter().map(|entry| {
        let keys = entry["storageKeys"].as_array().unwrap();
        let keys: Vec<_> = keys.iter().map(|key| string(&data(key))).collect();
        list(&[string(&data(&entry["address"])), list(&keys)])
    });
    list(&entries.collect::<Vec<_>>())
}

fn authorization_list(transaction: &Value) -> Vec<u8> {
    let entries = transaction["authorizationList"].as_array().unwrap().iter().map(|entry| {
        let numbers = ["nonce", "yParity", "r", "s"].map(|name| number(&entry[name]));
        let mut items = vec![number(&entry["chainId"]), data(&entry["address"])];
        items.extend(numbers);
        list(&strings(&items))
    });
    list(&entries.collect::<Vec<_>>())
}

/// The fields that are signed, and the type byte before them.
fn unsigned_items(transaction: &Value) -> (Vec<u8>, Vec<Vec<u8>>) {
    let ty = quantity(&transaction["type"]);
    let numbers = |names: &[&str]| -> Vec<Vec<u8>> {
        names.iter().map(|name| string(&number(&transaction[*name]))).collect()
    };
    let mut items = match ty {
        0 => numbers(&["nonce", "gasPrice", "gas"]),
        1 => numbers(&["chainId", "nonce", "gasPrice", "gas"]),
        2 | 4 => numbers(&["chainId", "nonce", "maxPriorityFeePerGas", "maxFeePerGas", "gas"]),
        _ => panic!("type {ty}"),
    };
    items.push(string(&recipient(&transaction["to"])));
    items.push(string(&number(&transaction["value"])));
    items.push(string(&data(&transaction["input"])));
    if ty > 0 {
        items.push(access_list(transaction));
    }
    if ty == 4 {
        items.push(authorization_list(transaction));
    }
    let prefix = if ty == 0 { Vec::new() } else { vec![u8::try_from(ty).unwrap()] };
    (prefix, items)
}

/// The EIP-2718 bytes of a transaction object.
fn signed_bytes(transaction: &Value) -> Vec<u8> {
    if quantity(&transaction["type"]) == DEPOSIT {
        let zero = Value::from("0x0");
        let is_system = transaction.get("isSystemTx").map_or(&zero, |_| &Value::Null);
        let items = [
            data(&transaction["sourceHash"]),
            data(&transaction["from"]),
            recipient(&transaction["to"]),
            number(&transaction["mint"]),
            number(&transaction["value"]),
            number(&transaction["gas"]),
            number(is_system),
            data(&transaction["input"]),
        ];
        return [vec![0x7e], list(&strings(&items))].concat();
    }
    let (prefix, mut items) = unsigned_items(transaction);
    let parity = if prefix.is_empty() { "v" } else { "yParity" };
    items.extend([parity, "r", "s"].map(|name| string(&number(&transaction[name]))));
    [prefix, list(&items)].concat()
}

/// The account whose signature a transaction object has.
fn sender(transaction: &Value) -> Address {
    let (prefix, mut items) = unsigned_items(transaction);
    let v = quantity(&transaction["v"]);
    // EIP-155: the chain id is signed, and is in v.
    if prefix.is_empty() && v >= 35 {
        let chain_id = json!(format!("{:#x}", (v - 35) / 2));
        assert_eq!(transaction["chainId"], chain_id);
        items.extend([string(&number(&chain_id)), string(&[]), string(&[])]);
    }
    let signed = keccak([prefix, list(&items)].concat());
    let word = |name: &str| transaction[name].as_str().unwrap().parse().unwrap();
    let signature = Signature { r: word("r"), s: word("s"), v };
    let address = signature.recover(RecoveryMessage::Hash(H256(signed))).unwrap();
    Address::from(address.0)
}

/// Recomputes gas, blooms and the root from the receipts.
async fn check_receipts(rpc: &Rpc, block: &Value, transactions: &[Value], receipts: &[Value]) {
    let (mut gas, mut log_index) = (0, 0);
    let (mut bloom, mut encoded) = ([0; 256], Vec::new());
    for (transaction, receipt) in transactions.iter().zip(receipts) {
        let hash = &transaction["hash"];
        assert_eq!(rpc.call("eth_getTransactionReceipt", json!([hash])).await, *receipt);
        assert_eq!(receipt["transactionHash"], *hash);
        for name in ["blockHash", "blockNumber", "transactionIndex", "from", "to", "type"] {
            assert_eq!(receipt[name], transaction[name], "{name}");
        }
        gas += quantity(&receipt["gasUsed"]);
        assert_eq!(quantity(&receipt["cumulativeGasUsed"]), gas);
        let mut own = [0; 256];
        for log in receipt["logs"].as_array().unwrap() {
            accrue(&mut own, &data(&log["address"]));
            let topics = log["topics"].as_array().unwrap();
            topics.iter().for_each(|topic| accrue(&mut own, &data(topic)));
            assert_eq!(quantity(&log["logIndex"]), log_index);
            assert_eq!(log["transactionHash"], *hash);
            assert_eq!(log["blockHash"], block["hash"]);
            log_index += 1;
        }
        assert_eq!(data(&receipt["logsBloom"]), own);
        bloom.iter_mut().zip(own).for_each(|(byte, own)| *byte |= own);
        check_price(block, transaction, receipt);
        encoded.push(receipt_bytes(receipt));
    }
    assert_eq!(quantity(&block["gasUsed"]), gas);
    assert_eq!(data(&block["logsBloom"]), bloom);
    assert_eq!(block["receiptsRoot"], json!(list_root(&encoded)), "{}", block["number"]);
}

/// EIP-1559: the price is the base fee and as much of the tip as the cap leaves.
fn check_price(block: &Value, transaction: &Value, receipt: &Value) {
    let base_fee_wei = quantity(&block["baseFeePerGas"]);
    let price_wei = match quantity(&transaction["type"]) {
        DEPOSIT => 0,
        0 | 1 => quantity(&transaction["gasPrice"]),
        _ => {
            let [cap, tip] =
                ["maxFeePerGas", "maxPriorityFeePerGas"].map(|name| quantity(&transaction[name]));
            cap.min(base_fee_wei + tip)
        }
    };
    assert_eq!(quantity(&receipt["effectiveGasPrice"]), price_wei);
    assert_eq!(quantity(&transaction["gasPrice"]), price_wei);
}

/// Three bits of 2,048, chosen by the first three pairs of the hash's bytes.
fn accrue(bloom: &mut [u8; 256], bytes: &[u8]) {
    let hash = keccak(bytes);
    for pair in 0..3 {
        let bit = usize::from(u16::from_be_bytes([hash[2 * pair], hash[2 * pair + 1]]) & 0x7ff);
        bloom[255 - bit / 8] |= 1 << (bit % 8);
    }
}

fn receipt_bytes(receipt: &Value) -> Vec<u8> {
    let logs = receipt["logs"].as_array().unwrap().iter().map(|log| {
        let topics = log["topics"].as_array().unwrap().iter();
        let topics: Vec<_> = topics.map(|topic| string(&data(topic))).collect();
        list(&[string(&data(&log["address"])), list(&topics), string(&data(&log["data"]))])
    });
    let mut items = vec![
        string(&number(&receipt["status"])),
        string(&number(&receipt["cumulativeGasUsed"])),
        string(&data(&receipt["logsBloom"])),
        list(&logs.collect::<Vec<_>>()),
    ];
    let ty = quantity(&receipt["type"]);
    if ty == DEPOSIT {
        let added = ["depositNonce", "depositReceiptVersion"];
        items.extend(added.map(|name| string(&number(&receipt[name]))));
    }
    let prefix = if ty == 0 { Vec::new() } else { vec![u8::try_from(ty).unwrap()] };
    [prefix, list(&items)].concat()
}

/// Root of the Merkle Patricia trie from a list's indexes, in RLP, to its items.
fn list_root(items: &[Vec<u8>]) -> B256 {
    let nibbles = |bytes: Vec<u8>| bytes.iter().flat_map(|b| [b >> 4, b & 15]).collect::<Vec<_>>();
    let mut leaves: Vec<(Vec<u8>, &[u8])> = items
        .iter()
        .enumerate()
        .map(|(index, item)| {
            let index = number(&json!(format!("{index:#x}")));
            (nibbles(string(&index)), item.as_slice())
        })
        .collect();
    leaves.sort();
    keccak(node(&leaves, 0)).into()
}

/// RLP of the node over leaves that agree up to `depth`.
fn node(leaves: &[(Vec<u8>, &[u8])], depth: usize) -> Vec<u8> {
    let Some((first, last)) = leaves.first().zip(leaves.last()) else { return string(&[]) };
    if leaves.len() == 1 {
        return list(&[string(&compact(&first.0[depth..], true)), string(first.1)]);
    }
    // Sorted, so what the first and the last share, all share. No index's RLP begins another's.
    let shared = first.0[depth..].iter().zip(&last.0[depth..]).take_while(|(a, b)| a == b).count();
    if shared > 0 {
        let path = compact(&first.0[depth..depth + shared], false);
        return list(&[string(&path), reference(node(leaves, depth + shared))]);
    }
    let children = (0..16).map(|nibble| {
        let from = leaves.partition_point(|(path, _)| path[depth] < nibble);
        let to = leaves.partition_point(|(path, _)| path[depth] <= nibble);
        reference(node(&leaves[from..to], depth + 1))
    });
    let mut items: Vec<_> = children.collect();
    items.push(string(&[]));
    list(&items)
}

/// A node within another: itself when it is short, else its hash.
fn reference(node: Vec<u8>) -> Vec<u8> {
    if node.len() < 32 { node } else { string(&keccak(node)) }
}

/// A path in hex-prefix form.
fn compact(path: &[u8], is_leaf: bool) -> Vec<u8> {
    let flag = if is_leaf { 2 } else { 0 };
    let padded = match path.len() % 2 {
        0 => [&[flag, 0], path].concat(),
        _ => [&[flag + 1], path].concat(),
    };
    padded.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Verifies eth_getProof of an account and of slots at a block against its state root, and that each
/// proof proves that value and no other. Returns which of the slots are there, or `None` where the
/// account is not.
pub(crate) async fn check_proof(
    rpc: &Rpc,
    (block, root): (u64, B256),
    address: Address,
    slots: &[U256],
) -> Option<Vec<bool>> {
    let tag = json!(format!("{block:#x}"));
    let keys: Vec<_> = slots.iter().map(|slot| json!(B256::from(*slot))).collect();
    let proof = rpc.call("eth_getProof", json!([address, keys, tag])).await;
    let nodes = |value: &Value| -> Vec<Bytes> { serde_json::from_value(value.clone()).unwrap() };
    let account = TrieAccount {
        nonce: quantity(&proof["nonce"]),
        balance: proof["balance"].as_str().unwrap().parse().unwrap(),
        storage_root: proof["storageHash"].as_str().unwrap().parse().unwrap(),
        code_hash: proof["codeHash"].as_str().unwrap().parse().unwrap(),
    };
    let of = |method: &'static str| rpc.call(method, json!([address, tag]));
    assert_eq!(of("eth_getTransactionCount").await, proof["nonce"]);
    assert_eq!(of("eth_getBalance").await, proof["balance"]);
    let code = data(&of("eth_getCode").await);
    let is_there = account != TrieAccount { code_hash: account.code_hash, ..Default::default() };
    let leaf = is_there.then(|| alloy::rlp::encode(account));
    if is_there {
        assert_eq!(account.code_hash, keccak256(code));
    }
    let account_proof = nodes(&proof["accountProof"]);
    proves(root, keccak256(address), leaf, &account_proof);
    let mut present = Vec::new();
    for (slot, entry) in slots.iter().zip(proof["storageProof"].as_array().unwrap()) {
        let value: U256 = entry["value"].as_str().unwrap().parse().unwrap();
        let stored = rpc.call("eth_getStorageAt", json!([address, B256::from(*slot), tag])).await;
        assert_eq!(stored, json!(B256::from(value)));
        let key = keccak256(B256::from(*slot));
        let leaf = (!value.is_zero()).then(|| alloy::rlp::encode(value));
        proves(account.storage_root, key, leaf, &nodes(&entry["proof"]));
        present.push(!value.is_zero());
    }
    is_there.then_some(present)
}

/// The nodes prove this value, or that there is none, and nothing else.
fn proves(root: B256, key: B256, value: Option<Vec<u8>>, nodes: &[Bytes]) {
    let path = Nibbles::unpack(key);
    verify_proof(root, path, value.clone(), nodes).unwrap();
    let other = match &value {
        None => Some(vec![1]),
        Some(_) => None,
    };
    assert!(verify_proof(root, path, other, nodes).is_err());
    let mut changed = value.unwrap_or_else(|| vec![1]);
    *changed.last_mut().unwrap() ^= 1;
    assert!(verify_proof(root, path, Some(changed), nodes).is_err());
}
