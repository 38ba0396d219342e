//! State and block overrides of simulated calls, as Foundry and viem use them.

use super::error::{Refusal, RpcError};
use alloy::{
    primitives::map::B256HashMap,
    primitives::{Address, B256, U256},
    rpc::types::{
        BlockOverrides,
        state::{AccountOverride, StateOverride},
    },
};
use executor::{BlockEnv, StateView, state::Overlay};
use revm::bytecode::Bytecode;

/// Puts the overrides on top of the state.
pub(super) fn apply_state<V: StateView>(
    overlay: &mut Overlay<'_, V>,
    state: &StateOverride,
) -> Result<(), RpcError> {
    state.iter().try_for_each(|(address, account)| apply_account(overlay, *address, account))
}

fn apply_account<V: StateView>(
    overlay: &mut Overlay<'_, V>,
    address: Address,
    wanted: &AccountOverride,
) -> Result<(), RpcError> {
    if wanted.move_precompile_to.is_some() {
        return Err(Refusal::Override("movePrecompileToAddress").into());
    }
    let mut account = overlay.account(address)?.unwrap_or_default();
    account.balance_wei = wanted.balance.unwrap_or(account.balance_wei);
    account.nonce = wanted.nonce.unwrap_or(account.nonce);
    overlay.set_account(address, account)?;
    if let Some(code) = &wanted.code {
        // Foreign bytes: an EIP-7702 prefix of the wrong length must not panic.
        let code = Bytecode::new_raw_checked(code.clone())
            .map_err(|_| Refusal::Override("code that is no EIP-7702 delegation"))?;
        overlay.set_code(address, code)?;
    }
    match (&wanted.state, &wanted.state_diff) {
        (Some(_), Some(_)) => Err(Refusal::StateAndStateDiff.into()),
        (Some(state), None) => {
            overlay.clear_storage(address)?;
            set_slots(overlay, address, state)
        }
        (None, Some(diff)) => set_slots(overlay, address, diff),
        (None, None) => Ok(()),
    }
}

fn set_slots<V: StateView>(
    overlay: &mut Overlay<'_, V>,
    address: Address,
    slots: &B256HashMap<B256>,
) -> Result<(), RpcError> {
    for (slot, value) in slots {
        overlay.set_slot(address, U256::from_be_bytes(slot.0), U256::from_be_bytes(value.0))?;
    }
    Ok(())
}

/// Changes the environment of the call.
pub(super) fn apply_block(env: &mut BlockEnv, wanted: &BlockOverrides) -> Result<(), RpcError> {
    if wanted.block_hash.is_some() {
        return Err(Refusal::Override("blockHash").into());
    }
    let fits = |value: Option<U256>, name| {
        value.map(u64::try_from).transpose().map_err(|_| Refusal::Override(name))
    };
    env.number = fits(wanted.number, "number above 64 bits")?.unwrap_or(env.number);
    env.base_fee_wei = fits(wanted.base_fee, "baseFeePerGas above 64 bits")?.or(env.base_fee_wei);
    env.timestamp = wanted.time.unwrap_or(env.timestamp);
    env.gas_limit = wanted.gas_limit.unwrap_or(env.gas_limit);
    env.beneficiary = wanted.coinbase.unwrap_or(env.beneficiary);
    env.prevrandao = wanted.random.unwrap_or(env.prevrandao);
    env.difficulty = wanted.difficulty.unwrap_or(env.difficulty);
    env.parent_beacon_block_root = wanted.beacon_root.or(env.parent_beacon_block_root);
    Ok(())
}
