//! The resident trie against alloy-trie's independent root computation and proof verifier.

use alloy::primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_rlp::Encodable;
use alloy_trie::{
    Nibbles, TrieAccount,
    proof::verify_proof,
    root::{state_root_unhashed, storage_root_unhashed},
};
use executor::{
    Account, Header, StateDiff, StateTrie, StateView, ViewError, WitnessState,
    state::{AccountDiff, Reads, SlotDiff},
};
use proptest::prelude::*;
use std::collections::BTreeMap;

type Model = BTreeMap<Address, (u64, BTreeMap<U256, U256>)>;

/// One change: account, nonce to set (0 deletes it), slot and its value (0 deletes it).
#[derive(Clone, Debug)]
struct Change {
    account: u8,
    nonce: u64,
    slot: u8,
    value: u8,
}

fn change() -> impl Strategy<Value = Change> {
    (0u8..24, 0u64..4, 0u8..12, 0u8..3).prop_map(|(account, nonce, slot, value)| Change {
        account,
        nonce,
        slot,
        value,
    })
}

fn apply(model: &mut Model, change: &Change, diff: &mut StateDiff) {
    let address = Address::with_last_byte(change.account);
    let slot = U256::from(change.slot);
    let value = U256::from(change.value);
    let as_account = |nonce: u64| Account { nonce, ..Account::default() };
    let before = model.get(&address).map(|(nonce, _)| as_account(*nonce));
    if change.nonce == 0 {
        model.remove(&address);
        let entry = AccountDiff { before, ..AccountDiff::default() };
        diff.accounts.insert(address, entry);
        return;
    }
    let entry = model.entry(address).or_default();
    entry.0 = change.nonce;
    let slot_before = entry.1.get(&slot).copied().unwrap_or_default();
    if value.is_zero() {
        entry.1.remove(&slot);
    } else {
        entry.1.insert(slot, value);
    }
    let slots = BTreeMap::from([(slot, SlotDiff { before: slot_before, after: value })]);
    let after = Some(as_account(change.nonce));
    diff.accounts.insert(address, AccountDiff { before, after, wiped: false, slots });
}

fn trie_account(nonce: u64, storage: &BTreeMap<U256, U256>) -> TrieAccount {
    let slots = storage.iter().map(|(slot, value)| (B256::from(*slot), *value));
    TrieAccount {
        nonce,
        balance: U256::ZERO,
        storage_root: storage_root_unhashed(slots),
        code_hash: KECCAK256_EMPTY,
    }
}

fn expected_root(model: &Model) -> B256 {
    state_root_unhashed(
        model.iter().map(|(address, (nonce, storage))| (*address, trie_account(*nonce, storage))),
    )
}

/// An account and the slots read of it.
type Values = Vec<(Option<Account>, Vec<U256>)>;

