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
        Budget, Call, CancelError, FeeCaps, Hold, Inclusion, Purpose, Sent, Status, TxConfig,
        TxControl, TxError, TxManager, WalletWatch,
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
        // However often it looks lost at one block: an endpoint may not have the receipt yet.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(world.store.all()[0].status, Status::Broadcast);
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
    // L1 never took it, so it is in nobody's way once somebody has looked.
    assert_eq!(world.store.all()[0].status, Status::Dropped);
    assert_eq!(manager.control().status().in_flight, None);
    assert_eq!(manager.resume().await.unwrap(), []);
    let sent = manager.submit(purpose(), append(&world, B256::ZERO)).await.unwrap();
    assert!(matches!(sent, Sent::Confirmed(_)), "{sent:?}");
}

/// Whoever waits is sent back to the start again and again, as by an L1 endpoint that comes and goes.
#[tokio::test]
async fn the_time_to_a_raise_goes_on_when_waiting_is_interrupted() {
    let Some(world) = World::new().await else { return };
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let manager = manager(&world, Duration::from_secs(2), FeeCaps::default());
    let attempts = || world.store.all().first().map_or(0, |record| record.attempts.len());
    let interrupted = Duration::from_millis(700);
    let submit = manager.submit(purpose(), append(&world, B256::ZERO));
    tokio::time::timeout(interrupted, submit).await.unwrap_err();
    for _ in 0..10 {
        if attempts() > 1 {
            return;
        }
        tokio::time::timeout(interrupted, manager.resume()).await.unwrap_err();
    }
    panic!("not raised");
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

/// A manager that raises every 50 ms, at most so often unless the market asks for it.
fn impatient(world: &World, attempts_max: usize) -> TxManager {
    let (poll, bump_after) = (Duration::from_millis(10), Duration::from_millis(50));
    let config = TxConfig { poll, bump_after, attempts_max, ..TxConfig::default() };
    let signer = Arc::new(account(1));
    TxManager::new(world.provider.clone(), signer, world.store.clone(), L1_CHAIN_ID, config)
}

async fn set_balance(world: &World, wei: u128) {
    let account = account(1).address();
    world.provider.anvil_set_balance(account, U256::from(wei)).await.unwrap();
}

async fn wait_for_hold(control: &TxControl, is_it: impl Fn(Hold) -> bool) {
    let mut changes = control.changes();
    changes.wait_for(|now| now.hold.is_some_and(&is_it)).await.unwrap();
}

#[tokio::test]
async fn what_was_paid_counts_against_the_budget_until_the_hour_is_over() {
    let Some(world) = World::new().await else { return };
    let first = manager(&world, LONG, FeeCaps::default());
    let sent = first.submit(purpose(), append(&world, B256::repeat_byte(1))).await.unwrap();
    let Sent::Reverted(inclusion) = sent else { panic!("{sent:?}") };
    drop(first);
    // Room for the next one at its most, were it not for what the reverted one cost.
    let market = manager(&world, LONG, FeeCaps::default()).market().await.unwrap();
    let fees = market.offer(false, &FeeCaps::default()).unwrap();
    let most = fees.cost_max_wei(200_000, 0);
    let hour_wei = Some(most + inclusion.cost_wei - 1);
    let config = TxConfig {
        poll: Duration::from_millis(10),
        budget: Budget { hour_wei, day_wei: None },
        ..TxConfig::default()
    };
    let (provider, store) = (world.provider.clone(), world.store.clone());
    let again = TxManager::new(provider, Arc::new(account(1)), store, L1_CHAIN_ID, config);
    let error = again.submit(purpose(), append(&world, B256::ZERO)).await.unwrap_err();
    let TxError::OverBudget(over) = error else { panic!("{error}") };
    assert_eq!(over.spent_wei, inclusion.cost_wei);
    assert_eq!(again.control().status().hold, Some(Hold::OverBudget(over)));
    world.store.age_costs(3_600);
    let sent = again.submit(purpose(), append(&world, B256::ZERO)).await.unwrap();
    assert!(matches!(sent, Sent::Confirmed(_)), "{sent:?}");
    assert_eq!(again.control().status().hold, None);
}

#[tokio::test]
async fn a_raise_that_cannot_be_paid_is_not_made() {
    let Some(world) = World::new().await else { return };
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let manager = impatient(&world, 10);
    let control = manager.control();
    let refill = async {
        wait_until_sent(&world).await;
        let attempts = || world.store.all()[0].attempts.clone();
        let paid = attempts()[0].fees.cost_max_wei(200_000, 0);
        // As much as the first attempt may cost, and nothing for a dearer one.
        set_balance(&world, paid).await;
        wait_for_hold(&control, |hold| matches!(hold, Hold::Unfunded(_))).await;
        let before = attempts().len();
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(attempts().len(), before);
        set_balance(&world, 10u128.pow(18)).await;
        while attempts().len() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        world.mine(1).await;
    };
    let (sent, ()) = tokio::join!(manager.submit(purpose(), append(&world, B256::ZERO)), refill);
    assert!(matches!(sent.unwrap(), Sent::Confirmed(_)));
    assert_eq!(control.status().hold, None);
}

#[tokio::test]
async fn after_its_attempts_a_transaction_is_stuck_until_the_price_rises_above_it() {
    let Some(world) = World::new().await else { return };
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let manager = impatient(&world, 2);
    let control = manager.control();
    let rise = async {
        wait_for_hold(&control, |hold| hold == Hold::Stuck).await;
        let fees = world.store.all()[0].attempts.last().unwrap().fees;
        assert_eq!(world.store.all()[0].attempts.len(), 2);
        let set = "anvil_setNextBlockBaseFeePerGas";
        let dearer = [U256::from(fees.max_fee_wei * 3)];
        let _: serde_json::Value = world.provider.raw_request(set.into(), dearer).await.unwrap();
        world.mine(1).await;
        while world.store.all()[0].attempts.len() == 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        world.mine(1).await;
    };
    let (sent, ()) = tokio::join!(manager.submit(purpose(), append(&world, B256::ZERO)), rise);
    assert!(matches!(sent.unwrap(), Sent::Confirmed(_)));
}

#[tokio::test]
async fn a_wallet_says_how_long_it_lasts() {
    let Some(world) = World::new().await else { return };
    let manager = manager(&world, LONG, FeeCaps::default());
    let day = Duration::from_secs(24 * 3_600);
    let control = manager.control();
    let (provider, store) = (world.provider.clone(), world.store.clone());
    let watch = WalletWatch { provider, store, control: control.clone(), low: day };
    let unused = watch.look().await.unwrap();
    assert_eq!((unused.spent_day_wei, unused.runway, unused.is_low), (0, None, false));
    let sent = manager.submit(purpose(), append(&world, B256::ZERO)).await.unwrap();
    let Sent::Confirmed(Inclusion { cost_wei, .. }) = sent else { panic!("{sent:?}") };
    let wallet = watch.look().await.unwrap();
    assert_eq!((wallet.spent_hour_wei, wallet.spent_day_wei), (cost_wei, cost_wei));
    assert_eq!(unused.balance_wei - wallet.balance_wei, cost_wei);
    assert!(wallet.runway.unwrap() > day && !wallet.is_low);
    // For half a day at the pace of that one within an hour.
    set_balance(&world, cost_wei * 12).await;
    let low = watch.look().await.unwrap();
    assert!(low.runway_days() == Some(0.5) && low.is_low, "{low:?}");
    assert_eq!(control.status().wallet, Some(low));
}
