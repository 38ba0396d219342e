//! `sequencer deploy`: puts a new rollup's contracts on L1 and writes its genesis file.
//!
//! The genesis block is anchored to an L1 block from before the contracts exist. The contracts'
//! addresses follow from the deployer's nonce, so that the Inbox can commit to all of the file.

use crate::settings::{Key, SettingsError, read_key};
use alloy::{
    contract::Error as ContractError,
    eips::{BlockNumberOrTag, eip2935, eip7892::BlobScheduleBlobParams},
    network::EthereumWallet,
    primitives::{Address, B256},
    providers::{DynProvider, Provider, ProviderBuilder},
    transports::{RpcError, TransportErrorKind},
};
use clap::Args;
use contracts::{Inbox, L2_TO_L1_MESSAGE_PASSER, Outputs, Portal, predeploys};
use executor::{
    FeeRules, Genesis, RollupRules, ViewError,
    genesis::{GenesisAccount, GenesisL1, output_root},
};
use std::{collections::BTreeMap, fs, io, path::PathBuf};

/// Arguments of `deploy`.
#[derive(Args, Clone, Debug)]
pub struct DeployArgs {
    /// JSON-RPC endpoint of the L1 node.
    #[arg(long, env = "WEFT_L1_RPC_URL", value_name = "URL", hide_env_values = true)]
    pub l1_rpc_url: String,
    /// File with the private key (hex) that pays for the deployment and owns the contracts.
    #[arg(long, env = "WEFT_DEPLOYER_KEY_FILE", value_name = "FILE")]
    pub key_file: PathBuf,
    /// Address that may append batches.
    #[arg(long, value_name = "ADDRESS")]
    pub batcher: Address,
    /// Address that may propose outputs.
    #[arg(long, value_name = "ADDRESS")]
    pub proposer: Address,
    /// Where to write the genesis file; an existing file is not overwritten.
    #[arg(long, default_value = "genesis.json", value_name = "FILE")]
    pub out: PathBuf,
    /// The rollup's parameters.
    #[command(flatten)]
    pub chain: ChainArgs,
}

/// Parameters of a new rollup.
#[derive(Args, Clone, Debug)]
pub struct ChainArgs {
    /// Chain id of the rollup.
    #[arg(long, default_value_t = RollupRules::default().chain_id, value_name = "ID")]
    pub chain_id: u64,
    /// Gas limit of a block.
    #[arg(long, default_value_t = RollupRules::default().gas_limit, value_name = "GAS")]
    pub gas_limit: u64,
    /// Block gas limit divided by the gas target.
    #[arg(
        long,
        default_value_t = RollupRules::default().elasticity,
        value_parser = clap::value_parser!(u64).range(1..),
        value_name = "N"
    )]
    pub elasticity: u64,
    /// The base fee never falls below this, in wei.
    #[arg(long, default_value_t = RollupRules::default().base_fee_min_wei, value_name = "WEI")]
    pub base_fee_min_wei: u64,
    /// The base fee changes by at most one part in this many from block to block.
    #[arg(
        long,
        default_value_t = RollupRules::default().base_fee_max_change_denominator,
        value_parser = clap::value_parser!(u64).range(1..),
        value_name = "N"
    )]
    pub base_fee_max_change_denominator: u64,
    /// Weight of the L1 base fee in the L1 data fee, in millionths.
    #[arg(long, default_value_t = FeeRules::default().l1_base_fee_scalar, value_name = "N")]
    pub l1_base_fee_scalar: u32,
    /// Weight of the L1 blob base fee in the L1 data fee, in millionths.
    #[arg(long, default_value_t = FeeRules::default().l1_blob_base_fee_scalar, value_name = "N")]
    pub l1_blob_base_fee_scalar: u32,
    /// Operator fee for each gas, in millionths of a wei.
    #[arg(long, default_value_t = FeeRules::default().operator_fee_scalar, value_name = "N")]
    pub operator_fee_scalar: u32,
    /// Operator fee for each transaction, in wei.
    #[arg(long, default_value_t = FeeRules::default().operator_fee_constant_wei, value_name = "WEI")]
    pub operator_fee_constant_wei: u64,
    /// Receives the priority fees of L2.
    #[arg(long, default_value_t = Address::ZERO, value_name = "ADDRESS")]
    pub fee_recipient: Address,
    /// L2 block time that the output oracle reports, in whole seconds.
    #[arg(long, default_value_t = 1, value_name = "SECS")]
    pub oracle_block_time_secs: u64,
    /// L2 blocks between outputs.
    #[arg(long, default_value_t = 60, value_name = "BLOCKS")]
    pub submission_interval: u64,
    /// Seconds until an output is final.
    #[arg(long, default_value_t = 604_800, value_name = "SECS")]
    pub finalization_period_secs: u64,
    /// L1's blob base fee update fraction, for an L1 that is not Ethereum mainnet.
    #[arg(long, default_value_t = OSAKA_UPDATE_FRACTION, value_name = "N")]
    pub l1_blob_update_fraction: u64,
}

