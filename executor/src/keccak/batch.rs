//! Messages collected until they fill the lanes of a backend.
//!
//! Messages of the same number of blocks share a pass, so there is one group for each number. A
//! message is laid out for the lanes as it comes in, word by word beside the words of the others, and
//! is not kept anywhere else. So memory is bounded by one pass of every group.
#![allow(unsafe_code, reason = "calls code for instructions that were checked to be there")]

use super::{Backend, LANES_MAX, RATE_BYTES, RATE_WORDS};
use alloy_primitives::{B256, keccak256};
use std::vec::Vec;

/// Blocks of the longest message that is collected; a longer one is hashed alone. A full branch node
/// has 4 blocks, a receipt with two logs 6.
const BLOCKS_MAX: usize = 8;

/// Hashes messages, each known to the caller by a tag. Hashes come out in any order, some during
/// [`push`](Self::push) and the rest from [`finish`](Self::finish).
#[derive(Debug)]
pub struct Batch<T> {
    /// Only ever one that this processor has.
    backend: Backend,
    /// By the number of blocks less one; empty for the scalar backend.
    groups: Vec<Group<T>>,
}

/// Messages of the same number of blocks.
#[derive(Debug)]
struct Group<T> {
    blocks: usize,
    /// Padded messages, little-endian: each word for all lanes, then the next word.
    words: Vec<u64>,
    tags: [Option<T>; LANES_MAX],
    length_bytes: [usize; LANES_MAX],
    count: usize,
}

impl<T: Copy> Batch<T> {
    /// `None` if this processor does not have the backend.
    #[must_use]
    pub fn new(backend: Backend) -> Option<Self> {
        backend.is_available().then(|| Self::of(backend))
    }

    /// With the fastest backend of this processor.
    #[must_use]
    pub fn detect() -> Self {
        Self::of(Backend::detect())
    }

    fn of(backend: Backend) -> Self {
        let lanes = backend.lanes();
        let blocks = if lanes == 1 { 0..0 } else { 0..BLOCKS_MAX };
        Self { backend, groups: blocks.map(|less| Group::new(less + 1)).collect() }
    }

    /// How it hashes.
    #[must_use]
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// Adds a message; hands out the hashes of a pass that it completes.
    pub fn push(&mut self, tag: T, message: &[u8], hashed: &mut impl FnMut(T, B256)) {
        match self.groups.get_mut(message.len() / RATE_BYTES) {
            None => hashed(tag, keccak256(message)),
            Some(group) => {
                group.place(tag, message, self.backend.lanes());
                if group.count == self.backend.lanes() {
                    group.hash(self.backend, hashed);
                }
            }
        }
    }

    /// Hands out all hashes that are still missing.
    pub fn finish(&mut self, hashed: &mut impl FnMut(T, B256)) {
        for group in self.groups.iter_mut().filter(|group| group.count > 0) {
            if group.count < self.backend.messages_min() {
                group.hash_one_by_one(self.backend.lanes(), hashed);
            } else {
                group.hash(self.backend, hashed);
            }
        }
    }
}

impl<T: Copy> Group<T> {
    fn new(blocks: usize) -> Self {
        Self {
            blocks,
            words: Vec::new(),
            tags: [None; LANES_MAX],
            length_bytes: [0; LANES_MAX],
            count: 0,
        }
    }

    /// Lays a message out in the next lane, padded (FIPS 202, section 5.1, with keccak's own suffix).
    fn place(&mut self, tag: T, message: &[u8], lanes: usize) {
        let lane = self.count;
        // Most batches never see most lengths.
        self.words.resize(self.blocks * RATE_WORDS * lanes, 0);
        let (whole, rest) = message.as_chunks::<8>();
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        last[rest.len()] = 1;
        let mut words = self.words[lane..].iter_mut().step_by(lanes);
        // The message comes first: when it ends, no word has been taken for it.
        for (bytes, word) in whole.iter().chain([&last]).zip(words.by_ref()) {
            *word = u64::from_le_bytes(*bytes);
        }
        words.for_each(|word| *word = 0);
        let end = self.words.len() - lanes + lane;
        self.words[end] ^= 1 << 63;
        self.tags[lane] = Some(tag);
        self.length_bytes[lane] = message.len();
        self.count += 1;
    }

    /// One pass. Lanes without a message hash what was left in them, which nobody looks at.
    fn hash(&mut self, backend: Backend, hashed: &mut impl FnMut(T, B256)) {
        match backend {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a batch has only a backend that `is_available` has found on this processor.
            Backend::Avx512 => self.hand_out(unsafe { super::avx512::hash(&self.words) }, hashed),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Backend::Avx2 => self.hand_out(unsafe { super::avx2::hash(&self.words) }, hashed),
            _ => self.hash_one_by_one(backend.lanes(), hashed),
        }
    }

    /// `words` has the words of the hashes, each for all lanes.
    fn hand_out<const LANES: usize>(
        &mut self,
        words: [[u64; LANES]; 4],
        hashed: &mut impl FnMut(T, B256),
    ) {
        for (lane, tag) in self.tags[..self.count].iter_mut().enumerate() {
            let mut hash = B256::ZERO;
            for (bytes, word) in hash.0.as_chunks_mut::<8>().0.iter_mut().zip(&words) {
                *bytes = word[lane].to_le_bytes();
            }
            if let Some(tag) = tag.take() {
                hashed(tag, hash);
            }
        }
        self.count = 0;
    }

    fn hash_one_by_one(&mut self, lanes: usize, hashed: &mut impl FnMut(T, B256)) {
        let mut message = [0; RATE_BYTES * BLOCKS_MAX];
        for lane in 0..self.count {
            let words = self.words[lane..].iter().step_by(lanes);
            for (bytes, word) in message.as_chunks_mut::<8>().0.iter_mut().zip(words) {
                *bytes = word.to_le_bytes();
            }
            if let Some(tag) = self.tags[lane].take() {
                hashed(tag, keccak256(&message[..self.length_bytes[lane]]));
            }
        }
        self.count = 0;
    }
}
