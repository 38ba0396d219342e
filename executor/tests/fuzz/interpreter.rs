//! The interpreter: a contract that runs the program in its call data.
//!
//! Owns the instructions and their encoding: [`Program`] writes what [`code`] reads. A program has an
//! accumulator and a program counter, both in memory, so that the stack is empty between
//! instructions and no program can unbalance it. An address operand of zero means the accumulator:
//! that is how a value read from storage decides who is called. Does not decide what is drawn.

use super::assembler::{Assembler, Label};
use alloy::primitives::{Address, Bytes, U256};
use revm::bytecode::opcode as op;

/// Where the program counter is in memory.
const PC: u64 = 0x00;
/// Where the accumulator is.
const ACC: u64 = 0x20;
/// Results of calls and hash inputs.
const SCRATCH: u64 = 0x40;
/// Call data and init code of what a program starts.
const DATA: u64 = 0x80;
/// Entries of the jump table. An instruction beyond the last one ends the program.
const TABLE: usize = 64;
/// Bytes of an entry: JUMPDEST, PUSH2 and JUMP.
const ENTRY: usize = 5;

/// Instructions without operand that put what one opcode gives into the accumulator.
pub(crate) const CONTEXT: [u8; 15] = [
    op::GAS,
    op::CALLER,
    op::CALLVALUE,
    op::COINBASE,
    op::GASPRICE,
    op::ORIGIN,
    op::ADDRESS,
    op::SELFBALANCE,
    op::TIMESTAMP,
    op::NUMBER,
    op::BASEFEE,
    op::DIFFICULTY,
    op::CHAINID,
    op::GASLIMIT,
    op::BLOBBASEFEE,
];

/// What a call instruction may be.
pub(crate) const CALLS: [u8; 4] = [op::CALL, op::DELEGATECALL, op::STATICCALL, op::CALLCODE];

/// Questions about an account.
pub(crate) const QUESTIONS: [u8; 4] =
    [op::BALANCE, op::EXTCODEHASH, op::EXTCODESIZE, op::EXTCODECOPY];

/// Arithmetic of the accumulator with a byte.
pub(crate) const ARITHMETIC: [u8; 4] = [op::ADD, op::MOD, op::MUL, op::XOR];

const STOP: u8 = 0;
const SET: u8 = 1;
const SET_BYTE: u8 = 2;
const LOAD: u8 = 3;
const STORE: u8 = 4;
const LOAD_WORD: u8 = 5;
const STORE_WORD: u8 = 6;
const LOAD_ACC: u8 = 7;
const ADD_TO: u8 = 8;
const TLOAD: u8 = 9;
const TSTORE: u8 = 10;
const MAP: u8 = 11;
const REVERT: u8 = 12;
const REVERT_IF_ODD: u8 = 13;
const INVALID: u8 = 14;
const LOG: u8 = 15;
const SKIP_IF_ZERO: u8 = 16;
const REPEAT: u8 = 17;
const GROW: u8 = 18;
const BLOCKHASH: u8 = 19;
const CREATE: u8 = 20;
const CREATE2: u8 = 21;
const SELFDESTRUCT: u8 = 22;
const FIRST_CALL: u8 = 24;
const FIRST_QUESTION: u8 = 28;
const FIRST_ARITHMETIC: u8 = 32;
const FIRST_CONTEXT: u8 = 36;

/// The interpreter's code.
pub(crate) fn code() -> Bytes {
    let mut a = Assembler::default();
    let next = a.label();
    let stop = a.label();
    let mut handlers = vec![stop; TABLE];
    a.bind(next);
    // JUMP to the table's entry of the instruction; past the program's end it is 0.
    a.push(ENTRY).push(TABLE - 1);
    byte(&mut a, 0);
    a.ops(&[op::AND, op::MUL]);
    let table = a.len() + 4;
    a.push(table).ops(&[op::ADD, op::JUMP]);
    assert_eq!(a.len(), table, "the push of the table's place has one byte");
    for slot in &mut handlers {
        *slot = a.label();
    }
    for handler in handlers.clone() {
        a.op(op::JUMPDEST).jump(handler);
    }
    for (instruction, handler) in handlers.into_iter().enumerate() {
        a.bind(handler);
        storage(&mut a, instruction as u8, next);
        control(&mut a, instruction as u8, next);
        accounts(&mut a, instruction as u8, next);
    }
    a.bind(stop);
    a.finish()
}

fn word(a: &mut Assembler, offset: usize) {
    a.push(offset).push(PC).ops(&[op::MLOAD, op::ADD, op::CALLDATALOAD]);
}

