//! What is printed, as a table or as JSON, a line per configuration.

use crate::{options::Options, statistics::median, workload::Shape};
use executor::keccak::Backend;

/// One configuration of one case, with its rounds.
#[derive(Debug)]
pub(crate) struct Row<'r> {
    pub(crate) case: &'r str,
    pub(crate) accounts: usize,
    pub(crate) touched: usize,
    pub(crate) backend: Backend,
    pub(crate) threads: usize,
    /// Milliseconds of the arena and of the baseline, by round.
    pub(crate) rounds: &'r [(f64, f64)],
}

#[derive(Debug)]
pub(crate) struct Report {
    json: bool,
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
    pub(crate) fn new(options: &Options) -> Self {
        if !options.json {
            println!(
                "{:<9} {:>8} {:>7}  {:<7} {:>7} {:>9} {:>12} {:>6}",
                "case", "accounts", "touched", "backend", "threads", "ms", "baseline_ms", "ratio"
            );
        }
        Self { json: options.json }
    }

    pub(crate) fn row(&self, row: &Row<'_>) {
        let ms = median(row.rounds.iter().map(|(ms, _)| *ms));
        let baseline_ms = median(row.rounds.iter().map(|(_, ms)| *ms));
        let ratio = median(row.rounds.iter().map(|(ms, baseline_ms)| baseline_ms / ms));
        let Row { case, accounts, touched, threads, .. } = row;
        let backend = name(row.backend);
        if self.json {
            println!(
                "{{\"case\":\"{case}\",\"accounts\":{accounts},\"touched\":{touched},\
                 \"backend\":\"{backend}\",\"threads\":{threads},\"ms\":{ms:.4},\
                 \"baseline_ms\":{baseline_ms:.4}}}"
            );
        } else {
            println!(
                "{case:<9} {accounts:>8} {touched:>7}  {backend:<7} {threads:>7} {ms:>9.3} \
                 {baseline_ms:>12.3} {ratio:>6.2}"
            );
        }
    }

    /// What the resident trie takes.
    pub(crate) fn memory(&self, shape: Shape, when: &str, keys: usize, bytes: usize) {
        let (case, accounts) = (shape.case(), shape.accounts);
        let per_key = bytes as f64 / keys as f64;
        if self.json {
            println!(
                "{{\"case\":\"memory\",\"of\":\"{case}\",\"accounts\":{accounts},\
                 \"when\":\"{when}\",\"keys\":{keys},\"bytes\":{bytes},\
                 \"bytes_per_key\":{per_key:.1}}}"
            );
        } else {
            println!("{case:<9} {accounts:>8}  {per_key:.1} bytes resident per key, {when}");
        }
    }
}
