//! Posting to a real L1 and reading it back: derive(post(blocks)) == blocks, also after reorgs.

use crate::support::{
    anvil::account,
    world::{World, appends, later_secs},
};
use alloy::{
    primitives::{B256, Bytes, U256},
    providers::{Provider, ProviderBuilder, ext::AnvilApi},
    rpc::types::TransactionRequest,
    sol_types::SolCall,
};
use batcher::{
    carrier::DataAvailability,
    encoder::BlockId,
    format::BLOCKS_MAX,
    l1::InboxPosition,
    poster::{Action, PostError, Progress},
    proposer::Proposal,
    tracker::{Heads, SafeHead},
    txmgr::{AppendPurpose, Call, Purpose, Status, TxError},
};
use contracts::{Inbox, Outputs, Portal};

/// Appends something that the poster did not make, with the sequencer's key.
async fn append_rubbish(world: &World) {
    let provider =
        ProviderBuilder::new().wallet(account(1)).connect_http(world.anvil.url.parse().unwrap());
    let inbox = Inbox::new(world.inbox, provider);
    let call = inbox.appendCalldata(world.position().await.acc, Bytes::from_static(b"rubbish"));
    let receipt = call.send().await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
}

#[tokio::test]
async fn calldata_is_posted_once_and_derived_by_others() {
    let Some(world) = World::new().await else { return };
    for transfers in [2, 0, 3] {
        world.seal(transfers, 50).await;
    }
    let mut poster = world.poster(DataAvailability::Calldata);
    let done = world.settle(&mut poster).await;
    assert!(matches!(done[..], [Progress::Posted(_)]), "{done:?}");
    world.assert_all_derivable().await;
    // Nothing is posted again, by this poster or by one after a restart.
    assert_eq!(world.settle(&mut poster).await, []);
    assert_eq!(world.settle(&mut world.poster(DataAvailability::Calldata)).await, []);
    world.seal(1, 50).await;
    assert_eq!(world.settle(&mut poster).await.len(), 1);
    world.assert_all_derivable().await;
    assert_eq!(world.sequencer_nonce().await, 2);
}

#[tokio::test]
async fn deposits_come_through_l1() {
    let Some(world) = World::new().await else { return };
    let portal = Portal::new(world.portal, world.provider.clone());
    let deposit = portal
        .depositTransaction(account(5).address(), U256::from(7), 100_000, false, Bytes::new())
        .value(U256::from(1_000_000));
    let receipt = deposit.send().await.unwrap().get_receipt().await.unwrap();
    let mut found = None;
    for _ in 0..receipt.block_number.unwrap() {
        let block = world.seal(1, 0).await;
        // The L1 attributes and the transfer, and the deposit in one of them.
        found = found.or((block.transactions.len() == 3).then(|| block.transactions[1].clone()));
    }
    let deposit = found.unwrap();
    assert_eq!(deposit.as_deposit().unwrap().mint_wei, 1_000_000);
    let mut poster = world.poster(DataAvailability::Calldata);
    world.settle(&mut poster).await;
    world.assert_all_derivable().await;
}

#[tokio::test]
async fn blobs_are_posted_and_posted_again_with_the_same_bytes_after_a_reorg() {
    let Some(world) = World::new().await else { return };
    // The second append needs two blobs.
    world.seal(2, 50).await;
    let mut poster = world.poster(DataAvailability::Blob);
    world.settle(&mut poster).await;
    world.seal(2, 80_000).await;
    world.settle(&mut poster).await;
    world.assert_all_derivable().await;
    let before = world.position().await;
    assert_eq!(before.next_batch, 2);

    world.reorg(2).await;
    assert_eq!(world.position().await, InboxPosition::default());
    let done = world.settle(&mut poster).await;
    assert!(matches!(done[..], [Progress::Reposted(_), Progress::Reposted(_)]), "{done:?}");
    // The accumulator commits to the bytes.
    assert_eq!(world.position().await, before);
    world.assert_all_derivable().await;

    // So does a poster that was not running while L1 was reorganised.
    world.reorg(1).await;
    let done = world.settle(&mut world.poster(DataAvailability::Blob)).await;
    assert!(matches!(done[..], [Progress::Reposted(_)]), "{done:?}");
    assert_eq!(world.position().await, before);
    world.assert_all_derivable().await;
}

