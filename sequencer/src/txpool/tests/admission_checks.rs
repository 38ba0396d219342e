//! The checks that need neither state nor pool, and the recovery of senders.

use super::*;
use executor::transaction::SignedTransaction;

fn admission() -> Admission {
    Admission::new(&ChainRules::Rollup(RollupRules::default()))
}

fn check(unsigned: TxEip1559) -> Result<(), AddError> {
    admission().check(&signed(sender(1), unsigned))
}

fn text(result: Result<(), AddError>) -> String {
    result.unwrap_err().to_string()
}

#[test]
fn a_plain_transfer_passes() {
    assert_eq!(check(template(0, GWEI)), Ok(()));
}

#[test]
fn chain_id_must_be_present_and_ours() {
    let foreign = check(TxEip1559 { chain_id: 1, ..template(0, GWEI) });
    assert_eq!(text(foreign), "invalid chain id for signer: have 1 want 420420");
    let legacy = TxLegacy { gas_limit: 21_000, gas_price: GWEI, ..Default::default() };
    let unprotected = admission().check(&signed(sender(1), legacy));
    let words = "only replay-protected (EIP-155) transactions allowed over RPC";
    assert_eq!(text(unprotected), words);
}

#[test]
fn blobs_are_refused_before_decoding() {
    let error = admission().decode(Bytes::from_static(&[3, 0xc0])).unwrap_err();
    let words = "transaction type not supported: blob transactions are not accepted on L2";
    assert_eq!(error.to_string(), words);
}

#[test]
fn garbage_and_deposits_are_refused() {
    let admission = admission();
    let error = admission.decode(Bytes::from_static(&[2, 1])).unwrap_err();
    assert_eq!(error, executor::TransactionError::Undecodable.into());
    let error = admission.decode(Bytes::from_static(&[0x7e, 1])).unwrap_err();
    assert_eq!(error, executor::TransactionError::DepositNotAllowed.into());
    let error = admission.decode(vec![2; 200_000].into()).unwrap_err();
    assert!(error.to_string().starts_with("oversized data"));
}

#[test]
fn fees_are_checked_against_the_minimum_and_each_other() {
    let low = text(check(template(0, 999_999)));
    assert!(low.starts_with("max fee per gas less than block base fee"), "{low}");
    let tip = TxEip1559 { max_priority_fee_per_gas: 2 * GWEI, ..template(0, GWEI) };
    let tip = text(check(tip));
    assert!(tip.starts_with("max priority fee per gas higher than max fee per gas"), "{tip}");
}

#[test]
fn gas_is_checked_at_both_ends() {
    let low = text(check(TxEip1559 { gas_limit: 20_999, ..template(0, GWEI) }));
    assert_eq!(low, "intrinsic gas too low: gas 20999, minimum needed 21000");
    let block = check(TxEip1559 { gas_limit: 2_200_000_001, ..template(0, GWEI) });
    assert_eq!(text(block), "exceeds block gas limit");
    let cap = text(check(TxEip1559 { gas_limit: (1 << 24) + 1, ..template(0, GWEI) }));
    assert!(cap.starts_with("transaction gas limit too high"), "{cap}");
}

#[test]
fn the_calldata_floor_counts() {
    // 1,000 non-zero bytes: 37,000 gas intrinsic, 61,000 by the floor of EIP-7623.
    let heavy = TxEip1559 { input: vec![1; 1_000].into(), ..template(0, GWEI) };
    let floor = text(check(TxEip1559 { gas_limit: 60_999, ..heavy.clone() }));
    assert_eq!(floor, "insufficient gas for floor data gas cost: gas 60999, minimum needed 61000");
    assert_eq!(check(TxEip1559 { gas_limit: 61_000, ..heavy }), Ok(()));
}

#[test]
fn access_lists_and_creations_cost_more() {
    let item = AccessListItem { address: Address::ZERO, storage_keys: vec![B256::ZERO; 2] };
    let listed = TxEip1559 { access_list: AccessList(vec![item]), ..template(0, GWEI) };
    let low = text(check(listed));
    assert_eq!(low, "intrinsic gas too low: gas 21000, minimum needed 27200");
    let create = TxEip1559 { to: TxKind::Create, ..template(0, GWEI) };
    assert_eq!(text(check(create)), "intrinsic gas too low: gas 21000, minimum needed 53000");
}

#[test]
fn long_init_code_is_refused() {
    let create = TxEip1559 {
        to: TxKind::Create,
        input: vec![0; 49_153].into(),
        gas_limit: 10_000_000,
        ..template(0, GWEI)
    };
    let words = "max initcode size exceeded: code size 49153, limit 49152";
    assert_eq!(text(check(create)), words);
}

#[test]
fn an_empty_authorization_list_and_the_last_nonce_are_refused() {
    let empty = TxEip7702 {
        chain_id: 420_420,
        gas_limit: 100_000,
        max_fee_per_gas: GWEI,
        ..Default::default()
    };
    let error = admission().check(&signed(sender(1), empty));
    assert_eq!(error, Err(AddError::EmptyAuthorizationList));
    assert_eq!(check(template(u64::MAX, GWEI)), Err(AddError::NonceMax));
}

#[test]
fn a_signature_is_not_looked_at_before_it_is_recovered() {
    let unsigned = template(0, GWEI);
    let high_s = Signature::new(U256::ONE, U256::MAX, false);
    let forged = SignedTransaction::from(unsigned.into_signed(high_s));
    let decoded = admission().decode(alloy::eips::Encodable2718::encoded_2718(&forged).into());
    let senders = executor::recover(&[decoded.unwrap()]);
    assert_eq!(senders, [Err(executor::TransactionError::InvalidSignature)]);
}

#[test]
fn many_are_recovered_as_each_alone() {
    let keys: Vec<_> = (1..=9_u8)
        .map(|n| alloy::signers::local::PrivateKeySigner::from_slice(&[n; 32]).unwrap())
        .collect();
    let decoded: Vec<_> = keys
        .iter()
        .map(|key| {
            let mut unsigned = template(3, GWEI);
            let signature =
                alloy::network::TxSignerSync::sign_transaction_sync(key, &mut unsigned).unwrap();
            let signed = SignedTransaction::from(unsigned.into_signed(signature));
            admission().decode(alloy::eips::Encodable2718::encoded_2718(&signed).into()).unwrap()
        })
        .collect();
    let senders: Vec<_> = executor::recover(&decoded).into_iter().map(Result::unwrap).collect();
    assert_eq!(senders, keys.iter().map(|key| key.address()).collect::<Vec<_>>());
    let raw = decoded[0].raw().clone();
    let alone = Transaction::decode_signed(raw.clone()).unwrap();
    let apart = decoded[0].clone().into_transaction(senders[0]);
    assert_eq!(alone, apart);
    assert_eq!(raw.as_ptr(), apart.raw().as_ptr(), "the bytes are shared, not copied");
}
