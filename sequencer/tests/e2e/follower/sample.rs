//! A thousand calls, drawn over every method that a node lists, answered by two nodes and compared as
//! JSON.

use alloy::{
    primitives::{Address, B256, keccak256},
    providers::{DynProvider, Provider},
};
use contracts::L2_TO_L1_MESSAGE_PASSER;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Calls of each method that takes parameters, and of one that takes none.
const CALLS: usize = 15;
const CALLS_WITHOUT_PARAMETERS: usize = 4;
/// Calls in all, at the least.
const SAMPLE_MIN: usize = 1_000;

/// Methods whose answers may differ. A follower has no pool, and hands sends on or refuses them; and it has
/// no block that L1 does not have, so that nothing presses back.
const OWN: [&str; 4] = [
    "eth_sendRawTransaction",
    "eth_sendRawTransactionConditional",
    "eth_sendRawTransactionSync",
    "rollup_backPressure",
];
/// Methods with the id of a filter, which is each node's own: the filter's answers are compared.
const FILTERS: [&str; 3] = ["eth_getFilterChanges", "eth_getFilterLogs", "eth_uninstallFilter"];

/// What the chain has, to draw parameters from.
struct World {
    head: u64,
    hashes: Vec<B256>,
    transactions: Vec<B256>,
    accounts: Vec<Address>,
    token: Address,
    drawn: u64,
}

impl World {
    async fn of(node: &DynProvider, token: Address, head: u64) -> Self {
        let mut world = Self {
            head,
            hashes: Vec::new(),
            transactions: Vec::new(),
            accounts: vec![token, L2_TO_L1_MESSAGE_PASSER, Address::repeat_byte(0x99)],
            token,
            drawn: 1,
        };
        for number in 0..=head {
            let params = json!([format!("{number:#x}"), true]);
            let block = ask(node, "eth_getBlockByNumber", params).await.unwrap();
            world.hashes.push(serde_json::from_value(block["hash"].clone()).unwrap());
            for transaction in block["transactions"].as_array().unwrap() {
                let hash = serde_json::from_value(transaction["hash"].clone()).unwrap();
                // The L1 attributes are in every block; some of them are enough.
                if transaction["type"] != "0x7e" || number % 16 == 1 {
                    world.transactions.push(hash);
                }
                for key in ["from", "to"] {
                    let address: Option<Address> =
                        serde_json::from_value(transaction[key].clone()).ok();
                    world.accounts.extend(address);
                }
            }
        }
        world.accounts.sort_unstable();
        world.accounts.dedup();
        assert!(world.transactions.len() > 50 && world.accounts.len() > 15);
        world
    }

    /// SplitMix64: the same sample of the same chain.
    fn below(&mut self, count: usize) -> usize {
        self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.drawn;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((bits ^ (bits >> 31)) % count as u64).unwrap()
    }

    fn number(&mut self) -> Value {
        json!(format!("{:#x}", self.below(self.hashes.len())))
    }

    /// Number of a block that was executed.
    fn executed(&mut self) -> Value {
        json!(format!("{:#x}", 1 + self.below(self.hashes.len() - 1)))
    }

    fn hash(&mut self) -> Value {
        let index = 1 + self.below(self.hashes.len() - 1);
        json!(self.hashes[index])
    }

    fn transaction(&mut self) -> Value {
        let index = self.below(self.transactions.len());
        json!(self.transactions[index])
    }

    fn account(&mut self) -> Value {
        let index = self.below(self.accounts.len());
        json!(self.accounts[index])
    }

    /// A block in any of the ways to say it.
    fn block(&mut self) -> Value {
        match self.below(8) {
            0 => json!("latest"),
            1 => json!("safe"),
            2 => json!("finalized"),
            3 => json!("earliest"),
            4 => json!("pending"),
            5 => json!({ "blockHash": self.hash() }),
            _ => self.number(),
        }
    }

    /// A slot that the token may have: its balances and allowances are mappings.
    fn slot(&mut self) -> Value {
        let index = self.below(self.accounts.len());
        let mut key = [0; 64];
        key[12..32].copy_from_slice(self.accounts[index].as_slice());
        key[63] = u8::try_from(self.below(3)).unwrap();
        json!(keccak256(key))
    }

    /// A call: of the token, of an account, or one that reverts.
    fn call(&mut self) -> Value {
        let from = self.account();
        let to = self.account();
        let balance_of =
            format!("0x70a08231{:0>64}", to.as_str().unwrap().trim_start_matches("0x"));
        match self.below(4) {
            0 => json!({ "from": from, "to": self.token, "data": balance_of }),
            1 => json!({ "from": from, "to": to, "value": "0x1" }),
            2 => json!({ "from": from, "to": self.token, "data": "0xdeadbeef" }),
            _ => json!({ "to": self.token, "data": "0x18160ddd" }),
        }
    }

