//! A run over many inputs: the order of work, a watchdog, progress, and what is kept of a failure.
//!
//! One thread, so that a run follows from its seed. A panic is caught; an input that takes too long
//! is taken for a hang and ends the process, because a hung thread cannot be ended otherwise. Either
//! way the input is written to a file.

use super::{dice::Dice, targets::Target, world::World};
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
/// process that was stopped for a while does not hang. The longest call is some tenths of a second.
const LOOKS_MAX: u32 = 20;
/// Inputs kept for their outcomes; more are not, so that a run's memory has a bound.
const KEPT_MAX: usize = 4_096;
/// Longest input that is kept, in bytes; mutations of longer ones would take most of a run.
const KEPT_BYTES_MAX: usize = 16_384;
/// Stack of the thread that runs inputs, in bytes: what tokio gives a blocking thread.
const STACK_BYTES: usize = 2 * 1024 * 1024;

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
}

/// What a run saw.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) inputs: u64,
    pub(crate) outcomes: BTreeSet<String>,
    /// The longest time an input took.
    pub(crate) slowest: Duration,
}

/// What runs an input, and says what came out or what must not have.
type Check<'c> = &'c (dyn Fn(&World, &[u8]) -> Result<String, String> + Sync);

/// An input with an outcome that must not be.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    pub(crate) file: PathBuf,
    pub(crate) what: String,
    input: Vec<u8>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.what)?;
        writeln!(f, "input: {}", String::from_utf8_lossy(&self.input).escape_debug())?;
        write!(f, "kept in {}", self.file.display())
    }
}

thread_local! {
    /// Whether a panic on this thread is caught and reported.
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

impl Campaign {
    /// Replays the corpus, then draws; the counts, or the first failure.
    pub(crate) fn run(&self) -> Result<Tally, Finding> {
        let target = self.target;
        let check = move |world: &World, input: &[u8]| target.check(world, input);
        self.run_with(&check)
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
            let worker = thread::Builder::new().stack_size(STACK_BYTES);
            let result = worker.spawn_scoped(scope, || self.work(&now, check));
            let result = result.unwrap().join().unwrap();
            drop(done);
            result
        })
    }

    fn work(&self, now: &Mutex<Now>, check: Check<'_>) -> Result<Tally, Finding> {
        let world = World::new();
        let (mut tally, mut known) = (Tally::default(), self.target.corpus());
        let corpus_length = known.len();
        for input in &known {
            self.one(now, &mut tally, input, |input| check(&world, input))?;
        }
        let mut dice = Dice::new(self.seed, self.target as u64);
        let (started, mut drawn) = (Instant::now(), 0);
        while self.goes_on(drawn, started) {
            // The latest are as likely as the rest together: what is new is mutated further.
            let first = if dice.chance(50) { known.len() - known.len() / 4 } else { 0 };
            let at =
                first.min(known.len() - 1) + dice.index(known.len() - first.min(known.len() - 1));
            let other = dice.index(known.len());
            let input = self.target.draw(&world, &known[at], &known[other], &mut dice);
            drawn += 1;
            let is_new = self.one(now, &mut tally, &input, |input| check(&world, input))?;
            if is_new && known.len() - corpus_length < KEPT_MAX && input.len() <= KEPT_BYTES_MAX {
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
        check: impl Fn(&[u8]) -> Result<String, String>,
    ) -> Result<bool, Finding> {
        let began = Instant::now();
        now.lock().unwrap().begin(input);
        GUARDED.set(true);
        let result = catch_unwind(AssertUnwindSafe(|| check(input)));
        GUARDED.set(false);
        tally.inputs += 1;
        now.lock().unwrap().end(tally);
        tally.slowest = tally.slowest.max(began.elapsed());
        let what = match result {
            Ok(Ok(outcome)) => return Ok(tally.outcomes.insert(outcome)),
            Ok(Err(what)) => what,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                format!("panic: {}", text.unwrap_or_default())
            }
        };
        let file = keep(&self.directory, self.target, input);
        Err(Finding { file, what, input: input.to_vec() })
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
                let file = keep(&self.directory, self.target, input);
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

/// What the watchdog sees.
#[derive(Debug, Default)]
struct Now {
    input: Option<Vec<u8>>,
    inputs: u64,
    outcomes: usize,
}

impl Now {
    fn begin(&mut self, input: &[u8]) {
        self.input = Some(input.to_vec());
    }

    fn end(&mut self, tally: &Tally) {
        (self.input, self.inputs, self.outcomes) = (None, tally.inputs, tally.outcomes.len());
    }
}

/// Writes an input to a file, as a line of the corpus.
fn keep(directory: &Path, target: Target, input: &[u8]) -> PathBuf {
    let name = format!("{}-{}.txt", target.name(), hex::encode(&keccak256(input)[..6]));
    let file = directory.join(name);
    fs::create_dir_all(directory).unwrap();
    fs::write(&file, format!("{}\n", hex::encode_prefixed(input))).unwrap();
    file
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
