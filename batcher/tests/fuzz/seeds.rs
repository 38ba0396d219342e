//! A few channels made here: every type of transaction, calldata within calldata, and a channel that
//! continues another. Signed for real, the same in every run.

use super::dice::Dice;
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
    primitives::{Address, B64, B256, Bytes, Signature, TxKind, U256, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use batcher::format::{Batch, Channel, History, compress::Quality};

pub(super) const CHAIN_ID: u64 = 420_420;
const GWEI: u128 = 1_000_000_000;

/// The account number `index`.
pub(super) fn signer(index: u8) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&keccak256([index, 1])).unwrap()
}

fn sign<T>(index: u8, unsigned: T) -> Bytes
where
    T: SignableTransaction<Signature>,
    EthereumTxEnvelope<TxEip4844>: From<Signed<T>>,
{
    let signature = signer(index).sign_hash_sync(&unsigned.signature_hash()).unwrap();
    EthereumTxEnvelope::from(unsigned.into_signed(signature)).encoded_2718().into()
}

fn address(index: u8) -> Address {
    Address::from_word(keccak256([index, 2]))
}

fn word(value: u64) -> B256 {
    B256::from(U256::from(value))
}

/// Calldata with a word of each class, and calldata within it, as deep as `depth` says.
pub(super) fn calldata(index: u8, depth: usize) -> Bytes {
    let mut left = B256::ZERO;
    left[..9].copy_from_slice(&keccak256([index])[..9]);
    let words = [
        address(index % 3).into_word(),
        word(u64::from(index)),
        word(70_000),
        word(0x1234_5678_9abc),
        B256::from(U256::from(index) * U256::from(10).pow(U256::from(18))),
        B256::ZERO,
        B256::repeat_byte(0xff),
        left,
        keccak256([index, 3]),
        word(0x1234_5678_9abc),
    ];
    let mut data = [&[index % 2, 9, 9, 9][..], words.concat().as_slice()].concat();
    if depth > 0 {
        let mut inner = calldata(index + 1, depth - 1).to_vec();
        inner.truncate(4 + (inner.len() - 4) / 32 * 32);
        data.extend_from_slice(word(inner.len() as u64).as_slice());
        data.extend_from_slice(&inner);
        data.extend_from_slice(&[0; 28]);
    }
    data.extend_from_slice(&[index; 5]);
    data.into()
}

fn authorization(index: u8, nonce: u64) -> SignedAuthorization {
    let unsigned =
        Authorization { chain_id: U256::from(CHAIN_ID), address: address(index % 3), nonce };
    let signature = signer(index).sign_hash_sync(&unsigned.signature_hash()).unwrap();
    unsigned.into_signed(signature)
}

fn access_list(index: u8) -> AccessList {
    let storage_keys = (0..index % 3).map(|key| word(key.into())).collect();
    AccessList(vec![AccessListItem { address: address(index), storage_keys }])
}

/// A transaction of type 0 (with and without chain id), 1, 2, 4, and what is carried as its bytes: a
/// type 3, one of another chain, bytes that are no transaction.
pub(super) fn transaction(kind: u8, index: u8, input: Bytes) -> Bytes {
    let (nonce, gas_limit, to) =
        (u64::from(index), 21_000 + 40 * input.len() as u64, address(index % 3));
    let (gas_price, value) = (2 * GWEI + u128::from(index), U256::from(GWEI) * U256::from(index));
    let chain_id = if kind == 6 { 1 } else { CHAIN_ID };
    let access_list = access_list(index);
    match kind {
        0 | 1 => {
            let to = if kind == 1 { TxKind::Create } else { to.into() };
            let chain_id = index.is_multiple_of(2).then_some(chain_id);
            sign(index, TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input })
        }
        2 => {
            let to = to.into();
            sign(
                index,
                TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input },
            )
        }
        3 | 6 => {
            let (max_fee_per_gas, max_priority_fee_per_gas) = (gas_price, GWEI / 100);
            sign(
                index,
                TxEip1559 {
                    chain_id,
                    nonce,
                    gas_limit,
                    max_fee_per_gas,
                    max_priority_fee_per_gas,
                    to: to.into(),
                    value,
                    access_list: AccessList::default(),
                    input,
                },
            )
        }
        4 => sign(
            index,
            TxEip7702 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: gas_price,
                max_priority_fee_per_gas: 1,
                to,
                value,
                access_list,
                authorization_list: vec![authorization(index, nonce)],
                input,
            },
        ),
        5 => sign(
            index,
            TxEip4844 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: gas_price,
                max_priority_fee_per_gas: 1,
                to,
                value,
                access_list,
                blob_versioned_hashes: vec![B256::with_last_byte(1)],
                max_fee_per_blob_gas: 1,
                input,
            },
        ),
        _ => vec![index; usize::from(index)].into(),
    }
}

