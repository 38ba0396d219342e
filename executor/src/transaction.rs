//! A transaction as the node carries it from the edge to the batch: decoded once, its sender
//! recovered once, its raw bytes shared and never re-encoded.
//!
//! Does not check anything that needs state (nonce, balance) or a block (fees, gas left).

use crate::deposit::{DEPOSIT_TX_TYPE, Deposit};
use alloc::{sync::Arc, vec::Vec};
use alloy_consensus::{
    EthereumTxEnvelope, Transaction as _, TxEip4844, Typed2718, transaction::SignerRecoverable,
};
use alloy_eips::{Decodable2718, Encodable2718, eip4844::DATA_GAS_PER_BLOB};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, keccak256};

/// A signed Ethereum transaction of type 0, 1, 2, 3 (without its sidecar) or 4.
pub type SignedTransaction = EthereumTxEnvelope<TxEip4844>;

/// Longest transaction that is decoded, in bytes. Twice EIP-7907-sized init code plus its envelope
/// never comes near it, and geth's pool stops at the same 128 KiB; longer input is refused before
/// any field is read.
pub const TRANSACTION_BYTES_MAX: usize = 128 * 1024;

/// What a transaction asks for: a signed user transaction, or a deposit derived from L1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Signed by its sender.
    Signed(SignedTransaction),
    /// Derived from an L1 event or L1 block; it has no signature.
    Deposit(Deposit),
}

/// A decoded transaction with its hash, sender and raw EIP-2718 bytes. Cloning shares everything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    hash: B256,
    sender: Address,
    raw: Bytes,
    body: Body,
}

/// Why bytes are not a transaction of this chain. All are the sender's fault; nothing was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// Not the canonical EIP-2718 encoding of a known transaction type.
    #[error("undecodable transaction")]
    Undecodable,
    /// Longer than [`TRANSACTION_BYTES_MAX`].
    #[error("oversized data: transaction size {size}, limit {TRANSACTION_BYTES_MAX}")]
    Oversized {
        /// Bytes received.
        size: usize,
    },
    /// The signature is not valid, or its `s` is in the upper half of the order (EIP-2).
    #[error("invalid sender: signature is not valid or not low-s (EIP-2)")]
    InvalidSignature,
    /// A deposit (0x7e) offered as if it were signed; deposits come from L1 only.
    #[error("transaction type not supported: deposits come from L1 only")]
    DepositNotAllowed,
}

/// A decoded signed transaction whose sender is not known yet: what the edge checks before it pays for
/// the recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unrecovered {
    hash: B256,
    raw: Bytes,
    signed: SignedTransaction,
}

impl Unrecovered {
    /// Decodes a signed transaction from its EIP-2718 bytes.
    ///
    /// # Errors
    /// [`TransactionError`] when the bytes are too long, not exactly one canonical transaction, or a
    /// deposit.
    pub fn decode(raw: Bytes) -> Result<Self, TransactionError> {
        if raw.len() > TRANSACTION_BYTES_MAX {
            return Err(TransactionError::Oversized { size: raw.len() });
        }
        if raw.first() == Some(&DEPOSIT_TX_TYPE) {
            return Err(TransactionError::DepositNotAllowed);
        }
        let mut buf: &[u8] = &raw;
        let signed =
            SignedTransaction::decode_2718(&mut buf).map_err(|_| TransactionError::Undecodable)?;
        // RLP decoders may accept what they would not write; only the canonical bytes have this
        // hash, so anything else is refused here instead of getting a second identity.
        if !buf.is_empty() || signed.encode_2718_len() != raw.len() || signed.encoded_2718() != raw
        {
            return Err(TransactionError::Undecodable);
        }
        Ok(Self { hash: keccak256(&raw), raw, signed })
    }

    /// keccak-256 of the raw bytes.
    #[must_use]
    pub fn hash(&self) -> B256 {
        self.hash
    }

    /// The EIP-2718 bytes.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.raw
    }

    /// The decoded fields.
    #[must_use]
    pub fn signed(&self) -> &SignedTransaction {
        &self.signed
    }

    /// The transaction with the sender that [`recover`] found for it.
    #[must_use]
    pub fn into_transaction(self, sender: Address) -> Transaction {
        let Self { hash, raw, signed } = self;
        Transaction(Arc::new(Inner { hash, sender, raw, body: Body::Signed(signed) }))
    }
}

/// The senders of transactions, in their order. The one place where the node recovers senders: with
/// libsecp256k1 under the `std` feature, one signature after the other; a way to recover several at
/// once belongs behind this function.
#[must_use]
pub fn recover(transactions: &[Unrecovered]) -> Vec<Result<Address, TransactionError>> {
    let recover_one = |transaction: &Unrecovered| {
        transaction.signed.recover_signer().map_err(|_| TransactionError::InvalidSignature)
    };
    transactions.iter().map(recover_one).collect()
}

impl Transaction {
    /// Decodes a signed transaction from its EIP-2718 bytes and recovers its sender.
    ///
    /// # Errors
    /// [`TransactionError`] when the bytes are too long, not exactly one canonical transaction, a
    /// deposit, or not signed by a low-s signature.
    pub fn decode_signed(raw: Bytes) -> Result<Self, TransactionError> {
        let decoded = Unrecovered::decode(raw)?;
        let sender =
            decoded.signed.recover_signer().map_err(|_| TransactionError::InvalidSignature)?;
        Ok(decoded.into_transaction(sender))
    }

    /// Wraps a signed transaction whose sender is already known, as an outside block gives it.
    #[must_use]
    pub fn from_signed(signed: SignedTransaction, sender: Address) -> Self {
        let raw = Bytes::from(signed.encoded_2718());
        Self(Arc::new(Inner { hash: keccak256(&raw), sender, raw, body: Body::Signed(signed) }))
    }

