//! What an operator may tell those who send to L1, and what they show of themselves: pause and resume,
//! flush, why something halted.
//!
//! One handle is shared by the poster, the proposer and whoever takes the operator's orders. Owns the
//! gate that every submission passes, so that a pause that was answered holds. Sends nothing and stores
//! nothing. Transactions are shown by the [`TxControl`] of their account.

use crate::txmgr::TxControl;
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// State of sending, as everybody sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ControlState {
    /// No submission begins.
    pub is_paused: bool,
    /// Submissions that passed the gate and are not at their end, by task. A task has one at a time.
    pub submitting: BTreeMap<&'static str, &'static str>,
    /// Everything up to this L2 block is to be on L1 as soon as possible.
    pub flush_to: Option<u64>,
    /// Tasks that stopped until somebody has looked, and why.
    pub halted: BTreeMap<&'static str, String>,
    /// Tasks whose last step failed and is tried again, and why.
    pub failing: BTreeMap<&'static str, String>,
}

/// The handle; clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Control(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: watch::Sender<ControlState>,
    /// Who sends, by task.
    senders: Mutex<BTreeMap<&'static str, TxControl>>,
}

/// A submission that passed the gate; over when dropped.
#[derive(Debug)]
pub struct Submitting {
    control: Control,
    task: &'static str,
}

impl Drop for Submitting {
    fn drop(&mut self) {
        self.control.0.state.send_modify(|state| _ = state.submitting.remove(self.task));
    }
}

impl Control {
    /// The state now.
    #[must_use]
    pub fn state(&self) -> ControlState {
        self.0.state.borrow().clone()
    }

    /// Every change of the state.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<ControlState> {
        self.0.state.subscribe()
    }

    fn senders(&self) -> MutexGuard<'_, BTreeMap<&'static str, TxControl>> {
        self.0.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows who sends for a task.
    pub fn show_sender(&self, task: &'static str, sender: TxControl) {
        self.senders().insert(task, sender);
    }

    /// Who sends, by task.
    #[must_use]
    pub fn all_senders(&self) -> BTreeMap<&'static str, TxControl> {
        self.senders().clone()
    }

    /// Closes the gate: when this returns no submission begins any more. Those that have begun go on,
    /// and are in the state that is returned.
    pub fn pause(&self) -> ControlState {
        self.0.state.send_modify(|state| state.is_paused = true);
        self.state()
    }

    /// Opens the gate, and lets what halted try again. Returns the state before.
    pub fn resume(&self) -> ControlState {
        let before = self.state();
        self.0.state.send_modify(|state| {
            state.is_paused = false;
            state.halted.clear();
        });
        before
    }

    /// Whether the gate is closed.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.0.state.borrow().is_paused
    }

    /// Passes the gate; `None` while it is closed.
    #[must_use]
    pub fn begin(&self, task: &'static str, what: &'static str) -> Option<Submitting> {
        let passed = self.0.state.send_if_modified(|state| {
            if state.is_paused {
                return false;
            }
            state.submitting.insert(task, what);
            true
        });
        passed.then(|| Submitting { control: self.clone(), task })
    }

    /// Wants everything up to an L2 block on L1.
    pub fn flush(&self, to: u64) {
        self.0.state.send_modify(|state| state.flush_to = state.flush_to.max(Some(to)));
    }

    /// The block up to which everything is wanted on L1.
    #[must_use]
    pub fn flush_to(&self) -> Option<u64> {
        self.0.state.borrow().flush_to
    }

    /// Everything up to `safe` is on L1, and the chain ended at `head` when `wanted` was wanted already:
    /// nothing after that can be. What is wanted since then stays.
    pub fn flushed(&self, wanted: Option<u64>, safe: u64, head: u64) {
        self.0.state.send_if_modified(|state| {
            let is_this = state.flush_to == wanted;
            let done = is_this && wanted.is_some_and(|to| safe >= to.min(head));
            if done {
                state.flush_to = None;
            }
            done
        });
    }

    /// Shows that a task stopped for good.
    pub fn halt(&self, task: &'static str, reason: String) {
        self.0.state.send_modify(|state| {
            state.failing.remove(task);
            state.halted.insert(task, reason);
        });
    }

    /// Shows how the last step of a task ended.
    pub fn stepped(&self, task: &'static str, error: Option<String>) {
        self.0.state.send_if_modified(|state| {
            if state.failing.get(task) == error.as_ref() {
                return false;
            }
            match error {
                Some(error) => state.failing.insert(task, error),
                None => state.failing.remove(task),
            };
            true
        });
    }

    /// Completes when a halted task may try again.
    pub async fn resumed(&self, task: &'static str) {
        // The sender is this handle's own: it is not closed.
        let _ = self.changes().wait_for(|state| !state.halted.contains_key(task)).await;
    }

    /// Completes when somebody wants something of a task that waits: a flush, or going on.
    pub async fn asked(&self) {
        let mut changes = self.changes();
        let (paused, flush_to) = {
            let state = changes.borrow_and_update();
            (state.is_paused, state.flush_to)
        };
        let differs =
            |state: &ControlState| (paused && !state.is_paused) || (state.flush_to > flush_to);
        let _ = changes.wait_for(differs).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_holds_from_its_answer_on_and_says_what_goes_on() {
        let control = Control::default();
        let first = control.begin("poster", "an append").unwrap();
        let state = control.pause();
        assert_eq!(state.submitting.get("poster"), Some(&"an append"));
        assert!(control.begin("proposer", "an output").is_none());
        drop(first);
        assert!(control.state().submitting.is_empty() && control.begin("poster", "").is_none());
        assert!(control.resume().is_paused);
        assert!(control.begin("poster", "an append").is_some());
    }

    #[test]
    fn a_flush_is_over_when_all_of_it_is_on_l1_or_was_undone() {
        let control = Control::default();
        control.flush(7);
        control.flush(5);
        control.flushed(control.flush_to(), 6, 9);
        assert_eq!(control.flush_to(), Some(7));
        control.flushed(control.flush_to(), 7, 9);
        assert_eq!(control.flush_to(), None);
        control.flush(9);
        control.flushed(None, 4, 4);
        assert_eq!(control.flush_to(), Some(9), "wanted after the head was read");
        control.flushed(Some(9), 4, 4);
        assert_eq!(control.flush_to(), None);
    }

    #[tokio::test]
    async fn what_halted_goes_on_when_it_is_told_to() {
        let control = Control::default();
        control.halt("poster", "L1 contradicts itself".into());
        let waiting = tokio::spawn({
            let control = control.clone();
            async move { control.resumed("poster").await }
        });
        assert_eq!(control.resume().halted["poster"], "L1 contradicts itself");
        waiting.await.unwrap();
    }
}
