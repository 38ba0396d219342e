//! The case `seal`: from the last transaction executed to the durable block, beside a node with neither
//! root nor fold. Blocks come at a pace, so that the fold runs between and during them.
//!
//! The rounds of the two alternate. The one without extends the real chain's head again and again; the
//! fold rests meanwhile.

use crate::{
    Args,
    chain::{Chain, check_none_skipped, execute_in_chunks, wait_until},
    report::{Report, Row},
    rootless::{LogOnly, RootlessView},
    statistics::{longest, median, milliseconds, percentile},
    traffic::Traffic,
};
use executor::{ExecutedBlock, Execution, Knowledge, counters::Phases};
use sequencer::store::{ChainStore, ChainView, chain::ChainOptions};
use std::time::{Duration, Instant};

/// Target for the ratio of the 99th percentiles.
const TARGET_RATIO: f64 = 1.2;
/// Blocks of a round before the clock runs.
const WARM_UP: u64 = 10;
/// Numbers of the transfers that stay in no chain begin here.
const ELSEWHERE: u64 = 1 << 40;

/// One block.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// From the last transaction to the durable block.
    total: Duration,
    /// Of that, after sealing.
    commit: Duration,
    phases: Phases,
    touched: usize,
    /// Blocks in the log alone when it was executed: a view searches all of them.
    unfolded: u64,
}

impl Sample {
    fn new(started: Instant, sealed: Instant, block: &ExecutedBlock) -> Self {
        let now = Instant::now();
        let (phases, touched) = (block.counters.phases, block.diff.accounts.len());
        Self { total: now - started, commit: now - sealed, phases, touched, unfolded: 0 }
    }
}

/// A part of a block's time.
type Part = fn(&Sample) -> Duration;

/// The blocks of a round.
#[derive(Debug, Default)]
struct Round {
    samples: Vec<Sample>,
    /// Changes of the file's head that were seen.
    folds: usize,
    /// Blocks that began after their time.
    late: usize,
}

impl Round {
    /// A percentile of one part of the blocks' time.
    fn percentile(&self, percent: usize, part: Part) -> f64 {
        percentile(self.samples.iter().map(|sample| milliseconds(part(sample))), percent)
    }
}

struct Bench<'c> {
    chain: &'c Chain,
    store: ChainStore,
    log: LogOnly,
    traffic: Traffic,
    knowledge: Knowledge,
    elsewhere: u64,
}

impl Bench<'_> {
    /// A block of the real chain.
    fn all(&mut self) -> anyhow::Result<Sample> {
        let transfers = self.traffic.transfers(self.store.head().number + 1);
        let input = self.chain.input(&self.store)?;
        // As the builder does, and below.
        let _hurry = self.store.hurry();
        let view = self.store.view()?;
        let unfolded = self.store.head().number - self.store.folded_head().number;
        let look = |execution: &mut Execution<'_, ChainView>| {
            self.store.foresee(&view, execution.touched());
        };
        let execution = execute_in_chunks(&view, (input, &transfers), &self.knowledge, look)?;
        let started = Instant::now();
        let block = execution.seal()?;
        drop(view);
        let sealed = Instant::now();
        self.store.commit(&block)?;
        let sample = Sample { unfolded, ..Sample::new(started, sealed, &block) };
        check_none_skipped(&block)?;
        Ok(sample)
    }

    /// A block of the node with neither root nor fold.
    fn without(&mut self) -> anyhow::Result<Sample> {
        self.elsewhere += 1;
        let transfers = self.traffic.transfers(self.elsewhere);
        let input = self.chain.input(&self.store)?;
        let view = RootlessView(self.store.view()?);
        let execution = execute_in_chunks(&view, (input, &transfers), &self.knowledge, |_| {})?;
        let started = Instant::now();
        let block = execution.seal()?;
        drop(view);
        let sealed = Instant::now();
        self.log.commit(&block)?;
        let sample = Sample::new(started, sealed, &block);
        check_none_skipped(&block)?;
        self.traffic.take_back(self.elsewhere);
        self.log.drop_durable()?;
        Ok(sample)
    }

    /// Blocks of one kind at their pace.
    fn round(
        &mut self,
        (blocks, pace): (u64, Duration),
        mut block: impl FnMut(&mut Self) -> anyhow::Result<Sample>,
    ) -> anyhow::Result<Round> {
        let mut round = Round::default();
        let mut due = Instant::now();
        let mut folded = self.store.folded_head();
        for at in 0..blocks + WARM_UP {
            wait_until(due);
            let sample = block(self)?;
            let is_warm = at >= WARM_UP;
            if is_warm {
                round.samples.push(sample);
            }
            let now = self.store.folded_head();
            round.folds += usize::from(is_warm && now != folded);
            folded = now;
            due += pace;
            if due < Instant::now() {
                round.late += usize::from(is_warm);
                due = Instant::now();
            }
        }
        Ok(round)
    }
}

