//! A run over many inputs: the order of work, a watchdog, progress, and what is kept of a failure.
//!
//! One thread, so that a run follows from its seed. A panic is caught; an input that takes too long is
//! taken for a hang and ends the process, because a hung thread cannot be ended otherwise. Either way the
//! input is written to a file.

use super::{
    dice::Dice,
    targets::{Seen, Target, World},
};
use alloy::primitives::{hex, keccak256};
use std::{
    cell::Cell,
    collections::BTreeSet,
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, mpsc},
    thread,
    time::{Duration, Instant},
};

/// An input that is still being run after so many looks, one each second, hangs. Not a time: a
/// process that was stopped for a while does not hang. The longest channel takes some seconds where
/// nothing is optimised.
const LOOKS_MAX: u32 = 20;
/// Inputs kept for their outcomes; more are not, so that a run's memory has a bound.
const KEPT_MAX: usize = 4_096;
/// Longest input that is kept, in bytes; mutations of longer ones would take most of a run.
const KEPT_BYTES_MAX: usize = 16_384;
/// Longest input that is small, and that is worth a file.
const SMALL_BYTES: usize = 2_048;

/// How long a run is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Budget {
    /// So many inputs beside the corpus.
    Inputs(u64),
    /// For so long.
    Time(Duration),
}

/// What to run.
#[derive(Clone, Debug)]
pub(crate) struct Campaign {
    pub(crate) target: Target,
    pub(crate) seed: u64,
    pub(crate) budget: Budget,
    /// Time between two lines of progress.
    pub(crate) progress: Option<Duration>,
    /// Where a failing input is written.
    pub(crate) directory: PathBuf,
    /// Where the shortest input of each outcome is written: what a corpus is chosen from.
    pub(crate) keep: Option<PathBuf>,
}

/// What a run saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) inputs: u64,
    pub(crate) outcomes: BTreeSet<String>,
    /// The longest time an input took.
    pub(crate) slowest: Duration,
    /// The most memory an input took.
    pub(crate) peak_bytes: usize,
    /// The most that an input of at most 2 KiB took, and that input's length.
    pub(crate) small: (usize, usize),
}

/// What runs an input, and says what came out or what must not have.
type Check<'c> = &'c (dyn Fn(&World, &[u8]) -> Result<Seen, String> + Sync);

/// An input with an outcome that must not be.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) file: PathBuf,
    pub(crate) what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\nkept in {}", self.what, self.file.display())
    }
}

