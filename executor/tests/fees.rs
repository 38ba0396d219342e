//! The fees beside gas: what is charged, to whom, what it takes to be included, and the model of the
//! size. That every mode charges the same is for `modes_agree`.

use crate::{
    modes,
    support::{Chain, deposit, ether, genesis, request, sign, signer, skip, transfer},
};
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEip2930, TxEip7702, TxLegacy},
    eips::{Encodable2718, eip2930::AccessList, eip7702::Authorization},
    primitives::{Address, B256, Bytes, Signature, TxKind, U256, bytes},
};
use executor::{
    ChainRules, ExecutedBlock, FeeRules, FeeSchedule, L1Attributes, RollupRules, SkipReason,
    StateView, Transaction,
    call::{self, CallRequest, CallStatus, Estimate},
    fees::{L1_FEE_VAULT, OPERATOR_FEE_VAULT, SizeModel},
    genesis::GenesisAccount,
    state::Overlay,
    transaction::SignedTransaction,
};
use proptest::prelude::*;

const RECIPIENT: Address = Address::repeat_byte(0xaa);
/// Reverts after spending some gas.
const REVERTER: Address = Address::repeat_byte(0xbb);

fn balance(chain: &Chain, address: Address) -> U256 {
    chain.state.account(address).unwrap().unwrap_or_default().balance_wei
}

fn fees_of(chain: &Chain, block: &ExecutedBlock) -> FeeSchedule {
    FeeSchedule::set_by(&chain.rules, &block.transactions[0]).unwrap()
}

/// Fees of the blocks that [`Chain::input`] makes.
fn usual_fees() -> FeeSchedule {
    FeeSchedule::new(&FeeRules::default(), 7, 1)
}

fn chain(signers: u64) -> Chain {
    let rich = |index| {
        let account = GenesisAccount { balance: ether(1_000), ..Default::default() };
        (signer(index).address(), account)
    };
    let code = bytes!("5f545f545f545f5ffd");
    let reverter = (REVERTER, GenesisAccount { nonce: 1, code, ..Default::default() });
    Chain::from_genesis(&genesis((0..signers).map(rich).chain([reverter])))
}

#[test]
fn the_sender_pays_all_fees_and_the_vaults_get_theirs() {
    let mut chain = chain(3);
    let call = |from: u64, nonce, to: TxKind, gas, input: Bytes| {
        sign(request(nonce, to, U256::ZERO, gas, input), &signer(from))
    };
    let transactions = [
        transfer(0, 0, RECIPIENT, ether(1)),
        // Uses less than its limit, and fails.
        call(1, 0, REVERTER.into(), 300_000, vec![3; 70].into()),
        // Runs out of gas.
        call(2, 0, TxKind::Create, 90_000, bytes!("5b5f56")),
        // The floor of EIP-7623 decides what it uses.
        call(2, 1, RECIPIENT.into(), 200_000, vec![1; 1_000].into()),
    ];
    let before: Vec<_> = (0..3).map(|it| balance(&chain, signer(it).address())).collect();
    let input = chain
        .input(vec![deposit(RECIPIENT, RECIPIENT.into(), 5, U256::ZERO, 50_000)], &transactions);
    let block = modes::execute(&chain.state, &input);
    chain.state.apply_block(&block).unwrap();
    assert!(block.skipped.is_empty());
    let fees = fees_of(&chain, &block);
    let (mut l1, mut operator) = (U256::ZERO, U256::ZERO);
    let mut paid = [U256::ZERO; 3];
    for index in 2..block.transactions.len() {
        let transaction = &block.transactions[index];
        let used = block.receipts[index].cumulative_gas_used
            - block.receipts[index - 1].cumulative_gas_used;
        let price = transaction.effective_gas_price_wei(block.header.base_fee_per_gas.unwrap());
        let (l1_wei, operator_wei) =
            (fees.l1_fee_wei(transaction.raw()), fees.operator_fee_wei(used));
        assert!(l1_wei > U256::ZERO && operator_wei > U256::ZERO);
        let from = (0..3).position(|it| signer(it).address() == transaction.sender()).unwrap();
        paid[from] += U256::from(used) * U256::from(price) + l1_wei + operator_wei;
        (l1, operator) = (l1 + l1_wei, operator + operator_wei);
    }
    paid[0] += ether(1);
    for (from, before) in before.into_iter().enumerate() {
        assert_eq!(balance(&chain, signer(from as u64).address()), before - paid[from], "{from}");
    }
    assert_eq!(balance(&chain, L1_FEE_VAULT), l1);
    assert_eq!(balance(&chain, OPERATOR_FEE_VAULT), operator);
}

