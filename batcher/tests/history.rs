//! Channels that continue each other: what one leaves to the next is the same for whoever posts,
//! tracks, starts in the middle or goes back.

use crate::support::{
    chain::{Chain, FakeL1, genesis},
    world::World,
};
use alloy::primitives::{B256, Bytes};
use batcher::{
    carrier::DataAvailability,
    derive::{Append, Derivation, DropReason, Head, Outcome, Step, rules::Epoch},
    encoder::{Encoder, SourceBlock, Submission},
    format::{Frame, History, Malformed, channel::CHANNEL_HEADER_BYTES},
    poster::{Poster, Progress},
    tracker::Heads,
};

/// Channels in a row that each continue the one before.
const CONTINUED_MAX: u32 = 3;

/// A chain of `count` blocks on origin 10.
fn sealed(count: usize) -> (FakeL1, Chain) {
    let l1 = FakeL1::new(10, 2);
    let mut chain = Chain::new(genesis(&l1.blocks[&10].0));
    for _ in 0..count {
        chain.seal(&l1, 10, (2, 40));
    }
    (l1, chain)
}

fn encoder(blocks: &[SourceBlock]) -> Encoder {
    let config = DataAvailability::Calldata.encoder_config(420_420, 60);
    let config = batcher::encoder::EncoderConfig { continued_max: CONTINUED_MAX, ..config };
    Encoder::new(config, blocks[0].id())
}

/// A channel for each block.
fn channels(blocks: &[SourceBlock]) -> Vec<Submission> {
    let mut encoder = encoder(blocks);
    let mut all = Vec::new();
    for block in &blocks[1..] {
        encoder.add_block(block, 0).unwrap();
        encoder.close().unwrap();
        all.push(encoder.next_submission().unwrap());
    }
    all
}

fn append(id: u64, payload: &Bytes) -> Append {
    Append { id, acc: B256::ZERO, l1_block: 100, payload: Ok(payload.clone()) }
}

/// What became of an append; the blocks that come out are those of the chain.
fn push(derivation: &mut Derivation, chain: &Chain, l1: &FakeL1, payload: &Bytes) -> Vec<Outcome> {
    let outcomes = derivation.push_append(&append(0, payload));
    loop {
        match derivation.next_block(l1) {
            Step::Idle => return outcomes,
            Step::Block(derived) => {
                let number = usize::try_from(derived.input.env.number).unwrap();
                let block = chain.blocks[number].clone();
                derivation.advance(block.header, block.hash).unwrap();
            }
            other => panic!("{other:?}"),
        }
    }
}

fn from_genesis(chain: &Chain) -> Derivation {
    let (header, hash) = chain.genesis_header();
    Derivation::from_genesis(&chain.genesis, header, hash)
}

#[test]
fn every_third_channel_is_fresh_and_the_others_name_what_they_continue() {
    let (l1, chain) = sealed(7);
    let channels = channels(&chain.blocks);
    let is_fresh: Vec<bool> = channels.iter().map(|channel| channel.continues.is_none()).collect();
    assert_eq!(is_fresh, [true, false, false, true, false, false, true]);
    let mut derivation = from_genesis(&chain);
    for (channel, is_fresh) in channels.iter().zip(is_fresh) {
        let frame = Frame::decode(&channel.frame).unwrap();
        assert_eq!(frame.data[2], u8::from(!is_fresh));
        let digest = channel.continues.unwrap_or_default();
        assert_eq!(frame.data[CHANNEL_HEADER_BYTES - 8..][..8], digest.0);
        let outcomes = push(&mut derivation, &chain, &l1, &channel.frame);
        assert_eq!(outcomes, [Outcome::Ready { blocks: 1, is_fresh }]);
    }
    assert_eq!(derivation.head().hash, chain.head().hash);
}

