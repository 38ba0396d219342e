//! Appends: payloads one after another through derivation, compared with a second reading of the rules.
//!
//! An input is payloads, each after its length in four bytes; what is left over is the last one.

use super::{
    dice::Dice,
    memory::measured,
    mutate,
    seeds::{CHAIN_ID, Seeds},
    targets::Seen,
};
use crate::support::chain::{Chain, FakeL1, genesis};
use alloy::primitives::{B256, Bytes};
use batcher::{
    derive::{Append, Derivation, DropReason, Outcome, Step, assembler::OpenChannel},
    format::{
        CHANNEL_BYTES_MAX, Channel, FRAMES_MAX, Frame, History, Malformed,
        channel::id_of,
        frame::{FRAME_HEADER_BYTES, cut},
    },
};

/// L1 block that genesis is anchored to, and one that carries the appends.
const ANCHOR: u64 = 10;
const APPENDED: u64 = 100;

/// The chain that appends are derived on.
#[derive(Debug)]
pub(super) struct World {
    derivation: Derivation,
    l1: FakeL1,
}

impl World {
    pub(super) fn new() -> Self {
        let l1 = FakeL1::new(ANCHOR, 20);
        let chain = Chain::new(genesis(&l1.blocks[&ANCHOR].0));
        let (header, hash) = chain.genesis_header();
        Self { derivation: Derivation::from_genesis(&chain.genesis, header, hash), l1 }
    }

    /// The block that the first channel follows.
    pub(super) fn genesis_hash(&self) -> B256 {
        self.derivation.head().hash
    }
}

fn split(mut input: &[u8]) -> Vec<Bytes> {
    let mut payloads = Vec::new();
    while let Some((length, rest)) = input.split_first_chunk() {
        let (payload, rest) = rest.split_at(rest.len().min(u32::from_be_bytes(*length) as usize));
        payloads.push(Bytes::copy_from_slice(payload));
        input = rest;
    }
    payloads
}

fn join(payloads: &[Bytes]) -> Vec<u8> {
    let with_length =
        |payload: &Bytes| [&(payload.len() as u32).to_be_bytes()[..], payload.as_ref()].concat();
    payloads.iter().flat_map(with_length).collect()
}

/// A channel's frames, some of them small.
fn frames(channel: Vec<u8>, dice: &mut Dice) -> Vec<Bytes> {
    let most = FRAME_HEADER_BYTES + 1 + mutate::any_size(dice, 12);
    let frames = cut(&channel.into(), most).unwrap_or_default();
    frames.iter().map(Frame::encode).collect()
}

/// The frames of each seed.
pub(super) fn seeds(seeds: &Seeds) -> Vec<Vec<u8>> {
    let mut dice = Dice::new(0, 0);
    seeds.channels.iter().map(|channel| join(&frames(channel.clone(), &mut dice))).collect()
}

/// More frames than a channel may have, or just as many, without a last one.
fn endless(dice: &mut Dice) -> Vec<Bytes> {
    let frame = |index: u16| {
        let (channel, data) = (Default::default(), Bytes::from_static(b"a"));
        Frame { channel, index, is_last: false, data }.encode()
    };
    (0..FRAMES_MAX - 2 + dice.below(4) as u16).map(frame).collect()
}

/// Payloads made of two lists of them.
pub(super) fn draw(seeds: &Seeds, input: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    if dice.below(1_000) == 0 {
        return join(&endless(dice));
    }
    let (mut payloads, other) = (split(input), split(other));
    if payloads.is_empty() || dice.chance(15) {
        let channel = seeds.channels[dice.index(seeds.channels.len())].clone();
        payloads = frames(super::channel::draw(seeds, &channel, &channel, dice), dice);
    }
    for _ in 0..dice.below(4) {
        step(&mut payloads, &other, dice);
    }
    join(&payloads)
}

