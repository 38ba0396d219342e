//! Measures the executor: every workload under every mode, as ratios to sequential execution.
//!
//! `make bench-executor`, with `BENCH_ARGS="--help"` for what can be chosen. Owns the order of
//! things; each module owns one noun. Deliberately not here: criterion-like statistics, the network,
//! the store, and state roots.
//!
//! **What is timed** is [`Phases::execution`](executor::counters::Phases::execution): planning,
//! transactions and the state diff. State root and receipts root are not in it. They are the work of
//! another subsystem and the same in every mode, so they would only pull each ratio towards 1.
//!
//! **How**: the configurations of a workload run interleaved, A B C A B C, so that whatever else the
//! machine does hits all of them. A ratio is the median over the rounds of sequential time divided
//! by the configuration's time in the same round. The ratio of the two medians would be less robust:
//! when the machine is slow for a while, both runs of a round are, and their quotient stays.
//!
//! **What is checked**: before a configuration is timed, it runs once and must give the sequential
//! run's hash, receipts, state diff and skips. If it does not, the program stops.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a program on a terminal; it fails by stopping, also in the loader it shares with tests"
)]

mod bound;
mod dependencies;
mod erc20;
#[allow(dead_code, reason = "tests use what measuring does not: expected results")]
#[path = "../../tests/files.rs"]
mod files;
mod generated;
mod measure;
mod options;
mod report;
mod statistics;
mod summary;
mod support;
mod teaching;
mod uniswap;
mod workload;

use options::Options;
use report::Report;
use std::process::ExitCode;
use teaching::Teaching;
use workload::Workload;

/// The node's allocator: measuring on another one would say nothing about the node.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
            eprintln!("bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    let mut report = Report::new(options);
    report.notes(options);
    for load in [workload::synthetic, workload::mainnet] {
        run_family(load, options, &mut report)?;
    }
    report.finish();
    Ok(())
}

/// A family of workloads is loaded whole, because each is measured with what the others taught.
fn run_family(
    load: fn() -> Result<Vec<Workload>, Failure>,
    options: &Options,
    report: &mut Report,
) -> Result<(), Failure> {
    let family = load()?;
    for (index, workload) in family.iter().enumerate() {
        if !options.selects(&workload.name) {
            continue;
        }
        let teaching = Teaching::leaving_out(&family, index)?;
        report.rows(&measure::measure(workload, &teaching, options)?);
        if options.bounds {
            report.bounds(&bound::bounds(workload)?);
        }
    }
    Ok(())
}
