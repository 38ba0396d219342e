//! What senders ask beyond the transaction: caps and conditions.

use super::*;
use executor::ViewError;
use std::collections::{BTreeMap, HashMap};

fn capped(transaction: Transaction, cap_wei: u64) -> Submission {
    let terms = Terms { max_total_fee_wei: Some(U256::from(cap_wei)), ..Terms::default() };
    Submission { terms: Some(Arc::new(terms)), ..transaction.into() }
}

/// Tips nothing, so that the price is the base fee.
fn untipped(from: u8, nonce: u64) -> Transaction {
    signed(sender(from), TxEip1559 { max_priority_fee_per_gas: 0, ..template(nonce, GWEI) })
}

fn submit(pool: &mut Pool, submission: Submission) -> B256 {
    pool.add(submission, rich(0), BASE_FEE_WEI, Instant::now()).unwrap().hash
}

#[test]
fn above_its_cap_a_transaction_waits_and_with_it_its_sender() {
    let mut pool = pool(Config::default());
    let now = Instant::now();
    // 21,000 gas at the base fee, and 5 wei for data.
    let cap_wei = 21_000 * BASE_FEE_WEI + 5;
    let first = submit(&mut pool, capped(untipped(1, 0), cap_wei));
    let second = submit(&mut pool, untipped(1, 1).into());
    let offered = |base_fee_wei, extra_wei: u64| {
        let extra = move |_: &Transaction| U256::from(extra_wei);
        pool.best(base_fee_wei, u64::MAX, now, &extra).count()
    };
    assert_eq!(offered(BASE_FEE_WEI, 5), 2);
    assert_eq!(offered(BASE_FEE_WEI, 6), 0, "the data fee has risen");
    assert_eq!(offered(BASE_FEE_WEI + 1, 0), 0, "the base fee has risen");
    let explain = |hash| pool.explain(&hash, BASE_FEE_WEI, now, &|_| U256::from(6)).place;
    let fee_wei = U256::from(cap_wei + 1);
    let cap_wei = U256::from(cap_wei);
    assert_eq!(explain(first), Place::TotalFeeAboveCap { fee_wei, cap_wei });
    assert_eq!(explain(second), Place::Behind { hash: first, nonce: 0 });
}

#[test]
fn the_tip_counts_towards_the_cap() {
    let mut pool = pool(Config::default());
    let transaction =
        signed(sender(1), TxEip1559 { max_priority_fee_per_gas: 1, ..template(0, GWEI) });
    submit(&mut pool, capped(transaction, 21_000 * BASE_FEE_WEI + 20_999));
    assert!(offered(&pool).is_empty());
}

#[test]
fn a_cap_that_can_never_be_met_is_refused() {
    let admission = Admission::new(&ChainRules::Rollup(RollupRules::default()));
    let min_wei = RollupRules::default().base_fee_min_wei * 21_000;
    let check = |cap_wei: u64| {
        let terms = Terms { max_total_fee_wei: Some(U256::from(cap_wei)), ..Terms::default() };
        admission.check_terms(&terms, 21_000)
    };
    assert_eq!(check(min_wei), Ok(()));
    let error = check(min_wei - 1).unwrap_err().to_string();
    assert!(error.starts_with("max total fee too low: maxTotalFee: "), "{error}");
}

fn slots(count: u64) -> KnownAccount {
    KnownAccount::Slots((0..count).map(|slot| (U256::from(slot), U256::ZERO)).collect())
}

#[test]
fn conditions_are_bounded_by_their_cost() {
    let admission = Admission::new(&ChainRules::Rollup(RollupRules::default()));
    let check = |conditions: Conditions| {
        let terms = Terms { conditions: Some(conditions), ..Terms::default() };
        admission.check_terms(&terms, 21_000)
    };
    let known = |count| BTreeMap::from([(sender(1), slots(count))]);
    let conditions = |count| Conditions { known_accounts: known(count), ..Conditions::default() };
    assert_eq!(conditions(999).cost(), 1_000);
    assert_eq!(check(conditions(999)), Ok(()));
    let error = check(conditions(1_000)).unwrap_err();
    assert_eq!(error.to_string(), "conditional cost, 1001, exceeded max: 1000");
    let bounded = Conditions { block_number_max: Some(1), ..conditions(999) };
    assert_eq!(bounded.cost(), 1_001);
    let crossed =
        Conditions { timestamp_min: Some(2), timestamp_max: Some(1), ..Conditions::default() };
    assert!(check(crossed).unwrap_err().to_string().ends_with(
        "failed conditional validation: timestamp minimum constraint must be less than the maximum"
    ));
}

#[test]
fn bounds_are_inclusive() {
    let conditions = Conditions {
        block_number_min: Some(5),
        block_number_max: Some(7),
        timestamp_min: Some(100),
        timestamp_max: Some(200),
        ..Conditions::default()
    };
    assert_eq!(conditions.check_block(5, 100), Ok(()));
    assert_eq!(conditions.check_block(7, 200), Ok(()));
    assert_eq!(conditions.check_block(4, 100), Err(Unmet::BlockNumberMin));
    assert_eq!(conditions.check_block(8, 100), Err(Unmet::BlockNumberMax));
    assert_eq!(conditions.check_block(5, 99), Err(Unmet::TimestampMin));
    assert_eq!(conditions.check_block(5, 201), Err(Unmet::TimestampMax));
}

