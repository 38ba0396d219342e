//! The ledger's properties, each on SQLite and on PostgreSQL.

use crate::{
    postgres::Cluster,
    submissions::{
        a_reverted_or_dropped_submission_is_not_open, ids_are_never_given_twice,
        the_ledger_remembers_what_the_memory_store_does,
        updates_of_unknown_submissions_are_refused,
    },
};
use alloy::primitives::{Address, B256, Bytes, TxKind, U256};
use batcher::{
    encoder::BlockId,
    l1::{InboxPosition, L1Block},
    tracker::{Heads, SafeHead},
    txmgr::{StoreError, SubmissionStore},
};
use executor::{Deposit, L1Origin};
use sequencer::{
    pressure::backlog::Kept,
    store::{ChainIdentity, Ledger, LedgerError},
};
use sqlx::{Connection, Executor, PgConnection};
use std::time::Duration;

const CHAIN: ChainIdentity = ChainIdentity { chain_id: 7, genesis_hash: B256::repeat_byte(7) };

/// Every property is an async function of a fresh database's URL.
macro_rules! properties {
    ($($property:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test]
                async fn $property() {
                    let directory = tempfile::tempdir().unwrap();
                    let file = directory.path().join("ledger.sqlite");
                    super::$property(&format!("sqlite://{}", file.display())).await;
                }
            )*
        }

        /// One test for all, because they share a server.
        #[tokio::test]
        async fn postgres_keeps_every_property() {
            let Some(cluster) = Cluster::start().await else { return };
            $(
                println!(stringify!($property));
                $property(&cluster.create_database(stringify!($property)).await).await;
            )*
        }
    };
}

properties! {
    cursor_and_effects_advance_together,
    a_block_that_does_not_follow_is_not_applied,
    rollback_restores_deposits,
    pruning_keeps_the_cursor_and_refuses_to_go_below,
    reopening_keeps_everything,
    another_chains_ledger_is_refused,
    concurrent_appends_apply_once,
    heads_are_replaced_and_forgotten_together,
    the_audit_trail_is_newest_first,
    one_process_at_a_time_posts,
    a_pause_is_kept,
    the_backlog_is_kept,
    numbers_beyond_the_column_are_refused,
    blocks_are_read_in_ranges_with_their_deposits,
    the_ledger_remembers_what_the_memory_store_does,
    ids_are_never_given_twice,
    updates_of_unknown_submissions_are_refused,
    a_reverted_or_dropped_submission_is_not_open,
}

pub(crate) async fn open(url: &str) -> Ledger {
    Ledger::connect(url, &CHAIN).await.unwrap()
}

fn hash(number: u64, fork: u8) -> B256 {
    let mut hash = B256::repeat_byte(fork);
    hash[..8].copy_from_slice(&number.to_be_bytes());
    hash
}

fn origin(number: u64, fork: u8) -> L1Origin {
    L1Origin {
        number,
        hash: hash(number, fork),
        parent_hash: hash(number.wrapping_sub(1), fork),
        timestamp: 12 * number,
        base_fee_wei: 1 + number,
        blob_base_fee_wei: u128::MAX - u128::from(number),
        prevrandao: B256::repeat_byte(fork),
    }
}

fn deposits(number: u64, fork: u8) -> Vec<Deposit> {
    let deposit = |index: u64| Deposit {
        source_hash: hash(number * 10 + index, fork),
        from: Address::repeat_byte(1),
        to: if index == 0 { TxKind::Create } else { TxKind::Call(Address::repeat_byte(2)) },
        mint_wei: u128::MAX,
        value: U256::from(index),
        gas_limit: 100_000,
        input: Bytes::from(vec![0xff; index as usize]),
    };
    (0..number % 3).map(deposit).collect()
}

async fn append(ledger: &Ledger, numbers: std::ops::RangeInclusive<u64>, fork: u8) {
    for number in numbers {
        ledger.append_l1_block(&origin(number, fork), &deposits(number, fork)).await.unwrap();
    }
}

