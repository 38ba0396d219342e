//! The 7,376 Ethereum blockchain tests at Cancun, in every mode: every valid block must give exactly
//! the header it has, every invalid one be refused, and the last state be the one expected.

use crate::{
    access_list, arena,
    modes::{MODES, assert_same},
    support::data,
};
use alloy::{
    consensus::Header,
    primitives::{Address, B256, Bytes, U256},
    rlp::Decodable,
};
use executor::{
    Account, EthereumRules, ExecuteError, ExecutedBlock, ExecutionWitness, MemoryState, Mode,
    StateArena, StateDiff, StateView, ViewError,
    ethereum::{EthereumBlock, check, import},
    record_witness,
    state::{AccountDiff, SlotDiff},
};
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use serde::Deserialize;
use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::Read,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    #[serde(rename = "genesisRLP")]
    genesis_rlp: Bytes,
    network: String,
    blocks: Vec<CaseBlock>,
    lastblockhash: B256,
    pre: BTreeMap<Address, CaseAccount>,
    post_state: Option<BTreeMap<Address, CaseAccount>>,
    post_state_hash: Option<B256>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct CaseBlock {
    rlp: Bytes,
    expect_exception: Option<String>,
}

#[derive(Debug, Deserialize)]
struct CaseAccount {
    nonce: U256,
    balance: U256,
    code: Bytes,
    storage: BTreeMap<U256, U256>,
}

impl CaseAccount {
    fn account(&self) -> (Account, Bytecode) {
        let code = Bytecode::new_raw(self.code.clone());
        let account = Account {
            nonce: self.nonce.to(),
            balance_wei: self.balance,
            code_hash: code.hash_slow(),
        };
        (account, code)
    }
}

/// The change from nothing to the state before the first block.
fn diff_of(pre: &BTreeMap<Address, CaseAccount>) -> StateDiff {
    let mut diff = StateDiff::default();
    for (address, case) in pre {
        let (account, code) = case.account();
        let slots = case.storage.iter().filter(|(_, value)| !value.is_zero());
        let slots = slots.map(|(slot, &after)| (*slot, SlotDiff { before: U256::ZERO, after }));
        let change = AccountDiff {
            before: None,
            after: Some(account),
            wiped: false,
            slots: slots.collect(),
        };
        diff.accounts.insert(*address, change);
        diff.codes.insert(account.code_hash, code);
    }
    diff
}

fn state_of(pre: &BTreeMap<Address, CaseAccount>) -> MemoryState {
    let mut state = MemoryState::default();
    state.apply(&diff_of(pre)).unwrap();
    state
}

const RULES: EthereumRules = EthereumRules { chain_id: 1, spec: SpecId::CANCUN };

/// The chain so far, by number.
type Chain = BTreeMap<u64, Header>;

/// Executes a block on the state after the newest of the chain; the error says what is wrong.
type Import<'a> = &'a dyn Fn(&MemoryState, &Chain, &EthereumBlock) -> Result<ExecutedBlock, String>;

/// The newest header and its hash.
fn newest(chain: &Chain) -> (&Header, B256) {
    let (_, header) = chain.last_key_value().unwrap();
    (header, header.hash_slow())
}

fn import_in(
    mode: Mode,
    state: &(impl StateView + Sync),
    chain: &Chain,
    block: &EthereumBlock,
) -> Result<ExecutedBlock, String> {
    let imported = import(state, RULES, newest(chain), block, mode);
    imported.map_err(|error| error.to_string())?.map_err(|invalid| invalid.to_string())
}

/// Runs one case; the error says what differs.
fn run(case: &Case, import: Import<'_>) -> Result<(), String> {
    let genesis = EthereumBlock::decode(&mut &case.genesis_rlp[..]).map_err(|e| e.to_string())?;
    let mut state = state_of(&case.pre);
    if state.root() != genesis.header.state_root {
        return Err("genesis state root".into());
    }
    state.set_block_hash(0, genesis.header.hash_slow());
    let mut chain = Chain::from([(0, genesis.header)]);
    for (index, block) in case.blocks.iter().enumerate() {
        let expected_invalid = block.expect_exception.is_some();
        let mut rlp = &block.rlp[..];
        let decoded = EthereumBlock::decode(&mut rlp).ok().filter(|_| rlp.is_empty());
        let imported = match &decoded {
            Some(decoded) => import(&state, &chain, decoded),
            None => Err("undecodable".into()),
        };
        match imported {
            Ok(_) if expected_invalid => return Err(format!("block {index} was accepted")),
            Err(reason) if !expected_invalid => return Err(format!("block {index}: {reason}")),
            Ok(executed) => {
                state.apply_block(&executed).unwrap();
                chain.insert(executed.header.number, executed.header);
            }
            Err(_) => {}
        }
    }
    check_end(case, &state, newest(&chain).1)
}

