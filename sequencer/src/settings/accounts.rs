//! Settings of the accounts that pay L1: who signs for them, and what they may pay. Reads the files that
//! these settings name, and asks nobody.

use super::{Key, SettingsError, read_key, read_to_string};
use alloy::{
    primitives::{Address, utils::parse_ether},
    signers::local::PrivateKeySigner,
};
use batcher::{
    l1::EndpointUrl,
    txmgr::{Budget, FeeCaps, L1Signer, RemoteSigner, TxConfig},
};
use clap::Args;
use serde::Deserialize;
use std::{fmt, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

/// What the operator gave of it.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AccountSettings {
    /// File with the private key (hex) that appends batches to the Inbox. Without it, and without one of
    /// the two other ways to sign for the batcher, nothing is posted.
    #[arg(long, env = "WEFT_BATCHER_KEY_FILE", value_name = "FILE")]
    pub batcher_key_file: Option<PathBuf>,
    /// Encrypted key of the batcher (Web3 secret storage, as geth, cast and clef write it), instead of
    /// a key file; needs its password file.
    #[arg(long, env = "WEFT_BATCHER_KEYSTORE", value_name = "FILE")]
    pub batcher_keystore: Option<PathBuf>,
    /// File with the password of the batcher's keystore; a line break at its end does not count.
    #[arg(long, env = "WEFT_BATCHER_KEYSTORE_PASSWORD_FILE", value_name = "FILE")]
    pub batcher_keystore_password_file: Option<PathBuf>,
    /// Remote signer of the batcher that speaks eth_signTransaction, as web3signer does, instead of a
    /// key file; needs the address. To post in blobs it has to know EIP-4844.
    #[arg(long, env = "WEFT_BATCHER_SIGNER_URL", value_name = "URL", hide_env_values = true)]
    pub batcher_signer_url: Option<EndpointUrl>,
    /// Account that the batcher's remote signer signs for.
    #[arg(long, env = "WEFT_BATCHER_SIGNER_ADDRESS", value_name = "ADDRESS")]
    pub batcher_signer_address: Option<Address>,
    /// File with the private key (hex) that proposes outputs. Without it and the two other ways to sign
    /// for the proposer none are proposed.
    #[arg(long, env = "WEFT_PROPOSER_KEY_FILE", value_name = "FILE")]
    pub proposer_key_file: Option<PathBuf>,
    /// Encrypted key of the proposer, instead of a key file; needs its password file.
    #[arg(long, env = "WEFT_PROPOSER_KEYSTORE", value_name = "FILE")]
    pub proposer_keystore: Option<PathBuf>,
    /// File with the password of the proposer's keystore.
    #[arg(long, env = "WEFT_PROPOSER_KEYSTORE_PASSWORD_FILE", value_name = "FILE")]
    pub proposer_keystore_password_file: Option<PathBuf>,
    /// Remote signer of the proposer, instead of a key file; needs the address.
    #[arg(long, env = "WEFT_PROPOSER_SIGNER_URL", value_name = "URL", hide_env_values = true)]
    pub proposer_signer_url: Option<EndpointUrl>,
    /// Account that the proposer's remote signer signs for.
    #[arg(long, env = "WEFT_PROPOSER_SIGNER_ADDRESS", value_name = "ADDRESS")]
    pub proposer_signer_address: Option<Address>,
    /// Most that L1 is offered per gas, in gwei. While it asks for more nothing is sent, and blocks wait
    /// [default: 200].
    #[arg(long, env = "WEFT_L1_FEE_CAP_GWEI", value_name = "GWEI")]
    pub l1_fee_cap_gwei: Option<u64>,
    /// Most that L1 is offered per blob gas, in gwei [default: 200].
    #[arg(long, env = "WEFT_L1_BLOB_FEE_CAP_GWEI", value_name = "GWEI")]
    pub l1_blob_fee_cap_gwei: Option<u64>,
    /// How long an L1 transaction waits to be included before it is sent again with higher fees, in
    /// seconds [default: 60].
    #[arg(long, env = "WEFT_L1_RAISE_AFTER_SECS", value_name = "SECS")]
    pub l1_raise_after_secs: Option<u64>,
    /// Most that batcher and proposer together pay L1 within any hour, in ether, as in 0.25. A
    /// transaction that could take it over waits [default: no limit].
    #[arg(long, env = "WEFT_L1_BUDGET_ETH_PER_HOUR", value_name = "ETH")]
    pub l1_budget_eth_per_hour: Option<Ether>,
    /// The same within any 24 hours [default: no limit].
    #[arg(long, env = "WEFT_L1_BUDGET_ETH_PER_DAY", value_name = "ETH")]
    pub l1_budget_eth_per_day: Option<Ether>,
    /// Warn when an account's balance lasts for fewer days at its pace of the last 24 hours
    /// [default: 3].
    #[arg(long, env = "WEFT_L1_RUNWAY_WARN_DAYS", value_name = "DAYS")]
    pub l1_runway_warn_days: Option<u64>,
}

