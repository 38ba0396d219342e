//! The command line: what is measured, for how long, and how it is printed.
//!
//! Does not look at the machine but for its number of cores, which bounds the worker counts.

use crate::Failure;
use std::{num::NonZeroUsize, time::Duration};

/// Text of `--help`.
pub(crate) const HELP: &str = "\
Measures the executor: every workload sequentially, on 1, 2, 4, ... workers, and automatically.

usage: make bench-executor BENCH_ARGS=\"[OPTION]...\"

  --filter TEXT    only workloads whose name contains TEXT: `mainnet/`, `generated/uni`, `erc20_pair`
  --json           one JSON object a line on stdout; notes and summary go to stderr
  --rounds N       exactly N rounds for every workload
  --quick          a look, not a measurement: 3 rounds at least, and a tenth of the time
  --workers LIST   worker counts, such as 1,2,4; default: 1, 2, and 4, 8, 16 as far as cores reach
  --profile        also where the time went: plan, transactions (of it: waiting), state diff; and
                   what sequential execution loses when another core executes the same beside it
  --no-bounds      do not compute list scheduling bounds
  --help           this text

examples
  make bench-executor BENCH_ARGS=\"--quick\"                        everything, in a few minutes
  make bench-executor BENCH_ARGS=\"--filter mainnet/19933597\"      one block, properly
  make bench-executor BENCH_ARGS=\"--json\" >bench.jsonl            for a plot

how to read it
  ratio       sequential time / time, median over the rounds; above 1 is a win
  knowledge   what the executor knew beforehand: `cold` nothing, `other-blocks` what every other
              block of the family taught, `oracle` what this very block taught, `access-list`
              as other-blocks, and the block's access list comes with it (EIP-7928)
  redone      transactions executed more than once
  ceiling     2 x sequential time alone / beside another: what this machine's memory leaves of two
              cores, if nothing has to be shared
  bound       what N cores could reach at most with these transactions, their measured times and
              their true dependencies, if cores cost each other nothing
";

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) filter: String,
    pub(crate) json: bool,
    /// Exact number of rounds, if given.
    pub(crate) rounds: Option<usize>,
    pub(crate) rounds_min: usize,
    /// Rounds go on until a workload has used this much time.
    pub(crate) budget: Duration,
    pub(crate) workers: Vec<NonZeroUsize>,
    pub(crate) profile: bool,
    pub(crate) bounds: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            filter: String::new(),
            json: false,
            rounds: None,
            rounds_min: 7,
            budget: Duration::from_secs(5),
            workers: default_workers(),
            profile: false,
            bounds: true,
        }
    }
}

impl Options {
    /// `None` when help is asked for.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, Failure> {
        let mut options = Self::default();
        while let Some(arg) = args.next() {
            let mut value =
                || args.next().ok_or_else(|| format!("{arg} needs a value; see --help"));
            match arg.as_str() {
                "--filter" => options.filter = value()?,
                "--json" => options.json = true,
                "--rounds" => options.rounds = Some(number(&value()?)?.get()),
                "--quick" => {
                    options.rounds_min = 3;
                    options.budget /= 10;
                }
                "--workers" => {
                    options.workers = value()?.split(',').map(number).collect::<Result<_, _>>()?;
                }
                "--profile" => options.profile = true,
                "--no-bounds" => options.bounds = false,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("unknown option {arg}; see --help")),
            }
        }
        Ok(Some(options))
    }

    pub(crate) fn selects(&self, name: &str) -> bool {
        name.contains(&self.filter)
    }
}

fn number(text: &str) -> Result<NonZeroUsize, Failure> {
    text.parse().map_err(|_| format!("{text} is not a number above 0; see --help"))
}

/// Cores that this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// One and two always, so that results of different machines have rows in common.
fn default_workers() -> Vec<NonZeroUsize> {
    let counts = [1, 2, 4, 8, 16].into_iter().filter(|&count| count <= 2 || count <= cores());
    counts.filter_map(NonZeroUsize::new).collect()
}