#[tokio::test]
async fn channels_of_many_frames_are_posted_in_order() {
    let Some(world) = World::new().await else { return };
    for _ in 0..3 {
        world.seal(3, 400).await;
    }
    let mut encoder = DataAvailability::Calldata.encoder_config(420_420, 60);
    encoder.frame_bytes_max = 1_000;
    let start = || world.poster_of(DataAvailability::Calldata, encoder, world.store.clone()).0;
    let mut poster = start();
    let done = world.settle(&mut poster).await;
    assert!(done.len() > 3, "{}", done.len());
    let (_, dropped) = world.derived().await;
    assert_eq!(dropped, 0);
    world.assert_all_derivable().await;

    // A restart in the middle of a channel starts the channel again.
    world.seal(3, 400).await;
    let mut poster = start();
    while world.position().await.next_batch == done.len() as u64 {
        world.post(&mut poster).await.unwrap();
    }
    world.settle(&mut start()).await;
    world.assert_all_derivable().await;
    let (_, dropped) = world.derived().await;
    assert_eq!(dropped, 1);
}

#[tokio::test]
async fn appends_of_somebody_else_are_stepped_over() {
    let Some(world) = World::new().await else { return };
    append_rubbish(&world).await;
    world.seal(2, 50).await;
    let mut poster = world.poster(DataAvailability::Calldata);
    world.settle(&mut poster).await;
    append_rubbish(&world).await;
    append_rubbish(&world).await;
    world.seal(1, 50).await;
    world.settle(&mut poster).await;
    assert_eq!(world.position().await.next_batch, 5);
    world.assert_all_derivable().await;
}

#[tokio::test]
async fn a_rotated_sequencer_stops_posting() {
    let Some(world) = World::new().await else { return };
    let inbox = Inbox::new(world.inbox, world.provider.clone());
    let call = inbox.setSequencer(account(4).address());
    call.send().await.unwrap().get_receipt().await.unwrap();
    world.seal(1, 0).await;
    let error = world.post(&mut world.poster(DataAvailability::Calldata)).await.unwrap_err();
    assert!(matches!(error, PostError::NotSequencer { .. }), "{error}");
    assert_eq!(error.action(), Action::Halt);
    assert_eq!(world.sequencer_nonce().await, 0);
}

#[tokio::test]
async fn an_l2_reorg_above_the_safe_head_starts_the_channel_again() {
    let Some(world) = World::new().await else { return };
    world.seal(1, 0).await;
    let mut poster = world.poster(DataAvailability::Calldata);
    world.settle(&mut poster).await;
    let safe = world.chain.0.lock().unwrap().clone();
    world.seal(1, 0).await;
    assert_eq!(poster.step(later_secs()).await.unwrap(), Progress::Idle);
    // The node drops the block that is being encoded and seals two others.
    *world.chain.0.lock().unwrap() = safe;
    world.seal(2, 0).await;
    world.seal(2, 0).await;
    world.settle(&mut poster).await;
    world.assert_all_derivable().await;
    assert_eq!(world.derived().await.1, 0);
}

#[tokio::test]
async fn blocks_on_a_lost_l1_origin_are_not_posted() {
    let Some(world) = World::new().await else { return };
    let chain = world.chain.0.lock().unwrap().clone();
    world.mine(2).await;
    // All L1 blocks up to the latest are origins; then the latest two are replaced.
    let epochs = world.block_reader();
    let latest = epochs.block_id(Default::default()).await.unwrap().unwrap().number;
    while world.chain.0.lock().unwrap().epoch.number < latest {
        world.seal(0, 0).await;
    }
    let mut poster = world.poster(DataAvailability::Calldata);
    world.reorg(2).await;
    let error = world.post(&mut poster).await.unwrap_err();
    assert!(matches!(error, PostError::StaleOrigin(_)), "{error}");
    assert_eq!(error.action(), Action::Reset);
    assert_eq!(world.sequencer_nonce().await, 0);
    // The node rebuilds, and posting goes on.
    *world.chain.0.lock().unwrap() = chain;
    world.seal(1, 0).await;
    world.settle(&mut poster).await;
    world.assert_all_derivable().await;
}

#[tokio::test]
async fn heads_follow_l1_and_final_records_are_forgotten() {
    let Some(world) = World::new().await else { return };
    let encoder = DataAvailability::Calldata.encoder_config(420_420, 60);
    let (mut poster, heads) =
        world.poster_of(DataAvailability::Calldata, encoder, world.store.clone());
    let block = world.seal(1, 0).await;
    world.settle(&mut poster).await;
    let seen = *heads.borrow();
    assert_eq!(seen.safe.block, block.id());
    assert_eq!(seen.safe.position, world.position().await);
    assert_eq!(seen.finalized.block.number, 0);
    assert_eq!(world.store.all().len(), 1);
    world.mine(2).await;
    world.settle(&mut poster).await;
    assert_eq!(heads.borrow().finalized, heads.borrow().safe);
    assert_eq!(world.store.all().len(), 0);
    // Before the safe head falls there is nothing to go back to.
    assert_eq!(heads.borrow().safe.block, block.id());
}