#[test]
fn a_channel_is_read_after_the_very_channels_it_continues() {
    let (l1, chain) = sealed(4);
    let channels = channels(&chain.blocks);
    let malformed = Outcome::Dropped(Malformed::History.into());
    // Nothing was accepted, or another channel was in its place.
    let mut derivation = from_genesis(&chain);
    assert_eq!(push(&mut derivation, &chain, &l1, &channels[1].frame), [malformed]);
    push(&mut derivation, &chain, &l1, &channels[0].frame);
    assert_eq!(push(&mut derivation, &chain, &l1, &channels[2].frame), [malformed]);
    // What is dropped leaves nothing, and takes nothing away.
    let again = push(&mut derivation, &chain, &l1, &channels[0].frame);
    assert_eq!(again, [Outcome::Dropped(DropReason::FirstBlock)]);
    let continued = [Outcome::Ready { blocks: 1, is_fresh: false }];
    assert_eq!(push(&mut derivation, &chain, &l1, &channels[1].frame), continued);
    // Without the history only a fresh one is.
    derivation.forget_channels();
    assert_eq!(push(&mut derivation, &chain, &l1, &channels[2].frame), [malformed]);
    let (start, epoch) = (&chain.blocks[3], derivation.head().epoch);
    let head = Head { header: start.header.clone(), hash: start.hash, epoch: after(epoch) };
    let mut derivation = Derivation::new(chain.genesis.rules.clone(), head);
    let fresh = [Outcome::Ready { blocks: 1, is_fresh: true }];
    assert_eq!(push(&mut derivation, &chain, &l1, &channels[3].frame), fresh);
}

/// The place of the next block on the same origin.
fn after(epoch: Epoch) -> Epoch {
    Epoch { sequence_number: epoch.sequence_number + 1, ..epoch }
}

/// Of a channel that breaks a rule, what was derived before that has sent; what follows has not.
#[test]
fn who_sent_only_what_is_dropped_is_in_no_table() {
    let (l1, chain) = sealed(3);
    let mut encoder = encoder(&chain.blocks);
    let derive = |changes: &dyn Fn(&mut FakeL1)| {
        let mut l1 = l1.clone();
        changes(&mut l1);
        let mut derivation = from_genesis(&chain);
        let mut encoder = encoder.clone();
        for block in &chain.blocks[1..] {
            encoder.add_block(block, 0).unwrap();
        }
        encoder.close().unwrap();
        derivation.push_append(&append(0, &encoder.next_submission().unwrap().frame));
        let left = derivation.history().clone();
        while let Step::Block(derived) = derivation.next_block(&l1) {
            let number = usize::try_from(derived.input.env.number).unwrap();
            let block = chain.blocks[number].clone();
            derivation.advance(block.header, block.hash).unwrap();
        }
        (left, derivation.history().clone())
    };
    let (left, whole) = derive(&|_| {});
    assert_ne!(left, whole);
    // All blocks before the origin: nothing of it is derived, so nobody has sent.
    let early = |l1: &mut FakeL1| l1.blocks.get_mut(&10).unwrap().0.timestamp += 1_000;
    let (left, dropped) = derive(&early);
    assert_eq!(left, dropped);
    // Poster and derivation come to the same.
    for block in &chain.blocks[1..] {
        encoder.add_block(block, 0).unwrap();
    }
    encoder.close().unwrap();
    let mut next = Chain::clone(&chain);
    let block = next.seal(&l1, 10, (1, 0));
    encoder.add_block(&block, 0).unwrap();
    encoder.close().unwrap();
    let continues = |_| encoder.next_submission().unwrap().continues;
    assert_eq!([0, 1].map(continues), [None, Some(whole.digest())]);
}

