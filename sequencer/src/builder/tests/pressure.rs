//! The builder while L1 is behind, level by level, and after a pause.

use super::*;
use crate::pressure::Pressure;
use batcher::derive::rules::check_timestamp;
use executor::Deposit;
use tokio::sync::watch;

/// Lets a test give orders to the site's builder.
fn governed(site: &mut Site) -> watch::Sender<Pressure> {
    let (told, receiver) = watch::channel(Pressure::default());
    site.builder.config.pressure = Gauge::new(receiver);
    told
}

fn order(told: &watch::Sender<Pressure>, orders: Orders) {
    told.send_replace(Pressure { orders, ..Pressure::default() });
}

const PAUSED: Orders =
    Orders { bytes_per_sec_max: None, tip_wei_min: 0, takes_transactions: false, seals: false };
const DEPOSITS_ONLY: Orders = Orders { seals: true, ..PAUSED };

/// The L1 block after the one that [`origin`] is, `number` - 1 times.
fn l1_block(number: u64) -> L1Block {
    let hash = |number: u64| match number {
        1 => origin().hash,
        number => B256::from(U256::from(number)),
    };
    let timestamp = NOW_SECS + 12 * (number - 1);
    let (hash, parent_hash) = (hash(number), hash(number - 1));
    let deposit = Deposit {
        source_hash: hash,
        from: Address::repeat_byte(0xdd),
        to: TxKind::Call(Address::repeat_byte(0xdd)),
        mint_wei: 1,
        value: U256::ZERO,
        gas_limit: 100_000,
        input: Bytes::new(),
    };
    L1Block {
        origin: L1Origin { number, hash, parent_hash, timestamp, ..origin() },
        deposits: vec![deposit],
    }
}

#[test]
fn a_throttled_block_takes_its_part_and_what_is_beyond_is_taken_off_the_next() {
    let mut site = Site::new(30_000_000, 12);
    let told = governed(&mut site);
    let long = |index| {
        let unsigned = TxEip1559 {
            chain_id: RollupRules::default().chain_id,
            gas_limit: 1_000_000,
            max_fee_per_gas: 1_000_000_000,
            to: TxKind::Call(Address::repeat_byte(0xbb)),
            input: vec![1; 2_000].into(),
            ..TxEip1559::default()
        };
        signed(sender(index), unsigned)
    };
    let short_bytes = batch_bytes_max(&transfer(sender(0), 0, 21_000, 1));
    // Slots are a minute: each block's part is three transfers and a quarter.
    let part = 3 * short_bytes + short_bytes / 4;
    let per_sec = (part as u64).div_ceil(60);
    order(&told, Orders { bytes_per_sec_max: Some(per_sec), ..Orders::default() });
    let part = usize::try_from(per_sec * 60).unwrap();

    let added: Vec<_> =
        (0..8).map(|index| site.add(transfer(sender(index), 0, 21_000, 1))).collect();
    let blocks: Vec<_> = (0..3).map(|_| site.build()).collect();
    let counts: Vec<_> = blocks.iter().map(|(_, _, users)| users.len()).collect();
    // The fourth begins below the part, and its rest is the second block's.
    assert_eq!(counts, [4, 3, 1]);
    let users: Vec<_> = blocks.into_iter().flat_map(|(_, _, users)| users).collect();
    assert_eq!(users, added, "in their order, none lost");

    let long = site.add(long(8));
    let after = site.add(transfer(sender(9), 0, 21_000, 1));
    let (sealed, _, users) = site.build();
    assert_eq!(users, [long], "one alone may be longer than the part");
    assert!(sealed.bytes > 2_000 && sealed.bytes > part);
    let waits = (sealed.bytes - part) / part;
    for _ in 0..waits {
        assert!(site.build().2.is_empty(), "what was beyond is paid off first");
    }
    assert_eq!(site.build().2, [after]);

    // Nothing is owed once there is no throttle.
    order(&told, Orders::default());
    let all: Vec<_> =
        (10..12).map(|index| site.add(transfer(sender(index), 0, 21_000, 1))).collect();
    assert_eq!(site.build().2, all);
    assert_eq!(site.builder.bytes_owed, 0);
}

#[test]
fn what_does_not_pay_the_tip_waits_and_its_sender_with_it() {
    let mut site = Site::new(30_000_000, 3);
    let told = governed(&mut site);
    let tipped = |from, nonce, tip_wei| {
        let unsigned = TxEip1559 {
            chain_id: RollupRules::default().chain_id,
            nonce,
            gas_limit: 21_000,
            max_fee_per_gas: 1_000_000_000,
            max_priority_fee_per_gas: tip_wei,
            to: TxKind::Call(Address::repeat_byte(0xbb)),
            ..TxEip1559::default()
        };
        signed(from, unsigned)
    };
    let cheap = site.add(tipped(sender(0), 0, 499));
    let behind = site.add(tipped(sender(0), 1, 500));
    let paying = site.add(tipped(sender(1), 0, 500));
    order(&told, Orders { tip_wei_min: 500, ..Orders::default() });
    let (block, _, users) = site.build();
    assert_eq!((users, block.skipped.len()), (vec![paying], 0));
    let place = |hash| {
        let base_fee_wei = 1_000_000;
        let pool = site.pool.lock().unwrap();
        pool.explain(&hash, base_fee_wei, Instant::now(), &|_| U256::ZERO).place
    };
    assert_eq!(place(cheap), Place::TipBelowMinimum { tip_wei: 499, tip_wei_min: 500 });
    assert_eq!(place(behind), Place::Behind { hash: cheap, nonce: 0 });
    order(&told, Orders::default());
    assert_eq!(site.build().2, [cheap, behind]);
}

