//! A follower beside its sequencer, with nothing between them but L1: it answers the same, follows L1's
//! reorganisations, says when an output on L1 is wrong, and survives kill -9 anywhere.

mod sample;

use crate::{
    full_blocks::History,
    support::{
        Anvil, Node, Rollup, account, client, ether, free_port, metric, sequencer, transfer,
        wait_for,
    },
};
use alloy::{
    eips::BlockNumberOrTag,
    network::{
        EthereumWallet, NetworkTransactionBuilder, TransactionBuilder, eip2718::Encodable2718,
    },
    primitives::{Address, B256, Bytes, U256, keccak256},
    providers::{DynProvider, Provider, ext::AnvilApi},
    rpc::types::TransactionRequest,
};
use contracts::{L2_TO_L1_MESSAGE_PASSER, L2ToL1MessagePasser, Outputs};
use serde_json::{Value, json};
use std::{fs, path::PathBuf, time::Duration};

/// A follower's place, beside the sequencer's.
struct Follower {
    data_dir: PathBuf,
    config: PathBuf,
    port: u16,
    log: PathBuf,
}

impl Follower {
    /// With these lines of TOML beside those that every follower here has.
    fn new(rollup: &Rollup, lines: &str) -> Self {
        let path = |name: &str| rollup.directory.path().join(name);
        let (port, data_dir) = (free_port(), path("follower"));
        let config = format!(
            "genesis = {:?}\ndata-dir = {data_dir:?}\nrpc-listen = \"127.0.0.1:{port}\"\n\
             l1-rpc-url = {:?}\nl1-poll-ms = 100\nrpc-client-cost-per-sec = 0\n{lines}",
            path("genesis.json"),
            rollup.l1_url,
        );
        fs::write(path("follower.toml"), config).unwrap();
        Self { data_dir, config: path("follower.toml"), port, log: path("follower.log") }
    }

