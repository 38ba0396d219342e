//! What was drawn and what became of it, counted, so that a generator that has gone blunt is seen.
//!
//! Owns the classes. Reads them off the reference's result; judges nothing but whether a class is
//! missing.

use super::{scenario::Block, world::VAULTS};
use alloy::primitives::{KECCAK256_EMPTY, TxKind};
use executor::{ExecutedBlock, SkipReason, StateView, Transaction};
use std::{collections::BTreeMap, fmt};

/// Counts by class.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Blocks.
    pub(crate) blocks: u64,
    /// Transactions offered.
    pub(crate) transactions: u64,
    classes: BTreeMap<String, u64>,
}

/// Every class that a run of some thousand blocks meets.
pub(crate) const CLASSES: [&str; 56] = [
    "block: ethereum",
    "block: rollup",
    "block: unreadable state",
    "block: without attributes",
    "changed: L1 fee vault",
    "changed: account created",
    "changed: account destroyed",
    "changed: code deployed",
    "changed: delegation cleared",
    "changed: delegation replaced",
    "changed: delegation set",
    "changed: operator fee vault",
    "changed: storage wiped",
    "deposit: cannot start",
    "deposit: failed",
    "deposit: succeeded",
    "executed: creation failed",
    "executed: creation succeeded",
    "executed: halted",
    "executed: logs",
    "executed: plain transfer",
    "executed: reverted",
    "executed: succeeded",
    "executed: type 0",
    "executed: type 1",
    "executed: type 2",
    "executed: type 3",
    "executed: type 4",
    "pattern: attributes",
    "pattern: beneficiary",
    "pattern: delegated",
    "pattern: delegation",
    "pattern: drain",
    "pattern: fund",
    "pattern: pointer",
    "pattern: rebirth",
    "skipped: blob fee",
    "skipped: block blob gas",
    "skipped: block gas",
    "skipped: chain id",
    "skipped: cost overflow",
    "skipped: fee below base",
    "skipped: floor gas",
    "skipped: funds",
    "skipped: funds for fees beside gas",
    "skipped: gas above cap",
    "skipped: init code",
    "skipped: intrinsic gas",
    "skipped: invalid authorizations",
    "skipped: invalid blobs",
    "skipped: nonce max",
    "skipped: nonce too high",
    "skipped: nonce too low",
    "skipped: sender has code",
    "skipped: tip above fee",
    "skipped: type",
];

fn reason(reason: &SkipReason) -> &'static str {
    match reason {
        SkipReason::NonceTooLow { .. } => "nonce too low",
        SkipReason::NonceTooHigh { .. } => "nonce too high",
        SkipReason::NonceMax => "nonce max",
        SkipReason::InsufficientFunds { .. } => "funds",
        SkipReason::FeeBelowBaseFee => "fee below base",
        SkipReason::PriorityFeeAboveMaxFee => "tip above fee",
        SkipReason::IntrinsicGas { .. } => "intrinsic gas",
        SkipReason::FloorGas { .. } => "floor gas",
        SkipReason::GasLimitAboveCap { .. } => "gas above cap",
        SkipReason::BlockGas { .. } => "block gas",
        SkipReason::BlockBlobGas => "block blob gas",
        SkipReason::BlobFeeBelowBaseFee => "blob fee",
        SkipReason::SenderNotEoa => "sender has code",
        SkipReason::InitCodeTooLarge => "init code",
        SkipReason::WrongChainId => "chain id",
        SkipReason::TypeNotSupported => "type",
        SkipReason::InvalidAuthorizationList => "invalid authorizations",
        SkipReason::InvalidBlobs => "invalid blobs",
        SkipReason::CostOverflow => "cost overflow",
    }
}

impl Tally {
    fn count(&mut self, class: &str) {
        match self.classes.get_mut(class) {
            Some(count) => *count += 1,
            None => drop(self.classes.insert(class.into(), 1)),
        }
    }