/// A channel with these transactions in its blocks.
pub(super) fn channel(first_block: u64, parent_hash: B256, blocks: Vec<Vec<Bytes>>) -> Channel {
    let batch = |(index, transactions): (u64, Vec<Bytes>)| Batch {
        timestamp: 1_700_000_120 + 2 * index,
        origin_number: 10 + index / 2,
        origin_check: B64::from_slice(&keccak256((10 + index / 2).to_be_bytes())[..8]),
        transactions,
    };
    let batches = (0..).zip(blocks).map(batch).collect();
    Channel { chain_id: CHAIN_ID, first_block, parent_hash, batches }
}

/// Blocks with every type, the first of them with calldata within calldata.
pub(super) fn blocks(shift: u8, kinds: &[u8]) -> Vec<Vec<Bytes>> {
    let inputs = [calldata(shift, 2), calldata(1, 0), Bytes::new(), Bytes::from_static(b"abc")];
    let of_kind = |(at, kind): (u8, &u8)| {
        transaction(*kind, at + shift, inputs[usize::from(at) % inputs.len()].clone())
    };
    let all: Vec<_> = (0..).zip(kinds).map(of_kind).collect();
    let half = all.len() / 2;
    vec![all[..half].to_vec(), Vec::new(), all[half..].to_vec()]
}

/// What the targets start from.
#[derive(Debug)]
pub(super) struct Seeds {
    /// Bytes of channels. The last continues the history after the first.
    pub(super) channels: Vec<Vec<u8>>,
    /// The last of them, to continue others with.
    pub(super) next: Channel,
    /// A fresh history, what the first channel leaves, and that with its senders.
    pub(super) histories: [History; 3],
}

impl Seeds {
    /// After a block of this hash.
    pub(super) fn new(parent_hash: B256) -> Self {
        let first = channel(1, parent_hash, blocks(0, &[0, 1, 2, 3, 4, 0, 3, 3]));
        let raw = channel(1, parent_hash, blocks(1, &[5, 6, 7, 3]));
        let empty = channel(1, parent_hash, vec![Vec::new(); 4]);
        let next = channel(4, B256::ZERO, blocks(2, &[3, 3, 0, 4, 2, 7]));
        let fresh = History::default();
        let (first, left) = first.encode_after(&fresh, Quality::DENSE).unwrap();
        let with_senders = left.with_senders((0..9).map(|index| signer(index).address()));
        let (last, _) = next.encode_after(&with_senders, Quality::DENSE).unwrap();
        let [raw, empty] = [raw, empty].map(|channel| channel.encode(Quality::DENSE).unwrap());
        Self {
            channels: vec![first, raw, empty, last],
            next,
            histories: [fresh, left, with_senders],
        }
    }
}

/// Bytes that look like text, noise or zeros.
pub(super) fn content(dice: &mut Dice, bytes: usize) -> Vec<u8> {
    let values = dice.pick(&[1, 4, 255]);
    let mut content: Vec<u8> = (0..bytes.min(4_096)).map(|_| dice.byte(values)).collect();
    while !content.is_empty() && content.len() < bytes {
        content.extend_from_within(..content.len().min(bytes - content.len()));
    }
    content
}
