//! Workloads that are made up: plain transfers, ERC-20 transfers and swaps at chosen contention.
//!
//! Contracts come from the workload files; every address is derived from the workload's name, so
//! that nothing learnt from one workload names an account of another. Nobody signs: execution looks
//! at no signature.

use crate::{
    Failure, erc20,
    files::{Env, File, Prestate, Tx},
    uniswap::{self, Market, Template},
    workload::Workload,
};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use std::collections::BTreeMap;

/// Transactions of a large workload of transfers or tokens.
const LARGE: usize = 20_000;
const SWAPS: usize = 2_000;
const MIXED: usize = 10_000;
const SMALL: usize = 64;
/// Pools of a mixed workload that are not the hot one.
const MIXED_POOLS: usize = 200;
/// Wei that each sender starts with.
const FUNDS: u128 = 1_000_000_000_000_000_000;

/// All generated workloads.
pub(crate) fn all(erc20: &File, uniswap: &File) -> Result<Vec<Workload>, Failure> {
    let token = erc20::contract(erc20, erc20::CODE_BYTES)?.1;
    let pools = Template::of(uniswap)?;
    let scene = |name| Scene::new(name, erc20, token, &pools);
    Ok(vec![
        scene("transfers_independent").transfers(LARGE, false),
        scene("transfers_hot").transfers(LARGE, true),
        scene("erc20_independent").tokens(LARGE, 1),
        scene("erc20_fam10").tokens(LARGE / 10, 10),
        scene("erc20_fam100").tokens(LARGE / 10, 100),
        scene("erc20_hot").hot_token(LARGE),
        scene("uni_independent").swaps(SWAPS, SWAPS),
        scene("uni_20pools").swaps(SWAPS, 20),
        scene("uni_hot").swaps(SWAPS, 1),
        scene("mixed").mixed(MIXED, MIXED_POOLS),
        scene("small_64").transfers(SMALL, false),
        scene("small_mixed").mixed(SMALL, 10),
    ])
}

/// A workload being made up.
struct Scene<'f> {
    name: &'static str,
    env: Env,
    pools: &'f Template<'f>,
    accounts: BTreeMap<Address, Prestate>,
    codes: BTreeMap<B256, Bytes>,
    txs: Vec<Tx>,
    token: Address,
    addresses: u64,
    random: u64,
}

impl<'f> Scene<'f> {
    /// With one token and, where swaps will want them, the contracts that all pools share.
    fn new(name: &'static str, erc20: &File, token: &Prestate, pools: &'f Template<'f>) -> Self {
        let mut scene = Self {
            name,
            env: erc20.env.clone(),
            pools,
            accounts: BTreeMap::new(),
            codes: erc20.codes.clone(),
            txs: Vec::new(),
            token: Address::ZERO,
            addresses: 0,
            random: 0x9e37_79b9_7f4a_7c15,
        };
        scene.token = scene.address();
        scene.accounts.insert(scene.token, erc20::without_holders(token));
        pools.shared(&mut scene.accounts, &mut scene.codes);
        scene
    }

    fn address(&mut self) -> Address {
        self.addresses += 1;
        let seed = format!("weft bench {} {}", self.name, self.addresses);
        Address::from_word(keccak256(seed))
    }

    /// An account with ether.
    fn person(&mut self) -> Address {
        let address = self.address();
        let account = Prestate {
            balance: U256::from(FUNDS),
            nonce: 0,
            code_hash: None,
            storage: BTreeMap::new(),
        };
        self.accounts.insert(address, account);
        address
    }

    /// xorshift64: the same numbers on every machine and in every run.
    fn below(&mut self, count: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        #[allow(clippy::cast_possible_truncation, reason = "any bits will do")]
        let number = self.random as usize;
        number % count
    }

    /// From an account that has sent `nonce` transactions. At a price of 1 wei, so that every
    /// transaction pays the beneficiary, as in a real block.
    fn send(&mut self, from: Address, nonce: u64, to: Address, value: u64, data: Bytes) {
        let gas = match data.len() {
            0 => 21_000,
            36 => 300_000,
            _ => 100_000,
        };
        self.txs.push(Tx {
            ty: 0,
            from,
            to: Some(to),
            nonce,
            value: U256::from(value),
            data,
            gas,
            gas_price: 1,
            prio: None,
            al: Vec::new(),
            blobs: Vec::new(),
            blob_fee: 0,
            auths: Vec::new(),
        });
    }

