//! The command line: what is measured, how often, and how it is printed.

use crate::{Failure, workload::Shape};

/// Text of `--help`.
pub(crate) const HELP: &str = "\
Measures the state root of a block: the arena beside alloy-trie's hash builder.

usage: make bench-state BENCH_ARGS=\"[OPTION]...\"

  --filter TEXT    only cases whose name contains TEXT, such as 1M/10000 or slots; the names are
                   accounts/1M/100 ... accounts/5M/10000, slots/1M/100 ... slots/1M/10000,
                   lists/txs/10 ... lists/receipts/1000
  --json           one JSON object a line on stdout
  --rounds N       N rounds (default 15)
  --quick          a look, not a measurement: 3 rounds, and no 5M
  --help           this text

cases
  accounts   every touched key is an account: 90 of 100 change, 8 are new, 2 go
  slots      every touched key is a slot: as above, in 1,000 contracts of 1,000 slots each, which are
             among the accounts
  lists      every touched key is a transaction or a receipt, and nothing was there before; the
             receipts' blooms are included, the backend is the detected one

how to read it
  ms           median time from the block's state diff to the root
  baseline_ms  the same changes with alloy-trie's hash builder: stored branch nodes and flat state in
               memory, a set of changed keys, unchanged subtrees taken over by their hash; one thread
  ratio        median over the rounds of baseline / arena
  build        the whole trie from flat state; its baseline is the hash builder over all leaves
";

/// What the command line says.
#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) filter: String,
    pub(crate) json: bool,
    pub(crate) rounds: usize,
    quick: bool,
}

impl Options {
    /// `None` when help is asked for.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, Failure> {
        let mut options = Self { filter: String::new(), json: false, rounds: 15, quick: false };
        while let Some(arg) = args.next() {
            let mut value =
                || args.next().ok_or_else(|| format!("{arg} needs a value; see --help"));
            match arg.as_str() {
                "--filter" => options.filter = value()?,
                "--json" => options.json = true,
                "--rounds" => {
                    let rounds = value()?.parse().ok().filter(|rounds| *rounds > 0);
                    options.rounds = rounds.ok_or("--rounds needs a number above 0; see --help")?;
                }
                "--quick" => (options.quick, options.rounds) = (true, 3),
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("unknown option {arg}; see --help")),
            }
        }
        Ok(Some(options))
    }

    /// The states to build: those with a case that is asked for.
    pub(crate) fn shapes(&self) -> Vec<Shape> {
        let shapes =
            Shape::ALL.into_iter().filter(|shape| !self.quick || shape.accounts < 5_000_000);
        let asked =
            |shape: &Shape| shape.touched().any(|touched| self.selects(&shape.name(touched)));
        shapes.filter(asked).collect()
    }

    pub(crate) fn selects(&self, name: &str) -> bool {
        name.contains(&self.filter)
    }
}
