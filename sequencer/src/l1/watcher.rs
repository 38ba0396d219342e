//! Follows L1 block by block: every block is checked to be the child of the one before, written to
//! the ledger, then shown to the builder. An L1 reorg takes both back to the common ancestor. Another
//! block at the same height is one; an endpoint that does not have a block is waited for.
//!
//! Never gives up: while L1 is unreachable the node goes on sequencing on the last origin, and the
//! watcher catches up later. Stops only when the ledger fails or the reorg passes genesis.

use super::L1Chain;
use crate::store::ledger::{Ledger, LedgerError};
use alloy::eips::BlockNumberOrTag;
use batcher::{
    encoder::BlockId,
    l1::{L1Block, L1BlockReader, L1Error, Missing, Standing},
};
use std::{sync::Arc, time::Duration};

/// Why the watcher stopped; the node stops with it.
#[derive(Debug, thiserror::Error)]
pub enum WatcherError {
    /// The ledger cannot be written.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// L1 no longer contains the block that genesis is anchored to.
    #[error("L1 block {number} of the chain's genesis is not on L1 any more: this is another L1")]
    AnchorGone {
        /// Number of the anchor block.
        number: u64,
    },
    /// L1 was reorganised further back than is remembered.
    #[error("L1 was reorganised below block {number}, deeper than this node follows")]
    TooDeep {
        /// Oldest block that is remembered.
        number: u64,
    },
}

/// Follows L1.
#[derive(Debug)]
pub struct Watcher {
    /// Reads L1.
    pub reader: L1BlockReader,
    /// Keeps what was read.
    pub ledger: Ledger,
    /// What the builder sees.
    pub chain: Arc<L1Chain>,
    /// Number of the block that genesis is anchored to.
    pub anchor_number: u64,
    /// Wait between questions while there is nothing new.
    pub poll: Duration,
}

impl Watcher {
    /// Follows L1 until the ledger fails.
    ///
    /// # Errors
    /// [`WatcherError`].
    pub async fn run(self) -> Result<(), WatcherError> {
        let mut failing = false;
        loop {
            match self.step().await {
                Ok(progress) => {
                    if failing {
                        tracing::info!("L1 can be followed again");
                        failing = false;
                    }
                    if !progress {
                        tokio::time::sleep(self.poll).await;
                    }
                }
                Err(Step::Fatal(error)) => return Err(error),
                Err(Step::Retry(error)) => {
                    if !failing {
                        tracing::warn!(%error, "L1 cannot be followed; sequencing goes on");
                        failing = true;
                    }
                    tokio::time::sleep(self.poll).await;
                }
            }
        }
    }

    fn tip(&self) -> Option<BlockId> {
        let tip = self.chain.block(self.chain.tip_number())?;
        Some(BlockId { number: tip.origin.number, hash: tip.origin.hash })
    }

    /// Takes one block, or sees that there is none, or goes back by a reorg.
    async fn step(&self) -> Result<bool, Step> {
        let Some(tip) = self.tip() else { return Ok(false) };
        if !self.chain.has_room() {
            // The builder takes a block at every slot; until then L1 is only asked whether it lives.
            self.reader.block_id(BlockNumberOrTag::Latest).await?;
            self.chain.answered(tip.number);
            return Ok(false);
        }
        match self.reader.next(tip).await {
            Ok(Some(block)) => self.take(block).await,
            Ok(None) => match self.reader.standing(tip).await? {
                Standing::Canonical => {
                    self.chain.answered(tip.number);
                    Ok(false)
                }
                Standing::Lost => self.go_back(tip.number, tip.number).await,
                Standing::NotRead => self.go_back_on_shorter(tip.number).await,
            },
            Err(L1Error::Reorged) => self.go_back(tip.number, tip.number).await,
            Err(error) => Err(error.into()),
        }
    }

