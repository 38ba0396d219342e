//! Patterns about code that comes and goes: creations, self-destructs, delegations.
//!
//! Owns the sequences in which an account is somebody else before and after. Everything about
//! storage and ether alone is in `patterns`.

use super::{
    authorizations::{KEYS, authority},
    contracts::{self, init_code},
    dice::Dice,
    intent::{Delegation, Fault, Intent},
    interpreter::{Program, QUESTIONS},
    patterns::sender,
    program::{anyone, random, slot},
    world::{self, BOMB, CHAIN_ID, COPY, INTERPRETER, Nest, PROXIES, World, delegation_target},
};
use alloy::primitives::{Address, Bytes, U256};
use revm::{bytecode::opcode as op, primitives::hardfork::SpecId};

fn nest(dice: &mut Dice) -> &'static Nest {
    let nests = world::nests();
    &nests[dice.index(nests.len())]
}

fn create(nest: &Nest, value: u8) -> Program {
    let mut program = Program::default();
    program.create(Some(nest.salt), value, &nest.init);
    program
}

/// One address is created, used, destroyed, asked about and created again, in one block and now and
/// then in one transaction.
pub(crate) fn rebirth(dice: &mut Dice, world: &World) -> Vec<Intent> {
    if !world.has(SpecId::PETERSBURG) {
        return end(dice, world);
    }
    if !world.has(SpecId::CANCUN) && dice.chance(30) {
        return changeling(dice, world);
    }
    let nest = nest(dice);
    let heir = match dice.below(5) {
        0 => nest.address,
        1 => world.beneficiary,
        2 => world::person(1_000 + dice.below(8)),
        _ => anyone(dice, world),
    };
    let mut die = Program::default();
    if dice.chance(50) {
        die.load(slot(dice)).log(1);
    }
    die.selfdestruct(heir);
    let mut ask = Program::default();
    ask.ask(dice.pick(&QUESTIONS), nest.address).log(2).store(slot(dice));
    let use_it = random(dice, world, 1);
    let factory = nest.factory;
    let birth = create(nest, dice.byte(2));
    let mut both = birth.clone();
    both.call(op::CALL, nest.address, 1, 0, &die.bytes()).ask(op::BALANCE, nest.address).log(3);
    if dice.chance(50) {
        both.append(&birth).log(3);
    }
    let steps = [
        (factory, birth.clone()),
        (nest.address, die),
        (dice.pick(&PROXIES), ask),
        (nest.address, use_it),
        (factory, both),
        (factory, birth),
    ];
    let first = dice.index(2);
    let mut intents = Vec::new();
    for index in 0..dice.range(2, 6) as usize {
        let straight = dice.chance(70);
        let step = if straight { (first + index) % steps.len() } else { dice.index(steps.len()) };
        let (to, program) = &steps[step];
        let from = sender(dice, world);
        let intent = if dice.chance(6) {
            Intent::transfer("rebirth", from, nest.address, U256::from(9)).with_gas(60_000)
        } else {
            Intent::call("rebirth", from, *to, program.bytes()).with_gas(600_000)
        };
        intents.push(intent.with_value(dice.pick(&[0, 0, 2])));
    }
    intents
}

/// A contract dies and is born again: with another code, and nothing but its code tells; or with the
/// same one, and what it had stored is gone.
fn changeling(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let account = |nest: &Nest| executor::StateView::account(&world.state, nest.address).unwrap();
    let there = world::nests().iter().filter(|nest| account(nest).is_some_and(|it| it.nonce > 0));
    let there: Vec<_> = there.collect();
    if there.is_empty() {
        return end(dice, world);
    }
    let nest = there[dice.index(there.len())];
    let mut die = Program::default();
    die.selfdestruct(anyone(dice, world));
    let birth = create(nest, dice.byte(3));
    let [mut ask, mut read, mut through] = [(); 3].map(|()| Program::default());
    ask.ask(op::EXTCODESIZE, nest.address).log(2);
    read.load(U256::from(dice.pick(&[0u64, 1, 3, 4]))).log(2);
    through.call(op::CALL, nest.address, 0, 0, &read.bytes()).log(2);
    let steps = [
        (nest.address, die),
        (nest.factory, birth),
        (dice.pick(&PROXIES), ask),
        (dice.pick(&PROXIES), through),
        (nest.address, read),
    ];
    let call = |dice: &mut Dice, (to, program): &(Address, Program)| {
        Intent::call("rebirth", sender(dice, world), *to, program.bytes()).with_gas(600_000)
    };
    steps.iter().map(|step| call(dice, step)).collect()
}

/// Self-destructs of contracts that were there before the block, and what is asked about them.
fn end(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let victim = dice.pick(&[PROXIES[1], PROXIES[2], BOMB, COPY]);
    let mut die = Program::default();
    die.load(slot(dice)).selfdestruct(anyone(dice, world));
    let mut ask = Program::default();
    ask.ask(dice.pick(&QUESTIONS), victim).log(2);
    let mut read = Program::default();
    read.load(slot(dice)).store(slot(dice)).log(1);
    let call = |dice: &mut Dice, to: Address, program: &Program| {
        Intent::call("rebirth", sender(dice, world), to, program.bytes())
    };
    let mut intents = vec![
        call(dice, victim, &read),
        call(dice, victim, &die).with_value(dice.below(3)),
        call(dice, PROXIES[0], &ask),
        call(dice, victim, &read),
        Intent::transfer("rebirth", sender(dice, world), victim, U256::ONE).with_gas(60_000),
        call(dice, PROXIES[0], &ask),
    ];
    intents.truncate(dice.range(2, 6) as usize);
    intents
}

