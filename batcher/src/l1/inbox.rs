//! The Inbox's appends in order, with their bytes.
//!
//! Owns the checks that tie an append's bytes to its event and each event to the one before it.
//! Bytes that are not a blob packing are an outcome here ([`crate::format::Malformed`]), because
//! they are on L1 for ever. Does not read the frames in them.

use super::{
    Contradiction, FirstOf, L1Error, Missing, Standing,
    blobs::{BlobError, BlobRequest, Unavailable, archive_name, fetch, fetch_calldata, keep},
    block_id, retry, standing,
};
use crate::{archive::PayloadArchive, derive::Append, encoder::BlockId, format::blob::unpack};
use alloy::{
    consensus::Transaction as _,
    eips::BlockNumberOrTag,
    primitives::{Address, B256, Bytes, keccak256},
    providers::{DynProvider, Provider},
    rpc::types::{Filter, Log},
    sol_types::{SolCall, SolEvent},
};
use contracts::{Inbox, KIND_BLOB, KIND_CALLDATA, blobs_data_hash, inbox_accumulator};

/// Where the Inbox's list ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct InboxPosition {
    /// Id that the next append gets.
    pub next_batch: u64,
    /// Accumulator it is built on; zero while there is no append.
    pub acc: B256,
}

/// The Inbox as one L1 block sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxState {
    /// Where its list ends.
    pub position: InboxPosition,
    /// The account that may append.
    pub sequencer: Address,
}

/// An append and where on L1 it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostedAppend {
    /// The append.
    pub append: Append,
    /// Position before it.
    pub parent: InboxPosition,
    /// Its L1 block.
    pub l1_block: BlockId,
    /// Its L1 transaction.
    pub tx_hash: B256,
}

impl PostedAppend {
    /// Position after it.
    #[must_use]
    pub fn position(&self) -> InboxPosition {
        InboxPosition { next_batch: self.append.id + 1, acc: self.append.acc }
    }
}

/// An append as its event tells it.
#[derive(Debug)]
pub(super) struct Announced {
    parent: InboxPosition,
    log: Log,
    event: Inbox::BatchAppended,
}

impl Announced {
    /// Position after it.
    pub(super) fn position(&self) -> InboxPosition {
        InboxPosition { next_batch: self.event.id + 1, acc: self.event.acc }
    }
}

/// Reads the Inbox.
#[derive(Clone, Debug)]
pub struct InboxReader {
    provider: DynProvider,
    inbox: Address,
    blobs: FirstOf,
}

impl InboxReader {
    /// Reads `inbox` through `provider`, blobs from `blobs`.
    #[must_use]
    pub fn new(provider: DynProvider, inbox: Address, blobs: FirstOf) -> Self {
        Self { provider, inbox, blobs }
    }

    /// Where payloads are kept, if they are.
    #[must_use]
    pub fn archive(&self) -> Option<&PayloadArchive> {
        self.blobs.archive()
    }

    /// Number and hash of a block; `None` where L1 has none yet.
    ///
    /// # Errors
    /// [`L1Error::Rpc`].
    pub async fn block_id(&self, tag: BlockNumberOrTag) -> Result<Option<BlockId>, L1Error> {
        block_id(&self.provider, tag).await
    }

    /// What became of a block that L1 had.
    ///
    /// # Errors
    /// [`L1Error::Rpc`].
    pub async fn standing(&self, block: BlockId) -> Result<Standing, L1Error> {
        standing(&self.provider, block).await
    }

    /// The Inbox's accumulator after `block`, which commits to all of its list.
    ///
    /// # Errors
    /// [`L1Error`].
    pub(crate) async fn acc(&self, block: BlockId) -> Result<B256, L1Error> {
        let inbox = Inbox::new(self.inbox, self.provider.clone());
        call(inbox.acc().block(block.hash.into()).call().await)
    }

    /// The Inbox's state after `block`.
    ///
    /// # Errors
    /// [`L1Error`].
    pub async fn state(&self, block: BlockId) -> Result<InboxState, L1Error> {
        let inbox = Inbox::new(self.inbox, self.provider.clone());
        let id = block.hash.into();
        let next_batch = call(inbox.nextBatch().block(id).call().await)?;
        let acc = call(inbox.acc().block(id).call().await)?;
        let sequencer = call(inbox.sequencer().block(id).call().await)?;
        Ok(InboxState { position: InboxPosition { next_batch, acc }, sequencer })
    }

    /// The appends of L1 blocks `from..=to` without their bytes, checked to continue `position`.
    pub(super) async fn announced(
        &self,
        mut position: InboxPosition,
        from: u64,
        to: u64,
    ) -> Result<Vec<Announced>, L1Error> {
        let mut announced = Vec::new();
        for log in self.logs(from, to).await? {
            let event = Inbox::BatchAppended::decode_log(&log.inner)
                .map_err(|_| L1Error::Contradiction(Contradiction::Log(from)))?
                .data;
            if event.id < position.next_batch {
                continue;
            }
            check_event(position, &event)?;
            let next = Announced { parent: position, log, event };
            position = next.position();
            announced.push(next);
        }
        Ok(announced)
    }

