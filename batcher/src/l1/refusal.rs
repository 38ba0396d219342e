//! What an endpoint's refusal to take a transaction means, read from its words: JSON-RPC has no codes for
//! them. Decides nothing about the transaction: what became of its nonce is read from L1.

use alloy::transports::{RpcError, TransportError};

/// What an endpoint's refusal to take a transaction means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
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

/// What the failure of a send means.
pub(crate) fn classify(error: &TransportError) -> Refusal {
    let RpcError::ErrorResp(payload) = error else { return Refusal::Transient };
    classify_words(&payload.message)
}

/// By the words that geth, reth, nethermind, besu and anvil use.
pub(crate) fn classify_words(message: &str) -> Refusal {
    let message = message.to_lowercase();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| has_phrase(&message, phrase));
    if says(&["already known", "already imported", "alreadyknown", "known transaction"]) {
        Refusal::Known
    } else if says(&["nonce too low", "nonce is too low", "oldnonce"]) {
        Refusal::NonceUsed
    } else if says(&[
        "underpriced",
        "replacementnotallowed",
        "feetoolow",
        "feetoolowtocompete",
        "block base fee",
        "block blob gas fee",
        "gas price below minimum",
        "gas price below configured minimum gas price",
    ]) {
        Refusal::Underpriced
    } else if says(&["insufficient funds", "insufficientfunds"]) {
        Refusal::Unfunded
    } else if says(&[
        "intrinsic gas",
        "insufficient gas for floor data gas cost",
        "exceeds block gas limit",
        "oversized data",
        "not supported",
        "unknown transaction type",
    ]) {
        Refusal::Final
    } else {
        Refusal::Transient
    }
}

/// Whether a phrase is there as whole words: "unknown transaction" does not say "known transaction".
fn has_phrase(message: &str, phrase: &str) -> bool {
    message.match_indices(phrase).any(|(at, _)| {
        let before = message[..at].chars().next_back();
        let after = message[at + phrase.len()..].chars().next();
        ![before, after].into_iter().flatten().any(char::is_alphanumeric)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_by_their_words() {
        // geth's blob pool.
        let blobs = "replacement transaction underpriced: new tx gas tip cap 2 < 1 queued + 100% replacement penalty";
        let minimum = "transaction gas price below minimum: gas tip cap 1, minimum needed 2";
        let floor = "insufficient gas for floor data gas cost: gas 21000, minimum needed 40000";
        for (message, refusal) in [
            ("already known", Refusal::Known),
            ("AlreadyKnown", Refusal::Known),
            ("transaction already imported", Refusal::Known),
            ("Known transaction", Refusal::Known),
            ("known transaction: 0xabcd", Refusal::Known),
            ("nonce too low", Refusal::NonceUsed),
            ("nonce too low: next nonce 5, tx nonce 3", Refusal::NonceUsed),
            ("replacement transaction underpriced", Refusal::Underpriced),
            (blobs, Refusal::Underpriced),
            ("max fee per gas less than block base fee", Refusal::Underpriced),
            ("max fee per blob gas less than block blob gas fee", Refusal::Underpriced),
            (minimum, Refusal::Underpriced),
            ("Gas price below configured minimum gas price", Refusal::Underpriced),
            ("ReplacementNotAllowed", Refusal::Underpriced),
            ("FeeTooLowToCompete", Refusal::Underpriced),
            ("Insufficient funds for gas * price + value", Refusal::Unfunded),
            ("intrinsic gas too low", Refusal::Final),
            (floor, Refusal::Final),
            ("oversized data: transaction size 140000, limit 131072", Refusal::Final),
            ("exceeds block gas limit", Refusal::Final),
            ("transaction type not supported", Refusal::Final),
            ("unknown transaction type", Refusal::Final),
            ("unknown transaction", Refusal::Transient),
            ("txpool is full", Refusal::Transient),
        ] {
            assert_eq!(classify_words(message), refusal, "{message}");
        }
    }
}
