//! What a block changed: for every account and slot the value before and after, so that a diff can
//! be applied, and undone, without reading anything else.

use super::Account;
use alloc::{collections::BTreeMap, vec::Vec};
use alloy_primitives::{Address, B256, U256};
use revm::bytecode::Bytecode;

/// Value of a slot before and after; they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlotDiff {
    /// Before the block.
    pub before: U256,
    /// After the block.
    pub after: U256,
}

/// Changes of one account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountDiff {
    /// Before the block; `None` where there was none.
    pub before: Option<Account>,
    /// After the block; `None` where there is none any more.
    pub after: Option<Account>,
    /// All storage from before the block is gone (a self-destruct before EIP-6780); `slots` then
    /// holds what was stored afterwards, each with zero before.
    pub wiped: bool,
    /// Changed slots.
    pub slots: BTreeMap<U256, SlotDiff>,
}

/// Changes of a whole block, ordered by address so that equal diffs are equal bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateDiff {
    /// Changed accounts.
    pub accounts: BTreeMap<Address, AccountDiff>,
    /// New code by its hash.
    pub codes: BTreeMap<B256, Bytecode>,
}

/// Accounts and slots that a part of a block's execution was the first to touch, and changed. A hint,
/// for who wants to begin early with what a block changes: what changes again later is not told
/// again, and what is told may be as it was in the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Accounts, before the block and now; each once in a block.
    pub accounts: Vec<(Address, Option<Account>, Option<Account>)>,
    /// Slots in the same way. Their account need not be among `accounts`.
    pub slots: Vec<(Address, U256, SlotDiff)>,
}

impl Touched {
    /// Number of accounts and slots.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.accounts.len() + self.slots.len()
    }
}

/// What a part of a block's execution left behind: values as they are now. Later ones replace earlier
/// ones. Some may be as they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Accounts; `None` where there is none any more, whose slots are all zero then.
    pub accounts: Vec<(Address, Option<Account>)>,
    /// Slots.
    pub slots: Vec<(Address, U256, U256)>,
    /// New code by its hash.
    pub codes: Vec<(B256, Bytecode)>,
}

impl StateDiff {
    /// The diff that leads back: before and after exchanged. Codes stay, they are content.
    ///
    /// A wiped account cannot be undone from its diff alone; the rollup's rules (EIP-6780) never
    /// produce one with storage from before the block.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let reverse = |diff: &AccountDiff| AccountDiff {
            before: diff.after,
            after: diff.before,
            wiped: false,
            slots: diff
                .slots
                .iter()
                .map(|(slot, d)| (*slot, SlotDiff { before: d.after, after: d.before }))
                .collect(),
        };
        let accounts = self.accounts.iter().map(|(a, diff)| (*a, reverse(diff))).collect();
        Self { accounts, codes: BTreeMap::new() }
    }
}
