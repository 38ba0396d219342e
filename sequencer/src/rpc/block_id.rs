//! From a block parameter to a height, a state and an environment.
//!
//! The parameter is optional everywhere (default latest) and may be an EIP-1898 object.

use super::{chain::Chain, context::RpcContext, error::RpcError};
use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::B256,
};
use executor::Header;

/// Height of a tag or number; may be above the head.
pub(super) fn number_of<C: Chain>(ctx: &RpcContext<C>, tag: BlockNumberOrTag) -> u64 {
    let heads = ctx.chain.heads();
    match tag {
        BlockNumberOrTag::Latest | BlockNumberOrTag::Pending => heads.latest,
        BlockNumberOrTag::Safe => heads.safe,
        BlockNumberOrTag::Finalized => heads.finalized,
        BlockNumberOrTag::Earliest => 0,
        BlockNumberOrTag::Number(number) => number,
    }
}

/// Height of an existing block, for calls that need it. Pending means the newest one here; what knows
/// more of it asks [`state`].
pub(super) fn resolve<C: Chain>(ctx: &RpcContext<C>, id: Option<BlockId>) -> Result<u64, RpcError> {
    match id.unwrap_or_default() {
        BlockId::Number(tag) => {
            let number = number_of(ctx, tag);
            if number > ctx.chain.heads().latest {
                return Err(RpcError::HeaderNotFound);
            }
            Ok(number)
        }
        BlockId::Hash(hash) => {
            ctx.chain.block_number(hash.block_hash)?.ok_or(RpcError::HashNotFound)
        }
    }
}

/// Height of a block that may not exist, for calls that then answer null.
pub(super) fn find<C: Chain>(ctx: &RpcContext<C>, id: BlockId) -> Result<Option<u64>, RpcError> {
    match resolve(ctx, Some(id)) {
        Ok(number) => Ok(Some(number)),
        Err(RpcError::HeaderNotFound | RpcError::HashNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

/// State that a block parameter names: after a block, or pending.
pub(super) fn state<C: Chain>(
    ctx: &RpcContext<C>,
    id: Option<BlockId>,
) -> Result<C::View, RpcError> {
    if id.is_some_and(|id| id.is_pending()) {
        return pending_view(ctx);
    }
    view(ctx, resolve(ctx, id)?)
}

/// State after what the open block has executed so far, or after the newest block.
pub(super) fn pending_view<C: Chain>(ctx: &RpcContext<C>) -> Result<C::View, RpcError> {
    ctx.chain.pending_view()?.ok_or(RpcError::HeaderNotFound)
}

/// State after a block.
pub(super) fn view<C: Chain>(ctx: &RpcContext<C>, number: u64) -> Result<C::View, RpcError> {
    match ctx.chain.view(number)? {
        Some(view) => Ok(view),
        None => Err(unavailable(ctx, number)),
    }
}

/// The error for a state that is not there any more, or not with its trie.
pub(super) fn unavailable<C: Chain>(ctx: &RpcContext<C>, number: u64) -> RpcError {
    match ctx.chain.first_state() {
        Ok(first) if number < first => RpcError::StatePruned { number, first },
        Ok(_) => RpcError::StateUnavailable { number },
        Err(error) => error.into(),
    }
}

/// Header and hash of an existing block.
pub(super) fn header<C: Chain>(
    ctx: &RpcContext<C>,
    number: u64,
) -> Result<(Header, B256), RpcError> {
    ctx.chain.header(number)?.ok_or(RpcError::HeaderNotFound)
}