    fn spawn(&self) -> Node {
        let log = fs::OpenOptions::new().append(true).create(true).open(&self.log).unwrap();
        let mut command = sequencer();
        Node::of(command.arg("follow").arg("--config").arg(&self.config).stderr(log))
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn client(&self, index: u32) -> DynProvider {
        client(&self.url(), &account(index))
    }

    /// Hash of a block, once the follower has one of that number.
    async fn hash(&self, number: u64) -> Option<B256> {
        let block = self.client(0).get_block_by_number(number.into()).await.ok()?;
        block.map(|block| block.header.hash)
    }

    /// Status of `/ready`, and the checks by name.
    async fn ready(&self) -> Option<(bool, Value)> {
        let response = reqwest::get(format!("{}/ready", self.url())).await.ok()?;
        let is_ready = response.status().is_success();
        Some((is_ready, response.json().await.ok()?))
    }

    async fn wait_for_detail(&self, is_ready: bool, words: &str) {
        wait_for(words, async || {
            let (found, checks) = self.ready().await?;
            (found == is_ready && checks.to_string().contains(words)).then_some(())
        })
        .await;
    }

    fn check(&self) {
        let output = sequencer().args(["db", "check", "--data-dir"]).arg(&self.data_dir).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

/// Waits until the follower has the sequencer's block of that number.
async fn wait_until_same(rollup: &Rollup, follower: &Follower, number: u64) {
    let l2 = rollup.client(0);
    wait_for("the follower to have the sequencer's block", async || {
        let theirs = l2.get_block_by_number(number.into()).await.ok()??.header.hash;
        (follower.hash(number).await? == theirs).then_some(())
    })
    .await;
}

async fn call(client: &DynProvider, method: &str, params: Value) -> Result<Value, String> {
    let answer: Result<Value, _> = client.raw_request(method.to_owned().into(), params).await;
    answer.map_err(|error| error.to_string())
}

/// Transfers, a token with logs, storage, a failing call, a deposit and a withdrawal, over many blocks.
async fn mixed_traffic(rollup: &Rollup) -> (Address, u64) {
    rollup.deposit(0, ether(100)).await;
    rollup.deposit(1, ether(50)).await;
    let l2 = rollup.client(0);
    let create = TransactionRequest::default()
        .with_deploy_code(crate::traffic::token_init().unwrap())
        .with_gas_limit(3_000_000);
    let receipt = l2.send_transaction(create).await.unwrap().get_receipt().await.unwrap();
    let token = receipt.contract_address.unwrap();
    let mut last = 0;
    for round in 0..12u8 {
        let to = account(u32::from(round % 5) + 2).address();
        transfer(&l2, to, ether(1)).await;
        transfer(&rollup.client(1), Address::repeat_byte(round), U256::from(round)).await;
        let request = |data: Bytes, gas| {
            let request = TransactionRequest::default().with_to(token).with_input(data);
            request.with_gas_limit(gas)
        };
        let paid = request(crate::traffic::token_transfer(to, 1_000 + u64::from(round)), 200_000);
        // Nobody may send more than there is: this reverts, and is included.
        let failing = request(Bytes::from_static(&[0xde, 0xad, 0xbe, 0xef]), 100_000);
        let mut legacy = request(crate::traffic::token_transfer(to, 7), 200_000);
        legacy.set_gas_price(2_000_000_000);
        for request in [paid, failing, legacy] {
            let sent = l2.send_transaction(request).await.unwrap();
            last = sent.get_receipt().await.unwrap().block_number.unwrap();
        }
    }
    let passer = L2ToL1MessagePasser::new(L2_TO_L1_MESSAGE_PASSER, &l2);
    let withdrawal = passer
        .initiateWithdrawal(account(0).address(), U256::from(100_000), Bytes::from_static(b"home"))
        .value(ether(1));
    let receipt = withdrawal.send().await.unwrap().get_receipt().await.unwrap();
    (token, last.max(receipt.block_number.unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_answers_as_the_sequencer() {
    let Some(anvil) = Anvil::start_with(&["--slots-in-an-epoch", "1"]) else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.config.push_str("rpc-client-cost-per-sec = 0\n");
    let mut node = rollup.start().await;
    let follower = Follower::new(&rollup, "");
    let _following = follower.spawn();
    let (token, last) = mixed_traffic(&rollup).await;
    node.terminate();
    wait_for("the node to end", async || (!node.is_running()).then_some(())).await;
    // From here on the chain stands still, so that `latest` is the same block on both.
    rollup.config = rollup.config.replace("l1-confirmations = 2", "l1-confirmations = 100000");
    rollup.config.push_str("empty-blocks = \"follow-l1\"\n");
    let _node = rollup.start().await;
    let head = rollup.height(BlockNumberOrTag::Latest).await;
    assert!(head >= last);
    wait_until_same(&rollup, &follower, head).await;
    for tag in [BlockNumberOrTag::Safe, BlockNumberOrTag::Finalized] {
        wait_for("the heads to be final", async || {
            let theirs = follower.client(0).get_block_by_number(tag).await.ok()??;
            let is_all = rollup.height(tag).await == head && theirs.header.number == head;
            is_all.then_some(())
        })
        .await;
    }
    follower.wait_for_detail(true, "all equal").await;
    sample::compare(&rollup.client(0), &follower.client(0), token, head).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_follows_reorgs_and_hands_transactions_on() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.config = rollup.config.replace("l1-confirmations = 2", "l1-confirmations = 0");
    let _node = rollup.start().await;
    let follower = Follower::new(&rollup, &format!("sequencer-url = {:?}\n", rollup.url()));
    let following = follower.spawn();
    rollup.deposit(0, ether(10)).await;
    let deposited = anvil.client(0).get_block_number().await.unwrap();
    wait_for("L1 to move on", async || {
        (anvil.client(0).get_block_number().await.unwrap() > deposited + 6).then_some(())
    })
    .await;
    // Through the follower into the sequencer's pool, and back over L1.
    let through = follower.client(0);
    wait_for("the follower to answer", async || through.get_chain_id().await.ok()).await;
    wait_for("the deposit on the follower", async || {
        let balance = through.get_balance(account(0).address()).await.ok()?;
        (balance > U256::ZERO).then_some(())
    })
    .await;
    let receipt = transfer(&through, Address::repeat_byte(2), ether(1)).await;
    let (number, old_hash) = (receipt.block_number.unwrap(), receipt.block_hash.unwrap());
    a_batch_of_sends_keeps_its_order(&rollup, &follower).await;
    let spent = call(&through, "eth_sendRawTransaction", json!(["0x1234"])).await.unwrap_err();
    assert!(spent.contains("-32000") || spent.contains("-32602"), "the sequencer's words: {spent}");

    // Back to before the origin of the transfer's block: L2 is another one from there on.
    let latest = anvil.client(0).get_block_number().await.unwrap();
    anvil.reorg(latest - (deposited + 3)).await;
    wait_for("the follower to give the block up", async || {
        (follower.hash(number).await != Some(old_hash)).then_some(())
    })
    .await;
    let moved = wait_for("the transfer again", async || {
        let receipt = through.get_transaction_receipt(receipt.transaction_hash).await.ok()??;
        (receipt.block_hash != Some(old_hash)).then_some(receipt)
    })
    .await;
    wait_until_same(&rollup, &follower, moved.block_number.unwrap()).await;
    drop(following);

    // Without a sequencer it says why it takes none.
    let alone = Follower::new(&rollup, "");
    let _following = alone.spawn();
    wait_for("the follower to answer", async || alone.client(0).get_chain_id().await.ok()).await;
    let refused = call(&alone.client(0), "eth_sendRawTransaction", json!(["0x00"])).await;
    let refused = refused.unwrap_err();
    assert!(refused.contains("-32004") && refused.contains("--sequencer-url"), "{refused}");
    assert_eq!(alone.hash(0).await, follower_genesis(&rollup));

    a_false_output_is_said(&anvil, &rollup, &alone).await;
    a_sequencers_directory_is_refused(&rollup);
}

/// The second of one sender would be refused for its nonce if it came first, or alone.
async fn a_batch_of_sends_keeps_its_order(rollup: &Rollup, follower: &Follower) {
    let (sender, l2) = (account(0), rollup.client(0));
    let nonce = l2.get_transaction_count(sender.address()).pending().await.unwrap();
    let chain_id = l2.get_chain_id().await.unwrap();
    let wallet = EthereumWallet::from(sender);
    let entry = |method: &str, params: Value| json!({"jsonrpc": "2.0", "id": method, "method": method, "params": params});
    let mut entries = vec![entry("eth_chainId", json!([]))];
    for nonce in nonce..nonce + 5 {
        let request = TransactionRequest::default()
            .with_chain_id(chain_id)
            .with_nonce(nonce)
            .with_to(Address::repeat_byte(3))
            .with_value(U256::ONE)
            .with_gas_limit(21_000)
            .with_max_fee_per_gas(10_000_000_000)
            .with_max_priority_fee_per_gas(0);
        let raw = request.build(&wallet).await.unwrap().encoded_2718();
        entries.push(entry("eth_sendRawTransactionSync", json!([Bytes::from(raw)])));
    }
    entries.push(entry("eth_sendRawTransaction", json!(["0x00"])));
    let answer = reqwest::Client::new()
        .post(follower.url())
        .header("content-type", "application/json")
        .body(Value::from(entries).to_string())
        .send()
        .await
        .unwrap();
    let answers: Vec<Value> = answer.json().await.unwrap();
    assert_eq!(answers.len(), 7);
    assert_eq!(answers[0]["id"], "eth_chainId");
    for answer in &answers[1..6] {
        assert_eq!(answer["result"]["status"], "0x1", "{answer}");
    }
    assert!(answers[6]["error"]["code"].is_i64(), "{}", answers[6]);
}

fn follower_genesis(rollup: &Rollup) -> Option<B256> {
    rollup.genesis.build().ok().map(|(_, _, hash)| hash)
}

/// Alters an output on L1 that the follower has to find wrong, without ending.
async fn a_false_output_is_said(anvil: &Anvil, rollup: &Rollup, follower: &Follower) {
    let outputs = Outputs::new(rollup.genesis.l1.outputs, anvil.client(0));
    wait_for("two outputs", async || {
        (outputs.nextOutputIndex().call().await.unwrap() >= U256::from(3)).then_some(())
    })
    .await;
    follower.wait_for_detail(true, "all equal").await;
    let shown = async |name: &str| metric(&follower.url(), name).await.unwrap();
    wait_for("three outputs to be compared", async || {
        (shown("weft_outputs_compared").await >= 3.0).then_some(())
    })
    .await;
    assert!(shown("weft_l1_derived_block").await <= shown("weft_l1_block").await);
    assert!(shown("weft_safe_block").await > 0.0);
    // Outputs.sol: the array is at slot 3, three slots an output, the root first.
    let base = U256::from_be_bytes(keccak256(U256::from(3).to_be_bytes::<32>()).0);
    let altered = B256::repeat_byte(0xee);
    let slot = base + U256::from(3 * 2);
    anvil.client(0).anvil_set_storage_at(rollup.genesis.l1.outputs, slot, altered).await.unwrap();
    follower.wait_for_detail(false, &format!("L1 claims {altered}")).await;
    assert!(shown("weft_outputs_wrong").await >= 1.0, "said in /ready at the same time");
    assert!(fs::read_to_string(&follower.log).unwrap().contains("output 2 of block"));
    assert!(follower.hash(1).await.is_some(), "it goes on serving");
}

fn a_sequencers_directory_is_refused(rollup: &Rollup) {
    let data = rollup.directory.path().join("data");
    let copy = rollup.directory.path().join("copy");
    fs::create_dir_all(&copy).unwrap();
    fs::copy(data.join("ledger.sqlite"), copy.join("ledger.sqlite")).unwrap();
    let wal = data.join("ledger.sqlite-wal");
    if wal.exists() {
        fs::copy(wal, copy.join("ledger.sqlite-wal")).unwrap();
    }
    let output = sequencer()
        .args(["follow", "--rpc-listen", "127.0.0.1:0", "--l1-rpc-url", &rollup.l1_url])
        .arg("--genesis")
        .arg(rollup.directory.path().join("genesis.json"))
        .arg("--data-dir")
        .arg(&copy)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("is a sequencer's"), "{said}");
}

/// Blocks and transactions of the history that a follower is killed in: seconds of work for it.
const KILLED_IN: (u64, u64) = (60, 200);
/// Kills.
const KILLS: u64 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_survives_kill_minus_nine_while_it_syncs() {
    let Some(anvil) = Anvil::start() else { return };
    let mut rollup = Rollup::deploy(&anvil);
    let l1 = (&anvil.client(0), anvil.url.as_str());
    let data_dir = rollup.directory.path().join("data");
    let built = History::build(l1, &rollup.genesis, &data_dir, KILLED_IN).await.unwrap();
    // One block an append, so that there is much to be killed between.
    rollup.config = rollup.config.replace("block-time-ms = 500", "block-time-ms = 60000");
    rollup.config.push_str("batch-data = \"calldata\"\n");
    let _node = rollup.start().await;
    rollup.wait_until_safe(built.head).await;

    let follower = Follower::new(&rollup, "");
    let mut heads = Vec::new();
    for kill in 0..KILLS {
        let before = heads.last().copied().unwrap_or(0);
        let mut process = follower.spawn();
        // Once it has added some blocks since the last kill, and then at any moment.
        let reached = wait_for("some blocks", async || {
            assert!(process.is_running(), "the follower stopped");
            let head = follower.client(0).get_block_number().await.ok()?;
            (head > before || head >= built.head).then_some(head)
        })
        .await;
        tokio::time::sleep(Duration::from_millis(kill * 37 % 150)).await;
        process.kill();
        heads.push(reached);
        if kill == KILLS / 2 {
            // What the follower has read last is gone when it comes back, and posted again.
            anvil.reorg(3).await;
        }
        follower.check();
    }
    let _process = follower.spawn();
    wait_until_same(&rollup, &follower, built.head).await;
    assert_eq!(follower.hash(built.head).await, Some(built.hash));
    follower.wait_for_detail(true, "all up to L1 block").await;
    let l2 = rollup.client(0);
    for number in 0..=built.head {
        let theirs = l2.get_block_by_number(number.into()).await.unwrap().unwrap();
        assert_eq!(follower.hash(number).await, Some(theirs.header.hash), "block {number}");
    }
    let log = fs::read_to_string(&follower.log).unwrap();
    let from = log.lines().filter(|line| line.contains("deriving from")).count() as u64;
    assert_eq!(from, KILLS + 1, "each start says where it goes on");
    eprintln!("killed at heads {heads:?} of {}", built.head);
}