async fn check(ledger: &Ledger, numbers: std::ops::RangeInclusive<u64>, fork: u8) {
    for number in numbers {
        assert_eq!(ledger.l1_block(number).await.unwrap(), Some(origin(number, fork)));
        let after = ledger.l1_block_after(number - 1).await.unwrap();
        assert_eq!(after, Some(origin(number, fork)));
        assert_eq!(ledger.deposits_of(number).await.unwrap(), deposits(number, fork));
    }
}

async fn cursor_and_effects_advance_together(url: &str) {
    let ledger = open(url).await;
    assert_eq!(ledger.l1_tip().await.unwrap(), None);
    append(&ledger, 100..=105, 1).await;
    assert_eq!(ledger.l1_tip().await.unwrap(), Some(origin(105, 1)));
    check(&ledger, 100..=105, 1).await;
    assert_eq!(ledger.l1_block(99).await.unwrap(), None);
    assert_eq!(ledger.l1_block(106).await.unwrap(), None);
    assert_eq!(ledger.l1_block_after(105).await.unwrap(), None);
    assert_eq!(ledger.l1_block_after(3).await.unwrap(), Some(origin(100, 1)));
    assert_eq!(ledger.l1_block(u64::MAX).await.unwrap(), None);
    assert!(ledger.deposits_of(106).await.unwrap().is_empty());
}

async fn a_block_that_does_not_follow_is_not_applied(url: &str) {
    let ledger = open(url).await;
    append(&ledger, 5..=6, 1).await;
    for (number, fork) in [(6, 1), (8, 1), (7, 2), (5, 1), (0, 1)] {
        let block = origin(number, fork);
        let error = ledger.append_l1_block(&block, &deposits(5, 9)).await.unwrap_err();
        let LedgerError::L1ParentMismatch { stored, offered, offered_parent } = error else {
            panic!("{error}");
        };
        assert_eq!(stored, BlockId { number: 6, hash: hash(6, 1) });
        assert_eq!(offered, BlockId { number, hash: block.hash });
        assert_eq!(offered_parent, block.parent_hash);
    }
    assert_eq!(ledger.l1_tip().await.unwrap(), Some(origin(6, 1)));
    check(&ledger, 5..=6, 1).await;
}

async fn rollback_restores_deposits(url: &str) {
    let ledger = open(url).await;
    append(&ledger, 50..=60, 1).await;
    ledger.rollback_l1_to(54).await.unwrap();
    assert_eq!(ledger.l1_tip().await.unwrap(), Some(origin(54, 1)));
    check(&ledger, 50..=54, 1).await;
    assert!(ledger.deposits_of(55).await.unwrap().is_empty());
    let fork = L1Origin { parent_hash: hash(54, 1), ..origin(55, 2) };
    ledger.append_l1_block(&fork, &deposits(55, 2)).await.unwrap();
    append(&ledger, 56..=58, 2).await;
    check(&ledger, 56..=58, 2).await;
    assert_eq!(ledger.deposits_of(55).await.unwrap(), deposits(55, 2));
    ledger.rollback_l1_to(49).await.unwrap();
    assert_eq!(ledger.l1_tip().await.unwrap(), None);
    append(&ledger, 48..=51, 3).await;
    check(&ledger, 48..=51, 3).await;
}

async fn pruning_keeps_the_cursor_and_refuses_to_go_below(url: &str) {
    let ledger = open(url).await;
    ledger.prune_l1_below(5).await.unwrap();
    append(&ledger, 1..=10, 1).await;
    ledger.prune_l1_below(6).await.unwrap();
    ledger.prune_l1_below(4).await.unwrap();
    assert_eq!(ledger.l1_block(5).await.unwrap(), None);
    assert!(ledger.deposits_of(5).await.unwrap().is_empty());
    check(&ledger, 6..=10, 1).await;
    let error = ledger.rollback_l1_to(5).await.unwrap_err();
    let expected =
        matches!(error, LedgerError::L1RollbackBelowFinal { number: 5, pruned_below: 6 });
    assert!(expected, "{error}");
    check(&ledger, 6..=10, 1).await;
    ledger.rollback_l1_to(6).await.unwrap();
    ledger.prune_l1_below(100).await.unwrap();
    assert_eq!(ledger.l1_tip().await.unwrap(), Some(origin(6, 1)));
}