    async fn take(&self, block: L1Block) -> Result<bool, Step> {
        self.ledger.append_l1_block(&block.origin, &block.deposits).await?;
        if !block.deposits.is_empty() {
            let (l1_block, count) = (block.origin.number, block.deposits.len());
            tracing::info!(l1_block, count, "deposits");
        }
        self.chain.answered(block.origin.number);
        self.chain.push(block);
        Ok(true)
    }

    /// L1 does not go as far as the tip: it was reorganised only where its newest block is another one
    /// than was read at that height.
    async fn go_back_on_shorter(&self, tip_number: u64) -> Result<bool, Step> {
        let missing = || L1Error::Missing(Missing::Block(tip_number));
        let latest = self.reader.block_id(BlockNumberOrTag::Latest).await?;
        let latest = latest.ok_or_else(missing)?;
        match self.chain.standing(latest.number, latest.hash) {
            Standing::Lost => self.go_back(tip_number, latest.number).await,
            Standing::Canonical | Standing::NotRead => Err(missing().into()),
        }
    }

    /// Finds the newest block that is still on L1, at `from` or below, and forgets those after it.
    async fn go_back(&self, tip_number: u64, from: u64) -> Result<bool, Step> {
        let mut number = from;
        loop {
            let Some(known) = self.chain.block(number) else {
                return Err(fatal(WatcherError::TooDeep { number: number + 1 }));
            };
            match self.reader.standing(BlockId { number, hash: known.origin.hash }).await? {
                Standing::Canonical => break,
                Standing::Lost => {}
                Standing::NotRead => return Err(L1Error::Missing(Missing::Block(number)).into()),
            }
            if number <= self.anchor_number {
                return Err(fatal(WatcherError::AnchorGone { number }));
            }
            number -= 1;
        }
        if number == tip_number {
            // The endpoint's parts are not equally far: its next block follows another one.
            return Ok(false);
        }
        tracing::warn!(from = tip_number, to = number, "L1 was reorganised");
        self.ledger.rollback_l1_to(number).await?;
        self.chain.truncate(number);
        Ok(true)
    }
}

/// Why a step ended early.
enum Step {
    Retry(RetryError),
    Fatal(WatcherError),
}

/// What passes by itself.
#[derive(Debug, thiserror::Error)]
enum RetryError {
    #[error(transparent)]
    L1(#[from] L1Error),
    #[error(transparent)]
    Ledger(LedgerError),
}

impl From<LedgerError> for Step {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Unavailable(_) => Self::Retry(RetryError::Ledger(error)),
            error => Self::Fatal(error.into()),
        }
    }
}

impl From<L1Error> for Step {
    fn from(error: L1Error) -> Self {
        Self::Retry(error.into())
    }
}

