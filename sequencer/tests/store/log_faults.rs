//! The order log on files that fail: what was acknowledged is there after a power loss, what was not
//! may be tried again, and every fault is shown to fire.

use crate::log_files::{Call, EDQUOT, EIO, ENOSPC, Fault, FaultyFiles, Rule};
use alloy::primitives::B256;
use sequencer::store::log::{LogConfig, LogError, OrderLog, Record, RecordKind};
use std::{path::Path, sync::Arc, thread};

const CHAIN: B256 = B256::repeat_byte(0x42);
/// Three of the records below.
const SEGMENT_BYTES_MAX: u64 = 350;

pub(crate) type Read = Vec<(u64, u64, Vec<u8>)>;

pub(crate) fn open_after(
    files: &FaultyFiles,
    segment_bytes_max: u64,
    after: u64,
) -> Result<(OrderLog, Read), LogError> {
    let mut read = Read::new();
    let visit = |record: Record<'_>| -> Result<(), LogError> {
        assert_eq!(record.kind, RecordKind::Block);
        read.push((record.position, record.height, record.payload.to_vec()));
        Ok(())
    };
    let config = LogConfig { chain: CHAIN, segment_bytes_max };
    let log = OrderLog::open(Arc::new(files.clone()), config, after, visit)?;
    Ok((log, read))
}

fn open(files: &FaultyFiles) -> (OrderLog, Read) {
    open_after(files, SEGMENT_BYTES_MAX, 0).unwrap()
}

/// What is in the directory, read without any fault.
fn reopened(directory: &Path) -> Read {
    open(&FaultyFiles::new(directory)).1
}

pub(crate) fn payload(height: u64, attempt: u64) -> Vec<u8> {
    format!("block {height} attempt {attempt} ").repeat(3).into_bytes()
}

pub(crate) fn append(log: &OrderLog, height: u64, payload: &[u8]) -> Result<u64, LogError> {
    let ticket = log.append(RecordKind::Block, height, payload)?;
    log.wait(&ticket)?;
    Ok(ticket.position())
}

/// Appends twelve records, each until it is acknowledged: what was acknowledged, and the errors.
fn append_all(log: &OrderLog) -> (Read, Vec<LogError>) {
    let (mut acknowledged, mut errors) = (Read::new(), Vec::new());
    for height in 1..=12 {
        for attempt in 0..4 {
            let payload = payload(height, attempt);
            match append(log, height, &payload) {
                Ok(position) => {
                    acknowledged.push((position, height, payload));
                    break;
                }
                Err(error) => errors.push(error),
            }
        }
    }
    assert_eq!(acknowledged.len(), 12, "{errors:?}");
    (acknowledged, errors)
}

/// Every fault at every call of its kind, once and twice in a row.
fn faults() -> Vec<Rule> {
    let kinds = [
        (Call::Write, Fault::Error(EIO)),
        (Call::Write, Fault::Error(ENOSPC)),
        (Call::Write, Fault::Short),
        (Call::Write, Fault::ShortThenError(ENOSPC)),
        (Call::SyncData, Fault::Error(EIO)),
        (Call::SyncData, Fault::Error(ENOSPC)),
        (Call::Create, Fault::Error(ENOSPC)),
        (Call::SyncDirectory, Fault::Error(EIO)),
        (Call::SyncDirectory, Fault::Error(ENOSPC)),
        (Call::Write, Fault::Error(EDQUOT)),
    ];
    let mut rules = Vec::new();
    for (call, fault) in kinds {
        let calls = match call {
            Call::Write | Call::SyncData => 12,
            _ => 3,
        };
        for skip in 0..calls {
            rules.extend([1, 2].map(|times| Rule { call, fault, skip, times }));
        }
    }
    rules
}

