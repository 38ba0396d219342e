//! Reading L1 through every source of blobs, and distrusting it.

use crate::support::world::World;
use alloy::{eips::BlockNumberOrTag, eips::eip4844::Blob, primitives::B256};
use batcher::{
    carrier::DataAvailability,
    encoder::BlockId,
    l1::{
        BlobArchive, BlobRequest, BlobSource, FirstOf, InboxPosition, InboxReader, L1Error,
        beacon::BeaconBlobs, blobs::BlobError,
    },
};
use std::sync::Arc;

async fn posted(world: &World) -> u64 {
    world.seal(2, 50).await;
    world.settle(&mut world.poster(DataAvailability::Blob)).await;
    let latest = world.inbox_reader().block_id(BlockNumberOrTag::Latest).await;
    latest.unwrap().unwrap().number
}

/// A source that answers with a blob of its own.
#[derive(Debug)]
struct Liar;

#[async_trait::async_trait]
impl BlobSource for Liar {
    async fn blobs(&self, request: &BlobRequest) -> Result<Vec<Blob>, BlobError> {
        Ok(vec![Blob::repeat_byte(1); request.hashes.len()])
    }
}

#[tokio::test]
async fn every_source_of_blobs_gives_the_same_bytes() {
    let Some(world) = World::new().await else { return };
    let latest = posted(&world).await;
    let start = InboxPosition::default();
    let expected = world.inbox_reader().appends(start, 0, latest).await.unwrap();
    assert_eq!(expected.len(), 1);
    assert!(expected[0].append.payload.is_ok());
    let directory = tempfile::tempdir().unwrap();
    let archive = || Some(BlobArchive::new(directory.path().into()));
    let reader = |archive, sources| {
        InboxReader::new(world.provider.clone(), world.inbox, FirstOf::new(archive, sources))
    };
    let beacon = BeaconBlobs::anvil(reqwest::Client::new(), world.anvil.url.clone());
    let empty = reader(archive(), Vec::new());
    let error = empty.appends(start, 0, latest).await.unwrap_err();
    assert!(matches!(error, L1Error::BlobsUnavailable(_)), "{error}");
    // A liar in front delays nothing; what the beacon endpoint gives is archived.
    let beacon = reader(archive(), vec![Arc::new(Liar), Arc::new(beacon)]);
    assert_eq!(beacon.appends(start, 0, latest).await.unwrap(), expected);
    assert_eq!(empty.appends(start, 0, latest).await.unwrap(), expected);
    // A damaged archive is noticed.
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[40] ^= 1;
        std::fs::write(path, bytes).unwrap();
    }
    let error = empty.appends(start, 0, latest).await.unwrap_err();
    assert!(matches!(error, L1Error::BlobsUnavailable(_)), "{error}");
}

#[tokio::test]
async fn appends_must_continue_the_position() {
    let Some(world) = World::new().await else { return };
    let latest = posted(&world).await;
    let reader = world.inbox_reader();
    let elsewhere = InboxPosition { next_batch: 0, acc: B256::repeat_byte(1) };
    let error = reader.appends(elsewhere, 0, latest).await.unwrap_err();
    assert!(matches!(error, L1Error::Reorged), "{error}");
    let position = world.position().await;
    assert_eq!(reader.appends(position, 0, latest).await.unwrap(), []);
}

#[tokio::test]
async fn an_l1_block_is_followed_only_by_its_child() {
    let Some(world) = World::new().await else { return };
    let reader = world.block_reader();
    let latest = reader.block_id(BlockNumberOrTag::Latest).await.unwrap().unwrap();
    assert_eq!(reader.next(latest).await.unwrap(), None);
    world.mine(1).await;
    let child = reader.next(latest).await.unwrap().unwrap();
    assert_eq!((child.origin.parent_hash, child.origin.number), (latest.hash, latest.number + 1));
    assert!(child.origin.blob_base_fee_wei >= 1 && child.origin.base_fee_wei > 0);
    let other = BlockId { hash: B256::ZERO, ..latest };
    let error = reader.next(other).await.unwrap_err();
    assert!(matches!(error, L1Error::Reorged), "{error}");
}