impl ChainArgs {
    /// The rules that these parameters make; the rest of them is not for choice.
    fn rules(&self) -> RollupRules {
        RollupRules {
            chain_id: self.chain_id,
            gas_limit: self.gas_limit,
            elasticity: self.elasticity,
            base_fee_max_change_denominator: self.base_fee_max_change_denominator,
            base_fee_min_wei: self.base_fee_min_wei,
            fee_recipient: self.fee_recipient,
            fees: FeeRules {
                l1_base_fee_scalar: self.l1_base_fee_scalar,
                l1_blob_base_fee_scalar: self.l1_blob_base_fee_scalar,
                operator_fee_scalar: self.operator_fee_scalar,
                operator_fee_constant_wei: self.operator_fee_constant_wei,
                ..FeeRules::default()
            },
            ..RollupRules::default()
        }
    }
}

impl Default for ChainArgs {
    fn default() -> Self {
        let rules = RollupRules::default();
        Self {
            chain_id: rules.chain_id,
            gas_limit: rules.gas_limit,
            elasticity: rules.elasticity,
            base_fee_min_wei: rules.base_fee_min_wei,
            base_fee_max_change_denominator: rules.base_fee_max_change_denominator,
            l1_base_fee_scalar: rules.fees.l1_base_fee_scalar,
            l1_blob_base_fee_scalar: rules.fees.l1_blob_base_fee_scalar,
            operator_fee_scalar: rules.fees.operator_fee_scalar,
            operator_fee_constant_wei: rules.fees.operator_fee_constant_wei,
            fee_recipient: rules.fee_recipient,
            oracle_block_time_secs: 1,
            submission_interval: 60,
            finalization_period_secs: 604_800,
            l1_blob_update_fraction: OSAKA_UPDATE_FRACTION,
        }
    }
}

/// Ethereum's fraction from Prague until blob parameter forks change it.
const OSAKA_UPDATE_FRACTION: u64 = 5_007_716;

