//! A sender's account, as far as the pool checks against it. Reads it; decides nothing.

use alloy::primitives::{Address, KECCAK256_EMPTY, U256};
use executor::{FeeSchedule, StateView, Transaction, ViewError};

/// What the pool must know of a sender, read from the latest state.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccountState {
    /// Next nonce.
    pub nonce: u64,
    /// Balance in wei.
    pub balance_wei: U256,
    /// Whether it has code that is no EIP-7702 delegation (EIP-3607 then forbids it to send).
    pub is_contract: bool,
    /// The fees beside gas that the next block charges, as far as is known; `None` charges none.
    pub fees: Option<FeeSchedule>,
}

impl AccountState {
    /// What a transaction of this account can cost beside gas limit x price + value, in wei.
    pub(super) fn extra_fee_wei(&self, transaction: &Transaction) -> U256 {
        FeeSchedule::extra_fee_under(self.fees.as_ref(), transaction)
    }

    /// Reads it; `fees` are those of the state ([`FeeSchedule::of_state`]).
    ///
    /// # Errors
    /// [`ViewError`] when the state cannot be read.
    pub fn read(
        view: &impl StateView,
        sender: Address,
        fees: Option<FeeSchedule>,
    ) -> Result<Self, ViewError> {
        let account = view.account(sender)?.unwrap_or_default();
        let is_contract =
            account.code_hash != KECCAK256_EMPTY && !view.code(account.code_hash)?.is_eip7702();
        let (nonce, balance_wei) = (account.nonce, account.balance_wei);
        Ok(Self { nonce, balance_wei, is_contract, fees })
    }
}
