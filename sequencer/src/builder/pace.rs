//! How many transactions the builder executes between two looks at the clock.
//!
//! Owns the trade between two needs: helpers are worth waking for a long chunk only, and a block must
//! end when its time is used up. Knows no clock: the builder measures and tells.

use std::time::Duration;

/// First chunk of a node's life, before anything is measured: at 100 µs, which is slow, 26 ms.
const TRANSACTIONS_START: usize = 256;

/// Fewest in a chunk, however slow they were. Of the largest that are allowed (2^24 gas) they take
/// an eighth of a block's gas, and they still give two threads something to share.
const TRANSACTIONS_MIN: usize = 16;

/// Most in a chunk, however fast they were: at a quarter of a microsecond, the fastest there is, 4
/// ms. Longer chunks gain nothing more, and would let a change of traffic cost more.
const TRANSACTIONS_MAX: usize = 16_384;

/// Time that a chunk should take at most: a mini-block becomes durable after it, so this bounds what
/// a transaction waits for those before it, and it is ten times what makes calling helpers worth it.
const TARGET_MAX: Duration = Duration::from_millis(10);

/// And no more than this share of the block time, in percent, by which a block may be late while its
/// transactions are as fast as those before.
const TARGET_PERCENT: u32 = 6;

/// A chunk ends at one part in this many of the block's gas, for the case that the transactions are
/// slower than those before: whatever they do, the clock is looked at that many times in a block.
const GAS_PARTS: u64 = 8;

/// The size of chunks, kept from block to block: it follows the traffic, not the block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    target: Duration,
    gas_max: u64,
    transactions: usize,
}

impl Pace {
    /// For blocks of this gas limit and time.
    pub(super) fn new(block_time: Duration, block_gas_limit: u64) -> Self {
        Self {
            target: TARGET_MAX.min(block_time * TARGET_PERCENT / 100),
            gas_max: block_gas_limit / GAS_PARTS,
            transactions: TRANSACTIONS_START,
        }
    }

    /// Most transactions that the next chunk may have.
    pub(super) const fn transactions_max(&self) -> usize {
        self.transactions
    }

    /// Length of the next chunk, given the gas limits of what is left; none only when nothing is.
    pub(super) fn chunk(&self, gas_limits: impl IntoIterator<Item = u64>) -> usize {
        let mut gas = 0_u64;
        let fits = gas_limits.into_iter().take(self.transactions).enumerate().take_while(
            |(index, gas_limit)| {
                gas = gas.saturating_add(*gas_limit);
                *index == 0 || gas <= self.gas_max
            },
        );
        fits.count()
    }

    /// Learns from an executed chunk. Gets shorter at once, at most twice as long at a time, and
    /// longer only after a chunk of full length: a short one says little about speed.
    pub(super) fn note(&mut self, executed: usize, elapsed: Duration) {
        let in_time = executed as u128 * self.target.as_nanos() / elapsed.as_nanos().max(1);
        let in_time = usize::try_from(in_time).unwrap_or(usize::MAX);
        let next = if elapsed > self.target {
            in_time
        } else if executed >= self.transactions {
            in_time.min(2 * self.transactions)
        } else {
            return;
        };
        self.transactions = next.clamp(TRANSACTIONS_MIN, TRANSACTIONS_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = TARGET_MAX;
    const TRANSFER_GAS: u64 = 21_000;

    fn pace() -> Pace {
        Pace::new(Duration::from_secs(1), 2_200_000_000)
    }

    /// Executes chunks of endless equal transactions.
    fn run(pace: &mut Pace, chunks: usize, gas_limit: u64, each: Duration) -> usize {
        for _ in 0..chunks {
            let chunk = pace.chunk(std::iter::repeat(gas_limit));
            pace.note(chunk, each * u32::try_from(chunk).unwrap());
        }
        pace.chunk(std::iter::repeat(gas_limit))
    }

    #[test]
    fn chunks_grow_to_their_share_of_time_and_no_further() {
        let mut pace = pace();
        assert_eq!(run(&mut pace, 0, TRANSFER_GAS, TARGET), 256);
        assert_eq!(run(&mut pace, 1, TRANSFER_GAS, Duration::from_micros(10)), 512, "doubled");
        assert_eq!(run(&mut pace, 9, TRANSFER_GAS, Duration::from_micros(10)), 1_000, "10 ms");
        let fastest = Duration::from_nanos(250);
        assert_eq!(run(&mut pace, 9, 1, fastest), TRANSACTIONS_MAX);
    }

    #[test]
    fn a_slow_chunk_shortens_the_next_at_once() {
        let mut pace = pace();
        run(&mut pace, 9, TRANSFER_GAS, Duration::from_micros(10));
        assert_eq!(run(&mut pace, 1, TRANSFER_GAS, Duration::from_micros(500)), 20);
        assert_eq!(run(&mut pace, 1, TRANSFER_GAS, Duration::from_secs(1)), TRANSACTIONS_MIN);
        // And it recovers.
        assert_eq!(run(&mut pace, 12, TRANSFER_GAS, Duration::from_micros(10)), 1_000);
        assert_eq!(Pace::new(Duration::from_millis(50), 1).target, Duration::from_millis(3));
    }

    #[test]
    fn a_chunk_ends_at_its_share_of_gas_but_never_empty() {
        let pace = pace();
        assert_eq!(pace.chunk(std::iter::repeat_n(10_000_000, 100)), 27, "of 275 million");
        assert_eq!(pace.chunk([u64::MAX, 1]), 1);
        assert_eq!(pace.chunk([]), 0);
    }

    #[test]
    fn short_chunks_teach_nothing_but_slowness() {
        let mut pace = pace();
        pace.note(3, Duration::from_micros(1));
        assert_eq!(pace.chunk(std::iter::repeat(1)), 256);
        pace.note(1, 2 * TARGET);
        assert_eq!(pace.chunk(std::iter::repeat(1)), TRANSACTIONS_MIN);
        pace.note(256, Duration::ZERO);
        assert_eq!(pace.chunk(std::iter::repeat(1)), 2 * TRANSACTIONS_MIN, "a clock may stand");
    }
}
