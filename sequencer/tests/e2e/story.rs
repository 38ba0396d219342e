//! A story of the L1 transaction manager: a whole node that posts, what breaks around it, and what must
//! be true at the end whatever broke ([`Story::close`]): no batch lost, none posted twice, `verify`
//! agrees, the safe head is right. What breaks is told by the cases: `failures`, `restarts`.

use crate::support::{Anvil, Node, Rollup, account, ether, raw_receipt, transfer, wait_for};
use alloy::{
    eips::BlockNumberOrTag,
    primitives::{Address, B256, U256},
    providers::{DynProvider, Provider},
};
use batcher::txmgr::{Record, Status, SubmissionStore};
use contracts::Inbox;
use std::{collections::BTreeSet, fs};

/// A node that posts, and what must still be true at the end.
pub(crate) struct Story {
    pub(crate) anvil: Anvil,
    pub(crate) rollup: Rollup,
    node: Option<Node>,
    pub(crate) l1: DynProvider,
    /// L2 blocks with transactions of users, by hash; none may change.
    receipts: Vec<(B256, u64, B256)>,
}

impl Story {
    /// A rollup whose node has posted. `more` is put into its configuration.
    pub(crate) async fn start(carrier: &str, more: &str) -> Option<Self> {
        let anvil = Anvil::start()?;
        let mut rollup = Rollup::deploy(&anvil);
        rollup.config.push_str(&format!("batch-data = \"{carrier}\"\nl1-raise-after-secs = 2\n"));
        rollup.config.push_str(more);
        Some(Self::with(anvil, rollup).await)
    }

    pub(crate) async fn with(anvil: Anvil, rollup: Rollup) -> Self {
        let node = Some(rollup.start().await);
        let l1 = anvil.client(0);
        let mut story = Self { anvil, rollup, node, l1, receipts: Vec::new() };
        story.rollup.deposit(0, ether(10)).await;
        story.transact().await;
        story.wait_for_batches(1).await;
        story
    }

    /// A user's transaction, as in quiet times: sequencing waits for nothing of L1.
    pub(crate) async fn transact(&mut self) {
        let receipt = transfer(&self.rollup.client(0), Address::repeat_byte(7), U256::ONE).await;
        let (number, hash) = (receipt.block_number.unwrap(), receipt.block_hash.unwrap());
        self.receipts.push((receipt.transaction_hash, number, hash));
    }

    pub(crate) async fn next_batch(&self) -> u64 {
        Inbox::new(self.rollup.genesis.l1.inbox, &self.l1).nextBatch().call().await.unwrap()
    }

    /// Waits for so many more batches.
    pub(crate) async fn wait_for_batches(&self, count: u64) {
        let expected = self.next_batch().await + count;
        wait_for("batches", async || (self.next_batch().await >= expected).then_some(())).await;
    }

    pub(crate) async fn l1_call(&self, method: &'static str, parameter: impl serde::Serialize) {
        let parameters = [serde_json::to_value(parameter).unwrap()];
        let _: serde_json::Value = self.l1.raw_request(method.into(), parameters).await.unwrap();
    }

    pub(crate) async fn stop_mining(&self) {
        self.l1_call("evm_setIntervalMining", 0).await;
    }

    pub(crate) async fn start_mining(&self) {
        self.l1_call("evm_setIntervalMining", 1).await;
    }

    /// The batcher's transaction that is not at its end, once `is_it` says so.
    pub(crate) async fn wait_for_record(
        &self,
        what: &str,
        is_it: impl Fn(&Record) -> bool,
    ) -> Record {
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
    pub(crate) async fn stop_with_one_in_the_pool(&self) -> Record {
        self.stop_mining().await;
        let batcher = account(11).address();
        let nonce = self.l1.get_transaction_count(batcher).await.unwrap();
        self.wait_for_record("a transaction in the pool", |record| {
            record.status == Status::Broadcast && record.nonce == nonce
        })
        .await
    }

    /// What `/ready` says of the batcher.
    pub(crate) async fn batcher(&self) -> (bool, String) {
        let text = reqwest::get(format!("{}/ready", self.rollup.url())).await.unwrap();
        let answer: serde_json::Value = text.json().await.unwrap();
        let checks = answer["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == "poster").unwrap();
        (check["ok"].as_bool().unwrap(), check["detail"].as_str().unwrap().to_owned())
    }

    /// Waits until `/ready` gives this as the reason why nothing is posted.
    pub(crate) async fn wait_for_hold(&self, why: &str) {
        wait_for(why, async || {
            let (ok, detail) = self.batcher().await;
            (!ok && detail.contains(why)).then_some(())
        })
        .await;
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.rollup.directory.path().join("node.log")).unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.node.take().unwrap().kill();
    }

    pub(crate) async fn restart(&mut self) {
        self.node = Some(self.rollup.start().await);
    }

    /// What holds after every case.
    pub(crate) async fn close(mut self) {
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
