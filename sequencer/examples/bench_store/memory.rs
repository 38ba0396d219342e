//! What the kernel says of this process's memory. Zero where it says nothing.

use serde::{Deserialize, Serialize};
use std::fs;

/// Bytes.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// In RAM now, mapped files included.
    pub(crate) resident: u64,
    /// Of that, the process's own: no file's.
    pub(crate) anonymous: u64,
    /// The most that was in RAM since the peak was reset.
    pub(crate) peak: u64,
}

impl Memory {
    pub(crate) fn now() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
            kibibytes.unwrap_or(0_u64) << 10
        };
        let (resident, anonymous) = (field("VmRSS:"), field("RssAnon:"));
        Self { resident, anonymous, peak: field("VmHWM:") }
    }

    /// The peak is what is in RAM now; where the kernel refuses, it stays what it was.
    pub(crate) fn reset_peak() {
        let _ = fs::write("/proc/self/clear_refs", "5");
    }

    /// What is more than before; the peak is counted from what was in RAM then.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            resident: self.resident.saturating_sub(before.resident),
            anonymous: self.anonymous.saturating_sub(before.anonymous),
            peak: self.peak.saturating_sub(before.resident),
        }
    }
}
