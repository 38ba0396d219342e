//! A node that cannot start says why, names what was expected and found, and leaves no trace.

use crate::support::{Anvil, Rollup, sequencer};
use std::fs;

/// Runs `sequencer run` and returns what it said on its way out.
fn refuse(rollup: &Rollup, config: &str) -> String {
    let path = rollup.directory.path().join("refused.toml");
    fs::write(&path, config).unwrap();
    let output = sequencer().arg("run").arg("--config").arg(path).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it started: {said}");
    said
}

/// The rollup's configuration with an altered genesis file.
fn with_genesis(rollup: &Rollup, alter: impl FnOnce(&mut executor::Genesis)) -> String {
    let mut genesis = rollup.genesis.clone();
    alter(&mut genesis);
    let path = rollup.directory.path().join("altered.json");
    fs::write(&path, serde_json::to_string(&genesis).unwrap()).unwrap();
    rollup.config.replace("genesis.json", "altered.json").replace("/data\"", "/other-data\"")
}

#[tokio::test(flavor = "multi_thread")]
async fn mismatches_are_refused_by_name() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);

    let said = refuse(&rollup, &with_genesis(&rollup, |genesis| genesis.l1.chain_id = 7));
    assert!(said.contains("31337") && said.contains("says 7"), "{said}");

    let said = refuse(&rollup, &with_genesis(&rollup, |genesis| genesis.rules.chain_id = 7));
    assert!(said.contains("commits to configuration"), "{said}");

    let nobody = alloy::primitives::Address::repeat_byte(9);
    let said = refuse(&rollup, &with_genesis(&rollup, |genesis| genesis.l1.portal = nobody));
    assert!(said.contains("no portal contract") && said.contains(&nobody.to_string()), "{said}");

    // A portal that exists, but is not the one that the inbox commits to.
    let inbox = rollup.genesis.l1.inbox;
    let said = refuse(&rollup, &with_genesis(&rollup, |genesis| genesis.l1.portal = inbox));
    assert!(said.contains("commits to configuration"), "{said}");

    let hash = alloy::primitives::B256::repeat_byte(9);
    let said = refuse(&rollup, &with_genesis(&rollup, |genesis| genesis.l1.origin_hash = hash));
    assert!(said.contains("L1 block") && said.contains(&hash.to_string()), "{said}");

    let said = refuse(&rollup, &rollup.config.replace("genesis.json", "missing.json"));
    assert!(said.contains("missing.json"), "{said}");

    let said = refuse(&rollup, &rollup.config.replace("l1-rpc-url", "l1-rpc"));
    assert!(said.contains("unknown field `l1-rpc`"), "{said}");

    let without: Vec<_> = rollup.config.lines().filter(|l| !l.starts_with("genesis")).collect();
    let said = refuse(&rollup, &without.join("\n"));
    assert!(said.contains("--genesis") && said.contains("WEFT_GENESIS"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_and_a_locked_directory_are_named() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);
    let _node = rollup.start().await;
    let said = refuse(&rollup, &rollup.config);
    assert!(said.contains(&format!("127.0.0.1:{}", rollup.rpc_port)), "{said}");
    let elsewhere = format!("127.0.0.1:{}", crate::support::free_port());
    let listen = format!("127.0.0.1:{}", rollup.rpc_port);
    let said = refuse(&rollup, &rollup.config.replace(&listen, &elsewhere));
    assert!(said.contains("in use by another process"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_chains_directory_is_refused() {
    let Some(anvil) = Anvil::start() else { return };
    let first = Rollup::deploy(&anvil);
    drop(first.start().await);
    let second = Rollup::deploy(&anvil);
    let data = |rollup: &Rollup| rollup.directory.path().join("data").display().to_string();
    let said = refuse(&second, &second.config.replace(&data(&second), &data(&first)));
    assert!(said.contains("the directory holds"), "{said}");
}

#[test]
fn l1_that_never_answered_is_named() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);
    let nowhere = format!("http://127.0.0.1:{}", crate::support::free_port());
    let said = refuse(&rollup, &rollup.config.replace(&anvil.url, &nowhere));
    assert!(said.contains("L1 does not answer") && said.contains(&nowhere), "{said}");
}

#[test]
fn one_endpoint_on_another_chain_is_named() {
    let Some((anvil, other)) = Anvil::start().zip(Anvil::start_with(&["--chain-id", "5"])) else {
        return;
    };
    let rollup = Rollup::deploy(&anvil);
    let several = format!("{:?}", format!("{},{}", anvil.url, other.url));
    let config = rollup.config.replace(&format!("{:?}", anvil.url), &several);
    let said = refuse(&rollup, &config);
    let expected = format!("{} has chain id 5, the genesis file says 31337", other.url);
    assert!(said.contains(&expected), "{said}");
}

#[test]
fn two_ways_to_sign_are_refused() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);
    let more = format!("{}batcher-signer-url = \"http://127.0.0.1:9000\"\n", rollup.config);
    let said = refuse(&rollup, &more);
    assert!(said.contains("give one of batcher-key-file, batcher-keystore"), "{said}");
}
