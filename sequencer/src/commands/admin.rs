//! `sequencer admin` and `batcher admin`: tells a running process what to do, and waits until it is done.

use crate::{
    admin::Action,
    settings::{SettingsError, process::read_token},
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use std::{
    io::{self, Write},
    path::PathBuf,
    time::Duration,
};

/// Where a node on this machine listens to its operator.
pub const NODE_URL: &str = "http://127.0.0.1:9547";
/// Where a batcher does.
pub const BATCHER_URL: &str = "http://127.0.0.1:9548";
/// Longest wait: more than the process takes for any action.
const WAIT_MAX: Duration = Duration::from_secs(300);

/// Arguments of `admin`.
#[derive(Args, Clone, Debug)]
pub struct AdminArgs {
    /// The process's --admin-listen, as a URL [default: http://127.0.0.1:9547 of a sequencer,
    /// http://127.0.0.1:9548 of a batcher].
    #[arg(long, global = true, env = "WEFT_ADMIN_URL", value_name = "URL")]
    pub url: Option<String>,
    /// The file that the process was started with.
    #[arg(long, global = true, env = "WEFT_ADMIN_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// What is to be done.
    #[command(subcommand)]
    pub action: AdminAction,
}

/// What can be done. Each is answered once it is applied, and may be asked for again.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum AdminAction {
    /// Show what is sent, what waits, and why something halted.
    Status,
    /// Begin no further L1 transaction, also after a restart. What is in flight goes on and is named.
    /// Sequencing goes on.
    Pause,
    /// Send again; what halted tries again.
    Resume,
    /// Bring all blocks up to the head to L1 now, and wait until they are there.
    Flush,
    /// Replace the L1 transaction in flight by one that does nothing, under the same nonce. Pause first
    /// if the same blocks are not to be posted again at once.
    CancelNonce {
        /// Whose transaction.
        #[arg(long, value_enum, default_value = "poster")]
        task: Task,
    },
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// Appends batches.
    Poster,
    /// Proposes outputs.
    Proposer,
}

/// Why nothing is known to be done.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No token file was named.
    #[error("--token-file is not set: give the file that the process was started with")]
    NoTokenFile,
    /// The token cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Nobody answers.
    #[error("{url} does not answer: {error}. Was the process started with --admin-token-file?")]
    Unreachable {
        /// The URL.
        url: String,
        /// Why.
        error: reqwest::Error,
    },
    /// It was refused, or is not done yet.
    #[error("{status}: {reason}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What the process says.
        reason: String,
    },
    /// Standard output is closed.
    #[error("cannot write the answer: {0}")]
    Write(#[from] io::Error),
}

/// Runs the command and prints the answer.
///
/// # Errors
/// [`AdminError`]; the process then exits with a non-zero status.
pub async fn run(args: AdminArgs, default_url: &str) -> Result<(), AdminError> {
    let token = read_token(&args.token_file.ok_or(AdminError::NoTokenFile)?)?;
    let url = args.url.unwrap_or_else(|| default_url.into());
    let url = url.trim_end_matches('/');
    let http = reqwest::Client::builder().timeout(WAIT_MAX).build();
    let unreachable = |error| AdminError::Unreachable { url: url.into(), error };
    let http = http.map_err(unreachable)?;
    let post = |action: Action| http.post(format!("{url}/admin/v1/{action}"));
    let request = match args.action {
        AdminAction::Status => http.get(format!("{url}/admin/v1/status")),
        AdminAction::Pause => post(Action::Pause),
        AdminAction::Resume => post(Action::Resume),
        AdminAction::Flush => post(Action::Flush),
        AdminAction::CancelNonce { task } => {
            let task = if task == Task::Poster { "poster" } else { "proposer" };
            post(Action::CancelNonce).json(&json!({ "task": task }))
        }
    };
    let response = request.bearer_auth(token).send().await.map_err(unreachable)?;
    let status = response.status();
    let answer: Value = response.json().await.map_err(unreachable)?;
    if !status.is_success() {
        let reason = answer["error"].as_str().map_or_else(|| answer.to_string(), Into::into);
        return Err(AdminError::Refused { status: status.as_u16(), reason });
    }
    writeln!(io::stdout(), "{answer:#}")?;
    Ok(())
}
