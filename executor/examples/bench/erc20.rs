//! An ERC-20 token as the workload files have it: its code, its storage, and calls to it.
//!
//! The storage layout is OpenZeppelin's: balances at slot 0, allowances at slot 1.

use crate::{
    Failure,
    files::{File, Prestate},
};
use alloy::primitives::{Address, Bytes, U256, keccak256};

/// First slots of the token, which are not of a holder: supply, name, symbol, decimals.
const FIXED_SLOTS: u64 = 6;
/// Length of the token's code in bytes, by which it is found in a file.
pub(crate) const CODE_BYTES: usize = 2_546;
/// What each holder starts with.
const BALANCE: u64 = 1_000_000_000_000_000_000;

/// The one contract of a file whose code is this long.
pub(crate) fn contract(file: &File, code_bytes: usize) -> Result<(Address, &Prestate), Failure> {
    let found = file.accounts.iter().find(|(_, account)| {
        let code = account.code_hash.and_then(|hash| file.codes.get(&hash));
        code.is_some_and(|code| code.len() == code_bytes)
    });
    let (address, account) = found.ok_or_else(|| format!("no contract of {code_bytes} bytes"))?;
    Ok((*address, account))
}

/// The same token without holders.
pub(crate) fn without_holders(token: &Prestate) -> Prestate {
    let fixed = token.storage.iter().filter(|(slot, _)| **slot < U256::from(FIXED_SLOTS));
    let storage = fixed.map(|(slot, value)| (*slot, *value)).collect();
    Prestate { storage, ..token.clone() }
}

/// Gives a holder its balance.
pub(crate) fn fund(token: &mut Prestate, holder: Address) {
    token.storage.insert(balance_slot(holder), U256::from(BALANCE));
}

/// Lets `spender` take all that `holder` has.
pub(crate) fn approve(token: &mut Prestate, holder: Address, spender: Address) {
    token.storage.insert(allowance_slot(holder, spender), U256::from(BALANCE));
}

/// Slot of a holder's balance.
pub(crate) fn balance_slot(holder: Address) -> U256 {
    mapping(holder, U256::ZERO)
}

fn allowance_slot(holder: Address, spender: Address) -> U256 {
    mapping(spender, mapping(holder, U256::ONE))
}

/// Solidity's slot of a mapping's entry.
fn mapping(key: Address, slot: U256) -> U256 {
    keccak256([key.into_word().0, slot.to_be_bytes()].concat()).into()
}

/// Call data of `transfer(to, amount)`.
pub(crate) fn transfer_call(to: Address, amount: u64) -> Bytes {
    let amount: [u8; 32] = U256::from(amount).to_be_bytes();
    [&[0xa9, 0x05, 0x9c, 0xbb], &to.into_word()[..], &amount].concat().into()
}
