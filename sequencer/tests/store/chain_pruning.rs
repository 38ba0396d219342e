//! Pruning: what goes, what stays readable, what stays provable, and where it goes on after a restart.

use crate::{
    chain_model::{Change, Model, genesis, root_of},
    rollup_chain::{self, next_block},
};
use alloy::{
    primitives::{B256, U256, keccak256},
    rlp::encode,
    trie::{Nibbles, TrieAccount, proof::verify_proof},
};
use contracts::L2_TO_L1_MESSAGE_PASSER;
use executor::{Genesis, StateView, state::AccountProof};
use sequencer::store::{
    ChainStore, ChainStoreError,
    chain::{ChainReader, FinalOutputs, KeptOutput, prune_directory},
};

fn final_output(store: &ChainStore, block: u64) {
    store.set_final_outputs(FinalOutputs { next_index: 1, block }).unwrap();
}

/// Steps until nothing is left; how many. What is pruned is in the tables.
fn prune(store: &ChainStore, history_blocks: u64) -> usize {
    store.fold_all().unwrap();
    (1..).find(|_| store.prune_step(history_blocks).unwrap().is_done).unwrap()
}

fn extend(store: &ChainStore, genesis: &Genesis, last: u64) {
    while store.head().number < last {
        let (header, hash) = store.header(store.head().number).unwrap().unwrap();
        let block = next_block(genesis, &store.view().unwrap(), (&header, hash));
        store.commit(&block).unwrap();
    }
}

/// Checks a proof with another implementation, from the block's state root down.
fn verify(proof: &AccountProof, state_root: B256, slots: &[(U256, U256)]) {
    let leaf = TrieAccount {
        nonce: proof.account.nonce,
        balance: proof.account.balance_wei,
        storage_root: proof.storage_hash,
        code_hash: proof.account.code_hash,
    };
    let path = Nibbles::unpack(keccak256(proof.address));
    verify_proof(state_root, path, Some(encode(leaf)), &proof.account_proof).unwrap();
    assert_eq!(proof.storage_proof.len(), slots.len());
    for (found, (slot, value)) in proof.storage_proof.iter().zip(slots) {
        assert_eq!((found.slot, found.value), (*slot, *value));
        let path = Nibbles::unpack(keccak256(slot.to_be_bytes::<32>()));
        let expected = (!value.is_zero()).then(|| encode(value));
        verify_proof(proof.storage_hash, path, expected, &found.proof).unwrap();
    }
}

#[test]
fn pruned_states_are_gone_and_the_others_are_as_they_were() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let mut store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    for number in 1..=40_u64 {
        let (who, slot) = ((number % 6) as u8, (number % 4) as u8);
        let changes = [Change::Pay(who, number), Change::Slot(5 - who, slot, number % 3)];
        model.extend(&store, &changes, 0);
    }
    // No output is final: every block may get one.
    assert!(store.prune_step(10).unwrap().is_done);
    assert_eq!(store.kept().unwrap().first_state, 0);
    final_output(&store, 20);
    for (history_blocks, first) in [(30, 11), (30, 11), (10, 20), (1, 20)] {
        prune(&store, history_blocks);
        assert_eq!(store.kept().unwrap().first_state, first);
        for number in 0..=40 {
            let view = store.view_at(number as u64).unwrap();
            assert_eq!(view.is_some(), number as u64 >= first, "{number}");
            if let Some(view) = view {
                model.check_view(&view, number);
                let root = model.header(number).0.state_root;
                assert_eq!(root_of(&view), root);
            }
            // Blocks stay.
            assert_eq!(store.header(number as u64).unwrap().unwrap().1, model.header(number).1);
        }
        drop(store);
        store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    }
    let error = store.rollback_to(19).unwrap_err();
    assert!(matches!(error, ChainStoreError::HistoryPruned { number: 19, first: 20 }), "{error}");
    model.rollback_to(20);
    store.rollback_to(20).unwrap();
    assert_eq!(store.head().hash, model.head().1);
    assert_eq!(root_of(&store.view().unwrap()), model.head().0.state_root);
}