/// Reads and a change on what `nodes` tell of the trie: the values read and the root.
fn use_witness(
    root: B256,
    nodes: &[Bytes],
    reads: &Reads,
    diff: &StateDiff,
) -> Result<(Values, B256), ViewError> {
    let parent = Header { state_root: root, ..Header::default() };
    let state = WitnessState::new(nodes, &[], vec![parent]).unwrap();
    let read = |(address, slots): (&Address, &std::collections::BTreeSet<U256>)| {
        let slots = slots.iter().map(|slot| state.slot(*address, *slot));
        Ok((state.account(*address)?, slots.collect::<Result<_, _>>()?))
    };
    let values = reads.iter().map(read).collect::<Result<_, ViewError>>()?;
    Ok((values, state.after(diff)?.root))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_witness_holds_what_is_needed_and_no_more(
        changes in prop::collection::vec(change(), 0..60),
        last in prop::collection::vec(change(), 0..8),
        reads in prop::collection::vec((0u8..26, 0u8..14), 0..8),
    ) {
        let (mut model, mut trie) = (Model::new(), StateTrie::default());
        for change in &changes {
            let mut diff = StateDiff::default();
            apply(&mut model, change, &mut diff);
            trie = trie.apply(&diff).unwrap();
        }
        let before = model.clone();
        let mut diff = StateDiff::default();
        let last: BTreeMap<u8, &Change> = last.iter().map(|c| (c.account, c)).collect();
        last.values().for_each(|change| apply(&mut model, change, &mut diff));
        let mut read = Reads::new();
        for (account, slot) in reads {
            read.entry(Address::with_last_byte(account)).or_default().insert(U256::from(slot));
        }
        let witness = trie.witness(&read, &diff).unwrap();
        prop_assert!(witness.iter().all(|(hash, node)| *hash == keccak256(node)));
        let nodes: Vec<Bytes> = witness.into_values().collect();
        let (values, root) = use_witness(trie.root(), &nodes, &read, &diff).unwrap();
        prop_assert_eq!(root, expected_root(&model));
        for ((address, slots), (account, slot_values)) in read.iter().zip(values) {
            let expected = before.get(address);
            prop_assert_eq!(account.map(|account| account.nonce), expected.map(|(nonce, _)| *nonce));
            for (slot, value) in slots.iter().zip(slot_values) {
                let expected = expected.and_then(|(_, storage)| storage.get(slot));
                prop_assert_eq!(value, expected.copied().unwrap_or_default());
            }
        }
        for index in 0..nodes.len() {
            let mut fewer = nodes.clone();
            fewer.swap_remove(index);
            let missing = use_witness(trie.root(), &fewer, &read, &diff);
            prop_assert!(matches!(missing, Err(ViewError::MissingNode)), "node {index} is surplus");
        }
    }

    #[test]
    fn every_root_equals_the_hash_builders(blocks in prop::collection::vec(
        prop::collection::vec(change(), 1..12), 1..16,
    )) {
        let mut model = Model::new();
        let mut trie = StateTrie::default();
        let mut history = Vec::new();
        for changes in &blocks {
            // One change per account and block, as a diff has it.
            let changes: BTreeMap<u8, &Change> = changes.iter().map(|c| (c.account, c)).collect();
            let mut diff = StateDiff::default();
            for change in changes.values() {
                apply(&mut model, change, &mut diff);
            }
            let next = trie.apply(&diff).unwrap();
            prop_assert_eq!(next.root(), expected_root(&model));
            history.push((trie.clone(), trie.root()));
            trie = next;
        }
        for (older, root) in history {
            prop_assert_eq!(older.apply(&StateDiff::default()).unwrap().root(), root);
        }
    }

    #[test]
    fn every_proof_verifies(changes in prop::collection::vec(change(), 1..40), probe in 0u8..28) {
        let mut model = Model::new();
        let mut trie = StateTrie::default();
        for change in &changes {
            let mut diff = StateDiff::default();
            apply(&mut model, change, &mut diff);
            trie = trie.apply(&diff).unwrap();
        }
        let address = Address::with_last_byte(probe);
        let slots: Vec<_> = (0..12).map(U256::from).collect();
        let proof = trie.account_proof(address, &slots).unwrap();
        let expected = model.get(&address).map(|(nonce, storage)| {
            let mut out = Vec::new();
            trie_account(*nonce, storage).encode(&mut out);
            out
        });
        let path = Nibbles::unpack(keccak256(address));
        prop_assert!(verify_proof(trie.root(), path, expected, &proof.account_proof).is_ok());
        for slot in proof.storage_proof {
            let path = Nibbles::unpack(keccak256(slot.slot.to_be_bytes::<32>()));
            let value = model.get(&address).and_then(|(_, storage)| storage.get(&slot.slot));
            let expected = value.map(alloy_rlp::encode);
            prop_assert_eq!(value.copied().unwrap_or_default(), slot.value);
            prop_assert!(verify_proof(proof.storage_hash, path, expected, &slot.proof).is_ok());
        }
    }

    #[test]
    fn rebuilding_from_flat_state_gives_the_same_root(
        changes in prop::collection::vec(change(), 1..40),
    ) {
        let mut model = Model::new();
        let mut trie = StateTrie::default();
        for change in &changes {
            let mut diff = StateDiff::default();
            apply(&mut model, change, &mut diff);
            trie = trie.apply(&diff).unwrap();
        }
        let by_hash: BTreeMap<B256, &(u64, BTreeMap<U256, U256>)> =
            model.iter().map(|(address, entry)| (keccak256(address), entry)).collect();
        let accounts = by_hash.iter().map(|(hash, (nonce, _))| {
            Ok::<_, executor::ViewError>((*hash, Account { nonce: *nonce, ..Account::default() }))
        });
        let storage_of = |hash: B256| {
            let slots = by_hash[&hash].1.iter();
            Ok(slots.map(|(k, v)| (keccak256(k.to_be_bytes::<32>()), *v)).collect())
        };
        let rebuilt = StateTrie::from_hashed(accounts, storage_of).unwrap();
        prop_assert_eq!(rebuilt.root(), trie.root());
    }
}
