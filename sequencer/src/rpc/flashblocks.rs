//! Mini-blocks in the shape of Flashblocks, for the clients and explorers that read those: as messages of
//! the WebSocket `/v1/flashblocks`, and as eth_subscribe's `newFlashblocks`.
//!
//! Roots and hash are zero: a mini-block has none (a Flashblock's are of a block that will never be).
//! Live only; what happened before is in the stream (`stream.rs`).

use super::{chain::Chain, clients::Connected, relay::Missed, server::Shared};
use crate::store::chain::{ChainEvent, MiniBlock};
use alloy::primitives::{Address, B64, B256, Bloom, Bytes, Log, U8, U64, U256, logs_bloom};
use axum::{
    Extension,
    extract::{
        State, WebSocketUpgrade,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code},
    },
    http::StatusCode,
    response::{IntoResponse, Response},
};
use futures::{SinkExt, StreamExt};
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// How long a client may leave a message unread before it is let go.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

/// One mini-block as `FlashblocksPayloadV1` of the OP Stack's specification of Flashblocks.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Flashblock {
    payload_id: B64,
    index: usize,
    /// In the first one of a block.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<Base>,
    diff: Diff,
    metadata: Metadata,
}

#[derive(Clone, Debug, Serialize)]
struct Base {
    parent_beacon_block_root: B256,
    parent_hash: B256,
    fee_recipient: Address,
    prev_randao: B256,
    block_number: U64,
    gas_limit: U64,
    timestamp: U64,
    extra_data: Bytes,
    base_fee_per_gas: U256,
}

#[derive(Clone, Debug, Serialize)]
struct Diff {
    state_root: B256,
    receipts_root: B256,
    logs_bloom: Bloom,
    /// Of the block so far.
    gas_used: U64,
    block_hash: B256,
    transactions: Vec<Bytes>,
    withdrawals: [(); 0],
    withdrawals_root: B256,
}

#[derive(Clone, Debug, Serialize)]
struct Metadata {
    block_number: u64,
    receipts: BTreeMap<B256, Receipt>,
    /// Not told: `pending` answers them.
    new_account_balances: BTreeMap<Address, U256>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt {
    #[serde(rename = "type")]
    ty: U8,
    status: U8,
    cumulative_gas_used: U64,
    logs: Vec<Log>,
}

impl From<&MiniBlock> for Flashblock {
    fn from(mini_block: &MiniBlock) -> Self {
        let env = &mini_block.env;
        let base = || Base {
            parent_beacon_block_root: env.parent_beacon_block_root.unwrap_or_default(),
            parent_hash: env.parent_hash,
            fee_recipient: env.beneficiary,
            prev_randao: env.prevrandao,
            block_number: U64::from(env.number),
            gas_limit: U64::from(env.gas_limit),
            timestamp: U64::from(env.timestamp),
            extra_data: env.extra_data.clone(),
            base_fee_per_gas: U256::from(env.base_fee_wei.unwrap_or(0)),
        };
        let pairs = mini_block.transactions.iter().zip(&mini_block.receipts);
        let receipts = pairs.map(|(transaction, receipt)| {
            let told = Receipt {
                ty: U8::from(receipt.ty),
                status: U8::from(u8::from(receipt.success)),
                cumulative_gas_used: U64::from(receipt.cumulative_gas_used),
                logs: receipt.logs.clone(),
            };
            (transaction.hash(), told)
        });
        let last = mini_block.receipts.last();
        Self {
            payload_id: B64::from_slice(&env.parent_hash[..8]),
            index: mini_block.index,
            base: (mini_block.index == 0).then(base),
            diff: Diff {
                state_root: B256::ZERO,
                receipts_root: B256::ZERO,
                logs_bloom: logs_bloom(mini_block.receipts.iter().flat_map(|it| &it.logs)),
                gas_used: U64::from(last.map_or(0, |receipt| receipt.cumulative_gas_used)),
                block_hash: B256::ZERO,
                transactions: mini_block.transactions.iter().map(|tx| tx.raw().clone()).collect(),
                withdrawals: [],
                withdrawals_root: B256::ZERO,
            },
            metadata: Metadata {
                block_number: mini_block.number,
                receipts: receipts.collect(),
                new_account_balances: BTreeMap::new(),
            },
        }
    }
}

/// `GET /v1/flashblocks`.
pub(super) async fn open<C: Chain>(
    State(shared): State<Shared<C>>,
    Extension(connected): Extension<Arc<Connected>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let Ok(permit) = shared.ctx.streams.clone().try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    upgrade.on_upgrade(move |socket| async move {
        let ctx = shared.ctx.clone();
        ctx.aside.run(serve(shared, socket)).await;
        drop((permit, connected));
    })
}

async fn serve<C: Chain>(mut shared: Shared<C>, socket: WebSocket) {
    let mut events = shared.ctx.feed.events();
    let (mut sink, mut incoming) = socket.split();
    // From the beginning of the open block, so that the first one has a base.
    let open = shared.ctx.chain.open_block();
    let mut waiting: Vec<Arc<MiniBlock>> =
        open.iter().flat_map(|open| open.mini_blocks()).cloned().collect();
    let mut told = 0;
    let ending = loop {
        for mini_block in waiting.drain(..) {
            if mini_block.position <= told {
                continue;
            }
            told = mini_block.position;
            let Ok(text) = serde_json::to_string(&Flashblock::from(&*mini_block)) else { return };
            let sent = tokio::time::timeout(SEND_TIMEOUT, sink.send(Message::Text(text.into())));
            if !matches!(sent.await, Ok(Ok(()))) {
                return;
            }
        }
        tokio::select! {
            event = events.next() => match event {
                Ok(ChainEvent::MiniBlock(mini_block)) => waiting.push(mini_block),
                Ok(_) => {}
                Err(Missed) => break (close_code::POLICY, "client reads too slowly"),
            },
            message = incoming.next() => match message {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => {}
            },
            _ = shared.closing.changed() => break (close_code::AWAY, "server is shutting down"),
        }
    };
    let frame = CloseFrame { code: ending.0, reason: Utf8Bytes::from_static(ending.1) };
    // Whether it arrives is the client's affair.
    let _ = tokio::time::timeout(SEND_TIMEOUT, sink.send(Message::Close(Some(frame)))).await;
}
