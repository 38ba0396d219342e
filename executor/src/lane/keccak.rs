//! KECCAK256, with a note of what was hashed while somebody wants to learn from it.

use super::{journal::LaneJournal, trace::Detail};
use crate::{evm::Engine, state::StateView};
use alloy_primitives::B256;
use revm::{
    bytecode::opcode::KECCAK256,
    context::{Context, JournalTr},
    interpreter::{
        Instruction, InstructionContext, InstructionExecResult, instructions::system,
        interpreter::EthInterpreter,
    },
};

/// Hashes noted of one transaction; a loop of hashes teaches nothing after that.
const HASHES_MAX: usize = 128;

/// The host of a lane's interpreter.
type Host<'v, V> = Context<
    revm::context::BlockEnv,
    revm::context::TxEnv,
    revm::context::CfgEnv,
    <LaneJournal<'v, V> as JournalTr>::Database,
    LaneJournal<'v, V>,
    (),
>;

/// Puts the noting instruction in the place of revm's.
pub(crate) fn install<V: StateView>(engine: &mut Engine<LaneJournal<'_, V>>) {
    // Static gas of KECCAK256 (Yellow Paper, G_keccak256).
    engine.instruction.insert_instruction(KECCAK256, Instruction::new(keccak256::<V>), 30);
}

/// revm's instruction, and a look at its operands.
fn keccak256<'v, V: StateView>(
    context: InstructionContext<'_, Host<'v, V>, EthInterpreter>,
) -> InstructionExecResult {
    let InstructionContext { interpreter, host } = context;
    if host.journaled_state.trace.detail != Detail::KeysAndHashes {
        return system::keccak256(InstructionContext { interpreter, host });
    }
    let offset = interpreter.stack.peek(0);
    let length = interpreter.stack.peek(1);
    system::keccak256(InstructionContext { interpreter: &mut *interpreter, host: &mut *host })?;
    let hashes = &mut host.journaled_state.trace.hashes;
    if let (Ok(offset), Ok(length), Ok(hash)) = (offset, length, interpreter.stack.peek(0))
        && length == alloy_primitives::U256::from(64)
        && hashes.len() < HASHES_MAX
    {
        // The instruction has just read these bytes, so they are there.
        let bytes = interpreter.memory.slice_len(offset.saturating_to(), 64);
        let words = (B256::from_slice(&bytes[..32]), B256::from_slice(&bytes[32..]));
        hashes.push((words.0, words.1, B256::from(hash)));
    }
    Ok(())
}
