//! State at earlier blocks: values at every block, tries within the window and beyond it.

use crate::chain_model::{Change, Model, genesis};
use executor::StateView;
use sequencer::store::{ChainStore, chain::TRIE_WINDOW_BLOCKS};

/// Changes that depend on the block, so that every block leaves another state.
fn changes_of(number: u64) -> Vec<Change> {
    let (who, slot) = ((number % 6) as u8, (number % 4) as u8);
    let mut changes = vec![Change::Pay(who, number), Change::Slot(5 - who, slot, number % 3)];
    if number.is_multiple_of(17) {
        changes.push(Change::Remove(who));
    }
    if number.is_multiple_of(11) {
        changes.push(Change::Code(who, number as u8));
    }
    changes
}

#[test]
fn history_and_proofs_answer_at_every_block_within_and_beyond_the_window() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    let last = TRIE_WINDOW_BLOCKS + 6;
    for number in 1..=last {
        model.extend(&store, &changes_of(number), 0);
    }
    // The windows are those of the newest block in the tables.
    store.fold_all().unwrap();
    model.check_store(&store);
    let has_trie = |number| store.view_at(number).unwrap().unwrap().has_trie();
    assert!(has_trie(last) && has_trie(last + 1 - TRIE_WINDOW_BLOCKS));
    // Of the rest of the proof window, every 64th.
    assert!(!has_trie(last - TRIE_WINDOW_BLOCKS) && !has_trie(1) && has_trie(0));

    // Deeper than the window, then open again: nothing but the head's trie is in memory.
    let target = 3;
    model.rollback_to(target);
    store.rollback_to(target as u64).unwrap();
    model.check_store(&store);
    // A start replays what is in the log alone, and has the tries of that.
    store.fold_all().unwrap();
    drop(store);
    let store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    let past = store.view_at(1).unwrap().unwrap();
    assert!(!past.has_trie());
    assert_ne!(past.trie().root(), past.state_trie().unwrap().root());
    model.check_store(&store);
}
