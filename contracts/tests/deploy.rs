//! The bindings drive the real contracts: each is deployed on an L1 of its own and used once.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a failed step fails the test")]

#[path = "support/skip.rs"]
mod skip;

use alloy::{
    network::EthereumWallet,
    primitives::{Address, B256, Bytes, U256, address, keccak256},
    providers::{Provider, ProviderBuilder},
    signers::local::PrivateKeySigner,
};
use contracts::{Inbox, KIND_CALLDATA, Multicall3, Outputs, Portal, inbox_accumulator};
use skip::skip;
use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

/// The first account that anvil funds.
const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// An anvil of this test alone. Ends with it.
struct L1 {
    process: Child,
    url: String,
    /// Held so that what anvil goes on to print has a reader.
    _stdout: BufReader<ChildStdout>,
}

impl L1 {
    /// Starts anvil on a free port; `None` where it is not installed.
    fn start() -> Option<Self> {
        let arch = if cfg!(target_arch = "x86_64") { "amd64" } else { "arm64" };
        let os = if cfg!(target_os = "macos") { "darwin" } else { "linux" };
        let binary = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join(format!("node_modules/@foundry-rs/anvil-{os}-{arch}/bin/anvil"));
        if !binary.exists() {
            skip("contracts/node_modules absent");
            return None;
        }
        let mut process =
            Command::new(binary).args(["--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let url = stdout
            .by_ref()
            .lines()
            .find_map(|line| {
                Some(format!("http://{}", line.unwrap().strip_prefix("Listening on ")?))
            })
            .unwrap();
        Some(Self { process, url, _stdout: stdout })
    }
}

impl Drop for L1 {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn provider(l1: &L1) -> (Address, impl Provider + Clone + use<>) {
    let signer: PrivateKeySigner = KEY.parse().unwrap();
    let me = signer.address();
    let wallet = EthereumWallet::from(signer);
    (me, ProviderBuilder::new().wallet(wallet).connect_http(l1.url.parse().unwrap()))
}

#[tokio::test]
async fn every_l1_contract_deploys_and_answers() {
    let Some(l1) = L1::start() else { return };
    let (me, provider) = provider(&l1);

    let config_hash = B256::repeat_byte(9);
    let inbox = Inbox::deploy(&provider, me, me, config_hash, 4242).await.unwrap();
    assert_eq!(inbox.configHash().call().await.unwrap(), config_hash);
    let data = Bytes::from_static(b"a batch");
    let receipt = inbox
        .appendCalldata(B256::ZERO, data.clone())
        .send()
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    let event = receipt.decoded_log::<Inbox::BatchAppended>().unwrap();
    let acc = inbox_accumulator(B256::ZERO, 0, KIND_CALLDATA, keccak256(&data));
    assert_eq!((event.id, event.acc, event.blobHashes.len()), (0, acc, 0));
    assert_eq!(inbox.acc().call().await.unwrap(), acc);

    let one = U256::ONE;
    let genesis = B256::repeat_byte(1);
    let outputs = Outputs::deploy(&provider, me, me, *inbox.address(), genesis, 1, one, one, one)
        .await
        .unwrap();
    let root = B256::repeat_byte(2);
    let receipt = outputs
        .proposeOutput(root, U256::from(7), 0, acc)
        .send()
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    assert!(receipt.status());
    let output = outputs.getL2Output(one).call().await.unwrap();
    assert_eq!((output.outputRoot, output.l2BlockNumber), (root, 7));

    let portal = Portal::deploy(&provider, *outputs.address()).await.unwrap();
    let to = address!("00000000000000000000000000000000000000aa");
    let receipt = portal
        .depositTransaction(to, one, 21_000, false, Bytes::new())
        .value(one)
        .send()
        .await
        .unwrap()
        .get_receipt()
        .await
        .unwrap();
    let event = receipt.decoded_log::<Portal::TransactionDeposited>().unwrap();
    assert_eq!((event.from, event.to, event.opaqueData.len()), (me, to, 73));
}

#[tokio::test]
async fn multicall_deploys_and_batches_calls() {
    let Some(l1) = L1::start() else { return };
    let (_, provider) = provider(&l1);
    let multicall = Multicall3::deploy(&provider).await.unwrap();
    assert_eq!(
        provider.get_code_at(*multicall.address()).await.unwrap(),
        Multicall3::DEPLOYED_BYTECODE
    );
    let call = Multicall3::Call3 {
        target: *multicall.address(),
        allowFailure: false,
        callData: multicall.getChainId().calldata().clone(),
    };
    let results = multicall.aggregate3(vec![call]).call().await.unwrap();
    assert_eq!(U256::from_be_slice(&results[0].returnData), U256::from(31_337));
}

#[tokio::test]
async fn a_revert_comes_back_as_a_typed_error() {
    let Some(l1) = L1::start() else { return };
    let (me, provider) = provider(&l1);
    let inbox = Inbox::deploy(&provider, me, me, B256::ZERO, 1).await.unwrap();
    let stale = B256::repeat_byte(3);
    let error = inbox.appendCalldata(stale, Bytes::from_static(b"x")).call().await.err().unwrap();
    let decoded = error.as_decoded_error::<Inbox::StaleParent>().unwrap();
    assert_eq!((decoded.given, decoded.current), (stale, B256::ZERO));
}
