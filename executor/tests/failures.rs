//! What fails in the middle of a block: a key that cannot be read, a view that panics, and
//! transactions that are not valid. Every mode says the same about it, and none waits for ever.

use crate::{
    fuzz::assembler::Assembler,
    modes::{MODES, assert_same},
    support::{Chain, ether, genesis, request, sign, signer},
};
use alloy::primitives::{Address, B256, Bytes, TxKind, U256, address};
use executor::{
    Account, BlockInput, ExecuteError, ExecutedBlock, Knowledge, MemoryState, Mode, Options,
    PostState, Reads, SkipReason, StateDiff, StateTrie, StateView, Transaction, ViewError,
    counters::Strategy, execute_with, genesis::GenesisAccount,
};
use revm::bytecode::{Bytecode, opcode as op};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// Counts up the slot that its first argument names, and then runs for a while.
const WORKER: Address = address!("0x00000000000000000000000000000000000a0001");
/// The same code, called by one transaction alone.
const RECLUSE: Address = address!("0x00000000000000000000000000000000000a0002");
/// Reads its slot 0.
const GATE: Address = address!("0x00000000000000000000000000000000000a0003");
/// Read the slot that their slot 0 names, or set slot 0 to their argument.
const POINTERS: [Address; 4] = [
    address!("0x00000000000000000000000000000000000b0001"),
    address!("0x00000000000000000000000000000000000b0002"),
    address!("0x00000000000000000000000000000000000b0003"),
    address!("0x00000000000000000000000000000000000b0004"),
];
/// Calls of a block that has work for every helper, each by a sender of its own to a slot of its own.
const CALLS: u64 = 200;
/// Gas of one call, amply.
const CALL_GAS: u64 = 100_000;
/// The slot that is read in the middle of a block, and by nobody else.
const BAD_SLOT: u64 = 1_000_000;
/// Said by a view that fails.
const WORDS: &str = "as the test wants it";
/// Waiting for a block ends after so many seconds, of which none here takes a hundredth.
const SECONDS_MAX: u32 = 60;

fn worker() -> Bytes {
    let mut code = Assembler::default();
    let again = code.label();
    code.push(4u64).ops(&[op::CALLDATALOAD, op::DUP1, op::SLOAD]).push(1u64);
    code.ops(&[op::ADD, op::SWAP1, op::SSTORE]);
    code.push(1_000u64).bind(again).push(1u64).ops(&[op::SWAP1, op::SUB, op::DUP1]);
    code.jump_if(again).op(op::STOP);
    code.finish()
}

fn pointer() -> Bytes {
    let mut code = Assembler::default();
    let set = code.label();
    code.push(0u64).ops(&[op::CALLDATALOAD, op::DUP1]).jump_if(set);
    code.push(0u64).ops(&[op::SLOAD, op::SLOAD]).push(7u64).ops(&[op::SSTORE, op::STOP]);
    code.bind(set).push(0u64).ops(&[op::SSTORE, op::STOP]);
    code.finish()
}

/// Passes the gate, and then turns every pointer from slot 1 to slot 2.
fn turner() -> Bytes {
    let mut code = Assembler::default();
    code.push(2u64).push(0u64).op(op::MSTORE);
    for to in [GATE].iter().chain(&POINTERS) {
        code.push(0u64).push(0u64).push(32u64).push(0u64).push(0u64);
        code.push_address(*to).ops(&[op::GAS, op::CALL, op::POP]);
    }
    code.op(op::STOP);
    code.finish()
}

fn contract(code: Bytes) -> GenesisAccount {
    GenesisAccount { nonce: 1, code, ..GenesisAccount::default() }
}

/// A chain with the contracts, `signers` rich accounts, and whatever else.
fn chain(signers: u64, gas_limit: u64, more: &[(Address, GenesisAccount)]) -> Chain {
    let rich = GenesisAccount { balance: ether(1_000), ..GenesisAccount::default() };
    let rich = (0..signers).map(|index| (signer(index).address(), rich.clone()));
    let mut gate = Assembler::default();
    gate.push(0u64).ops(&[op::SLOAD, op::STOP]);
    let contracts = [
        (WORKER, contract(worker())),
        (RECLUSE, contract(worker())),
        (GATE, contract(gate.finish())),
    ];
    let mut genesis = genesis(rich.chain(contracts).chain(more.iter().cloned()));
    genesis.rules.gas_limit = gas_limit;
    Chain::from_genesis(&genesis)
}

