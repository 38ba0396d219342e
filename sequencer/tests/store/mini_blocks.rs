//! Mini-blocks in the order log: durable before they are seen, kept over a restart, and part of the
//! block that is sealed or else retracted by name.

use crate::{
    chain_log::by_hand,
    log_files::{Call, ENOSPC, Fault, FaultyFiles, Rule},
    rollup_chain::{caller, genesis, next_block, writer},
};
use alloy::primitives::{B256, U256};
use executor::{BlockEnv, Changes, ExecutedBlock, Execution, Mode, Options, StateView};
use sequencer::store::{
    ChainStore, ChainStoreError,
    chain::{ChainEvent, ChainOptions, ChainReader, FollowError, Followed},
    log::{Stage, StageRecord},
};
use std::{path::Path, sync::Arc};

fn open(directory: &Path) -> ChainStore {
    ChainStore::open_with(directory, &genesis(), by_hand()).unwrap()
}

/// The next block of the store's chain.
fn next(store: &ChainStore) -> ExecutedBlock {
    let (header, hash) = store.header(store.head().number).unwrap().unwrap();
    next_block(&genesis(), &store.view().unwrap(), (&header, hash))
}

/// Begins the block and extends it by the transactions up to these indexes, as the builder does.
fn begin(store: &ChainStore, block: &ExecutedBlock, parts: &[usize]) {
    let view = store.view().unwrap();
    let env = BlockEnv::of_header(&block.header);
    let options = Options { mode: Mode::Automatic, reports_changes: true, ..Options::default() };
    let rules = genesis().chain_rules();
    let mut execution = Execution::begin(&view, rules, env.clone(), options).unwrap();
    store.begin_block(env, execution.changes().unwrap());
    let mut first = 0;
    for &through in parts {
        execution.extend(&block.transactions[first..through]).unwrap();
        let (transactions, receipts) = execution.included();
        let part = (transactions[first..].to_vec(), receipts[first..].to_vec());
        let changes = execution.changes().unwrap();
        store.extend_block(part, changes).unwrap();
        first = through;
    }
}

fn check(directory: &Path) {
    ChainReader::open(directory).unwrap().check(&mut |_| {}).unwrap();
}

#[test]
fn what_is_executed_is_seen_as_pending_and_then_sealed() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut events = store.subscribe_events();
    for _ in 0..3 {
        let block = next(&store);
        begin(&store, &block, &[2, 3]);
        let open = store.open_block().unwrap();
        assert_eq!((open.len(), open.mini_blocks().len()), (3, 2));
        assert_eq!(open.gas_used(), block.receipts[2].cumulative_gas_used);
        let (mini_block, index) = open.find(&block.transactions[2].hash()).unwrap();
        assert_eq!((mini_block.first_index, index), (2, 0));
        assert_eq!(mini_block.receipts[0], block.receipts[2]);
        assert!(open.find(&block.transactions[3].hash()).is_none());
        // The state is the one between the transactions.
        let (pending, latest) = (store.pending_view().unwrap(), store.view().unwrap());
        let number = block.header.number;
        let value =
            |view: &sequencer::store::ChainView| view.slot(writer(), U256::from(number)).unwrap();
        assert_eq!((value(&latest), value(&pending)), (U256::ZERO, U256::from(number)));
        let nonce = |view: &sequencer::store::ChainView| {
            view.account(caller(number % 8)).unwrap().unwrap().nonce
        };
        assert_eq!(nonce(&pending), nonce(&latest) + 1);
        assert!(matches!(events.try_recv().unwrap(), ChainEvent::MiniBlock(_)));
        assert!(matches!(events.try_recv().unwrap(), ChainEvent::MiniBlock(_)));
        store.commit(&block).unwrap();
        assert!(store.open_block().is_none());
        assert_eq!(store.pending_view().unwrap().block(), store.head());
        let ChainEvent::Sealed { head, transactions, .. } = events.try_recv().unwrap() else {
            panic!("not sealed")
        };
        assert_eq!((head, transactions), (store.head(), block.transactions.len()));
    }
    drop(store);
    check(directory.path());
}

#[test]
fn a_block_that_breaks_its_word_is_refused_until_that_is_retracted() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let block = next(&store);
    begin(&store, &block, &[2, 3]);
    // The same block without what was said of it.
    let other = {
        let (header, hash) = store.header(0).unwrap().unwrap();
        let mut genesis = genesis();
        genesis.timestamp += 7;
        let mut header = header;
        header.timestamp += 7;
        next_block(&genesis, &store.view().unwrap(), (&header, hash))
    };
    let error = store.commit(&other).unwrap_err();
    assert!(matches!(error, ChainStoreError::DiffersFromMiniBlocks { number: 1 }), "{error}");
    let mut events = store.subscribe_events();
    store.retract().unwrap();
    assert!(matches!(events.try_recv().unwrap(), ChainEvent::Retracted { number: 1, .. }));
    assert!(store.unsealed().is_none() && store.open_block().is_none());
    drop(store);
    let store = open(directory.path());
    assert!(store.unsealed().is_none());
    store.commit(&block).unwrap();
    drop(store);
    check(directory.path());
}

