//! Fees of L1 transactions: pure integer arithmetic. Owns the replacement rule of the pools and the
//! caps from configuration.

use alloy::eips::eip4844::DATA_GAS_PER_BLOB;

/// Percent by which a plain transaction must raise each fee to replace its predecessor (geth's and
/// reth's default price bump).
pub const BUMP_PERCENT_PLAIN: u128 = 10;
/// The same for a blob transaction (geth's and reth's blob pools).
pub const BUMP_PERCENT_BLOB: u128 = 100;

/// What a transaction offers. All in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    /// Most per gas (EIP-1559).
    pub max_fee_wei: u128,
    /// Priority per gas (EIP-1559); at most `max_fee_wei`.
    pub priority_fee_wei: u128,
    /// Most per blob gas (EIP-4844); `None` for a transaction without blobs.
    pub max_blob_fee_wei: Option<u128>,
}

/// What L1 asks for now. All in wei.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Market {
    /// Base fee of the next block.
    pub base_fee_wei: u128,
    /// Priority fee that is usual.
    pub priority_fee_wei: u128,
    /// Blob base fee of the next block.
    pub blob_base_fee_wei: u128,
}

/// The most that is ever offered. A market above it means waiting, not paying.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeCaps {
    /// Per gas, in wei.
    pub max_fee_wei: u128,
    /// Per blob gas, in wei.
    pub max_blob_fee_wei: u128,
}

impl Default for FeeCaps {
    /// 200 gwei for either: some 0.18 ETH for an append of 0.1 M gas and six blobs.
    fn default() -> Self {
        Self { max_fee_wei: 200_000_000_000, max_blob_fee_wei: 200_000_000_000 }
    }
}

impl Market {
    /// Fees that stay valid for some blocks of rising base fee: twice the base fees. `None` when the
    /// market is above the caps.
    #[must_use]
    pub fn offer(&self, has_blobs: bool, caps: &FeeCaps) -> Option<Fees> {
        let lowest = self.base_fee_wei.saturating_add(self.priority_fee_wei);
        if lowest > caps.max_fee_wei {
            return None;
        }
        if has_blobs && self.blob_base_fee_wei > caps.max_blob_fee_wei {
            return None;
        }
        let doubled = self.base_fee_wei.saturating_mul(2).saturating_add(self.priority_fee_wei);
        let blob = self.blob_base_fee_wei.saturating_mul(2).max(1).min(caps.max_blob_fee_wei);
        Some(Fees {
            max_fee_wei: doubled.min(caps.max_fee_wei),
            priority_fee_wei: self.priority_fee_wei,
            max_blob_fee_wei: has_blobs.then_some(blob),
        })
    }
}

impl Fees {
    /// Whether these are of a transaction with blobs.
    #[must_use]
    pub fn has_blobs(&self) -> bool {
        self.max_blob_fee_wei.is_some()
    }

    /// Whether the next block could include a transaction with these.
    #[must_use]
    pub fn covers(&self, market: &Market) -> bool {
        let asked_wei = market.base_fee_wei.saturating_add(market.priority_fee_wei);
        let gas = self.max_fee_wei >= asked_wei;
        gas && self.max_blob_fee_wei.is_none_or(|fee| fee >= market.blob_base_fee_wei)
    }

    /// Most that a transaction with these can cost, in wei: what an account must have for it.
    #[must_use]
    pub fn cost_max_wei(&self, gas_limit: u64, blobs: usize) -> u128 {
        let gas_wei = self.max_fee_wei.saturating_mul(gas_limit.into());
        let blob_gas = u128::from(DATA_GAS_PER_BLOB).saturating_mul(blobs as u128);
        gas_wei.saturating_add(blob_gas.saturating_mul(self.max_blob_fee_wei.unwrap_or(0)))
    }

