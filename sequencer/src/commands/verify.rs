//! `sequencer verify`: arrives at the chain from L1 alone and compares it with what was claimed.
//!
//! Reads the Inbox's appends and L1's blocks, derives every L2 block, executes it in a fresh state
//! in memory, and compares each output root on L1. Shares no state with any node; the only L2 input
//! is the genesis file, which the Inbox's configuration hash authenticates.

mod against;

use crate::{
    derived::{Claim, Claims, Counts, MemoryChain, Progress, Rates, SettleError},
    l1_client::{ClientError, L1Client},
};
use alloy::{
    eips::BlockNumberOrTag,
    primitives::{Address, B256},
    transports::http::reqwest::Url,
};
use batcher::{
    encoder::BlockId,
    l1::{EndpointUrl, L1Error, Missing},
    tracker::{TrackError, Tracker, TrackerStart},
};
use clap::Args;
use executor::{Genesis, ViewError};
use std::{
    collections::BTreeMap,
    io::{self, Write},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

/// Arguments of `verify`.
///
/// Everything is derived and executed anew each time, in memory. To keep the chain, go on where the last
/// run ended, and serve it, use `sequencer follow`.
#[derive(Args, Clone, Debug)]
pub struct VerifyArgs {
    /// JSON-RPC endpoint of the L1 node, or several, separated by commas: the next where one fails.
    #[arg(
        long,
        env = "WEFT_L1_RPC_URL",
        value_name = "URL",
        required = true,
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub l1_rpc_url: Vec<EndpointUrl>,
    /// Beacon API that serves blobs [default: ask the L1 node, as a local Anvil answers].
    #[arg(long, env = "WEFT_L1_BEACON_URL", value_name = "URL", hide_env_values = true)]
    pub l1_beacon_url: Option<EndpointUrl>,
    /// Node whose archive is asked for what L1 has forgotten, at its /v1/da; several with commas. It is
    /// not trusted: everything is checked by its hash.
    #[arg(
        long,
        env = "WEFT_BLOB_ARCHIVE_URL",
        value_name = "URL",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub blob_archive_url: Vec<EndpointUrl>,
    /// Address of the Inbox on L1.
    #[arg(long, value_name = "ADDRESS")]
    pub inbox: Address,
    /// Genesis file of the chain.
    #[arg(long, env = "WEFT_GENESIS", value_name = "FILE")]
    pub genesis: PathBuf,
    /// JSON-RPC of a node of the chain: where an output differs, its blocks are compared with the
    /// derived ones to name the first that differs.
    #[arg(long, value_name = "URL")]
    pub against: Option<Url>,
}

/// What verification ends with when the chain is not what L1 says.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The genesis file or the L1 endpoint cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The Inbox given is not the one in the genesis file.
    #[error("inbox is {found}, the genesis file says {expected}")]
    Inbox {
        /// Address in the genesis file.
        expected: Address,
        /// Address on the command line.
        found: Address,
    },
    /// L1 cannot be read.
    #[error(transparent)]
    L1(#[from] L1Error),
    /// The outputs contract cannot be read.
    #[error("outputs contract: {0}")]
    Outputs(#[from] alloy::contract::Error),
    /// The genesis state cannot be computed.
    #[error(transparent)]
    View(#[from] ViewError),
    /// A derived block cannot be executed.
    #[error(transparent)]
    Settle(Box<SettleError>),
    /// Deriving failed otherwise.
    #[error(transparent)]
    Track(TrackError),
    /// L1 was reorganised while it was read.
    #[error("L1 was reorganised while it was read; run verify again")]
    Reorged,
    /// Standard output is closed.
    #[error("cannot write the result: {0}")]
    Write(#[from] io::Error),
    /// An output root on L1 is not that of the derived chain.
    #[error(transparent)]
    OutputMismatch(Box<Mismatch>),
    /// An output claims a block that the Inbox does not contain.
    #[error("output {index} claims block {block}, but L1 holds blocks up to {head} only")]
    OutputBeyondHead {
        /// Index in the Outputs contract.
        index: u64,
        /// Claimed block.
        block: u64,
        /// Last derived block.
        head: u64,
    },
}

/// An output root on L1 that is not that of the derived chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "output {index} of blocks {first_block} to {last_block} does not match: \
     L1 claims {claimed}, derived {derived}{detail}"
)]
pub struct Mismatch {
    /// Index in the Outputs contract.
    pub index: u64,
    /// First block that only this output covers.
    pub first_block: u64,
    /// The output's block.
    pub last_block: u64,
    /// Root on L1.
    pub claimed: B256,
    /// Root of the derived chain.
    pub derived: B256,
    /// What comparing with a node told.
    pub detail: Comparison,
}

/// What comparing the derived blocks with a node's told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// No node was given.
    NotAsked,
    /// The node could not be asked.
    Unreachable,
    /// The node's blocks are the derived ones: only the claim is wrong.
    Equal,
    /// The node has another block from this height on.
    FirstDifference {
        /// Height.
        number: u64,
        /// Derived hash.
        derived: B256,
        /// The node's; `None` where it has no such block.
        node: Option<B256>,
    },
}

impl std::fmt::Display for Comparison {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotAsked => Ok(()),
            Self::Unreachable => write!(f, "; the node to compare with does not answer"),
            Self::Equal => {
                write!(f, "; the node's blocks equal the derived ones, the claim is wrong")
            }
            Self::FirstDifference { number, derived, node: Some(node) } => {
                write!(f, "; first differing block {number}: derived {derived}, node {node}")
            }
            Self::FirstDifference { number, derived, node: None } => {
                write!(f, "; first differing block {number}: derived {derived}, the node has none")
            }
        }
    }
}

