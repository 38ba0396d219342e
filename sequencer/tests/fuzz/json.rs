//! Mutations of text: of the tree where it is JSON, of the bytes where it is not, or by chance.
//!
//! Knows the names and values that our methods look for. What it makes need not be JSON.

use super::dice::Dice;
use crate::chain::{CLOCK, LOGGER, READER, REVERTER, SMALL_LOGGER, SPINNER};
use serde_json::{Map, Value, json};

/// Members of the objects that our methods read.
const NAMES: &[&str] = &[
    "jsonrpc",
    "id",
    "method",
    "params",
    "fromBlock",
    "toBlock",
    "blockHash",
    "address",
    "topics",
    "from",
    "to",
    "gas",
    "gasPrice",
    "maxFeePerGas",
    "maxPriorityFeePerGas",
    "value",
    "data",
    "input",
    "nonce",
    "chainId",
    "accessList",
    "storageKeys",
    "authorizationList",
    "type",
    "r",
    "s",
    "yParity",
    "v",
    "balance",
    "code",
    "state",
    "stateDiff",
    "movePrecompileToAddress",
    "number",
    "difficulty",
    "time",
    "gasLimit",
    "coinbase",
    "random",
    "baseFee",
    "baseFeePerGas",
    "prevRandao",
    "feeRecipient",
    "blockNumber",
    "requireCanonical",
    "timestamp",
    "blobBaseFee",
    "blobVersionedHashes",
    "maxFeePerBlobGas",
    "blobs",
];

/// Methods, with a few that are not there.
pub(super) const METHODS: &[&str] = &[
    "eth_call",
    "eth_estimateGas",
    "eth_getLogs",
    "eth_newFilter",
    "eth_getBalance",
    "eth_chainId",
    "eth_getBlockByNumber",
    "eth_getBlockByHash",
    "eth_getProof",
    "eth_getStorageAt",
    "eth_getCode",
    "eth_feeHistory",
    "eth_sendRawTransaction",
    "eth_sendRawTransactionSync",
    "eth_subscribe",
    "eth_getTransactionByBlockNumberAndIndex",
    "eth_getFilterChanges",
    "eth_getFilterLogs",
    "eth_uninstallFilter",
    "eth_newBlockFilter",
    "web3_sha3",
    "net_version",
    "eth_getBlockReceipts",
    "debug_executionWitness",
    "eth_getTransactionCount",
    "txpool_status",
    "nope",
    "",
];

/// Strings on the borders of what a field holds.
const STRINGS: &[&str] = &[
    "",
    "0x",
    "0x0",
    "0x00",
    "0x1",
    "0x2",
    "0x7",
    "0x01",
    "0X1",
    "1",
    "-0x1",
    "0xg",
    "0xfffffffe",
    "0xffffffffffffffff",
    "0x10000000000000000",
    "0x7fffffffffffffff",
    "0x8000000000000000",
    "0xffffffffffffffffffffffffffffffff",
    "0x100000000000000000000000000000000",
    "latest",
    "earliest",
    "pending",
    "safe",
    "finalized",
    "Latest",
    "2.0",
    "2.1",
    "null",
    "0xef0100",
    "0xef01000000000000000000000000000000000000000a0001",
    "0x5f5f5f5f5f5f3e00",
    "0x60ff5f5260205ffd",
    "0x5b5f56",
    "0x41",
    "\u{0}",
    "\u{1F9F5}",
    "newHeads",
    "logs",
];

/// Mutates a few times.
pub(super) fn mutate(input: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let tree = serde_json::from_slice::<Value>(input).ok();
    let Some(mut tree) = tree.filter(|_| !dice.chance(12)) else {
        return mutate_bytes(input, other, dice);
    };
    for _ in 0..dice.range(1, 4) {
        let nodes = count(&tree);
        let at = dice.below(nodes);
        change(&mut tree, at, other, dice);
    }
    let mut text = tree.to_string().into_bytes();
    if dice.chance(4) {
        text = mutate_bytes(&text, other, dice);
    }
    text
}

