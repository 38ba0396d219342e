//! What the targets act on: a small chain with logs, and a fresh node over it for every input.
//!
//! The chain never changes, and an input meets an empty pool and no filters, so that what one input
//! does follows from that input alone.

use crate::chain::{CHAIN_ID, LOGGER, MemoryChain, SMALL_LOGGER};
use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    eips::Encodable2718,
    network::TxSignerSync,
    primitives::{Address, Bytes, TxKind, U256},
    signers::local::PrivateKeySigner,
};
use executor::Transaction;
use futures::FutureExt;
use sequencer::{
    rpc::{RpcContext, RpcOptions, fuzzing::answer_body},
    txpool::{Config, Pool},
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

/// Blocks with a log each.
const LOGGING_BLOCKS: u64 = 6;

/// The chain, and a runtime for what would wait.
pub(crate) struct World {
    pub(super) chain: MemoryChain,
    pub(super) alice: PrivateKeySigner,
    runtime: tokio::runtime::Runtime,
}

/// A node that one input meets.
pub(crate) struct Fresh<'w> {
    world: &'w World,
    context: RpcContext<MemoryChain>,
}

impl World {
    pub(super) fn new() -> Self {
        let alice = PrivateKeySigner::from_slice(&[1; 32]).unwrap();
        let chain = MemoryChain::new(&[alice.address()]);
        for nonce in 0..LOGGING_BLOCKS {
            let to = if nonce % 2 == 0 { LOGGER } else { SMALL_LOGGER };
            let words = [nonce / 2 + 1, nonce + 2].map(|n| U256::from(n).to_be_bytes::<32>());
            let input: Bytes = words.concat().into();
            chain.mine(vec![call(&alice, nonce, to, input)], vec![]);
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        Self { chain, alice, runtime: runtime.unwrap() }
    }

    pub(super) fn node(&self) -> Fresh<'_> {
        let pool = Arc::new(Mutex::new(Pool::new(Config::default())));
        let context = RpcContext::new(self.chain.clone(), pool, RpcOptions::default());
        Fresh { world: self, context }
    }
}

impl Fresh<'_> {
    /// The answer to a body. `None` when there is none, also because it would come with a block.
    pub(super) fn answer(&self, body: &[u8]) -> Option<String> {
        let _entered = self.world.runtime.enter();
        answer_body(&self.context, body).now_or_never().flatten()
    }

    /// The answer to one call whose parameters are this text.
    pub(super) fn call(&self, method: &str, params: &[u8]) -> Option<String> {
        let head = json!(method);
        let head = format!(r#"{{"jsonrpc":"2.0","id":1,"method":{head},"params":"#);
        self.answer(&[head.as_bytes(), params, b"}"].concat())
    }

    /// The result of a call that has to succeed.
    pub(super) fn result(&self, method: &str, params: Value) -> Result<Value, String> {
        let text = self.call(method, params.to_string().as_bytes()).ok_or("no answer")?;
        let mut answer: Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        match answer.get_mut("result") {
            Some(result) => Ok(result.take()),
            None => Err(format!("{method} {params}: {answer}")),
        }
    }
}

fn call(signer: &PrivateKeySigner, nonce: u64, to: Address, input: Bytes) -> Transaction {
    let mut unsigned = TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(to),
        input,
        ..Default::default()
    };
    let signature = signer.sign_transaction_sync(&mut unsigned).unwrap();
    let raw = unsigned.into_signed(signature).encoded_2718();
    Transaction::decode_signed(raw.into()).unwrap()
}
