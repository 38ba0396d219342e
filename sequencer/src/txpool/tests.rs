//! The pool by hand and under random operations. Transactions carry a made-up signature: the pool
//! never looks at it.

use super::*;
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEip7702, TxLegacy},
    eips::eip2930::{AccessList, AccessListItem},
    primitives::{Bytes, Signature, TxKind},
};
use executor::{ChainRules, RollupRules};
use proptest::prelude::*;

const BASE_FEE_WEI: u64 = 1_000_000;
const GWEI: u128 = 1_000_000_000;

fn sender(n: u8) -> Address {
    Address::repeat_byte(n)
}

fn template(nonce: u64, fee_wei: u128) -> TxEip1559 {
    TxEip1559 {
        chain_id: 420_420,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: fee_wei,
        max_priority_fee_per_gas: fee_wei,
        to: TxKind::Call(Address::ZERO),
        ..Default::default()
    }
}

fn signed<T: SignableTransaction<Signature>>(from: Address, unsigned: T) -> Transaction
where
    alloy::consensus::Signed<T>: Into<executor::transaction::SignedTransaction>,
{
    // Differs by sender, as real ones do: the hash is the identity.
    let signature = Signature::new(U256::from_be_slice(from.as_slice()), U256::ONE, false);
    Transaction::from_signed(unsigned.into_signed(signature).into(), from)
}

fn transfer(from: u8, nonce: u64, fee_wei: u128) -> Transaction {
    signed(sender(from), template(nonce, fee_wei))
}

fn rich(nonce: u64) -> AccountState {
    AccountState { nonce, balance_wei: U256::MAX, is_contract: false, fees: None }
}

fn pool(config: Config) -> Pool {
    Pool::new(config)
}

fn add(pool: &mut Pool, transaction: Transaction) -> Result<Added, AddError> {
    pool.add(transaction, rich(0), BASE_FEE_WEI, Instant::now())
}

fn offered(pool: &Pool) -> Vec<(Address, u64)> {
    pool.best(BASE_FEE_WEI, u64::MAX).map(|tx| (tx.sender(), tx.nonce())).collect()
}

mod admission_checks {
    use super::*;

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
        assert_eq!(
            floor,
            "insufficient gas for floor data gas cost: gas 60999, minimum needed 61000"
        );
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
}

#[test]
fn nonces_are_contiguous_from_the_account() {
    let mut pool = pool(Config::default());
    let add = |pool: &mut Pool, nonce| {
        pool.add(transfer(1, nonce, GWEI), rich(5), BASE_FEE_WEI, Instant::now())
    };
    assert_eq!(add(&mut pool, 4), Err(AddError::NonceTooLow { next: 5, nonce: 4 }));
    assert_eq!(add(&mut pool, 7).unwrap().status, Status::NonceGap { missing: 5 });
    assert_eq!(add(&mut pool, 5).unwrap().status, Status::Ready);
    assert_eq!(offered(&pool), [(sender(1), 5)]);
    assert_eq!(pool.counts(), Counts { ready: 1, parked: 1 });
    assert_eq!(add(&mut pool, 6).unwrap().status, Status::Ready);
    assert_eq!(offered(&pool), [(sender(1), 5), (sender(1), 6), (sender(1), 7)]);
    assert_eq!(pool.next_nonce(sender(1), 5), 8);
}

#[test]
fn the_same_transaction_is_already_known() {
    let mut pool = pool(Config::default());
    add(&mut pool, transfer(1, 0, GWEI)).unwrap();
    let error = add(&mut pool, transfer(1, 0, GWEI)).unwrap_err();
    assert_eq!(error.to_string(), "already known");
}

