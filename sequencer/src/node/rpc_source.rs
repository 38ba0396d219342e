//! The chain of a sequencer in another process, over its JSON-RPC, as the batcher reads it.
//!
//! Blocks come as the bytes that hashes are made of (`debug_getRawBlock`), several in one request, and
//! are checked: the hash is computed from the header, the transactions make up its root. Which chain it
//! is follows from its genesis block. Reads only; decides nothing about what it reads.

use crate::rpc::{BLOCK_DISAGREES, Disagreement, STATE_UNAVAILABLE};
use alloy::{
    consensus::proofs::ordered_trie_root_with_encoder,
    primitives::{Address, B256, Bytes, U64, keccak256},
    rlp::{self, BufMut, Decodable, Header as RlpHeader},
    rpc::{client::BatchRequest, client::RpcClient, json_rpc::RpcError},
    transports::{TransportError, http::reqwest},
};
use async_trait::async_trait;
use batcher::{
    encoder::{BlockId, SourceBlock},
    l1::EndpointUrl,
    source::{BlockSource, SourceError},
};
use executor::{
    BlockInput, ExecutionWitness, Header, Mode, Transaction, Unrecovered, execute,
    genesis::output_root, recover,
};
use serde::Deserialize;
use std::{
    collections::VecDeque,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::sync::OnceCell;

/// Longest wait for one answer.
const REQUEST_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long a request is asked again, in all, while the sequencer's limits for one client hold it back: they
/// come back within seconds. Witnesses are what they hold back, some hundred blocks into a long channel.
const LIMITED_WAIT_MAX: Duration = Duration::from_secs(60);
/// Time between two such requests.
const LIMITED_AGAIN: Duration = Duration::from_millis(200);
/// Bytes of blocks that are asked for at once, as far as the last ones tell.
const AHEAD_BYTES: usize = 8 << 20;
/// Blocks that are asked for at once, at most.
const AHEAD_BLOCKS_MAX: usize = 64;
/// How long blocks that were read ahead are believed to be still canonical; each is handed out once.
const AHEAD_AGE_MAX: Duration = Duration::from_secs(2);
/// Longest raw block: columns of a block are bounded by what can be posted, deposits by L1's gas.
const BLOCK_BYTES_MAX: usize = 64 << 20;

/// The sequencer answers something that is not the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceFault {
    /// Its genesis block is another one.
    #[error("the sequencer's genesis block is {found}, the genesis file gives {expected}")]
    OtherChain {
        /// By the genesis file.
        expected: B256,
        /// The sequencer's.
        found: B256,
    },
    /// Bytes that are no block, or not the one that was asked for.
    #[error("the sequencer's block {0} does not decode, or is another block")]
    Block(u64),
    /// Transactions that are not those of the header.
    #[error("the transactions of the sequencer's block {0} do not make up its transactions root")]
    Transactions(u64),
    /// A witness that is none, is of another block, or is not enough to execute the block.
    #[error("the sequencer's witness of block {0} is not enough to execute it")]
    Witness(u64),
    /// An output root that does not follow from its parts.
    #[error("the sequencer's output root of block {0} does not follow from its parts")]
    Output(u64),
}

/// A sequencer's JSON-RPC.
#[derive(Debug)]
pub struct RpcSource {
    client: RpcClient,
    genesis_hash: B256,
    identified: OnceCell<()>,
    ahead: Mutex<Ahead>,
    /// The newest block when that was last asked for: nothing is asked for after it.
    head: AtomicU64,
}

