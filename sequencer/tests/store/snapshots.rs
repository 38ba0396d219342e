//! Snapshots, and the commands around a chain directory, as an operator runs them: the binary itself
//! beside a store that is open in this process, and on files that are not as they were written.

use crate::{
    chain_model::root_of,
    rollup_chain::{self, next_block},
};
use executor::{Genesis, StateView};
use sequencer::store::{
    ChainStore, ChainStoreError,
    chain::{
        FinalOutputs,
        snapshot::{SnapshotError, import},
    },
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

const BLOCKS: u64 = 12;

/// A data directory with the chain's genesis file.
struct Home {
    directory: tempfile::TempDir,
    genesis: Genesis,
}

impl Home {
    fn new() -> Self {
        let home =
            Self { directory: tempfile::tempdir().unwrap(), genesis: rollup_chain::genesis() };
        let text = serde_json::to_string(&home.genesis).unwrap();
        fs::write(home.path("genesis.json"), text).unwrap();
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn open(&self) -> ChainStore {
        ChainStore::open(&self.path("chain"), &self.genesis).unwrap()
    }

    /// What `sequencer db` says: whether it went well, standard output, standard error.
    fn db(&self, arguments: &[&str]) -> (bool, String, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_sequencer"))
            .arg("db")
            .args(arguments)
            .env("WEFT_DATA_DIR", self.directory.path())
            .env("WEFT_GENESIS", self.path("genesis.json"))
            .current_dir(self.directory.path())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        println!("{arguments:?}:\n{}{}", text(&output.stdout), text(&output.stderr));
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    fn import(&self, snapshot: &[u8]) -> Result<(), SnapshotError> {
        let path = self.path("file.snapshot");
        fs::write(&path, snapshot).unwrap();
        import(&path, &self.path("chain"), &self.genesis, &mut |_| ()).map(drop)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory.path()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }
}

/// Extends the chain, in the tables: snapshots are of those.
fn extend(store: &ChainStore, genesis: &Genesis, last: u64) {
    commit(store, genesis, last);
    store.fold_all().unwrap();
}

fn commit(store: &ChainStore, genesis: &Genesis, last: u64) {
    while store.head().number < last {
        let (header, hash) = store.header(store.head().number).unwrap().unwrap();
        let block = next_block(genesis, &store.view().unwrap(), (&header, hash));
        store.commit(&block).unwrap();
    }
}

/// A snapshot of a chain of [`BLOCKS`] blocks, of which the last three have states.
fn snapshot() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let home = Home::new();
        let store = home.open();
        extend(&store, &home.genesis, BLOCKS);
        store.keep_output(4).unwrap();
        store.set_final_outputs(FinalOutputs { next_index: 1, block: 4 }).unwrap();
        drop(store);
        let (ok, _, error) = home.db(&["export", "a.snapshot", "--blocks", "3"]);
        assert!(ok, "{error}");
        fs::read(home.path("a.snapshot")).unwrap()
    })
}

