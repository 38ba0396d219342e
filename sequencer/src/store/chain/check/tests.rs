//! A real database, damaged in one place at a time: the check says which row is wrong, and how.

use super::{CheckError, Inconsistency, Problem, run};
use crate::rollup_chain;
use crate::store::{
    chain::{
        ChainStore, FinalOutputs, Head, has_code, progress::Progress, prune_directory, write_head,
        write_meta,
    },
    kv::{DATA_FILE, Kv, KvWriter},
    tables::{
        AccountChangeSets, AccountsHistory, BlockBodies, Bytecodes, HashedAccounts, HashedStorages,
        HeaderNumbers, Headers, Key, Meta, MetaKey, OutputParts, OutputProofs, Receipts,
        StorageChangeSets, StoragesHistory, StoredHeader, TABLES, Table, TransactionHashNumbers,
        Value,
    },
};
use alloy::primitives::{Address, B256, Bytes, U256, keccak256};
use contracts::L2_TO_L1_MESSAGE_PASSER;
use executor::StateView;
use std::{fs, path::Path, sync::OnceLock};

const BLOCKS: u64 = 9;
/// Blocks with an output.
const OUTPUTS: [u64; 2] = [3, 6];

/// The file of a chain of [`BLOCKS`] blocks, with outputs; built once.
fn chain_file() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        extend(directory.path(), BLOCKS);
        fs::read(directory.path().join(DATA_FILE)).unwrap()
    })
}

fn extend(directory: &Path, last: u64) {
    let genesis = rollup_chain::genesis();
    let store = ChainStore::open(directory, &genesis).unwrap();
    while store.head().number < last {
        let (header, hash) = store.header(store.head().number).unwrap().unwrap();
        let view = store.view().unwrap();
        let block = rollup_chain::next_block(&genesis, &view, (&header, hash));
        store.commit(&block).unwrap();
    }
    store.fold_all().unwrap();
    for (block, next_index) in OUTPUTS.into_iter().zip(1..) {
        store.keep_output(block).unwrap();
        store.set_final_outputs(FinalOutputs { next_index, block }).unwrap();
    }
}

/// Checks the chain after `damage`.
fn check_after(damage: impl FnOnce(&KvWriter)) -> Result<u64, Box<Inconsistency>> {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join(DATA_FILE), chain_file()).unwrap();
    let kv = Kv::open(directory.path(), TABLES).unwrap();
    let writer = kv.writer().unwrap();
    damage(&writer);
    writer.commit().unwrap();
    let mut last = Progress::default();
    let mut reports = Vec::new();
    let checked = run(&kv.snapshot().unwrap(), None, &mut |progress| {
        assert!(progress.entries >= last.entries && progress.entries <= progress.entries_total);
        last = progress;
        reports.push(progress.step);
    });
    match checked {
        Ok(checked) => {
            assert_eq!(checked.head.number, BLOCKS);
            assert_eq!(checked.entries, last.entries_total);
            assert!(reports.contains(&"HashedAccounts") && reports.contains(&"BlockBodies"));
            Ok(checked.entries)
        }
        Err(CheckError::Inconsistent(found)) => Err(found),
        Err(error) => panic!("{error}"),
    }
}

/// What the check finds after `damage` is a row of `T` with a problem that reads like `says`.
#[track_caller]
fn finds<T: Table>(key: &T::Key, says: &str, damage: impl FnOnce(&KvWriter)) {
    let found = check_after(damage).expect_err("the check found nothing");
    let said = found.to_string();
    assert_eq!((found.table, found.key), (T::SPEC.name, key.to_key().into()), "{said}");
    assert!(said.contains(says), "{said}");
}

fn first<T: Table>(writer: &KvWriter) -> (T::Key, T::Value)
where
    T::Key: Default,
{
    writer.read_from::<T>(&T::Key::default()).unwrap().unwrap()
}

fn read<T: Table>(writer: &KvWriter, key: &T::Key) -> T::Value {
    writer.read::<T>(key).unwrap().unwrap()
}

/// The first row of a table, read from a copy.
fn first_of<T: Table>() -> (T::Key, T::Value)
where
    T::Key: Default,
{
    let mut row = None;
    check_after(|writer| row = Some(first::<T>(writer))).unwrap();
    row.unwrap()
}