/// Measures the case.
pub(crate) fn measure(chain: &Chain, args: &Args, report: &Report) -> anyhow::Result<()> {
    let store = chain.open(ChainOptions::default())?;
    let log = LogOnly::open(&chain.directory().join("without"))?;
    let (traffic, knowledge) = (chain.traffic(&store), Knowledge::default());
    let mut bench = Bench { chain, store, log, traffic, knowledge, elsewhere: ELSEWHERE };
    let pace = (args.blocks, Duration::from_millis(args.block_ms));
    let (mut all, mut without) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds.max(1) {
        all.push(bench.round(pace, Bench::all)?);
        bench.store.fold_all()?;
        without.push(bench.round(pace, Bench::without)?);
    }
    print(chain, (&all, &without), args.block_ms, report);
    Ok(())
}

/// Every part's median and 99th percentile, and what else happened.
fn print(chain: &Chain, (all, without): (&[Round], &[Round]), block_ms: u64, report: &Report) {
    let touched = all.iter().flat_map(|round| &round.samples).map(|sample| sample.touched as f64);
    let touched = Some(median(touched) as u64);
    let parts: [(&str, Part); 5] = [
        ("seal", |sample| sample.total),
        ("seal-diff", |sample| sample.phases.diff),
        ("seal-roots", |sample| sample.phases.roots),
        ("seal-commit", |sample| sample.commit),
        ("before-transactions", |sample| sample.phases.transactions + sample.phases.plan),
    ];
    for (part, time) in parts {
        for percent in [50, 99] {
            let over = |rounds: &[Round]| {
                median(rounds.iter().map(|round| round.percentile(percent, time)))
            };
            let case = format!("{part}-p{percent}");
            let (ms, baseline_ms) = (over(all), Some(over(without)));
            report.row(&Row { case: &case, accounts: chain.accounts, touched, ms, baseline_ms });
        }
    }
    let p99 = |round: &Round| round.percentile(99, |sample| sample.total);
    let ratios = all.iter().zip(without).map(|(all, without)| p99(all) / p99(without));
    report.say(&format!(
        "    seal: median of the rounds' ratios at p99 {:.2} (target <= {TARGET_RATIO}); \
         the transactions before it are not part of it",
        median(ratios)
    ));
    for (round, without) in all.iter().zip(without) {
        let most =
            |round: &Round| longest(round.samples.iter().map(|sample| milliseconds(sample.total)));
        let unfolded = |round: &Round| -> Vec<f64> {
            round.samples.iter().map(|sample| sample.unfolded as f64).collect()
        };
        report.say(&format!(
            "    round of {} blocks, one in {block_ms} ms: p99 {:.2} ms beside {:.2}, longest {:.2} \
             beside {:.2}; {} folds seen, {:.0} blocks unfolded at p50 and {:.0} at most; {} blocks \
             late beside {}",
            round.samples.len(),
            p99(round),
            p99(without),
            most(round),
            most(without),
            round.folds,
            median(unfolded(round)),
            longest(unfolded(round)),
            round.late,
            without.late
        ));
    }
}
