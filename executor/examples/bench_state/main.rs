//! Measures the state root: the arena under every keccak backend, on one thread and two, beside
//! alloy-trie's hash builder over the same changes.
//!
//! `make bench-state`, with `BENCH_ARGS="--help"` for what can be chosen. Owns the order of things;
//! each module owns one noun. Deliberately not here: execution, the store, reading shards back.
//!
//! **What is timed** is everything from the state diff of a block to the root: hashing the keys,
//! bringing the trie up to date and hashing it. For the hash builder it is the same less one thing:
//! its flat state is updated before the clock starts, because a node's database does that elsewhere.
//!
//! **How**: configurations run interleaved, each with a diff of its own, so that none finds what
//! another one has just brought into the caches; the hash builder does the same diff right after.
//! What is reported is the median over the rounds. Every root is compared with the hash builder's; if
//! one differs, the program stops.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "a program on a terminal; it fails by stopping, and prints ratios of small numbers"
)]

mod baseline;
#[allow(dead_code, reason = "shared with the tests, which draw more shapes")]
#[path = "../../tests/fuzz/dice.rs"]
mod dice;
mod lists;
mod measure;
mod memory;
mod options;
mod report;
#[allow(dead_code, reason = "shared with the executor's benchmark")]
#[path = "../bench/statistics.rs"]
mod statistics;
mod workload;

use options::Options;
use report::Report;
use std::process::ExitCode;

/// Why the program stops, for a person.
type Failure = String;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("bench-state: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let report = Report::new(options);
    lists::measure(options, &report)?;
    for shape in options.shapes() {
        measure::measure(shape, options, &report)?;
    }
    Ok(())
}
