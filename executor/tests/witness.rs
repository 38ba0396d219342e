//! Stateless execution: a real Prague block with its witness and nothing else must give the header
//! that Ethereum has, and a damaged witness an error; a witness recorded here must be enough, with
//! nothing to spare.

use crate::{
    modes::{self, MODES, assert_same},
    support::{Chain, data, deposit, request, sign, signer, transfer},
};
use alloy::{
    consensus::{Block, BlockBody, TxEnvelope},
    primitives::{Address, B256, Bytes, TxKind, U256, bytes, keccak256},
    rpc::types::{Header as RpcHeader, Withdrawal, Withdrawals},
};
use executor::{
    BlockInput, Deposit, EthereumRules, ExecuteError, ExecutedBlock, ExecutionWitness, Header,
    Mode, StateView, Transaction, ViewError, WitnessState,
    ethereum::{EthereumBlock, check, import},
    execute, record_witness,
    state::WitnessError,
};
use proptest::prelude::*;
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
fn what_is_recorded_of_a_real_block_is_in_its_real_witness() {
    let Some(file) = file() else { return };
    let state = state(&file, &file.witness.state);
    let input = check(RULES, state.parent(), &block(&file)).unwrap();
    let parent = |number| {
        let mut ancestors = file.witness.ancestors.iter().map(|header| &header.inner);
        ancestors.find(|header| header.number == number).cloned()
    };
    let (_, witness) = record_witness(&state, &input, Mode::Sequential, parent).unwrap();
    let (given, recorded) = (&file.witness.state, &witness.state);
    assert!(recorded.iter().all(|node| given.contains(node)));
    assert!(witness.codes.iter().all(|code| file.witness.codes.contains(code)));
    println!("witness: {} nodes recorded, {} given", recorded.len(), given.len());
    let alone = witness.to_state().unwrap();
    let executed = import(&alone, RULES, alone.parent(), &block(&file), Mode::Sequential);
    assert_eq!(executed.unwrap().unwrap().header, block(&file).header);
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

/// Stores calldata's second word at the slot that its first word names.
const STORE_INIT: Bytes = bytes!("6007600a5f3960075ff36020355f355500");
/// Stores at slot 0 the hash of the block as many before as calldata's first word says.
const BLOCKHASH_INIT: Bytes = bytes!("6008600a5f3960085ff35f354303405f5500");

/// A rollup whose blocks are recorded in one mode and executed again from the witness in all.
struct Recorded {
    chain: Chain,
    headers: Vec<Header>,
}

impl Recorded {
    fn new() -> Self {
        let chain = Chain::new(4);
        Self { headers: vec![chain.header.clone()], chain }
    }

    fn advance(&mut self, deposits: Vec<Deposit>, transactions: &[Transaction]) -> RollupWitness {
        let input = self.chain.input(deposits, transactions);
        let ancestor = |number: u64| self.headers.get(number as usize).cloned();
        let mut first = None;
        for mode in MODES {
            let (block, witness) =
                record_witness(&self.chain.state, &input, mode, ancestor).unwrap();
            let alone = witness.to_state().unwrap();
            assert_eq!(alone.parent(), (&self.chain.header, self.chain.hash));
            assert_same(&block, &modes::execute(&alone, &input), "from the witness");
            first.get_or_insert((block, witness));
        }
        let (block, witness) = first.unwrap();
        self.chain.state.apply_block(&block).unwrap();
        (self.chain.header, self.chain.hash) = (block.header.clone(), block.hash);
        self.headers.push(block.header.clone());
        RollupWitness { input, block, witness }
    }
}

struct RollupWitness {
    input: BlockInput,
    block: ExecutedBlock,
    witness: ExecutionWitness,
}

impl RollupWitness {
    fn execute(&self, witness: &ExecutionWitness) -> Result<ExecutedBlock, ExecuteError> {
        execute(&witness.to_state().unwrap(), &self.input, Mode::Sequential)
    }

    /// Without any one node or code, execution fails with the error that says so; a code that the
    /// block deploys again may come from there.
    fn check_nothing_is_surplus(&self) {
        assert_same(&self.block, &self.execute(&self.witness).unwrap(), "whole witness");
        for index in 0..self.witness.state.len() {
            let mut fewer = self.witness.clone();
            fewer.state.remove(index);
            let error = self.execute(&fewer).unwrap_err();
            assert!(matches!(error, ExecuteError::View(ViewError::MissingNode)), "node {index}");
        }
        for index in 0..self.witness.codes.len() {
            let mut fewer = self.witness.clone();
            fewer.codes.remove(index);
            match self.execute(&fewer) {
                Err(ExecuteError::View(ViewError::MissingCode(_))) => {}
                other => {
                    assert_same(&self.block, &other.unwrap(), "with its own code");
                    let code = keccak256(&self.witness.codes[index]);
                    assert!(self.block.diff.codes.contains_key(&code));
                }
            }
        }
    }
}

fn words(words: &[u64]) -> Bytes {
    words.iter().flat_map(|word| U256::from(*word).to_be_bytes::<32>()).collect()
}

fn call(from: u64, nonce: u64, to: Address, input: Bytes) -> Transaction {
    sign(request(nonce, to.into(), U256::ZERO, 200_000, input), &signer(from))
}

fn create(from: u64, init: Bytes) -> Transaction {
    sign(request(0, TxKind::Create, U256::ZERO, 300_000, init), &signer(from))
}

#[test]
fn blockhash_takes_the_headers_it_reached_into_the_witness() {
    let mut recorded = Recorded::new();
    let created = recorded.advance(vec![], &[create(0, BLOCKHASH_INIT)]);
    assert_eq!(created.witness.headers.len(), 1, "the parent");
    recorded.advance(vec![], &[]);
    recorded.advance(vec![], &[]);
    let contract = signer(0).address().create(0);
    // Block 4 asks for block 1.
    let called = recorded.advance(vec![], &[call(0, 1, contract, words(&[3]))]);
    assert_eq!(called.witness.headers.len(), 3);
    let stored = recorded.chain.state.slot(contract, U256::ZERO).unwrap();
    assert_eq!(B256::from(stored), recorded.headers[1].hash_slow());
    called.check_nothing_is_surplus();

    let without = |header: usize| {
        let mut fewer = called.witness.clone();
        fewer.headers.remove(header);
        fewer
    };
    let error = called.execute(&without(0)).unwrap_err();
    assert!(matches!(error, ExecuteError::View(ViewError::MissingBlockHash(1))));
    assert!(matches!(without(1).to_state(), Err(WitnessError::Ancestors(_))));
}

/// The code of the contract that is called is also deployed, before the call, by the same block.
#[test]
fn a_code_that_the_block_deploys_again_is_in_the_witness() {
    let mut recorded = Recorded::new();
    recorded.advance(vec![], &[create(0, STORE_INIT)]);
    let contract = signer(0).address().create(0);
    let again = [create(1, STORE_INIT), call(1, 1, contract, words(&[1, 1]))];
    let block = recorded.advance(vec![], &again);
    assert!(block.witness.codes.contains(&bytes!("6020355f355500")));
    block.check_nothing_is_surplus();
}

#[test]
fn an_ancestor_that_is_not_the_blocks_is_an_error() {
    let recorded = Recorded::new();
    let input = recorded.chain.input(vec![], &[]);
    let other = Header { gas_used: 1, ..recorded.headers[0].clone() };
    for ancestor in [None, Some(other)] {
        let state = &recorded.chain.state;
        let result = record_witness(state, &input, Mode::Sequential, |_| ancestor.clone());
        let missing = ExecuteError::View(ViewError::MissingBlockHash(0)).to_string();
        assert_eq!(result.unwrap_err().to_string(), missing);
    }
}

#[test]
fn a_malformed_witness_is_an_error() {
    let parent = || vec![Header::default()];
    let new = |nodes: &[Bytes], codes: &[Bytes]| WitnessState::new(nodes, codes, parent());
    // A delegation designator is 23 bytes long.
    assert_eq!(new(&[], &[bytes!("ef0100aa")]).unwrap_err(), WitnessError::Code);
    let witness = ExecutionWitness { headers: vec![bytes!("c0")], ..Default::default() };
    assert_eq!(witness.to_state().unwrap_err(), WitnessError::Header);
    assert_eq!(ExecutionWitness::default().to_state().unwrap_err(), WitnessError::NoParent);
    let json = r#"{"state":["0x80"],"codes":["0x00"],"keys":[],"headers":["0xc0"]}"#;
    let witness: ExecutionWitness = serde_json::from_str(json).unwrap();
    assert_eq!(serde_json::to_string(&witness).unwrap(), json);
}

/// Each node is a branch of sixteen times the next: 16^60 paths, which nobody can walk.
#[test]
fn a_hostile_witness_costs_no_more_than_its_bytes() {
    let mut node = Bytes::from(vec![0xc1, 0x80]);
    let mut nodes = Vec::new();
    for _ in 0..60 {
        let hash = keccak256(&node);
        nodes.push(node);
        let children = [&[0xa0][..], &hash[..]].concat().repeat(16);
        // A list of 16 x 33 bytes and an empty value.
        node = [&[0xf9, 0x02, 0x11][..], &children, &[0x80]].concat().into();
    }
    let root = keccak256(&node);
    nodes.push(node);
    let parent = || vec![Header { state_root: root, ..Header::default() }];
    let error = WitnessState::new(&nodes, &[], parent()).unwrap_err();
    assert_eq!(error, WitnessError::Node, "the lowest is no node");
    let state = WitnessState::new(&nodes[1..], &[], parent()).unwrap();
    assert!(matches!(state.account(Address::ZERO), Err(ViewError::MissingNode)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Slots set and deleted, ether sent to old and new accounts, deposits that mint, contracts
    /// created: the witness of every block is enough in every mode, and has nothing to spare.
    #[test]
    fn rollup_blocks_execute_from_their_witness_alone(
        blocks in prop::collection::vec(
            prop::collection::vec((0u64..4, 0u64..24, 0u64..3), 0..10),
            1..5,
        ),
        minted in prop::collection::vec(0u64..40, 0..3),
    ) {
        let mut recorded = Recorded::new();
        let contract = signer(3).address().create(0);
        recorded.advance(vec![], &[create(3, STORE_INIT)]).check_nothing_is_surplus();
        let mut nonces = [0, 0, 0, 1];
        for picks in blocks {
            let transactions: Vec<_> = picks.iter().map(|&(from, key, value)| {
                let nonce = nonces[from as usize];
                nonces[from as usize] += 1;
                match from {
                    0 => transfer(0, nonce, Address::with_last_byte(key as u8), U256::from(value)),
                    1 if nonce == 0 => create(1, STORE_INIT),
                    _ => call(from, nonce, contract, words(&[key, value])),
                }
            }).collect();
            let deposits = minted.iter().map(|&to| {
                let to = Address::with_last_byte(to as u8);
                deposit(signer(90).address(), to.into(), 5, U256::ONE, 50_000)
            });
            let block = recorded.advance(deposits.collect(), &transactions);
            prop_assert!(block.block.skipped.is_empty());
            block.check_nothing_is_surplus();
        }
    }
}
