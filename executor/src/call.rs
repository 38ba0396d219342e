//! Execution that leaves no trace: eth_call and gas estimation.
//!
//! Shares the EVM wiring with block execution; what differs is only which checks are off. Knows no
//! RPC shapes.

use crate::{
    block::BlockEnv,
    error::{ExecuteError, SkipReason},
    rules::ChainRules,
    state::StateView,
};
use alloc::vec::Vec;
use alloy_eips::{eip2930::AccessList, eip7702::SignedAuthorization};
use alloy_primitives::{Address, Bytes, Log, TxKind, U256};

/// A call to simulate. `Default` is a call from and to the zero address without value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallRequest {
    /// Sender; need not be an account with a key, and may be a contract.
    pub from: Address,
    /// Called address, or creation.
    pub to: TxKind,
    /// Gas limit; `None` takes the block's gas limit, bounded by the transaction cap.
    pub gas_limit: Option<u64>,
    /// Price per gas in wei; 0 switches the base fee check and the fee charge off.
    pub gas_price_wei: u128,
    /// Value in wei; must be covered by the sender's balance.
    pub value: U256,
    /// Call data or init code.
    pub input: Bytes,
    /// Access list (EIP-2930).
    pub access_list: AccessList,
    /// Authorizations (EIP-7702).
    pub authorization_list: Vec<SignedAuthorization>,
}

/// How the top call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStatus {
    /// Returned or stopped.
    Success,
    /// REVERT; the output carries the reason.
    Revert,
    /// Ran out of gas.
    OutOfGas,
    /// Any other exceptional halt.
    Halt,
}

/// Result of a simulated call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOutcome {
    /// How it ended.
    pub status: CallStatus,
    /// Gas the sender would pay.
    pub gas_used: u64,
    /// Return data, revert data, or the created contract's code.
    pub output: Bytes,
    /// Events.
    pub logs: Vec<Log>,
}
