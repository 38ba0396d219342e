//! The journal: what is written comes back, whatever happens to the file's end.

use super::*;
use std::{fs, path::PathBuf};

/// A journal in a directory of its own.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("pool.journal")
    }

    fn open(&self) -> (Journal, Vec<Submission>) {
        Journal::open(&self.path()).unwrap()
    }

    fn found(&self) -> Vec<B256> {
        self.open().1.iter().map(|found| found.transaction.hash()).collect()
    }
}

fn submission(from: u8, nonce: u64) -> Submission {
    Submission { received_unix_ms: Some(1_000 + nonce), ..transfer(from, nonce, GWEI).into() }
}

fn hashes(submissions: &[Submission]) -> Vec<B256> {
    submissions.iter().map(|submission| submission.transaction.hash()).collect()
}

#[test]
fn what_is_written_comes_back_with_its_terms_in_order() {
    let site = Site::new();
    let conditions = Conditions { timestamp_max: Some(9), ..Conditions::default() };
    let terms = Terms { max_total_fee_wei: Some(U256::MAX), conditions: Some(conditions) };
    let with_terms = Submission { terms: Some(Arc::new(terms)), ..submission(2, 0) };
    let written = [submission(1, 0), with_terms, submission(1, 1)];
    let (journal, found) = site.open();
    assert!(found.is_empty());
    journal.append_admitted(&written[..2]);
    journal.append_admitted(&written[2..]);
    drop(journal);
    assert_eq!(site.open().1, written);
    // Opening again changes nothing.
    assert_eq!(site.open().1, written);
}

#[test]
fn what_left_stays_away_and_what_came_back_is_last() {
    let site = Site::new();
    let [first, second, third] = [0, 1, 2].map(|nonce| submission(1, nonce));
    let (journal, _) = site.open();
    journal.append_admitted(&[first.clone(), second.clone(), third.clone()]);
    let hash = |submission: &Submission| submission.transaction.hash();
    journal.append_changed([(hash(&second), None), (hash(&first), Some(first.clone()))]);
    assert_eq!(site.found(), hashes(&[third, first]));
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_rest_comes_back() {
    let site = Site::new();
    let written = [submission(1, 0), submission(2, 0)];
    let (journal, _) = site.open();
    journal.append_admitted(&written[..1]);
    let sound = usize::try_from(journal.bytes()).unwrap();
    journal.append_admitted(&written[1..]);
    drop(journal);
    let whole = fs::read(site.path()).unwrap();
    for length in 0..whole.len() {
        fs::write(site.path(), &whole[..length]).unwrap();
        let expected = if length < sound { &[][..] } else { &written[..1] };
        let (journal, found) = site.open();
        assert_eq!(found, expected, "torn at {length}");
        // And it is written on, over what was torn.
        journal.append_admitted(&written[1..]);
        drop(journal);
        let last = site.found().last().copied();
        assert_eq!(last, Some(written[1].transaction.hash()), "torn at {length}");
    }
}

#[test]
fn a_flipped_byte_costs_what_comes_after_it_and_never_the_start() {
    let site = Site::new();
    let written = [submission(1, 0), submission(2, 0), submission(3, 0)];
    let (journal, _) = site.open();
    journal.append_admitted(&written);
    drop(journal);
    let whole = fs::read(site.path()).unwrap();
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        fs::write(site.path(), &damaged).unwrap();
        let found = site.open().1;
        assert!(found.len() < 3 && found[..] == written[..found.len()], "flipped at {at}");
    }
    fs::write(site.path(), b"not a journal at all, but something else").unwrap();
    assert!(site.open().1.is_empty());
}

#[test]
fn compacting_keeps_what_lives_and_what_comes_meanwhile() {
    let site = Site::new();
    let (journal, _) = site.open();
    let old: Vec<_> = (0..3_000).map(|nonce| submission(1, nonce)).collect();
    journal.append_admitted(&old);
    let before = journal.bytes();
    let late = submission(2, 0);
    let mut asked = 0;
    journal
        .compact(|hashes| {
            if asked == 0 {
                journal.append_admitted(std::slice::from_ref(&late));
            }
            asked += hashes.len();
            // Of the old ones every thousandth lives.
            hashes
                .iter()
                .map(|hash| old.iter().step_by(1_000).any(|s| s.transaction.hash() == *hash))
                .collect()
        })
        .unwrap();
    assert_eq!(asked, 3_000);
    assert!(journal.bytes() < before / 500);
    let after = submission(3, 0);
    journal.append_admitted(std::slice::from_ref(&after));
    drop(journal);
    let expected = [&old[0], &old[1_000], &old[2_000], &late, &after].map(Clone::clone);
    assert_eq!(site.open().1, expected);
}

#[test]
fn it_is_mostly_dead_by_what_lives() {
    let site = Site::new();
    let (journal, _) = site.open();
    assert!(!journal.is_mostly_dead(0, 0), "a short file is let be");
    let big = TxEip1559 { input: vec![1; 100_000].into(), ..template(0, GWEI) };
    let big = Submission::from(signed(sender(1), big));
    let bytes = big.transaction.raw().len();
    for _ in 0..60 {
        journal.append_admitted(std::slice::from_ref(&big));
    }
    assert!(journal.is_mostly_dead(1, bytes));
    assert!(!journal.is_mostly_dead(60, 60 * bytes));
}

#[test]
fn the_pool_says_what_the_journal_does_not_know() {
    let mut pool = pool(Config { transactions_max: 2, ..Config::default() });
    let evicted = add(&mut pool, transfer(1, 0, GWEI)).unwrap().hash;
    let mined = add(&mut pool, transfer(2, 0, 2 * GWEI)).unwrap().hash;
    add(&mut pool, transfer(3, 0, 3 * GWEI)).unwrap();
    pool.note_ordered([mined], 1, Instant::now());
    pool.remove_mined(&[(sender(2), 1)]);
    assert_eq!(pool.take_changed(), [evicted]);
    pool.reinsert(vec![transfer(2, 0, 2 * GWEI)], Instant::now());
    assert_eq!(pool.take_changed(), [mined]);
    assert!(pool.submission(&mined).unwrap().received_unix_ms.is_some());
    assert!(pool.submission(&evicted).is_none());
    assert!(pool.take_changed().is_empty());
}

#[test]
fn what_comes_back_has_waited_before() {
    let mut pool = pool(Config { ttl: Duration::from_secs(60), ..Config::default() });
    let now = Instant::now();
    let now_ms = pool.clock.unix_ms(now);
    let mut restored = submission(1, 0);
    restored.received_unix_ms = Some(now_ms - 59_000);
    let hash = pool.add(restored, rich(0), BASE_FEE_WEI, now).unwrap().hash;
    assert_eq!(pool.expire(now), 0);
    let events = pool.explain(&hash, BASE_FEE_WEI, now, &|_| U256::ZERO).events;
    let told: Vec<_> = events.into_iter().map(|event| (event.step, event.at_unix_ms)).collect();
    assert_eq!(told, [(Step::Received, now_ms - 59_000), (Step::Restored, now_ms)]);
    assert_eq!(pool.expire(now + Duration::from_secs(2)), 1);
}
