//! What the server can do, told from its own table: rpc_modules and rpc.discover.

use super::{
    chain::Chain,
    context::RpcContext,
    error::RpcError,
    jsonrpc::Params,
    table::{Answer, Table, json},
};
use serde_json::{Value, json as value};
use std::collections::BTreeMap;

type Reply = Result<Answer, RpcError>;

/// Namespaces with geth's version of them.
pub(super) fn modules<C: Chain>(_: &RpcContext<C>, _: &Params<'_>) -> Reply {
    let namespaces = Table::<C>::ENTRIES.iter().filter_map(|entry| entry.name.split_once('_'));
    json(&namespaces.map(|(name, _)| (name, "1.0")).collect::<BTreeMap<_, _>>())
}

/// An OpenRPC document. Parameters are positional and their types are those of Ethereum's JSON-RPC;
/// only how many there are at most is told.
pub(super) fn discover<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    let any = || value!({ "name": "result", "schema": {} });
    let parameter = |index| value!({ "name": format!("arg{index}"), "schema": {} });
    let methods = Table::<C>::ENTRIES.iter().map(|entry| {
        let params: Vec<Value> = (0..entry.params_max).map(parameter).collect();
        value!({ "name": entry.name, "params": params, "result": any() })
    });
    json(&value!({
        "openrpc": "1.2.6",
        "info": { "title": "JSON-RPC", "version": ctx.options.client_version },
        "methods": methods.collect::<Vec<_>>(),
    }))
}
