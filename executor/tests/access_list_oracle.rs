//! revm's own builder of block access lists, which goes by its journal, as a second opinion on ours,
//! which goes by what a step read and changed.
//!
//! Only transactions: real blocks from the Merge to Prague, whose data has no system contracts and
//! no withdrawals, so that nothing happens outside of them.

use crate::files::{self, input, state};
use alloy::{
    consensus::Transaction as _,
    eips::eip7928::AccountChanges,
    primitives::{Address, B256, U256},
};
use executor::{
    BlockInput, MemoryState, Mode, StateView, Transaction, ViewError, access_list::access_list,
};
use revm::{
    Context, DatabaseRef, ExecuteCommitEvm, MainBuilder, MainContext,
    bytecode::Bytecode,
    context::{BlockEnv, TxEnv},
    context_interface::{block::BlobExcessGasAndPrice, either::Either},
    database::State,
    state::AccountInfo,
};

/// A state as revm reads it.
struct Below<'a>(&'a MemoryState);

impl DatabaseRef for Below<'_> {
    type Error = ViewError;

    fn basic_ref(&self, address: Address) -> Result<Option<AccountInfo>, ViewError> {
        Ok(self.0.account(address)?.map(|account| AccountInfo {
            balance: account.balance_wei,
            nonce: account.nonce,
            code_hash: account.code_hash,
            code: None,
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash_ref(&self, code_hash: B256) -> Result<Bytecode, ViewError> {
        self.0.code(code_hash)
    }

    fn storage_ref(&self, address: Address, slot: U256) -> Result<U256, ViewError> {
        self.0.slot(address, slot)
    }

    fn block_hash_ref(&self, number: u64) -> Result<B256, ViewError> {
        self.0.block_hash(number)
    }
}

fn transaction_env(transaction: &Transaction) -> TxEnv {
    let signed = transaction.as_signed().unwrap();
    let authorizations = signed.authorization_list().unwrap_or_default();
    TxEnv {
        tx_type: signed.tx_type() as u8,
        caller: transaction.sender(),
        gas_limit: signed.gas_limit(),
        gas_price: signed.max_fee_per_gas(),
        kind: signed.kind(),
        value: signed.value(),
        data: signed.input().clone(),
        nonce: signed.nonce(),
        chain_id: signed.chain_id(),
        access_list: signed.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: signed.max_priority_fee_per_gas(),
        blob_hashes: signed.blob_versioned_hashes().map(<[B256]>::to_vec).unwrap_or_default(),
        max_fee_per_blob_gas: signed.max_fee_per_blob_gas().unwrap_or(0),
        authorization_list: authorizations.iter().cloned().map(Either::Left).collect(),
    }
}

/// The list that revm builds of the transactions.
fn list_of_revm(view: &MemoryState, input: &BlockInput) -> Vec<AccountChanges> {
    let (spec, env) = (input.rules.spec(), &input.env);
    let database = State::builder().with_database_ref(Below(view)).with_bal_builder().build();
    let mut evm = Context::mainnet()
        .with_db(database)
        .modify_cfg_chained(|cfg| cfg.set_spec_and_mainnet_gas_params(spec))
        .with_block(BlockEnv {
            number: U256::from(env.number),
            beneficiary: env.beneficiary,
            timestamp: U256::from(env.timestamp),
            gas_limit: env.gas_limit,
            basefee: env.base_fee_wei.unwrap(),
            difficulty: env.difficulty,
            prevrandao: Some(env.prevrandao),
            blob_excess_gas_and_price: env
                .excess_blob_gas
                .map(|excess| BlobExcessGasAndPrice::new_with_spec(excess, spec)),
            slot_num: 0,
        })
        .build_mainnet();
    for transaction in &input.transactions {
        evm.ctx.journaled_state.database.bump_bal_index();
        evm.transact_commit(transaction_env(transaction)).unwrap();
    }
    evm.ctx.journaled_state.database.take_built_alloy_bal().unwrap().into_iter().collect()
}

#[test]
fn revm_lists_the_same_accesses_of_real_blocks() {
    let (mut accounts, mut slots) = (0, 0);
    for number in [15_538_827, 17_666_333, 19_426_587, 19_929_064, 19_932_148, 22_546_209] {
        let Some(file) = files::read(&format!("mainnet-blocks/{number}.json.xz")) else { return };
        let (view, input) = (state(&file), input(&file));
        let block = executor::execute(&view, &input, Mode::Sequential).unwrap();
        let ours = access_list(&view, &input, &block).unwrap();
        let theirs = list_of_revm(&view, &input);
        for expected in &theirs {
            assert_eq!(ours.account(expected.address), Some(expected), "block {number}");
        }
        // System contracts that are called where there are none.
        let more = ours.accounts().len() - theirs.len();
        assert!(more <= 4, "{more} accounts too many in block {number}");
        accounts += theirs.len();
        slots += theirs.iter().map(|account| account.storage_slots().count()).sum::<usize>();
    }
    println!("access lists: {accounts} accounts and {slots} slots as revm lists them");
}
