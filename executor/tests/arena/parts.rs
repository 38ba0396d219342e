//! Random histories of a state by addresses: the partial tries that the arena hands out, compared with
//! the whole persistent trie at every step, and changes undone. Everything follows from a seed and the
//! history's number.
//!
//! `arena` runs some as a test, the example `root_fuzz` as many as one likes. What the arena's own
//! roots are worth is not asked here, but in [`history`](super::history).

use super::{
    dice::Dice,
    flat::{Flat, Source},
    history::Tally,
};
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use executor::{
    Account, StateArena, StateDiff, StateTrie,
    keccak::Backend,
    state::{
        AccountDiff, Reads, SlotDiff,
        arena::{ArenaError, ArenaOptions, Change, ShardCount},
    },
};
use std::{collections::BTreeMap, fmt, sync::atomic::Ordering};

/// Steps of a history at most.
const STEPS_MAX: u64 = 10;

/// Addresses by their last bytes, in families: the hashes of the third and the fourth share ten
/// nibbles, those of the others four to six. So there are extensions, and forks far down.
const ADDRESSES: [u64; 24] = [
    1_244_491, 1_355_179, 916_221, 1_035_163, 1_684_671, 2_871_107, // The first family.
    3_610_892, 271_836, 833_050, 2_440_689, 2_788_860, 2_077_638, // The second one.
    3_289_997, 937_137, 1_801_453, 1_595_286, 2_832_450, 1_656_373, // The third one.
    2_674_037, 97_423, 1_643_950, 1_566_683, 3_196_411, 535_104, // The fourth one.
];

/// Slots in such families. Leaves of small values below the deepest forks are embedded.
const SLOTS: [u64; 18] = [
    4_005_143, 1_624_942, 3_289_315, 431_520, 1_108_709, 521_109, // The first family.
    2_965_708, 1_884_437, 1_225_440, 3_493_495, 2_529_610, 1_652_675, // The second one.
    2_630_069, 2_042_114, 2_625_853, 3_661_892, 2_135_688, 2_162_564, // The third one.
];

/// A state in every form.
#[derive(Clone, Debug, Default)]
struct State {
    accounts: BTreeMap<Address, (Account, BTreeMap<U256, U256>)>,
    flat: Flat,
    trie: StateTrie,
}

/// A state, how it came about, and the arena that must agree with it.
struct History {
    dice: Dice,
    addresses: Vec<Address>,
    slots: Vec<U256>,
    state: State,
    /// Changes that can be undone, with what was before them.
    past: Vec<(Change, State)>,
    source: Source,
    arena: StateArena,
    tally: Tally,
}

/// Runs the history of this number; the counts, or what differs.
pub(crate) fn run(seed: u64, number: u64) -> Result<Tally, String> {
    let mut dice = Dice::new(seed, number);
    let backends: Vec<_> = Backend::ALL.into_iter().filter(|b| b.is_available()).collect();
    let options = ArenaOptions {
        shards: dice.pick(&[ShardCount::One, ShardCount::Sixteen, ShardCount::TwoHundredFiftySix]),
        backend: dice.pick(&backends),
        threads: dice.range(1, 2) as usize,
    };
    let source = Source::default();
    let arena = StateArena::new(options).map_err(text)?.with_source(Box::new(source.clone()));
    let addresses = draw_keys(&mut dice, &ADDRESSES);
    let mut history = History {
        addresses: addresses
            .iter()
            .map(|key| Address::left_padding_from(&key.to_be_bytes()))
            .collect(),
        slots: draw_keys(&mut dice, &SLOTS).into_iter().map(U256::from).collect(),
        dice,
        state: State::default(),
        past: Vec::new(),
        source,
        arena,
        tally: Tally { part_histories: 1, ..Tally::default() },
    };
    history.run().map_err(|error| format!("seed {seed}, parts {number}, {options:?}: {error}"))?;
    history.tally.read_back = history.source.reads.load(Ordering::Relaxed) as u64;
    Ok(history.tally)
}

fn text(error: impl fmt::Debug) -> String {
    format!("{error:?}")
}

fn expect<T: PartialEq>(is: &T, should: &T, what: &str) -> Result<(), String> {
    if is == should { Ok(()) } else { Err(format!("another {what}")) }
}

