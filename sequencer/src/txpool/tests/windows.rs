//! Ordering windows: what competes with what, and when it is offered.

use super::*;

const WINDOW: Duration = Duration::from_millis(100);

fn windowed() -> Pool {
    pool(Config { ordering: Ordering::PriorityFee, window: WINDOW, ..Config::default() })
}

fn tipping(from: u8, nonce: u64, tip_wei: u128) -> Transaction {
    let tip = TxEip1559 { max_priority_fee_per_gas: tip_wei, ..template(nonce, 9 * GWEI) };
    signed(sender(from), tip)
}

fn add_at(pool: &mut Pool, transaction: Transaction, at: Instant) -> B256 {
    pool.add(transaction, rich(0), BASE_FEE_WEI, at).unwrap().hash
}

#[test]
fn first_come_is_offered_at_once() {
    let mut pool = pool(Config { window: WINDOW, ..Config::default() });
    let now = Instant::now();
    assert_eq!(pool.next_offer_at(now), None);
    add_at(&mut pool, transfer(1, 0, GWEI), now);
    assert_eq!(pool.next_offer_at(now), None, "there is nothing to wait for");
    assert_eq!(offered_at(&pool, now), [(sender(1), 0)]);
}

#[test]
fn a_window_is_offered_when_it_has_closed_the_highest_tip_first() {
    let mut pool = windowed();
    let now = Instant::now();
    let low = add_at(&mut pool, tipping(1, 0, 1), now);
    add_at(&mut pool, tipping(2, 0, 5), now);
    assert!(offered_at(&pool, now).is_empty());
    let closes = pool.next_offer_at(now).unwrap();
    assert!(closes > now && closes <= now + WINDOW);
    let Place::Window { until_unix_ms } =
        pool.explain(&low, BASE_FEE_WEI, now, &|_| U256::ZERO).place
    else {
        panic!("it does not wait for its window")
    };
    assert_eq!(until_unix_ms, pool.clock.unix_ms(closes));
    assert!(offered_at(&pool, closes - Duration::from_millis(1)).is_empty());
    assert_eq!(offered_at(&pool, closes), [(sender(2), 0), (sender(1), 0)]);
    assert_eq!(pool.next_offer_at(closes), None);
}

#[test]
fn a_later_window_does_not_overtake() {
    let mut pool = windowed();
    let now = Instant::now();
    add_at(&mut pool, tipping(1, 0, 1), now);
    add_at(&mut pool, tipping(2, 0, 2), now);
    add_at(&mut pool, tipping(3, 0, 9), now + WINDOW);
    let order = [2, 1, 3].map(|from| (sender(from), 0));
    assert_eq!(offered_at(&pool, now + 2 * WINDOW), order);
    // The second window is open while the first is offered.
    let closes = pool.next_offer_at(now).unwrap();
    assert_eq!(offered_at(&pool, closes), order[..2]);
}

#[test]
fn the_nonce_order_is_above_window_and_tip() {
    let mut pool = windowed();
    let now = Instant::now();
    // Arrived first and parked; what it needs comes a window later.
    add_at(&mut pool, tipping(1, 1, 9), now);
    add_at(&mut pool, tipping(2, 0, 3), now + WINDOW);
    add_at(&mut pool, tipping(1, 0, 1), now + WINDOW);
    let order = [(sender(2), 0), (sender(1), 0), (sender(1), 1)];
    assert_eq!(offered_at(&pool, now + 2 * WINDOW), order);
}

#[test]
fn what_an_undone_block_had_waits_for_no_window() {
    let mut pool = windowed();
    let now = Instant::now();
    add_at(&mut pool, tipping(3, 0, 9), now);
    pool.reinsert(vec![tipping(1, 0, 1)], now);
    assert!(pool.next_offer_at(now).unwrap() > now, "for the other");
    assert_eq!(offered_at(&pool, now), [(sender(1), 0)]);
}

#[test]
fn without_a_window_all_that_waits_competes() {
    let mut pool = pool(Config { ordering: Ordering::PriorityFee, ..Config::default() });
    let now = Instant::now();
    add_at(&mut pool, tipping(1, 0, 1), now);
    add_at(&mut pool, tipping(2, 0, 9), now + WINDOW);
    assert_eq!(offered_at(&pool, now + WINDOW), [(sender(2), 0), (sender(1), 0)]);
}
