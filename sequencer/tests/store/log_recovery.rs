//! What the order log makes of the files it finds: unfinished writes are cut, damage and foreign
//! files are refused and left as they are.

use crate::{
    log_faults::{Read, append, open_after, payload},
    log_files::FaultyFiles,
};
use sequencer::store::log::{Damage, LogError, OrderLog, RecordKind};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// Header of a segment, and of a record, in bytes.
const SEGMENT_HEADER: usize = 88;
const RECORD_HEADER: usize = 40;
/// Three of the records below.
const SEGMENT_BYTES_MAX: u64 = 350;

fn try_open(directory: &Path, after: u64) -> Result<(OrderLog, Read), LogError> {
    open_after(&FaultyFiles::new(directory), SEGMENT_BYTES_MAX, after)
}

fn refused(directory: &Path, after: u64) -> LogError {
    let before = contents(directory);
    let error = try_open(directory, after).unwrap_err();
    assert_eq!(contents(directory), before, "refused and changed: {error}");
    error
}

fn contents(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn restore(directory: &Path, contents: &BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    contents.iter().for_each(|(path, bytes)| fs::write(path, bytes).unwrap());
}

/// A log of `count` records, and its files.
fn written(directory: &Path, count: u64) -> (Read, BTreeMap<PathBuf, Vec<u8>>) {
    let (log, _) = try_open(directory, 0).unwrap();
    for height in 1..=count {
        append(&log, height, &payload(height, 0)).unwrap();
    }
    drop(log);
    (try_open(directory, 0).unwrap().1, contents(directory))
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_log_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let (records, files) = written(directory.path(), 5);
    let (path, bytes) = files.last_key_value().unwrap();
    let last = RECORD_HEADER + payload(5, 0).len();
    let start = bytes.len() - last;
    for keep in 0..last {
        // Either the file ends there, or the rest of its blocks was never written.
        for fill in [0, last - keep] {
            restore(directory.path(), &files);
            let mut torn = bytes[..start + keep].to_vec();
            torn.resize(torn.len() + fill, 0);
            fs::write(path, &torn).unwrap();
            let (log, read) = try_open(directory.path(), 0).unwrap();
            assert_eq!(read, records[..4], "{keep} bytes and {fill} zeros");
            assert_eq!(fs::metadata(path).unwrap().len() as usize, start);
            assert_eq!(append(&log, 5, b"again").unwrap(), 5);
            drop(log);
            let (_, read) = try_open(directory.path(), 0).unwrap();
            assert_eq!((&read[..4], &read[4]), (&records[..4], &(5, 5, b"again".to_vec())));
        }
    }
}

#[test]
fn a_flipped_byte_anywhere_is_refused_or_in_the_last_record_cut() {
    let directory = tempfile::tempdir().unwrap();
    let (records, files) = written(directory.path(), 5);
    assert_eq!(files.len(), 2);
    let (newest, bytes) = files.last_key_value().unwrap();
    let last_record = bytes.len() - RECORD_HEADER - payload(5, 0).len();
    let (mut refusals, mut cuts) = (0, 0);
    for (path, bytes) in &files {
        for at in 0..bytes.len() {
            restore(directory.path(), &files);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(path, &flipped).unwrap();
            if path == newest && at >= last_record {
                // Nobody can tell it from an unfinished write, unless the database has the record.
                let error = refused(directory.path(), 5);
                assert!(matches!(error, LogError::Corrupt { .. }), "byte {at}: {error}");
                let (_, read) = try_open(directory.path(), 0).unwrap();
                assert_eq!(read, records[..4], "byte {at}");
                cuts += 1;
                continue;
            }
            let error = refused(directory.path(), 0);
            assert!(error.to_string().contains(path.to_str().unwrap()), "byte {at}: {error}");
            match &error {
                LogError::Foreign { .. } => assert!(at < 8),
                LogError::NewerFormat { .. } => assert!((8..12).contains(&at)),
                LogError::Corrupt { offset, .. } => {
                    assert!(*offset <= at as u64 && (at >= SEGMENT_HEADER || *offset == 0));
                }
                error => panic!("byte {at}: {error}"),
            }
            refusals += 1;
        }
    }
    println!("{refusals} refused, {cuts} cut");
    assert!(refusals > 400 && cuts > 50);
}

#[test]
fn an_unfinished_group_is_cut_as_a_whole() {
    let directory = tempfile::tempdir().unwrap();
    let (log, _) = try_open(directory.path(), 0).unwrap();
    append(&log, 1, b"alone").unwrap();
    let tickets: Vec<_> =
        (2..=4).map(|height| log.append(RecordKind::Block, height, b"group").unwrap()).collect();
    tickets.iter().for_each(|ticket| log.wait(ticket).unwrap());
    drop(log);
    let files = contents(directory.path());
    let (path, bytes) = files.last_key_value().unwrap();
    // The first of the three never reached the disk, the later two did.
    let group = SEGMENT_HEADER + RECORD_HEADER + b"alone".len();
    let mut torn = bytes.clone();
    torn[group..group + 20].fill(0);
    fs::write(path, &torn).unwrap();
    let (log, read) = try_open(directory.path(), 0).unwrap();
    assert_eq!(read, [(1, 1, b"alone".to_vec())]);
    assert_eq!(append(&log, 2, b"next").unwrap(), 2);
    drop(log);
    // With a record after the group it is damage, however the length is damaged.
    for length in [0, 5, 6, 1 << 20, u32::MAX] {
        restore(directory.path(), &files);
        let (log, _) = try_open(directory.path(), 0).unwrap();
        append(&log, 5, b"later").unwrap();
        drop(log);
        let mut torn = contents(directory.path())[path].clone();
        torn[group..group + 8].fill(0);
        torn[group + 8..group + 12].copy_from_slice(&length.to_le_bytes());
        fs::write(path, &torn).unwrap();
        let error = refused(directory.path(), 0);
        let LogError::Corrupt { offset, .. } = error else { panic!("{error}") };
        assert_eq!(offset, group as u64);
    }
}

#[test]
fn a_segment_whose_creation_was_not_finished_holds_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (records, files) = written(directory.path(), 3);
    let (_, bytes) = files.first_key_value().unwrap();
    let next = directory.path().join("0000000002.log");
    let zeros = [0; SEGMENT_HEADER];
    let unfinished = (0..SEGMENT_HEADER).map(|length| &bytes[..length]);
    for unfinished in unfinished.chain([&zeros[..]]) {
        restore(directory.path(), &files);
        fs::write(&next, unfinished).unwrap();
        let (log, read) = try_open(directory.path(), 0).unwrap();
        assert_eq!(read, records);
        append(&log, 4, b"four").unwrap();
        drop(log);
        assert_eq!(try_open(directory.path(), 0).unwrap().1.len(), 4);
    }
    fs::write(&next, [&zeros[..], b"x"].concat()).unwrap();
    assert!(matches!(refused(directory.path(), 0), LogError::Corrupt { offset: 0, .. }));
}

