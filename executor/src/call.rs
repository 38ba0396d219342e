//! Execution that leaves no trace: eth_call and gas estimation.
//!
//! Shares the EVM wiring with block execution; what differs is only which checks are off. Knows no
//! RPC shapes.

use crate::{
    block::BlockEnv,
    error::{ExecuteError, SkipReason, ViewError},
    evm::{self, Engine, UserHandler},
    fees::FeeSchedule,
    rules::ChainRules,
    state::{Overlay, StateView},
};
use alloc::vec::Vec;
use alloy_consensus::{SignableTransaction, TxEip1559, TxEip7702};
use alloy_eips::{eip2930::AccessList, eip7702::SignedAuthorization};
use alloy_primitives::{Address, B256, Bytes, Log, TxKind, U256};
use revm::{
    ExecuteEvm,
    context::{
        CfgEnv, Journal, JournalTr, TxEnv,
        result::{EVMError, ExecutionResult, HaltReason},
    },
    context_interface::either::Either,
    handler::Handler,
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
    /// Price per gas in wei; 0 switches the base fee check and every fee off.
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

impl CallRequest {
    /// The transaction that would make this call, serialized without signature. What the request
    /// does not say is filled in so that no transaction made of it is larger in
    /// [`SizeModel`](crate::fees::SizeModel): bytes that are not zero, as many as there can be. The
    /// nonce is taken to be of two bytes at least.
    fn unsigned_max(&self, chain_id: u64, nonce: u64) -> Vec<u8> {
        // A wallet may bid up to twice as much, and anything below it as priority fee.
        let price_wei = u128::MAX >> self.gas_price_wei.leading_zeros().saturating_sub(1);
        let gas_limit = u64::MAX >> TRANSACTION_GAS_LIMIT_BITS_UNUSED;
        let (nonce, value, input) = (nonce | 0xffff, self.value, self.input.clone());
        let access_list = self.access_list.clone();
        let mut bytes = Vec::new();
        if self.authorization_list.is_empty() {
            let (max_fee_per_gas, max_priority_fee_per_gas) = (price_wei, price_wei);
            let to = self.to;
            TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to,
                value,
                access_list,
                input,
            }
            .encode_for_signing(&mut bytes);
            return bytes;
        }
        TxEip7702 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas: price_wei,
            max_priority_fee_per_gas: price_wei,
            to: self.to.to().copied().unwrap_or_default(),
            value,
            access_list,
            authorization_list: self.authorization_list.clone(),
            input,
        }
        .encode_for_signing(&mut bytes);
        bytes
    }
}

/// What a call would pay beside its gas if it were sent as a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtraFees {
    /// L1 data fee in wei: at least what the transaction is charged, and a few bytes' worth more.
    pub l1_fee_wei: U256,
    /// Operator fee in wei, for the gas that was named.
    pub operator_fee_wei: U256,
}

/// What a call would pay beside its gas, with the L1 base fees of this state, if it used `gas`.
///
/// # Errors
/// [`ViewError`] when the state cannot be read.
pub fn extra_fees<V: StateView>(
    overlay: &mut Overlay<'_, V>,
    rules: &ChainRules,
    request: &CallRequest,
    gas: u64,
) -> Result<ExtraFees, ViewError> {
    let extra = Extra::of(overlay, rules, request)?;
    Ok(extra.map_or_else(ExtraFees::default, |extra| ExtraFees {
        l1_fee_wei: extra.l1_wei,
        operator_fee_wei: extra.fees.operator_fee_wei(gas),
    }))
}

/// The fees beside gas as a call meets them.
#[derive(Clone, Copy, Debug)]
struct Extra {
    fees: FeeSchedule,
    l1_wei: U256,
}

impl Extra {
    fn of<V: StateView>(
        overlay: &mut Overlay<'_, V>,
        rules: &ChainRules,
        request: &CallRequest,
    ) -> Result<Option<Self>, ViewError> {
        let Some(fees) = FeeSchedule::of_overlay(rules, overlay)? else { return Ok(None) };
        let nonce = overlay.account(request.from)?.unwrap_or_default().nonce;
        let unsigned = request.unsigned_max(rules.chain_id(), nonce);
        Ok(Some(Self { fees, l1_wei: fees.l1_fee_unsigned_wei(&unsigned) }))
    }

