//! What people do to each other in a block: short sequences of intents, each made for a trap.
//!
//! Owns the patterns about storage, ether and nonces. Those about code that comes and goes are in
//! `lives`. The order inside a pattern is kept; what other patterns put in between is not its concern.

use super::{
    dice::Dice,
    intent::{FAULTS, Fault, Intent, Post},
    interpreter::{Program, QUESTIONS},
    lives,
    program::{anyone, executor, random, slot, token_data},
    world::{self, CROWD, FORWARDER, GAUGE, PROXIES, TOKENS, World, own_proxy, person},
};
use alloy::primitives::{Address, Bytes, U256};
use revm::{bytecode::opcode as op, primitives::hardfork::SpecId};

/// A kind of sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    Transfer,
    Token,
    HotSlot,
    Program,
    Pointer,
    RevertedRead,
    Restore,
    Drain,
    Fund,
    Chain,
    Fault,
    Beneficiary,
    Precompile,
    Gas,
    Blobs,
    Deposit,
    Stranger,
    Rebirth,
    Creation,
    Delegation,
    Delegated,
}

type Draw = fn(&mut Dice, &World) -> Vec<Intent>;

/// The intents of a pattern.
pub(crate) fn draw(pattern: Pattern, dice: &mut Dice, world: &World) -> Vec<Intent> {
    let draw: Draw = match pattern {
        Pattern::Transfer => transfer,
        Pattern::Token => token,
        Pattern::HotSlot => hot_slot,
        Pattern::Program => program,
        Pattern::Pointer => pointer,
        Pattern::RevertedRead => reverted_read,
        Pattern::Restore => restore,
        Pattern::Drain => drain,
        Pattern::Fund => fund,
        Pattern::Chain => chain,
        Pattern::Fault => fault,
        Pattern::Beneficiary => beneficiary,
        Pattern::Precompile => precompile,
        Pattern::Gas => gas,
        Pattern::Blobs => blobs,
        Pattern::Deposit => deposit,
        Pattern::Stranger => stranger,
        Pattern::Rebirth => lives::rebirth,
        Pattern::Creation => lives::creation,
        Pattern::Delegation => lives::delegation,
        Pattern::Delegated => lives::delegated,
    };
    draw(dice, world)
}

/// Somebody who sends.
pub(crate) fn sender(dice: &mut Dice, world: &World) -> Address {
    dice.pick(&world.senders)
}

fn small(dice: &mut Dice) -> U256 {
    U256::from(dice.pick(&[0u64, 0, 1, 7, 1_000, 1 << 40]))
}

/// Plain transfers: to anyone, to oneself, to code, of nothing.
fn transfer(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let from = sender(dice, world);
    let to = if dice.chance(5) { from } else { anyone(dice, world) };
    let intent = Intent::transfer("transfer", from, to, small(dice));
    let gas = dice.pick(&[21_000, 21_000, 21_000, 40_000, 100_000]);
    vec![intent.with_gas(gas)]
}

fn token(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let calls = dice.range(1, 4);
    let token = dice.pick(&TOKENS);
    let call = |_| {
        let data = token_data(dice, world);
        Intent::call("token", sender(dice, world), token, data).with_gas(120_000)
    };
    (0..calls).map(call).collect()
}

/// Many increments of one slot: by calls of the counter, through contracts that call it, or by a
/// program.
fn hot_slot(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let calls = dice.range(2, 10);
    let mut increment = Program::default();
    increment.set(U256::ONE).add_to(0);
    let mut through = Program::default();
    through.call(op::CALL, world::COUNTER, 0, 0, &[]);
    let way = dice.below(5);
    let call = |_| {
        let from = sender(dice, world);
        let (to, program) = match way {
            0 | 1 => {
                let intent = Intent::call("hot slot", from, world::COUNTER, Bytes::new());
                return intent.with_gas(60_000);
            }
            2 | 3 => (PROXIES[0], &increment),
            _ => (dice.pick(&PROXIES), &through),
        };
        Intent::call("hot slot", from, to, program.bytes()).with_gas(90_000)
    };
    (0..calls).map(call).collect()
}

