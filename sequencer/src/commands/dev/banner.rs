//! What `dev` prints once everything works: accounts, endpoints, contracts, commands to try.

use super::{DEPOSIT_ETHER, DevError, FUNDED_ACCOUNTS, TEST_MNEMONIC, test_account};
use alloy::signers::local::LocalSignerError;
use executor::Genesis;
use std::{
    io::{self, Write as _},
    path::Path,
};

/// What the banner tells.
pub(super) struct Facts<'a> {
    pub(super) genesis: &'a Genesis,
    pub(super) genesis_path: &'a Path,
    pub(super) l1_url: &'a str,
    pub(super) l2_url: &'a str,
    pub(super) kept: Option<&'a Path>,
}

/// Prints the banner to standard output.
pub(super) fn print(facts: &Facts<'_>) -> Result<(), DevError> {
    let text = render(facts)?;
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

fn render(facts: &Facts<'_>) -> Result<String, LocalSignerError> {
    Ok(format!(
        "\nWeft {}\n\n{}\n{}\n{}\nReady. Stop with ctrl-c.\n",
        env!("CARGO_PKG_VERSION"),
        accounts()?,
        endpoints(facts),
        commands(facts)?
    ))
}

fn accounts() -> Result<String, LocalSignerError> {
    let mut text = format!("Accounts ({DEPOSIT_ETHER} ETH each on L2, by deposits)\n");
    for index in 0..FUNDED_ACCOUNTS {
        let key = test_account(index)?;
        text += &format!("({index}) {}  {}\n", key.0.address(), key.0.to_bytes());
    }
    Ok(text + &format!("\nMnemonic  {TEST_MNEMONIC}\n"))
}

fn endpoints(facts: &Facts<'_>) -> String {
    let Facts { genesis, l1_url, l2_url, .. } = facts;
    let ws_url = l2_url.replacen("http", "ws", 1);
    let kept = match facts.kept {
        Some(path) => format!("{} (kept)", path.display()),
        None => "temporary; keep it with --data-dir DIR".to_owned(),
    };
    [
        format!("L2 RPC    {l2_url} and {ws_url}   chain id {}\n", genesis.rules.chain_id),
        format!("L1 RPC    {l1_url}   chain id {}\n", genesis.l1.chain_id),
        format!("Inbox     {}\n", genesis.l1.inbox),
        format!("Outputs   {}\n", genesis.l1.outputs),
        format!("Portal    {}\n", genesis.l1.portal),
        format!("Genesis   {}\n", facts.genesis_path.display()),
        format!("Data      {kept}\n"),
    ]
    .concat()
}

fn commands(facts: &Facts<'_>) -> Result<String, LocalSignerError> {
    let Facts { genesis, l1_url, l2_url, .. } = facts;
    let from = test_account(0)?;
    let to = test_account(1)?.0.address();
    let (sender, secret) = (from.0.address(), from.0.to_bytes());
    let binary = std::env::current_exe().unwrap_or_else(|_| "sequencer".into());
    let (binary, genesis_path) = (binary.display(), facts.genesis_path.display());
    let (inbox, portal) = (genesis.l1.inbox, genesis.l1.portal);
    let deposit = "depositTransaction(address,uint256,uint64,bool,bytes)";
    let tries = [
        (
            "a transfer on L2",
            format!("cast send --rpc-url {l2_url} --private-key {secret} {to} --value 1ether"),
        ),
        ("its balance", format!("cast balance --rpc-url {l2_url} {to} --ether")),
        ("batches on L1", format!("cast call --rpc-url {l1_url} {inbox} \"nextBatch()(uint64)\"")),
        (
            "a deposit from L1",
            format!(
                "cast send --rpc-url {l1_url} --private-key {secret} {portal} \"{deposit}\" \
                 {sender} 1ether 100000 false 0x --value 1ether"
            ),
        ),
        (
            "the whole chain again, from L1 alone",
            format!(
                "{binary} verify --l1-rpc-url {l1_url} --inbox {inbox} --genesis {genesis_path} \
                 --against {l2_url}"
            ),
        ),
    ];
    let heading = "Try next (cast is in contracts/node_modules/.bin)\n".to_owned();
    Ok(tries
        .iter()
        .fold(heading, |text, (what, command)| text + &format!("\n  # {what}\n  {command}\n")))
}