#[test]
fn every_part_of_the_word_counts_before_a_restart_and_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let block = next(&store);
    begin(&store, &block, &[2, 3]);
    let breaks: [fn(&mut ExecutedBlock); 5] = [
        |block| block.header.timestamp += 1,
        |block| block.header.mix_hash = B256::repeat_byte(9),
        |block| block.transactions.truncate(2),
        |block| block.transactions.swap(1, 2),
        |block| block.receipts[2].cumulative_gas_used += 1,
    ];
    let refuses = |store: &ChainStore| {
        for (index, change) in breaks.iter().enumerate() {
            let mut broken = block.clone();
            change(&mut broken);
            let error = store.commit(&broken).unwrap_err();
            let differs = matches!(error, ChainStoreError::DiffersFromMiniBlocks { number: 1 });
            assert!(differs, "{index}: {error}");
        }
    };
    refuses(&store);
    drop(store);
    let store = open(directory.path());
    refuses(&store);
    store.commit(&block).unwrap();
    drop(store);
    check(directory.path());
    open(directory.path());
}

#[test]
fn what_was_not_sealed_is_there_after_a_restart_and_taken_up_again() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.commit(&next(&store)).unwrap();
    let block = next(&store);
    begin(&store, &block, &[2, 3]);
    drop(store);
    check(directory.path());
    let store = open(directory.path());
    assert!(store.open_block().is_none(), "its state is not known yet");
    let unsealed = store.unsealed().unwrap();
    assert_eq!((unsealed.number, unsealed.transactions()), (2, block.transactions[..3].to_vec()));
    let env = BlockEnv::of_header(&block.header);
    let parts = |through: usize| {
        (block.transactions[..through].to_vec(), block.receipts[..through].to_vec())
    };
    assert!(!store.resume_block(env.clone(), parts(2), Changes::default()), "one is missing");
    let mut lie = parts(3);
    lie.1[1].success = false;
    assert!(!store.resume_block(env.clone(), lie, Changes::default()), "another receipt");
    assert!(store.resume_block(env, parts(3), Changes::default()));
    let open = store.open_block().unwrap();
    assert_eq!((open.len(), open.mini_blocks().len()), (3, 2));
    let rest = (block.transactions[3..].to_vec(), block.receipts[3..].to_vec());
    if !rest.0.is_empty() {
        store.extend_block(rest, Changes::default()).unwrap();
    }
    store.commit(&block).unwrap();
    drop(store);
    check(directory.path());
}

#[test]
fn a_full_disk_acknowledges_nothing_of_a_mini_block() {
    let directory = tempfile::tempdir().unwrap();
    let files = FaultyFiles::new(&directory.path().join("log"));
    let options = ChainOptions { log_files: Some(Arc::new(files.clone())), ..by_hand() };
    let store = ChainStore::open_with(directory.path(), &genesis(), options).unwrap();
    let block = next(&store);
    begin(&store, &block, &[2]);
    let mut events = store.subscribe_events();
    files.plan(&[Rule { call: Call::Write, fault: Fault::Error(ENOSPC), skip: 0, times: 1 }]);
    let part = || (block.transactions[2..3].to_vec(), block.receipts[2..3].to_vec());
    let error = store.extend_block(part(), Changes::default()).unwrap_err();
    assert!(matches!(error, ChainStoreError::DiskFull { .. }), "{error}");
    assert_eq!(store.open_block().unwrap().len(), 2);
    assert!(events.try_recv().is_err(), "nobody was told");
    assert_eq!(files.fired(Call::Write), 1);
    store.extend_block(part(), Changes::default()).unwrap();
    store.commit(&block).unwrap();
    drop(store);
    check(directory.path());
}

#[test]
fn everything_that_happened_can_be_read_again_from_any_position() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    let mut live = store.subscribe_events();
    for _ in 0..2 {
        let block = next(&store);
        begin(&store, &block, &[2, 3]);
        store.commit(&block).unwrap();
    }
    let record = StageRecord { stage: Stage::Safe, hash: store.head().hash };
    store.note_stage(2, record).unwrap();
    store.rollback_to(1).unwrap();
    let block = next(&store);
    begin(&store, &block, &[3]);
    store.retract().unwrap();
    let told: Vec<_> = std::iter::from_fn(|| live.try_recv().ok()).collect();
    let positions: Vec<_> = told.iter().map(ChainEvent::position).collect();
    assert_eq!(positions, (1..=told.len() as u64).collect::<Vec<_>>(), "no gap, none twice");
    let live: Vec<_> = told.iter().map(Followed::from).collect();
    drop(store);
    let store = open(directory.path());
    for after in 0..=store.position() {
        let mut read = Vec::new();
        let result = store.follow_from(after, |position, followed| {
            assert_eq!(position, after + 1 + read.len() as u64);
            read.push(followed);
            Ok(())
        });
        result.unwrap();
        assert_eq!(read, live[usize::try_from(after).unwrap()..]);
    }
    let ahead = store.follow_from(store.position() + 1, |_, _| Ok(())).unwrap_err();
    assert!(matches!(ahead, FollowError::Ahead { .. }), "{ahead}");
    drop(store);
    check(directory.path());
}

#[test]
fn what_is_not_kept_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let options = || ChainOptions { segment_bytes_max: 2_000, log_segments_kept: 2, ..by_hand() };
    let store = ChainStore::open_with(directory.path(), &genesis(), options()).unwrap();
    for _ in 0..8 {
        store.commit(&next(&store)).unwrap();
    }
    store.fold_all().unwrap();
    let oldest = store.oldest_position();
    assert!(oldest > 0 && oldest < store.position(), "{oldest}");
    let mut count = 0;
    let result = store.follow_from(oldest, |_, _| {
        count += 1;
        Ok(())
    });
    result.unwrap();
    assert_eq!(oldest + count, store.position(), "two segments and the newest are there");
    let error = store.follow_from(oldest - 1, |_, _| Ok(())).unwrap_err();
    let FollowError::Gone { oldest: least, .. } = error else { panic!("{error}") };
    assert_eq!(least, oldest);
}
