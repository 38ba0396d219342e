//! The case `seal`: from the end of a block's slot, when its transactions are executed and durable in
//! mini-blocks, to the durable block, beside a node with neither root nor fold. Blocks come at a pace,
//! and their transactions are spread over it, so that the fold runs between and during them.
//!
//! The rounds of the two alternate. The one without extends the real chain's head again and again; the
//! fold rests meanwhile.

use crate::{
    Args,
    chain::{Chain, check_none_skipped, execute_in_mini_blocks, wait_until},
    report::{Report, Row},
    rootless::{LogOnly, RootlessView},
    statistics::{longest, median, milliseconds, percentile},
    traffic::Traffic,
};
use executor::{Changes, Execution, Knowledge, counters::Phases};
use sequencer::store::{ChainStore, ChainView, chain::ChainOptions};
use std::time::{Duration, Instant};

/// Target for the ratio of the 99th percentiles.
const TARGET_RATIO: f64 = 1.2;
/// Share of the time between blocks over which their transactions come.
const EXECUTION_PERCENT: u32 = 60;
/// When a slot ends, after its beginning, in percent of the same: the rest is for sealing, so that no
/// block begins late.
const SLOT_PERCENT: u32 = 70;
/// Blocks of a round before the clock runs.
const WARM_UP: u64 = 10;
/// Numbers of the transfers that stay in no chain begin here.
const ELSEWHERE: u64 = 1 << 40;

/// One block.
#[derive(Clone, Copy, Debug)]
struct Sample {
    /// From the end of the slot to the durable block.
    total: Duration,
    /// Of that, after sealing.
    commit: Duration,
    phases: Phases,
    touched: usize,
    /// Blocks in the log alone when it was executed: a view searches all of them.
    unfolded: u64,
}

impl Sample {
    fn new(started: Instant, sealed: Instant, (phases, touched): (Phases, usize)) -> Self {
        let now = Instant::now();
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
    /// A block of the real chain, whose transactions come over `time`.
    fn all(&mut self, time: Duration) -> anyhow::Result<Sample> {
        let transfers = self.traffic.transfers(self.store.head().number + 1);
        let input = self.chain.input(&self.store)?;
        let store = &self.store;
        let view = store.view()?;
        let unfolded = store.head().number - store.folded_head().number;
        store.begin_block(input.env.clone(), Changes::default());
        let each = |execution: &mut Execution<'_, ChainView>, first: usize| {
            // As the builder does, and below.
            let _hurry = store.hurry();
            store.foresee(&view, execution.touched());
            let changes = execution.changes()?;
            let (transactions, receipts) = execution.included();
            let part = (transactions[first..].to_vec(), receipts[first..].to_vec());
            Ok(store.extend_block(part, changes)?)
        };
        let schedule = (&self.knowledge, time * EXECUTION_PERCENT / 100);
        let slot_end = Instant::now() + time * SLOT_PERCENT / 100;
        let execution = execute_in_mini_blocks(&view, (input, &transfers), schedule, each)?;
        wait_until(slot_end);
        let started = Instant::now();
        let _hurry = store.hurry();
        let block = execution.seal()?;
        check_none_skipped(&block)?;
        let sealed = Instant::now();
        let (phases, touched) = (block.counters.phases, block.diff.accounts.len());
        store.seal(block)?;
        let sample = Sample::new(started, sealed, (phases, touched));
        drop(view);
        Ok(Sample { unfolded, ..sample })
    }

    /// A block of the node with neither root nor fold.
    fn without(&mut self, time: Duration) -> anyhow::Result<Sample> {
        self.elsewhere += 1;
        let transfers = self.traffic.transfers(self.elsewhere);
        let input = self.chain.input(&self.store)?;
        let view = RootlessView(self.store.view()?);
        let log = &self.log;
        let each = |execution: &mut Execution<'_, RootlessView>, first: usize| {
            execution.changes()?;
            log.extend(execution.env(), execution.included(), first)
        };
        let schedule = (&self.knowledge, time * EXECUTION_PERCENT / 100);
        let slot_end = Instant::now() + time * SLOT_PERCENT / 100;
        let execution = execute_in_mini_blocks(&view, (input, &transfers), schedule, each)?;
        wait_until(slot_end);
        let started = Instant::now();
        let block = execution.seal()?;
        check_none_skipped(&block)?;
        let sealed = Instant::now();
        self.log.commit(&block)?;
        let sample =
            Sample::new(started, sealed, (block.counters.phases, block.diff.accounts.len()));
        drop(view);
        self.traffic.take_back(self.elsewhere);
        self.log.drop_durable()?;
        Ok(sample)
    }

    /// Blocks of one kind at their pace.
    fn round(
        &mut self,
        (blocks, pace): (u64, Duration),
        mut block: impl FnMut(&mut Self, Duration) -> anyhow::Result<Sample>,
    ) -> anyhow::Result<Round> {
        let mut round = Round::default();
        let mut due = Instant::now();
        let mut folded = self.store.folded_head();
        for at in 0..blocks + WARM_UP {
            wait_until(due);
            let sample = block(self, pace)?;
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
