//! The pool's clock: from the caller's instants to times of day and to ordering windows.
//!
//! Reads the time of day once, when it starts; from then on it goes with the instants, so it never
//! goes back.

use std::time::{Duration, Instant, SystemTime};

/// Windows are counted from 1. Window 0 is closed from the beginning: what is in it need not wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
    start_unix_ms: u64,
    window_ms: u64,
    /// The last window that something entered.
    last: u64,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Clock {
    /// A clock with windows of this length; without any when it is below a millisecond.
    pub(super) fn start(window: Duration) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let start_unix_ms = since.map_or(0, millis);
        Self { start: Instant::now(), start_unix_ms, window_ms: millis(window), last: 0 }
    }

    /// Milliseconds since the unix epoch.
    pub(super) fn unix_ms(&self, at: Instant) -> u64 {
        let before = millis(self.start.saturating_duration_since(at));
        let after = millis(at.saturating_duration_since(self.start));
        self.start_unix_ms.saturating_sub(before).saturating_add(after)
    }

    /// The window that is open.
    pub(super) fn open_window(&self, at: Instant) -> u64 {
        let elapsed_ms = millis(at.saturating_duration_since(self.start));
        elapsed_ms.checked_div(self.window_ms).map_or(u64::MAX, |window| window + 1)
    }

    /// The window of something that arrives: the open one, or 0 for what arrived before the clock was
    /// started. Callers take their instants before they get the pool's lock, so these may go back a
    /// little; windows do not.
    pub(super) fn enter(&mut self, at: Instant) -> u64 {
        let is_in_window = self.window_ms > 0 && at >= self.start;
        let window = if is_in_window { self.open_window(at) } else { 0 };
        self.last = self.last.max(window);
        self.last
    }

    /// When a window closes; in the past for one that has.
    pub(super) fn closes_at(&self, window: u64) -> Instant {
        let end = Duration::from_millis(window.saturating_mul(self.window_ms));
        self.start.checked_add(end).unwrap_or(self.start)
    }
}
