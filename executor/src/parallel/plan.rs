//! Who executes what: transactions in components that are predicted to share nothing, components
//! given to the leader or a helper.
//!
//! Advice only. A component that is cut wrong costs conflicts; one that is too large, parallelism.

use crate::transaction::{Body, Transaction};
use alloy_primitives::{Address, TxKind, map::HashMap};
use core::{
    ops::Range,
    sync::atomic::{AtomicU16, AtomicUsize, Ordering},
    time::Duration,
};
use std::vec::Vec;

/// Of [`Plan::owners`]: the leader.
const LEADER: u16 = 0;

/// A plan for a batch of transactions.
pub(crate) struct Plan {
    helpers: usize,
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
    pub(crate) fn new(transactions: &[Transaction], helpers: usize) -> Self {
        let mut groups = Groups::new(transactions.len());
        let mut keys = HashMap::<Address, u32>::default();
        for (index, transaction) in transactions.iter().enumerate() {
            let sender = *keys.entry(transaction.sender()).or_insert(index as u32);
            groups.join(index as u32, sender);
            if let TxKind::Call(to) = transaction.kind()
                && !transaction.input().is_empty()
            {
                let other = *keys.entry(to).or_insert(index as u32);
                groups.join(index as u32, other);
            }
        }
        let times_ns = transactions.iter().map(time_ns).collect();
        Self::assign(transactions, groups, times_ns, helpers)
    }

    pub(crate) fn if_worth_it(_transactions: &[Transaction]) -> Option<Self> {
        None
    }

    fn assign(
        transactions: &[Transaction],
        mut groups: Groups,
        times_ns: Vec<u32>,
        helpers: usize,
    ) -> Self {
        let (component_of, starts, members) = groups.finish();
        let count = starts.len() - 1;
        let mut loads = std::vec![0u64; helpers + 1];
        let mut owners = Vec::with_capacity(count);
        for component in 0..count {
            let range = starts[component] as usize..starts[component + 1] as usize;
            let members = &members[range];
            let time: u64 = members.iter().map(|&index| u64::from(times_ns[index as usize])).sum();
            let leaders_only =
                members.iter().any(|&index| is_leaders(&transactions[index as usize]));
            let least = (0..=helpers).min_by_key(|&worker| loads[worker]).unwrap_or(0);
            let owner = if leaders_only { 0 } else { least };
            loads[owner] += time;
            if owner != 0 {
                loads[0] += time / 10;
            }
            owners.push(AtomicU16::new(owner as u16));
        }
        Self {
            helpers,
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

    /// The leader had to wait for a helper: one of that helper's later components becomes its own.
    pub(super) fn rebalance(&self, _desk: usize, _index: usize) {}
}

/// Transactions that only the leader executes: they create or delegate accounts, or are mandatory.
fn is_leaders(transaction: &Transaction) -> bool {
    match transaction.body() {
        Body::Deposit(_) => true,
        Body::Signed(_) => transaction.kind().is_create() || transaction.ty() == 4,
    }
}

fn time_ns(transaction: &Transaction) -> u32 {
    if transaction.input().is_empty() {
        return 200;
    }
    (transaction.gas_limit() / 20).min(1_000_000) as u32
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
