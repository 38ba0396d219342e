//! debug_executionWitness: what anybody needs to execute a block without its state.
//!
//! Executes the block again on the state before it and writes down what was read. Answers only when
//! that gives the stored block, so a witness that is served is one that works; where it gives another
//! one, the error says so. The shape is that of [`ExecutionWitness`].

use super::{
    block_id::{header, resolve, view},
    chain::{Chain, ChainError},
    context::RpcContext,
    error::{Disagreement, Limit, RpcError},
    jsonrpc::Params,
    table::{Answer, json},
};
use alloy::eips::BlockId;
use executor::{
    BlockEnv, BlockInput, ExecuteError, ExecutionWitness, Header, Mode, ViewError, record_witness,
};

/// Witnesses recorded at once. Each executes a whole block, on a core that the block builder wants
/// too, and holds its answer in memory; more are refused.
pub(super) const WITNESSES_MAX: usize = 2;

pub(super) fn execution_witness<C: Chain>(
    ctx: &RpcContext<C>,
    params: &Params<'_>,
) -> Result<Answer, RpcError> {
    let id: BlockId = params.required(0)?;
    let Ok(_turn) = ctx.witnesses.try_acquire() else {
        return Err(Limit::Witnesses(WITNESSES_MAX).into());
    };
    json(&record(ctx, resolve(ctx, Some(id))?)?)
}

/// The witness of block `number`.
fn record<C: Chain>(ctx: &RpcContext<C>, number: u64) -> Result<ExecutionWitness, RpcError> {
    let block = ctx.chain.block(number)?.ok_or(RpcError::HeaderNotFound)?;
    // Genesis has no block before it, and nothing executed it.
    let before = number.checked_sub(1).ok_or(RpcError::HeaderNotFound)?;
    let parent = header(ctx, before)?.0;
    let state = view(ctx, before)?;
    let rules = ctx.chain.rules().clone();
    let (prevrandao, timestamp) = (block.header.mix_hash, block.header.timestamp);
    let parent = (&parent, block.header.parent_hash);
    let env = BlockEnv::rollup(&rules, parent, prevrandao, timestamp);
    let input = BlockInput { rules, env, transactions: block.transactions };
    let mut failure: Option<ChainError> = None;
    let ancestor = |number| -> Option<Header> {
        let found = ctx.chain.header(number).map_err(|error| failure = Some(error)).ok()?;
        found.map(|(header, _)| header)
    };
    // In order: helpers may read what the block does not need.
    let recorded = record_witness(&state, &input, Mode::Sequential, ancestor);
    if let Some(error) = failure {
        return Err(error.into());
    }
    let (executed, witness) = recorded.map_err(|error| unrecorded(error, before))?;
    if executed.hash == block.hash {
        return Ok(witness);
    }
    let (sealed, executed_hash) = (block.hash, executed.hash);
    if header(ctx, number)?.1 != sealed {
        // The block was undone between two reads, and the state is another block's.
        return Err(RpcError::HeaderNotFound);
    }
    tracing::error!(number, %sealed, executed = %executed_hash, "a block executes to another one");
    let executed = alloy::rlp::encode(&executed.header).into();
    Err(RpcError::BlockDisagrees(Box::new(Disagreement { number, sealed, executed })))
}

/// What the block after an old one needs may be gone; that is no failure of the node.
fn unrecorded(error: ExecuteError, before: u64) -> RpcError {
    match error {
        ExecuteError::View(ViewError::MissingNode) => RpcError::StateUnavailable { number: before },
        ExecuteError::View(ViewError::MissingBlockHash(number)) => {
            RpcError::StateUnavailable { number }
        }
        error => error.into(),
    }
}