fn fatal(error: WatcherError) -> Step {
    Step::Fatal(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ChainIdentity;
    use alloy::{
        consensus,
        eips::eip7840::BlobParams,
        primitives::{Address, B256},
        providers::{Provider, ProviderBuilder},
        rpc::types::{Block, Header},
    };
    use axum::{Json, Router, extract::State, routing::post};
    use batcher::l1::BlobFeeSchedule;
    use serde_json::{Value, json};
    use std::{
        path::Path,
        sync::{Mutex, PoisonError},
    };

    /// The headers that L1 has now, from block 0 on.
    type Headers = Arc<Mutex<Vec<Header>>>;

    /// `kept` and some more on top, up to block `last`; `extra` makes them others.
    fn chain(kept: &[Header], last: u64, extra: u8) -> Vec<Header> {
        let mut headers = kept.to_vec();
        for number in headers.len() as u64..=last {
            headers.push(Header::new(consensus::Header {
                number,
                parent_hash: headers.last().map_or(B256::ZERO, |parent| parent.hash),
                timestamp: 1_700_000_000 + 12 * number,
                base_fee_per_gas: Some(7),
                excess_blob_gas: Some(0),
                blob_gas_used: Some(0),
                extra_data: vec![extra].into(),
                ..consensus::Header::default()
            }));
        }
        headers
    }

    async fn answer(State(headers): State<Headers>, Json(request): Json<Value>) -> Json<Value> {
        assert_eq!(request["method"], "eth_getBlockByNumber");
        let headers = headers.lock().unwrap_or_else(PoisonError::into_inner);
        let found = match request["params"][0].as_str().unwrap() {
            "latest" => headers.last(),
            tag => headers.get(usize::from_str_radix(&tag[2..], 16).unwrap()),
        };
        let block = found.map(|header| Block { header: header.clone(), ..Block::default() });
        let block: Option<Block> = block;
        Json(json!({ "jsonrpc": "2.0", "id": request["id"], "result": block }))
    }

    /// A watcher at block 1 of an L1 of headers alone.
    async fn watcher(headers: &Headers, directory: &Path) -> Watcher {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
        let app = Router::new().route("/", post(answer)).with_state(headers.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        let provider = ProviderBuilder::new().connect_http(url).erased();
        let schedule = BlobFeeSchedule::constant(BlobParams::bpo1());
        let reader = L1BlockReader::new(provider, Address::ZERO, schedule);
        let identity = ChainIdentity { chain_id: 1, genesis_hash: B256::ZERO };
        let file = format!("sqlite://{}", directory.join("ledger.sqlite").display());
        let ledger = Ledger::connect(&file, &identity).await.unwrap();
        let anchor = reader.block(1).await.unwrap();
        ledger.append_l1_block(&anchor.origin, &[]).await.unwrap();
        let chain = Arc::new(L1Chain::new([anchor]));
        Watcher { reader, ledger, chain, anchor_number: 1, poll: Duration::ZERO }
    }

    /// Steps until there is nothing to do; false where L1 is waited for.
    async fn settle(watcher: &Watcher) -> bool {
        loop {
            match watcher.step().await {
                Ok(true) => {}
                Ok(false) => return true,
                Err(Step::Retry(RetryError::L1(L1Error::Missing(_)))) => return false,
                Err(_) => panic!("neither done nor waiting"),
            }
        }
    }

    async fn assert_tip(watcher: &Watcher, header: &Header) {
        let tip = BlockId { number: header.inner.number, hash: header.hash };
        assert_eq!(watcher.tip(), Some(tip));
        assert_eq!(watcher.ledger.l1_tip().await.unwrap().map(|tip| tip.hash), Some(tip.hash));
    }

    #[tokio::test]
    async fn an_l1_that_is_behind_is_waited_for_and_another_one_is_followed() {
        let all = chain(&[], 8, 0);
        let headers = Headers::new(Mutex::new(all.clone()));
        let directory = tempfile::tempdir().unwrap();
        let watcher = watcher(&headers, directory.path()).await;
        let set = |chain: Vec<Header>| *headers.lock().unwrap() = chain;
        assert!(settle(&watcher).await);
        assert_tip(&watcher, &all[8]).await;
        // Behind, also behind the anchor.
        for last in [7, 5, 0] {
            set(all[..=last].to_vec());
            assert!(!settle(&watcher).await);
            assert_tip(&watcher, &all[8]).await;
        }
        set(all.clone());
        assert!(settle(&watcher).await);
        assert_tip(&watcher, &all[8]).await;
        // Another one, and shorter.
        let other = chain(&all[..5], 6, 1);
        set(other.clone());
        assert!(settle(&watcher).await);
        assert_tip(&watcher, &other[6]).await;
        // As long, and longer.
        for last in [6, 9] {
            let another = chain(&all[..4], last, u8::try_from(last).unwrap());
            set(another.clone());
            assert!(settle(&watcher).await);
            assert_tip(&watcher, another.last().unwrap()).await;
        }
        // All the way to the anchor's place.
        set(chain(&[], 9, 3));
        assert!(matches!(watcher.step().await, Err(Step::Fatal(WatcherError::AnchorGone { .. }))));
    }
}
