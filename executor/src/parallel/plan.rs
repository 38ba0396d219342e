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
    cmp::Reverse,
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
/// What executing one costs a helper beside executing it: the same two, for the record of what it
/// touched and its hand-over.
const HAND_OVER_PERCENT: u64 = 10;
const HAND_OVER_NS: u64 = 1_000;
/// A component with more than this part of all work is large.
const LARGE_SHARE: u64 = 32;
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
    components: Components,
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

    /// Gives each component to whoever has the least to do; the leader also takes over the results of
    /// all others. Large ones come first, the leader's among them: it would have to wait for a chain
    /// that a helper has no lead in. The others follow in the order of their first transactions.
    fn assign(mut groups: Groups, forecast: &Forecast, helpers: usize) -> Self {
        let components = groups.finish();
        let tasks = components.tasks(forecast);
        let total_ns = tasks.iter().map(|task| task.time_ns).sum::<u64>();
        let is_leaders = |task: &Task| task.leaders_only || task.time_ns * 2 > total_ns;
        let is_large = |task: &Task| task.time_ns * LARGE_SHARE > total_ns;
        let mut loads_ns = std::vec![0u64; helpers + 1];
        loads_ns[0] = tasks.iter().filter(|task| is_leaders(task)).map(|task| task.time_ns).sum();
        let mut owners = std::vec![LEADER; tasks.len()];
        let mut give = |component: usize| {
            let Task { time_ns, members, .. } = tasks[component];
            let owner = (0..=helpers).min_by_key(|&worker| loads_ns[worker]).unwrap_or(0);
            loads_ns[owner] += time_ns;
            if owner != 0 {
                loads_ns[owner] += time_ns * HAND_OVER_PERCENT / 100 + members * HAND_OVER_NS;
                loads_ns[0] += time_ns * TAKE_OVER_PERCENT / 100 + members * TAKE_OVER_NS;
            }
            owners[component] = owner as u16;
        };
        let free = || (0..tasks.len()).filter(|&component| !is_leaders(&tasks[component]));
        let mut large: Vec<usize> = free().filter(|&it| is_large(&tasks[it])).collect();
        // About as large counts as equally large: what comes first in the block is the leader's.
        large.sort_by_key(|&component| Reverse(tasks[component].time_ns.max(1).ilog2()));
        large.into_iter().for_each(&mut give);
        free().filter(|&component| !is_large(&tasks[component])).for_each(&mut give);
        Self {
            helpers,
            helped_ns: loads_ns[1..].iter().sum(),
            total_ns,
            steal_below: AtomicUsize::new(tasks.len()),
            owners: owners.into_iter().map(AtomicU16::new).collect(),
            times_ns: forecast.expected.iter().map(|expected| expected.time_ns).collect(),
            components,
        }
    }

    pub(crate) fn helpers(&self) -> usize {
        self.helpers
    }

    pub(crate) fn components(&self) -> usize {
        self.owners.len()
    }

    pub(super) fn component_of(&self, index: usize) -> u32 {
        self.components.of[index]
    }

    /// The transaction before this one in its component.
    pub(super) fn before(&self, index: usize) -> Option<usize> {
        let Components { of, members, starts, places } = &self.components;
        let place = places[index];
        let is_first = place == starts[of[index] as usize];
        (!is_first).then(|| members[place as usize - 1] as usize)
    }

    /// Whether a transaction is all of its component.
    pub(super) fn is_alone(&self, index: usize) -> bool {
        self.components.range_of(self.component_of(index) as usize).len() == 1
    }

    /// The desk whose helper executes this transaction; `None` for the leader.
    pub(super) fn desk_of(&self, index: usize) -> Option<usize> {
        let owner = self.owners[self.component_of(index) as usize].load(Ordering::Relaxed);
        usize::from(owner).checked_sub(1)
    }

    /// Gives the component of a transaction to the leader: its helper has no lead in it.
    pub(super) fn take_back(&self, index: usize) {
        self.owners[self.component_of(index) as usize].store(LEADER, Ordering::Relaxed);
    }

    /// The first transaction of a desk's at or after `from`.
    pub(super) fn next_of(&self, desk: usize, from: usize) -> Option<usize> {
        (from..self.components.of.len()).find(|&index| self.desk_of(index) == Some(desk))
    }

    pub(super) fn time_of(&self, index: usize) -> Duration {
        Duration::from_nanos(u64::from(self.times_ns[index]))
    }

    pub(super) fn transactions_of(&self, component: usize) -> impl Iterator<Item = usize> {
        self.components.members[self.components.range_of(component)]
            .iter()
            .map(|&index| index as usize)
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
            let Components { members, starts, .. } = &self.components;
            let first = members[starts[component] as usize] as usize;
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

/// Components, numbered by their first transactions.
struct Components {
    /// Component of each transaction.
    of: Vec<u32>,
    /// Transactions by component, in order; `starts` says where each begins.
    members: Vec<u32>,
    starts: Vec<u32>,
    /// Of each transaction, its place in `members`.
    places: Vec<u32>,
}

/// What there is to do for a component.
#[derive(Clone, Copy, Default)]
struct Task {
    time_ns: u64,
    members: u64,
    leaders_only: bool,
}

impl Components {
    fn tasks(&self, forecast: &Forecast) -> Vec<Task> {
        let mut tasks = std::vec![Task::default(); self.starts.len() - 1];
        for (component, expected) in self.of.iter().zip(&forecast.expected) {
            let task = &mut tasks[*component as usize];
            task.time_ns += u64::from(expected.time_ns);
            task.members += 1;
            task.leaders_only |= expected.leaders_only;
        }
        tasks
    }

    fn range_of(&self, component: usize) -> Range<usize> {
        self.starts[component] as usize..self.starts[component + 1] as usize
    }
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

    /// Components numbered by their first transaction.
    fn finish(&mut self) -> Components {
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
        let mut places = Vec::with_capacity(count);
        for (index, &component) in component_of.iter().enumerate() {
            let place = &mut next[component as usize];
            members[*place as usize] = index as u32;
            places.push(*place);
            *place += 1;
        }
        Components { of: component_of, starts, members, places }
    }
}
