//! Block execution: what is in a block, what is skipped and why, and that the pieces in which a
//! block is built do not matter.

use crate::{
    modes,
    support::{Chain, deposit, ether, genesis, request, sign, signer, transfer},
};
use alloy::{
    consensus::{SignableTransaction, TxEip7702, TxEnvelope, constants::EMPTY_WITHDRAWALS},
    eips::{Encodable2718, eip7702::Authorization},
    network::TxSignerSync,
    primitives::{Address, B256, Bytes, TxKind, U256, address, bytes},
    signers::SignerSync,
};
use executor::{
    Deposit, ExecutedBlock, Execution, L1Attributes, MemoryState, Mode, Receipt, SkipReason,
    StateView, Transaction, TransactionError, block, genesis::GenesisAccount,
};
use proptest::prelude::*;

const RECIPIENT: Address = address!("0x00000000000000000000000000000000000000aa");
/// Init code of a contract that stores its call value at slot 0 and logs it.
const STORE_INIT: Bytes = bytes!("600d600c600039600d6000f3346000553460005260206000a0");

fn balance(state: &MemoryState, address: Address) -> U256 {
    state.account(address).unwrap().unwrap_or_default().balance_wei
}

#[test]
fn a_transfer_moves_value_and_burns_the_base_fee() {
    let mut chain = Chain::new(1);
    let block = chain.advance(vec![], &[transfer(0, 0, RECIPIENT, ether(1))]);
    assert!(block.skipped.is_empty());
    assert_eq!(block.receipts.len(), 2, "L1 attributes and the transfer");
    assert_eq!(balance(&chain.state, RECIPIENT), ether(1));
    let price =
        block.transactions[1].effective_gas_price_wei(block.header.base_fee_per_gas.unwrap());
    let spent = U256::from(21_000) * U256::from(price);
    let fees = executor::FeeSchedule::set_by(&chain.rules, &block.transactions[0]).unwrap();
    let beside = fees.l1_fee_wei(block.transactions[1].raw()) + fees.operator_fee_wei(21_000);
    assert_eq!(balance(&chain.state, signer(0).address()), ether(999) - spent - beside);
    let tip = U256::from(21_000);
    assert_eq!(balance(&chain.state, block.header.beneficiary), tip, "tip of 1 wei per gas");
}

#[test]
fn the_header_commits_to_what_was_executed() {
    let mut chain = Chain::new(1);
    let parent = chain.hash;
    let block = chain.advance(vec![], &[transfer(0, 0, RECIPIENT, ether(1))]);
    let header = &block.header;
    assert_eq!(header.parent_hash, parent);
    assert_eq!(block.hash, header.hash_slow());
    assert_eq!(header.state_root, chain.state.root());
    assert_eq!(header.transactions_root, block::transactions_root(&block.transactions));
    assert_eq!(header.receipts_root, block::receipts_root(&block.receipts).0);
    assert_eq!(header.withdrawals_root, Some(EMPTY_WITHDRAWALS));
    assert_eq!(header.blob_gas_used, Some(0));
    assert_eq!(header.parent_beacon_block_root, Some(B256::ZERO));
    let attributes = block.transactions[0].as_deposit().and_then(L1Attributes::from_deposit);
    assert_eq!(attributes.unwrap().number, 1);
}

#[test]
fn a_deposit_mints_and_pays_no_fee() {
    let mut chain = Chain::new(0);
    let from = signer(7).address();
    let minted = ether(5).to::<u128>();
    let block =
        chain.advance(vec![deposit(from, RECIPIENT.into(), minted, ether(2), 100_000)], &[]);
    assert!(block.receipts[1].success);
    assert_eq!(block.receipts[1].deposit_nonce, Some(0));
    assert_eq!(balance(&chain.state, from), ether(3));
    assert_eq!(balance(&chain.state, RECIPIENT), ether(2));
    assert_eq!(chain.state.account(from).unwrap().unwrap().nonce, 1);
}

