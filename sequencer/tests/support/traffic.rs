//! Signed transactions: transfers and transfers of an ERC-20, the same in every run.

use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::Encodable2718,
    network::TxSignerSync,
    primitives::{Address, B256, Bytes, TxKind, U256},
    signers::local::PrivateKeySigner,
    sol,
    sol_types::SolCall,
};
use anyhow::{Context, Result};
use executor::Transaction;
use std::path::Path;

sol! {
    interface Token {
        function transfer(address to, uint256 value) external returns (bool);
    }
}

/// Accounts that receive: as many as a chain of some size has in use.
const RECEIVERS: u64 = 50_000;
/// Of ten transactions so many are transfers of tokens.
const TOKENS_OF_TEN: u64 = 3;
const GAS_PRICE_WEI: u128 = 2_000_000_000;

/// Who signs, with the next nonce.
pub(crate) struct Account {
    signer: PrivateKeySigner,
    nonce: u64,
}

impl Account {
    pub(crate) fn of(signer: PrivateKeySigner, nonce: u64) -> Self {
        Self { signer, nonce }
    }

    /// Account of this number.
    fn numbered(index: u64) -> Result<Self> {
        let key = B256::from(U256::from(0x5eed_0000_0000 + index));
        Ok(Self::of(PrivateKeySigner::from_bytes(&key)?, 0))
    }

    pub(crate) fn address(&self) -> Address {
        self.signer.address()
    }

    /// A deposit took the next nonce.
    pub(crate) fn skip_nonce(&mut self) {
        self.nonce += 1;
    }

    pub(crate) fn sign(
        &mut self,
        chain_id: u64,
        to: TxKind,
        value: U256,
        input: Bytes,
    ) -> Result<Transaction> {
        let gas_limit = match (to, input.is_empty()) {
            (TxKind::Create, _) => 3_000_000,
            (_, true) => 21_000,
            (_, false) => 100_000,
        };
        let mut transaction = TxEip1559 {
            chain_id,
            nonce: self.nonce,
            gas_limit,
            max_fee_per_gas: GAS_PRICE_WEI,
            to,
            value,
            input,
            ..TxEip1559::default()
        };
        self.nonce += 1;
        let signature = self.signer.sign_transaction_sync(&mut transaction)?;
        let signed = TxEnvelope::from(transaction.into_signed(signature));
        // The sender is known; the follower is who recovers it.
        let raw = signed.encoded_2718().into();
        Ok(Transaction::decode_stored(raw, self.address())?)
    }
}

/// The senders, and what they send.
pub(crate) struct Traffic {
    chain_id: u64,
    token: Address,
    senders: Vec<Account>,
    drawn: u64,
}

/// Creates the token; its owner has all of it.
pub(crate) fn token_init() -> Result<Bytes> {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contracts/node_modules");
    let path = modules.join("@uniswap/v2-periphery/build/ERC20.json");
    let text = std::fs::read_to_string(path).context("run `make setup` first")?;
    let artifact: serde_json::Value = serde_json::from_str(&text)?;
    let code = artifact["bytecode"].as_str().context("no bytecode")?;
    let mut init = alloy::hex::decode(code)?;
    init.extend(U256::MAX.to_be_bytes::<32>());
    Ok(init.into())
}

/// Call data of a token transfer.
pub(crate) fn token_transfer(to: Address, value: u64) -> Bytes {
    Token::transferCall { to, value: U256::from(value) }.abi_encode().into()
}

impl Traffic {
    pub(crate) fn new(chain_id: u64, token: Address, senders: u64) -> Result<Self> {
        let senders = (0..senders).map(Account::numbered).collect::<Result<_>>()?;
        Ok(Self { chain_id, token, senders, drawn: 0 })
    }

    /// What gives every sender ether and tokens.
    pub(crate) fn funding(&self, owner: &mut Account) -> Result<Vec<Transaction>> {
        let ether = U256::from(1_000_000_000_000_000_000_u64);
        let mut transactions = Vec::new();
        for sender in &self.senders {
            let (to, chain_id) = (sender.address(), self.chain_id);
            transactions.push(owner.sign(chain_id, TxKind::Call(to), ether, Bytes::new())?);
            let (token, tokens) = (TxKind::Call(self.token), token_transfer(to, u64::MAX));
            transactions.push(owner.sign(chain_id, token, U256::ZERO, tokens)?);
        }
        Ok(transactions)
    }

    /// SplitMix64.
    fn draw(&mut self, below: u64) -> u64 {
        self.drawn = self.drawn.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.drawn;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % below
    }

    /// One transaction of every sender.
    pub(crate) fn block(&mut self) -> Result<Vec<Transaction>> {
        let mut transactions = Vec::with_capacity(self.senders.len());
        for index in 0..self.senders.len() {
            let receiver = 0xacc0_0000_0000 + self.draw(RECEIVERS);
            let receiver = Address::from_word(U256::from(receiver).into());
            let is_token = self.draw(10) < TOKENS_OF_TEN;
            let value = 1 + self.draw(1_000_000_000);
            let (to, value, input) = if is_token {
                (self.token, U256::ZERO, token_transfer(receiver, value))
            } else {
                (receiver, U256::from(value), Bytes::new())
            };
            let chain_id = self.chain_id;
            transactions.push(self.senders[index].sign(
                chain_id,
                TxKind::Call(to),
                value,
                input,
            )?);
        }
        Ok(transactions)
    }
}
