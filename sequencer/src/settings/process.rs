//! Settings that every process of a rollup has, node or batcher: where else payloads are, and who may
//! tell it what to do.

use super::SettingsError;
use clap::Args;
use serde::Deserialize;

/// What the operator gave.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ProcessSettings {
    /// Node whose archive is asked, at its /v1/da, for payloads that L1 has forgotten; several with
    /// commas, in TOML a list. It is not trusted: everything is checked by its hash.
    #[arg(long, env = "WEFT_BLOB_ARCHIVE_URL", value_name = "URL", value_delimiter = ',')]
    pub blob_archive_url: Vec<String>,
}

/// Checked settings.
#[derive(Clone, Debug, Default)]
pub struct ProcessConfig {
    /// Archives of other nodes.
    pub archive_urls: Vec<String>,
}

impl ProcessSettings {
    /// These settings, and those of `base` where these have none.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        let or = |own: Vec<String>, base| if own.is_empty() { base } else { own };
        Self { blob_archive_url: or(self.blob_archive_url, base.blob_archive_url) }
    }
}

impl ProcessConfig {
    /// Checks settings and fills defaults in.
    ///
    /// # Errors
    /// [`SettingsError`] naming the setting.
    pub fn check(settings: ProcessSettings) -> Result<Self, SettingsError> {
        Ok(Self { archive_urls: settings.blob_archive_url })
    }
}
