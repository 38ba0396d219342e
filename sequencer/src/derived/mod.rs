//! Chains that hold what L1 determines and nothing else, whoever reads L1 for them: in memory for
//! `verify`, in the chain store for a follower.
//!
//! Owns what both do with a derived block (the one door, [`executor::execute_with`]), what tells that it
//! is there already, what they count, how they show it, and the outputs that are claimed on L1. Reading
//! L1, deriving and going back after a reorg are [`batcher::tracker`]'s.

mod claims;
mod memory;
mod progress;
mod replay;
mod stored;
#[cfg(test)]
mod tests;

pub use claims::{Claim, Claims};
pub use memory::MemoryChain;
pub use progress::{Counts, Progress, Rates};
pub use replay::ReplayError;
pub(crate) use replay::replay;
pub use stored::StoredChain;

use crate::store::ChainStoreError;
use batcher::tracker::TrackError;
use executor::{ExecuteError, ViewError};

/// A derived block did not get into its chain. Nothing changed; the same block is offered again.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    /// It cannot be executed.
    #[error("executing block {number}: {error}")]
    Execute {
        /// Height.
        number: u64,
        /// Why.
        error: ExecuteError,
    },
    /// The state cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
    /// The store does not take it, or cannot go back to before it.
    #[error("block {number}: {error}")]
    Store {
        /// Height.
        number: u64,
        /// Why.
        error: ChainStoreError,
    },
    /// The stored block of its number cannot be executed again, to compare them.
    #[error("executing a stored block again: {0}")]
    Replay(#[source] Box<ReplayError>),
    /// It does not follow the newest block of a chain that cannot go back.
    #[error("block {number} does not follow the newest block")]
    NotNext {
        /// Height.
        number: u64,
    },
    /// The thread that executed it stopped.
    #[error("the thread that executes stopped: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl From<ReplayError> for SettleError {
    fn from(error: ReplayError) -> Self {
        Self::Replay(Box::new(error))
    }
}

impl From<SettleError> for TrackError {
    fn from(error: SettleError) -> Self {
        Self::Unsettled(Box::new(error))
    }
}

/// Runs work that executes, off the async threads.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SettleError> + Send + 'static,
) -> Result<T, TrackError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(SettleError::from)?;
    Ok(done?)
}
