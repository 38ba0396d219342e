//! What `dev` prints once everything works: accounts, endpoints, contracts, commands to try.

use super::{DEPOSIT_ETHER, DevError, FUNDED_ACCOUNTS, TEST_MNEMONIC, test_account};
use executor::Genesis;
use std::{
    fmt::Write as _,
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

fn render(facts: &Facts<'_>) -> Result<String, DevError> {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = write_accounts(&mut text)?;
    let _ = write_endpoints(&mut text, facts);
    let _ = write_commands(&mut text, facts)?;
    Ok(text)
}

fn write_accounts(text: &mut String) -> Result<std::fmt::Result, DevError> {
    let mut result = writeln!(text, "\nWeft {}\n", env!("CARGO_PKG_VERSION"));
    result = result.and(writeln!(text, "Accounts ({DEPOSIT_ETHER} ETH each on L2, by deposits)"));
    for index in 0..FUNDED_ACCOUNTS {
        let key = test_account(index)?;
        let (address, secret) = (key.0.address(), key.0.to_bytes());
        result = result.and(writeln!(text, "({index}) {address}  {secret}"));
    }
    Ok(result.and(writeln!(text, "\nMnemonic  {TEST_MNEMONIC}\n")))
}

fn write_endpoints(text: &mut String, facts: &Facts<'_>) -> std::fmt::Result {
    let Facts { genesis, l1_url, l2_url, .. } = facts;
    let ws_url = l2_url.replacen("http", "ws", 1);
    writeln!(text, "L2 RPC    {l2_url} and {ws_url}   chain id {}", genesis.rules.chain_id)?;
    writeln!(text, "L1 RPC    {l1_url}   chain id {}", genesis.l1.chain_id)?;
    writeln!(text, "Inbox     {}", genesis.l1.inbox)?;
    writeln!(text, "Outputs   {}", genesis.l1.outputs)?;
    writeln!(text, "Portal    {}", genesis.l1.portal)?;
    writeln!(text, "Genesis   {}", facts.genesis_path.display())?;
    match facts.kept {
        Some(path) => writeln!(text, "Data      {} (kept)\n", path.display()),
        None => writeln!(text, "Data      temporary; keep it with --data-dir DIR\n"),
    }
}

fn write_commands(text: &mut String, facts: &Facts<'_>) -> Result<std::fmt::Result, DevError> {
    let Facts { genesis, l1_url, l2_url, .. } = facts;
    let from = test_account(0)?;
    let to = test_account(1)?.0.address();
    let (sender, secret) = (from.0.address(), from.0.to_bytes());
    let binary = std::env::current_exe().unwrap_or_else(|_| "sequencer".into());
    let (binary, genesis_path) = (binary.display(), facts.genesis_path.display());
    let (inbox, portal) = (genesis.l1.inbox, genesis.l1.portal);
    let deposit = "depositTransaction(address,uint256,uint64,bool,bytes)";
    let result = writeln!(
        text,
        "Try next (cast is in contracts/node_modules/.bin)\n\
         \n  # a transfer on L2\n  cast send --rpc-url {l2_url} --private-key {secret} {to} --value 1ether\n\
         \n  # its balance\n  cast balance --rpc-url {l2_url} {to} --ether\n\
         \n  # batches on L1\n  cast call --rpc-url {l1_url} {inbox} \"nextBatch()(uint64)\"\n\
         \n  # a deposit from L1\n  cast send --rpc-url {l1_url} --private-key {secret} {portal} \"{deposit}\" {sender} 1ether 100000 false 0x --value 1ether\n\
         \n  # the whole chain again, from L1 alone\n  {binary} verify --l1-rpc-url {l1_url} --inbox {inbox} --genesis {genesis_path} --against {l2_url}\n\
         \nReady. Stop with ctrl-c."
    );
    Ok(result)
}
