//! Log filters, with geth's meaning of topics, and eth_getLogs.
//!
//! Our own filter type because of that meaning: a filter with more topic positions than the log has
//! topics does not match, and null inside a list of alternatives matches anything.

use super::{
    block_id::number_of,
    chain::Chain,
    context::RpcContext,
    error::{Limit, Refusal, RpcError},
    format::block_logs,
    jsonrpc::Params,
    table::{Answer, json},
};
use alloy::{
    eips::BlockNumberOrTag,
    primitives::{Address, B256, Bloom, BloomInput, Log},
    rpc::types::Log as RpcLog,
};
use serde::Deserialize;

type Reply = Result<Answer, RpcError>;

/// Blocks of one query; a longer range is refused. Keeps a query under a second of header reads.
pub(super) const RANGE_BLOCKS_MAX: u64 = 10_000;
/// Logs of one answer; more are refused with the words that clients split their range on.
pub(super) const LOGS_MAX: usize = 10_000;
/// Topic positions; a log has no more.
const TOPICS_MAX: usize = 4;
/// Addresses of one filter, and alternatives of one topic; geth's limit.
const ALTERNATIVES_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawFilter {
    from_block: Option<BlockNumberOrTag>,
    to_block: Option<BlockNumberOrTag>,
    block_hash: Option<B256>,
    address: Option<OneOrMany<Address>>,
    topics: Option<Vec<Option<OneOrMany<Option<B256>>>>>,
}

/// Which blocks a filter looks at.
#[derive(Clone, Copy, Debug)]
enum Range {
    Hash(B256),
    Between { from: Option<BlockNumberOrTag>, to: Option<BlockNumberOrTag> },
}

/// Alternatives with their bloom bits; empty means anything.
#[derive(Clone, Debug, Default)]
struct Alternatives<T> {
    values: Vec<T>,
    blooms: Vec<Bloom>,
}

impl<T: AsRef<[u8]> + PartialEq> Alternatives<T> {
    fn new(values: Vec<T>) -> Self {
        let bloom = |value: &T| {
            let mut bloom = Bloom::ZERO;
            bloom.accrue(BloomInput::Raw(value.as_ref()));
            bloom
        };
        let blooms = values.iter().map(bloom).collect();
        Self { values, blooms }
    }

    fn matches(&self, value: &T) -> bool {
        self.values.is_empty() || self.values.contains(value)
    }

    fn may_be_in(&self, bloom: &Bloom) -> bool {
        self.blooms.is_empty() || self.blooms.iter().any(|bits| bloom.contains(bits))
    }
}

/// A log filter.
#[derive(Clone, Debug)]
pub(super) struct LogFilter {
    range: Range,
    addresses: Alternatives<Address>,
    topics: Vec<Alternatives<B256>>,
}

impl LogFilter {
    /// Reads the filter object at a parameter position.
    pub(super) fn parse(params: &Params<'_>, index: usize) -> Result<Self, RpcError> {
        Self::check(params.required(index)?)
    }

    /// The same, where the object may be absent: everything then.
    pub(super) fn parse_optional(params: &Params<'_>, index: usize) -> Result<Self, RpcError> {
        let raw = params.optional(index)?.unwrap_or(RawFilter {
            from_block: None,
            to_block: None,
            block_hash: None,
            address: None,
            topics: None,
        });
        Self::check(raw)
    }

    fn check(raw: RawFilter) -> Result<Self, RpcError> {
        let range = match (raw.block_hash, raw.from_block, raw.to_block) {
            (Some(hash), None, None) => Range::Hash(hash),
            (Some(_), _, _) => return Err(Refusal::HashAndRange.into()),
            (None, from, to) => Range::Between { from, to },
        };
        let addresses = match raw.address {
            None => Vec::new(),
            Some(OneOrMany::One(address)) => vec![address],
            Some(OneOrMany::Many(addresses)) => addresses,
        };
        if addresses.len() > ALTERNATIVES_MAX {
            return Err(Refusal::TooManyAddresses.into());
        }
        let topics = raw.topics.unwrap_or_default();
        if topics.len() > TOPICS_MAX {
            return Err(Refusal::TooManyTopics.into());
        }
        let topics = topics.into_iter().map(alternatives).collect::<Result<_, _>>()?;
        Ok(Self { range, addresses: Alternatives::new(addresses), topics })
    }

    /// Memory that it takes, about.
    pub(super) fn bytes(&self) -> usize {
        fn of<T>(alternatives: &Alternatives<T>) -> usize {
            size_of_val(&*alternatives.values) + size_of_val(&*alternatives.blooms)
        }
        of(&self.addresses) + self.topics.iter().map(of).sum::<usize>()
    }

