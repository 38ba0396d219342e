//! The format is total: what was encoded decodes to itself, and nothing else does any harm.

use alloy::primitives::{B64, B256, Bytes};
use batcher::format::{
    Batch, CHANNEL_BYTES_MAX, CONTENT_BYTES_MAX, Channel, Frame, Malformed,
    channel::{CHANNEL_HEADER_BYTES, ChannelLimit, id_of},
    compress::{Quality, compress, decompress},
    frame::{FRAME_HEADER_BYTES, cut},
};
use proptest::{collection::vec, prelude::*};

fn batches() -> impl Strategy<Value = Vec<Batch>> {
    let transaction = vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    let batch = (any::<u64>(), any::<u64>(), any::<[u8; 8]>(), vec(transaction, 0..6));
    let batch = batch.prop_map(|(timestamp, origin_number, check, transactions)| Batch {
        timestamp,
        origin_number,
        origin_check: B64::from(check),
        transactions,
    });
    vec(batch, 1..12)
}

fn channels() -> impl Strategy<Value = Channel> {
    (any::<u64>(), any::<u64>(), any::<[u8; 32]>(), batches()).prop_map(
        |(chain_id, first_block, parent, batches)| Channel {
            chain_id,
            first_block,
            parent_hash: B256::from(parent),
            batches,
        },
    )
}

fn example() -> Channel {
    let batch = |n: u64| Batch {
        timestamp: 1_700_000_000 + n,
        origin_number: 20_000_000,
        origin_check: B64::repeat_byte(3),
        transactions: vec![Bytes::from(vec![n.to_le_bytes()[0]; 120]); 4],
    };
    let (chain_id, first_block, parent_hash) = (420_420, 77, B256::repeat_byte(1));
    Channel { chain_id, first_block, parent_hash, batches: (0..50).map(batch).collect() }
}

proptest! {
    #[test]
    fn channel_decode_inverts_encode(channel in channels(), level in 0u8..=9) {
        let bytes = channel.encode(Quality::new(level)).unwrap();
        prop_assert!(channel.encode(Quality::new(level)).unwrap() == bytes);
        prop_assert_eq!(Channel::decode(&bytes), Ok(channel));
    }

    #[test]
    fn frames_put_together_are_the_channel(bytes in vec(any::<u8>(), 1..1000), max in 25usize..600) {
        let bytes = Bytes::from(bytes);
        let frames = cut(&bytes, max).unwrap();
        let mut together = Vec::new();
        for (index, frame) in frames.iter().enumerate() {
            let payload = frame.encode();
            prop_assert!(payload.len() <= max);
            let back = Frame::decode(&payload).unwrap();
            prop_assert_eq!(&back, frame);
            prop_assert_eq!(usize::from(back.index), index);
            prop_assert_eq!(back.is_last, index + 1 == frames.len());
            prop_assert_eq!(back.channel, id_of(&bytes));
            together.extend_from_slice(&back.data);
        }
        prop_assert_eq!(together, bytes.to_vec());
    }

    #[test]
    fn any_bytes_are_refused_or_canonical(bytes in vec(any::<u8>(), 0..400)) {
        let bytes = Bytes::from(bytes);
        let _ = Channel::decode(&bytes);
        if let Ok(frame) = Frame::decode(&bytes) {
            prop_assert_eq!(frame.encode(), bytes);
        }
    }

    #[test]
    fn any_stream_is_refused_or_has_the_declared_length(
        stream in vec(any::<u8>(), 0..300), declared in 0usize..2000,
    ) {
        if let Ok(content) = decompress(&stream, declared) {
            prop_assert_eq!(content.len(), declared);
        }
    }
}