fn row<T: Table>(key: &T::Key) -> T::Value {
    let mut value = None;
    check_after(|writer| value = Some(read::<T>(writer, key))).unwrap();
    value.unwrap()
}

#[test]
fn a_sound_chain_is_sound() {
    assert!(check_after(|_| ()).unwrap() > 100);
}

#[test]
fn damaged_meta_rows_are_named() {
    finds::<Meta>(&MetaKey::GenesisHash, "the hash of block 0", |w| {
        write_meta(w, MetaKey::GenesisHash, B256::ZERO.to_value()).unwrap();
    });
    finds::<Meta>(&MetaKey::Head, "the head's hash", |w| {
        let head = Head { number: BLOCKS, hash: B256::ZERO, timestamp: 0 };
        write_head(w, head).unwrap();
    });
    finds::<Headers>(&99, "missing", |w| {
        write_head(w, Head { number: 99, hash: B256::ZERO, timestamp: 0 }).unwrap();
    });
    finds::<Meta>(&MetaKey::FinalOutputs, "above the head", |w| {
        let outputs = FinalOutputs { next_index: 3, block: BLOCKS + 1 };
        write_meta(w, MetaKey::FinalOutputs, outputs.to_value()).unwrap();
    });
    finds::<Meta>(&MetaKey::FirstState, "the first kept block", |w| {
        write_meta(w, MetaKey::FirstState, 10_u64.to_value()).unwrap();
    });
}

#[test]
fn damaged_state_is_named() {
    let (code, _) = first_of::<Bytecodes>();
    finds::<Bytecodes>(&code, "the code's hash", |w| {
        w.write::<Bytecodes>(&code, &Bytes::from_static(&[1])).unwrap();
    });
    let writer = keccak256(rollup_chain::writer());
    let missing = row::<HashedAccounts>(&writer).code_hash;
    assert!(has_code(&missing));
    finds::<HashedAccounts>(&writer, "table Bytecodes has no row", |w| {
        assert!(w.remove::<Bytecodes>(&missing).unwrap());
    });
    let (slot, _) = first_of::<HashedStorages>();
    finds::<HashedStorages>(&slot, "a slot of zero", |w| {
        w.write::<HashedStorages>(&slot, &U256::ZERO).unwrap();
    });
    finds::<HashedStorages>(&slot, "table HashedAccounts has no row", |w| {
        assert!(w.remove::<HashedAccounts>(&slot.0).unwrap());
    });
    for damage in [0, 1, 2] {
        finds::<Headers>(&BLOCKS, "the state root is", |w| match damage {
            0 => w.write::<HashedStorages>(&slot, &U256::MAX).unwrap(),
            1 => assert!(w.remove::<HashedStorages>(&slot).unwrap()),
            _ => {
                let account = keccak256(rollup_chain::caller(1));
                let mut value = read::<HashedAccounts>(w, &account);
                value.balance_wei += U256::from(1);
                w.write::<HashedAccounts>(&account, &value).unwrap();
            }
        });
    }
    let account = keccak256(rollup_chain::caller(1));
    finds::<HashedAccounts>(&account, "does not decode", |w| {
        w.put(HashedAccounts::SPEC, account.as_slice(), &[1, 2, 3]).unwrap();
    });
}

