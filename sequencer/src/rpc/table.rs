//! The static table of methods: name, number of parameters, handler, class of work.
//!
//! A method that is not here does not exist and answers -32601, by which clients choose what else to ask.

use super::{
    account_info, accounts, blocks, bundles, call,
    chain::Chain,
    config,
    context::RpcContext,
    cost::Class,
    debug,
    error::RpcError,
    explain, fees, filters,
    forward::Forwarding,
    jsonrpc::Params,
    logs, meta, modules, optimism, otterscan, otterscan_search, parity, pool, prepare, pressure,
    raw, send,
    send::{Admitting, Waiting},
    simulate, transactions, witness,
};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

/// What a handler gives back.
#[derive(Debug)]
pub(super) enum Answer {
    /// The result.
    Json(Box<RawValue>),
    /// The result comes with a block.
    Wait(Waiting),
    /// The result comes with the admission to the pool.
    Admit(Admitting),
    /// The result comes from the sequencer.
    Forward(Forwarding),
}

/// A finished answer.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<Answer, RpcError> {
    to_raw_value(value).map(Answer::Json).map_err(|error| {
        tracing::error!(%error, "a result cannot be written");
        RpcError::Internal
    })
}

/// The answer for what does not exist.
pub(super) fn null() -> Result<Answer, RpcError> {
    json(&())
}