#[test]
fn a_failing_deposit_still_lands_and_still_mints() {
    let mut chain = Chain::new(0);
    let minted = ether(1).to::<u128>();
    let poor = signer(8).address();
    let starved = signer(9).address();
    let deposits = vec![
        // Sends more than it has.
        deposit(poor, RECIPIENT.into(), minted, ether(3), 100_000),
        // Its gas does not cover even the intrinsic cost.
        deposit(starved, RECIPIENT.into(), minted, U256::ZERO, 1_000),
    ];
    let block = chain.advance(deposits, &[]);
    assert_eq!(block.transactions.len(), 3);
    assert!(!block.receipts[1].success && !block.receipts[2].success);
    for from in [poor, starved] {
        assert_eq!(balance(&chain.state, from), ether(1));
        assert_eq!(chain.state.account(from).unwrap().unwrap().nonce, 1);
    }
    let gas_of = |i: usize| {
        block.receipts[i].cumulative_gas_used - block.receipts[i - 1].cumulative_gas_used
    };
    assert_eq!(gas_of(2), 1_000, "one that cannot start uses all of its gas");
}

#[test]
fn a_deposit_may_use_more_gas_than_the_transaction_cap() {
    let mut chain = Chain::new(0);
    // JUMPDEST PUSH0 JUMP: runs until its gas ends.
    let mut looping = deposit(signer(1).address(), TxKind::Create, 0, U256::ZERO, 20_000_000);
    looping.input = bytes!("5b5f56");
    let block = chain.advance(vec![looping], &[]);
    let gas = block.header.gas_used - block.receipts[0].cumulative_gas_used;
    assert_eq!(gas, 20_000_000);
}

#[test]
fn invalid_transactions_are_skipped_with_a_reason_and_cost_nothing() {
    let mut chain = Chain::new(2);
    let poor = signer(99);
    let rich = signer(0);
    let huge = request(0, RECIPIENT.into(), U256::ZERO, 1 << 25, Bytes::new());
    let mut cheap = request(0, RECIPIENT.into(), U256::ZERO, 21_000, Bytes::new());
    cheap.max_fee_per_gas = 1;
    let offered = [
        sign(request(5, RECIPIENT.into(), ether(1), 21_000, Bytes::new()), &rich),
        sign(request(0, RECIPIENT.into(), ether(1), 21_000, Bytes::new()), &poor),
        sign(request(0, RECIPIENT.into(), ether(1), 20_999, Bytes::new()), &rich),
        sign(request(0, RECIPIENT.into(), U256::ZERO, 22_000, vec![1; 100].into()), &rich),
        sign(huge, &rich),
        sign(cheap, &rich),
        transfer(1, 0, RECIPIENT, ether(1)),
    ];
    let block = chain.advance(vec![], &offered);
    let reasons: Vec<_> = block.skipped.iter().map(|skipped| skipped.reason.clone()).collect();
    assert!(matches!(reasons[0], SkipReason::NonceTooHigh { transaction: 5, state: 0 }));
    assert!(matches!(reasons[1], SkipReason::InsufficientFunds { .. }));
    assert!(matches!(reasons[2], SkipReason::IntrinsicGas { needed: 21_000, gas_limit: 20_999 }));
    assert!(matches!(reasons[3], SkipReason::IntrinsicGas { .. } | SkipReason::FloorGas { .. }));
    assert!(matches!(reasons[4], SkipReason::GasLimitAboveCap { .. }));
    assert!(matches!(reasons[5], SkipReason::FeeBelowBaseFee));
    assert_eq!(reasons.len(), 6);
    assert_eq!(block.transactions.len(), 2, "the valid one is in");
    assert_eq!(balance(&chain.state, rich.address()), ether(1_000), "skipping charged nothing");
}

#[test]
fn a_transaction_that_does_not_fit_into_the_block_is_skipped() {
    let mut genesis = genesis([(
        signer(0).address(),
        GenesisAccount { balance: ether(1), ..GenesisAccount::default() },
    )]);
    genesis.rules.gas_limit = 150_000;
    let mut chain = Chain::from_genesis(&genesis);
    let wants_all =
        sign(request(0, RECIPIENT.into(), U256::ZERO, 150_000, Bytes::new()), &signer(0));
    let block = chain.advance(vec![], &[wants_all, transfer(0, 0, RECIPIENT, U256::ONE)]);
    assert!(matches!(block.skipped[0].reason, SkipReason::BlockGas { gas_limit: 150_000, .. }));
    assert_eq!(block.transactions.len(), 2);
}