fn program(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let program = random(dice, world, 2);
    let to = executor(dice, world);
    let intent = Intent::call("program", sender(dice, world), to, program.bytes());
    let gas = dice.weighted(&[(6, 400_000), (3, 120_000), (1, 50_000), (1, 26_000)]);
    vec![intent.with_gas(gas).with_value(dice.pick(&[0, 0, 0, 1, 5_000]))]
}

/// A slot names what is read, asked or called next, and others write it.
fn pointer(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let at = dice.pick(&PROXIES);
    let key = slot(dice);
    let mut follow = Program::default();
    follow.load(key);
    match dice.below(4) {
        0 => drop(follow.load_acc().store(U256::from(2))),
        1 => drop(follow.ask(dice.pick(&QUESTIONS), Address::ZERO).store(U256::from(2))),
        2 => drop(follow.map(0).load_acc().log(1)),
        _ => {
            let inner = random(dice, world, 0);
            follow.call(op::CALL, Address::ZERO, dice.byte(2), 0, &inner.bytes());
        }
    }
    let mut intents = Vec::new();
    for _ in 0..dice.range(1, 3) {
        let mut write = Program::default();
        let to = if dice.chance(50) { slot(dice) } else { word(anyone(dice, world)) };
        write.set(to).store(key);
        intents.push(Intent::call("pointer", sender(dice, world), at, write.bytes()));
        intents.push(Intent::call("pointer", sender(dice, world), at, follow.bytes()));
    }
    intents
}

fn word(address: Address) -> U256 {
    U256::from_be_slice(address.as_slice())
}

/// A read decides, and then everything is reverted: only the read and the gas remain.
fn reverted_read(dice: &mut Dice, world: &World) -> Vec<Intent> {
    if dice.chance(30) {
        return reverted_question(dice, world);
    }
    let at = dice.pick(&PROXIES);
    let key = slot(dice);
    let mut read = Program::default();
    // Spends by the value, so that the gas used tells what was read.
    read.load(key).arithmetic(op::MOD, 9).skip_if_zero(4).grow(90).grow(120);
    if dice.chance(50) {
        read.revert_if_odd().log(2).revert();
    } else {
        read = in_vain(at, read.revert());
    }
    let mut write = Program::default();
    write.set(U256::ONE).append(Program::default().load(key).arithmetic(op::ADD, 1).store(key));
    let intent = |dice: &mut Dice, program: &Program| {
        Intent::call("reverted read", sender(dice, world), at, program.bytes())
    };
    vec![intent(dice, &read), intent(dice, &write), intent(dice, &read)]
}

/// A program that has another run, which is reverted.
fn in_vain(at: Address, inner: &Program) -> Program {
    let mut outer = Program::default();
    outer.call(op::CALL, at, 0, 0, &inner.bytes()).log(3);
    outer
}

/// An account is asked what it holds, and then everything is reverted; it is paid in between.
fn reverted_question(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let (at, of) = (dice.pick(&PROXIES), anyone(dice, world));
    let mut ask = Program::default();
    ask.ask(op::BALANCE, of).revert_if_odd().grow(90).grow(120).revert();
    let ask = in_vain(at, &ask);
    let pay = Intent::transfer("reverted read", sender(dice, world), of, U256::ONE);
    let intent =
        |dice: &mut Dice| Intent::call("reverted read", sender(dice, world), at, ask.bytes());
    vec![intent(dice), pay.with_gas(90_000), intent(dice)]
}

