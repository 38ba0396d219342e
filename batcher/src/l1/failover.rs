//! Several L1 endpoints as one connection: the first that works is used for reading and sending, in
//! the order in which they are given, and one that fails is put aside for a while.
//!
//! Not alloy's fallback layer: that one asks several at once and prefers the fastest, so two looks at L1
//! would be answered by two nodes at two heights. Here one endpoint answers until it fails, and no other
//! takes its place while it is behind what L1 was seen at: heads go back where L1 does, not because
//! another node lags. Believes no endpoint about anything but its height and its chain.

use super::endpoint::EndpointUrl;
use alloy::{
    primitives::U64,
    rpc::{
        client::RpcClient,
        json_rpc::{RequestPacket, Response, ResponsePacket, ResponsePayload},
    },
    transports::{
        RpcError, TransportError, TransportErrorKind, TransportFut,
        http::{Http, reqwest},
    },
};
use serde::Deserialize;
use std::{
    error::Error,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::time::{Instant, timeout};
use tower_service::Service;

/// Longest wait for an answer where there is no other endpoint to ask.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(20);
/// The same where there is one.
const REQUEST_WAIT_BEFORE_NEXT: Duration = Duration::from_secs(12);
/// Longest wait for the height or the chain of an endpoint that is to take over.
const PROBE_WAIT_MAX: Duration = Duration::from_secs(3);
/// Longest that an endpoint is put aside.
const ASIDE_MAX: Duration = Duration::from_secs(300);

/// When an endpoint is left, and when it is come back to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// How long an endpoint is put aside when it fails; doubled with every failure, to five minutes.
    pub aside: Duration,
    /// How long an endpoint that is behind is not used though no other answers. After it L1 is taken to
    /// be where that one says: L1 can lose blocks, and an operator may have nothing else.
    pub behind_max: Duration,
    /// How long the height of the endpoint in use may stand still before the others are asked for
    /// theirs.
    pub stalled_after: Duration,
}

impl Default for Patience {
    /// Two seconds, a minute, and a minute: five of L1's slots.
    fn default() -> Self {
        let (behind_max, stalled_after) = (Duration::from_secs(60), Duration::from_secs(60));
        Self { aside: Duration::from_secs(2), behind_max, stalled_after }
    }
}

/// An endpoint did not give a usable answer. Prints without what the URL keeps secret.
#[derive(Debug, thiserror::Error)]
#[error("{endpoint}: {failure}")]
pub struct EndpointError {
    /// Which one.
    pub endpoint: EndpointUrl,
    /// What it did.
    pub failure: Failure,
}

/// How an endpoint failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It cannot be reached, or breaks off.
    #[error("{}", with_causes(.0))]
    Http(reqwest::Error),
    /// It answers with something else than JSON-RPC, or with a status that says that it cannot.
    #[error("{0}")]
    Transport(TransportErrorKind),
    /// It answers with something else than JSON-RPC.
    #[error("the answer is not JSON-RPC")]
    Malformed,
    /// It does not answer.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// It is on another chain.
    #[error("the chain id is {found}, expected {expected}")]
    OtherChain {
        /// In the genesis file.
        expected: u64,
        /// What it says.
        found: u64,
    },
    /// It does not have the blocks that L1 was seen to have.
    #[error("at block {found}, L1 was seen at {seen}")]
    Behind {
        /// Its height.
        found: u64,
        /// The highest that was seen.
        seen: u64,
    },
}

/// Ordered endpoints, as a transport. Clones share what is known of them.
#[derive(Clone, Debug)]
pub struct Failover(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    endpoints: Vec<Endpoint>,
    patience: Patience,
    // Held for looking and noting only, never across an await.
    state: Mutex<State>,
}

#[derive(Debug)]
struct Endpoint {
    url: EndpointUrl,
    http: Http<reqwest::Client>,
}

#[derive(Debug)]
struct State {
    /// What every endpoint's chain has to be, once that is known.
    chain_id: Option<u64>,
    /// Which answered last.
    current: Option<usize>,
    /// The highest block that was seen, and since when it is the highest.
    highest: u64,
    highest_since: Instant,
    known: Vec<Known>,
}

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    is_chain_checked: bool,
    aside_until: Option<Instant>,
    /// In a row.
    failures: u32,
    behind_since: Option<Instant>,
}

/// As much of a block as is needed here.
#[derive(Deserialize)]
struct Height {
    number: Option<U64>,
}

impl Failover {
    /// Connects to `urls`, at least one, first choice first. Nothing is asked yet.
    ///
    /// # Errors
    /// [`reqwest::Error`] where no HTTP client can be made.
    pub fn new(urls: &[EndpointUrl]) -> Result<Self, reqwest::Error> {
        Self::with_patience(urls, Patience::default())
    }