#[test]
fn creation_stores_code_storage_and_logs() {
    let mut chain = Chain::new(1);
    let create = sign(request(0, TxKind::Create, U256::ZERO, 200_000, STORE_INIT), &signer(0));
    let block = chain.advance(vec![], std::slice::from_ref(&create));
    let contract = block.receipts[1].contract_address(&create).unwrap();
    assert_eq!(contract, signer(0).address().create(0));
    let call = sign(request(1, contract.into(), U256::from(7), 100_000, Bytes::new()), &signer(0));
    let block = chain.advance(vec![], &[call]);
    assert!(block.receipts[1].success);
    assert_eq!(block.receipts[1].logs.len(), 1);
    assert_eq!(chain.state.slot(contract, U256::ZERO).unwrap(), U256::from(7));
    assert!(!block.header.logs_bloom.is_zero());
}

#[test]
fn an_eip7702_transaction_delegates_an_account() {
    let mut chain = Chain::new(2);
    let create = sign(request(0, TxKind::Create, U256::ZERO, 200_000, STORE_INIT), &signer(0));
    chain.advance(vec![], &[create]);
    let contract = signer(0).address().create(0);
    let block = chain.advance(vec![], &[delegation(&chain, 1, contract, 1)]);
    assert!(block.receipts[1].success);
    assert_eq!(chain.state.slot(signer(1).address(), U256::ZERO).unwrap(), U256::from(3));
}

/// The first signer pays 3 wei to one that delegates to a contract with it.
fn delegation(chain: &Chain, nonce: u64, contract: Address, authority: u64) -> Transaction {
    let chain_id = chain.rules.chain_id();
    let authorization =
        Authorization { chain_id: U256::from(chain_id), address: contract, nonce: 0 };
    let authority = signer(authority);
    let signature = authority.sign_hash_sync(&authorization.signature_hash()).unwrap();
    let mut tx = TxEip7702 {
        chain_id,
        nonce,
        gas_limit: 200_000,
        max_fee_per_gas: 1_000_000_000,
        max_priority_fee_per_gas: 0,
        to: authority.address(),
        value: U256::from(3),
        access_list: Default::default(),
        authorization_list: vec![authorization.into_signed(signature)],
        input: Bytes::new(),
    };
    let signature = signer(0).sign_transaction_sync(&mut tx).unwrap();
    let raw = TxEnvelope::from(tx.into_signed(signature)).encoded_2718();
    Transaction::decode_signed(raw.into()).unwrap()
}

/// Whether an account exists decides what its authorization refunds. An earlier transaction that
/// touched it and left it empty must not make it exist.
#[test]
fn an_account_that_was_touched_in_vain_does_not_exist_for_an_authorization() {
    let chain = Chain::new(1);
    let stranger = signer(7).address();
    let touch =
        sign(request(0, TxKind::Call(stranger), U256::ZERO, 60_000, bytes!("00")), &signer(0));
    let delegate = |nonce| delegation(&chain, nonce, RECIPIENT, 7);
    let alone = modes::execute(&chain.state, &chain.input(vec![], &[delegate(0)]));
    let after = modes::execute(&chain.state, &chain.input(vec![], &[touch, delegate(1)]));
    let gas = |block: &ExecutedBlock, index: usize| {
        block.receipts[index].cumulative_gas_used - block.receipts[index - 1].cumulative_gas_used
    };
    assert_eq!(gas(&alone, 1), gas(&after, 2));
}

#[test]
fn the_diff_undoes_itself() {
    let mut chain = Chain::new(2);
    let before = chain.state.clone();
    let create = sign(request(0, TxKind::Create, U256::ZERO, 200_000, STORE_INIT), &signer(0));
    let block = chain.advance(vec![], &[create, transfer(1, 0, RECIPIENT, ether(1))]);
    let mut undone = chain.state.clone();
    undone.apply(&block.diff.reversed()).unwrap();
    assert_eq!(undone.root(), before.root());
}

