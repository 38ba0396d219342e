//! Which settings belong to which command. One that would do nothing is refused: whoever gives a
//! follower a batcher's key believes that it posts.

use super::{
    Config, Settings, SettingsError,
    file::SettingsFile,
    process::{NODE_ADMIN_PORT, ProcessConfig, ProcessSettings},
};
use clap::Arg;
use std::path::Path;

/// What a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `run`: builds blocks and posts them.
    Sequencer,
    /// `follow`: derives blocks from L1.
    Follower,
}

impl Role {
    const fn command(self) -> &'static str {
        match self {
            Self::Sequencer => "run",
            Self::Follower => "follow",
        }
    }

    /// Settings of the other command alone, and whether they are given.
    fn foreign(self, given: &Settings, process: &ProcessSettings) -> Vec<(&'static str, bool)> {
        match self {
            Self::Sequencer => vec![("sequencer-url", given.endpoints.sequencer_url.is_some())],
            // A follower's ledger is a small file of its own: it must not be the sequencer's.
            Self::Follower => [
                vec![
                    ("l1-confirmations", given.l1_confirmations.is_some()),
                    ("mini-block-ms", given.mini_block_ms.is_some()),
                    ("empty-blocks", given.empty_blocks.is_some()),
                    ("batch-data", given.batch_data.is_some()),
                    ("batch-age-secs", given.batch_age_secs.is_some()),
                    ("output-interval-blocks", given.output_interval_blocks.is_some()),
                    ("pool-ordering", given.pool_ordering.is_some()),
                    ("pool-window-ms", given.pool_window_ms.is_some()),
                    ("pool-transactions", given.pool_transactions.is_some()),
                    ("pool-mib", given.pool_mib.is_some()),
                    ("pool-sender-slots", given.pool_sender_slots.is_some()),
                    ("pool-ttl-secs", given.pool_ttl_secs.is_some()),
                    ("explain-hours", given.explain_hours.is_some()),
                    ("ledger-url", given.endpoints.ledger_url.is_some()),
                    ("admin-listen", process.admin_listen.is_some()),
                    ("admin-token-file", process.admin_token_file.is_some()),
                ],
                given.accounts.given(),
                given.pressure.given(),
            ]
            .concat(),
        }
    }

    /// A node's complete settings: what was given on the command line or in the environment, over the
    /// file.
    ///
    /// # Errors
    /// [`SettingsError`] naming the setting.
    pub fn configure(
        self,
        file: Option<&Path>,
        (mut settings, mut process): (Settings, ProcessSettings),
    ) -> Result<Config, SettingsError> {
        if let Some(path) = file {
            let mut file = SettingsFile::open(path)?;
            process = process.over(file.take()?);
            settings = settings.over(Settings::from_file(file)?);
        }
        self.check(&settings, &process)?;
        let process = ProcessConfig::check(process, NODE_ADMIN_PORT)?;
        Ok(Config { process, ..Config::check(settings)? })
    }

    /// Refuses what a command has no use for, and names the first such setting.
    fn check(self, given: &Settings, process: &ProcessSettings) -> Result<(), SettingsError> {
        match self.foreign(given, process).into_iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(SettingsError::Foreign { name, command: self.command() }),
            None => Ok(()),
        }
    }

    /// Leaves a setting of the other command out of `--help`.
    pub(crate) fn hide_foreign(self, argument: Arg) -> Arg {
        let foreign = self.foreign(&Settings::default(), &ProcessSettings::default());
        let is_foreign = foreign.iter().any(|(name, _)| argument.get_long() == Some(name));
        if is_foreign { argument.hide(true) } else { argument }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory;

    #[test]
    fn each_command_shows_and_takes_what_it_uses() {
        let shown = |name: &str| -> Vec<String> {
            let cli = Cli::command();
            let command = cli.find_subcommand(name).unwrap();
            let shown = command.get_arguments().filter(|argument| !argument.is_hide_set());
            shown.filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
        };
        let (run, follow) = (shown("run"), shown("follow"));
        for (name, _) in Role::Follower.foreign(&Settings::default(), &ProcessSettings::default()) {
            assert!(run.contains(&name.to_owned()) && !follow.contains(&name.to_owned()), "{name}");
        }
        assert!(!run.contains(&"sequencer-url".to_owned()));
        assert!(follow.contains(&"sequencer-url".to_owned()));
        assert!(follow.contains(&"l1-rpc-url".to_owned()));

        let none = ProcessSettings::default();
        let read = |text: &str| Settings::from_file(SettingsFile::from_text(text)).unwrap();
        let sequencers = read("batch-age-secs = 3");
        Role::Sequencer.check(&sequencers, &none).unwrap();
        let error = Role::Follower.check(&sequencers, &none).unwrap_err();
        assert_eq!(error.to_string(), "batch-age-secs does nothing for `follow`: leave it out");
        let followers = read("sequencer-url = 'http://a'");
        Role::Follower.check(&followers, &none).unwrap();
        Role::Sequencer.check(&followers, &none).unwrap_err();
    }
}
