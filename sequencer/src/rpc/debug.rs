//! debug_trace*: geth's tracers over past transactions and over calls.
//!
//! The tracers are those of `revm-inspectors`; those written in JavaScript are not among them.

use super::{
    block_id::{number_of, resolve},
    budget::{Budget, Limited, Recorded, duration, json_within, turn},
    call::{self, Simulation},
    chain::Chain,
    context::RpcContext,
    error::{Refusal, RpcError},
    jsonrpc::Params,
    overrides,
    replay::{Past, Seen, failed},
    table::Answer,
};
use alloy::{
    eips::{BlockId, BlockNumberOrTag},
    primitives::B256,
    rpc::types::{
        TransactionRequest,
        trace::geth::{
            GethDebugBuiltInTracerType as BuiltIn, GethDebugTracerType,
            GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace, TraceResult,
        },
    },
};
use executor::{
    ChainRules, StateView, ViewError,
    call::{CALL_GAS_MAX, CallRequest},
    trace::Session,
};
use revm_inspectors::tracing::{DebugInspector, DebugInspectorError, TransactionContext};
use std::ops::Range;

type Reply = Result<Answer, RpcError>;

/// A wanted tracer.
struct Tracer {
    options: GethDebugTracingOptions,
    recorded: Recorded,
}

impl Tracer {
    fn new(mut options: GethDebugTracingOptions) -> Result<Self, RpcError> {
        // geth reads an empty configuration for tracers that have none; inside a muxTracer the
        // library wants null there.
        if let Some(parts) = options.tracer_config.0.as_object_mut() {
            for name in ["4byteTracer", "noopTracer"] {
                if let Some(part) = parts.get_mut(name) {
                    part.take();
                }
            }
        }
        let recorded = match &options.tracer {
            Some(GethDebugTracerType::JsTracer(name)) if !name.is_empty() => {
                return Err(Refusal::Tracer.into());
            }
            None | Some(GethDebugTracerType::JsTracer(_)) => Recorded {
                steps: true,
                stack: !options.config.disable_stack.unwrap_or(false),
                memory: options.config.is_memory_enabled(),
            },
            Some(GethDebugTracerType::BuiltInTracer(BuiltIn::Erc7562Tracer)) => {
                Recorded { steps: true, stack: true, memory: false }
            }
            Some(GethDebugTracerType::BuiltInTracer(_)) => Recorded::default(),
        };
        let tracer = Self { options, recorded };
        tracer.inspector()?;
        Ok(tracer)
    }

    fn inspector(&self) -> Result<DebugInspector, RpcError> {
        DebugInspector::new(self.options.clone()).map_err(|error| match error {
            DebugInspectorError::UnsupportedTracer | DebugInspectorError::JsTracerNotEnabled => {
                Refusal::Tracer.into()
            }
            _ => Refusal::TracerConfig.into(),
        })
    }

    /// Traces some transactions of a block.
    fn trace<V: StateView + Sync>(
        &self,
        past: &Past<V>,
        range: Range<usize>,
        budget: &mut Budget,
    ) -> Result<Vec<TraceResult>, RpcError> {
        let end = |mut inspector: DebugInspector, seen: Seen<'_, '_, V>| {
            let hash = seen.transaction.hash();
            let place = TransactionContext::default()
                .with_block_hash(past.block.hash)
                .with_tx_index(seen.index)
                .with_tx_hash(hash);
            let (watched, mut state) = (seen.watched, seen.state);
            let trace = inspector.get_result(
                Some(place),
                &watched.env,
                seen.env,
                &watched.executed,
                &mut state,
            );
            Ok(TraceResult::new_success(trace.map_err(unmade)?, Some(hash)))
        };
        past.watch(range, budget, || Ok((self.inspector()?, self.recorded)), end)
    }
}

fn unmade(error: DebugInspectorError<ViewError>) -> RpcError {
    match error {
        DebugInspectorError::Database(error) => error.into(),
        DebugInspectorError::UnsupportedTracer | DebugInspectorError::JsTracerNotEnabled => {
            Refusal::Tracer.into()
        }
        DebugInspectorError::InvalidTracerConfig | DebugInspectorError::MuxInspector(_) => {
            Refusal::TracerConfig.into()
        }
    }
}