/// Why a rollup was not deployed. Contracts already on L1 stay there, unused.
#[derive(Debug, thiserror::Error)]
pub enum DeployError {
    /// The key cannot be read.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// L1 does not answer, or refuses.
    #[error("L1: {0}")]
    Rpc(#[from] RpcError<TransportErrorKind>),
    /// The L1 endpoint is no URL.
    #[error("{0} is not a URL")]
    Url(String),
    /// A contract was not deployed.
    #[error("deploying to L1: {0}")]
    Contract(#[from] ContractError),
    /// A transaction on L1 was not mined in time.
    #[error("waiting for L1: {0}")]
    Pending(#[from] alloy::providers::PendingTransactionError),
    /// A contract landed elsewhere than the Inbox commits to: something else sent a transaction from
    /// the deployer's account meanwhile.
    #[error("{name} was deployed at {found}, not at {expected}; run deploy again")]
    Moved {
        /// Name of the contract.
        name: &'static str,
        /// From the deployer's nonce.
        expected: Address,
        /// Where it is.
        found: Address,
    },
    /// L1 has no block yet.
    #[error("L1 has no latest block")]
    NoBlock,
    /// The genesis state cannot be computed.
    #[error("genesis state: {0}")]
    Genesis(#[from] ViewError),
    /// The genesis file cannot be written.
    #[error("cannot write {path}: {error}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The genesis file cannot be encoded.
    #[error("genesis file: {0}")]
    Json(#[from] serde_json::Error),
}

/// Roles on L1 given to the new contracts.
#[derive(Clone, Copy, Debug)]
pub struct Roles {
    /// Owns the contracts: may rotate the other two.
    pub owner: Address,
    /// Appends batches.
    pub batcher: Address,
    /// Proposes outputs.
    pub proposer: Address,
}

/// Connects to L1 with a wallet.
///
/// # Errors
/// [`DeployError::Url`].
pub fn connect(url: &str, key: &Key) -> Result<DynProvider, DeployError> {
    let url = url.parse().map_err(|_| DeployError::Url(url.into()))?;
    let wallet = EthereumWallet::from(key.0.clone());
    Ok(ProviderBuilder::new().wallet(wallet).connect_http(url).erased())
}

/// Runs the command.
///
/// # Errors
/// [`DeployError`].
pub async fn run(args: DeployArgs) -> Result<(), DeployError> {
    let key = read_key(&args.key_file)?;
    let l1 = connect(&args.l1_rpc_url, &key)?;
    let owner = key.0.address();
    let roles = Roles { owner, batcher: args.batcher, proposer: args.proposer };
    // Created first, so that nothing is deployed for a file that cannot be written.
    let write = |error| DeployError::Write { path: args.out.clone(), error };
    let file = fs::File::create_new(&args.out).map_err(write)?;
    let genesis = deploy(&l1, roles, &args.chain).await?;
    serde_json::to_writer_pretty(file, &genesis)?;
    tracing::info!(
        file = %args.out.display(),
        inbox = %genesis.l1.inbox,
        outputs = %genesis.l1.outputs,
        portal = %genesis.l1.portal,
        "rollup deployed"
    );
    Ok(())
}

/// The accounts that exist on L2 from genesis: predeploys, and the EIP-2935 history contract.
/// Nobody has ether: it comes from deposits.
fn alloc() -> BTreeMap<Address, GenesisAccount> {
    let account = |code| GenesisAccount { nonce: 1, code, ..GenesisAccount::default() };
    let history = (eip2935::HISTORY_STORAGE_ADDRESS, eip2935::HISTORY_STORAGE_CODE.clone());
    let predeploys = predeploys().into_iter().map(|p| (p.address, p.runtime_code));
    predeploys.chain([history]).map(|(address, code)| (address, account(code))).collect()
}

/// L1's blob fee parameters by timestamp.
fn blob_schedule(l1_chain_id: u64, update_fraction: u64) -> BTreeMap<u64, u64> {
    if l1_chain_id != 1 {
        return BTreeMap::from([(0, update_fraction)]);
    }
    let mainnet = BlobScheduleBlobParams::mainnet();
    let prague = (0, mainnet.prague);
    let params = std::iter::once(prague).chain(mainnet.scheduled);
    params.map(|(from, p)| (from, p.update_fraction.try_into().unwrap_or(u64::MAX))).collect()
}

/// Deploys the contracts of a new rollup anchored to L1's latest block.
///
/// # Errors
/// [`DeployError`].
pub async fn deploy(
    l1: &DynProvider,
    roles: Roles,
    args: &ChainArgs,
) -> Result<Genesis, DeployError> {
    let l1_chain_id = l1.get_chain_id().await?;
    let anchor = l1.get_block_by_number(BlockNumberOrTag::Latest).await?;
    let anchor = anchor.ok_or(DeployError::NoBlock)?.header;
    let rules = args.rules();
    let nonce = l1.get_transaction_count(roles.owner).pending().await?;
    let genesis = Genesis {
        rules,
        timestamp: anchor.timestamp,
        alloc: alloc(),
        l1: GenesisL1 {
            chain_id: l1_chain_id,
            origin_number: anchor.number,
            origin_hash: anchor.hash,
            blob_schedule: blob_schedule(l1_chain_id, args.l1_blob_update_fraction),
            inbox: roles.owner.create(nonce),
            outputs: roles.owner.create(nonce + 1),
            portal: roles.owner.create(nonce + 2),
        },
    };
    let (state, header, hash) = genesis.build()?;
    let messages = state.trie().storage_root(L2_TO_L1_MESSAGE_PASSER)?;
    let first_output = output_root(header.state_root, messages, hash);
    deploy_contracts(l1, roles, args, &genesis, (hash, first_output)).await?;
    Ok(genesis)
}

async fn deploy_contracts(
    l1: &DynProvider,
    roles: Roles,
    args: &ChainArgs,
    genesis: &Genesis,
    (hash, first_output): (B256, B256),
) -> Result<(), DeployError> {
    let config_hash = genesis.config_hash(hash);
    let chain_id = genesis.rules.chain_id;
    let inbox = Inbox::deploy(l1, roles.owner, roles.batcher, config_hash, chain_id).await?;
    let outputs = Outputs::deploy(
        l1,
        roles.owner,
        roles.proposer,
        *inbox.address(),
        first_output,
        genesis.timestamp,
        alloy::primitives::U256::from(args.oracle_block_time_secs),
        alloy::primitives::U256::from(args.submission_interval),
        alloy::primitives::U256::from(args.finalization_period_secs),
    )
    .await?;
    let portal = Portal::deploy(l1, *outputs.address()).await?;
    for (name, expected, found) in [
        ("inbox", genesis.l1.inbox, *inbox.address()),
        ("outputs", genesis.l1.outputs, *outputs.address()),
        ("portal", genesis.l1.portal, *portal.address()),
    ] {
        if expected != found {
            return Err(DeployError::Moved { name, expected, found });
        }
    }
    Ok(())
}
