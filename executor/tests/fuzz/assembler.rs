//! An assembler for the handful of contracts that the fuzz calls.
//!
//! Owns pushes, labels and jumps. Uses no opcode younger than Byzantium on its own account: what is
//! assembled here must run under every hardfork that is drawn.

use alloy::primitives::{Address, Bytes, U256};
use revm::bytecode::opcode;

/// A place in the code that jumps can name before it is bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label(usize);

/// Code being written.
#[derive(Debug, Default)]
pub(crate) struct Assembler {
    code: Vec<u8>,
    bound: Vec<usize>,
    uses: Vec<(usize, usize)>,
}

impl Assembler {
    /// A label that is not bound yet.
    pub(crate) fn label(&mut self) -> Label {
        self.bound.push(usize::MAX);
        Label(self.bound.len() - 1)
    }

    /// Binds the label here, with the JUMPDEST it needs.
    pub(crate) fn bind(&mut self, label: Label) -> &mut Self {
        self.bound[label.0] = self.code.len();
        self.op(opcode::JUMPDEST)
    }

    /// One opcode.
    pub(crate) fn op(&mut self, op: u8) -> &mut Self {
        self.code.push(op);
        self
    }

    /// Opcodes in order.
    pub(crate) fn ops(&mut self, ops: &[u8]) -> &mut Self {
        self.code.extend_from_slice(ops);
        self
    }

    /// The shortest push of a number. Zero is PUSH1 0: PUSH0 came with Shanghai.
    pub(crate) fn push(&mut self, number: impl TryInto<U256>) -> &mut Self {
        let number = number.try_into().unwrap_or_default();
        let bytes = number.to_be_bytes_trimmed_vec();
        let bytes = if bytes.is_empty() { vec![0] } else { bytes };
        self.op(opcode::PUSH0 + bytes.len() as u8).ops(&bytes)
    }

    /// Pushes an address.
    pub(crate) fn push_address(&mut self, address: Address) -> &mut Self {
        self.op(opcode::PUSH20).ops(address.as_slice())
    }

    fn push_label(&mut self, label: Label) -> &mut Self {
        self.uses.push((self.code.len() + 1, label.0));
        self.ops(&[opcode::PUSH2, 0, 0])
    }

    /// Jumps.
    pub(crate) fn jump(&mut self, label: Label) -> &mut Self {
        self.push_label(label).op(opcode::JUMP)
    }

    /// Jumps if the top of the stack is not zero.
    pub(crate) fn jump_if(&mut self, label: Label) -> &mut Self {
        self.push_label(label).op(opcode::JUMPI)
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> usize {
        self.code.len()
    }

    /// The code, with every label in its place.
    pub(crate) fn finish(mut self) -> Bytes {
        for (at, label) in self.uses {
            let target = u16::try_from(self.bound[label]).unwrap();
            self.code[at..at + 2].copy_from_slice(&target.to_be_bytes());
        }
        self.code.into()
    }
}
