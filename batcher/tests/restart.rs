//! The store fails at every write, for good or for a moment: nothing is posted twice, nothing is lost. The same with a process
//! that is killed and its ledger on a database is `restarts` of the sequencer's tests.

use crate::support::world::World;
use batcher::{
    carrier::DataAvailability,
    l1::InboxPosition,
    poster::Action,
    txmgr::{Cost, MemoryStore, Record, RecordId, StoreError, SubmissionStore},
};
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A store whose process dies at its n-th write, before or after the write is durable; or that is away for
/// that write only.
#[derive(Debug)]
struct DyingStore {
    durable: Arc<MemoryStore>,
    writes_left: AtomicUsize,
    last_is_durable: bool,
    is_passing: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("the process died")]
struct Died;

impl DyingStore {
    /// Whether a write is durable, and whether the process lives on after it.
    fn write(&self) -> (bool, Result<(), StoreError>) {
        let left = self.writes_left.load(Ordering::SeqCst);
        let died = || {
            let kind = if self.is_passing { StoreError::Unavailable } else { StoreError::Failed };
            Err(kind(Box::new(Died)))
        };
        if left == 0 && self.is_passing {
            return (true, Ok(()));
        }
        if left == 0 {
            return (false, died());
        }
        self.writes_left.store(left - 1, Ordering::SeqCst);
        if left == 1 { (self.last_is_durable, died()) } else { (true, Ok(())) }
    }
}

#[async_trait::async_trait]
impl SubmissionStore for DyingStore {
    async fn insert(&self, record: &Record) -> Result<RecordId, StoreError> {
        let (durable, lives) = self.write();
        let id = if durable { self.durable.insert(record).await? } else { 0 };
        lives.map(|()| id)
    }

    async fn update(&self, record: &Record) -> Result<(), StoreError> {
        let (durable, lives) = self.write();
        if durable {
            self.durable.update(record).await?;
        }
        lives
    }

    async fn open(&self, account: alloy::primitives::Address) -> Result<Vec<Record>, StoreError> {
        self.durable.open(account).await
    }

    async fn confirmed_append(&self, parent: InboxPosition) -> Result<Option<Record>, StoreError> {
        self.durable.confirmed_append(parent).await
    }

    async fn forget_appends_before(&self, batch_id: u64) -> Result<(), StoreError> {
        self.durable.forget_appends_before(batch_id).await
    }

    async fn costs_since(&self, at_secs: u64) -> Result<Vec<Cost>, StoreError> {
        self.durable.costs_since(at_secs).await
    }
}

/// An append writes three times: stored, broadcast, confirmed. The process dies before and after each is
/// durable, and once after all three.
async fn restarts_post_everything_once(availability: DataAvailability) {
    let Some(world) = World::new().await else { return };
    let encoder = availability.encoder_config(420_420, 60);
    let mut deaths = 0;
    for writes in 1..=4 {
        for last_is_durable in [false, true] {
            world.seal(2, 50).await;
            let before = (world.position().await.next_batch, world.sequencer_nonce().await);
            let dying = DyingStore {
                durable: world.store.clone(),
                writes_left: AtomicUsize::new(writes),
                last_is_durable,
                is_passing: false,
            };
            let (mut poster, _) = world.poster_of(availability, encoder, Arc::new(dying));
            let died = world.post(&mut poster).await.is_err();
            deaths += usize::from(died);
            drop(poster);
            let (mut poster, heads) = world.poster_of(availability, encoder, world.store.clone());
            world.settle(&mut poster).await;
            let after = (world.position().await.next_batch, world.sequencer_nonce().await);
            assert_eq!(after, (before.0 + 1, before.1 + 1), "{writes}, {last_is_durable}");
            world.assert_all_derivable().await;
            let safe = heads.borrow().safe;
            assert_eq!(safe.block, world.chain.0.lock().unwrap().head().id());
            assert_eq!(safe.position, world.position().await);
        }
    }
    assert_eq!(deaths, 6);
}

#[tokio::test]
async fn a_restart_at_each_write_posts_blobs_once() {
    restarts_post_everything_once(DataAvailability::Blob).await;
}

#[tokio::test]
async fn a_restart_at_each_write_posts_calldata_once() {
    restarts_post_everything_once(DataAvailability::Calldata).await;
}

/// A database that restarts while it is written to: the same poster goes on by itself.
#[tokio::test]
async fn a_store_that_is_away_for_a_write_delays_and_halts_nothing() {
    let Some(world) = World::new().await else { return };
    let encoder = DataAvailability::Calldata.encoder_config(420_420, 60);
    for writes in 1..=3 {
        for last_is_durable in [false, true] {
            world.seal(2, 50).await;
            let before = (world.position().await.next_batch, world.sequencer_nonce().await);
            let away = DyingStore {
                durable: world.store.clone(),
                writes_left: AtomicUsize::new(writes),
                last_is_durable,
                is_passing: true,
            };
            let (mut poster, _) =
                world.poster_of(DataAvailability::Calldata, encoder, Arc::new(away));
            let error = world.post(&mut poster).await.unwrap_err();
            assert_eq!(error.action(), Action::Retry, "{error}");
            world.settle(&mut poster).await;
            let after = (world.position().await.next_batch, world.sequencer_nonce().await);
            assert_eq!(after, (before.0 + 1, before.1 + 1), "{writes}, {last_is_durable}");
            world.assert_all_derivable().await;
        }
    }
}

#[tokio::test]
async fn a_blob_stored_but_never_sent_is_sent_after_the_restart() {
    let Some(world) = World::new().await else { return };
    world.seal(2, 50).await;
    let dying = DyingStore {
        durable: world.store.clone(),
        writes_left: AtomicUsize::new(1),
        last_is_durable: true,
        is_passing: false,
    };
    let encoder = DataAvailability::Blob.encoder_config(420_420, 60);
    let (mut poster, _) = world.poster_of(DataAvailability::Blob, encoder, Arc::new(dying));
    world.post(&mut poster).await.unwrap_err();
    assert_eq!(world.sequencer_nonce().await, 0);
    let stored = world.store.all().remove(0);
    // Even a poster that would use calldata now sends what was stored.
    world.settle(&mut world.poster(DataAvailability::Calldata)).await;
    let sent = world.store.all();
    assert_eq!((sent.len(), &sent[0].attempts), (1, &stored.attempts));
    assert_eq!(world.sequencer_nonce().await, 1);
    world.assert_all_derivable().await;
}