fn check_end(case: &Case, state: &MemoryState, hash: B256) -> Result<(), String> {
    if hash != case.lastblockhash {
        return Err("last block hash".into());
    }
    if case.post_state_hash.is_some_and(|root| root != state.root()) {
        return Err("post state root".into());
    }
    for (address, expected) in case.post_state.iter().flatten() {
        let (expected_account, _) = expected.account();
        if state.account(*address).unwrap() != Some(expected_account) {
            return Err(format!("account {address}"));
        }
        for (slot, value) in &expected.storage {
            if state.slot(*address, *slot).unwrap() != *value {
                return Err(format!("slot {slot} of {address}"));
            }
        }
    }
    Ok(())
}

/// Cases that create a contract over an account with storage and neither nonce nor code, which
/// EIP-7610 makes a collision. revm decides about collisions inside its journal, by nonce and code,
/// and offers no hook there. No such account can come to exist since EIP-161, on Ethereum only 28 old
/// ones do, and on a rollup none: genesis gives storage to no account without code.
const SKIPPED: [&str; 4] = [
    "RevertInCreateInInitCreate2Paris_d0g0v0_Cancun",
    "create2collisionStorageParis_d0g0v0_Cancun",
    "create2collisionStorageParis_d1g0v0_Cancun",
    "create2collisionStorageParis_d2g0v0_Cancun",
];

const CASES: usize = 7_376;

/// The files of the archive.
fn files() -> Option<Vec<String>> {
    let tar = data("blockchain-tests-cancun.tar.xz")?;
    let mut texts = Vec::new();
    for entry in tar::Archive::new(&tar[..]).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            texts.push(text);
        }
    }
    Some(texts)
}

/// What came of some cases.
#[derive(Default)]
struct Tally {
    passed: usize,
    blocks: usize,
    skipped: Vec<String>,
    failures: Vec<String>,
}

impl Tally {
    fn run_file(&mut self, text: &str, run: impl Fn(&Case) -> Result<(), String>) {
        let cases: BTreeMap<String, Case> = serde_json::from_str(text).unwrap();
        for (name, case) in cases {
            assert_eq!(case.network, "Cancun");
            if SKIPPED.contains(&name.as_str()) {
                self.skipped.push(name);
                continue;
            }
            self.blocks += case.blocks.len();
            match run(&case) {
                Ok(()) => self.passed += 1,
                Err(reason) => self.failures.push(format!("{name}: {reason}")),
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.blocks += other.blocks;
        self.skipped.extend(other.skipped);
        self.failures.extend(other.failures);
    }
}

/// Runs all cases, the files shared among all cores, and checks that none failed or went missing.
fn run_all(what: &str, run: impl Fn(&Case) -> Result<(), String> + Sync) {
    let Some(files) = files() else { return };
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Tally::default()));
    let worker = || {
        let mut tally = Tally::default();
        while let Some(text) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            tally.run_file(text, &run);
        }
        total.lock().unwrap().add(tally);
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| (0..cores).for_each(|_| drop(scope.spawn(worker))));
    let Tally { passed, blocks, skipped, mut failures } = total.into_inner().unwrap();
    let (failed, count) = (failures.len(), skipped.len());
    println!(
        "{what}: {} cases run, {passed} passed, {failed} failed, {count} skipped",
        CASES - count
    );
    println!("{what}: {blocks} blocks");
    for name in skipped {
        println!("{what}: skipped {name}: needs EIP-7610, which revm has no hook for");
    }
    failures.truncate(40);
    assert!(failures.is_empty(), "{failed} failed:\n{}", failures.join("\n"));
    assert_eq!((passed + count, count), (CASES, SKIPPED.len()));
}

#[test]
fn all_ethereum_blockchain_tests_pass_in_every_mode() {
    run_all("blockchain tests", |case| {
        // Automatic is one of the others in each case.
        let mut modes = MODES.into_iter().filter(|mode| *mode != Mode::Automatic);
        modes.try_for_each(|mode| {
            run(case, &|state, chain, block| import_in(mode, state, chain, block))
                .map_err(|reason| format!("{mode:?}: {reason}"))
        })
    });
}

