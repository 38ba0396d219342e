//! The differential fuzz as a program: random blocks in every mode, compared with the reference.
//!
//! `cargo run --release -p executor --example fuzz -- --blocks 200000 --seed 1` runs from block zero
//! and ends with what was drawn; it exits with 1 at the first difference, which it prints. `--seed S
//! --block I` runs that block again. Owns the command line; the fuzz itself is the tests'.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "what the tests share is built here, too"
)]

#[path = "../tests/fuzz/mod.rs"]
mod fuzz;

use fuzz::Campaign;
use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

const USAGE: &str = "fuzz [--seed S] [--blocks N | --block I] [--threads T]";

fn campaign(arguments: impl Iterator<Item = String>) -> Option<Campaign> {
    let progress = Some(Duration::from_secs(10));
    let mut campaign = Campaign { seed: 1, blocks: 10_000, only: None, threads: 2, progress };
    let mut arguments = arguments;
    while let Some(name) = arguments.next() {
        let number: u64 = arguments.next()?.parse().ok()?;
        match name.as_str() {
            "--seed" => campaign.seed = number,
            "--blocks" => campaign.blocks = number,
            "--block" => (campaign.only, campaign.threads) = (Some(number), 1),
            "--threads" => campaign.threads = number.clamp(1, 64) as usize,
            _ => return None,
        }
    }
    Some(campaign)
}

fn main() -> ExitCode {
    let Some(campaign) = campaign(std::env::args().skip(1)) else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    match campaign.run() {
        Ok(tally) => {
            let seconds = started.elapsed().as_secs_f64();
            let rate = tally.blocks as f64 / seconds;
            print!("{tally}");
            println!("never drawn: {:?}", tally.missing());
            println!("seed {}, {seconds:.0} s, {rate:.0} blocks per second", campaign.seed);
            println!("{} blocks, {} transactions, no difference", tally.blocks, tally.transactions);
            ExitCode::SUCCESS
        }
        Err(finding) => {
            println!("{finding}");
            ExitCode::FAILURE
        }
    }
}
