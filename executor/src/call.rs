//! Execution that leaves no trace: eth_call and gas estimation.
//!
//! Shares the EVM wiring with block execution; what differs is only which checks are off. Knows no
//! RPC shapes.

use crate::{
    block::BlockEnv,
    error::{ExecuteError, SkipReason},
    evm::{self, Engine},
    rules::ChainRules,
    state::{Overlay, StateView},
};
use alloc::vec::Vec;
use alloy_eips::{eip2930::AccessList, eip7702::SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256};
use revm::{
    ExecuteEvm,
    context::{
        CfgEnv, Journal, JournalTr, TxEnv,
        result::{EVMError, ExecutionResult, HaltReason},
    },
    context_interface::either::Either,
    handler::{Handler, MainnetHandler},
};

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

/// Result of a gas estimation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Estimate {
    /// A gas limit with which the call succeeds.
    GasLimit(u64),
    /// The call fails with all the gas it may have.
    Failed(CallOutcome),
}

/// Gas that one simulated call may use, in gas: geth's default. More is cut to it, so that a call
/// cannot hold a thread for longer than about a second.
pub const CALL_GAS_MAX: u64 = 50_000_000;

/// Gas used by a transfer to an account without code.
const TRANSFER_GAS: u64 = 21_000;

/// The estimate is at most this much above the least sufficient gas limit, in parts per thousand;
/// geth's tolerance.
const ESTIMATE_TOLERANCE_PER_MILLE: u64 = 15;

/// Runs a call on the state of an overlay and throws its changes away. The overlay carries state
/// overrides.
///
/// # Errors
/// [`ExecuteError`] when the state cannot be read. An invalid call is the inner error.
pub fn call<V: StateView>(
    overlay: Overlay<'_, V>,
    rules: &ChainRules,
    env: &BlockEnv,
    request: &CallRequest,
) -> Result<Result<CallOutcome, SkipReason>, ExecuteError> {
    let gas_limit = request.gas_limit.unwrap_or(CALL_GAS_MAX).min(CALL_GAS_MAX);
    Simulator::new(overlay, rules, env, request).run(request, gas_limit)
}

/// Finds a gas limit with which the call succeeds, by bisection as geth does.
///
/// # Errors
/// [`ExecuteError`] when the state cannot be read. An invalid call is the inner error.
pub fn estimate_gas<V: StateView>(
    mut overlay: Overlay<'_, V>,
    rules: &ChainRules,
    env: &BlockEnv,
    request: &CallRequest,
) -> Result<Result<Estimate, SkipReason>, ExecuteError> {
    let cap = match rules {
        ChainRules::Rollup(rollup) => rollup.transaction_gas_limit,
        ChainRules::Ethereum(_) => CALL_GAS_MAX,
    };
    let mut high = request.gas_limit.unwrap_or(cap).min(cap).min(env.gas_limit);
    let balance_wei = overlay.account(request.from)?.unwrap_or_default().balance_wei;
    if request.gas_price_wei > 0 {
        let Some(available) = balance_wei.checked_sub(request.value) else {
            return Ok(Err(SkipReason::InsufficientFunds { balance_wei, cost_wei: request.value }));
        };
        let affordable = available / U256::from(request.gas_price_wei);
        high = high.min(affordable.saturating_to());
    }
    let mut simulator = Simulator::new(overlay, rules, env, request);
    let first = match simulator.run(request, high)? {
        Ok(outcome) => outcome,
        Err(SkipReason::IntrinsicGas { .. } | SkipReason::FloorGas { .. })
            if request.gas_price_wei > 0 && high < cap =>
        {
            let cost_wei = request.value
                + U256::from(request.gas_price_wei) * U256::from(high.max(TRANSFER_GAS));
            return Ok(Err(SkipReason::InsufficientFunds { balance_wei, cost_wei }));
        }
        Err(reason) => return Ok(Err(reason)),
    };
    if first.status != CallStatus::Success {
        return Ok(Ok(Estimate::Failed(first)));
    }
    bisect(&mut simulator, request, first.gas_used, high).map(|gas| Ok(Estimate::GasLimit(gas)))
}