#[test]
fn pruning_goes_on_where_a_restart_left_it_within_a_block_too() {
    let directory = tempfile::tempdir().unwrap();
    let mut genesis = genesis();
    // More rows than one step removes, all in block 0.
    for number in 0..5_000_u64 {
        let address = alloy::primitives::Address::from_word(keccak256(number.to_be_bytes()));
        genesis.alloc.entry(address).or_default().balance = U256::from(1);
    }
    let mut model = Model::new(genesis);
    let mut store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    for number in 1..=5 {
        model.extend(&store, &[Change::Pay(1, number)], 0);
    }
    final_output(&store, 4);
    let mut steps = 0;
    loop {
        steps += 1;
        let step = store.prune_step(1).unwrap();
        drop(store);
        store = ChainStore::open(directory.path(), &model.genesis).unwrap();
        assert_eq!(store.kept().unwrap().first_state, step.first_state);
        for number in step.first_state as usize..=5 {
            model.check_view(&store.view_at(number as u64).unwrap().unwrap(), number);
        }
        if step.is_done {
            break;
        }
    }
    assert!(steps >= 3, "{steps}");
    assert_eq!(store.kept().unwrap().first_state, 4);
    store.fold_all().unwrap();
    drop(store);
    let tables = ChainReader::open(directory.path()).unwrap().stat().unwrap().tables;
    let rows = |name| tables.iter().find(|table| table.name == name).unwrap().entries;
    assert_eq!((rows("AccountChangeSets"), rows("AccountsHistory")), (1, 1));
}

#[test]
fn withdrawals_of_every_output_are_proved_after_pruning_and_after_a_restart() {
    const LAST: u64 = 30;
    const OUTPUTS: [u64; 4] = [0, 6, 13, 20];
    let directory = tempfile::tempdir().unwrap();
    let genesis = rollup_chain::genesis();
    let store = ChainStore::open(directory.path(), &genesis).unwrap();
    extend(&store, &genesis, LAST);
    for (block, next_index) in OUTPUTS.into_iter().zip(1..) {
        assert_eq!(store.keep_output(block).unwrap(), KeptOutput::Kept);
        assert_eq!(store.keep_output(block).unwrap(), KeptOutput::Kept);
        store.set_final_outputs(FinalOutputs { next_index, block }).unwrap();
    }
    assert_eq!(store.keep_output(LAST + 1).unwrap(), KeptOutput::AboveHead);
    assert!(store.set_final_outputs(FinalOutputs { next_index: 9, block: 99 }).is_err());
    prune(&store, 5);
    assert_eq!(store.kept().unwrap().first_state, 20);
    assert_eq!(store.keep_output(10).unwrap(), KeptOutput::Gone);
    let check = |store: &ChainStore| {
        for block in OUTPUTS {
            let sent = |number| U256::from(u64::from(number <= block));
            let slots: Vec<_> = (1..=25).step_by(2).collect();
            let slots: Vec<_> =
                slots.into_iter().map(|n| (rollup_chain::withdrawal_slot(n), sent(n))).collect();
            let asked: Vec<_> = slots.iter().map(|(slot, _)| *slot).collect();
            let proof = store.message_passer_proof(block, &asked).unwrap().unwrap();
            let (header, _) = store.header(block).unwrap().unwrap();
            assert_eq!(proof.address, L2_TO_L1_MESSAGE_PASSER);
            verify(&proof, header.state_root, &slots);
            let part = store.message_passer_root(block).unwrap();
            assert_eq!(part, Some(proof.storage_hash));
        }
        assert_eq!(store.message_passer_proof(7, &[]).unwrap(), None);
    };
    check(&store);
    extend(&store, &genesis, LAST + 5);
    store.fold_all().unwrap();
    drop(store);
    let store = ChainStore::open(directory.path(), &genesis).unwrap();
    check(&store);
    // A reorg below an output takes its proof along, and what was final is asked for again.
    store.keep_output(25).unwrap();
    store.rollback_to(24).unwrap();
    assert_eq!(store.message_passer_proof(25, &[]).unwrap(), None);
    assert_eq!(store.kept().unwrap().final_outputs.unwrap().block, 20);
    check(&store);
    drop(store);
    let checked = ChainReader::open(directory.path()).unwrap().check(&mut |_| ()).unwrap();
    assert_eq!(checked.head.number, 24);
}

/// Nothing is folded unless somebody asks for it.
fn open_by_hand(directory: &std::path::Path, genesis: &Genesis) -> ChainStore {
    ChainStore::open_with(directory, genesis, crate::chain_log::by_hand()).unwrap()
}

