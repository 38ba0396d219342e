//! Uniswap v3 pools, cloned from the one of `uni_hot`: as many as a workload wants, so that swaps in
//! two of them share no state that either writes.
//!
//! A market is two tokens, their pool, and the contract that traders call, which swaps through the
//! router. The router, the factory and WETH are one for all markets, as on Ethereum; a swap reads
//! their code and writes nothing to them. The router computes a pool's address (CREATE2) from
//! factory, tokens and fee instead of asking for it, so a clone must live where it will look; a
//! pool's code holds its own address, its factory's and its tokens', so a clone has code of its own.

use crate::{
    Failure, erc20,
    files::{File, Prestate},
};
use alloy::primitives::{Address, B256, Bytes, U256, b256, keccak256};
use std::collections::BTreeMap;

/// What the router of `uni_hot` has as the hash of a pool's init code.
const POOL_INIT_CODE_HASH: B256 =
    b256!("0x5ac9ffc2681363279473dd5269b6ea28c1df5a5261a30957edde40802653baca");
/// The pool's fee in hundredths of a basis point.
const FEE: u64 = 3_000;
/// Lengths in bytes by which the contracts are found.
const FACTORY_BYTES: usize = 24_198;
const POOL_BYTES: usize = 21_838;
const TRADE_BYTES: usize = 2_934;
/// What a trader sells.
const SELL: u64 = 2_000;

/// The contracts of the file, by what they do.
pub(crate) struct Template<'f> {
    file: &'f File,
    factory: Address,
    pool: (Address, &'f Prestate),
    trade: &'f Prestate,
    tokens: [Address; 2],
}

/// A cloned market.
pub(crate) struct Market {
    tokens: [Address; 2],
    /// The contract that traders call.
    pub(crate) trade: Address,
}

/// Call data of `sellToken0(amount)`.
pub(crate) fn sell_call() -> Bytes {
    let amount: [u8; 32] = U256::from(SELL).to_be_bytes();
    [&[0xc9, 0x2b, 0x08, 0x91], &amount[..]].concat().into()
}

impl<'f> Template<'f> {
    pub(crate) fn of(file: &'f File) -> Result<Self, Failure> {
        let (factory, _) = erc20::contract(file, FACTORY_BYTES)?;
        let pool = erc20::contract(file, POOL_BYTES)?;
        let (_, trade) = erc20::contract(file, TRADE_BYTES)?;
        // Slot 0 is the first token, slot 1 the fee and the second token.
        let token = |slot: u64| {
            let word = trade.storage.get(&U256::from(slot)).copied().unwrap_or_default();
            Address::from_word(word.into())
        };
        let tokens = [token(0), token(1)];
        if pool_address(factory, tokens) != pool.0 {
            return Err("the pool of uni_hot is not where its factory would put it".to_owned());
        }
        Ok(Self { file, factory, pool, trade, tokens })
    }

    /// What all markets share: every contract of the file but those that a market has of its own.
    pub(crate) fn shared(
        &self,
        accounts: &mut BTreeMap<Address, Prestate>,
        codes: &mut BTreeMap<B256, Bytes>,
    ) {
        codes.extend(self.file.codes.iter().map(|(hash, code)| (*hash, code.clone())));
        let own = |account: &Prestate| {
            let code = account.code_hash.and_then(|hash| self.file.codes.get(&hash));
            code.is_none_or(|code| {
                [erc20::CODE_BYTES, POOL_BYTES, TRADE_BYTES].contains(&code.len())
            })
        };
        let shared = self.file.accounts.iter().filter(|(_, account)| !own(account));
        accounts.extend(shared.map(|(address, account)| (*address, account.clone())));
    }

    /// Adds a market; `addresses` gives fresh addresses.
    pub(crate) fn market(
        &self,
        accounts: &mut BTreeMap<Address, Prestate>,
        codes: &mut BTreeMap<B256, Bytes>,
        mut addresses: impl FnMut() -> Address,
    ) -> Market {
        let mut tokens = [addresses(), addresses()];
        tokens.sort();
        let trade = addresses();
        let pool = pool_address(self.factory, tokens);
        for (original, token) in self.tokens.iter().zip(tokens) {
            let original = &self.file.accounts[original];
            let mut clone = erc20::without_holders(original);
            let liquidity = erc20::balance_slot(self.pool.0);
            let liquidity = original.storage.get(&liquidity).copied().unwrap_or_default();
            clone.storage.insert(erc20::balance_slot(pool), liquidity);
            accounts.insert(token, clone);
        }
        let mut trade_clone = self.trade.clone();
        let pair: U256 = tokens[1].into_word().into();
        trade_clone.storage.insert(U256::ZERO, tokens[0].into_word().into());
        trade_clone.storage.insert(U256::ONE, (U256::from(FEE) << 160) | pair);
        accounts.insert(trade, trade_clone);

        let code = self.pool.1.code_hash.map(|hash| self.file.codes[&hash].to_vec());
        let mut code = code.unwrap_or_default();
        replace(&mut code, self.pool.0, pool);
        replace(&mut code, self.tokens[0], tokens[0]);
        replace(&mut code, self.tokens[1], tokens[1]);
        let code_hash = keccak256(&code);
        codes.insert(code_hash, code.into());
        accounts.insert(pool, Prestate { code_hash: Some(code_hash), ..self.pool.1.clone() });
        Market { tokens, trade }
    }
}

impl Market {
    /// Gives a trader tokens to sell, and lets the market take them.
    pub(crate) fn admit(&self, accounts: &mut BTreeMap<Address, Prestate>, trader: Address) {
        for token in self.tokens {
            if let Some(token) = accounts.get_mut(&token) {
                erc20::fund(token, trader);
                erc20::approve(token, trader, self.trade);
            }
        }
    }
}

fn pool_address(factory: Address, tokens: [Address; 2]) -> Address {
    let fee: [u8; 32] = U256::from(FEE).to_be_bytes();
    let salt = keccak256([tokens[0].into_word().0, tokens[1].into_word().0, fee].concat());
    factory.create2(salt, POOL_INIT_CODE_HASH)
}

fn replace(code: &mut [u8], from: Address, to: Address) {
    let mut start = 0;
    while start + Address::len_bytes() <= code.len() {
        let place = &mut code[start..start + Address::len_bytes()];
        if place == from.as_slice() {
            place.copy_from_slice(to.as_slice());
        }
        start += 1;
    }
}