#[test]
fn a_chain_is_exported_beside_its_node_and_goes_on_elsewhere() {
    let home = Home::new();
    let store = home.open();
    extend(&store, &home.genesis, BLOCKS);
    store.keep_output(4).unwrap();
    store.set_final_outputs(FinalOutputs { next_index: 1, block: 4 }).unwrap();
    // The store is open here: this is beside a running node.
    let (ok, out, error) = home.db(&["export", "a.snapshot", "--blocks", "3"]);
    assert!(ok, "{error}");
    let head = store.head();
    assert!(out.contains(&format!("head          {BLOCKS} {}", head.hash)), "{out}");
    assert!(out.contains("states from   9") && out.contains("could not"), "{out}");
    assert_eq!(home.names(), ["a.snapshot", "chain", "genesis.json"]);
    let (ok, out, _) = home.db(&["stat"]);
    assert!(ok && out.contains("HashedAccounts") && out.contains("final output  of block 4"));
    let (ok, out, error) = home.db(&["check"]);
    assert!(ok && out.contains("Everything agrees."), "{error}");
    let (ok, _, error) = home.db(&["prune", "--history-blocks", "3"]);
    assert!(!ok && error.contains("in use by another process"), "{error}");

    let other = Home::new();
    fs::copy(home.path("a.snapshot"), other.path("a.snapshot")).unwrap();
    let (ok, out, error) = other.db(&["import", "a.snapshot"]);
    assert!(ok && out.contains("goes on from this block"), "{error}");
    assert_eq!(other.names(), ["a.snapshot", "chain", "genesis.json"]);
    let (ok, out, error) = other.db(&["check"]);
    assert!(ok && out.contains("Everything agrees."), "{error}");

    let imported = other.open();
    assert_eq!(imported.head(), head);
    let kept = imported.kept().unwrap();
    assert_eq!((kept.first_state, kept.first_block), (9, 1));
    for number in 0..=BLOCKS {
        assert_eq!(imported.block(number).unwrap(), store.block(number).unwrap());
        assert_eq!(imported.view_at(number).unwrap().is_some(), number >= 9, "{number}");
    }
    for number in 9..=BLOCKS {
        let root = |store: &ChainStore| root_of(&store.view_at(number).unwrap().unwrap());
        assert_eq!(root(&imported), root(&store));
    }
    let hash = store.block(BLOCKS).unwrap().unwrap().transactions[1].hash();
    assert_eq!(imported.transaction_position(hash).unwrap(), Some((BLOCKS, 1)));
    // Withdrawals of an old output are still proved.
    let slots = [rollup_chain::withdrawal_slot(3)];
    let proof = imported.message_passer_proof(4, &slots).unwrap().unwrap();
    assert_eq!(store.message_passer_proof(4, &slots).unwrap(), Some(proof));
    // Both go on, and to the same; and the imported one can go back as far as it has states.
    extend(&store, &home.genesis, BLOCKS + 3);
    extend(&imported, &home.genesis, BLOCKS + 3);
    assert_eq!(imported.head(), store.head());
    let error = imported.rollback_to(8).unwrap_err();
    assert!(matches!(error, ChainStoreError::HistoryPruned { number: 8, first: 9 }), "{error}");
    imported.rollback_to(9).unwrap();
    extend(&imported, &home.genesis, BLOCKS + 3);
    assert_eq!(imported.head(), store.head());
}

#[test]
fn a_snapshot_of_everything_is_the_whole_chain() {
    let home = Home::new();
    let store = home.open();
    extend(&store, &home.genesis, 6);
    drop(store);
    let (ok, _, error) = home.db(&["export", "a.snapshot"]);
    assert!(ok, "{error}");
    fs::rename(home.path("chain"), home.path("moved")).unwrap();
    let (ok, _, error) = home.db(&["import", "a.snapshot"]);
    assert!(ok, "{error}");
    let store = home.open();
    assert_eq!(store.kept().unwrap().first_state, 0);
    for number in 0..=6 {
        let view = store.view_at(number).unwrap().unwrap();
        let (header, _) = store.header(number).unwrap().unwrap();
        assert_eq!(root_of(&view), header.state_root);
        let nonce = view.account(rollup_chain::caller(1)).unwrap().unwrap().nonce;
        assert_eq!(nonce == 0, number == 0, "{number}: {nonce}");
    }
    drop(store);
    let (ok, _, error) = home.db(&["check"]);
    assert!(ok, "{error}");
}

