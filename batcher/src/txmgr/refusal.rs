//! What an endpoint's refusal to take a transaction means, read from its words: JSON-RPC has no codes for
//! them. Decides nothing about the transaction: what became of its nonce is read from L1.

use alloy::transports::RpcError;

/// What an endpoint's refusal to take a transaction means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It has the transaction already.
    Known,
    /// The nonce is used.
    NonceUsed,
    /// Something with this nonce pays more, or all else does.
    Underpriced,
    /// The pool is in the way, or the endpoint cannot be reached: look again.
    Transient,
    /// The account has too little.
    Unfunded,
    /// The transaction itself is not acceptable.
    Final,
}

/// By the words that geth, reth, nethermind, besu and anvil use.
pub(super) fn classify(error: &alloy::transports::TransportError) -> Refusal {
    let RpcError::ErrorResp(payload) = error else { return Refusal::Transient };
    let message = payload.message.to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if says(&["already known", "already imported", "alreadyknown", "known transaction"]) {
        Refusal::Known
    } else if says(&["nonce too low", "nonce is too low", "oldnonce"]) {
        Refusal::NonceUsed
    } else if says(&["underpriced", "replacementnotallowed", "feetoolow", "block base fee"]) {
        Refusal::Underpriced
    } else if says(&["insufficient funds", "insufficientfunds"]) {
        Refusal::Unfunded
    } else if says(&["intrinsic gas", "exceeds block gas", "not supported"]) {
        Refusal::Final
    } else {
        Refusal::Transient
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::rpc::json_rpc::ErrorPayload;

    #[test]
    fn refusals_are_read_by_their_words() {
        let refusal = |message: &'static str| {
            let payload = ErrorPayload { code: -32000, message: message.into(), data: None };
            classify(&RpcError::ErrorResp(payload))
        };
        assert_eq!(refusal("already known"), Refusal::Known);
        assert_eq!(refusal("transaction already imported"), Refusal::Known);
        assert_eq!(refusal("nonce too low"), Refusal::NonceUsed);
        assert_eq!(refusal("replacement transaction underpriced"), Refusal::Underpriced);
        // geth's blob pool.
        let blobs = "replacement transaction underpriced: new tx gas tip cap 2 < 1 queued + 100% replacement penalty";
        assert_eq!(refusal(blobs), Refusal::Underpriced);
        assert_eq!(refusal("max fee per gas less than block base fee"), Refusal::Underpriced);
        assert_eq!(refusal("ReplacementNotAllowed"), Refusal::Underpriced);
        assert_eq!(refusal("Insufficient funds for gas * price + value"), Refusal::Unfunded);
        assert_eq!(refusal("intrinsic gas too low"), Refusal::Final);
        assert_eq!(refusal("txpool is full"), Refusal::Transient);
    }
}
