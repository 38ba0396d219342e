//! A stored block executed again while somebody watches its transactions.
//!
//! What is watched is compared with what is stored: a trace that is answered is of the transaction
//! as it was executed. Knows no tracer and no RPC shape.

use super::{
    block_id::{header, view},
    budget::{Budget, Limited, Recorded},
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    format::gas_used,
};
use crate::store::chain::StoredBlock;
use executor::{
    BlockEnv, ChainRules, ExecuteError, StateView, Transaction, ViewError,
    state::Overlay,
    trace::{Session, SessionContext, Watched},
};
use revm::{Inspector, context::BlockEnv as RevmBlock};
use std::{ops::Range, sync::Arc};

/// A block and the state before it.
pub(super) struct Past<V> {
    pub(super) block: StoredBlock,
    rules: Arc<ChainRules>,
    view: V,
}

/// A transaction that was watched, before its changes are settled.
pub(super) struct Seen<'s, 'v, V> {
    pub(super) transaction: &'s Transaction,
    /// Position in the block.
    pub(super) index: usize,
    pub(super) watched: &'s Watched,
    /// The state before it.
    pub(super) state: &'s Overlay<'v, V>,
    pub(super) env: &'s RevmBlock,
}

impl<V: StateView + Sync> Past<V> {
    /// Block `number` with the state before it.
    pub(super) fn load<C: Chain<View = V>>(
        ctx: &RpcContext<C>,
        number: u64,
    ) -> Result<Self, RpcError> {
        let block = ctx.chain.block(number)?.ok_or(RpcError::BlockNotFound { number })?;
        let before = number.checked_sub(1).ok_or(RpcError::GenesisNotTraceable)?;
        let view = view(ctx, before)?;
        if header(ctx, before)?.1 != block.header.parent_hash {
            // The block was undone between two reads.
            return Err(RpcError::BlockNotFound { number });
        }
        Ok(Self { block, rules: ctx.chain.rules().clone(), view })
    }

    /// The block with its first `count` transactions executed.
    pub(super) fn session(
        &self,
        count: usize,
        budget: &mut Budget,
    ) -> Result<Session<'_, V>, RpcError> {
        let env = BlockEnv::of_header(&self.block.header);
        let begun = Session::begin(&self.view, &self.rules, &env);
        let mut session = begun.map_err(|error| failed(error, budget))?;
        for transaction in self.block.transactions.iter().take(count) {
            budget.check()?;
            session.pass(transaction).map_err(|error| failed(error, budget))?;
        }
        Ok(session)
    }

    /// Executes the block up to the end of `range`, with an inspector from `begin` for each
    /// transaction of it, and makes something of each with `end`.
    pub(super) fn watch<'v, I, O>(
        &'v self,
        range: Range<usize>,
        budget: &mut Budget,
        mut begin: impl FnMut() -> Result<(I, Recorded), RpcError>,
        mut end: impl FnMut(I, Seen<'_, 'v, V>) -> Result<O, RpcError>,
    ) -> Result<Vec<O>, RpcError>
    where
        I: Inspector<SessionContext<'v, V>>,
    {
        let mut session = self.session(range.start, budget)?;
        let mut made = Vec::new();
        for index in range {
            let Some(transaction) = self.block.transactions.get(index) else { break };
            budget.check()?;
            let (mut inspector, recorded) = begin()?;
            let limited = Limited::new(&mut inspector, budget, recorded);
            let (after, reported) =
                session.watch(transaction, limited).map_err(|error| failed(error, budget))?;
            budget.check()?;
            session = after;
            let watched = reported.ok().filter(|watched| self.is_as_stored(index, watched));
            let watched = watched.ok_or_else(|| self.differs(index))?;
            let (state, env) = (session.state(), session.block());
            let seen = Seen { transaction, index, watched: &watched, state, env };
            made.push(end(inspector, seen)?);
            session.settle(watched.executed.state);
        }
        Ok(made)
    }

    fn is_as_stored(&self, index: usize, watched: &Watched) -> bool {
        let result = &watched.executed.result;
        let receipt = self.block.receipts.get(index);
        receipt.is_some_and(|receipt| receipt.success == result.is_success())
            && gas_used(&self.block.receipts, index) == result.tx_gas_used()
    }

    /// The state is another block's: the chain was rolled back meanwhile.
    fn differs(&self, index: usize) -> RpcError {
        let number = self.block.header.number;
        tracing::warn!(number, index, "a transaction replayed differently");
        RpcError::BlockNotFound { number }
    }
}

/// A hash outside BLOCKHASH's reach of an old state is no failure of the node.
pub(super) fn failed(error: ExecuteError, budget: &Budget) -> RpcError {
    match error {
        ExecuteError::View(ViewError::MissingBlockHash(number)) => {
            RpcError::StateUnavailable { number }
        }
        error => budget.error(error),
    }
}
