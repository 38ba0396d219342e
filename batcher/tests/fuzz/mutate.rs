//! Mutations of bytes that know nothing of what the bytes mean.

use super::dice::Dice;
use batcher::format::varint;

/// Bytes on the borders of what means something.
const BYTES: [u8; 28] = [
    0, 1, 2, 3, 4, 5, 7, 8, 16, 17, 19, 20, 31, 32, 33, 47, 48, 49, 63, 64, 72, 80, 87, 88, 127,
    128, 254, 255,
];
/// Numbers on the borders.
pub(super) const NUMBERS: [u64; 14] = [
    0,
    1,
    3,
    4,
    127,
    128,
    65_535,
    65_536,
    131_072,
    131_073,
    1 << 20,
    33_554_432,
    u32::MAX as u64,
    u64::MAX,
];
/// Longest run that is inserted.
const RUN_BYTES_MAX: usize = 64;

/// Below two to the power of `bits`; small ones as often as large ones.
pub(super) fn any_size(dice: &mut Dice, bits: u64) -> usize {
    let bits = dice.below(bits);
    dice.below(2 << bits) as usize
}

/// Changes bytes somewhere, by one step.
pub(super) fn bytes(bytes: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    if bytes.is_empty() {
        let run = any_size(dice, 5);
        return bytes.extend((0..run).map(|_| dice.pick(&BYTES)));
    }
    let at = dice.index(bytes.len());
    let end = bytes.len().min(at + 1 + any_size(dice, 6));
    match dice.below(10) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = dice.pick(&BYTES),
        2 => bytes[at] = dice.byte(255),
        3 => bytes[at] = bytes[at].wrapping_add(dice.pick(&[1, 255, 2, 32])),
        4 => drop(bytes.drain(at..end)),
        5 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
        6 => {
            let run = any_size(dice, 5).min(RUN_BYTES_MAX);
            let run: Vec<u8> = (0..run).map(|_| dice.pick(&BYTES)).collect();
            drop(bytes.splice(at..at, run));
        }
        7 => bytes.truncate(at),
        8 => {
            let mut number = Vec::new();
            varint::put(&mut number, dice.pick(&NUMBERS));
            let end = if dice.chance(50) { at + 1 } else { at };
            drop(bytes.splice(at..end, number));
        }
        _ => {
            let from = dice.index(other.len() + 1);
            let run = &other[from..other.len().min(from + any_size(dice, 8))];
            let end = if dice.chance(50) { bytes.len().min(at + run.len()) } else { at };
            drop(bytes.splice(at..end, run.iter().copied()));
        }
    }
}

/// The same a few times.
pub(super) fn some(input: &[u8], other: &[u8], dice: &mut Dice) -> Vec<u8> {
    let mut changed = input.to_vec();
    for _ in 0..=dice.below(4) {
        bytes(&mut changed, other, dice);
    }
    changed
}
