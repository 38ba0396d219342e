//! Channels that are short on L1 and large in memory: what takes the most at every step of the decoder,
//! up to the format's limits and a little beyond.

use super::{
    dice::Dice,
    mutate::{self, any_size},
    parts::{COUNT, KIND, ORIGIN_STEP, Parts, TIMESTAMP},
    seeds::CHAIN_ID,
};
use alloy::{
    eips::{eip2930::AccessListItem, eip7702::Authorization},
    primitives::{Address, B256, Signature, U256},
    rlp::Encodable,
};
use batcher::format::{CONTENT_BYTES_MAX, compress::Quality, varint};

/// Places of columns.
const TO: [usize; 2] = [6, 7];
const ADDRESS_NEW: usize = 8;
const FORMS: [usize; 4] = [11, 13, 15, 17];
const NONCE_FORM: usize = 19;
const DATA_LENGTH: usize = 21;
const DATA_IS_WORDS: usize = 23;
const SELECTOR: [usize; 3] = [24, 25, 26];
const WORD_FORM: usize = 27;
const WORD_KNOWN: [usize; 2] = [30, 31];
const WORD_FULL: usize = 39;
pub(crate) const ACCESS_LIST: [usize; 2] = [42, 43];
pub(crate) const AUTHORIZATIONS: [usize; 2] = [44, 45];
const RAW: [usize; 2] = [46, 47];
/// Longest calldata.
const DATA_BYTES: usize = 131_000;

/// Binary orders of size that are drawn from; two to this is the longest content.
const SIZES: u64 = 25;
/// Sizes near the limit: columns take a little more than what they say.
const LARGE: [usize; 3] = [1 << 20, 17 << 20, CONTENT_BYTES_MAX - 4_096];

/// A channel of any size up to the limits, that is small compressed.
pub(super) fn draw(input: &[u8], dice: &mut Dice) -> Vec<u8> {
    let bomb = channel(dice);
    if dice.chance(85) { bomb } else { mutate::some(&bomb, input, dice) }
}

fn channel(dice: &mut Dice) -> Vec<u8> {
    let size = if dice.chance(30) { dice.pick(&LARGE) } else { any_size(dice, SIZES) };
    let mut parts = Parts::empty(CHAIN_ID);
    match dice.below(6) {
        0 => raw(&mut parts, size, dice),
        1 => words(&mut parts, size, dice),
        2 | 3 => {
            let columns = dice.pick(&[ACCESS_LIST, AUTHORIZATIONS]);
            let bytes = size.min(if dice.chance(50) { CONTENT_BYTES_MAX } else { 130_000 });
            let count = if dice.chance(50) { 1 } else { (size / bytes.max(1)).clamp(1, 300) };
            list(&mut parts, (bytes, count), columns);
        }
        4 => addresses(&mut parts, size.min(140_000)),
        _ => {}
    }
    let blocks = if dice.chance(20) { any_size(dice, 17) } else { 1 };
    together(parts, blocks, Quality::new(dice.pick(&[1, 5])))
}

/// All transactions in the last of these blocks.
fn together(mut parts: Parts, blocks: usize, quality: Quality) -> Vec<u8> {
    parts.columns[TIMESTAMP] = vec![1; blocks];
    parts.columns[ORIGIN_STEP] = vec![0; blocks];
    parts.columns[COUNT] = vec![0; blocks];
    parts.share_out();
    parts.count();
    parts.together(Some(quality))
}

/// As many transactions carried as their bytes as make up `size`.
fn raw(parts: &mut Parts, size: usize, dice: &mut Dice) {
    let each = dice.pick(&[0, 0, 1, 8, 131_072]);
    let count = (size / (each + 2)).min(dice.pick(&[1 << 20, 1 << 20, (1 << 20) + 1]));
    parts.columns[KIND] = vec![255; count];
    (0..count).for_each(|_| varint::put(&mut parts.columns[RAW[0]], each as u64));
    parts.columns[RAW[1]] = vec![7; each * count];
}