/// A call of the worker's code at `to`, with a gas limit and a value of its own.
fn work(from: u64, nonce: u64, to: Address, slot: u64) -> Transaction {
    sign(request(nonce, to.into(), U256::ZERO, CALL_GAS, argument(slot)), &signer(from))
}

fn argument(slot: u64) -> Bytes {
    [&[1, 2, 3, 4], &U256::from(slot).to_be_bytes::<32>()[..]].concat().into()
}

/// A key of a state.
#[derive(Clone, Copy, Debug)]
enum Key {
    Account(Address),
    Slot(Address, U256),
}

/// What reading the key does while the trap is set.
#[derive(Clone, Copy, Debug)]
enum Trap {
    Panic,
    Error,
}

/// A state with a trap in it.
#[derive(Debug)]
struct Trapped {
    state: MemoryState,
    key: Key,
    trap: Trap,
    is_set: AtomicBool,
    /// How often it sprang.
    sprung: AtomicUsize,
    /// Whoever reads the gate's slot waits until the trap has sprung.
    has_gate: AtomicBool,
}

impl Trapped {
    fn new(state: &MemoryState, key: Key, trap: Trap) -> Self {
        let state = state.clone();
        let is_set = AtomicBool::new(true);
        Self { state, key, trap, is_set, sprung: AtomicUsize::new(0), has_gate: false.into() }
    }

    fn spring(&self) -> Result<(), ViewError> {
        if !self.is_set.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.sprung.fetch_add(1, Ordering::SeqCst);
        match self.trap {
            Trap::Panic => panic!("{WORDS}"),
            Trap::Error => Err(ViewError::Store(WORDS.into())),
        }
    }

    fn pass_gate(&self) {
        let started = Instant::now();
        while self.has_gate.load(Ordering::SeqCst)
            && self.sprung.load(Ordering::SeqCst) == 0
            && started.elapsed() < Duration::from_secs(10)
        {
            thread::yield_now();
        }
    }
}

impl StateView for Trapped {
    fn account(&self, address: Address) -> Result<Option<Account>, ViewError> {
        if matches!(self.key, Key::Account(bad) if bad == address) {
            self.spring()?;
        }
        self.state.account(address)
    }

    fn slot(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        if matches!(self.key, Key::Slot(bad, key) if (bad, key) == (address, slot)) {
            self.spring()?;
        }
        if address == GATE {
            self.pass_gate();
        }
        self.state.slot(address, slot)
    }

    fn code(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        self.state.code(code_hash)
    }

    fn block_hash(&self, number: u64) -> Result<B256, ViewError> {
        self.state.block_hash(number)
    }

    fn trie_for(&self, reads: &Reads, diff: &StateDiff) -> Result<StateTrie, ViewError> {
        self.state.trie_for(reads, diff)
    }

    fn after(&self, diff: &StateDiff) -> Result<PostState, ViewError> {
        self.state.after(diff)
    }
}

/// Executes on a thread of its own, for a hang or a panic that gets out is a failure of the test.
fn execute(
    view: &Arc<Trapped>,
    input: &Arc<BlockInput>,
    knowledge: &Arc<Knowledge>,
    mode: Mode,
) -> Result<ExecutedBlock, ExecuteError> {
    let (send, receive) = mpsc::channel();
    let (view, input, knowledge) = (view.clone(), input.clone(), knowledge.clone());
    thread::spawn(move || {
        let options = Options { knowledge: Some(&knowledge), ..mode.into() };
        drop(send.send(execute_with(&*view, &input, options)));
    });
    // Second by second, so that a process that was stopped for a while is not taken for a hang.
    let second = Duration::from_secs(1);
    let result = (0..SECONDS_MAX).find_map(|_| receive.recv_timeout(second).ok());
    result.unwrap_or_else(|| panic!("{mode:?}: it hangs, or a panic got out"))
}

/// Whether this mode shares a block that is worth it, here.
fn shares(mode: Mode) -> bool {
    match mode {
        Mode::Sequential => false,
        Mode::Parallel { .. } => true,
        Mode::Automatic => thread::available_parallelism().is_ok_and(|cores| cores.get() > 1),
    }
}

fn assert_strategy(block: &ExecutedBlock, mode: Mode) {
    let is_shared = block.counters.strategy == Strategy::Parallel;
    assert_eq!(is_shared, shares(mode), "{mode:?}: {:?}", block.counters);
}