#[tokio::test]
async fn tracking_goes_on_from_a_finalized_head_also_within_a_channel() {
    let Some(world) = World::new().await else { return };
    let mut encoder = DataAvailability::Calldata.encoder_config(420_420, 60);
    encoder.frame_bytes_max = 1_000;
    encoder.continued_max = 1;
    let (mut poster, heads) =
        world.poster_of(DataAvailability::Calldata, encoder, world.store.clone());
    let first = world.seal(1, 0).await;
    world.settle(&mut poster).await;
    let last = world.seal(3, 600).await;
    world.post(&mut poster).await.unwrap();
    // One frame of the second channel is final; the head before it is where a restart begins.
    world.mine(2).await;
    world.post(&mut poster).await.unwrap();
    let finalized = heads.borrow().finalized;
    assert_eq!((finalized.block, finalized.position.next_batch), (first.id(), 1));
    world.settle(&mut poster).await;
    world.mine(2).await;
    world.settle(&mut poster).await;
    let kept = *heads.borrow();
    assert_eq!((kept.start, kept.finalized.block), (finalized, last.id()));
    assert_eq!(world.resume(&kept, &last).map(|_| ()), None);
    let mut tracker = world.tracker(world.resume(&kept, &first).unwrap());
    // Nothing is taken back by reading again.
    assert_eq!(
        (tracker.heads(), tracker.safe_head()),
        (Heads { safe: kept.finalized, ..kept }, finalized)
    );
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head().block, last.id());
    let safe = heads.borrow().safe;
    assert_eq!(tracker.safe_head(), safe);
    // The same where the next append is of the L1 block at which tracking starts.
    let found = appends(tracker.inbox(), finalized.position, 0, safe.l1_block.number);
    let shared = SafeHead { l1_block: found.await.unwrap()[0].l1_block, ..finalized };
    let shared = Heads { start: shared, ..kept };
    let mut tracker = world.tracker(world.resume(&shared, &first).unwrap());
    assert!(tracker.sync().await.unwrap());
    assert_eq!(tracker.safe_head(), safe);
}

#[tokio::test]
async fn outputs_are_proposed_at_their_interval_and_bound_to_the_inbox() {
    let Some(world) = World::new().await else { return };
    let encoder = DataAvailability::Calldata.encoder_config(420_420, 60);
    let (mut poster, heads) =
        world.poster_of(DataAvailability::Calldata, encoder, world.store.clone());
    let mut proposer = world.proposer(2, heads.clone());
    world.seal(1, 0).await;
    world.settle(&mut poster).await;
    assert_eq!(proposer.step().await.unwrap(), Proposal::Idle);
    for _ in 0..4 {
        world.seal(1, 0).await;
    }
    // Sealed is not enough: the blocks have to be on L1.
    assert_eq!(proposer.step().await.unwrap(), Proposal::Idle);
    world.settle(&mut poster).await;
    let proposed = proposer.step().await.unwrap();
    assert!(matches!(proposed, Proposal::Proposed(block, _) if block.number == 4), "{proposed:?}");
    assert_eq!(proposer.step().await.unwrap(), Proposal::Idle);
    assert_eq!(world.proposer(2, heads).step().await.unwrap(), Proposal::Idle);

    let outputs = Outputs::new(world.outputs, world.provider.clone());
    assert_eq!(outputs.latestBlockNumber().call().await.unwrap(), U256::from(4));
    let binding = outputs.outputBinding(U256::from(1)).call().await.unwrap();
    let position = world.position().await;
    assert_eq!((binding.batchId + 1, binding.inboxAcc), (position.next_batch, position.acc));
    let record = world.store.all().pop().unwrap();
    assert!(matches!(record.purpose, Purpose::Output { block, .. } if block.number == 4));
    assert!(matches!(record.status, Status::Confirmed(_)));
}

#[tokio::test]
async fn a_poster_runs_until_it_is_told_to_stop() {
    let Some(world) = World::new().await else { return };
    let mut encoder = DataAvailability::Calldata.encoder_config(420_420, 0);
    encoder.blocks_max = BLOCKS_MAX;
    let (poster, mut heads) =
        world.poster_of(DataAvailability::Calldata, encoder, world.store.clone());
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(poster.run(async {
        let _ = stopped.await;
    }));
    let block = world.seal(2, 10).await;
    heads.wait_for(|heads| heads.safe.block == block.id()).await.unwrap();
    stop.send(()).unwrap();
    running.await.unwrap().unwrap();
    world.assert_all_derivable().await;
}

