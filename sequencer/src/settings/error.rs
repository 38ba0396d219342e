//! Why settings cannot be used. Says it; what is checked is beside each setting.

use super::AccountError;
use std::{io, path::PathBuf};

/// Settings that cannot be used. The operator fixes them; nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A setting without default is missing.
    #[error(
        "{name} is not set: give --{name}, the environment variable {env} or a line in --config"
    )]
    Missing {
        /// Name of the flag and the TOML key.
        name: &'static str,
        /// Environment variable.
        env: &'static str,
    },
    /// A setting that does nothing for the command.
    #[error("{name} does nothing for `{command}`: leave it out")]
    Foreign {
        /// Name of the flag and the TOML key.
        name: &'static str,
        /// The command.
        command: &'static str,
    },
    /// A value is outside its range.
    #[error("{name} is {found}, expected {expected}")]
    Range {
        /// Name of the flag and the TOML key.
        name: &'static str,
        /// Given value.
        found: u64,
        /// Allowed values.
        expected: &'static str,
    },
    /// A value is not above the one of another setting.
    #[error("{name} is {found}, expected more than {other}, which is {other_found}")]
    NotAbove {
        /// Name of the setting.
        name: &'static str,
        /// Its value.
        found: u64,
        /// Name of the other.
        other: &'static str,
        /// The other's value.
        other_found: u64,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The TOML file does not parse, or has a key that does not exist.
    #[error("{path}: {error}")]
    Toml {
        /// The file.
        path: PathBuf,
        /// What and where.
        error: Box<toml::de::Error>,
    },
    /// The same where what is in the file may be a secret.
    #[error("{path}: line {line}: {}", error.message())]
    TomlSecret {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What.
        error: Box<toml::de::Error>,
    },
    /// A table in several pieces.
    #[error("{path}: {key} stands between lines of {table}: put the lines of {table} together")]
    Scattered {
        /// The file.
        path: PathBuf,
        /// The table.
        table: String,
        /// What is in between.
        key: String,
    },
    /// A token file does not hold a token.
    #[error(
        "{path} does not hold a token of at least 16 characters without spaces; make one with \
         `(umask 077; openssl rand -hex 32 > {path})`"
    )]
    Token {
        /// The file.
        path: PathBuf,
    },
    /// Others can read a secret.
    #[error("others can read {path} (mode {mode:o}): `chmod 600 {path}`")]
    OpenToOthers {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Settings of an account do not go together.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A keystore cannot be read or decrypted.
    #[error("cannot open the keystore {path}: {error}")]
    Keystore {
        /// The file.
        path: PathBuf,
        /// Why; a wrong password is a MAC that does not match.
        error: Box<alloy::signers::local::LocalSignerError>,
    },
    /// A key file does not hold a private key.
    #[error("{path} does not hold a private key of 32 bytes in hex")]
    Key {
        /// The file.
        path: PathBuf,
    },
}
