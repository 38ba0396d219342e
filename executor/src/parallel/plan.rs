//! Who executes what: transactions in components that are predicted to share nothing, components
//! given to the leader or a helper.
//!
//! Advice only. A component that is cut wrong costs conflicts; one that is too large, parallelism.

#![allow(
    clippy::cast_possible_truncation,
    reason = "transactions and their components are counted in u32, desks in u16, as in memory"
)]

use super::forecast::Forecast;
use crate::transaction::Transaction;
use alloy_primitives::map::HashMap;
use core::{
    hash::{BuildHasherDefault, Hasher},
    ops::Range,
    sync::atomic::{AtomicU16, AtomicUsize, Ordering},
    time::Duration,
};
use std::vec::Vec;

/// What taking a result over costs the leader: a share of executing the transaction, in percent, and
/// nanoseconds for each. Measured; most of it is memory that nobody has touched yet.
const TAKE_OVER_PERCENT: u64 = 3;
const TAKE_OVER_NS: u64 = 1_200;
/// Less than this share for helpers, in percent, is not worth waking them.
const HELPED_PERCENT_MIN: u64 = 15;

/// Transactions looked at before a large batch is planned.
const SAMPLE: usize = 256;

/// Of [`Plan::owners`]: the leader.
const LEADER: u16 = 0;

/// A plan for a batch of transactions.
pub(crate) struct Plan {
    helpers: usize,
    /// Expected time of what helpers got, and of everything.
    helped_ns: u64,
    total_ns: u64,
    /// Component of each transaction.
    component_of: Vec<u32>,
    /// Transactions by component, in order; `starts` says where each begins.
    members: Vec<u32>,
    starts: Vec<u32>,
    /// Who executes each component: [`LEADER`], or the number of a desk plus one.
    owners: Vec<AtomicU16>,
    /// Predicted time of each transaction, in nanoseconds.
    times_ns: Vec<u32>,
    /// Components below this may still be taken from the leader; the last ones go first.
    steal_below: AtomicUsize,
}

impl Plan {
    pub(crate) fn new(transactions: &[Transaction], forecast: &Forecast, helpers: usize) -> Self {
        let count = transactions.len();
        Self::assign(group(transactions, forecast, 0..count), forecast, helpers)
    }

    /// A plan for transactions that can all be executed at any time, since a list announces the state
    /// before each.
    pub(crate) fn of_announced(forecast: &Forecast, helpers: usize) -> Self {
        let mut plan = Self::assign(Groups::new(forecast.expected.len()), forecast, helpers);
        // A list is followed in order only.
        *plan.steal_below.get_mut() = 0;
        plan
    }

    /// Whether there is enough for helpers to do.
    pub(crate) fn is_worth_it(&self) -> bool {
        self.helped_percent() >= HELPED_PERCENT_MIN
    }

    /// A plan if one helps: looks at a sample first, since a batch in which everything depends on
    /// everything is common, and planning it would cost a twentieth of executing it.
    pub(crate) fn if_worth_it(
        transactions: &[Transaction],
        forecast: &Forecast,
        helpers: usize,
    ) -> Option<Self> {
        if transactions.len() > 4 * SAMPLE {
            let sample = group(transactions, forecast, 0..SAMPLE);
            if !Self::assign(sample, forecast, helpers).is_worth_it() {
                return None;
            }
        }
        let plan = Self::new(transactions, forecast, helpers);
        plan.is_worth_it().then_some(plan)
    }

    fn helped_percent(&self) -> u64 {
        self.helped_ns * 100 / self.total_ns.max(1)
    }

    /// Gives each component, in the order of their first transactions, to whoever has the least to
    /// do; the leader also takes over the results of all others.
    fn assign(mut groups: Groups, forecast: &Forecast, helpers: usize) -> Self {
        let (component_of, starts, members) = groups.finish();
        let count = starts.len() - 1;
        let expected = &forecast.expected[..component_of.len()];
        let times_ns: Vec<u32> = expected.iter().map(|expected| expected.time_ns).collect();
        let mut loads_ns = std::vec![0u64; helpers + 1];
        let mut owners = Vec::with_capacity(count);
        let total_ns: u64 = times_ns.iter().map(|&time| u64::from(time)).sum();
        let component_ns = |component: usize| -> (u64, bool) {
            let members = &members[starts[component] as usize..starts[component + 1] as usize];
            let time = members.iter().map(|&index| u64::from(times_ns[index as usize])).sum();
            let expected = |index: &u32| &forecast.expected[*index as usize];
            (time, members.iter().any(|index| expected(index).leaders_only))
        };
        // What only the leader can do, and what is so large that nobody else gets it, comes first.
        let is_leaders = |(time, only): (u64, bool)| only || time * 2 > total_ns;
        loads_ns[0] =
            (0..count).map(component_ns).filter(|&it| is_leaders(it)).map(|it| it.0).sum();
        for component in 0..count {
            let (time_ns, leaders_only) = component_ns(component);
            if is_leaders((time_ns, leaders_only)) {
                owners.push(AtomicU16::new(LEADER));
                continue;
            }
            let owner = (0..=helpers).min_by_key(|&worker| loads_ns[worker]).unwrap_or(0);
            loads_ns[owner] += time_ns;
            if owner != 0 {
                let members = u64::from(starts[component + 1] - starts[component]);
                loads_ns[0] += time_ns * TAKE_OVER_PERCENT / 100 + members * TAKE_OVER_NS;
            }
            owners.push(AtomicU16::new(owner as u16));
        }
        let helped_ns = loads_ns[1..].iter().sum();
        Self {
            helpers,
            helped_ns,
            total_ns,
            component_of,
            members,
            starts,
            owners,
            times_ns,
            steal_below: AtomicUsize::new(count),
        }
    }