/// Creation transactions: good ones, constructors that fail or self-destruct, empty ones.
pub(crate) fn creation(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let from = sender(dice, world);
    let runtime = contracts::proxy(INTERPRETER);
    let way = dice.below(8);
    let init = match way {
        0 => Bytes::new(),
        1 => Bytes::from_static(&[op::INVALID]),
        2 => Bytes::from_static(&[op::CALLER, op::SELFDESTRUCT]),
        // Code that begins with 0xef (EIP-3541).
        3 => init_code(INTERPRETER, &Program::default(), &[0xef, 0x01]),
        4 => nest(dice).init.clone(),
        _ => init_code(INTERPRETER, &random(dice, world, 1), &runtime),
    };
    let mut intents =
        vec![Intent::create("creation", from, init).with_value(dice.pick(&[0, 0, 0, 10]))];
    if dice.chance(40) {
        // What the creation made is called in the same block.
        let nonce = executor::StateView::account(&world.state, from).unwrap();
        let made = from.create(nonce.unwrap_or_default().nonce);
        let program = random(dice, world, 1);
        let from = sender(dice, world);
        // Or it is paid, if it has destroyed itself.
        let pay = Intent::transfer("creation", from, made, U256::from(9));
        let call = Intent::call("creation", from, made, program.bytes());
        intents.push(if way == 2 { pay } else { call });
    }
    intents
}

/// Authorizations: set, cleared, set again, by others and by oneself, right and wrong.
pub(crate) fn delegation(dice: &mut Dice, world: &World) -> Vec<Intent> {
    if !world.has(SpecId::PRAGUE) && dice.chance(95) {
        return delegated(dice, world);
    }
    let key = dice.index(KEYS);
    let account = authority(key);
    let mut intents = Vec::new();
    for _ in 0..dice.range(1, 4) {
        let sponsor = if dice.chance(25) { account } else { sender(dice, world) };
        let to = if dice.chance(50) { account } else { anyone(dice, world) };
        let program = random(dice, world, 1);
        let mut intent = Intent::call("delegation", sponsor, to, program.bytes());
        if dice.chance(30) {
            intent.input = Bytes::new();
        }
        let count = dice.pick(&[1, 1, 1, 2, 3]);
        intent.delegations = (0..count).map(|_| wanted(dice, key, sponsor)).collect();
        intent.gas = dice.pick(&[400_000, 400_000, 400_000, 60_000]);
        intents.push(intent.with_value(dice.pick(&[0, 0, 3])));
        intents.extend(delegated_by(dice, world, account));
    }
    intents
}

fn wanted(dice: &mut Dice, key: usize, sponsor: Address) -> Delegation {
    let key = if dice.chance(75) { key } else { dice.index(KEYS) };
    let target = if dice.chance(25) { Address::ZERO } else { delegation_target(dice, sponsor) };
    let mut delegation =
        Delegation { key, target, chain_id: CHAIN_ID, nonce_off: 0, forged: false };
    match dice.below(12) {
        0 => delegation.nonce_off = 1,
        1 => delegation.chain_id = 1,
        2 => delegation.forged = true,
        3 | 4 => delegation.chain_id = 0,
        _ => {}
    }
    delegation
}

/// Delegated accounts are called, paid, and send: plainly, and through their code.
pub(crate) fn delegated(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let account = authority(dice.index(KEYS));
    (0..dice.range(1, 3)).flat_map(|_| delegated_by(dice, world, account)).collect()
}

fn delegated_by(dice: &mut Dice, world: &World, account: Address) -> Vec<Intent> {
    let from = sender(dice, world);
    let intent = match dice.below(8) {
        0 => Intent::transfer("delegated", from, account, U256::from(4)).with_gas(90_000),
        1 => Intent::transfer("delegated", account, anyone(dice, world), U256::from(2)),
        2 => Intent::transfer("delegated", account, from, U256::from(2)).with_gas(90_000),
        3 => {
            // CREATE counts the nonce of an account that also sends.
            let mut program = Program::default();
            program.create(None, 0, &world::constructors()[0]).store(slot(dice));
            Intent::call("delegated", from, account, program.bytes()).with_gas(500_000)
        }
        4 => {
            let program = create(nest(dice), 0);
            Intent::call("delegated", from, account, program.bytes()).with_gas(500_000)
        }
        5 => {
            // Its code sends its ether away: what it sends later may not be covered.
            let mut program = Program::default();
            program.selfdestruct(anyone(dice, world));
            Intent::call("delegated", from, account, program.bytes())
        }
        6 => {
            let mut program = Program::default();
            program.ask(dice.pick(&QUESTIONS), account).log(1).store(slot(dice));
            Intent::call("delegated", from, dice.pick(&PROXIES), program.bytes())
        }
        _ => {
            let program = random(dice, world, 2);
            Intent::call("delegated", from, account, program.bytes()).with_gas(400_000)
        }
    };
    let after = Intent::transfer("delegated", account, from, U256::ONE);
    match dice.below(5) {
        0 => vec![intent, after],
        1 => vec![intent, after.with_fault(Fault::NonceHigh)],
        _ => vec![intent],
    }
}