    fn tracer(&mut self) -> Value {
        match self.below(5) {
            0 => json!({}),
            1 => json!({ "tracer": "prestateTracer" }),
            2 => json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } }),
            3 => json!({ "tracer": "4byteTracer" }),
            _ => json!({ "tracer": "callTracer", "tracerConfig": { "withLog": true } }),
        }
    }

    fn filter(&mut self) -> Value {
        match self.below(4) {
            0 => json!({ "fromBlock": "0x0", "toBlock": "latest", "address": self.token }),
            1 => json!({ "blockHash": self.hash() }),
            2 => {
                let transfer = keccak256("Transfer(address,address,uint256)");
                json!({ "fromBlock": "earliest", "topics": [transfer] })
            }
            _ => {
                let last = format!("{:#x}", self.head);
                json!({ "fromBlock": self.number(), "toBlock": last })
            }
        }
    }

    /// Parameters of one call; `None` for a method that is not known here.
    fn params(&mut self, method: &str) -> Option<Value> {
        self.block_params(method).or_else(|| self.other_params(method))
    }

    /// Of methods about blocks.
    fn block_params(&mut self, method: &str) -> Option<Value> {
        let index = json!(format!("{:#x}", self.below(3)));
        Some(match method {
            "debug_executionWitness"
            | "trace_block"
            | "ots_getBlockDetails"
            | "ots_getBlockTransactions"
            | "trace_replayBlockTransactions" => {
                let block = self.executed();
                match method {
                    "ots_getBlockTransactions" => json!([block, 0, 10]),
                    "trace_replayBlockTransactions" => json!([block, ["trace", "stateDiff"]]),
                    _ => json!([block]),
                }
            }
            "debug_getRawBlock"
            | "debug_getRawHeader"
            | "debug_getRawReceipts"
            | "erigon_getHeaderByNumber"
            | "eth_getBlockReceipts"
            | "eth_getBlockTransactionCountByNumber"
            | "eth_getUncleCountByBlockNumber"
            | "optimism_outputAtBlock" => json!([self.number()]),
            "debug_traceBlockByNumber" => json!([self.executed(), self.tracer()]),
            "debug_traceBlockByHash" => json!([self.hash(), self.tracer()]),
            "eth_feeHistory" => json!(["0x5", self.number(), [10, 50]]),
            "eth_getBlockByHash" => json!([self.hash(), self.below(2) == 0]),
            "eth_getBlockByNumber" => json!([self.number(), self.below(2) == 0]),
            "eth_getBlockTransactionCountByHash"
            | "eth_getUncleCountByBlockHash"
            | "ots_getBlockDetailsByHash" => json!([self.hash()]),
            "eth_getLogs" => json!([self.filter()]),
            "eth_getTransactionByBlockHashAndIndex" => json!([self.hash(), index]),
            "eth_getTransactionByBlockNumberAndIndex" => json!([self.number(), index]),
            _ => return None,
        })
    }

    /// Of all others.
    fn other_params(&mut self, method: &str) -> Option<Value> {
        Some(match method {
            "debug_traceCall" => json!([self.call(), self.block(), self.tracer()]),
            "debug_traceTransaction" => json!([self.transaction(), self.tracer()]),
            "eth_call" | "eth_createAccessList" | "eth_estimateGas" | "rollup_estimateTotalFee" => {
                json!([self.call(), self.block()])
            }
            "eth_fillTransaction" => json!([self.call()]),
            "eth_callMany" => {
                json!([[{ "transactions": [self.call(), self.call()] }], { "blockNumber": self.number() }])
            }
            "eth_simulateV1" => {
                json!([{ "blockStateCalls": [{ "calls": [self.call(), self.call()] }] }, self.number()])
            }
            "eth_getAccount"
            | "eth_getAccountInfo"
            | "eth_getBalance"
            | "eth_getCode"
            | "eth_getTransactionCount"
            | "ots_hasCode" => json!([self.account(), self.block()]),
            "eth_getStorageAt" => json!([self.token, self.slot(), self.block()]),
            "eth_getProof" => json!([self.account(), [self.slot(), self.slot()], self.block()]),
            "debug_getRawTransaction"
            | "eth_getRawTransactionByHash"
            | "eth_getTransactionByHash"
            | "eth_getTransactionReceipt"
            | "ots_getInternalOperations"
            | "ots_getTransactionError"
            | "ots_traceTransaction"
            | "trace_transaction"
            | "rollup_explainTransaction"
            | "web3_sha3" => json!([self.transaction()]),
            "trace_replayTransaction" => json!([self.transaction(), ["trace", "stateDiff"]]),
            "ots_getContractCreator" | "txpool_contentFrom" => json!([self.account()]),
            "ots_getTransactionBySenderAndNonce" => json!([self.account(), self.below(20)]),
            "ots_searchTransactionsAfter" | "ots_searchTransactionsBefore" => {
                json!([self.account(), self.below(self.hashes.len()), 5])
            }
            "eth_subscribe" => json!(["newHeads"]),
            "eth_unsubscribe" => json!(["0x1"]),
            _ => return None,
        })
    }
}