/// One writes, another puts the old value back, a third reads.
fn restore(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let at = dice.pick(&PROXIES);
    let key = slot(dice);
    let old = executor::StateView::slot(&world.state, at, key).unwrap();
    let values = [U256::from(dice.below(9)), if dice.chance(30) { U256::ZERO } else { old }];
    let mut intents = Vec::new();
    for value in values {
        let mut program = Program::default();
        program.set(value).store(key);
        if dice.chance(30) {
            // Written and written back in one transaction: a refund.
            program.set(old).store(key).set(value).store(key);
        }
        intents.push(Intent::call("restore", sender(dice, world), at, program.bytes()));
    }
    let mut read = Program::default();
    read.load(key).log(0);
    intents.push(Intent::call("restore", sender(dice, world), at, read.bytes()));
    intents
}

/// An account spends what it holds, to the wei or nearly, and then wants to send more.
fn drain(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let from = dice.pick(&world.senders);
    let account = executor::StateView::account(&world.state, from).unwrap().unwrap_or_default();
    let price = u128::from(world.base_fee_wei.unwrap_or(0)) + 2;
    let fee = U256::from(21_000) * U256::from(price);
    let left = U256::from(dice.pick(&[0, 0, 1, 50_000]));
    let to = anyone(dice, world);
    let all = account.balance_wei.saturating_sub(fee).saturating_sub(left);
    let beside = world.fees().map_or(U256::ZERO, |fees| {
        let raw = Post::legacy_transfer(account.nonce, price, to, all);
        fees.extra_fee_wei(&raw, 21_000)
    });
    let all = all.saturating_sub(beside);
    let mut spend = Intent::transfer("drain", from, to, all);
    spend.price = Some(price);
    let mut after = Intent::transfer("drain", from, to, U256::ONE);
    after.price = Some(price);
    let back = Intent::transfer("drain", sender(dice, world), from, fee * U256::from(2));
    let mut intents = vec![spend];
    for _ in 0..dice.range(1, 3) {
        if dice.chance(30) {
            intents.push(back.clone());
        }
        intents.push(after.clone());
    }
    intents
}

/// A stranger is funded by a transfer, a call, a self-destruct or a forwarder, and then sends.
fn fund(dice: &mut Dice, world: &World) -> Vec<Intent> {
    if dice.chance(25) {
        return purse(dice, world);
    }
    let stranger = person(1_000 + dice.below(8));
    let giver = sender(dice, world);
    let beside = world.fees().map_or(U256::ZERO, |fees| fees.extra_fee_wei(&[1; 90], 21_000));
    let wei = 120_000 * (world.base_fee_wei.unwrap_or(0) + 3);
    let wei = wei.saturating_add((beside * U256::from(2)).saturating_to());
    let through = dice.pick(&PROXIES);
    let mut give = Program::default();
    let fund = match dice.below(5) {
        0 => Intent::transfer("fund", giver, stranger, U256::from(wei)),
        1 => {
            give.call(op::CALL, stranger, 250, 0, &[]);
            Intent::call("fund", giver, through, give.bytes()).with_value(250)
        }
        2 if !world.has(SpecId::CANCUN) || dice.chance(50) => {
            give.selfdestruct(stranger);
            Intent::call("fund", giver, through, give.bytes()).with_value(wei)
        }
        3 => {
            give.set(word(stranger)).store(U256::ZERO);
            Intent::call("fund", giver, FORWARDER, Bytes::new()).with_value(wei)
        }
        _ => Intent::transfer("fund", giver, stranger, U256::from(wei)).with_gas(60_000),
    };
    let mut send = Intent::transfer("fund", stranger, sender(dice, world), U256::from(2));
    send.price = Some(u128::from(world.base_fee_wei.unwrap_or(0)) + 1);
    let early = dice.chance(30);
    let mut intents = vec![fund, send.clone(), send.clone()];
    if early {
        // Before it has anything: this one is skipped, and so its nonce is not used.
        intents.insert(0, send.with_fault(Fault::Funds));
    }
    intents
}

