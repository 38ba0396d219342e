//! Derived blocks that are offered again: after a restart, after an L1 error, after a reorg.

use super::{Counts, MemoryChain, StoredChain};
use crate::{
    rollup_chain::{genesis, next_block},
    store::{ChainStore, chain::FinalOutputs},
};
use alloy::primitives::B256;
use batcher::{
    derive::{Derived, rules::Epoch},
    tracker::{DerivedChain, TrackError},
};
use executor::{BlockEnv, BlockInput, Genesis, Header};
use std::{path::Path, sync::Arc};

const BLOCKS: u64 = 8;
/// The block whose input has a transaction that cannot be executed.
const ODD: u64 = 3;

/// The inputs of some blocks and what they give; one has a transaction twice.
fn chain(genesis: &Genesis) -> Vec<(BlockInput, B256)> {
    let (mut state, mut header, mut hash) = genesis.build().unwrap();
    let mut chain = Vec::new();
    for number in 1..=BLOCKS {
        let block = next_block(genesis, &state, (&header, hash));
        let mut input = input_of(genesis, (&header, hash), &block.header);
        input.transactions.clone_from(&block.transactions);
        if number == ODD {
            let again = input.transactions[1].clone();
            input.transactions.insert(3, again);
        }
        state.apply_block(&block).unwrap();
        (header, hash) = (block.header, block.hash);
        chain.push((input, hash));
    }
    chain
}

/// Of an empty block in the place of `block`.
fn input_of(genesis: &Genesis, parent: (&Header, B256), block: &Header) -> BlockInput {
    let rules = genesis.chain_rules();
    let env = BlockEnv::rollup(&rules, parent, block.mix_hash, block.timestamp);
    BlockInput { rules, env, transactions: Vec::new() }
}

fn derived(input: &BlockInput, append_id: u64) -> Derived {
    let epoch = Epoch { number: 0, hash: B256::ZERO, sequence_number: 0 };
    Derived { input: input.clone(), epoch, append_id }
}

async fn settle(
    to: &impl DerivedChain,
    input: &BlockInput,
    append_id: u64,
) -> Result<B256, TrackError> {
    Ok(to.settle(derived(input, append_id)).await?.1)
}

fn open(directory: &Path, genesis: &Genesis) -> (ChainStore, StoredChain, Arc<Counts>) {
    let store = ChainStore::open(directory, genesis).unwrap();
    let counts = Arc::<Counts>::default();
    (store.clone(), StoredChain::new(store, counts.clone()), counts)
}

#[tokio::test]
async fn a_stored_block_with_a_skipped_transaction_is_known_again() {
    let (genesis, directory) = (genesis(), tempfile::tempdir().unwrap());
    let chain = chain(&genesis);
    for run in 0..4 {
        let (store, stored, counts) = open(directory.path(), &genesis);
        if run == 2 {
            // From the tables.
            store.fold_all().unwrap();
        }
        if run == 3 {
            // Nothing can be executed again.
            store.fold_all().unwrap();
            store.set_final_outputs(FinalOutputs { next_index: 1, block: BLOCKS }).unwrap();
            while !store.prune_step(1).unwrap().is_done {}
            assert!(store.view_at(ODD).unwrap().is_none());
        }
        for (input, hash) in &chain {
            assert_eq!(settle(&stored, input, 0).await.unwrap(), *hash);
        }
        let known = if run == 0 { 0 } else { BLOCKS };
        assert_eq!((counts.known(), counts.blocks()), (known, BLOCKS - known), "run {run}");
        let block = store.block(ODD).unwrap().unwrap();
        assert_eq!(block.transactions.len() + 1, chain[2].0.transactions.len());
    }
}

#[tokio::test]
async fn a_stored_block_without_a_transaction_that_can_be_executed_is_another_one() {
    let (genesis, directory) = (genesis(), tempfile::tempdir().unwrap());
    let chain = chain(&genesis);
    let (store, stored, counts) = open(directory.path(), &genesis);
    for (input, hash) in &chain[..2] {
        assert_eq!(settle(&stored, input, 0).await.unwrap(), *hash);
    }
    let (input, hash) = &chain[2];
    let mut less = input.clone();
    less.transactions.pop();
    assert_ne!(settle(&stored, &less, 0).await.unwrap(), *hash);
    assert_eq!(settle(&stored, input, 0).await.unwrap(), *hash);
    assert_eq!((store.head().hash, counts.known(), counts.blocks()), (*hash, 0, 4));
}

#[tokio::test]
async fn in_memory_the_newest_append_can_be_derived_again() {
    let genesis = genesis();
    let chain = chain(&genesis);
    let counts = Arc::<Counts>::default();
    let memory = MemoryChain::new(&genesis, counts.clone()).unwrap();
    for from in [0, 0, 2] {
        for (input, hash) in &chain[from..4] {
            assert_eq!(settle(&memory, input, 7).await.unwrap(), *hash);
        }
    }
    assert_eq!((memory.head().number, counts.blocks()), (4, 4));
    let mut other = chain[3].0.clone();
    other.transactions.pop();
    settle(&memory, &other, 7).await.unwrap_err();
    // With the next append those before it are settled for good.
    settle(&memory, &chain[4].0, 8).await.unwrap();
    settle(&memory, &chain[3].0, 7).await.unwrap_err();
    assert_eq!(settle(&memory, &chain[4].0, 8).await.unwrap(), chain[4].1);
    assert_eq!((memory.head().number, counts.blocks()), (5, 5));
}
