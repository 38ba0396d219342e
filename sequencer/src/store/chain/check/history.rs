//! History: change sets and their index against each other, and the state of every kept block, one
//! block back at a time, against that block's header.

use super::{CheckError, Checker, Fault, Problem, alone, look, same_hash, wrong};
use crate::store::{
    chain::{proofs::diff_of_block, rebuild_trie},
    kv::Access,
    tables::{
        AccountChangeSets, AccountsHistory, Headers, OutputParts, StorageChangeSets,
        StoragesHistory,
    },
};
use contracts::L2_TO_L1_MESSAGE_PASSER;

impl<K: Access> Checker<'_, K> {
    pub(super) fn history(&mut self) -> Result<(), CheckError> {
        self.account_changes()?;
        self.storage_changes()?;
        self.earlier_states()
    }

    /// Whether changes of this block are kept; those of the message passer's slots always are.
    fn is_kept(&self) -> impl Fn(u64) -> Result<(), Fault> + use<K> {
        let (first, head) = (self.kept.first_state, self.head.number);
        move |number| {
            if number > head {
                return Err(Problem::Stray("it is above the head").into());
            }
            if number <= first && first > 0 {
                return Err(Problem::Stray("its history is pruned").into());
            }
            Ok(())
        }
    }

    fn account_changes(&mut self) -> Result<(), CheckError> {
        let (rows, is_kept) = (self.rows, self.is_kept());
        self.step::<AccountChangeSets>()?;
        self.visit::<AccountChangeSets>(|(number, address), _| {
            is_kept(number)?;
            let index = (address, number);
            let indexed = look::<AccountsHistory, K>(rows, &index)?;
            Ok(indexed.ok_or_else(|| alone::<AccountsHistory>(&index))?)
        })?;
        self.step::<AccountsHistory>()?;
        self.visit::<AccountsHistory>(|(address, number), ()| {
            let change = (number, address);
            match look::<AccountChangeSets, K>(rows, &change)? {
                Some(_) => Ok(()),
                None => Err(alone::<AccountChangeSets>(&change).into()),
            }
        })
    }

    fn storage_changes(&mut self) -> Result<(), CheckError> {
        let (rows, is_kept) = (self.rows, self.is_kept());
        self.step::<StorageChangeSets>()?;
        self.visit::<StorageChangeSets>(|((number, address), slot), _| {
            if address != L2_TO_L1_MESSAGE_PASSER {
                is_kept(number)?;
            }
            let index = ((address, slot), number);
            let indexed = look::<StoragesHistory, K>(rows, &index)?;
            Ok(indexed.ok_or_else(|| alone::<StoragesHistory>(&index))?)
        })?;
        self.step::<StoragesHistory>()?;
        self.visit::<StoragesHistory>(|((address, slot), number), ()| {
            let change = ((number, address), slot);
            match look::<StorageChangeSets, K>(rows, &change)? {
                Some(_) => Ok(()),
                None => Err(alone::<StorageChangeSets>(&change).into()),
            }
        })
    }

    /// Goes back block by block. Down to the first kept state every state root is compared; below
    /// it only the message passer's slots are known, and their root is.
    fn earlier_states(&mut self) -> Result<(), CheckError> {
        let (head, kept) = (self.head, self.kept);
        self.meter
            .step("states back to the first", head.number - kept.first_state.min(head.number));
        let mut trie = rebuild_trie(self.rows, head)?;
        for number in (1..=head.number).rev() {
            let diff = diff_of_block(self.rows, &trie, number)?;
            if !diff.accounts.is_empty() {
                trie = trie.apply(&diff).map_err(crate::store::ChainStoreError::from)?;
            }
            let before = number - 1;
            if before >= kept.first_state {
                self.meter.add(0);
                // A chain from a snapshot begins with a state whose block it has.
                let header = self.look::<Headers>(&before)?;
                let header = header.ok_or_else(|| wrong::<Headers>(&before, Problem::Missing))?;
                same_hash("the state root", header.header.state_root, trie.root())
                    .map_err(|problem| wrong::<Headers>(&before, problem))?;
            }
            let Some(part) = self.look::<OutputParts>(&before)? else { continue };
            let root = trie.storage_root(L2_TO_L1_MESSAGE_PASSER);
            let root = root.map_err(crate::store::ChainStoreError::from)?;
            same_hash("the message passer's storage root", part, root)
                .map_err(|problem| wrong::<OutputParts>(&before, problem))?;
        }
        Ok(())
    }
}
