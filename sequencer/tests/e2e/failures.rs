//! The table of failures of the L1 transaction manager: each case breaks one thing under a whole node,
//! for blobs and for calldata, and ends with the same check ([`Story::close`]).
//!
//! The process's own end at each write of the ledger is in `restarts`.

use crate::{
    proxy::{Mode, Proxy},
    story::Story,
    support::{Anvil, Rollup, account, client, ether, metric, wait_for},
};
use alloy::{
    network::TransactionBuilder,
    primitives::U256,
    providers::{Provider, ext::AnvilApi},
    rpc::types::TransactionRequest,
};
use batcher::txmgr::SubmissionStore;
use std::time::Duration;

/// How long L1 is away; `WEFT_OUTAGE_SECS` says otherwise.
const OUTAGE_SECS: u64 = 10;

/// Wei in a gwei.
const GWEI: u128 = 1_000_000_000;

/// L1 includes nothing for a while: the transaction is raised under its nonce, three times.
async fn a_stuck_nonce_is_raised(carrier: &str) {
    let Some(mut story) = Story::start(carrier, "").await else { return };
    story.stop_mining().await;
    story.transact().await;
    let record = story.wait_for_record("attempts", |record| record.attempts.len() >= 3).await;
    let fees: Vec<u128> = record.attempts.iter().map(|a| a.fees.max_fee_wei).collect();
    assert!(fees.is_sorted_by(|a, b| a < b), "{fees:?}");
    story.start_mining().await;
    story.close().await;
}

/// Something else has the nonce in the pool and pays more: the transaction is raised until it wins.
async fn an_underpriced_replacement_is_raised(carrier: &str) {
    let Some(mut story) = Story::start(carrier, "").await else { return };
    let record = story.stop_with_one_in_the_pool().await;
    let fees = record.attempts.last().unwrap().fees;
    // Whoever else has the key. Anvil takes it for ours, and does not take ours for it any more.
    let other = client(&story.anvil.url, &account(11));
    let request = TransactionRequest::default()
        .with_to(account(5).address())
        .with_nonce(record.nonce)
        .with_gas_limit(21_000)
        .with_max_fee_per_gas(fees.max_fee_wei * 3 / 2)
        .with_max_priority_fee_per_gas(fees.max_fee_wei * 3 / 2);
    let other = *other.send_transaction(request).await.unwrap().tx_hash();
    story.transact().await;
    let raised = story
        .wait_for_record("a dearer attempt", |record| {
            record.attempts.last().unwrap().fees.max_fee_wei > fees.max_fee_wei * 3 / 2
        })
        .await;
    wait_for("the other one to leave the pool", async || {
        story.l1.get_transaction_by_hash(other).await.unwrap().is_none().then_some(())
    })
    .await;
    assert_eq!(raised.nonce, record.nonce);
    story.start_mining().await;
    assert!(story.log().contains("offers too little"));
    story.close().await;
}

/// L1 asks for more than the cap, then for less.
async fn a_fee_spike_is_waited_out(carrier: &str) {
    let Some(mut story) = Story::start(carrier, "l1-fee-cap-gwei = 50\n").await else { return };
    // Said again and again: Anvil forgets it when it is making a block just then.
    let set = "anvil_setNextBlockBaseFeePerGas";
    wait_for("a hold", async || {
        story.l1_call(set, U256::from(20_000 * GWEI)).await;
        let (ok, detail) = story.batcher().await;
        (!ok && detail.contains("L1 fees are above the caps")).then_some(())
    })
    .await;
    story.transact().await;
    let during = story.next_batch().await;
    story.transact().await;
    assert_eq!(story.next_batch().await, during, "nothing is bought at that price");
    wait_for("a batch", async || {
        story.l1_call(set, U256::from(GWEI)).await;
        (story.next_batch().await > during).then_some(())
    })
    .await;
    let said = story.log().matches("nothing is sent to L1: L1 fees are above the caps").count();
    assert!((1..=2).contains(&said), "said once by each account, not with every look: {said}");
    story.close().await;
}

