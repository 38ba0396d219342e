//! The fuzz of what comes in from outside as a program, as long as one likes.
//!
//! `cargo run -p sequencer --example fuzz_rpc -- --target filter --seconds 600 --seed 1` ends with
//! what was seen; it exits with 1 at the first panic, hang or wrong outcome, whose input it keeps
//! below `target/fuzz`, as a line for `tests/fuzz/corpus`. Owns the command line; the fuzz itself is
//! the tests'. The same seed draws the same inputs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "what the tests share is built here, too"
)]

#[allow(dead_code, reason = "the tests of JSON-RPC use the rest")]
#[path = "../tests/rpc/chain.rs"]
mod chain;
#[allow(dead_code, reason = "short runs are the tests'")]
#[path = "../tests/fuzz/mod.rs"]
mod fuzz;

use fuzz::{Budget, Campaign, Target};
use std::{path::Path, process::ExitCode, time::Duration, time::Instant};

const USAGE: &str = "fuzz_rpc --target envelope|transaction|filter|overrides [--seconds N] [--seed S] \
     [--outcomes 1]";

/// The campaign, and whether every outcome is listed at the end.
fn campaign(mut arguments: impl Iterator<Item = String>) -> Option<(Campaign, bool)> {
    let (mut target, mut seed, mut seconds, mut listed) = (None, 1, 60, false);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--target" => {
                target = Some(Target::ALL.into_iter().find(|target| target.name() == value)?);
            }
            "--seed" => seed = value.parse().ok()?,
            "--seconds" => seconds = value.parse().ok()?,
            "--outcomes" => listed = true,
            _ => return None,
        }
    }
    let campaign = Campaign {
        target: target?,
        seed,
        budget: Budget::Time(Duration::from_secs(seconds)),
        progress: Some(Duration::from_secs(30)),
        directory: Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz"),
    };
    Some((campaign, listed))
}

fn main() -> ExitCode {
    let Some((campaign, listed)) = campaign(std::env::args().skip(1)) else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    let tally = match campaign.run() {
        Ok(tally) => tally,
        Err(finding) => {
            println!("{finding}");
            return ExitCode::FAILURE;
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    if listed {
        tally.outcomes.iter().for_each(|outcome| println!("  {outcome}"));
    }
    let (name, seed, inputs) = (campaign.target.name(), campaign.seed, tally.inputs);
    let (rate, outcomes) = (inputs as f64 / seconds, tally.outcomes.len());
    println!(
        "{name}, seed {seed}: {inputs} inputs in {seconds:.0} s, {rate:.0} per second, \
         {outcomes} outcomes, slowest {:?}, no panic, no hang",
        tally.slowest
    );
    ExitCode::SUCCESS
}
