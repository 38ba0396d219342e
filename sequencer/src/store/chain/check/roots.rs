//! State roots computed anew: the state tables read row by row in their order, with what the order log
//! changed laid over them, for one version of the state or for many in one walk. Another implementation
//! than the node's trie. Does not know which root is right.

use super::{
    CheckError, Fault, Problem,
    journal::{Journal, Values},
    wrong_at,
};
use crate::store::{
    kv::{Access, KvTransaction},
    tables::{HashedStorages, Key, Table},
};
use alloy::{
    consensus::EMPTY_ROOT_HASH,
    primitives::{B256, U256},
    rlp::encode_fixed_size,
    trie::{HashBuilder, Nibbles, TrieAccount},
};
use executor::Account;
use std::{
    collections::BTreeSet,
    iter::Peekable,
    ops::{ControlFlow, Range},
    vec,
};

/// The roots of some versions while the accounts are read.
pub(super) struct Roots<'a, K: Access> {
    rows: &'a KvTransaction<K>,
    journal: &'a Journal,
    versions: Range<usize>,
    builders: Vec<HashBuilder>,
    /// Touched accounts that are still to come.
    touched: Peekable<vec::IntoIter<B256>>,
}

impl<'a, K: Access> Roots<'a, K> {
    pub(super) fn new(
        rows: &'a KvTransaction<K>,
        journal: &'a Journal,
        versions: Range<usize>,
    ) -> Self {
        let builders = versions.clone().map(|_| HashBuilder::default()).collect();
        let touched: Vec<_> = journal.accounts().collect();
        Self { rows, journal, versions, builders, touched: touched.into_iter().peekable() }
    }

    /// Takes the next row of the accounts. Its storage root at the first of the versions.
    pub(super) fn row(&mut self, hash: B256, account: Account) -> Result<B256, Fault> {
        while let Some(before) = self.touched.next_if(|touched| *touched < hash) {
            self.account(before, None)?;
        }
        self.touched.next_if_eq(&hash);
        self.account(hash, Some(account))
    }

    /// The roots, in the order of the versions.
    pub(super) fn finish(mut self) -> Result<Vec<B256>, CheckError> {
        while let Some(rest) = self.touched.next() {
            self.account(rest, None).map_err(|fault| match fault {
                Fault::Here(problem) => wrong_at::<HashedStorages>(rest.as_slice(), problem),
                Fault::Elsewhere(error) => error,
            })?;
        }
        Ok(self.builders.iter_mut().map(HashBuilder::root).collect())
    }

    fn account(&mut self, hash: B256, tables: Option<Account>) -> Result<B256, Fault> {
        let storage_roots = storage_roots(self.rows, self.journal, hash, &self.versions)?;
        let values = self.journal.account_values(hash);
        let root_at = |version| {
            let known = storage_roots.partition_point(|(since, _)| *since <= version);
            storage_roots[..known].last().map_or(EMPTY_ROOT_HASH, |(_, root)| *root)
        };
        for (version, builder) in self.versions.clone().zip(&mut self.builders) {
            let account = values.and_then(|values| values.at(version)).unwrap_or(tables);
            let Some(Account { nonce, balance_wei, code_hash }) = account else { continue };
            let storage_root = root_at(version);
            let leaf = TrieAccount { nonce, balance: balance_wei, storage_root, code_hash };
            builder.add_leaf(Nibbles::unpack(hash), &alloy::rlp::encode(leaf));
        }
        Ok(root_at(self.versions.start))
    }
}

/// Roots of the storage of one account, each with the version from which on it is that. The rows are
/// in the order that the builders want.
fn storage_roots<K: Access>(
    rows: &KvTransaction<K>,
    journal: &Journal,
    account: B256,
    versions: &Range<usize>,
) -> Result<Vec<(usize, B256)>, Fault> {
    let mut starts = BTreeSet::from([versions.start]);
    for (_, values) in journal.slots(account) {
        starts.extend(values.changes().filter(|since| versions.contains(since)));
    }
    let mut builders: Vec<_> =
        starts.into_iter().map(|since| (since, HashBuilder::default())).collect();
    let mut add = |slot: B256, values: Option<&Values<U256>>, tables: U256| {
        for (version, builder) in &mut builders {
            let value = values.and_then(|values| values.at(*version)).unwrap_or(tables);
            if !value.is_zero() {
                builder.add_leaf(Nibbles::unpack(slot), &encode_fixed_size(&value));
            }
        }
    };
    let mut touched = journal.slots(account).peekable();
    rows.walk(HashedStorages::SPEC, account.as_slice(), |key, value| {
        // Every row was decoded before: these are slots as they should be.
        let Some((address, slot)) = <(B256, B256)>::read(key) else {
            return Err(Fault::from(Problem::Undecodable));
        };
        if address != account {
            return Ok(ControlFlow::Break(()));
        }
        while let Some((before, values)) = touched.next_if(|(touched, _)| *touched < slot) {
            add(before, Some(values), U256::ZERO);
        }
        let values = touched.next_if(|(touched, _)| *touched == slot).map(|(_, values)| values);
        add(slot, values, U256::from_be_slice(value));
        Ok(ControlFlow::Continue(()))
    })?;
    for (slot, values) in touched {
        add(slot, Some(values), U256::ZERO);
    }
    Ok(builders.into_iter().map(|(since, mut builder)| (since, builder.root())).collect())
}
