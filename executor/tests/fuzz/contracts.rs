//! The contracts that stand in every drawn world, and what their callers send them.
//!
//! Owns their code and their call data. Each has one way of surprising an engine that guesses what a
//! transaction touches; together with the interpreter they reach every trap. Where they stand and
//! what they hold is the world's.

use super::{
    assembler::{Assembler, Label},
    interpreter::Program,
};
use alloy::primitives::{Address, Bytes, U256, keccak256};
use revm::bytecode::opcode as op;

/// `transfer(address,uint256)`.
const TRANSFER: u32 = 0xa905_9cbb;
/// `transferFrom(address,address,uint256)`.
const TRANSFER_FROM: u32 = 0x23b8_72dd;
/// `approve(address,uint256)`.
const APPROVE: u32 = 0x095e_a7b3;
/// `balanceOf(address)`.
const BALANCE_OF: u32 = 0x70a0_8231;
/// Sets one of the token's switches.
const SWITCH: u32 = 1;

/// Slot of the token's balances.
const BALANCES: u64 = 0;
/// Slot of its allowances.
const ALLOWANCES: u64 = 1;
/// While not zero, transfers revert.
pub(crate) const PAUSED: u64 = 2;
/// While not zero, it receives what others are sent: the same call then touches another slot.
pub(crate) const REDIRECT: u64 = 3;

const FROM: u64 = 0x80;
const TO: u64 = 0xa0;
const AMOUNT: u64 = 0xc0;

/// Place of a key in the mapping at a slot, as Solidity puts it.
fn mapped(key: U256, slot: U256) -> U256 {
    keccak256([key.to_be_bytes::<32>(), slot.to_be_bytes::<32>()].concat()).into()
}

/// The token's slot of an account's balance.
pub(crate) fn balance_slot(account: Address) -> U256 {
    mapped(U256::from_be_slice(account.as_slice()), U256::from(BALANCES))
}

/// Call data: a selector and words.
fn call_data(selector: u32, words: &[U256]) -> Bytes {
    let mut data = selector.to_be_bytes().to_vec();
    words.iter().for_each(|word| data.extend_from_slice(&word.to_be_bytes::<32>()));
    data.into()
}

fn word(address: Address) -> U256 {
    U256::from_be_slice(address.as_slice())
}

/// Sends tokens.
pub(crate) fn transfer(to: Address, amount: U256) -> Bytes {
    call_data(TRANSFER, &[word(to), amount])
}

/// Sends tokens of somebody else.
pub(crate) fn transfer_from(from: Address, to: Address, amount: U256) -> Bytes {
    call_data(TRANSFER_FROM, &[word(from), word(to), amount])
}

/// Allows somebody to send.
pub(crate) fn approve(spender: Address, amount: U256) -> Bytes {
    call_data(APPROVE, &[word(spender), amount])
}

/// Asks for a balance.
pub(crate) fn balance_of(account: Address) -> Bytes {
    call_data(BALANCE_OF, &[word(account)])
}

/// Sets [`PAUSED`] or [`REDIRECT`].
pub(crate) fn switch(which: u64, value: U256) -> Bytes {
    call_data(SWITCH, &[U256::from(which), value])
}

/// Replaces the key on the stack by its place in the mapping at the slot on the stack above it.
fn map_stack(a: &mut Assembler) {
    a.push(32u64).op(op::MSTORE).push(0u64).op(op::MSTORE);
    a.push(64u64).push(0u64).op(op::KECCAK256);
}

fn argument(a: &mut Assembler, index: u64) {
    a.push(4 + 32 * index).op(op::CALLDATALOAD);
}

fn set_variable(a: &mut Assembler, at: u64) {
    a.push(at).op(op::MSTORE);
}

fn variable(a: &mut Assembler, at: u64) {
    a.push(at).op(op::MLOAD);
}

fn revert_if(a: &mut Assembler, revert: Label) {
    a.jump_if(revert);
}

/// An ERC-20 token with two switches.
pub(crate) fn token() -> Bytes {
    let mut a = Assembler::default();
    let labels = [(); 7].map(|()| a.label());
    let [transfer, from, approve, balance, switch, send, revert] = labels;
    let selectors = [TRANSFER, TRANSFER_FROM, APPROVE, BALANCE_OF, SWITCH];
    for (selector, label) in selectors.into_iter().zip(labels) {
        a.push(U256::ONE << 224).push(0u64).ops(&[op::CALLDATALOAD, op::DIV]);
        a.push(u64::from(selector)).op(op::EQ).jump_if(label);
    }
    a.bind(revert).push(0u64).push(0u64).op(op::REVERT);
    a.bind(transfer).op(op::CALLER);
    set_variable(&mut a, FROM);
    argument(&mut a, 0);
    set_variable(&mut a, TO);
    argument(&mut a, 1);
    set_variable(&mut a, AMOUNT);
    a.jump(send);
    token_from(&mut a, (from, send, revert));
    token_send(&mut a, (send, revert));
    a.bind(approve);
    argument(&mut a, 1);
    argument(&mut a, 0);
    a.op(op::CALLER).push(ALLOWANCES);
    map_stack(&mut a);
    map_stack(&mut a);
    a.ops(&[op::SSTORE, op::STOP]).bind(balance);
    argument(&mut a, 0);
    a.push(BALANCES);
    map_stack(&mut a);
    a.op(op::SLOAD).push(0u64).op(op::MSTORE).push(32u64).push(0u64).op(op::RETURN);
    a.bind(switch);
    argument(&mut a, 1);
    argument(&mut a, 0);
    a.ops(&[op::SSTORE, op::STOP]);
    a.finish()
}