#[test]
fn a_replacement_pays_a_tenth_more_on_both_fees() {
    let mut pool = pool(Config::default());
    let old = add(&mut pool, transfer(1, 0, 1_000_000_001)).unwrap().hash;
    // 110 % is 1,100,000,001.1: the integer below it does not suffice.
    let short = add(&mut pool, transfer(1, 0, 1_100_000_001)).unwrap_err();
    assert_eq!(short.to_string(), "replacement transaction underpriced");
    let one_fee = TxEip1559 { max_priority_fee_per_gas: 1, ..template(0, 2 * GWEI) };
    let one_fee = add(&mut pool, signed(sender(1), one_fee)).unwrap_err();
    assert_eq!(one_fee, AddError::ReplacementUnderpriced);
    let new = add(&mut pool, transfer(1, 0, 1_100_000_002)).unwrap();
    assert_eq!(new.replaced, Some(old));
    assert!(pool.get(&old).is_none());
    assert_eq!(pool.dropped(&old).unwrap().reason, DropReason::Replaced { by: new.hash });
}

#[test]
fn a_fee_of_zero_is_replaced_by_any_higher_one_only() {
    let mut pool = pool(Config::default());
    add(&mut pool, transfer(1, 0, 0)).unwrap();
    let tip = TxEip1559 { value: U256::ONE, ..template(0, 0) };
    let same = add(&mut pool, signed(sender(1), tip)).unwrap_err();
    assert_eq!(same, AddError::ReplacementUnderpriced);
    add(&mut pool, transfer(1, 0, 1)).unwrap();
}

#[test]
fn the_balance_covers_everything_queued() {
    let mut pool = pool(Config::default());
    let cost = U256::from(21_000 * GWEI);
    let account = AccountState { balance_wei: cost * U256::from(2), ..rich(0) };
    let mut add =
        |nonce, fee| pool.add(transfer(1, nonce, fee), account, BASE_FEE_WEI, Instant::now());
    add(0, GWEI).unwrap();
    add(1, GWEI).unwrap();
    let error = add(2, GWEI).unwrap_err().to_string();
    assert!(error.starts_with("insufficient funds for gas * price + value"), "{error}");
    // A replacement counts instead of what it replaces.
    let error = add(1, GWEI * 12 / 10).unwrap_err();
    assert!(matches!(error, AddError::InsufficientFunds { queued_wei, .. } if queued_wei == cost));
}

#[test]
fn contracts_do_not_send() {
    let account = AccountState { is_contract: true, ..rich(0) };
    let mut pool = pool(Config::default());
    let error = pool.add(transfer(1, 0, GWEI), account, BASE_FEE_WEI, Instant::now());
    assert_eq!(error.unwrap_err().to_string(), "sender not an eoa");
}

#[test]
fn a_sender_has_bounded_slots_and_may_still_replace() {
    let mut pool = pool(Config { sender_slots_max: 2, ..Config::default() });
    add(&mut pool, transfer(1, 0, GWEI)).unwrap();
    add(&mut pool, transfer(1, 1, GWEI)).unwrap();
    let error = add(&mut pool, transfer(1, 2, GWEI)).unwrap_err();
    assert_eq!(error, AddError::SenderFull { slots: 2 });
    add(&mut pool, transfer(1, 1, 2 * GWEI)).unwrap();
    add(&mut pool, transfer(2, 0, GWEI)).unwrap();
}

#[test]
fn a_full_pool_evicts_the_cheapest_for_who_pays_more() {
    let mut pool = pool(Config { transactions_max: 2, ..Config::default() });
    let cheap = add(&mut pool, transfer(1, 0, GWEI)).unwrap().hash;
    add(&mut pool, transfer(2, 0, 3 * GWEI)).unwrap();
    let error = add(&mut pool, transfer(3, 0, GWEI)).unwrap_err();
    assert_eq!(error.to_string(), "txpool is full");
    let added = add(&mut pool, transfer(3, 0, 2 * GWEI)).unwrap();
    assert_eq!(added.evicted, [cheap]);
    assert_eq!(pool.dropped(&cheap).unwrap().reason, DropReason::Evicted);
}

#[test]
fn a_sender_does_not_evict_what_its_newcomer_needs() {
    let mut pool = pool(Config { transactions_max: 1, ..Config::default() });
    add(&mut pool, transfer(1, 0, GWEI)).unwrap();
    assert_eq!(add(&mut pool, transfer(1, 1, 9 * GWEI)), Err(AddError::PoolFull));
}

