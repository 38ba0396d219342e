//! Derivation inverts posting, and every broken rule drops exactly what it must.

use crate::support::chain::{Chain, FakeL1, genesis};
use alloy::primitives::{B64, B256, Bytes};
use batcher::{
    derive::{
        AdvanceError, Append, Derivation, DropReason, Outcome, Step, assembler::OpenChannel,
        rules::Violation,
    },
    encoder::{Encoder, EncoderConfig, SourceBlock},
    format::{Batch, Channel, Malformed, compress::Quality, frame::cut},
};
use executor::TransactionError;
use proptest::prelude::*;

const ANCHOR: u64 = 10;
/// L1 block that carries the appends: after every origin.
const APPENDED: u64 = 100;

fn setup() -> (FakeL1, Chain) {
    let l1 = FakeL1::new(ANCHOR, 20);
    let chain = Chain::new(genesis(&l1.blocks[&ANCHOR].0));
    (l1, chain)
}

/// A chain of some blocks over some origins, deposits included.
fn sealed() -> (FakeL1, Chain) {
    let (l1, mut chain) = setup();
    for (origin, transfers) in [(10, 2), (10, 0), (11, 3), (12, 1), (12, 0), (12, 5), (13, 1)] {
        chain.seal(&l1, origin, (transfers, 60));
    }
    (l1, chain)
}

fn append(id: u64, payload: Bytes) -> Append {
    Append { id, acc: B256::ZERO, l1_block: APPENDED, payload: Ok(payload) }
}

/// Executes everything that comes out on a second chain; returns it with what was dropped.
fn derive(chain: &Chain, l1: &FakeL1, payloads: &[Bytes]) -> (Chain, Vec<DropReason>) {
    let (header, hash) = chain.genesis_header();
    let mut derivation = Derivation::from_genesis(&chain.genesis, header, hash);
    let mut follower = Chain::new(chain.genesis.clone());
    let mut dropped = Vec::new();
    for (id, payload) in (0..).zip(payloads) {
        for outcome in derivation.push_append(&append(id, payload.clone())) {
            if let Outcome::Dropped(reason) = outcome {
                dropped.push(reason);
            }
        }
        loop {
            match derivation.next_block(l1) {
                Step::Idle => break,
                Step::Block(derived) => {
                    let block = follower.execute(&derived.input, derived.epoch);
                    derivation.advance(block.header, block.hash).unwrap();
                }
                Step::Dropped { reason, .. } => dropped.push(reason),
                other => panic!("{other:?}"),
            }
        }
    }
    (follower, dropped)
}

fn encode(blocks: &[SourceBlock], frame_bytes_max: usize, blocks_max: u32) -> Vec<Bytes> {
    let config = EncoderConfig {
        chain_id: 420_420,
        frame_bytes_max,
        target_bytes: 1 << 20,
        blocks_max,
        age_secs_max: 1 << 30,
        quality: Quality::DENSE,
        backlog_quality: Quality::FAST,
        backlog_blocks_max: 2,
        continued_max: 3,
    };
    let mut encoder = Encoder::new(config, blocks[0].id());
    let mut frames = Vec::new();
    for block in &blocks[1..] {
        encoder.add_block(block, 0).unwrap();
        drain(&mut encoder, &mut frames);
    }
    encoder.close().unwrap();
    drain(&mut encoder, &mut frames);
    frames
}

fn drain(encoder: &mut Encoder, frames: &mut Vec<Bytes>) {
    while let Some(submission) = encoder.next_submission() {
        encoder.confirm(submission.id);
        frames.push(submission.frame);
    }
}

/// The payload of a channel of `batches` after the genesis block.
fn payload(chain: &Chain, batches: Vec<Batch>) -> Bytes {
    let (header, parent_hash) = chain.genesis_header();
    let (chain_id, first_block) = (chain.genesis.rules.chain_id, header.number + 1);
    let channel = Channel { chain_id, first_block, parent_hash, batches };
    one_frame(&channel)
}

fn one_frame(channel: &Channel) -> Bytes {
    let bytes = channel.encode(Quality::FAST).unwrap();
    cut(&bytes.into(), 1 << 20).unwrap()[0].encode()
}

fn batches(chain: &Chain) -> Vec<Batch> {
    chain.blocks[1..].iter().map(|block| block.to_batch().unwrap()).collect()
}

