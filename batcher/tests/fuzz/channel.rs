//! Channels: drawn from others, mostly with counts and checksum right, and checked for what a reader may
//! rely on.

use super::{
    bombs,
    dice::Dice,
    memory::{Taken, measured},
    mutate,
    parts::{
        BLOCKS_AT, COLUMNS, CONTENT_BYTES_AT, Parts, SIGNATURES_AT, TRANSACTIONS_AT, with_content,
    },
    seeds::{Seeds, transaction},
    targets::Seen,
};
use alloy::primitives::Address;
use batcher::format::{
    Batch, CONTENT_BYTES_MAX, CONTENT_HEAD_BYTES_MAX, Channel, History, Malformed, RAW_BYTES_MAX,
    channel::ChannelLimit, compress::Quality,
};
use executor::transaction::TRANSACTION_BYTES_MAX;

/// Transactions, in bytes, up to which every channel that decodes is encoded again; of larger ones one
/// in eight is.
const ALWAYS_AGAIN_BYTES: usize = 1 << 18;

/// A channel made of two.
pub(super) fn draw(seeds: &Seeds, input: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    if dice.below(4_000) == 0 {
        return bombs::draw(input, dice);
    }
    if dice.chance(2) {
        return small(seeds, dice);
    }
    let parts = if dice.chance(6) { None } else { Parts::of(input) };
    let Some(mut parts) = parts else { return mutate::some(input, other, dice) };
    if dice.chance(5) {
        return repaired(&parts, other, dice);
    }
    let other = Parts::of(other).unwrap_or_else(|| parts.clone());
    for _ in 0..=dice.below(3) {
        step(&mut parts, &other, dice);
    }
    if dice.chance(75) {
        parts.share_out();
    }
    if dice.chance(90) {
        parts.count();
    }
    if dice.chance(20) {
        let digest = |history: &History| history.digest().0;
        let continued = dice.index(seeds.histories.len());
        parts.continue_after((continued > 0).then(|| digest(&seeds.histories[continued])));
    }
    let quality = dice.chance(10).then(|| Quality::new(dice.byte(6)));
    let mut bytes = parts.together(quality);
    if dice.chance(5) {
        lie(&mut bytes, dice);
    }
    bytes
}

/// One change of the columns.
fn step(parts: &mut Parts, other: &Parts, dice: &mut Dice) {
    let filled: Vec<usize> = (0..COLUMNS).filter(|at| !parts.columns[*at].is_empty()).collect();
    let is_filled = !filled.is_empty() && dice.chance(90);
    let at = if is_filled { dice.pick(&filled) } else { dice.index(COLUMNS) };
    let from = &other.columns[at];
    let column = &mut parts.columns[at];
    match dice.below(16) {
        0..=9 => mutate::bytes(column, from, dice),
        10 => column.clone_from(from),
        11 => column.extend_from_slice(from),
        12 => {
            let to = dice.index(COLUMNS);
            parts.columns.swap(at, to);
        }
        // Blocks after blocks: places and nonces come to mean something else.
        13 => {
            for (column, more) in parts.columns.iter_mut().zip(&other.columns) {
                column.extend_from_slice(more);
            }
            parts.signatures.extend_from_slice(&other.signatures);
        }
        14 => {
            let signed = parts.signatures.len() / 64 + dice.index(3);
            parts.signatures.resize(64 * signed.saturating_sub(1), dice.byte(255));
        }
        _ => mutate::bytes(&mut parts.signatures, &other.signatures, dice),
    }
}

/// Content changed without regard to columns, with its checksum right.
fn repaired(parts: &Parts, other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let content = mutate::some(&parts.content(), other, dice);
    with_content(parts.header, &parts.signatures, &content, None)
}

/// A count, or a byte of the header, that is not so.
fn lie(bytes: &mut [u8], dice: &mut Dice) {
    let at = dice.pick(&[0, 1, 2, BLOCKS_AT, TRANSACTIONS_AT, SIGNATURES_AT, CONTENT_BYTES_AT]);
    if at < BLOCKS_AT {
        bytes[at] = dice.byte(4);
        return;
    }
    let said = u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let by = dice.pick(&[1, u32::MAX, 2, 64]);
    let number = dice.pick(&mutate::NUMBERS) as u32;
    let count = if dice.chance(50) { said.wrapping_add(by) } else { number };
    bytes[at..at + 4].copy_from_slice(&count.to_be_bytes());
}