thread_local! {
    /// Whether a panic on this thread is caught and reported.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// What the watchdog sees.
#[derive(Debug, Default)]
struct Now {
    input: Option<Vec<u8>>,
    inputs: u64,
    outcomes: usize,
}

impl Campaign {
    /// Replays the corpus, then draws; the counts, or the first failure.
    pub(crate) fn run(&self) -> Result<Tally, Finding> {
        let target = self.target;
        self.run_with(&move |world: &World, input: &[u8]| target.check(world, input))
    }

    /// The same with another check, for a test of the machinery itself.
    pub(crate) fn run_with(&self, check: Check<'_>) -> Result<Tally, Finding> {
        quiet_panics();
        let (done, is_done) = mpsc::channel::<()>();
        let now = Mutex::new(Now::default());
        thread::scope(|scope| {
            scope.spawn({
                let now = &now;
                move || self.watch(now, &is_done)
            });
            let result = self.work(&now, check);
            drop(done);
            result
        })
    }

    fn work(&self, now: &Mutex<Now>, check: Check<'_>) -> Result<Tally, Finding> {
        let world = World::new();
        let (mut tally, mut known) = (Tally::default(), self.target.corpus(&world));
        let corpus_length = known.len();
        for input in &known {
            self.one(now, &mut tally, input, |input| check(&world, input))?;
        }
        let mut dice = Dice::new(self.seed, self.target as u64);
        let (started, mut drawn) = (Instant::now(), 0);
        while self.goes_on(drawn, started) {
            // The latest are as likely as the rest together: what is new is mutated further.
            let first = if dice.chance(50) { known.len() - known.len() / 4 } else { 0 };
            let first = first.min(known.len() - 1);
            let at = first + dice.index(known.len() - first);
            let other = dice.index(known.len());
            let input = self.target.draw(&world, &known[at], &known[other], &mut dice);
            drawn += 1;
            let is_new = self.one(now, &mut tally, &input, |input| check(&world, input))?;
            let has_room = known.len() - corpus_length < KEPT_MAX;
            if is_new && has_room && input.len() <= KEPT_BYTES_MAX {
                known.push(input);
            }
        }
        Ok(tally)
    }

    fn goes_on(&self, drawn: u64, started: Instant) -> bool {
        match self.budget {
            Budget::Inputs(inputs) => drawn < inputs,
            Budget::Time(time) => started.elapsed() < time,
        }
    }

    /// Runs one input; whether its outcome is new.
    fn one(
        &self,
        now: &Mutex<Now>,
        tally: &mut Tally,
        input: &[u8],
        check: impl Fn(&[u8]) -> Result<Seen, String>,
    ) -> Result<bool, Finding> {
        let began = Instant::now();
        now.lock().unwrap().input = Some(input.to_vec());
        GUARDED.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| check(input)));
        GUARDED.set(false);
        let what = match result {
            Ok(Ok(seen)) => {
                if let Some(folder) = &self.keep {
                    collect(folder, self.target, input, &seen.outcome);
                }
                let is_new = tally.add(input.len(), seen, began.elapsed());
                let outcomes = tally.outcomes.len();
                *now.lock().unwrap() = Now { input: None, inputs: tally.inputs, outcomes };
                return Ok(is_new);
            }
            Ok(Err(what)) => what,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                format!("panic: {}", text.unwrap_or_default())
            }
        };
        Err(Finding { file: write(&self.directory, self.target, input), what })
    }

    /// Looks every second whether an input hangs, and says now and then how far the run is.
    fn watch(&self, now: &Mutex<Now>, is_done: &mpsc::Receiver<()>) {
        let (started, mut said) = (Instant::now(), Instant::now());
        let (mut seen, mut looks) = (0, 0);
        let second = Duration::from_secs(1);
        while is_done.recv_timeout(second) == Err(mpsc::RecvTimeoutError::Timeout) {
            let now = now.lock().unwrap();
            looks = if now.input.is_some() && now.inputs == seen { looks + 1 } else { 0 };
            seen = now.inputs;
            if let Some(input) = now.input.as_ref().filter(|_| looks >= LOOKS_MAX) {
                let file = write(&self.directory, self.target, input);
                println!("no outcome in {LOOKS_MAX} s, kept in {}", file.display());
                std::process::abort();
            }
            if self.progress.is_some_and(|pause| said.elapsed() >= pause) {
                said = Instant::now();
                let rate = now.inputs as f64 / started.elapsed().as_secs_f64();
                let (inputs, outcomes) = (now.inputs, now.outcomes);
                println!("{inputs} inputs, {rate:.0} per second, {outcomes} outcomes");
            }
        }
    }
}

impl Tally {
    /// Whether the outcome is new.
    fn add(&mut self, input_bytes: usize, seen: Seen, time: Duration) -> bool {
        self.inputs += 1;
        self.slowest = self.slowest.max(time);
        self.peak_bytes = self.peak_bytes.max(seen.peak_bytes);
        if input_bytes <= SMALL_BYTES && seen.peak_bytes > self.small.0 {
            self.small = (seen.peak_bytes, input_bytes);
        }
        self.outcomes.insert(seen.outcome)
    }
}

/// Writes an input to a file, as the corpus has them.
fn write(directory: &Path, target: Target, input: &[u8]) -> PathBuf {
    let name = format!("{}-{}", target.name(), hex::encode(&keccak256(input)[..6]));
    let file = directory.join(name);
    fs::create_dir_all(directory).unwrap();
    fs::write(&file, input).unwrap();
    file
}

/// Writes a small input to a file of its outcome's name, if none has a shorter one.
fn collect(directory: &Path, target: Target, input: &[u8], outcome: &str) {
    let words = outcome.split('@').next().unwrap_or_default().to_lowercase();
    let words: Vec<&str> = words.split(|c: char| !c.is_alphanumeric()).collect();
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    let file = directory.join(format!("{}-{}", target.name(), words.join("-")));
    let is_shorter = |length: u64| (input.len() as u64) < length;
    let is_best = fs::metadata(&file).map_or(true, |it| is_shorter(it.len()));
    if is_best && input.len() <= SMALL_BYTES {
        fs::create_dir_all(directory).unwrap();
        fs::write(&file, input).unwrap();
    }
}

/// A panic inside a check is caught and reported; one anywhere else is shown.
fn quiet_panics() {
    static ONCE: OnceLock<()> = OnceLock::new();
    ONCE.get_or_init(|| {
        let shown = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !GUARDED.get() {
                shown(panic);
            }
        }));
    });
}