#[test]
fn an_encoder_continues_what_l1_has_and_nothing_else() {
    let (_, chain) = sealed(4);
    let mut encoder = encoder(&chain.blocks);
    for block in &chain.blocks[1..4] {
        encoder.add_block(block, 0).unwrap();
        encoder.close().unwrap();
    }
    let all: Vec<_> = std::iter::from_fn(|| encoder.next_submission()).collect();
    // The first is on L1 with the same tables: the second is next. With others it is made anew.
    let mut same = encoder.clone();
    let mut reader = History::default();
    for submission in &all[..1] {
        let frame = Frame::decode(&submission.frame).unwrap();
        let decoded = batcher::format::Channel::decode_after(&frame.data, &reader).unwrap();
        reader = decoded.1.with_senders([crate::support::chain::sender().address()]);
    }
    same.align(chain.blocks[1].id(), &reader, None);
    assert_eq!(same.next_submission().as_ref(), Some(&all[1]));
    let mut other = encoder.clone();
    other.align(chain.blocks[1].id(), &History::default(), None);
    assert_eq!((other.queued(), other.tip()), (0, chain.blocks[1].id()));
    // A fresh one may follow whatever is there.
    encoder.add_block(&chain.blocks[4], 0).unwrap();
    encoder.close().unwrap();
    encoder.align(chain.blocks[3].id(), &History::default(), None);
    let fresh = encoder.next_submission().unwrap();
    assert_eq!((fresh.parent, fresh.continues), (chain.blocks[3].id(), None));
}

fn poster(world: &World, continued_max: u32) -> (Poster, tokio::sync::watch::Receiver<Heads>) {
    let mut config = DataAvailability::Calldata.encoder_config(420_420, 60);
    config.continued_max = continued_max;
    world.poster_of(DataAvailability::Calldata, config, world.store.clone())
}

#[tokio::test]
async fn a_restart_begins_before_a_fresh_channel_and_continues_the_last_one() {
    let Some(world) = World::new().await else { return };
    let (mut running, heads) = poster(&world, CONTINUED_MAX);
    let mut blocks = Vec::new();
    for _ in 0..5 {
        blocks.push(world.seal(2, 0).await);
        world.settle(&mut running).await;
    }
    world.mine(2).await;
    world.settle(&mut running).await;
    let kept = *heads.borrow();
    // The fourth channel is the last fresh one, the fifth continues it.
    assert_eq!((kept.finalized.block, kept.start.block), (blocks[4].id(), blocks[2].id()));
    drop(running);
    let mut tracker = world.tracker(world.resume(&kept, &blocks[2]).unwrap());
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head(), kept.safe);
    // From the finalized head itself the channel after it could not be read.
    let (mut restarted, _) = poster(&world, CONTINUED_MAX);
    let last = world.seal(2, 0).await;
    world.settle(&mut restarted).await;
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head().block, last.id());
    let wrong = Heads { start: kept.finalized, ..kept };
    let mut stuck = world.tracker(world.resume(&wrong, &blocks[4]).unwrap());
    assert!(stuck.sync().await.unwrap());
    assert_eq!(stuck.safe_head().block, blocks[4].id());
    world.assert_all_derivable().await;
}

/// More channels are undone than keep their tables: they are read again from further back.
#[tokio::test]
async fn a_reorg_of_many_channels_that_continue_each_other_loses_none() {
    let Some(world) = World::with_epochs_of(32).await else { return };
    let mut config = DataAvailability::Calldata.encoder_config(420_420, 60);
    (config.continued_max, config.blocks_max) = (u32::MAX, 1);
    let (mut running, _) = world.poster_of(DataAvailability::Calldata, config, world.store.clone());
    // On origins that the reorg does not reach.
    for _ in 0..24 {
        world.seal(1, 0).await;
    }
    world.settle(&mut running).await;
    let before = world.position().await;
    world.reorg(20).await;
    let done = world.settle(&mut running).await;
    let again = done.iter().filter(|progress| matches!(progress, Progress::Reposted(_))).count();
    assert_eq!(again, 20, "{done:?}");
    assert_eq!(world.position().await, before);
    world.seal(1, 0).await;
    world.settle(&mut running).await;
    world.assert_all_derivable().await;
}