    async fn logs(&self, from: u64, to: u64) -> Result<Vec<Log>, L1Error> {
        let filter = Filter::new()
            .address(self.inbox)
            .event_signature(Inbox::BatchAppended::SIGNATURE_HASH)
            .from_block(from)
            .to_block(to);
        let mut logs = retry(async || self.provider.get_logs(&filter).await).await?;
        logs.sort_by_key(|log| (log.block_number, log.log_index));
        Ok(logs)
    }

    /// An append with its bytes, which are checked.
    pub(super) async fn read(self, announced: Announced) -> Result<PostedAppend, L1Error> {
        let Announced { parent, log, event } = announced;
        let (Some(number), Some(hash), Some(tx_hash)) =
            (log.block_number, log.block_hash, log.transaction_hash)
        else {
            return Err(L1Error::Reorged);
        };
        let wrong = || L1Error::Contradiction(Contradiction::Payload(event.id));
        let payload = match event.kind {
            KIND_CALLDATA => {
                let data = self.calldata(BlockId { number, hash }, tx_hash, event.dataHash).await?;
                if keccak256(&data) != event.dataHash {
                    return Err(wrong());
                }
                Ok(data)
            }
            KIND_BLOB => {
                if blobs_data_hash(&event.blobHashes) != event.dataHash {
                    return Err(wrong());
                }
                let l1_timestamp = match log.block_timestamp {
                    Some(timestamp) => timestamp,
                    None => self.timestamp(number).await?,
                };
                let hashes = event.blobHashes;
                let request = BlobRequest { tx_hash, l1_block: number, l1_timestamp, hashes };
                unpack(&fetch(&self.blobs, &request).await?)
            }
            _ => return Err(wrong()),
        };
        let append = Append { id: event.id, acc: event.acc, l1_block: number, payload };
        Ok(PostedAppend { append, parent, l1_block: BlockId { number, hash }, tx_hash })
    }

    /// Calldata from the archive, from L1, or, when L1 does not have its transaction any more, from
    /// whoever has archived it. What L1 gives is checked by the caller.
    async fn calldata(
        &self,
        l1_block: BlockId,
        tx_hash: B256,
        data_hash: B256,
    ) -> Result<Bytes, L1Error> {
        let mut tried = Vec::new();
        if let Some(archive) = self.archive() {
            match archive.calldata(data_hash).await {
                Ok(Some(data)) => return Ok(data),
                Ok(None) => tried.push((archive_name(archive), BlobError::NotFound)),
                Err(error) => tried.push((archive_name(archive), error.into())),
            }
        }
        let transaction = retry(async || self.provider.get_transaction_by_hash(tx_hash).await);
        let data = match transaction.await? {
            Some(transaction) if transaction.block_hash != Some(l1_block.hash) => {
                return Err(L1Error::Reorged);
            }
            Some(transaction) => {
                let call = Inbox::appendCalldataCall::abi_decode(transaction.input());
                // Other bytes than the call's are caught by the data hash.
                call.map(|call| call.data).unwrap_or_default()
            }
            None => {
                tried.push(("the L1 node".into(), BlobError::NotFound));
                match fetch_calldata(&self.blobs, data_hash, &mut tried).await {
                    Some(data) => data,
                    None => {
                        let (l1_block, hashes) = (l1_block.number, vec![data_hash]);
                        let missing = Unavailable { tx_hash, l1_block, hashes, tried };
                        return Err(L1Error::Unavailable(Box::new(missing)));
                    }
                }
            }
        };
        if let Some(archive) = self.archive().filter(|_| keccak256(&data) == data_hash) {
            keep(archive.keep_calldata(&data).await, data_hash);
        }
        Ok(data)
    }

    async fn timestamp(&self, number: u64) -> Result<u64, L1Error> {
        let tag = BlockNumberOrTag::Number(number);
        let block = retry(async || self.provider.get_block_by_number(tag).await).await?;
        let block = block.ok_or(L1Error::Missing(Missing::Block(number)))?;
        Ok(block.header.timestamp)
    }
}

/// That an event continues `position`. Its own accumulator must be right; if only its parent is not
/// the caller's, the caller's L1 chain is gone.
fn check_event(position: InboxPosition, event: &Inbox::BatchAppended) -> Result<(), L1Error> {
    let acc = inbox_accumulator(event.parentAcc, event.id, event.kind, event.dataHash);
    if acc != event.acc {
        return Err(L1Error::Contradiction(Contradiction::Batch(event.id)));
    }
    if event.id != position.next_batch || event.parentAcc != position.acc {
        return Err(L1Error::Reorged);
    }
    Ok(())
}

/// A contract call's error as ours: the transport's stays, anything else means that no Inbox is
/// there, or not on this chain any more.
fn call<T>(result: Result<T, alloy::contract::Error>) -> Result<T, L1Error> {
    result.map_err(|error| match error {
        alloy::contract::Error::TransportError(error) => L1Error::Rpc(error),
        _ => L1Error::Contradiction(Contradiction::Batch(0)),
    })
}
