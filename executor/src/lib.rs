//! The rules of the chain, and nothing else: the state before a block and the block's inputs go in,
//! the executed block comes out.
//!
//! Owns transactions and deposits, the block environment, execution on revm, receipts, fees, the
//! Ethereum-shaped header, the state trie and its proofs. One type ([`BlockInput`]) is consumed
//! through one door ([`execute()`]); the block builder, derivation, recovery and the tests all call it.
//!
//! Deliberately absent: I/O of every kind, `async`, databases, RPC shapes, and any knowledge of how
//! a block reaches L1. Without the default `std` feature the crate is `no_std` + `alloc`.
#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod access_list;
pub mod block;
pub mod call;
pub mod counters;
#[cfg(feature = "std")]
mod crew;
mod dao_fork;
pub mod deposit;
pub mod error;
pub mod ethereum;
mod evm;
pub mod execute;
pub mod fees;
pub mod genesis;
#[cfg(feature = "std")]
pub mod keccak;
#[cfg(feature = "std")]
pub mod knowledge;
#[cfg(feature = "std")]
mod lane;
#[cfg(feature = "std")]
mod ordered_root;
#[cfg(feature = "std")]
mod parallel;
mod progress;
pub mod receipt;
#[cfg(feature = "std")]
mod record;
mod reference;
mod requests;
pub mod rules;
pub mod state;
pub mod trace;
pub mod transaction;

pub use access_list::BlockAccessList;
pub use block::{BlockEnv, BlockInput, ExecutedBlock, Skipped};
pub use counters::Counters;
pub use deposit::{Deposit, L1Attributes, L1Origin};
pub use error::{ExecuteError, SkipReason, ViewError};
pub use execute::{Execution, Mode, Options, execute, execute_with};
pub use fees::{FeeRules, FeeSchedule};
pub use genesis::Genesis;
#[cfg(feature = "std")]
pub use knowledge::Knowledge;
pub use receipt::Receipt;
#[cfg(feature = "std")]
pub use record::record_witness;
pub use rules::{ChainRules, EthereumRules, RollupRules};
#[cfg(feature = "std")]
pub use state::StateArena;
pub use state::{
    Account, Changes, ExecutionWitness, MemoryState, PostState, Reads, StateDiff, StateTrie,
    StateView, Touched, WitnessState,
};
pub use transaction::{Transaction, TransactionError, Unrecovered, recover};

/// The block header type, as Ethereum encodes and hashes it.
pub use alloy_consensus::Header;
