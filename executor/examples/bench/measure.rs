//! One workload under every configuration, interleaved.
//!
//! Owns which configurations there are, the rounds, and the comparison with the sequential result.
//! Prints nothing.

use crate::{
    Failure, options::Options, statistics::median, teaching::Teaching, workload::Workload,
};
use executor::{
    Counters, ExecutedBlock, Mode, Options as ExecuteOptions,
    counters::{Phases, Strategy},
    execute_with,
};
use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

/// More rounds than this tell nothing new, however short a block is.
const ROUNDS_MAX: usize = 501;

/// Rounds for the ceiling.
const CEILING_ROUNDS: usize = 9;

/// Who executes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workers {
    Count(NonZeroUsize),
    Automatic,
}

/// What the executor knows beforehand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KnowledgeOf {
    Cold,
    OtherBlocks,
    Oracle,
    AccessList,
}

impl KnowledgeOf {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cold => "cold",
            Self::OtherBlocks => "other-blocks",
            Self::Oracle => "oracle",
            Self::AccessList => "access-list",
        }
    }
}

/// A way to execute that is compared with sequential execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Configuration {
    pub(crate) workers: Workers,
    pub(crate) knowledge: KnowledgeOf,
}

/// What was measured of one configuration.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) configuration: Configuration,
    pub(crate) ms: f64,
    pub(crate) ratio: f64,
    pub(crate) re_executions: f64,
    pub(crate) strategy: Strategy,
    pub(crate) phases: PhasesMs,
}

/// Medians of the phases, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PhasesMs {
    pub(crate) plan: f64,
    pub(crate) transactions: f64,
    pub(crate) waiting: f64,
    pub(crate) diff: f64,
}

/// What was measured of one workload.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) name: String,
    pub(crate) transactions: usize,
    pub(crate) skipped: usize,
    pub(crate) gas: u64,
    pub(crate) rounds: usize,
    pub(crate) sequential_ms: f64,
    pub(crate) sequential_phases: PhasesMs,
    pub(crate) ceiling: Option<f64>,
    pub(crate) rows: Vec<Row>,
}

/// Worker counts run with what the other blocks taught; automatic mode with all there is.
fn configurations(options: &Options) -> Vec<Configuration> {
    let counts = options.workers.iter().map(|&count| Configuration {
        workers: Workers::Count(count),
        knowledge: KnowledgeOf::OtherBlocks,
    });
    let automatic =
        [KnowledgeOf::Cold, KnowledgeOf::OtherBlocks, KnowledgeOf::Oracle, KnowledgeOf::AccessList]
            .map(|knowledge| Configuration { workers: Workers::Automatic, knowledge });
    counts.chain(automatic).collect()
}

/// Compares every configuration with sequential execution, first its result, then its time.
pub(crate) fn measure(
    workload: &Workload,
    teaching: &Teaching,
    options: &Options,
) -> Result<Measured, Failure> {
    let configurations = configurations(options);
    let reference = sequential(workload)?;
    check_reference(workload, &reference)?;
    for &configuration in &configurations {
        let block = configured(workload, teaching, configuration)?;
        check_equal(workload, configuration, &reference, &block)?;
    }
    let mut rounds = Vec::new();
    let started = Instant::now();
    while !enough(rounds.len(), started, options) {
        let mut round = vec![sequential(workload)?.counters];
        for &configuration in &configurations {
            round.push(configured(workload, teaching, configuration)?.counters);
        }
        rounds.push(round);
    }
    Ok(Measured {
        name: workload.name.clone(),
        transactions: reference.transactions.len(),
        skipped: reference.skipped.len(),
        gas: reference.header.gas_used,
        rounds: rounds.len(),
        sequential_ms: median(rounds.iter().map(|round| ms(&round[0]))),
        sequential_phases: phases(&rounds, 0),
        ceiling: options.profile.then(|| ceiling(workload)).transpose()?,
        rows: rows(&configurations, &rounds),
    })
}

