//! Several L1 endpoints as one connection: the first that works is used for reading and sending, in
//! the order in which they are given, and one that fails is put aside for a while.
//!
//! Not alloy's fallback layer: that one asks several at once and prefers the fastest, so two looks at L1
//! would be answered by two nodes at two heights. Here one endpoint answers until it fails, and no other
//! takes its place while it is behind what L1 was seen at: heads go back where L1 does, not because
//! another node lags. Believes no endpoint about anything but its height and its chain.

use super::{
    endpoint::EndpointUrl,
    refusal::{Refusal, classify_words},
};
use alloy::{
    primitives::U64,
    rpc::{
        client::RpcClient,
        json_rpc::{ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload},
    },
    transports::{
        RpcError, TransportError, TransportErrorKind, TransportFut,
        http::{
            Http,
            reqwest::{self, StatusCode},
        },
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
    /// How long an endpoint that is behind is not used though no other answers. After it, and while none
    /// does, L1 is taken to be where that one says: L1 can lose blocks, and an operator may have nothing
    /// else.
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
    /// Since when it was behind at every look, while no other answered.
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
        // Of those that are behind, where each is.
        let mut behind = Vec::new();
        for index in self.order() {
            let asked = self.ask_one(index, &request).await;
            if let Err(EndpointError { failure: Failure::Behind { found, .. }, .. }) = &asked {
                behind.push((index, *found));
            }
            match self.judge(index, &request, asked) {
                Ok(answer) => return Ok(answer),
                Err(failed) => last = Some(failed.or_before(last)),
            }
        }
        // No other has answered.
        for (index, found) in behind {
            if self.believe(index, found) {
                let asked = self.post(index, &request).await;
                match self.judge(index, &request, asked) {
                    Ok(answer) => return Ok(answer),
                    Err(failed) => last = Some(failed.or_before(last)),
                }
            }
        }
        match last {
            Some(Failed::Answer(answer)) => Ok(answer),
            Some(Failed::Error(error)) => Err(error),
            None => Err(TransportErrorKind::backend_gone()),
        }
    }

    /// Notes what an endpoint did: an answer to be used, or one to ask the next one after.
    fn judge(
        &self,
        index: usize,
        request: &RequestPacket,
        asked: Result<Answer, EndpointError>,
    ) -> Result<ResponsePacket, Failed> {
        match asked {
            Ok(answer) => match answer.complaint(request).filter(|_| self.has_others()) {
                Some(why) => {
                    self.put_aside(index, &why);
                    Err(Failed::Answer(answer.packet))
                }
                None => {
                    self.answered(index, request, &answer.packet);
                    Ok(answer.packet)
                }
            },
            Err(error) => {
                self.put_aside(index, &error.failure);
                Err(Failed::Error(TransportErrorKind::custom(error)))
            }
        }
    }

    async fn ask_one(
        &self,
        index: usize,
        request: &RequestPacket,
    ) -> Result<Answer, EndpointError> {
        self.admit(index).await?;
        self.post(index, request).await
    }

    /// Asks an endpoint. Not by alloy's transport, which hides the status of an answer that is JSON-RPC.
    async fn post(&self, index: usize, request: &RequestPacket) -> Result<Answer, EndpointError> {
        let Endpoint { url, http } = &self.0.endpoints[index];
        let post = http.client().post(url.url().clone()).headers(request.headers()).json(request);
        let failed = |error: reqwest::Error| self.error(index, Failure::Http(error.without_url()));
        let answer = post.send().await.map_err(failed)?;
        let status = answer.status();
        let body = answer.bytes().await.map_err(failed)?;
        match serde_json::from_slice(&body) {
            Ok(packet) => Ok(Answer { packet, status }),
            Err(_) if status.is_success() => Err(self.error(index, Failure::Malformed)),
            Err(_) => {
                let text = String::from_utf8_lossy(&body).into_owned();
                let error = TransportErrorKind::http_error(status.as_u16(), text);
                Err(self.error(index, Failure::of(error)))
            }
        }
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
        let found = self.probe(index, "eth_blockNumber").await;
        let mut state = self.state();
        let behind_since = &mut state.known[index].behind_since;
        match found {
            Ok(found) if found < seen => {
                behind_since.get_or_insert_with(Instant::now);
                drop(state);
                Err(self.error(index, Failure::Behind { found, seen }))
            }
            found => {
                // It is not, or that is not known.
                *behind_since = None;
                found.map(drop)
            }
        }
    }

    /// Takes L1 to be where an endpoint is that was behind for long enough, if no other answered.
    fn believe(&self, index: usize, found: u64) -> bool {
        let mut state = self.state();
        let since = state.known[index].behind_since;
        let is_due = since.is_some_and(|since| since.elapsed() >= self.0.patience.behind_max);
        if is_due {
            let (endpoint, seen) = (&self.0.endpoints[index].url, state.highest);
            tracing::warn!(%endpoint, found, seen, "taking L1 to be where its only endpoint is");
            state.highest = found;
        }
        is_due
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
        // Whatever is used next shows first where it is.
        state.current = state.current.filter(|current| *current != index);
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

    /// Notes that an endpoint answered, and how high L1 is by that. An error is an answer too, but does
    /// not show that what failed before works again.
    fn answered(&self, index: usize, request: &RequestPacket, answer: &ResponsePacket) {
        if !self.has_others() {
            return;
        }
        let height = height(request, answer);
        let mut state = self.state();
        state.current = Some(index);
        if answer.iter_errors().next().is_some() {
            return;
        }
        // Whoever is behind is so behind one that answers.
        state.known.iter_mut().for_each(|known| known.behind_since = None);
        let known = &mut state.known[index];
        known.aside_until = None;
        if std::mem::take(&mut known.failures) > 0 {
            tracing::info!(endpoint = %self.0.endpoints[index].url, "an L1 endpoint answers again");
        }
        if height.is_some_and(|height| height > state.highest) {
            state.highest = height.unwrap_or_default();
            state.highest_since = Instant::now();
        }
    }
}

/// What an endpoint says, with the status of HTTP under which it says it.
struct Answer {
    packet: ResponsePacket,
    status: StatusCode,
}

/// Why an endpoint's answer is not used.
enum Failed {
    /// The answer itself is an error.
    Answer(ResponsePacket),
    /// There is none.
    Error(TransportError),
}

impl Failed {
    /// What the caller is told of two: that an endpoint is silent says less than another one's words.
    fn or_before(self, before: Option<Self>) -> Self {
        match (self, before) {
            (Self::Error(_), Some(before @ Self::Answer(_))) => before,
            (failed, _) => failed,
        }
    }
}

impl Answer {
    /// What it says of the endpoint and not of what was asked: another one may do better. Whatever the
    /// code, a refusal of a transaction whose words are about the transaction is the answer.
    fn complaint(&self, request: &RequestPacket) -> Option<&'static str> {
        let errors = || self.packet.iter_errors();
        errors().next()?;
        let is_send = request.method_names().any(|method| method == "eth_sendRawTransaction");
        let is_of_transaction = |error: &ErrorPayload| {
            error.code != METHOD_NOT_FOUND && classify_words(&error.message) != Refusal::Transient
        };
        if is_send && errors().any(is_of_transaction) {
            return None;
        }
        if self.status == StatusCode::UNAUTHORIZED || self.status == StatusCode::FORBIDDEN {
            return Some("no access");
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            return Some("too many requests");
        }
        if self.status.is_server_error() {
            return Some("an error of the server");
        }
        errors().find_map(|error| match error.code {
            METHOD_NOT_FOUND => Some("it does not have the method"),
            INTERNAL_ERROR => Some("an internal error"),
            _ => error.is_retry_err().then_some("too many requests"),
        })
    }
}

/// JSON-RPC 2.0: the method does not exist.
const METHOD_NOT_FOUND: i64 = -32601;
/// JSON-RPC 2.0: an internal error.
const INTERNAL_ERROR: i64 = -32603;

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
