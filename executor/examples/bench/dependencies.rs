//! Which transactions of a block truly depend on which: j on i when j touches a key that i was the
//! last to change.
//!
//! Found by executing the block once on revm directly and looking at what each transaction touched
//! and changed, so that it does not rest on what the engine under test believes. Keys are finer than
//! accounts: a call to a contract needs its code, not its balance. Balances are needed by whoever
//! changes them, by the sender, and by the opcodes that read them. Not a dependency: the fee to the
//! beneficiary, which every transaction adds to, and the system calls around the transactions.

use crate::{Failure, workload::Workload};
use alloy::primitives::{Address, TxKind, U256};
use alloy::{consensus::Transaction as _, primitives::B256};
use executor::{
    BlockInput, Transaction,
    state::{MemoryState, Overlay},
};
use revm::{
    Context, DatabaseCommit, InspectEvm, Inspector, MainBuilder, MainnetEvm,
    bytecode::opcode::{BALANCE, SELFBALANCE},
    context::{BlockEnv, CfgEnv, Journal, TxEnv},
    context_interface::{block::BlobExcessGasAndPrice, either::Either},
    handler::MainnetContext,
    interpreter::{
        Interpreter,
        interpreter_types::{InputsTr, Jumps},
    },
    primitives::hardfork::SpecId,
    state::EvmState,
};
use std::collections::{BTreeSet, HashMap};

type Evm<'v> = MainnetEvm<MainnetContext<Overlay<'v, MemoryState>>, BalanceReads>;

/// What a transaction can touch or change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    Balance(Address),
    Nonce(Address),
    Code(Address),
    Slot(Address, U256),
}

/// Accounts whose balance an opcode read.
#[derive(Debug, Default)]
struct BalanceReads(Vec<Address>);

impl<C> Inspector<C> for BalanceReads {
    fn step(&mut self, interpreter: &mut Interpreter, _context: &mut C) {
        match interpreter.bytecode.opcode() {
            BALANCE => {
                let top = interpreter.stack.data().last().copied().unwrap_or_default();
                self.0.push(Address::from_word(B256::from(top)));
            }
            SELFBALANCE => self.0.push(interpreter.input.target_address()),
            _ => {}
        }
    }
}

/// For each transaction the earlier ones that it depends on. One that is invalid depends on none.
pub(crate) fn dependencies(workload: &Workload) -> Result<Vec<Vec<usize>>, Failure> {
    let input = &workload.input;
    let mut evm = evm(Overlay::new(&workload.state), input);
    let mut last_writer = HashMap::new();
    let mut dependencies = Vec::with_capacity(input.transactions.len());
    for (index, transaction) in input.transactions.iter().enumerate() {
        let Some(tx) = tx_env(transaction) else {
            return Err(format!("{}: a deposit cannot be executed here", workload.name));
        };
        let Ok(done) = evm.inspect(tx, BalanceReads::default()) else {
            dependencies.push(Vec::new());
            continue;
        };
        let keys = keys(&done.state, transaction.sender(), input.env.beneficiary);
        let balances = std::mem::take(&mut evm.inspector.0).into_iter().map(Key::Balance);
        let touched = keys.touched.into_iter().chain(balances);
        let earlier: BTreeSet<usize> =
            touched.filter_map(|key| last_writer.get(&key).copied()).collect();
        dependencies.push(earlier.into_iter().collect());
        last_writer.extend(keys.changed.into_iter().map(|key| (key, index)));
        evm.ctx.journaled_state.database.commit(done.state);
    }
    Ok(dependencies)
}

#[derive(Default)]
struct Keys {
    touched: Vec<Key>,
    changed: Vec<Key>,
}

fn keys(state: &EvmState, sender: Address, beneficiary: Address) -> Keys {
    let mut keys = Keys { touched: vec![Key::Balance(sender)], changed: Vec::new() };
    for (&address, account) in state {
        keys.touched.push(Key::Code(address));
        let (before, after) = (account.original_info(), &account.info);
        let gone = account.is_selfdestructed();
        let mut change = |key, is_changed: bool| {
            if is_changed {
                keys.touched.push(key);
                keys.changed.push(key);
            }
        };
        let is_fee_receiver = address == beneficiary;
        change(Key::Balance(address), !is_fee_receiver && before.balance != after.balance);
        change(Key::Nonce(address), before.nonce != after.nonce);
        change(Key::Code(address), gone || before.code_hash != after.code_hash);
        for (&slot, value) in &account.storage {
            keys.touched.push(Key::Slot(address, slot));
            if gone || value.is_changed() {
                keys.changed.push(Key::Slot(address, slot));
            }
        }
    }
    keys
}

fn evm<'v>(overlay: Overlay<'v, MemoryState>, input: &BlockInput) -> Evm<'v> {
    let (env, spec) = (&input.env, input.rules.spec());
    let context: MainnetContext<Overlay<'v, MemoryState>> =
        Context::<BlockEnv, TxEnv, CfgEnv, _, Journal<_>, ()>::new(overlay, spec);
    context
        .modify_cfg_chained(|cfg| {
            cfg.set_spec_and_mainnet_gas_params(spec);
            cfg.chain_id = input.rules.chain_id();
        })
        .modify_block_chained(|block| {
            *block = BlockEnv {
                number: U256::from(env.number),
                beneficiary: env.beneficiary,
                timestamp: U256::from(env.timestamp),
                gas_limit: env.gas_limit,
                basefee: env.base_fee_wei.unwrap_or(0),
                difficulty: env.difficulty,
                prevrandao: spec.is_enabled_in(SpecId::MERGE).then_some(env.prevrandao),
                blob_excess_gas_and_price: env
                    .excess_blob_gas
                    .map(|excess| BlobExcessGasAndPrice::new_with_spec(excess, spec)),
                slot_num: 0,
            };
        })
        .build_mainnet_with_inspector(BalanceReads::default())
}

/// `None` for a deposit, which revm does not know.
fn tx_env(transaction: &Transaction) -> Option<TxEnv> {
    let signed = transaction.as_signed()?;
    let authorizations = signed.authorization_list().unwrap_or_default();
    Some(TxEnv {
        tx_type: transaction.ty(),
        caller: transaction.sender(),
        gas_limit: signed.gas_limit(),
        gas_price: signed.max_fee_per_gas(),
        kind: signed.to().map_or(TxKind::Create, TxKind::Call),
        value: signed.value(),
        data: signed.input().clone(),
        nonce: signed.nonce(),
        chain_id: signed.chain_id(),
        access_list: signed.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: signed.max_priority_fee_per_gas(),
        blob_hashes: signed.blob_versioned_hashes().map(<[B256]>::to_vec).unwrap_or_default(),
        max_fee_per_blob_gas: signed.max_fee_per_blob_gas().unwrap_or(0),
        authorization_list: authorizations.iter().cloned().map(Either::Left).collect(),
    })
}
