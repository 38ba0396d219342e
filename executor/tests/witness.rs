//! Stateless execution: a real Prague block with its witness and nothing else must give the header
//! that Ethereum has, and a damaged witness an error.

use crate::{modes::MODES, support::data};
use alloy::{
    consensus::{Block, BlockBody, TxEnvelope},
    primitives::Bytes,
    rpc::types::{Header as RpcHeader, Withdrawal, Withdrawals},
};
use executor::{
    EthereumRules, Header, Mode, WitnessState,
    ethereum::{EthereumBlock, import},
};
use revm::primitives::hardfork::SpecId;
use serde::Deserialize;

#[derive(Deserialize)]
struct File {
    blocks: Vec<FileBlock>,
    witness: FileWitness,
}

#[derive(Deserialize)]
struct FileBlock {
    header: Header,
    transaction: Vec<TxEnvelope>,
    withdrawals: Vec<Withdrawal>,
}

#[derive(Deserialize)]
struct FileWitness {
    state: Vec<Bytes>,
    codes: Vec<Bytes>,
    ancestors: Vec<RpcHeader>,
}

const RULES: EthereumRules = EthereumRules { chain_id: 1, spec: SpecId::PRAGUE };

fn file() -> Option<File> {
    let bytes = data("mainnet-blocks/22615247-witness.json.xz")?;
    Some(serde_json::from_slice(&bytes).unwrap())
}

fn block(file: &File) -> EthereumBlock {
    let given = &file.blocks[0];
    let signed = given.transaction.iter().map(|tx| {
        let mut raw = Vec::new();
        alloy::eips::Encodable2718::encode_2718(tx, &mut raw);
        alloy::eips::Decodable2718::decode_2718(&mut &raw[..]).unwrap()
    });
    let withdrawals = Some(Withdrawals::new(given.withdrawals.clone()));
    let body = BlockBody { transactions: signed.collect(), ommers: vec![], withdrawals };
    Block { header: given.header.clone(), body }
}

fn state(file: &File, nodes: &[Bytes]) -> WitnessState {
    let ancestors = file.witness.ancestors.iter().map(|header| header.inner.clone()).collect();
    WitnessState::new(nodes, &file.witness.codes, ancestors).unwrap()
}

#[test]
fn a_real_block_executes_from_its_witness_alone() {
    let Some(file) = file() else { return };
    let state = state(&file, &file.witness.state);
    let block = block(&file);
    for mode in MODES {
        let executed = import(&state, RULES, state.parent(), &block, mode).unwrap().unwrap();
        assert_eq!(executed.header, block.header, "state root, receipts root, requests hash, all");
    }
    println!("witness: block {} of {} gas", block.header.number, block.header.gas_used);
}

#[test]
fn a_missing_node_is_an_error_and_never_another_result() {
    let Some(file) = file() else { return };
    let block = block(&file);
    let nodes = &file.witness.state;
    let mut errors = 0;
    // Any single node may turn out to be surplus; what was computed is then the same.
    for index in (0..nodes.len()).step_by(23) {
        let mut fewer = nodes.clone();
        fewer.swap_remove(index);
        let state = state(&file, &fewer);
        match import(&state, RULES, state.parent(), &block, Mode::Sequential) {
            Ok(executed) => assert_eq!(executed.unwrap().header, block.header),
            Err(_) => errors += 1,
        }
    }
    assert!(errors > 0);
}