#[test]
fn damaged_headers_are_named() {
    let change = |number: u64, change: fn(&mut StoredHeader)| {
        move |w: &KvWriter| {
            let mut stored = read::<Headers>(w, &number);
            change(&mut stored);
            w.write::<Headers>(&number, &stored).unwrap();
        }
    };
    finds::<Headers>(&4, "the block hash", change(4, |stored| stored.header.gas_limit += 1));
    finds::<Headers>(&5, "the parent hash", |w| {
        change(4, |stored| {
            stored.header.gas_limit += 1;
            stored.hash = stored.header.hash_slow();
        })(w);
        let stored = read::<Headers>(w, &4);
        w.write::<HeaderNumbers>(&stored.hash, &4).unwrap();
    });
    finds::<Headers>(&4, "missing", |w| assert!(w.remove::<Headers>(&4).unwrap()));
    let hash = row::<Headers>(&4).hash;
    finds::<Headers>(&4, "table HeaderNumbers has no row", |w| {
        assert!(w.remove::<HeaderNumbers>(&hash).unwrap());
    });
    finds::<Headers>(&4, "table HeaderNumbers, key", |w| {
        w.write::<HeaderNumbers>(&hash, &5).unwrap();
    });
    finds::<HeaderNumbers>(&B256::ZERO, "table Headers, key", |w| {
        w.write::<HeaderNumbers>(&B256::ZERO, &5).unwrap();
    });
    finds::<HeaderNumbers>(&B256::ZERO, "table Headers has no row", |w| {
        w.write::<HeaderNumbers>(&B256::ZERO, &50).unwrap();
    });
    finds::<Headers>(&10, "above the head", |w| {
        let stored = read::<Headers>(w, &4);
        w.write::<Headers>(&10, &stored).unwrap();
    });
}

#[test]
fn damaged_blocks_are_named() {
    finds::<Headers>(&4, "the transactions root", |w| {
        let other = read::<BlockBodies>(w, &(5, 1));
        w.write::<BlockBodies>(&(4, 1), &other).unwrap();
    });
    finds::<BlockBodies>(&(4, 2), "the index within the block", |w| {
        assert!(w.remove::<BlockBodies>(&(4, 1)).unwrap());
    });
    finds::<BlockBodies>(&(50, 0), "table Headers has no row", |w| {
        let other = read::<BlockBodies>(w, &(5, 1));
        w.write::<BlockBodies>(&(50, 0), &other).unwrap();
    });
    finds::<Receipts>(&(4, 2), "logs before the receipt", |w| {
        let mut receipt = read::<Receipts>(w, &(4, 2));
        receipt.logs_before += 1;
        w.write::<Receipts>(&(4, 2), &receipt).unwrap();
    });
    finds::<Headers>(&4, "the receipts root", |w| {
        let mut receipt = read::<Receipts>(w, &(4, 2));
        receipt.receipt.success = false;
        w.write::<Receipts>(&(4, 2), &receipt).unwrap();
    });
    let hash = row::<BlockBodies>(&(4, 1)).hash();
    finds::<BlockBodies>(&(4, 1), "table TransactionHashNumbers has no row", |w| {
        assert!(w.remove::<TransactionHashNumbers>(&hash).unwrap());
    });
    finds::<BlockBodies>(&(4, 1), "table TransactionHashNumbers, key", |w| {
        w.write::<TransactionHashNumbers>(&hash, &(4, 2)).unwrap();
    });
    finds::<TransactionHashNumbers>(&B256::ZERO, "table BlockBodies, key", |w| {
        w.write::<TransactionHashNumbers>(&B256::ZERO, &(4, 2)).unwrap();
    });
    finds::<TransactionHashNumbers>(&B256::ZERO, "table BlockBodies has no row", |w| {
        w.write::<TransactionHashNumbers>(&B256::ZERO, &(4, 20)).unwrap();
    });
}

#[test]
fn damaged_outputs_are_named() {
    finds::<OutputParts>(&BLOCKS, "the message passer's storage root", |w| {
        w.write::<OutputParts>(&BLOCKS, &B256::ZERO).unwrap();
    });
    finds::<OutputParts>(&4, "the message passer's storage root", |w| {
        w.write::<OutputParts>(&4, &B256::ZERO).unwrap();
    });
    finds::<Headers>(&4, "table OutputParts has no row", |w| {
        assert!(w.remove::<OutputParts>(&4).unwrap());
    });
    finds::<OutputProofs>(&3, "the proof does not hold", |w| {
        let mut proof = read::<OutputProofs>(w, &3);
        proof.account.balance_wei += U256::from(1);
        w.write::<OutputProofs>(&3, &proof).unwrap();
    });
    finds::<OutputProofs>(&3, "the proof does not hold", |w| {
        let other = read::<OutputProofs>(w, &6);
        w.write::<OutputProofs>(&3, &other).unwrap();
    });
}

