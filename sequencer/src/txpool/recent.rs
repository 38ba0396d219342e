//! Next nonces that the block builder reported and the latest state may not show yet.
//!
//! Without it a sender whose transactions are all mined, but not yet sealed, would seem to have a
//! nonce gap. Holds hints only: state is authoritative once it is ahead.

use alloy::primitives::Address;
use std::collections::{HashMap, VecDeque};

/// Senders remembered: those of the last two full blocks of 100,000. When full, the oldest is
/// forgotten; its block is sealed long since.
const RECENT_SENDERS_MAX: usize = 262_144;

#[derive(Debug, Default)]
pub(super) struct RecentNonces {
    nonces: HashMap<Address, u64>,
    order: VecDeque<Address>,
}

impl RecentNonces {
    pub(super) fn note(&mut self, sender: Address, next: u64) {
        if let Some(known) = self.nonces.get_mut(&sender) {
            *known = next.max(*known);
            return;
        }
        if self.order.len() == RECENT_SENDERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.nonces.remove(&oldest);
        }
        self.nonces.insert(sender, next);
        self.order.push_back(sender);
    }

    pub(super) fn get(&self, sender: &Address) -> Option<u64> {
        self.nonces.get(sender).copied()
    }

    pub(super) fn clear(&mut self) {
        self.nonces.clear();
        self.order.clear();
    }
}
