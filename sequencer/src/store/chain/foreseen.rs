//! Changes made to the trie before their block is whole: by a thread of their own while the block is
//! executed, so that its root is nearly there when it is sealed.
//!
//! A hint: what was foreseen and does not come is taken back, what was not foreseen is added, and the
//! root is that of the whole change in any case. Hints that nobody has time for are dropped.

use super::{ChainStore, ChainStoreError, ChainView, Head, roots::Roots};
use alloy::primitives::{
    Address, U256,
    map::{AddressMap, HashMap},
};
use executor::{
    Account, StateDiff, Touched,
    state::{AccountDiff, SlotDiff, arena::ArenaError},
};
use std::{
    collections::btree_map::{BTreeMap, Entry},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

/// Hints that wait at most: some chunks of a block. One that finds no room is dropped, and its part
/// of the root is computed when the block is sealed.
const HINTS_MAX: usize = 8;
/// Accounts and slots that are worth waking a thread for.
const KEYS_MIN: usize = 32;

/// What is made already of the change of a block that is being executed.
#[derive(Debug, Default)]
pub(super) struct Foreseen(AddressMap<Early>);

#[derive(Debug, Default)]
struct Early {
    before: Option<Account>,
    after: Option<Account>,
    slots: HashMap<U256, SlotDiff>,
}

impl Foreseen {
    /// What touched accounts and slots change, as a diff; `account` tells accounts that did not change
    /// themselves.
    pub(super) fn add(
        &self,
        touched: &Touched,
        mut account: impl FnMut(Address) -> Result<Option<Account>, ArenaError>,
    ) -> Result<StateDiff, ArenaError> {
        let mut accounts = BTreeMap::new();
        // What goes is not foreseen: with an account its slots go, and a hint need not have them all.
        let stays = touched.accounts.iter().filter(|(_, _, after)| after.is_some());
        for (address, before, after) in stays {
            let (before, after) = (*before, *after);
            accounts.insert(*address, AccountDiff { before, after, ..AccountDiff::default() });
        }
        for (address, slot, value) in &touched.slots {
            let change = match accounts.entry(*address) {
                Entry::Occupied(occupied) => occupied.into_mut(),
                Entry::Vacant(vacant) => {
                    let now = account(*address)?;
                    vacant.insert(AccountDiff { before: now, after: now, ..AccountDiff::default() })
                }
            };
            // The slots of an account that is not there (yet) would be lost.
            if change.after.is_some() {
                change.slots.insert(*slot, *value);
            }
        }
        accounts.retain(|_, change| change.before != change.after || !change.slots.is_empty());
        Ok(StateDiff { accounts, ..StateDiff::default() })
    }

    /// The change is made.
    pub(super) fn note(&mut self, diff: &StateDiff) {
        for (address, change) in &diff.accounts {
            let first = Early { before: change.before, ..Early::default() };
            let early = self.0.entry(*address).or_insert(first);
            early.after = change.after;
            early.slots.extend(&change.slots);
        }
    }

    /// What is left to do for the whole change; `None` where it is better done anew.
    pub(super) fn rest(&self, diff: &StateDiff) -> Option<StateDiff> {
        let mut rest = BTreeMap::new();
        let mut met = 0;
        for (address, change) in &diff.accounts {
            let Some(early) = self.0.get(address) else {
                rest.insert(*address, change.clone());
                continue;
            };
            met += 1;
            // What went with an account cannot be brought back a part at a time.
            if change.wiped || change.after.is_none() || early.after.is_none() {
                return None;
            }
            let slots = early.slots_left(change);
            if early.after != change.after || !slots.is_empty() {
                let (before, after) = (early.after, change.after);
                rest.insert(*address, AccountDiff { before, after, wiped: false, slots });
            }
        }
        if met < self.0.len() {
            let others = self.0.iter().filter(|(address, _)| !diff.accounts.contains_key(*address));
            rest.extend(others.map(|(address, early)| (*address, early.undone())));
        }
        Some(StateDiff { accounts: rest, ..StateDiff::default() })
    }
}

impl Early {
    fn slots_left(&self, change: &AccountDiff) -> BTreeMap<U256, SlotDiff> {
        let mut slots = BTreeMap::new();
        let mut met = 0;
        for (slot, value) in &change.slots {
            match self.slots.get(slot) {
                None => _ = slots.insert(*slot, *value),
                Some(early) => {
                    met += 1;
                    if early.after != value.after {
                        slots.insert(*slot, SlotDiff { before: early.after, after: value.after });
                    }
                }
            }
        }
        if met < self.slots.len() {
            let others = self.slots.iter().filter(|(slot, _)| !change.slots.contains_key(*slot));
            slots.extend(others.map(|(slot, early)| (*slot, reversed(*early))));
        }
        slots
    }

    fn undone(&self) -> AccountDiff {
        let slots = self.slots.iter().map(|(slot, value)| (*slot, reversed(*value))).collect();
        AccountDiff { before: self.after, after: self.before, wiped: false, slots }
    }
}

fn reversed(value: SlotDiff) -> SlotDiff {
    SlotDiff { before: value.after, after: value.before }
}

/// A part of a change, and what it is a change of.
struct Hint {
    parent: Head,
    ticket: u64,
    touched: Touched,
}

impl Hint {
    /// Adds a later hint of the same block; gives back one of another.
    fn add(&mut self, later: Self) -> Option<Self> {
        if later.ticket != self.ticket || later.parent != self.parent {
            return Some(later);
        }
        self.touched.accounts.extend(later.touched.accounts);
        self.touched.slots.extend(later.touched.slots);
        None
    }
}

/// The thread that makes changes early. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Foresight {
    hints: Option<SyncSender<Hint>>,
    thread: Option<JoinHandle<()>>,
}