#[test]
fn bytes_are_bounded_too() {
    let size = transfer(1, 0, GWEI).raw().len();
    let mut pool = pool(Config { bytes_max: 2 * size, ..Config::default() });
    add(&mut pool, transfer(1, 0, GWEI)).unwrap();
    add(&mut pool, transfer(2, 0, GWEI)).unwrap();
    assert_eq!(add(&mut pool, transfer(3, 0, GWEI)), Err(AddError::PoolFull));
    let added = add(&mut pool, transfer(3, 0, 2 * GWEI)).unwrap();
    assert_eq!(added.evicted.len(), 1);
}

#[test]
fn what_waits_too_long_expires() {
    let mut pool = pool(Config { ttl: Duration::from_secs(10), ..Config::default() });
    let start = Instant::now();
    let add = |pool: &mut Pool, nonce, at| {
        pool.add(transfer(1, nonce, GWEI), rich(0), BASE_FEE_WEI, at).unwrap().hash
    };
    let old = add(&mut pool, 0, start);
    add(&mut pool, 1, start + Duration::from_secs(8));
    assert_eq!(pool.expire(start + Duration::from_secs(11)), 1);
    assert_eq!(pool.dropped(&old).unwrap().reason, DropReason::Expired);
    assert_eq!(pool.counts(), Counts { ready: 0, parked: 1 });
}

#[test]
fn arrival_decides_across_senders() {
    let mut pool = pool(Config::default());
    for (from, nonce) in [(1, 1), (2, 0), (3, 0), (1, 0), (2, 1)] {
        add(&mut pool, transfer(from, nonce, GWEI)).unwrap();
    }
    // (1, 1) arrived first, yet waits for (1, 0).
    let order = [(2, 0), (3, 0), (1, 0), (1, 1), (2, 1)];
    assert_eq!(offered(&pool), order.map(|(from, nonce)| (sender(from), nonce)));
}

#[test]
fn the_tip_decides_under_the_other_policy() {
    let config = Config { ordering: Ordering::PriorityFee, ..Config::default() };
    let mut pool = pool(config);
    let tip = |nonce, tip_wei| TxEip1559 {
        max_priority_fee_per_gas: tip_wei,
        ..template(nonce, 9 * GWEI)
    };
    for (from, nonce, tip_wei) in [(1, 0, 1), (2, 0, 5), (1, 1, 9), (3, 0, 5)] {
        add(&mut pool, signed(sender(from), tip(nonce, tip_wei))).unwrap();
    }
    let order = [(2, 0), (3, 0), (1, 0), (1, 1)];
    assert_eq!(offered(&pool), order.map(|(from, nonce)| (sender(from), nonce)));
}

#[test]
fn the_base_fee_and_the_gas_hold_back_whole_senders() {
    let mut pool = pool(Config::default());
    let cheap = add(&mut pool, transfer(1, 0, u128::from(BASE_FEE_WEI) - 1)).unwrap();
    assert_eq!(cheap.status, Status::FeeBelowBaseFee { base_fee_wei: BASE_FEE_WEI });
    add(&mut pool, transfer(1, 1, GWEI)).unwrap();
    let big = TxEip1559 { gas_limit: 100_000, ..template(0, GWEI) };
    add(&mut pool, signed(sender(2), big)).unwrap();
    add(&mut pool, transfer(2, 1, GWEI)).unwrap();
    add(&mut pool, transfer(3, 0, GWEI)).unwrap();
    let some: Vec<_> = pool.best(BASE_FEE_WEI, 50_000).map(Transaction::sender).collect();
    assert_eq!(some, [sender(3)]);
    assert_eq!(offered(&pool).len(), 3);
}

#[test]
fn mined_nonces_are_known_before_the_state_shows_them() {
    let mut pool = pool(Config::default());
    add(&mut pool, transfer(1, 0, GWEI)).unwrap();
    assert_eq!(pool.remove_mined(&[(sender(1), 1)]), 1);
    assert!(pool.is_empty());
    // The account read for this one is older than the block.
    assert_eq!(add(&mut pool, transfer(1, 1, GWEI)).unwrap().status, Status::Ready);
    let late = add(&mut pool, transfer(1, 0, GWEI));
    assert_eq!(late, Err(AddError::NonceTooLow { next: 1, nonce: 0 }));
}