/// Handlers run on a thread of their class's, unless that is instant.
type Handler<C> = fn(&RpcContext<C>, &Params<'_>) -> Result<Answer, RpcError>;

/// One method.
#[derive(Debug)]
pub(super) struct Entry<C> {
    pub(super) name: &'static str,
    /// Parameters it takes at most; more are refused.
    pub(super) params_max: usize,
    pub(super) handler: Handler<C>,
    /// How much work a call of it is.
    pub(super) class: Class,
}

const fn instant<C>(name: &'static str, params_max: usize, handler: Handler<C>) -> Entry<C> {
    Entry { name, params_max, handler, class: Class::Instant }
}

const fn read<C>(name: &'static str, params_max: usize, handler: Handler<C>) -> Entry<C> {
    Entry { name, params_max, handler, class: Class::Read }
}

const fn execute<C>(name: &'static str, params_max: usize, handler: Handler<C>) -> Entry<C> {
    Entry { name, params_max, handler, class: Class::Execute }
}

const fn search<C>(name: &'static str, params_max: usize, handler: Handler<C>) -> Entry<C> {
    Entry { name, params_max, handler, class: Class::Search }
}

const fn trace<C>(name: &'static str, params_max: usize, handler: Handler<C>) -> Entry<C> {
    Entry { name, params_max, handler, class: Class::Trace }
}

/// The table for one kind of chain.
#[derive(Debug)]
pub(super) struct Table<C>(std::marker::PhantomData<C>);

impl<C: Chain> Table<C> {
    /// Sorted by name.
    pub(super) const ENTRIES: &'static [Entry<C>] = &[
        trace("debug_executionWitness", 1, witness::execution_witness),
        read("debug_getRawBlock", 1, raw::block),
        read("debug_getRawHeader", 1, raw::header),
        read("debug_getRawReceipts", 1, raw::receipts),
        read("debug_getRawTransaction", 1, transactions::raw_by_hash),
        trace("debug_traceBlockByHash", 2, debug::block_by_hash),
        trace("debug_traceBlockByNumber", 2, debug::block_by_number),
        trace("debug_traceCall", 3, debug::call),
        trace("debug_traceTransaction", 2, debug::transaction),
        read("erigon_getHeaderByNumber", 1, otterscan::header),
        instant("eth_accounts", 0, meta::accounts),
        instant("eth_blobBaseFee", 0, fees::blob_base_fee),
        instant("eth_blockNumber", 0, meta::block_number),
        execute("eth_call", 4, call::call),
        trace("eth_callMany", 3, bundles::call_many),
        instant("eth_chainId", 0, meta::chain_id),
        read("eth_config", 0, config::config),
        execute("eth_createAccessList", 4, prepare::access_list),
        execute("eth_estimateGas", 4, call::estimate_gas),
        read("eth_feeHistory", 3, fees::history),
        execute("eth_fillTransaction", 1, prepare::fill),
        read("eth_gasPrice", 0, fees::gas_price),
        read("eth_getAccount", 2, account_info::whole),
        read("eth_getAccountInfo", 2, account_info::info),
        read("eth_getBalance", 2, accounts::balance),
        read("eth_getBlockByHash", 2, blocks::by_hash),
        read("eth_getBlockByNumber", 2, blocks::by_number),
        read("eth_getBlockReceipts", 1, blocks::receipts),
        read("eth_getBlockTransactionCountByHash", 1, blocks::count_by_hash),
        read("eth_getBlockTransactionCountByNumber", 1, blocks::count_by_number),
        read("eth_getCode", 2, accounts::code),
        search("eth_getFilterChanges", 1, filters::changes),
        search("eth_getFilterLogs", 1, filters::logs),
        search("eth_getLogs", 1, logs::get),
        search("eth_getProof", 3, accounts::proof),
        read("eth_getRawTransactionByHash", 1, transactions::raw_by_hash),
        read("eth_getStorageAt", 3, accounts::storage),
        read("eth_getTransactionByBlockHashAndIndex", 2, transactions::by_block_hash),
        read("eth_getTransactionByBlockNumberAndIndex", 2, transactions::by_block_number),
        read("eth_getTransactionByHash", 1, transactions::by_hash),
        read("eth_getTransactionCount", 2, accounts::nonce),
        read("eth_getTransactionReceipt", 1, transactions::receipt),
        read("eth_getUncleCountByBlockHash", 1, blocks::uncles_by_hash),
        read("eth_getUncleCountByBlockNumber", 1, blocks::uncles_by_number),
        instant("eth_maxPriorityFeePerGas", 0, fees::priority_fee),
        instant("eth_newBlockFilter", 0, filters::new_block),
        instant("eth_newFilter", 1, filters::new_log),
        instant("eth_newPendingTransactionFilter", 1, filters::new_pending),
        // Decoded on the spot when short; the rest is done by the admission's threads.
        instant("eth_sendRawTransaction", 2, send::send),
        instant("eth_sendRawTransactionConditional", 3, send::send_conditional),
        instant("eth_sendRawTransactionSync", 3, send::send_sync),
        trace("eth_simulateV1", 2, simulate::simulate),
        instant("eth_subscribe", 2, meta::no_notifications),
        instant("eth_syncing", 0, meta::syncing),
        instant("eth_uninstallFilter", 1, filters::uninstall),
        instant("eth_unsubscribe", 1, meta::no_notifications),
        instant("net_listening", 0, meta::listening),
        instant("net_peerCount", 0, meta::peer_count),
        instant("net_version", 0, meta::network_id),
        search("optimism_outputAtBlock", 1, optimism::output_at_block),
        read("optimism_rollupConfig", 0, optimism::rollup_config),
        read("optimism_syncStatus", 0, optimism::sync_status),
        instant("ots_getApiLevel", 0, otterscan::api_level),
        read("ots_getBlockDetails", 1, otterscan::details_by_number),
        read("ots_getBlockDetailsByHash", 1, otterscan::details_by_hash),
        read("ots_getBlockTransactions", 3, otterscan::block_transactions),
        search("ots_getContractCreator", 1, otterscan_search::contract_creator),
        trace("ots_getInternalOperations", 1, otterscan::internal_operations),
        search("ots_getTransactionBySenderAndNonce", 2, otterscan_search::by_sender_and_nonce),
        trace("ots_getTransactionError", 1, otterscan::error),
        read("ots_hasCode", 2, otterscan::has_code),
        search("ots_searchTransactionsAfter", 3, otterscan_search::search_after),
        search("ots_searchTransactionsBefore", 3, otterscan_search::search_before),
        trace("ots_traceTransaction", 1, otterscan::trace),
        instant("rollup_backPressure", 0, pressure::back_pressure),
        execute("rollup_estimateTotalFee", 4, call::estimate_total_fee),
        read("rollup_explainTransaction", 1, explain::explain),
        read("rpc.discover", 0, modules::discover),
        instant("rpc_modules", 0, modules::modules),
        trace("trace_block", 1, parity::block),
        trace("trace_replayBlockTransactions", 2, parity::replay_block),
        trace("trace_replayTransaction", 2, parity::replay_transaction),
        trace("trace_transaction", 1, parity::transaction),
        search("txpool_content", 0, pool::content),
        read("txpool_contentFrom", 1, pool::content_from),
        search("txpool_inspect", 0, pool::inspect),
        instant("txpool_status", 0, meta::txpool_status),
        instant("web3_clientVersion", 0, meta::client_version),
        read("web3_sha3", 1, meta::sha3),
    ];

    /// The method of this name.
    pub(super) fn find(name: &str) -> Option<&'static Entry<C>> {
        let index = Self::ENTRIES.binary_search_by(|entry| entry.name.cmp(name)).ok()?;
        Self::ENTRIES.get(index)
    }
}
