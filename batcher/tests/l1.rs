//! Reading L1 through every source of blobs, and distrusting it.

use crate::support::{
    anvil::account,
    bent::{Answer, Bent},
    world::{World, appends},
};
use alloy::{
    eips::{BlockNumberOrTag, eip4844::Blob},
    primitives::{B256, Bytes, U256},
    providers::Provider,
};
use batcher::{
    archive::PayloadArchive,
    carrier::DataAvailability,
    encoder::BlockId,
    l1::{
        AnvilBlobs, BlobRequest, BlobSource, Contradiction, FirstOf, InboxPosition, InboxReader,
        L1Error, Missing, beacon::BeaconBlobs, blobs::BlobError,
    },
};
use contracts::Portal;
use serde_json::{Value, json};
use std::{path::Path, sync::Arc};

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
    fn name(&self) -> String {
        "a liar".into()
    }

    async fn blobs(&self, request: &BlobRequest) -> Result<Vec<Blob>, BlobError> {
        Ok(vec![Blob::repeat_byte(1); request.hashes.len()])
    }
}

#[tokio::test]
async fn every_source_of_blobs_gives_the_same_bytes() {
    let Some(world) = World::new().await else { return };
    let latest = posted(&world).await;
    let start = InboxPosition::default();
    let expected = appends(&world.inbox_reader(), start, 0, latest).await.unwrap();
    assert_eq!(expected.len(), 1);
    assert!(expected[0].append.payload.is_ok());
    let directory = tempfile::tempdir().unwrap();
    // As after a restart each time: nothing is known of the files.
    let archive = || {
        let archive = PayloadArchive::new(directory.path().join("blobs"));
        archive.prepare().unwrap();
        Some(archive)
    };
    let reader = |sources| {
        InboxReader::new(world.provider.clone(), world.inbox, FirstOf::new(archive(), sources))
    };
    let beacon = BeaconBlobs::anvil(reqwest::Client::new(), world.anvil.url.parse().unwrap());
    let beacon = || Arc::new(beacon.clone());
    // What nobody has is named, with everybody who was asked and why that did not help.
    let error = appends(&reader(vec![Arc::new(Liar)]), start, 0, latest).await.unwrap_err();
    let L1Error::Unavailable(missing) = &error else { panic!("{error}") };
    let hash = missing.hashes[0];
    let text = error.to_string();
    assert!(text.contains(&hash.to_string()) && text.contains("blobs (not found)"), "{text}");
    assert!(text.contains("a liar (gave other bytes than the hash says)"), "{text}");
    // A liar in front delays nothing; what the beacon endpoint gives is archived.
    let lied_to = reader(vec![Arc::new(Liar), beacon()]);
    assert_eq!(appends(&lied_to, start, 0, latest).await.unwrap(), expected);
    assert_eq!(appends(&reader(Vec::new()), start, 0, latest).await.unwrap(), expected);

    // Damage is noticed, put aside, and the next source is asked, whose blob is then archived.
    let file = directory.path().join(format!("blobs/{hash:x}.blob"));
    let good = std::fs::read(&file).unwrap();
    for damage in [&good[..100], &[], &[vec![0; 40], good[40..].to_vec()].concat()] {
        assert_ne!(damage, good);
        std::fs::write(&file, damage).unwrap();
        let alone = reader(Vec::new());
        let error = appends(&alone, start, 0, latest).await.unwrap_err();
        assert!(matches!(error, L1Error::Unavailable(_)), "{error}");
        let aside = directory.path().join(format!("blobs/{hash:x}.blob.corrupt"));
        assert_eq!(std::fs::read(aside).unwrap(), damage);
        std::fs::write(&file, damage).unwrap();
        assert_eq!(appends(&reader(vec![beacon()]), start, 0, latest).await.unwrap(), expected);
        assert_eq!(std::fs::read(&file).unwrap(), good);
        assert_eq!(appends(&reader(Vec::new()), start, 0, latest).await.unwrap(), expected);
    }
    // What a process knows of a file holds for these bytes only.
    let known = reader(Vec::new());
    assert_eq!(appends(&known, start, 0, latest).await.unwrap(), expected);
    std::fs::write(&file, vec![0; good.len()]).unwrap();
    let error = appends(&known, start, 0, latest).await.unwrap_err();
    assert!(matches!(error, L1Error::Unavailable(_)), "{error}");
}