#[test]
fn every_fault_fires_and_nothing_acknowledged_is_lost_to_it_and_a_power_loss() {
    for rule in faults() {
        let directory = tempfile::tempdir().unwrap();
        let files = FaultyFiles::new(directory.path());
        let (log, _) = open(&files);
        files.plan(&[rule]);
        let (acknowledged, errors) = append_all(&log);
        assert_eq!(files.fired(rule.call), rule.times, "{rule:?}");
        match rule.fault {
            Fault::Short => assert!(errors.is_empty(), "{rule:?}: {errors:?}"),
            Fault::Error(code) | Fault::ShortThenError(code) => {
                assert_eq!(errors.len(), rule.times, "{rule:?}: {errors:?}");
                for error in errors {
                    assert_eq!(error.is_disk_full(), code != EIO, "{rule:?}: {error}");
                    assert!(error.to_string().contains(".log"), "{error}");
                }
            }
        }
        let positions: Vec<_> = acknowledged.iter().map(|(position, ..)| *position).collect();
        assert_eq!(positions, (1..=12).collect::<Vec<_>>(), "{rule:?}");
        drop(log);
        files.lose_power();
        assert_eq!(reopened(directory.path()), acknowledged, "{rule:?}");
    }
}

#[test]
fn the_rest_of_a_failed_append_counts_for_nothing_also_where_it_cannot_be_cut() {
    for (call, fault) in
        [(Call::SyncData, Fault::Error(EIO)), (Call::Write, Fault::ShortThenError(ENOSPC))]
    {
        let directory = tempfile::tempdir().unwrap();
        let files = FaultyFiles::new(directory.path());
        let (log, _) = open(&files);
        append(&log, 1, &payload(1, 0)).unwrap();
        let cannot_cut = Rule { call: Call::Truncate, fault: Fault::Error(EIO), skip: 0, times: 1 };
        files.plan(&[Rule { call, fault, skip: 0, times: 1 }, cannot_cut]);
        append(&log, 2, &payload(2, 0)).unwrap_err();
        assert_eq!((files.fired(call), files.fired(Call::Truncate)), (1, 1));
        let left = std::fs::metadata(directory.path().join("0000000001.log")).unwrap().len();
        append(&log, 2, &payload(2, 1)).unwrap();
        append(&log, 3, &payload(3, 1)).unwrap();
        assert_eq!(log.segments(), 2);
        drop(log);
        // The record is whole in the old segment where its sync failed; the new one has the word.
        assert!(left > 88 + 40 + payload(1, 0).len() as u64);
        let expected = [(1, 1, payload(1, 0)), (2, 2, payload(2, 1)), (3, 3, payload(3, 1))];
        assert_eq!(reopened(directory.path()), expected);
    }
}

#[test]
fn a_crash_after_a_failed_sync_leaves_only_what_was_acknowledged() {
    let directory = tempfile::tempdir().unwrap();
    let files = FaultyFiles::new(directory.path());
    let (log, _) = open(&files);
    append(&log, 1, &payload(1, 0)).unwrap();
    files.plan(&[
        Rule { call: Call::SyncData, fault: Fault::Error(EIO), skip: 0, times: 1 },
        Rule { call: Call::Truncate, fault: Fault::Error(EIO), skip: 0, times: 1 },
    ]);
    append(&log, 2, &payload(2, 0)).unwrap_err();
    assert_eq!((files.fired(Call::SyncData), files.fired(Call::Truncate)), (1, 1));
    drop(log);
    files.lose_power();
    assert_eq!(reopened(directory.path()), [(1, 1, payload(1, 0))]);
}

#[test]
fn a_full_disk_stops_appends_until_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let files = FaultyFiles::new(directory.path());
    let (log, _) = open(&files);
    append(&log, 1, &payload(1, 0)).unwrap();
    let full = |call| Rule { call, fault: Fault::Error(ENOSPC), skip: 0, times: usize::MAX };
    files.plan(&[full(Call::Write), full(Call::Create)]);
    for _ in 0..5 {
        let error = append(&log, 2, &payload(2, 0)).unwrap_err();
        assert!(error.is_disk_full(), "{error}");
        assert_eq!(log.durable_position(), 1);
    }
    assert_eq!((files.fired(Call::Write), files.fired(Call::Create)), (1, 4));
    files.plan(&[]);
    append(&log, 2, &payload(2, 0)).unwrap();
    drop(log);
    assert_eq!(reopened(directory.path()).len(), 2);
}

