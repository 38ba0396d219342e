//! Everyday tools, unmodified, against the node: cast, forge, viem and ethers.
//!
//! All of them work on one rollup at the same time, each with an account of its own. What they ask
//! the node for is their business; the test states what a user sees. Skips visibly where `npm ci` in
//! contracts has not run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, also in what its tests share"
)]

mod foundry;
#[path = "../support/skip.rs"]
mod skip;
#[allow(dead_code, reason = "the stories in tests/e2e use the rest")]
#[path = "../e2e/support.rs"]
mod support;

use alloy::providers::Provider;
use contracts::{MULTICALL3, Multicall3};
use foundry::Project;
use futures::future::join_all;
use serde_json::json;
use skip::skip;
use std::{
    io::Write,
    path::Path,
    process::{Command, Stdio},
    thread,
};
use support::{Anvil, Rollup, account, ether, native, node_modules};

/// Ether that each tool has on L2.
const FUNDS: u64 = 100;

/// The secret key of the user account `index`, as tools read it.
fn key(index: u32) -> String {
    account(index).to_bytes().to_string()
}

/// Runs a script beside this file, which reads `input` and fails where an expectation does not hold.
fn run_script(name: &str, input: &serde_json::Value) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools").join(name);
    let mut child = Command::new("node")
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Puts Multicall3 on L1, where every public chain has it and viem looks for it.
async fn set_up_l1(anvil: &Anvil) {
    let code = (MULTICALL3, Multicall3::DEPLOYED_BYTECODE.clone());
    let _: () = anvil.client(0).raw_request("anvil_setCode".into(), code).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn everyday_tools_work_unmodified() {
    let Some((cast, forge)) = native("cast").zip(native("forge")) else { return };
    if !["viem", "ethers"].iter().all(|module| node_modules().join(module).exists()) {
        return skip("contracts/node_modules absent");
    }
    let Some(anvil) = Anvil::start() else { return };
    set_up_l1(&anvil).await;
    let rollup = Rollup::deploy(&anvil);
    let _node = rollup.start().await;
    join_all((0..4).map(|index| rollup.deposit(index, ether(FUNDS)))).await;

    let project = Project::new(&cast, &forge, &rollup);
    let artifact = project.build();
    let l2 = rollup.url();
    let (portal, outputs) = (rollup.genesis.l1.portal, rollup.genesis.l1.outputs);
    let viem = json!({
        "l1": anvil.url, "l2": l2, "portal": portal, "outputs": outputs,
        "key": key(2), "artifact": artifact,
    });
    let ethers = json!({ "l2": l2, "key": key(3), "artifact": artifact });
    let tools: [(&str, &(dyn Fn() + Sync)); 5] = [
        ("cast reads", &|| project.check_cast_reads(account(0).address())),
        ("cast", &|| project.check_cast(&key(0), account(0).address())),
        ("forge", &|| project.check_forge(&key(1))),
        ("viem", &|| run_script("viem.mjs", &viem)),
        ("ethers", &|| run_script("ethers.mjs", &ethers)),
    ];
    // Every tool ends before this does, and a failure in one is a failure of the test.
    thread::scope(|scope| {
        for (name, check) in tools {
            thread::Builder::new().name(name.into()).spawn_scoped(scope, check).unwrap();
        }
    });
}
