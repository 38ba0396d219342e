//! A door for the fuzz: a body in, an answer out, without a socket.
//!
//! Owns nothing: it runs what the server runs, in the same order, on the calling thread. Not part of
//! the interface of this crate.

use super::{
    chain::Chain,
    clients::Client,
    context::RpcContext,
    process::{process, process_instant},
};

/// Answers a body as a POST of it would be; `None` when there is nothing to say. Blocks on storage,
/// signature recovery and execution, and waits where a request waits for a receipt.
pub async fn answer_body<C: Chain>(ctx: &RpcContext<C>, body: &[u8]) -> Option<String> {
    let client = Client::trusted();
    let processed =
        process_instant(ctx, &client, body).unwrap_or_else(|| process(ctx, &client, body));
    processed.settled(ctx).finish(ctx).await
}
