//! JSON-RPC 2.0 itself: from bytes to requests, and from outcomes to bytes.
//!
//! Parameters and results stay raw JSON here. Knows no method.

use super::error::RpcError;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Entries of one batch; a longer one is refused as a whole. geth's limit.
pub(super) const BATCH_ENTRIES_MAX: usize = 1_000;
/// Bytes of all answers of a batch; further entries answer "response too large". geth's limit.
pub(super) const BATCH_RESPONSE_BYTES_MAX: usize = 25_000_000;
/// Characters of an unknown method's name that are repeated in the error.
const METHOD_ECHO_MAX: usize = 64;

/// One request.
#[derive(Debug)]
pub(super) struct Request<'a> {
    /// Absent in a notification, which is not answered.
    pub(super) id: Option<&'a RawValue>,
    pub(super) method: Cow<'a, str>,
    pub(super) params: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// An explicit null counts as present.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// What a body holds.
#[derive(Debug)]
pub(super) enum Body<'a> {
    Single(&'a RawValue),
    Batch(Vec<&'a RawValue>),
}

impl<'a> Body<'a> {
    /// Reads the outer form.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, RpcError> {
        let whole: &RawValue = serde_json::from_slice(bytes).map_err(|_| RpcError::Parse)?;
        if !whole.get().starts_with('[') {
            return Ok(Self::Single(whole));
        }
        let entries: Vec<&RawValue> =
            serde_json::from_str(whole.get()).map_err(|_| RpcError::Parse)?;
        match entries.len() {
            0 => Err(RpcError::EmptyBatch),
            1..=BATCH_ENTRIES_MAX => Ok(Self::Batch(entries)),
            _ => Err(RpcError::BatchTooLarge),
        }
    }
}

impl<'a> Request<'a> {
    /// Reads one entry. What is no request gives back its id, when there is a usable one.
    pub(super) fn parse(entry: &'a RawValue) -> Result<Self, Option<&'a RawValue>> {
        let fields: Fields<'a> = serde_json::from_str(entry.get()).map_err(|_| None)?;
        let id = fields.id.filter(|id| is_id(id));
        if fields.id.is_some() && id.is_none() {
            return Err(None);
        }
        let version_is_known = fields.jsonrpc.as_deref().is_some_and(|version| version == "2.0");
        match fields.method {
            Some(method) if version_is_known => Ok(Self { id, method, params: fields.params }),
            _ => Err(id),
        }
    }
}

/// A string, a number or null. A string has to be one: half of a surrogate pair as an escape is JSON
/// by its grammar, and what echoes it cannot be read by most.
fn is_id(id: &RawValue) -> bool {
    let text = id.get();
    match text.as_bytes().first() {
        Some(b'"') => !text.contains('\\') || serde_json::from_str::<Cow<'_, str>>(text).is_ok(),
        first => matches!(first, Some(b'-' | b'0'..=b'9' | b'n')),
    }
}

/// A result that is already JSON, or an error.
pub(super) type Outcome = Result<Box<RawValue>, RpcError>;

/// Writes the response object.
pub(super) fn response(id: Option<&RawValue>, outcome: &Outcome) -> String {
    let id = id.map_or("null", RawValue::get);
    match outcome {
        Ok(result) => {
            let result = result.get();
            let mut out = String::with_capacity(result.len() + id.len() + 40);
            out.push_str(r#"{"jsonrpc":"2.0","id":"#);
            out.push_str(id);
            out.push_str(r#","result":"#);
            out.push_str(result);
            out.push('}');
            out
        }
        Err(error) => {
            let message = serde_json::Value::from(error.to_string());
            let code = error.code();
            let data = error.data();
            let data = data.map_or_else(String::new, |data| format!(r#","data":{}"#, data.get()));
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":{code},"message":{message}{data}}}}}"#
            )
        }
    }
}

/// Writes a subscription's notification.
pub(super) fn notification(subscription: &str, result: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"eth_subscription","params":{{"subscription":"{subscription}","result":{result}}}}}"#
    )
}

/// The error for a method that is not here.
pub(super) fn method_not_found(method: &str) -> RpcError {
    RpcError::MethodNotFound { method: method.chars().take(METHOD_ECHO_MAX).collect() }
}

/// Positional parameters, read one by one with their own types.
#[derive(Debug)]
pub(super) struct Params<'a> {
    values: Vec<&'a RawValue>,
}

impl<'a> Params<'a> {
    /// Splits the array; at most `max` values.
    pub(super) fn parse(raw: Option<&'a RawValue>, max: usize) -> Result<Self, RpcError> {
        let values: Vec<&'a RawValue> = match raw.map(RawValue::get) {
            None | Some("null") => Vec::new(),
            Some(text) if text.starts_with('[') => {
                serde_json::from_str(text).map_err(|_| RpcError::NonArrayParams)?
            }
            Some(_) => return Err(RpcError::NonArrayParams),
        };
        if values.len() > max {
            return Err(RpcError::TooManyParams { max });
        }
        Ok(Self { values })
    }

    /// As they came.
    pub(super) fn values(&self) -> &[&'a RawValue] {
        &self.values
    }

    /// A parameter that must be there.
    pub(super) fn required<T: Deserialize<'a>>(&self, index: usize) -> Result<T, RpcError> {
        let value = self.values.get(index).ok_or(RpcError::MissingParam { index })?;
        if value.get() == "null" {
            return Err(RpcError::MissingParam { index });
        }
        read(value, index)
    }

    /// A parameter that may be absent or null.
    pub(super) fn optional<T: Deserialize<'a>>(&self, index: usize) -> Result<Option<T>, RpcError> {
        match self.values.get(index) {
            Some(value) if value.get() != "null" => read(value, index).map(Some),
            _ => Ok(None),
        }
    }
}

fn read<'a, T: Deserialize<'a>>(value: &'a RawValue, index: usize) -> Result<T, RpcError> {
    serde_json::from_str(value.get()).map_err(|source| RpcError::InvalidParam { index, source })
}
