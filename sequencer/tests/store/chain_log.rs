//! The chain store over the order log: blocks are the same in the log and in the database, a full disk
//! stops commits and nothing else, and what the two hold is brought together at start or refused.

use crate::{
    chain_model::{Change, Model, changes, genesis, root_of, stored},
    log_files::{Call, EIO, ENOSPC, Fault, FaultyFiles, Rule},
};
use executor::{Reads, StateDiff, StateView};
use proptest::prelude::*;
use sequencer::store::{
    ChainStore, ChainStoreError,
    chain::{ChainOptions, Corruption, FoldLimits},
    log::{DirectoryFiles, LogConfig, LogError, LogFiles, OrderLog, Record, RecordKind},
};
use std::{fs, path::Path, sync::Arc, time::Duration};

const SOME: &[Change] = &[Change::Pay(2, 99), Change::Slot(1, 1, 0), Change::Code(3, 8)];

/// Nothing is folded unless it is asked for.
pub(crate) fn by_hand() -> ChainOptions {
    let fold =
        FoldLimits { blocks_max: 1000, pause: Duration::from_secs(3600), ..FoldLimits::default() };
    ChainOptions { fold, ..ChainOptions::default() }
}

fn open(directory: &Path) -> ChainStore {
    ChainStore::open_with(directory, &genesis(), by_hand()).unwrap()
}

fn faulty(directory: &Path) -> (ChainStore, FaultyFiles) {
    let files = FaultyFiles::new(&directory.join("log"));
    let options = ChainOptions { log_files: Some(Arc::new(files.clone())), ..by_hand() };
    (ChainStore::open_with(directory, &genesis(), options).unwrap(), files)
}

#[test]
fn blocks_are_read_alike_before_and_after_the_fold_and_after_a_restart_in_between() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let mut store = open(directory.path());
    for round in 0..4 {
        model.extend(&store, SOME, round);
        model.extend(&store, &[Change::Remove(1), Change::Pay(4, round)], round);
        model.extend(&store, &[Change::Slot(1, 2, round % 3), Change::Slot(4, 1, 1)], round);
        model.check_store(&store);
        assert_eq!(store.folded_head().number, 3 * round);
        drop(store);
        store = open(directory.path());
        assert_eq!(store.folded_head().number, 3 * round);
        model.check_store(&store);
        store.fold_all().unwrap();
        assert_eq!(store.folded_head(), store.head());
        model.check_store(&store);
    }
    assert_eq!(model.rebuilt().root(), model.head().0.state_root);
}

#[test]
fn a_view_does_not_move_while_its_blocks_are_folded_or_undone() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let store = open(directory.path());
    model.extend(&store, SOME, 0);
    model.extend(&store, &[Change::Pay(5, 5), Change::Slot(1, 1, 2)], 0);
    let (before, past) = (store.view().unwrap(), store.view_at(1).unwrap().unwrap());
    store.fold_all().unwrap();
    model.extend(&store, &[Change::Pay(5, 6), Change::Slot(1, 1, 1)], 0);
    model.check_view(&before, 2);
    model.check_view(&past, 1);
    let newest = store.view().unwrap();
    store.rollback_to(0).unwrap();
    model.check_view(&before, 2);
    model.check_view(&past, 1);
    model.check_view(&newest, 3);
    // Of a state that is nobody's any more there are the values, and no trie.
    assert!(newest.trie_for(&Reads::default(), &StateDiff::default()).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Commit(Vec<Change>),
    Fold,
    Rollback(u64),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => changes().prop_map(Step::Commit),
        2 => Just(Step::Fold),
        1 => (1..6_u64).prop_map(Step::Rollback),
        2 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Blocks come, go, are folded and replayed in any order; the store always says what the model
    /// says. The same steps with a fold that never rests give the same chain.
    #[test]
    fn any_steps_leave_the_models_chain(steps in steps(), restless: bool, forgetful: bool) {
        let directory = tempfile::tempdir().unwrap();
        let mut options = by_hand();
        options.trie_bytes_max = forgetful.then_some(0);
        options.segment_bytes_max = 2000;
        if restless {
            options.fold.pause = Duration::ZERO;
            options.fold.blocks_max = 2;
        }
        let open = || ChainStore::open_with(directory.path(), &genesis(), options.clone()).unwrap();
        let (mut model, mut store) = (Model::new(genesis()), open());
        for (salt, step) in (0..).zip(&steps) {
            match step {
                Step::Commit(changes) => model.extend(&store, changes, salt),
                Step::Fold => store.fold_all().unwrap(),
                Step::Rollback(depth) => {
                    let target = store.head().number.saturating_sub(*depth);
                    let removed = model.rollback_to(target as usize);
                    let removed: Vec<_> = removed.iter().map(stored).collect();
                    prop_assert_eq!(store.rollback_to(target).unwrap(), removed);
                }
                Step::Restart => {
                    drop(store);
                    store = open();
                }
            }
            prop_assert_eq!(store.head().hash, model.head().1);
        }
        model.check_store(&store);
        prop_assert_eq!(model.rebuilt().root(), root_of(&store.view().unwrap()));
    }
}