fn count(tree: &Value) -> u64 {
    1 + match tree {
        Value::Array(items) => items.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// Applies a change to the node of this index, in the order of a walk.
fn change(tree: &mut Value, mut at: u64, other: &[u8], dice: &mut Dice) {
    if at == 0 {
        return change_here(tree, other, dice);
    }
    at -= 1;
    let children: Vec<&mut Value> = match tree {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(members) => members.values_mut().collect(),
        _ => return,
    };
    for child in children {
        let size = count(child);
        if at < size {
            return change(child, at, other, dice);
        }
        at -= size;
    }
}

fn change_here(node: &mut Value, other: &[u8], dice: &mut Dice) {
    match dice.below(10) {
        0 | 1 => *node = scalar(dice),
        2 => *node = json!([node.take()]),
        3 => *node = json!({ (dice.pick(NAMES)): node.take() }),
        4 => {
            // A piece of another input.
            if let Ok(tree) = serde_json::from_slice::<Value>(other) {
                *node = pick(&tree, dice).clone();
            }
        }
        5 if dice.chance(4) => {
            for _ in 0..dice.range(1, 300) {
                *node = json!([node.take()]);
            }
        }
        _ => match node {
            Value::Array(items) => change_array(items, dice),
            Value::Object(members) => change_object(members, dice),
            Value::String(text) => change_string(text, dice),
            _ => *node = scalar(dice),
        },
    }
}

fn pick<'v>(tree: &'v Value, dice: &mut Dice) -> &'v Value {
    let children: Vec<&Value> = match tree {
        Value::Array(items) => items.iter().collect(),
        Value::Object(members) => members.values().collect(),
        _ => Vec::new(),
    };
    if children.is_empty() || dice.chance(30) {
        return tree;
    }
    pick(children[dice.index(children.len())], dice)
}

fn change_array(items: &mut Vec<Value>, dice: &mut Dice) {
    if items.is_empty() {
        return items.push(scalar(dice));
    }
    let at = dice.index(items.len());
    match dice.below(6) {
        0 => drop(items.remove(at)),
        1 => items.insert(at, scalar(dice)),
        2 => items.swap(0, at),
        3 => items.truncate(at),
        4 => items.push(items[at].clone()),
        // Above every limit on the length of a list, now and then.
        _ => {
            let times = if dice.chance(5) { 1_100 } else { 6 };
            let item = items[at].clone();
            items.extend(std::iter::repeat_n(item, times));
        }
    }
}

fn change_object(members: &mut Map<String, Value>, dice: &mut Dice) {
    let names: Vec<String> = members.keys().cloned().collect();
    let name = (!names.is_empty()).then(|| names[dice.index(names.len())].clone());
    match (dice.below(4), name) {
        (0, Some(name)) => drop(members.remove(&name)),
        (1, Some(name)) => {
            let value = members.remove(&name).unwrap();
            members.insert(dice.pick(NAMES).to_owned(), value);
        }
        (2, Some(name)) => drop(members.insert(name, scalar(dice))),
        _ => drop(members.insert(dice.pick(NAMES).to_owned(), scalar(dice))),
    }
}

fn change_string(text: &mut String, dice: &mut Dice) {
    let length = text.len();
    match dice.below(5) {
        0 => text.push(dice.pick(&['0', 'f', 'g', ' ', '\u{0}', '\u{e9}'])),
        1 => drop(text.pop()),
        2 if length > 0 && text.is_ascii() => {
            let at = dice.index(length);
            text.replace_range(at..=at, dice.pick(&["0", "1", "a", "f", "x", "F", "-"]));
        }
        3 => text.push_str(&"00".repeat(dice.index(40))),
        _ if dice.chance(3) => *text = format!("0x{}", "5b".repeat(dice.index(60_000))),
        _ => *text = string(dice),
    }
}

fn string(dice: &mut Dice) -> String {
    let contracts = [REVERTER, LOGGER, READER, CLOCK, SPINNER, SMALL_LOGGER];
    match dice.below(5) {
        0 => dice.pick(METHODS).to_owned(),
        1 => dice.pick(&contracts).to_string(),
        2 => format!("0x{:064x}", dice.below(8)),
        3 => format!("0x{}", "ff".repeat(dice.index(70))),
        _ => dice.pick(STRINGS).to_owned(),
    }
}

fn scalar(dice: &mut Dice) -> Value {
    match dice.below(12) {
        0 => Value::Null,
        1 => json!(dice.chance(50)),
        2 => json!(dice.below(8)),
        3 => json!(dice.pick(&[u64::MAX, 1 << 63, 1 << 53, 1 << 32, 255, 256])),
        4 => json!(dice.pick(&[-1_i64, i64::MIN])),
        5 => json!(dice.pick(&[1.5, 1e308, -0.0, 1e-300])),
        6 => json!([]),
        7 => json!({}),
        _ => json!(string(dice)),
    }
}

/// Changes bytes without looking at what they mean.
pub(super) fn mutate_bytes(input: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..dice.range(1, 4) {
        let at = if bytes.is_empty() { 0 } else { dice.index(bytes.len()) };
        match dice.below(7) {
            0 if !bytes.is_empty() => bytes[at] ^= 1 << dice.below(8),
            1 => bytes.insert(at, dice.pick(b"\"[]{},:0\\ntf \xff\x00\xc0\xf8\x80")),
            2 if !bytes.is_empty() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 if !other.is_empty() => {
                let from = dice.index(other.len());
                bytes.splice(at..at, other[from..].iter().take(64).copied());
            }
            5 => {
                let end = (at + 1 + dice.index(16)).min(bytes.len());
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            _ if !bytes.is_empty() => bytes[at] = dice.byte(255),
            _ => {}
        }
    }
    bytes
}