/// A few keys, from families and others.
fn draw_keys(dice: &mut Dice, families: &[u64]) -> Vec<u64> {
    let (related, others) = (dice.below(101), dice.pick(&[3, 20, 200]));
    let count = dice.pick(&[3, 8, 24, 60]);
    let mut keys: Vec<u64> = (0..dice.range(1, count))
        .map(|_| if dice.chance(related) { dice.pick(families) } else { dice.below(others) })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Some of the items, and seldom all of them.
fn some<T: Copy>(dice: &mut Dice, items: &[T]) -> Vec<T> {
    let percent = dice.pick(&[10, 30, 60, 100]);
    items.iter().copied().filter(|_| dice.chance(percent)).collect()
}

impl History {
    fn run(&mut self) -> Result<(), String> {
        for _ in 0..self.dice.range(1, STEPS_MAX) {
            let diff = self.draw_diff();
            let reads = self.draw_reads();
            self.evict();
            if self.dice.chance(10) {
                self.fail(&reads, &diff)?;
            }
            self.compare(&reads, &diff)?;
            self.apply(&diff)?;
            if self.dice.chance(25) {
                self.undo()?;
            }
        }
        Ok(())
    }

    fn draw_reads(&mut self) -> Reads {
        let dice = &mut self.dice;
        // What is read anyway hides what is missing beside a removed key.
        let addresses = if dice.chance(50) { Vec::new() } else { some(dice, &self.addresses) };
        let entry = |address| (address, some(dice, &self.slots).into_iter().collect());
        addresses.into_iter().map(entry).collect()
    }

    fn draw_diff(&mut self) -> StateDiff {
        let removals = self.dice.pick(&[0, 5, 20, 60, 95, 100]);
        let zeros = self.dice.pick(&[5, 40, 90, 100]);
        let mut diff = StateDiff::default();
        for address in some(&mut self.dice, &self.addresses) {
            let change = if self.dice.chance(removals) {
                self.removal(address)
            } else {
                self.draw_change(address, zeros)
            };
            diff.accounts.insert(address, change);
        }
        diff
    }

    /// An account that goes, and all of its slots; it need not be there.
    fn removal(&self, address: Address) -> AccountDiff {
        let (before, slots) = self.state.accounts.get(&address).cloned().unzip();
        let zeroed = |(slot, before)| (slot, SlotDiff { before, after: U256::ZERO });
        let slots = slots.into_iter().flatten().map(zeroed).collect();
        AccountDiff { before, slots, ..AccountDiff::default() }
    }

    /// An account that is there afterwards; so many slots in a hundred become zero.
    fn draw_change(&mut self, address: Address, zeros: u64) -> AccountDiff {
        let (before, stored) = self.state.accounts.get(&address).cloned().unzip();
        let stored = stored.unwrap_or_default();
        let dice = &mut self.dice;
        let account = Account {
            nonce: dice.pick(&[0, 1, 128, u64::MAX]),
            balance_wei: dice.pick(&[U256::ZERO, U256::from(127), U256::MAX]),
            code_hash: dice.pick(&[KECCAK256_EMPTY, B256::repeat_byte(1)]),
        };
        let wiped = dice.chance(8);
        let mut change =
            AccountDiff { before, after: Some(account), wiped, ..AccountDiff::default() };
        let slots = if dice.chance(30) { Vec::new() } else { some(dice, &self.slots) };
        for slot in slots {
            let values = [U256::from(1), U256::from(2), U256::from(200), U256::MAX];
            let after = if dice.chance(zeros) { U256::ZERO } else { dice.pick(&values) };
            let before = if wiped { None } else { stored.get(&slot).copied() };
            change.slots.insert(slot, SlotDiff { before: before.unwrap_or_default(), after });
        }
        change
    }

    fn evict(&mut self) {
        if self.dice.chance(40) {
            let bytes = self.arena.bytes_resident() as u64;
            let bytes_max = if self.dice.chance(50) { 0 } else { self.dice.below(bytes + 1) };
            self.tally.evicted += self.arena.evict(bytes_max as usize, u64::MAX).unwrap() as u64;
        }
    }

    /// With a source that fails, nothing is handed out, and nothing changes.
    fn fail(&mut self, reads: &Reads, diff: &StateDiff) -> Result<(), String> {
        self.tally.evicted += self.arena.evict(0, u64::MAX).unwrap() as u64;
        self.source.fails.store(true, Ordering::Relaxed);
        let part = self.arena.trie_for(reads, diff);
        self.source.fails.store(false, Ordering::Relaxed);
        match part {
            // What was needed was never evicted: it was empty.
            Ok(_) => {}
            Err(ArenaError::Source { .. }) => self.tally.failed_reads += 1,
            Err(error) => return Err(format!("{error} from a failing source")),
        }
        expect(&self.arena.root(), &self.state.trie.root(), "root after a failed read")
    }

    /// The partial trie against the whole one.
    fn compare(&mut self, reads: &Reads, diff: &StateDiff) -> Result<(), String> {
        let whole = &self.state.trie;
        let part = self.arena.trie_for(reads, diff).map_err(text)?;
        expect(&part.root(), &whole.root(), "root of the part")?;
        let mut ways = reads.clone();
        for (address, change) in &diff.accounts {
            let slots = ways.entry(*address).or_default();
            if change.after.is_some() && !change.wiped {
                slots.extend(change.slots.keys());
            }
        }
        for (address, slots) in &ways {
            let slots: Vec<U256> = slots.iter().copied().collect();
            let proof = part.account_proof(*address, &slots).map_err(text)?;
            expect(&proof, &whole.account_proof(*address, &slots).unwrap(), "proof")?;
            let own = self.arena.account_proof(*address, &slots).map_err(text)?;
            expect(&proof, &own, "proof out of the arena")?;
            let account = part.account(*address).map_err(text)?;
            expect(&account, &whole.account(*address).unwrap(), "account")?;
            let root = part.storage_root(*address).map_err(text)?;
            expect(&root, &whole.storage_root(*address).unwrap(), "storage root")?;
            for slot in slots {
                let value = part.slot(*address, slot).map_err(text)?;
                expect(&value, &whole.slot(*address, slot).unwrap(), "slot")?;
            }
        }
        let witness = part.witness(reads, diff).map_err(text)?;
        expect(&witness, &whole.witness(reads, diff).unwrap(), "witness")?;
        let without = whole.witness(&ways, &StateDiff::default()).unwrap();
        let beside = witness.keys().filter(|hash| !without.contains_key(*hash));
        self.tally.siblings += beside.count() as u64;
        let after = part.apply(diff).map_err(text)?;
        expect(&after.root(), &whole.apply(diff).unwrap().root(), "root after the change")?;
        self.tally.parts += 1;
        Ok(())
    }

    fn apply(&mut self, diff: &StateDiff) -> Result<(), String> {
        let change = self.arena.hash(diff);
        let root = self.arena.apply_hashed(&change.forward).map_err(text)?;
        let before = self.state.clone();
        self.source.apply(diff);
        let state = &mut self.state;
        state.flat = self.source.flat.lock().unwrap().clone();
        state.trie = state.trie.apply(diff).unwrap();
        let is_lost = follow(&mut state.accounts, diff);
        expect(&root, &state.trie.root(), "root of the arena")?;
        self.tally.roots += 1;
        self.tally.empty += u64::from(state.accounts.is_empty());
        self.past.push((change, before));
        if is_lost {
            self.past.clear();
        }
        Ok(())
    }

    /// Undoes some changes, the last one first.
    fn undo(&mut self) -> Result<(), String> {
        for _ in 0..self.dice.range(1, 4) {
            let Some((change, before)) = self.past.pop() else { return Ok(()) };
            self.evict();
            let root = self.arena.apply_hashed(&change.backward).map_err(text)?;
            expect(&root, &before.trie.root(), "root after undoing")?;
            expect(&self.arena.accounts(), &before.accounts.len(), "number of accounts")?;
            *self.source.flat.lock().unwrap() = before.flat.clone();
            self.state = before;
            self.tally.undone += 1;
        }
        Ok(())
    }
}

/// Makes a change; whether it wiped what was stored before, so that it cannot be undone.
fn follow(
    accounts: &mut BTreeMap<Address, (Account, BTreeMap<U256, U256>)>,
    diff: &StateDiff,
) -> bool {
    let mut is_lost = false;
    for (address, change) in &diff.accounts {
        let Some(account) = change.after else {
            accounts.remove(address);
            continue;
        };
        let (own, slots) = accounts.entry(*address).or_default();
        *own = account;
        if change.wiped {
            is_lost |= !slots.is_empty();
            slots.clear();
        }
        slots.extend(change.slots.iter().map(|(slot, value)| (*slot, value.after)));
        slots.retain(|_, value| !value.is_zero());
    }
    is_lost
}
