//! The state root fuzz as a program: random histories of a state, compared with alloy-trie's hash
//! builder after every step, and as many whose partial tries are compared with the persistent trie.
//!
//! `cargo run --release -p executor --example root_fuzz -- --histories 1000000 --seed 1` ends with
//! what was done; it exits with 1 at the first difference, which it prints. `--seed S --history I`
//! runs that one again. Owns the command line and the threads; the fuzz itself is the tests'.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::cast_possible_truncation,
    clippy::print_stdout,
    reason = "what the tests share is built here, too"
)]

#[allow(dead_code, reason = "shared with the executor's fuzz, which draws more shapes")]
#[path = "../tests/fuzz/dice.rs"]
mod dice;
#[path = "../tests/arena/flat.rs"]
mod flat;
#[path = "../tests/arena/history.rs"]
mod history;
#[path = "../tests/arena/parts.rs"]
mod parts;

use history::Tally;
use std::{
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Instant,
};

const USAGE: &str = "root_fuzz [--seed S] [--histories N | --history I] [--threads T]";

/// What to run.
struct Plan {
    seed: u64,
    histories: std::ops::Range<u64>,
    threads: u64,
}

fn plan(mut arguments: impl Iterator<Item = String>) -> Option<Plan> {
    let mut plan = Plan { seed: 1, histories: 0..100_000, threads: 2 };
    while let Some(name) = arguments.next() {
        let number: u64 = arguments.next()?.parse().ok()?;
        match name.as_str() {
            "--seed" => plan.seed = number,
            "--histories" => plan.histories = 0..number,
            "--history" => plan.histories = number..number + 1,
            "--threads" => plan.threads = number.clamp(1, 64),
            _ => return None,
        }
    }
    Some(plan)
}

impl Plan {
    /// Runs; the counts, or the first difference that was found.
    fn run(&self) -> Result<Tally, String> {
        let next = AtomicU64::new(self.histories.start);
        let total = Mutex::new(Ok(Tally::default()));
        let worker = || {
            let mut own = Tally::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= self.histories.end {
                    break;
                }
                let ran = history::run(self.seed, number)
                    .and_then(|tally| Ok([tally, parts::run(self.seed, number)?]));
                match ran {
                    Ok(tallies) => tallies.iter().for_each(|tally| own.add(tally)),
                    Err(difference) => {
                        next.store(self.histories.end, Ordering::Relaxed);
                        *total.lock().unwrap() = Err(difference);
                        return;
                    }
                }
            }
            if let Ok(total) = &mut *total.lock().unwrap() {
                total.add(&own);
            }
        };
        thread::scope(|scope| (0..self.threads).for_each(|_| drop(scope.spawn(worker))));
        total.into_inner().unwrap()
    }
}

fn main() -> ExitCode {
    let Some(plan) = plan(std::env::args().skip(1)) else {
        println!("{USAGE}");
        return ExitCode::from(2);
    };
    let started = Instant::now();
    match plan.run() {
        Ok(tally) => {
            let seconds = started.elapsed().as_secs_f64();
            print!("{tally}");
            println!("seed {}, {seconds:.0} s, no difference", plan.seed);
            ExitCode::SUCCESS
        }
        Err(difference) => {
            println!("{difference}");
            ExitCode::FAILURE
        }
    }
}