#[test]
fn missing_and_foreign_segments_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let (records, files) = written(directory.path(), 12);
    let paths: Vec<_> = files.keys().collect();
    assert_eq!(paths.len(), 4);
    fs::write(directory.path().join("notes.txt"), "not a segment").unwrap();
    assert_eq!(try_open(directory.path(), 0).unwrap().1, records);
    // What the database has is not needed, and not given again.
    assert_eq!(try_open(directory.path(), 7).unwrap().1, records[7..]);

    fs::remove_file(paths[0]).unwrap();
    let LogError::Missing { expected: 1, found: Some((path, 4)) } = refused(directory.path(), 0)
    else {
        panic!("the first segment is not missed");
    };
    assert_eq!(&path, paths[1]);
    assert_eq!(try_open(directory.path(), 3).unwrap().1, records[3..]);

    fs::remove_file(paths[2]).unwrap();
    let error = refused(directory.path(), 3);
    let damage = Damage::Sequence;
    assert!(matches!(error, LogError::Corrupt { damage: d, .. } if d == damage), "{error}");

    restore(directory.path(), &files);
    fs::remove_file(paths[3]).unwrap();
    assert!(matches!(
        refused(directory.path(), 12),
        LogError::Missing { expected: 10, found: None }
    ));
    restore(directory.path(), &BTreeMap::new());
    assert!(matches!(refused(directory.path(), 12), LogError::Gone { position: 12, .. }));

    restore(directory.path(), &files);
    fs::write(paths[1], &files[paths[2]]).unwrap();
    assert!(matches!(
        refused(directory.path(), 0),
        LogError::Corrupt { damage: Damage::Header, .. }
    ));
    fs::write(paths[1], vec![7; 500]).unwrap();
    assert!(matches!(refused(directory.path(), 0), LogError::Foreign { .. }));
    fs::write(paths[1], &files[paths[1]][..200]).unwrap();
    assert!(matches!(
        refused(directory.path(), 0),
        LogError::Corrupt { damage: Damage::CutOff, .. }
    ));
    let mut other = files[paths[1]].clone();
    other[8] = 3;
    fs::write(paths[1], other).unwrap();
    let error = refused(directory.path(), 0);
    assert!(matches!(error, LogError::NewerFormat { found: 3, supported: 2, .. }), "{error}");
}

#[test]
fn another_chains_log_is_refused() {
    use sequencer::store::log::{DirectoryFiles, LogConfig, Record};
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), 1);
    let files = std::sync::Arc::new(DirectoryFiles::new(directory.path()).unwrap());
    let config = LogConfig { chain: alloy::primitives::B256::ZERO, segment_bytes_max: 1 };
    let error = OrderLog::open(files, config, 0, |_: Record<'_>| Ok::<_, LogError>(()));
    assert!(matches!(error.unwrap_err(), LogError::OtherChain { .. }));
}

#[test]
fn segments_rotate_and_go_when_the_database_has_passed_them() {
    let directory = tempfile::tempdir().unwrap();
    let (records, files) = written(directory.path(), 12);
    assert!(files.values().all(|bytes| (bytes.len() as u64) < SEGMENT_BYTES_MAX + 140));
    let (log, _) = try_open(directory.path(), 0).unwrap();
    assert_eq!((log.segments(), log.durable_position()), (4, 12));
    // Three records to a segment: a segment goes with its last record and not before.
    assert_eq!(log.drop_through(2, 0).unwrap(), 0);
    assert_eq!(log.drop_through(3, 0).unwrap(), 1);
    assert_eq!(log.drop_through(8, 0).unwrap(), 1);
    assert_eq!(contents(directory.path()).len(), 2);
    // The newest stays: it says where the log is.
    assert_eq!(log.drop_through(u64::MAX, 0).unwrap(), 1);
    assert_eq!(append(&log, 13, b"next").unwrap(), 13);
    drop(log);
    let (log, read) = try_open(directory.path(), 9).unwrap();
    assert_eq!((&read[..3], read.len()), (&records[9..], 4));
    assert_eq!(log.durable_position(), 13);
    assert!(matches!(refused(directory.path(), 8), LogError::Missing { expected: 9, .. }));
}
