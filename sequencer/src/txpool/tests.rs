//! The pool by hand and under random operations. Transactions carry a made-up signature: the pool
//! never looks at it.

use super::*;

mod admission_checks;
mod journals;
mod lives;
mod terms;
mod windows;
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEip7702, TxLegacy},
    eips::eip2930::{AccessList, AccessListItem},
    primitives::{Bytes, Signature, TxKind},
};
use executor::{ChainRules, RollupRules};
use proptest::prelude::*;

const BASE_FEE_WEI: u64 = 1_000_000;
const GWEI: u128 = 1_000_000_000;

fn sender(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn template(nonce: u64, fee_wei: u128) -> TxEip1559 {
    TxEip1559 {
        chain_id: 420_420,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: fee_wei,
        max_priority_fee_per_gas: fee_wei,
        to: TxKind::Call(Address::ZERO),
        ..Default::default()
    }
}

fn signed<T: SignableTransaction<Signature>>(from: Address, unsigned: T) -> Transaction
where
    alloy::consensus::Signed<T>: Into<executor::transaction::SignedTransaction>,
{
    // Differs by sender, as real ones do: the hash is the identity.
    let signature = Signature::new(U256::from_be_slice(from.as_slice()), U256::ONE, false);
    Transaction::from_signed(unsigned.into_signed(signature).into(), from)
}

fn transfer(from: u8, nonce: u64, fee_wei: u128) -> Transaction {
    signed(sender(from), template(nonce, fee_wei))
}

fn rich(nonce: u64) -> AccountState {
    AccountState { nonce, balance_wei: U256::MAX, is_contract: false, fees: None }
}

fn pool(config: Config) -> Pool {
    Pool::new(config)
}

fn add(pool: &mut Pool, transaction: Transaction) -> Result<Added, AddError> {
    pool.add(transaction, rich(0), BASE_FEE_WEI, Instant::now())
}

fn offered_at(pool: &Pool, now: Instant) -> Vec<(Address, u64)> {
    let best = pool.best(BASE_FEE_WEI, u64::MAX, now, &|_| U256::ZERO);
    best.map(|tx| (tx.sender(), tx.nonce())).collect()
}

fn offered(pool: &Pool) -> Vec<(Address, u64)> {
    offered_at(pool, Instant::now())
}

#[test]
fn nonces_are_contiguous_from_the_account() {
    let mut pool = pool(Config::default());
    let add = |pool: &mut Pool, nonce| {
        pool.add(transfer(1, nonce, GWEI), rich(5), BASE_FEE_WEI, Instant::now())
    };
    assert_eq!(add(&mut pool, 4), Err(AddError::NonceTooLow { next: 5, nonce: 4 }));
    assert_eq!(add(&mut pool, 7).unwrap().status, Status::NonceGap { missing: 5 });
    assert_eq!(add(&mut pool, 5).unwrap().status, Status::Ready);
    assert_eq!(offered(&pool), [(sender(1), 5)]);
    assert_eq!(pool.counts(), Counts { ready: 1, parked: 1 });
    assert_eq!(add(&mut pool, 6).unwrap().status, Status::Ready);
    assert_eq!(offered(&pool), [(sender(1), 5), (sender(1), 6), (sender(1), 7)]);
    assert_eq!(pool.next_nonce(sender(1), 5), 8);
}

#[test]
fn the_same_transaction_is_already_known() {
    let mut pool = pool(Config::default());
    add(&mut pool, transfer(1, 0, GWEI)).unwrap();
    let error = add(&mut pool, transfer(1, 0, GWEI)).unwrap_err();
    assert_eq!(error.to_string(), "already known");
}

#[test]
fn a_replacement_pays_a_tenth_more_on_both_fees() {
    let mut pool = pool(Config::default());
    let old = add(&mut pool, transfer(1, 0, 1_000_000_001)).unwrap().hash;
    // 110 % is 1,100,000,001.1: the integer below it does not suffice.
    let short = add(&mut pool, transfer(1, 0, 1_100_000_001)).unwrap_err();
    assert_eq!(short.to_string(), "replacement transaction underpriced");
    let one_fee = TxEip1559 { max_priority_fee_per_gas: 1, ..template(0, 2 * GWEI) };
    let one_fee = add(&mut pool, signed(sender(1), one_fee)).unwrap_err();
    assert_eq!(one_fee, AddError::ReplacementUnderpriced);
    let new = add(&mut pool, transfer(1, 0, 1_100_000_002)).unwrap();
    assert_eq!(new.replaced, Some(old));
    assert!(pool.get(&old).is_none());
    assert_eq!(pool.dropped(&old).unwrap().reason, DropReason::Replaced { by: new.hash });
}

#[test]
fn a_fee_of_zero_is_replaced_by_any_higher_one_only() {
    let mut pool = pool(Config::default());
    add(&mut pool, transfer(1, 0, 0)).unwrap();
    let tip = TxEip1559 { value: U256::ONE, ..template(0, 0) };
    let same = add(&mut pool, signed(sender(1), tip)).unwrap_err();
    assert_eq!(same, AddError::ReplacementUnderpriced);
    add(&mut pool, transfer(1, 0, 1)).unwrap();
}

#[test]
fn the_balance_covers_everything_queued() {
    let mut pool = pool(Config::default());
    let cost = U256::from(21_000 * GWEI);
    let account = AccountState { balance_wei: cost * U256::from(2), ..rich(0) };
    let mut add =
        |nonce, fee| pool.add(transfer(1, nonce, fee), account, BASE_FEE_WEI, Instant::now());
    add(0, GWEI).unwrap();
    add(1, GWEI).unwrap();
    let error = add(2, GWEI).unwrap_err().to_string();
    assert!(error.starts_with("insufficient funds for gas * price + value"), "{error}");
    // A replacement counts instead of what it replaces.
    let error = add(1, GWEI * 12 / 10).unwrap_err();
    assert!(matches!(error, AddError::InsufficientFunds { queued_wei, .. } if queued_wei == cost));
}

#[test]
fn contracts_do_not_send() {
    let account = AccountState { is_contract: true, ..rich(0) };
    let mut pool = pool(Config::default());
    let error = pool.add(transfer(1, 0, GWEI), account, BASE_FEE_WEI, Instant::now());
    assert_eq!(error.unwrap_err().to_string(), "sender not an eoa");
}

#[test]
fn a_sender_has_bounded_slots_and_may_still_replace() {
    let mut pool = pool(Config { sender_slots_max: 2, ..Config::default() });
    add(&mut pool, transfer(1, 0, GWEI)).unwrap();
    add(&mut pool, transfer(1, 1, GWEI)).unwrap();
    let error = add(&mut pool, transfer(1, 2, GWEI)).unwrap_err();
    assert_eq!(error, AddError::SenderFull { slots: 2 });
    add(&mut pool, transfer(1, 1, 2 * GWEI)).unwrap();
    add(&mut pool, transfer(2, 0, GWEI)).unwrap();
}

#[test]
fn a_full_pool_evicts_the_cheapest_for_who_pays_more() {
    let mut pool = pool(Config { transactions_max: 2, ..Config::default() });
    let cheap = add(&mut pool, transfer(1, 0, GWEI)).unwrap().hash;
    add(&mut pool, transfer(2, 0, 3 * GWEI)).unwrap();
    let error = add(&mut pool, transfer(3, 0, GWEI)).unwrap_err();
    assert_eq!(error.to_string(), "txpool is full");
    let added = add(&mut pool, transfer(3, 0, 2 * GWEI)).unwrap();
    assert_eq!(added.evicted, [cheap]);
    assert_eq!(pool.dropped(&cheap).unwrap().reason, DropReason::Evicted);
}

#[test]
fn a_sender_does_not_evict_what_its_newcomer_needs() {
    let mut pool = pool(Config { transactions_max: 1, ..Config::default() });
    add(&mut pool, transfer(1, 0, GWEI)).unwrap();
    assert_eq!(add(&mut pool, transfer(1, 1, 9 * GWEI)), Err(AddError::PoolFull));
}

#[test]
fn bytes_are_bounded_too() {
    let size = transfer(1, 0, GWEI).raw().len();
    let mut pool = pool(Config { bytes_max: 2 * size, ..Config::default() });
    add(&mut pool, transfer(1, 0, GWEI)).unwrap();
    add(&mut pool, transfer(2, 0, GWEI)).unwrap();
    assert_eq!(add(&mut pool, transfer(3, 0, GWEI)), Err(AddError::PoolFull));
    let added = add(&mut pool, transfer(3, 0, 2 * GWEI)).unwrap();
    assert_eq!(added.evicted.len(), 1);
}

#[test]
fn what_waits_too_long_expires() {
    let mut pool = pool(Config { ttl: Duration::from_secs(10), ..Config::default() });
    let start = Instant::now();
    let add = |pool: &mut Pool, nonce, at| {
        pool.add(transfer(1, nonce, GWEI), rich(0), BASE_FEE_WEI, at).unwrap().hash
    };
    let old = add(&mut pool, 0, start);
    add(&mut pool, 1, start + Duration::from_secs(8));
    assert_eq!(pool.expire(start + Duration::from_secs(11)), 1);
    assert_eq!(pool.dropped(&old).unwrap().reason, DropReason::Expired);
    assert_eq!(pool.counts(), Counts { ready: 0, parked: 1 });
}

#[test]
fn arrival_decides_across_senders() {
    let mut pool = pool(Config::default());
    for (from, nonce) in [(1, 1), (2, 0), (3, 0), (1, 0), (2, 1)] {
        add(&mut pool, transfer(from, nonce, GWEI)).unwrap();
    }
    // (1, 1) arrived first, yet waits for (1, 0).
    let order = [(2, 0), (3, 0), (1, 0), (1, 1), (2, 1)];
    assert_eq!(offered(&pool), order.map(|(from, nonce)| (sender(from), nonce)));
}

#[test]
fn the_tip_decides_under_the_other_policy() {
    let config = Config { ordering: Ordering::PriorityFee, ..Config::default() };
    let mut pool = pool(config);
    let tip = |nonce, tip_wei| TxEip1559 {
        max_priority_fee_per_gas: tip_wei,
        ..template(nonce, 9 * GWEI)
    };
    for (from, nonce, tip_wei) in [(1, 0, 1), (2, 0, 5), (1, 1, 9), (3, 0, 5)] {
        add(&mut pool, signed(sender(from), tip(nonce, tip_wei))).unwrap();
    }
    let order = [(2, 0), (3, 0), (1, 0), (1, 1)];
    assert_eq!(offered(&pool), order.map(|(from, nonce)| (sender(from), nonce)));
}

#[test]
fn the_base_fee_and_the_gas_hold_back_whole_senders() {
    let mut pool = pool(Config::default());
    let cheap = add(&mut pool, transfer(1, 0, u128::from(BASE_FEE_WEI) - 1)).unwrap();
    assert_eq!(cheap.status, Status::FeeBelowBaseFee { base_fee_wei: BASE_FEE_WEI });
    add(&mut pool, transfer(1, 1, GWEI)).unwrap();
    let big = TxEip1559 { gas_limit: 100_000, ..template(0, GWEI) };
    add(&mut pool, signed(sender(2), big)).unwrap();
    add(&mut pool, transfer(2, 1, GWEI)).unwrap();
    add(&mut pool, transfer(3, 0, GWEI)).unwrap();
    let best = pool.best(BASE_FEE_WEI, 50_000, Instant::now(), &|_| U256::ZERO);
    let some: Vec<_> = best.map(Transaction::sender).collect();
    assert_eq!(some, [sender(3)]);
    assert_eq!(offered(&pool).len(), 3);
}

#[test]
fn mined_nonces_are_known_before_the_state_shows_them() {
    let mut pool = pool(Config::default());
    add(&mut pool, transfer(1, 0, GWEI)).unwrap();
    assert_eq!(pool.remove_mined(&[(sender(1), 1)]), 1);
    assert!(pool.is_empty());
    // The account read for this one is older than the block.
    assert_eq!(add(&mut pool, transfer(1, 1, GWEI)).unwrap().status, Status::Ready);
    let late = add(&mut pool, transfer(1, 0, GWEI));
    assert_eq!(late, Err(AddError::NonceTooLow { next: 1, nonce: 0 }));
}

#[test]
fn a_rollback_puts_transactions_back_in_front() {
    let mut pool = pool(Config::default());
    let lost: Vec<_> = [(1, 0), (2, 0), (1, 1)].map(|(f, n)| transfer(f, n, GWEI)).to_vec();
    pool.remove_mined(&[(sender(1), 2), (sender(2), 1)]);
    for (from, nonce) in [(3, 0), (1, 2)] {
        add(&mut pool, transfer(from, nonce, GWEI)).unwrap();
    }
    pool.reinsert(lost, Instant::now());
    let order = [(1, 0), (2, 0), (1, 1), (3, 0), (1, 2)];
    assert_eq!(offered(&pool), order.map(|(from, nonce)| (sender(from), nonce)));
}

#[test]
fn a_rollback_drops_nothing_for_bounds_time_or_tips() {
    let config = Config { transactions_max: 2, ..Config::default() };
    let mut pool = pool(config);
    let lost: Vec<_> = (0..4).map(|nonce| transfer(1, nonce, GWEI)).collect();
    pool.remove_mined(&[(sender(1), 4)]);
    add(&mut pool, transfer(2, 0, 9 * GWEI)).unwrap();
    let now = Instant::now();
    pool.reinsert(lost, now);
    pool.require_tip(u64::MAX);
    // Neither does a newcomer push them out, whatever it pays; it has only the other newcomer to push.
    let rich = add(&mut pool, transfer(3, 0, 100 * GWEI));
    assert_eq!(rich, Err(AddError::PoolFull));
    assert_eq!(pool.expire(now + config.ttl * 2), 1);
    assert_eq!(offered(&pool), (0..4).map(|nonce| (sender(1), nonce)).collect::<Vec<_>>());
    assert_eq!(pool.remove_mined(&[(sender(1), 4)]), 4);
    assert!(pool.is_empty());
}

#[test]
fn a_rollback_gives_back_the_nonces_of_authorities() {
    let key = alloy::signers::local::PrivateKeySigner::from_slice(&[7; 32]).unwrap();
    let authority = key.address();
    let authorization = alloy::eips::eip7702::Authorization {
        chain_id: U256::from(420_420),
        address: Address::ZERO,
        nonce: 0,
    };
    let signature =
        alloy::signers::SignerSync::sign_hash_sync(&key, &authorization.signature_hash()).unwrap();
    let delegating = TxEip7702 {
        authorization_list: vec![authorization.into_signed(signature)],
        ..Default::default()
    };
    let mut pool = pool(Config::default());
    pool.remove_mined(&[(sender(1), 1), (authority, 1)]);
    add(&mut pool, signed(authority, template(1, GWEI))).unwrap();
    assert_eq!(offered(&pool), [(authority, 1)]);
    pool.reinsert(vec![signed(sender(1), delegating)], Instant::now());
    let late = add(&mut pool, signed(authority, template(0, GWEI))).unwrap();
    assert_eq!(late.status, Status::Ready);
}

#[test]
fn skips_are_recorded_unless_they_pass() {
    let mut pool = pool(Config::default());
    let first = add(&mut pool, transfer(1, 0, GWEI)).unwrap().hash;
    add(&mut pool, transfer(1, 1, GWEI)).unwrap();
    assert!(!pool.skip(&first, SkipReason::FeeBelowBaseFee, Instant::now()));
    assert!(pool.skip(&first, SkipReason::SenderNotEoa, Instant::now()));
    let reason = DropReason::Skipped(SkipReason::SenderNotEoa);
    assert_eq!(pool.dropped(&first).unwrap().reason, reason);
    assert_eq!(pool.counts(), Counts { ready: 0, parked: 1 });
}

/// What can happen to a pool.
#[derive(Clone, Debug)]
enum Action {
    Add { from: u8, nonce: u64, fee_wei: u128, account: u64 },
    Mined { from: u8, next: u64 },
    Skip { from: u8, nonce: u64 },
    Expire { secs: u64 },
    Reinsert { from: u8, nonce: u64, count: u64 },
}

fn action() -> impl Strategy<Value = Action> {
    let (from, nonce) = (1..5_u8, 0..12_u64);
    let fee = 1_000_000..1_000_020_u128;
    prop_oneof![
        8 => (from.clone(), nonce.clone(), fee, 0..3_u64)
            .prop_map(|(from, nonce, fee_wei, account)| Action::Add { from, nonce, fee_wei, account }),
        2 => (from.clone(), nonce.clone()).prop_map(|(from, next)| Action::Mined { from, next }),
        1 => (from.clone(), nonce.clone()).prop_map(|(from, nonce)| Action::Skip { from, nonce }),
        1 => (0..20_u64).prop_map(|secs| Action::Expire { secs }),
        1 => (from, nonce, 1..4_u64)
            .prop_map(|(from, nonce, count)| Action::Reinsert { from, nonce, count }),
    ]
}

fn apply(pool: &mut Pool, step: Action, now: Instant) {
    match step {
        Action::Add { from, nonce, fee_wei, account } => {
            let _ = pool.add(transfer(from, nonce, fee_wei), rich(account), BASE_FEE_WEI, now);
        }
        Action::Mined { from, next } => {
            pool.remove_mined(&[(sender(from), next)]);
        }
        Action::Skip { from, nonce } => {
            let queue = pool.senders.get(&sender(from));
            let hash = queue.and_then(|queue| queue.get(nonce)).map(|e| e.transaction.hash());
            if let Some(hash) = hash {
                pool.skip(&hash, SkipReason::SenderNotEoa, now);
            }
        }
        Action::Expire { secs } => {
            pool.expire(now + Duration::from_secs(secs));
        }
        Action::Reinsert { from, nonce, count } => {
            let lost = (nonce..nonce + count).map(|nonce| transfer(from, nonce, 1_000_007));
            pool.reinsert(lost.collect(), now);
        }
    }
}

/// Long after every window has closed.
const LATER: Duration = Duration::from_secs(3_600);

fn check_invariants(pool: &Pool, now: Instant) {
    let config = &pool.config;
    let (mut count, mut bytes, mut ready) = (0, 0, 0);
    // What came back is within other bounds.
    let (mut bounded, mut bounded_bytes) = (0, 0);
    for (address, queue) in &pool.senders {
        assert!(!queue.is_empty(), "an empty queue stays");
        count += queue.len();
        ready += queue.ready_len();
        let nonces = queue.next_nonce()..queue.ready_end();
        assert!(nonces.clone().all(|nonce| queue.get(nonce).is_some()), "a hole among the ready");
        assert!(queue.get(queue.ready_end()).is_none(), "a ready one is parked");
        let all: Vec<_> = (0..64).filter_map(|nonce| queue.get(nonce)).collect();
        assert_eq!(all.len(), queue.len());
        for entry in &all {
            let transaction = &entry.transaction;
            assert_eq!(transaction.sender(), *address);
            assert!(transaction.nonce() >= queue.next_nonce(), "a used nonce stays");
            assert_eq!(pool.get(&transaction.hash()), Some(transaction));
            bytes += transaction.raw().len();
            if !entry.is_returned() {
                bounded += 1;
                bounded_bytes += transaction.raw().len();
            }
        }
        let cost = all.iter().map(|entry| entry.transaction.max_cost_wei());
        assert_eq!(queue.cost_wei(), cost.fold(U256::ZERO, U256::saturating_add));
    }
    assert_eq!(pool.index.len(), count);
    assert_eq!(pool.index.bytes(), bytes);
    assert_eq!(pool.counts(), Counts { ready, parked: count - ready });
    assert!(bounded <= config.transactions_max && bounded_bytes <= config.bytes_max);
    check_offers(pool, now, ready);
    check_explanations(pool, now);
}

fn check_offers(pool: &Pool, now: Instant, ready: usize) {
    let in_time = offered_at(pool, now);
    let ask = pool.next_offer_at(now);
    assert!(ask.is_none_or(|at| at > now && !offered_at(pool, at).is_empty()), "in vain");
    assert!(ask.is_some() || !in_time.is_empty() || ready == 0, "nobody would ask");
    let offered = offered_at(pool, now + LATER);
    assert_eq!(offered.len(), ready, "everything ready is offered once");
    assert!(in_time.iter().all(|one| offered.contains(one)));
    let mut next: HashMap<Address, u64> = HashMap::new();
    for (sender, nonce) in offered {
        let expected = next.entry(sender).or_insert(nonce);
        assert_eq!(*expected, nonce, "offered out of nonce order");
        *expected += 1;
    }
}

/// Every pooled transaction is where the queues say, and none that is pooled is told to be gone.
fn check_explanations(pool: &Pool, now: Instant) {
    for queue in pool.senders.values() {
        for entry in (0..64).filter_map(|nonce| queue.get(nonce)) {
            let hash = entry.transaction.hash();
            let place = pool.explain(&hash, BASE_FEE_WEI, now, &|_| U256::ZERO).place;
            let is_parked = entry.transaction.nonce() >= queue.ready_end();
            let parked = Place::NonceGap { missing: queue.ready_end() };
            assert_eq!(place == parked, is_parked, "{place:?}");
            let is_gone =
                matches!(place, Place::Dropped(_) | Place::Ordered { .. } | Place::Unknown);
            assert!(!is_gone, "{place:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_under_any_steps(
        steps in prop::collection::vec(action(), 1..60),
        by_fee: bool,
        window_ms in 0..1_500_u64,
    ) {
        let ordering = if by_fee { Ordering::PriorityFee } else { Ordering::Fcfs };
        let mut pool = pool(Config {
            transactions_max: 12,
            bytes_max: 1_400,
            sender_slots_max: 6,
            ttl: Duration::from_secs(10),
            ordering,
            window: Duration::from_millis(window_ms),
            explain: Duration::from_secs(20),
        });
        let start = Instant::now();
        for (second, step) in steps.into_iter().enumerate() {
            let now = start + Duration::from_secs(second as u64);
            apply(&mut pool, step, now);
            check_invariants(&pool, now);
        }
    }
}