#[test]
fn blocks_with_an_output_come_along_and_others_before_the_first_do_not() {
    const LAST: u64 = 300;
    let home = Home::new();
    let store = home.open();
    extend(&store, &home.genesis, LAST);
    for (block, next_index) in [4, 20, 298].into_iter().zip(1..) {
        store.keep_output(block).unwrap();
        store.set_final_outputs(FinalOutputs { next_index, block }).unwrap();
    }
    let (ok, _, error) = home.db(&["export", "a.snapshot", "--blocks", "3"]);
    assert!(ok, "{error}");
    let other = Home::new();
    fs::copy(home.path("a.snapshot"), other.path("a.snapshot")).unwrap();
    let (ok, out, error) = other.db(&["import", "a.snapshot"]);
    assert!(ok && out.contains("blocks from   41"), "{error}");
    let imported = other.open();
    for number in 0..=LAST {
        let is_kept = number >= 41 || [0, 4, 20].contains(&number);
        let block = store.block(number).unwrap().filter(|_| is_kept);
        assert_eq!(imported.block(number).unwrap(), block, "{number}");
    }
    let slots = [1, 3, 5, 19, 21].map(rollup_chain::withdrawal_slot);
    for block in [4, 20, 298] {
        let proof = imported.message_passer_proof(block, &slots).unwrap().unwrap();
        assert_eq!(store.message_passer_proof(block, &slots).unwrap(), Some(proof));
    }
    // The next one is made of what the first one left.
    let (ok, out, error) = other.db(&["export", "b.snapshot", "--blocks", "1000"]);
    assert!(ok && out.contains("blocks from   41"), "{error}");
    assert!(
        fs::read(other.path("a.snapshot")).unwrap() == fs::read(other.path("b.snapshot")).unwrap()
    );
    let error = imported.rollback_to(40).unwrap_err();
    assert!(matches!(error, ChainStoreError::HistoryPruned { first: 297, .. }), "{error}");
    extend(&store, &home.genesis, LAST + 1);
    extend(&imported, &home.genesis, LAST + 1);
    assert_eq!(imported.head(), store.head());
}

/// A home with blocks up to `last`, of which those above `folded` are in the order log alone, as a
/// killed node leaves it.
fn killed(folded: u64, last: u64) -> Home {
    let home = Home::new();
    let chain = home.path("chain");
    let store = ChainStore::open_with(&chain, &home.genesis, crate::chain_log::by_hand()).unwrap();
    extend(&store, &home.genesis, folded);
    commit(&store, &home.genesis, last);
    home
}

#[test]
fn a_killed_nodes_last_blocks_are_named_and_exported_after_a_start() {
    let home = killed(5, 9);
    let (ok, out, error) = home.db(&["stat"]);
    assert!(ok && out.contains("records 1 to 9"), "{error}");
    assert!(out.contains("not folded    4 blocks, up to 9"), "{out}");
    let (ok, out, error) = home.db(&["check"]);
    assert!(ok && out.contains("order log     4 blocks and 0 rollbacks after them"), "{error}");
    assert!(out.contains("in tables     5 ") && out.contains("head          9 "), "{out}");
    let (ok, out, error) = home.db(&["export", "a.snapshot"]);
    assert!(ok && out.contains("head          5 "), "{error}");
    assert!(out.contains("The order log has 4 later blocks"), "{out}");
    // A node folds when it is stopped.
    let store = home.open();
    store.fold_all().unwrap();
    drop(store);
    let (ok, out, error) = home.db(&["export", "b.snapshot"]);
    assert!(ok && out.contains("head          9 ") && !out.contains("later blocks"), "{error}");
    let (_, out, _) = home.db(&["stat"]);
    assert!(out.contains("not folded    no block"), "{out}");
}

#[test]
fn a_killed_nodes_directory_is_pruned_and_its_log_is_as_it_was() {
    let home = killed(8, 12);
    let store = home.open();
    store.set_final_outputs(FinalOutputs { next_index: 1, block: 7 }).unwrap();
    let head = store.head();
    drop(store);
    let log = home.path("chain").join("log/0000000001.log");
    let before = fs::read(&log).unwrap();
    let (ok, _, error) = home.db(&["prune", "--history-blocks", "3"]);
    assert!(ok && fs::read(&log).unwrap() == before, "{error}");
    let (ok, _, error) = home.db(&["check"]);
    assert!(ok, "{error}");
    let store = home.open();
    assert_eq!((store.head(), store.kept().unwrap().first_state > 0), (head, true));
}

