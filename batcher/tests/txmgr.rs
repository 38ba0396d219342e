//! The transaction manager against a real pool.

use crate::support::{
    anvil::account,
    world::{L1_CHAIN_ID, World},
};
use alloy::{
    network::TransactionBuilder,
    primitives::{B256, Bytes, U256},
    providers::{Provider, ProviderBuilder, ext::AnvilApi},
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use batcher::{
    encoder::BlockId,
    txmgr::{
        Call, CancelError, FeeCaps, Purpose, Sent, Status, TxConfig, TxControl, TxError, TxManager,
    },
};
use contracts::Inbox;
use std::{sync::Arc, time::Duration};

fn purpose() -> Purpose {
    Purpose::Output { block: BlockId::default(), root: B256::ZERO }
}

fn append(world: &World, acc: B256) -> Call {
    let data = Bytes::from_static(b"bytes");
    let input = Inbox::appendCalldataCall { parentAcc: acc, data }.abi_encode().into();
    Call { to: world.inbox, input, blob_payload: None, gas_limit: 200_000 }
}

fn manager(world: &World, bump_after: Duration, caps: FeeCaps) -> TxManager {
    let poll = Duration::from_millis(10);
    let config = TxConfig { poll, bump_after, caps, ..TxConfig::default() };
    let signer = Arc::new(account(1));
    TxManager::new(world.provider.clone(), signer, world.store.clone(), L1_CHAIN_ID, config)
}

const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_stale_parent_is_a_reverted_outcome() {
    let Some(world) = World::new().await else { return };
    let manager = manager(&world, LONG, FeeCaps::default());
    let sent = manager.submit(purpose(), append(&world, B256::repeat_byte(1))).await.unwrap();
    let Sent::Reverted(inclusion) = sent else { panic!("{sent:?}") };
    assert!(inclusion.gas_used > 21_000 && inclusion.cost_wei > 0);
    assert_eq!(world.store.all()[0].status, Status::Reverted(inclusion));
    let sent = manager.submit(purpose(), append(&world, B256::ZERO)).await.unwrap();
    assert!(matches!(sent, Sent::Confirmed(_)), "{sent:?}");
}

#[tokio::test]
async fn a_stuck_transaction_is_replaced_under_the_same_nonce() {
    let Some(world) = World::new().await else { return };
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let manager = manager(&world, Duration::from_millis(100), FeeCaps::default());
    let call = append(&world, B256::ZERO);
    let submit = manager.submit(purpose(), call);
    let mine = async {
        while world.store.all().first().is_none_or(|record| record.attempts.len() < 3) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // The third may be stored and not yet sent.
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.mine(1).await;
    };
    let (sent, ()) = tokio::join!(submit, mine);
    let Sent::Confirmed(inclusion) = sent.unwrap() else { panic!("not confirmed") };
    let record = world.store.all().remove(0);
    let included = record.attempts.iter().position(|a| a.tx_hash == inclusion.tx_hash).unwrap();
    assert!(included >= 2, "{included}");
    assert_eq!(world.sequencer_nonce().await, 1);
}

#[tokio::test]
async fn a_nonce_that_another_transaction_took_is_lost() {
    let Some(world) = World::new().await else { return };
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let manager = manager(&world, LONG, FeeCaps::default());
    let submit = manager.submit(purpose(), append(&world, B256::ZERO));
    let other = async {
        while world.store.all().first().is_none_or(|r| r.status != Status::Broadcast) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let url = world.anvil.url.parse().unwrap();
        let provider = ProviderBuilder::new().wallet(account(1)).connect_http(url);
        let request = TransactionRequest::default()
            .with_to(account(3).address())
            .with_value(U256::from(1))
            .with_nonce(0)
            .with_gas_limit(21_000)
            .with_max_fee_per_gas(100_000_000_000)
            .with_max_priority_fee_per_gas(50_000_000_000);
        let _pending = provider.send_transaction(request).await.unwrap();
        world.mine(1).await;
    };
    let (sent, ()) = tokio::join!(submit, other);
    assert_eq!(sent.unwrap(), Sent::Lost);
    assert_eq!(world.store.all()[0].status, Status::Dropped);
    assert_eq!(world.position().await.next_batch, 0);
}

#[tokio::test]
async fn nothing_is_stored_while_fees_are_above_the_caps() {
    let Some(world) = World::new().await else { return };
    let caps = FeeCaps { max_fee_wei: 1, max_blob_fee_wei: 1 };
    let manager = manager(&world, LONG, caps);
    let error = manager.submit(purpose(), append(&world, B256::ZERO)).await.unwrap_err();
    assert!(matches!(error, TxError::FeesAboveCaps), "{error}");
    assert_eq!(world.store.all(), []);
}

#[tokio::test]
async fn a_cancelled_submission_stays_open_and_is_resumed() {
    let Some(world) = World::new().await else { return };
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let manager = manager(&world, LONG, FeeCaps::default());
    let submit = manager.submit(purpose(), append(&world, B256::ZERO));
    tokio::time::timeout(Duration::from_millis(300), submit).await.unwrap_err();
    let error = manager.submit(purpose(), append(&world, B256::ZERO)).await.unwrap_err();
    assert!(matches!(error, TxError::StillOpen), "{error}");
    // The pool forgets it, too.
    world.provider.anvil_drop_all_transactions().await.unwrap();
    let mine = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        world.mine(1).await;
    };
    let (ended, ()) = tokio::join!(manager.resume(), mine);
    let ended = ended.unwrap();
    assert!(matches!(ended[..], [(_, Sent::Confirmed(_))]), "{ended:?}");
    assert_eq!(world.sequencer_nonce().await, 1);
}

