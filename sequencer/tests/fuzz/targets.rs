//! The targets: what an input is, which inputs come from it, and what has to be true of its outcome.
//!
//! An outcome is a short text; inputs whose outcome is new are worth mutating further.

use super::{
    corpus,
    dice::Dice,
    json, rlp, transactions,
    world::{Fresh, World},
};
use crate::chain::CHAIN_ID;
use alloy::{
    consensus::{TxEnvelope, transaction::SignerRecoverable},
    eips::{Decodable2718, Encodable2718},
    primitives::{Bytes, hex, keccak256},
    rpc::types::Transaction as RpcTransaction,
};
use executor::{ChainRules, RollupRules, recover};
use sequencer::txpool::Admission;
use serde_json::{Value, json as json_of};

/// Entries that a batch may have.
const BATCH_ENTRIES_MAX: usize = 1_000;

/// What is fuzzed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Whole bodies.
    Envelope,
    /// Raw transactions, through admission and the pool.
    Transaction,
    /// The object of eth_getLogs and eth_newFilter.
    Filter,
    /// The parameters of eth_call and eth_estimateGas.
    Overrides,
}

impl Target {
    pub(crate) const ALL: [Self; 4] =
        [Self::Envelope, Self::Transaction, Self::Filter, Self::Overrides];

    /// As the command line names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Envelope => "envelope",
            Self::Transaction => "transaction",
            Self::Filter => "filter",
            Self::Overrides => "overrides",
        }
    }

    /// The committed inputs.
    pub(super) fn corpus(self) -> Vec<Vec<u8>> {
        corpus::read(match self {
            Self::Envelope => include_str!("corpus/envelope.txt"),
            Self::Transaction => include_str!("corpus/transaction.txt"),
            Self::Filter => include_str!("corpus/filter.txt"),
            Self::Overrides => include_str!("corpus/overrides.txt"),
        })
    }

    /// A new input, made of two known ones.
    pub(super) fn draw(
        self,
        world: &World,
        input: &[u8],
        other: &[u8],
        dice: &mut Dice,
    ) -> Vec<u8> {
        if self != Self::Transaction {
            return json::mutate(input, other, dice);
        }
        let fresh = dice.chance(40).then(|| transactions::draw(&world.alice, dice));
        let base = match fresh {
            Some(fresh) if dice.chance(40) => return fresh,
            Some(fresh) => fresh,
            None => input.to_vec(),
        };
        let base = base.as_slice();
        let mutated = if dice.chance(15) { None } else { rlp::mutate(base, dice) };
        mutated.unwrap_or_else(|| json::mutate_bytes(base, other, dice))
    }

    /// Runs an input. The outcome, or what must not have come out.
    pub(super) fn check(self, world: &World, input: &[u8]) -> Result<String, String> {
        let node = world.node();
        match self {
            Self::Envelope => check_body(&node, input),
            Self::Transaction => check_transaction(&node, input),
            Self::Filter => check_filter(&node, input),
            Self::Overrides => {
                let call = check_call(&node, "eth_call", input)?;
                Ok(format!("{call} / {}", check_call(&node, "eth_estimateGas", input)?))
            }
        }
    }
}

/// What an answer says, without the numbers in it. An answer that is no JSON-RPC, or that blames the
/// server, is an error.
fn outcome(answer: &Value) -> Result<String, String> {
    let wrong = |what: &str| Err(format!("{what}: {answer}"));
    if answer["jsonrpc"] != "2.0" {
        return wrong("no version");
    }
    let id = answer.get("id");
    if id.is_none_or(|id| id.is_object() || id.is_array() || id.is_boolean()) {
        return wrong("no id");
    }
    let (result, error) = (answer.get("result"), answer.get("error"));
    let error = match (result, error) {
        (Some(result), None) => return Ok(format!("result {}", kind(result))),
        (None, Some(error)) => error,
        _ => return wrong("neither result nor error, or both"),
    };
    let (Some(code), Some(message)) = (error["code"].as_i64(), error["message"].as_str()) else {
        return wrong("no code or no text");
    };
    if code == -32603 || message.is_empty() {
        return wrong("an internal error");
    }
    // Up to what it quotes of the input; an unknown method is quoted bare.
    if code == -32601 {
        return Ok("no such method".to_owned());
    }
    let words = message.chars().take_while(|c| !"`'\"".contains(*c));
    let words = words.filter(|c| !c.is_ascii_digit()).take(40);
    Ok(format!("{code} {}", words.collect::<String>()))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(text) if text.len() > 66 => "long string",
        Value::String(_) => "string",
        Value::Array(items) if items.is_empty() => "empty array",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn parsed(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| format!("the answer is no JSON: {error}: {text}"))
}