/// Slots of a single account, and its root.
struct Known(HashMap<U256, U256>, Option<B256>);

impl KnownState for Known {
    fn slot(&mut self, _: Address, slot: U256) -> Result<U256, ViewError> {
        Ok(self.0.get(&slot).copied().unwrap_or_default())
    }

    fn storage_root(&mut self, _: Address) -> Result<Option<B256>, ViewError> {
        Ok(self.1)
    }
}

#[test]
fn the_state_is_as_stated_or_it_is_said_what_is_not() {
    let root = B256::repeat_byte(9);
    let mut state = Known(HashMap::from([(U256::ZERO, U256::from(7))]), Some(root));
    let mut unmet = |known| {
        let known_accounts = BTreeMap::from([(sender(1), known)]);
        let conditions = Conditions { known_accounts, ..Conditions::default() };
        conditions.find_unmet(&mut state).unwrap().map(|unmet| unmet.to_string())
    };
    assert_eq!(unmet(KnownAccount::StorageRoot(root)), None);
    assert_eq!(unmet(KnownAccount::Slots([(U256::ZERO, U256::from(7))].into())), None);
    let words = unmet(slots(1)).unwrap();
    let zero = B256::ZERO;
    let seven = B256::from(U256::from(7));
    let wanted = format!(
        "failed state check: failed account storage slot key {zero} constraint. Got {seven}, Expected {zero}"
    );
    assert_eq!(words, wanted);
    let words = unmet(KnownAccount::StorageRoot(zero)).unwrap();
    assert!(words.contains(&format!("storage root constraint. Got {root}, Expected {zero}")));
    state.1 = None;
    let conditions = Conditions {
        known_accounts: [(sender(1), KnownAccount::StorageRoot(root))].into(),
        ..Conditions::default()
    };
    assert!(conditions.find_unmet(&mut state).unwrap().is_some(), "changed within the block");
}

#[test]
fn conditions_are_read_as_clients_write_them() {
    let address = sender(1);
    let root = B256::repeat_byte(2);
    let text = format!(
        r#"{{"knownAccounts":{{"{address}":{{"0x0":"{root}","{root}":"0x1"}},"{}":"{root}"}},
            "blockNumberMin":"0x10","blockNumberMax":32,"timestampMin":"0x1"}}"#,
        sender(2)
    );
    let conditions: Conditions = serde_json::from_str(&text).unwrap();
    let root_of = |known| matches!(known, &KnownAccount::StorageRoot(found) if found == root);
    assert!(root_of(&conditions.known_accounts[&sender(2)]));
    let KnownAccount::Slots(slots) = &conditions.known_accounts[&address] else { panic!() };
    assert_eq!((slots[&U256::ZERO], slots[&root.into()]), (root.into(), U256::ONE));
    assert_eq!((conditions.block_number_min, conditions.block_number_max), (Some(16), Some(32)));
    assert_eq!((conditions.timestamp_min, conditions.timestamp_max), (Some(1), None));
    let written = serde_json::to_string(&conditions).unwrap();
    assert_eq!(serde_json::from_str::<Conditions>(&written).unwrap(), conditions);
    let error = serde_json::from_str::<Conditions>(r#"{"blockMin":1}"#).unwrap_err().to_string();
    assert!(error.contains("`blockMin`"), "{error}");
}

#[test]
fn a_condition_that_does_not_hold_drops_with_the_reason() {
    let mut pool = pool(Config::default());
    let conditions = Conditions { block_number_max: Some(1), ..Conditions::default() };
    let terms = Arc::new(Terms { conditions: Some(conditions), ..Terms::default() });
    let submission = Submission { terms: Some(terms.clone()), ..transfer(1, 0, GWEI).into() };
    let hash = submit(&mut pool, submission);
    let plain = submit(&mut pool, transfer(2, 0, GWEI).into());
    let offered = [transfer(1, 0, GWEI), transfer(2, 0, GWEI)];
    assert_eq!(pool.conditional(&offered), HashMap::from([(hash, terms)]));
    assert!(pool.reject(&hash, Unmet::BlockNumberMax, Instant::now()));
    assert!(pool.conditional(&offered).is_empty());
    let reason = DropReason::Conditional(Unmet::BlockNumberMax);
    assert_eq!(pool.dropped(&hash).unwrap().reason, reason);
    assert!(pool.get(&plain).is_some());
}

#[test]
fn terms_survive_the_undoing_of_their_block() {
    let mut pool = pool(Config::default());
    let hash = submit(&mut pool, capped(untipped(1, 0), 21_000 * BASE_FEE_WEI));
    pool.note_ordered([hash], 1, Instant::now());
    pool.remove_mined(&[(sender(1), 1)]);
    pool.reinsert(vec![untipped(1, 0)], Instant::now());
    assert_eq!(
        pool.terms(&hash).unwrap().max_total_fee_wei,
        Some(U256::from(21_000 * BASE_FEE_WEI))
    );
}
