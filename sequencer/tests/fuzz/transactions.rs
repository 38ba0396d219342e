//! Signed transactions with fields on the borders of what is allowed, as the fuzz draws them.
//!
//! All are signed by one rich account, so that they pass the recovery and meet the checks behind it.

use super::dice::Dice;
use crate::chain::{CHAIN_ID, LOGGER, READER};
use alloy::{
    consensus::{
        EthereumTxEnvelope, SignableTransaction, Signed, TxEip1559, TxEip2930, TxEip4844,
        TxEip7702, TxLegacy,
    },
    eips::{
        Encodable2718,
        eip2930::{AccessList, AccessListItem},
        eip7702::{Authorization, SignedAuthorization},
    },
    network::TxSignerSync,
    primitives::{Address, B256, Bytes, Signature, TxKind, U256},
    signers::local::PrivateKeySigner,
};

/// The fields that all types share.
struct Fields {
    chain_id: u64,
    nonce: u64,
    gas_limit: u64,
    fee_wei: u128,
    tip_wei: u128,
    to: TxKind,
    value: U256,
    input: Bytes,
    access_list: AccessList,
    authorizations: Vec<SignedAuthorization>,
}

/// The raw bytes of a transaction of any type.
pub(super) fn draw(signer: &PrivateKeySigner, dice: &mut Dice) -> Vec<u8> {
    let f = fields(dice);
    match dice.below(5) {
        0 => {
            let (chain_id, gas_price) = ((!dice.chance(10)).then_some(f.chain_id), f.fee_wei);
            let Fields { nonce, gas_limit, to, value, input, .. } = f;
            sign(signer, TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input })
        }
        1 => {
            let gas_price = f.fee_wei;
            let Fields { chain_id, nonce, gas_limit, to, value, input, access_list, .. } = f;
            let unsigned =
                TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input };
            sign(signer, unsigned)
        }
        2 => sign(
            signer,
            TxEip1559 {
                chain_id: f.chain_id,
                nonce: f.nonce,
                gas_limit: f.gas_limit,
                max_fee_per_gas: f.fee_wei,
                max_priority_fee_per_gas: f.tip_wei,
                to: f.to,
                value: f.value,
                access_list: f.access_list,
                input: f.input,
            },
        ),
        3 => sign(
            signer,
            TxEip4844 {
                chain_id: f.chain_id,
                nonce: f.nonce,
                gas_limit: f.gas_limit,
                max_fee_per_gas: f.fee_wei,
                max_priority_fee_per_gas: f.tip_wei,
                to: f.to.to().copied().unwrap_or_default(),
                value: f.value,
                access_list: f.access_list,
                blob_versioned_hashes: vec![B256::with_last_byte(1)],
                max_fee_per_blob_gas: f.tip_wei,
                input: f.input,
            },
        ),
        _ => sign(
            signer,
            TxEip7702 {
                chain_id: f.chain_id,
                nonce: f.nonce,
                gas_limit: f.gas_limit,
                max_fee_per_gas: f.fee_wei,
                max_priority_fee_per_gas: f.tip_wei,
                to: f.to.to().copied().unwrap_or_default(),
                value: f.value,
                access_list: f.access_list,
                authorization_list: f.authorizations,
                input: f.input,
            },
        ),
    }
}

fn fields(dice: &mut Dice) -> Fields {
    let input_length = dice.weighted(&[(8, 0), (4, 4), (4, 68), (1, 24_577), (1, 49_153)]);
    let authorization = |dice: &mut Dice| {
        let address = dice.pick(&[READER, Address::ZERO]);
        let chain_id = U256::from(dice.pick(&[0, CHAIN_ID]));
        let signature = U256::from(dice.pick(&[0, 1, u64::MAX]));
        let unsigned = Authorization { chain_id, address, nonce: dice.below(3) };
        SignedAuthorization::new_unchecked(unsigned, dice.byte(3), signature, signature)
    };
    let authorizations = (0..dice.below(3)).map(|_| authorization(dice)).collect();
    let listed = |dice: &mut Dice| AccessListItem {
        address: dice.pick(&[READER, LOGGER]),
        storage_keys: vec![B256::ZERO; dice.index(4)],
    };
    Fields {
        chain_id: dice.weighted(&[(12, CHAIN_ID), (1, 0), (1, 1), (1, u64::MAX)]),
        nonce: dice.weighted(&[(8, 6), (4, 7), (2, 0), (1, u64::MAX), (1, u64::MAX - 1)]),
        gas_limit: dice.weighted(&[
            (8, 100_000),
            (2, 21_000),
            (1, 20_999),
            (1, 0),
            (2, 16_000_000),
            (1, 30_000_001),
            (1, u64::MAX),
        ]),
        fee_wei: dice.weighted(&[(8, 1_000_000_000), (1, 0), (1, 1), (1, u128::MAX)]),
        tip_wei: dice.weighted(&[(8, 1), (1, 0), (1, 1_000_000_001), (1, u128::MAX)]),
        to: dice.pick(&[TxKind::Create, TxKind::Call(LOGGER), TxKind::Call(Address::ZERO)]),
        value: dice.weighted(&[(8, U256::ZERO), (2, U256::ONE), (1, U256::MAX)]),
        input: vec![dice.byte(3); input_length].into(),
        access_list: AccessList((0..dice.below(3)).map(|_| listed(dice)).collect()),
        authorizations,
    }
}

fn sign<T>(signer: &PrivateKeySigner, mut unsigned: T) -> Vec<u8>
where
    T: SignableTransaction<Signature>,
    Signed<T>: Into<EthereumTxEnvelope<TxEip4844>>,
{
    let signature = signer.sign_transaction_sync(&mut unsigned).unwrap();
    let envelope: EthereumTxEnvelope<TxEip4844> = unsigned.into_signed(signature).into();
    envelope.encoded_2718()
}