    /// The same with other patience.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_patience(urls: &[EndpointUrl], patience: Patience) -> Result<Self, reqwest::Error> {
        let wait = if urls.len() > 1 { REQUEST_WAIT_BEFORE_NEXT } else { REQUEST_WAIT_MAX };
        let client = reqwest::Client::builder().timeout(wait).build()?;
        let endpoint = |url: &EndpointUrl| {
            let http = Http::with_client(client.clone(), url.url().clone());
            Endpoint { url: url.clone(), http }
        };
        let endpoints: Vec<_> = urls.iter().map(endpoint).collect();
        let state = Mutex::new(State {
            chain_id: None,
            current: None,
            highest: 0,
            highest_since: Instant::now(),
            known: vec![Known::default(); endpoints.len()],
        });
        Ok(Self(Arc::new(Shared { endpoints, patience, state })))
    }

    /// A client over all of them.
    #[must_use]
    pub fn client(&self) -> RpcClient {
        RpcClient::new(self.clone(), false)
    }

    /// Asks every endpoint for its chain. One that does not answer is asked again before it is first used.
    ///
    /// # Errors
    /// [`Failure::OtherChain`] of the first that is on another chain; else, when none answers, why the
    /// first does not.
    pub async fn check_chain(&self, expected: u64) -> Result<(), EndpointError> {
        self.state().chain_id = Some(expected);
        let checks = (0..self.0.endpoints.len()).map(|index| self.check_chain_of(index, expected));
        let mut checks = futures::future::join_all(checks).await;
        let is_other = |check: &Result<(), EndpointError>| {
            let failure = check.as_ref().err().map(|error| &error.failure);
            matches!(failure, Some(Failure::OtherChain { .. }))
        };
        if let Some(index) = checks.iter().position(is_other) {
            return checks.swap_remove(index);
        }
        for error in checks.iter().filter_map(|check| check.as_ref().err()) {
            tracing::warn!(%error, "an L1 endpoint does not answer");
        }
        if checks.iter().any(Result::is_ok) { Ok(()) } else { checks.swap_remove(0) }
    }

    async fn check_chain_of(&self, index: usize, expected: u64) -> Result<(), EndpointError> {
        let found = self.probe(index, "eth_chainId").await?;
        if found != expected {
            return Err(self.error(index, Failure::OtherChain { expected, found }));
        }
        self.state().known[index].is_chain_checked = true;
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_others(&self) -> bool {
        self.0.endpoints.len() > 1
    }

    fn error(&self, index: usize, failure: Failure) -> EndpointError {
        EndpointError { endpoint: self.0.endpoints[index].url.clone(), failure }
    }

    /// One number from one endpoint.
    async fn probe(&self, index: usize, method: &'static str) -> Result<u64, EndpointError> {
        let client = RpcClient::new(self.0.endpoints[index].http.clone(), false);
        let asked = timeout(PROBE_WAIT_MAX, client.request_noparams::<U64>(method)).await;
        match asked {
            Ok(Ok(number)) => Ok(number.to()),
            Ok(Err(error)) => Err(self.error(index, Failure::of(error))),
            Err(_) => Err(self.error(index, Failure::Silent(PROBE_WAIT_MAX))),
        }
    }

    /// All endpoints in their order, those that are aside last: when nothing else answers they are
    /// better than nothing.
    fn order(&self) -> Vec<usize> {
        let now = Instant::now();
        let state = self.state();
        let is_aside = |index: &usize| state.known[*index].aside_until.is_some_and(|t| t > now);
        let (aside, ready): (Vec<_>, Vec<_>) = (0..state.known.len()).partition(is_aside);
        [ready, aside].concat()
    }

    async fn ask(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        self.leave_stalled().await;
        let mut last = None;
        for index in self.order() {
            match self.ask_one(index, &request).await {
                Ok(answer) if is_overloaded(&answer) && self.has_others() => {
                    self.put_aside(index, &"too many requests");
                    last = Some(Ok(answer));
                }
                Ok(answer) => {
                    self.answered(index, &request, &answer);
                    return Ok(answer);
                }
                Err(error) => {
                    self.put_aside(index, &error.failure);
                    last = Some(Err(TransportErrorKind::custom(error)));
                }
            }
        }
        last.unwrap_or_else(|| Err(TransportErrorKind::backend_gone()))
    }

    async fn ask_one(
        &self,
        index: usize,
        request: &RequestPacket,
    ) -> Result<ResponsePacket, EndpointError> {
        self.admit(index).await?;
        let mut http = self.0.endpoints[index].http.clone();
        let answer = http.call(request.clone()).await;
        answer.map_err(|error| self.error(index, Failure::of(error)))
    }

    /// Before an endpoint takes over it has to be on the right chain and not behind.
    async fn admit(&self, index: usize) -> Result<(), EndpointError> {
        let (chain_id, known, current, seen) = {
            let state = self.state();
            (state.chain_id, state.known[index], state.current, state.highest)
        };
        if let Some(expected) = chain_id.filter(|_| !known.is_chain_checked) {
            self.check_chain_of(index, expected).await.inspect_err(|error| {
                if let Failure::OtherChain { .. } = error.failure {
                    tracing::error!(%error, "an L1 endpoint is not used");
                }
            })?;
        }
        if current == Some(index) || !self.has_others() {
            return Ok(());
        }
        let found = self.probe(index, "eth_blockNumber").await?;
        let mut state = self.state();
        if found >= seen {
            state.known[index].behind_since = None;
            return Ok(());
        }
        let since = *state.known[index].behind_since.get_or_insert_with(Instant::now);
        drop(state);
        let error = self.error(index, Failure::Behind { found, seen });
        if since.elapsed() < self.0.patience.behind_max {
            return Err(error);
        }
        tracing::warn!(%error, "taking L1 to be where its only endpoint is");
        self.state().highest = found;
        Ok(())
    }

    /// Puts the endpoint in use aside when its height stands still and another's does not.
    async fn leave_stalled(&self) {
        let (current, highest) = {
            let mut state = self.state();
            let is_due =
                state.highest > 0 && state.highest_since.elapsed() >= self.0.patience.stalled_after;
            let Some(current) = state.current.filter(|_| is_due && self.has_others()) else {
                return;
            };
            // Asked once in a while, not with every request.
            state.highest_since = Instant::now();
            (current, state.highest)
        };
        for index in self.order().into_iter().filter(|index| *index != current) {
            if let Ok(found) = self.probe(index, "eth_blockNumber").await
                && found > highest
            {
                return self.put_aside(current, &Failure::Behind { found: highest, seen: found });
            }
        }
    }

    fn put_aside(&self, index: usize, why: &dyn std::fmt::Display) {
        if !self.has_others() {
            return;
        }
        let mut state = self.state();
        let known = &mut state.known[index];
        let aside = self.0.patience.aside;
        let wait = aside.saturating_mul(1 << known.failures.min(16)).min(ASIDE_MAX);
        known.failures += 1;
        known.aside_until = Some(Instant::now() + wait);
        let endpoint = &self.0.endpoints[index].url;
        if known.failures == 1 {
            tracing::warn!(%endpoint, %why, "an L1 endpoint failed and is put aside");
        } else {
            tracing::debug!(%endpoint, %why, ?wait, "an L1 endpoint failed again");
        }
    }

    /// Notes that an endpoint answered, and how high L1 is by that.
    fn answered(&self, index: usize, request: &RequestPacket, answer: &ResponsePacket) {
        if !self.has_others() {
            return;
        }
        let height = height(request, answer);
        let mut state = self.state();
        let known = &mut state.known[index];
        known.aside_until = None;
        if std::mem::take(&mut known.failures) > 0 {
            tracing::info!(endpoint = %self.0.endpoints[index].url, "an L1 endpoint answers again");
        }
        state.current = Some(index);
        if height.is_some_and(|height| height > state.highest) {
            state.highest = height.unwrap_or_default();
            state.highest_since = Instant::now();
        }
    }
}

