//! The chain store and other processes: a second one refuses, a killed one loses nothing that it
//! reported, and what it leaves is sound in every row and record. The other process is this test binary,
//! running one ignored test in a directory.

use crate::chain_model::{Change, Model, genesis};
use alloy::primitives::{B256, U256};
use sequencer::store::{
    ChainStore, ChainStoreError,
    chain::{ChainOptions, ChainReader, FoldLimits, check::CheckedLog},
    log::{DirectoryFiles, LogFile, LogFiles},
};
use std::{
    fs, io,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    thread::ThreadId,
    time::{Duration, Instant},
};
use tracing_subscriber::filter::LevelFilter;

const CHILD: &str = "chain_crash::child_commits_until_it_is_killed";
/// Rounds of a run that nobody asked to be longer.
const ROUNDS: u64 = 10;
/// Says how many rounds: `WEFT_CRASH_ROUNDS=300 cargo nextest run -p sequencer --test store
/// chain_crash`.
const ROUNDS_VARIABLE: &str = "WEFT_CRASH_ROUNDS";
/// Rounds on one directory; then a new one, so that checking the whole chain stays short.
const ROUNDS_PER_DIRECTORY: u64 = 10;

/// Last word of every reported line.
const END: &str = ".";

/// Folds all the time, a few blocks each, and starts a segment every block or two: a kill meets both.
fn options() -> ChainOptions {
    let pause = Duration::from_millis(1);
    let fold = FoldLimits { blocks_max: 4, pause, unfolded_blocks_max: 8, ..Default::default() };
    ChainOptions { fold, segment_bytes_max: 1500, ..ChainOptions::default() }
}

/// What a block changes follows from its number and salt, so that another process can say what a
/// block that it finds must be.
fn changes_of(number: u64, salt: u64) -> Vec<Change> {
    let who = (number % 6) as u8;
    let mut changes = vec![Change::Pay(who, number ^ salt), Change::Slot(who, 1, salt % 3)];
    if number.is_multiple_of(5) {
        changes.push(Change::Code(who, salt as u8));
    }
    if number.is_multiple_of(7) {
        changes.push(Change::Remove(who));
    }
    changes
}

/// The chain as it must be, by the salts that the store's headers have; every hash is compared.
fn rebuilt(store: &ChainStore) -> Model {
    let mut model = Model::new(genesis());
    for number in 1..=store.head().number {
        let (header, hash) = store.header(number).unwrap().unwrap();
        let salt = U256::from_be_bytes(header.mix_hash.0).to::<u64>();
        let changes = changes_of(number, salt);
        let block = model.build(&changes, salt);
        assert_eq!(block.hash, hash, "block {number} is another one");
        model.push(block, &changes);
    }
    model
}

/// A line with an end mark: one that a kill cut off was not reported.
fn say(line: &str) {
    println!("\n{line} {END}");
    std::io::stdout().flush().unwrap();
}

/// The log's files, which say when a segment is being started and when one is being dropped, so that
/// whoever kills the process knows what it met.
#[derive(Debug)]
struct Marking {
    real: DirectoryFiles,
    /// Who is starting a segment.
    starting: Mutex<Option<ThreadId>>,
}

impl Marking {
    fn new(directory: &Path) -> Self {
        Self { real: DirectoryFiles::new(directory).unwrap(), starting: Mutex::new(None) }
    }
}

