//! One TOML file for several sets of settings, each with types of its own.
//!
//! A key belongs to the set that has a flag of that name. What is not of the set that is read is blanked
//! out, so that an error still points to its line. Does not know any setting.

use super::{SettingsError, read_to_string};
use clap::Args;
use serde::de::DeserializeOwned;
use std::{
    ops::Range,
    path::{Path, PathBuf},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A TOML file, or what of it was not taken yet.
#[derive(Clone, Debug)]
pub struct SettingsFile {
    path: PathBuf,
    text: String,
}

impl SettingsFile {
    /// Reads a file. Nothing of it is taken yet; only its form is checked.
    ///
    /// # Errors
    /// [`SettingsError::Read`], [`SettingsError::TomlSecret`] and [`SettingsError::Scattered`].
    pub fn open(path: &Path) -> Result<Self, SettingsError> {
        Self::checked(path.into(), read_to_string(path)?)
    }

    /// A file of this text.
    #[cfg(test)]
    pub(super) fn from_text(text: &str) -> Self {
        Self { path: "a.toml".into(), text: text.into() }
    }

    fn checked(path: PathBuf, text: String) -> Result<Self, SettingsError> {
        let file = Self { path, text };
        // A line that cannot be parsed may be one with a secret.
        let entries = DeTable::parse(&file.text).map_err(|error| file.without_source(error))?;
        let mut places: Vec<_> = entries
            .get_ref()
            .iter()
            .map(|(key, value)| (key.span().start..end_of(value), key.get_ref()))
            .collect();
        places.sort_by_key(|(place, _)| place.start);
        // What is blanked out is one piece of the text.
        let within = places.windows(2).find(|pair| pair[1].0.start < pair[0].0.end);
        if let Some([(_, table), (_, key)]) = within {
            let (table, key) = (table.to_string(), key.to_string());
            return Err(SettingsError::Scattered { path: file.path.clone(), table, key });
        }
        Ok(file)
    }

    /// Takes out the settings of one set.
    ///
    /// # Errors
    /// [`SettingsError::Toml`].
    pub fn take<T: Args + DeserializeOwned>(&mut self) -> Result<T, SettingsError> {
        let command = T::augment_args(clap::Command::new("settings"));
        let names: Vec<_> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
        let (mut taken, mut rest) = (self.text.clone(), self.text.clone());
        let entries = DeTable::parse(&self.text).map_err(|error| self.without_source(error))?;
        for (key, value) in entries.get_ref() {
            let is_other = !names.contains(&key.as_ref().as_ref());
            // A table begins with a bracket before its name.
            let start = self.text[..key.span().start].rfind('\n').map_or(0, |end| end + 1);
            blank(if is_other { &mut taken } else { &mut rest }, start..end_of(value));
        }
        let parsed = self.parse(&taken);
        self.text = rest;
        parsed
    }

    /// The same for settings that may hold a secret: an error says the line, and not what is in it.
    ///
    /// # Errors
    /// [`SettingsError::TomlSecret`].
    pub fn take_secret<T: Args + DeserializeOwned>(&mut self) -> Result<T, SettingsError> {
        let before = self.clone();
        self.take().map_err(|error| match error {
            SettingsError::Toml { error, .. } => before.without_source(*error),
            other => other,
        })
    }

    /// The last set, which refuses keys that nobody has.
    ///
    /// # Errors
    /// [`SettingsError::Toml`].
    pub fn rest<T: DeserializeOwned>(self) -> Result<T, SettingsError> {
        self.parse(&self.text)
    }

    /// An error by its line, without what is in it.
    fn without_source(&self, error: toml::de::Error) -> SettingsError {
        let before = error.span().and_then(|span| self.text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        SettingsError::TomlSecret { path: self.path.clone(), line, error: Box::new(error) }
    }

    fn parse<T: DeserializeOwned>(&self, text: &str) -> Result<T, SettingsError> {
        toml::from_str(text).map_err(|mut error: toml::de::Error| {
            error.set_input(Some(&self.text));
            SettingsError::Toml { path: self.path.clone(), error: Box::new(error) }
        })
    }
}

/// Where a value ends: of a table with a header, where the last of its values does.
fn end_of(value: &Spanned<DeValue<'_>>) -> usize {
    let inner = match value.get_ref() {
        DeValue::Table(table) => table.values().map(end_of).max(),
        _ => None,
    };
    value.span().end.max(inner.unwrap_or_default())
}

/// Spaces instead of an entry; lines stay where they are.
fn blank(text: &mut String, span: Range<usize>) {
    let Some(entry) = text.get(span.clone()) else { return };
    let blank: String = entry.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }).collect();
    text.replace_range(span, &blank);
}

#[cfg(test)]
mod tests {
    use super::super::{Settings, process::ProcessSettings};
    use super::*;

    fn read(text: &str) -> Result<(ProcessSettings, Settings), SettingsError> {
        let mut file = SettingsFile::from_text(text);
        Ok((file.take()?, Settings::from_file(file)?))
    }

    #[test]
    fn each_set_takes_its_keys_and_an_unknown_one_is_named_with_its_line() {
        let text = "block-time-ms = 200\nblob-archive-url = [\n  \"http://a\",\n  \"http://b\",\n]\n\
                    l1-confirmations = 9\nl1-rpc-url = \"http://c\"\n";
        let (process, settings) = read(text).unwrap();
        let archives: Vec<_> = process.blob_archive_url.iter().map(ToString::to_string).collect();
        assert_eq!(archives, ["http://a", "http://b"]);
        assert_eq!((settings.block_time_ms, settings.l1_confirmations), (Some(200), Some(9)));
        let error = read(&format!("{text}blocktime = 1")).unwrap_err().to_string();
        assert!(error.contains("blocktime") && error.contains("line 8"), "{error}");
        let table = format!("{text}[pressure]\npause-secs = 7\n");
        assert_eq!(read(&table).unwrap().1.pressure.pause_secs, Some(7));
        let error = read(&format!("{table}paus-secs = 7")).unwrap_err().to_string();
        assert!(error.contains("paus-secs") && error.contains("line 10"), "{error}");
        let error = read("\nblob-archive-url = 7").unwrap_err().to_string();
        assert!(error.contains("blob-archive-url") && error.contains("line 2"), "{error}");
    }
    #[test]
    fn a_line_that_cannot_be_parsed_is_not_shown() {
        let text = "block-time-ms = 200\nl1-rpc-url = https://l1.example/hidden\n";
        let error = SettingsFile::checked("a.toml".into(), text.into()).unwrap_err().to_string();
        assert!(error.contains("line 2") && !error.contains("hidden"), "{error}");
    }

    #[test]
    fn a_table_in_pieces_with_another_key_between_is_refused() {
        let text =
            "pressure.warn-secs = 120\nadmin-token-file = \"t\"\npressure.pause-secs = 1440\n";
        let error = SettingsFile::checked("a.toml".into(), text.into()).unwrap_err().to_string();
        assert!(error.contains("admin-token-file") && error.contains("pressure"), "{error}");
        let text =
            "pressure.warn-secs = 120\npressure.pause-secs = 1440\nadmin-token-file = \"t\"\n";
        let mut file = SettingsFile::checked("a.toml".into(), text.into()).unwrap();
        let process: ProcessSettings = file.take().unwrap();
        assert!(process.admin_token_file.is_some());
        assert_eq!(Settings::from_file(file).unwrap().pressure.pause_secs, Some(1_440));
    }
}