/// A contract pays what it may not hold, before and after it is paid.
fn purse(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let at = dice.pick(&PROXIES);
    let account = executor::StateView::account(&world.state, at).unwrap().unwrap_or_default();
    let mut pay = Program::default();
    for _ in 0..=account.balance_wei.saturating_to::<u64>().min(2_000) / 250 {
        pay.call(op::CALL, anyone(dice, world), 250, 0, &[]);
    }
    pay.log(1);
    let fill = Intent::transfer("fund", sender(dice, world), at, U256::from(250)).with_gas(90_000);
    let spend = |dice: &mut Dice| {
        let from = sender(dice, world);
        Intent::call("fund", from, at, pay.bytes()).with_gas(600_000)
    };
    vec![fill, spend(dice), spend(dice)]
}

/// Many by one sender, some out of turn, transfers and calls mixed.
fn chain(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let from = sender(dice, world);
    let length = dice.range(3, 12);
    let gaps = dice.chance(40);
    let link = |_| {
        let intent = if dice.chance(50) {
            Intent::transfer("chain", from, anyone(dice, world), small(dice))
        } else {
            let program = random(dice, world, 1);
            Intent::call("chain", from, executor(dice, world), program.bytes())
        };
        let fault = dice.pick(&[Fault::NonceHigh, Fault::NonceLow]);
        if gaps && dice.chance(25) { intent.with_fault(fault) } else { intent }
    };
    (0..length).map(link).collect()
}

/// Something invalid: a transfer, a call or a creation.
fn fault(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let from = match dice.below(12) {
        0 => dice.pick(&PROXIES),
        1 => person(2),
        2 => person(1_000 + dice.below(8)),
        _ => sender(dice, world),
    };
    // Init code at its limit is long to encode and to hash: a little less often than the rest.
    let fault = match dice.pick(&FAULTS) {
        Fault::InitCode if dice.chance(60) => Fault::NonceHigh,
        fault => fault,
    };
    let intent = match dice.below(3) {
        0 => Intent::transfer("fault", from, anyone(dice, world), small(dice)),
        1 => {
            let program = random(dice, world, 1);
            Intent::call("fault", from, executor(dice, world), program.bytes())
        }
        _ => Intent::call("fault", from, world::COUNTER, Bytes::new()),
    };
    vec![intent.with_fault(fault)]
}

/// Who receives the fees is paid, pays, is asked what it holds, and spends what it just earned.
fn beneficiary(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let to = if dice.chance(40) { dice.pick(&world::VAULTS) } else { world.beneficiary };
    let from = sender(dice, world);
    let mut ask = Program::default();
    ask.ask(dice.pick(&QUESTIONS), to).store(slot(dice)).log(1);
    let mut ask_acc = Program::default();
    ask_acc.context(op::COINBASE).ask(op::BALANCE, Address::ZERO).arithmetic(op::MOD, 2);
    ask_acc.skip_if_zero(2).store(U256::from(1)).revert_if_odd();
    let mut earn = Intent::transfer("beneficiary", from, person(0), U256::ONE);
    earn.price = Some(u128::from(world.base_fee_wei.unwrap_or(0)) + 500);
    let asked = Intent::call("beneficiary", from, dice.pick(&PROXIES), ask.bytes());
    let odd = Intent::call("beneficiary", from, dice.pick(&PROXIES), ask_acc.bytes());
    let paid = Intent::transfer("beneficiary", from, to, small(dice)).with_gas(90_000);
    let mut pays = Intent::transfer("beneficiary", to, person(1), U256::from(5));
    pays.price = Some(u128::from(world.base_fee_wei.unwrap_or(0)) + 1);
    let mut program = random(dice, world, 1);
    if dice.chance(30) {
        program.selfdestruct(anyone(dice, world));
    }
    let told = Intent::call("beneficiary", from, to, program.bytes());
    let all = [earn, asked, odd, paid, pays, told];
    (0..dice.range(1, 5)).map(|_| all[dice.index(all.len())].clone()).collect()
}

