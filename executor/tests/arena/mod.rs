//! The arena against alloy-trie's hash builder, the persistent trie and the proof verifier.

pub(crate) mod flat;
mod history;
mod parts;

use crate::fuzz::dice;
use alloy::primitives::{Address, B256, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;
use executor::{
    Account, StateArena, StateDiff, StateTrie,
    keccak::Backend,
    state::{
        AccountDiff, SlotDiff,
        arena::{ArenaError, ArenaOptions, HashedDiff, ShardCount},
    },
};
use flat::{Flat, Source};
use history::Tally;
use proptest::prelude::*;
use std::{collections::BTreeMap, sync::atomic::Ordering};

/// Histories that the test runs; `root_fuzz` runs as many as one likes.
const HISTORIES: u64 = 3_000;

/// The same of histories that take parts out of the arena.
const PART_HISTORIES: u64 = 3_000;

const SHARD_COUNTS: [ShardCount; 3] =
    [ShardCount::One, ShardCount::Sixteen, ShardCount::TwoHundredFiftySix];

/// Every way to work that this processor has.
pub(crate) fn all_options() -> Vec<ArenaOptions> {
    let backends = Backend::ALL.into_iter().filter(|backend| backend.is_available());
    let options = backends.flat_map(|backend| {
        SHARD_COUNTS
            .into_iter()
            .flat_map(move |shards| [1, 2].map(|threads| ArenaOptions { shards, backend, threads }))
    });
    options.collect()
}

#[test]
fn random_histories_agree_with_the_hash_builder() {
    let mut tally = Tally::default();
    for number in 0..HISTORIES {
        tally.add(&history::run(7, number).unwrap());
    }
    print!("{tally}");
    let Tally { wiped, evicted, read_back, failed_reads, undone, empty, rebuilt, .. } = tally;
    let all = [wiped, evicted, read_back, failed_reads, undone, empty, rebuilt];
    assert!(all.iter().all(|count| *count > 0), "{all:?}");
}

#[test]
fn a_part_of_the_arena_reads_proves_and_changes_as_the_whole_does() {
    let mut tally = Tally::default();
    for number in 0..PART_HISTORIES {
        tally.add(&parts::run(7, number).unwrap());
    }
    print!("{tally}");
    let Tally { evicted, read_back, failed_reads, undone, empty, siblings, .. } = tally;
    let all = [evicted, read_back, failed_reads, undone, empty, siblings];
    assert!(all.iter().all(|count| *count > 0), "{all:?}");
}

/// An account and what becomes of it: nonce 0 deletes it, value 0 deletes a slot.
#[derive(Clone, Debug)]
struct Change {
    account: u8,
    nonce: u64,
    code: u8,
    wiped: bool,
    slots: BTreeMap<u8, u8>,
}

fn change() -> impl Strategy<Value = Change> {
    let slots = prop::collection::btree_map(0u8..12, 0u8..3, 0..6);
    (0u8..40, 0u64..4, 0u8..3, prop::bool::weighted(0.1), slots).prop_map(
        |(account, nonce, code, wiped, slots)| Change { account, nonce, code, wiped, slots },
    )
}

/// Accounts as the test keeps them.
type Model = BTreeMap<Address, (Account, BTreeMap<U256, U256>)>;

/// The diff of a block, as execution would give it.
fn diff_of(model: &mut Model, changes: &[Change]) -> StateDiff {
    let mut diff = StateDiff::default();
    for change in changes {
        let address = Address::with_last_byte(change.account);
        if diff.accounts.contains_key(&address) {
            continue;
        }
        let before = model.get(&address).map(|(account, _)| *account);
        let mut entry = AccountDiff { before, ..AccountDiff::default() };
        if change.nonce == 0 {
            let (_, slots) = model.remove(&address).unwrap_or_default();
            let zeroed = slots.into_iter();
            let zeroed =
                zeroed.map(|(slot, before)| (slot, SlotDiff { before, after: U256::ZERO }));
            entry.slots = zeroed.collect();
        } else {
            let (account, slots) = model.entry(address).or_default();
            account.nonce = change.nonce;
            account.code_hash = [KECCAK256_EMPTY, B256::repeat_byte(1), B256::repeat_byte(2)]
                [usize::from(change.code)];
            (entry.after, entry.wiped) = (Some(*account), change.wiped);
            if change.wiped {
                slots.clear();
            }
            for (slot, value) in &change.slots {
                let (slot, after) = (U256::from(*slot), U256::from(*value));
                let before = slots.remove(&slot).unwrap_or_default();
                if !after.is_zero() {
                    slots.insert(slot, after);
                }
                entry.slots.insert(slot, SlotDiff { before, after });
            }
        }
        diff.accounts.insert(address, entry);
    }
    diff
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_arena_and_the_persistent_trie_are_one(
        blocks in prop::collection::vec(prop::collection::vec(change(), 1..30), 1..8),
        options in prop::sample::select(all_options()),
    ) {
        let (mut model, mut trie) = (Model::new(), StateTrie::default());
        let mut arena = StateArena::new(options).unwrap();
        for changes in &blocks {
            let diff = diff_of(&mut model, changes);
            let before = arena.root();
            trie = trie.apply(&diff).unwrap();
            prop_assert_eq!(arena.apply(&diff).unwrap(), trie.root());
            // What wiping takes is not in a diff, so there is no way back from it.
            if diff.accounts.values().all(|change| !change.wiped) {
                prop_assert_eq!(arena.apply(&diff.reversed()).unwrap(), before);
                prop_assert_eq!(arena.apply(&diff).unwrap(), trie.root());
            }
        }
        let slots: Vec<U256> = (0..12).map(U256::from).collect();
        for address in (0..42).map(Address::with_last_byte) {
            let proof = arena.account_proof(address, &slots).unwrap();
            prop_assert_eq!(&proof, &trie.account_proof(address, &slots).unwrap());
            prop_assert_eq!(arena.account(address).unwrap(), trie.account(address).unwrap());
            prop_assert_eq!(arena.slot(address, slots[3]).unwrap(), trie.slot(address, slots[3]).unwrap());
            prop_assert_eq!(arena.storage_root(address).unwrap(), trie.storage_root(address).unwrap());
        }
        prop_assert_eq!(arena.accounts(), model.len());
    }
}

fn account(nonce: u64) -> Account {
    Account { nonce, ..Account::default() }
}

/// A state of this many accounts, every tenth with slots.
fn many(accounts: u64) -> Flat {
    let entry = |index: u64| {
        let slots = (0..(index + 1) % 10 / 9 * 5)
            .map(|slot| (keccak256(slot.to_be_bytes()), U256::from(slot + 1)));
        (keccak256(index.to_be_bytes()), (account(index + 1), slots.collect()))
    };
    (0..accounts).map(entry).collect()
}

fn build(options: ArenaOptions, flat: &Flat) -> StateArena {
    let accounts = flat.iter().map(|(address, (account, _))| Ok((*address, *account)));
    let slots = flat
        .iter()
        .flat_map(|(address, (_, slots))| slots.iter().map(|(k, v)| Ok((*address, *k, *v))));
    StateArena::from_hashed::<ArenaError>(options, accounts, slots).unwrap()
}

#[test]
fn every_way_to_work_gives_the_same_root() {
    for accounts in [0, 1, 2, 3, 17, 5_000] {
        let flat = many(accounts);
        let expected = flat::root(&flat);
        for options in all_options() {
            let built = build(options, &flat);
            assert_eq!(built.root(), expected, "{accounts} {options:?}");
            let mut diff = HashedDiff::default();
            for (address, (account, slots)) in &flat {
                diff.push_account(*address, Some(*account), false);
                slots.iter().for_each(|(slot, value)| diff.push_slot(*slot, *value));
            }
            let mut grown = StateArena::new(options).unwrap();
            assert_eq!(grown.apply_hashed(&diff).unwrap(), expected, "{accounts} {options:?}");
            let mut none = HashedDiff::default();
            flat.keys().for_each(|address| none.push_account(*address, None, false));
            assert_eq!(grown.apply_hashed(&none).unwrap(), EMPTY_ROOT_HASH);
            assert_eq!(grown.accounts(), 0);
        }
    }
}

#[test]
fn what_is_removed_gives_its_room_back() {
    let flat = many(4_000);
    let options = ArenaOptions { shards: ShardCount::Sixteen, ..ArenaOptions::default() };
    let mut arena = build(options, &flat);
    let mut most = 0;
    for round in 0..60u64 {
        let (mut come, mut go) = (HashedDiff::default(), HashedDiff::default());
        for index in 0..2_000 {
            let key = keccak256(((round + 1) << 32 | index).to_be_bytes());
            come.push_account(key, Some(account(1)), false);
            (0..3u64).for_each(|slot| come.push_slot(keccak256(slot.to_le_bytes()), U256::from(9)));
            go.push_account(key, None, false);
        }
        arena.apply_hashed(&come).unwrap();
        if round < 5 {
            most = most.max(arena.bytes_resident());
        }
        assert!(
            arena.bytes_resident() < most + most / 8,
            "{round}: {} {most}",
            arena.bytes_resident()
        );
        assert_eq!(arena.apply_hashed(&go).unwrap(), flat::root(&flat));
    }
}

#[test]
fn the_coldest_shards_go_first_and_come_back_when_they_are_needed() {
    let flat = many(5_000);
    let source = Source::default();
    *source.flat.lock().unwrap() = flat.clone();
    let options = ArenaOptions { shards: ShardCount::Sixteen, ..ArenaOptions::default() };
    let mut arena = build(options, &flat);
    assert!(matches!(arena.evict(0, u64::MAX), Err(ArenaError::NoSource)));
    arena = arena.with_source(Box::new(source.clone()));
    let (root, bytes) = (arena.root(), arena.bytes_resident());
    let used = *flat.keys().next().unwrap();
    arena.hashed_proof(used, &[]).unwrap();

    let dropped = arena.evict(bytes / 4, u64::MAX).unwrap();
    assert!(dropped >= 11 && arena.bytes_resident() <= bytes / 4);
    assert_eq!((arena.shards_evicted(), arena.root(), arena.accounts()), (dropped, root, 5_000));
    arena.hashed_proof(used, &[]).unwrap();
    assert_eq!(source.reads.load(Ordering::Relaxed), 0, "the shard used last stays");

    assert_eq!(arena.evict(0, u64::MAX).unwrap() + dropped, 16);
    let mut diff = HashedDiff::default();
    diff.push_account(used, None, false);
    let mut fewer = flat;
    fewer.remove(&used);
    assert_eq!(arena.apply_hashed(&diff).unwrap(), flat::root(&fewer));
    assert_eq!((source.reads.load(Ordering::Relaxed), arena.shards_evicted()), (1, 15));
}

#[test]
fn flat_state_that_does_not_agree_is_refused() {
    let flat = many(200);
    let source = Source::default();
    *source.flat.lock().unwrap() = flat.clone();
    let mut arena = build(ArenaOptions::default(), &flat).with_source(Box::new(source.clone()));
    arena.evict(0, u64::MAX).unwrap();
    let key = *flat.keys().nth(50).unwrap();
    source.flat.lock().unwrap().get_mut(&key).unwrap().0.nonce += 1;
    let mut diff = HashedDiff::default();
    flat.keys().for_each(|key| diff.push_account(*key, Some(account(7)), false));
    let refused = arena.apply_hashed(&diff);
    assert!(
        matches!(refused, Err(ArenaError::SourceMismatch { shard }) if shard == usize::from(key[0]))
    );
    assert_eq!(arena.root(), flat::root(&flat));
    source.flat.lock().unwrap().get_mut(&key).unwrap().0.nonce -= 1;
    let now = flat.iter().map(|(key, (_, slots))| (*key, (account(7), slots.clone()))).collect();
    assert_eq!(arena.apply_hashed(&diff).unwrap(), flat::root(&now));
}

#[test]
fn what_is_no_state_is_refused() {
    let key = B256::repeat_byte(3);
    let options = ArenaOptions::default();
    let build = |accounts: &[B256], slots: &[(B256, B256)]| {
        StateArena::from_hashed::<ArenaError>(
            options,
            accounts.iter().map(|key| Ok((*key, account(1)))),
            slots.iter().map(|(address, slot)| Ok((*address, *slot, U256::from(1)))),
        )
    };
    let (one, other) = (B256::repeat_byte(5), B256::repeat_byte(6));
    assert!(build(&[key], &[(key, one), (key, other)]).is_ok());
    assert!(matches!(build(&[key, key], &[]), Err(ArenaError::Duplicate(twice)) if twice == key));
    let twice = build(&[key], &[(key, one), (key, other), (key, one)]);
    assert!(matches!(twice, Err(ArenaError::Duplicate(slot)) if slot == one));
    let stray = build(&[key], &[(one, one)]);
    assert!(matches!(stray, Err(ArenaError::StraySlot { address }) if address == one));
    let failing = [Ok((key, account(1))), Err(ArenaError::Full)];
    let failed = StateArena::from_hashed::<ArenaError>(options, failing, []);
    assert!(matches!(failed, Err(ArenaError::Full)));
}
