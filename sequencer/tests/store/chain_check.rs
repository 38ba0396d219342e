//! The check of a whole chain directory, order log included: what it says of a sound one, beside a node
//! that works, and where a byte, a record or a file of the log is not what it should be.

use crate::rollup_chain::{self, next_block};
use executor::{ExecutedBlock, Genesis};
use sequencer::store::{
    ChainStore,
    chain::{
        ChainOptions, ChainReader, FinalOutputs, FoldLimits,
        check::{CheckError, Checked, CheckedLog, LogInconsistency},
        prune_directory,
    },
    log::{BlockRecord, DirectoryFiles, LogConfig, LogError, OrderLog, Record, RecordKind},
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

/// Blocks in the tables of the fixture, and blocks in its log alone.
const FOLDED: u64 = 4;
const UNFOLDED: u64 = 5;
const LAST: u64 = FOLDED + UNFOLDED;
/// A segment holds two blocks or so.
const SEGMENT_BYTES_MAX: u64 = 3_250;
/// Bytes of a segment's header, and of a record's.
const SEGMENT_HEADER: usize = 88;
const RECORD_HEADER: usize = 40;

fn by_hand() -> ChainOptions {
    ChainOptions { segment_bytes_max: SEGMENT_BYTES_MAX, ..crate::chain_log::by_hand() }
}

fn open(directory: &Path) -> ChainStore {
    ChainStore::open_with(directory, &rollup_chain::genesis(), by_hand()).unwrap()
}

fn build(store: &ChainStore, genesis: &Genesis) -> ExecutedBlock {
    let (header, hash) = store.header(store.head().number).unwrap().unwrap();
    next_block(genesis, &store.view().unwrap(), (&header, hash))
}

/// A chain with blocks in the tables and in the log; the blocks of the log.
fn chain(directory: &Path) -> Vec<ExecutedBlock> {
    let (genesis, store) = (rollup_chain::genesis(), open(directory));
    let extend = |last: u64| {
        let mut blocks = Vec::new();
        while store.head().number < last {
            blocks.push(build(&store, &genesis));
            store.commit(blocks.last().unwrap()).unwrap();
        }
        blocks
    };
    extend(FOLDED);
    store.fold_all().unwrap();
    extend(LAST)
}

/// Appends a record behind the store's back.
fn append(directory: &Path, kind: RecordKind, height: u64, payload: &[u8]) {
    let genesis = rollup_chain::genesis();
    let (_, _, hash) = genesis.build().unwrap();
    let files = Arc::new(DirectoryFiles::new(&directory.join("log")).unwrap());
    let chain = genesis.config_hash(hash);
    let config = LogConfig { chain, segment_bytes_max: SEGMENT_BYTES_MAX };
    let log = OrderLog::open(files, config, 0, |_: Record<'_>| Ok::<_, LogError>(()));
    // The first segment is gone; then the database's position is the one before the next.
    let log = log.unwrap_or_else(|error| {
        let LogError::Missing { found: Some((_, found)), .. } = error else { panic!("{error}") };
        let files = Arc::new(DirectoryFiles::new(&directory.join("log")).unwrap());
        let visit = |_: Record<'_>| Ok::<_, LogError>(());
        OrderLog::open(files, config, found - 1, visit).unwrap()
    });
    log.wait(&log.append(kind, height, payload).unwrap()).unwrap();
}

fn check(directory: &Path) -> Result<Checked, CheckError> {
    ChainReader::open(directory)?.check(&mut |_| ())
}

#[track_caller]
fn sound(directory: &Path) -> CheckedLog {
    check(directory).unwrap().log.unwrap()
}

#[track_caller]
fn damaged(directory: &Path) -> LogError {
    match check(directory) {
        Err(CheckError::DamagedLog(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn inconsistent(directory: &Path) -> LogInconsistency {
    match check(directory) {
        Err(CheckError::InconsistentLog(found)) => *found,
        other => panic!("{other:?}"),
    }
}

/// The segments, oldest first.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory.join("log")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Where the records of a segment begin.
fn records(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = SEGMENT_HEADER;
    while at < bytes.len() {
        starts.push(at);
        let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap());
        at += RECORD_HEADER + length as usize;
    }
    assert_eq!(at, bytes.len());
    starts
}

#[test]
fn a_sound_chain_is_read_from_its_tables_and_its_log() {
    let directory = tempfile::tempdir().unwrap();
    let blocks = chain(directory.path());
    let before: Vec<_> = segments(directory.path()).iter().map(|p| fs::read(p).unwrap()).collect();
    assert!(before.len() >= 2);
    let checked = check(directory.path()).unwrap();
    assert_eq!(checked.head.number, FOLDED);
    let log = checked.log.unwrap();
    let last = blocks.last().unwrap();
    assert_eq!((log.head.number, log.head.hash), (LAST, last.hash));
    assert_eq!((log.blocks, log.rollbacks), (UNFOLDED, 0));
    assert_eq!(log.state_root, last.header.state_root);
    assert_ne!(log.state_root, checked.state_root);
    assert_eq!((log.stat.last_position, log.stat.torn.is_none()), (LAST, true));
    let bytes: u64 = before.iter().map(|bytes| bytes.len() as u64).sum();
    assert_eq!((log.stat.bytes, log.stat.segments), (bytes, before.len()));
    let tail = ChainReader::open(directory.path()).unwrap().stat().unwrap().log.unwrap();
    assert_eq!((tail.stat, tail.head, tail.common), (log.stat, LAST, FOLDED));
    // Nothing was written, and the node goes on.
    let after: Vec<_> = segments(directory.path()).iter().map(|p| fs::read(p).unwrap()).collect();
    assert_eq!(before, after);
    let store = open(directory.path());
    assert_eq!(store.head(), log.head);
    store.fold_all().unwrap();
    drop(store);
    let log = sound(directory.path());
    assert_eq!((log.head.number, log.blocks, log.stat.last_position), (LAST, 0, LAST));
}

#[test]
fn a_damaged_byte_is_found_with_its_file_and_its_record() {
    let directory = tempfile::tempdir().unwrap();
    chain(directory.path());
    let paths = segments(directory.path());
    let (newest, mut found) = (paths.last().unwrap(), 0);
    for path in &paths {
        let good = fs::read(path).unwrap();
        let starts = records(&good);
        let last = *starts.last().unwrap();
        // Every byte of the headers, and some of each payload.
        let is_looked_at = |at: &usize| {
            let record = starts.iter().rev().find(|start| *start <= at);
            record.is_none_or(|start| at - start < RECORD_HEADER || (at - start).is_multiple_of(97))
        };
        for at in (0..good.len()).filter(is_looked_at) {
            let mut flipped = good.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(path, &flipped).unwrap();
            if path == newest && at >= last {
                // It may be a write that was not finished: reported, and no contradiction.
                let log = sound(directory.path());
                assert_eq!(log.head.number, LAST - 1, "byte {at}");
                let torn = log.stat.torn.unwrap();
                assert_eq!((&torn.path, torn.offset), (path, last as u64));
                continue;
            }
            found += 1;
            let record = starts.iter().rev().find(|start| **start <= at).copied().unwrap_or(0);
            match damaged_or_newer(directory.path()) {
                LogError::Corrupt { path: named, offset, .. } => {
                    assert_eq!((&named, offset), (path, record as u64), "byte {at}");
                }
                LogError::Foreign { path: named } => assert!(&named == path && at < 8),
                LogError::NewerFormat { path: named, .. } => {
                    assert!(&named == path && (8..12).contains(&at));
                }
                error => panic!("byte {at}: {error}"),
            }
        }
        fs::write(path, &good).unwrap();
    }
    println!("{found} damaged bytes found");
    assert!(found > 300);
    sound(directory.path());
}

#[track_caller]
fn damaged_or_newer(directory: &Path) -> LogError {
    use sequencer::store::ChainStoreError;
    match check(directory) {
        Err(CheckError::DamagedLog(error) | CheckError::Store(ChainStoreError::Log(error))) => {
            error
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_torn_tail_is_reported_and_is_no_contradiction() {
    let directory = tempfile::tempdir().unwrap();
    chain(directory.path());
    let newest = segments(directory.path()).pop().unwrap();
    let good = fs::read(&newest).unwrap();
    let last = *records(&good).last().unwrap();
    for keep in (last..good.len()).step_by(41) {
        fs::write(&newest, &good[..keep]).unwrap();
        let log = sound(directory.path());
        assert_eq!((log.head.number, log.blocks), (LAST - 1, UNFOLDED - 1));
        match log.stat.torn {
            Some(torn) => {
                assert_eq!((torn.offset, torn.bytes), (last as u64, (keep - last) as u64));
            }
            None => assert_eq!(keep, last),
        }
        assert_eq!(fs::read(&newest).unwrap().len(), keep);
    }
    let store = open(directory.path());
    assert_eq!(store.head().number, LAST - 1);
}

#[test]
fn missing_and_foreign_segments_are_named() {
    let directory = tempfile::tempdir().unwrap();
    chain(directory.path());
    let paths = segments(directory.path());
    assert!(paths.len() >= 4, "{paths:?}");
    let good: Vec<_> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
    let restore = || paths.iter().zip(&good).for_each(|(p, bytes)| fs::write(p, bytes).unwrap());

    // The first one is passed: the tables have what it holds.
    fs::remove_file(&paths[0]).unwrap();
    sound(directory.path());
    fs::remove_file(&paths[1]).unwrap();
    let error = damaged(directory.path());
    assert!(matches!(error, LogError::Missing { expected: 5, found: Some(_) }), "{error}");
    restore();
    fs::remove_file(&paths[1]).unwrap();
    let error = damaged(directory.path());
    assert!(error.to_string().contains(paths[2].to_str().unwrap()), "{error}");
    restore();
    fs::write(&paths[1], [7; 500]).unwrap();
    let error = damaged(directory.path());
    assert!(matches!(&error, LogError::Foreign { path } if path == &paths[1]), "{error}");
    restore();
    fs::write(&paths[1], &good[2]).unwrap();
    assert!(matches!(damaged(directory.path()), LogError::Corrupt { .. }));
    restore();
    // A file of another name is none of the log's.
    fs::write(directory.path().join("log/notes.txt"), "x").unwrap();
    sound(directory.path());
    fs::remove_dir_all(directory.path().join("log")).unwrap();
    let error = damaged(directory.path());
    assert!(matches!(error, LogError::Gone { position: FOLDED, .. }), "{error}");
}

#[test]
fn a_rollback_that_the_tables_have_not_followed_is_applied() {
    let directory = tempfile::tempdir().unwrap();
    let blocks = chain(directory.path());
    // Within the log.
    append(directory.path(), RecordKind::Rollback, FOLDED + 2, &[]);
    let log = sound(directory.path());
    assert_eq!((log.head.number, log.head.hash), (FOLDED + 2, blocks[1].hash));
    assert_eq!(log.state_root, blocks[1].header.state_root);
    append(directory.path(), RecordKind::Block, FOLDED + 3, &BlockRecord::encode(&blocks[2]));
    assert_eq!(sound(directory.path()).state_root, blocks[2].header.state_root);

    // Below the tables' head, and on from there, twice.
    let other = tempfile::tempdir().unwrap();
    let (genesis, store) = (rollup_chain::genesis(), open(other.path()));
    let mut again = Vec::new();
    while store.head().number < FOLDED {
        again.push(build(&store, &genesis));
        store.commit(again.last().unwrap()).unwrap();
    }
    for target in [2, 1] {
        append(directory.path(), RecordKind::Rollback, target, &[]);
        let log = sound(directory.path());
        let head = store.header(target).unwrap().unwrap();
        assert_eq!((log.head.hash, log.state_root), (head.1, head.0.state_root));
        for block in &again[target as usize..] {
            let number = block.header.number;
            append(directory.path(), RecordKind::Block, number, &BlockRecord::encode(block));
        }
        let log = sound(directory.path());
        assert_eq!((log.head, log.state_root), (store.head(), again[3].header.state_root));
    }
    let tail = ChainReader::open(directory.path()).unwrap().stat().unwrap().log.unwrap();
    assert_eq!((tail.common, tail.head, tail.unfolded_blocks()), (1, FOLDED, FOLDED - 1));
    append(directory.path(), RecordKind::Rollback, 9, &[]);
    let said = inconsistent(directory.path()).to_string();
    assert!(said.contains("about block 9: ") && said.contains("above the head"), "{said}");
}

#[test]
fn pruning_a_stopped_nodes_directory_keeps_what_a_rollback_in_the_log_needs() {
    let directory = tempfile::tempdir().unwrap();
    chain(directory.path());
    let outputs = FinalOutputs { next_index: 1, block: FOLDED };
    open(directory.path()).set_final_outputs(outputs).unwrap();
    // L1 took back what was final, and the process ended between the record and the transaction.
    append(directory.path(), RecordKind::Rollback, 2, &[]);
    let pruned = prune_directory(directory.path(), 1, &mut |_| ()).unwrap();
    assert_eq!((pruned.first_state, pruned.is_done), (2, true));
    assert_eq!(sound(directory.path()).head.number, 2);
    let store = open(directory.path());
    assert_eq!((store.head().number, store.kept().unwrap().final_outputs), (2, None));
}

/// Replaces the last block by a changed one: the check names its record, with a problem like `says`.
#[track_caller]
fn finds(says: &str, change: impl FnOnce(&mut ExecutedBlock)) {
    let directory = tempfile::tempdir().unwrap();
    let mut blocks = chain(directory.path());
    append(directory.path(), RecordKind::Rollback, LAST - 1, &[]);
    let (block, whole) = (blocks.last_mut().unwrap(), sound(directory.path()));
    change(block);
    append(directory.path(), RecordKind::Block, LAST, &BlockRecord::encode(block));
    let found = inconsistent(directory.path());
    assert_eq!((found.position, found.height), (whole.stat.last_position + 1, LAST), "{found}");
    assert_eq!(Some(&found.path), segments(directory.path()).last(), "{found}");
    let said = found.to_string();
    assert!(said.contains(says) && said.contains(&format!("byte {}", found.offset)), "{said}");
    // What the check refuses, a start refuses, where it is about the state.
    if says.contains("state root") {
        let opened = ChainStore::open_with(directory.path(), &rollup_chain::genesis(), by_hand());
        opened.unwrap_err();
    }
}

#[test]
fn a_block_that_contradicts_itself_or_the_chain_is_named() {
    use alloy::primitives::{B256, U256};
    let writer = rollup_chain::writer();
    let payer = rollup_chain::caller(LAST % 8);
    finds("the state root", |block| {
        let after = block.diff.accounts.get_mut(&payer).unwrap().after.as_mut().unwrap();
        after.balance_wei += U256::from(1);
    });
    finds("the state root", |block| {
        let slots = &mut block.diff.accounts.get_mut(&writer).unwrap().slots;
        slots.values_mut().next().unwrap().after = U256::from(12345);
    });
    finds("the state root", |block| {
        block.diff.accounts.remove(&payer).unwrap();
    });
    finds("the state root", |block| {
        block.diff.accounts.get_mut(&payer).unwrap().after = None;
    });
    finds("the state root", |block| block.header.state_root = B256::ZERO);
    finds("starts from another value", |block| {
        let before = block.diff.accounts.get_mut(&payer).unwrap().before.as_mut().unwrap();
        before.nonce += 1;
    });
    finds("slot 9 starts from another value", |block| {
        let slots = &mut block.diff.accounts.get_mut(&writer).unwrap().slots;
        slots.get_mut(&U256::from(9)).unwrap().before = U256::from(5);
    });
    finds("table Bytecodes has no row", |block| {
        let after = block.diff.accounts.get_mut(&payer).unwrap().after.as_mut().unwrap();
        after.code_hash = B256::repeat_byte(1);
    });
    finds("the transactions root", |block| {
        block.transactions.pop();
        block.receipts.pop();
    });
    finds("the receipts root", |block| block.receipts[0].success = false);
    finds("the gas used", |block| block.header.gas_used += 1);
    finds("the hash of the logs bloom", |block| block.header.logs_bloom.0[3] ^= 1);
    finds("the parent hash", |block| block.header.parent_hash = B256::ZERO);
    finds("the number in the header", |block| block.header.number += 1);
}

#[test]
fn the_first_of_several_blocks_is_named_also_where_a_later_one_is_right() {
    use alloy::primitives::U256;
    let directory = tempfile::tempdir().unwrap();
    let blocks = chain(directory.path());
    append(directory.path(), RecordKind::Rollback, LAST - 2, &[]);
    let before = sound(directory.path());
    // An account that the next block sets again: the state after both is right.
    let mut wrong = blocks[blocks.len() - 2].clone();
    let mut right = blocks[blocks.len() - 1].clone();
    let shared = wrong.diff.accounts.keys().find(|a| right.diff.accounts.contains_key(*a));
    let shared = *shared.unwrap();
    let account = wrong.diff.accounts.get_mut(&shared).unwrap();
    account.after.as_mut().unwrap().balance_wei += U256::from(1);
    right.diff.accounts.get_mut(&shared).unwrap().before = account.after;
    for block in [&wrong, &right] {
        let payload = BlockRecord::encode(block);
        append(directory.path(), RecordKind::Block, block.header.number, &payload);
    }
    let found = inconsistent(directory.path());
    assert_eq!((found.position, found.height), (before.stat.last_position + 1, LAST - 1));
    assert!(found.to_string().contains("the state root"), "{found}");
    append(directory.path(), RecordKind::Block, LAST + 1, b"not a block");
    let said = inconsistent(directory.path()).to_string();
    assert!(said.contains("a record of version"), "{said}");
}

#[test]
fn a_check_beside_a_node_that_commits_folds_and_rolls_back_passes() {
    let directory = tempfile::tempdir().unwrap();
    let genesis = rollup_chain::genesis();
    let pause = Duration::from_millis(2);
    let fold = FoldLimits { blocks_max: 3, pause, unfolded_blocks_max: 6, ..Default::default() };
    let options = ChainOptions { fold, segment_bytes_max: 2_000, ..ChainOptions::default() };
    let chain = directory.path().join("chain");
    let store = ChainStore::open_with(&chain, &genesis, options).unwrap();
    let stop = AtomicBool::new(false);
    let node = || {
        let mut committed = 0;
        while !stop.load(Ordering::Relaxed) {
            store.commit(&build(&store, &genesis)).unwrap();
            committed += 1;
            if committed % 17 == 0 {
                store.rollback_to(store.head().number.saturating_sub(committed % 5)).unwrap();
            }
            // The chain stays short, so that checks stay many.
            if store.head().number > 60 {
                store.rollback_to(2).unwrap();
            }
        }
        committed
    };
    let (mut checks, mut unfolded, mut failed) = (0, 0, None::<String>);
    let committed = std::thread::scope(|scope| {
        let node = scope.spawn(node);
        let due = Instant::now() + Duration::from_secs(6);
        while Instant::now() < due && failed.is_none() && !node.is_finished() {
            for command in ["check", "stat"] {
                let (ok, out) = db(directory.path(), command);
                if !ok {
                    failed = Some(out.clone());
                }
                let is_unfolded = command == "check" && !out.contains("\norder log     0 blocks");
                unfolded += u64::from(ok && is_unfolded);
            }
            checks += 1;
        }
        stop.store(true, Ordering::Relaxed);
        node.join().unwrap()
    });
    println!("{checks} checks beside {committed} commits: {unfolded} saw blocks in the log alone");
    assert_eq!(failed, None);
    assert!(checks >= 5 && unfolded > 0 && committed > 50);
}

/// What `sequencer db` says of the chain in a data directory, and whether it went well: a process of
/// its own, as beside a node.
fn db(data_dir: &Path, command: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sequencer"))
        .args(["db", command, "--data-dir"])
        .arg(data_dir)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}
