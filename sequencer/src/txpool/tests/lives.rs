//! Where a transaction is said to be, and what is said to have happened to it.

use super::*;
use crate::txpool::lives::Lives;

fn explain(pool: &Pool, hash: B256) -> Explanation {
    pool.explain(&hash, BASE_FEE_WEI, Instant::now(), &|_| U256::ZERO)
}

fn steps(pool: &Pool, hash: B256) -> Vec<Step> {
    explain(pool, hash).events.into_iter().map(|event| event.step).collect()
}

fn dropped(reason: DropReason) -> Step {
    Step::Dropped(Box::new(reason))
}

#[test]
fn a_life_is_told_step_by_step() {
    let mut pool = pool(Config::default());
    let parked = add(&mut pool, transfer(1, 1, GWEI)).unwrap().hash;
    assert_eq!(explain(&pool, parked).place, Place::NonceGap { missing: 0 });
    assert_eq!(explain(&pool, parked).sender, Some((sender(1), 1)));
    let first = add(&mut pool, transfer(1, 0, GWEI)).unwrap().hash;
    assert_eq!(explain(&pool, parked).place, Place::Ready);
    assert!(!pool.skip(&parked, SkipReason::BlockBlobGas, Instant::now()));
    assert_eq!(explain(&pool, parked).place, Place::Skipped(SkipReason::BlockBlobGas));
    pool.note_ordered([first, parked], 7, Instant::now());
    pool.remove_mined(&[(sender(1), 2)]);
    assert_eq!(explain(&pool, parked).place, Place::Ordered { block_number: 7 });
    assert_eq!(pool.dropped(&parked), None);
    pool.reinsert(vec![transfer(1, 0, GWEI), transfer(1, 1, GWEI)], Instant::now());
    assert_eq!(explain(&pool, parked).place, Place::Ready);
    let told = [
        Step::Received,
        Step::Parked { missing: 0 },
        Step::Ready,
        Step::Skipped(Box::new(SkipReason::BlockBlobGas)),
        Step::Ordered { block_number: 7 },
        Step::Returned,
    ];
    assert_eq!(steps(&pool, parked), told);
    assert_eq!(steps(&pool, first), [Step::Received, told[4].clone(), Step::Returned]);
}

#[test]
fn who_replaced_evicted_and_used_a_nonce_is_told() {
    let mut pool = pool(Config { transactions_max: 2, ..Config::default() });
    let old = add(&mut pool, transfer(1, 0, GWEI)).unwrap().hash;
    let new = add(&mut pool, transfer(1, 0, 2 * GWEI)).unwrap().hash;
    assert_eq!(steps(&pool, old), [Step::Received, dropped(DropReason::Replaced { by: new })]);
    assert_eq!(explain(&pool, old).sender, None);
    let behind = add(&mut pool, transfer(1, 1, 3 * GWEI)).unwrap().hash;
    add(&mut pool, transfer(2, 0, 9 * GWEI)).unwrap();
    assert_eq!(explain(&pool, new).place, Place::Dropped(DropReason::Evicted));
    assert_eq!(steps(&pool, behind), [Step::Received, Step::Parked { missing: 0 }]);
    // Another of the sender's transactions was mined, which this pool has not seen.
    pool.remove_mined(&[(sender(1), 2)]);
    let reason = DropReason::NonceUsed { next: 2 };
    assert_eq!(pool.dropped(&behind).unwrap().reason, reason);
}

#[test]
fn a_replacement_does_not_disturb_what_is_behind_it() {
    let mut pool = pool(Config::default());
    add(&mut pool, transfer(1, 0, GWEI)).unwrap();
    let behind = add(&mut pool, transfer(1, 1, GWEI)).unwrap().hash;
    add(&mut pool, transfer(1, 0, 2 * GWEI)).unwrap();
    assert_eq!(steps(&pool, behind), [Step::Received]);
}

#[test]
fn the_one_that_holds_the_others_back_is_named() {
    let mut pool = pool(Config::default());
    let fee_wei = u128::from(BASE_FEE_WEI);
    let low = add(&mut pool, transfer(1, 0, fee_wei)).unwrap().hash;
    let behind = add(&mut pool, transfer(1, 1, GWEI)).unwrap().hash;
    let place = |hash| pool.explain(&hash, BASE_FEE_WEI + 1, Instant::now(), &|_| U256::ZERO).place;
    let base_fee_wei = BASE_FEE_WEI + 1;
    assert_eq!(place(low), Place::FeeBelowBaseFee { max_fee_wei: fee_wei, base_fee_wei });
    assert_eq!(place(behind), Place::Behind { hash: low, nonce: 0 });
    assert_eq!(place(B256::ZERO), Place::Unknown);
}

#[test]
fn times_are_those_of_the_steps() {
    let mut pool = pool(Config { ttl: Duration::from_secs(10), ..Config::default() });
    let start = Instant::now();
    let hash = pool.add(transfer(1, 0, GWEI), rich(0), BASE_FEE_WEI, start).unwrap().hash;
    pool.expire(start + Duration::from_secs(11));
    let events = explain(&pool, hash).events;
    assert_eq!(events[1].at_unix_ms - events[0].at_unix_ms, 11_000);
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    let now_ms = u64::try_from(now.unwrap().as_millis()).unwrap();
    assert!(now_ms.abs_diff(events[0].at_unix_ms) < 60_000, "they are times of day");
}

fn hash(n: u64) -> B256 {
    B256::from(U256::from(n))
}

#[test]
fn lives_are_bounded_and_the_oldest_is_forgotten() {
    let mut lives = Lives::new(Duration::from_secs(3_600));
    (0..=LIVES_MAX as u64).for_each(|n| lives.note(hash(n), Step::Received, 1_000));
    assert_eq!(lives.len(), LIVES_MAX);
    assert!(lives.events(&hash(0)).is_empty());
    assert_eq!(lives.events(&hash(LIVES_MAX as u64)).len(), 1);
}

#[test]
fn lives_are_kept_from_the_last_step_on() {
    let mut lives = Lives::new(Duration::from_secs(10));
    lives.note(hash(1), Step::Received, 0);
    lives.note(hash(2), Step::Received, 0);
    lives.note(hash(1), Step::Ordered { block_number: 1 }, 9_000);
    lives.note(hash(3), Step::Received, 10_001);
    assert_eq!(lives.events(&hash(1)).len(), 2);
    assert!(lives.events(&hash(2)).is_empty(), "nothing happened to it for ten seconds");
    lives.note(hash(4), Step::Received, 19_001);
    assert!(lives.events(&hash(1)).is_empty());
}

#[test]
fn steps_are_bounded_and_the_last_is_kept() {
    let mut lives = Lives::new(Duration::from_secs(10));
    for n in 0..100 {
        lives.note(hash(1), Step::Parked { missing: n }, n);
        lives.note(hash(1), Step::Parked { missing: n }, n);
    }
    let events = lives.events(&hash(1));
    assert_eq!(events.len(), STEPS_MAX);
    assert_eq!(events[0].step, Step::Parked { missing: 0 });
    assert_eq!(events[STEPS_MAX - 1].step, Step::Parked { missing: 99 });
}
