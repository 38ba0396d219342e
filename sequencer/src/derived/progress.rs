//! How far deriving is and how fast: counts that whoever executes adds to, and a bar on a terminal or a
//! line of the log every few seconds elsewhere.

use executor::Transaction;
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::{self, IsTerminal},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Between two lines of a log.
const LOG_PAUSE: Duration = Duration::from_secs(5);
/// Between two moves of the bar.
const BAR_PAUSE: Duration = Duration::from_millis(200);
/// L1 blocks that are still to be read below which nothing is said: ordinary following.
const QUIET_L1_BLOCKS: u64 = 8;

/// What was done so far. Readers may see one number before another.
#[derive(Debug, Default)]
pub struct Counts {
    blocks: AtomicU64,
    transactions: AtomicU64,
    known: AtomicU64,
    number: AtomicU64,
    l1_read: AtomicU64,
    l1_target: AtomicU64,
}

impl Counts {
    /// A block was executed; of its transactions those that users signed count.
    pub(super) fn executed(&self, number: u64, transactions: &[Transaction]) {
        let signed = transactions.iter().filter(|transaction| transaction.as_signed().is_some());
        self.transactions.fetch_add(signed.count() as u64, Ordering::Relaxed);
        self.blocks.fetch_add(1, Ordering::Relaxed);
        self.number.store(number, Ordering::Relaxed);
    }

    /// A derived block was there already.
    pub(super) fn found(&self, number: u64) {
        self.known.fetch_add(1, Ordering::Relaxed);
        self.number.store(number, Ordering::Relaxed);
    }

    /// The Inbox was read up to L1 block `read` of those up to `target`.
    pub fn read_l1(&self, read: u64, target: u64) {
        self.l1_read.store(read, Ordering::Relaxed);
        self.l1_target.store(target, Ordering::Relaxed);
    }

    /// L2 blocks executed.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed)
    }

    /// Derived blocks that were there already.
    #[must_use]
    pub fn known(&self) -> u64 {
        self.known.load(Ordering::Relaxed)
    }

    /// Users' transactions in the executed blocks.
    #[must_use]
    pub fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }
}

/// Blocks and transactions per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// L2 blocks per second.
    pub blocks: f64,
    /// Transactions per second.
    pub transactions: f64,
}

impl Rates {
    /// So many in this time.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "for people to read")]
    pub fn of(blocks: u64, transactions: u64, elapsed: Duration) -> Self {
        let secs = elapsed.as_secs_f64().max(1e-3);
        Self { blocks: blocks as f64 / secs, transactions: transactions as f64 / secs }
    }
}

/// Shows counts while they change.
#[derive(Debug)]
pub struct Progress {
    counts: Arc<Counts>,
    first_l1_block: u64,
}

/// The counts at one look.
#[derive(Clone, Copy)]
struct Look {
    at: Instant,
    blocks: u64,
    transactions: u64,
    known: u64,
    l1_read: u64,
    l1_target: u64,
}

impl Progress {
    /// Shows `counts` from now on; L1 is read from block `first_l1_block` on.
    #[must_use]
    pub fn new(counts: Arc<Counts>, first_l1_block: u64) -> Self {
        Self { counts, first_l1_block }
    }

    fn look(&self) -> Look {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let counts = &self.counts;
        Look {
            at: Instant::now(),
            blocks: load(&counts.blocks),
            transactions: load(&counts.transactions),
            known: load(&counts.known),
            l1_read: load(&counts.l1_read).max(self.first_l1_block),
            l1_target: load(&counts.l1_target),
        }
    }

    /// Shows what happens until it is dropped.
    pub async fn show(&self) -> std::convert::Infallible {
        if io::stderr().is_terminal() { self.show_bar().await } else { self.show_lines().await }
    }

    /// The same by lines of the log, also on a terminal; those who follow for ever want no bar.
    pub async fn show_lines(&self) -> std::convert::Infallible {
        let first = self.look();
        let mut before = first;
        loop {
            tokio::time::sleep(LOG_PAUSE).await;
            let now = self.look();
            if now.l1_target > now.l1_read + QUIET_L1_BLOCKS {
                self.say(first, before, now);
            }
            before = now;
        }
    }

    fn say(&self, first: Look, before: Look, now: Look) {
        let elapsed = now.at - before.at;
        let (blocks, transactions) =
            (now.blocks - before.blocks, now.transactions - before.transactions);
        let rates = Rates::of(blocks, transactions, elapsed);
        tracing::info!(
            l2_block = self.counts.number.load(Ordering::Relaxed),
            l1_block = now.l1_read,
            l1_target = now.l1_target,
            blocks_per_sec = format_args!("{:.1}", rates.blocks),
            transactions_per_sec = format_args!("{:.0}", rates.transactions),
            known_blocks = now.known,
            eta = eta(first, now).map_or("unknown".to_owned(), |eta| format!("{eta:.0?}")),
            "catching up"
        );
    }

    async fn show_bar(&self) -> std::convert::Infallible {
        let template = "{bar:40} {pos}/{len} L1 blocks, {msg}, {elapsed}";
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let _cleared = Cleared(&bar);
        let first = self.look();
        let mut before = first;
        loop {
            tokio::time::sleep(BAR_PAUSE).await;
            let now = self.look();
            bar.set_length(now.l1_target.saturating_sub(self.first_l1_block));
            bar.set_position(now.l1_read - self.first_l1_block);
            if now.at - before.at < Duration::from_secs(1) {
                continue;
            }
            let (blocks, transactions) =
                (now.blocks - before.blocks, now.transactions - before.transactions);
            let rates = Rates::of(blocks, transactions, now.at - before.at);
            let left = eta(first, now).map_or(String::new(), |eta| format!(", {eta:.0?} left"));
            bar.set_message(format!(
                "L2 block {}, {:.1} blocks/s, {:.0} transactions/s{left}",
                self.counts.number.load(Ordering::Relaxed),
                rates.blocks,
                rates.transactions,
            ));
            before = now;
        }
    }
}

/// Takes the bar away when the work is over.
struct Cleared<'b>(&'b ProgressBar);

impl Drop for Cleared<'_> {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Time to the target at the mean speed so far, by L1 blocks.
fn eta(first: Look, now: Look) -> Option<Duration> {
    // An L1 reorg can take it back to before the first look.
    let read = now.l1_read.checked_sub(first.l1_read).filter(|read| *read > 0)?;
    let read = u32::try_from(read).ok()?;
    let left = u32::try_from(now.l1_target.saturating_sub(now.l1_read)).ok()?;
    Some((now.at - first.at) / read * left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_the_speed_so_far() {
        let at = Instant::now();
        let first =
            Look { at, blocks: 0, transactions: 0, known: 0, l1_read: 100, l1_target: 1_000 };
        assert_eq!(eta(first, first), None);
        let now = Look { at: at + Duration::from_secs(10), l1_read: 200, ..first };
        assert_eq!(eta(first, now), Some(Duration::from_secs(80)));
        assert_eq!(eta(first, Look { l1_target: 150, ..now }), Some(Duration::ZERO));
        assert_eq!(eta(now, first), None, "it went back");
        let rates = Rates::of(20, 20_000, Duration::from_secs(2));
        assert_eq!((rates.blocks, rates.transactions), (10.0, 10_000.0));
    }
}
