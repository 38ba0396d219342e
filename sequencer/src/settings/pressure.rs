//! Settings of back-pressure: flags `--pressure-…`, in the TOML file the table `[pressure]` with the same
//! names after the dash. Given the pause alone, the milder levels follow from it.
//!
//! What each level does is in [`crate::pressure`].

use super::SettingsError;
use crate::pressure::{
    Level, Limits, PAUSE_BYTES, PAUSE_SECS, THROTTLE_BYTES_PER_SEC, TIP_WEI_MIN, Threshold,
};
use clap::{Args, ValueEnum};
use serde::Deserialize;
use std::{ops::RangeInclusive, time::Duration};

/// What the operator gave of it.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[command(next_help_heading = "Back-pressure: what is done while L1 is behind")]
pub struct PressureSettings {
    /// Whether there is any, whichever process posts [default: on].
    #[arg(long = "pressure-switch", env = "WEFT_PRESSURE_SWITCH", value_enum)]
    pub switch: Option<Switch>,
    /// Age of the oldest block that is not on L1, in seconds, at which it is said in log, metrics and
    /// `/ready`; more than batch-age-secs [default: a twelfth of pause-secs, 300].
    #[arg(long = "pressure-warn-secs", env = "WEFT_PRESSURE_WARN_SECS", value_name = "SECS")]
    pub warn_secs: Option<u64>,
    /// The same, at which blocks take fewer bytes [default: a quarter of pause-secs, 900].
    #[arg(
        long = "pressure-throttle-secs",
        env = "WEFT_PRESSURE_THROTTLE_SECS",
        value_name = "SECS"
    )]
    pub throttle_secs: Option<u64>,
    /// The same, at which transactions must pay a least tip [default: half of pause-secs, 1800].
    #[arg(
        long = "pressure-minimum-fee-secs",
        env = "WEFT_PRESSURE_MINIMUM_FEE_SECS",
        value_name = "SECS"
    )]
    pub minimum_fee_secs: Option<u64>,
    /// The same, at which no transaction is taken any more, and blocks have deposits alone
    /// [default: three quarters of pause-secs, 2700].
    #[arg(
        long = "pressure-deposits-only-secs",
        env = "WEFT_PRESSURE_DEPOSITS_ONLY_SECS",
        value_name = "SECS"
    )]
    pub deposits_only_secs: Option<u64>,
    /// The same, at which no block is made any more, until L1 has caught up to 80 percent of it
    /// [default: 3600].
    #[arg(long = "pressure-pause-secs", env = "WEFT_PRESSURE_PAUSE_SECS", value_name = "SECS")]
    pub pause_secs: Option<u64>,
    /// Transactions in blocks that are not on L1, in MiB before compression, at which it is said
    /// [default: a twelfth of pause-mib, 170].
    #[arg(long = "pressure-warn-mib", env = "WEFT_PRESSURE_WARN_MIB", value_name = "MIB")]
    pub warn_mib: Option<u64>,
    /// The same, at which blocks take fewer bytes [default: a quarter of pause-mib, 512].
    #[arg(long = "pressure-throttle-mib", env = "WEFT_PRESSURE_THROTTLE_MIB", value_name = "MIB")]
    pub throttle_mib: Option<u64>,
    /// The same, at which transactions must pay a least tip [default: half of pause-mib, 1024].
    #[arg(
        long = "pressure-minimum-fee-mib",
        env = "WEFT_PRESSURE_MINIMUM_FEE_MIB",
        value_name = "MIB"
    )]
    pub minimum_fee_mib: Option<u64>,
    /// The same, at which no transaction is taken any more [default: three quarters of pause-mib,
    /// 1536].
    #[arg(
        long = "pressure-deposits-only-mib",
        env = "WEFT_PRESSURE_DEPOSITS_ONLY_MIB",
        value_name = "MIB"
    )]
    pub deposits_only_mib: Option<u64>,
    /// The same, at which no block is made any more [default: 2048].
    #[arg(long = "pressure-pause-mib", env = "WEFT_PRESSURE_PAUSE_MIB", value_name = "MIB")]
    pub pause_mib: Option<u64>,
    /// KiB of transactions per second that blocks take once throttled; it falls to an eighth on the way
    /// to the pause [default: 128].
    #[arg(
        long = "pressure-throttle-kib-per-sec",
        env = "WEFT_PRESSURE_THROTTLE_KIB_PER_SEC",
        value_name = "KIB"
    )]
    pub throttle_kib_per_sec: Option<u64>,
    /// Least tip, in wei per gas above the base fee, where one is asked for [default: 1000000000].
    #[arg(long = "pressure-tip-wei", env = "WEFT_PRESSURE_TIP_WEI", value_name = "WEI")]
    pub tip_wei: Option<u64>,
}

