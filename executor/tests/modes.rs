//! The property that every mode of execution has: the same block, to the last bit of it.
//!
//! Owns the list of modes that tests run and the comparison. Does not say what the block is.

use executor::{BlockInput, ExecutedBlock, Mode, StateView};
use std::num::NonZeroUsize;

const fn parallel(workers: usize) -> Mode {
    Mode::Parallel { workers: NonZeroUsize::new(workers).unwrap() }
}

/// Fewer workers than most blocks have independent transactions, and more than most machines have
/// cores. The first is the reference.
pub(crate) const MODES: [Mode; 4] = [Mode::Sequential, parallel(2), parallel(8), Mode::Automatic];

/// Executes in every mode; the reference's block, which all others were found equal to.
pub(crate) fn execute<V: StateView + Sync>(view: &V, input: &BlockInput) -> ExecutedBlock {
    let reference = executor::execute(view, input, Mode::Sequential).unwrap();
    for mode in &MODES[1..] {
        let block = executor::execute(view, input, *mode).unwrap();
        assert_same(&reference, &block, &format!("block {} {mode:?}", input.env.number));
    }
    reference
}

/// Equal in everything but what it took.
pub(crate) fn assert_same(reference: &ExecutedBlock, other: &ExecutedBlock, what: &str) {
    assert_eq!(reference.skipped, other.skipped, "{what}: skipped");
    assert_eq!(reference.receipts, other.receipts, "{what}: receipts");
    assert_eq!(reference.diff, other.diff, "{what}: diff");
    assert_eq!(reference.header, other.header, "{what}: header");
    assert_eq!(reference.hash, other.hash, "{what}: hash");
    assert!(reference.transactions == other.transactions, "{what}: transactions");
    let root = |block: &ExecutedBlock| block.trie.as_ref().map(executor::StateTrie::root);
    assert_eq!(root(reference), root(other), "{what}: root of the trie");
}