#[test]
fn a_rollback_puts_transactions_back_in_front() {
    let mut pool = pool(Config::default());
    let lost: Vec<_> = [(1, 0), (2, 0), (1, 1)].map(|(f, n)| transfer(f, n, GWEI)).to_vec();
    pool.remove_mined(&[(sender(1), 2), (sender(2), 1)]);
    for (from, nonce) in [(3, 0), (1, 2)] {
        add(&mut pool, transfer(from, nonce, GWEI)).unwrap();
    }
    pool.reinsert(lost, Instant::now());
    let order = [(1, 0), (2, 0), (1, 1), (3, 0), (1, 2)];
    assert_eq!(offered(&pool), order.map(|(from, nonce)| (sender(from), nonce)));
}

#[test]
fn a_rollback_gives_back_the_nonces_of_authorities() {
    let key = alloy::signers::local::PrivateKeySigner::from_slice(&[7; 32]).unwrap();
    let authority = key.address();
    let authorization = alloy::eips::eip7702::Authorization {
        chain_id: U256::from(420_420),
        address: Address::ZERO,
        nonce: 0,
    };
    let signature =
        alloy::signers::SignerSync::sign_hash_sync(&key, &authorization.signature_hash()).unwrap();
    let delegating = TxEip7702 {
        authorization_list: vec![authorization.into_signed(signature)],
        ..Default::default()
    };
    let mut pool = pool(Config::default());
    pool.remove_mined(&[(sender(1), 1), (authority, 1)]);
    add(&mut pool, signed(authority, template(1, GWEI))).unwrap();
    assert_eq!(offered(&pool), [(authority, 1)]);
    pool.reinsert(vec![signed(sender(1), delegating)], Instant::now());
    let late = add(&mut pool, signed(authority, template(0, GWEI))).unwrap();
    assert_eq!(late.status, Status::Ready);
}

#[test]
fn skips_are_recorded_unless_they_pass() {
    let mut pool = pool(Config::default());
    let first = add(&mut pool, transfer(1, 0, GWEI)).unwrap().hash;
    add(&mut pool, transfer(1, 1, GWEI)).unwrap();
    assert!(!pool.skip(&first, SkipReason::FeeBelowBaseFee, Instant::now()));
    assert!(pool.skip(&first, SkipReason::SenderNotEoa, Instant::now()));
    let reason = DropReason::Skipped(SkipReason::SenderNotEoa);
    assert_eq!(pool.dropped(&first).unwrap().reason, reason);
    assert_eq!(pool.counts(), Counts { ready: 0, parked: 1 });
}

#[test]
fn the_drop_ring_is_bounded_and_forgets_the_oldest() {
    let mut drops = Drops::default();
    let dropped = |n: usize| Dropped {
        hash: B256::from(U256::from(n)),
        reason: DropReason::Evicted,
        at: Instant::now(),
    };
    (0..=DROPS_MAX).for_each(|n| drops.push(dropped(n)));
    assert_eq!(drops.len(), DROPS_MAX);
    assert!(drops.get(&dropped(0).hash).is_none());
    assert!(drops.get(&dropped(DROPS_MAX).hash).is_some());
}

