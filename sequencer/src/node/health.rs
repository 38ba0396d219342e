//! What `/ready` answers: whether blocks are sealed, how old the view of L1 is, and what keeps the
//! accounts that pay L1 from sending.

use super::pressure;
use crate::{
    builder::BuildError,
    l1::L1Chain,
    pressure::Pressure,
    rpc::{Check, Readiness},
};
use alloy::primitives::utils::format_ether;
use batcher::{control::Control, txmgr::TxStatus};
use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// L1 is stale when it has not answered for this long: it is asked every `l1-poll-ms`.
const L1_SILENCE_MAX: Duration = Duration::from_secs(10);

/// Sealing is late when nothing was sealed for this many block times, and a second.
const BLOCKS_LATE_MAX: u32 = 10;

/// State of the builder as others see it.
#[derive(Debug)]
pub(super) struct Health {
    block_time: Duration,
    sealing: Mutex<Sealing>,
    /// Tasks that send, and may halt.
    control: Control,
}

#[derive(Debug)]
struct Sealing {
    last: Instant,
    failure: Option<String>,
}

impl Health {
    pub(super) fn new(block_time: Duration, control: Control) -> Self {
        let sealing = Sealing { last: Instant::now(), failure: None };
        Self { block_time, sealing: Mutex::new(sealing), control }
    }

    fn sealing(&self) -> MutexGuard<'_, Sealing> {
        self.sealing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a block, or that none was due.
    pub(super) fn sealed(&self) {
        let mut sealing = self.sealing();
        if sealing.failure.take().is_some() {
            tracing::info!("sealing again");
        }
        sealing.last = Instant::now();
    }

    /// Notes a failure; it is logged once until it changes.
    pub(super) fn failed(&self, error: &BuildError) {
        let text = error.to_string();
        let mut sealing = self.sealing();
        if sealing.failure.as_ref() != Some(&text) {
            tracing::error!(%error, "no block");
            sealing.failure = Some(text);
        }
    }

    pub(super) fn is_failing(&self) -> bool {
        self.sealing().failure.is_some()
    }

    /// The checks of `/ready`.
    pub(super) fn readiness(&self, l1: &L1Chain, pressure: Option<&Pressure>) -> Readiness {
        let sealing = self.sealing();
        let age = sealing.last.elapsed();
        let late = age > self.block_time * BLOCKS_LATE_MAX + Duration::from_secs(1);
        let is_paused = pressure.is_some_and(|pressure| !pressure.orders.seals);
        let detail = sealing.failure.clone().unwrap_or_else(|| match is_paused {
            true => "paused, because L1 is behind".to_owned(),
            false => format!("last block {age:.1?} ago"),
        });
        let sealing = Check { name: "sealing", ok: sealing.failure.is_none() && !late, detail };
        let status = l1.status();
        let detail = status.answered.map_or("has not answered yet".to_owned(), |answered| {
            format!("block {}, answered {:.1?} ago", status.number, answered.elapsed())
        });
        let l1 = Check { name: "l1", ok: status.is_fresh(L1_SILENCE_MAX), detail };
        let posting = pressure.map(pressure::check);
        let checks = [sealing, l1].into_iter().chain(posting).chain(senders(&self.control));
        Readiness { checks: checks.collect() }
    }
}

/// A check for each task that sends to L1: what its account is doing, or why it halted.
pub(super) fn senders(control: &Control) -> Vec<Check> {
    let (senders, state) = (control.all_senders(), control.state());
    let going = senders.iter().filter(|(name, _)| !state.halted.contains_key(**name));
    let sending = going.map(|(name, sender)| sending(name, &sender.status()));
    let halted = state.halted.iter().map(|(task, reason)| Check {
        name: task,
        ok: false,
        detail: format!("halted: {reason}"),
    });
    sending.chain(halted).collect()
}

/// An account is ready while nothing keeps it from sending. Money that will be short is said, and does
/// not count: there is some.
fn sending(name: &'static str, status: &TxStatus) -> Check {
    let money = status.wallet.map(|wallet| {
        let ether = format_ether(wallet.balance_wei);
        let days = wallet.runway_days().map(|days| format!(", for {days:.1} days at this pace"));
        let low = if wallet.is_low { ": send it ether" } else { "" };
        format!("; it has {ether} ether{}{low}", days.unwrap_or_default())
    });
    let doing = match (&status.hold, &status.in_flight) {
        (Some(hold), _) => hold.to_string(),
        (None, Some(flight)) => format!("waits for L1 transaction {}", flight.tx_hash),
        (None, None) => "nothing is in flight".to_owned(),
    };
    let detail = format!("{}: {doing}{}", status.account, money.unwrap_or_default());
    Check { name, ok: status.hold.is_none(), detail }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ChainStoreError;

    #[test]
    fn a_full_disk_is_said_until_a_block_is_sealed_again() {
        let health = Health::new(Duration::from_secs(1), Control::default());
        let l1 = L1Chain::new([]);
        let sealing = || health.readiness(&l1, None).checks.remove(0);
        assert!(sealing().ok);
        let reason = "the disk is full: cannot write 0000000001.log".to_owned();
        health.failed(&ChainStoreError::DiskFull { reason: reason.clone() }.into());
        assert!(health.is_failing());
        assert_eq!((sealing().ok, sealing().detail), (false, reason));
        health.sealed();
        assert!(sealing().ok && !health.is_failing());
    }
}