/// Blocks that were read together with the one that was asked for.
#[derive(Debug)]
struct Ahead {
    blocks: VecDeque<SourceBlock>,
    read_at: Instant,
    /// Bytes of a block, by the last answer.
    block_bytes: usize,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Output {
    output_root: B256,
    block_ref: BlockRef,
    withdrawal_storage_root: B256,
    state_root: B256,
}

#[derive(Debug, Deserialize)]
struct BlockRef {
    hash: B256,
}

impl RpcSource {
    /// Reads the chain of `genesis_hash` at `url`. Nothing is asked yet; `None` when no HTTP client can be
    /// made.
    #[must_use]
    pub fn new(url: &EndpointUrl, genesis_hash: B256) -> Option<Self> {
        let http = reqwest::Client::builder().timeout(REQUEST_WAIT_MAX).build().ok()?;
        let client = RpcClient::new_http_with_client(http, url.url().clone());
        let ahead =
            Ahead { blocks: VecDeque::new(), read_at: Instant::now(), block_bytes: 1 << 20 };
        Some(Self {
            client,
            genesis_hash,
            identified: OnceCell::new(),
            ahead: Mutex::new(ahead),
            head: AtomicU64::new(0),
        })
    }

    fn ahead(&self) -> MutexGuard<'_, Ahead> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this is the chain: once it was seen to be it is not asked again.
    ///
    /// # Errors
    /// [`SourceError`], with a [`SourceFault`] inside when it is another chain.
    pub async fn identify(&self) -> Result<(), SourceError> {
        let identify = async || {
            let header: Bytes = self.call("debug_getRawHeader", "0x0").await?;
            let (expected, found) = (self.genesis_hash, keccak256(&header));
            let fault = SourceFault::OtherChain { expected, found };
            if expected == found { Ok(()) } else { Err(SourceError(fault.into())) }
        };
        self.identified.get_or_try_init(identify).await?;
        Ok(())
    }

    async fn call(&self, method: &'static str, parameter: &str) -> Result<Bytes, SourceError> {
        let ask = || self.client.request(method, (parameter,));
        patiently(ask).await.map_err(unanswered)
    }

    /// Takes a block that was read ahead.
    fn take_ahead(&self, number: u64) -> Option<SourceBlock> {
        let mut ahead = self.ahead();
        let is_next = ahead.blocks.front().is_some_and(|block| block.header.number == number);
        if !is_next || ahead.read_at.elapsed() > AHEAD_AGE_MAX {
            ahead.blocks.clear();
        }
        ahead.blocks.pop_front()
    }

