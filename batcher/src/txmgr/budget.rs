//! What may be spent on L1, and how long the money lasts: pure arithmetic on what the store remembers.
//! Knows no clock and asks nobody.

use super::store::Cost;
use std::{fmt, time::Duration};

const HOUR_SECS: u64 = 3_600;
/// How far back spending is looked at.
pub const DAY_SECS: u64 = 24 * HOUR_SECS;

/// The most that all accounts of a node together pay L1, in wei; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// Within any hour.
    pub hour_wei: Option<u128>,
    /// Within any 24 hours.
    pub day_wei: Option<u128>,
}

/// A transaction that might take spending over the budget. It waits until enough of what was paid is
/// longer ago.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{spent_wei} wei were paid to L1 within the last {window}, the next transaction may cost \
     {next_wei} wei, the budget is {limit_wei} wei"
)]
pub struct OverBudget {
    /// Which limit.
    pub window: Window,
    /// Paid within it.
    pub spent_wei: u128,
    /// The most that the next transaction can cost.
    pub next_wei: u128,
    /// The limit.
    pub limit_wei: u128,
}

/// The time over which a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// An hour.
    Hour,
    /// 24 hours.
    Day,
}

impl Window {
    fn secs(self) -> u64 {
        match self {
            Self::Hour => HOUR_SECS,
            Self::Day => DAY_SECS,
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hour => "hour",
            Self::Day => "24 hours",
        })
    }
}

impl Budget {
    /// Whether anything is limited.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.hour_wei.is_some() || self.day_wei.is_some()
    }

    /// Lets a transaction through that may cost `next_wei`, after what `costs` says was paid.
    ///
    /// # Errors
    /// [`OverBudget`] where it could take a limit over.
    pub fn admit(&self, costs: &[Cost], now_secs: u64, next_wei: u128) -> Result<(), OverBudget> {
        for (window, limit) in [(Window::Hour, self.hour_wei), (Window::Day, self.day_wei)] {
            let Some(limit_wei) = limit else { continue };
            let spent_wei = spent_wei(costs, now_secs, window);
            if spent_wei.saturating_add(next_wei) > limit_wei {
                return Err(OverBudget { window, spent_wei, next_wei, limit_wei });
            }
        }
        Ok(())
    }
}

/// Paid within the window that ends now.
#[must_use]
pub fn spent_wei(costs: &[Cost], now_secs: u64, window: Window) -> u128 {
    let from = now_secs.saturating_sub(window.secs());
    let recent = costs.iter().filter(|cost| cost.at_secs > from);
    recent.fold(0, |sum: u128, cost| sum.saturating_add(cost.cost_wei))
}

/// How long `balance_wei` lasts at the pace of the last 24 hours, or of the time since the first payment
/// within them where that is shorter, but at least an hour. `None` where nothing was paid.
#[must_use]
pub fn runway(costs: &[Cost], now_secs: u64, balance_wei: u128) -> Option<Duration> {
    let spent_wei = spent_wei(costs, now_secs, Window::Day);
    let from = now_secs.saturating_sub(DAY_SECS);
    let first = costs.iter().map(|cost| cost.at_secs).filter(|at| *at > from).min()?;
    let over_secs = now_secs.saturating_sub(first).max(HOUR_SECS);
    let left = balance_wei.saturating_mul(over_secs.into()).checked_div(spent_wei)?;
    Some(Duration::from_secs(u64::try_from(left).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::Address;
    use proptest::prelude::*;

    const NOW: u64 = 10_000_000;

    fn paid(ago_secs: u64, cost_wei: u128) -> Cost {
        Cost { account: Address::ZERO, at_secs: NOW - ago_secs, cost_wei }
    }

    #[test]
    fn each_window_counts_what_was_paid_within_it() {
        let costs =
            [paid(DAY_SECS, 1_000), paid(HOUR_SECS, 50), paid(HOUR_SECS - 1, 7), paid(0, 3)];
        assert_eq!(spent_wei(&costs, NOW, Window::Hour), 10);
        assert_eq!(spent_wei(&costs, NOW, Window::Day), 60);
        let budget = Budget { hour_wei: Some(20), day_wei: Some(100) };
        assert_eq!(budget.admit(&costs, NOW, 10), Ok(()));
        let over = budget.admit(&costs, NOW, 11).unwrap_err();
        assert_eq!((over.window, over.spent_wei, over.limit_wei), (Window::Hour, 10, 20));
        // What is an hour old gives room again.
        assert_eq!(budget.admit(&costs, NOW + HOUR_SECS, 20), Ok(()));
        let day = Budget { hour_wei: None, ..budget };
        assert_eq!(day.admit(&costs, NOW, 41).unwrap_err().window, Window::Day);
        assert_eq!(Budget::default().admit(&costs, NOW, u128::MAX), Ok(()));
        assert!(budget.is_limited() && !Budget::default().is_limited());
    }

    #[test]
    fn money_lasts_as_long_as_at_the_pace_of_the_last_day() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * HOUR_SECS));
        let day: Vec<_> = (0..24).map(|hour| paid(hour * HOUR_SECS, 10)).collect();
        // 240 over the 23 hours since the first.
        assert_eq!(runway(&day, NOW, 2_400), hours(230));
        assert_eq!(runway(&[paid(600, 10)], NOW, 100), hours(10), "at least an hour is counted");
        assert_eq!(runway(&day, NOW, 0), hours(0));
        assert_eq!(runway(&[], NOW, 100), None);
        assert_eq!(runway(&[paid(DAY_SECS, 10)], NOW, 100), None);
    }

    proptest! {
        #[test]
        fn what_is_let_through_stays_within_the_limit(
            costs in prop::collection::vec((0u64..DAY_SECS * 2, 0u128..1 << 70), 0..20),
            next in 0u128..1 << 70, hour in 0u128..1 << 72, day in 0u128..1 << 72,
        ) {
            let costs: Vec<_> = costs.into_iter().map(|(ago, wei)| paid(ago, wei)).collect();
            let budget = Budget { hour_wei: Some(hour), day_wei: Some(day) };
            let within = spent_wei(&costs, NOW, Window::Hour) + next <= hour
                && spent_wei(&costs, NOW, Window::Day) + next <= day;
            prop_assert_eq!(budget.admit(&costs, NOW, next).is_ok(), within);
        }
    }
}