#[tokio::test]
async fn a_plain_transfer_between_appends_does_not_disturb() {
    let Some(world) = World::new().await else { return };
    let mut poster = world.poster(DataAvailability::Calldata);
    world.seal(1, 0).await;
    world.settle(&mut poster).await;
    // Somebody uses the sequencer's key elsewhere: the next nonce is read from L1.
    let provider =
        ProviderBuilder::new().wallet(account(1)).connect_http(world.anvil.url.parse().unwrap());
    let request = TransactionRequest::default().to(account(3).address()).value(U256::from(1));
    let pending = alloy::providers::Provider::send_transaction(&provider, request).await.unwrap();
    pending.get_receipt().await.unwrap();
    world.seal(1, 0).await;
    world.settle(&mut poster).await;
    assert_eq!(world.sequencer_nonce().await, 3);
    world.assert_all_derivable().await;
}

#[tokio::test]
async fn the_cheaper_carrier_is_taken() {
    let Some(world) = World::new().await else { return };
    let mut poster = world.poster(DataAvailability::Cheaper);
    let mut types = Vec::new();
    // At a gwei a whole blob costs less than some bytes of calldata; at a wei it does not.
    for base_fee_wei in [1_000_000_000u64, 1] {
        world.seal(1, 20).await;
        let set = "anvil_setNextBlockBaseFeePerGas";
        let _: serde_json::Value =
            world.provider.raw_request(set.into(), [U256::from(base_fee_wei)]).await.unwrap();
        let _: serde_json::Value =
            world.provider.raw_request("anvil_mine".into(), [1]).await.unwrap();
        let done = world.settle(&mut poster).await;
        let [Progress::Posted(inclusion)] = done[..] else { panic!("{done:?}") };
        let sent = world.provider.get_transaction_by_hash(inclusion.tx_hash).await.unwrap();
        types.push(sent.unwrap().inner.tx_type() as u8);
    }
    assert_eq!(types, [3, 2]);
    world.assert_all_derivable().await;
}

#[tokio::test]
async fn an_empty_wallet_waits_to_be_refilled() {
    let Some(world) = World::new().await else { return };
    world.seal(1, 50).await;
    let mut poster = world.poster(DataAvailability::Calldata);
    let set_balance = async |wei: U256| {
        let params = (account(1).address(), wei);
        let _: serde_json::Value =
            world.provider.raw_request("anvil_setBalance".into(), params).await.unwrap();
    };
    set_balance(U256::ZERO).await;
    for _ in 0..2 {
        let error = world.post(&mut poster).await.unwrap_err();
        assert!(matches!(error, PostError::Tx(TxError::Unfunded(_))), "{error}");
        assert_eq!(error.action(), Action::Retry);
    }
    set_balance(U256::from(10).pow(U256::from(18))).await;
    world.settle(&mut poster).await;
    world.assert_all_derivable().await;
    assert_eq!((world.position().await.next_batch, world.sequencer_nonce().await), (1, 1));
}

/// A transaction that was confirmed goes, and the one after it, still in the pool, waits for its nonce.
#[tokio::test]
async fn what_waits_behind_a_dropped_transaction_does_not_wait_for_ever() {
    let Some(world) = World::new().await else { return };
    for _ in 0..2 {
        world.seal(1, 50).await;
    }
    let mut encoder = DataAvailability::Calldata.encoder_config(420_420, 60);
    encoder.blocks_max = 1;
    let start = || world.poster_of(DataAvailability::Calldata, encoder, world.store.clone()).0;
    let mut poster = start();
    while !matches!(world.post(&mut poster).await.unwrap(), Progress::Posted(_)) {}
    assert_eq!(world.sequencer_nonce().await, 1);
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let sending = async { while world.post(&mut poster).await.is_ok() {} };
    let stopped = tokio::time::timeout(std::time::Duration::from_millis(500), sending).await;
    assert!(stopped.is_err(), "the second waits for a block");
    world.reorg(1).await;
    assert_eq!((world.sequencer_nonce().await, world.position().await.next_batch), (0, 0));

    world.provider.anvil_set_auto_mine(true).await.unwrap();
    let mut poster = start();
    // What is lost is believed at the next block.
    let mine = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            world.mine(1).await;
        }
    };
    let settled = async {
        tokio::select! {
            done = world.settle(&mut poster) => done,
            () = mine => Vec::new(),
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), settled).await.unwrap();
    world.assert_all_derivable().await;
    assert_eq!(world.position().await.next_batch, 2);
}

