//! What `/ready` answers for a follower: how old the view of L1 is, how far it is derived, whether
//! deriving fails, and whether the outputs on L1 are the derived chain's.

use super::NodeError;
use crate::{
    derived::Claim,
    rpc::{Check, Readiness},
};
use alloy::primitives::B256;
use batcher::{encoder::BlockId, l1::L1Error, tracker::TrackError};
use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// L1 is stale when it has not answered for this long: it is asked every `l1-poll-ms`, and between
/// the appends of a long catch-up.
const L1_SILENCE_MAX: Duration = Duration::from_secs(60);

/// An output on L1 that is not the derived chain's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WrongOutput {
    pub(super) claim: Claim,
    /// Root of the derived chain; `None` where L1 does not determine the block.
    pub(super) derived: Option<B256>,
}

impl fmt::Display for WrongOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Claim { index, block, root } = self.claim;
        write!(f, "output {index} of block {block}: L1 claims {root}, ")?;
        match self.derived {
            Some(derived) => write!(f, "derived {derived}"),
            None => write!(f, "and determines no such block"),
        }
    }
}

/// How far the follower is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// Newest L1 block, and the one up to which the Inbox is read and derived.
    pub(crate) latest: BlockId,
    pub(crate) read: BlockId,
    /// Outputs that were compared, and those of them that differ.
    pub(crate) compared: u64,
    pub(crate) wrong: u64,
}

/// State of the follower as others see it.
#[derive(Debug, Default)]
pub(crate) struct Status(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    answered: Option<Instant>,
    /// Newest L1 block, and the one up to which the Inbox is read.
    latest: BlockId,
    read: BlockId,
    /// Set where all of L1 was read, up to this block.
    caught_up_at: Option<BlockId>,
    l1_failure: Option<String>,
    failure: Option<String>,
    compared: u64,
    wrong: Vec<WrongOutput>,
}

impl Status {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// L1 answered, and is at `latest`. What it failed at before may fail again.
    pub(super) fn answered(&self, read: BlockId, latest: BlockId) {
        let mut state = self.state();
        (state.answered, state.read, state.latest) = (Some(Instant::now()), read, latest);
    }

    /// The Inbox is read and derived up to L1 block `read`.
    pub(super) fn read(&self, read: BlockId, is_caught_up: bool) {
        let mut state = self.state();
        (state.answered, state.read) = (Some(Instant::now()), read);
        state.caught_up_at = is_caught_up.then_some(read);
        let (failure, l1_failure) = (state.failure.take(), state.l1_failure.take());
        if failure.or(l1_failure).is_some() {
            tracing::info!("deriving again");
        }
    }

    /// Deriving failed; it is logged once until it changes.
    pub(super) fn failed(&self, error: &NodeError) {
        let text = error.to_string();
        let mut state = self.state();
        state.caught_up_at = None;
        // A reorg meets every reader; the next look goes back.
        if matches!(error, NodeError::Track(TrackError::L1(L1Error::Reorged))) {
            tracing::warn!("L1 was reorganised while it was read");
            return;
        }
        let is_l1 = matches!(error, NodeError::L1(_) | NodeError::Track(TrackError::L1(_)));
        let failure = if is_l1 { &mut state.l1_failure } else { &mut state.failure };
        if failure.as_ref() != Some(&text) {
            tracing::error!(%error, "deriving waits");
            *failure = Some(text);
        }
    }

    /// Outputs below `compared` were compared, and these are wrong.
    pub(super) fn compared(&self, compared: u64, wrong: Vec<WrongOutput>) {
        let mut state = self.state();
        (state.compared, state.wrong) = (compared, wrong);
    }

    /// The L1 block up to which everything is derived; `None` while there is more.
    pub(super) fn caught_up_at(&self) -> Option<BlockId> {
        self.state().caught_up_at
    }

    /// How far it is.
    pub(crate) fn progress(&self) -> Progress {
        let State { latest, read, compared, ref wrong, .. } = *self.state();
        Progress { latest, read, compared, wrong: wrong.len() as u64 }
    }

    /// The checks of `/ready`.
    pub(super) fn readiness(&self) -> Readiness {
        let state = self.state();
        let age = state.answered.map(|answered| answered.elapsed());
        let detail = match (&state.l1_failure, age) {
            (Some(failure), _) => failure.clone(),
            (None, None) => "has not answered yet".to_owned(),
            (None, Some(age)) => format!("block {}, answered {age:.1?} ago", state.latest.number),
        };
        let is_fresh = age.is_some_and(|age| age <= L1_SILENCE_MAX);
        let ok = is_fresh && state.l1_failure.is_none();
        let l1 = Check { name: "l1", ok, detail };
        let (read, latest) = (state.read.number, state.latest.number);
        let ok = state.failure.is_none() && state.caught_up_at.is_some();
        let detail = match &state.failure {
            Some(failure) => failure.clone(),
            None if ok => format!("all up to L1 block {read}"),
            None => format!("catching up: L1 block {read} of {latest}"),
        };
        let derivation = Check { name: "derivation", ok, detail };
        let detail = match state.wrong.first() {
            None => format!("{} compared, all equal", state.compared),
            Some(first) => format!("{} wrong; {first}", state.wrong.len()),
        };
        let outputs = Check { name: "outputs", ok: state.wrong.is_empty(), detail };
        Readiness { checks: vec![l1, derivation, outputs] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use batcher::l1::Missing;

    #[test]
    fn ready_says_what_is_wrong() {
        let status = Status::default();
        let block = |number| BlockId { number, ..BlockId::default() };
        let ok = |status: &Status| -> Vec<bool> {
            status.readiness().checks.iter().map(|check| check.ok).collect()
        };
        assert_eq!(ok(&status), [false, false, true]);
        status.answered(block(3), block(9));
        assert_eq!(ok(&status), [true, false, true]);
        assert!(status.readiness().checks[1].detail.contains("3 of 9"));
        status.read(block(9), true);
        assert_eq!(ok(&status), [true, true, true]);
        assert_eq!(status.caught_up_at(), Some(block(9)));
        let claim = Claim { index: 2, block: 8, root: B256::repeat_byte(1) };
        let wrong = WrongOutput { claim, derived: Some(B256::repeat_byte(2)) };
        status.compared(3, vec![wrong]);
        assert_eq!(ok(&status), [true, true, false]);
        assert!(status.readiness().checks[2].detail.contains("output 2 of block 8"));
        status.failed(&NodeError::Track(TrackError::Behind(7)));
        assert_eq!(ok(&status), [true, false, false]);
        assert_eq!(status.caught_up_at(), None);
        // What L1 does not have is said for as long as nothing is read, however often L1 answers else.
        status.failed(&NodeError::L1(L1Error::Missing(Missing::Block(7))));
        status.answered(block(9), block(10));
        assert_eq!(ok(&status), [false, false, false]);
        assert!(status.readiness().checks[0].detail.contains("no block 7"));
        status.read(block(10), true);
        assert_eq!(ok(&status), [true, true, false], "what is derived does not heal a claim");
    }
}
