//! That the traps spring: the contracts do what the patterns take them to do.
//!
//! Owns one world in which every contract stands, and a block per property. Only built for tests.

use super::{
    authorizations::authority,
    contracts,
    dice::Dice,
    intent::{Delegation, Intent, Post},
    interpreter::Program,
    world::{self, COUNTER, FORWARDER, GAUGE, Nest, PROXIES, Size, TOKENS, World, person},
};
use alloy::primitives::{Address, B256, Bytes, U256};
use executor::{BlockEnv, BlockInput, ExecutedBlock, MemoryState, Mode, StateView};
use revm::{bytecode::opcode as op, primitives::hardfork::SpecId};

/// The first nest that the interpreter's copy makes with a constructor that writes.
fn nest() -> &'static Nest {
    &world::nests()[2]
}

/// A drawn world of this hardfork, in which the nest is taken or free.
fn world_with(spec: SpecId, taken: bool) -> World {
    let drawn = (0..).map(|stream| world::draw(&mut Dice::new(7, stream), Size::Village));
    let fits = |world: &World| {
        let account = world.state.account(nest().address).unwrap();
        world.spec() == spec && account.is_some_and(|account| account.nonce > 0) == taken
    };
    let mut found = drawn.into_iter().find(fits).unwrap();
    found.beneficiary = person(9_999);
    found
}

fn world(spec: SpecId) -> World {
    world_with(spec, false)
}

fn execute(world: &World, intents: Vec<Intent>) -> (ExecutedBlock, MemoryState) {
    let mut dice = Dice::new(1, 1);
    let mut post = Post::new(world);
    let send = |intent| post.send(intent, &mut dice);
    let transactions: Vec<_> = intents.into_iter().map(send).collect();
    let env = BlockEnv {
        number: world.number + 1,
        parent_hash: world.hash,
        timestamp: 1_700_000_000,
        beneficiary: world.beneficiary,
        gas_limit: 1 << 40,
        base_fee_wei: world.base_fee_wei,
        prevrandao: B256::ZERO,
        difficulty: U256::ZERO,
        parent_beacon_block_root: world.has(SpecId::CANCUN).then_some(B256::ZERO),
        excess_blob_gas: world.has(SpecId::CANCUN).then_some(0),
        withdrawals: None,
        ommers: Vec::new(),
        extra_data: Bytes::new(),
    };
    let input = BlockInput { rules: world.rules.clone(), env, transactions };
    let block = executor::execute(&world.state, &input, Mode::Sequential).unwrap();
    assert!(block.skipped.is_empty(), "{:?}", block.skipped[0].reason);
    let mut state = world.state.clone();
    state.apply_block(&block).unwrap();
    (block, state)
}

fn call(to: Address, program: &Program) -> Intent {
    Intent::call("proof", person(0), to, program.bytes()).with_gas(1_000_000)
}

fn word(address: Address) -> U256 {
    U256::from_be_slice(address.as_slice())
}

#[test]
fn a_program_loads_follows_calls_and_logs() {
    let world = world(SpecId::OSAKA);
    let [first, second, ..] = PROXIES;
    let mut inner = Program::default();
    inner.load(U256::MAX).arithmetic(op::ADD, 2).log(4);
    let mut program = Program::default();
    program.set(word(second)).store(U256::from(1)).set(U256::from(40)).store(U256::from(2));
    program.load(U256::ONE).call(op::CALL, Address::ZERO, 1, 0, &inner.bytes());
    program.store(U256::from(3)).set(U256::from(3)).load_acc().add_to(2);
    program.set(U256::ZERO).skip_if_zero(1).invalid().set(U256::from(3)).repeat(0);
    program.block_hash(1).log(5).tstore(1).set(U256::ZERO).tload(1).store(U256::from(4));
    let mut seed = Program::default();
    seed.set(U256::from(40)).store(U256::MAX);
    let intents = vec![call(second, &seed), call(first, &program).with_value(5)];
    let (block, state) = execute(&world, intents);
    assert!(block.receipts[1].success);
    assert_eq!(block.receipts[1].logs.len(), 2);
    // The callee returns 42, and success is one more.
    let slot = |slot: u64| state.slot(first, U256::from(slot)).unwrap();
    assert_eq!(slot(3), U256::from(43));
    assert_eq!(slot(2), U256::from(83));
    assert_eq!(slot(4), U256::from_be_bytes(world.hash.0));
}

#[test]
fn a_call_that_reverts_leaves_its_gas_and_no_more() {
    let world = world(SpecId::OSAKA);
    let mut program = Program::default();
    program.set(U256::from(3)).store(U256::from(5)).revert_if_odd();
    let (block, state) = execute(&world, vec![call(PROXIES[0], &program)]);
    assert!(!block.receipts[0].success && block.header.gas_used < 200_000);
    let at = (PROXIES[0], U256::from(5));
    assert_eq!(state.slot(at.0, at.1).unwrap(), world.state.slot(at.0, at.1).unwrap());
}