#[test]
fn a_database_or_a_log_that_is_gone_is_refused_with_what_helps() {
    let home = killed(5, 9);
    let (database, log) = (home.path("chain").join("mdbx.dat"), home.path("chain").join("log"));
    let aside = home.path("aside");
    let refused = |named: &str| {
        let error = ChainStore::open(&home.path("chain"), &home.genesis).unwrap_err();
        let said = error.explain(&home.path("chain"));
        assert!(said.contains(named) && said.contains("`sequencer db import`"), "{said}");
        for command in ["check", "prune"] {
            let (ok, _, error) = match command {
                "prune" => home.db(&["prune", "--history-blocks", "1"]),
                command => home.db(&[command]),
            };
            assert!(!ok && error.contains(named), "{error}");
        }
    };
    fs::rename(&database, &aside).unwrap();
    refused("has an order log and no database");
    assert!(!database.exists(), "a new chain was begun");
    fs::rename(&aside, &database).unwrap();

    fs::rename(&log, &aside).unwrap();
    refused("holds no order log, and the database has its records up to 5");
    let (ok, out, _) = home.db(&["stat"]);
    assert!(ok && out.contains("order log     ") && out.contains("holds no order log"), "{out}");
    // What the database has can still be taken out.
    let (ok, out, error) = home.db(&["export", "a.snapshot"]);
    assert!(ok && out.contains("cannot be read"), "{error}");
    fs::remove_dir_all(&log).ok();
    fs::rename(&aside, &log).unwrap();
    assert_eq!(home.open().head().number, 9);
}

#[test]
fn an_import_begins_a_log_of_its_own_and_none_may_be_left() {
    let home = Home::new();
    let left = home.path("chain").join("log");
    fs::create_dir_all(&left).unwrap();
    fs::write(left.join("0000000001.log"), "left").unwrap();
    let error = home.import(snapshot()).unwrap_err();
    assert!(matches!(error, SnapshotError::NotEmpty { .. }), "{error}");
    assert_eq!(fs::read(left.join("0000000001.log")).unwrap(), b"left");
    fs::remove_dir_all(home.path("chain")).unwrap();
    home.import(snapshot()).unwrap();
    let (ok, out, error) = home.db(&["stat"]);
    assert!(ok && out.contains("order log     0 segments, 0 B, no record"), "{error}");
    let store = home.open();
    commit(&store, &home.genesis, BLOCKS + 1);
    drop(store);
    let (ok, out, error) = home.db(&["check"]);
    assert!(ok && out.contains(&format!("head          {} ", BLOCKS + 1)), "{out}{error}");
    let (_, out, _) = home.db(&["stat"]);
    assert!(out.contains("records 1 to 1"), "{out}");
}

#[test]
fn nothing_is_overwritten() {
    let home = Home::new();
    home.open();
    fs::write(home.path("a.snapshot"), "precious").unwrap();
    let (ok, _, error) = home.db(&["export", "a.snapshot"]);
    assert!(!ok && error.contains("a.snapshot exists"), "{error}");
    assert_eq!(fs::read(home.path("a.snapshot")).unwrap(), b"precious");
    let error = home.import(snapshot()).unwrap_err();
    assert!(matches!(error, SnapshotError::NotEmpty { .. }), "{error}");
}

#[test]
fn a_file_that_was_changed_anywhere_is_refused_by_place_and_leaves_nothing() {
    let home = Home::new();
    let whole = snapshot();
    let step = whole.len() / 60;
    let refused = |bytes: &[u8]| {
        let error = home.import(bytes).unwrap_err();
        assert_eq!(home.names(), ["file.snapshot", "genesis.json"]);
        let said = error.to_string();
        assert!(said.contains("file.snapshot"), "{said}");
        said
    };
    for at in (0..whole.len()).step_by(step).chain(0..16).chain([whole.len() - 1]) {
        let mut flipped = whole.to_vec();
        flipped[at] ^= 0x10;
        let said = refused(&flipped);
        if at > 1_000 {
            assert!(said.contains(", byte "), "{said}");
        }
        refused(&whole[..at]);
    }
    fs::write(home.path("file.snapshot"), &whole[..9_000]).unwrap();
    let (ok, _, error) = home.db(&["import", "file.snapshot", "--data-dir", "new"]);
    assert!(!ok && error.contains(", byte ") && !home.path("new").exists(), "{error}");
    assert!(refused(&[whole, b"x"].concat()).contains("something after the end"));
    assert!(refused(b"").contains("is not a snapshot"));
    let mut newer = whole.to_vec();
    newer[11] = 2;
    assert!(refused(&newer).contains("has format version 2; this program reads 1"));
    let half = refused(&whole[..whole.len() / 2]);
    assert!(half.contains("table ") && half.contains("the file is cut off"), "{half}");
    home.import(whole).unwrap();
}

