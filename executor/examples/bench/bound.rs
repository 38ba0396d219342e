//! How far parallelism could go: greedy list scheduling of a block's transactions.
//!
//! Each transaction takes the time that it took in sequential execution (the least of a few runs)
//! and may start when those it depends on have ended; N identical cores take them in block order.
//! The bound is total time divided by makespan. What a real engine pays on top is not in it: shared
//! caches, memory bandwidth, planning, validation. One that adds credits to a balance in any order
//! can exceed it, because a credit to an account counts as a dependency here.

use crate::{Failure, dependencies::dependencies, workload::Workload};
use executor::{Execution, Mode};
use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

/// Cores that bounds are computed for, whatever the machine has.
pub(crate) const CORES: [usize; 4] = [2, 4, 8, 16];
/// The least of this many runs is a transaction's time.
const RUNS: usize = 5;

/// A workload's bounds.
#[derive(Clone, Debug)]
pub(crate) struct Bounds {
    pub(crate) name: String,
    /// In the order of [`CORES`].
    pub(crate) of_cores: [f64; CORES.len()],
    /// Most transactions in a chain of dependencies.
    pub(crate) longest_chain: usize,
}

pub(crate) fn bounds(workload: &Workload) -> Result<Bounds, Failure> {
    let nanos = transaction_nanos(workload)?;
    let after = dependencies(workload)?;
    let total: u64 = nanos.iter().sum();
    #[allow(clippy::cast_precision_loss, reason = "far below 2^52 nanoseconds")]
    let bound = |cores| total as f64 / makespan_nanos(&nanos, &after, cores).max(1) as f64;
    Ok(Bounds {
        name: workload.name.clone(),
        of_cores: CORES.map(bound),
        longest_chain: longest_chain(&after),
    })
}

fn transaction_nanos(workload: &Workload) -> Result<Vec<u64>, Failure> {
    let failure = |error| format!("{}: {error}", workload.name);
    let input = &workload.input;
    let mut least = vec![u64::MAX; input.transactions.len()];
    for _ in 0..RUNS {
        let begun = Execution::begin(
            &workload.state,
            input.rules.clone(),
            input.env.clone(),
            Mode::Sequential.into(),
        );
        let mut execution = begun.map_err(failure)?;
        for (transaction, least) in input.transactions.iter().zip(&mut least) {
            let started = Instant::now();
            execution.extend(std::slice::from_ref(transaction)).map_err(failure)?;
            let nanos = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
            *least = nanos.min(*least);
        }
    }
    Ok(least)
}

/// Time until the last transaction has ended. `after[j]` holds what j waits for; all of it is
/// earlier in the block.
fn makespan_nanos(nanos: &[u64], after: &[Vec<usize>], cores: usize) -> u64 {
    let mut waiting: Vec<usize> = after.iter().map(Vec::len).collect();
    let mut before = vec![Vec::new(); after.len()];
    for (index, earlier) in after.iter().enumerate() {
        earlier.iter().for_each(|&earlier| before[earlier].push(index));
    }
    let mut ready: BinaryHeap<Reverse<usize>> =
        (0..after.len()).filter(|&index| waiting[index] == 0).map(Reverse).collect();
    let mut running = BinaryHeap::new();
    let mut now = 0;
    loop {
        while running.len() < cores
            && let Some(Reverse(index)) = ready.pop()
        {
            running.push(Reverse((now + nanos[index], index)));
        }
        let Some(Reverse((end, ended))) = running.pop() else { return now };
        now = end;
        for &later in &before[ended] {
            waiting[later] -= 1;
            if waiting[later] == 0 {
                ready.push(Reverse(later));
            }
        }
    }
}

fn longest_chain(after: &[Vec<usize>]) -> usize {
    let mut depth: Vec<usize> = Vec::with_capacity(after.len());
    for earlier in after {
        let deepest = earlier.iter().map(|&index| depth[index]).max().unwrap_or(0);
        depth.push(deepest + 1);
    }
    depth.into_iter().max().unwrap_or(0)
}