fn token_from(a: &mut Assembler, (from, send, revert): (Label, Label, Label)) {
    a.bind(from);
    for (index, at) in [(0, FROM), (1, TO), (2, AMOUNT)] {
        argument(a, index);
        set_variable(a, at);
    }
    // The place of allowances[from][caller], twice: to read and to write.
    a.op(op::CALLER);
    variable(a, FROM);
    a.push(ALLOWANCES);
    map_stack(a);
    map_stack(a);
    a.ops(&[op::DUP1, op::SLOAD]);
    variable(a, AMOUNT);
    a.ops(&[op::DUP2, op::LT]);
    revert_if(a, revert);
    variable(a, AMOUNT);
    a.ops(&[op::SWAP1, op::SUB, op::SWAP1, op::SSTORE]).jump(send);
}

fn token_send(a: &mut Assembler, (send, revert): (Label, Label)) {
    let straight = a.label();
    a.bind(send).push(PAUSED).op(op::SLOAD);
    revert_if(a, revert);
    a.push(REDIRECT).ops(&[op::SLOAD, op::ISZERO]).jump_if(straight);
    a.push(REDIRECT).op(op::SLOAD);
    set_variable(a, TO);
    a.bind(straight);
    variable(a, FROM);
    a.push(BALANCES);
    map_stack(a);
    a.ops(&[op::DUP1, op::SLOAD]);
    variable(a, AMOUNT);
    a.ops(&[op::DUP2, op::LT]);
    revert_if(a, revert);
    variable(a, AMOUNT);
    a.ops(&[op::SWAP1, op::SUB, op::SWAP1, op::SSTORE]);
    variable(a, TO);
    a.push(BALANCES);
    map_stack(a);
    a.ops(&[op::DUP1, op::SLOAD]);
    variable(a, AMOUNT);
    a.ops(&[op::ADD, op::SWAP1, op::SSTORE]);
    variable(a, TO);
    variable(a, FROM);
    a.push(U256::from_be_bytes(keccak256("Transfer(address,address,uint256)").0));
    a.push(32u64).push(AMOUNT).op(op::LOG3);
    a.push(1u64).push(0u64).op(op::MSTORE).push(32u64).push(0u64).op(op::RETURN);
}

/// Counts every call at slot 0: the hot slot of a block.
pub(crate) fn counter() -> Bytes {
    let mut a = Assembler::default();
    a.push(0u64).op(op::SLOAD).push(1u64).op(op::ADD).push(0u64).ops(&[op::SSTORE, op::STOP]);
    a.finish()
}

/// Sends what it receives on to the account at slot 0, and counts at slot 1. A plain transfer to it
/// is no plain transfer.
pub(crate) fn forwarder() -> Bytes {
    let mut a = Assembler::default();
    a.push(1u64).op(op::SLOAD).push(1u64).op(op::ADD).push(1u64).op(op::SSTORE);
    for _ in 0..4 {
        a.push(0u64);
    }
    a.op(op::CALLVALUE).push(0u64).op(op::SLOAD);
    a.ops(&[op::GAS, op::CALL, op::STOP]);
    a.finish()
}

/// Self-destructs in favour of the account at slot 0, whoever calls.
pub(crate) fn bomb() -> Bytes {
    let mut a = Assembler::default();
    a.push(0u64).ops(&[op::SLOAD, op::SELFDESTRUCT]);
    a.finish()
}

/// Spends gas by how much is left: its result depends on every price before it.
pub(crate) fn gauge() -> Bytes {
    let mut a = Assembler::default();
    a.op(op::GAS).push(0u64).ops(&[op::SLOAD, op::SSTORE]);
    a.op(op::GAS).push(1u64).op(op::AND).push(0u64).ops(&[op::SSTORE, op::STOP]);
    a.finish()
}

/// A minimal proxy (EIP-1167): its storage, the other's code.
pub(crate) fn proxy(to: Address) -> Bytes {
    let mut code = alloy::hex!("363d3d373d3d3d363d73").to_vec();
    code.extend_from_slice(to.as_slice());
    code.extend_from_slice(&alloy::hex!("5af43d82803e903d91602b57fd5bf3"));
    code.into()
}

/// Init code that lets the interpreter run a program in the new account, then leaves `runtime`, and
/// behind it as many bytes as it was paid wei, at most 3: an address that is born again may hold
/// another code with the same nonce.
pub(crate) fn init_code(interpreter: Address, program: &Program, runtime: &[u8]) -> Bytes {
    let mut head = Bytes::new();
    // The length of the head is known only once it is written: the second pass has it.
    for _ in 0..2 {
        let mut a = Assembler::default();
        if program.len() > 0 {
            copy(&mut a, head.len(), program.len());
            a.push(0u64).push(0u64).push(program.len()).push(0u64);
            a.push_address(interpreter).ops(&[op::GAS, op::DELEGATECALL, op::POP]);
        }
        copy(&mut a, head.len() + program.len(), runtime.len());
        a.op(op::CALLVALUE).push(3u64).op(op::AND).push(runtime.len());
        a.op(op::ADD).push(0u64).op(op::RETURN);
        head = a.finish();
    }
    [&head[..], &program.bytes(), runtime].concat().into()
}

/// Copies a part of the code to the start of memory, in a head whose length does not depend on it.
fn copy(a: &mut Assembler, from: usize, length: usize) {
    a.push(length).ops(&[op::PUSH2, (from >> 8) as u8, from as u8]).push(0u64).op(op::CODECOPY);
}
