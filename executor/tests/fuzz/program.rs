//! Random programs for the interpreter.
//!
//! Owns which instructions follow which. A step is drawn without regard to the one before, but for
//! the pairs that make a trap: a value read and then followed, read and then reverted over, created
//! and then asked for.

use super::{
    contracts,
    dice::Dice,
    interpreter::{ARITHMETIC, CALLS, CONTEXT, Program, QUESTIONS},
    world::{self, COPY, COUNTER, FORWARDER, GAUGE, INTERPRETER, PROXIES, TOKENS, World, person},
};
use alloy::primitives::{Address, Bytes, U256};
use revm::bytecode::opcode as op;

/// An account of any kind.
pub(crate) fn anyone(dice: &mut Dice, world: &World) -> Address {
    let sender = dice.pick(&world.senders);
    let precompile = Address::with_last_byte(dice.range(1, 18) as u8);
    let nest = dice.index(world::nests().len());
    let proxy = dice.pick(&PROXIES);
    let stranger = person(1_000 + dice.below(8));
    let vault = dice.pick(&world::VAULTS);
    dice.weighted(&[
        (34, sender),
        (20, proxy),
        (10, world.beneficiary),
        (8, world::nests()[nest].address),
        (6, precompile),
        (6, stranger),
        (5, world::BOMB),
        (5, FORWARDER),
        (3, COUNTER),
        (3, vault),
        (2, INTERPRETER),
        (1, Address::ZERO),
    ])
}

/// An account that runs programs.
pub(crate) fn executor(dice: &mut Dice, world: &World) -> Address {
    match dice.below(10) {
        0 => COPY,
        1 => dice.pick(&world.senders[..6]),
        2 => world::nests()[dice.index(world::nests().len())].address,
        _ => dice.pick(&PROXIES),
    }
}

/// A slot; the first few far more often than the rest.
pub(crate) fn slot(dice: &mut Dice) -> U256 {
    if dice.chance(60) { U256::from(dice.below(4)) } else { dice.pick(world::slots()) }
}

/// A program of a few steps, with calls that run programs themselves.
pub(crate) fn random(dice: &mut Dice, world: &World, depth: u8) -> Program {
    let mut program = Program::default();
    for _ in 0..dice.range(1, 7) {
        step(&mut program, dice, world, depth);
    }
    program
}

fn step(program: &mut Program, dice: &mut Dice, world: &World, depth: u8) {
    match dice.below(26) {
        0..=3 => drop(program.load(slot(dice))),
        4..=6 => drop(program.store(slot(dice))),
        7 => drop(program.set(U256::from(dice.below(4))).store(slot(dice))),
        8 => drop(program.set(stored(dice, world)).store(slot(dice))),
        9 => drop(program.set(U256::ONE).add_to(dice.byte(4))),
        10 => drop(program.load(slot(dice)).load_acc()),
        11 => drop(program.ask(dice.pick(&QUESTIONS), anyone(dice, world))),
        12 => drop(program.load(slot(dice)).ask(dice.pick(&QUESTIONS), Address::ZERO)),
        13 => drop(program.context(dice.pick(&CONTEXT))),
        14 => drop(program.arithmetic(dice.pick(&ARITHMETIC), dice.byte(7))),
        15 => drop(program.log(dice.byte(4))),
        16 => drop(program.skip_if_zero(dice.pick(&[2, 4, 23, 33]))),
        17 if world.has(revm::primitives::hardfork::SpecId::CANCUN) => {
            let at = dice.byte(3);
            let _ = if dice.chance(50) { program.tload(at) } else { program.tstore(at) };
        }
        18 => drop(program.map(dice.byte(3)).load_acc()),
        19 | 20 if depth > 0 => nested(program, dice, world, depth - 1),
        21 => token_call(program, dice, world),
        22 if depth > 0 => create(program, dice, world, depth - 1),
        23 => drop(program.block_hash(dice.byte(4))),
        24 => rare(program, dice, world),
        _ => drop(program.load(slot(dice)).store(slot(dice))),
    }
}

