//! A run over many blocks: threads, a watchdog, progress, and what is said when a block differs.
//!
//! Owns the order of work and the clock. Each thread takes a group of blocks at a time; which thread
//! does not matter, a block follows from the seed and its index. A block that takes too long is taken
//! for a hang, and ends the process: a hung thread cannot be ended otherwise.

use super::{
    compare,
    scenario::{Block, GROUP, Scenario},
    tally::Tally,
};
use executor::{Knowledge, Transaction};
use std::{
    fmt,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// A block that is still being executed after so many looks, one each second, hangs. Not a time: a
/// process that was stopped for a while does not hang.
const LOOKS_MAX: u32 = 60;

/// What to run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Campaign {
    /// Seed.
    pub(crate) seed: u64,
    /// Blocks from index zero on.
    pub(crate) blocks: u64,
    /// This block alone, after those of its group that come before it.
    pub(crate) only: Option<u64>,
    /// Threads.
    pub(crate) threads: usize,
    /// Time between two lines of progress.
    pub(crate) progress: Option<Duration>,
}

/// A block in which some mode does not equal the reference.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    seed: u64,
    block: u64,
    compared: u64,
    difference: String,
    transactions: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.transactions)?;
        writeln!(f, "{}", self.difference)?;
        writeln!(f, "difference at block {} after {} blocks", self.block, self.compared)?;
        write!(f, "again: --seed {} --block {}", self.seed, self.block)
    }
}

/// What the threads share.
struct Work {
    campaign: Campaign,
    next: AtomicU64,
    compared: AtomicU64,
    stopped: AtomicBool,
    finding: Mutex<Option<Finding>>,
    /// Per thread: the block in execution.
    now: Vec<Mutex<Option<u64>>>,
}

impl Campaign {
    /// Runs; the counts, or the first difference that was found.
    pub(crate) fn run(self) -> Result<Tally, Finding> {
        quiet_panics();
        let work = Work {
            campaign: self,
            next: AtomicU64::new(self.only.unwrap_or(0) / GROUP),
            compared: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            finding: Mutex::default(),
            now: (0..self.threads).map(|_| Mutex::default()).collect(),
        };
        let (done, is_done) = mpsc::channel::<()>();
        let mut tally = Tally::default();
        thread::scope(|scope| {
            scope.spawn(|| work.watch(is_done));
            let workers: Vec<_> = (0..self.threads)
                .map(|index| {
                    scope.spawn({
                        let work = &work;
                        move || work.work(index)
                    })
                })
                .collect();
            workers.into_iter().for_each(|worker| tally.add(worker.join().unwrap()));
            drop(done);
        });
        let finding = work.finding.lock().unwrap().take();
        finding.map_or(Ok(tally), Err)
    }

    fn end(&self) -> u64 {
        self.only.map_or(self.blocks, |block| block + 1)
    }
}

impl Work {
    fn work(&self, thread: usize) -> Tally {
        let mut tally = Tally::default();
        while !self.stopped.load(Ordering::Relaxed) {
            let group = self.next.fetch_add(1, Ordering::Relaxed);
            if group * GROUP >= self.campaign.end() {
                break;
            }
            if let Err(finding) = self.group(group, thread, &mut tally) {
                self.stopped.store(true, Ordering::Relaxed);
                self.finding.lock().unwrap().get_or_insert(finding);
            }
        }
        tally
    }

    fn group(&self, group: u64, thread: usize, tally: &mut Tally) -> Result<(), Finding> {
        let seed = self.campaign.seed;
        let knowledge = Knowledge::default();
        let mut scenario = Scenario::new(seed, group);
        for index in group * GROUP..((group + 1) * GROUP).min(self.campaign.end()) {
            *self.now[thread].lock().unwrap() = Some(index);
            let block = scenario.draw();
            // What is drawn next must not depend on how much of the comparison was reached.
            let mut dice = super::dice::Dice::new(seed ^ index, scenario.dice().next());
            let state = &scenario.world().state;
            let result = compare::in_every_mode(state, &block, &knowledge, &mut dice);
            let compared = self.compared.fetch_add(1, Ordering::Relaxed) + 1;
            *self.now[thread].lock().unwrap() = None;
            let result = result.map_err(|difference| Finding {
                seed,
                block: index,
                compared,
                difference,
                transactions: listing(&block),
            })?;
            tally.block(&block, state, result.as_ref().ok());
            if let Ok(executed) = result {
                scenario.follow(&executed);
            }
        }
        Ok(())
    }

    /// Looks every second whether a block hangs, and says now and then how far the run is.
    fn watch(&self, is_done: mpsc::Receiver<()>) {
        let started = Instant::now();
        let mut said = started;
        let second = Duration::from_secs(1);
        let mut looks = vec![(None, 0); self.now.len()];
        while is_done.recv_timeout(second) == Err(mpsc::RecvTimeoutError::Timeout) {
            for (now, (seen, looks)) in self.now.iter().zip(&mut looks) {
                let now = *now.lock().unwrap();
                *looks = if now == *seen { *looks + 1 } else { 0 };
                *seen = now;
                if let Some(block) = now.filter(|_| *looks >= LOOKS_MAX) {
                    let seed = self.campaign.seed;
                    println!("difference at block {block}: no result in {LOOKS_MAX} s");
                    println!("again: --seed {seed} --block {block}");
                    std::process::abort();
                }
            }
            if self.campaign.progress.is_some_and(|pause| said.elapsed() >= pause) {
                said = Instant::now();
                let compared = self.compared.load(Ordering::Relaxed);
                let rate = compared as f64 / started.elapsed().as_secs_f64();
                println!("{compared} blocks, {rate:.0} per second");
            }
        }
    }
}

/// A panic inside an execution is caught and reported as a difference; one anywhere else is shown.
fn quiet_panics() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !compare::is_guarded() {
                shown(panic);
            }
        }));
    });
}

/// The transactions of a block, a line each.
fn listing(block: &Block) -> String {
    let line = |(index, (transaction, pattern)): (usize, (&Transaction, &&str))| {
        format!(
            "{index:>4} {pattern:<13} type {} from {} nonce {} to {:?} value {} gas {} input {}\n",
            transaction.ty(),
            transaction.sender(),
            transaction.nonce(),
            transaction.kind().to(),
            transaction.value(),
            transaction.gas_limit(),
            transaction.input(),
        )
    };
    let transactions = block.input.transactions.iter().zip(&block.patterns).enumerate();
    let lines: String = transactions.map(line).collect();
    let (rules, env) = (&block.input.rules, &block.input.env);
    format!("{lines}{rules:?}\n{env:?}\nunreadable: {:?}", block.unreadable)
}