/// What can happen to a pool.
#[derive(Clone, Debug)]
enum Step {
    Add { from: u8, nonce: u64, fee_wei: u128, account: u64 },
    Mined { from: u8, next: u64 },
    Skip { from: u8, nonce: u64 },
    Expire { secs: u64 },
    Reinsert { from: u8, nonce: u64, count: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let (from, nonce) = (1..5_u8, 0..12_u64);
    let fee = 1_000_000..1_000_020_u128;
    prop_oneof![
        8 => (from.clone(), nonce.clone(), fee, 0..3_u64)
            .prop_map(|(from, nonce, fee_wei, account)| Step::Add { from, nonce, fee_wei, account }),
        2 => (from.clone(), nonce.clone()).prop_map(|(from, next)| Step::Mined { from, next }),
        1 => (from.clone(), nonce.clone()).prop_map(|(from, nonce)| Step::Skip { from, nonce }),
        1 => (0..20_u64).prop_map(|secs| Step::Expire { secs }),
        1 => (from, nonce, 1..4_u64)
            .prop_map(|(from, nonce, count)| Step::Reinsert { from, nonce, count }),
    ]
}

fn apply(pool: &mut Pool, step: Step, now: Instant) {
    match step {
        Step::Add { from, nonce, fee_wei, account } => {
            let _ = pool.add(transfer(from, nonce, fee_wei), rich(account), BASE_FEE_WEI, now);
        }
        Step::Mined { from, next } => {
            pool.remove_mined(&[(sender(from), next)]);
        }
        Step::Skip { from, nonce } => {
            let queue = pool.senders.get(&sender(from));
            let hash = queue.and_then(|queue| queue.get(nonce)).map(|e| e.transaction.hash());
            if let Some(hash) = hash {
                pool.skip(&hash, SkipReason::SenderNotEoa, now);
            }
        }
        Step::Expire { secs } => {
            pool.expire(now + Duration::from_secs(secs));
        }
        Step::Reinsert { from, nonce, count } => {
            let lost = (nonce..nonce + count).map(|nonce| transfer(from, nonce, 1_000_007));
            pool.reinsert(lost.collect(), now);
        }
    }
}

fn check_invariants(pool: &Pool) {
    let config = &pool.config;
    let (mut count, mut bytes, mut ready) = (0, 0, 0);
    for (address, queue) in &pool.senders {
        assert!(!queue.is_empty(), "an empty queue stays");
        count += queue.len();
        ready += queue.ready_len();
        let nonces = queue.next_nonce()..queue.ready_end();
        assert!(nonces.clone().all(|nonce| queue.get(nonce).is_some()), "a hole among the ready");
        assert!(queue.get(queue.ready_end()).is_none(), "a ready one is parked");
        let all: Vec<_> = (0..64).filter_map(|nonce| queue.get(nonce)).collect();
        assert_eq!(all.len(), queue.len());
        for entry in &all {
            let transaction = &entry.transaction;
            assert_eq!(transaction.sender(), *address);
            assert!(transaction.nonce() >= queue.next_nonce(), "a used nonce stays");
            assert_eq!(pool.get(&transaction.hash()), Some(transaction));
            bytes += transaction.raw().len();
        }
        let cost = all.iter().map(|entry| entry.transaction.max_cost_wei());
        assert_eq!(queue.cost_wei(), cost.fold(U256::ZERO, U256::saturating_add));
    }
    assert_eq!(pool.index.len(), count);
    assert_eq!(pool.index.bytes(), bytes);
    assert_eq!(pool.counts(), Counts { ready, parked: count - ready });
    assert!(count <= config.transactions_max && bytes <= config.bytes_max);
    let offered = offered(pool);
    assert_eq!(offered.len(), ready, "everything ready is offered once");
    let mut next: HashMap<Address, u64> = HashMap::new();
    for (sender, nonce) in offered {
        let expected = next.entry(sender).or_insert(nonce);
        assert_eq!(*expected, nonce, "offered out of nonce order");
        *expected += 1;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_under_any_steps(
        steps in prop::collection::vec(step(), 1..60),
        by_fee: bool,
    ) {
        let ordering = if by_fee { Ordering::PriorityFee } else { Ordering::Fcfs };
        let mut pool = pool(Config {
            transactions_max: 12,
            bytes_max: 1_400,
            sender_slots_max: 6,
            ttl: Duration::from_secs(10),
            ordering,
        });
        let start = Instant::now();
        for (second, step) in steps.into_iter().enumerate() {
            apply(&mut pool, step, start + Duration::from_secs(second as u64));
            check_invariants(&pool);
        }
    }
}
