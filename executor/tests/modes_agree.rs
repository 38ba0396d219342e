//! Every mode gives the reference's block, for random blocks made of every trap that is known.
//!
//! A short, fixed part of the fuzz; the example `fuzz` runs as much as one likes. The contracts that
//! the blocks call are tested in `fuzz/proof.rs`: a trap that never springs finds nothing.

use crate::fuzz::Campaign;
use std::time::Instant;

/// Blocks of the run.
const BLOCKS: u64 = 8_000;

#[test]
fn every_mode_gives_the_block_of_the_reference() {
    let started = Instant::now();
    let campaign = Campaign { seed: 1, blocks: BLOCKS, only: None, threads: 2, progress: None };
    let tally = campaign.run().unwrap_or_else(|finding| panic!("{finding}"));
    println!("{tally}");
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} blocks, {} transactions, no difference, {seconds:.1} s",
        tally.blocks, tally.transactions
    );
    let missing = tally.missing();
    assert!(missing.is_empty(), "never drawn: {missing:?}");
}
