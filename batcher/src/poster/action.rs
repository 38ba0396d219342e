//! What follows an error of those who send to L1, and how long they wait then. Pure.

use super::{GateError, PostError};
use crate::{
    archive::ArchiveError,
    encoder::EncodeError,
    l1::L1Error,
    tracker::TrackError,
    txmgr::{StoreError, TxError},
};
use std::time::Duration;

/// What follows an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The next step tries again.
    Retry,
    /// The next step starts from what L1 and the node then have.
    Reset,
    /// Posting stops until somebody has looked; sequencing goes on.
    Halt,
}

impl L1Error {
    /// What follows.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Rpc(_) | Self::Missing(_) | Self::Unavailable(_) | Self::Stopped(_) => {
                Action::Retry
            }
            Self::Reorged => Action::Reset,
            Self::Contradiction(_) | Self::Kzg(_) => Action::Halt,
        }
    }
}

impl TxError {
    /// What follows.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::L1(error) => error.action(),
            Self::FeesAboveCaps
            | Self::Unfunded(_)
            | Self::OverBudget(_)
            | Self::Signer(_)
            | Self::StillOpen
            | Self::Store(StoreError::Unavailable(_)) => Action::Retry,
            Self::Store(StoreError::Failed(_)) | Self::Refused(_) => Action::Halt,
        }
    }
}

impl PostError {
    /// What follows.
    #[must_use]
    pub fn action(&self) -> Action {
        match self {
            Self::Track(TrackError::L1(error)) | Self::Gate(GateError::L1(error)) => error.action(),
            Self::Tx(error) => error.action(),
            Self::Track(
                TrackError::Source(_) | TrackError::Behind(_) | TrackError::Unsettled(_),
            )
            | Self::Source(_)
            | Self::Gate(GateError::Source(_))
            | Self::Archive(ArchiveError::Io { .. })
            | Self::Encode(EncodeError::Full) => Action::Retry,
            Self::Track(TrackError::Diverged(_))
            | Self::StaleOrigin(_)
            | Self::Encode(EncodeError::NotNext { .. }) => Action::Reset,
            Self::Track(TrackError::DeepReorg(_))
            | Self::EncoderStopped
            | Self::Gate(GateError::Suspect(_))
            | Self::Archive(ArchiveError::Kzg(_))
            | Self::NotSequencer { .. }
            | Self::Reverted { .. }
            | Self::Encode(
                EncodeError::NoAttributes(_)
                | EncodeError::BlockTooLarge(_)
                | EncodeError::ReadBack(_),
            ) => Action::Halt,
        }
    }
}

/// Longest wait between two tries of a step that fails: what was missing is noticed soon after it is
/// there, and nobody is asked, and told, much more often than that.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// Waits between steps: doubled after each failure that time may cure.
#[derive(Debug)]
pub struct Backoff {
    poll: Duration,
    wait: Duration,
}

impl Backoff {
    /// With this as the first wait.
    #[must_use]
    pub fn new(poll: Duration) -> Self {
        Self { poll, wait: poll }
    }

    /// The wait after a step that did not fail.
    pub fn reset(&mut self) -> Duration {
        self.wait = self.poll;
        self.poll
    }

    /// The wait after one that did.
    pub fn after(&mut self, action: Action) -> Duration {
        if action != Action::Retry {
            return self.reset();
        }
        let wait = self.wait;
        self.wait = (self.wait * 2).min(BACKOFF_MAX.max(self.poll));
        wait
    }
}