#[test]
fn damaged_history_is_named() {
    let (account, _) = first_of::<AccountsHistory>();
    let change = (account.1, account.0);
    finds::<AccountChangeSets>(&change, "table AccountsHistory has no row", |w| {
        assert!(w.remove::<AccountsHistory>(&account).unwrap());
    });
    finds::<AccountsHistory>(&account, "table AccountChangeSets has no row", |w| {
        assert!(w.remove::<AccountChangeSets>(&change).unwrap());
    });
    let (slot, _) = first_of::<StoragesHistory>();
    let change = ((slot.1, slot.0.0), slot.0.1);
    finds::<StorageChangeSets>(&change, "table StoragesHistory has no row", |w| {
        assert!(w.remove::<StoragesHistory>(&slot).unwrap());
    });
    finds::<StoragesHistory>(&slot, "table StorageChangeSets has no row", |w| {
        assert!(w.remove::<StorageChangeSets>(&change).unwrap());
    });
    let above = (99, Address::ZERO);
    finds::<AccountChangeSets>(&above, "above the head", |w| {
        w.write::<AccountChangeSets>(&above, &None).unwrap();
    });
    // A value that was never there shows in the state of the block before.
    finds::<Headers>(&6, "the state root", |w| {
        let key = (7, rollup_chain::caller(7));
        let mut before = read::<AccountChangeSets>(w, &key);
        before.as_mut().unwrap().nonce += 1;
        w.write::<AccountChangeSets>(&key, &before).unwrap();
    });
    let slot = ((7, L2_TO_L1_MESSAGE_PASSER), rollup_chain::withdrawal_slot(7));
    finds::<Headers>(&6, "the state root", |w| {
        assert!(read::<StorageChangeSets>(w, &slot).is_zero());
        w.write::<StorageChangeSets>(&slot, &U256::MAX).unwrap();
    });
}

#[test]
fn a_pruned_chain_is_sound_and_its_rest_is_checked() {
    let directory = tempfile::tempdir().unwrap();
    extend(directory.path(), BLOCKS);
    let pruned = prune_directory(directory.path(), 1, &mut |_| ()).unwrap();
    assert_eq!((pruned.first_state, pruned.is_done), (6, true));
    let kv = Kv::open(directory.path(), TABLES).unwrap();
    run(&kv.snapshot().unwrap(), None, &mut |_| ()).unwrap();
    // Rows that pruning left, and those of the message passer that it must leave.
    let damage = |damage: &dyn Fn(&KvWriter)| {
        let writer = kv.writer().unwrap();
        damage(&writer);
        writer.commit().unwrap();
        match run(&kv.snapshot().unwrap(), None, &mut |_| ()) {
            Err(CheckError::Inconsistent(found)) => *found,
            other => panic!("{other:?}"),
        }
    };
    let left = (2, Address::ZERO);
    let found = damage(&|w| {
        w.write::<AccountChangeSets>(&left, &None).unwrap();
        w.write::<AccountsHistory>(&(left.1, left.0), &()).unwrap();
    });
    assert_eq!(found.problem, Problem::Stray("its history is pruned"));
    let slot = rollup_chain::withdrawal_slot(3);
    let found = damage(&|w| {
        w.remove::<AccountChangeSets>(&left).unwrap();
        w.remove::<AccountsHistory>(&(left.1, left.0)).unwrap();
        assert!(w.remove::<StorageChangeSets>(&((3, L2_TO_L1_MESSAGE_PASSER), slot)).unwrap());
        assert!(w.remove::<StoragesHistory>(&((L2_TO_L1_MESSAGE_PASSER, slot), 3)).unwrap());
    });
    assert_eq!((found.table, found.key), ("OutputParts", 2_u64.to_key().into()));
}

#[test]
fn the_fixture_withdraws_where_it_says() {
    let directory = tempfile::tempdir().unwrap();
    extend(directory.path(), 7);
    let store = ChainStore::open(directory.path(), &rollup_chain::genesis()).unwrap();
    let view = store.view().unwrap();
    for number in 1..=7 {
        let slot = rollup_chain::withdrawal_slot(number);
        let sent = view.slot(L2_TO_L1_MESSAGE_PASSER, slot).unwrap();
        assert_eq!(sent == U256::from(1), rollup_chain::withdraws(number), "{number}");
    }
}