/// What verification arrived at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Derived blocks.
    pub blocks: u64,
    /// User transactions in them.
    pub transactions: u64,
    /// Compared outputs.
    pub outputs: u64,
    /// Last derived block.
    pub head_hash: B256,
    /// State root after it.
    pub state_root: B256,
    /// What deriving and executing took.
    pub elapsed: Duration,
}

impl From<TrackError> for VerifyError {
    fn from(error: TrackError) -> Self {
        match error {
            TrackError::L1(L1Error::Reorged)
            | TrackError::DeepReorg(_)
            | TrackError::Diverged(_) => Self::Reorged,
            TrackError::L1(error) => Self::L1(error),
            TrackError::Unsettled(error) => match error.downcast::<SettleError>() {
                Ok(error) if matches!(*error, SettleError::NotNext { .. }) => Self::Reorged,
                Ok(error) => Self::Settle(error),
                Err(error) => Self::Track(TrackError::Unsettled(error)),
            },
            error => Self::Track(error),
        }
    }
}

/// Runs the command and prints the result.
///
/// # Errors
/// [`VerifyError`]; the process then exits with a non-zero status.
pub async fn run(args: VerifyArgs) -> Result<(), VerifyError> {
    let summary = verify(&args).await?;
    let mut out = io::stdout();
    writeln!(out, "verified     {} blocks, {} transactions", summary.blocks, summary.transactions)?;
    writeln!(out, "outputs      {} compared, all equal", summary.outputs)?;
    writeln!(out, "head         {}", summary.head_hash)?;
    writeln!(out, "state root   {}", summary.state_root)?;
    let Summary { blocks, transactions, elapsed, .. } = summary;
    let rates = Rates::of(blocks, transactions, elapsed);
    writeln!(
        out,
        "took         {:.1} s: {:.1} blocks/s, {:.0} transactions/s",
        elapsed.as_secs_f64(),
        rates.blocks,
        rates.transactions
    )?;
    Ok(())
}

/// Derives, executes and compares everything that L1 has now.
///
/// # Errors
/// [`VerifyError`].
pub async fn verify(args: &VerifyArgs) -> Result<Summary, VerifyError> {
    let genesis = L1Client::read_genesis(&args.genesis)?;
    if genesis.l1.inbox != args.inbox {
        return Err(VerifyError::Inbox { expected: genesis.l1.inbox, found: args.inbox });
    }
    let l1 = L1Client::connect(&args.l1_rpc_url, args.l1_beacon_url.as_ref(), None)?;
    let l1 = l1.with_archives(&args.blob_archive_url)?;
    l1.check(&genesis).await?;
    let started = Instant::now();
    let counts = Arc::<Counts>::default();
    let chain = MemoryChain::new(&genesis, counts.clone())?;
    let progress = Progress::new(counts.clone(), genesis.l1.origin_number);
    let at = tokio::select! {
        at = derive_all(&l1, &genesis, &chain, &counts) => at?,
        never = progress.show() => match never {},
    };
    let elapsed = started.elapsed();
    let claims = read_claims(&l1, &genesis, at).await?;
    compare(args, &claims, &chain.blocks()).await?;
    let (head, outputs) = (chain.head(), claims.len() as u64);
    Ok(Summary {
        blocks: head.number,
        transactions: counts.transactions(),
        outputs,
        head_hash: head.hash_slow(),
        state_root: head.state_root,
        elapsed,
    })
}

