//! Writes into the order log how far blocks have come on L1, so that those who follow the chain learn
//! it in its place among everything else, and can read it again later.
//!
//! Owns saying it once, also over a restart. What the heads are is the poster's to find out.

use super::NodeError;
use crate::store::{
    ChainStore, ChainStoreError,
    chain::{FollowError, Followed},
    log::{Stage, StageRecord},
};
use batcher::tracker::Heads;
use std::collections::BTreeMap;
use tokio::{sync::watch, task::spawn_blocking};

/// The newest block that was told at each stage.
type Told = BTreeMap<Stage, u64>;

/// Runs until the poster ends. What cannot be written is told with the next change.
pub(super) async fn tell(
    store: ChainStore,
    mut heads: watch::Receiver<Heads>,
) -> Result<(), NodeError> {
    let reader = store.clone();
    let mut told = spawn_blocking(move || told_before(&reader)).await?;
    loop {
        let current = *heads.borrow_and_update();
        let store = store.clone();
        let telling = spawn_blocking(move || {
            let result = tell_heads(&store, &current, &mut told);
            (told, result)
        });
        let (back, result) = telling.await?;
        told = back;
        if let Err(error) = result {
            tracing::warn!(%error, "how far blocks are on L1 is told later");
        }
        if heads.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// What the kept part of the log says was told.
fn told_before(store: &ChainStore) -> Told {
    let mut told = Told::new();
    let result = store.follow_from(store.oldest_position(), |_, followed| {
        note(&mut told, &followed);
        Ok::<_, FollowError>(())
    });
    if let Err(error) = result {
        // At worst something is told twice.
        tracing::warn!(%error, "the order log was not read to its end");
    }
    told
}

fn note(told: &mut Told, followed: &Followed) {
    match followed {
        Followed::Stage { number, stage, .. } => drop(told.insert(*stage, *number)),
        Followed::Retracted { from } => {
            told.values_mut().for_each(|number| *number = (*number).min(from.saturating_sub(1)));
        }
        Followed::MiniBlock { .. } | Followed::Sealed { .. } => {}
    }
}

fn tell_heads(store: &ChainStore, heads: &Heads, told: &mut Told) -> Result<(), ChainStoreError> {
    // What L1 determines is in a batch there; the poster does not tell the one before the other.
    let stages = [
        (Stage::Batched, heads.safe.block.number),
        (Stage::Safe, heads.safe.block.number),
        (Stage::Finalized, heads.finalized.block.number),
    ];
    let latest = store.head().number;
    for (stage, number) in stages {
        let before = told.entry(stage).or_insert(0);
        let number = number.min(latest);
        // After a reorganisation of L1 it may be less, and is told again when it comes back. At a
        // start it is less, too, until L1 is read again: that must not be told twice.
        if number <= *before {
            continue;
        }
        let Some((_, hash)) = store.header(number)? else { continue };
        store.note_stage(number, StageRecord { stage, hash })?;
        *before = number;
    }
    Ok(())
}