fn stored(dice: &mut Dice, world: &World) -> U256 {
    if dice.chance(50) {
        dice.pick(world::slots())
    } else {
        U256::from_be_slice(anyone(dice, world).as_slice())
    }
}

fn nested(program: &mut Program, dice: &mut Dice, world: &World, depth: u8) {
    let inner = random(dice, world, depth);
    let kind = dice.weighted(&[(6, CALLS[0]), (2, CALLS[1]), (2, CALLS[2]), (1, CALLS[3])]);
    let to = match dice.below(5) {
        0 => anyone(dice, world),
        // Whoever the slot names.
        1 => {
            program.load(slot(dice));
            Address::ZERO
        }
        _ => executor(dice, world),
    };
    let gas = dice.pick(&[0, 0, 0, 0, 10, 80, 300]);
    program.call(kind, to, dice.pick(&[0, 0, 0, 1, 50]), gas, &inner.bytes());
    if dice.chance(25) {
        program.store(slot(dice));
    }
}

fn token_call(program: &mut Program, dice: &mut Dice, world: &World) {
    let kind = dice.pick(&[op::CALL, op::CALL, op::STATICCALL, op::DELEGATECALL]);
    let data = token_data(dice, world);
    program.call(kind, dice.pick(&TOKENS), 0, 0, &data);
}

/// A call to a token. The switches are rare: they change what every later call touches.
pub(crate) fn token_data(dice: &mut Dice, world: &World) -> Bytes {
    let to = anyone(dice, world);
    let amount = U256::from(dice.pick(&[0, 1, 1, 5, 400, 1_001]));
    match dice.below(20) {
        0..=9 => contracts::transfer(to, amount),
        10..=12 => contracts::approve(dice.pick(&world.senders), amount),
        13..=15 => contracts::transfer_from(dice.pick(&world.senders), to, amount),
        16 | 17 => contracts::balance_of(to),
        18 => contracts::switch(contracts::PAUSED, U256::from(dice.below(4) / 3)),
        _ => {
            let to = if dice.chance(50) { to } else { Address::ZERO };
            contracts::switch(contracts::REDIRECT, U256::from_be_slice(to.as_slice()))
        }
    }
}

fn create(program: &mut Program, dice: &mut Dice, world: &World, depth: u8) {
    let value = dice.pick(&[0, 0, 1]);
    if dice.chance(60) && world.has(revm::primitives::hardfork::SpecId::PETERSBURG) {
        let nest = &world::nests()[dice.index(world::nests().len())];
        program.create(Some(nest.salt), value, &nest.init);
    } else {
        let constructor = random(dice, world, depth);
        let runtime = contracts::proxy(INTERPRETER);
        program.create(None, value, &contracts::init_code(INTERPRETER, &constructor, &runtime));
    }
    // The new account is called at once, asked about, or remembered.
    match dice.below(4) {
        0 => drop(program.ask(dice.pick(&QUESTIONS), Address::ZERO)),
        1 => {
            let inner = random(dice, world, 0);
            program.call(op::CALL, Address::ZERO, 0, 0, &inner.bytes());
        }
        2 => drop(program.store(slot(dice))),
        _ => {}
    }
}

fn rare(program: &mut Program, dice: &mut Dice, world: &World) {
    match dice.below(10) {
        0 | 1 => drop(program.revert_if_odd()),
        2 => drop(program.revert()),
        3 => drop(program.invalid()),
        4 | 5 => drop(program.selfdestruct(anyone(dice, world))),
        6 => drop(program.load(slot(dice)).selfdestruct(Address::ZERO)),
        7 => drop(program.context(op::ADDRESS).selfdestruct(Address::ZERO)),
        8 => drop(program.call(op::CALL, GAUGE, 0, 0, &[])),
        _ => {
            // Six bytes back: count at slot 3, as often as the accumulator says.
            program.set(U256::from(dice.below(9))).load(U256::from(3)).grow(dice.byte(40));
            program.repeat(2);
        }
    }
}
