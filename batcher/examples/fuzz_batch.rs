//! The fuzz of the batch format as a program, as long as one likes.
//!
//! `cargo run --release -p batcher --example fuzz_batch -- --target channel --seconds 600 --seed 1` ends
//! with what was seen; it exits with 1 at the first panic, hang, wrong outcome or input that takes too
//! much memory, which it keeps below `target/fuzz`, as a file for `tests/corpus`. Owns the command line;
//! the fuzz itself is the tests'. The same seed draws the same inputs.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "what the tests share is built here, too"
)]

#[allow(dead_code, reason = "the tests of derivation use the rest")]
#[path = "../tests/support/chain.rs"]
mod chain;
#[allow(dead_code, unused_imports, reason = "short runs and single inputs are the tests'")]
#[path = "../tests/fuzz/mod.rs"]
mod fuzz;
mod support {
    pub(crate) use super::chain;
}

use fuzz::{Budget, Campaign, Counting, Target};
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USAGE: &str = "fuzz_batch --target frame|channel|bomb|blob|compress [--seconds N] [--seed S] \
     [--outcomes 1] [--keep DIRECTORY]";
const MIB: f64 = 1_048_576.0;

/// The campaign, and whether every outcome is listed at the end.
fn campaign(mut arguments: impl Iterator<Item = String>) -> Option<(Campaign, bool)> {
    let (mut target, mut seed, mut seconds, mut listed, mut keep) = (None, 1, 60, false, None);
    while let Some(name) = arguments.next() {
        let value = arguments.next()?;
        match name.as_str() {
            "--target" => {
                target = Some(Target::ALL.into_iter().find(|target| target.name() == value)?);
            }
            "--seed" => seed = value.parse().ok()?,
            "--seconds" => seconds = value.parse().ok()?,
            "--outcomes" => listed = true,
            "--keep" => keep = Some(PathBuf::from(value)),
            _ => return None,
        }
    }
    let campaign = Campaign {
        target: target?,
        seed,
        budget: Budget::Time(Duration::from_secs(seconds)),
        progress: Some(Duration::from_secs(30)),
        directory: Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/fuzz"),
        keep,
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
    let (peak, bound) = (tally.peak_bytes as f64 / MIB, campaign.target.bytes_max() as f64 / MIB);
    let (small, length) = tally.small;
    let ratio = small / length.max(1);
    println!(
        "most memory {peak:.1} MiB of {bound:.0}; of inputs up to 2 KiB {:.1} MiB, {length} bytes, \
         {ratio} for each",
        small as f64 / MIB
    );
    ExitCode::SUCCESS
}