#[test]
fn a_balance_is_enough_to_the_wei_or_the_transaction_is_skipped() {
    let (poor, to) = (signer(50), RECIPIENT);
    let mut cover = request(0, to.into(), U256::from(5), 21_000, Bytes::new());
    cover.gas_limit = 30_000;
    let transaction = sign(cover, &poor);
    let extra = usual_fees().extra_fee_wei(transaction.raw(), 30_000);
    let needed = transaction.max_cost_wei() + extra;
    for (short, included) in [(0, true), (1, false)] {
        let wei = needed - U256::from(short);
        let account = GenesisAccount { balance: wei, ..Default::default() };
        let chain = Chain::from_genesis(&genesis([(poor.address(), account)]));
        let input = chain.input(vec![], std::slice::from_ref(&transaction));
        let block = modes::execute(&chain.state, &input);
        assert_eq!(block.transactions.len() == 2, included);
        if let Some(skipped) = block.skipped.first() {
            let reason = SkipReason::InsufficientFunds { balance_wei: wei, cost_wei: needed };
            assert_eq!(skipped.reason, reason);
            let words = skipped.reason.to_string();
            assert!(words.starts_with("insufficient funds for gas * price + value: "), "{words}");
        }
    }
}

#[test]
fn without_attributes_nothing_but_gas_is_charged() {
    let chain = chain(1);
    let mut input = chain.input(vec![], &[transfer(0, 0, RECIPIENT, ether(1))]);
    input.transactions.remove(0);
    let block = modes::execute(&chain.state, &input);
    assert!(block.skipped.is_empty());
    assert!(!block.diff.accounts.contains_key(&L1_FEE_VAULT));
    assert!(!block.diff.accounts.contains_key(&OPERATOR_FEE_VAULT));
}

#[test]
fn what_looks_like_attributes_and_is_none_puts_nothing_in_force() {
    let attributes = L1Attributes {
        number: 1,
        timestamp: 2,
        base_fee_wei: 1_000_000_000,
        hash: B256::repeat_byte(3),
        sequence_number: 4,
        blob_base_fee_wei: 5,
    };
    let rollup = ChainRules::Rollup(RollupRules::default());
    let set_by = |deposit| FeeSchedule::set_by(&rollup, &Transaction::from_deposit(deposit));
    let expected = FeeSchedule::new(&FeeRules::default(), 1_000_000_000, 5);
    assert_eq!(set_by(attributes.to_deposit()), Some(expected));
    let mut other = attributes.to_deposit();
    other.from = signer(1).address();
    assert_eq!(set_by(other), None);
    let mut other = attributes.to_deposit();
    other.to = RECIPIENT.into();
    assert_eq!(set_by(other), None);
    let mut other = attributes.to_deposit();
    other.input = other.input.slice(..195);
    assert_eq!(set_by(other), None);
    assert_eq!(FeeSchedule::set_by(&rollup, &transfer(0, 0, RECIPIENT, U256::ONE)), None);
}