    /// Counts a block; `None` is one whose state could not be read.
    pub(crate) fn block(
        &mut self,
        block: &Block,
        state: &impl StateView,
        result: Option<&ExecutedBlock>,
    ) {
        self.blocks += 1;
        self.transactions += block.input.transactions.len() as u64;
        let rollup = matches!(*block.input.rules, executor::ChainRules::Rollup(_));
        self.count(if rollup { "block: rollup" } else { "block: ethereum" });
        self.count(&format!("hardfork: {:?}", block.input.rules.spec()));
        block.patterns.iter().for_each(|pattern| self.count(&format!("pattern: {pattern}")));
        let Some(result) = result else { return self.count("block: unreadable state") };
        if rollup && !block.patterns.contains(&"attributes") {
            self.count("block: without attributes");
        }
        for skipped in &result.skipped {
            if let SkipReason::InsufficientFunds { balance_wei, .. } = skipped.reason
                && skipped.transaction.max_cost_wei() <= balance_wei
            {
                self.count("skipped: funds for fees beside gas");
            }
            self.count(&format!("skipped: {}", reason(&skipped.reason)));
        }
        let mut before = 0;
        for (transaction, receipt) in result.transactions.iter().zip(&result.receipts) {
            let gas_used = receipt.cumulative_gas_used - before;
            before = receipt.cumulative_gas_used;
            self.transaction(transaction, receipt, gas_used);
        }
        self.changes(state, result);
    }

    fn transaction(
        &mut self,
        transaction: &Transaction,
        receipt: &executor::Receipt,
        gas_used: u64,
    ) {
        let all_gas = gas_used == transaction.gas_limit();
        if receipt.deposit_nonce.is_some() {
            return self.count(match (receipt.success, gas_used) {
                (true, _) => "deposit: succeeded",
                (false, 0..21_000) => "deposit: cannot start",
                (false, _) => "deposit: failed",
            });
        }
        self.count(&format!("executed: type {}", transaction.ty()));
        if transaction.kind() == TxKind::Create {
            let class = if receipt.success { "succeeded" } else { "failed" };
            self.count(&format!("executed: creation {class}"));
        } else if transaction.input().is_empty() && gas_used == 21_000 {
            self.count("executed: plain transfer");
        }
        self.count(match (receipt.success, all_gas) {
            (true, _) => "executed: succeeded",
            (false, false) => "executed: reverted",
            (false, true) => "executed: halted",
        });
        if !receipt.logs.is_empty() {
            self.count("executed: logs");
        }
    }

    fn changes(&mut self, state: &impl StateView, result: &ExecutedBlock) {
        for (vault, class) in VAULTS.iter().zip(["L1 fee vault", "operator fee vault"]) {
            if result.diff.accounts.contains_key(vault) {
                self.count(&format!("changed: {class}"));
            }
        }
        for change in result.diff.accounts.values() {
            match (change.before, change.after) {
                (None, Some(_)) => self.count("changed: account created"),
                (Some(_), None) => self.count("changed: account destroyed"),
                _ => {}
            }
            if change.wiped && change.before.is_some_and(|before| before.nonce > 0) {
                self.count("changed: storage wiped");
            }
            let code = |account: Option<executor::Account>| {
                let hash = account.map_or(KECCAK256_EMPTY, |account| account.code_hash);
                let code = result.diff.codes.get(&hash).cloned();
                (hash, code.or_else(|| state.code(hash).ok()).is_some_and(|code| code.is_eip7702()))
            };
            let (before, after) = (code(change.before), code(change.after));
            match (before.1, after.1) {
                (false, true) => self.count("changed: delegation set"),
                (true, false) if after.0 == KECCAK256_EMPTY => {
                    self.count("changed: delegation cleared")
                }
                (true, true) if before.0 != after.0 => self.count("changed: delegation replaced"),
                (false, false) if before.0 != after.0 && after.0 != KECCAK256_EMPTY => {
                    self.count("changed: code deployed");
                }
                _ => {}
            }
        }
    }

    /// Adds another tally.
    pub(crate) fn add(&mut self, other: Self) {
        self.blocks += other.blocks;
        self.transactions += other.transactions;
        for (class, count) in other.classes {
            *self.classes.entry(class).or_default() += count;
        }
    }

    /// Classes that should have been met and were not.
    pub(crate) fn missing(&self) -> Vec<&'static str> {
        CLASSES.into_iter().filter(|class| !self.classes.contains_key(*class)).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.classes.iter().try_for_each(|(class, count)| writeln!(f, "{count:>10}  {class}"))
    }
}
