//! Settings that every process of a rollup has, node or batcher: where else payloads are, and who may
//! tell it what to do.

use super::{SettingsError, read_to_string};
use crate::admin::{Admin, Token};
use batcher::l1::EndpointUrl;
use clap::Args;
use serde::Deserialize;
use std::{
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// What the operator gave.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct ProcessSettings {
    /// Node whose archive is asked, at its /v1/da, for payloads that L1 has forgotten; several with
    /// commas, in TOML a list. It is not trusted: everything is checked by its hash.
    #[arg(
        long,
        env = "WEFT_BLOB_ARCHIVE_URL",
        value_name = "URL",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub blob_archive_url: Vec<EndpointUrl>,
    /// Address of the operator's listener: pause, resume, flush, cancel-nonce. Only with
    /// --admin-token-file [default: 127.0.0.1:9547, of a batcher 127.0.0.1:9548].
    #[arg(long, env = "WEFT_ADMIN_LISTEN", value_name = "ADDR:PORT")]
    pub admin_listen: Option<SocketAddr>,
    /// File with the token that an operator shows, at least 16 characters, readable by its owner only.
    /// Without it there is no operator's listener.
    #[arg(long, env = "WEFT_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub admin_token_file: Option<PathBuf>,
}

/// Checked settings.
#[derive(Clone, Debug, Default)]
pub struct ProcessConfig {
    /// Archives of other nodes.
    pub archive_urls: Vec<EndpointUrl>,
    /// The operator's listener.
    pub admin: Option<Admin>,
}

/// The operator's listener of a node unless told otherwise: local only.
pub const NODE_ADMIN_PORT: u16 = 9_547;
/// That of a batcher, which may be on the same machine.
pub const BATCHER_ADMIN_PORT: u16 = 9_548;
/// Least length of a token.
const TOKEN_CHARS_MIN: usize = 16;

impl ProcessSettings {
    /// These settings, and those of `base` where these have none.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        let or = |own: Vec<EndpointUrl>, base| if own.is_empty() { base } else { own };
        Self {
            blob_archive_url: or(self.blob_archive_url, base.blob_archive_url),
            admin_listen: self.admin_listen.or(base.admin_listen),
            admin_token_file: self.admin_token_file.or(base.admin_token_file),
        }
    }
}

impl ProcessConfig {
    /// Checks settings and fills defaults in.
    ///
    /// # Errors
    /// [`SettingsError`] naming the setting.
    pub fn check(settings: ProcessSettings, admin_port: u16) -> Result<Self, SettingsError> {
        let admin = match settings.admin_token_file {
            Some(path) => {
                let default = SocketAddr::from((Ipv4Addr::LOCALHOST, admin_port));
                let listen = settings.admin_listen.unwrap_or(default);
                if !listen.ip().is_loopback() {
                    tracing::warn!(%listen, "the operator's listener can be reached from outside");
                }
                Some(Admin { listen, token: Token::new(&read_token(&path)?) })
            }
            None if settings.admin_listen.is_some() => {
                let (name, env) = ("admin-token-file", "WEFT_ADMIN_TOKEN_FILE");
                return Err(SettingsError::Missing { name, env });
            }
            None => None,
        };
        Ok(Self { archive_urls: settings.blob_archive_url, admin })
    }
}

/// Reads a token, from a file that nobody else can read.
///
/// # Errors
/// [`SettingsError`] naming the file.
pub fn read_token(path: &Path) -> Result<String, SettingsError> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let read = |error| SettingsError::Read { path: path.into(), error };
        let mode = std::fs::metadata(path).map_err(read)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SettingsError::OpenToOthers { path: path.into(), mode });
        }
    }
    let text = read_to_string(path)?;
    let token = text.trim();
    let is_token = token.len() >= TOKEN_CHARS_MIN && token.chars().all(|c| c.is_ascii_graphic());
    if is_token { Ok(token.into()) } else { Err(SettingsError::Token { path: path.into() }) }
}
