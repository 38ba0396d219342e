//! Progress on standard error: one line that is written over on a terminal, a line now and then
//! elsewhere.

use crate::store::chain::Progress;
use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// Between two lines on a terminal, where each replaces the last.
const TERMINAL_PAUSE: Duration = Duration::from_millis(200);
/// Between two lines of a log.
const LOG_PAUSE: Duration = Duration::from_secs(10);

/// The line.
pub(super) struct Line {
    started: Instant,
    shown: Option<Instant>,
    is_terminal: bool,
}

impl Line {
    pub(super) fn new() -> Self {
        let is_terminal = io::stderr().is_terminal();
        Self { started: Instant::now(), shown: None, is_terminal }
    }

    /// Shows it, unless it was shown just now.
    pub(super) fn show(&mut self, progress: Progress) {
        let pause = if self.is_terminal { TERMINAL_PAUSE } else { LOG_PAUSE };
        if self.shown.unwrap_or(self.started).elapsed() < pause {
            return;
        }
        self.shown = Some(Instant::now());
        let line = text(progress, self.started.elapsed());
        // Who does not want to see it may close the stream.
        let _ = if self.is_terminal {
            write!(io::stderr(), "\r{line:<100}")
        } else {
            writeln!(io::stderr(), "{line}")
        };
    }

    /// Leaves the line.
    pub(super) fn end(&self) {
        if self.is_terminal && self.shown.is_some() {
            let _ = writeln!(io::stderr());
        }
    }
}

fn text(progress: Progress, elapsed: Duration) -> String {
    let Progress { step, entries, entries_total, bytes, bytes_total } = progress;
    let (done, total) =
        if bytes_total > 0 { (bytes, bytes_total) } else { (entries, entries_total) };
    let percent = (done.min(total) * 100).checked_div(total).unwrap_or(100);
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = entries.saturating_mul(1000) / millis;
    let bytes = bytes_text(bytes);
    format!("{percent:>3} %  {step}: {entries} entries, {bytes}, {rate} entries/s")
}

/// A size as people read it.
pub(super) fn bytes_text(bytes: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.iter().find(|(_, shift)| bytes >> shift > 0);
    unit.map_or_else(
        || format!("{bytes} B"),
        |(name, shift)| {
            let tenths = (bytes >> (shift - 10)) * 10 / 1024;
            format!("{}.{} {name}", tenths / 10, tenths % 10)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_progress_read_well() {
        assert_eq!(bytes_text(1023), "1023 B");
        assert_eq!(bytes_text(1536), "1.5 KiB");
        assert_eq!(bytes_text(u64::MAX), "16777215.9 TiB");
        let progress =
            Progress { step: "Headers", entries: 50, entries_total: 200, ..Progress::default() };
        let line = text(progress, Duration::from_millis(500));
        assert_eq!(line, " 25 %  Headers: 50 entries, 0 B, 100 entries/s");
        let file = Progress { bytes: 1, bytes_total: 2, ..progress };
        assert!(text(file, Duration::ZERO).starts_with(" 50 %"));
        assert!(text(Progress::default(), Duration::ZERO).starts_with("100 %"));
    }
}
