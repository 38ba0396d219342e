//! Columns and history: every transaction comes back as it was signed, whatever it is; what was said
//! before is named, and only by who said it.

use alloy::{
    consensus::{
        TxEip1559, TxEip2930, TxEip4844, TxEip7702, TxLegacy, transaction::RlpEcdsaEncodableTx,
    },
    eips::{
        eip2930::{AccessList, AccessListItem},
        eip7702::Authorization,
    },
    primitives::{Address, B64, B256, Bytes, Signature, TxKind, U256, keccak256},
};
use batcher::format::{
    Batch, CONTENT_HEAD_BYTES_MAX, Channel, History, Malformed,
    channel::CHANNEL_HEADER_BYTES,
    compress::{Quality, compress, decompress},
};
use proptest::{array::uniform32, collection::vec, prelude::*};

const CHAIN_ID: u64 = 420_420;

/// Numbers as they are on chains: zero, short, round, long.
fn amounts() -> impl Strategy<Value = U256> {
    prop_oneof![
        Just(U256::ZERO),
        any::<u32>().prop_map(U256::from),
        (1u64..5_000, 0u64..30)
            .prop_map(|(digits, zeros)| U256::from(digits) * U256::from(10).pow(U256::from(zeros))),
        uniform32(any::<u8>()).prop_map(U256::from_be_bytes),
    ]
}

/// Some addresses again and again, and others.
fn addresses() -> impl Strategy<Value = Address> {
    prop_oneof![(0u8..6).prop_map(Address::repeat_byte), any::<[u8; 20]>().prop_map(Address::from)]
}

fn words() -> impl Strategy<Value = [u8; 32]> {
    prop_oneof![
        amounts().prop_map(|amount| amount.to_be_bytes()),
        addresses().prop_map(|address| address.into_word().0),
        (vec(any::<u8>(), 1..30)).prop_map(|left| {
            let mut word = [0; 32];
            word[..left.len()].copy_from_slice(&left);
            word
        }),
        Just([0xff; 32]),
        uniform32(any::<u8>()),
        (0u8..3).prop_map(|byte| [byte; 32]),
    ]
}

fn plain_calldata() -> impl Strategy<Value = Vec<u8>> {
    let body = (0u8..4, vec(words(), 0..8), vec(any::<u8>(), 0..32));
    body.prop_map(|(selector, words, tail)| [&[selector; 4][..], &words.concat(), &tail].concat())
}

/// Calldata with calldata in it, padded as the ABI does or not quite.
fn nested_calldata() -> impl Strategy<Value = Vec<u8>> {
    let one = (plain_calldata(), 0usize..40, any::<bool>());
    (vec(words(), 0..3), vec(one, 1..4)).prop_map(|(words, inner)| {
        let mut data = [&[9; 4][..], &words.concat()].concat();
        for (inner, padding, is_deeper) in inner {
            let mut inner = inner;
            inner.truncate(4 + (inner.len() - 4) / 32 * 32);
            if is_deeper {
                let length = U256::from(inner.len()).to_be_bytes::<32>();
                inner = [&[8; 4][..], &length, &inner, &[0; 28]].concat();
            }
            data.extend_from_slice(&U256::from(inner.len()).to_be_bytes::<32>());
            data.extend_from_slice(&inner);
            data.extend_from_slice(&vec![0; padding]);
        }
        data
    })
}

fn calldata() -> impl Strategy<Value = Bytes> {
    let any = vec(any::<u8>(), 0..70);
    prop_oneof![any, plain_calldata(), nested_calldata()].prop_map(Bytes::from)
}

#[derive(Clone, Debug)]
struct Fields {
    chain_id: u64,
    nonce: u64,
    prices: (u128, u128),
    gas_limit: u64,
    to: Option<Address>,
    value: U256,
    input: Bytes,
    list: Vec<(Address, Vec<[u8; 32]>)>,
}

fn fields() -> impl Strategy<Value = Fields> {
    let chain_id = prop_oneof![9 => Just(CHAIN_ID), 1 => any::<u64>()];
    let nonce = prop_oneof![9 => 0u64..300, 1 => any::<u64>()];
    let price = || amounts().prop_map(|amount| amount.to::<U256>().wrapping_to::<u128>());
    let to = proptest::option::weighted(0.9, addresses());
    let gas_limit = amounts().prop_map(|amount| amount.wrapping_to::<u64>());
    let list = vec((addresses(), vec(uniform32(any::<u8>()), 0..3)), 0..3);
    (chain_id, nonce, (price(), price()), gas_limit, to, amounts(), calldata(), list).prop_map(
        |(chain_id, nonce, prices, gas_limit, to, value, input, list)| Fields {
            chain_id,
            nonce,
            prices,
            gas_limit,
            to,
            value,
            input,
            list,
        },
    )
}

