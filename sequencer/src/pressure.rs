//! Back-pressure: how far L1 is behind this chain decides what the chain still takes, so that a batcher
//! that is slow or dead never leaves more behind than can be answered for.
//!
//! Pure. Owns the levels, when one is entered and left, and what each asks of the builder and the
//! admission. Does not measure ([`backlog`] remembers, `node::pressure` asks), and does not build or
//! refuse anything itself.
//!
//! What is at stake. Derivation knows no deadline: a batch is as good after a year as after a minute, as
//! long as each block's L1 origin is still on L1 and before the append (`batcher::derive`). So an unposted
//! block is not dropped for its age. It is lost, with what was acknowledged in it, in two other ways: with
//! this machine, which alone has it; or with its L1 origin, when L1 is reorganised further back than the
//! node follows ([`crate::l1::BLOCKS_BEHIND`]). Both grow with the time and the size of what is not on
//! L1, and both are bounded by pausing.

pub mod backlog;
#[cfg(test)]
mod tests;

pub use backlog::Backlog;

use serde::Serialize;
use std::time::Duration;
use tokio::sync::watch;

/// Default of the pause: 300 of Ethereum's L1 blocks. The node goes back at most 512 of them behind the
/// origin of the newest block, 6,144 seconds. What is added to the lag until a block's origin is that far
/// back: the time that L1 blocks wait to be used (`l1-confirmations`, 48 s), and the lag of the origin
/// behind the clock, up to the drift limit of 1,800 s. 3,600 + 48 + 1,800 is below it: whatever L1 takes
/// back of the origins of unposted blocks, the node undoes those blocks and keeps their transactions.
pub const PAUSE_SECS: u64 = 3_600;
/// Default of the pause by size, in bytes: what six blobs per L1 block carry in some five hours, at half
/// of its size when compressed. Time is what decides as a rule; this is for bursts that come faster.
/// The encoder keeps 64 frames of it ready (`FRAMES_QUEUED_MAX`), the rest stays in the chain store;
/// the 18 days for which L1 keeps blobs begin when one is posted, and bound neither.
pub const PAUSE_BYTES: u64 = 2 << 30;
/// Default of what users' transactions may take per second once throttled: about what L1 carries, one
/// append of six blobs (761,825 bytes) per 12 seconds, at half of the size when compressed. A batcher
/// that works keeps up with that.
pub const THROTTLE_BYTES_PER_SEC: u64 = 128 << 10;
/// Default of the least tip, wei per gas: a thousand times the least base fee that `deploy` writes, which
/// ends what is sent only because it costs nothing; a transfer is some cents then.
pub const TIP_WEI_MIN: u64 = 1_000_000_000;

/// A level is left below so many percent of its thresholds: a lag that stands at one does not flap.
const LEAVE_PERCENT: u64 = 80;
/// What is left of the throttled rate at the threshold of the pause, as a divisor; between that of the
/// throttle and that it falls evenly. Not to nothing: that is the next levels' to do.
const THROTTLE_DIVISOR_MAX: u64 = 8;

/// What is done, the milder before the harder; each includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// Nothing.
    #[default]
    Open,
    /// It is said: in the log, in `/ready`, in the metrics.
    Warn,
    /// Blocks take fewer bytes of users' transactions, the fewer the further L1 is behind.
    Throttle,
    /// Only transactions that pay a least tip are admitted and included.
    MinimumFee,
    /// Blocks carry deposits alone, and no transaction is admitted.
    DepositsOnly,
    /// No block is made.
    Paused,
}

impl Level {
    /// All, in order.
    pub const ALL: [Self; 6] = [
        Self::Open,
        Self::Warn,
        Self::Throttle,
        Self::MinimumFee,
        Self::DepositsOnly,
        Self::Paused,
    ];

    /// The name in logs, metrics and settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Warn => "warn",
            Self::Throttle => "throttle",
            Self::MinimumFee => "minimum-fee",
            Self::DepositsOnly => "deposits-only",
            Self::Paused => "paused",
        }
    }

    /// Its place, 0 for [`Self::Open`].
    #[must_use]
    pub fn rank(self) -> usize {
        self as usize
    }
}

/// When a level is entered: what is reached first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threshold {
    /// Age of the oldest block that L1 does not have.
    pub lag: Duration,
    /// Bytes of users' transactions in all such blocks.
    pub bytes: u64,
}

/// Thresholds and strengths, as configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of [`Level::Warn`] to [`Level::Paused`]; rising.
    pub thresholds: [Threshold; 5],
    /// Bytes of users' transactions per second at the threshold of [`Level::Throttle`].
    pub throttle_bytes_per_sec: u64,
    /// Least tip from [`Level::MinimumFee`] on, wei per gas.
    pub tip_wei_min: u64,
}

impl Limits {
    /// When a level is entered; nothing enters [`Level::Open`].
    fn threshold(&self, level: Level) -> Option<&Threshold> {
        self.thresholds.get(level.rank().checked_sub(1)?)
    }

    /// The highest level one of whose thresholds, at `percent`, is reached.
    fn reached(&self, load: &Load, percent: u64) -> Level {
        let reaches = |level: &&Level| {
            self.threshold(**level).is_none_or(|threshold| load.reaches(threshold, percent))
        };
        Level::ALL.iter().rfind(reaches).copied().unwrap_or_default()
    }

    /// How far between the thresholds of throttle and pause, in thousandths.
    fn depth_permille(&self, load: &Load) -> u64 {
        let [_, from, _, _, to] = &self.thresholds;
        let part = |at: u128, from: u128, to: u128| {
            let part = at.saturating_sub(from) * 1_000 / to.saturating_sub(from).max(1);
            u64::try_from(part.min(1_000)).unwrap_or(1_000)
        };
        let lag = part(load.lag.as_millis(), from.lag.as_millis(), to.lag.as_millis());
        lag.max(part(load.bytes.into(), from.bytes.into(), to.bytes.into()))
    }