/// All outputs on L1 by their block, as of the L1 block up to which appends were read: one proposed
/// since then may claim more than was derived.
async fn read_claims(
    l1: &L1Client,
    genesis: &Genesis,
    at: BlockId,
) -> Result<BTreeMap<u64, Claim>, VerifyError> {
    let contract = Claims::new(l1.provider(), genesis.l1.outputs);
    let at = at.hash.into();
    let mut claims = BTreeMap::new();
    for index in 0..contract.count(at).await? {
        let claim = contract.claim(index, at).await?;
        claims.insert(claim.block, claim);
    }
    Ok(claims)
}

/// How long an endpoint may lack what another one has, or what it tells a moment later: logs come after
/// their block, and behind one URL there may be several nodes.
const MISSING_WAIT_MAX: Duration = Duration::from_secs(30);
/// Time between two looks for it.
const MISSING_AGAIN: Duration = Duration::from_millis(500);

/// Derives up to L1's latest block, and returns that block.
async fn derive_all(
    l1: &L1Client,
    genesis: &Genesis,
    chain: &MemoryChain,
    counts: &Counts,
) -> Result<BlockId, VerifyError> {
    let (_, header, hash) = genesis.build()?;
    let inbox = l1.inbox_reader(genesis.l1.inbox);
    let start = TrackerStart::genesis(genesis, header, hash);
    let (rules, blocks) = (genesis.rules.clone(), l1.block_reader(genesis));
    let mut tracker = Tracker::over(rules, start, inbox.clone(), blocks, Arc::new(chain.clone()));
    let tag = BlockNumberOrTag::Latest;
    let mut missing_since = None;
    loop {
        let latest = inbox.block_id(tag).await?;
        let latest = latest.ok_or(L1Error::Missing(Missing::Tag(tag)))?;
        counts.read_l1(tracker.scanned().number, latest.number);
        match tracker.sync().await {
            Ok(true) => {}
            Ok(false) => {
                missing_since = None;
                continue;
            }
            Err(TrackError::L1(L1Error::Missing(missing)))
                if missing_since.get_or_insert_with(Instant::now).elapsed() < MISSING_WAIT_MAX =>
            {
                tracing::debug!(%missing, "L1 does not have everything yet");
                tokio::time::sleep(MISSING_AGAIN).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        // After a reorg L1 may determine less than was executed.
        let is_all = tracker.safe_head().block.number == chain.head().number;
        return if is_all { Ok(tracker.scanned()) } else { Err(VerifyError::Reorged) };
    }
}

/// Compares all claims with the derived blocks' hashes and roots.
async fn compare(
    args: &VerifyArgs,
    claims: &BTreeMap<u64, Claim>,
    blocks: &[(B256, B256)],
) -> Result<(), VerifyError> {
    let head = blocks.len().saturating_sub(1) as u64;
    let mut covered = 0;
    for (&block, claim) in claims {
        let index = claim.index;
        let derived = usize::try_from(block).ok().and_then(|at| blocks.get(at));
        let Some(&(_, derived)) = derived else {
            return Err(VerifyError::OutputBeyondHead { index, block, head });
        };
        if derived != claim.root {
            let hashes: Vec<B256> = blocks.iter().map(|(hash, _)| *hash).collect();
            let detail = match &args.against {
                Some(url) => against::compare(url, &hashes).await,
                None => Comparison::NotAsked,
            };
            return Err(VerifyError::OutputMismatch(Box::new(Mismatch {
                index,
                first_block: if block == 0 { 0 } else { covered + 1 },
                last_block: block,
                claimed: claim.root,
                derived,
                detail,
            })));
        }
        covered = block;
    }
    Ok(())
}
