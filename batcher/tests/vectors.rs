//! Channels that were encoded once and must mean the same to every version of this reader: what is on L1
//! stays there. The files are never written anew.

use alloy::primitives::{Address, B64, B256, Bytes};
use batcher::format::{Batch, Channel, History, compress::Quality};
use serde::Deserialize;

/// A channel as it is on L1, and what it says.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vector {
    name: String,
    /// Whether it continues the one before it, with these senders.
    continues: bool,
    senders: Vec<Address>,
    /// Digest of what it continues; zeros where it is fresh.
    history: B64,
    bytes: Bytes,
    chain_id: u64,
    first_block: u64,
    parent_hash: B256,
    batches: Vec<VectorBatch>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct VectorBatch {
    timestamp: u64,
    origin_number: u64,
    origin_check: B64,
    transactions: Vec<Bytes>,
}

impl Vector {
    fn channel(&self) -> Channel {
        let Self { chain_id, first_block, parent_hash, .. } = *self;
        let batch = |batch: &VectorBatch| {
            let VectorBatch { timestamp, origin_number, origin_check, .. } = *batch;
            let transactions = batch.transactions.clone();
            Batch { timestamp, origin_number, origin_check, transactions }
        };
        let batches = self.batches.iter().map(batch).collect();
        Channel { chain_id, first_block, parent_hash, batches }
    }
}

fn vectors() -> Vec<Vector> {
    let vectors: Vec<Vector> = serde_json::from_str(include_str!("vectors.json")).unwrap();
    assert_eq!(vectors.len(), 3);
    vectors
}

#[test]
fn what_was_posted_means_the_same() {
    let mut before = History::default();
    for vector in vectors() {
        let (expected, name) = (vector.channel(), &vector.name);
        let history = match vector.continues {
            true => before.with_senders(vector.senders.clone()),
            false => History::default(),
        };
        if vector.continues {
            assert_eq!(history.digest(), vector.history, "{name}");
        }
        let (channel, left) = Channel::decode_after(&vector.bytes, &history).unwrap();
        assert_eq!(channel, expected, "{name}");
        // How it is said may change, and the compressor may; what it says may not.
        let (bytes, leaves) = expected.encode_after(&history, Quality::FAST).unwrap();
        assert_eq!(Channel::decode_after(&bytes, &history), Ok((expected, leaves)), "{name}");
        before = left;
    }
}

#[test]
fn the_vectors_cover_what_they_say() {
    let [first, next, raw] = vectors().try_into().unwrap();
    let types = |vector: &Vector| {
        let all = vector.batches.iter().flat_map(|batch| &batch.transactions);
        let mut types: Vec<u8> = all.map(|raw| if raw[0] < 5 { raw[0] } else { 0 }).collect();
        types.sort_unstable();
        types.dedup();
        types
    };
    assert_eq!(types(&first), [0, 1, 2, 4]);
    let flag = |vector: &Vector| vector.bytes[2];
    assert_eq!([&first, &next, &raw].map(flag), [0, 1, 0]);
    let signatures = |vector: &Vector| vector.bytes[59..63].to_vec();
    assert_eq!(signatures(&raw), [0; 4], "all are carried as their bytes");
    assert!(Channel::decode(&next.bytes).is_err(), "it says little alone");
}