/// Decodes after each history, and again what decodes.
pub(super) fn check(seeds: &Seeds, input: &[u8]) -> Result<Seen, String> {
    let fresh = &seeds.histories[0];
    let (result, mut taken) = measured(|| Channel::decode_after(input, fresh));
    if input.len() <= ALWAYS_AGAIN_BYTES {
        let alone = Channel::decode(input);
        if alone.as_ref().ok() != result.as_ref().ok().map(|(channel, _)| channel) {
            return Err("decode and decode_after differ".to_owned());
        }
    }
    let mut outcome = told(seeds, input, fresh, &result, taken)?;
    for history in &seeds.histories[1..] {
        let (after, took) = measured(|| Channel::decode_after(input, history));
        taken.peak_bytes = taken.peak_bytes.max(took.peak_bytes);
        if input.get(2) == Some(&0) {
            if after != result {
                return Err("a fresh channel depends on the history before it".to_owned());
            }
            // Once is enough.
            break;
        } else if after != Err(Malformed::History) {
            outcome = format!("continues: {}", told(seeds, input, history, &after, took)?);
        }
    }
    Ok(Seen { outcome, peak_bytes: taken.peak_bytes })
}

/// What came out, in short; checked, when it is a channel.
fn told(
    seeds: &Seeds,
    input: &[u8],
    history: &History,
    result: &Result<(Channel, History), Malformed>,
    taken: Taken,
) -> Result<String, String> {
    // How far the decoder came is not to be seen; how often it allocated says it roughly.
    let far = match taken.allocations {
        few @ 0..=40 => few,
        many => 40 + u64::from(many.ilog2()) * 4 + (many >> (many.ilog2() - 2) & 3),
    };
    let (channel, left) = match result {
        Ok(decoded) => decoded,
        Err(malformed) => return Ok(format!("{malformed} @{far}")),
    };
    let all = || channel.batches.iter().flat_map(|batch| &batch.transactions);
    let raw_bytes: usize = all().map(|raw| raw.len()).sum();
    if raw_bytes > RAW_BYTES_MAX || all().any(|raw| raw.len() > TRANSACTION_BYTES_MAX) {
        return Err("transactions longer than allowed".to_owned());
    }
    if raw_bytes <= ALWAYS_AGAIN_BYTES || input[input.len() / 2].is_multiple_of(8) {
        again(seeds, channel, history, left)?;
    }
    let kind = |raw: &[u8]| raw.first().map_or(7, |first| (*first).min(6));
    let kinds = all().fold(0u8, |kinds, raw| kinds | 1 << kind(raw));
    Ok(format!("kinds {kinds:b} @{far}, 2^{}", raw_bytes.checked_ilog2().unwrap_or(0)))
}

/// What decodes encodes and decodes to the same, and what it leaves can be continued.
fn again(
    seeds: &Seeds,
    channel: &Channel,
    history: &History,
    left: &History,
) -> Result<(), String> {
    let (bytes, leaves) = match channel.encode_after(history, Quality::new(1)) {
        Ok(encoded) => encoded,
        Err(ChannelLimit(malformed)) => {
            let bound = channel.batches.iter().map(Batch::encoded_bytes_max).sum::<usize>();
            let may_be = bound + CONTENT_HEAD_BYTES_MAX > CONTENT_BYTES_MAX;
            return if may_be { Ok(()) } else { Err(format!("does not encode: {malformed}")) };
        }
    };
    match Channel::decode_after(&bytes, history) {
        Ok((decoded, read)) if decoded == *channel && read == leaves => {}
        Ok(_) => return Err("encodes to another channel".to_owned()),
        Err(malformed) => return Err(format!("encodes to no channel: {malformed}")),
    }
    // Part of a checksum, so as good as drawn.
    if !bytes[70].is_multiple_of(4) {
        return Ok(());
    }
    let senders = left.with_senders([Address::ZERO, Address::repeat_byte(1)]);
    let history = if bytes[71].is_multiple_of(2) { left } else { &senders };
    let encoded = seeds.next.encode_after(history, Quality::new(1));
    let (bytes, leaves) = encoded.map_err(|limit| format!("no continuation: {limit}"))?;
    if Channel::decode_after(&bytes, history) != Ok((seeds.next.clone(), leaves)) {
        return Err("what it leaves cannot be continued".to_owned());
    }
    Ok(())
}

/// A channel of one transaction, whole.
fn small(seeds: &Seeds, dice: &mut Dice) -> Vec<u8> {
    let kind = dice.byte(8);
    let raw = transaction(kind, dice.byte(9), super::seeds::calldata(dice.byte(9), dice.index(5)));
    let history = dice.index(3);
    let channel = super::seeds::channel(1, Default::default(), vec![vec![raw]]);
    let encoded = channel.encode_after(&seeds.histories[history], Quality::new(1));
    encoded.unwrap().0
}
