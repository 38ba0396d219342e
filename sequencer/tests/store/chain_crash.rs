//! The chain store and other processes: a second one refuses, a killed one loses nothing that it
//! reported. The other process is this test binary, running one ignored test in a directory.

use crate::chain_model::{Change, Model, genesis};
use sequencer::store::{ChainStore, ChainStoreError};
use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

const CHILD: &str = "chain_crash::child_commits_until_it_is_killed";

#[test]
#[ignore = "runs as the child process of the other tests"]
fn child_commits_until_it_is_killed() {
    let mut model = Model::new(genesis());
    let store = match ChainStore::open(Path::new("chain"), &model.genesis) {
        Ok(store) => store,
        Err(error) => {
            assert!(matches!(error, ChainStoreError::LockedByAnotherProcess { .. }), "{error}");
            println!("\nrefused: {error}");
            return;
        }
    };
    for number in 1..100_000 {
        model.extend(&store, &[Change::Pay((number % 6) as u8, number)], 0);
        println!("\ncommitted {number}");
        std::io::stdout().flush().unwrap();
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
    assert!(output.contains("refused: chain is in use by another process"), "{output}");
    // A view keeps the database open, and with it the lock.
    let view = store.view().unwrap();
    drop(store);
    assert!(ChainStore::open(&chain, &genesis()).is_err());
    drop(view);
    ChainStore::open(&chain, &genesis()).unwrap();
}

#[test]
fn a_killed_process_loses_no_reported_block_and_locks_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = spawn_child(directory.path());
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let reported = lines
        .filter_map(|line| line.unwrap().strip_prefix("committed ")?.parse::<u64>().ok())
        .find(|number| *number >= 15);
    child.kill().unwrap();
    child.wait().unwrap();

    let mut model = Model::new(genesis());
    let store = ChainStore::open(&directory.path().join("chain"), &model.genesis).unwrap();
    let head = store.head().number;
    assert!(head >= reported.unwrap(), "{head} is below {reported:?}");
    for number in 1..=head {
        let changes = [Change::Pay((number % 6) as u8, number)];
        let block = model.build(&changes, 0);
        model.push(block, &changes);
    }
    model.check_store(&store);
}