/// L1 does not answer, its connections open.
async fn an_outage_of_l1_is_waited_out(carrier: &str) {
    let Some(mut story) = Story::start(carrier, "").await else { return };
    #[expect(clippy::disallowed_methods, reason = "read once, by a test")]
    let secs = std::env::var("WEFT_OUTAGE_SECS").map_or(OUTAGE_SECS, |secs| secs.parse().unwrap());
    story.anvil.pause();
    let until = std::time::Instant::now() + Duration::from_secs(secs);
    while std::time::Instant::now() < until {
        story.transact().await;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    story.anvil.resume();
    story.close().await;
}

/// The first of two endpoints breaks off, then does not answer, then works again.
async fn the_other_endpoint_takes_over(carrier: &str) {
    let Some(anvil) = Anvil::start() else { return };
    let proxy = Proxy::start(anvil.url.strip_prefix("http://").unwrap()).await;
    let mut rollup = Rollup::deploy(&anvil);
    let first = format!("http://somebody:secret@{}/key-of-somebody", proxy.address);
    let several = format!("l1-rpc-url = [{first:?}, {:?}]", anvil.url);
    let one = format!("l1-rpc-url = {:?}", anvil.url);
    assert!(rollup.config.contains(&one));
    rollup.config = rollup.config.replace(&one, &several);
    rollup.config.push_str(&format!("batch-data = \"{carrier}\"\n"));
    let mut story = Story::with(anvil, rollup).await;
    let through = proxy.connections();
    assert!(through > 0, "the first is used");
    for mode in [Mode::Cut, Mode::Silent, Mode::Open] {
        proxy.set(mode);
        story.transact().await;
        story.wait_for_batches(2).await;
    }
    wait_for("the first to be used again", async || (proxy.connections() > through).then_some(()))
        .await;
    let log = story.log();
    let shown = format!("endpoint=http://{}/...", proxy.address);
    assert!(log.contains("an L1 endpoint failed and is put aside") && log.contains(&shown));
    assert!(!log.contains("secret") && !log.contains("key-of-somebody"), "no log has the secrets");
    story.close().await;
}

/// The wallet is empty, and is filled again.
async fn an_empty_wallet_is_refilled(carrier: &str) {
    let Some(mut story) = Story::start(carrier, "").await else { return };
    let batcher = account(11).address();
    story.l1.anvil_set_balance(batcher, U256::ZERO).await.unwrap();
    story.wait_for_hold("has 0 wei").await;
    let held = "weft_l1_held{task=\"poster\"}";
    assert_eq!(metric(&story.rollup.url(), held).await, Some(1.0));
    story.transact().await;
    story.l1.anvil_set_balance(batcher, ether(1)).await.unwrap();
    story.wait_for_batches(1).await;
    story.close().await;
}

/// The process dies while its transaction is in the pool; when that has forgotten it; and when it was
/// just included. The ledger is the real one, on disk.
async fn a_killed_node_goes_on_where_it_was(carrier: &str) {
    let Some(mut story) = Story::start(carrier, "").await else { return };
    for is_forgotten in [false, true] {
        story.transact().await;
        let record = story.stop_with_one_in_the_pool().await;
        story.kill();
        if is_forgotten {
            story.l1.anvil_drop_all_transactions().await.unwrap();
        }
        story.start_mining().await;
        story.restart().await;
        let l1 = &story.l1;
        wait_for("it to be included", async || {
            let nonce = l1.get_transaction_count(record.account).await.unwrap();
            (nonce > record.nonce).then_some(())
        })
        .await;
        if is_forgotten {
            story.kill();
            story.restart().await;
        }
    }
    story.close().await;
}

/// L1 takes back its last one to ten blocks, with a batch in the oldest of them; Anvil forgets what was
/// in them, blobs too.
async fn reorgs_of_depth_1_to_10_bring_batches_back(carrier: &str) {
    // Deeper than the reorgs, so that only batches are lost and no L2 block is.
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.config = rollup.config.replace("l1-confirmations = 2", "l1-confirmations = 12");
    rollup.config.push_str(&format!("batch-data = \"{carrier}\"\n"));
    let mut story = Story::with(anvil, rollup).await;
    for depth in 1..=10 {
        story.transact().await;
        story.stop_with_one_in_the_pool().await;
        let before = story.next_batch().await;
        story.l1.anvil_mine(Some(1), None).await.unwrap();
        wait_for("the batch", async || (story.next_batch().await > before).then_some(())).await;
        let with_batch = story.next_batch().await;
        if depth > 1 {
            story.l1.anvil_mine(Some(depth - 1), None).await.unwrap();
        }
        story.anvil.reorg(depth).await;
        assert_eq!(story.next_batch().await, before, "the batch is gone, depth {depth}");
        story.start_mining().await;
        wait_for("the batch again", async || {
            (story.next_batch().await >= with_batch).then_some(())
        })
        .await;
    }
    story.close().await;
}

/// What was spent before uses the budget up, also over a restart; when it is an hour ago there is room.
async fn a_used_up_budget_holds_until_the_hour_is_over(carrier: &str) {
    let more = "l1-budget-eth-per-hour = 0.5\nl1-budget-eth-per-day = \"100\"\n";
    let Some(mut story) = Story::start(carrier, more).await else { return };
    let ledger = story.rollup.ledger().await;
    wait_for("a payment in the ledger", async || {
        (!ledger.costs_since(0).await.unwrap().is_empty()).then_some(())
    })
    .await;
    ledger.close().await;
    story.kill();
    let file = story.rollup.directory.path().join("data/ledger.sqlite");
    let costs = sqlx::SqlitePool::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    // As if the first batch had been that dear.
    let dear = "UPDATE costs SET cost_wei = '500000000000000000' WHERE at_secs = \
                (SELECT min(at_secs) FROM costs)";
    assert!(sqlx::query(dear).execute(&costs).await.unwrap().rows_affected() > 0);
    story.restart().await;
    story.wait_for_hold("within the last hour").await;
    let held_at = story.next_batch().await;
    story.transact().await;
    assert_eq!(story.next_batch().await, held_at);
    sqlx::query("UPDATE costs SET at_secs = at_secs - 3600").execute(&costs).await.unwrap();
    costs.close().await;
    story.wait_for_batches(1).await;
    story.close().await;
}

/// One test of each case for each carrier: `failures::blobs::NAME` and `failures::calldata::NAME`.
macro_rules! on_both_carriers {
    ($($case:ident),+ $(,)?) => {
        mod blobs {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case("blob").await;
            })+
        }
        mod calldata {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $case() {
                super::$case("calldata").await;
            })+
        }
    };
}

on_both_carriers!(
    a_stuck_nonce_is_raised,
    an_underpriced_replacement_is_raised,
    a_fee_spike_is_waited_out,
    an_outage_of_l1_is_waited_out,
    the_other_endpoint_takes_over,
    an_empty_wallet_is_refilled,
    a_killed_node_goes_on_where_it_was,
    reorgs_of_depth_1_to_10_bring_batches_back,
    a_used_up_budget_holds_until_the_hour_is_over,
);