#[test]
fn with_deposits_only_users_wait_and_deposits_do_not() {
    let mut site = Site::new(30_000_000, 2);
    let told = governed(&mut site);
    let waiting = site.add(transfer(sender(0), 0, 21_000, 1));
    order(&told, DEPOSITS_ONLY);
    site.builder.l1.push(l1_block(2));
    let end = Instant::now() + Duration::from_secs(60);
    let sealed = site.builder.build_next(NOW_SECS + 12, end, &mut Impatient).unwrap().unwrap();
    assert_eq!(sealed.transactions, 0);
    let block = site.builder.store.block(sealed.header.number).unwrap().unwrap();
    assert_eq!(block.transactions.len(), 2, "the attributes and L1's deposit");
    // Where blocks are made when there is something for them, what waits is nothing.
    site.builder.config.empty_blocks = EmptyBlocks::FollowL1;
    assert!(site.builder.build_next(NOW_SECS + 13, end, &mut Impatient).unwrap().is_none());
    order(&told, Orders::default());
    let sealed = site.builder.build_next(NOW_SECS + 14, end, &mut Impatient).unwrap().unwrap();
    let block = site.builder.store.block(sealed.header.number).unwrap().unwrap();
    assert_eq!(block.transactions.last().unwrap().hash(), waiting);
}

#[test]
fn what_was_begun_is_sealed_and_then_nothing_until_the_pause_ends() {
    let (full, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut site = Site::on_disk(30_000_000, 2, |directory| {
        let real = DirectoryFiles::new(&directory.join("log")).unwrap();
        let disk = SmallDisk { real, full: full.clone(), refused };
        ChainOptions { log_files: Some(Arc::new(disk)), ..ChainOptions::default() }
    });
    let told = governed(&mut site);
    let promised = site.add(transfer(sender(0), 0, 21_000, 1));
    let fill = full.clone();
    let mut script = Script(vec![Box::new(move || fill.store(true, Ordering::Relaxed))]);
    let end = Instant::now() + Duration::from_secs(60);
    site.builder.build_next(NOW_SECS + 1, end, &mut script).unwrap_err();
    // Acknowledged, and not sealed. Then the pause.
    full.store(false, Ordering::Relaxed);
    order(&told, PAUSED);
    let waiting = site.add(transfer(sender(1), 0, 21_000, 1));
    let (sealed, _, users) = site.build();
    assert_eq!((sealed.header.number, users), (1, vec![promised]));
    for _ in 0..3 {
        assert!(site.try_build().unwrap().is_none());
    }
    assert_eq!(site.builder.store.head().number, 1);
    order(&told, Orders::default());
    assert_eq!(site.build().2, [waiting]);
}

#[test]
fn blocks_on_a_lost_origin_are_undone_during_a_pause() {
    let mut site = Site::new(30_000_000, 1);
    let told = governed(&mut site);
    let end = Instant::now() + Duration::from_secs(60);
    site.builder.l1.push(l1_block(2));
    let kept = site.add(transfer(sender(0), 0, 21_000, 1));
    let sealed = site.builder.build_next(NOW_SECS + 12, end, &mut Impatient).unwrap().unwrap();
    assert_eq!((sealed.transactions, site.builder.store.head().number), (1, 1));
    order(&told, PAUSED);
    site.builder.l1.truncate(1);
    let mut other = l1_block(2);
    other.origin.hash = B256::repeat_byte(0x77);
    site.builder.l1.push(other);
    assert!(site.builder.build_next(NOW_SECS + 13, end, &mut Impatient).unwrap().is_none());
    assert_eq!(site.builder.store.head().number, 0);
    assert!(site.pool.lock().unwrap().get(&kept).is_some(), "given back");
    order(&told, Orders::default());
    let sealed = site.builder.build_next(NOW_SECS + 14, end, &mut Impatient).unwrap().unwrap();
    assert_eq!(sealed.transactions, 1);
}

/// Hours of pause, longer than the drift limit: every block after it follows the rules of derivation, none
/// of L1 is left out, and the clock comes back to the present.
#[test]
fn after_a_long_pause_the_builder_catches_up_within_the_rules() {
    const L1_BLOCKS: u64 = 1_000;
    let mut site = Site::new(30_000_000, 1);
    let told = governed(&mut site);
    site.build();
    order(&told, PAUSED);
    (2..=L1_BLOCKS).for_each(|number| site.builder.l1.push(l1_block(number)));
    let now_secs = NOW_SECS + 12 * L1_BLOCKS;
    let drift = RollupRules::default().sequencer_drift_secs_max;
    assert!(now_secs - NOW_SECS > drift);
    let end = Instant::now();
    assert!(site.builder.build_next(now_secs, end, &mut Impatient).unwrap().is_none());
    order(&told, Orders::default());
    let waiting = site.add(transfer(sender(0), 0, 21_000, 1));
    let mut parent = site.builder.parent().unwrap();
    let mut transactions = 0;
    while parent.epoch.number < L1_BLOCKS {
        assert!(parent.epoch.number >= L1_BLOCKS - ORIGIN_LAG_MAX || site.builder.is_behind());
        let sealed = site.builder.build_next(now_secs, end, &mut Impatient).unwrap().unwrap();
        transactions += sealed.transactions;
        let block = site.builder.parent().unwrap();
        let epoch = next_origin_allowed(&parent.epoch, &block.origin).unwrap();
        assert!(epoch.is_first(), "its deposits are in it");
        let (timestamp, rules) = (block.header.timestamp, &site.builder.rollup);
        check_timestamp(rules, parent.header.timestamp, &block.origin, timestamp).unwrap();
        parent = block;
    }
    assert_eq!(parent.header.timestamp, now_secs);
    assert_eq!(transactions, 1, "{waiting} in one of the first");
}
