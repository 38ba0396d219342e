//! Levels under any loads, and what is remembered of the blocks behind them.

use super::*;
use proptest::prelude::*;

/// Thresholds at 10, 20, ... 50 seconds and as many thousand bytes.
fn limits() -> Limits {
    let threshold = |at: usize| {
        let tens = 10 * (at as u64 + 1);
        Threshold { lag: Duration::from_secs(tens), bytes: tens * 1_000 }
    };
    let thresholds = std::array::from_fn(threshold);
    Limits { thresholds, throttle_bytes_per_sec: 8_000, tip_wei_min: 7 }
}

fn load(lag_secs: u64, bytes: u64) -> Load {
    Load { lag: Duration::from_secs(lag_secs), blocks: 1, bytes }
}

/// The level that a load leads to when it lasts.
fn settled(governor: &mut Governor, load: Load) -> Pressure {
    for _ in 0..Level::ALL.len() {
        governor.observe(load);
    }
    governor.observe(load)
}

#[test]
fn each_level_does_what_those_before_it_do_and_more() {
    let mut governor = Governor::new(limits());
    let at = |governor: &mut Governor, secs| settled(governor, load(secs, 0));
    assert_eq!(at(&mut governor, 9).orders, Orders::default());
    let warned = at(&mut governor, 10);
    assert_eq!((warned.level, warned.orders), (Level::Warn, Orders::default()));
    let throttled = Orders { bytes_per_sec_max: Some(8_000), ..Orders::default() };
    assert_eq!(at(&mut governor, 20).orders, throttled);
    // A third of the way to the pause a third of seven eighths is gone.
    let dearer = Orders { bytes_per_sec_max: Some(5_669), tip_wei_min: 7, ..throttled };
    assert_eq!(at(&mut governor, 30).orders, dearer);
    let closed = at(&mut governor, 40).orders;
    assert!(!closed.takes_transactions && closed.seals && closed.tip_wei_min == 7);
    let paused = at(&mut governor, 50);
    assert!(!paused.orders.takes_transactions && !paused.orders.seals);
    assert_eq!(paused.orders.bytes_per_sec_max, Some(1_000), "an eighth, not nothing");
    assert_eq!((paused.level.name(), paused.level.rank()), ("paused", 5));
}

#[test]
fn a_load_that_jumps_goes_through_every_level_and_falls_at_once() {
    let mut governor = Governor::new(limits());
    let seen: Vec<_> = (0..6).map(|_| governor.observe(load(1_000, 0)).level).collect();
    assert_eq!(seen[..5], Level::ALL[1..]);
    assert_eq!(seen[5], Level::Paused);
    assert_eq!(governor.observe(load(0, 0)).level, Level::Open);
}

#[test]
fn a_level_is_left_below_eighty_percent_of_its_threshold() {
    let mut governor = Governor::new(limits());
    assert_eq!(settled(&mut governor, load(50, 0)).level, Level::Paused);
    assert_eq!(governor.observe(load(40, 0)).level, Level::Paused);
    // Below it, and at the threshold of the level before.
    assert_eq!(governor.observe(load(39, 0)).level, Level::DepositsOnly);
    assert_eq!(governor.observe(load(31, 50_000)).level, Level::Paused, "by size");
    assert_eq!(governor.observe(load(7, 7_999)).level, Level::Open);
}

#[test]
fn a_start_goes_on_at_the_level_that_the_load_can_have_led_to() {
    let resumed = |load| {
        let (mut governor, pressure) = Governor::resume(limits(), load);
        assert_eq!(governor.observe(load).level, pressure.level, "and stays there");
        pressure
    };
    assert_eq!(resumed(load(0, 0)).orders, Orders::default());
    assert_eq!(resumed(load(7, 0)).level, Level::Open);
    let paused = resumed(load(40, 0));
    assert_eq!((paused.level, paused.orders.seals), (Level::Paused, false));
}

#[test]
fn what_the_run_before_kept_decides_where_timestamps_mislead() {
    use super::backlog::{KEPT_EVERY, Kept};
    let secs = Duration::from_secs;
    let left = |kept, oldest, by_timestamps| {
        let left = Kept::left(kept, oldest, secs(by_timestamps));
        (left.lag.as_secs(), left.bytes)
    };
    let kept = Some(Kept { oldest: 10, lag: secs(3_600), bytes: 99 });
    assert_eq!(left(None, 10, 1_860), (1_860, 0), "a run that kept nothing");
    assert_eq!(left(kept, 10, 1_860), (3_600, 99), "time stood still while L1 was away");
    assert_eq!(left(kept, 8, 1_860), (3_600, 99), "the safe head went back");
    assert_eq!(left(kept, 11, 40), (40, 0), "some were posted since");
    let young = Some(Kept { oldest: 10, lag: secs(5), bytes: 99 });
    assert_eq!(left(young, 11, 9_000), (5 + KEPT_EVERY.as_secs(), 0), "blocks of a long pause");
    // Paused before the restart, paused after it.
    let (_, pressure) = Governor::resume(limits(), Kept::left(young, 10, secs(0)));
    assert_eq!(pressure.level, Level::Open);
    let full = Some(Kept { oldest: 10, lag: secs(0), bytes: 50_000 });
    let (_, pressure) = Governor::resume(limits(), Kept::left(full, 10, secs(0)));
    assert_eq!(pressure.level, Level::Paused, "by size, at once");
}