/// Whether an entry of a batch is a well-formed request without an id, which is not answered.
fn is_notification(entry: &Value) -> bool {
    let optional = |name: &str, is: fn(&Value) -> bool| entry.get(name).is_some_and(is);
    entry.is_object()
        && entry.get("id").is_none()
        && entry["jsonrpc"] == "2.0"
        && optional("method", Value::is_string)
}

fn check_body(node: &Fresh<'_>, body: &[u8]) -> Result<String, String> {
    let answer = node.answer(body);
    let answer = match answer.as_deref().map(parsed).transpose() {
        // An id is echoed as it came, also a number beyond what this reader holds.
        Err(error) if error.contains("number out of range") => {
            return Ok("an id out of range".to_owned());
        }
        other => other?,
    };
    // Deeper than this reader goes, or no JSON at all: then all that counts is the answer's form.
    let asked = serde_json::from_slice::<Value>(body).ok();
    match (asked, answer) {
        (_, None) => Ok("silence".to_owned()),
        (Some(Value::Array(entries)), Some(Value::Array(answers))) => {
            if entries.is_empty() || entries.len() > BATCH_ENTRIES_MAX {
                return Err(format!("{} entries were answered", entries.len()));
            }
            let expected = entries.iter().filter(|entry| !is_notification(entry)).count();
            // A name that is there twice, which this reader does not see, makes a bad request.
            if !(expected..=entries.len()).contains(&answers.len()) {
                return Err(format!("{} answers, expected {expected}", answers.len()));
            }
            let mut outcomes = answers.iter().map(outcome).collect::<Result<Vec<_>, _>>()?;
            outcomes.dedup();
            outcomes.truncate(2);
            Ok(format!("batch: {}", outcomes.join(", ")))
        }
        (_, Some(Value::Array(answers))) => {
            let outcomes = answers.iter().map(outcome).collect::<Result<Vec<_>, _>>()?;
            Ok(format!("deep batch: {}", outcomes.first().map_or("", String::as_str)))
        }
        (asked, Some(answer)) => {
            let given = asked.as_ref().and_then(|asked| asked.get("id"));
            let echoes = given.is_none_or(|id| *id == answer["id"] || answer["id"].is_null());
            if !echoes {
                return Err(format!("another id: {answer}"));
            }
            let method = asked.as_ref().and_then(|asked| asked["method"].as_str());
            let known = method.filter(|method| json::METHODS.contains(method)).unwrap_or("other");
            Ok(format!("{known} {}", outcome(&answer)?))
        }
    }
}

fn check_transaction(node: &Fresh<'_>, raw: &[u8]) -> Result<String, String> {
    let bytes = Bytes::copy_from_slice(raw);
    let rules = ChainRules::Rollup(RollupRules { chain_id: CHAIN_ID, ..RollupRules::default() });
    let decoded = Admission::new(&rules).decode(bytes.clone());
    let decoded = decoded.and_then(|transaction| {
        let sender = recover(std::slice::from_ref(&transaction)).remove(0)?;
        Ok(transaction.into_transaction(sender))
    });
    if let Ok(transaction) = &decoded {
        if *transaction.raw() != bytes || transaction.hash() != keccak256(raw) {
            return Err("not the transaction that was sent".to_owned());
        }
        let mut rest = raw;
        let envelope = TxEnvelope::decode_2718(&mut rest).map_err(|error| error.to_string())?;
        let signer = envelope.recover_signer().map_err(|error| error.to_string())?;
        if !rest.is_empty() || signer != transaction.sender() {
            return Err(format!("another sender: {signer}"));
        }
    }
    let params = json_of!([bytes]);
    let text = node.call("eth_sendRawTransaction", params.to_string().as_bytes());
    let answer = parsed(&text.ok_or("no answer")?)?;
    let said = outcome(&answer)?;
    let Some(hash) = answer.get("result") else {
        return match decoded {
            // What admission lets through, the pool may still refuse, in its own words.
            Ok(_) if answer["error"]["code"] == -32000 => Ok(format!("pool: {said}")),
            Ok(_) => Err(format!("admitted, then {answer}")),
            Err(error) if answer["error"]["message"] == error.to_string() => Ok(said),
            Err(error) => Err(format!("refused with {error}, answered {answer}")),
        };
    };
    let (Ok(transaction), true) = (decoded, *hash == json_of!(keccak256(raw))) else {
        return Err(format!("accepted what is refused, or another hash: {answer}"));
    };
    let read = node.result("eth_getTransactionByHash", json_of!([hash]))?;
    let read: RpcTransaction = serde_json::from_value(read).map_err(|error| error.to_string())?;
    if read.inner.encoded_2718() != raw || read.inner.signer() != transaction.sender() {
        return Err("reads back as another transaction".to_owned());
    }
    let given_back = node.result("eth_getRawTransactionByHash", json_of!([hash]))?;
    if given_back != json_of!(bytes) {
        return Err(format!("raw bytes read back as {given_back}"));
    }
    Ok(format!("accepted, type {}", transaction.ty()))
}