#[tokio::test]
async fn what_can_never_be_included_is_refused_for_good() {
    let Some(world) = World::new().await else { return };
    let manager = manager(&world, LONG, FeeCaps::default());
    // Less than any transaction takes.
    let call = Call { gas_limit: 20_000, ..append(&world, B256::ZERO) };
    let error = manager.submit(purpose(), call).await.unwrap_err();
    assert!(matches!(error, TxError::Refused(_)), "{error}");
}

fn append_blobs(world: &World, acc: B256) -> Call {
    let call = Inbox::appendBlobsCall { parentAcc: acc, nBlobs: U256::ONE, meta: Bytes::new() };
    let blob_payload = Some(Bytes::from_static(b"bytes"));
    Call { to: world.inbox, input: call.abi_encode().into(), blob_payload, gas_limit: 250_000 }
}

async fn wait_until_sent(world: &World) {
    while world.store.all().first().is_none_or(|record| record.status != Status::Broadcast) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Cancels what waits, and checks that both have the same nonce and type, and that nothing was called.
async fn cancels(world: &World, manager: &TxManager, call: Call) {
    let control = manager.control();
    assert_eq!(control.cancel().await, Err(CancelError::NothingInFlight));
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let cancel = async {
        wait_until_sent(world).await;
        let cancelled = control.cancel().await.unwrap();
        assert_eq!(control.cancel().await, Ok(cancelled), "once is enough");
        let found = world.provider.get_transaction_by_hash(cancelled.tx_hash).await.unwrap();
        assert!(found.is_some(), "L1 has it when the caller is told");
        world.mine(1).await;
        cancelled
    };
    let (sent, cancelled) = tokio::join!(manager.submit(purpose(), call), cancel);
    let Sent::Cancelled(inclusion) = sent.unwrap() else { panic!("not cancelled") };
    assert_eq!((inclusion.tx_hash, cancelled.nonce), (cancelled.tx_hash, 0));
    assert!(inclusion.cost_wei > 0 && inclusion.gas_used == 21_000);
    let record = world.store.all().remove(0);
    assert_eq!(record.status, Status::Cancelled(inclusion));
    let kinds: Vec<_> = record.attempts.iter().map(|a| (a.raw[0], a.is_cancel)).collect();
    let kind = if record.call.blob_payload.is_some() { 3 } else { 2 };
    assert_eq!(kinds, [(kind, false), (kind, true)]);
    assert_eq!((world.position().await.next_batch, world.sequencer_nonce().await), (0, 1));
    assert_eq!(control.cancel().await, Err(CancelError::NothingInFlight));
    assert_eq!(control.status().in_flight, None);
}

#[tokio::test]
async fn a_transaction_is_cancelled_under_its_nonce() {
    let Some(world) = World::new().await else { return };
    let manager = manager(&world, LONG, FeeCaps::default());
    cancels(&world, &manager, append(&world, B256::ZERO)).await;
    // The next one goes out as if nothing had been.
    world.provider.anvil_set_auto_mine(true).await.unwrap();
    let sent = manager.submit(purpose(), append(&world, B256::ZERO)).await.unwrap();
    assert!(matches!(sent, Sent::Confirmed(_)), "{sent:?}");
}

#[tokio::test]
async fn a_transaction_with_blobs_is_cancelled_by_one_with_an_empty_blob() {
    let Some(world) = World::new().await else { return };
    let manager = manager(&world, LONG, FeeCaps::default());
    cancels(&world, &manager, append_blobs(&world, B256::ZERO)).await;
}

/// Whoever was told that it is cancelled and died, goes on cancelling.
#[tokio::test]
async fn a_cancelling_attempt_survives_a_restart() {
    let Some(world) = World::new().await else { return };
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let first = manager(&world, LONG, FeeCaps::default());
    let control = first.control();
    let cancel = async {
        wait_until_sent(&world).await;
        control.cancel().await.unwrap()
    };
    tokio::select! {
        sent = first.submit(purpose(), append(&world, B256::ZERO)) => panic!("{sent:?}"),
        _ = cancel => {}
    }
    drop(first);
    world.provider.anvil_drop_all_transactions().await.unwrap();
    let again = manager(&world, LONG, FeeCaps::default());
    let mine = async {
        let status = again.control();
        let mut changes = status.changes();
        changes.wait_for(|now| now.in_flight.is_some_and(|f| f.cancel.is_some())).await.unwrap();
        world.mine(1).await;
    };
    let (ended, ()) = tokio::join!(again.resume(), mine);
    assert!(matches!(ended.unwrap()[..], [(_, Sent::Cancelled(_))]));
    assert_eq!(world.sequencer_nonce().await, 1);
}

#[tokio::test]
async fn what_would_cost_too_much_to_replace_is_not_cancelled() {
    let Some(world) = World::new().await else { return };
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    // What is offered is the cap itself, so that nothing above it can replace it.
    let market = manager(&world, LONG, FeeCaps::default()).market().await.unwrap();
    let max_fee_wei = market.base_fee_wei + market.priority_fee_wei;
    let manager = manager(&world, LONG, FeeCaps { max_fee_wei, max_blob_fee_wei: 1 });
    let control: TxControl = manager.control();
    let cancel = async {
        wait_until_sent(&world).await;
        assert_eq!(control.cancel().await, Err(CancelError::FeesAboveCaps));
        assert_eq!(control.cancel().await, Err(CancelError::FeesAboveCaps));
        world.mine(1).await;
    };
    let (sent, ()) = tokio::join!(manager.submit(purpose(), append(&world, B256::ZERO)), cancel);
    assert!(matches!(sent.unwrap(), Sent::Confirmed(_)));
    assert_eq!(world.store.all()[0].attempts.len(), 1);
}