fn signatures() -> impl Strategy<Value = Signature> {
    let s = uniform32(any::<u8>()).prop_map(U256::from_be_bytes::<32>);
    // Mostly as signers make them; the upper half is not valid and has to come back all the same.
    let s = (s, 0u8..20).prop_map(|(s, odd)| if odd == 0 { s } else { s >> 1 });
    let r = uniform32(any::<u8>()).prop_map(U256::from_be_bytes::<32>);
    (r, s, any::<bool>()).prop_map(|(r, s, odd)| Signature::new(r, s, odd))
}

fn encoded(kind: u8, fields: Fields, signature: &Signature) -> Bytes {
    let Fields { chain_id, nonce, prices, gas_limit, to, value, input, list } = fields;
    let items = list.into_iter().map(|(address, keys)| AccessListItem {
        address,
        storage_keys: keys.into_iter().map(B256::from).collect(),
    });
    let access_list = AccessList(items.collect());
    let (max_fee_per_gas, max_priority_fee_per_gas) = prices;
    let (gas_price, call) = (max_fee_per_gas, to.unwrap_or_default());
    let to = to.map_or(TxKind::Create, TxKind::Call);
    let mut out = Vec::new();
    match kind {
        0 | 1 => {
            let chain_id = (kind == 0).then_some(chain_id);
            TxLegacy { chain_id, nonce, gas_price, gas_limit, to, value, input }
                .eip2718_encode(signature, &mut out);
        }
        2 => TxEip2930 { chain_id, nonce, gas_price, gas_limit, to, value, access_list, input }
            .eip2718_encode(signature, &mut out),
        3 => TxEip1559 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to,
            value,
            access_list,
            input,
        }
        .eip2718_encode(signature, &mut out),
        4 => {
            let authorization = Authorization { chain_id: value, address: call, nonce };
            let authorization_list = vec![
                authorization.into_signed(*signature);
                usize::from(nonce.to_le_bytes()[0]) % 3
            ];
            TxEip7702 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas,
                max_priority_fee_per_gas,
                to: call,
                value,
                access_list,
                authorization_list,
                input,
            }
            .eip2718_encode(signature, &mut out);
        }
        _ => TxEip4844 {
            chain_id,
            nonce,
            gas_limit,
            max_fee_per_gas,
            max_priority_fee_per_gas,
            to: call,
            value,
            access_list,
            blob_versioned_hashes: vec![B256::ZERO],
            max_fee_per_blob_gas: 1,
            input,
        }
        .eip2718_encode(signature, &mut out),
    }
    out.into()
}

fn transactions() -> impl Strategy<Value = Bytes> {
    let real = (0u8..6, fields(), signatures())
        .prop_map(|(kind, fields, signature)| encoded(kind, fields, &signature));
    // And what only begins as one does.
    let real = real.boxed();
    let cut = (real.clone(), 1usize..20).prop_map(|(raw, by)| raw.slice(..raw.len() - by));
    prop_oneof![12 => real, 1 => cut, 1 => vec(any::<u8>(), 0..80).prop_map(Bytes::from)]
}

fn channel(blocks: Vec<(u64, u64, Vec<Bytes>)>) -> Channel {
    let (mut timestamp, mut origin_number) = (1_700_000_000u64, 20_000_000u64);
    let batches = blocks.into_iter().map(|(seconds, blocks, transactions)| {
        timestamp = timestamp.wrapping_add(seconds);
        origin_number = origin_number.wrapping_add(blocks);
        let origin_check = B64::from((origin_number / 2).to_be_bytes());
        Batch { timestamp, origin_number, origin_check, transactions }
    });
    let (first_block, parent_hash) = (77, B256::repeat_byte(1));
    Channel { chain_id: CHAIN_ID, first_block, parent_hash, batches: batches.collect() }
}

fn channels() -> impl Strategy<Value = Channel> {
    let step = prop_oneof![8 => 0u64..4, 1 => any::<u64>()];
    vec((step.clone(), step, vec(transactions(), 0..8)), 1..6).prop_map(channel)
}