/// Precompiles as recipients, with and without value and data.
fn precompile(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let to = if dice.chance(10) {
        Address::from_word(U256::from(0x100).into())
    } else {
        Address::with_last_byte(dice.range(1, 18) as u8)
    };
    let length = dice.pick(&[0, 0, 1, 32, 128, 192, 213]);
    let data: Vec<u8> = (0..length).map(|_| dice.byte(3)).collect();
    let intent = Intent::call("precompile", sender(dice, world), to, data.into());
    let gas = dice.pick(&[21_000, 30_000, 150_000]);
    vec![intent.with_gas(gas).with_value(dice.pick(&[0, 0, 1, 100]))]
}

/// Calls whose result depends on gas, and calls that run out of it.
fn gas(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let mut spin = Program::default();
    spin.set(U256::from(200)).add_to(dice.byte(3)).set(U256::MAX).repeat(33);
    let from = sender(dice, world);
    let gas = dice.range(22_000, 120_000);
    if dice.chance(50) {
        vec![Intent::call("gas", from, GAUGE, Bytes::new()).with_gas(gas)]
    } else {
        vec![Intent::call("gas", from, dice.pick(&PROXIES), spin.bytes()).with_gas(gas)]
    }
}

/// Blob transactions until the block has no room for them.
fn blobs(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let count = if world.is_rollup() { 1 } else { dice.range(1, 5) };
    let send = |_| {
        let mut intent =
            Intent::transfer("blobs", sender(dice, world), anyone(dice, world), small(dice));
        intent.blobs = dice.pick(&[1, 2, 3, 3, 6, 10]);
        intent
    };
    (0..count).map(send).collect()
}

/// Deposits: mints, calls, creations, with too little gas, from contracts, to delegated accounts.
fn deposit(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let from = match dice.below(6) {
        0 => dice.pick(&PROXIES),
        1 => person(1_000 + dice.below(8)),
        2 => world.beneficiary,
        _ => sender(dice, world),
    };
    let mut intent = match dice.below(5) {
        0 => Intent::transfer("deposit", from, anyone(dice, world), small(dice)),
        1 => lives::creation(dice, world).remove(0),
        2 => Intent::call("deposit", from, dice.pick(&TOKENS), token_data(dice, world)),
        _ => {
            let program = random(dice, world, 2);
            Intent::call("deposit", from, executor(dice, world), program.bytes())
        }
    };
    intent.pattern = "deposit";
    intent.from = from;
    intent.mint = Some(dice.pick(&[0, 0, 1, 1_000_000, 1 << 70]));
    intent.gas = dice.weighted(&[(5, intent.gas), (2, 60_000), (1, 21_000), (1, 1_000), (1, 0)]);
    if dice.chance(10) {
        intent.value = U256::from(1u128 << 100);
    }
    vec![intent]
}

/// Nobody meets anybody: what a parallel engine is made for. One member of a crowd, by itself.
fn stranger(dice: &mut Dice, world: &World) -> Vec<Intent> {
    let index = dice.below(CROWD);
    let from = person(index);
    let other = person(2_000 + index);
    let mut program = Program::default();
    program.load(U256::ONE).arithmetic(op::ADD, 3).store(slot(dice)).load(slot(dice)).log(1);
    let intent = match dice.below(4) {
        0 => Intent::transfer("stranger", from, other, U256::from(3)),
        1 => {
            let data = super::contracts::transfer(other, U256::from(2));
            Intent::call("stranger", from, dice.pick(&TOKENS), data).with_gas(90_000)
        }
        2 => {
            program.append(&random(dice, world, 1));
            Intent::call("stranger", from, own_proxy(index), program.bytes())
        }
        _ => Intent::call("stranger", from, own_proxy(index), program.bytes()).with_gas(120_000),
    };
    vec![intent]
}