#[test]
fn another_chains_snapshot_is_refused() {
    let mut home = Home::new();
    home.genesis.rules.chain_id += 1;
    let error = home.import(snapshot()).unwrap_err();
    assert!(matches!(error, SnapshotError::OtherChain { .. }), "{error}");
    assert!(error.to_string().contains("the snapshot is of chain 420420 "), "{error}");
    assert_eq!(home.names(), ["file.snapshot", "genesis.json"]);
    home.genesis.timestamp += 1;
    let error = home.import(snapshot()).unwrap_err();
    assert!(matches!(error, SnapshotError::OtherChain { .. }), "{error}");
}

#[test]
fn what_an_import_left_is_refused_until_it_is_deleted() {
    let home = Home::new();
    fs::create_dir(home.path("chain.import")).unwrap();
    let error = ChainStore::open(&home.path("chain"), &home.genesis).unwrap_err();
    assert!(matches!(error, ChainStoreError::UnfinishedImport { .. }), "{error}");
    assert!(!home.path("chain").exists());
    let error = home.import(snapshot()).unwrap_err();
    assert!(error.to_string().contains("chain.import is left from an import"), "{error}");
    fs::remove_dir(home.path("chain.import")).unwrap();
    home.import(snapshot()).unwrap();
    home.open();
}

#[test]
fn a_killed_import_leaves_no_chain() {
    let home = Home::new();
    fs::write(home.path("a.snapshot"), snapshot()).unwrap();
    for _ in 0..20 {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sequencer"))
            .args(["db", "import", "a.snapshot", "--data-dir", ".", "--genesis", "genesis.json"])
            .current_dir(home.directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        while !home.path("chain.import").exists() && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if home.path("chain").exists() {
            // It was done before it was killed: a whole chain.
            assert_eq!(home.open().head().number, BLOCKS);
            fs::remove_dir_all(home.path("chain")).unwrap();
            continue;
        }
        if !home.path("chain.import").exists() {
            continue;
        }
        let (ok, _, error) = home.db(&["import", "a.snapshot"]);
        assert!(!ok && error.contains("delete it"), "{error}");
        fs::remove_dir_all(home.path("chain.import")).unwrap();
    }
    home.import(snapshot()).unwrap();
}

#[test]
fn a_damaged_directory_is_named_with_what_helps() {
    let home = Home::new();
    let (ok, _, error) = home.db(&["stat"]);
    assert!(
        !ok && error.contains("there is no chain in") && error.contains("db import"),
        "{error}"
    );
    extend(&home.open(), &home.genesis, 3);
    let file = home.path("chain").join("mdbx.dat");
    let sound = fs::read(&file).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&file, bytes).unwrap();
        let error = ChainStore::open(&home.path("chain"), &home.genesis).unwrap_err();
        assert!(error.advice().contains("db check"), "{error}");
        let (ok, _, error) = home.db(&["check"]);
        assert!(!ok && error.contains("chain") && error.contains("db import"), "{error}");
        assert!(fs::read(&file).unwrap() == bytes, "the damaged file was changed");
    };
    refused(&[]);
    refused(&sound[..40_000]);
    refused(&[0x5a; 1 << 16]);
    fs::write(&file, &sound).unwrap();
    assert_eq!(home.open().head().number, 3);
    let (ok, _, error) = home.db(&["check"]);
    assert!(ok, "{error}");
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_sequencer")).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn help_teaches() {
    let text = help(&["db", "--help"]);
    for command in ["export", "import", "stat", "check", "prune"] {
        assert!(text.contains(command), "{text}");
    }
    let text = help(&["db", "import", "--help"]);
    assert!(text.contains("chain.import") && text.contains("ledger"), "{text}");
    assert!(help(&["--help"]).contains("Look at a chain directory"));
    assert!(Path::new(env!("CARGO_BIN_EXE_sequencer")).exists());
}
