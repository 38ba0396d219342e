//! A node that prunes still proves withdrawals, and a snapshot of it goes on as a node of its own.

use crate::support::{Anvil, Rollup, ether, sequencer, wait_for};
use alloy::{
    eips::BlockNumberOrTag,
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, U256, keccak256},
    providers::Provider,
    rlp::encode,
    rpc::types::TransactionRequest,
    sol_types::{SolCall, SolEvent},
    trie::{Nibbles, TrieAccount, proof::verify_proof},
};
use contracts::{L2_TO_L1_MESSAGE_PASSER, L2ToL1MessagePasser, Outputs};
use std::{fs, path::Path};

/// Withdraws on L2; the block, and the message passer's slot that says so.
async fn withdraw(rollup: &Rollup) -> (u64, B256) {
    let call = L2ToL1MessagePasser::initiateWithdrawalCall {
        target: Address::repeat_byte(0x99),
        gasLimit: U256::from(100_000),
        data: Bytes::new(),
    };
    let request = TransactionRequest::default()
        .with_to(L2_TO_L1_MESSAGE_PASSER)
        .with_value(ether(1))
        .with_input(call.abi_encode());
    let sent = rollup.client(0).send_transaction(request).await.unwrap();
    let receipt = sent.get_receipt().await.unwrap();
    assert!(receipt.status());
    let log = &receipt.inner.logs()[0].inner;
    let message = L2ToL1MessagePasser::MessagePassed::decode_log(log).unwrap();
    let slot = keccak256([message.withdrawalHash.0, [0; 32]].concat());
    (receipt.block_number.unwrap(), slot)
}

/// The withdrawal's proof at `block` holds against that block's header.
async fn prove(rollup: &Rollup, block: u64, slot: B256) {
    let l2 = rollup.client(0);
    let header = l2.get_block_by_number(block.into()).await.unwrap().unwrap().header;
    let proof = l2.get_proof(L2_TO_L1_MESSAGE_PASSER, vec![slot]).number(block).await.unwrap();
    let leaf = TrieAccount {
        nonce: proof.nonce,
        balance: proof.balance,
        storage_root: proof.storage_hash,
        code_hash: proof.code_hash,
    };
    let path = Nibbles::unpack(keccak256(L2_TO_L1_MESSAGE_PASSER));
    verify_proof(header.state_root, path, Some(encode(leaf)), &proof.account_proof).unwrap();
    let found = &proof.storage_proof[0];
    assert_eq!(found.value, U256::from(1));
    let path = Nibbles::unpack(keccak256(slot));
    verify_proof(proof.storage_hash, path, Some(encode(found.value)), &found.proof).unwrap();
}

fn db(rollup: &Rollup, data_dir: &Path, arguments: &[&str]) -> String {
    let output = sequencer()
        .arg("db")
        .args(arguments)
        .env("WEFT_DATA_DIR", data_dir)
        .env("WEFT_GENESIS", rollup.directory.path().join("genesis.json"))
        .output()
        .unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pruned_node_proves_withdrawals_and_its_snapshot_goes_on() {
    let Some(anvil) = Anvil::start_with(&["--slots-in-an-epoch", "1"]) else { return };
    let mut rollup = Rollup::deploy(&anvil);
    rollup.config.push_str("history-blocks = 4\nproof-blocks = 2\n");
    let mut node = rollup.start().await;
    rollup.deposit(0, ether(10)).await;
    let (block, slot) = withdraw(&rollup).await;
    let outputs = Outputs::new(rollup.genesis.l1.outputs, anvil.client(0));
    let output = wait_for("an output after the withdrawal", async || {
        let index = outputs.getL2OutputIndexAfter(U256::from(block)).call().await.ok()?;
        let output = outputs.getL2Output(index).call().await.ok()?;
        Some(u64::try_from(output.l2BlockNumber).unwrap())
    })
    .await;
    let l2 = rollup.client(0);
    let said = wait_for("the output's state to be pruned", async || {
        let read = l2.get_balance(Address::ZERO).number(output).await;
        read.err().map(|error| error.to_string())
    })
    .await;
    assert!(said.contains("the oldest kept state is of block"), "{said}");
    prove(&rollup, output, slot).await;

    let path = |name: &str| rollup.directory.path().join(name);
    let (data, beside, snapshot) = (path("data"), path("beside.snapshot"), path("weft.snapshot"));
    assert!(db(&rollup, &data, &["check"]).contains("Everything agrees."));
    db(&rollup, &data, &["export", beside.to_str().unwrap()]);
    // Who takes over needs every block that was sealed.
    node.terminate();
    wait_for("the node to end", async || (!node.is_running()).then_some(())).await;
    let exported = db(&rollup, &data, &["export", snapshot.to_str().unwrap()]);
    let moved = path("moved");
    fs::rename(&data, &moved).unwrap();
    let imported = db(&rollup, &data, &["import", snapshot.to_str().unwrap()]);
    let line = |text: &str| text.lines().find(|l| l.starts_with("head ")).unwrap().to_owned();
    assert_eq!(line(&imported), line(&exported));
    for entry in fs::read_dir(&moved).unwrap() {
        let name = entry.unwrap().file_name();
        if name != "chain" {
            fs::rename(moved.join(&name), data.join(&name)).unwrap();
        }
    }
    let _node = rollup.start().await;
    prove(&rollup, output, slot).await;
    let head = rollup.height(BlockNumberOrTag::Latest).await;
    rollup.wait_until_safe(head + 4).await;
    assert!(rollup.verify_agrees().await >= head);
}
