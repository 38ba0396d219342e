//! What a node that builds no blocks does with transactions: it hands them to the sequencer and gives
//! back what that says, or refuses them with the reason.
//!
//! The whole request goes on as it came; nothing of it is decoded or checked here. Does not try again:
//! the sender does not know whether the first attempt arrived, and only the sender may decide.

use super::{
    error::{Limit, RpcError},
    jsonrpc::{Outcome, Params},
    table::Answer,
};
use alloy::transports::http::reqwest::Url;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Transactions that are on their way at once, as many as wait for receipts on 64 busy sockets. More
/// are refused.
const ON_THEIR_WAY_MAX: usize = 4_096;
/// Longest wait for the sequencer's answer: the longest that a synchronous send may ask for, and some
/// more.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(65);
/// Longest answer: a receipt with the logs of a full transaction.
const ANSWER_BYTES_MAX: usize = 8 << 20;

/// Where transactions go that this node is sent.
#[derive(Clone, Debug, Default)]
pub enum Sends {
    /// Into the pool that the block builder takes from.
    #[default]
    Pool,
    /// Nowhere: they are refused, because the chain is derived from L1 here.
    Refused,
    /// To the sequencer.
    Forwarded(Upstream),
}

impl Sends {
    /// What is answered to a send; `None` where it is for the pool.
    pub(super) fn answer(
        &self,
        method: &'static str,
        params: &Params<'_>,
    ) -> Option<Result<Answer, RpcError>> {
        match self {
            Self::Pool => None,
            Self::Refused => Some(Err(RpcError::SendsRefused)),
            Self::Forwarded(upstream) => Some(upstream.forward(method, params)),
        }
    }
}

/// The sequencer's JSON-RPC.
#[derive(Clone, Debug)]
pub struct Upstream {
    client: reqwest::Client,
    url: Url,
    on_their_way: Arc<Semaphore>,
}

impl Upstream {
    /// The sequencer at `url`, which is asked when there is something to send.
    ///
    /// # Errors
    /// Of the HTTP client's set-up.
    pub fn new(url: Url) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(ANSWER_WAIT_MAX).build()?;
        Ok(Self { client, url, on_their_way: Arc::new(Semaphore::new(ON_THEIR_WAY_MAX)) })
    }

    fn forward(&self, method: &'static str, params: &Params<'_>) -> Result<Answer, RpcError> {
        let permit = self.on_their_way.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Limit::Forwards(ON_THEIR_WAY_MAX))?;
        let params = params.values().iter().map(|value| value.get()).collect::<Vec<_>>().join(",");
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":[{params}]}}"#);
        Ok(Answer::Forward(Forwarding { upstream: self.clone(), body, _permit: permit }))
    }
}

/// A request on its way to the sequencer.
#[derive(Debug)]
pub(super) struct Forwarding {
    upstream: Upstream,
    body: String,
    _permit: OwnedSemaphorePermit,
}

/// The sequencer's answer, one of both.
#[derive(Deserialize)]
struct Response {
    result: Option<Box<RawValue>>,
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    message: String,
    data: Option<Box<RawValue>>,
}

impl Forwarding {
    /// Sends it and gives back what the sequencer answers.
    pub(super) async fn finish(self) -> Outcome {
        let Response { result, error } = match self.ask().await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(%error, "the sequencer does not take a transaction");
                return Err(RpcError::SequencerUnavailable);
            }
        };
        match (result, error) {
            (_, Some(ErrorObject { code, message, data })) => {
                Err(RpcError::Sequencer { code, message, data })
            }
            (Some(result), None) => Ok(result),
            (None, None) => to_raw_value(&()).map_err(|_| RpcError::Internal),
        }
    }

    async fn ask(self) -> Result<Response, ForwardError> {
        let Self { upstream, body, .. } = self;
        let request = upstream.client.post(upstream.url).body(body);
        let request = request.header("content-type", "application/json");
        let mut response = request.send().await?;
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ForwardError::TooLong);
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(serde_json::from_slice(&answer)?)
    }
}

/// Why there is no answer. Logged; the caller learns that the sequencer is not available.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error(transparent)]
    Http(#[from] reqwest::Error),
    #[error("its answer is no JSON-RPC: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
}