pub(super) fn transaction<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let hash: B256 = params.required(0)?;
    let tracer = Tracer::new(params.optional(1)?.unwrap_or_default())?;
    let position = ctx.chain.transaction_position(hash)?;
    let (number, index) = position.ok_or(RpcError::TransactionNotFound)?;
    let (_turn, mut budget) = turn(ctx, duration(tracer.options.timeout.as_deref())?)?;
    let past = Past::load(ctx, number)?;
    let traces = tracer.trace(&past, index..index + 1, &mut budget)?;
    match traces.into_iter().next() {
        Some(TraceResult::Success { result, tx_hash }) if tx_hash == Some(hash) => {
            json_within(&result)
        }
        // The block was undone and another stands there now.
        _ => Err(RpcError::TransactionNotFound),
    }
}

fn block<C: Chain>(ctx: &RpcContext<C>, number: u64, params: &Params<'_>) -> Reply {
    let tracer = Tracer::new(params.optional(1)?.unwrap_or_default())?;
    let (_turn, mut budget) = turn(ctx, duration(tracer.options.timeout.as_deref())?)?;
    let past = Past::load(ctx, number)?;
    let traces = tracer.trace(&past, 0..past.block.transactions.len(), &mut budget)?;
    json_within(&traces)
}

pub(super) fn block_by_number<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let tag: BlockNumberOrTag = params.required(0)?;
    block(ctx, number_of(ctx, tag), params)
}

pub(super) fn block_by_hash<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let hash: B256 = params.required(0)?;
    let number = ctx.chain.block_number(hash)?.ok_or(RpcError::BlockHashNotFound { hash })?;
    block(ctx, number, params)
}

/// `[request, block, options]`; the overrides are among the options.
pub(super) fn call<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let request = call::to_call(ctx.chain.rules(), params.required::<TransactionRequest>(0)?)?;
    let id = params.optional::<BlockId>(1)?.unwrap_or_default();
    let options: GethDebugTracingCallOptions = params.optional(2)?.unwrap_or_default();
    let tracer = Tracer::new(options.tracing_options)?;
    let (_turn, mut budget) = turn(ctx, duration(tracer.options.timeout.as_deref())?)?;
    if let Some(index) = options.tx_index {
        if options.block_overrides.is_some() {
            return Err(Refusal::Override("block overrides together with txIndex").into());
        }
        let past = Past::load(ctx, resolve(ctx, Some(id))?)?;
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        if index >= past.block.transactions.len() {
            return Err(Refusal::TransactionIndex.into());
        }
        let mut session = past.session(index, &mut budget)?;
        if let Some(state) = &options.state_overrides {
            overrides::apply_state(session.state_mut(), state)?;
        }
        return trace_call(session, &request, &tracer, &mut budget);
    }
    let (state, block) = (options.state_overrides, options.block_overrides);
    let simulation = Simulation::at(ctx, request, id, (state, block))?;
    let rules: &ChainRules = ctx.chain.rules();
    let session = Session::on(call::overlay(&simulation)?, rules, &simulation.env);
    trace_call(session, &simulation.request, &tracer, &mut budget)
}

fn trace_call<V: StateView + Sync>(
    session: Session<'_, V>,
    request: &CallRequest,
    tracer: &Tracer,
    budget: &mut Budget,
) -> Reply {
    let gas_limit = request.gas_limit.unwrap_or(CALL_GAS_MAX).min(CALL_GAS_MAX);
    let mut inspector = tracer.inspector()?;
    let limited = Limited::new(&mut inspector, budget, tracer.recorded);
    let stepped = session.call(request, gas_limit, limited);
    let (session, reported) = stepped.map_err(|error| failed(error, budget))?;
    budget.check()?;
    let watched = reported.map_err(RpcError::Invalid)?;
    let (env, mut state) = (session.block(), session.state());
    let trace = inspector.get_result(None, &watched.env, env, &watched.executed, &mut state);
    json_within::<GethTrace>(&trace.map_err(unmade)?)
}