#[test]
fn receipts_and_deposits_survive_their_encoding() {
    let mut chain = Chain::new(1);
    let from = signer(3).address();
    let create = sign(request(0, TxKind::Create, U256::ZERO, 200_000, STORE_INIT), &signer(0));
    let block =
        chain.advance(vec![deposit(from, RECIPIENT.into(), 9, U256::ONE, 50_000)], &[create]);
    for (receipt, transaction) in block.receipts.iter().zip(&block.transactions) {
        assert_eq!(Receipt::decode_2718(&receipt.encoded_2718()).as_ref(), Some(receipt));
        let stored = Transaction::decode_stored(transaction.raw().clone(), transaction.sender());
        assert_eq!(stored.as_ref(), Ok(transaction));
        if let Some(deposit) = transaction.as_deposit() {
            assert_eq!(Deposit::decode_2718(&mut &transaction.raw()[..]).as_ref(), Some(deposit));
        }
    }
}

#[test]
fn a_high_s_signature_is_refused() {
    let transaction = transfer(0, 0, RECIPIENT, U256::ONE);
    let TxEnvelope::Eip1559(signed) = decode_envelope(transaction.raw()) else { panic!("type 2") };
    let (request, signature, _) = signed.into_parts();
    let order = U256::from_str_radix(
        "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141",
        16,
    )
    .unwrap();
    let flipped =
        alloy::primitives::Signature::new(signature.r(), order - signature.s(), !signature.v());
    let raw = TxEnvelope::from(request.into_signed(flipped)).encoded_2718();
    assert_eq!(Transaction::decode_signed(raw.into()), Err(TransactionError::InvalidSignature));
}

fn decode_envelope(raw: &[u8]) -> TxEnvelope {
    use alloy::eips::Decodable2718;
    TxEnvelope::decode_2718(&mut &raw[..]).unwrap()
}

#[test]
fn undecodable_bytes_are_refused() {
    let good = transfer(0, 0, RECIPIENT, U256::ONE).raw().to_vec();
    let mut longer = good.clone();
    longer.push(0);
    let cases = [vec![], vec![0x7e, 0xc0], vec![0x05], good[..good.len() - 1].to_vec(), longer];
    for raw in cases {
        assert!(Transaction::decode_signed(raw.into()).is_err());
    }
    let oversized = vec![2u8; executor::transaction::TRANSACTION_BYTES_MAX + 1];
    let error = Transaction::decode_signed(oversized.into()).unwrap_err();
    assert!(matches!(error, TransactionError::Oversized { .. }));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The same transactions extended in any number of pieces give the same block.
    #[test]
    fn pieces_do_not_matter(
        picks in prop::collection::vec((0u64..4, 0u64..6, 0u64..3), 1..24),
        cuts in prop::collection::vec(0usize..24, 0..6),
    ) {
        let chain = Chain::new(4);
        let offered: Vec<_> = picks
            .iter()
            .map(|&(from, nonce, to)| transfer(from, nonce, signer(to).address(), ether(1)))
            .collect();
        let input = chain.input(vec![], &offered);
        let whole = executor::execute(&chain.state, &input, Mode::Sequential).unwrap();
        let mut pieces =
            Execution::begin(&chain.state, input.rules.clone(), input.env.clone(), Mode::Sequential.into()).unwrap();
        let mut cuts: Vec<_> = cuts.into_iter().map(|cut| cut.min(input.transactions.len())).collect();
        cuts.push(input.transactions.len());
        cuts.sort_unstable();
        let mut start = 0;
        for cut in cuts {
            pieces.extend(&input.transactions[start..cut]).unwrap();
            start = cut;
        }
        let pieces = pieces.seal().unwrap();
        prop_assert_eq!(whole.hash, pieces.hash);
        prop_assert_eq!(whole.receipts, pieces.receipts);
        prop_assert_eq!(whole.skipped, pieces.skipped);
        prop_assert_eq!(whole.diff, pieces.diff);
    }
}