#[test]
fn every_flipped_bit_and_every_truncation_is_noticed() {
    let channel = example();
    let bytes = channel.encode(Quality::FAST).unwrap();
    for length in 0..bytes.len() {
        assert!(Channel::decode(&bytes[..length]).is_err(), "cut to {length}");
    }
    let mut changed = bytes.clone();
    for position in 0..bytes.len() {
        for bit in 0..8 {
            changed[position] ^= 1 << bit;
            assert_ne!(id_of(&changed), id_of(&bytes));
            // A stream can have other settings and the same content. What decodes has the content
            // that the checksum is of, and the channel id, which frames carry, covers the rest.
            if let Ok(decoded) = Channel::decode(&changed) {
                assert!(decoded.batches == channel.batches, "{position}.{bit}");
                let is_header = position < CHANNEL_HEADER_BYTES;
                assert_eq!(decoded != channel, is_header, "{position}.{bit}");
            }
            changed[position] ^= 1 << bit;
        }
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(Channel::decode(&longer), Err(Malformed::Compression));
}

#[test]
fn frame_fields_are_checked_one_by_one() {
    let good = cut(&Bytes::from_static(b"some channel"), 100).unwrap()[0].encode();
    assert!(Frame::decode(&good).is_ok());
    let with = |position: usize, value: u8| {
        let mut bytes = good.to_vec();
        bytes[position] = value;
        Frame::decode(&bytes.into())
    };
    assert_eq!(with(0, 9), Err(Malformed::Version));
    assert_eq!(with(19, 2), Err(Malformed::Flag));
    assert_eq!(with(23, 11), Err(Malformed::Trailing));
    assert_eq!(with(23, 13), Err(Malformed::Truncated));
    assert_eq!(with(23, 0), Err(Malformed::EmptyFrame));
    assert_eq!(Frame::decode(&good.slice(..23)), Err(Malformed::Truncated));
    assert_eq!(Frame::decode(&Bytes::new()), Err(Malformed::Truncated));
}

#[test]
fn frames_need_room_and_a_channel() {
    let channel = Bytes::from_static(b"abc");
    assert_eq!(cut(&channel, FRAME_HEADER_BYTES), None);
    assert_eq!(cut(&Bytes::new(), 100), None);
    assert_eq!(cut(&channel, FRAME_HEADER_BYTES + 1).unwrap().len(), 3);
    assert_eq!(cut(&Bytes::from(vec![1; 1_025]), FRAME_HEADER_BYTES + 1), None);
    assert_eq!(cut(&Bytes::from(vec![1; 1_024]), FRAME_HEADER_BYTES + 1).unwrap().len(), 1_024);
}

/// Byte positions as `README.md` draws them.
#[test]
fn channel_header_is_where_the_readme_draws_it() {
    let channel = example();
    let bytes = channel.encode(Quality::FAST).unwrap();
    assert_eq!(bytes[..3], [1, 1, 0]);
    assert_eq!(bytes[3..11], 420_420u64.to_be_bytes());
    assert_eq!(bytes[11..19], 77u64.to_be_bytes());
    assert_eq!(bytes[19..51], [1; 32]);
    assert_eq!(bytes[51..55], 50u32.to_be_bytes());
    assert_eq!(bytes[55..59], 200u32.to_be_bytes());
    assert_eq!(bytes[59..63], [0; 4], "signatures");
    let content_bytes = u32::from_be_bytes(bytes[63..67].try_into().unwrap()) as usize;
    let content = decompress(&bytes[CHANNEL_HEADER_BYTES..], content_bytes).unwrap();
    assert_eq!(bytes[67..75], alloy::primitives::keccak256(&content)[..8]);
    assert_eq!(bytes[75..83], [0; 8], "continues nothing");
}

#[test]
fn counts_must_be_exact() {
    let bytes = example().encode(Quality::FAST).unwrap();
    let with = |range: std::ops::Range<usize>, value: u32| {
        let mut changed = bytes.clone();
        changed[range].copy_from_slice(&value.to_be_bytes());
        Channel::decode(&changed)
    };
    assert_eq!(with(51..55, 0), Err(Malformed::NoBlocks));
    assert_eq!(with(51..55, 65_536), Err(Malformed::TooManyBlocks));
    assert!(with(51..55, 49).is_err() && with(51..55, 51).is_err());
    assert_eq!(with(55..59, 199), Err(Malformed::TransactionCount));
    assert_eq!(with(55..59, 201), Err(Malformed::TransactionCount));
    assert_eq!(with(55..59, (1 << 20) + 1), Err(Malformed::TransactionCount));
    assert_eq!(with(59..63, 201), Err(Malformed::TransactionCount));
    assert_eq!(with(63..67, u32::MAX), Err(Malformed::ContentTooLong));
    assert_eq!(with(63..67, 3), Err(Malformed::Compression));
}

#[test]
fn a_bomb_stops_at_the_declared_length() {
    let bomb = compress(&vec![0; CONTENT_BYTES_MAX + 1], Quality::FAST);
    assert!(bomb.len() < 1_000, "{}", bomb.len());
    assert_eq!(decompress(&bomb, 100), Err(Malformed::Compression));
    assert_eq!(decompress(&bomb, CONTENT_BYTES_MAX), Err(Malformed::Compression));
    assert_eq!(decompress(&bomb, CONTENT_BYTES_MAX + 1), Err(Malformed::ContentTooLong));
    // RFC 9841 "large window": a window of 1 GiB would be allocated for it.
    assert_eq!(decompress(&[0x11, 30, 0, 0, 0, 0], 10), Err(Malformed::Compression));
}

#[test]
fn what_exceeds_a_limit_is_not_encoded() {
    let mut channel = example();
    channel.batches.clear();
    assert_eq!(channel.encode(Quality::FAST), Err(ChannelLimit(Malformed::NoBlocks)));
    let empty = Batch { transactions: Vec::new(), ..example().batches[0].clone() };
    channel.batches = vec![empty; 65_536];
    assert_eq!(channel.encode(Quality::FAST), Err(ChannelLimit(Malformed::TooManyBlocks)));
    channel.batches.truncate(65_535);
    assert_eq!(Channel::decode(&channel.encode(Quality::FAST).unwrap()), Ok(channel));
    let oversized = vec![0; CHANNEL_BYTES_MAX + 1];
    assert_eq!(Channel::decode(&oversized), Err(Malformed::ChannelTooLong));
}

#[test]
fn a_transaction_longer_than_the_executor_takes_is_refused() {
    let mut channel = example();
    channel.batches[0].transactions[0] = vec![0; 128 * 1024 + 1].into();
    let bytes = channel.encode(Quality::FAST).unwrap();
    assert_eq!(Channel::decode(&bytes), Err(Malformed::TransactionTooLong));
}