#[test]
fn a_full_disk_refuses_commits_and_rollbacks_and_leaves_everything_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let (store, files) = faulty(directory.path());
    model.extend(&store, SOME, 0);
    store.fold_all().unwrap();
    model.extend(&store, SOME, 1);
    let heads = store.subscribe_head();
    let full = |call| Rule { call, fault: Fault::Error(ENOSPC), skip: 0, times: usize::MAX };
    files.plan(&[full(Call::Write), full(Call::Create)]);
    let block = model.build(&[Change::Pay(4, 4)], 2);
    for target in [0, 1, 0] {
        let error = store.commit(&block).unwrap_err();
        assert!(matches!(error, ChainStoreError::DiskFull { .. }), "{error}");
        assert!(error.is_disk_full() && error.to_string().contains("disk is full"), "{error}");
        let error = store.rollback_to(target).unwrap_err();
        assert!(error.is_disk_full(), "{error}");
        model.check_store(&store);
    }
    assert!(!heads.has_changed().unwrap());
    assert_eq!((files.fired(Call::Write), files.fired(Call::Create)), (1, 5));
    files.plan(&[]);
    store.commit(&block).unwrap();
    model.push(block, &[Change::Pay(4, 4)]);
    model.check_store(&store);
    drop(store);
    model.check_store(&open(directory.path()));
}

#[test]
fn a_commit_that_was_not_durable_is_refused_and_may_be_tried_again() {
    for (call, fault) in [
        (Call::Write, Fault::Error(EIO)),
        (Call::Write, Fault::ShortThenError(EIO)),
        (Call::SyncData, Fault::Error(EIO)),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Model::new(genesis());
        let (store, files) = faulty(directory.path());
        model.extend(&store, SOME, 0);
        files.plan(&[Rule { call, fault, skip: 0, times: 1 }]);
        let lost = model.build(SOME, 1);
        let error = store.commit(&lost).unwrap_err();
        assert!(matches!(error, ChainStoreError::Log(LogError::Io { .. })), "{error}");
        assert_eq!(files.fired(call), 1);
        model.check_store(&store);
        // Another block takes its place.
        model.extend(&store, SOME, 2);
        model.check_store(&store);
        drop(store);
        files.lose_power();
        model.check_store(&open(directory.path()));
    }
}

#[test]
fn commits_wait_for_a_fold_that_is_as_far_behind_as_it_may_be() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let mut options = by_hand();
    options.fold.unfolded_blocks_max = 3;
    let store = ChainStore::open_with(directory.path(), &genesis(), options).unwrap();
    for number in 1..=20 {
        model.extend(&store, &[Change::Pay(3, number)], 0);
        assert!(store.head().number - store.folded_head().number <= 3);
    }
    assert!(store.folded_head().number >= 17);
    model.check_store(&store);
}

#[test]
fn a_trie_that_does_not_fit_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let options = ChainOptions { trie_bytes_max: Some(0), ..by_hand() };
    let store = ChainStore::open_with(directory.path(), &genesis(), options).unwrap();
    for round in 0..4 {
        model.extend(&store, SOME, round);
        model.extend(&store, &[Change::Pay(4, round), Change::Slot(1, 2, round % 3)], round);
        // What the database has not yet stays; the next block drops what it has by then.
        store.fold_all().unwrap();
        model.extend(&store, &[Change::Pay(5, round + 7)], round);
        let usage = store.trie_usage();
        assert!(usage.shards_evicted > 0, "{usage:?}");
        model.check_store(&store);
    }
    model.rollback_to(5);
    store.rollback_to(5).unwrap();
    model.check_store(&store);
}

#[test]
fn the_log_keeps_only_what_the_database_has_not() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let options = ChainOptions { segment_bytes_max: 2000, ..by_hand() };
    let store = ChainStore::open_with(directory.path(), &genesis(), options).unwrap();
    let segments = || fs::read_dir(directory.path().join("log")).unwrap().count();
    (0..20).for_each(|salt| model.extend(&store, SOME, salt));
    assert!(segments() > 5);
    store.fold_all().unwrap();
    assert_eq!(segments(), 1);
    drop(store);
    model.check_store(&open(directory.path()));
}

