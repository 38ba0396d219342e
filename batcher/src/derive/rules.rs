//! The rules that bind an L2 block to its parent and to L1. One function each, called by derivation
//! and by the block builder, so that the builder cannot make a block that derivation drops.
//!
//! The genesis block counts as sequence number 0 of the L1 block that genesis is anchored to. The
//! first block may stay with that origin (sequence number 1, no deposits: the anchor's own are
//! before the chain) or take the next L1 block (sequence number 0, with its deposits).

use alloy::primitives::B256;
use executor::{L1Origin, RollupRules};

/// A block's place on L1: its origin and its position among the L2 blocks of that origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Epoch {
    /// Number of the L1 origin.
    pub number: u64,
    /// Hash of the L1 origin.
    pub hash: B256,
    /// L2 blocks of the same origin before this one.
    pub sequence_number: u64,
}

impl Epoch {
    /// The genesis block's place.
    #[must_use]
    pub fn genesis(genesis: &executor::Genesis) -> Self {
        let l1 = &genesis.l1;
        Self { number: l1.origin_number, hash: l1.origin_hash, sequence_number: 0 }
    }

    /// The place of a block with this origin and sequence number.
    #[must_use]
    pub fn of(origin: &L1Origin, sequence_number: u64) -> Self {
        Self { number: origin.number, hash: origin.hash, sequence_number }
    }

    /// Whether the block opens its origin: then the origin's deposits are in it.
    #[must_use]
    pub fn is_first(&self) -> bool {
        self.sequence_number == 0
    }
}

/// A block that may not follow its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Violation {
    /// The origin is before the parent's.
    #[error("L1 origin goes backwards")]
    OriginBackwards,
    /// An L1 block, and with it its deposits, is skipped.
    #[error("L1 origin skips a block")]
    OriginSkips,
    /// The origin is not the canonical L1 block of its number, or not a child of the parent's.
    #[error("L1 origin is on another chain")]
    OriginHash,
    /// The timestamp is before the parent's.
    #[error("timestamp before the parent's")]
    TimestampBackwards,
    /// The timestamp is before the origin's.
    #[error("timestamp before the L1 origin's")]
    BeforeOrigin,
    /// The timestamp is further than `sequencer_drift_secs_max` after the origin's.
    #[error("timestamp too far after the L1 origin's")]
    Drift,
}

/// Whether a block whose parent is at `parent` may have `origin`: the same L1 block, or the one
/// right after it. Returns the block's place.
///
/// # Errors
/// The [`Violation`] of the origin.
pub fn next_origin_allowed(parent: &Epoch, origin: &L1Origin) -> Result<Epoch, Violation> {
    if check_origin_number(parent, origin.number)? {
        if origin.parent_hash != parent.hash {
            return Err(Violation::OriginHash);
        }
        return Ok(Epoch::of(origin, 0));
    }
    if origin.hash != parent.hash {
        return Err(Violation::OriginHash);
    }
    Ok(Epoch::of(origin, parent.sequence_number.saturating_add(1)))
}

/// The part of [`next_origin_allowed`] that needs the number alone: whether the origin advances.
///
/// # Errors
/// [`Violation::OriginBackwards`] or [`Violation::OriginSkips`].
pub fn check_origin_number(parent: &Epoch, number: u64) -> Result<bool, Violation> {
    match number.checked_sub(parent.number) {
        None => Err(Violation::OriginBackwards),
        Some(0) => Ok(false),
        Some(1) => Ok(true),
        Some(_) => Err(Violation::OriginSkips),
    }
}

/// Whether a block of `origin` may have `timestamp` (seconds). Equal timestamps of parent and child
/// are allowed: blocks can be closer together than a second.
///
/// # Errors
/// The [`Violation`] of the timestamp.
pub fn check_timestamp(
    rules: &RollupRules,
    parent_timestamp: u64,
    origin: &L1Origin,
    timestamp: u64,
) -> Result<(), Violation> {
    if timestamp < parent_timestamp {
        return Err(Violation::TimestampBackwards);
    }
    if timestamp < origin.timestamp {
        return Err(Violation::BeforeOrigin);
    }
    if timestamp > latest_timestamp(rules, origin) {
        return Err(Violation::Drift);
    }
    Ok(())
}

/// Latest timestamp (seconds) of a block of `origin`.
#[must_use]
pub fn latest_timestamp(rules: &RollupRules, origin: &L1Origin) -> u64 {
    origin.timestamp.saturating_add(rules.sequencer_drift_secs_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(number: u64, hash: u8, parent: u8, timestamp: u64) -> L1Origin {
        L1Origin {
            number,
            hash: B256::repeat_byte(hash),
            parent_hash: B256::repeat_byte(parent),
            timestamp,
            base_fee_wei: 1,
            blob_base_fee_wei: 1,
            prevrandao: B256::ZERO,
        }
    }

    #[test]
    fn origin_stays_or_advances_by_one() {
        let parent = Epoch { number: 5, hash: B256::repeat_byte(5), sequence_number: 3 };
        let stays = next_origin_allowed(&parent, &origin(5, 5, 4, 0)).unwrap();
        assert_eq!((stays.sequence_number, stays.is_first()), (4, false));
        let advances = next_origin_allowed(&parent, &origin(6, 6, 5, 0)).unwrap();
        assert_eq!((advances.number, advances.is_first()), (6, true));
        let refused = |origin| next_origin_allowed(&parent, &origin).unwrap_err();
        assert_eq!(refused(origin(4, 4, 3, 0)), Violation::OriginBackwards);
        assert_eq!(refused(origin(7, 7, 6, 0)), Violation::OriginSkips);
        assert_eq!(refused(origin(6, 6, 9, 0)), Violation::OriginHash);
        assert_eq!(refused(origin(5, 9, 4, 0)), Violation::OriginHash);
    }

    #[test]
    fn timestamp_is_within_parent_origin_and_drift() {
        let rules = RollupRules { sequencer_drift_secs_max: 10, ..RollupRules::default() };
        let origin = origin(1, 1, 0, 100);
        let check = |parent, timestamp| check_timestamp(&rules, parent, &origin, timestamp);
        assert_eq!(check(90, 100), Ok(()));
        assert_eq!(check(110, 110), Ok(()));
        assert_eq!(check(90, 99), Err(Violation::BeforeOrigin));
        assert_eq!(check(105, 104), Err(Violation::TimestampBackwards));
        assert_eq!(check(90, 111), Err(Violation::Drift));
    }
}
