//! The ledger as the batcher's submission store: compared with the batcher's own store in memory.
//! The properties run from `ledger`, on both databases.

use crate::ledger::open;
use alloy::primitives::{Address, B128, B256, Bytes};
use batcher::{
    encoder::BlockId,
    l1::InboxPosition,
    txmgr::{
        AppendPurpose, Attempt, Call, Fees, Inclusion, MemoryStore, Purpose, Record, Status,
        SubmissionStore,
    },
};

const ACCOUNTS: [Address; 2] = [Address::repeat_byte(1), Address::repeat_byte(2)];

fn hash(number: u64) -> B256 {
    B256::with_last_byte(number as u8)
}

fn block(number: u64) -> BlockId {
    BlockId { number, hash: hash(number) }
}

fn position(next_batch: u64) -> InboxPosition {
    InboxPosition { next_batch, acc: hash(next_batch) }
}

fn attempt(number: u64) -> Attempt {
    let max_blob_fee_wei = number.is_multiple_of(2).then_some(u128::MAX);
    let fees = Fees { max_fee_wei: u128::MAX, priority_fee_wei: number.into(), max_blob_fee_wei };
    let (tx_hash, is_cancel) = (hash(number), number == 9);
    Attempt { tx_hash, fees, raw: Bytes::from(vec![number as u8; 200_000]), is_cancel }
}

fn record(number: u64, purpose: Purpose, status: Status) -> Record {
    Record {
        id: 0,
        account: ACCOUNTS[number as usize % 2],
        nonce: number,
        purpose,
        call: Call {
            to: Address::repeat_byte(3),
            input: Bytes::from(vec![1; number as usize % 5]),
            blob_payload: number.is_multiple_of(2).then(|| Bytes::from(vec![0; 130_000])),
            gas_limit: 1_000_000,
        },
        attempts: vec![attempt(number)],
        status,
    }
}

fn append(number: u64, parent: u64, status: Status) -> Record {
    let purpose = AppendPurpose {
        parent: position(parent),
        channel: B128::repeat_byte(number as u8),
        index: u16::MAX,
        is_last: number.is_multiple_of(2),
        first_parent: block(number),
        last_block: block(number + 5),
        frame: Bytes::from(vec![9; 1000]),
    };
    record(number, Purpose::Append(purpose), status)
}

fn output(number: u64, status: Status) -> Record {
    record(number, Purpose::Output { block: block(number), root: hash(99) }, status)
}

fn confirmed(number: u64) -> Status {
    Status::Confirmed(inclusion(number))
}

fn inclusion(number: u64) -> Inclusion {
    let (l1_block, cost_wei) = (block(1000 + number), u128::MAX - u128::from(number));
    Inclusion { tx_hash: hash(number), l1_block, gas_used: 77, cost_wei }
}

/// Does the same to both stores and compares everything that can be asked.
async fn compare(ledger: &dyn SubmissionStore, memory: &dyn SubmissionStore) {
    for account in ACCOUNTS {
        let expected = memory.open(account).await.unwrap();
        assert_eq!(ledger.open(account).await.unwrap(), expected);
    }
    for parent in 0..12 {
        let expected = memory.confirmed_append(position(parent)).await.unwrap();
        assert_eq!(ledger.confirmed_append(position(parent)).await.unwrap(), expected);
    }
    // When each was written may differ by a moment.
    let costs = async |store: &dyn SubmissionStore| {
        let costs = store.costs_since(0).await.unwrap().into_iter();
        let mut costs: Vec<_> = costs.map(|cost| (cost.account, cost.cost_wei)).collect();
        costs.sort();
        costs
    };
    assert_eq!(costs(ledger).await, costs(memory).await);
    let elsewhere = InboxPosition { next_batch: 1, acc: hash(200) };
    assert_eq!(ledger.confirmed_append(elsewhere).await.unwrap(), None);
}

pub(crate) async fn the_ledger_remembers_what_the_memory_store_does(url: &str) {
    let ledger = open(url).await;
    let memory = MemoryStore::default();
    compare(&ledger, &memory).await;
    let mut records = vec![
        append(1, 1, Status::Stored),
        append(2, 1, Status::Broadcast),
        append(3, 2, confirmed(3)),
        output(4, Status::Stored),
        output(5, confirmed(5)),
        append(6, 7, Status::Stored),
    ];
    for record in &mut records {
        record.id = ledger.insert(record).await.unwrap();
        assert_eq!(memory.insert(record).await.unwrap(), record.id);
    }
    compare(&ledger, &memory).await;
    // Fees rise, something is included, a reorg takes it out again, the other attempt gets in.
    let steps = [
        (0, Some(7), Status::Broadcast),
        (0, Some(8), confirmed(7)),
        (0, None, Status::Broadcast),
        (0, None, confirmed(8)),
        (1, None, confirmed(2)),
        (3, None, Status::Reverted(inclusion(4))),
        (5, None, confirmed(6)),
        (0, Some(9), Status::Cancelled(inclusion(9))),
    ];
    for (index, new_attempt, status) in steps {
        let record = &mut records[index];
        record.attempts.extend(new_attempt.map(attempt));
        record.status = status;
        ledger.update(record).await.unwrap();
        memory.update(record).await.unwrap();
        compare(&ledger, &memory).await;
    }
    for batch_id in [0, 2, 3, 100] {
        ledger.forget_appends_before(batch_id).await.unwrap();
        memory.forget_appends_before(batch_id).await.unwrap();
        compare(&ledger, &memory).await;
    }
    // Nothing that was paid is forgotten with the records, nor by a restart.
    assert_eq!(memory.costs_since(0).await.unwrap().len(), 8);
    ledger.close().await;
    compare(&open(url).await, &memory).await;
}

pub(crate) async fn ids_are_never_given_twice(url: &str) {
    let ledger = open(url).await;
    let first = ledger.insert(&append(1, 1, confirmed(1))).await.unwrap();
    ledger.forget_appends_before(9).await.unwrap();
    assert_eq!(ledger.confirmed_append(position(1)).await.unwrap(), None);
    ledger.close().await;
    let second = open(url).await.insert(&append(2, 1, Status::Stored)).await.unwrap();
    assert!(second > first);
}

pub(crate) async fn updates_of_unknown_submissions_are_refused(url: &str) {
    let ledger = open(url).await;
    let unknown = Record { id: 5, ..append(1, 1, Status::Stored) };
    assert!(ledger.update(&unknown).await.is_err());
    assert!(ledger.open(unknown.account).await.unwrap().is_empty());
}

pub(crate) async fn a_reverted_or_dropped_submission_is_not_open(url: &str) {
    let ledger = open(url).await;
    for status in [Status::Dropped, Status::Reverted(inclusion(1)), confirmed(1)] {
        let mut record = append(1, 1, Status::Stored);
        record.id = ledger.insert(&record).await.unwrap();
        assert_eq!(ledger.open(record.account).await.unwrap(), [record.clone()]);
        record.status = status;
        ledger.update(&record).await.unwrap();
        assert!(ledger.open(record.account).await.unwrap().is_empty());
    }
}