    /// What a call that names a price is charged; one that names none pays nothing at all.
    fn charged<V: StateView>(
        overlay: &mut Overlay<'_, V>,
        rules: &ChainRules,
        request: &CallRequest,
    ) -> Result<Option<Self>, ViewError> {
        if request.gas_price_wei == 0 {
            return Ok(None);
        }
        Self::of(overlay, rules, request)
    }
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

/// A gas limit above 24 bits is taken for one of 24: the transaction cap is hardly ever higher.
const TRANSACTION_GAS_LIMIT_BITS_UNUSED: u32 = 64 - 24;

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
    mut overlay: Overlay<'_, V>,
    rules: &ChainRules,
    env: &BlockEnv,
    request: &CallRequest,
) -> Result<Result<CallOutcome, SkipReason>, ExecuteError> {
    let gas_limit = request.gas_limit.unwrap_or(CALL_GAS_MAX).min(CALL_GAS_MAX);
    let extra = Extra::charged(&mut overlay, rules, request)?;
    Simulator::new(overlay, rules, env, request, extra).run(request, gas_limit)
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
    let extra = Extra::charged(&mut overlay, rules, request)?;
    if request.gas_price_wei > 0 {
        let beside_wei = extra.map_or(U256::ZERO, |it| it.fees.extra_fixed_wei(it.l1_wei));
        let cost_wei = request.value.saturating_add(beside_wei);
        let Some(available_wei) = balance_wei.checked_sub(cost_wei) else {
            return Ok(Err(SkipReason::InsufficientFunds { balance_wei, cost_wei }));
        };
        let scalar = extra.map_or(0, |it| it.fees.rules().operator_fee_scalar);
        high = high.min(affordable_gas(available_wei, request.gas_price_wei, scalar));
    }
    let mut simulator = Simulator::new(overlay, rules, env, request, extra);
    let first = match simulator.run(request, high)? {
        Ok(outcome) => outcome,
        Err(SkipReason::IntrinsicGas { .. } | SkipReason::FloorGas { .. })
            if request.gas_price_wei > 0 && high < cap =>
        {
            let gas = high.max(TRANSFER_GAS);
            let beside_wei = extra.map_or(U256::ZERO, |it| it.fees.extra_wei(it.l1_wei, gas));
            let cost_wei = (U256::from(request.gas_price_wei) * U256::from(gas))
                .saturating_add(request.value)
                .saturating_add(beside_wei);
            return Ok(Err(SkipReason::InsufficientFunds { balance_wei, cost_wei }));
        }
        Err(reason) => return Ok(Err(reason)),
    };
    if first.status != CallStatus::Success {
        return Ok(Ok(Estimate::Failed(first)));
    }
    bisect(&mut simulator, request, first.gas_used, high).map(|gas| Ok(Estimate::GasLimit(gas)))
}

/// Gas that can be bought, with the operator fee for it.
fn affordable_gas(available_wei: U256, price_wei: u128, operator_fee_scalar: u32) -> u64 {
    const MILLION: U256 = U256::from_limbs([1_000_000, 0, 0, 0]);
    let millionths = U256::from(price_wei) * MILLION + U256::from(operator_fee_scalar);
    match available_wei.checked_mul(MILLION) {
        Some(available) => (available / millionths).saturating_to(),
        None => u64::MAX,
    }
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
    extra: Option<Extra>,
}

impl<'v, V: StateView> Simulator<'v, V> {
    fn new(
        overlay: Overlay<'v, V>,
        rules: &ChainRules,
        env: &BlockEnv,
        request: &CallRequest,
        extra: Option<Extra>,
    ) -> Self {
        let free = request.gas_price_wei == 0;
        let engine = evm::engine(Journal::new(overlay), rules, env, |cfg| relax(cfg, free));
        Self { engine, extra }
    }

    fn run(
        &mut self,
        request: &CallRequest,
        gas_limit: u64,
    ) -> Result<Result<CallOutcome, SkipReason>, ExecuteError> {
        self.engine.ctx.tx = call_env(request, gas_limit);
        let charge = self.extra.map(|extra| extra.fees.charge_of(extra.l1_wei, gas_limit));
        let result = UserHandler::crediting(charge).run(&mut self.engine);
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
