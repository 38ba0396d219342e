//! The fuzz's corpus replayed, and a short run of each target; `examples/fuzz_rpc.rs` runs longer.

#![allow(
    clippy::print_stdout,
    clippy::cast_possible_truncation,
    reason = "what the program shares is built here, too"
)]

#[allow(dead_code, reason = "long runs are the example's")]
#[path = "../fuzz/mod.rs"]
mod campaigns;

use campaigns::{Budget, Campaign, Target};

/// Inputs of a short run.
const INPUTS: u64 = 6_000;

fn campaign(target: Target, directory: &tempfile::TempDir) -> Campaign {
    let (budget, directory) = (Budget::Inputs(INPUTS), directory.path().to_owned());
    Campaign { target, seed: 1, budget, progress: None, directory }
}

/// Runs a target; it has to see at least so many different outcomes, or it tests nothing.
fn run(target: Target, outcomes_min: usize) {
    let directory = tempfile::tempdir().unwrap();
    let tally = campaign(target, &directory).run();
    let tally = tally.unwrap_or_else(|finding| panic!("{finding}"));
    assert!(tally.inputs > INPUTS);
    let seen = &tally.outcomes;
    assert!(seen.len() >= outcomes_min, "{} outcomes: {seen:#?}", seen.len());
}

#[test]
fn no_body_breaks_the_node() {
    run(Target::Envelope, 60);
}

#[test]
fn no_transaction_breaks_admission() {
    run(Target::Transaction, 15);
}

#[test]
fn no_filter_breaks_the_node() {
    run(Target::Filter, 15);
}

#[test]
fn no_override_breaks_the_node() {
    run(Target::Overrides, 25);
}

#[test]
fn a_panic_and_a_wrong_outcome_are_found_and_kept() {
    for (planted, said) in [("panic", "panic: planted"), ("wrong", "planted")] {
        let directory = tempfile::tempdir().unwrap();
        let finding = campaign(Target::Filter, &directory).run_with(&|_, input| {
            let is_it = input.windows(8).any(|bytes| bytes == b"\"topics\"");
            match (is_it, planted) {
                (false, _) => Ok(String::new()),
                (true, "panic") => panic!("planted"),
                (true, _) => Err("planted".to_owned()),
            }
        });
        let finding = finding.unwrap_err();
        assert_eq!(finding.what, said);
        let kept = std::fs::read_to_string(&finding.file).unwrap();
        let input = alloy::primitives::hex::decode(kept.trim()).unwrap();
        assert!(String::from_utf8(input).unwrap().contains("topics"));
    }
}
