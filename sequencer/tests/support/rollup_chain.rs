//! Real blocks of a small rollup, executed on whatever state they are given: transfers, a contract
//! that writes and clears slots, a deployment, logs, deposits, and withdrawals through the real message
//! passer. Every block follows from its parent alone, so two chains of the same length are the same.

use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    primitives::{Address, B256, Bytes, Signature, TxKind, U256, bytes, keccak256},
    sol_types::{SolCall, SolValue},
};
use contracts::{L2_TO_L1_MESSAGE_PASSER, L2ToL1MessagePasser, predeploys};
use executor::{
    BlockInput, ExecutedBlock, Genesis, Header, L1Origin, Mode, RollupRules, StateView,
    Transaction, execute,
    genesis::{GenesisAccount, GenesisL1},
};
use std::collections::BTreeMap;

/// Accounts with ether.
const CALLERS: u64 = 8;
/// Stores its second word at the slot of its first, and logs.
const WRITER_CODE: Bytes = bytes!("6020355f355560205fa000");
/// Code that a deployment returns: stops.
const INIT_CODE: Bytes = bytes!("60015f5360015ff3");

pub(crate) fn caller(index: u64) -> Address {
    Address::from_word(U256::from(0x1_0000 + index).into())
}

/// The contract that writes slots.
pub(crate) fn writer() -> Address {
    Address::repeat_byte(0x77)
}

pub(crate) fn genesis() -> Genesis {
    let balance = U256::from(10_u128.pow(20));
    let rich = |index| (caller(index), GenesisAccount { balance, ..GenesisAccount::default() });
    let mut alloc: BTreeMap<_, _> = (0..CALLERS).map(rich).collect();
    let contract = |code| GenesisAccount { nonce: 1, code, ..GenesisAccount::default() };
    alloc.extend(predeploys().map(|p| (p.address, contract(p.runtime_code))));
    alloc.insert(writer(), contract(WRITER_CODE));
    Genesis {
        rules: RollupRules::default(),
        timestamp: 1_700_000_000,
        alloc,
        l1: GenesisL1 {
            chain_id: 1,
            origin_number: 10,
            origin_hash: B256::repeat_byte(10),
            blob_schedule: BTreeMap::new(),
            inbox: Address::repeat_byte(0xa1),
            outputs: Address::repeat_byte(0xa2),
            portal: Address::repeat_byte(0xa3),
        },
    }
}

/// The block after `parent`, whose state is `state`.
pub(crate) fn next_block(
    genesis: &Genesis,
    state: &(impl StateView + Sync),
    (parent, hash): (&Header, B256),
) -> ExecutedBlock {
    let origin = L1Origin {
        number: genesis.l1.origin_number,
        hash: genesis.l1.origin_hash,
        parent_hash: B256::ZERO,
        timestamp: genesis.timestamp,
        base_fee_wei: 1,
        blob_base_fee_wei: 1,
        prevrandao: B256::repeat_byte(0x22),
    };
    let (rules, number) = (genesis.chain_rules(), parent.number + 1);
    let at = (&origin, parent.number);
    let input = BlockInput::rollup(&rules, (parent, hash), at, parent.timestamp + 1, Vec::new());
    let input = input.with_transactions(transactions(genesis, state, number));
    let block = execute(state, &input, Mode::Sequential).unwrap();
    assert!(block.skipped.is_empty(), "{:?}", block.skipped);
    assert!(block.receipts.iter().all(|receipt| receipt.success));
    block
}

fn transactions(genesis: &Genesis, state: &impl StateView, number: u64) -> Vec<Transaction> {
    let mut nonces: BTreeMap<Address, u64> = BTreeMap::new();
    let mut sign = |index: u64, to: TxKind, value: u64, input: Bytes| {
        let from = caller(index % CALLERS);
        let first = state.account(from).unwrap().unwrap().nonce;
        let nonce = nonces.entry(from).or_insert(first);
        let unsigned = TxEip1559 {
            chain_id: genesis.rules.chain_id,
            nonce: *nonce,
            gas_limit: 300_000,
            max_fee_per_gas: 1_000_000_000,
            to,
            value: U256::from(value),
            input,
            ..TxEip1559::default()
        };
        *nonce += 1;
        // Execution trusts the sender that admission recovered.
        let signature = Signature::new(U256::from_be_slice(from.as_slice()), U256::ONE, false);
        Transaction::from_signed(unsigned.into_signed(signature).into(), from)
    };
    let slot = |slot: u64, value: u64| (U256::from(slot), U256::from(value)).abi_encode().into();
    let mut all = vec![
        sign(number, TxKind::Call(caller(number + 1)), number, Bytes::new()),
        sign(number + 2, TxKind::Call(writer()), 0, slot(number, number)),
        // Every third block clears what an earlier one wrote.
        sign(number + 3, TxKind::Call(writer()), 0, slot(number / 3, number % 3)),
    ];
    if number == 2 {
        all.push(sign(1, TxKind::Create, 0, INIT_CODE));
    }
    if withdraws(number) {
        let (value, input) = withdrawal(number);
        all.push(sign(withdrawer(number), TxKind::Call(L2_TO_L1_MESSAGE_PASSER), value, input));
    }
    all
}

/// Whether block `number` has a withdrawal.
pub(crate) fn withdraws(number: u64) -> bool {
    number % 2 == 1
}

fn withdrawer(number: u64) -> u64 {
    (number + 4) % CALLERS
}

fn withdrawal(number: u64) -> (u64, Bytes) {
    let call = L2ToL1MessagePasser::initiateWithdrawalCall {
        target: Address::repeat_byte(0x99),
        gasLimit: U256::from(100_000),
        data: Bytes::copy_from_slice(&number.to_be_bytes()),
    };
    (number, call.abi_encode().into())
}

/// Slot of the message passer that says that block `number`'s withdrawal was sent. Withdrawals count
/// from 0, one in every odd block.
pub(crate) fn withdrawal_slot(number: u64) -> U256 {
    let nonce = (U256::from(1) << 240) | U256::from(number / 2);
    let (value, _) = withdrawal(number);
    let message = (
        nonce,
        caller(withdrawer(number)),
        Address::repeat_byte(0x99),
        U256::from(value),
        U256::from(100_000),
        Bytes::copy_from_slice(&number.to_be_bytes()),
    );
    let hash = keccak256(message.abi_encode_params());
    U256::from_be_bytes(keccak256([hash.0, [0; 32]].concat()).0)
}
