//! The tracker on an L1 endpoint that is behind, misses something or fails in between: nothing is undone
//! for that, nothing is passed over, and nothing is said to be read that is not.

use crate::support::{
    anvil::account,
    bent::{Answer, Bent, height},
    world::World,
};
use alloy::{
    primitives::{B256, Bytes, keccak256},
    providers::{DynProvider, Provider, ProviderBuilder, ext::AnvilApi},
};
use batcher::{
    carrier::DataAvailability,
    encoder::SourceBlock,
    l1::{InboxPosition, L1Error, Missing},
    tracker::{TrackError, Tracker},
};
use contracts::{Inbox, KIND_CALLDATA, inbox_accumulator};
use serde_json::{Value, json};

/// Seals a block and posts it.
async fn post(world: &World) -> SourceBlock {
    let block = world.seal(1, 0).await;
    world.settle(&mut world.poster(DataAvailability::Calldata)).await;
    block
}

/// A tracker from genesis, and the way on which it reads.
fn tracker(world: &World) -> (Tracker, Bent) {
    let bent = Bent::to(world);
    (world.tracker_through(&bent.provider(), world.genesis()), bent)
}

/// A block as L1 answers it.
async fn block_json(l1: &DynProvider, number: u64) -> Value {
    let params = (format!("{number:#x}"), false);
    l1.raw_request("eth_getBlockByNumber".into(), params).await.unwrap()
}

async fn lag(world: &World, bent: &Bent, number: u64) {
    bent.lag(number, block_json(&world.provider, number).await);
}

fn is_missing_block(error: &TrackError) -> bool {
    matches!(error, TrackError::L1(L1Error::Missing(Missing::Block(_))))
}

#[tokio::test]
async fn an_endpoint_that_is_behind_undoes_nothing() {
    let Some(world) = World::new().await else { return };
    let before = world.provider.get_block_number().await.unwrap();
    post(&world).await;
    let last = post(&world).await;
    world.mine(3).await;
    let (mut tracker, bent) = tracker(&world);
    assert!(tracker.sync().await.unwrap());
    let heads = tracker.read_heads().await.unwrap();
    assert_eq!((heads.safe.block, heads.finalized.block), (last.id(), last.id()));
    for behind in [heads.finalized.l1_block.number, before] {
        lag(&world, &bent, behind).await;
        for _ in 0..2 {
            let error = tracker.sync().await.unwrap_err();
            assert!(is_missing_block(&error), "{error}");
            assert_eq!(tracker.heads(), heads);
        }
        bent.straighten();
        assert!(tracker.sync().await.unwrap());
        assert_eq!(tracker.heads(), heads);
    }
    // The same for one that starts on it.
    let at = usize::try_from(heads.start.block.number).unwrap();
    let at = world.chain.0.lock().unwrap().blocks[at].clone();
    let start = world.resume(&heads, &at).unwrap();
    let mut tracker = world.tracker_through(&bent.provider(), start);
    lag(&world, &bent, before).await;
    let error = tracker.sync().await.unwrap_err();
    assert!(is_missing_block(&error), "{error}");
    bent.straighten();
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head().block, last.id());
}

#[tokio::test]
async fn a_reorg_to_a_shorter_chain_is_seen_by_what_is_below() {
    let Some(world) = World::with_epochs_of(32).await else { return };
    let first = post(&world).await;
    world.mine(2).await;
    let fork = world.provider.get_block_number().await.unwrap();
    post(&world).await;
    world.mine(5).await;
    let (mut tracker, bent) = tracker(&world);
    assert!(tracker.sync().await.unwrap());
    let before = tracker.safe_head();
    let latest = world.provider.get_block_number().await.unwrap();
    world.reorg(latest - fork).await;
    // The other chain does not go as far as the lost append yet.
    lag(&world, &bent, fork).await;
    let error = tracker.sync().await.unwrap_err();
    assert!(is_missing_block(&error), "{error}");
    assert_eq!(tracker.safe_head(), before);
    // It does, and is still shorter than what was read.
    lag(&world, &bent, before.l1_block.number).await;
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head().block, first.id());
    bent.straighten();
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head().block, first.id());
    let last = post(&world).await;
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head().block, last.id());
}

#[tokio::test]
async fn what_was_final_and_is_another_block_is_a_deep_reorg() {
    let Some(world) = World::new().await else { return };
    post(&world).await;
    world.mine(3).await;
    let (mut tracker, bent) = tracker(&world);
    assert!(tracker.sync().await.unwrap());
    let finalized = tracker.read_heads().await.unwrap().finalized.l1_block.number;
    let latest = world.provider.get_block_number().await.unwrap();
    world.reorg(latest - finalized + 1).await;
    lag(&world, &bent, finalized).await;
    let error = tracker.sync().await.unwrap_err();
    assert!(matches!(error, TrackError::DeepReorg(number) if number == finalized), "{error}");
}