impl Foresight {
    /// Starts the thread.
    pub(super) fn start(roots: &Arc<Roots>) -> Result<Self, ChainStoreError> {
        let (sender, receiver): (_, Receiver<Hint>) = sync_channel(HINTS_MAX);
        let roots = roots.clone();
        let run = move || {
            while let Ok(mut hint) = receiver.recv() {
                // What has come meanwhile costs less together.
                let mut other = None;
                while other.is_none()
                    && let Ok(next) = receiver.try_recv()
                {
                    other = hint.add(next);
                }
                for Hint { parent, ticket, touched } in [Some(hint), other].into_iter().flatten() {
                    roots.foresee(parent, ticket, &touched);
                }
            }
        };
        let thread = std::thread::Builder::new().name("state-root".to_owned()).spawn(run);
        let thread = thread.map_err(ChainStoreError::Directory)?;
        Ok(Self { hints: Some(sender), thread: Some(thread) })
    }

    fn send(&self, hint: Hint) {
        if let Some(hints) = &self.hints {
            // Without room it is not worth waiting for.
            let _ = hints.try_send(hint);
        }
    }
}

impl Drop for Foresight {
    fn drop(&mut self) {
        self.hints = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread.
            let _ = thread.join();
        }
    }
}

impl ChainStore {
    /// Tells what a block touches that is being executed on a view of the head: its state root is then
    /// computed in part beforehand, on a thread of its own. A hint; it costs the caller nothing but the
    /// call, and changes no result.
    pub fn foresee(&self, view: &ChainView, touched: Touched) {
        if touched.keys() >= KEYS_MIN {
            let (parent, ticket) = (view.block(), view.ticket());
            self.0.foresight.send(Hint { parent, ticket, touched });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use executor::{
        Reads, StateTrie,
        state::arena::{ArenaOptions, ShardCount, StateArena, Wanted},
    };
    use proptest::{collection::vec, prelude::*};

    const AT: Head = Head { number: 7, hash: alloy::primitives::B256::ZERO, timestamp: 1 };
    const NEXT: Head = Head { number: 8, ..AT };

    /// Account, its new nonce (none below 1), and new values of slots.
    type Changes = Vec<(u8, u64, Vec<(u8, u8)>)>;

    fn changes() -> impl Strategy<Value = Changes> {
        vec((0..8_u8, 0..4_u64, vec((0..4_u8, 0..3_u8), 0..4)), 0..8)
    }

    fn address(who: u8) -> Address {
        Address::with_last_byte(who)
    }

    fn value(number: u8) -> U256 {
        U256::from(number)
    }

    fn account(nonce: u64) -> Option<Account> {
        (nonce > 0).then(|| Account { nonce, ..Account::default() })
    }

    /// The changes as a diff from the state of a trie.
    fn diff(trie: &StateTrie, changes: &Changes) -> StateDiff {
        let mut accounts = BTreeMap::new();
        for (who, nonce, slots) in changes {
            let (address, after) = (address(*who), account(*nonce));
            let before = trie.account(address).unwrap();
            let of = |slot: u8| trie.slot(address, value(slot)).unwrap();
            let mut change = AccountDiff { before, after, ..AccountDiff::default() };
            // What goes leaves nothing behind.
            let all = (0..4).filter(|_| after.is_none()).map(|slot| (slot, 0));
            for (slot, to) in slots.iter().copied().filter(|_| after.is_some()).chain(all) {
                let slot_diff = SlotDiff { before: of(slot), after: value(to) };
                change.slots.insert(value(slot), slot_diff);
            }
            change.slots.retain(|_, value| value.before != value.after);
            accounts.insert(address, change);
        }
        accounts.retain(|_, change| change.before != change.after || !change.slots.is_empty());
        StateDiff { accounts, ..StateDiff::default() }
    }

    /// A hint of the changes, some of which it keeps to itself.
    fn hint(diff: &StateDiff, kept: u8) -> Touched {
        let mut touched = Touched::default();
        for ((address, change), index) in diff.accounts.iter().zip(0..) {
            if change.before != change.after && kept >> (index % 8) & 1 == 0 {
                touched.accounts.push((*address, change.before, change.after));
            }
            let slots = change.slots.iter().filter(|_| kept >> (index / 2 % 8) & 1 == 0);
            touched.slots.extend(slots.map(|(slot, value)| (*address, *slot, *value)));
        }
        touched
    }

    fn is_of(touched: &Touched, address: Address) -> bool {
        touched.accounts.iter().any(|(of, ..)| *of == address)
            || touched.slots.iter().any(|(of, ..)| *of == address)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Whatever was foreseen, right, wrong, of another attempt, interrupted by a reader: the root
        /// is that of the change, and without it that of the state before.
        #[test]
        fn what_is_foreseen_changes_no_root(
            before in changes(),
            attempts in vec((changes(), vec((changes(), any::<u8>()), 0..3), any::<u8>()), 1..4),
        ) {
            let empty = StateTrie::default();
            let genesis = diff(&empty, &before);
            let trie = empty.apply(&genesis).unwrap();
            let options = ArenaOptions { shards: ShardCount::Sixteen, ..ArenaOptions::default() };
            let mut arena = StateArena::new(options).unwrap();
            arena.apply(&genesis).unwrap();
            let roots = Roots::new(AT, arena, None);
            let nothing = Wanted::new(&Reads::default(), &[]);
            let mut last = None;
            for (ticket, (changes, wrong, kept)) in (1..).zip(&attempts) {
                let whole = diff(&trie, changes);
                let mut told = hint(&whole, *kept);
                roots.foresee(AT, ticket, &told);
                for (changes, kept) in wrong {
                    // Each key is told once, by an execution.
                    let mut other = hint(&diff(&trie, changes), *kept);
                    other.accounts.retain(|(address, ..)| !is_of(&told, *address));
                    other.slots.retain(|(address, ..)| !is_of(&told, *address));
                    roots.foresee(AT, ticket, &other);
                    told.accounts.extend(other.accounts);
                    told.slots.extend(other.slots);
                }
                if kept % 5 == 0 {
                    let read = roots.trie_for(AT, &nothing).unwrap().unwrap();
                    prop_assert_eq!(read.root(), trie.root());
                }
                let root = trie.apply(&whole).unwrap().root();
                if kept % 3 != 0 {
                    prop_assert_eq!(roots.after(AT, &whole).unwrap(), Some(root));
                }
                last = Some((root, whole));
            }
            let (root, whole) = last.unwrap();
            if attempts.len() % 2 == 0 {
                prop_assert_eq!(roots.prepare(alloy::primitives::B256::ZERO, &whole).unwrap(), None);
            }
            prop_assert!(roots.prepare(root, &whole).unwrap().is_some());
            roots.arrive(NEXT, 0);
            let read = roots.trie_for(NEXT, &nothing).unwrap().unwrap();
            prop_assert_eq!(read.root(), root);
            prop_assert!(roots.trie_for(AT, &nothing).unwrap().is_none());
        }
    }
}
