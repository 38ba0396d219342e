//! eth_callMany: bundles of calls, each of which sees what those before it did; Erigon's method.

use super::{
    block_id::{header, resolve, view},
    budget::{Budget, Limited, Recorded, TRACE_TIME, json_within, turn},
    call::{failure_of, to_call},
    chain::Chain,
    context::RpcContext,
    error::{Refusal, RpcError},
    jsonrpc::Params,
    overrides,
    replay::{Past, failed},
    table::Answer,
};
use alloy::rpc::types::{
    Bundle, EthCallResponse, StateContext, TransactionIndex, TransactionRequest,
    state::StateOverride,
};
use executor::{
    BlockEnv, ChainRules, StateView, call::CALL_GAS_MAX, state::Overlay, trace::Session,
};
use revm::inspector::NoOpInspector;

type Reply = Result<Answer, RpcError>;
type Responses = Vec<Vec<EthCallResponse>>;

/// `[bundles, state context, state overrides]`. The transaction index is the number of the block's
/// transactions that come before; -1, the default, is all of them.
pub(super) fn call_many<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let bundles: Vec<Bundle> = params.required(0)?;
    let place: StateContext = params.optional(1)?.unwrap_or_default();
    let state: Option<StateOverride> = params.optional(2)?;
    let number = resolve(ctx, place.block_number)?;
    let (_turn, mut budget) = turn(ctx, TRACE_TIME)?;
    let env = BlockEnv::of_header(&header(ctx, number)?.0);
    let rules = ctx.chain.rules();
    let responses = match place.transaction_index.unwrap_or_default() {
        TransactionIndex::All => {
            let view = view(ctx, number)?;
            run(Overlay::new(&view), (rules, env), (bundles, state), &mut budget)?
        }
        TransactionIndex::Index(count) => {
            let past = Past::load(ctx, number)?;
            if count > past.block.transactions.len() {
                return Err(Refusal::TransactionIndex.into());
            }
            let overlay = past.session(count, &mut budget)?.into_state();
            run(overlay, (rules, env), (bundles, state), &mut budget)?
        }
    };
    json_within(&responses)
}

/// Each bundle is a block higher than the one before.
fn run<V: StateView + Sync>(
    mut overlay: Overlay<'_, V>,
    (rules, mut env): (&ChainRules, BlockEnv),
    (bundles, state): (Vec<Bundle>, Option<StateOverride>),
    budget: &mut Budget,
) -> Result<Responses, RpcError> {
    if let Some(state) = &state {
        overrides::apply_state(&mut overlay, state)?;
    }
    let mut responses = Vec::with_capacity(bundles.len());
    for bundle in bundles {
        if let Some(wanted) = &bundle.block_override {
            overrides::apply_block(&mut env, wanted)?;
        }
        let mut session = Session::on(overlay, rules, &env);
        let mut answers = Vec::with_capacity(bundle.transactions.len());
        for request in bundle.transactions {
            budget.check()?;
            let (after, response) = call(session, rules, request, budget)?;
            session = after;
            answers.push(response);
        }
        responses.push(answers);
        overlay = session.into_state();
        env.number += 1;
        env.timestamp += 1;
    }
    Ok(responses)
}

fn call<'v, V: StateView + Sync>(
    session: Session<'v, V>,
    rules: &ChainRules,
    request: TransactionRequest,
    budget: &mut Budget,
) -> Result<(Session<'v, V>, EthCallResponse), RpcError> {
    let request = to_call(rules, request)?;
    let gas_limit = request.gas_limit.unwrap_or(CALL_GAS_MAX).min(CALL_GAS_MAX);
    let limited = Limited::new(NoOpInspector, budget, Recorded::default());
    let stepped = session.call(&request, gas_limit, limited);
    let (mut session, reported) = stepped.map_err(|error| failed(error, budget))?;
    budget.check()?;
    let watched = match reported {
        Ok(watched) => watched,
        Err(reason) => {
            let error = Some(RpcError::Invalid(reason).to_string());
            return Ok((session, EthCallResponse { value: None, error }));
        }
    };
    session.settle(watched.executed.state);
    let result = watched.executed.result;
    let response = match failure_of(&result) {
        Some(error) => EthCallResponse { value: None, error: Some(error.to_string()) },
        None => EthCallResponse { value: result.into_output(), error: None },
    };
    Ok((session, response))
}