    fn transfer(&mut self, to: Address) {
        let from = self.person();
        self.send(from, 0, to, 1, Bytes::new());
    }

    /// A holder of its own sends tokens to `to`.
    fn token_transfer(&mut self, to: Address) {
        let from = self.person();
        self.fund(from);
        self.send(from, 0, self.token, 0, erc20::transfer_call(to, 9));
    }

    fn fund(&mut self, holder: Address) {
        if let Some(token) = self.accounts.get_mut(&self.token) {
            erc20::fund(token, holder);
        }
    }

    fn market(&mut self) -> Market {
        let pools = self.pools;
        let (mut accounts, mut codes) =
            (std::mem::take(&mut self.accounts), std::mem::take(&mut self.codes));
        let market = pools.market(&mut accounts, &mut codes, || self.address());
        (self.accounts, self.codes) = (accounts, codes);
        market
    }

    fn swap(&mut self, market: &Market) {
        let trader = self.person();
        market.admit(&mut self.accounts, trader);
        self.send(trader, 0, market.trade, 0, uniswap::sell_call());
    }

    /// Each sender its own, and each recipient, or one recipient for all.
    fn transfers(mut self, count: usize, hot: bool) -> Workload {
        let everybody = self.person();
        for _ in 0..count {
            let to = if hot { everybody } else { self.person() };
            self.transfer(to);
        }
        self.finish()
    }

    /// One token; families of this many who send to each other ten times each. A family of one is a
    /// holder who sends once, to a recipient of its own.
    fn tokens(mut self, people: usize, family: usize) -> Workload {
        if family == 1 {
            for _ in 0..people {
                let to = self.person();
                self.fund(to);
                self.token_transfer(to);
            }
            return self.finish();
        }
        let members: Vec<Address> = (0..people).map(|_| self.person()).collect();
        members.iter().for_each(|&member| self.fund(member));
        for nonce in 0..10 {
            for (index, &from) in members.iter().enumerate() {
                let first = index - index % family;
                let to = members[first + self.below(family)];
                self.send(from, nonce, self.token, 0, erc20::transfer_call(to, 9));
            }
        }
        self.finish()
    }

    fn hot_token(mut self, count: usize) -> Workload {
        let to = self.person();
        self.fund(to);
        (0..count).for_each(|_| self.token_transfer(to));
        self.finish()
    }

    /// Traders who sell once, dealt out to the pools in turn.
    fn swaps(mut self, count: usize, pools: usize) -> Workload {
        let markets: Vec<Market> = (0..pools).map(|_| self.market()).collect();
        for index in 0..count {
            self.swap(&markets[index % pools]);
        }
        self.finish()
    }

    /// Of ten transactions six transfers, two of tokens, two swaps; of each kind 30 % hot: to the
    /// one recipient, or in the one pool.
    fn mixed(mut self, count: usize, pools: usize) -> Workload {
        let hot_recipient = self.person();
        self.fund(hot_recipient);
        let hot_market = self.market();
        let markets: Vec<Market> = (0..pools).map(|_| self.market()).collect();
        for index in 0..count {
            let hot = self.below(10) < 3;
            let to = if hot { hot_recipient } else { self.person() };
            match self.below(10) {
                0..6 => self.transfer(to),
                6..8 => self.token_transfer(to),
                _ => self.swap(if hot { &hot_market } else { &markets[index % pools] }),
            }
        }
        self.finish()
    }

    fn finish(self) -> Workload {
        let file = File {
            env: self.env,
            accounts: self.accounts,
            codes: self.codes,
            hashes: BTreeMap::new(),
            txs: self.txs,
            expected: None,
            signatures: Vec::new(),
        };
        let name = format!("generated/{}", self.name);
        Workload { must_succeed: true, ..Workload::of_file(name, &file) }
    }
}
