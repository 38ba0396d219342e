//! Watches the money of a sending account: what it has, what it pays, and for how long that lasts.
//! Warns; stops nothing.

use super::{
    TxControl, TxError,
    budget::{DAY_SECS, Window, runway, spent_wei},
    now_secs,
    store::{Cost, SubmissionStore},
};
use crate::l1::retry;
use alloy::providers::{DynProvider, Provider};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// Time between two lines in the log while nothing is wrong.
const SAY_EVERY: Duration = Duration::from_secs(3_600);

/// The money of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wallet {
    /// Balance.
    pub balance_wei: u128,
    /// Paid within the last hour.
    pub spent_hour_wei: u128,
    /// Paid within the last 24 hours.
    pub spent_day_wei: u128,
    /// How long the balance lasts at that pace; `None` where nothing was paid.
    pub runway: Option<Duration>,
    /// Whether that is less than the operator wants.
    pub is_low: bool,
}

impl Wallet {
    /// Days that the balance lasts.
    #[must_use]
    pub fn runway_days(&self) -> Option<f64> {
        self.runway.map(|left| left.as_secs_f64() / DAY_SECS as f64)
    }
}

/// Keeps the wallet in a control's status up to date.
#[derive(Clone, Debug)]
pub struct WalletWatch {
    /// Reads the balance.
    pub provider: DynProvider,
    /// Remembers what was paid.
    pub store: Arc<dyn SubmissionStore>,
    /// Whose wallet, and where it is shown.
    pub control: TxControl,
    /// Less than this is low.
    pub low: Duration,
}

impl WalletWatch {
    /// Looks until it is dropped. What cannot be read is looked at again later.
    pub async fn run(self) -> Infallible {
        let mut said: Option<(Instant, bool)> = None;
        loop {
            match self.look().await {
                Ok(wallet) => {
                    let is_due = said.is_none_or(|(at, _)| at.elapsed() >= SAY_EVERY);
                    if is_due || said.is_some_and(|(_, was_low)| was_low != wallet.is_low) {
                        self.say(&wallet);
                        said = Some((Instant::now(), wallet.is_low));
                    }
                }
                Err(error) => tracing::debug!(%error, "the wallet cannot be looked at"),
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Looks once.
    ///
    /// # Errors
    /// [`TxError::L1`] and [`TxError::Store`].
    pub async fn look(&self) -> Result<Wallet, TxError> {
        let account = self.control.status().account;
        let balance = retry(async || self.provider.get_balance(account).await).await?;
        let balance_wei = u128::try_from(balance).unwrap_or(u128::MAX);
        let now = now_secs();
        let costs = self.store.costs_since(now.saturating_sub(DAY_SECS)).await?;
        let own: Vec<Cost> = costs.into_iter().filter(|cost| cost.account == account).collect();
        let runway = runway(&own, now, balance_wei);
        let wallet = Wallet {
            balance_wei,
            spent_hour_wei: spent_wei(&own, now, Window::Hour),
            spent_day_wei: spent_wei(&own, now, Window::Day),
            runway,
            is_low: runway.map_or(balance_wei == 0, |runway| runway < self.low),
        };
        self.control.show_wallet(wallet);
        Ok(wallet)
    }

    fn say(&self, wallet: &Wallet) {
        let account = self.control.status().account;
        let Wallet { balance_wei, spent_hour_wei, spent_day_wei, .. } = wallet;
        let runway_days = wallet.runway_days().map(|days| format!("{days:.1}"));
        let runway_days = runway_days.as_deref().unwrap_or("nothing was paid yet");
        if wallet.is_low {
            tracing::warn!(
                %account, balance_wei, spent_hour_wei, spent_day_wei, runway_days,
                "the account that pays L1 runs dry: send it ether"
            );
        } else {
            tracing::info!(
                %account, balance_wei, spent_hour_wei, spent_day_wei, runway_days,
                "what the account that pays L1 has"
            );
        }
    }
}