/// Answers `eth_getLogs` with nothing and the Inbox's accumulator as it was.
fn miss_logs(bent: &Bent, acc: B256) {
    bent.bend(move |method, _| match method {
        "eth_getLogs" => Answer::Other(json!([])),
        "eth_call" => Answer::Other(json!(acc)),
        _ => Answer::Own,
    });
}

#[tokio::test]
async fn missed_logs_are_asked_for_again() {
    let Some(world) = World::new().await else { return };
    post(&world).await;
    let (mut tracker, bent) = tracker(&world);
    assert!(tracker.sync().await.unwrap());
    let before = tracker.safe_head();
    let missed = post(&world).await;
    // The Inbox itself tells that there is more.
    bent.bend(|method, _| match method {
        "eth_getLogs" => Answer::Other(json!([])),
        _ => Answer::Own,
    });
    let error = tracker.sync().await.unwrap_err();
    assert!(matches!(error, TrackError::L1(L1Error::Missing(Missing::Appends(_)))), "{error}");
    assert_eq!(tracker.safe_head(), before);
    bent.straighten();
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head().block, missed.id());

    // Where it could not, the next append does.
    let before = tracker.safe_head();
    post(&world).await;
    world.mine(1).await;
    miss_logs(&bent, before.position.acc);
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head(), before);
    bent.straighten();
    let last = post(&world).await;
    let error = tracker.sync().await.unwrap_err();
    assert!(matches!(error, TrackError::L1(L1Error::Reorged)), "{error}");
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head().block, last.id());
}

#[tokio::test]
async fn what_was_read_counts_only_where_its_end_is_known_to_stand() {
    let Some(world) = World::new().await else { return };
    let block = post(&world).await;
    let (mut tracker, bent) = tracker(&world);
    let latest = world.provider.get_block_number().await.unwrap();
    bent.bend(move |method, params| match (method, params[0].as_str()) {
        ("eth_getBlockByNumber", Some(tag)) if height(tag) == Some(latest) => {
            Answer::Refused("busy")
        }
        _ => Answer::Own,
    });
    let error = tracker.sync().await.unwrap_err();
    assert!(matches!(error, TrackError::L1(L1Error::Rpc(_))), "{error}");
    assert_eq!(tracker.safe_head().position, InboxPosition::default());
    bent.straighten();
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head().block, block.id());
}

/// Two appends of the sequencer's in one L1 block; returns their transactions.
async fn append_twice(world: &World) -> [B256; 2] {
    let l1 =
        ProviderBuilder::new().wallet(account(1)).connect_http(world.anvil.url.parse().unwrap());
    let inbox = Inbox::new(world.inbox, l1);
    let InboxPosition { next_batch, acc } = world.position().await;
    let nonce = world.sequencer_nonce().await;
    let data = Bytes::from_static(b"rubbish");
    let next = inbox_accumulator(acc, next_batch, KIND_CALLDATA, keccak256(&data));
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let mut sent = Vec::new();
    for (nonce, acc) in [(nonce, acc), (nonce + 1, next)] {
        let call = inbox.appendCalldata(acc, data.clone()).nonce(nonce).gas(1_000_000);
        sent.push(*call.send().await.unwrap().tx_hash());
    }
    world.mine(1).await;
    world.provider.anvil_set_auto_mine(true).await.unwrap();
    sent.try_into().unwrap()
}

#[tokio::test]
async fn all_is_read_only_with_the_last_append_of_the_newest_block() {
    let Some(world) = World::new().await else { return };
    let [_, second] = append_twice(&world).await;
    let (mut tracker, bent) = tracker(&world);
    bent.bend(move |method, params| {
        let is_second = params[0].as_str().is_some_and(|hash| *hash == second.to_string());
        match method {
            "eth_getTransactionByHash" if is_second => Answer::Refused("busy"),
            _ => Answer::Own,
        }
    });
    assert!(!tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head().position.next_batch, 1);
    for _ in 0..2 {
        let error = tracker.sync().await.unwrap_err();
        assert!(matches!(error, TrackError::L1(L1Error::Rpc(_))), "{error}");
    }
    bent.straighten();
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head().position, world.position().await);
}

#[tokio::test]
async fn a_range_of_logs_that_is_refused_is_split() {
    let Some(world) = World::new().await else { return };
    for _ in 0..3 {
        post(&world).await;
        world.mine(20).await;
    }
    let (mut tracker, bent) = tracker(&world);
    bent.bend(|method, params| {
        let bound = |name: &str| params[0][name].as_str().and_then(height);
        match (method, bound("fromBlock"), bound("toBlock")) {
            ("eth_getLogs", Some(from), Some(to)) if to - from >= 3 => {
                Answer::Refused("block range is too wide")
            }
            _ => Answer::Own,
        }
    });
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head().position, world.position().await);
    // One block cannot be split.
    bent.bend(|method, _| match method {
        "eth_getLogs" => Answer::Refused("no logs today"),
        _ => Answer::Own,
    });
    world.mine(1).await;
    let error = tracker.sync().await.unwrap_err();
    assert!(matches!(error, TrackError::L1(L1Error::Rpc(_))), "{error}");
}