#[test]
fn tokens_move_are_redirected_and_stop() {
    let world = world(SpecId::OSAKA);
    let token = |from, data| Intent::call("proof", from, TOKENS[0], data);
    let (owner, to, other) = (person(0), person(500), person(600));
    let send = |amount| token(owner, contracts::transfer(to, U256::from(amount)));
    let intents = vec![
        send(10),
        token(owner, contracts::approve(person(1), U256::from(30))),
        token(person(1), contracts::transfer_from(owner, other, U256::from(20))),
        token(person(1), contracts::transfer_from(owner, other, U256::from(20))),
        token(owner, contracts::switch(contracts::REDIRECT, word(other))),
        send(1),
        token(owner, contracts::switch(contracts::PAUSED, U256::ONE)),
        send(1),
        token(owner, contracts::balance_of(owner)),
    ];
    let (block, state) = execute(&world, intents);
    let good: Vec<_> = block.receipts.iter().map(|receipt| receipt.success).collect();
    assert_eq!(good, [true, true, true, false, true, true, true, false, true]);
    assert_eq!(block.receipts[0].logs.len(), 1);
    let held = |who| state.slot(TOKENS[0], contracts::balance_slot(who)).unwrap();
    let held = [owner, to, other].map(held);
    assert_eq!(held, [969, 10, 21].map(U256::from));
}

#[test]
fn a_nest_is_born_dies_and_is_born_again() {
    // Before EIP-6780 it dies with its storage; afterwards it does not die in a later transaction.
    for (spec, dies) in [(SpecId::SHANGHAI, true), (SpecId::OSAKA, false)] {
        let world = world(spec);
        let nest = nest();
        let mut birth = Program::default();
        birth.create(Some(nest.salt), 0, &nest.init).store(U256::from(5));
        let mut die = Program::default();
        die.set(U256::from(8)).store(U256::from(7)).selfdestruct(person(0));
        let steps = [(nest.factory, &birth), (nest.address, &die), (nest.factory, &birth)];
        let (block, state) = execute(&world, steps.map(|(to, program)| call(to, program)).to_vec());
        assert!(block.receipts.iter().all(|receipt| receipt.success));
        let slot = |slot: u64| state.slot(nest.address, U256::from(slot)).unwrap();
        assert_eq!(slot(0), U256::from(5), "its constructor wrote it");
        assert_eq!(slot(7).is_zero(), dies);
        let made = state.slot(nest.factory, U256::from(5)).unwrap();
        assert_eq!(made == word(nest.address), dies, "the second birth collides or does not");
    }
}

#[test]
fn the_small_contracts_count_forward_and_measure() {
    let world = world(SpecId::OSAKA);
    let pay = |to| Intent::transfer("proof", person(0), to, U256::from(9)).with_gas(200_000);
    let (block, state) = execute(&world, vec![pay(COUNTER), pay(FORWARDER), pay(GAUGE)]);
    assert!(block.receipts.iter().all(|receipt| receipt.success));
    assert_eq!(state.slot(COUNTER, U256::ZERO).unwrap(), U256::ONE);
    let held = |state: &MemoryState| state.account(FORWARDER).unwrap().unwrap().balance_wei;
    assert_eq!(held(&state), held(&world.state), "it keeps nothing");
    assert_eq!(state.slot(FORWARDER, U256::ONE).unwrap(), U256::ONE);
}

#[test]
fn a_delegation_is_set_replaced_and_cleared() {
    let world = world(SpecId::OSAKA);
    let account = authority(3);
    let delegate = |target, from| {
        let mut intent = Intent::call("proof", from, COUNTER, Bytes::new());
        let chain_id = world::CHAIN_ID;
        let delegation = Delegation { key: 3, target, chain_id, nonce_off: 0, forged: false };
        intent.delegations = vec![delegation];
        intent
    };
    let code = |state: &MemoryState| {
        let account = state.account(account).unwrap().unwrap();
        state.code(account.code_hash).unwrap().original_bytes()
    };
    // The last is sponsored by the account itself: its own nonce, and the authorization's.
    let set = vec![delegate(COUNTER, person(0)), delegate(GAUGE, account)];
    let (_, state) = execute(&world, set.clone());
    assert_eq!(code(&state)[3..], GAUGE[..]);
    let cleared = [set, vec![delegate(Address::ZERO, person(1))]].concat();
    let (_, state) = execute(&world, cleared);
    assert!(code(&state).is_empty());
}

#[test]
fn a_contract_reborn_with_what_it_held_before_the_block_holds_it() {
    let world = world_with(SpecId::SHANGHAI, true);
    let nest = nest();
    let five = U256::from(5);
    assert_eq!(world.state.slot(nest.address, U256::ZERO).unwrap(), five);
    let mut die = Program::default();
    die.load(U256::ZERO).selfdestruct(person(0));
    let mut birth = Program::default();
    birth.create(Some(nest.salt), 0, &nest.init);
    let (block, state) =
        execute(&world, vec![call(nest.address, &die), call(nest.factory, &birth)]);
    assert!(block.receipts.iter().all(|receipt| receipt.success));
    assert_eq!(state.slot(nest.address, U256::ZERO).unwrap(), five, "read before it died");
    assert_eq!(state.slot(nest.address, U256::ONE).unwrap(), five, "not read before");
}