fn step(payloads: &mut Vec<Bytes>, other: &[Bytes], dice: &mut Dice) {
    if payloads.is_empty() {
        return payloads.extend_from_slice(other);
    }
    let at = dice.index(payloads.len());
    let mut changed = payloads[at].to_vec();
    match dice.below(9) {
        0 => drop(payloads.remove(at)),
        1 => payloads.insert(at, payloads[at].clone()),
        2 => {
            let with = dice.index(payloads.len());
            payloads.swap(at, with);
        }
        3 => drop(payloads.splice(at..at, other.iter().cloned())),
        4 => payloads.extend_from_slice(other),
        5 | 6 if changed.len() >= FRAME_HEADER_BYTES => {
            // Version, id, index, last.
            let field = dice.pick(&[0, 1, 17, 18, 19, 19]);
            let value = if field == 19 { 2 } else { 255 };
            changed[field] = dice.byte(value);
            payloads[at] = changed.into();
        }
        _ => {
            mutate::bytes(&mut changed, other.first().map_or(&[], |other| other), dice);
            let is_frame = changed.len() >= FRAME_HEADER_BYTES && dice.chance(70);
            if is_frame {
                let length = (changed.len() - FRAME_HEADER_BYTES) as u32;
                changed[20..FRAME_HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
            }
            payloads[at] = changed.into();
        }
    }
}

/// Pushes all payloads.
pub(super) fn check(world: &World, input: &[u8]) -> Result<Seen, String> {
    let mut derivation = world.derivation.clone();
    let mut model = Model::default();
    let (mut told, mut peak_bytes) = (Vec::new(), 0);
    for (id, payload) in (0..).zip(split(input)) {
        let append =
            Append { id, acc: B256::ZERO, l1_block: APPENDED, payload: Ok(payload.clone()) };
        let (outcomes, taken) = measured(|| derivation.push_append(&append));
        peak_bytes = peak_bytes.max(taken.peak_bytes);
        let expected = model.push(&payload, world.genesis_hash());
        if outcomes != expected {
            return Err(format!("append {id}: {outcomes:?}, expected {expected:?}"));
        }
        if derivation.open_channel() != model.open() {
            return Err(format!("append {id}: open is {:?}", derivation.open_channel()));
        }
        told.extend(outcomes.iter().map(|outcome| format!("{outcome:?}")));
        let step = match derivation.next_block(&world.l1) {
            Step::Idle => continue,
            Step::Dropped { reason, .. } => format!("{reason:?}"),
            Step::Block(block) if block.append_id == id => "block".to_owned(),
            other => return Err(format!("append {id}: {other:?}")),
        };
        told.push(step);
    }
    told.dedup();
    told.truncate(4);
    Ok(Seen { outcome: told.join(", "), peak_bytes })
}

/// The rules of `README.md` on which frame continues what, without any of the decoder's code but
/// that of a single frame and a whole channel.
#[derive(Debug, Default)]
struct Model {
    /// Frames of the open channel, in order.
    frames: Vec<Frame>,
    history: History,
}

/// What derivation never answers.
const NEVER: Outcome = Outcome::Ready { blocks: usize::MAX, is_fresh: false };

impl Model {
    fn open(&self) -> Option<OpenChannel> {
        let last = self.frames.last()?;
        Some(OpenChannel { id: last.channel, next_index: last.index + 1 })
    }

    fn push(&mut self, payload: &Bytes, head: B256) -> Vec<Outcome> {
        let frame = Frame::decode(payload);
        let continues = |frame: &Frame| {
            self.open().is_some_and(|it| it.id == frame.channel && it.next_index == frame.index)
        };
        let mut outcomes = Vec::new();
        if !frame.as_ref().is_ok_and(continues) && !self.frames.is_empty() {
            outcomes.push(Outcome::Dropped(DropReason::Abandoned));
            self.frames.clear();
        }
        outcomes.push(match frame {
            Ok(frame) if frame.encode() != *payload => NEVER,
            Ok(frame) if self.frames.is_empty() && frame.index != 0 => {
                Outcome::Dropped(DropReason::FrameOutOfOrder)
            }
            Ok(frame) => self.take(frame, head),
            Err(malformed) => Outcome::Dropped(malformed.into()),
        });
        outcomes
    }

    fn take(&mut self, frame: Frame, head: B256) -> Outcome {
        let is_last = frame.is_last;
        let is_full = frame.index + 1 >= FRAMES_MAX;
        self.frames.push(frame);
        let data = self.frames.iter().map(|frame| frame.data.len()).sum::<usize>();
        if data > CHANNEL_BYTES_MAX || is_full && !is_last {
            self.frames.clear();
            return Outcome::Dropped(Malformed::ChannelTooLong.into());
        }
        if !is_last {
            return Outcome::Continued;
        }
        let frames = std::mem::take(&mut self.frames);
        let bytes = frames.iter().flat_map(|frame| &frame.data).copied().collect::<Vec<_>>();
        if id_of(&bytes) != frames[0].channel {
            return Outcome::Dropped(Malformed::ChannelId.into());
        }
        match Channel::decode_after(&bytes, &self.history) {
            Err(malformed) => Outcome::Dropped(malformed.into()),
            Ok((it, _)) if it.chain_id != CHAIN_ID => Outcome::Dropped(DropReason::ChainId),
            Ok((it, _)) if it.first_block != 1 => Outcome::Dropped(DropReason::FirstBlock),
            Ok((it, _)) if it.parent_hash != head => Outcome::Dropped(DropReason::Parent),
            Ok((it, left)) => {
                // Nothing is executed here, so no sender is known.
                self.history = left;
                Outcome::Ready { blocks: it.batches.len(), is_fresh: self.history.channels() == 1 }
            }
        }
    }
}
