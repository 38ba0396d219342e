//! What the executor knows before a block: nothing, what the other blocks taught, what the block
//! itself taught, or, beside what the others taught, the block's access list.
//!
//! A run teaches, so every run gets a copy. Copying is not timed: a node keeps its knowledge.

use crate::{Failure, measure::KnowledgeOf, workload::Workload};
use executor::{
    BlockAccessList, BlockInput, Knowledge, Mode, Options, access_list::access_list, execute_with,
};
use std::num::NonZeroUsize;

/// A block teaches by at most this many of its transactions, the first ones. It bounds the time for
/// teaching; every kind of transaction of the large workloads occurs among them many times.
const LESSON_TRANSACTIONS_MAX: usize = 1_000;

/// Enough to make the parallel engine run, which is what observes accesses.
const TEACHER: Mode = Mode::Parallel { workers: NonZeroUsize::new(2).unwrap() };

/// The states of knowledge that one workload is measured with.
#[derive(Debug)]
pub(crate) struct Teaching {
    others: Knowledge,
    this: Knowledge,
    list: BlockAccessList,
}

impl Teaching {
    /// Learns from every workload of the family in its order, but for one, which is the measured
    /// one; and from that one alone.
    pub(crate) fn leaving_out(family: &[Workload], measured: usize) -> Result<Self, Failure> {
        let others = Knowledge::default();
        for (index, workload) in family.iter().enumerate() {
            if index != measured {
                learn(&others, workload, LESSON_TRANSACTIONS_MAX)?;
            }
        }
        let this = Knowledge::default();
        let measured = &family[measured];
        learn(&this, measured, usize::MAX)?;
        Ok(Self { others, this, list: list(measured)? })
    }

    /// A fresh copy for one run.
    pub(crate) fn knowledge(&self, of: KnowledgeOf) -> Knowledge {
        match of {
            KnowledgeOf::Cold => Knowledge::default(),
            KnowledgeOf::OtherBlocks | KnowledgeOf::AccessList => self.others.clone(),
            KnowledgeOf::Oracle => self.this.clone(),
        }
    }

    /// The block's access list, where the executor is given one.
    pub(crate) fn access_list(&self, of: KnowledgeOf) -> Option<&BlockAccessList> {
        (of == KnowledgeOf::AccessList).then_some(&self.list)
    }
}

/// What a node that executed the block would hand out beside it.
fn list(workload: &Workload) -> Result<BlockAccessList, Failure> {
    let (state, input) = (&workload.state, &workload.input);
    let block = execute_with(state, input, Mode::Sequential.into());
    block
        .and_then(|block| access_list(state, input, &block))
        .map_err(|error| format!("{}: access list: {error}", workload.name))
}

fn learn(knowledge: &Knowledge, from: &Workload, transactions_max: usize) -> Result<(), Failure> {
    let options = Options { mode: TEACHER, knowledge: Some(knowledge), ..Options::default() };
    let taught = &from.input.transactions;
    let transactions = taught[..taught.len().min(transactions_max)].to_vec();
    let input =
        BlockInput { rules: from.input.rules.clone(), env: from.input.env.clone(), transactions };
    execute_with(&from.state, &input, options)
        .map(|_| ())
        .map_err(|error| format!("{}: {error}", from.name))
}