#[test]
fn derive_inverts_post() {
    let (l1, chain) = sealed();
    for (frame_bytes_max, blocks_max) in [(1 << 20, 100), (1 << 20, 2), (300, 3), (60, 100)] {
        let payloads = encode(&chain.blocks, frame_bytes_max, blocks_max);
        let (follower, dropped) = derive(&chain, &l1, &payloads);
        assert_eq!(dropped, []);
        assert_eq!(follower.blocks, chain.blocks);
        assert_eq!(follower.epoch, chain.epoch);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The central property, over chains of any shape.
    #[test]
    fn derive_inverts_post_for_any_chain(
        shape in proptest::collection::vec((any::<bool>(), 0usize..4, 0usize..300), 1..12),
        frame_bytes_max in 60usize..3_000,
        blocks_max in 1u32..8,
    ) {
        let (l1, mut chain) = setup();
        for (advances, transfers, data_bytes) in shape {
            let origin = chain.epoch.number + u64::from(advances);
            chain.seal(&l1, origin, (transfers, data_bytes));
        }
        let payloads = encode(&chain.blocks, frame_bytes_max, blocks_max);
        let (follower, dropped) = derive(&chain, &l1, &payloads);
        prop_assert_eq!(dropped, []);
        prop_assert_eq!(follower.blocks, chain.blocks);
    }

    /// Whatever is appended, derivation goes on: the good channel behind it is derived.
    #[test]
    fn rubbish_is_empty_and_stops_nothing(
        rubbish in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..200), 0..6),
        flip in any::<proptest::sample::Index>(),
    ) {
        let (l1, chain) = sealed();
        let good = encode(&chain.blocks, 1 << 20, 100).remove(0);
        let mut flipped = good.to_vec();
        let position = flip.index(flipped.len());
        flipped[position] ^= 1;
        let mut payloads: Vec<Bytes> = rubbish.into_iter().map(Bytes::from).collect();
        payloads.extend([flipped.into(), good]);
        let (follower, dropped) = derive(&chain, &l1, &payloads);
        prop_assert!(!dropped.is_empty());
        prop_assert_eq!(follower.blocks, chain.blocks);
    }
}

/// Derives a channel in which block 3 (the first of origin 11) is changed: what came before stays,
/// the rest of the channel is dropped for the reason, and the right channel after it is derived.
#[track_caller]
fn drops(change: impl FnOnce(&mut Batch), reason: impl Into<DropReason>) {
    let (l1, chain) = sealed();
    let mut batches = batches(&chain);
    change(&mut batches[2]);
    let bad = payload(&chain, batches);
    let (follower, dropped) = derive(&chain, &l1, std::slice::from_ref(&bad));
    assert_eq!(dropped, [reason.into()]);
    assert_eq!(follower.blocks, chain.blocks[..3]);
    let rest = encode(&chain.blocks[2..], 1 << 20, 100).remove(0);
    let (follower, dropped) = derive(&chain, &l1, &[bad, rest]);
    assert_eq!((follower.blocks, dropped.len()), (chain.blocks, 1));
}

#[test]
fn each_broken_rule_drops_the_batch_and_what_follows_it() {
    drops(|batch| batch.timestamp -= 100, Violation::TimestampBackwards);
    drops(|batch| batch.timestamp -= 1, Violation::BeforeOrigin);
    drops(|batch| batch.timestamp += 601, Violation::Drift);
    drops(|batch| batch.origin_number = 9, Violation::OriginBackwards);
    drops(|batch| batch.origin_number = 12, Violation::OriginSkips);
    drops(|batch| batch.origin_number = u64::MAX, Violation::OriginSkips);
    drops(|batch| batch.origin_check = B64::ZERO, Violation::OriginHash);
    drops(|batch| batch.origin_number = 10, Violation::OriginHash);
    let undecodable = TransactionError::Undecodable;
    drops(|batch| batch.transactions[1] = Bytes::from_static(&[2, 0xc0]), undecodable);
    drops(|batch| batch.transactions[0] = Bytes::new(), undecodable);
    let deposit = TransactionError::DepositNotAllowed;
    drops(|batch| batch.transactions[0] = Bytes::from_static(&[0x7e, 0xc0]), deposit);
}

#[test]
fn timestamps_may_use_the_whole_drift() {
    let (l1, chain) = sealed();
    let mut batches = batches(&chain);
    batches.truncate(1);
    batches[0].timestamp = l1.blocks[&ANCHOR].0.timestamp + 600;
    let (follower, dropped) = derive(&chain, &l1, &[payload(&chain, batches)]);
    assert_eq!((follower.blocks.len(), dropped.len()), (2, 0));
}

#[test]
fn the_origin_must_be_before_the_append() {
    let (l1, chain) = sealed();
    let payload = payload(&chain, batches(&chain));
    let (header, hash) = chain.genesis_header();
    for (l1_block, derived) in [(11, 2), (12, 3), (10, 0), (14, 7)] {
        let mut derivation = Derivation::from_genesis(&chain.genesis, header.clone(), hash);
        derivation.push_append(&Append { l1_block, ..append(0, payload.clone()) });
        let mut blocks = 0;
        let end = loop {
            match derivation.next_block(&l1) {
                Step::Block(_) => {
                    let block = chain.blocks[blocks + 1].clone();
                    derivation.advance(block.header, block.hash).unwrap();
                    blocks += 1;
                }
                end => break end,
            }
        };
        assert_eq!(blocks, derived, "appended in {l1_block}");
        let reason = DropReason::OriginNotBeforeAppend;
        assert!(match end {
            Step::Idle => l1_block == 14,
            Step::Dropped { reason: given, .. } => given == reason,
            _ => false,
        });
    }
}

