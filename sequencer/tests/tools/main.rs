//! Everyday tools, unmodified, against the node: viem, ethers, cast, forge, anvil and Hardhat.
//!
//! Each suite has an L1, a rollup and a node of its own; its subjects work on that at the same time,
//! each with an account of its own, and one that fails is named. What the tools ask the node for is
//! their business; the tests state what a user sees. Skips visibly where `npm ci` in contracts has
//! not run.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, also in what its tests share"
)]

mod forge;
mod foundry;
mod hardhat;
#[path = "../support/recomputed.rs"]
#[allow(dead_code, reason = "the tests of JSON-RPC use the rest")]
mod recomputed;
mod scripts;
#[path = "../support/skip.rs"]
mod skip;
#[allow(dead_code, reason = "the stories in tests/e2e use the rest")]
#[path = "../e2e/support.rs"]
mod support;

use alloy::providers::Provider;
use contracts::{MULTICALL3, Multicall3};
use foundry::Project;
use futures::future::join_all;
use scripts::{Subject, run_all, run_script};
use serde_json::json;
use skip::skip;
use support::{Anvil, Node, Rollup, account, ether, native, node_modules};

/// Ether that each account has on L2.
const FUNDS: u64 = 100;

/// A rollup with its node, and a Foundry project that is compiled.
struct Stage {
    project: Project,
    rollup: Rollup,
    anvil: Anvil,
    _node: Node,
}

impl Stage {
    /// Starts everything, with so many accounts that have ether; `None`, visibly, where a tool is
    /// absent.
    async fn start(accounts: u32) -> Option<Self> {
        let (cast, forge) = native("cast").zip(native("forge"))?;
        if !["viem", "ethers"].iter().all(|module| node_modules().join(module).exists()) {
            skip("contracts/node_modules absent");
            return None;
        }
        let anvil = Anvil::start()?;
        // Every public chain has Multicall3, and viem looks for it on L1, too.
        let code = (MULTICALL3, Multicall3::DEPLOYED_BYTECODE.clone());
        let _: () = anvil.client(0).raw_request("anvil_setCode".into(), code).await.unwrap();
        let rollup = Rollup::deploy(&anvil);
        let node = rollup.start().await;
        join_all((0..accounts).map(|index| rollup.deposit(index, ether(FUNDS)))).await;
        let project = Project::new(&cast, &forge, &rollup);
        project.build();
        Some(Self { project, rollup, anvil, _node: node })
    }

    /// What a script reads that signs as the user account `index`.
    fn input(&self, index: u32) -> serde_json::Value {
        let l1 = &self.rollup.genesis.l1;
        json!({
            "l1": self.anvil.url, "l2": self.rollup.url(),
            "portal": l1.portal, "outputs": l1.outputs, "key": key(index),
            "counter": self.project.artifact("Counter"), "wallet": self.project.artifact("Wallet"),
        })
    }

    /// Runs the scripts of a folder at the same time.
    fn run_scripts(&self, folder: &str, names: &[&'static str]) {
        let subjects = (0..).zip(names).map(|(index, name)| -> Subject<'_> {
            let path = format!("{folder}/{name}.mjs");
            (name, Box::new(move || run_script(&path, &self.input(index))))
        });
        run_all(subjects.collect());
    }
}

/// The secret key of the user account `index`, as tools read it.
fn key(index: u32) -> String {
    account(index).to_bytes().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn viem_works_unmodified() {
    let names =
        ["reads", "transfers", "contracts", "events", "errors", "sockets", "delegation", "op"];
    let Some(stage) = Stage::start(8).await else { return };
    stage.run_scripts("viem", &names);
    // What they made of the chain, recomputed from what the node says about it.
    let seen = recomputed::recompute(&recomputed::Rpc::new(stage.rollup.url())).await;
    for ty in [0, 1, 2, 4, 0x7e] {
        assert!(seen.types.contains_key(&ty), "type {ty}: {seen:?}");
    }
    assert!(seen.creations > 0 && seen.failures > 0, "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ethers_works_unmodified() {
    let names = ["reads", "transfers", "contracts", "events", "errors", "sockets"];
    let Some(stage) = Stage::start(6).await else { return };
    stage.run_scripts("ethers", &names);
}

#[tokio::test(flavor = "multi_thread")]
async fn cast_works_unmodified() {
    let Some(stage) = Stage::start(2).await else { return };
    let project = &stage.project;
    run_all(vec![
        ("reads", Box::new(|| project.check_cast_reads(account(0).address()))),
        ("sends", Box::new(|| project.check_cast(&key(1), account(1).address()))),
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn forge_and_a_fork_work_unmodified() {
    let Some(stage) = Stage::start(4).await else { return };
    let project = &stage.project;
    run_all(vec![
        ("create", Box::new(|| project.check_create(&key(0)))),
        ("script", Box::new(|| project.check_script(&key(1), &[]))),
        ("script --slow", Box::new(|| project.check_script(&key(2), &["--slow"]))),
        ("forks", Box::new(|| project.check_forks(&key(3)))),
    ]);
}

#[tokio::test(flavor = "multi_thread")]
async fn hardhat_works_unmodified() {
    let Some(hardhat) = hardhat::Hardhat::find() else { return };
    let Some(stage) = Stage::start(1).await else { return };
    hardhat.check(&stage.rollup.url(), &key(0));
}