/// A block of many calls; the one in the middle reads the key. Returns its hash, too.
fn block_with_a_bad_read(chain: &Chain, key: Key) -> (Arc<BlockInput>, B256) {
    let to = if matches!(key, Key::Slot(..)) { WORKER } else { RECLUSE };
    let bad = work(CALLS / 2, 0, to, BAD_SLOT);
    let mut offered: Vec<_> = (0..CALLS).map(|index| work(index, 0, WORKER, index)).collect();
    offered[CALLS as usize / 2] = bad.clone();
    (Arc::new(chain.input(vec![], &offered)), bad.hash())
}

/// Executes in every mode with the trap set, gives the error to `check`, and then executes without.
fn fails_and_recovers(key: Key, trap: Trap, check: impl Fn(&ExecuteError, B256) -> bool) {
    let chain = chain(CALLS, 2_200_000_000, &[]);
    let (input, bad) = block_with_a_bad_read(&chain, key);
    let reference = executor::execute(&chain.state, &input, Mode::Sequential).unwrap();
    assert!(reference.skipped.is_empty());
    for mode in MODES {
        let view = Arc::new(Trapped::new(&chain.state, key, trap));
        let knowledge = Arc::default();
        let Err(error) = execute(&view, &input, &knowledge, mode) else {
            panic!("{mode:?}: a block although the key cannot be read");
        };
        assert!(check(&error, bad), "{mode:?}: {error:?}");
        // Neither view, knowledge, threads nor kept memory have suffered.
        view.is_set.store(false, Ordering::SeqCst);
        for _ in 0..2 {
            let block = execute(&view, &input, &knowledge, mode).unwrap();
            assert_same(&reference, &block, &format!("{mode:?}, afterwards"));
            assert_strategy(&block, mode);
        }
    }
}

fn names(error: &ExecuteError, bad: B256) -> bool {
    matches!(error, ExecuteError::Panic { transaction } if *transaction == bad)
}

fn is_the_views(error: &ExecuteError, _: B256) -> bool {
    matches!(error, ExecuteError::View(ViewError::Store(error)) if error.to_string() == WORDS)
}

#[test]
fn a_panic_over_a_slot_is_an_error_that_names_the_transaction() {
    fails_and_recovers(Key::Slot(WORKER, U256::from(BAD_SLOT)), Trap::Panic, names);
}

#[test]
fn a_panic_over_a_sender_is_an_error_that_names_the_transaction() {
    fails_and_recovers(Key::Account(signer(CALLS / 2).address()), Trap::Panic, names);
}

#[test]
fn a_panic_over_a_callee_is_an_error_that_names_the_transaction() {
    fails_and_recovers(Key::Account(RECLUSE), Trap::Panic, names);
}

#[test]
fn a_slot_that_cannot_be_read_is_the_error_of_the_block() {
    fails_and_recovers(Key::Slot(WORKER, U256::from(BAD_SLOT)), Trap::Error, is_the_views);
}

#[test]
fn an_account_that_cannot_be_read_is_the_error_of_the_block() {
    fails_and_recovers(Key::Account(RECLUSE), Trap::Error, is_the_views);
    fails_and_recovers(Key::Account(signer(CALLS / 2).address()), Trap::Error, is_the_views);
}

/// The first transaction turns the pointers away from the bad slot, and waits until a helper has
/// followed one to it: what the block does not read is no error of the block.
#[test]
fn what_only_a_helper_reads_fails_nothing() {
    let storage = [(U256::ZERO, U256::ONE), (U256::from(2), U256::from(22))];
    let turned = GenesisAccount { storage: storage.into(), ..contract(pointer()) };
    let chain = chain(8, 2_200_000_000, &POINTERS.map(|address| (address, turned.clone())));
    let turn = request(0, TxKind::Create, U256::ZERO, 1_000_000, turner());
    let mut offered = vec![sign(turn, &signer(0))];
    for (index, to) in (1..).zip(POINTERS) {
        let follow = request(0, to.into(), U256::ZERO, CALL_GAS, vec![0; 32].into());
        offered.push(sign(follow, &signer(index)));
    }
    let input = Arc::new(chain.input(vec![], &offered));
    let reference = executor::execute(&chain.state, &input, Mode::Sequential).unwrap();
    assert!(reference.skipped.is_empty());
    assert_eq!(reference.diff.accounts[&POINTERS[0]].slots[&U256::from(7)].after, U256::from(22));
    for trap in [Trap::Panic, Trap::Error] {
        for mode in MODES {
            let key = Key::Slot(POINTERS[0], U256::ONE);
            let view = Arc::new(Trapped::new(&chain.state, key, trap));
            let is_parallel = matches!(mode, Mode::Parallel { .. });
            view.has_gate.store(is_parallel, Ordering::SeqCst);
            let block = execute(&view, &input, &Arc::default(), mode).unwrap();
            assert_same(&reference, &block, &format!("{trap:?} {mode:?}"));
            let sprung = view.sprung.load(Ordering::SeqCst);
            assert_eq!(sprung > 0, is_parallel, "{trap:?} {mode:?}: sprung {sprung} times");
        }
    }
}

