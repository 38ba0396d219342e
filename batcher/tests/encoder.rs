//! The encoder as a state machine, stepped by hand.

use crate::support::chain::{Chain, FakeL1, genesis};
use batcher::{
    derive::assembler::OpenChannel,
    encoder::{BlockId, EncodeError, Encoder, EncoderConfig, FRAMES_QUEUED_MAX, SourceBlock},
    format::{History, compress::Quality},
};

fn config() -> EncoderConfig {
    EncoderConfig {
        chain_id: 420_420,
        frame_bytes_max: 4_000,
        target_bytes: 3_800,
        blocks_max: 5,
        age_secs_max: 60,
        quality: Quality::DENSE,
        backlog_quality: Quality::FAST,
        backlog_blocks_max: 2,
        continued_max: 1,
    }
}

/// The genesis block and `count` more, of `transfers` transfers with 100 bytes each.
fn blocks(count: usize, transfers: usize) -> Vec<SourceBlock> {
    let l1 = FakeL1::new(10, 2);
    let mut chain = Chain::new(genesis(&l1.blocks[&10].0));
    for _ in 0..count {
        chain.seal(&l1, 10, (transfers, 100));
    }
    chain.blocks
}

fn encoder(blocks: &[SourceBlock]) -> Encoder {
    Encoder::new(config(), blocks[0].id())
}

#[test]
fn a_channel_closes_by_block_count() {
    let blocks = blocks(6, 1);
    let mut encoder = encoder(&blocks);
    for block in &blocks[1..5] {
        encoder.add_block(block, 0).unwrap();
        assert_eq!(encoder.next_submission(), None);
    }
    encoder.add_block(&blocks[5], 0).unwrap();
    let submission = encoder.next_submission().unwrap();
    assert_eq!((submission.parent, submission.last_block), (blocks[0].id(), blocks[5].id()));
    assert!(submission.is_last && submission.index == 0);
    assert_eq!(encoder.next_submission(), None);
    encoder.add_block(&blocks[6], 0).unwrap();
    assert_eq!(encoder.building_blocks(), 1);
}

#[test]
fn a_backlog_is_compressed_for_speed() {
    let blocks = blocks(10, 3);
    let mut encoder = encoder(&blocks);
    let mut sizes = Vec::new();
    for (block, head) in blocks[1..].iter().zip([12, 12, 12, 12, 12, 10, 10, 10, 10, 10]) {
        encoder.observe_head(head);
        encoder.add_block(block, 0).unwrap();
        let behind = head - block.header.number > 2;
        let quality = if behind { Quality::FAST } else { Quality::DENSE };
        assert_eq!(encoder.quality(), quality, "{}", block.header.number);
        sizes.extend(encoder.next_submission().map(|submission| submission.frame.len()));
    }
    assert_eq!(sizes.len(), 2);
}

#[test]
fn a_channel_closes_by_age_of_its_first_block() {
    let blocks = blocks(2, 1);
    let mut encoder = encoder(&blocks);
    encoder.add_block(&blocks[1], 100).unwrap();
    encoder.add_block(&blocks[2], 150).unwrap();
    encoder.step(159).unwrap();
    assert_eq!(encoder.next_submission(), None);
    encoder.step(160).unwrap();
    assert_eq!(encoder.next_submission().unwrap().last_block, blocks[2].id());
}

#[test]
fn a_channel_closes_by_size_and_is_cut_into_frames() {
    let blocks = blocks(1, 60);
    let mut encoder = encoder(&blocks);
    encoder.add_block(&blocks[1], 0).unwrap();
    let frames: Vec<_> = std::iter::from_fn(|| encoder.next_submission()).collect();
    assert!(frames.len() > 1);
    assert!(frames.iter().all(|frame| frame.frame.len() <= 4_000));
    assert!(frames.iter().map(|frame| usize::from(frame.index)).eq(0..frames.len()));
    assert_eq!(frames.iter().filter(|frame| frame.is_last).count(), 1);
    assert!(frames.last().unwrap().is_last);
}