fn byte(a: &mut Assembler, offset: usize) {
    word(a, offset);
    a.push(0u64).op(op::BYTE);
}

fn short(a: &mut Assembler, offset: usize) {
    a.push(U256::ONE << 240);
    word(a, offset);
    a.op(op::DIV);
}

/// The address at the offset, or the accumulator's if that is zero.
fn address(a: &mut Assembler, offset: usize) {
    for _ in 0..2 {
        a.push(U256::ONE << 96);
        word(a, offset);
        a.op(op::DIV);
    }
    acc(a);
    a.ops(&[op::SWAP1, op::ISZERO, op::MUL, op::ADD]);
}

fn acc(a: &mut Assembler) {
    a.push(ACC).op(op::MLOAD);
}

fn set_acc(a: &mut Assembler) {
    a.push(ACC).op(op::MSTORE);
}

fn advance(a: &mut Assembler, bytes: usize, next: Label) {
    a.push(PC).op(op::MLOAD).push(bytes).op(op::ADD);
    a.push(PC).op(op::MSTORE).jump(next);
}

fn storage(a: &mut Assembler, instruction: u8, next: Label) {
    let length = match instruction {
        SET | LOAD_WORD | STORE_WORD => 33,
        SET_BYTE | LOAD | STORE | ADD_TO | TLOAD | TSTORE | MAP => 2,
        LOAD_ACC => 1,
        _ => return,
    };
    match instruction {
        STORE | TSTORE | STORE_WORD => acc(a),
        ADD_TO => {
            acc(a);
            byte(a, 1);
            a.ops(&[op::SLOAD, op::ADD]);
        }
        MAP => {
            acc(a);
            a.push(SCRATCH).op(op::MSTORE);
        }
        _ => {}
    }
    match length {
        33 => word(a, 1),
        2 => byte(a, 1),
        _ => acc(a),
    }
    match instruction {
        LOAD | LOAD_WORD | LOAD_ACC => a.op(op::SLOAD),
        STORE | STORE_WORD | ADD_TO => a.op(op::SSTORE),
        TLOAD => a.op(op::TLOAD),
        TSTORE => a.op(op::TSTORE),
        MAP => a.push(SCRATCH + 32).op(op::MSTORE).push(64u64).push(SCRATCH).op(op::KECCAK256),
        _ => &mut *a,
    };
    if !matches!(instruction, STORE | STORE_WORD | ADD_TO | TSTORE) {
        set_acc(a);
    }
    advance(a, length, next);
}

fn control(a: &mut Assembler, instruction: u8, next: Label) {
    match instruction {
        STOP => {
            a.push(32u64).push(ACC).op(op::RETURN);
        }
        REVERT => {
            a.push(32u64).push(ACC).op(op::REVERT);
        }
        REVERT_IF_ODD => {
            let odd = a.label();
            acc(a);
            a.push(1u64).op(op::AND).jump_if(odd);
            advance(a, 1, next);
            a.bind(odd).push(32u64).push(ACC).op(op::REVERT);
        }
        INVALID => {
            a.op(op::INVALID);
        }
        LOG => {
            byte(a, 1);
            a.push(32u64).push(ACC).op(op::LOG1);
            advance(a, 2, next);
        }
        SKIP_IF_ZERO => {
            byte(a, 1);
            acc(a);
            a.ops(&[op::ISZERO, op::MUL]).push(PC).ops(&[op::MLOAD, op::ADD]);
            a.push(PC).op(op::MSTORE);
            advance(a, 2, next);
        }
        REPEAT => repeat(a, next),
        GROW => {
            byte(a, 1);
            a.ops(&[op::DUP1]).push(1_024u64).ops(&[op::MUL, op::MSTORE]);
            // The program counter is overwritten where the byte was zero.
            advance(a, 2, next);
        }
        _ => {}
    }
}

/// Counts the accumulator down and jumps back until it is zero, or the gas is.
fn repeat(a: &mut Assembler, next: Label) {
    let done = a.label();
    acc(a);
    a.op(op::ISZERO).jump_if(done).push(1u64);
    acc(a);
    a.op(op::SUB);
    set_acc(a);
    byte(a, 1);
    a.push(PC).ops(&[op::MLOAD, op::SUB]).push(PC).op(op::MSTORE).jump(next);
    a.bind(done);
    advance(a, 2, next);
}

