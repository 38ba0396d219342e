//! The fuzz's corpus replayed, and a short run of each target; `examples/fuzz_batch.rs` runs longer.

use crate::fuzz::{ACCESS_LIST, AUTHORIZATIONS, Budget, Campaign, Seen, Target, list_of, measured};
use batcher::format::{CONTENT_BYTES_MAX, Channel, Malformed};

fn campaign(target: Target, inputs: u64, directory: &tempfile::TempDir) -> Campaign {
    let (budget, directory) = (Budget::Inputs(inputs), directory.path().to_owned());
    Campaign { target, seed: 1, budget, progress: None, directory, keep: None }
}

/// Runs a target; it has to see at least so many different outcomes, or it tests nothing.
fn run(target: Target, inputs: u64, outcomes_min: usize) {
    let directory = tempfile::tempdir().unwrap();
    let tally = campaign(target, inputs, &directory).run();
    let tally = tally.unwrap_or_else(|finding| panic!("{finding}"));
    assert!(tally.inputs > inputs);
    let seen = &tally.outcomes;
    assert!(seen.len() >= outcomes_min, "{} outcomes: {seen:#?}", seen.len());
}

#[test]
fn no_append_breaks_derivation() {
    run(Target::Frame, 4_000, 200);
}

#[test]
fn no_channel_breaks_the_decoder() {
    run(Target::Channel, 4_000, 200);
}

#[test]
fn no_large_channel_breaks_the_decoder() {
    run(Target::Bomb, 20, 5);
}

#[test]
fn no_blob_breaks_unpacking() {
    run(Target::Blob, 2_000, 20);
}

#[test]
fn no_stream_breaks_the_decompressor() {
    run(Target::Compress, 4_000, 25);
}

#[test]
fn a_list_longer_than_a_transaction_is_not_read() {
    for columns in [ACCESS_LIST, AUTHORIZATIONS] {
        let fits = list_of(100_000, columns);
        assert!(Channel::decode(&fits).is_ok());
        let bomb = list_of(CONTENT_BYTES_MAX - 4_096, columns);
        assert!(bomb.len() < 1_000, "{}", bomb.len());
        let (decoded, taken) = measured(|| Channel::decode(&bomb));
        assert_eq!(decoded, Err(Malformed::TransactionTooLong));
        // What decompressing takes, and nothing of what is in it.
        assert!(taken.peak_bytes < 120 << 20, "{} bytes of memory", taken.peak_bytes);
    }
}

#[test]
fn what_must_not_be_is_found_and_kept() {
    for planted in ["panic: planted", "planted"] {
        let directory = tempfile::tempdir().unwrap();
        let finding = campaign(Target::Blob, 2_000, &directory).run_with(&|_, input| match (
            input.len() > 100,
            planted,
        ) {
            (false, _) => Ok(Seen { outcome: String::new(), peak_bytes: 0 }),
            (true, "planted") => Err("planted".to_owned()),
            (true, _) => panic!("planted"),
        });
        let finding = finding.unwrap_err();
        assert_eq!(finding.what, planted);
        assert!(std::fs::read(&finding.file).unwrap().len() > 100);
    }
}