#[test]
fn the_same_blocks_at_the_same_times_give_the_same_frames() {
    let blocks = blocks(12, 8);
    let run = || {
        let mut encoder = encoder(&blocks);
        for (time, block) in (0..).zip(&blocks[1..]) {
            encoder.add_block(block, time).unwrap();
        }
        encoder.close().unwrap();
        std::iter::from_fn(|| encoder.next_submission()).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

#[test]
fn a_requeued_frame_comes_again_with_those_after_it() {
    let blocks = blocks(1, 60);
    let mut encoder = encoder(&blocks);
    encoder.add_block(&blocks[1], 0).unwrap();
    let first = encoder.next_submission().unwrap();
    let second = encoder.next_submission().unwrap();
    encoder.requeue(second.id);
    assert_eq!(encoder.next_submission().as_ref(), Some(&second));
    encoder.requeue(first.id);
    assert_eq!(encoder.next_submission().as_ref(), Some(&first));
    encoder.confirm(first.id);
    assert_eq!(encoder.next_submission().as_ref(), Some(&second));
    encoder.confirm(second.id);
    encoder.requeue(second.id);
    assert!(encoder.next_submission().is_none_or(|next| next.id > second.id));
}

#[test]
fn ids_are_not_used_again_after_a_reset() {
    let blocks = blocks(2, 1);
    let mut encoder = encoder(&blocks);
    let post = |encoder: &mut Encoder| {
        encoder.add_block(&blocks[1], 0).unwrap();
        encoder.close().unwrap();
        encoder.next_submission().unwrap()
    };
    let before = post(&mut encoder);
    encoder.reset(blocks[0].id(), History::default());
    assert_eq!((encoder.queued(), encoder.building_blocks()), (0, 0));
    let after = post(&mut encoder);
    assert!(after.id > before.id);
    assert_eq!(after.frame, before.frame);
}

#[test]
fn blocks_that_do_not_follow_are_refused_and_change_nothing() {
    let blocks = blocks(3, 1);
    let mut encoder = encoder(&blocks);
    let refused = encoder.add_block(&blocks[2], 0).unwrap_err();
    assert_eq!(refused, EncodeError::NotNext { given: 2, tip: 0 });
    let mut other = blocks[1].clone();
    other.header.parent_hash = blocks[2].hash;
    assert!(matches!(encoder.add_block(&other, 0), Err(EncodeError::NotNext { .. })));
    let mut bare = blocks[1].clone();
    bare.transactions.clear();
    assert_eq!(encoder.add_block(&bare, 0), Err(EncodeError::NoAttributes(1)));
    encoder.add_block(&blocks[1], 0).unwrap();
    assert_eq!(encoder.tip(), blocks[1].id());
}

#[test]
fn a_full_queue_refuses_blocks_until_frames_are_confirmed() {
    let blocks = blocks(FRAMES_QUEUED_MAX + 1, 0);
    let mut encoder = Encoder::new(EncoderConfig { blocks_max: 1, ..config() }, blocks[0].id());
    for block in &blocks[1..=FRAMES_QUEUED_MAX] {
        encoder.add_block(block, 0).unwrap();
    }
    let last = blocks.last().unwrap();
    assert_eq!(encoder.add_block(last, 0), Err(EncodeError::Full));
    let first = encoder.next_submission().unwrap();
    encoder.confirm(first.id);
    encoder.add_block(last, 0).unwrap();
}

#[test]
fn aligning_keeps_what_still_continues_l1() {
    let blocks = blocks(8, 30);
    let mut encoder = encoder(&blocks);
    for block in &blocks[1..] {
        encoder.add_block(block, 0).unwrap();
    }
    encoder.close().unwrap();
    let all: Vec<_> = std::iter::from_fn(|| encoder.next_submission()).collect();
    let split = all.iter().position(|frame| frame.index == 1).unwrap();
    let open = OpenChannel { id: all[split].channel, next_index: 1 };

    let fresh = History::default();
    let mut middle = encoder.clone();
    middle.align(all[split].parent, &fresh, Some(open));
    assert_eq!(middle.next_submission().as_ref(), Some(&all[split]));

    let mut later = encoder.clone();
    let second = all.iter().find(|frame| frame.index == 0 && frame.parent != blocks[0].id());
    later.align(second.unwrap().parent, &fresh, None);
    assert_eq!(later.next_submission().as_ref(), second);

    let mut done = encoder.clone();
    done.align(blocks[8].id(), &fresh, None);
    assert_eq!((done.next_submission(), done.tip()), (None, blocks[8].id()));

    let elsewhere = BlockId { number: 3, hash: blocks[1].hash };
    encoder.align(elsewhere, &fresh, None);
    assert_eq!((encoder.queued(), encoder.tip()), (0, elsewhere));
}
