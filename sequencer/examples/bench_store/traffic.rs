//! The transfers of a block, which follow from a number, so that another process's can be drawn again.
//!
//! Owns addresses and nonces. Signs nothing: execution trusts the sender that admission recovered.

use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    primitives::{Address, Signature, TxKind, U256},
};
use executor::Transaction;

/// Transfers of every block.
pub(crate) const TRANSFERS: u64 = 1000;
/// Every account's nonce at the start.
pub(crate) const FIRST_NONCE: u64 = 1;

pub(crate) fn address(account: u64) -> Address {
    Address::from_word(U256::from(0x1_0000 + account).into())
}

/// Who sends next with which nonce.
#[derive(Debug)]
pub(crate) struct Traffic {
    chain_id: u64,
    nonces: Vec<u64>,
}

impl Traffic {
    /// Before any transfer.
    pub(crate) fn new(chain_id: u64, accounts: u64) -> Self {
        Self { chain_id, nonces: vec![FIRST_NONCE; accounts as usize] }
    }

    /// Sender and receiver of the transfers of this number.
    fn pairs(&self, number: u64) -> impl Iterator<Item = (u64, u64)> + use<> {
        let accounts = self.nonces.len() as u64;
        let draw = move |index: u64| mixed(mixed(number).wrapping_add(index)) % accounts;
        (0..TRANSFERS).map(move |index| (draw(2 * index), draw(2 * index + 1)))
    }

    /// Counts the transfers of a block that was committed elsewhere.
    pub(crate) fn follow(&mut self, number: u64) {
        self.pairs(number).for_each(|(sender, _)| self.nonces[sender as usize] += 1);
    }

    /// The transfers of this number, to follow those of the earlier calls.
    pub(crate) fn transfers(&mut self, number: u64) -> Vec<Transaction> {
        let pairs = self.pairs(number);
        let transfer = |(sender, receiver)| {
            let nonce = &mut self.nonces[sender as usize];
            *nonce += 1;
            transfer(self.chain_id, *nonce - 1, (sender, receiver))
        };
        pairs.map(transfer).collect()
    }

    /// The transfers of this number were in no block.
    pub(crate) fn take_back(&mut self, number: u64) {
        self.pairs(number).for_each(|(sender, _)| self.nonces[sender as usize] -= 1);
    }
}

fn transfer(chain_id: u64, nonce: u64, (sender, receiver): (u64, u64)) -> Transaction {
    let unsigned = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(address(receiver)),
        value: U256::from(1_000_000_000 + nonce),
        ..TxEip1559::default()
    };
    // As long as a real signature.
    let signature = Signature::new(U256::MAX >> 1, U256::MAX >> 2, false);
    Transaction::from_signed(unsigned.into_signed(signature).into(), address(sender))
}

/// SplitMix64's output for one state.
fn mixed(state: u64) -> u64 {
    let mut bits = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
