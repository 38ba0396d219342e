//! The message passer at blocks whose output is on L1: withdrawals are proved against those, days
//! later, so they outlive every window.
//!
//! Two things are kept. The account's proof, because the accounts trie of an old block cannot be had
//! again once history is pruned: some kilobytes per output. And the changes of its slots, which
//! pruning passes over: two rows per withdrawal, from which the storage trie of any block follows
//! exactly, without knowing what the contract's slots mean or relying on its events. Does not know
//! L1; the node says which blocks have an output.

use super::{
    ChainStore, ChainStoreError, ChainView, Corruption, FinalOutputs, Kept, read_head, write_meta,
};
use crate::store::{
    kv::KvWriter,
    tables::{
        Headers, MetaKey, OutputParts, OutputProof, OutputProofs, StorageChangeSets,
        StoragesHistory, Table, Value,
    },
};
use alloy::primitives::U256;
use contracts::L2_TO_L1_MESSAGE_PASSER;
use executor::{
    Reads, StateDiff,
    state::{AccountDiff, AccountProof, SlotDiff},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::ControlFlow,
    sync::PoisonError,
};

/// What became of keeping an output's block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeptOutput {
    /// It is kept, durably.
    Kept,
    /// The chain is not there yet.
    AboveHead,
    /// Its state was pruned before the output was known here, or the chain began after it.
    Gone,
}

impl ChainStore {
    /// Keeps what proves the message passer at block `number`, for ever; `number` is a block whose
    /// output is on L1. Durable when it returns; a second time it does nothing. A block that is in
    /// the order log alone is folded first: the proof is a row beside the block's, and goes with it.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read or written; [`ChainStoreError::Contended`]
    /// may be retried.
    pub fn keep_output(&self, number: u64) -> Result<KeptOutput, ChainStoreError> {
        self.0.check_not_diverged()?;
        if self.0.kv.snapshot()?.read::<OutputProofs>(&number)?.is_some() {
            return Ok(KeptOutput::Kept);
        }
        if number > self.head().number {
            return Ok(KeptOutput::AboveHead);
        }
        self.fold_through(number)?;
        let Some(view) = self.view_at(number)? else { return Ok(KeptOutput::Gone) };
        let reads = Reads::from([(L2_TO_L1_MESSAGE_PASSER, BTreeSet::new())]);
        let trie = view.trie_within(&reads, &StateDiff::default(), usize::MAX)?;
        let proof = trie.account_proof(L2_TO_L1_MESSAGE_PASSER, &[])?;
        let proof = OutputProof { account: proof.account, nodes: proof.account_proof };
        let _fold = self.0.folding.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = self.0.kv.writer()?;
        // Meanwhile the block may have been undone, and another one of its number be in the log.
        let stored = writer.read::<Headers>(&number)?;
        if stored.is_none_or(|stored| stored.hash != view.block().hash) {
            return Ok(KeptOutput::AboveHead);
        }
        writer.write::<OutputProofs>(&number, &proof)?;
        writer.commit()?;
        Ok(KeptOutput::Kept)
    }

    /// Notes how far the outputs on L1 are final: no later output is of a block before that one, and
    /// no block up to it is undone. History up to it may be pruned. Blocks up to it are folded first,
    /// so that the file never says of a block that it has not that its output is final.
    ///
    /// # Errors
    /// [`ChainStoreError::NoSuchBlock`] above the head; otherwise the file cannot be written.
    pub fn set_final_outputs(&self, outputs: FinalOutputs) -> Result<(), ChainStoreError> {
        self.0.check_not_diverged()?;
        let number = outputs.block;
        self.fold_through(number)?;
        let _fold = self.0.folding.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = self.0.kv.writer()?;
        if number > read_head(&writer)?.number {
            return Err(ChainStoreError::NoSuchBlock { head: self.head(), number });
        }
        write_meta(&writer, MetaKey::FinalOutputs, outputs.to_value())?;
        Ok(writer.commit()?)
    }

    /// Proof of the message passer's account and some of its slots after block `number`; `None` where
    /// that block's output is not kept. Reads what the passer's slots changed since.
    ///
    /// # Errors
    /// [`ChainStoreError`] when the file cannot be read or contradicts itself.
    pub fn message_passer_proof(
        &self,
        number: u64,
        slots: &[U256],
    ) -> Result<Option<AccountProof>, ChainStoreError> {
        let view = self.view()?;
        let rows = view.rows();
        let Some(kept) = rows.read::<OutputProofs>(&number)? else { return Ok(None) };
        let missing = Corruption::Missing { table: OutputParts::SPEC.name, number };
        let storage_root = rows.read::<OutputParts>(&number)?.ok_or(missing)?;
        let change = AccountDiff {
            before: None,
            after: Some(kept.account),
            wiped: false,
            slots: slots_back_at(&view, number)?,
        };
        let accounts = BTreeMap::from([(L2_TO_L1_MESSAGE_PASSER, change)]);
        let diff = StateDiff { accounts, ..StateDiff::default() };
        let reads = Reads::from([(L2_TO_L1_MESSAGE_PASSER, slots.iter().copied().collect())]);
        let trie = view.trie_within(&reads, &diff, usize::MAX)?.apply(&diff)?;
        let proof = trie.account_proof(L2_TO_L1_MESSAGE_PASSER, slots)?;
        if proof.storage_hash != storage_root {
            let (header, tables) = (storage_root, proof.storage_hash);
            return Err(Corruption::MessagePasserRoot { number, header, tables }.into());
        }
        Ok(Some(AccountProof { account: kept.account, account_proof: kept.nodes, ..proof }))
    }
}

/// The message passer's slots that changed after block `number`, with their values before.
fn slots_back_at(
    view: &ChainView,
    number: u64,
) -> Result<BTreeMap<U256, SlotDiff>, ChainStoreError> {
    let rows = view.rows();
    let mut slots = BTreeMap::new();
    rows.visit_from::<StoragesHistory, ChainStoreError>(
        &L2_TO_L1_MESSAGE_PASSER,
        |((address, slot), changed), ()| {
            if address != L2_TO_L1_MESSAGE_PASSER {
                return Ok(ControlFlow::Break(()));
            }
            // In the order of blocks for each slot: the first one after `number` has its value.
            if changed > number && !slots.contains_key(&slot) {
                let value = rows.read::<StorageChangeSets>(&((changed, address), slot))?;
                let table = StorageChangeSets::SPEC.name;
                let after = value.ok_or(Corruption::Missing { table, number: changed })?;
                slots.insert(slot, SlotDiff { before: U256::ZERO, after });
            }
            Ok(ControlFlow::Continue(()))
        },
    )?;
    let first = number.max(view.folded().number);
    for block in view.layer().blocks.iter().filter(|block| block.number() > first) {
        let change = block.record.diff.accounts.get(&L2_TO_L1_MESSAGE_PASSER);
        for (slot, value) in change.iter().flat_map(|change| &change.slots) {
            let back = SlotDiff { before: U256::ZERO, after: value.before };
            slots.entry(*slot).or_insert(back);
        }
    }
    Ok(slots)
}

/// Forgets the output of a block that is undone.
pub(super) fn forget(writer: &KvWriter, number: u64) -> Result<(), ChainStoreError> {
    writer.remove::<OutputProofs>(&number)?;
    let outputs = Kept::read(writer)?.final_outputs;
    if outputs.is_some_and(|outputs| outputs.block >= number) {
        // L1 took back what was final. The node reads the outputs again from the first.
        writer.remove::<crate::store::tables::Meta>(&MetaKey::FinalOutputs)?;
    }
    Ok(())
}
