//! How the keys of a transaction follow from its sender and arguments.
//!
//! A key is an expression over words: `keccak(caller, 3)` is the balance of the caller in a token
//! whose balances are at position 3. Expressions are taken from the hashes that a transaction
//! computed, and compared by name, without hashing: two transactions share a slot when its name is
//! the same in both. Keys that do not occur in most observations are not predicted.

use super::TEMPLATE_KEYS_MAX;
use alloc::{boxed::Box, vec::Vec};
use alloy_primitives::{Address, B256, U256};
use core::hash::{BuildHasher, Hash, Hasher};

/// Deepest nesting of hashes in a key: a mapping in a mapping in a mapping.
const DEPTH_MAX: usize = 3;

/// A slot this far behind a hash belongs to it: a field of a struct, an element of an array.
const OFFSET_MAX: u64 = 256;

/// Words of the input that an expression may name.
const ARGUMENTS_MAX: usize = 16;

/// The call that a transaction is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call<'a> {
    pub(crate) sender: Address,
    pub(crate) to: Address,
    pub(crate) input: &'a [u8],
}

impl Call<'_> {
    /// The word of an argument, zero where there is none.
    fn argument(&self, index: usize) -> B256 {
        let mut word = B256::ZERO;
        if let Some(bytes) = self.input.get(4 + index * 32..) {
            let length = bytes.len().min(32);
            word[..length].copy_from_slice(&bytes[..length]);
        }
        word
    }

    fn arguments(&self) -> usize {
        (self.input.len().saturating_sub(4) / 32).min(ARGUMENTS_MAX)
    }
}

/// What a transaction did.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observation<'a> {
    /// Touched slots, and whether their value changed.
    pub(crate) slots: &'a [(Address, U256, bool)],
    /// Hashes of 64 bytes that it computed: the two words, and the hash.
    pub(crate) hashes: &'a [(B256, B256, B256)],
    pub(crate) gas_used: u64,
}

/// A word that a key is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Word {
    Sender,
    To,
    Argument(u8),
    Fixed(B256),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Slot {
    Word(Word),
    Hash(Box<Self>, Box<Self>),
    Offset(Box<Self>, u64),
}

/// A key as an expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    contract: Word,
    slot: Slot,
}

#[derive(Clone, Debug)]
struct SeenKey {
    key: Key,
    /// Of the key, to find it among the others without looking into each.
    fingerprint: u64,
    seen: u32,
    written: u32,
}

/// A predicted key: a name that is the same for the same slot, and whether it is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PredictedKey {
    pub(crate) name: u64,
    pub(crate) is_written: bool,
}

/// What is known of one function.
#[derive(Clone, Debug, Default)]
pub(crate) struct Template {
    keys: Vec<SeenKey>,
    observations: u32,
    gas_used: u64,
    accepted: u32,
    rejected: u32,
}

impl Template {
    /// Observations so far.
    pub(crate) fn observations(&self) -> u32 {
        self.observations
    }

    /// Gas that a call used, on average with a preference for late ones.
    pub(crate) fn gas_used(&self) -> u64 {
        self.gas_used
    }

    /// Whether calls write to contracts that neither sender nor arguments name.
    pub(crate) fn writes_elsewhere(&self) -> bool {
        let is_elsewhere = |key: &Key| matches!(key.contract, Word::Fixed(_));
        self.keys.iter().any(|seen| seen.written > 0 && is_elsewhere(&seen.key))
    }

    /// Whether results of helpers were mostly useless.
    pub(crate) fn is_hopeless(&self) -> bool {
        self.rejected > 3 && self.rejected > self.accepted
    }

    pub(crate) fn judge(&mut self, accepted: u32, rejected: u32) {
        self.accepted = self.accepted / 2 + accepted;
        self.rejected = self.rejected / 2 + rejected;
    }