#[test]
fn a_gauge_without_governor_refuses_nothing() {
    let none = Gauge::default();
    assert_eq!((none.read(), none.orders()), (None, Orders::default()));
    assert!(none.check_open().is_ok() && none.check_tip(0).is_ok());
    let mut governor = Governor::new(limits());
    let (told, receiver) = watch::channel(settled(&mut governor, load(30, 0)));
    let gauge = Gauge::new(receiver);
    assert!(gauge.check_open().is_ok() && gauge.check_tip(7).is_ok());
    let refused = gauge.check_tip(6).unwrap_err();
    assert_eq!(refused, Refusal::Tip { tip_wei: 6, needed_wei: 7 });
    told.send_replace(settled(&mut governor, load(42, 0)));
    let refused = gauge.check_open().unwrap_err().to_string();
    assert!(refused.contains("42 s behind (deposits-only), try again later"), "{refused}");
}

fn any_load() -> impl Strategy<Value = Load> {
    (0..80_000_u64, 0..80_000_u64).prop_map(|(lag_ms, bytes)| Load {
        lag: Duration::from_millis(lag_ms),
        blocks: 1,
        bytes,
    })
}

proptest! {
    #[test]
    fn a_heavier_load_never_asks_for_less(a in any_load(), more_ms in 0..40_000_u64, more in 0..40_000_u64) {
        let b = Load { lag: a.lag + Duration::from_millis(more_ms), bytes: a.bytes + more, ..a };
        let settled = |load| settled(&mut Governor::new(limits()), load);
        let (a, b) = (settled(a), settled(b));
        prop_assert!(a.level <= b.level);
        let rate = |pressure: &Pressure| pressure.orders.bytes_per_sec_max.unwrap_or(u64::MAX);
        prop_assert!(rate(&a) >= rate(&b));
        prop_assert!(a.orders.tip_wei_min <= b.orders.tip_wei_min);
        prop_assert!(a.orders.takes_transactions >= b.orders.takes_transactions);
        prop_assert!(a.orders.seals >= b.orders.seals);
    }

    /// Up by one at a time and only at a threshold; down only below 80 percent of one.
    #[test]
    fn no_level_is_skipped_or_left_early(loads in prop::collection::vec(any_load(), 1..200)) {
        let limits = limits();
        let mut governor = Governor::new(limits);
        let mut before = Level::Open;
        for load in loads {
            let level = governor.observe(load).level;
            if level > before {
                prop_assert_eq!(level.rank(), before.rank() + 1);
                prop_assert!(load.reaches(limits.threshold(level).unwrap(), 100));
            }
            for left in &Level::ALL[level.rank() + 1..=before.rank().max(level.rank())] {
                prop_assert!(!load.reaches(limits.threshold(*left).unwrap(), 80));
            }
            before = level;
        }
    }

    /// A load that wavers by less than a fifth around any threshold changes the level at most once up,
    /// then never.
    #[test]
    fn what_wavers_does_not_flap(at in 1..=5_u64, wavers in prop::collection::vec(8_001..=10_000_u64, 50)) {
        let mut governor = Governor::new(limits());
        let threshold_ms = at * 10;
        let mut levels = Vec::new();
        settled(&mut governor, load(at * 10, 0));
        for permille in wavers {
            let lag = Duration::from_millis(threshold_ms * permille / 10);
            levels.push(governor.observe(Load { lag, blocks: 1, bytes: 0 }).level);
        }
        levels.dedup();
        prop_assert_eq!(levels, vec![Level::ALL[usize::try_from(at).unwrap()]]);
    }
}

mod remembered {
    use super::*;
    use backlog::Sealed;

    fn sealed(number: u64, at_secs: u64) -> Sealed {
        Sealed { number, bytes: 100, at_ms: at_secs * 1_000 }
    }

    fn backlog(known_safe: u64, blocks: impl IntoIterator<Item = Sealed>) -> Backlog {
        let mut backlog = Backlog::new(known_safe);
        blocks.into_iter().for_each(|block| backlog.note(block));
        backlog
    }

    /// Seconds, blocks, bytes.
    fn seen(backlog: &mut Backlog, safe: u64, head: u64, now_secs: u64) -> (u64, u64, u64) {
        let Load { lag, blocks, bytes } = backlog.load(safe, head, now_secs * 1_000);
        (lag.as_secs(), blocks, bytes)
    }