/// Whether `wanted` is the value, a list with it, or a list without constraint.
fn allows(wanted: Option<&Value>, value: Option<&Value>) -> bool {
    let same = |one: &Value, other: &Value| match (one.as_str(), other.as_str()) {
        (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
        _ => one == other,
    };
    match wanted {
        None | Some(Value::Null) => true,
        Some(Value::Array(many)) if many.is_empty() || many.contains(&Value::Null) => true,
        Some(Value::Array(many)) => many.iter().any(|one| value.is_some_and(|v| same(one, v))),
        Some(one) => value.is_some_and(|v| same(one, v)),
    }
}

fn check_filter(node: &Fresh<'_>, filter: &[u8]) -> Result<String, String> {
    let params = [b"[", filter, b"]"].concat();
    let text = node.call("eth_getLogs", &params).ok_or("no answer")?;
    let answer = parsed(&text)?;
    let said = outcome(&answer)?;
    let asked = serde_json::from_slice::<Value>(filter).unwrap_or_default();
    for log in answer["result"].as_array().into_iter().flatten() {
        let topics = log["topics"].as_array().ok_or("no topics")?;
        let wanted = asked["topics"].as_array().map_or(&[][..], Vec::as_slice);
        let mut positions = wanted.iter().enumerate();
        // The prefix may be left out in hex, which only our reader knows; then nothing is compared.
        let comparable = hex_is_prefixed(&asked["address"]) && hex_is_prefixed(&asked["topics"]);
        let matches = wanted.len() <= topics.len()
            && allows(asked.get("address"), log.get("address"))
            && positions.all(|(at, wanted)| allows(Some(wanted), topics.get(at)));
        if comparable && asked.is_object() && !matches {
            return Err(format!("a log that was not asked for: {log}"));
        }
    }
    let installed = parsed(&node.call("eth_newFilter", &params).ok_or("no answer")?)?;
    let mut all = vec![said, outcome(&installed)?];
    if let Some(id) = installed.get("result") {
        for method in ["eth_getFilterChanges", "eth_getFilterLogs"] {
            let params = json_of!([id]).to_string();
            let text = node.call(method, params.as_bytes()).ok_or("no answer")?;
            all.push(outcome(&parsed(&text)?)?);
        }
    }
    Ok(all.join(" / "))
}

fn hex_is_prefixed(value: &Value) -> bool {
    match value {
        Value::String(text) => text.get(..2) == Some("0x"),
        Value::Array(items) => items.iter().all(hex_is_prefixed),
        _ => true,
    }
}

fn check_call(node: &Fresh<'_>, method: &str, params: &[u8]) -> Result<String, String> {
    let text = node.call(method, params).ok_or("no answer")?;
    let answer = parsed(&text)?;
    if let Some(result) = answer["result"].as_str() {
        let digits = result.strip_prefix("0x").ok_or_else(|| format!("no hex: {answer}"))?;
        let padded = if digits.len() % 2 == 0 { digits.to_owned() } else { format!("0{digits}") };
        hex::decode(padded).map_err(|error| error.to_string())?;
    }
    outcome(&answer)
}