#[test]
fn a_segment_that_a_fold_cannot_remove_stays_until_the_next_and_the_fold_counts() {
    for (call, code) in [
        (Call::Remove, EIO),
        (Call::Remove, ENOSPC),
        (Call::SyncDirectory, EIO),
        (Call::SyncDirectory, ENOSPC),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let mut model = Model::new(genesis());
        let files = FaultyFiles::new(&directory.path().join("log"));
        let log_files: Option<Arc<dyn LogFiles>> = Some(Arc::new(files.clone()));
        let options = ChainOptions { log_files, segment_bytes_max: 2000, ..by_hand() };
        let store = ChainStore::open_with(directory.path(), &genesis(), options).unwrap();
        (0..20).for_each(|salt| model.extend(&store, SOME, salt));
        files.plan(&[Rule { call, fault: Fault::Error(code), skip: 0, times: 1 }]);
        store.fold_all().unwrap();
        assert_eq!((files.fired(call), store.folded_head()), (1, store.head()));
        model.extend(&store, SOME, 20);
        store.fold_all().unwrap();
        assert!(fs::read_dir(directory.path().join("log")).unwrap().count() <= 2);
        drop(store);
        model.check_store(&open(directory.path()));
    }
}

/// Appends a record behind the store's back.
fn append(directory: &Path, kind: RecordKind, height: u64, payload: &[u8]) {
    let (_, _, hash) = genesis().build().unwrap();
    let chain = genesis().config_hash(hash);
    let files = Arc::new(DirectoryFiles::new(&directory.join("log")).unwrap());
    let config = LogConfig { chain, segment_bytes_max: 1 << 20 };
    let log = OrderLog::open(files, config, 0, |_: Record<'_>| Ok::<_, LogError>(())).unwrap();
    log.wait(&log.append(kind, height, payload).unwrap()).unwrap();
}

#[test]
fn a_rollback_that_reached_the_log_alone_is_finished_at_start() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let store = open(directory.path());
    (0..5).for_each(|salt| model.extend(&store, SOME, salt));
    store.fold_all().unwrap();
    (0..2).for_each(|salt| model.extend(&store, &[Change::Pay(5, 1)], salt));
    drop(store);
    append(directory.path(), RecordKind::Rollback, 2, &[]);
    model.rollback_to(2);
    let store = open(directory.path());
    assert_eq!(store.folded_head().number, 2);
    model.check_store(&store);
    model.extend(&store, &[Change::Pay(4, 1)], 9);
    drop(store);
    model.check_store(&open(directory.path()));
}

#[test]
fn a_log_that_does_not_continue_the_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let store = open(directory.path());
    (0..3).for_each(|salt| model.extend(&store, SOME, salt));
    drop(store);
    let log = directory.path().join("log/0000000001.log");
    let good = fs::read(&log).unwrap();
    let refused = |expected: &str| {
        let before = fs::read(&log).unwrap();
        let opened = ChainStore::open_with(directory.path(), &genesis(), by_hand());
        let error = opened.unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(fs::read(&log).unwrap(), before);
        error
    };
    append(directory.path(), RecordKind::Block, 4, b"not a block");
    let error = refused("record 4 of the order log is not block 4");
    assert!(matches!(error, ChainStoreError::Corrupt(Corruption::LogBlock { number: 4, .. })));
    fs::write(&log, &good).unwrap();
    append(directory.path(), RecordKind::Rollback, 7, &[]);
    refused("record 4 of the order log is for block 7, the chain ends at 3");
    let mut damaged = good.clone();
    damaged[200] ^= 1;
    fs::write(&log, damaged).unwrap();
    refused("0000000001.log at byte 88: wrong checksum");
    let mut newer = good.clone();
    newer[8] = 9;
    fs::write(&log, newer).unwrap();
    refused("has format 9");
    // With everything in the database, the log may not be gone: nobody knows what it had.
    fs::write(&log, &good).unwrap();
    let store = open(directory.path());
    model.check_store(&store);
    store.fold_all().unwrap();
    drop(store);
    fs::rename(&log, directory.path().join("kept")).unwrap();
    let opened = ChainStore::open_with(directory.path(), &genesis(), by_hand());
    assert!(matches!(opened.unwrap_err(), ChainStoreError::Log(LogError::Gone { .. })));
    fs::rename(directory.path().join("kept"), &log).unwrap();
    model.check_store(&open(directory.path()));
}

#[test]
fn a_foreign_database_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let store = open(directory.path());
    (0..3).for_each(|salt| model.extend(&store, SOME, salt));
    store.fold_all().unwrap();
    drop(store);
    let database = directory.path().join("mdbx.dat");
    let good = fs::read(&database).unwrap();
    let foreign = vec![0x5a; good.len()];
    fs::write(&database, &foreign).unwrap();
    let opened = ChainStore::open_with(directory.path(), &genesis(), by_hand());
    let error = opened.unwrap_err();
    assert!(matches!(error, ChainStoreError::Engine(_)), "{error}");
    assert!(
        error.explain(directory.path()).contains(directory.path().to_str().unwrap()),
        "{error}"
    );
    assert!(fs::read(&database).unwrap() == foreign, "changed: {error}");
    fs::write(&database, &good).unwrap();
    model.check_store(&open(directory.path()));
}
