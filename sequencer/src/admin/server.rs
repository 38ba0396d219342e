//! The operator's listener: `POST /admin/v1/{action}` and `GET /admin/v1/status`, with a bearer token.
//!
//! Everything is answered in JSON. Whoever has no token learns nothing but that. Attempts without a right
//! one are in the audit trail, the first of each minute by itself and the others by their number.

use super::{Action, ActionError, Operator};
use crate::{
    node::{NodeError, note},
    rpc::{ClientLimits, accept},
    settings::process::ProcessConfig,
};
use alloy::primitives::{B256, keccak256};
use axum::{
    Json, Router,
    body::{Body, to_bytes},
    extract::{ConnectInfo, State},
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use batcher::poster::POSTER;
use serde::Deserialize;
use serde_json::json;
use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};
use subtle::ConstantTimeEq;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::sync::CancellationToken;

/// Actions that are worked on at once; more are refused with 503. A person and a script do not need more.
const ACTIONS_MAX: usize = 8;
/// Open connections of one address.
const CONNECTIONS_MAX: usize = 16;
/// How long a request may take to arrive.
const ARRIVAL: Duration = Duration::from_secs(10);
/// Longest body: a task's name.
const BODY_BYTES_MAX: usize = 4_096;
/// Within this time refused attempts are one line of the audit trail, and bounded in number.
const REFUSALS_WINDOW: Duration = Duration::from_secs(60);
/// Refused attempts within that time; further ones answer 429 without being looked at.
const REFUSALS_MAX: u32 = 60;

/// A bearer token. Kept as its hash, so that what is compared has one length, and nothing prints it.
#[derive(Clone, Copy)]
pub struct Token(B256);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// From its text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(keccak256(text))
    }

    /// Compared in a time that does not depend on where they differ.
    fn is(&self, offered: &str) -> bool {
        self.0.as_slice().ct_eq(keccak256(offered).as_slice()).into()
    }
}

/// Where the operator's listener is and who may use it.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Its address.
    pub listen: SocketAddr,
    /// The token.
    pub token: Token,
}

#[derive(Debug)]
struct Shared {
    operator: Operator,
    token: Token,
    actions: Semaphore,
    refusals: Mutex<Refusals>,
}

/// Refused attempts of the last minute.
#[derive(Debug)]
struct Refusals {
    since: Instant,
    count: u32,
}

/// Takes the port, where there is an operator.
///
/// # Errors
/// [`NodeError::Listen`].
pub(crate) async fn listen(process: &ProcessConfig) -> Result<Option<TcpListener>, NodeError> {
    let Some(Admin { listen: address, .. }) = process.admin else { return Ok(None) };
    let bound = TcpListener::bind(address).await;
    let listener = bound.map_err(|error| NodeError::Listen { address, error })?;
    tracing::info!(%address, "admin");
    Ok(Some(listener))
}

/// Serves until `shutdown` is cancelled.
pub(crate) async fn run(
    listener: TcpListener,
    operator: Operator,
    token: Token,
    shutdown: CancellationToken,
) -> Result<(), NodeError> {
    let refusals = Mutex::new(Refusals { since: Instant::now(), count: 0 });
    let shared = Shared { operator, token, actions: Semaphore::new(ACTIONS_MAX), refusals };
    let app = Router::new().fallback(handle).with_state(Arc::new(shared));
    let (close, closing) = watch::channel(false);
    tokio::spawn(async move {
        shutdown.cancelled().await;
        close.send_replace(true);
    });
    let limits = ClientLimits { cost_per_sec: 0, connections: CONNECTIONS_MAX, arrival: ARRIVAL };
    accept(listener, app, limits, closing).await;
    Ok(())
}

fn refuse(status: StatusCode, reason: &str) -> Response {
    (status, Json(json!({ "error": reason }))).into_response()
}

async fn handle(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let offered = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let offered = offered.and_then(|value| value.strip_prefix("Bearer "));
    if !offered.is_some_and(|offered| shared.token.is(offered.trim())) {
        return shared.unauthorized(from, offered.is_some(), uri.path()).await;
    }
    let name = uri.path().strip_prefix("/admin/v1/").unwrap_or_default();
    if name == "status" {
        return match method {
            Method::GET => Json(shared.operator.status()).into_response(),
            _ => not_allowed("GET"),
        };
    }
    let Ok(action) = name.parse::<Action>() else {
        let actions = Action::ALL.map(Action::name).join(", ");
        let reason = format!("no such action; there are {actions}, and GET status");
        return refuse(StatusCode::NOT_FOUND, &reason);
    };
    if method != Method::POST {
        return not_allowed("POST");
    }
    let Ok(_permit) = shared.actions.try_acquire() else {
        let reason = format!("{ACTIONS_MAX} actions are being worked on: try again");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, &reason);
    };
    match task_of(body).await {
        Ok(task) => shared.act(action, &task, from).await,
        Err(refusal) => refusal,
    }
}

