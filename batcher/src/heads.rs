//! The heads that L1 determines, read by a node that posts nothing itself: what another process posts
//! is followed here, so that tags, streams and back-pressure know it.
//!
//! Owns the loop and the telling. What is safe is the [`Tracker`]'s to find out.

use crate::{
    control::Control,
    poster::{Action, Backoff, PostError},
    tracker::{Heads, TrackError, Tracker},
};
use alloy::eips::BlockNumberOrTag;
use std::time::Duration;
use tokio::sync::watch;

/// By this name it is shown.
pub const TRACKER: &str = "tracker";

impl Tracker {
    /// All heads, once what is final on L1 now is taken for final.
    ///
    /// # Errors
    /// [`TrackError`] when L1 does not answer.
    pub async fn read_heads(&mut self) -> Result<Heads, TrackError> {
        if let Some(finalized) = self.inbox().block_id(BlockNumberOrTag::Finalized).await? {
            self.finalize(finalized.number);
        }
        Ok(self.heads())
    }
}

/// Tells the heads where they changed; returns whether they did.
pub(crate) fn tell(sender: &watch::Sender<Heads>, heads: Heads) -> bool {
    sender.send_if_modified(|old| {
        let changed = *old != heads;
        *old = heads;
        changed
    })
}

/// Follows L1 and tells the heads until `shutdown` completes.
///
/// # Errors
/// The first error whose action is [`Action::Halt`].
pub async fn follow(
    mut tracker: Tracker,
    heads: watch::Sender<Heads>,
    poll: Duration,
    (control, shutdown): (Control, impl Future<Output = ()>),
) -> Result<(), PostError> {
    let steps = async {
        let mut backoff = Backoff::new(poll);
        loop {
            let step = async {
                let is_caught_up = tracker.sync().await?;
                tell(&heads, tracker.read_heads().await?);
                Ok::<_, PostError>(is_caught_up)
            };
            let wait = match step.await {
                Ok(is_caught_up) => {
                    control.stepped(TRACKER, None);
                    let wait = backoff.reset();
                    if is_caught_up { wait } else { Duration::ZERO }
                }
                Err(error) if error.action() == Action::Halt => return Err(error),
                Err(error) => {
                    let wait = backoff.after(error.action());
                    tracing::warn!(%error, retry_in = ?wait, "tracker");
                    control.stepped(TRACKER, Some(error.to_string()));
                    wait
                }
            };
            tokio::time::sleep(wait).await;
        }
    };
    tokio::select! {
        halted = steps => halted,
        () = shutdown => Ok(()),
    }
}