/// Names of the archived files.
fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[tokio::test]
async fn what_is_posted_is_archived_before_it_is_sent_and_outlives_a_reorg() {
    for availability in [DataAvailability::Blob, DataAvailability::Calldata] {
        let Some(world) = World::new().await else { return };
        let directory = tempfile::tempdir().unwrap();
        let archive = PayloadArchive::new(directory.path().into());
        archive.prepare().unwrap();
        let anvil: Arc<dyn BlobSource> = Arc::new(AnvilBlobs::new(world.provider.clone()));
        let sources = FirstOf::new(Some(archive.clone()), vec![anvil]);
        let inbox = InboxReader::new(world.provider.clone(), world.inbox, sources);
        // Some frames of two blobs, some of one.
        world.seal(2, 80_000).await;
        let mut poster = world.poster_on(availability, inbox);
        // Where it cannot be archived it is not posted.
        std::fs::remove_dir(directory.path()).unwrap();
        let error = world.post(&mut poster).await.unwrap_err();
        assert!(error.to_string().contains("payload archive"), "{error}");
        assert_eq!(world.sequencer_nonce().await, 0);
        archive.prepare().unwrap();
        world.settle(&mut poster).await;
        world.assert_all_derivable().await;
        let kept = names(directory.path());
        assert_eq!(kept.len(), 2, "{kept:?}");
        let hash = |name: &str| name.split('.').next().unwrap().parse::<B256>().unwrap();
        let position = world.position().await;
        world.reorg(1).await;
        assert_ne!(world.position().await, position, "the last append is gone");
        for name in &kept {
            let bytes = archive.read(hash(name)).await.unwrap().unwrap();
            assert_eq!(bytes, std::fs::read(directory.path().join(name)).unwrap());
        }
        assert_eq!(archive.read(B256::repeat_byte(1)).await.unwrap(), None);
    }
}

#[tokio::test]
async fn appends_must_continue_the_position() {
    let Some(world) = World::new().await else { return };
    let latest = posted(&world).await;
    let reader = world.inbox_reader();
    let elsewhere = InboxPosition { next_batch: 0, acc: B256::repeat_byte(1) };
    let error = appends(&reader, elsewhere, 0, latest).await.unwrap_err();
    assert!(matches!(error, L1Error::Reorged), "{error}");
    let position = world.position().await;
    assert_eq!(appends(&reader, position, 0, latest).await.unwrap(), []);
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

#[tokio::test]
async fn a_deposit_can_be_neither_left_out_nor_made_up() {
    let Some(world) = World::new().await else { return };
    let portal = Portal::new(world.portal, world.provider.clone());
    let deposit = portal
        .depositTransaction(account(5).address(), U256::from(7), 100_000, false, Bytes::new())
        .value(U256::from(1_000_000));
    let receipt = deposit.send().await.unwrap().get_receipt().await.unwrap();
    let number = receipt.block_number.unwrap();
    let bent = Bent::to(&world);
    let reader = world.block_reader_through(&bent.provider());
    let expected = reader.block(number).await.unwrap();
    assert_eq!(expected.deposits.len(), 1);
    let own = world.provider.raw_request("eth_getBlockReceipts".into(), (format!("{number:#x}"),));
    let own: Value = own.await.unwrap();
    let mut without = own.clone();
    without[0]["logs"] = json!([]);
    let mut richer = own.clone();
    richer[0]["logs"][0]["address"] = json!(account(6).address());
    for answer in [json!([]), without, richer, json!(null)] {
        let said = answer.clone();
        bent.bend(move |method, _| match method {
            "eth_getBlockReceipts" => Answer::Other(answer.clone()),
            _ => Answer::Own,
        });
        let error = reader.block(number).await.unwrap_err();
        let is_missing = matches!(error, L1Error::Missing(Missing::Receipts(_)));
        let is_wrong = matches!(error, L1Error::Contradiction(Contradiction::Receipts(_)));
        assert_eq!((is_missing, is_wrong), (said.is_null(), !said.is_null()), "{error}");
    }
    // Where the header says that there are none, nothing is asked; nor does anybody believe logs.
    bent.bend(|method, _| match method {
        "eth_getBlockReceipts" => Answer::Refused("not asked"),
        "eth_getLogs" => Answer::Other(json!([])),
        _ => Answer::Own,
    });
    world.mine(1).await;
    assert_eq!(reader.block(number + 1).await.unwrap().deposits, []);
    bent.bend(|method, _| match method {
        "eth_getLogs" => Answer::Other(json!([])),
        _ => Answer::Own,
    });
    assert_eq!(reader.block(number).await.unwrap(), expected);
}