    pub(crate) fn helpers(&self) -> usize {
        self.helpers
    }

    pub(crate) fn components(&self) -> usize {
        self.owners.len()
    }

    /// The desk whose helper executes this transaction; `None` for the leader.
    pub(super) fn desk_of(&self, index: usize) -> Option<usize> {
        let owner = self.owners[self.component_of[index] as usize].load(Ordering::Relaxed);
        usize::from(owner).checked_sub(1)
    }

    /// The first transaction of a desk's at or after `from`.
    pub(super) fn next_of(&self, desk: usize, from: usize) -> Option<usize> {
        (from..self.component_of.len()).find(|&index| self.desk_of(index) == Some(desk))
    }

    pub(super) fn time_of(&self, index: usize) -> Duration {
        Duration::from_nanos(u64::from(self.times_ns[index]))
    }

    fn range_of(&self, component: usize) -> Range<usize> {
        self.starts[component] as usize..self.starts[component + 1] as usize
    }

    pub(super) fn transactions_of(&self, component: usize) -> impl Iterator<Item = usize> {
        self.members[self.range_of(component)].iter().map(|&index| index as usize)
    }

    /// A component of the leader's that it will not come to soon, for a helper that has nothing
    /// left to do. The last ones go first.
    pub(super) fn steal(&self, desk: usize, leader_at: usize) -> Option<usize> {
        loop {
            let below = self.steal_below.load(Ordering::Relaxed);
            let component = below.checked_sub(1)?;
            let taken = self.steal_below.compare_exchange(
                below,
                component,
                Ordering::Relaxed,
                Ordering::Relaxed,
            );
            if taken.is_err() {
                continue;
            }
            let first = self.members[self.starts[component] as usize] as usize;
            if first <= leader_at + 1 {
                return None;
            }
            let owner = &self.owners[component];
            let mine = desk as u16 + 1;
            let swap = owner.compare_exchange(LEADER, mine, Ordering::Relaxed, Ordering::Relaxed);
            if swap.is_ok() {
                return Some(component);
            }
        }
    }
}

/// Hasher of key names, which are hashes under a secret key already.
#[derive(Clone, Copy, Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, name: u64) {
        self.0 = name;
    }
}

/// Groups transactions that touch the same key, where one of them writes it.
fn group(transactions: &[Transaction], forecast: &Forecast, range: Range<usize>) -> Groups {
    let count = range.len();
    // For each key: the first transaction that touches it, and whether anybody writes it.
    let mut keys = HashMap::<u64, (u32, bool), BuildHasherDefault<AsItIs>>::default();
    keys.reserve(2 * count);
    let mut touched = Vec::<(u64, u32)>::with_capacity(4 * count);
    for index in range {
        forecast.keys(index, &transactions[index], |key| {
            let entry = keys.entry(key.name).or_insert((index as u32, false));
            entry.1 |= key.is_written;
            if entry.0 != index as u32 {
                touched.push((key.name, index as u32));
            }
        });
    }
    let mut groups = Groups::new(count);
    for (name, index) in touched {
        if let Some((first, true)) = keys.get(&name) {
            groups.join(*first, index);
        }
    }
    groups
}

/// Union-find over transactions, the first of a group being its name.
struct Groups {
    parent: Vec<u32>,
}

impl Groups {
    fn new(count: usize) -> Self {
        Self { parent: (0..count as u32).collect() }
    }

    fn root(&mut self, mut index: u32) -> u32 {
        while self.parent[index as usize] != index {
            let next = self.parent[index as usize];
            self.parent[index as usize] = self.parent[next as usize];
            index = next;
        }
        index
    }

    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        let (first, second) = (a.min(b), a.max(b));
        self.parent[second as usize] = first;
    }

    /// Components numbered by their first transaction: of each transaction, where each begins, and
    /// the members of all.
    fn finish(&mut self) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
        let count = self.parent.len();
        let mut component_of = std::vec![0u32; count];
        let mut sizes = Vec::<u32>::new();
        for index in 0..count {
            let root = self.root(index as u32) as usize;
            if root == index {
                component_of[index] = sizes.len() as u32;
                sizes.push(0);
            } else {
                component_of[index] = component_of[root];
            }
            sizes[component_of[index] as usize] += 1;
        }
        let mut starts = Vec::with_capacity(sizes.len() + 1);
        let mut start = 0;
        starts.push(0);
        for size in &sizes {
            start += size;
            starts.push(start);
        }
        let mut next = starts.clone();
        let mut members = std::vec![0u32; count];
        for (index, &component) in component_of.iter().enumerate() {
            let place = &mut next[component as usize];
            members[*place as usize] = index as u32;
            *place += 1;
        }
        (component_of, starts, members)
    }
}