    /// A block, and those after it as far as the sequencer has them.
    async fn read_from(&self, number: u64) -> Result<Option<SourceBlock>, SourceError> {
        let known = match self.head.load(Relaxed) {
            // Nobody asked for it.
            0 => u64::MAX,
            head => head.saturating_sub(number).saturating_add(1),
        };
        let count = AHEAD_BYTES / self.ahead().block_bytes.max(1);
        let count = count.min(usize::try_from(known).unwrap_or(usize::MAX));
        let count = count.clamp(1, AHEAD_BLOCKS_MAX);
        let read_at = Instant::now();
        let raw = patiently(|| self.raw_blocks(number, count)).await.map_err(unanswered)?;
        if raw.is_empty() {
            return Ok(None);
        }
        let block_bytes = raw.iter().map(|(_, raw)| raw.len()).sum::<usize>() / raw.len();
        let decoding = tokio::task::spawn_blocking(move || {
            raw.iter().map(|(number, raw)| decode(*number, raw)).collect::<Result<_, _>>()
        });
        let decoded = decoding.await.map_err(|error| SourceError(error.into()))?;
        let mut blocks: VecDeque<_> = decoded.map_err(|error| SourceError(error.into()))?;
        let first = blocks.pop_front();
        *self.ahead() = Ahead { blocks, read_at, block_bytes };
        Ok(first)
    }
}

impl RpcSource {
    /// Raw blocks from `number` on, `count` at most; none where the sequencer does not have the first.
    async fn raw_blocks(
        &self,
        number: u64,
        count: usize,
    ) -> Result<Vec<(u64, Bytes)>, TransportError> {
        let mut batch = BatchRequest::new(self.client.inner());
        let mut waiters = Vec::with_capacity(count);
        for number in (number..).take(count) {
            let call = batch.add_call::<_, Bytes>("debug_getRawBlock", &(U64::from(number),));
            waiters.push((number, call?));
        }
        batch.send().await?;
        let mut raw = Vec::with_capacity(count);
        for (number, waiter) in waiters {
            match waiter.await {
                Ok(block) => raw.push((number, block)),
                // The first one is asked for; those after it may be another time's.
                Err(_) if !raw.is_empty() => break,
                Err(error) if is_absent(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(raw)
    }
}

/// Asks again for as long as the sequencer's limits for one client hold it back.
async fn patiently<T, F: Future<Output = Result<T, TransportError>>>(
    mut ask: impl FnMut() -> F,
) -> Result<T, TransportError> {
    let until = Instant::now() + LIMITED_WAIT_MAX;
    loop {
        match ask().await {
            Err(error) if is_limited(&error) && Instant::now() < until => {
                tokio::time::sleep(LIMITED_AGAIN).await;
            }
            answered => return answered,
        }
    }
}

/// Whether only a limit is in the way, of the client or of the server (EIP-1474: limit exceeded).
fn is_limited(error: &TransportError) -> bool {
    matches!(error, RpcError::ErrorResp(error) if error.code == -32005)
}

fn unanswered(error: TransportError) -> SourceError {
    SourceError(error.into())
}

/// Whether the sequencer says that it does not have something, or not any more.
fn is_absent(error: &TransportError) -> bool {
    matches!(error, RpcError::ErrorResp(error) if matches!(error.code, -32000 | 4444))
}

/// What it means that there is no witness: `None` where the state is not kept, and the header that the
/// sequencer got itself where that is not the stored one's. Everything else may pass.
fn unwitnessed(input: &BlockInput, error: TransportError) -> Result<Option<Header>, SourceError> {
    let RpcError::ErrorResp(answer) = &error else { return Err(unanswered(error)) };
    let tag = answer.try_data_as::<String>().and_then(Result::ok);
    if answer.code == 4444 || tag.is_some_and(|tag| tag == STATE_UNAVAILABLE) {
        return Ok(None);
    }
    if answer.code != BLOCK_DISAGREES {
        return Err(unanswered(error));
    }
    let number = input.env.number;
    let told = answer.try_data_as::<Disagreement>().and_then(Result::ok);
    let header = told.and_then(|told| {
        let is_other = keccak256(&told.executed) != told.sealed && told.number == number;
        Header::decode(&mut &told.executed[..]).ok().filter(|_| is_other)
    });
    match header.filter(|header| header.parent_hash == input.env.parent_hash) {
        Some(header) => Ok(Some(header)),
        None => Err(SourceError(SourceFault::Witness(number).into())),
    }
}

#[async_trait]
impl BlockSource for RpcSource {
    async fn head(&self) -> Result<BlockId, SourceError> {
        self.identify().await?;
        self.ahead().blocks.clear();
        let raw = self.call("debug_getRawHeader", "latest").await?;
        let header = Header::decode(&mut &raw[..]);
        let number = header.map_err(|error| SourceError(error.into()))?.number;
        self.head.store(number, Relaxed);
        Ok(BlockId { number, hash: keccak256(&raw) })
    }

    async fn block(&self, number: u64) -> Result<Option<SourceBlock>, SourceError> {
        self.identify().await?;
        match self.take_ahead(number) {
            Some(block) => Ok(Some(block)),
            None => self.read_from(number).await,
        }
    }

    async fn replay(&self, input: &BlockInput) -> Result<Option<Header>, SourceError> {
        self.identify().await?;
        let number = input.env.number;
        let ask = || self.client.request("debug_executionWitness", (U64::from(number),));
        let witness: ExecutionWitness = match patiently(ask).await {
            Ok(witness) => witness,
            Err(error) => return unwitnessed(input, error),
        };
        let input = input.clone();
        let executed = tokio::task::spawn_blocking(move || {
            let state = witness.to_state().map_err(|_| SourceFault::Witness(number))?;
            // What is read is checked against the root in the parent's header, which is named by its hash.
            if state.parent().1 != input.env.parent_hash {
                return Err(SourceFault::Witness(number));
            }
            let block = execute(&state, &input, Mode::Sequential);
            block.map(|block| block.header).map_err(|_| SourceFault::Witness(number))
        });
        let executed = executed.await.map_err(|error| SourceError(error.into()))?;
        executed.map(Some).map_err(|fault| SourceError(fault.into()))
    }

    async fn output_root(&self, block: BlockId) -> Result<Option<B256>, SourceError> {
        self.identify().await?;
        let ask = || self.client.request("optimism_outputAtBlock", (U64::from(block.number),));
        let output: Output = match patiently(ask).await {
            Ok(output) => output,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(unanswered(error)),
        };
        let Output { output_root: root, block_ref, withdrawal_storage_root, state_root } = output;
        if block_ref.hash != block.hash {
            return Ok(None);
        }
        let raw = self.call("debug_getRawHeader", &format!("{:#x}", block.number)).await?;
        let fault = || SourceError(SourceFault::Output(block.number).into());
        let header = Header::decode(&mut &raw[..]).map_err(|_| fault())?;
        let computed = output_root(header.state_root, withdrawal_storage_root, block.hash);
        let follows = header.state_root == state_root && computed == root;
        if keccak256(&raw) == block.hash && follows { Ok(Some(root)) } else { Err(fault()) }
    }
}

/// A block from its RLP, as `debug_getRawBlock` gives it: header, transactions, no ommers.
fn decode(number: u64, raw: &Bytes) -> Result<SourceBlock, SourceFault> {
    let fault = |_: rlp::Error| SourceFault::Block(number);
    if raw.len() > BLOCK_BYTES_MAX {
        return Err(SourceFault::Block(number));
    }
    let mut content = &raw[..];
    let mut content = RlpHeader::decode_bytes(&mut content, true).map_err(fault)?;
    let before = content;
    let header = Header::decode(&mut content).map_err(fault)?;
    let hash = keccak256(&before[..before.len() - content.len()]);
    if header.number != number {
        return Err(SourceFault::Block(number));
    }
    let mut list = RlpHeader::decode_bytes(&mut content, true).map_err(fault)?;
    let mut transactions = Vec::new();
    while !list.is_empty() {
        transactions.push(raw_transaction(&mut list).map_err(fault)?);
    }
    let root = ordered_trie_root_with_encoder(&transactions, |raw, out| out.put_slice(raw));
    if root != header.transactions_root {
        return Err(SourceFault::Transactions(number));
    }
    let transactions = transactions.into_iter().map(decode_transaction).collect::<Option<_>>();
    let transactions = transactions.ok_or(SourceFault::Block(number))?;
    Ok(SourceBlock { header, hash, transactions })
}

/// The EIP-2718 bytes of the next transaction: a string where it is typed, a list where it is not.
fn raw_transaction(list: &mut &[u8]) -> Result<Bytes, rlp::Error> {
    let mut after = *list;
    let header = RlpHeader::decode(&mut after)?;
    if !header.list {
        return Bytes::decode(list);
    }
    let length = header.length_with_payload();
    let (raw, rest) = list.split_at_checked(length).ok_or(rlp::Error::InputTooShort)?;
    *list = rest;
    Ok(Bytes::copy_from_slice(raw))
}

/// Signed ones with the sender recovered, deposits as they are.
fn decode_transaction(raw: Bytes) -> Option<Transaction> {
    if raw.first() == Some(&executor::deposit::DEPOSIT_TX_TYPE) {
        return Transaction::decode_stored(raw, Address::ZERO).ok();
    }
    let decoded = [Unrecovered::decode(raw).ok()?];
    let sender = recover(&decoded).pop()?.ok()?;
    let [decoded] = decoded;
    Some(decoded.into_transaction(sender))
}