    /// Whether the log's own fields match.
    pub(super) fn matches(&self, log: &Log) -> bool {
        let topics = log.topics();
        self.addresses.matches(&log.address)
            && self.topics.len() <= topics.len()
            && self.topics.iter().zip(topics).all(|(wanted, topic)| wanted.matches(topic))
    }

    /// Whether a block with this bloom can have a matching log.
    pub(super) fn may_be_in(&self, bloom: &Bloom) -> bool {
        self.addresses.may_be_in(bloom) && self.topics.iter().all(|topic| topic.may_be_in(bloom))
    }

    /// Whether a new block is within the numbers that the filter names.
    pub(super) fn covers(&self, number: u64) -> bool {
        let Range::Between { from, to } = self.range else { return true };
        let named = |tag: Option<BlockNumberOrTag>| tag.and_then(|tag| tag.as_number());
        named(from).is_none_or(|from| from <= number) && named(to).is_none_or(|to| number <= to)
    }
}

fn alternatives(position: Option<OneOrMany<Option<B256>>>) -> Result<Alternatives<B256>, RpcError> {
    let values = match position {
        None | Some(OneOrMany::One(None)) => Vec::new(),
        Some(OneOrMany::One(Some(topic))) => vec![topic],
        // One null among the alternatives lets everything through.
        Some(OneOrMany::Many(values)) => {
            values.into_iter().collect::<Option<_>>().unwrap_or_default()
        }
    };
    if values.len() > ALTERNATIVES_MAX {
        return Err(Refusal::TooManyTopics.into());
    }
    Ok(Alternatives::new(values))
}

/// The matching logs of one block, added to `out`.
pub(super) fn collect<C: Chain>(
    ctx: &RpcContext<C>,
    filter: &LogFilter,
    number: u64,
    out: &mut Vec<RpcLog>,
) -> Result<(), RpcError> {
    let Some((header, _)) = ctx.chain.header(number)? else { return Ok(()) };
    if !filter.may_be_in(&header.logs_bloom) {
        return Ok(());
    }
    let Some(block) = ctx.chain.block(number)? else { return Ok(()) };
    let room = (LOGS_MAX + 1).saturating_sub(out.len());
    out.extend(block_logs(&block, |log| filter.matches(log)).take(room));
    if out.len() > LOGS_MAX { Err(Limit::Logs(LOGS_MAX).into()) } else { Ok(()) }
}

/// First and last block that a query reads; both exist. `None` when it reads none.
fn bounds<C: Chain>(
    ctx: &RpcContext<C>,
    filter: &LogFilter,
) -> Result<Option<(u64, u64)>, RpcError> {
    let (from, to) = match filter.range {
        Range::Hash(hash) => {
            let number = ctx.chain.block_number(hash)?.ok_or(RpcError::UnknownBlock)?;
            return Ok(Some((number, number)));
        }
        Range::Between { from, to } => (from.unwrap_or_default(), to.unwrap_or_default()),
    };
    if from.is_pending() || to.is_pending() {
        return Err(Refusal::PendingLogs.into());
    }
    let (from, to) = (number_of(ctx, from), number_of(ctx, to));
    let head = ctx.chain.heads().latest;
    if from > to {
        return Err(Refusal::InvalidRange.into());
    }
    if from > head {
        return Ok(None);
    }
    let first = ctx.chain.first_block()?;
    // Every chain has block 0, which has no logs.
    if from.max(1) < first {
        return Err(RpcError::BlocksUnavailable { first });
    }
    let to = to.min(head);
    if to - from >= RANGE_BLOCKS_MAX {
        return Err(Refusal::RangeTooLong(RANGE_BLOCKS_MAX).into());
    }
    Ok(Some((from, to)))
}

/// All logs that the filter finds.
pub(super) fn query<C: Chain>(
    ctx: &RpcContext<C>,
    filter: &LogFilter,
) -> Result<Vec<RpcLog>, RpcError> {
    let mut logs = Vec::new();
    if let Some((from, to)) = bounds(ctx, filter)? {
        (from..=to).try_for_each(|number| collect(ctx, filter, number, &mut logs))?;
    }
    Ok(logs)
}

pub(super) fn get<C: Chain>(ctx: &RpcContext<C>, params: &Params<'_>) -> Reply {
    json(&query(ctx, &LogFilter::parse(params, 0)?)?)
}