/// Least sufficient gas limit in `gas_used..=high`, within the tolerance.
fn bisect<V: StateView>(
    simulator: &mut Simulator<'_, V>,
    request: &CallRequest,
    gas_used: u64,
    mut high: u64,
) -> Result<u64, ExecuteError> {
    let mut low = gas_used.saturating_sub(1);
    // A call forwards at most 63/64 of its gas (EIP-150), so this is a good first guess.
    let mut middle = gas_used.saturating_add(2_300).saturating_mul(64) / 63;
    if gas_used == TRANSFER_GAS {
        middle = TRANSFER_GAS;
    }
    while low + 1 < high {
        if (high - low) * 1_000 / high < ESTIMATE_TOLERANCE_PER_MILLE && high <= gas_used * 2 {
            break;
        }
        middle = middle.clamp(low + 1, high - 1);
        let succeeds = simulator
            .run(request, middle)?
            .is_ok_and(|outcome| outcome.status == CallStatus::Success);
        if succeeds {
            high = middle;
        } else {
            low = middle;
        }
        middle = low + (high - low) / 2;
    }
    Ok(high)
}

/// One EVM for many runs of the same call.
struct Simulator<'v, V: StateView> {
    engine: Engine<Journal<Overlay<'v, V>>>,
}

impl<'v, V: StateView> Simulator<'v, V> {
    fn new(
        overlay: Overlay<'v, V>,
        rules: &ChainRules,
        env: &BlockEnv,
        request: &CallRequest,
    ) -> Self {
        let free = request.gas_price_wei == 0;
        let engine = evm::engine(Journal::new(overlay), rules, env, |cfg| relax(cfg, free));
        Self { engine }
    }

    fn run(
        &mut self,
        request: &CallRequest,
        gas_limit: u64,
    ) -> Result<Result<CallOutcome, SkipReason>, ExecuteError> {
        self.engine.ctx.tx = call_env(request, gas_limit);
        let result = MainnetHandler::default().run(&mut self.engine);
        self.engine.finalize();
        match result {
            Ok(result) => Ok(Ok(outcome(result))),
            Err(EVMError::Transaction(invalid)) => Ok(Err(evm::skip_reason(invalid))),
            Err(error) => Err(evm::fatal(error, B256::ZERO)),
        }
    }
}

/// Switches off what a call need not fulfil and a transaction must; `free` also the fees.
pub(crate) fn relax(cfg: &mut CfgEnv, free: bool) {
    cfg.disable_nonce_check = true;
    cfg.disable_eip3607 = true;
    cfg.disable_block_gas_limit = true;
    cfg.disable_base_fee = free;
    cfg.tx_gas_limit_cap = Some(u64::MAX);
    cfg.tx_chain_id_check = false;
}

/// The call as revm reads it. It carries no nonce.
pub(crate) fn call_env(request: &CallRequest, gas_limit: u64) -> TxEnv {
    let list = request.authorization_list.iter().cloned().map(Either::Left);
    TxEnv {
        tx_type: if request.authorization_list.is_empty() { 2 } else { 4 },
        caller: request.from,
        gas_limit,
        gas_price: request.gas_price_wei,
        kind: request.to,
        value: request.value,
        data: request.input.clone(),
        nonce: 0,
        chain_id: None,
        access_list: request.access_list.clone(),
        gas_priority_fee: Some(0),
        blob_hashes: Vec::new(),
        max_fee_per_blob_gas: 0,
        authorization_list: list.collect(),
    }
}

fn outcome(result: ExecutionResult<HaltReason>) -> CallOutcome {
    let gas_used = result.tx_gas_used();
    match result {
        ExecutionResult::Success { logs, output, .. } => {
            CallOutcome { status: CallStatus::Success, gas_used, output: output.into_data(), logs }
        }
        ExecutionResult::Revert { output, .. } => {
            CallOutcome { status: CallStatus::Revert, gas_used, output, logs: Vec::new() }
        }
        ExecutionResult::Halt { reason, .. } => {
            let out_of_gas = matches!(reason, HaltReason::OutOfGas(_));
            let status = if out_of_gas { CallStatus::OutOfGas } else { CallStatus::Halt };
            CallOutcome { status, gas_used, output: Bytes::new(), logs: Vec::new() }
        }
    }
}