fn accounts(a: &mut Assembler, instruction: u8, next: Label) {
    let at = |first: u8| usize::from(instruction - first);
    match instruction {
        CREATE | CREATE2 => create(a, instruction, next),
        SELFDESTRUCT => {
            address(a, 1);
            a.op(op::SELFDESTRUCT);
        }
        BLOCKHASH => {
            byte(a, 1);
            a.ops(&[op::NUMBER, op::SUB, op::BLOCKHASH]);
            set_acc(a);
            advance(a, 2, next);
        }
        FIRST_CALL..FIRST_QUESTION => call(a, CALLS[at(FIRST_CALL)], next),
        FIRST_QUESTION..FIRST_ARITHMETIC => {
            let question = QUESTIONS[at(FIRST_QUESTION)];
            if question == op::EXTCODECOPY {
                a.push(0u64).push(SCRATCH).op(op::MSTORE).push(32u64).push(0u64).push(SCRATCH);
                address(a, 1);
                a.op(question).push(SCRATCH).op(op::MLOAD);
            } else {
                address(a, 1);
                a.op(question);
            }
            set_acc(a);
            advance(a, 21, next);
        }
        FIRST_ARITHMETIC..FIRST_CONTEXT => {
            byte(a, 1);
            acc(a);
            a.op(ARITHMETIC[at(FIRST_ARITHMETIC)]);
            set_acc(a);
            advance(a, 2, next);
        }
        FIRST_CONTEXT.. => {
            if let Some(opcode) = CONTEXT.get(at(FIRST_CONTEXT)) {
                a.op(*opcode);
                set_acc(a);
                advance(a, 1, next);
            } else {
                a.op(op::STOP);
            }
        }
        _ => {}
    }
}

/// Copies what follows the instruction's header to memory.
fn copy_data(a: &mut Assembler, header: usize) {
    short(a, header - 2);
    a.push(header).push(PC).ops(&[op::MLOAD, op::ADD]).push(DATA).op(op::CALLDATACOPY);
}

fn skip_data(a: &mut Assembler, header: usize, next: Label) {
    short(a, header - 2);
    a.push(PC).ops(&[op::MLOAD, op::ADD]).push(PC).op(op::MSTORE);
    advance(a, header, next);
}

fn call(a: &mut Assembler, kind: u8, next: Label) {
    copy_data(a, 26);
    a.push(0u64).push(SCRATCH).op(op::MSTORE).push(32u64).push(SCRATCH);
    short(a, 24);
    a.push(DATA);
    if matches!(kind, op::CALL | op::CALLCODE) {
        byte(a, 21);
    }
    address(a, 1);
    // Gas in units of 256; none named means all.
    short(a, 22);
    a.ops(&[op::DUP1, op::ISZERO, op::GAS, op::MUL, op::SWAP1]).push(256u64);
    a.ops(&[op::MUL, op::ADD, kind]).push(SCRATCH).ops(&[op::MLOAD, op::ADD]);
    set_acc(a);
    skip_data(a, 26, next);
}

fn create(a: &mut Assembler, instruction: u8, next: Label) {
    copy_data(a, 5);
    if instruction == CREATE2 {
        byte(a, 1);
    }
    short(a, 3);
    a.push(DATA);
    byte(a, 2);
    a.op(if instruction == CREATE2 { op::CREATE2 } else { op::CREATE });
    set_acc(a);
    skip_data(a, 5, next);
}

/// A program being written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Program(Vec<u8>);

