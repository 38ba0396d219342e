//! A signer behind HTTP that speaks `eth_signTransaction`, as web3signer does: it is sent the
//! transaction without blobs and answers with the signed bytes, or with an object that has them as
//! `raw`. What comes back is believed only when it is that transaction, signed by that account.
//!
//! Holds no key, and signs nothing but transactions.

use crate::l1::EndpointUrl;
use alloy::{
    consensus::{SignableTransaction, TxEnvelope, transaction::SignerRecoverable},
    eips::eip2718::Decodable2718,
    network::TxSigner,
    primitives::{Address, B256, Bytes, Signature, TxKind},
    rpc::{
        client::RpcClient,
        json_rpc::ErrorPayload,
        types::{TransactionInput, TransactionRequest},
    },
    transports::{
        RpcError, TransportError,
        http::{Http, reqwest},
    },
};
use async_trait::async_trait;
use serde::Deserialize;
use std::time::Duration;

/// Longest wait for a signature: some signers ask a machine that signs in seconds.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often a signer that is silent is asked before the caller is told.
const ATTEMPTS_MAX: u32 = 3;
/// Wait after the first failure; doubled after each.
const BACKOFF_FIRST: Duration = Duration::from_millis(250);

/// A remote signer of one account.
#[derive(Clone, Debug)]
pub struct RemoteSigner {
    url: EndpointUrl,
    client: RpcClient,
    address: Address,
}

/// The remote signer gave no signature that can be used.
#[derive(Debug, thiserror::Error)]
#[error("remote signer {url}: {failure}")]
pub struct RemoteSignerError {
    /// Which signer.
    pub url: EndpointUrl,
    /// What it did.
    pub failure: SignFailure,
}

/// How a remote signer failed.
#[derive(Debug, thiserror::Error)]
pub enum SignFailure {
    /// It cannot be reached, repeatedly.
    #[error("it does not answer")]
    Silent(#[source] TransportError),
    /// It refuses.
    #[error("it refuses: {0}")]
    Refused(ErrorPayload),
    /// It answers with something that is no signed transaction.
    #[error("the answer is not a signed transaction")]
    Malformed,
    /// It signed another transaction than it was given.
    #[error("it signed another transaction than the one it was given")]
    OtherTransaction,
    /// It signed for another account.
    #[error("it signed for {found}, expected {expected}")]
    OtherAccount {
        /// The configured account.
        expected: Address,
        /// Whose signature it is.
        found: Address,
    },
}

/// What signers answer with: web3signer the bytes, geth an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Answer {
    Raw(Bytes),
    Object { raw: Bytes },
}

impl RemoteSigner {
    /// Signs for `address` at `url`. Nothing is asked yet.
    ///
    /// # Errors
    /// [`reqwest::Error`] where no HTTP client can be made.
    pub fn new(url: EndpointUrl, address: Address) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(ANSWER_WAIT_MAX).build()?;
        let http = Http::with_client(client, url.url().clone());
        Ok(Self { client: RpcClient::new(http, false), url, address })
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> &EndpointUrl {
        &self.url
    }