impl LogFiles for Marking {
    fn create(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        *self.starting.lock().unwrap() = Some(thread::current().id());
        say("rotating");
        self.real.create(name)
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn LogFile>> {
        self.real.open(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.real.list()
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        say("dropping");
        self.real.remove(name)
    }

    fn sync_directory(&self) -> io::Result<()> {
        self.real.sync_directory()?;
        let mut starting = self.starting.lock().unwrap();
        if *starting == Some(thread::current().id()) {
            *starting = None;
            say("rotated");
        } else {
            say("dropped");
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.real.path(name)
    }
}

/// Events of the store as lines of standard output: the fold says when it begins and when it is done.
fn say_events() {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::DEBUG)
        .with_ansi(false)
        .with_writer(io::stdout)
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
}

#[test]
#[ignore = "runs as the child process of the other tests"]
fn child_commits_until_it_is_killed() {
    say_events();
    let chain = Path::new("chain");
    fs::create_dir_all(chain).unwrap();
    let files = Arc::new(Marking::new(&chain.join("log")));
    let options = ChainOptions { log_files: Some(files), ..options() };
    let store = match ChainStore::open_with(chain, &genesis(), options) {
        Ok(store) => store,
        Err(error) => {
            assert!(matches!(error, ChainStoreError::LockedByAnotherProcess { .. }), "{error}");
            println!("\nrefused: {error}");
            return;
        }
    };
    let mut model = rebuilt(&store);
    say("open");
    for step in 0..100_000 {
        let salt = (u64::from(std::process::id()) << 24) + step;
        let number = model.head().0.number + 1;
        if step % 13 == 12 && number > 6 {
            let target = number - 1 - step % 5;
            say(&format!("undoing {target}"));
            store.rollback_to(target).unwrap();
            model.rollback_to(target as usize);
            say(&format!("undone {target}"));
            continue;
        }
        model.extend(&store, &changes_of(number, salt), salt);
        say(&format!("committed {number} {}", model.head().1));
    }
}

fn spawn_child(directory: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", CHILD, "--ignored", "--nocapture"])
        .current_dir(directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn a_second_store_is_refused_in_this_process_and_in_another() {
    let directory = tempfile::tempdir().unwrap();
    let chain = directory.path().join("chain");
    let store = ChainStore::open(&chain, &genesis()).unwrap();
    let error = ChainStore::open(&chain, &genesis()).unwrap_err();
    assert!(matches!(error, ChainStoreError::LockedByAnotherProcess { .. }), "{error}");
    let output = spawn_child(directory.path()).wait_with_output().unwrap();
    assert!(output.status.success());
    let output = String::from_utf8(output.stdout).unwrap();
    let output = output.as_str();
    assert!(output.contains("refused: chain is in use by another process"), "{output}");
    // A view keeps the database open, and with it the lock.
    let view = store.view().unwrap();
    drop(store);
    assert!(ChainStore::open(&chain, &genesis()).is_err());
    drop(view);
    ChainStore::open(&chain, &genesis()).unwrap();
}

/// What the killed process reported.
#[derive(Debug, Default)]
struct Reported {
    /// Hash of each block by number, from 1; those of earlier rounds included.
    hashes: Vec<B256>,
    /// A rollback that was begun, to this block, and not reported as done.
    undoing: Option<usize>,
    committed: u64,
    undone: u64,
    /// What was begun and not ended when the process was killed.
    at_kill: AtKill,
}

/// Steps of the store that may be under way.
#[derive(Clone, Copy, Debug, Default)]
struct AtKill {
    fold: bool,
    rotation: bool,
    drop: bool,
}

impl Reported {
    fn line(&mut self, line: &str) {
        match line {
            line if line.contains(": folding through=") => self.at_kill.fold = true,
            line if line.contains(": folded through=") => self.at_kill.fold = false,
            _ => {}
        }
        let Some(line) = line.strip_suffix(END) else { return };
        let mut words = line.split_whitespace();
        let (verb, number) = (words.next(), words.next().and_then(|word| word.parse().ok()));
        match (verb, number) {
            (Some("committed"), Some(number)) => {
                assert_eq!(self.hashes.len() + 1, number);
                self.hashes.push(words.next().unwrap().parse().unwrap());
                self.committed += 1;
            }
            (Some("rotating"), _) => self.at_kill.rotation = true,
            (Some("rotated"), _) => self.at_kill.rotation = false,
            (Some("dropping"), _) => self.at_kill.drop = true,
            (Some("dropped"), _) => self.at_kill.drop = false,
            (Some("undoing"), Some(target)) => self.undoing = Some(target),
            (Some("undone"), Some(target)) => {
                self.hashes.truncate(target);
                self.undoing = None;
                self.undone += 1;
            }
            _ => {}
        }
    }

    /// Everything acknowledged is there. At most one more operation was going on.
    fn check(&mut self, store: &ChainStore) {
        let head = store.head().number as usize;
        if let Some(target) = self.undoing.take()
            && head == target
        {
            self.hashes.truncate(target);
        }
        let acknowledged = self.hashes.len();
        assert!((acknowledged..=acknowledged + 1).contains(&head), "{head}, not {acknowledged}");
        for (number, hash) in (1..).zip(&self.hashes) {
            assert_eq!(store.header(number).unwrap().unwrap().1, *hash, "block {number}");
        }
        if head > acknowledged {
            self.hashes.push(store.head().hash);
        }
    }
}

/// Every row and record of what a killed process left, and the state root computed anew from them by
/// another implementation than the store's.
fn check(chain: &Path) -> CheckedLog {
    let checked = ChainReader::open(chain).unwrap().check(&mut |_| ());
    checked.unwrap_or_else(|error| panic!("{error}")).log.unwrap()
}

/// Runs the child until it is killed, `after` it is open.
fn run_and_kill(directory: &Path, after: Duration, reported: &mut Reported) {
    let mut child = spawn_child(directory);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(
        lines.by_ref().any(|line| line.unwrap().starts_with("open")),
        "the child did not start"
    );
    let reader = thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>());
    let due = Instant::now() + after;
    while let Some(left) = due.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    reported.at_kill = AtKill::default();
    reader.join().unwrap().iter().for_each(|line| reported.line(line));
}

#[test]
fn a_process_killed_at_any_moment_loses_nothing_that_it_reported() {
    let rounds = std::env::var_os(ROUNDS_VARIABLE)
        .map_or(ROUNDS, |rounds| rounds.to_str().unwrap().parse().unwrap());
    let (mut committed, mut undone, mut unfolded, mut segments) = (0, 0, 0, 0);
    let (mut folds, mut rotations, mut drops, mut torn, mut behind) = (0, 0, 0, 0, 0);
    let mut random = u64::from(std::process::id());
    let mut round = 0;
    while round < rounds {
        let directory = tempfile::tempdir().unwrap();
        let chain = directory.path().join("chain");
        let mut reported = Reported::default();
        for _ in 0..ROUNDS_PER_DIRECTORY.min(rounds - round) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let after = Duration::from_micros((random >> 33) % 300_000);
            run_and_kill(directory.path(), after, &mut reported);
            let options = crate::chain_log::by_hand();
            segments += u64::from(fs::read_dir(chain.join("log")).unwrap().count() > 1);
            folds += u64::from(reported.at_kill.fold);
            rotations += u64::from(reported.at_kill.rotation);
            drops += u64::from(reported.at_kill.drop);
            // As it was left, then as the start that followed made of it.
            let left = check(&chain);
            torn += u64::from(left.stat.torn.is_some());
            behind += left.rollbacks;
            let store = ChainStore::open_with(&chain, &genesis(), options).unwrap();
            reported.check(&store);
            let head = store.head();
            let root = store.header(head.number).unwrap().unwrap().0.state_root;
            unfolded += u64::from(store.folded_head() != store.head());
            drop(store);
            let started = check(&chain);
            for log in [&left, &started] {
                assert_eq!((log.head, log.state_root), (head, root));
            }
            assert_eq!(started.stat.torn, None);
            round += 1;
        }
        let store = ChainStore::open(&chain, &genesis()).unwrap();
        rebuilt(&store).check_store(&store);
        (committed, undone) = (committed + reported.committed, undone + reported.undone);
    }
    println!(
        "{rounds} kills, {committed} blocks reported, {undone} rollbacks; {folds} kills met a fold, \
         {rotations} the start of a segment, {drops} the removal of one; {unfolded} times blocks \
         were in the log alone, {segments} times in several segments, {torn} times after an \
         unfinished write; {behind} rollbacks were in the log alone"
    );
    assert!(committed > 0 && unfolded > 0);
    // Fewer rounds may miss one of them.
    assert!(rounds < ROUNDS || folds > 0);
    assert!(rounds < 100 || (rotations > 0 && drops > 0));
}