/// The numbers of the documentation, computed by hand.
#[test]
fn the_figures_are_those_of_the_formulas() {
    let fees = FeeSchedule::new(&FeeRules::default(), 1_000_000_000, 3);
    // 150 bytes that are not zero: 0.86 x 150 - 35 = 94 bytes. Zeros add nothing.
    let raw = [vec![1; 150], vec![0; 999]].concat();
    assert_eq!(fees.rules().size.signed_millionths(&raw), 94_000_000);
    assert_eq!(fees.l1_gas_used(&raw), 94 * 16);
    // 94 x (16 x 0.04 x 10^9 + 1.1 x 3) wei.
    assert_eq!(fees.l1_fee_wei(&raw), U256::from(94 * 640_000_003u64 + 94 * 3 / 10));
    assert_eq!(fees.rules().size.signed_millionths(&[]), 80_000_000);
    assert_eq!(fees.operator_fee_wei(21_000), U256::from(21_000 * 1_000 + 10_000_000));
    let extra = fees.l1_fee_wei(&raw) + fees.operator_fee_wei(30_000);
    assert_eq!(fees.extra_fee_wei(&raw, 30_000), extra);
}

#[test]
fn the_largest_parameters_overflow_nothing() {
    let size = SizeModel {
        zero_byte_millionths: u32::MAX,
        other_byte_millionths: u32::MAX,
        discount_millionths: 0,
        size_min_millionths: u32::MAX,
    };
    let rules = FeeRules {
        l1_base_fee_scalar: u32::MAX,
        l1_blob_base_fee_scalar: u32::MAX,
        operator_fee_scalar: u32::MAX,
        operator_fee_constant_wei: u64::MAX,
        size,
    };
    let fees = FeeSchedule::new(&rules, u64::MAX, u128::MAX);
    let raw = vec![1; executor::transaction::TRANSACTION_BYTES_MAX];
    assert!(fees.l1_fee_wei(&raw) > U256::from(u128::MAX));
    assert!(fees.extra_fee_wei(&raw, u64::MAX) > fees.l1_fee_wei(&raw));
    assert!(fees.operator_fee_wei(u64::MAX) > U256::from(u64::MAX));
}

/// An estimate covers what is charged for the transaction that is made of it, and a sender who holds
/// just that is let in; with less the answer is geth's.
#[test]
fn an_estimate_agrees_with_what_is_charged() {
    let mut chain = chain(1);
    // The state says what the next block charges: the attributes are in it.
    let input = chain.input(vec![], &[]);
    let from = signer(0);
    let env = input.env;
    let price_wei = u128::from(env.base_fee_wei.unwrap()) * 2;
    let plain = CallRequest {
        from: from.address(),
        to: RECIPIENT.into(),
        gas_price_wei: price_wei,
        value: U256::from(12_345),
        input: Bytes::new(),
        ..Default::default()
    };
    let fees = usual_fees();
    let mut overlay = overlay(&chain, &fees);
    let extra = call::extra_fees(&mut overlay, &chain.rules, &plain, 21_000).unwrap();
    let mut cover = request(0, RECIPIENT.into(), plain.value, 21_000, Bytes::new());
    (cover.max_fee_per_gas, cover.max_priority_fee_per_gas) = (price_wei, 0);
    let signed = sign(cover, &from);
    let (l1, operator) = (fees.l1_fee_wei(signed.raw()), fees.operator_fee_wei(21_000));
    assert_eq!(extra.operator_fee_wei, operator);
    assert!(extra.l1_fee_wei >= l1, "{} {l1}", extra.l1_fee_wei);
    assert!(extra.l1_fee_wei <= l1 + l1 / U256::from(4), "{} {l1}", extra.l1_fee_wei);

    let needed = plain.value
        + U256::from(price_wei) * U256::from(21_000)
        + extra.l1_fee_wei
        + extra.operator_fee_wei;
    for (short, enough) in [(0, true), (1, false)] {
        let mut overlay = self::overlay(&chain, &fees);
        let balance_wei = needed - U256::from(short);
        let account = executor::Account { balance_wei, ..Default::default() };
        overlay.set_account(from.address(), account).unwrap();
        let estimate = call::estimate_gas(overlay, &chain.rules, &env, &plain).unwrap();
        assert_eq!(estimate == Ok(Estimate::GasLimit(21_000)), enough, "{estimate:?}");
        if !enough {
            assert!(matches!(estimate, Err(SkipReason::InsufficientFunds { .. })), "{estimate:?}");
        }
        let mut overlay = self::overlay(&chain, &fees);
        overlay.set_account(from.address(), account).unwrap();
        let request = CallRequest { gas_limit: Some(21_000), ..plain.clone() };
        let outcome = call::call(overlay, &chain.rules, &env, &request).unwrap();
        assert_eq!(outcome.is_ok_and(|it| it.status == CallStatus::Success), enough);
    }
    // Without a price nothing is charged and nothing needed.
    let mut overlay = self::overlay(&chain, &fees);
    overlay.set_account(from.address(), Default::default()).unwrap();
    let free = CallRequest { gas_price_wei: 0, value: U256::ZERO, ..plain };
    let outcome = call::call(overlay, &chain.rules, &env, &free).unwrap().unwrap();
    assert_eq!(outcome.status, CallStatus::Success);
    chain.advance(vec![], &[signed]);
}