async fn reopening_keeps_everything(url: &str) {
    let ledger = open(url).await;
    append(&ledger, 1..=3, 1).await;
    ledger.close().await;
    drop(ledger);
    let ledger = open(url).await;
    check(&ledger, 1..=3, 1).await;
    assert_eq!(ledger.l1_tip().await.unwrap(), Some(origin(3, 1)));
}

async fn another_chains_ledger_is_refused(url: &str) {
    open(url).await.close().await;
    let other_id = ChainIdentity { chain_id: 8, ..CHAIN };
    let other_genesis = ChainIdentity { genesis_hash: B256::ZERO, ..CHAIN };
    for other in [other_id, other_genesis] {
        let error = Ledger::connect(url, &other).await.unwrap_err();
        let LedgerError::OtherChain { expected, found } = error else { panic!("{error}") };
        assert_eq!((expected, found), (other, CHAIN));
    }
    open(url).await.close().await;
}

/// Two watchers of one ledger: each block is applied by one of them, the other is told that it does
/// not follow (or to try again).
async fn concurrent_appends_apply_once(url: &str) {
    let (first, second) = (open(url).await, open(url).await);
    let watch = |ledger: Ledger| async move {
        let mut applied = 0_u64;
        for number in 1..=20 {
            let (block, deposits) = (origin(number, 1), deposits(number, 1));
            loop {
                match ledger.append_l1_block(&block, &deposits).await {
                    Ok(()) => applied += 1,
                    Err(LedgerError::L1ParentMismatch { .. }) => {}
                    Err(LedgerError::Unavailable(_)) => continue,
                    Err(error) => panic!("{error}"),
                }
                break;
            }
        }
        applied
    };
    let (a, b) = tokio::join!(tokio::spawn(watch(first.clone())), tokio::spawn(watch(second)));
    assert_eq!(a.unwrap() + b.unwrap(), 20);
    check(&first, 1..=20, 1).await;
}

async fn heads_are_replaced_and_forgotten_together(url: &str) {
    let ledger = open(url).await;
    assert_eq!(ledger.heads().await.unwrap(), None);
    let head = |number, next_batch| SafeHead {
        block: BlockId { number, hash: hash(number, 4) },
        l1_block: BlockId { number: 100 + number, hash: hash(100 + number, 5) },
        position: InboxPosition { next_batch, acc: hash(next_batch, 6) },
    };
    let heads = Heads { safe: head(9, 3), finalized: head(2, 2), start: head(1, 1) };
    ledger.set_heads(&heads).await.unwrap();
    assert_eq!(ledger.heads().await.unwrap(), Some(heads));
    // A reorg takes the safe head back, and a head may be genesis.
    let heads = Heads { safe: head(4, 2), ..Heads::default() };
    ledger.set_heads(&heads).await.unwrap();
    ledger.close().await;
    let ledger = open(url).await;
    assert_eq!(ledger.heads().await.unwrap(), Some(heads));
    ledger.forget_heads().await.unwrap();
    assert_eq!(ledger.heads().await.unwrap(), None);
}

async fn the_audit_trail_is_newest_first(url: &str) {
    let ledger = open(url).await;
    assert!(ledger.audit_trail(5).await.unwrap().is_empty());
    for (at_secs, action) in [(10, "start"), (11, "pause"), (9, "résumé '\"; DROP")] {
        ledger.audit(at_secs, action, "").await.unwrap();
    }
    let trail = ledger.audit_trail(2).await.unwrap();
    let actions: Vec<_> = trail.iter().map(|line| (line.id, line.action.as_str())).collect();
    assert_eq!(actions, [(3, "résumé '\"; DROP"), (2, "pause")]);
    assert_eq!(trail[0].at_secs, 9);
}