    #[test]
    fn the_oldest_block_above_the_safe_head_counts() {
        let mut backlog = backlog(0, (1..=10).map(|number| sealed(number, 10 * number)));
        assert_eq!(seen(&mut backlog, 0, 10, 100), (90, 10, 1_000));
        assert_eq!(seen(&mut backlog, 4, 10, 100), (50, 6, 600));
        assert_eq!(seen(&mut backlog, 10, 10, 100), (0, 0, 0));
        backlog.note(sealed(11, 130));
        assert_eq!(seen(&mut backlog, 10, 11, 135), (5, 1, 100));
    }

    #[test]
    fn blocks_of_one_second_are_one_entry() {
        let burst =
            (1..=1_000).map(|number| Sealed { number, bytes: 1, at_ms: 5_000 + number % 500 });
        let mut backlog = backlog(0, burst);
        assert_eq!(seen(&mut backlog, 999, 1_000, 8), (2, 1, 1_000), "as old as the oldest of it");
        assert_eq!(seen(&mut backlog, 1_000, 1_000, 8), (0, 0, 0));
    }

    #[test]
    fn undone_blocks_do_not_count() {
        let mut backlog = backlog(0, (1..=10).map(|number| sealed(number, 10 * number)));
        assert_eq!(seen(&mut backlog, 0, 3, 100), (90, 3, 300));
        assert_eq!(seen(&mut backlog, 3, 3, 100), (0, 0, 0));
        // Replaced by one that is told before the head is looked at.
        let mut backlog = super::remembered::backlog(0, (1..=3).map(|number| sealed(number, 10)));
        backlog.note(sealed(2, 40));
        assert_eq!(seen(&mut backlog, 1, 2, 41), (1, 1, 100));
    }

    #[test]
    fn what_an_earlier_run_left_comes_before() {
        let mut backlog = backlog(5, [sealed(9, 200), sealed(10, 210)]);
        backlog.note_earlier((6..=9).map(|number| sealed(number, 100 + number)));
        assert_eq!(seen(&mut backlog, 0, 10, 210), (104, 5, 500), "5 was safe, 9 counts once");
        // L1 was read again up to there: from now on the heads alone say what is safe.
        assert_eq!(seen(&mut backlog, 7, 10, 210), (102, 3, 300));
        assert_eq!(seen(&mut backlog, 8, 10, 210), (10, 2, 200));
    }

    #[test]
    fn a_safe_head_that_goes_back_shows_blocks_of_unknown_age() {
        let mut backlog = backlog(0, (1..=10).map(|number| sealed(number, 10 * number)));
        assert_eq!(seen(&mut backlog, 8, 10, 100), (10, 2, 200));
        // At least as old as the block after them.
        assert_eq!(seen(&mut backlog, 5, 10, 101), (11, 5, 200));
        assert_eq!(seen(&mut backlog, 10, 10, 102), (0, 0, 0));
        assert_eq!(seen(&mut backlog, 9, 10, 103), (0, 1, 0));
        assert_eq!(seen(&mut backlog, 9, 10, 107), (4, 1, 0));
        assert_eq!(seen(&mut backlog, 10, 10, 108), (0, 0, 0));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Seal(u64),
        Undo(u64),
        Safe(u64),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => (0..1_000_u64).prop_map(Step::Seal),
            1 => (0..5_u64).prop_map(Step::Undo),
            2 => (0..12_u64).prop_map(Step::Safe),
            2 => (0..3_000_u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Beside a list of every block: the lag is right to within an entry, never too low, and bytes
        /// are never too few.
        #[test]
        fn it_is_what_a_list_of_all_blocks_says(steps in prop::collection::vec(step(), 1..200)) {
            let mut backlog = Backlog::new(0);
            let (mut all, mut safe, mut now_ms): (Vec<(u64, u64)>, usize, u64) = (Vec::new(), 0, 0);
            for step in steps {
                match step {
                    Step::Seal(bytes) => {
                        all.push((now_ms, bytes));
                        backlog.note(Sealed { number: all.len() as u64, bytes, at_ms: now_ms });
                    }
                    // The safe head is not undone.
                    Step::Undo(count) => {
                        let count = usize::try_from(count).unwrap();
                        all.truncate(all.len().saturating_sub(count).max(safe));
                    }
                    Step::Safe(count) => {
                        safe = (safe + usize::try_from(count).unwrap()).min(all.len());
                    }
                    Step::Wait(ms) => now_ms += ms,
                }
                let Load { lag, blocks, bytes } =
                    backlog.load(safe as u64, all.len() as u64, now_ms);
                let open = &all[safe..];
                prop_assert_eq!(blocks, open.len() as u64);
                let lag_ms = u64::try_from(lag.as_millis()).unwrap();
                let true_ms = open.first().map_or(0, |(at_ms, _)| now_ms - at_ms);
                prop_assert!((true_ms..true_ms + 1_000).contains(&lag_ms), "{lag_ms} {true_ms}");
                prop_assert!(bytes >= open.iter().map(|(_, bytes)| bytes).sum::<u64>());
                prop_assert!(!open.is_empty() || bytes == 0);
            }
        }
    }
}
