//! What is measured: a state, a block on it, and a name.
//!
//! Owns which workloads there are and their order. How a file is read is the tests' loader's; how a
//! workload is made up is `generated`'s.

use crate::{Failure, files, generated, support};
use executor::{BlockInput, ExecuteError, MemoryState, Mode};

/// A block to execute, and the state before it.
pub(crate) struct Workload {
    pub(crate) name: String,
    pub(crate) state: MemoryState,
    pub(crate) input: BlockInput,
    /// Made up, so that a transaction that fails is a mistake of ours.
    pub(crate) must_succeed: bool,
}

impl Workload {
    pub(crate) fn of_file(name: String, file: &files::File) -> Self {
        let (state, input) = (files::state(file), files::input(file));
        Self { name, state, input, must_succeed: false }
    }
}

fn read(path: &str) -> Result<files::File, Failure> {
    let place = support::folder().join(path);
    files::read(path).ok_or_else(|| format!("no data at {}; set WEFT_DATA", place.display()))
}

/// The workload files, then the generated workloads, which take their contracts from them.
pub(crate) fn synthetic() -> Result<Vec<Workload>, Failure> {
    let mut workloads = Vec::new();
    for name in support::names("workloads")? {
        let file = read(&format!("workloads/{name}.json.xz"))?;
        workloads.push(Workload::of_file(name, &file));
    }
    let erc20 = read("workloads/erc20_pair.json.xz")?;
    let uniswap = read("workloads/uni_hot.json.xz")?;
    workloads.extend(generated::all(&erc20, &uniswap)?);
    Ok(workloads)
}

/// Blocks of Ethereum in ascending order. One whose rules the executor refuses is left out, visibly.
pub(crate) fn mainnet() -> Result<Vec<Workload>, Failure> {
    let names = support::names("mainnet-blocks")?;
    // The one name that is no number is a block over a witness: trie nodes, not a state like the
    // others', and a measurement of it would measure reading them.
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| name.parse().ok()).collect();
    numbers.sort_unstable();
    let mut workloads = Vec::new();
    for number in numbers {
        let file = read(&format!("mainnet-blocks/{number}.json.xz"))?;
        let workload = Workload::of_file(format!("mainnet/{number}"), &file);
        match executor::execute(&workload.state, &workload.input, Mode::Sequential) {
            Err(error @ ExecuteError::UnsupportedSpec { .. }) => {
                eprintln!("{}: not measured: {error}", workload.name);
            }
            Err(error) => return Err(format!("{}: {error}", workload.name)),
            Ok(_) => workloads.push(workload),
        }
    }
    Ok(workloads)
}