async fn one_process_at_a_time_posts(url: &str) {
    let (first, second) = (open(url).await, open(url).await);
    let held = first.lock_posting().await.unwrap();
    let error = second.lock_posting().await.unwrap_err();
    assert!(matches!(error, LedgerError::InUse { .. }), "{error}");
    // Whoever does not post may use it meanwhile.
    second.audit(1, "start", "").await.unwrap();
    drop(held);
    for _ in 0..600 {
        // A server notices a little later that a session is gone.
        match second.lock_posting().await {
            Ok(_held) => return,
            Err(LedgerError::InUse { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the lock outlives its holder");
}

/// Ends every session with the database, as a restart of the server does.
async fn end_sessions(url: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    let ended = "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()";
    connection.execute(ended).await.unwrap();
}

#[tokio::test]
async fn a_posting_lock_that_ends_with_its_session_is_noticed() {
    let Some(cluster) = Cluster::start().await else { return };
    let url = cluster.create_database("posting").await;
    let (first, second) = (open(&url).await, open(&url).await);
    let held = first.lock_posting().await.unwrap();
    held.open(Address::ZERO).await.unwrap();
    // Nobody else wants it: it is taken again, and the caller starts anew.
    end_sessions(&url).await;
    let error = held.open(Address::ZERO).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    held.open(Address::ZERO).await.unwrap();
    let error = second.lock_posting().await.unwrap_err();
    assert!(matches!(error, LedgerError::InUse { .. }), "{error}");
    // Another process is faster: this one sends nothing more.
    end_sessions(&url).await;
    let other = second.lock_posting().await.unwrap();
    let error = held.open(Address::ZERO).await.unwrap_err();
    assert!(matches!(error, StoreError::Failed(_)), "{error}");
    assert!(error.to_string().contains("another process has the PostgreSQL ledger"), "{error}");
    other.open(Address::ZERO).await.unwrap();
}

async fn a_pause_is_kept(url: &str) {
    assert!(!open(url).await.is_paused().await.unwrap());
    open(url).await.set_paused(true).await.unwrap();
    assert!(open(url).await.is_paused().await.unwrap());
    open(url).await.set_paused(false).await.unwrap();
    assert!(!open(url).await.is_paused().await.unwrap());
}

async fn the_backlog_is_kept(url: &str) {
    assert_eq!(open(url).await.backlog().await.unwrap(), None);
    for (oldest, secs, bytes) in [(7, 3_600, 2 << 30), (u64::MAX, 0, 0)] {
        let kept = Kept { oldest, lag: Duration::from_secs(secs), bytes };
        open(url).await.keep_backlog(&kept).await.unwrap();
        assert_eq!(open(url).await.backlog().await.unwrap(), Some(kept));
    }
}

async fn numbers_beyond_the_column_are_refused(url: &str) {
    let ledger = open(url).await;
    let block = L1Origin { base_fee_wei: u64::MAX, ..origin(1, 1) };
    let error = ledger.append_l1_block(&block, &[]).await.unwrap_err();
    assert!(matches!(error, LedgerError::OutOfRange { column: "base_fee_wei" }), "{error}");
    assert_eq!(ledger.l1_tip().await.unwrap(), None);
}

async fn blocks_are_read_in_ranges_with_their_deposits(url: &str) {
    let ledger = open(url).await;
    assert!(ledger.l1_blocks_from(0, 10).await.unwrap().is_empty());
    append(&ledger, 10..=30, 1).await;
    let block = |number| L1Block { origin: origin(number, 1), deposits: deposits(number, 1) };
    let expected: Vec<_> = (12..=16).map(block).collect();
    assert_eq!(ledger.l1_blocks_from(12, 5).await.unwrap(), expected);
    let all: Vec<_> = (10..=30).map(block).collect();
    assert_eq!(ledger.l1_blocks_from(10, 1000).await.unwrap(), all);
    assert!(ledger.l1_blocks_from(31, u32::MAX).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_url_of_another_database_is_refused() {
    for url in ["mysql://localhost/x", "ledger.sqlite", ""] {
        let error = Ledger::connect(url, &CHAIN).await.unwrap_err();
        assert!(matches!(error, LedgerError::UnsupportedUrl), "{error}");
    }
}
