//! The table of failures of the L1 transaction manager: each case breaks one thing under a whole node,
//! for blobs and for calldata, and ends with the same check ([`Story::close`]): no batch lost, none
//! posted twice, `verify` agrees, the safe head is right.
//!
//! Restarts at each write of the store are in the batcher's tests: a process cannot be stopped there from
//! outside.

use crate::{
    proxy::{Mode, Proxy},
    support::{Anvil, Node, Rollup, account, client, ether, raw_receipt, transfer, wait_for},
};
use alloy::{
    eips::BlockNumberOrTag,
    network::TransactionBuilder,
    primitives::{Address, B256, U256},
    providers::{DynProvider, Provider, ext::AnvilApi},
    rpc::types::TransactionRequest,
};
use batcher::txmgr::{Record, Status, SubmissionStore};
use contracts::Inbox;
use std::{collections::BTreeSet, fs, time::Duration};

/// How long L1 is away; `WEFT_OUTAGE_SECS` says otherwise.
const OUTAGE_SECS: u64 = 10;

/// Wei in a gwei.
const GWEI: u128 = 1_000_000_000;

/// A node that posts, and what must still be true at the end.
struct Story {
    anvil: Anvil,
    rollup: Rollup,
    node: Option<Node>,
    l1: DynProvider,
    /// L2 blocks with transactions of users, by hash; none may change.
    receipts: Vec<(B256, u64, B256)>,
}

impl Story {
    /// A rollup whose node has posted. `more` is put into its configuration.
    async fn start(carrier: &str, more: &str) -> Option<Self> {
        let anvil = Anvil::start()?;
        let mut rollup = Rollup::deploy(&anvil);
        rollup.config.push_str(&format!("batch-data = \"{carrier}\"\nl1-raise-after-secs = 2\n"));
        rollup.config.push_str(more);
        Some(Self::with(anvil, rollup).await)
    }

    async fn with(anvil: Anvil, rollup: Rollup) -> Self {
        let node = Some(rollup.start().await);
        let l1 = anvil.client(0);
        let mut story = Self { anvil, rollup, node, l1, receipts: Vec::new() };
        story.rollup.deposit(0, ether(10)).await;
        story.transact().await;
        story.wait_for_batches(1).await;
        story
    }

    /// A user's transaction, as in quiet times: sequencing waits for nothing of L1.
    async fn transact(&mut self) {
        let receipt = transfer(&self.rollup.client(0), Address::repeat_byte(7), U256::ONE).await;
        let (number, hash) = (receipt.block_number.unwrap(), receipt.block_hash.unwrap());
        self.receipts.push((receipt.transaction_hash, number, hash));
    }

    async fn next_batch(&self) -> u64 {
        Inbox::new(self.rollup.genesis.l1.inbox, &self.l1).nextBatch().call().await.unwrap()
    }

    /// Waits for so many more batches.
    async fn wait_for_batches(&self, count: u64) {
        let expected = self.next_batch().await + count;
        wait_for("batches", async || (self.next_batch().await >= expected).then_some(())).await;
    }

    async fn l1_call(&self, method: &'static str, parameter: impl serde::Serialize) {
        let parameters = [serde_json::to_value(parameter).unwrap()];
        let _: serde_json::Value = self.l1.raw_request(method.into(), parameters).await.unwrap();
    }

    async fn stop_mining(&self) {
        self.l1_call("evm_setIntervalMining", 0).await;
    }

    async fn start_mining(&self) {
        self.l1_call("evm_setIntervalMining", 1).await;
    }

    /// The batcher's transaction that is not at its end, once `is_it` says so.
    async fn wait_for_record(&self, what: &str, is_it: impl Fn(&Record) -> bool) -> Record {
        let ledger = self.rollup.ledger().await;
        let found = wait_for(what, async || {
            let open = ledger.open(account(11).address()).await.unwrap();
            open.into_iter().find(|record| is_it(record))
        })
        .await;
        ledger.close().await;
        found
    }

    /// Stops L1 and waits until the batcher's next transaction is in its pool.
    async fn stop_with_one_in_the_pool(&self) -> Record {
        self.stop_mining().await;
        let batcher = account(11).address();
        let nonce = self.l1.get_transaction_count(batcher).await.unwrap();
        self.wait_for_record("a transaction in the pool", |record| {
            record.status == Status::Broadcast && record.nonce == nonce
        })
        .await
    }

    /// What `/ready` says of the batcher.
    async fn batcher(&self) -> (bool, String) {
        let text = reqwest::get(format!("{}/ready", self.rollup.url())).await.unwrap();
        let answer: serde_json::Value = text.json().await.unwrap();
        let checks = answer["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == "poster").unwrap();
        (check["ok"].as_bool().unwrap(), check["detail"].as_str().unwrap().to_owned())
    }

    /// Waits until `/ready` gives this as the reason why nothing is posted.
    async fn wait_for_hold(&self, why: &str) {
        wait_for(why, async || {
            let (ok, detail) = self.batcher().await;
            (!ok && detail.contains(why)).then_some(())
        })
        .await;
    }

    fn log(&self) -> String {
        fs::read_to_string(self.rollup.directory.path().join("node.log")).unwrap()
    }

    fn kill(&mut self) {
        self.node.take().unwrap().kill();
    }

    async fn restart(&mut self) {
        self.node = Some(self.rollup.start().await);
    }

    /// What holds after every case.
    async fn close(mut self) {
        self.transact().await;
        let (_, last, _) = *self.receipts.last().unwrap();
        self.rollup.wait_until_safe(last).await;

        // No L2 block that a user has seen is another one, and none of their transactions is gone.
        for (transaction, number, block) in &self.receipts {
            let receipt = raw_receipt(&self.rollup.client(0), *transaction).await.unwrap();
            assert_eq!(receipt.block_number.zip(receipt.block_hash), Some((*number, *block)));
        }
        // The Inbox is one chain of batches, and no bytes are in it twice.
        let inbox = Inbox::new(self.rollup.genesis.l1.inbox, &self.l1);
        let events = inbox.BatchAppended_filter().from_block(0).query().await.unwrap();
        let ids: Vec<u64> = events.iter().map(|(event, _)| event.id).collect();
        assert_eq!(ids, (0..ids.len() as u64).collect::<Vec<_>>(), "none missing");
        let bytes: BTreeSet<B256> = events.iter().map(|(event, _)| event.dataHash).collect();
        assert_eq!(bytes.len(), ids.len(), "none twice");
        // Whoever derives L1 gets the node's blocks, up to its safe head.
        let safe = self.rollup.height(BlockNumberOrTag::Safe).await;
        let verified = self.rollup.verify_agrees().await;
        assert!(verified >= safe && safe >= last, "{verified}, {safe}, {last}");
        self.rollup.wait_until_safe(verified).await;
        wait_for("/ready", async || self.batcher().await.0.then_some(())).await;
        assert!(self.node.as_mut().unwrap().is_running());
        assert!(!self.log().contains("halted"), "posting halted");
    }
}

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