#[test]
fn a_group_fails_together_and_with_what_was_queued_behind_it() {
    let directory = tempfile::tempdir().unwrap();
    let files = FaultyFiles::new(directory.path());
    let (log, _) = open(&files);
    files.plan(&[Rule { call: Call::SyncData, fault: Fault::Error(EIO), skip: 1, times: 1 }]);
    let tickets: Vec<_> = (1..=3)
        .map(|height| log.append(RecordKind::Block, height, &payload(height, 0)).unwrap())
        .collect();
    for ticket in tickets.iter().rev() {
        assert!(matches!(log.wait(ticket).unwrap_err(), LogError::Io { operation: "sync", .. }));
    }
    assert_eq!((files.fired(Call::SyncData), log.durable_position()), (1, 0));
    assert_eq!(append(&log, 1, &payload(1, 1)).unwrap(), 1);
    // Asking again does not change the answer.
    log.wait(&tickets[0]).unwrap_err();
    drop(log);
    assert_eq!(reopened(directory.path()), [(1, 1, payload(1, 1))]);
}

#[test]
fn threads_share_syncs_and_each_finds_its_record() {
    const THREADS: u64 = 8;
    const EACH: u64 = 50;
    let directory = tempfile::tempdir().unwrap();
    let files = FaultyFiles::new(directory.path());
    let (log, _) = open_after(&files, 1 << 20, 0).unwrap();
    let appender = |thread: u64| {
        let log = &log;
        move || {
            let append = |at| {
                let height = thread * EACH + at;
                (append(log, height, &payload(height, 0)).unwrap(), height)
            };
            (0..EACH).map(append).collect::<Vec<_>>()
        }
    };
    let mut acknowledged: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(appender(thread))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    acknowledged.sort_unstable();
    let syncs = files.calls(Call::SyncData);
    println!("{} records in {syncs} syncs", acknowledged.len());
    assert!(syncs < acknowledged.len(), "no sync was shared");
    drop(log);
    let (_, read) = open_after(&FaultyFiles::new(directory.path()), 1 << 20, 0).unwrap();
    let read: Vec<_> = read.iter().map(|(position, height, _)| (*position, *height)).collect();
    assert_eq!(read, acknowledged);
    let positions = read.iter().map(|(position, _)| *position);
    assert!(positions.eq(1..=THREADS * EACH));
}

#[test]
fn the_queue_is_bounded_and_its_writer_is_whoever_finds_it_full() {
    let directory = tempfile::tempdir().unwrap();
    let files = FaultyFiles::new(directory.path());
    let (log, _) = open_after(&files, 1 << 20, 0).unwrap();
    let tickets: Vec<_> =
        (1..=5000).map(|height| log.append(RecordKind::Block, height, &[]).unwrap()).collect();
    assert_eq!(log.durable_position(), 4096);
    log.wait(tickets.last().unwrap()).unwrap();
    assert_eq!(log.durable_position(), 5000);
}

#[test]
fn a_segment_that_cannot_be_removed_is_removed_later() {
    let directory = tempfile::tempdir().unwrap();
    let files = FaultyFiles::new(directory.path());
    let (log, _) = open(&files);
    append_all(&log);
    let segments = log.segments();
    files.plan(&[Rule { call: Call::Remove, fault: Fault::Error(EIO), skip: 1, times: 1 }]);
    assert!(matches!(
        log.drop_through(12, 0).unwrap_err(),
        LogError::Io { operation: "remove", .. }
    ));
    assert_eq!((files.fired(Call::Remove), log.segments()), (1, segments - 1));
    assert_eq!(log.drop_through(12, 0).unwrap(), segments - 2);
    assert_eq!(log.segments(), 1);
}

#[test]
fn a_log_that_cannot_be_read_is_not_opened() {
    let directory = tempfile::tempdir().unwrap();
    let files = FaultyFiles::new(directory.path());
    let (log, _) = open(&files);
    append_all(&log);
    drop(log);
    let calls = [Call::List, Call::Open, Call::Length, Call::Read, Call::SyncData];
    for (index, call) in calls.into_iter().enumerate() {
        let files = FaultyFiles::new(directory.path());
        files.plan(&[Rule { call, fault: Fault::Error(EIO), skip: 0, times: 1 }]);
        let error = open_after(&files, SEGMENT_BYTES_MAX, 0).unwrap_err();
        assert!(matches!(error, LogError::Io { .. }), "{index}: {error}");
        assert_eq!(files.fired(call), 1);
    }
    assert_eq!(reopened(directory.path()).len(), 12);
}
