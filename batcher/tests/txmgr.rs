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
    txmgr::{Call, FeeCaps, Purpose, Sent, Status, TxConfig, TxError, TxManager},
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
