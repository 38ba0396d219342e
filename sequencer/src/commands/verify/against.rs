//! Finds the first block in which a node differs from the derived chain. Trusts nothing of the
//! node: it only helps to say where to look.

use super::Comparison;
use alloy::{
    eips::BlockNumberOrTag,
    primitives::B256,
    providers::{Provider, ProviderBuilder},
    transports::http::reqwest::Url,
};

/// Compares the node's block hashes with `derived`, which holds one per block from genesis on. A
/// block's hash commits to its parent's, so the first difference is found by bisection.
pub(super) async fn compare(url: &Url, derived: &[B256]) -> Comparison {
    let node = ProviderBuilder::new().connect_http(url.clone());
    let hash_of = async |number: usize| {
        let tag = BlockNumberOrTag::Number(number as u64);
        let block = node.get_block_by_number(tag).await.ok()?;
        Some(block.map(|block| block.header.hash))
    };
    let (mut low, mut high) = (0, derived.len());
    let mut found = None;
    while low < high {
        let middle = usize::midpoint(low, high);
        let Some(hash) = hash_of(middle).await else { return Comparison::Unreachable };
        if hash == Some(derived[middle]) {
            low = middle + 1;
        } else {
            found = Some((middle, hash));
            high = middle;
        }
    }
    match found {
        None => Comparison::Equal,
        Some((number, node)) => {
            Comparison::FirstDifference { number: number as u64, derived: derived[number], node }
        }
    }
}
