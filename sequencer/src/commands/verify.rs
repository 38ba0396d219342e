//! `sequencer verify`: arrives at the chain from L1 alone and compares it with what was claimed.
//!
//! Reads the Inbox's appends and L1's blocks, derives every L2 block, executes it in a fresh state
//! in memory, and compares each output root on L1. Shares no state with any node; the only L2 input
//! is the genesis file, which the Inbox's configuration hash authenticates.

mod against;

use crate::l1_client::{ClientError, L1Client};
use alloy::{
    eips::BlockNumberOrTag,
    primitives::{Address, B256, U256},
    transports::http::reqwest::Url,
};
use batcher::{
    derive::{AdvanceError, Derivation, L1Lookup, Outcome, Step},
    encoder::BlockId,
    l1::{EndpointUrl, InboxPosition, L1Block, L1Error, Missing},
};
use clap::Args;
use contracts::{L2_TO_L1_MESSAGE_PASSER, Outputs};
use executor::{
    BlockInput, Deposit, ExecuteError, Genesis, Knowledge, L1Origin, MemoryState, Options,
    ViewError, execute_with, genesis::output_root,
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    path::PathBuf,
};

/// Arguments of `verify`.
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
    #[arg(long, env = "WEFT_L1_BEACON_URL", value_name = "URL")]
    pub l1_beacon_url: Option<String>,
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
    /// A derived block cannot be executed.
    #[error("executing block {number}: {error}")]
    Execute {
        /// Height.
        number: u64,
        /// Why.
        error: ExecuteError,
    },
    /// The state cannot be read.
    #[error(transparent)]
    View(#[from] ViewError),
    /// Derivation refuses its own block.
    #[error(transparent)]
    Advance(#[from] AdvanceError),
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

/// An output as L1 has it.
#[derive(Clone, Copy, Debug)]
struct Claim {
    index: u64,
    root: B256,
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
}

#[derive(Debug, Default)]
struct L1Blocks(BTreeMap<u64, L1Block>);

impl L1Lookup for L1Blocks {
    fn origin(&self, number: u64) -> Option<L1Origin> {
        self.0.get(&number).map(|block| block.origin)
    }

    fn deposits(&self, number: u64) -> Option<Vec<Deposit>> {
        self.0.get(&number).map(|block| block.deposits.clone())
    }
}

/// L1 blocks kept while deriving: origins only move forward, by one.
const ORIGINS_KEPT: usize = 16;

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
    let l1 = L1Client::connect(&args.l1_rpc_url, args.l1_beacon_url.as_deref(), None)?;
    l1.check(&genesis).await?;
    let mut verifier = Verifier::new(&l1, &genesis)?;
    let at = verifier.derive_all().await?;
    let claims = claims(&l1, &genesis, at).await?;
    let outputs = verifier.compare(args, &claims).await?;
    let head = verifier.derivation.head();
    Ok(Summary {
        blocks: head.header.number,
        transactions: verifier.transactions,
        outputs,
        head_hash: head.hash,
        state_root: head.header.state_root,
    })
}

/// All outputs on L1 by their block, as of the L1 block up to which appends were read: one proposed
/// since then may claim more than was derived.
async fn claims(
    l1: &L1Client,
    genesis: &Genesis,
    at: BlockId,
) -> Result<BTreeMap<u64, Claim>, VerifyError> {
    let contract = Outputs::new(genesis.l1.outputs, l1.provider());
    let at = at.hash.into();
    let next: u64 = contract.nextOutputIndex().block(at).call().await?.saturating_to();
    let mut claims = BTreeMap::new();
    for index in 0..next {
        let output = contract.getL2Output(U256::from(index)).block(at).call().await?;
        let block = u64::try_from(output.l2BlockNumber).unwrap_or(u64::MAX);
        claims.insert(block, Claim { index, root: output.outputRoot });
    }
    Ok(claims)
}

struct Verifier {
    reader: batcher::l1::L1BlockReader,
    inbox: batcher::l1::InboxReader,
    derivation: Derivation,
    state: MemoryState,
    /// What the blocks so far taught about the next ones.
    knowledge: Knowledge,
    loaded: L1Blocks,
    first_l1_block: u64,
    transactions: u64,
    /// Hash and output root of every block from genesis on.
    derived: Vec<(B256, B256)>,
}

impl Verifier {
    fn new(l1: &L1Client, genesis: &Genesis) -> Result<Self, VerifyError> {
        let (state, header, hash) = genesis.build()?;
        let root = root_of(&state, header.state_root, hash)?;
        Ok(Self {
            reader: l1.block_reader(genesis),
            inbox: l1.inbox_reader(genesis.l1.inbox),
            derivation: Derivation::from_genesis(genesis, header, hash),
            state,
            knowledge: Knowledge::default(),
            loaded: L1Blocks::default(),
            first_l1_block: genesis.l1.origin_number,
            transactions: 0,
            derived: vec![(hash, root)],
        })
    }

    /// Derives up to L1's latest block, and returns that block.
    async fn derive_all(&mut self) -> Result<BlockId, VerifyError> {
        let latest = self.inbox.block_id(BlockNumberOrTag::Latest).await?;
        let latest =
            latest.ok_or(Missing::Tag(BlockNumberOrTag::Latest)).map_err(L1Error::Missing)?;
        let progress = progress_bar(latest.number.saturating_sub(self.first_l1_block));
        let mut position = InboxPosition::default();
        let mut from = self.first_l1_block;
        while from <= latest.number {
            let to = latest.number.min(from + SCAN_BLOCKS - 1);
            for posted in self.inbox.appends(position, from, to).await? {
                position = posted.position();
                report_dropped(posted.append.id, &self.derivation.push_append(&posted.append));
                self.execute_ready(&progress).await?;
            }
            progress.set_position(to - self.first_l1_block);
            from = to + 1;
        }
        progress.finish_and_clear();
        let still = self.inbox.block_id(BlockNumberOrTag::Number(latest.number)).await?;
        if still == Some(latest) { Ok(latest) } else { Err(VerifyError::Reorged) }
    }

    async fn execute_ready(&mut self, progress: &ProgressBar) -> Result<(), VerifyError> {
        loop {
            match self.derivation.next_block(&self.loaded) {
                Step::Idle => return Ok(()),
                Step::Reorged => return Err(VerifyError::Reorged),
                Step::NeedL1(number) => {
                    self.loaded.0.insert(number, self.reader.block(number).await?);
                    while self.loaded.0.len() > ORIGINS_KEPT {
                        self.loaded.0.pop_first();
                    }
                }
                Step::Dropped { append_id, reason } => {
                    tracing::warn!(append = append_id, %reason, "rest of the append is empty");
                }
                Step::Block(derived) => {
                    self.execute(&derived.input)?;
                    let number = derived.input.env.number;
                    progress.set_message(format!("L2 block {number}"));
                }
            }
        }
    }

    fn execute(&mut self, input: &BlockInput) -> Result<(), VerifyError> {
        let number = input.env.number;
        let options = Options { knowledge: Some(&self.knowledge), ..Options::default() };
        let block = execute_with(&self.state, input, options)
            .map_err(|error| VerifyError::Execute { number, error })?;
        let applied = self.state.apply_block(&block).map_err(ExecuteError::from);
        applied.map_err(|error| VerifyError::Execute { number, error })?;
        let signed = block.transactions.iter().filter(|tx| tx.as_signed().is_some());
        self.transactions += signed.count() as u64;
        let root = root_of(&self.state, block.header.state_root, block.hash)?;
        self.derived.push((block.hash, root));
        Ok(self.derivation.advance(block.header, block.hash)?)
    }

    /// Compares all claims; returns how many.
    async fn compare(
        &self,
        args: &VerifyArgs,
        claims: &BTreeMap<u64, Claim>,
    ) -> Result<u64, VerifyError> {
        let head = self.derivation.head().header.number;
        let mut covered = 0;
        for (&block, claim) in claims {
            let index = claim.index;
            let derived = usize::try_from(block).ok().and_then(|at| self.derived.get(at));
            let Some(&(_, derived)) = derived else {
                return Err(VerifyError::OutputBeyondHead { index, block, head });
            };
            if derived != claim.root {
                let hashes: Vec<B256> = self.derived.iter().map(|(hash, _)| *hash).collect();
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
        Ok(claims.len() as u64)
    }
}

fn report_dropped(append: u64, outcomes: &[Outcome]) {
    for outcome in outcomes {
        if let Outcome::Dropped(reason) = outcome {
            tracing::warn!(append, %reason, "append is empty");
        }
    }
}

/// L1 blocks scanned between two moves of the progress bar.
const SCAN_BLOCKS: u64 = 1_000;

fn root_of(state: &MemoryState, state_root: B256, hash: B256) -> Result<B256, ViewError> {
    let messages = state.trie().storage_root(L2_TO_L1_MESSAGE_PASSER)?;
    Ok(output_root(state_root, messages, hash))
}

fn progress_bar(l1_blocks: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} L1 blocks, {msg}, {elapsed}");
    let bar = ProgressBar::new(l1_blocks);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