#[test]
fn a_channel_elsewhere_on_the_chain_is_dropped() {
    let (l1, chain) = sealed();
    let (_, parent_hash) = chain.genesis_header();
    let good = Channel { chain_id: 420_420, first_block: 1, parent_hash, batches: batches(&chain) };
    let cases = [
        (Channel { chain_id: 1, ..good.clone() }, DropReason::ChainId),
        (Channel { first_block: 2, ..good.clone() }, DropReason::FirstBlock),
        (Channel { first_block: 0, ..good.clone() }, DropReason::FirstBlock),
        (Channel { parent_hash: B256::ZERO, ..good.clone() }, DropReason::Parent),
    ];
    for (channel, reason) in cases {
        let payloads = [one_frame(&channel), one_frame(&good)];
        let (follower, dropped) = derive(&chain, &l1, &payloads);
        assert_eq!(dropped, [reason]);
        assert_eq!(follower.blocks, chain.blocks);
    }
    let twice = [one_frame(&good), one_frame(&good)];
    assert_eq!(derive(&chain, &l1, &twice).1, [DropReason::FirstBlock]);
}

#[test]
fn a_frame_out_of_order_ends_the_open_channel() {
    let (l1, chain) = sealed();
    let frames = encode(&chain.blocks, 300, 100);
    assert!(frames.len() >= 3, "{}", frames.len());
    let order = |order: &[usize]| -> Vec<Bytes> {
        order.iter().map(|index| frames[*index].clone()).collect()
    };
    let whole: Vec<usize> = (0..frames.len()).collect();
    let (abandoned, lost) = (DropReason::Abandoned, DropReason::FrameOutOfOrder);
    // The frame after the gap is lost with the channel; so is each one after it.
    let mut gap = whole.clone();
    gap.remove(1);
    let (follower, dropped) = derive(&chain, &l1, &order(&gap));
    assert_eq!(follower.blocks.len(), 1);
    assert_eq!(dropped[..2], [abandoned, lost]);
    // Starting again helps.
    let again: Vec<usize> = [0, 1].into_iter().chain(whole).collect();
    let (follower, dropped) = derive(&chain, &l1, &order(&again));
    assert_eq!((follower.blocks, dropped), (chain.blocks.clone(), vec![abandoned]));
    // Anything in between ends it too.
    let mut rubbish = order(&[0, 1]);
    rubbish.insert(1, Bytes::from_static(b"?"));
    let (_, dropped) = derive(&chain, &l1, &rubbish);
    assert_eq!(dropped, [abandoned, DropReason::Malformed(Malformed::Version), lost]);
}

#[test]
fn blobs_that_hold_no_payload_are_an_empty_append() {
    let (_, chain) = sealed();
    let (header, hash) = chain.genesis_header();
    let mut derivation = Derivation::from_genesis(&chain.genesis, header, hash);
    let frames = encode(&chain.blocks, 300, 100);
    assert_eq!(derivation.push_append(&append(0, frames[0].clone())), [Outcome::Continued]);
    assert!(matches!(derivation.open_channel(), Some(OpenChannel { next_index: 1, .. })));
    let empty = Append { payload: Err(Malformed::BlobPacking), ..append(1, Bytes::new()) };
    let reasons = [DropReason::Abandoned, Malformed::BlobPacking.into()].map(Outcome::Dropped);
    assert_eq!(derivation.push_append(&empty), reasons);
    assert_eq!(derivation.open_channel(), None);
}

#[test]
fn the_caller_is_asked_for_l1_and_told_of_a_reorg() {
    let (l1, chain) = sealed();
    let (header, hash) = chain.genesis_header();
    let mut derivation = Derivation::from_genesis(&chain.genesis, header, hash);
    derivation.push_append(&append(0, payload(&chain, batches(&chain))));
    assert!(matches!(derivation.next_block(&FakeL1::default()), Step::NeedL1(ANCHOR)));
    let mut other = l1.clone();
    other.blocks.get_mut(&ANCHOR).unwrap().0.hash = B256::ZERO;
    assert!(matches!(derivation.next_block(&other), Step::Reorged));
    assert!(matches!(derivation.next_block(&l1), Step::Block(_)));
}

#[test]
fn only_the_header_of_the_yielded_block_advances() {
    let (l1, chain) = sealed();
    let (header, hash) = chain.genesis_header();
    let mut derivation = Derivation::from_genesis(&chain.genesis, header, hash);
    let first = chain.blocks[1].clone();
    let advanced = derivation.advance(first.header.clone(), first.hash);
    assert_eq!(advanced, Err(AdvanceError::NotWaiting));
    derivation.push_append(&append(0, payload(&chain, batches(&chain))));
    assert!(matches!(derivation.next_block(&l1), Step::Block(_)));
    let second = chain.blocks[2].clone();
    assert_eq!(derivation.advance(second.header, second.hash), Err(AdvanceError::OtherBlock));
    assert_eq!(derivation.advance(first.header, first.hash), Ok(()));
    assert_eq!(derivation.head().hash, chain.blocks[1].hash);
}
