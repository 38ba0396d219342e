//! Mutations of RLP: the tree is taken apart, changed, and written again, not always canonically.
//!
//! Our own reader, because a library's refuses what shall be changed.

use super::dice::Dice;

/// Levels that are taken apart; what is deeper stays bytes.
const DEPTH_MAX: usize = 8;

/// A string or a list.
#[derive(Clone, Debug)]
enum Item {
    Bytes(Vec<u8>),
    List(Vec<Self>),
}

/// Mutates a transaction: its type byte, or the RLP behind it. `None` where it is not RLP.
pub(super) fn mutate(raw: &[u8], dice: &mut Dice) -> Option<Vec<u8>> {
    let typed = raw.first().is_some_and(|first| *first < 0x80);
    let (ty, body) = raw.split_at(usize::from(typed));
    let (mut item, rest) = read(body, 0)?;
    for _ in 0..dice.range(1, 3) {
        let nodes = count(&item);
        let at = dice.index(nodes);
        change(&mut item, at, dice);
    }
    let mut out = match (ty.first(), dice.chance(8)) {
        (Some(_), true) => vec![dice.pick(&[0, 1, 2, 3, 4, 5, 0x7e, 0x7f])],
        (Some(ty), false) => vec![*ty],
        (None, true) => vec![dice.byte(5)],
        (None, false) => Vec::new(),
    };
    write(&item, dice, &mut out);
    out.extend_from_slice(rest);
    Some(out)
}

fn count(item: &Item) -> usize {
    match item {
        Item::Bytes(_) => 1,
        Item::List(items) => 1 + items.iter().map(count).sum::<usize>(),
    }
}

/// The first item and what follows it.
fn read(bytes: &[u8], depth: usize) -> Option<(Item, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (is_list, short) = match first {
        0..=0x7f => return Some((Item::Bytes(vec![first]), rest)),
        0x80..=0xbf => (false, first - 0x80),
        _ => (true, first - 0xc0),
    };
    let (length, rest) = match short {
        0..=55 => (usize::from(short), rest),
        _ => {
            let (length, rest) = rest.split_at_checked(usize::from(short) - 55)?;
            let length = length.iter().try_fold(0_usize, |sum, byte| {
                sum.checked_mul(256)?.checked_add(usize::from(*byte))
            });
            (length?, rest)
        }
    };
    let (mut payload, rest) = rest.split_at_checked(length)?;
    if !is_list || depth == DEPTH_MAX {
        return Some((Item::Bytes(payload.to_vec()), rest));
    }
    let mut items = Vec::new();
    while !payload.is_empty() {
        let (item, after) = read(payload, depth + 1)?;
        items.push(item);
        payload = after;
    }
    Some((Item::List(items), rest))
}

fn change(item: &mut Item, at: usize, dice: &mut Dice) {
    if at == 0 {
        return change_here(item, dice);
    }
    let mut left = at - 1;
    let Item::List(items) = item else { return };
    for child in items {
        let size = count(child);
        if left < size {
            return change(child, left, dice);
        }
        left -= size;
    }
}

fn change_here(item: &mut Item, dice: &mut Dice) {
    match item {
        Item::Bytes(bytes) => match dice.below(8) {
            0 => bytes.clear(),
            1 => bytes.insert(0, 0),
            2 => *bytes = vec![0xff; dice.pick(&[1, 8, 9, 16, 17, 20, 32, 33])],
            3 => *bytes = vec![dice.byte(255); dice.pick(&[1, 2, 8, 19, 20, 21, 31, 32])],
            4 => drop(bytes.pop()),
            5 => *item = Item::List(Vec::new()),
            6 if dice.chance(5) => *bytes = vec![1; dice.pick(&[49_152, 49_153, 131_072])],
            _ => {
                if let Some(byte) = bytes.last_mut() {
                    *byte ^= 1 << dice.below(8);
                }
            }
        },
        Item::List(items) => match dice.below(6) {
            0 => drop(items.pop()),
            1 => items.push(Item::Bytes(vec![dice.byte(255)])),
            2 => items.insert(0, Item::List(Vec::new())),
            3 if !items.is_empty() => {
                let at = dice.index(items.len());
                items.remove(at);
            }
            4 if !items.is_empty() => {
                let copy = items[dice.index(items.len())].clone();
                items.extend(std::iter::repeat_n(copy, if dice.chance(3) { 500 } else { 1 }));
            }
            5 => *item = Item::Bytes(vec![dice.byte(255)]),
            _ => items.clear(),
        },
    }
}

fn write(item: &Item, dice: &mut Dice, out: &mut Vec<u8>) {
    match item {
        Item::Bytes(bytes) => match bytes[..] {
            [byte] if byte < 0x80 && !dice.chance(1) => out.push(byte),
            _ => {
                write_head(0x80, bytes.len(), dice, out);
                out.extend_from_slice(bytes);
            }
        },
        Item::List(items) => {
            let mut payload = Vec::new();
            items.iter().for_each(|item| write(item, dice, &mut payload));
            write_head(0xc0, payload.len(), dice, out);
            out.extend_from_slice(&payload);
        }
    }
}

/// A length, now and then wrong, or longer than it has to be.
fn write_head(offset: u8, length: usize, dice: &mut Dice, out: &mut Vec<u8>) {
    let length = if dice.chance(1) { length + dice.index(3) } else { length };
    let bytes = length.to_be_bytes();
    let used = bytes.iter().position(|byte| *byte != 0).map_or(0, |at| 8 - at);
    if length <= 55 && !dice.chance(1) {
        return out.push(offset + u8::try_from(length).unwrap());
    }
    let used = if dice.chance(1) { 8 } else { used.max(1) };
    out.push(offset + 55 + u8::try_from(used).unwrap());
    out.extend_from_slice(&bytes[8 - used..]);
}