/// An amount in ether as operators write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "EtherText")]
pub struct Ether {
    /// In wei.
    pub wei: u128,
}

/// A text that is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an amount of ether such as 0.25")]
pub struct NotEther;

/// Text or number, as TOML has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum EtherText {
    Whole(u64),
    Decimal(f64),
    Text(String),
}

impl FromStr for Ether {
    type Err = NotEther;

    fn from_str(text: &str) -> Result<Self, NotEther> {
        let is_plain = text.starts_with(|c: char| c.is_ascii_digit());
        let wei = parse_ether(text).ok().filter(|_| is_plain);
        let wei = wei.and_then(|wei| u128::try_from(wei).ok()).ok_or(NotEther)?;
        Ok(Self { wei })
    }
}

impl TryFrom<EtherText> for Ether {
    type Error = NotEther;

    fn try_from(text: EtherText) -> Result<Self, NotEther> {
        match text {
            EtherText::Whole(ether) => ether.to_string().parse(),
            // Printed as it was written: the shortest decimal that is this number.
            EtherText::Decimal(ether) => ether.to_string().parse(),
            EtherText::Text(text) => text.parse(),
        }
    }
}

/// Who signs for an account. Prints as the account.
#[derive(Clone)]
pub enum Account {
    /// A key in this process.
    Key(Key),
    /// A signer elsewhere.
    Remote(RemoteSigner),
}

impl Account {
    /// What signs.
    #[must_use]
    pub fn signer(&self) -> Arc<L1Signer> {
        match self {
            Self::Key(key) => Arc::new(key.0.clone()),
            Self::Remote(signer) => Arc::new(signer.clone()),
        }
    }
}

impl From<Key> for Account {
    fn from(key: Key) -> Self {
        Self::Key(key)
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "{key:?}"),
            Self::Remote(signer) => write!(f, "remote signer {}", signer.url()),
        }
    }
}

/// Accounts that pay L1, checked.
#[derive(Clone, Debug)]
pub struct Accounts {
    /// Signs appends.
    pub batcher: Option<Account>,
    /// Signs output proposals.
    pub proposer: Option<Account>,
    /// Caps, budget and when fees are raised.
    pub sending: TxConfig,
    /// Less money than for this long is warned of.
    pub runway_low: Duration,
}