/// Transactions of type 2 to one address, each with calldata of the longest, or without.
fn calls(parts: &mut Parts, count: usize, is_type_4: bool) {
    parts.columns[KIND] = vec![if is_type_4 { 16 } else { 8 }; count];
    for column in TO {
        let first = usize::from(column == TO[0]);
        let place = (0..count).map(|at| u8::from(at > 0 && first == 1));
        parts.columns[column] = place.collect();
    }
    parts.columns[ADDRESS_NEW] = vec![1; 20];
    FORMS.iter().for_each(|form| parts.columns[*form] = vec![0; count]);
    parts.columns[NONCE_FORM] = vec![0; count];
    parts.signatures = vec![1; 64 * count];
}

/// Calldata made of words that take one byte or three, and are 32.
fn words(parts: &mut Parts, size: usize, dice: &mut Dice) {
    let each = DATA_BYTES / 32;
    let count = (size / DATA_BYTES).min(300);
    calls(parts, count, false);
    (0..count).for_each(|_| varint::put(&mut parts.columns[DATA_LENGTH], (4 + 32 * each) as u64));
    parts.columns[DATA_IS_WORDS] = vec![1; count];
    for column in &SELECTOR[..2] {
        parts.columns[*column] = vec![0; count];
    }
    parts.columns[SELECTOR[2]] = vec![1; 4 * count];
    let is_known = dice.chance(50);
    parts.columns[WORD_FORM] = vec![if is_known { 4 } else { 0 }; each * count];
    if is_known && count > 0 {
        parts.columns[WORD_FORM][0] = 5;
        parts.columns[WORD_FULL] = vec![3; 32];
        WORD_KNOWN.iter().for_each(|known| parts.columns[*known] = vec![0; each * count - 1]);
    }
}

/// A channel of one transaction with a list of so many bytes, of the smallest item there is.
pub(crate) fn list_of(bytes: usize, columns: [usize; 2]) -> Vec<u8> {
    let mut parts = Parts::empty(CHAIN_ID);
    list(&mut parts, (bytes, 1), columns);
    together(parts, 1, Quality::FAST)
}

/// Transactions with such a list each.
fn list(parts: &mut Parts, (bytes, count): (usize, usize), [length, payload]: [usize; 2]) {
    let mut item = Vec::new();
    let is_type_4 = length == AUTHORIZATIONS[0];
    if is_type_4 {
        let unsigned = Authorization { chain_id: U256::ZERO, address: Address::ZERO, nonce: 0 };
        let signature = Signature::new(U256::ZERO, U256::ZERO, false);
        unsigned.into_signed(signature).encode(&mut item);
    } else {
        AccessListItem::default().encode(&mut item);
    }
    let payload_length = bytes / item.len() * item.len();
    let mut rlp = Vec::new();
    alloy::rlp::Header { list: true, payload_length }.encode(&mut rlp);
    rlp.extend(item.iter().copied().cycle().take(payload_length));
    calls(parts, count, is_type_4);
    parts.columns[DATA_LENGTH] = vec![0; count];
    parts.columns[ACCESS_LIST[0]] = vec![0; count];
    parts.columns[length] = Vec::new();
    (0..count).for_each(|_| varint::put(&mut parts.columns[length], rlp.len() as u64));
    parts.columns[payload] = rlp.repeat(count);
}

/// Transfers, each to an address that is new: the tables and what is kept of nonces.
fn addresses(parts: &mut Parts, count: usize) {
    calls(parts, count, false);
    TO.iter().for_each(|place| parts.columns[*place] = vec![0; count]);
    let address = |at: usize| B256::from(U256::from(at)).0[12..].to_vec();
    parts.columns[ADDRESS_NEW] = (0..count).flat_map(address).collect();
    parts.columns[DATA_LENGTH] = vec![0; count];
    parts.columns[ACCESS_LIST[0]] = vec![0; count];
}