/// The state with what the L1Block predeploy would know.
fn overlay<'c>(chain: &'c Chain, fees: &FeeSchedule) -> Overlay<'c, executor::MemoryState> {
    let mut overlay = Overlay::new(&chain.state);
    let l1_block = executor::deposit::L1_BLOCK_ADDRESS;
    let words =
        [(1, U256::from(fees.l1_base_fee_wei())), (7, U256::from(fees.l1_blob_base_fee_wei()))];
    for (slot, value) in words {
        overlay.set_slot(l1_block, U256::from(slot), value).unwrap();
    }
    let read = FeeSchedule::of_overlay(&chain.rules, &mut overlay).unwrap();
    assert_eq!(read.as_ref(), Some(fees));
    overlay
}

/// Every transaction of the type, before and after it is signed.
fn both(ty: u8, fields: &Fields, signature: Signature) -> (Vec<u8>, Vec<u8>) {
    fn encode<T: SignableTransaction<Signature>>(it: T, signature: Signature) -> (Vec<u8>, Vec<u8>)
    where
        SignedTransaction: From<alloy::consensus::Signed<T>>,
    {
        let mut unsigned = Vec::new();
        it.encode_for_signing(&mut unsigned);
        let signed = SignedTransaction::from(it.into_signed(signature));
        (unsigned, signed.encoded_2718())
    }
    let Fields { chain_id, nonce, gas_limit, price, tip, to, value, input } = fields.clone();
    let authorization = Authorization { chain_id: U256::from(chain_id), address: RECIPIENT, nonce };
    match ty {
        0 => encode(
            TxLegacy {
                chain_id: Some(chain_id),
                nonce,
                gas_price: price,
                gas_limit,
                to,
                value,
                input,
            },
            signature,
        ),
        1 => encode(
            TxEip2930 {
                chain_id,
                nonce,
                gas_price: price,
                gas_limit,
                to,
                value,
                input,
                access_list: AccessList::default(),
            },
            signature,
        ),
        2 => encode(
            TxEip1559 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: price,
                max_priority_fee_per_gas: tip,
                to,
                value,
                access_list: AccessList::default(),
                input,
            },
            signature,
        ),
        _ => encode(
            TxEip7702 {
                chain_id,
                nonce,
                gas_limit,
                max_fee_per_gas: price,
                max_priority_fee_per_gas: tip,
                to: RECIPIENT,
                value,
                access_list: AccessList::default(),
                authorization_list: vec![authorization.into_signed(signature)],
                input,
            },
            signature,
        ),
    }
}

#[derive(Clone, Debug)]
struct Fields {
    chain_id: u64,
    nonce: u64,
    gas_limit: u64,
    price: u128,
    tip: u128,
    to: TxKind,
    value: U256,
    input: Bytes,
}

