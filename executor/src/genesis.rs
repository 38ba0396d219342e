//! Genesis: the file that defines a chain. Its hash is committed to by the L1 Inbox, so that a node
//! with the wrong file refuses to start instead of arriving at another chain.
//!
//! Owns the serde shape, the genesis block and the configuration hash. Reads no file.

use crate::{
    block::{BlockEnv, Commitments, header, receipts_root, transactions_root},
    error::ViewError,
    rules::{ChainRules, ROLLUP_PARENT_BEACON_BLOCK_ROOT, RollupRules},
    state::{Account, AccountDiff, MemoryState, SlotDiff, StateDiff},
};
use alloc::{collections::BTreeMap, sync::Arc, vec::Vec};
use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use alloy_rlp::{Encodable, RlpEncodable};
use revm::{bytecode::Bytecode, primitives::hardfork::SpecId};
use serde::{Deserialize, Serialize};

/// One account that exists from the start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisAccount {
    /// Nonce.
    #[serde(default)]
    pub nonce: u64,
    /// Balance in wei. A rollup's genesis gives nobody any: ether comes from L1 deposits.
    #[serde(default)]
    pub balance: U256,
    /// Runtime code.
    #[serde(default)]
    pub code: Bytes,
    /// Storage.
    #[serde(default)]
    pub storage: BTreeMap<U256, U256>,
}

/// Where the chain lives on L1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GenesisL1 {
    /// Chain id of L1.
    pub chain_id: u64,
    /// The L1 block that the genesis block's state is anchored to: the first L2 block's origin is
    /// at or after it, deposits count from the block after it.
    pub origin_number: u64,
    /// Its hash.
    pub origin_hash: B256,
    /// L1's blob fee parameters over time (EIP-7892): from this L1 timestamp (seconds), this base
    /// fee update fraction. Every node must know them, for L2 blocks repeat L1's blob base fee.
    pub blob_schedule: BTreeMap<u64, u64>,
    /// The Inbox contract.
    pub inbox: Address,
    /// The Outputs contract.
    pub outputs: Address,
    /// The Portal contract.
    pub portal: Address,
}

/// Everything that defines a rollup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Genesis {
    /// Chain parameters.
    pub rules: RollupRules,
    /// Timestamp of the genesis block, seconds since 1970.
    pub timestamp: u64,
    /// Accounts that exist from the start: predeploys.
    pub alloc: BTreeMap<Address, GenesisAccount>,
    /// L1 side.
    pub l1: GenesisL1,
}

#[derive(RlpEncodable)]
struct ConfigPreimage {
    genesis_hash: B256,
    chain_id: u64,
    elasticity: u64,
    base_fee_max_change_denominator: u64,
    base_fee_min_wei: u64,
    transaction_gas_limit: u64,
    sequencer_drift_secs_max: u64,
    l1_chain_id: u64,
    l1_origin_number: u64,
    l1_origin_hash: B256,
    l1_blob_schedule: Vec<u64>,
    outputs: Address,
    portal: Address,
    l1_base_fee_scalar: u32,
    l1_blob_base_fee_scalar: u32,
    operator_fee_scalar: u32,
    operator_fee_constant_wei: u64,
    zero_byte_millionths: u32,
    other_byte_millionths: u32,
    discount_millionths: u32,
    size_min_millionths: u32,
}

impl Genesis {
    /// The rules, shared by every block of the chain.
    #[must_use]
    pub fn chain_rules(&self) -> Arc<ChainRules> {
        Arc::new(ChainRules::Rollup(self.rules.clone()))
    }

    /// The alloc as a change from nothing. What the fee predeploys know of the rules is added, so that
    /// the file cannot say two things.
    #[must_use]
    pub fn state_diff(&self) -> StateDiff {
        let mut diff = StateDiff::default();
        for (address, genesis) in &self.alloc {
            let code = Bytecode::new_raw(genesis.code.clone());
            let account = Account {
                nonce: genesis.nonce,
                balance_wei: genesis.balance,
                code_hash: code.hash_slow(),
            };
            let after = (!account.is_empty()).then_some(account);
            let mut storage = genesis.storage.clone();
            if !genesis.code.is_empty() {
                storage.extend(self.rules.fees.storage_of(*address));
            }
            let slots = storage.into_iter().filter(|(_, value)| !value.is_zero());
            let slots = slots.map(|(slot, after)| (slot, SlotDiff { before: U256::ZERO, after }));
            let account_diff =
                AccountDiff { before: None, after, wiped: false, slots: slots.collect() };
            diff.accounts.insert(*address, account_diff);
            if !genesis.code.is_empty() {
                diff.codes.insert(account.code_hash, code);
            }
        }
        diff
    }

