//! Commit, rollback, reopening and refusal of the chain store.

use crate::chain_model::{Change, Model, changes, genesis, root_of, stored};
use alloy::primitives::B256;
use executor::{Reads, StateDiff, StateView};
use proptest::prelude::*;
use sequencer::store::{ChainStore, ChainStoreError, ChainView};
use std::thread;

const SOME: &[Change] = &[Change::Pay(2, 99), Change::Slot(1, 1, 0), Change::Code(3, 8)];

#[test]
fn a_new_directory_holds_block_zero() {
    let directory = tempfile::tempdir().unwrap();
    let model = Model::new(genesis());
    let store = ChainStore::open(&directory.path().join("a/b"), &model.genesis).unwrap();
    assert_eq!((store.head().number, store.head().hash), (0, model.head().1));
    model.check_store(&store);
}

#[test]
fn a_committed_block_is_readable_and_published() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    let mut heads = store.subscribe_head();
    model.extend(&store, SOME, 0);
    assert!(heads.has_changed().unwrap());
    assert_eq!(heads.borrow_and_update().number, 1);
    model.extend(&store, &[], 1);
    model.check_store(&store);
    assert_eq!(model.rebuilt().root(), root_of(&store.view().unwrap()));
}

#[test]
fn what_does_not_fit_is_refused_and_leaves_no_trace() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    model.extend(&store, SOME, 0);
    let good = model.build(&[Change::Pay(4, 4)], 1);

    let mut orphan = good.clone();
    orphan.header.parent_hash = B256::repeat_byte(1);
    let error = store.commit(&orphan).unwrap_err();
    assert!(matches!(error, ChainStoreError::NotNextBlock { number: 2, .. }), "{error}");
    let again = store.commit(&model.blocks[0]).unwrap_err();
    assert!(matches!(again, ChainStoreError::NotNextBlock { number: 1, .. }), "{again}");
    let mut wrong = good.clone();
    wrong.header.state_root = B256::ZERO;
    let error = store.commit(&wrong).unwrap_err();
    assert!(matches!(error, ChainStoreError::OtherState { number: 2, .. }), "{error}");
    // Account 1 has storage from genesis: its removal must bring the slots' end along.
    let mut ghost = model.build(&[Change::Remove(1)], 2);
    ghost.diff.accounts.values_mut().for_each(|change| change.slots.clear());
    let error = store.commit(&ghost).unwrap_err();
    assert!(matches!(error, ChainStoreError::StorageOutlivesAccount { .. }), "{error}");
    let mut wiped = model.build(&[Change::Pay(1, 1)], 3);
    wiped.diff.accounts.values_mut().for_each(|change| change.wiped = true);
    let error = store.commit(&wiped).unwrap_err();
    assert!(matches!(error, ChainStoreError::StorageOutlivesAccount { .. }), "{error}");

    model.check_store(&store);
    store.commit(&good).unwrap();
}

#[test]
fn a_view_does_not_move_and_goes_to_another_thread() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    let view = store.view().unwrap();
    model.extend(&store, SOME, 0);
    let model = thread::spawn(move || {
        model.check_view(&view, 0);
        assert_eq!(root_of(&view), model.header(0).0.state_root);
        model
    })
    .join()
    .unwrap();
    store.rollback_to(0).unwrap();
    assert_eq!(root_of(&store.view().unwrap()), model.header(0).0.state_root);
}

/// Header and trie can be had only while the block stands.
fn check_trie(store: &ChainStore, view: &ChainView) {
    let header = || store.header(view.block().number).unwrap();
    let stands = |header: &(_, _)| header.1 == view.block().hash;
    let Some((header_before, _)) = header().filter(stands) else { return };
    match view.trie_for(&Reads::default(), &StateDiff::default()) {
        Ok(trie) => assert_eq!(trie.root(), header_before.state_root),
        Err(error) => assert!(!header().is_some_and(|now| stands(&now)), "{error}"),
    }
}

#[test]
fn views_are_consistent_while_blocks_come_and_go() {
    const ROUNDS: u64 = 15;
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    let reader = {
        let store = store.clone();
        thread::spawn(move || {
            let mut views = 0_u64;
            while store.head().timestamp != 0 && views < 100_000 {
                let view = store.view().unwrap();
                let number = view.block().number;
                check_trie(&store, &view);
                views += 1;
                if number >= ROUNDS {
                    break;
                }
            }
            views
        })
    };
    for round in 0..ROUNDS {
        model.extend(&store, &[Change::Pay(3, round)], round);
        if round % 3 == 1 && round + 1 < ROUNDS {
            let back = model.blocks.len() - 1;
            model.rollback_to(back);
            store.rollback_to(back as u64).unwrap();
            model.extend(&store, &[Change::Pay(4, round)], round + 100);
        }
    }
    assert!(reader.join().unwrap() > 0);
    model.check_store(&store);
}

#[test]
fn a_rollback_above_the_head_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let store = ChainStore::open(directory.path(), &genesis()).unwrap();
    let error = store.rollback_to(1).unwrap_err();
    assert!(matches!(error, ChainStoreError::NoSuchBlock { number: 1, .. }), "{error}");
    assert!(store.rollback_to(0).unwrap().is_empty());
}

#[test]
fn the_directory_of_another_chain_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    drop(ChainStore::open(directory.path(), &genesis()).unwrap());
    let mut other = genesis();
    other.timestamp += 1;
    let error = ChainStore::open(directory.path(), &other).unwrap_err();
    assert!(matches!(error, ChainStoreError::OtherChain { .. }), "{error}");
    let mut same_block = genesis();
    same_block.rules.chain_id += 1;
    let error = ChainStore::open(directory.path(), &same_block).unwrap_err();
    assert!(matches!(error, ChainStoreError::OtherConfiguration { .. }), "{error}");
    ChainStore::open(directory.path(), &genesis()).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Blocks are committed, some are rolled back, others take their place, and the store is opened
    /// again: after each step everything it says is what the model says.
    #[test]
    fn rollback_and_reopening_restore_everything(
        first in proptest::collection::vec(changes(), 1..8),
        second in proptest::collection::vec(changes(), 0..5),
        back in any::<prop::sample::Index>(),
    ) {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Model::new(genesis());
        let store = ChainStore::open(directory.path(), &model.genesis).unwrap();
        for changes in &first {
            model.extend(&store, changes, 0);
        }
        model.check_store(&store);
        let target = back.index(first.len() + 1);
        let expected: Vec<_> = model.rollback_to(target).iter().map(stored).collect();
        let removed = store.rollback_to(target as u64).unwrap();
        prop_assert_eq!(&removed, &expected);
        model.check_store(&store);
        for block in &removed {
            prop_assert_eq!(store.block_number(block.hash).unwrap(), None);
            for transaction in &block.transactions {
                prop_assert_eq!(store.transaction_position(transaction.hash()).unwrap(), None);
            }
        }
        drop(store);
        let store = ChainStore::open(directory.path(), &model.genesis).unwrap();
        model.check_store(&store);
        for changes in &second {
            model.extend(&store, changes, 1);
        }
        model.check_store(&store);
        prop_assert_eq!(model.rebuilt().root(), root_of(&store.view().unwrap()));
    }
}
