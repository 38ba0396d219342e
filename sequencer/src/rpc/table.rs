//! The static table of methods: name, number of parameters, handler.
//!
//! A method that is not here does not exist, and clients depend on that: viem falls back from
//! eth_fillTransaction only when it answers -32601.

use super::{
    account_info, accounts, blocks, bundles, call, chain::Chain, config, context::RpcContext,
    debug, error::RpcError, fees, filters, jsonrpc::Params, logs, meta, modules, optimism,
    otterscan, otterscan_search, parity, pool, prepare, raw, send, send::Waiting, simulate,
    transactions, witness,
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

/// Handlers run on a blocking thread unless the entry is instant.
type Handler<C> = fn(&RpcContext<C>, &Params<'_>) -> Result<Answer, RpcError>;

/// One method.
#[derive(Debug)]
pub(super) struct Entry<C> {
    pub(super) name: &'static str,
    /// Parameters it takes at most; more are refused.
    pub(super) params_max: usize,
    pub(super) handler: Handler<C>,
    /// Answers from memory in microseconds, so no thread is switched for it.
    pub(super) instant: bool,
}

const fn entry<C>(name: &'static str, params_max: usize, handler: Handler<C>) -> Entry<C> {
    Entry { name, params_max, handler, instant: false }
}

const fn instant<C>(name: &'static str, params_max: usize, handler: Handler<C>) -> Entry<C> {
    Entry { name, params_max, handler, instant: true }
}

/// The table for one kind of chain.
#[derive(Debug)]
pub(super) struct Table<C>(std::marker::PhantomData<C>);

impl<C: Chain> Table<C> {
    /// Sorted by name.
    pub(super) const ENTRIES: &'static [Entry<C>] = &[
        entry("debug_executionWitness", 1, witness::execution_witness),
        entry("debug_getRawBlock", 1, raw::block),
        entry("debug_getRawHeader", 1, raw::header),
        entry("debug_getRawReceipts", 1, raw::receipts),
        entry("debug_getRawTransaction", 1, transactions::raw_by_hash),
        entry("debug_traceBlockByHash", 2, debug::block_by_hash),
        entry("debug_traceBlockByNumber", 2, debug::block_by_number),
        entry("debug_traceCall", 3, debug::call),
        entry("debug_traceTransaction", 2, debug::transaction),
        entry("erigon_getHeaderByNumber", 1, otterscan::header),
        instant("eth_accounts", 0, meta::accounts),
        instant("eth_blobBaseFee", 0, fees::blob_base_fee),
        instant("eth_blockNumber", 0, meta::block_number),
        entry("eth_call", 4, call::call),
        entry("eth_callMany", 3, bundles::call_many),
        instant("eth_chainId", 0, meta::chain_id),
        entry("eth_config", 0, config::config),
        entry("eth_createAccessList", 4, prepare::access_list),
        entry("eth_estimateGas", 4, call::estimate_gas),
        entry("eth_feeHistory", 3, fees::history),
        entry("eth_fillTransaction", 1, prepare::fill),
        entry("eth_gasPrice", 0, fees::gas_price),
        entry("eth_getAccount", 2, account_info::whole),
        entry("eth_getAccountInfo", 2, account_info::info),
        entry("eth_getBalance", 2, accounts::balance),
        entry("eth_getBlockByHash", 2, blocks::by_hash),
        entry("eth_getBlockByNumber", 2, blocks::by_number),
        entry("eth_getBlockReceipts", 1, blocks::receipts),
        entry("eth_getBlockTransactionCountByHash", 1, blocks::count_by_hash),
        entry("eth_getBlockTransactionCountByNumber", 1, blocks::count_by_number),
        entry("eth_getCode", 2, accounts::code),
        entry("eth_getFilterChanges", 1, filters::changes),
        entry("eth_getFilterLogs", 1, filters::logs),
        entry("eth_getLogs", 1, logs::get),
        entry("eth_getProof", 3, accounts::proof),
        entry("eth_getRawTransactionByHash", 1, transactions::raw_by_hash),
        entry("eth_getStorageAt", 3, accounts::storage),
        entry("eth_getTransactionByBlockHashAndIndex", 2, transactions::by_block_hash),
        entry("eth_getTransactionByBlockNumberAndIndex", 2, transactions::by_block_number),
        entry("eth_getTransactionByHash", 1, transactions::by_hash),
        entry("eth_getTransactionCount", 2, accounts::nonce),
        entry("eth_getTransactionReceipt", 1, transactions::receipt),
        entry("eth_getUncleCountByBlockHash", 1, blocks::uncles_by_hash),
        entry("eth_getUncleCountByBlockNumber", 1, blocks::uncles_by_number),
        instant("eth_maxPriorityFeePerGas", 0, fees::priority_fee),
        instant("eth_newBlockFilter", 0, filters::new_block),
        instant("eth_newFilter", 1, filters::new_log),
        instant("eth_newPendingTransactionFilter", 1, filters::new_pending),
        entry("eth_sendRawTransaction", 1, send::send),
        entry("eth_sendRawTransactionSync", 2, send::send_sync),
        entry("eth_simulateV1", 2, simulate::simulate),
        instant("eth_subscribe", 2, meta::no_notifications),
        instant("eth_syncing", 0, meta::syncing),
        instant("eth_uninstallFilter", 1, filters::uninstall),
        instant("eth_unsubscribe", 1, meta::no_notifications),
        instant("net_listening", 0, meta::listening),
        instant("net_peerCount", 0, meta::peer_count),
        instant("net_version", 0, meta::network_id),
        entry("optimism_outputAtBlock", 1, optimism::output_at_block),
        entry("optimism_rollupConfig", 0, optimism::rollup_config),
        entry("optimism_syncStatus", 0, optimism::sync_status),
        instant("ots_getApiLevel", 0, otterscan::api_level),
        entry("ots_getBlockDetails", 1, otterscan::details_by_number),
        entry("ots_getBlockDetailsByHash", 1, otterscan::details_by_hash),
        entry("ots_getBlockTransactions", 3, otterscan::block_transactions),
        entry("ots_getContractCreator", 1, otterscan_search::contract_creator),
        entry("ots_getInternalOperations", 1, otterscan::internal_operations),
        entry("ots_getTransactionBySenderAndNonce", 2, otterscan_search::by_sender_and_nonce),
        entry("ots_getTransactionError", 1, otterscan::error),
        entry("ots_hasCode", 2, otterscan::has_code),
        entry("ots_searchTransactionsAfter", 3, otterscan_search::search_after),
        entry("ots_searchTransactionsBefore", 3, otterscan_search::search_before),
        entry("ots_traceTransaction", 1, otterscan::trace),
        entry("rpc.discover", 0, modules::discover),
        instant("rpc_modules", 0, modules::modules),
        entry("trace_block", 1, parity::block),
        entry("trace_replayBlockTransactions", 2, parity::replay_block),
        entry("trace_replayTransaction", 2, parity::replay_transaction),
        entry("trace_transaction", 1, parity::transaction),
        entry("txpool_content", 0, pool::content),
        entry("txpool_contentFrom", 1, pool::content_from),
        entry("txpool_inspect", 0, pool::inspect),
        instant("txpool_status", 0, meta::txpool_status),
        instant("web3_clientVersion", 0, meta::client_version),
        entry("web3_sha3", 1, meta::sha3),
    ];

    /// The method of this name.
    pub(super) fn find(name: &str) -> Option<&'static Entry<C>> {
        let index = Self::ENTRIES.binary_search_by(|entry| entry.name.cmp(name)).ok()?;
        Self::ENTRIES.get(index)
    }
}