    /// State, header and hash of block 0.
    ///
    /// # Errors
    /// None in practice: the state is built in memory. The type is the trie's.
    pub fn build(&self) -> Result<(MemoryState, Header, B256), ViewError> {
        let mut state = MemoryState::default();
        state.apply(&self.state_diff())?;
        let env = BlockEnv {
            number: 0,
            parent_hash: B256::ZERO,
            timestamp: self.timestamp,
            beneficiary: self.rules.fee_recipient,
            gas_limit: self.rules.gas_limit,
            base_fee_wei: Some(self.rules.base_fee_min_wei),
            prevrandao: B256::ZERO,
            difficulty: U256::ZERO,
            parent_beacon_block_root: Some(ROLLUP_PARENT_BEACON_BLOCK_ROOT),
            excess_blob_gas: Some(0),
            withdrawals: Some(Vec::new()),
            ommers: Vec::new(),
            extra_data: Bytes::new(),
        };
        let (receipts_root, logs_bloom) = receipts_root(&[]);
        let commitments = Commitments {
            state_root: state.root(),
            transactions_root: transactions_root(&[]),
            receipts_root,
            logs_bloom,
            gas_used: 0,
            blob_gas_used: 0,
            requests_hash: None,
        };
        let header = header(&env, SpecId::OSAKA, &commitments);
        let hash = header.hash_slow();
        state.set_block_hash(0, hash);
        Ok((state, header, hash))
    }

    /// What the Inbox commits to: the genesis block hash and every parameter that blocks follow
    /// from, the addresses of Portal and Outputs among them: deposits and claims come from there.
    /// Whoever deploys knows them beforehand, because they follow from the deployer and its nonce.
    #[must_use]
    pub fn config_hash(&self, genesis_hash: B256) -> B256 {
        let rules = &self.rules;
        let fees = &rules.fees;
        let preimage = ConfigPreimage {
            genesis_hash,
            chain_id: rules.chain_id,
            elasticity: rules.elasticity,
            base_fee_max_change_denominator: rules.base_fee_max_change_denominator,
            base_fee_min_wei: rules.base_fee_min_wei,
            transaction_gas_limit: rules.transaction_gas_limit,
            sequencer_drift_secs_max: rules.sequencer_drift_secs_max,
            l1_chain_id: self.l1.chain_id,
            l1_origin_number: self.l1.origin_number,
            l1_origin_hash: self.l1.origin_hash,
            outputs: self.l1.outputs,
            portal: self.l1.portal,
            l1_blob_schedule: self.l1.blob_schedule.iter().flat_map(|(t, f)| [*t, *f]).collect(),
            l1_base_fee_scalar: fees.l1_base_fee_scalar,
            l1_blob_base_fee_scalar: fees.l1_blob_base_fee_scalar,
            operator_fee_scalar: fees.operator_fee_scalar,
            operator_fee_constant_wei: fees.operator_fee_constant_wei,
            zero_byte_millionths: fees.size.zero_byte_millionths,
            other_byte_millionths: fees.size.other_byte_millionths,
            discount_millionths: fees.size.discount_millionths,
            size_min_millionths: fees.size.size_min_millionths,
        };
        let mut bytes = Vec::new();
        preimage.encode(&mut bytes);
        keccak256(bytes)
    }
}

/// OP Stack output root, version 0: `keccak(0 ‖ stateRoot ‖ messagePasserStorageRoot ‖ blockHash)`.
#[must_use]
pub fn output_root(state_root: B256, message_passer_storage_root: B256, block_hash: B256) -> B256 {
    let mut preimage = [0u8; 128];
    preimage[32..64].copy_from_slice(state_root.as_slice());
    preimage[64..96].copy_from_slice(message_passer_storage_root.as_slice());
    preimage[96..].copy_from_slice(block_hash.as_slice());
    keccak256(preimage)
}
