//! Making a witness: a block is executed on its state, and what it needed of that state is written
//! down, so that anybody can execute it without the state.
//!
//! Owns what goes into a witness. Does not execute from one: that is
//! [`WitnessState`](crate::WitnessState).

use crate::{
    block::{BlockInput, ExecutedBlock},
    error::{ExecuteError, ViewError},
    execute::{Mode, execute},
    state::{ExecutionWitness, Recorded, Recorder, StateView},
};
use alloc::{collections::BTreeSet, vec::Vec};
use alloy_consensus::Header;
use alloy_primitives::Bytes;

/// Executes a block and records its witness. `ancestor` gives the header of an earlier block by its
/// number; it is asked for the parent, and further back as far as BLOCKHASH reached.
///
/// The parallel modes may read more than the block needs, so that their witness can be larger; it
/// serves every mode. One that was recorded sequentially has no node too many.
///
/// # Errors
/// As [`execute`], and [`ViewError::MissingBlockHash`] when a header is missing or is not the
/// ancestor that the block and the headers after it name.
pub fn record_witness<V: StateView + Sync>(
    view: &V,
    input: &BlockInput,
    mode: Mode,
    ancestor: impl FnMut(u64) -> Option<Header>,
) -> Result<(ExecutedBlock, ExecutionWitness), ExecuteError> {
    let recorder = Recorder::new(view);
    let block = execute(&recorder, input, mode)?;
    let recorded = recorder.into_recorded();
    let trie = view.trie_for(&recorded.reads, &block.diff)?;
    let nodes = trie.witness(&recorded.reads, &block.diff)?;
    // Ordered by hash, so that equal witnesses are equal bytes.
    let mut nodes: Vec<_> = nodes.into_iter().collect();
    nodes.sort_unstable_by_key(|(hash, _)| *hash);
    let witness = ExecutionWitness {
        state: nodes.into_iter().map(|(_, node)| node).collect(),
        codes: recorded.codes.values().map(|code| code.original_bytes()).collect(),
        keys: keys(&recorded, &block),
        headers: headers(input, recorded.oldest_block, ancestor)?,
    };
    Ok((block, witness))
}

/// Addresses, then slots; each once.
fn keys(recorded: &Recorded, block: &ExecutedBlock) -> Vec<Bytes> {
    let changed = &block.diff.accounts;
    let addresses: BTreeSet<_> = recorded.reads.keys().chain(changed.keys()).collect();
    let read_slots = recorded.reads.values().flatten();
    let changed_slots = changed.values().flat_map(|change| change.slots.keys());
    let slots: BTreeSet<_> = read_slots.chain(changed_slots).collect();
    let addresses = addresses.into_iter().map(|address| Bytes::copy_from_slice(&address[..]));
    let slots = slots.into_iter().map(|slot| Bytes::from(slot.to_be_bytes::<32>()));
    addresses.chain(slots).collect()
}

/// From the parent back to the oldest that is needed, each checked by hash; returned oldest first.
fn headers(
    input: &BlockInput,
    oldest: Option<u64>,
    mut ancestor: impl FnMut(u64) -> Option<Header>,
) -> Result<Vec<Bytes>, ViewError> {
    let parent = input.env.number.saturating_sub(1);
    let oldest = oldest.unwrap_or(parent).min(parent);
    let mut expected = input.env.parent_hash;
    let mut headers = Vec::new();
    for number in (oldest..=parent).rev() {
        let header = ancestor(number).filter(|header| header.hash_slow() == expected);
        let header = header.ok_or(ViewError::MissingBlockHash(number))?;
        headers.push(Bytes::from(alloy_rlp::encode(&header)));
        expected = header.parent_hash;
    }
    headers.reverse();
    Ok(headers)
}
