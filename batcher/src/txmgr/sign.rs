//! From a call to signed bytes. Owns the choice of transaction type: EIP-4844 with cell proofs
//! (EIP-7594) when there is a payload for blobs, EIP-1559 otherwise.

use super::{
    TxError,
    fees::Fees,
    store::{Attempt, Call},
};
use crate::{format::blob::pack, kzg};
use alloy::{
    consensus::{
        BlobTransactionSidecarVariant, SignableTransaction, TxEip1559, TxEip4844, TxEip4844Variant,
        TxEip4844WithSidecar, TxEnvelope,
    },
    eips::{eip2718::Encodable2718, eip4844::Blob, eip7594::BlobTransactionSidecarEip7594},
    network::TxSigner,
    primitives::{Address, Bytes, Signature, TxKind, U256},
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A key, in this process or elsewhere, that signs L1 transactions.
pub type L1Signer = dyn TxSigner<Signature> + Send + Sync;

/// The sidecar of the call that is to be signed next, kept until it is: a signer may be away for long, and
/// a blob takes almost half a second.
#[derive(Debug, Default)]
pub(super) struct Sidecars {
    // With its payload. Held for a copy only, never across an await.
    kept: Mutex<Option<(Bytes, BlobTransactionSidecarEip7594)>>,
}

impl Sidecars {
    /// The sidecar of a call with a blob payload.
    pub(super) async fn of(
        &self,
        call: &Call,
    ) -> Result<Option<BlobTransactionSidecarEip7594>, TxError> {
        let kept =
            self.kept().clone().filter(|(payload, _)| Some(payload) == call.blob_payload.as_ref());
        if let Some((_, sidecar)) = kept {
            return Ok(Some(sidecar));
        }
        let sidecar = sidecar(call).await?;
        *self.kept() = call.blob_payload.clone().zip(sidecar.clone());
        Ok(sidecar)
    }

    /// The call is signed; its replacements take the sidecar from there.
    pub(super) fn forget(&self) {
        *self.kept() = None;
    }

    fn kept(&self) -> MutexGuard<'_, Option<(Bytes, BlobTransactionSidecarEip7594)>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn sidecar(call: &Call) -> Result<Option<BlobTransactionSidecarEip7594>, TxError> {
    let Some(payload) = call.blob_payload.clone() else { return Ok(None) };
    let blobs = tokio::task::spawn_blocking(move || pack(&payload)).await;
    Ok(Some(kzg::sidecar(blobs.map_err(|_| kzg::KzgError::Worker)?).await?))
}

/// Gas of a transfer to an account without code.
pub(super) const CANCEL_GAS: u64 = 21_000;

/// A call that does nothing: the account sends itself nothing.
pub(super) fn cancelling_call(account: Address) -> Call {
    Call { to: account, input: Bytes::new(), blob_payload: None, gas_limit: CANCEL_GAS }
}

/// The sidecar of one blob of zeros, for the replacement of a transaction with blobs.
pub(super) async fn empty_sidecar() -> Result<BlobTransactionSidecarEip7594, TxError> {
    Ok(kzg::sidecar(vec![Blob::default()]).await?)
}

/// Signs one attempt of a call; with a sidecar as EIP-4844.
pub(super) async fn sign(
    signer: &L1Signer,
    (chain_id, nonce): (u64, u64),
    call: &Call,
    fees: Fees,
    sidecar: Option<BlobTransactionSidecarEip7594>,
) -> Result<Attempt, TxError> {
    let envelope = match sidecar {
        None => {
            let mut tx = TxEip1559 {
                chain_id,
                nonce,
                gas_limit: call.gas_limit,
                max_fee_per_gas: fees.max_fee_wei,
                max_priority_fee_per_gas: fees.priority_fee_wei,
                to: TxKind::Call(call.to),
                value: U256::ZERO,
                access_list: Vec::new().into(),
                input: call.input.clone(),
            };
            let signature = signer.sign_transaction(&mut tx).await?;
            TxEnvelope::Eip1559(tx.into_signed(signature))
        }
        Some(sidecar) => {
            let mut tx = TxEip4844 {
                chain_id,
                nonce,
                gas_limit: call.gas_limit,
                max_fee_per_gas: fees.max_fee_wei,
                max_priority_fee_per_gas: fees.priority_fee_wei,
                to: call.to,
                value: U256::ZERO,
                access_list: Vec::new().into(),
                blob_versioned_hashes: sidecar.versioned_hashes().collect(),
                max_fee_per_blob_gas: fees.max_blob_fee_wei.unwrap_or(1),
                input: call.input.clone(),
            };
            let signature = signer.sign_transaction(&mut tx).await?;
            let sidecar = BlobTransactionSidecarVariant::Eip7594(sidecar);
            let tx = TxEip4844WithSidecar { tx, sidecar };
            let tx = TxEip4844Variant::TxEip4844WithSidecar(tx);
            TxEnvelope::Eip4844(tx.into_signed(signature))
        }
    };
    let raw = Bytes::from(envelope.encoded_2718());
    Ok(Attempt { tx_hash: *envelope.tx_hash(), fees, raw, is_cancel: false })
}

/// The sidecar inside an attempt that was stored, for a replacement of it.
pub(super) fn sidecar_of(raw: &[u8]) -> Option<BlobTransactionSidecarEip7594> {
    let envelope = <TxEnvelope as alloy::eips::Decodable2718>::decode_2718(&mut &*raw).ok()?;
    let TxEnvelope::Eip4844(signed) = envelope else { return None };
    match signed.into_parts().0 {
        TxEip4844Variant::TxEip4844WithSidecar(tx) => tx.sidecar.into_eip7594(),
        TxEip4844Variant::TxEip4844(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::{consensus::transaction::SignerRecoverable, signers::local::PrivateKeySigner};

    fn call(blob_payload: Option<Bytes>) -> Call {
        let input = Bytes::from_static(&[1, 2, 3]);
        Call { to: Address::repeat_byte(1), input, blob_payload, gas_limit: 100_000 }
    }

    fn fees(max_blob_fee_wei: Option<u128>) -> Fees {
        Fees { max_fee_wei: 10, priority_fee_wei: 1, max_blob_fee_wei }
    }

    #[tokio::test]
    async fn blobs_are_sent_with_cell_proofs_and_never_with_the_old_sidecar() {
        let signer = PrivateKeySigner::random();
        let call = call(Some(Bytes::from(vec![7; 200_000])));
        let sidecars = Sidecars::default();
        let sidecar = sidecars.of(&call).await.unwrap();
        assert_eq!(*sidecars.kept(), call.blob_payload.clone().zip(sidecar.clone()));
        assert_eq!(sidecars.of(&call).await.unwrap(), sidecar);
        sidecars.forget();
        assert_eq!(*sidecars.kept(), None);
        let attempt = sign(&signer, (1, 0), &call, fees(Some(1)), sidecar).await.unwrap();
        let envelope =
            <TxEnvelope as alloy::eips::Decodable2718>::decode_2718(&mut &attempt.raw[..]).unwrap();
        assert_eq!(envelope.recover_signer().unwrap(), signer.address());
        let TxEnvelope::Eip4844(signed) = envelope else { panic!("not a blob transaction") };
        let TxEip4844Variant::TxEip4844WithSidecar(tx) = signed.tx() else { panic!("no sidecar") };
        let BlobTransactionSidecarVariant::Eip7594(sidecar) = &tx.sidecar else {
            panic!("the sidecar is not of EIP-7594")
        };
        assert_eq!((sidecar.blobs.len(), sidecar.cell_proofs.len()), (2, 2 * 128));
        assert_eq!(sidecar_of(&attempt.raw).as_ref(), Some(sidecar));
        let (_, hashes) = kzg::versioned_hashes(sidecar.blobs.clone()).await.unwrap();
        assert_eq!(hashes, tx.tx.blob_versioned_hashes);
    }

    #[tokio::test]
    async fn without_blobs_it_is_an_eip1559_transaction() {
        let signer = PrivateKeySigner::random();
        let call = call(None);
        assert_eq!(sidecar(&call).await.unwrap(), None);
        let attempt = sign(&signer, (1, 0), &call, fees(None), None).await.unwrap();
        assert_eq!(attempt.raw[0], 2);
        assert_eq!(sidecar_of(&attempt.raw), None);
    }
}
