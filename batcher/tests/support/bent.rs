//! A way to an anvil on which a test changes what comes back, as an endpoint that is behind, refuses or
//! is several of different heights would.

use super::world::World;
use alloy::{
    providers::{DynProvider, Provider, ProviderBuilder},
    rpc::{
        client::RpcClient,
        json_rpc::{ErrorPayload, RequestPacket, Response, ResponsePacket, ResponsePayload},
    },
    transports::{
        TransportError, TransportFut,
        http::{Http, reqwest},
    },
};
use serde_json::{Value, value::RawValue};
use std::{
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tower_service::Service;

/// What becomes of a request.
pub(crate) enum Answer {
    /// L1's own.
    Own,
    /// This one instead.
    Other(Value),
    /// The endpoint refuses.
    Refused(&'static str),
}

type Rule = Box<dyn FnMut(&str, &Value) -> Answer + Send>;

/// The transport. Clones share the rule.
#[derive(Clone)]
pub(crate) struct Bent {
    http: Http<reqwest::Client>,
    rule: Arc<Mutex<Rule>>,
}

impl Bent {
    /// To the world's L1, as it is.
    pub(crate) fn to(world: &World) -> Self {
        let rule: Rule = Box::new(|_, _| Answer::Own);
        let http = Http::new(world.anvil.url.parse().unwrap());
        Self { http, rule: Arc::new(Mutex::new(rule)) }
    }

    /// From now on each request's method and parameters are asked about.
    pub(crate) fn bend(&self, rule: impl FnMut(&str, &Value) -> Answer + Send + 'static) {
        *self.rule.lock().unwrap() = Box::new(rule);
    }

    /// From now on all answers are L1's own.
    pub(crate) fn straighten(&self) {
        self.bend(|_, _| Answer::Own);
    }

    /// From now on the endpoint has the blocks up to `number` only.
    pub(crate) fn lag(&self, number: u64, latest: Value) {
        self.bend(move |method, params| match (method, params[0].as_str()) {
            ("eth_getBlockByNumber", Some("latest")) => Answer::Other(latest.clone()),
            ("eth_getBlockByNumber", Some(tag)) if height(tag).is_some_and(|n| n > number) => {
                Answer::Other(Value::Null)
            }
            _ => Answer::Own,
        });
    }

    pub(crate) fn provider(&self) -> DynProvider {
        ProviderBuilder::new().connect_client(RpcClient::new(self.clone(), true)).erased()
    }
}

/// The number in a block parameter.
pub(crate) fn height(tag: &str) -> Option<u64> {
    u64::from_str_radix(tag.strip_prefix("0x")?, 16).ok()
}

impl Service<RequestPacket> for Bent {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, packet: RequestPacket) -> Self::Future {
        let request = packet.as_single().unwrap();
        let params = request.params().map_or("null", RawValue::get);
        let params = serde_json::from_str(params).unwrap();
        let answer = (self.rule.lock().unwrap())(request.method(), &params);
        let id = request.id().clone();
        let payload = match answer {
            Answer::Own => return self.http.call(packet),
            Answer::Other(value) => {
                ResponsePayload::Success(serde_json::value::to_raw_value(&value).unwrap())
            }
            Answer::Refused(why) => ResponsePayload::Failure(ErrorPayload {
                code: -32_000,
                message: why.into(),
                data: None,
            }),
        };
        Box::pin(async move { Ok(ResponsePacket::Single(Response { id, payload })) })
    }
}