/// Whether there is back-pressure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Switch {
    /// The chain takes less while L1 is behind, and in the end pauses.
    #[default]
    On,
    /// Blocks are made however far L1 is behind.
    Off,
}

/// Seconds of a threshold. A month is as good as never, and the least can still be told from zero.
const SECS: RangeInclusive<u64> = 1..=2_592_000;
/// MiB of a threshold; the most is more than a data directory holds.
const MIB: RangeInclusive<u64> = 1..=16_777_216;
/// KiB per second: the least takes a full block of transactions in some hours, the most is no limit.
const KIB_PER_SEC: RangeInclusive<u64> = 1..=16_777_216;
/// Least tip: the most is an ether for each gas.
const TIP_WEI: RangeInclusive<u64> = 0..=1_000_000_000_000_000_000;

/// Names of the thresholds, by level.
const SECS_NAMES: [&str; 5] = [
    "pressure-warn-secs",
    "pressure-throttle-secs",
    "pressure-minimum-fee-secs",
    "pressure-deposits-only-secs",
    "pressure-pause-secs",
];
const MIB_NAMES: [&str; 5] = [
    "pressure-warn-mib",
    "pressure-throttle-mib",
    "pressure-minimum-fee-mib",
    "pressure-deposits-only-mib",
    "pressure-pause-mib",
];
/// What of the pause's threshold the others are unless given, in twelfths.
const TWELFTHS: [u64; 4] = [1, 3, 6, 9];