    /// The keys that a call will touch; without those of fixed contracts when the template is of
    /// another contract with the same code.
    pub(crate) fn predict<'t>(
        &'t self,
        call: &'t Call<'_>,
        is_foreign: bool,
        hasher: &'t impl BuildHasher,
    ) -> impl Iterator<Item = PredictedKey> + 't {
        let usual = self.keys.iter().filter(move |seen| {
            let is_own = !matches!(seen.key.contract, Word::Fixed(_));
            seen.seen * 2 > self.observations && (is_own || !is_foreign)
        });
        usual.map(move |seen| PredictedKey {
            name: hasher
                .hash_one((value(seen.key.contract, call), name(&seen.key.slot, call, hasher))),
            is_written: seen.written > 0,
        })
    }

    pub(super) fn learn(&mut self, call: &Call<'_>, observation: &Observation<'_>) {
        // Old observations fade, so that a function which changed its ways is learned anew.
        if self.observations >= 16 {
            self.observations /= 2;
            self.keys.retain_mut(|key| {
                key.seen /= 2;
                key.written = key.written.div_ceil(2);
                key.seen > 0
            });
        }
        self.observations += 1;
        // Nobody speculates on a hopeless function, so hope has to come back by itself.
        self.rejected -= self.rejected.div_ceil(4);
        self.gas_used = if self.gas_used == 0 {
            observation.gas_used
        } else {
            (self.gas_used * 3 + observation.gas_used) / 4
        };
        let origins = Origins::new(call, observation.hashes);
        for (address, slot, is_written) in observation.slots.iter().take(TEMPLATE_KEYS_MAX) {
            let contract = origins.word(address.into_word(), false);
            let slot = origins.explain(B256::from(*slot), true, DEPTH_MAX);
            let key = Key { contract, slot };
            let mut hasher = Fingerprint::default();
            key.hash(&mut hasher);
            let fingerprint = hasher.finish();
            let written = u32::from(*is_written);
            let is_it = |seen: &&mut SeenKey| seen.fingerprint == fingerprint && seen.key == key;
            if let Some(seen) = self.keys.iter_mut().find(is_it) {
                seen.seen += 1;
                seen.written += written;
            } else if self.keys.len() < TEMPLATE_KEYS_MAX {
                self.keys.push(SeenKey { key, fingerprint, seen: 1, written });
            }
        }
    }
}

/// Where the words of an observed transaction can come from.
struct Origins<'a> {
    sender: B256,
    to: B256,
    arguments: Vec<B256>,
    hashes: &'a [(B256, B256, B256)],
}

impl<'a> Origins<'a> {
    fn new(call: &Call<'_>, hashes: &'a [(B256, B256, B256)]) -> Self {
        Self {
            sender: call.sender.into_word(),
            to: call.to.into_word(),
            arguments: (0..call.arguments()).map(|index| call.argument(index)).collect(),
            hashes,
        }
    }

    /// The shortest account of a word's origin. Where a position is likely, a small number is one:
    /// it is equal to an argument by accident far more often than by design.
    fn word(&self, word: B256, is_position: bool) -> Word {
        if is_position && word[..28] == [0; 28] {
            return Word::Fixed(word);
        }
        if word == self.sender {
            return Word::Sender;
        }
        if word == self.to {
            return Word::To;
        }
        let argument = self.arguments.iter().position(|argument| *argument == word);
        let argument = argument.and_then(|index| u8::try_from(index).ok());
        argument.map_or(Word::Fixed(word), Word::Argument)
    }

    fn explain(&self, slot: B256, is_position: bool, depth: usize) -> Slot {
        // A hash has no run of zeros in front; positions do.
        if depth > 0 && slot[..8] != [0; 8] {
            for (first, second, hash) in self.hashes {
                if hash[..16] != slot[..16] {
                    continue;
                }
                let offset = U256::from_be_bytes(slot.0).wrapping_sub(U256::from_be_bytes(hash.0));
                if offset >= U256::from(OFFSET_MAX) {
                    continue;
                }
                // Solidity hashes the key of a mapping, then its position.
                let first = Box::new(self.explain(*first, false, depth - 1));
                let second = Box::new(self.explain(*second, true, depth - 1));
                let base = Slot::Hash(first, second);
                if offset.is_zero() {
                    return base;
                }
                return Slot::Offset(Box::new(base), offset.saturating_to());
            }
        }
        Slot::Word(self.word(slot, is_position))
    }
}

/// A quick hasher for keys of one template, whose equality is checked besides.
#[derive(Default)]
struct Fingerprint(u64);

impl Hasher for Fingerprint {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        // The multiplier of splitmix64.
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

fn value(word: Word, call: &Call<'_>) -> B256 {
    match word {
        Word::Sender => call.sender.into_word(),
        Word::To => call.to.into_word(),
        Word::Argument(index) => call.argument(usize::from(index)),
        Word::Fixed(word) => word,
    }
}

fn name(slot: &Slot, call: &Call<'_>, hasher: &impl BuildHasher) -> u64 {
    match slot {
        Slot::Word(word) => hasher.hash_one(value(*word, call)),
        Slot::Hash(first, second) => {
            hasher.hash_one((1u8, name(first, call, hasher), name(second, call, hasher)))
        }
        Slot::Offset(base, offset) => hasher.hash_one((2u8, name(base, call, hasher), offset)),
    }
}