/// Settings of one account that do not go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    /// Several ways to sign.
    #[error(
        "give one of {0}-key-file, {0}-keystore and {0}-signer-url: they are different ways to sign"
    )]
    Several(&'static str),
    /// A keystore without its password.
    #[error("{0}-keystore needs {0}-keystore-password-file")]
    NoPassword(&'static str),
    /// A password without its keystore.
    #[error("{0}-keystore-password-file is given without {0}-keystore")]
    NoKeystore(&'static str),
    /// A remote signer without its account.
    #[error("{0}-signer-url needs {0}-signer-address, the account that it signs for")]
    NoAddress(&'static str),
    /// An account without its remote signer.
    #[error("{0}-signer-address is given without {0}-signer-url")]
    NoSigner(&'static str),
    /// One account for both: each would drive the transactions of the other under the same nonces.
    #[error("batcher and proposer sign for the same account {0}: give the proposer another one")]
    Same(Address),
    /// The remote signer cannot be used.
    #[error("no HTTP client can be made for {0}-signer-url")]
    Client(&'static str),
}

/// The settings of one account.
struct Given {
    name: &'static str,
    key_file: Option<PathBuf>,
    keystore: Option<PathBuf>,
    password_file: Option<PathBuf>,
    signer_url: Option<EndpointUrl>,
    signer_address: Option<Address>,
}

impl Given {
    fn check(self) -> Result<Option<Account>, SettingsError> {
        let name = self.name;
        let ways = [self.key_file.is_some(), self.keystore.is_some(), self.signer_url.is_some()];
        if ways.iter().filter(|given| **given).count() > 1 {
            return Err(AccountError::Several(name).into());
        }
        match (&self.keystore, &self.password_file) {
            (Some(_), None) => return Err(AccountError::NoPassword(name).into()),
            (None, Some(_)) => return Err(AccountError::NoKeystore(name).into()),
            _ => {}
        }
        match (&self.signer_url, &self.signer_address) {
            (Some(_), None) => return Err(AccountError::NoAddress(name).into()),
            (None, Some(_)) => return Err(AccountError::NoSigner(name).into()),
            _ => {}
        }
        if let Some(file) = self.key_file {
            return Ok(Some(read_key(&file)?.into()));
        }
        if let Some((file, password_file)) = self.keystore.zip(self.password_file) {
            let text = read_to_string(&password_file)?;
            let password = text.trim_end_matches(['\r', '\n']);
            let key = PrivateKeySigner::decrypt_keystore(&file, password);
            let key = key
                .map_err(|error| SettingsError::Keystore { path: file, error: Box::new(error) })?;
            return Ok(Some(Key(key).into()));
        }
        let Some((url, address)) = self.signer_url.zip(self.signer_address) else {
            return Ok(None);
        };
        let signer = RemoteSigner::new(url, address).map_err(|_| AccountError::Client(name))?;
        Ok(Some(Account::Remote(signer)))
    }
}

/// Wei in a gwei.
const GWEI: u128 = 1_000_000_000;
/// Highest cap per gas, in gwei: a mistake of a unit is refused, and no product of it overflows.
const FEE_CAP_GWEI_MAX: u64 = 1_000_000;

impl AccountSettings {
    /// The flags, and whether they are given.
    pub(super) fn given(&self) -> Vec<(&'static str, bool)> {
        vec![
            ("batcher-key-file", self.batcher_key_file.is_some()),
            ("batcher-keystore", self.batcher_keystore.is_some()),
            ("batcher-keystore-password-file", self.batcher_keystore_password_file.is_some()),
            ("batcher-signer-url", self.batcher_signer_url.is_some()),
            ("batcher-signer-address", self.batcher_signer_address.is_some()),
            ("proposer-key-file", self.proposer_key_file.is_some()),
            ("proposer-keystore", self.proposer_keystore.is_some()),
            ("proposer-keystore-password-file", self.proposer_keystore_password_file.is_some()),
            ("proposer-signer-url", self.proposer_signer_url.is_some()),
            ("proposer-signer-address", self.proposer_signer_address.is_some()),
            ("l1-fee-cap-gwei", self.l1_fee_cap_gwei.is_some()),
            ("l1-blob-fee-cap-gwei", self.l1_blob_fee_cap_gwei.is_some()),
            ("l1-raise-after-secs", self.l1_raise_after_secs.is_some()),
            ("l1-budget-eth-per-hour", self.l1_budget_eth_per_hour.is_some()),
            ("l1-budget-eth-per-day", self.l1_budget_eth_per_day.is_some()),
            ("l1-runway-warn-days", self.l1_runway_warn_days.is_some()),
        ]
    }

    /// These settings, and those of `base` where these have none.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        // The ways to sign for an account are one setting: flags that name one replace that of the file.
        let of_batcher = |s: &Self| {
            s.batcher_key_file.is_some()
                || s.batcher_keystore.is_some()
                || s.batcher_signer_url.is_some()
        };
        let of_proposer = |s: &Self| {
            s.proposer_key_file.is_some()
                || s.proposer_keystore.is_some()
                || s.proposer_signer_url.is_some()
        };
        let (batcher, proposer) = (of_batcher(&self), of_proposer(&self));
        fn below<T>(given: Option<T>, base: Option<T>, is_given: bool) -> Option<T> {
            given.or(base.filter(|_| !is_given))
        }
        Self {
            batcher_key_file: below(self.batcher_key_file, base.batcher_key_file, batcher),
            batcher_keystore: below(self.batcher_keystore, base.batcher_keystore, batcher),
            batcher_keystore_password_file: below(
                self.batcher_keystore_password_file,
                base.batcher_keystore_password_file,
                batcher,
            ),
            batcher_signer_url: below(self.batcher_signer_url, base.batcher_signer_url, batcher),
            batcher_signer_address: below(
                self.batcher_signer_address,
                base.batcher_signer_address,
                batcher,
            ),
            proposer_key_file: below(self.proposer_key_file, base.proposer_key_file, proposer),
            proposer_keystore: below(self.proposer_keystore, base.proposer_keystore, proposer),
            proposer_keystore_password_file: below(
                self.proposer_keystore_password_file,
                base.proposer_keystore_password_file,
                proposer,
            ),
            proposer_signer_url: below(
                self.proposer_signer_url,
                base.proposer_signer_url,
                proposer,
            ),
            proposer_signer_address: below(
                self.proposer_signer_address,
                base.proposer_signer_address,
                proposer,
            ),
            l1_fee_cap_gwei: self.l1_fee_cap_gwei.or(base.l1_fee_cap_gwei),
            l1_blob_fee_cap_gwei: self.l1_blob_fee_cap_gwei.or(base.l1_blob_fee_cap_gwei),
            l1_raise_after_secs: self.l1_raise_after_secs.or(base.l1_raise_after_secs),
            l1_budget_eth_per_hour: self.l1_budget_eth_per_hour.or(base.l1_budget_eth_per_hour),
            l1_budget_eth_per_day: self.l1_budget_eth_per_day.or(base.l1_budget_eth_per_day),
            l1_runway_warn_days: self.l1_runway_warn_days.or(base.l1_runway_warn_days),
        }
    }

    /// Checks the settings and reads the keys. `poll` is how often L1 is asked.
    ///
    /// # Errors
    /// [`SettingsError`] naming the setting or the file.
    pub fn check(self, poll: Duration) -> Result<Accounts, SettingsError> {
        let cap = |name, gwei: Option<u64>, default: u128| match gwei {
            None => Ok(default),
            Some(gwei) if (1..=FEE_CAP_GWEI_MAX).contains(&gwei) => Ok(u128::from(gwei) * GWEI),
            Some(found) => Err(SettingsError::Range { name, found, expected: "1 to 1000000 gwei" }),
        };
        let default = FeeCaps::default();
        let raise_after_secs = self.l1_raise_after_secs.unwrap_or(60);
        if !(1..=86_400).contains(&raise_after_secs) {
            let (name, expected) = ("l1-raise-after-secs", "1 to 86400 seconds");
            return Err(SettingsError::Range { name, found: raise_after_secs, expected });
        }
        let sending = TxConfig {
            poll,
            bump_after: Duration::from_secs(raise_after_secs),
            caps: FeeCaps {
                max_fee_wei: cap("l1-fee-cap-gwei", self.l1_fee_cap_gwei, default.max_fee_wei)?,
                max_blob_fee_wei: cap(
                    "l1-blob-fee-cap-gwei",
                    self.l1_blob_fee_cap_gwei,
                    default.max_blob_fee_wei,
                )?,
            },
            budget: Budget {
                hour_wei: self.l1_budget_eth_per_hour.map(|ether| ether.wei),
                day_wei: self.l1_budget_eth_per_day.map(|ether| ether.wei),
            },
            ..TxConfig::default()
        };
        let batcher = Given {
            name: "batcher",
            key_file: self.batcher_key_file,
            keystore: self.batcher_keystore,
            password_file: self.batcher_keystore_password_file,
            signer_url: self.batcher_signer_url,
            signer_address: self.batcher_signer_address,
        };
        let proposer = Given {
            name: "proposer",
            key_file: self.proposer_key_file,
            keystore: self.proposer_keystore,
            password_file: self.proposer_keystore_password_file,
            signer_url: self.proposer_signer_url,
            signer_address: self.proposer_signer_address,
        };
        let (batcher, proposer) = (batcher.check()?, proposer.check()?);
        let address = |account: &Option<Account>| account.as_ref().map(|a| a.signer().address());
        if let Some(account) = address(&batcher).filter(|_| address(&batcher) == address(&proposer))
        {
            return Err(AccountError::Same(account).into());
        }
        let days = self.l1_runway_warn_days.unwrap_or(3);
        Ok(Accounts {
            batcher,
            proposer,
            sending,
            runway_low: Duration::from_secs(days.saturating_mul(24 * 3_600)),
        })
    }
}