#[test]
fn every_block_happens_as_its_access_list_claims() {
    run_all("access lists", |case| {
        run(case, &|state, chain, block| {
            let executed = import_in(Mode::Sequential, state, chain, block)?;
            let input =
                check(RULES, newest(chain), block).map_err(|invalid| invalid.to_string())?;
            access_list::check(state, &input, &executed);
            Ok(executed)
        })
    });
}

#[test]
fn the_arena_gives_every_state_root() {
    let (next, options) = (AtomicUsize::new(0), arena::all_options());
    let evicted = AtomicUsize::new(0);
    run_all("arena", |case| {
        // Every way to work in turn.
        let options = options[next.fetch_add(1, Ordering::Relaxed) % options.len()];
        let pre = diff_of(&case.pre);
        let source = arena::flat::Source::default();
        let mut arena = StateArena::new(options).unwrap().with_source(Box::new(source.clone()));
        arena.apply(&pre).unwrap();
        source.apply(&pre);
        let arena = RefCell::new(arena);
        run(case, &|state, chain, block| {
            let executed = import_in(Mode::Sequential, state, chain, block)?;
            let mut arena = arena.borrow_mut();
            evicted.fetch_add(arena.evict(0, u64::MAX).unwrap(), Ordering::Relaxed);
            let applied = arena.apply(&executed.diff).map_err(|error| error.to_string())?;
            source.apply(&executed.diff);
            if applied != executed.header.state_root {
                return Err(format!("{options:?}: another root"));
            }
            Ok(executed)
        })
    });
    println!("arena: {} shards evicted", evicted.into_inner());
}

/// Records a witness in one mode and executes from it alone in another.
fn import_by_witness(
    modes: (Mode, Mode),
    state: &MemoryState,
    chain: &Chain,
    block: &EthereumBlock,
) -> Result<(ExecutedBlock, ExecutionWitness), String> {
    let input = check(RULES, newest(chain), block).map_err(|invalid| invalid.to_string())?;
    let ancestor = |number| chain.get(&number).cloned();
    let (recorded, witness) =
        record_witness(state, &input, modes.0, ancestor).map_err(|error| error.to_string())?;
    let alone = witness.to_state().map_err(|error| error.to_string())?;
    assert_eq!(alone.parent(), newest(chain));
    let executed = import_in(modes.1, &alone, chain, block)?;
    assert_same(&recorded, &executed, "from the witness");
    // Its trie is whole, the other's is not.
    Ok((recorded, witness))
}

#[test]
fn a_witness_alone_gives_the_same_blocks() {
    let [reference, two, eight, _] = MODES;
    let counts = [const { AtomicUsize::new(0) }; 2];
    run_all("witnesses", |case| {
        for modes in [(reference, reference), (reference, eight), (two, reference)] {
            run(case, &|state, chain, block| {
                let (executed, witness) = import_by_witness(modes, state, chain, block)?;
                counts[0].fetch_add(witness.state.len(), Ordering::Relaxed);
                let json = serde_json::to_string(&witness).unwrap();
                assert_eq!(serde_json::from_str::<ExecutionWitness>(&json).unwrap(), witness);
                // A node less in one block of sixteen, for each node.
                if modes == (reference, reference) && executed.hash[0] % 16 == 0 {
                    counts[1].fetch_add(witness.state.len(), Ordering::Relaxed);
                    each_node_is_needed(&witness, chain, block)?;
                }
                Ok(executed)
            })
            .map_err(|reason| format!("{modes:?}: {reason}"))?;
        }
        Ok(())
    });
    let [nodes, removed] = counts.map(AtomicUsize::into_inner);
    println!("witnesses: {nodes} nodes, {removed} removed one by one");
}

/// Without any one node, execution fails; it never ends with a header at all.
fn each_node_is_needed(
    witness: &ExecutionWitness,
    chain: &Chain,
    block: &EthereumBlock,
) -> Result<(), String> {
    for index in 0..witness.state.len() {
        let mut fewer = witness.clone();
        fewer.state.remove(index);
        let state = fewer.to_state().map_err(|error| error.to_string())?;
        match import(&state, RULES, newest(chain), block, Mode::Sequential) {
            Err(ExecuteError::View(ViewError::MissingNode)) => {}
            other => return Err(format!("without node {index}: {other:?}")),
        }
    }
    Ok(())
}
