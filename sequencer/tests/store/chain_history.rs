//! State at earlier blocks: values and proofs at every block, wherever it is by then.

use crate::chain_model::{Change, Model, genesis};
use sequencer::store::ChainStore;

/// More than are folded at a time, so that some are in the order log alone and most are not.
const BLOCKS: u64 = 134;

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
fn history_and_proofs_answer_at_every_block() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    for number in 1..=BLOCKS {
        model.extend(&store, &changes_of(number), 0);
    }
    // The windows are those of the newest block in the tables.
    store.fold_all().unwrap();
    model.check_store(&store);

    let target = 3;
    model.rollback_to(target);
    store.rollback_to(target as u64).unwrap();
    model.check_store(&store);
    // A start replays what is in the log alone, and has the tries of that.
    store.fold_all().unwrap();
    drop(store);
    let store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    model.check_store(&store);
}