    /// What `level` asks for under this load.
    fn orders(&self, level: Level, load: &Load) -> Orders {
        let lost = self.throttle_bytes_per_sec - self.throttle_bytes_per_sec / THROTTLE_DIVISOR_MAX;
        let rate = self.throttle_bytes_per_sec - lost * self.depth_permille(load) / 1_000;
        Orders {
            bytes_per_sec_max: (level >= Level::Throttle).then_some(rate),
            tip_wei_min: if level >= Level::MinimumFee { self.tip_wei_min } else { 0 },
            takes_transactions: level < Level::DepositsOnly,
            seals: level < Level::Paused,
        }
    }
}

/// What L1 does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Time since the oldest of these blocks was sealed; zero without any.
    pub lag: Duration,
    /// How many there are.
    pub blocks: u64,
    /// Bytes of users' transactions in them, before compression.
    pub bytes: u64,
}

impl Load {
    fn reaches(&self, threshold: &Threshold, percent: u64) -> bool {
        let percent = u128::from(percent);
        self.lag.as_millis() * 100 >= threshold.lag.as_millis() * percent
            || u128::from(self.bytes) * 100 >= u128::from(threshold.bytes) * percent
    }
}

/// What the builder and the admission do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Orders {
    /// Most bytes of users' transactions per second; `None` is no limit.
    pub bytes_per_sec_max: Option<u64>,
    /// Least effective tip of a transaction, wei per gas.
    pub tip_wei_min: u64,
    /// Whether users' transactions are admitted and included.
    pub takes_transactions: bool,
    /// Whether blocks are made.
    pub seals: bool,
}

impl Default for Orders {
    /// No restraint.
    fn default() -> Self {
        Self { bytes_per_sec_max: None, tip_wei_min: 0, takes_transactions: true, seals: true }
    }
}

/// Level, what it follows from, and what follows from it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// The level.
    pub level: Level,
    /// What was seen.
    pub load: Load,
    /// What is done.
    pub orders: Orders,
}

/// Turns loads into levels.
#[derive(Clone, Debug)]
pub struct Governor {
    limits: Limits,
    level: Level,
}

impl Governor {
    /// Begins at [`Level::Open`].
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self { limits, level: Level::Open }
    }

    /// Goes on after a start, with what earlier runs left. Which level they were at is not known, so it is
    /// the highest that they could still have been at, at once.
    #[must_use]
    pub fn resume(limits: Limits, load: Load) -> (Self, Pressure) {
        let level = limits.reached(&load, LEAVE_PERCENT);
        (Self { limits, level }, Pressure { level, load, orders: limits.orders(level, &load) })
    }

    /// The level now.
    #[must_use]
    pub fn level(&self) -> Level {
        self.level
    }

    /// Looks at a load. Up, it goes by one level at a time, so that what is milder is done, and said,
    /// first; whoever looks often loses no time by it. Down, it goes as far as the load has fallen below
    /// 80 percent of the thresholds of each level it leaves.
    pub fn observe(&mut self, load: Load) -> Pressure {
        let enters = self.limits.reached(&load, 100);
        let holds = self.limits.reached(&load, LEAVE_PERCENT);
        if enters > self.level {
            self.level = Level::ALL[self.level.rank() + 1];
        } else {
            self.level = self.level.min(holds);
        }
        Pressure { level: self.level, load, orders: self.limits.orders(self.level, &load) }
    }
}

/// The pressure as of now, for whoever acts on it. Without a governor (it is switched off, or nothing is
/// built here) there is none, and no restraint.
#[derive(Clone, Debug, Default)]
pub struct Gauge(Option<watch::Receiver<Pressure>>);

impl Gauge {
    /// Shows what is sent here.
    #[must_use]
    pub fn new(receiver: watch::Receiver<Pressure>) -> Self {
        Self(Some(receiver))
    }

    /// What was seen last; `None` without a governor. Never blocks.
    #[must_use]
    pub fn read(&self) -> Option<Pressure> {
        self.0.as_ref().map(|receiver| *receiver.borrow())
    }

    /// What is to be done.
    #[must_use]
    pub fn orders(&self) -> Orders {
        self.read().map_or_else(Orders::default, |pressure| pressure.orders)
    }

    /// Whether a transaction with this effective tip is admitted.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check_tip(&self, tip_wei: u128) -> Result<(), Refusal> {
        let needed_wei = self.orders().tip_wei_min;
        if tip_wei < u128::from(needed_wei) {
            return Err(Refusal::Tip { tip_wei, needed_wei });
        }
        Ok(())
    }

    /// Whether any transaction is admitted.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn check_open(&self) -> Result<(), Refusal> {
        match self.read() {
            Some(Pressure { level, load, orders }) if !orders.takes_transactions => {
                Err(Refusal::Closed { level, lag_secs: load.lag.as_secs() })
            }
            _ => Ok(()),
        }
    }
}

/// Why a transaction is not admitted for now. It may be sent again later, unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing is admitted.
    #[error(
        "back-pressure: no transactions are taken while L1 is {lag_secs} s behind ({}), try again later",
        level.name()
    )]
    Closed {
        /// The level.
        level: Level,
        /// Age of the oldest block that L1 does not have.
        lag_secs: u64,
    },
    /// The tip is too low while L1 is behind.
    #[error(
        "transaction underpriced: tip needed {needed_wei}, tip permitted {tip_wei} (back-pressure: L1 is behind)"
    )]
    Tip {
        /// What the transaction pays per gas above the base fee, wei.
        tip_wei: u128,
        /// What it must pay, wei.
        needed_wei: u64,
    },
}
