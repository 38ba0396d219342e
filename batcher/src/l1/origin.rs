//! L1 blocks as origins of L2 blocks: the header's fields and the deposits of the portal's events, both
//! checked against the block's hash.
//!
//! Owns the translation from L1 to [`L1Origin`] and [`Deposit`]. Does not follow the chain.

use super::{Contradiction, L1Error, Missing, Standing, block_id, retry, standing};
use crate::encoder::BlockId;
use alloy::{
    consensus::{TxReceipt, proofs::calculate_receipt_root},
    eips::{BlockNumberOrTag, eip7840::BlobParams},
    primitives::{Address, Log},
    providers::{DynProvider, Provider},
    rpc::types::Header,
};
use executor::{Deposit, L1Origin, deposit::TRANSACTION_DEPOSITED_TOPIC};

/// Which blob fee parameters apply on L1, by block timestamp (EIP-7892). Part of what every node
/// must agree on, because L2 blocks repeat L1's blob base fee.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlobFeeSchedule(Vec<(u64, BlobParams)>);

impl BlobFeeSchedule {
    /// From activation times in seconds since 1970, in any order. Blocks before the first have no
    /// blob fee.
    #[must_use]
    pub fn new(mut activations: Vec<(u64, BlobParams)>) -> Self {
        activations.sort_by_key(|(timestamp, _)| *timestamp);
        Self(activations)
    }

    /// One set of parameters for all time: a development chain.
    #[must_use]
    pub fn constant(params: BlobParams) -> Self {
        Self(vec![(0, params)])
    }

    fn blob_base_fee_wei(&self, header: &alloy::consensus::Header) -> Option<u128> {
        let active = self.0.iter().rev().find(|(from, _)| *from <= header.timestamp);
        header.blob_fee(active?.1)
    }
}

/// An L1 block as L2 sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct L1Block {
    /// The block.
    pub origin: L1Origin,
    /// Its deposits in log order.
    pub deposits: Vec<Deposit>,
}

/// Reads L1 blocks.
#[derive(Clone, Debug)]
pub struct L1BlockReader {
    provider: DynProvider,
    portal: Address,
    schedule: BlobFeeSchedule,
}

impl L1BlockReader {
    /// Reads through `provider` the deposits of `portal`.
    #[must_use]
    pub fn new(provider: DynProvider, portal: Address, schedule: BlobFeeSchedule) -> Self {
        Self { provider, portal, schedule }
    }

    /// Number and hash of the latest, safe or finalized block; `None` where L1 has none yet.
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

    /// The canonical block of this number with its deposits.
    ///
    /// # Errors
    /// [`L1Error`]; [`L1Error::Missing`] when there is no such block yet.
    pub async fn block(&self, number: u64) -> Result<L1Block, L1Error> {
        let tag = BlockNumberOrTag::Number(number);
        let block = retry(async || self.provider.get_block_by_number(tag).await).await?;
        let header = block.ok_or(L1Error::Missing(Missing::Block(number)))?.header;
        let origin = self.to_origin(&header)?;
        let deposits = self.deposits(&header).await?;
        Ok(L1Block { origin, deposits })
    }

    /// The child of `parent`, with its deposits; `None` when there is none yet.
    ///
    /// # Errors
    /// [`L1Error`]; [`L1Error::Reorged`] when the next block is not a child of `parent`.
    pub async fn next(&self, parent: BlockId) -> Result<Option<L1Block>, L1Error> {
        match self.block(parent.number + 1).await {
            Ok(block) if block.origin.parent_hash == parent.hash => Ok(Some(block)),
            Ok(_) => Err(L1Error::Reorged),
            Err(L1Error::Missing(Missing::Block(_))) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn to_origin(&self, header: &Header) -> Result<L1Origin, L1Error> {
        let inner = &header.inner;
        // The hash commits to every field used below, so only the hash is trusted.
        if inner.hash_slow() != header.hash {
            return Err(L1Error::Contradiction(Contradiction::Log(inner.number)));
        }
        let old = L1Error::Contradiction(Contradiction::OldBlock(inner.number));
        let (Some(base_fee_wei), Some(blob_base_fee_wei)) =
            (inner.base_fee_per_gas, self.schedule.blob_base_fee_wei(inner))
        else {
            return Err(old);
        };
        Ok(L1Origin {
            number: inner.number,
            hash: header.hash,
            parent_hash: inner.parent_hash,
            timestamp: inner.timestamp,
            base_fee_wei,
            blob_base_fee_wei,
            prevrandao: inner.mix_hash,
        })
    }

    /// The deposits of a block. Its bloom tells where there are none. Where there may be some, all
    /// receipts are read, to which the header commits: so none can be left out or made up.
    async fn deposits(&self, header: &Header) -> Result<Vec<Deposit>, L1Error> {
        let (number, hash) = (header.inner.number, header.hash);
        if !header.inner.logs_bloom.contains_raw_log(self.portal, &[TRANSACTION_DEPOSITED_TOPIC]) {
            return Ok(Vec::new());
        }
        let receipts = retry(async || self.provider.get_block_receipts(hash.into()).await).await?;
        let receipts = receipts.ok_or(L1Error::Missing(Missing::Receipts(number)))?;
        let receipts: Vec<_> =
            receipts.into_iter().map(|receipt| receipt.into_primitives_receipt().inner).collect();
        if calculate_receipt_root(&receipts) != header.inner.receipts_root {
            return Err(L1Error::Contradiction(Contradiction::Receipts(number)));
        }
        let logs = receipts.iter().flat_map(TxReceipt::logs).zip(0..);
        let ours = logs.filter(|(log, _)| {
            log.address == self.portal && log.topics().first() == Some(&TRANSACTION_DEPOSITED_TOPIC)
        });
        let deposit = |(log, index): (&Log, u64)| {
            Deposit::from_event(log.topics(), &log.data.data, hash, index)
        };
        Ok(ours.filter_map(deposit).collect())
    }
}