fn fields() -> impl Strategy<Value = Fields> {
    // Lengths about the places where the length of a list takes another byte, or has zeros.
    let length = prop_oneof![0usize..400, 0xff00usize - 300..0x1_0100, Just(0usize)];
    let input = (length, any::<u8>(), any::<bool>()).prop_map(|(length, byte, zeros)| {
        let byte_at = |at: usize| if zeros && at.is_multiple_of(3) { 0 } else { byte };
        Bytes::from((0..length).map(byte_at).collect::<Vec<_>>())
    });
    let chain_id = prop_oneof![
        Just(420_420u64),
        Just(1),
        Just(127),
        Just(128),
        Just(256),
        Just(0x0100_0000),
        any::<u32>().prop_map(u64::from)
    ];
    let numbers = (chain_id, any::<u64>(), 0u64..1 << 25, any::<u64>(), any::<u64>());
    let bits = prop_oneof![Just(0usize), 1usize..128];
    (numbers, any::<bool>(), any::<[u8; 20]>(), bits, input).prop_map(
        |((chain_id, nonce, gas_limit, price, tip), creates, to, bits, input)| Fields {
            chain_id,
            nonce: nonce >> (bits % 60),
            gas_limit,
            price: price.into(),
            tip: u128::from(tip.min(price)),
            to: if creates { TxKind::Create } else { Address::from(to).into() },
            value: U256::from(1u8) << bits,
            input,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    /// What is said before the signature is known is never below what is charged, and near it.
    #[test]
    fn the_estimate_without_signature_is_never_below_the_charge(
        ty in prop::sample::select(vec![0u8, 1, 2, 4]),
        fields in fields(),
        r in any::<[u8; 32]>(),
        s in any::<[u8; 32]>(),
        parity in any::<bool>(),
        zero_byte_millionths in prop::sample::select(vec![0u32, 400_000, 950_000]),
    ) {
        let signature = Signature::new(U256::from_be_bytes(r), U256::from_be_bytes(s), parity);
        let (unsigned, signed) = both(ty, &fields, signature);
        let model = SizeModel { zero_byte_millionths, ..SizeModel::default() };
        let (before, after) = (model.unsigned_millionths(&unsigned), model.signed_millionths(&signed));
        prop_assert!(before >= after, "type {ty}: {before} {after}");
        // A signature of 65 bytes without zeros at worst is 68; zeros in it make the difference.
        prop_assert!(before <= after + 14_000_000, "type {ty}: {before} {after}");
    }

    /// More bytes never cost less, and neither does a higher price.
    #[test]
    fn fees_are_monotonic(raw in prop::collection::vec(any::<u8>(), 0..300), byte: u8, base: u64, blob: u128) {
        let rules = FeeRules::default();
        let fees = FeeSchedule::new(&rules, base, blob);
        let longer = [&raw[..], &[byte]].concat();
        prop_assert!(fees.l1_fee_wei(&longer) >= fees.l1_fee_wei(&raw));
        let dearer = FeeSchedule::new(&rules, base.saturating_add(1), blob.saturating_add(1));
        prop_assert!(dearer.l1_fee_wei(&raw) >= fees.l1_fee_wei(&raw));
        prop_assert_eq!(fees.l1_gas_used(&raw), rules.size.signed_millionths(&raw) * 16 / 1_000_000);
    }
}

/// Over real transactions the model stays near what it was fitted to: as a channel they take 358 bytes
/// each (`make bench-batch`).
#[test]
fn the_model_is_of_the_size_of_real_transactions() {
    let name = "transactions/op-mainnet-channel-a.jsonl.xz";
    let Some(data) = crate::support::data(name) else { return skip("no transactions") };
    let text = String::from_utf8(data).unwrap();
    let (mut raw_bytes, mut estimate, mut count) = (0u64, 0u64, 0u64);
    for line in text.lines() {
        let block: serde_json::Value = serde_json::from_str(line).unwrap();
        for raw in block["txs"].as_array().unwrap() {
            let raw: Bytes = raw.as_str().unwrap().parse().unwrap();
            raw_bytes += raw.len() as u64;
            estimate += SizeModel::default().signed_millionths(&raw);
            count += 1;
        }
    }
    let mean = estimate / count / 1_000_000;
    println!("{count} transactions, {raw_bytes} bytes raw, estimated {mean} each");
    assert!((340..376).contains(&mean), "{mean}");
}
