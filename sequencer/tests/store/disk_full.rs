//! A disk that is really full: the store on a small file system of its own, in a child process, filled
//! up while blocks come. Commits are refused before anything is acknowledged, reads go on, and when there
//! is room again so do commits. Needs the right to mount one, in a user namespace.

use crate::{
    chain_model::{Change, Model, genesis},
    skip::skip,
};
use executor::ExecutedBlock;
use sequencer::store::{
    ChainStore,
    chain::{ChainOptions, ChainReader, FoldLimits},
    log::DirectoryFiles,
};
use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

const CHILD: &str = "disk_full::child_fills_its_disk";
/// Where the child puts the order log; beside the database without it.
const LOG_VARIABLE: &str = "WEFT_TEST_LOG_DIRECTORY";
/// Blocks in the log alone at most.
const UNFOLDED_BLOCKS_MAX: u64 = 4;
/// Blocks within which the database has to need another page.
const BLOCKS_MAX: u64 = 3_000;
/// Views that are open at one time on the full disk: more than the engine's first page of readers.
const VIEWS: usize = 300;

fn open() -> ChainStore {
    let pause = Duration::from_millis(1);
    let unfolded_blocks_max = UNFOLDED_BLOCKS_MAX as usize;
    let fold = FoldLimits { blocks_max: 4, pause, unfolded_blocks_max, ..Default::default() };
    let log = std::env::var_os(LOG_VARIABLE).map_or(PathBuf::from("chain/log"), PathBuf::from);
    fs::create_dir_all("chain").unwrap();
    let files = Arc::new(DirectoryFiles::new(&log).unwrap());
    let options = ChainOptions {
        fold,
        segment_bytes_max: 20_000,
        log_files: Some(files),
        ..ChainOptions::default()
    };
    ChainStore::open_with(Path::new("chain"), &genesis(), options).unwrap()
}

fn changes(number: u64) -> [Change; 2] {
    [Change::Pay((number % 6) as u8, number), Change::Slot((number % 5) as u8, 1, number % 7)]
}

/// Writes until nothing more fits.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for bytes in [1 << 20, 4096, 1] {
        while file.write_all(&vec![7; bytes]).is_ok() {}
    }
}

/// Commits as a builder does that tries again at every slot. The fold tries again every second.
fn commit_once_there_is_room(store: &ChainStore, block: &ExecutedBlock) {
    let due = Instant::now() + Duration::from_secs(20);
    while let Err(error) = store.commit(block) {
        assert!(error.is_disk_full() && Instant::now() < due, "{error}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "runs as the child process of the other tests"]
fn child_fills_its_disk() {
    let mut store = open();
    let mut model = Model::new(genesis());
    for number in 1..=10 {
        model.extend(&store, &changes(number), 0);
    }
    store.fold_all().unwrap();
    for round in 1..=3 {
        fill(Path::new("filler"));
        let (first, mut refused) = (store.head().number + 1, None);
        for number in first..first + BLOCKS_MAX {
            let block = model.build(&changes(number), round);
            match store.commit(&block) {
                Ok(()) => model.push(block, &changes(number)),
                Err(error) => {
                    refused = Some((block, error));
                    break;
                }
            }
        }
        let (block, error) = refused.expect("the disk never was full");
        assert!(error.is_disk_full(), "{error}");
        println!("\nrefused: block {}, {error}", block.header.number);
        let again = store.commit(&block).unwrap_err();
        assert!(again.is_disk_full(), "{again}");
        // Everything acknowledged is there to be read, by many at once.
        assert_eq!(store.head().hash, model.head().1);
        let views: Vec<_> = (0..VIEWS).map(|_| store.view().unwrap()).collect();
        views.iter().step_by(50).for_each(|view| model.check_view(view, model.blocks.len()));
        drop(views);
        fs::remove_file("filler").unwrap();
        let number = block.header.number;
        commit_once_there_is_room(&store, &block);
        model.push(block, &changes(number));
        for number in number + 1..number + 10 {
            let block = model.build(&changes(number), round);
            commit_once_there_is_room(&store, &block);
            model.push(block, &changes(number));
        }
        if round == 2 {
            drop(store);
            store = open();
        }
        println!("went on to block {}", store.head().number);
    }
    model.check_store(&store);
    store.fold_all().unwrap();
    drop(store);
    let store = open();
    model.check_store(&store);
    let root = model.head().0.state_root;
    drop(store);
    if std::env::var_os(LOG_VARIABLE).is_none() {
        let checked = ChainReader::open(Path::new("chain")).unwrap().check(&mut |_| ()).unwrap();
        assert_eq!(checked.log.unwrap().state_root, root);
    }
    println!("\nnothing is lost");
}

/// Runs the child on a file system of its own; `None` where none can be mounted.
fn run_child(log: Option<&Path>) -> Option<Output> {
    const MOUNT: &str = "mount -t tmpfs -o size=40m tmpfs . && cd \"$PWD\" && exec \"$@\"";
    let directory = tempfile::tempdir().unwrap();
    let in_namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
        command.current_dir(directory.path());
        command
    };
    let probe = in_namespace(MOUNT).arg("true").output();
    if !probe.is_ok_and(|probe| probe.status.success()) {
        skip("no file system of its own for a full disk: unshare cannot mount one here");
        return None;
    }
    let mut child = in_namespace(MOUNT);
    child.arg(std::env::current_exe().unwrap());
    child.args(["--exact", CHILD, "--ignored", "--nocapture"]);
    if let Some(log) = log {
        child.env(LOG_VARIABLE, log);
    }
    Some(child.output().unwrap())
}

fn goes_on(log: Option<&Path>) -> Option<Vec<String>> {
    let output = run_child(log)?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}", output.status);
    assert!(text.contains("nothing is lost"));
    let refused = text.lines().filter(|line| line.starts_with("refused: "));
    let refused: Vec<_> = refused.map(str::to_owned).collect();
    assert_eq!(refused.len(), 3);
    Some(refused)
}

#[test]
fn a_full_disk_of_log_and_database_refuses_commits_until_there_is_room() {
    goes_on(None);
}

#[test]
fn a_full_disk_below_the_database_alone_refuses_commits_once_the_fold_is_behind() {
    let elsewhere = tempfile::tempdir().unwrap();
    let Some(refused) = goes_on(Some(&elsewhere.path().join("log"))) else { return };
    // The fault is the database's.
    assert!(refused.iter().all(|line| line.contains("chain database")), "{refused:?}");
}
