//! Polled filters: what is new since the last poll.
//!
//! A filter remembers a height, not blocks: after a rollback it goes on at the new head and reports
//! nothing as removed (subscriptions do). Bounded in number; one that is not polled is forgotten.

use super::{
    chain::Chain,
    context::RpcContext,
    error::{Limit, RpcError},
    jsonrpc::Params,
    logs::{LOGS_MAX, LogFilter, RANGE_BLOCKS_MAX, collect, query},
    table::{Answer, json},
};
use alloy::{
    primitives::{B256, U64},
    rpc::types::Log as RpcLog,
};
use serde::Serialize;
use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

type Reply = Result<Answer, RpcError>;

/// Filters of all clients. When full, expired ones are dropped; if none is, the new one is refused.
const FILTERS_MAX: usize = 10_000;
/// Bytes of what they look for; same consequence. A thousand of the longest fit in.
const FILTERS_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Time between two looks for expired ones: a flood of new ones must not look at all of them each time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// A filter that is not polled for so long is gone; geth's time.
const FILTER_TTL: Duration = Duration::from_secs(5 * 60);

#[derive(Clone, Debug)]
enum Kind {
    Blocks,
    Logs(Arc<LogFilter>),
    Pending,
}

#[derive(Clone, Debug)]
struct Filter {
    kind: Kind,
    /// Next block, or next position in the announcements, to report.
    next: u64,
    polled: Instant,
}

impl Filter {
    fn bytes(&self) -> usize {
        match &self.kind {
            Kind::Logs(filter) => filter.bytes(),
            Kind::Blocks | Kind::Pending => 0,
        }
    }
}

#[derive(Debug, Default)]
struct Installed {
    filters: HashMap<u64, Filter>,
    bytes: usize,
    swept: Option<Instant>,
}

impl Installed {
    fn has_room(&self, bytes: usize) -> bool {
        self.filters.len() < FILTERS_MAX && self.bytes + bytes <= FILTERS_BYTES_MAX
    }

    fn remove(&mut self, id: u64) -> bool {
        let removed = self.filters.remove(&id);
        self.bytes -= removed.as_ref().map_or(0, Filter::bytes);
        removed.is_some()
    }

    /// Drops what has expired, unless that was done just now.
    fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|swept| now.duration_since(swept) < SWEEP_INTERVAL) {
            return;
        }
        self.swept = Some(now);
        self.filters.retain(|_, filter| now.duration_since(filter.polled) < FILTER_TTL);
        self.bytes = self.filters.values().map(Filter::bytes).sum();
    }
}

/// The installed filters.
#[derive(Debug, Default)]
pub(super) struct Filters {
    installed: Mutex<Installed>,
    /// Ids cannot be guessed: a keyed hash of a counter.
    keys: RandomState,
}

impl Filters {
    fn lock(&self) -> MutexGuard<'_, Installed> {
        self.installed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn install(&self, kind: Kind, next: u64) -> Result<U64, RpcError> {
        let now = Instant::now();
        let filter = Filter { kind, next, polled: now };
        let bytes = filter.bytes();
        let mut installed = self.lock();
        if !installed.has_room(bytes) {
            installed.sweep(now);
        }
        if !installed.has_room(bytes) {
            return Err(Limit::Filters(FILTERS_MAX).into());
        }
        let mut seed = installed.filters.len() as u64;
        let id = loop {
            let id = self.keys.hash_one((seed, now));
            if !installed.filters.contains_key(&id) {
                break id;
            }
            seed += 1;
        };
        installed.filters.insert(id, filter);
        installed.bytes += bytes;
        Ok(U64::from(id))
    }

    /// The filter, and a sign of life for it.
    fn poll(&self, id: U64) -> Result<Filter, RpcError> {
        let now = Instant::now();
        let mut installed = self.lock();
        let filter = installed.filters.get_mut(&id.to()).ok_or(RpcError::FilterNotFound)?;
        if now.duration_since(filter.polled) >= FILTER_TTL {
            installed.remove(id.to());
            return Err(RpcError::FilterNotFound);
        }
        filter.polled = now;
        Ok(filter.clone())
    }

    fn advance(&self, id: U64, next: u64) {
        if let Some(filter) = self.lock().filters.get_mut(&id.to()) {
            filter.next = next;
        }
    }
}

pub(super) fn new_block<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&ctx.filters.install(Kind::Blocks, ctx.chain.heads().latest + 1)?)
}

pub(super) fn new_log<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let filter = Arc::new(LogFilter::parse(params, 0)?);
    json(&ctx.filters.install(Kind::Logs(filter), ctx.chain.heads().latest + 1)?)
}

pub(super) fn new_pending<C: Chain>(ctx: &RpcContext<C>, _: &Params<'_>) -> Reply {
    json(&ctx.filters.install(Kind::Pending, ctx.feed.announced())?)
}

pub(super) fn uninstall<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let id: U64 = params.required(0)?;
    json(&ctx.filters.lock().remove(id.to()))
}

/// All logs that a log filter finds, as eth_getLogs would.
pub(super) fn logs<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    match ctx.filters.poll(params.required(0)?)?.kind {
        Kind::Logs(filter) => json(&query(ctx, &filter)?),
        Kind::Blocks | Kind::Pending => Err(RpcError::FilterNotFound),
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Changes {
    Hashes(Vec<B256>),
    Logs(Vec<RpcLog>),
}

pub(super) fn changes<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    let id: U64 = params.required(0)?;
    let filter = ctx.filters.poll(id)?;
    // At most one range per poll; the rest comes with the next.
    let head = ctx.chain.heads().latest;
    let end = (head + 1).min(filter.next.saturating_add(RANGE_BLOCKS_MAX));
    let (changes, next) = match &filter.kind {
        Kind::Pending => {
            let (hashes, next) = ctx.feed.announced_since(filter.next);
            (Changes::Hashes(hashes), next)
        }
        Kind::Blocks => {
            let mut hashes = Vec::new();
            for number in filter.next..end {
                hashes.extend(ctx.chain.header(number)?.map(|(_, hash)| hash));
            }
            (Changes::Hashes(hashes), end)
        }
        Kind::Logs(wanted) => {
            let (logs, next) = new_logs(ctx, wanted, filter.next, end)?;
            (Changes::Logs(logs), next)
        }
    };
    ctx.filters.advance(id, next);
    json(&changes)
}

/// Logs of `from..end`, cut between two blocks when they are too many; and where to go on.
fn new_logs<C: Chain>(
    ctx: &RpcContext<C>,
    wanted: &LogFilter,
    from: u64,
    end: u64,
) -> Result<(Vec<RpcLog>, u64), RpcError> {
    let mut logs = Vec::new();
    for number in from..end {
        let complete = logs.len();
        if !wanted.covers(number) {
            continue;
        }
        match collect(ctx, wanted, number, &mut logs) {
            Err(RpcError::Limit(_)) if complete > 0 => {
                logs.truncate(complete.min(LOGS_MAX));
                return Ok((logs, number));
            }
            other => other?,
        }
    }
    Ok((logs, end))
}