    async fn ask(&self, request: TransactionRequest) -> Result<Bytes, SignFailure> {
        let mut wait = BACKOFF_FIRST;
        let mut attempt = 1;
        loop {
            let asked = self.client.request("eth_signTransaction", (request.clone(),)).await;
            match asked {
                Ok(Answer::Raw(raw) | Answer::Object { raw }) => return Ok(raw),
                Err(RpcError::ErrorResp(error)) => {
                    return Err(SignFailure::Refused(error));
                }
                Err(RpcError::DeserError { .. } | RpcError::NullResp) => {
                    return Err(SignFailure::Malformed);
                }
                Err(error) if attempt >= ATTEMPTS_MAX => return Err(SignFailure::Silent(error)),
                Err(_) => {}
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
            attempt += 1;
        }
    }
}

#[async_trait]
impl TxSigner<Signature> for RemoteSigner {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign_transaction(
        &self,
        tx: &mut dyn SignableTransaction<Signature>,
    ) -> alloy::signers::Result<Signature> {
        let (request, hash) = (request(tx, self.address), tx.signature_hash());
        let signed = match self.ask(request).await {
            Ok(raw) => signature_of(&raw, hash, self.address),
            Err(failure) => Err(failure),
        };
        let url = self.url.clone();
        signed.map_err(|failure| alloy::signers::Error::other(RemoteSignerError { url, failure }))
    }
}

/// What the signer is asked to sign. Calldata is in both of its fields: signers know one or the other.
fn request(tx: &dyn SignableTransaction<Signature>, from: Address) -> TransactionRequest {
    TransactionRequest {
        from: Some(from),
        to: Some(tx.to().map_or(TxKind::Create, TxKind::Call)),
        gas: Some(tx.gas_limit()),
        max_fee_per_gas: Some(tx.max_fee_per_gas()),
        max_priority_fee_per_gas: tx.max_priority_fee_per_gas(),
        max_fee_per_blob_gas: tx.max_fee_per_blob_gas(),
        blob_versioned_hashes: tx.blob_versioned_hashes().map(<[B256]>::to_vec),
        value: Some(tx.value()),
        input: TransactionInput::both(tx.input().clone()),
        nonce: Some(tx.nonce()),
        chain_id: tx.chain_id(),
        transaction_type: Some(tx.ty()),
        ..TransactionRequest::default()
    }
}

/// The signature in `raw`, when it is of this transaction by this account. Of a transaction with blobs
/// signers answer with or without the blobs; what is signed is the same.
fn signature_of(raw: &[u8], hash: B256, expected: Address) -> Result<Signature, SignFailure> {
    let mut rest = raw;
    let envelope = TxEnvelope::decode_2718(&mut rest).map_err(|_| SignFailure::Malformed)?;
    if !rest.is_empty() {
        return Err(SignFailure::Malformed);
    }
    if envelope.signature_hash() != hash {
        return Err(SignFailure::OtherTransaction);
    }
    let found = envelope.recover_signer().map_err(|_| SignFailure::Malformed)?;
    if found != expected {
        return Err(SignFailure::OtherAccount { expected, found });
    }
    Ok(*envelope.signature())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::{
        consensus::{Signed, TxEip1559, TxEip4844},
        eips::eip2718::Encodable2718,
        primitives::U256,
        signers::{SignerSync, local::PrivateKeySigner},
    };
    use serde_json::{Value, json};

    fn plain() -> TxEip1559 {
        TxEip1559 {
            chain_id: 7,
            nonce: 3,
            gas_limit: 50_000,
            max_fee_per_gas: 30,
            max_priority_fee_per_gas: 2,
            to: TxKind::Call(Address::repeat_byte(5)),
            value: U256::ZERO,
            access_list: Vec::new().into(),
            input: Bytes::from_static(&[1, 2, 3]),
        }
    }

    fn with_blobs() -> TxEip4844 {
        TxEip4844 {
            chain_id: 7,
            nonce: 3,
            gas_limit: 50_000,
            max_fee_per_gas: 30,
            max_priority_fee_per_gas: 2,
            to: Address::repeat_byte(5),
            value: U256::ZERO,
            access_list: Vec::new().into(),
            blob_versioned_hashes: vec![B256::repeat_byte(1), B256::repeat_byte(2)],
            max_fee_per_blob_gas: 9,
            input: Bytes::from_static(&[1, 2, 3]),
        }
    }

    #[test]
    fn the_request_has_the_fields_that_signers_read() {
        let from = Address::repeat_byte(9);
        let common = json!({
            "from": from, "to": Address::repeat_byte(5), "gas": "0xc350", "maxFeePerGas": "0x1e",
            "maxPriorityFeePerGas": "0x2", "value": "0x0", "nonce": "0x3", "data": "0x010203",
            "input": "0x010203", "chainId": "0x7", "type": "0x2",
        });
        assert_eq!(serde_json::to_value(request(&plain(), from)).unwrap(), common);
        let mut blobs = common;
        blobs["type"] = "0x3".into();
        blobs["maxFeePerBlobGas"] = "0x9".into();
        let hashes: Vec<Value> = [1, 2].map(|n| json!(B256::repeat_byte(n))).into();
        blobs["blobVersionedHashes"] = hashes.into();
        assert_eq!(serde_json::to_value(request(&with_blobs(), from)).unwrap(), blobs);
    }

    fn signed<T: SignableTransaction<Signature>>(tx: T, key: &PrivateKeySigner) -> Vec<u8>
    where
        TxEnvelope: From<Signed<T>>,
    {
        let signature = key.sign_hash_sync(&tx.signature_hash()).unwrap();
        TxEnvelope::from(tx.into_signed(signature)).encoded_2718()
    }

    #[test]
    fn only_the_signature_of_this_transaction_by_this_account_is_taken() {
        let (key, other) = (PrivateKeySigner::random(), PrivateKeySigner::random());
        let (hash, blobs_hash) = (plain().signature_hash(), with_blobs().signature_hash());
        assert!(signature_of(&signed(plain(), &key), hash, key.address()).is_ok());
        assert!(signature_of(&signed(with_blobs(), &key), blobs_hash, key.address()).is_ok());
        let refused = |raw: &[u8]| signature_of(raw, hash, key.address()).unwrap_err();
        let dearer = TxEip1559 { max_fee_per_gas: 31, ..plain() };
        assert!(matches!(refused(&signed(dearer, &key)), SignFailure::OtherTransaction));
        // What a signer that knows no blobs makes of one.
        let stripped = signature_of(&signed(plain(), &key), blobs_hash, key.address());
        assert!(matches!(stripped, Err(SignFailure::OtherTransaction)));
        let found = other.address();
        assert!(matches!(
            refused(&signed(plain(), &other)),
            SignFailure::OtherAccount { found: who, .. } if who == found
        ));
        assert!(matches!(refused(b"nonsense"), SignFailure::Malformed));
        let trailing = [signed(plain(), &key), vec![0]].concat();
        assert!(matches!(refused(&trailing), SignFailure::Malformed));
    }

    #[test]
    fn both_kinds_of_answers_are_read() {
        for text in [r#""0x0203""#, r#"{"raw":"0x0203","tx":{"hash":"0x"}}"#] {
            let (Answer::Raw(raw) | Answer::Object { raw }) = serde_json::from_str(text).unwrap();
            assert_eq!(raw, Bytes::from_static(&[2, 3]));
        }
    }
}
