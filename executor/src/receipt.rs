//! Receipts in consensus form. RPC fields (block hash, log indexes, fees) are derived by the
//! reader; they are not part of what the chain commits to.

use crate::{
    deposit::DEPOSIT_TX_TYPE,
    transaction::{Body, Transaction},
};
use alloc::vec::Vec;
use alloy_primitives::{Address, B256, Bloom, Log, TxKind, logs_bloom};
use alloy_rlp::{BufMut, Decodable, Encodable, Header};

/// Version that the OP Stack (Canyon) writes into deposit receipts.
const DEPOSIT_RECEIPT_VERSION: u64 = 1;

/// Result of one included transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// EIP-2718 type of the transaction.
    pub ty: u8,
    /// Whether the top call returned without revert or halt.
    pub success: bool,
    /// State root after the transaction, which receipts before Byzantium carry instead of the
    /// status (EIP-658); `None` since, and on a rollup.
    pub state_root: Option<B256>,
    /// Gas used by this and all earlier transactions of the block.
    pub cumulative_gas_used: u64,
    /// Events in order; empty when not successful.
    pub logs: Vec<Log>,
    /// Sender's nonce before a deposit; `None` for signed transactions.
    pub deposit_nonce: Option<u64>,
}

impl Receipt {
    /// Bloom over the logs' addresses and topics.
    #[must_use]
    pub fn bloom(&self) -> Bloom {
        logs_bloom(&self.logs)
    }

    /// Address of the contract that the transaction created, if it was a creation.
    #[must_use]
    pub fn contract_address(&self, transaction: &Transaction) -> Option<Address> {
        if transaction.kind() != TxKind::Create {
            return None;
        }
        let nonce = match transaction.body() {
            Body::Signed(_) => transaction.nonce(),
            Body::Deposit(_) => self.deposit_nonce.unwrap_or(0),
        };
        Some(transaction.sender().create(nonce))
    }

    /// Consensus encoding: `type ‖ rlp[status, cumulativeGas, bloom, logs]`, untyped for type 0, and
    /// with depositNonce and depositReceiptVersion for 0x7e. Before Byzantium the state root takes
    /// the place of the status.
    #[must_use]
    pub fn encoded_2718(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_2718(&self.bloom(), &mut out);
        out
    }

    /// Appends [`Self::encoded_2718`], for who has the bloom already.
    pub(crate) fn encode_2718(&self, bloom: &Bloom, out: &mut Vec<u8>) {
        let mut payload_length = self.state_root.map_or(self.success.length(), |r| r.length())
            + self.cumulative_gas_used.length()
            + bloom.length()
            + self.logs.length();
        if let Some(nonce) = self.deposit_nonce {
            payload_length += nonce.length() + DEPOSIT_RECEIPT_VERSION.length();
        }
        out.reserve(payload_length + 6);
        if self.ty != 0 {
            out.put_u8(self.ty);
        }
        Header { list: true, payload_length }.encode(out);
        match self.state_root {
            Some(root) => root.encode(out),
            None => self.success.encode(out),
        }
        self.cumulative_gas_used.encode(out);
        bloom.encode(out);
        self.logs.encode(out);
        if let Some(nonce) = self.deposit_nonce {
            nonce.encode(out);
            DEPOSIT_RECEIPT_VERSION.encode(out);
        }
    }

    /// Reads [`Self::encoded_2718`] back; `None` when the bytes are anything else, or a receipt from
    /// before Byzantium, which does not say whether its transaction succeeded.
    #[must_use]
    pub fn decode_2718(bytes: &[u8]) -> Option<Self> {
        let (&first, rest) = bytes.split_first()?;
        let (ty, mut buf) = if first >= 0xc0 { (0, bytes) } else { (first, rest) };
        let header = Header::decode(&mut buf).ok()?;
        if !header.list || header.payload_length != buf.len() {
            return None;
        }
        let success = Decodable::decode(&mut buf).ok()?;
        let cumulative_gas_used = Decodable::decode(&mut buf).ok()?;
        let _bloom: Bloom = Decodable::decode(&mut buf).ok()?;
        let logs = Decodable::decode(&mut buf).ok()?;
        let deposit_nonce = if ty == DEPOSIT_TX_TYPE {
            let nonce = Decodable::decode(&mut buf).ok()?;
            let _version: u64 = Decodable::decode(&mut buf).ok()?;
            Some(nonce)
        } else {
            None
        };
        let state_root = None;
        let receipt = Self { ty, success, state_root, cumulative_gas_used, logs, deposit_nonce };
        buf.is_empty().then_some(receipt)
    }
}