/// How many times faster two cores are than one when they share no work, only the machine.
fn ceiling(workload: &Workload) -> Result<f64, Failure> {
    let mut ratios = Vec::with_capacity(CEILING_ROUNDS);
    for _ in 0..CEILING_ROUNDS {
        let alone = ms(&sequential(workload)?.counters);
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| sequential(workload));
            (sequential(workload), other.join())
        });
        let other = other.map_err(|_| format!("{}: panic", workload.name))?;
        ratios.push(2.0 * alone / ms(&one?.counters).max(ms(&other?.counters)));
    }
    Ok(median(ratios))
}

fn rows(configurations: &[Configuration], rounds: &[Vec<Counters>]) -> Vec<Row> {
    let row = |(index, &configuration): (usize, &Configuration)| {
        // The sequential run comes first in every round.
        let column = index + 1;
        #[allow(clippy::cast_precision_loss, reason = "counts of transactions")]
        let re_executions = median(rounds.iter().map(|round| round[column].re_executions as f64));
        Row {
            configuration,
            ms: median(rounds.iter().map(|round| ms(&round[column]))),
            ratio: median(rounds.iter().map(|round| ms(&round[0]) / ms(&round[column]))),
            re_executions,
            phases: phases(rounds, column),
            strategy: rounds.last().map_or_else(Strategy::default, |round| round[column].strategy),
        }
    };
    configurations.iter().enumerate().map(row).collect()
}

fn phases(rounds: &[Vec<Counters>], column: usize) -> PhasesMs {
    let of = |phase: fn(&Phases) -> Duration| {
        median(rounds.iter().map(|round| phase(&round[column].phases).as_secs_f64() * 1e3))
    };
    PhasesMs {
        plan: of(|phases| phases.plan),
        transactions: of(|phases| phases.transactions),
        waiting: of(|phases| phases.waiting),
        diff: of(|phases| phases.diff),
    }
}

/// Odd, so that the median is a run that took place.
fn enough(rounds: usize, started: Instant, options: &Options) -> bool {
    if let Some(exact) = options.rounds {
        return rounds >= exact;
    }
    let spent = started.elapsed() >= options.budget || rounds >= ROUNDS_MAX;
    rounds >= options.rounds_min && rounds % 2 == 1 && spent
}

fn ms(counters: &Counters) -> f64 {
    counters.phases.execution().as_secs_f64() * 1e3
}

fn sequential(workload: &Workload) -> Result<ExecutedBlock, Failure> {
    executed(workload, Mode::Sequential.into())
}

fn configured(
    workload: &Workload,
    teaching: &Teaching,
    configuration: Configuration,
) -> Result<ExecutedBlock, Failure> {
    let mode = match configuration.workers {
        Workers::Count(workers) => Mode::Parallel { workers },
        Workers::Automatic => Mode::Automatic,
    };
    let knowledge = teaching.knowledge(configuration.knowledge);
    let access_list = teaching.access_list(configuration.knowledge);
    let knowledge = Some(&knowledge);
    let options = ExecuteOptions { mode, knowledge, access_list, ..ExecuteOptions::default() };
    executed(workload, options)
}

fn executed(workload: &Workload, options: ExecuteOptions<'_>) -> Result<ExecutedBlock, Failure> {
    execute_with(&workload.state, &workload.input, options)
        .map_err(|error| format!("{}: {error}", workload.name))
}

/// A generated workload whose transactions fail measures something else than its name says.
fn check_reference(workload: &Workload, block: &ExecutedBlock) -> Result<(), Failure> {
    if !workload.must_succeed {
        return Ok(());
    }
    if let Some(skipped) = block.skipped.first() {
        return Err(format!("{}: skipped: {}", workload.name, skipped.reason));
    }
    match block.receipts.iter().position(|receipt| !receipt.success) {
        Some(index) => Err(format!("{}: transaction {index} failed", workload.name)),
        None => Ok(()),
    }
}

fn check_equal(
    workload: &Workload,
    configuration: Configuration,
    reference: &ExecutedBlock,
    block: &ExecutedBlock,
) -> Result<(), Failure> {
    let equal = block.hash == reference.hash
        && block.receipts == reference.receipts
        && block.diff == reference.diff
        && block.skipped == reference.skipped;
    if equal {
        return Ok(());
    }
    Err(format!(
        "{}: {configuration:?} gives another block than sequential execution: {} instead of {}",
        workload.name, block.hash, reference.hash
    ))
}