impl Service<RequestPacket> for Failover {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().ask(request))
    }
}

impl Failure {
    /// alloy's error, without the URL that reqwest puts into its own.
    fn of(error: TransportError) -> Self {
        match error {
            RpcError::Transport(TransportErrorKind::Custom(error)) => {
                match error.downcast::<reqwest::Error>() {
                    Ok(error) => Self::Http(error.without_url()),
                    Err(error) => Self::Transport(TransportErrorKind::Custom(error)),
                }
            }
            RpcError::Transport(kind) => Self::Transport(kind),
            _ => Self::Malformed,
        }
    }
}

/// An error with what caused it: reqwest says "connection refused" only there.
fn with_causes(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Whether the endpoint asks to be left alone for a while.
fn is_overloaded(answer: &ResponsePacket) -> bool {
    answer.iter_errors().any(|error| error.is_retry_err())
}

/// The height of L1 that an answer tells.
fn height(request: &RequestPacket, answer: &ResponsePacket) -> Option<u64> {
    let request = request.as_single()?;
    let Response { payload: ResponsePayload::Success(payload), .. } = answer.as_single()? else {
        return None;
    };
    match request.method() {
        "eth_blockNumber" => serde_json::from_str::<U64>(payload.get()).ok().map(|n| n.to()),
        "eth_getBlockByNumber" => {
            let height = serde_json::from_str::<Option<Height>>(payload.get()).ok()??;
            height.number.map(|number| number.to())
        }
        _ => None,
    }
}