    /// Wraps a deposit; its bytes and hash follow from its fields.
    #[must_use]
    pub fn from_deposit(deposit: Deposit) -> Self {
        let raw = Bytes::from(deposit.encoded_2718());
        let hash = keccak256(&raw);
        Self(Arc::new(Inner { hash, sender: deposit.from, raw, body: Body::Deposit(deposit) }))
    }

    /// Decodes what this node stored itself: a signed transaction or a deposit. `sender` is trusted
    /// for signed transactions, because it was recovered before it was stored.
    ///
    /// # Errors
    /// [`TransactionError::Undecodable`] when the bytes are not such a transaction.
    pub fn decode_stored(raw: Bytes, sender: Address) -> Result<Self, TransactionError> {
        let mut buf: &[u8] = &raw;
        let body = if raw.first() == Some(&DEPOSIT_TX_TYPE) {
            Body::Deposit(Deposit::decode_2718(&mut buf).ok_or(TransactionError::Undecodable)?)
        } else {
            let signed = SignedTransaction::decode_2718(&mut buf)
                .map_err(|_| TransactionError::Undecodable)?;
            Body::Signed(signed)
        };
        if !buf.is_empty() {
            return Err(TransactionError::Undecodable);
        }
        let sender = match &body {
            Body::Deposit(deposit) => deposit.from,
            Body::Signed(_) => sender,
        };
        Ok(Self(Arc::new(Inner { hash: keccak256(&raw), sender, raw, body })))
    }

    /// keccak-256 of the raw bytes.
    #[must_use]
    pub fn hash(&self) -> B256 {
        self.0.hash
    }

    /// The recovered signer, or the deposit's `from`.
    #[must_use]
    pub fn sender(&self) -> Address {
        self.0.sender
    }

    /// The EIP-2718 bytes; cloning them is a reference count.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.0.raw
    }

    /// The decoded fields.
    #[must_use]
    pub fn body(&self) -> &Body {
        &self.0.body
    }

    /// The signed transaction, unless this is a deposit.
    #[must_use]
    pub fn as_signed(&self) -> Option<&SignedTransaction> {
        match &self.0.body {
            Body::Signed(signed) => Some(signed),
            Body::Deposit(_) => None,
        }
    }

    /// The deposit, unless this is a signed transaction.
    #[must_use]
    pub fn as_deposit(&self) -> Option<&Deposit> {
        match &self.0.body {
            Body::Signed(_) => None,
            Body::Deposit(deposit) => Some(deposit),
        }
    }

    /// EIP-2718 type byte: 0 to 4, or 0x7e.
    #[must_use]
    pub fn ty(&self) -> u8 {
        self.as_signed().map_or(DEPOSIT_TX_TYPE, Typed2718::ty)
    }

    /// Sender nonce; 0 for a deposit, whose nonce is known only once executed.
    #[must_use]
    pub fn nonce(&self) -> u64 {
        self.as_signed().map_or(0, |signed| signed.nonce())
    }

    /// Gas limit.
    #[must_use]
    pub fn gas_limit(&self) -> u64 {
        match &self.0.body {
            Body::Signed(signed) => signed.gas_limit(),
            Body::Deposit(deposit) => deposit.gas_limit,
        }
    }

    /// Called address, or creation.
    #[must_use]
    pub fn kind(&self) -> TxKind {
        match &self.0.body {
            Body::Signed(signed) => signed.kind(),
            Body::Deposit(deposit) => deposit.to,
        }
    }

    /// Value in wei.
    #[must_use]
    pub fn value(&self) -> U256 {
        match &self.0.body {
            Body::Signed(signed) => signed.value(),
            Body::Deposit(deposit) => deposit.value,
        }
    }

    /// Call data or init code.
    #[must_use]
    pub fn input(&self) -> &Bytes {
        match &self.0.body {
            Body::Signed(signed) => signed.input(),
            Body::Deposit(deposit) => &deposit.input,
        }
    }

    /// Highest price per gas the sender pays, in wei; 0 for a deposit.
    #[must_use]
    pub fn max_fee_per_gas_wei(&self) -> u128 {
        self.as_signed().map_or(0, |signed| signed.max_fee_per_gas())
    }

    /// Price per gas actually paid at `base_fee_wei`; 0 for a deposit.
    #[must_use]
    pub fn effective_gas_price_wei(&self, base_fee_wei: u64) -> u128 {
        self.as_signed().map_or(0, |signed| signed.effective_gas_price(Some(base_fee_wei)))
    }

    /// Whether it names addresses or slots to warm (EIP-2930).
    #[must_use]
    pub fn has_access_list(&self) -> bool {
        let list = self.as_signed().and_then(|signed| signed.access_list());
        list.is_some_and(|list| !list.is_empty())
    }

    /// Blob gas the transaction asks for: 0 but for type 3.
    #[must_use]
    pub fn blob_gas(&self) -> u64 {
        let blobs = self.as_signed().and_then(|signed| signed.blob_versioned_hashes());
        blobs.map_or(0, |hashes| hashes.len() as u64 * DATA_GAS_PER_BLOB)
    }

    /// Most the sender can be charged: gas limit x max fee + value + blob fees, saturating.
    #[must_use]
    pub fn max_cost_wei(&self) -> U256 {
        let gas = U256::from(self.gas_limit()) * U256::from(self.max_fee_per_gas_wei());
        let blob_price = self.as_signed().and_then(|signed| signed.max_fee_per_blob_gas());
        let blob = U256::from(self.blob_gas()) * U256::from(blob_price.unwrap_or(0));
        gas.saturating_add(blob).saturating_add(self.value())
    }
}