/// Leaves a transaction with too little gas in flight, as a process that was killed does, and has it mined.
async fn leave_reverting(world: &World, index: u32, purpose: Purpose, call: Call) {
    world.provider.anvil_set_auto_mine(false).await.unwrap();
    let manager = world.manager(index, world.store.clone());
    tokio::select! {
        sent = manager.submit(purpose, call) => panic!("{sent:?}"),
        () = async {
            while world.store.all().last().is_none_or(|record| record.status != Status::Broadcast) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        } => {}
    }
    world.mine(1).await;
    world.provider.anvil_set_auto_mine(true).await.unwrap();
}

#[tokio::test]
async fn an_append_that_reverts_where_it_should_not_halts() {
    let Some(world) = World::new().await else { return };
    world.seal(1, 0).await;
    let position = world.position().await;
    for (parent, halts) in
        [(position, true), (InboxPosition { acc: B256::repeat_byte(1), ..position }, false)]
    {
        let frame = Bytes::from_static(b"bytes");
        let input =
            Inbox::appendCalldataCall { parentAcc: parent.acc, data: frame.clone() }.abi_encode();
        let (to, input) = (world.inbox, input.into());
        let call = Call { to, input, blob_payload: None, gas_limit: 30_000 };
        let (channel, first_parent) = (Default::default(), BlockId::default());
        let append = AppendPurpose {
            parent,
            channel,
            index: 0,
            is_last: true,
            first_parent,
            last_block: first_parent,
            frame,
        };
        leave_reverting(&world, 1, Purpose::Append(append), call).await;
        let mut poster = world.poster(DataAvailability::Calldata);
        let stepped = poster.step(later_secs()).await;
        let Status::Reverted(inclusion) = world.store.all().pop().unwrap().status else {
            panic!("not reverted")
        };
        if halts {
            let error = stepped.unwrap_err();
            assert_eq!(error.action(), Action::Halt, "{error}");
            assert!(error.to_string().contains(&inclusion.tx_hash.to_string()), "{error}");
        } else {
            stepped.unwrap();
        }
        // Somebody has looked.
        assert!(poster.step(later_secs()).await.is_ok());
    }
    world.settle(&mut world.poster(DataAvailability::Calldata)).await;
    world.assert_all_derivable().await;
}

#[tokio::test]
async fn a_claim_that_reverts_where_it_should_not_halts() {
    let Some(world) = World::new().await else { return };
    world.seal(1, 0).await;
    let encoder = DataAvailability::Calldata.encoder_config(420_420, 60);
    let (mut poster, heads) =
        world.poster_of(DataAvailability::Calldata, encoder, world.store.clone());
    world.settle(&mut poster).await;
    let root = B256::repeat_byte(9);
    for (acc, halts) in [(world.position().await.acc, true), (B256::repeat_byte(1), false)] {
        let claim = Outputs::proposeOutputCall {
            outputRoot: root,
            l2BlockNumber: U256::ONE,
            batchId: 0,
            inboxAcc: acc,
        };
        let (to, input) = (world.outputs, claim.abi_encode().into());
        let call = Call { to, input, blob_payload: None, gas_limit: 40_000 };
        let block = BlockId { number: 1, ..BlockId::default() };
        leave_reverting(&world, 2, Purpose::Output { block, root }, call).await;
        let mut proposer = world.proposer(1, heads.clone());
        let stepped = proposer.step().await;
        let Status::Reverted(inclusion) = world.store.all().pop().unwrap().status else {
            // What went on after it is another record.
            assert!(!halts && matches!(stepped, Ok(Proposal::Proposed(..))), "{stepped:?}");
            return;
        };
        assert!(halts);
        let error = stepped.unwrap_err();
        assert_eq!(error.action(), Action::Halt, "{error}");
        assert!(error.to_string().contains(&inclusion.tx_hash.to_string()), "{error}");
    }
}

/// What was posted by blobs is dropped, and today's carrier takes less.
#[tokio::test]
async fn a_frame_that_is_too_long_for_todays_carrier_is_not_posted_again() {
    let Some(world) = World::new().await else { return };
    world.seal(2, 80_000).await;
    world.settle(&mut world.poster(DataAvailability::Blob)).await;
    world.reorg(1).await;
    let done = world.settle(&mut world.poster(DataAvailability::Calldata)).await;
    let is_posted = |progress: &Progress| matches!(progress, Progress::Posted(_));
    assert!(done.len() > 1 && done.iter().all(is_posted), "{done:?}");
    world.assert_all_derivable().await;
}