#[test]
fn an_output_of_a_block_in_the_order_log_is_kept_with_its_block_in_the_tables() {
    let directory = tempfile::tempdir().unwrap();
    let genesis = rollup_chain::genesis();
    let store = open_by_hand(directory.path(), &genesis);
    extend(&store, &genesis, 6);
    assert_eq!(store.folded_head().number, 0);
    assert_eq!(store.keep_output(5).unwrap(), KeptOutput::Kept);
    assert!(store.folded_head().number >= 5);
    extend(&store, &genesis, 12);
    final_output(&store, 8);
    assert!(store.folded_head().number >= 8);
    extend(&store, &genesis, 14);
    // The blocks of the log alone go, and nothing that the file says is about them.
    store.rollback_to(12).unwrap();
    assert_eq!(store.keep_output(13).unwrap(), KeptOutput::AboveHead);
    let outputs = FinalOutputs { next_index: 2, block: 13 };
    let error = store.set_final_outputs(outputs).unwrap_err();
    assert!(matches!(error, ChainStoreError::NoSuchBlock { number: 13, .. }), "{error}");
    extend(&store, &genesis, 14);
    // History is counted from the newest block in the file.
    let folded = store.folded_head().number;
    while !store.prune_step(5).unwrap().is_done {}
    assert_eq!(store.kept().unwrap().first_state, (folded - 4).min(8));
    drop(store);
    let store = open_by_hand(directory.path(), &genesis);
    assert_eq!((store.head().number, store.folded_head().number), (14, folded));
    let slots = [rollup_chain::withdrawal_slot(3)];
    assert!(store.message_passer_proof(5, &slots).unwrap().is_some());
}

#[test]
fn a_directory_is_pruned_by_hand() {
    let directory = tempfile::tempdir().unwrap();
    let genesis = rollup_chain::genesis();
    let error = prune_directory(directory.path(), 1, &mut |_| ()).unwrap_err();
    assert!(matches!(error, ChainStoreError::NoChain { .. }), "{error}");
    let store = ChainStore::open(directory.path(), &genesis).unwrap();
    extend(&store, &genesis, 12);
    store.keep_output(9).unwrap();
    final_output(&store, 9);
    store.fold_all().unwrap();
    let error = prune_directory(directory.path(), 1, &mut |_| ()).unwrap_err();
    assert!(matches!(error, ChainStoreError::LockedByAnotherProcess { .. }), "{error}");
    drop(store);
    let mut shown = 0;
    let pruned = prune_directory(directory.path(), 5, &mut |_| shown += 1).unwrap();
    assert_eq!((pruned.first_state, pruned.is_done), (8, true));
    assert!(pruned.rows > 50 && shown > 0);
    assert_eq!(prune_directory(directory.path(), 5, &mut |_| ()).unwrap().rows, 0);
    let store = ChainStore::open(directory.path(), &genesis).unwrap();
    assert!(store.view_at(7).unwrap().is_none());
    let view = store.view_at(8).unwrap().unwrap();
    assert!(view.account(rollup_chain::caller(1)).unwrap().is_some());
    extend(&store, &genesis, 14);
}

#[test]
fn every_proof_of_the_window_is_had_before_and_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let mut model = Model::new(genesis());
    let store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    store.set_proof_window(200);
    for number in 1..=300_u64 {
        let changes = [Change::Pay((number % 6) as u8, number)];
        model.extend(&store, &changes, 0);
    }
    let check = |store: &ChainStore| {
        for number in (0..=300).rev().step_by(7) {
            let view = store.view_at(number as u64).unwrap().unwrap();
            let root = model.header(number).0.state_root;
            assert_eq!(root_of(&view), root, "{number}");
        }
    };
    check(&store);
    drop(store);
    let store = ChainStore::open(directory.path(), &model.genesis).unwrap();
    store.set_proof_window(200);
    check(&store);
    // What was rebuilt stays no obstacle when blocks go and others come.
    model.rollback_to(100);
    store.rollback_to(100).unwrap();
    for number in 101..=260_u64 {
        model.extend(&store, &[Change::Pay((number % 6) as u8, 2 * number)], 1);
    }
    for number in (0..=260).rev().step_by(9) {
        let view = store.view_at(number as u64).unwrap().unwrap();
        let root = model.header(number).0.state_root;
        assert_eq!(root_of(&view), root, "{number}");
    }
}