proptest! {
    #[test]
    fn every_transaction_comes_back(channel in channels()) {
        let bytes = channel.encode(Quality::FAST).unwrap();
        prop_assert_eq!(Channel::decode(&bytes), Ok(channel));
    }

    #[test]
    fn the_bound_on_a_batch_holds(channel in channels()) {
        let bytes = channel.encode(Quality::FAST).unwrap();
        let content_bytes = u32::from_be_bytes(bytes[63..67].try_into().unwrap()) as usize;
        let batches = channel.batches.iter().map(Batch::encoded_bytes_max);
        let bound = CONTENT_HEAD_BYTES_MAX + batches.sum::<usize>();
        prop_assert!(content_bytes <= bound, "{} of {}", content_bytes, bound);
    }

    #[test]
    fn channels_that_continue_each_other_come_back(channels in vec(channels(), 1..5)) {
        let (mut writer, mut reader) = (History::default(), History::default());
        for channel in channels {
            let (bytes, after) = channel.encode_after(&writer, Quality::FAST).unwrap();
            if !writer.is_fresh() {
                prop_assert_eq!(Channel::decode(&bytes), Err(Malformed::History));
            }
            let (decoded, read) = Channel::decode_after(&bytes, &reader).unwrap();
            prop_assert_eq!(decoded, channel);
            prop_assert_eq!(&read, &after);
            prop_assert_eq!(read.digest(), after.digest());
            (writer, reader) = (after, read);
        }
    }

    #[test]
    fn any_columns_are_refused_or_say_something(
        channel in channels(), changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        // The checksum is made right, so that what is behind it is reached.
        let mut bytes = channel.encode(Quality::FAST).unwrap();
        let count = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let signed = CHANNEL_HEADER_BYTES + 64 * count(59);
        let mut content = decompress(&bytes[signed..], count(63)).unwrap();
        for (index, byte) in changes {
            *index.get_mut(&mut content) = byte;
        }
        let sum = keccak256([&content, &bytes[CHANNEL_HEADER_BYTES..signed]].concat());
        bytes[67..75].copy_from_slice(&sum[..8]);
        bytes.truncate(signed);
        bytes.extend_from_slice(&compress(&content, Quality::FAST));
        if let Ok(decoded) = Channel::decode(&bytes) {
            let again = decoded.encode(Quality::FAST).unwrap();
            prop_assert_eq!(Channel::decode(&again), Ok(decoded));
        }
    }
}

#[test]
fn what_was_said_is_not_said_again() {
    let transfer = |nonce: u64, to: u8| {
        let tx = TxEip1559 {
            chain_id: CHAIN_ID,
            nonce,
            gas_limit: 50_000,
            to: TxKind::Call(keccak256([to]).0[..20].try_into().unwrap()),
            input: [&[1; 4][..], keccak256([to, 1]).as_slice(), &[0; 32]].concat().into(),
            ..TxEip1559::default()
        };
        let mut raw = Vec::new();
        tx.eip2718_encode(&Signature::new(U256::ONE, U256::ONE, false), &mut raw);
        Bytes::from(raw)
    };
    let sent = |nonce| (0..100).flat_map(move |to| [transfer(nonce, to), transfer(nonce + 1, to)]);
    let [first, second] = [0, 2].map(|nonce| channel(vec![(2, 1, sent(nonce).collect())]));
    let (_, history) = first.encode_after(&History::default(), Quality::DENSE).unwrap();
    let (alone, _) = second.encode_after(&History::default(), Quality::DENSE).unwrap();
    let (after, next) = second.encode_after(&history, Quality::DENSE).unwrap();
    assert!(after.len() + 4_500 < alone.len(), "{} {}", after.len(), alone.len());
    assert_eq!((history.channels(), next.channels()), (1, 2));
    // Only after the very same channel does it mean anything.
    let other = channel(vec![(2, 1, sent(7).collect())]);
    let (_, other) = other.encode_after(&History::default(), Quality::FAST).unwrap();
    assert_eq!(other.digest(), history.digest(), "nonces are not kept");
    assert_eq!(Channel::decode_after(&after, &next), Err(Malformed::History));
    assert_eq!(Channel::decode(&after), Err(Malformed::History));
    // A fresh one does after any.
    assert_eq!(Channel::decode_after(&alone, &next).unwrap().0, second);
}
