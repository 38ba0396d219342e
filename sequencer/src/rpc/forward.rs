//! What a node that builds no blocks does with transactions: it hands them to the sequencer and gives
//! back what that says, or refuses them with the reason.
//!
//! Requests go on as they came, those of one body in one body; nothing of them is decoded or checked here. Does not try again:
//! the sender does not know whether the first attempt arrived, and only the sender may decide.

use super::{
    error::{Limit, RpcError},
    jsonrpc::{BATCH_RESPONSE_BYTES_MAX, Outcome, Params},
    table::Answer,
};
use batcher::l1::EndpointUrl;
use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};
use std::{sync::Arc, time::Duration};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Transactions that are on their way at once, as many as wait for receipts on 64 busy sockets. More
/// are refused.
const ON_THEIR_WAY_MAX: usize = 4_096;
/// Requests at once, half of the connections that a sequencer lets one client have. The others wait, for as
/// long as for an answer.
const REQUESTS_MAX: usize = 256;
/// Longest wait for the sequencer's answer: the longest that a synchronous send may ask for, and some
/// more.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(65);
/// Longest answer: as long as this node's own to a batch, whose entries are receipts with logs.
const ANSWER_BYTES_MAX: usize = BATCH_RESPONSE_BYTES_MAX;

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
    url: EndpointUrl,
    on_their_way: Arc<Semaphore>,
    /// For requests, of which each has a connection.
    requests: Arc<Semaphore>,
}

impl Upstream {
    /// The sequencer at `url`, which is asked when there is something to send.
    ///
    /// # Errors
    /// Of the HTTP client's set-up.
    pub fn new(url: EndpointUrl) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder().timeout(ANSWER_WAIT_MAX).build()?;
        let (on_their_way, requests) =
            [ON_THEIR_WAY_MAX, REQUESTS_MAX].map(|count| Arc::new(Semaphore::new(count))).into();
        Ok(Self { client, url, on_their_way, requests })
    }

    fn forward(&self, method: &'static str, params: &Params<'_>) -> Result<Answer, RpcError> {
        let permit = self.on_their_way.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Limit::Forwards(ON_THEIR_WAY_MAX))?;
        let params = params.values().iter().map(|value| value.get()).collect::<Vec<_>>().join(",");
        let upstream = self.clone();
        Ok(Answer::Forward(Forwarding { upstream, method, params, _permit: permit }))
    }
}

/// A request on its way to the sequencer.
#[derive(Debug)]
pub(super) struct Forwarding {
    upstream: Upstream,
    method: &'static str,
    /// As JSON, with commas.
    params: String,
    _permit: OwnedSemaphorePermit,
}

/// The sequencer's answer, one of both.
#[derive(Deserialize)]
struct Response {
    id: Option<usize>,
    result: Option<Box<RawValue>>,
    error: Option<ErrorObject>,
}

#[derive(Deserialize)]
struct ErrorObject {
    code: i64,
    message: String,
    data: Option<Box<RawValue>>,
}

impl Response {
    fn outcome(self) -> Outcome {
        match (self.result, self.error) {
            (_, Some(ErrorObject { code, message, data })) => {
                Err(RpcError::Sequencer { code, message, data })
            }
            (Some(result), None) => Ok(result),
            (None, None) => to_raw_value(&()).map_err(|_| RpcError::Internal),
        }
    }
}

impl Forwarding {
    /// Sends what one body held, in one body, and gives back what the sequencer answers to each.
    pub(super) async fn finish(requests: Vec<Self>) -> Vec<Outcome> {
        let count = requests.len();
        let answers = match Self::ask(requests).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::warn!(%error, "the sequencer does not take transactions");
                let refused = |_| match error {
                    ForwardError::Busy(_) => RpcError::SequencerBusy,
                    _ => RpcError::SequencerUnavailable,
                };
                return (0..count).map(|index| Err(refused(index))).collect();
            }
        };
        // Answers of a batch come in any order. An error of the whole has no id: it is everybody's first.
        let mut outcomes: Vec<_> =
            (0..count).map(|_| Err(RpcError::SequencerUnavailable)).collect();
        for (place, answer) in answers.into_iter().enumerate() {
            if let Some(outcome) = outcomes.get_mut(answer.id.unwrap_or(place)) {
                *outcome = answer.outcome();
            }
        }
        outcomes
    }

    async fn ask(requests: Vec<Self>) -> Result<Vec<Response>, ForwardError> {
        let Some(Self { upstream, .. }) = requests.first() else { return Ok(Vec::new()) };
        let upstream = upstream.clone();
        let bodies = requests.iter().enumerate().map(|(id, Self { method, params, .. })| {
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":[{params}]}}"#)
        });
        let body = bodies.collect::<Vec<_>>().join(",");
        let is_batch = requests.len() > 1;
        let body = if is_batch { format!("[{body}]") } else { body };
        let waiting = tokio::time::timeout(ANSWER_WAIT_MAX, upstream.requests.acquire());
        let Ok(Ok(_permit)) = waiting.await else { return Err(ForwardError::Busy(None)) };
        let request = upstream.client.post(upstream.url.url().clone()).body(body);
        let request = request.header("content-type", "application/json");
        let mut response = request.send().await?;
        if matches!(response.status().as_u16(), 429 | 503) {
            return Err(ForwardError::Busy(Some(response.status())));
        }
        let mut answer = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if answer.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(ForwardError::TooLong);
            }
            answer.extend_from_slice(&chunk);
        }
        Ok(match is_batch && answer.starts_with(b"[") {
            true => serde_json::from_slice(&answer)?,
            false => vec![serde_json::from_slice(&answer)?],
        })
    }
}

/// Why there is no answer. Logged; the caller learns that the sequencer is not available.
#[derive(Debug, thiserror::Error)]
enum ForwardError {
    #[error(transparent)]
    Http(reqwest::Error),
    #[error("it has no time now{}", .0.map(|status| format!(": {status}")).unwrap_or_default())]
    Busy(Option<StatusCode>),
    #[error("its answer is no JSON-RPC: {0}")]
    Json(#[from] serde_json::Error),
    #[error("its answer is longer than {ANSWER_BYTES_MAX} bytes")]
    TooLong,
}

impl From<reqwest::Error> for ForwardError {
    fn from(error: reqwest::Error) -> Self {
        // The URL may hold a key.
        Self::Http(error.without_url())
    }
}