/// Whether a reason is the expected one.
type Is = fn(&SkipReason) -> bool;

/// Transactions that are not valid, and why.
fn invalid() -> Vec<(Transaction, Is)> {
    let call = |from: u64, nonce, change: &dyn Fn(&mut alloy::consensus::TxEip1559)| {
        let mut request = request(nonce, WORKER.into(), U256::ZERO, CALL_GAS, argument(from));
        change(&mut request);
        sign(request, &signer(from))
    };
    let first = CALLS;
    let is: [Is; 7] = [
        |reason| matches!(reason, SkipReason::NonceTooLow { transaction: 0, state: 1 }),
        |reason| matches!(reason, SkipReason::NonceTooHigh { transaction: 9, state: 1 }),
        |reason| matches!(reason, SkipReason::InsufficientFunds { .. }),
        |reason| matches!(reason, SkipReason::IntrinsicGas { gas_limit: 21_100, .. }),
        |reason| matches!(reason, SkipReason::FloorGas { needed: 61_000, gas_limit: 50_000 }),
        |reason| matches!(reason, SkipReason::BlockGas { gas_limit: 16_000_000, .. }),
        |reason| matches!(reason, SkipReason::SenderNotEoa),
    ];
    let transactions = [
        call(first, 0, &|_| ()),
        call(first + 1, 9, &|_| ()),
        call(first + 2, 1, &|request| request.value = ether(1_000_000)),
        call(first + 3, 1, &|request| request.gas_limit = 21_100),
        // 37,000 gas for 1,000 bytes that are not zero, but 61,000 at least (EIP-7623).
        call(first + 4, 1, &|request| {
            (request.gas_limit, request.input) = (50_000, vec![1; 1_000].into());
        }),
        call(first + 5, 1, &|request| request.gas_limit = 16_000_000),
        call(first + 6, 0, &|_| ()),
    ];
    transactions.into_iter().zip(is).collect()
}

/// Their senders send before and after, so that each stands in a chain of nonces.
#[test]
fn invalid_transactions_in_the_middle_are_skipped_and_change_nothing() {
    let account = GenesisAccount { balance: ether(1_000), ..contract(worker()) };
    // Half of the calls leave less than 16,000,000 gas, and all of them more than nothing.
    let chain = chain(CALLS + 6, 20_000_000, &[(signer(CALLS + 6).address(), account)]);
    let invalid = invalid();
    let senders = CALLS..CALLS + 6;
    let before = (0..CALLS / 2).chain(senders.clone()).map(|from| work(from, 0, WORKER, from));
    let after = (CALLS / 2..CALLS).map(|from| work(from, 0, WORKER, from));
    let after: Vec<_> = senders.map(|from| work(from, 1, WORKER, from)).chain(after).collect();
    let mut offered: Vec<_> = before.collect();
    let mut valid = offered.clone();
    for (transaction, between) in invalid.iter().zip(&after) {
        offered.extend([transaction.0.clone(), between.clone()]);
        valid.push(between.clone());
    }
    offered.extend_from_slice(&after[invalid.len()..]);
    valid.extend_from_slice(&after[invalid.len()..]);
    let without = chain.input(vec![], &valid);
    let without = executor::execute(&chain.state, &without, Mode::Sequential).unwrap();
    assert!(without.skipped.is_empty());
    assert!(without.receipts.iter().all(|receipt| receipt.success));
    let input = chain.input(vec![], &offered);
    for mode in MODES {
        let block = executor::execute(&chain.state, &input, mode).unwrap();
        assert_eq!(block.skipped.len(), invalid.len(), "{mode:?}");
        for (skipped, (transaction, is_expected)) in block.skipped.iter().zip(&invalid) {
            assert_eq!(skipped.transaction.hash(), transaction.hash(), "{mode:?}");
            assert!(is_expected(&skipped.reason), "{mode:?}: {}", skipped.reason);
        }
        let without = ExecutedBlock { skipped: block.skipped.clone(), ..without.clone() };
        assert_same(&without, &block, &format!("{mode:?}"));
        assert_strategy(&block, mode);
    }
}