impl Program {
    fn put(&mut self, instruction: u8, operands: &[&[u8]]) -> &mut Self {
        self.0.push(instruction);
        operands.iter().for_each(|operand| self.0.extend_from_slice(operand));
        self
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The call data.
    pub(crate) fn bytes(&self) -> Bytes {
        self.0.clone().into()
    }

    /// Appends another program.
    pub(crate) fn append(&mut self, other: &Self) -> &mut Self {
        self.0.extend_from_slice(&other.0);
        self
    }

    /// Accumulator := the word.
    pub(crate) fn set(&mut self, value: U256) -> &mut Self {
        match u8::try_from(value) {
            Ok(byte) => self.put(SET_BYTE, &[&[byte]]),
            Err(_) => self.put(SET, &[&value.to_be_bytes::<32>()]),
        }
    }

    /// Accumulator := slot.
    pub(crate) fn load(&mut self, slot: U256) -> &mut Self {
        match u8::try_from(slot) {
            Ok(byte) => self.put(LOAD, &[&[byte]]),
            Err(_) => self.put(LOAD_WORD, &[&slot.to_be_bytes::<32>()]),
        }
    }

    /// Slot := accumulator.
    pub(crate) fn store(&mut self, slot: U256) -> &mut Self {
        match u8::try_from(slot) {
            Ok(byte) => self.put(STORE, &[&[byte]]),
            Err(_) => self.put(STORE_WORD, &[&slot.to_be_bytes::<32>()]),
        }
    }

    /// Accumulator := the slot that the accumulator names.
    pub(crate) fn load_acc(&mut self) -> &mut Self {
        self.put(LOAD_ACC, &[])
    }

    /// Slot := slot + accumulator.
    pub(crate) fn add_to(&mut self, slot: u8) -> &mut Self {
        self.put(ADD_TO, &[&[slot]])
    }

    /// Accumulator := transient slot.
    pub(crate) fn tload(&mut self, slot: u8) -> &mut Self {
        self.put(TLOAD, &[&[slot]])
    }

    /// Transient slot := accumulator.
    pub(crate) fn tstore(&mut self, slot: u8) -> &mut Self {
        self.put(TSTORE, &[&[slot]])
    }

    /// Accumulator := place of the accumulator in the mapping at a slot, as Solidity puts it.
    pub(crate) fn map(&mut self, slot: u8) -> &mut Self {
        self.put(MAP, &[&[slot]])
    }

    /// Reverts.
    pub(crate) fn revert(&mut self) -> &mut Self {
        self.put(REVERT, &[])
    }

    /// Reverts if the accumulator is odd.
    pub(crate) fn revert_if_odd(&mut self) -> &mut Self {
        self.put(REVERT_IF_ODD, &[])
    }

    /// Halts with all of the gas.
    pub(crate) fn invalid(&mut self) -> &mut Self {
        self.put(INVALID, &[])
    }

    /// Logs the accumulator under a topic.
    pub(crate) fn log(&mut self, topic: u8) -> &mut Self {
        self.put(LOG, &[&[topic]])
    }

    /// Passes over so many bytes if the accumulator is zero.
    pub(crate) fn skip_if_zero(&mut self, bytes: u8) -> &mut Self {
        self.put(SKIP_IF_ZERO, &[&[bytes]])
    }

    /// Jumps back so many bytes, as often as the accumulator says.
    pub(crate) fn repeat(&mut self, bytes: u8) -> &mut Self {
        self.put(REPEAT, &[&[bytes]])
    }

    /// Grows the memory to about so many KiB; zero starts the program again, two bytes in.
    pub(crate) fn grow(&mut self, kib: u8) -> &mut Self {
        self.put(GROW, &[&[kib]])
    }

    /// Accumulator := hash of the block so many before this one.
    pub(crate) fn block_hash(&mut self, back: u8) -> &mut Self {
        self.put(BLOCKHASH, &[&[back]])
    }

    /// Calls; `gas_256` is the gas in units of 256, zero all. Accumulator := word returned + success.
    pub(crate) fn call(
        &mut self,
        kind: u8,
        to: Address,
        value: u8,
        gas_256: u16,
        data: &[u8],
    ) -> &mut Self {
        let kind = CALLS.iter().position(|call| *call == kind).unwrap_or(0) as u8;
        let length = (data.len() as u16).to_be_bytes();
        let gas = gas_256.to_be_bytes();
        self.put(FIRST_CALL + kind, &[to.as_slice(), &[value], &gas, &length, data])
    }

    /// Accumulator := what the opcode says about the account.
    pub(crate) fn ask(&mut self, question: u8, of: Address) -> &mut Self {
        let index = QUESTIONS.iter().position(|known| *known == question).unwrap_or(0) as u8;
        self.put(FIRST_QUESTION + index, &[of.as_slice()])
    }

    /// Accumulator := byte (operator) accumulator.
    pub(crate) fn arithmetic(&mut self, operator: u8, byte: u8) -> &mut Self {
        let index = ARITHMETIC.iter().position(|known| *known == operator).unwrap_or(0) as u8;
        self.put(FIRST_ARITHMETIC + index, &[&[byte]])
    }

    /// Accumulator := what the opcode gives.
    pub(crate) fn context(&mut self, opcode: u8) -> &mut Self {
        let index = CONTEXT.iter().position(|known| *known == opcode).unwrap_or(0) as u8;
        self.put(FIRST_CONTEXT + index, &[])
    }

    /// Creates; accumulator := address. `None` is CREATE, a salt CREATE2.
    pub(crate) fn create(&mut self, salt: Option<u8>, value: u8, init: &[u8]) -> &mut Self {
        let length = (init.len() as u16).to_be_bytes();
        let instruction = if salt.is_some() { CREATE2 } else { CREATE };
        self.put(instruction, &[&[salt.unwrap_or(0), value], &length, init])
    }

    /// Self-destructs in favour of the account.
    pub(crate) fn selfdestruct(&mut self, to: Address) -> &mut Self {
        self.put(SELFDESTRUCT, &[to.as_slice()])
    }
}
