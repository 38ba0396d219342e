//! The RLP of nodes and of accounts, written without going through generic encoders: the state root
//! encodes tens of thousands of nodes a block. Compared with alloy's encoders by every test of a root.

use super::{
    key::nibble,
    link::{Child, Link},
    nodes::Nodes,
};
use crate::state::Account;
use alloy_primitives::B256;
use std::vec::Vec;

/// RLP of the empty string: a branch without child at a nibble, or without value.
const EMPTY_ITEM: u8 = 0x80;

/// Bytes of a path as an item: the compact ("hex prefix") form and, unless it is one byte, a header.
fn path_bytes(nibbles: u8) -> usize {
    let bytes = usize::from(nibbles / 2) + 1;
    if bytes == 1 { 1 } else { bytes + 1 }
}

/// Appends the nibbles of `key` from one depth to another in compact form.
#[allow(clippy::cast_possible_truncation, reason = "a path has at most 33 bytes")]
fn put_path(out: &mut Vec<u8>, key: &B256, from: u8, to: u8, is_leaf: bool) {
    let item_bytes = path_bytes(to - from);
    if item_bytes > 1 {
        out.push(EMPTY_ITEM + item_bytes as u8 - 1);
    }
    let flag = if is_leaf { 0x20 } else { 0 };
    let mut at = from;
    if (to - from).is_multiple_of(2) {
        out.push(flag);
    } else {
        out.push(flag | 0x10 | nibble(key, at));
        at += 1;
    }
    if at.is_multiple_of(2) {
        out.extend_from_slice(&key[usize::from(at / 2)..usize::from(to / 2)]);
        return;
    }
    while at < to {
        out.push(nibble(key, at) << 4 | nibble(key, at + 1));
        at += 2;
    }
}

/// Appends the header of a list of fewer than 65,536 bytes.
#[allow(clippy::cast_possible_truncation, reason = "the bytes are taken apart")]
fn put_list_header(out: &mut Vec<u8>, bytes: usize) {
    match bytes {
        0..56 => out.push(0xc0 + bytes as u8),
        56..256 => out.extend_from_slice(&[0xf8, bytes as u8]),
        _ => out.extend_from_slice(&[0xf9, (bytes >> 8) as u8, bytes as u8]),
    }
}

/// Bytes that [`put_string`] appends for a string of fewer than 256 bytes.
fn string_bytes(string: &[u8]) -> usize {
    match string {
        [0..0x80] => 1,
        _ if string.len() < 56 => string.len() + 1,
        _ => string.len() + 2,
    }
}

#[allow(clippy::cast_possible_truncation, reason = "a value has fewer than 256 bytes")]
fn put_string(out: &mut Vec<u8>, string: &[u8]) {
    match string {
        [0..0x80] => {}
        _ if string.len() < 56 => out.push(EMPTY_ITEM + string.len() as u8),
        _ => out.extend_from_slice(&[0xb8, string.len() as u8]),
    }
    out.extend_from_slice(string);
}

/// The big-endian bytes of a number without leading zeros.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    &bytes[zeros..]
}

/// Appends a leaf: the rest of the key's path, and the value, which is RLP already.
pub(super) fn leaf(out: &mut Vec<u8>, key: &B256, from: u8, value: &[u8]) {
    put_list_header(out, path_bytes(64 - from) + string_bytes(value));
    put_path(out, key, from, 64, true);
    put_string(out, value);
}

/// Appends an extension: the part of the key's path down to a branch, and the branch's reference.
pub(super) fn extension(
    out: &mut Vec<u8>,
    key: &B256,
    (from, to): (u8, u8),
    item_bytes: usize,
    put_item: impl FnOnce(&mut Vec<u8>),
) {
    put_list_header(out, path_bytes(to - from) + item_bytes);
    put_path(out, key, from, to, false);
    put_item(out);
}

/// Appends a branch. `mask` has a bit for each nibble that has a child; `children` are those, in
/// order, and take `items_bytes` together.
pub(super) fn branch<C>(
    out: &mut Vec<u8>,
    mask: u16,
    items_bytes: usize,
    children: impl IntoIterator<Item = C>,
    mut put_item: impl FnMut(C, &mut Vec<u8>),
) {
    // Nibbles without child, and the value that no branch has: all keys are of one length.
    let absent = mask.count_zeros() as usize + 1;
    put_list_header(out, items_bytes + absent);
    let mut children = children.into_iter();
    for nibble in 0..16 {
        if mask >> nibble & 1 == 0 {
            out.push(EMPTY_ITEM);
        } else if let Some(child) = children.next() {
            put_item(child, out);
        }
    }
    out.push(EMPTY_ITEM);
}

/// Appends the value of an account's leaf.
pub(super) fn account(out: &mut Vec<u8>, account: &Account, storage_root: &B256) {
    let (nonce, balance) = (account.nonce.to_be_bytes(), account.balance_wei.to_be_bytes::<32>());
    let (nonce, balance) = (trimmed(&nonce), trimmed(&balance));
    put_list_header(out, string_bytes(nonce) + string_bytes(balance) + 33 + 33);
    put_string(out, nonce);
    put_string(out, balance);
    put_string(out, storage_root.as_slice());
    put_string(out, account.code_hash.as_slice());
}

/// Appends the value of a slot's leaf.
pub(super) fn slot(out: &mut Vec<u8>, value: &B256) {
    put_string(out, trimmed(value.as_slice()));
}

impl Nodes {
    /// Appends a branch of this arena; the references of its children must be up to date.
    pub(super) fn put_branch(&self, link: Link, out: &mut Vec<u8>) {
        let branch = self.branch(link);
        let children = self.children(branch);
        let items_bytes = children.iter().map(Child::item_bytes).sum();
        self::branch(out, branch.mask, items_bytes, children, Child::put_item);
    }
}