/// The result, or the error as it was answered.
async fn ask(node: &DynProvider, method: &str, params: Value) -> Result<Value, Value> {
    let answer: Result<Value, _> = node.raw_request(method.to_owned().into(), params).await;
    answer.map_err(|error| {
        let error = error.as_error_resp().unwrap_or_else(|| panic!("{method}: {error}"));
        serde_json::to_value(error).unwrap()
    })
}

/// Whether it is answered with a result.
async fn compare_call(nodes: [&DynProvider; 2], method: &str, params: Value) -> bool {
    let [ours, theirs] = nodes.map(|node| ask(node, method, params.clone()));
    let (ours, theirs) = tokio::join!(ours, theirs);
    assert_eq!(ours, theirs, "{method} {params}");
    ours.is_ok()
}

/// Installs a filter of this kind on both, and compares what it says.
async fn compare_filter(nodes: [&DynProvider; 2], method: &str, params: Value) {
    let [ours, theirs] = nodes.map(|node| ask(node, method, params.clone()));
    let (ours, theirs) = tokio::join!(ours, theirs);
    let ids = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => [ours, theirs],
        (ours, theirs) => return assert_eq!(ours, theirs, "{method} {params}"),
    };
    for asked in FILTERS {
        let [ours, theirs] = [0, 1].map(|index| ask(nodes[index], asked, json!([ids[index]])));
        let (ours, theirs) = tokio::join!(ours, theirs);
        assert_eq!(ours, theirs, "{asked} of {method} {params}");
    }
}

/// Compares a sample of every method on two nodes with the same head.
pub(super) async fn compare(
    sequencer: &DynProvider,
    follower: &DynProvider,
    token: Address,
    head: u64,
) {
    let nodes = [sequencer, follower];
    let mut world = World::of(sequencer, token, head).await;
    let listed = ask(sequencer, "rpc.discover", json!([])).await.unwrap();
    let mut counts = BTreeMap::<String, usize>::new();
    for listed in listed["methods"].as_array().unwrap() {
        let method = listed["name"].as_str().unwrap();
        if OWN.contains(&method) || FILTERS.contains(&method) {
            continue;
        }
        let filter = match method {
            "eth_newFilter" => Some(json!([world.filter()])),
            "eth_newBlockFilter" | "eth_newPendingTransactionFilter" => Some(json!([])),
            _ => None,
        };
        if let Some(params) = filter {
            for _ in 0..CALLS_WITHOUT_PARAMETERS {
                compare_filter(nodes, method, params.clone()).await;
            }
            *counts.entry(method.to_owned()).or_default() += CALLS_WITHOUT_PARAMETERS;
            for asked in FILTERS {
                *counts.entry(asked.to_owned()).or_default() += CALLS_WITHOUT_PARAMETERS;
            }
            continue;
        }
        let has_parameters = !listed["params"].as_array().unwrap().is_empty();
        let calls = if has_parameters { CALLS } else { CALLS_WITHOUT_PARAMETERS };
        let mut results = 0;
        for _ in 0..calls {
            let params = match world.params(method) {
                Some(params) => params,
                None if has_parameters => panic!("{method} is not in the sample"),
                None => json!([]),
            };
            results += usize::from(compare_call(nodes, method, params).await);
        }
        // Over HTTP these two are refused.
        let is_refused = ["eth_subscribe", "eth_unsubscribe"].contains(&method);
        assert!(results > 0 || is_refused, "{method} answers errors alone");
        counts.insert(method.to_owned(), calls);
    }
    let total: usize = counts.values().sum();
    eprintln!("{total} calls of {} methods: {counts:?}", counts.len());
    assert!(total >= SAMPLE_MIN, "{total} calls");
}