fn not_allowed(allowed: &'static str) -> Response {
    let mut response = refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("use {allowed} for this"));
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    response
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// Whose transaction: `poster` or `proposer`.
    task: Option<String>,
}

/// Whose transaction a body names; the poster's where there is none.
async fn task_of(body: Body) -> Result<String, Response> {
    let reading = tokio::time::timeout(ARRIVAL, to_bytes(body, BODY_BYTES_MAX)).await;
    let Ok(reading) = reading else {
        return Err(refuse(StatusCode::REQUEST_TIMEOUT, "the body took too long"));
    };
    let expected = "expected no body, or {\"task\": \"poster\"} or {\"task\": \"proposer\"}";
    let refused = || refuse(StatusCode::BAD_REQUEST, expected);
    let bytes = reading.map_err(|_| refused())?;
    if bytes.is_empty() {
        return Ok(POSTER.into());
    }
    let parameters: Parameters = serde_json::from_slice(&bytes).map_err(|_| refused())?;
    let task = parameters.task.unwrap_or_else(|| POSTER.into());
    if [POSTER, batcher::proposer::PROPOSER].contains(&task.as_str()) {
        Ok(task)
    } else {
        Err(refused())
    }
}

impl Shared {
    /// Applies an action to its end, also when whoever asked does not wait for it.
    async fn act(&self, action: Action, task: &str, from: SocketAddr) -> Response {
        let (operator, task) = (self.operator.clone(), task.to_owned());
        let acting = tokio::spawn(async move {
            let applied = operator.apply(action, &task).await;
            let outcome = match &applied {
                Ok(answer) => answer.to_string(),
                Err(error) => format!("refused: {error}"),
            };
            tracing::info!(%action, %from, outcome, "admin");
            operator.audit(action, &from.to_string(), &outcome).await;
            applied
        });
        let Ok(applied) = acting.await else {
            return refuse(StatusCode::INTERNAL_SERVER_ERROR, "the action failed");
        };
        match applied {
            Ok(answer) => Json(answer).into_response(),
            Err(error) => refuse(status_of(&error), &error.to_string()),
        }
    }

    async fn unauthorized(&self, from: SocketAddr, has_token: bool, path: &str) -> Response {
        let (count, before) = {
            let mut refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
            let mut before = 0;
            if refusals.count == 0 || refusals.since.elapsed() >= REFUSALS_WINDOW {
                before = refusals.count.saturating_sub(1);
                *refusals = Refusals { since: Instant::now(), count: 0 };
            }
            refusals.count = refusals.count.saturating_add(1);
            (refusals.count, before)
        };
        if count == 1 {
            let what = if has_token { "a wrong token" } else { "no token" };
            let path: String = path.chars().take(80).collect();
            let more = format!("; {before} more in the last window");
            let more = if before > 0 { more.as_str() } else { "" };
            let detail = format!("from {from}: {what} for {path}{more}");
            note(&self.operator.ledger, "admin refused", &detail).await;
        }
        if count > REFUSALS_MAX {
            return refuse(StatusCode::TOO_MANY_REQUESTS, "too many requests without a token");
        }
        let mut response =
            refuse(StatusCode::UNAUTHORIZED, "expected the header `authorization: Bearer TOKEN`");
        let challenge = header::HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        response
    }
}

fn status_of(error: &ActionError) -> StatusCode {
    match error {
        ActionError::NoSender(_)
        | ActionError::Paused
        | ActionError::Halted { .. }
        | ActionError::Cancel(_) => StatusCode::CONFLICT,
        ActionError::GoingOn { .. } => StatusCode::GATEWAY_TIMEOUT,
        ActionError::Source(_) => StatusCode::BAD_GATEWAY,
        ActionError::Ledger(_) | ActionError::StaysPaused(_) => StatusCode::INTERNAL_SERVER_ERROR,
        ActionError::Stopping => StatusCode::SERVICE_UNAVAILABLE,
    }
}
