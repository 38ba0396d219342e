//! ethers-core as an independent second implementation: what it encodes, hashes and signs we decode
//! to the same bytes, hash and sender, and the reverse. Types 0, 1 and 2.

use crate::support::signer;
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEnvelope, TxLegacy},
    eips::{
        Encodable2718,
        eip2930::{AccessList, AccessListItem},
    },
    network::TxSignerSync,
    primitives::{Address, Bytes, TxKind, U256},
};
use ethers_core::{
    k256::ecdsa::SigningKey,
    types::{
        self as ethers, Eip1559TransactionRequest, Eip2930TransactionRequest, NameOrAddress,
        Signature, TransactionRequest, transaction::eip2718::TypedTransaction,
        transaction::eip2930,
    },
    utils::{keccak256, rlp::Rlp},
};
use executor::Transaction;
use proptest::prelude::*;

const CHAIN_ID: u64 = 420_420;

/// Fields that every type has.
#[derive(Clone, Debug)]
struct Fields {
    ty: u8,
    nonce: u64,
    gas: u64,
    price: u64,
    tip: u64,
    to: Option<[u8; 20]>,
    value: u128,
    data: Vec<u8>,
    access: Vec<([u8; 20], Vec<[u8; 32]>)>,
    key: u64,
}

prop_compose! {
    fn fields()(
        ty in 0u8..3, nonce in any::<u64>(), gas in any::<u64>(), price in any::<u64>(),
        tip in any::<u64>(), to in any::<Option<[u8; 20]>>(), value in any::<u128>(),
        data in prop::collection::vec(any::<u8>(), 0..200),
        access in prop::collection::vec(
            (any::<[u8; 20]>(), prop::collection::vec(any::<[u8; 32]>(), 0..3)), 0..3),
        key in 0u64..1_000,
    ) -> Fields {
        Fields { ty, nonce, gas, price, tip, to, value, data, access, key }
    }
}

fn ethers_request(fields: &Fields) -> TypedTransaction {
    let to = fields.to.map(|to| NameOrAddress::Address(to.into()));
    let data = ethers::Bytes::from(fields.data.clone());
    let access = eip2930::AccessList(
        fields
            .access
            .iter()
            .map(|(address, keys)| eip2930::AccessListItem {
                address: (*address).into(),
                storage_keys: keys.iter().map(|key| (*key).into()).collect(),
            })
            .collect(),
    );
    let legacy = TransactionRequest {
        from: None,
        to: to.clone(),
        gas: Some(fields.gas.into()),
        gas_price: Some(fields.price.into()),
        value: Some(fields.value.into()),
        data: Some(data.clone()),
        nonce: Some(fields.nonce.into()),
        chain_id: Some(CHAIN_ID.into()),
    };
    match fields.ty {
        0 => legacy.into(),
        1 => Eip2930TransactionRequest::new(legacy, access).into(),
        _ => Eip1559TransactionRequest {
            from: None,
            to,
            gas: Some(fields.gas.into()),
            value: Some(fields.value.into()),
            data: Some(data),
            nonce: Some(fields.nonce.into()),
            access_list: access,
            max_priority_fee_per_gas: Some(fields.tip.into()),
            max_fee_per_gas: Some(fields.price.into()),
            chain_id: Some(CHAIN_ID.into()),
        }
        .into(),
    }
}

fn ethers_sign(request: &TypedTransaction, ty: u8, key: u64) -> Vec<u8> {
    let key = SigningKey::from_slice(signer(key).to_bytes().as_slice()).unwrap();
    let (signature, recovery) = key.sign_prehash_recoverable(request.sighash().as_bytes()).unwrap();
    let parity = u64::from(recovery.to_byte());
    let v = if ty == 0 { parity + 35 + 2 * CHAIN_ID } else { parity };
    let signature = Signature {
        r: ethers::U256::from_big_endian(&signature.r().to_bytes()),
        s: ethers::U256::from_big_endian(&signature.s().to_bytes()),
        v,
    };
    request.rlp_signed(&signature).to_vec()
}

fn alloy_sign(fields: &Fields) -> Vec<u8> {
    let signer = signer(fields.key);
    let to = fields.to.map_or(TxKind::Create, |to| TxKind::Call(Address::from(to)));
    let value = U256::from(fields.value);
    let input = Bytes::from(fields.data.clone());
    let access_list = AccessList(
        fields
            .access
            .iter()
            .map(|(address, keys)| AccessListItem {
                address: (*address).into(),
                storage_keys: keys.iter().map(|key| (*key).into()).collect(),
            })
            .collect(),
    );
    let (nonce, gas_limit, gas_price) = (fields.nonce, fields.gas, u128::from(fields.price));
    let envelope: TxEnvelope = match fields.ty {
        0 => {
            let chain_id = Some(CHAIN_ID);
            let mut tx = TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input };
            let signature = signer.sign_transaction_sync(&mut tx).unwrap();
            tx.into_signed(signature).into()
        }
        1 => {
            let chain_id = CHAIN_ID;
            let mut tx =
                TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input };
            let signature = signer.sign_transaction_sync(&mut tx).unwrap();
            tx.into_signed(signature).into()
        }
        _ => {
            let mut tx = TxEip1559 {
                chain_id: CHAIN_ID,
                nonce,
                gas_limit,
                max_fee_per_gas: gas_price,
                max_priority_fee_per_gas: u128::from(fields.tip),
                to,
                value,
                access_list,
                input,
            };
            let signature = signer.sign_transaction_sync(&mut tx).unwrap();
            tx.into_signed(signature).into()
        }
    };
    envelope.encoded_2718()
}

proptest! {
    #[test]
    fn what_ethers_signs_we_decode(fields in fields()) {
        let request = ethers_request(&fields);
        let raw = ethers_sign(&request, fields.ty, fields.key);
        let decoded = Transaction::decode_signed(raw.clone().into()).unwrap();
        prop_assert_eq!(&decoded.raw()[..], &raw[..]);
        prop_assert_eq!(decoded.hash().0, keccak256(&raw));
        prop_assert_eq!(decoded.sender(), signer(fields.key).address());
        prop_assert_eq!(decoded.ty(), fields.ty);
        prop_assert_eq!(decoded.nonce(), fields.nonce);
        prop_assert_eq!(decoded.gas_limit(), fields.gas);
        prop_assert_eq!(decoded.value(), U256::from(fields.value));
        prop_assert_eq!(decoded.input().to_vec(), fields.data);
    }

    #[test]
    fn what_we_sign_ethers_decodes(fields in fields()) {
        let raw = alloy_sign(&fields);
        let ours = Transaction::decode_signed(raw.clone().into()).unwrap();
        let (theirs, signature) = TypedTransaction::decode_signed(&Rlp::new(&raw)).unwrap();
        prop_assert_eq!(theirs.rlp_signed(&signature).to_vec(), raw);
        prop_assert_eq!(theirs.hash(&signature).0, ours.hash().0);
        let sender = signature.recover(theirs.sighash()).unwrap();
        prop_assert_eq!(sender.0, ours.sender().into_array());
        prop_assert_eq!(theirs.nonce().unwrap().as_u64(), fields.nonce);
        prop_assert_eq!(theirs.value().unwrap().as_u128(), fields.value);
    }

    #[test]
    fn both_write_the_same_bytes(fields in fields()) {
        // Both sign with RFC 6979 nonces, so even the signatures are equal.
        let theirs = ethers_sign(&ethers_request(&fields), fields.ty, fields.key);
        prop_assert_eq!(theirs, alloy_sign(&fields));
    }
}