impl PressureSettings {
    /// The flags, and whether they are given.
    pub(super) fn given(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("pressure-switch", self.switch.is_some()),
            ("pressure-warn-secs", self.warn_secs.is_some()),
            ("pressure-throttle-secs", self.throttle_secs.is_some()),
            ("pressure-minimum-fee-secs", self.minimum_fee_secs.is_some()),
            ("pressure-deposits-only-secs", self.deposits_only_secs.is_some()),
            ("pressure-pause-secs", self.pause_secs.is_some()),
            ("pressure-warn-mib", self.warn_mib.is_some()),
            ("pressure-throttle-mib", self.throttle_mib.is_some()),
            ("pressure-minimum-fee-mib", self.minimum_fee_mib.is_some()),
            ("pressure-deposits-only-mib", self.deposits_only_mib.is_some()),
            ("pressure-pause-mib", self.pause_mib.is_some()),
            ("pressure-throttle-kib-per-sec", self.throttle_kib_per_sec.is_some()),
            ("pressure-tip-wei", self.tip_wei.is_some()),
        ]
    }

    /// These, and those of `base` where these have none.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        Self {
            switch: self.switch.or(base.switch),
            warn_secs: self.warn_secs.or(base.warn_secs),
            throttle_secs: self.throttle_secs.or(base.throttle_secs),
            minimum_fee_secs: self.minimum_fee_secs.or(base.minimum_fee_secs),
            deposits_only_secs: self.deposits_only_secs.or(base.deposits_only_secs),
            pause_secs: self.pause_secs.or(base.pause_secs),
            warn_mib: self.warn_mib.or(base.warn_mib),
            throttle_mib: self.throttle_mib.or(base.throttle_mib),
            minimum_fee_mib: self.minimum_fee_mib.or(base.minimum_fee_mib),
            deposits_only_mib: self.deposits_only_mib.or(base.deposits_only_mib),
            pause_mib: self.pause_mib.or(base.pause_mib),
            throttle_kib_per_sec: self.throttle_kib_per_sec.or(base.throttle_kib_per_sec),
            tip_wei: self.tip_wei.or(base.tip_wei),
        }
    }

    /// Checks ranges and order, and fills defaults in; `None` when it is switched off. A block waits
    /// `batch_age_secs` as a matter of course: the first level has to come after that.
    ///
    /// # Errors
    /// [`SettingsError`] naming the setting.
    pub fn check(&self, batch_age_secs: u64) -> Result<Option<Limits>, SettingsError> {
        if self.switch == Some(Switch::Off) {
            return Ok(None);
        }
        let milder =
            [self.warn_secs, self.throttle_secs, self.minimum_fee_secs, self.deposits_only_secs];
        let pause = self.pause_secs.unwrap_or(PAUSE_SECS);
        let secs = thresholds(SECS_NAMES, milder, pause, (SECS, "1 to 2592000 seconds"))?;
        if secs[0] <= batch_age_secs {
            return Err(SettingsError::NotAbove {
                name: SECS_NAMES[0],
                found: secs[0],
                other: "batch-age-secs",
                other_found: batch_age_secs,
            });
        }
        let milder =
            [self.warn_mib, self.throttle_mib, self.minimum_fee_mib, self.deposits_only_mib];
        let pause = self.pause_mib.unwrap_or(PAUSE_BYTES >> 20);
        let mib = thresholds(MIB_NAMES, milder, pause, (MIB, "1 to 16777216 MiB"))?;
        let threshold =
            |at: usize| Threshold { lag: Duration::from_secs(secs[at]), bytes: mib[at] << 20 };
        let kib = self.throttle_kib_per_sec.unwrap_or(THROTTLE_BYTES_PER_SEC >> 10);
        let kib = within("pressure-throttle-kib-per-sec", kib, (KIB_PER_SEC, "1 to 16777216 KiB"))?;
        let expected = "0 to 1000000000000000000 wei";
        let tip_wei_min =
            within("pressure-tip-wei", self.tip_wei.unwrap_or(TIP_WEI_MIN), (TIP_WEI, expected))?;
        Ok(Some(Limits {
            thresholds: std::array::from_fn(threshold),
            throttle_bytes_per_sec: kib << 10,
            tip_wei_min,
        }))
    }
}

type Range = (RangeInclusive<u64>, &'static str);

fn within(name: &'static str, found: u64, range: Range) -> Result<u64, SettingsError> {
    let (range, expected) = range;
    let is_allowed = range.contains(&found);
    is_allowed.then_some(found).ok_or(SettingsError::Range { name, found, expected })
}

/// All five, rising.
fn thresholds(
    names: [&'static str; Level::ALL.len() - 1],
    milder: [Option<u64>; TWELFTHS.len()],
    pause: u64,
    range: Range,
) -> Result<[u64; Level::ALL.len() - 1], SettingsError> {
    // Where the pause is so small that fractions of it are the same, they are one apart.
    let part = |at: usize| (pause * TWELFTHS[at] / 12).max(at as u64 + 1);
    let value = |at: usize| milder.get(at).map_or(pause, |given| given.unwrap_or_else(|| part(at)));
    let values: [u64; Level::ALL.len() - 1] = std::array::from_fn(value);
    for (name, found) in names.into_iter().zip(values) {
        within(name, found, range.clone())?;
    }
    for at in 1..values.len() {
        if values[at] <= values[at - 1] {
            return Err(SettingsError::NotAbove {
                name: names[at],
                found: values[at],
                other: names[at - 1],
                other_found: values[at - 1],
            });
        }
    }
    Ok(values)
}