    /// Fees that replace a transaction with these: every one raised by the pool's percentage,
    /// rounded up, and at least what the market asks for. `None` when that is above the caps.
    #[must_use]
    pub fn replacement(&self, market: &Market, caps: &FeeCaps) -> Option<Self> {
        let has_blobs = self.has_blobs();
        let percent = if has_blobs { BUMP_PERCENT_BLOB } else { BUMP_PERCENT_PLAIN };
        let offer = market.offer(has_blobs, caps)?;
        let bump = |old: u128, asked: u128| raised(old, percent).max(asked);
        let priority_fee_wei = bump(self.priority_fee_wei, offer.priority_fee_wei);
        let max_fee_wei = bump(self.max_fee_wei, offer.max_fee_wei).max(priority_fee_wei);
        let max_blob_fee_wei = match (self.max_blob_fee_wei, offer.max_blob_fee_wei) {
            (Some(old), Some(asked)) => Some(bump(old, asked)),
            _ => None,
        };
        let affordable = max_fee_wei <= caps.max_fee_wei
            && max_blob_fee_wei.is_none_or(|fee| fee <= caps.max_blob_fee_wei);
        affordable.then_some(Self { max_fee_wei, priority_fee_wei, max_blob_fee_wei })
    }
}

/// `ceil(old x (100 + percent) / 100)`, and more than `old`.
fn raised(old: u128, percent: u128) -> u128 {
    old.saturating_mul(100 + percent).div_ceil(100).max(old.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CAPS: FeeCaps = FeeCaps { max_fee_wei: 1 << 60, max_blob_fee_wei: 1 << 60 };

    fn market(base: u128, priority: u128, blob: u128) -> Market {
        Market { base_fee_wei: base, priority_fee_wei: priority, blob_base_fee_wei: blob }
    }

    /// geth, core/txpool: the new fee is above the old and not below old x (100 + bump) / 100.
    fn pool_accepts(old: u128, new: u128, percent: u128) -> bool {
        new > old && new >= old * (100 + percent) / 100
    }

    proptest! {
        #[test]
        fn replacement_is_accepted_by_the_pools(
            old_max in 1u128..1 << 50, old_priority in 0u128..1 << 40, old_blob in 1u128..1 << 50,
            base in 0u128..1 << 40, priority in 0u128..1 << 40, blob in 0u128..1 << 40,
            has_blobs: bool,
        ) {
            let old = Fees {
                max_fee_wei: old_max.max(old_priority),
                priority_fee_wei: old_priority,
                max_blob_fee_wei: has_blobs.then_some(old_blob),
            };
            let new = old.replacement(&market(base, priority, blob), &CAPS).unwrap();
            let percent = if has_blobs { 100 } else { 10 };
            prop_assert!(pool_accepts(old.max_fee_wei, new.max_fee_wei, percent));
            prop_assert!(pool_accepts(old.priority_fee_wei, new.priority_fee_wei, percent));
            prop_assert!(new.priority_fee_wei <= new.max_fee_wei);
            if has_blobs {
                prop_assert!(pool_accepts(old_blob, new.max_blob_fee_wei.unwrap(), percent));
            } else {
                prop_assert_eq!(new.max_blob_fee_wei, None);
            }
        }
    }

    #[test]
    fn caps_are_never_exceeded() {
        let caps = FeeCaps { max_fee_wei: 100, max_blob_fee_wei: 10 };
        let offer = market(60, 5, 1).offer(true, &caps).unwrap();
        assert_eq!((offer.max_fee_wei, offer.max_blob_fee_wei), (100, Some(2)));
        assert_eq!(market(100, 1, 1).offer(false, &caps), None);
        assert_eq!(market(1, 1, 11).offer(true, &caps), None);
        assert_eq!(offer.replacement(&market(60, 5, 1), &caps), None);
    }

    #[test]
    fn small_fees_rise_too() {
        assert_eq!((raised(0, 10), raised(1, 10), raised(10, 10), raised(11, 10)), (1, 2, 11, 13));
        assert_eq!((raised(1, 100), raised(7, 100)), (2, 14));
    }
}
