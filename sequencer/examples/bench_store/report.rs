//! What is printed, for a person or as JSON, a line per figure.

use executor::{keccak::Backend, state::arena::ArenaOptions};
use serde::Serialize;

#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
}

/// One figure in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row<'r> {
    pub(crate) case: &'r str,
    pub(crate) accounts: u64,
    /// Accounts that a block touches, where there are blocks.
    pub(crate) touched: Option<u64>,
    pub(crate) ms: f64,
    /// The same without the store's root and fold.
    pub(crate) baseline_ms: Option<f64>,
}

/// A row as JSON, with what the state root runs on.
#[derive(Debug, Serialize)]
struct Line<'r> {
    case: &'r str,
    accounts: u64,
    touched: Option<u64>,
    backend: &'static str,
    threads: usize,
    ms: f64,
    baseline_ms: Option<f64>,
}

/// The backend's name in a row.
fn name(backend: Backend) -> &'static str {
    match backend {
        Backend::Scalar => "scalar",
        Backend::Avx2 => "avx2",
        Backend::Avx512 => "avx512",
    }
}

impl Report {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// A sentence; JSON has none.
    pub(crate) fn say(&self, text: &str) {
        if !self.json {
            println!("{text}");
        }
    }

    /// An object of its own shape; the table has it as a sentence.
    pub(crate) fn object(&self, object: &impl Serialize) {
        if self.json {
            match serde_json::to_string(object) {
                Ok(line) => println!("{line}"),
                Err(error) => eprintln!("a line is lost: {error}"),
            }
        }
    }

    pub(crate) fn row(&self, row: &Row<'_>) {
        let Row { case, accounts, touched, ms, baseline_ms } = *row;
        if self.json {
            let arena = ArenaOptions::default();
            let (backend, threads) = (name(arena.backend), arena.threads);
            self.object(&Line { case, accounts, touched, backend, threads, ms, baseline_ms });
            return;
        }
        let beside = baseline_ms.map_or_else(String::new, |baseline_ms| {
            format!("; baseline {baseline_ms:>9.3} ms, ratio {:.2}", ms / baseline_ms)
        });
        println!("{case:>24} {accounts:>8} accounts: {ms:>9.3} ms{beside}");
    }
}
