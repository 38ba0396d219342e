//! What must not be posted is not, what shows it is kept, and what is right passes.

use crate::support::world::{World, later_secs};
use alloy::{primitives::B256, rlp::Decodable};
use batcher::{
    carrier::DataAvailability,
    format::Frame,
    poster::{Action, Finding, GateError, PostError, Poster, Suspect},
};
use executor::Header;
use std::path::Path;

/// Two good blocks on L1, then one that the node sealed with another header than its contents give.
async fn with_a_wrong_block(world: &World, change: impl FnOnce(&mut Header)) -> Poster {
    world.seal(2, 0).await;
    world.seal(1, 30).await;
    let mut poster = world.poster(DataAvailability::Calldata);
    world.settle(&mut poster).await;
    world.seal(3, 0).await;
    let mut chain = world.chain.0.lock().unwrap();
    let wrong = chain.blocks.last_mut().unwrap();
    change(&mut wrong.header);
    wrong.hash = wrong.header.hash_slow();
    drop(chain);
    poster
}

async fn refused(world: &World, poster: &mut Poster) -> Suspect {
    let (position, nonce) = (world.position().await, world.sequencer_nonce().await);
    let mut suspects = Vec::new();
    // However often it is asked.
    for _ in 0..3 {
        match poster.step(later_secs()).await {
            Ok(progress) => assert!(suspects.is_empty(), "{progress:?}"),
            Err(error) => {
                assert_eq!(error.action(), Action::Halt, "{error}");
                let PostError::Gate(GateError::Suspect(suspect)) = error else { panic!("{error}") };
                suspects.push(*suspect);
            }
        }
    }
    assert_eq!(world.position().await, position);
    assert_eq!(world.sequencer_nonce().await, nonce);
    suspects.pop().unwrap()
}

fn kept(directory: &Path) -> Vec<String> {
    let names = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_block_that_executes_to_another_one_is_not_posted_and_is_kept() {
    let Some(world) = World::new().await else { return };
    let wrong_root = |header: &mut Header| header.state_root = B256::repeat_byte(7);
    let directory = tempfile::tempdir().unwrap();
    let poster = with_a_wrong_block(&world, wrong_root).await;
    let mut poster = poster.keeping_evidence(directory.path().into());
    let suspect = refused(&world, &mut poster).await;
    let Finding::Execution { sealed, replayed } = &suspect.finding else { panic!("{suspect}") };
    assert_eq!((sealed.number, sealed.state_root), (3, B256::repeat_byte(7)));
    let right = Header { state_root: replayed.state_root, ..(**sealed).clone() };
    assert_eq!(**replayed, right, "nothing else differs");

    let folder = directory.path().join(alloy::hex::encode(suspect.channel));
    let names = ["frame-0.bin", "replayed-header.rlp", "report.txt", "sealed-header.rlp"];
    let transactions = (0..suspect.input.as_ref().unwrap().transactions.len())
        .map(|index| format!("transaction-{index}.bin"));
    let expected: Vec<String> = names.map(str::to_owned).into_iter().chain(transactions).collect();
    assert_eq!(kept(&folder), expected);
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let header = |name: &str| Header::decode(&mut &read(name)[..]).unwrap();
    assert_eq!(
        (header("sealed-header.rlp"), header("replayed-header.rlp")),
        (*sealed.clone(), right)
    );
    assert_eq!(Frame::decode(&read("frame-0.bin").into()).unwrap().channel, suspect.channel);
    let report = String::from_utf8(read("report.txt")).unwrap();
    assert!(report.contains("block 3 executed in order is"), "{report}");
}

#[tokio::test]
async fn a_block_that_is_not_derived_as_the_node_has_it_is_not_posted() {
    let Some(world) = World::new().await else { return };
    // Neither is in the batch: derivation takes it from the origin.
    let wrong_place = |header: &mut Header| header.mix_hash = B256::repeat_byte(1);
    let mut poster = with_a_wrong_block(&world, wrong_place).await;
    let suspect = refused(&world, &mut poster).await;
    assert_eq!(suspect.finding, Finding::Contents(3), "{suspect}");
    // Once the node has a right chain again posting goes on.
    {
        let mut chain = world.chain.0.lock().unwrap();
        chain.blocks = chain.blocks_again();
    }
    world.settle(&mut poster).await;
    world.assert_all_derivable().await;
}
