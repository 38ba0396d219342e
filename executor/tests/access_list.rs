//! Block access lists: what a true one claims is what happens, in every transaction of every block;
//! a false one is an error or a wrong guess, and nothing worse.

use crate::{
    files, modes,
    support::{Chain, deposit, ether, request, sign, signer, transfer},
};
use alloy::{
    eips::eip7928::{AccountChanges, BalanceChange, BlockAccessIndex, SlotChanges, StorageChange},
    primitives::{Address, Bytes, TxKind, U256, address, bytes},
};
use executor::{
    BlockAccessList, BlockInput, ExecutedBlock, FeeSchedule, MemoryState, Mode, Options, StateView,
    access_list::{ACCESS_LIST_BYTES_MAX, AccessListError, Claims, access_list},
    execute_with,
};
use proptest::prelude::*;
use std::sync::LazyLock;

/// Stores calldata's second word at the slot that its first word names.
const STORE_INIT: Bytes = bytes!("6007600a5f3960075ff36020355f355500");

/// Checks everything a list of a block claims; returns the list.
pub(crate) fn check(
    view: &MemoryState,
    input: &BlockInput,
    block: &ExecutedBlock,
) -> BlockAccessList {
    let list = access_list(view, input, block).unwrap();
    let transactions = block.transactions.len();
    assert_eq!(BlockAccessList::decode(&list.encoded(), transactions).as_ref(), Ok(&list));
    check_last_values(view, &list, block);
    check_each_transaction(view, input, &list, block);
    let replayed = replay(view, input, &list);
    modes::assert_same(block, &replayed, "with its list");
    list
}

/// Executes with the help of a list, whatever it says.
fn replay(view: &MemoryState, input: &BlockInput, list: &BlockAccessList) -> ExecutedBlock {
    let mode = modes::MODES[1];
    let options = Options { mode, access_list: Some(list), ..Options::default() };
    execute_with(view, input, options).unwrap()
}

/// After the block the list has the values that the block's diff has, and no others.
fn check_last_values(view: &MemoryState, list: &BlockAccessList, block: &ExecutedBlock) {
    let claims = Claims::new(view, list);
    let last = claims.before(usize::MAX);
    let changed = &block.diff.accounts;
    assert!(changed.keys().all(|address| list.account(*address).is_some()));
    for listed in list.accounts() {
        let address = listed.address;
        let change = changed.get(&address);
        let expected = change.map_or_else(|| view.account(address).unwrap(), |change| change.after);
        let expected = expected.filter(|account| !account.is_empty());
        assert_eq!(last.account(address).unwrap(), expected, "{address}");
        let slots = change.iter().flat_map(|change| change.slots.keys().copied());
        for slot in listed.storage_slots().chain(slots.collect::<Vec<_>>()) {
            let diff = change.and_then(|change| change.slots.get(&slot));
            let unchanged = || view.slot(address, slot).unwrap();
            let expected = diff.map_or_else(unchanged, |diff| diff.after);
            assert_eq!(last.slot(address, slot).unwrap(), expected, "{address} {slot}");
        }
    }
}

/// A block of one transaction; on a rollup behind the L1 attributes, which say what it is charged.
fn alone(input: &BlockInput, block: &ExecutedBlock, index: usize) -> BlockInput {
    let mut transactions = vec![block.transactions[index].clone()];
    let first = &block.transactions[0];
    if index > 0 && FeeSchedule::set_by(&input.rules, first).is_some() {
        transactions.insert(0, first.clone());
    }
    BlockInput { transactions, rules: input.rules.clone(), env: input.env.clone() }
}

/// Each transaction, alone on the state that the list claims was before it, gives its receipt and
/// changes what the list says it does.
fn check_each_transaction(
    view: &MemoryState,
    input: &BlockInput,
    list: &BlockAccessList,
    block: &ExecutedBlock,
) {
    let claims = Claims::new(view, list);
    let writes = list.writes(block.transactions.len());
    let mut gas_before = 0;
    for (index, writes) in writes.iter().enumerate() {
        let alone = alone(input, block, index);
        let executed = executor::execute(&claims.before(index), &alone, Mode::Sequential).unwrap();
        let (own, expected) = (executed.receipts.last().unwrap(), &block.receipts[index]);
        let before_own = executed.receipts.iter().rev().nth(1);
        let own_gas = own.cumulative_gas_used - before_own.map_or(0, |it| it.cumulative_gas_used);
        assert_eq!(own_gas, expected.cumulative_gas_used - gas_before);
        assert_eq!((own.success, &own.logs), (expected.success, &expected.logs));
        assert_eq!(own.deposit_nonce, expected.deposit_nonce);
        gas_before = expected.cumulative_gas_used;
        for (address, slot) in writes {
            let change = &executed.diff.accounts[address];
            assert!(slot.is_none_or(|slot| change.slots.contains_key(&slot)), "{address} {slot:?}");
        }
    }
}

#[test]
fn real_blocks_and_workloads_happen_as_their_lists_claim() {
    let mut totals = (0, 0, 0);
    let mut add = |list: &BlockAccessList, transactions: usize| {
        totals.0 += transactions;
        totals.1 += list.accounts().len();
        totals.2 += list.encoded().len();
    };
    for number in [12_520_364, 17_666_333, 19_932_148, 19_933_122, 22_546_209] {
        let Some(file) = files::read(&format!("mainnet-blocks/{number}.json.xz")) else { return };
        let (view, input) = (files::state(&file), files::input(&file));
        let block = executor::execute(&view, &input, Mode::Sequential).unwrap();
        add(&check(&view, &input, &block), block.transactions.len());
    }
    for name in ["hybrid_30", "uni_20pools"] {
        let Some(mut file) = files::read(&format!("workloads/{name}.json.xz")) else { return };
        file.txs.truncate(200);
        let (view, input) = (files::state(&file), files::input(&file));
        let block = executor::execute(&view, &input, Mode::Sequential).unwrap();
        add(&check(&view, &input, &block), block.transactions.len());
    }
    let (transactions, accounts, bytes) = totals;
    println!("access lists: {transactions} transactions, {accounts} accounts, {bytes} bytes");
}

#[test]
fn a_list_takes_apart_what_depends_on_each_other() {
    let Some(file) = files::read("workloads/uni_hot.json.xz") else { return };
    let (state, mut input) = (files::state(&file), files::input(&file));
    input.transactions.truncate(200);
    let block = executor::execute(&state, &input, Mode::Sequential).unwrap();
    let list = access_list(&state, &input, &block).unwrap();
    let components = |block: &ExecutedBlock| block.counters.components;

    let without = executor::execute(&state, &input, modes::MODES[1]).unwrap();
    assert!(components(&without) < 10, "{}", components(&without));
    let with = replay(&state, &input, &list);
    assert_eq!(components(&with), 200);
    assert_eq!(with.counters.conflicts, 0);
    modes::assert_same(&block, &with, "with its list");

    // The values of one transaction too late: as wrong as a list can be, and believed only so long.
    let late: Vec<AccountChanges> = list.accounts().iter().map(one_later).collect();
    let late = BlockAccessList::decode(&alloy::rlp::encode(&late), 201).unwrap();
    let with = replay(&state, &input, &late);
    modes::assert_same(&block, &with, "with a late list");
}

fn one_later(account: &AccountChanges) -> AccountChanges {
    let mut account = account.clone();
    let balances = account.balance_changes.iter_mut().map(|change| &mut change.block_access_index);
    let nonces = account.nonce_changes.iter_mut().map(|change| &mut change.block_access_index);
    let slots = account.storage_changes.iter_mut().flat_map(|slot| &mut slot.changes);
    let slots = slots.map(|change| &mut change.block_access_index);
    for index in balances.chain(nonces).chain(slots) {
        *index = BlockAccessIndex::new(index.get() + 1);
    }
    account
}

#[test]
fn a_transfer_is_listed_as_the_eip_says() {
    let mut chain = Chain::new(1);
    let recipient = address!("0x00000000000000000000000000000000000000aa");
    let before = chain.state.clone();
    let input = chain.input(vec![], &[transfer(0, 0, recipient, ether(1))]);
    let block = modes::execute(&before, &input);
    chain.state.apply_block(&block).unwrap();
    let list = check(&before, &input, &block);
    // Transaction 0 is the L1 attributes deposit, so the transfer has index 2.
    let index = BlockAccessIndex::new(2);
    let mut expected = AccountChanges::new(recipient);
    expected.balance_changes.push(BalanceChange::new(index, ether(1)));
    assert_eq!(list.account(recipient), Some(&expected));
    let sender = list.account(signer(0).address()).unwrap();
    let after = chain.state.account(signer(0).address()).unwrap().unwrap();
    assert_eq!(sender.balance_changes, [BalanceChange::new(index, after.balance_wei)]);
    assert_eq!(sender.nonce_changes.iter().map(|change| change.new_nonce).collect::<Vec<_>>(), [1]);
    let writes = list.writes(2);
    assert!(writes[1].contains(&(recipient, None)) && !writes[0].contains(&(recipient, None)));
}

/// `[[address, [[slot, [[index, value]]]], [read], [[index, balance]], [], []]]`, byte by byte.
#[test]
fn the_encoding_is_the_eips() {
    let mut account = AccountChanges::new(Address::repeat_byte(0x11));
    let change = StorageChange::new(BlockAccessIndex::new(1), U256::from(5));
    account.storage_changes.push(SlotChanges::new(U256::from(2), vec![change]));
    account.storage_reads.push(U256::from(3));
    account.balance_changes.push(BalanceChange::new(BlockAccessIndex::new(1), U256::from(300)));
    let encoded =
        bytes!("e7e6941111111111111111111111111111111111111111c6c502c3c20105c103c5c40182012cc0c0");
    let list = BlockAccessList::decode(&encoded, 1).unwrap();
    assert_eq!((list.accounts(), list.encoded()), (&[account][..], encoded.to_vec()));
    assert_eq!(list.hash(), alloy::primitives::keccak256(&encoded));
    // No list of a block without transactions: index 1 would be after the block's end, which is 1.
    assert!(BlockAccessList::decode(&encoded, 0).is_ok());
    let beyond = [&encoded[..encoded.len() - 6], &bytes!("0382012cc0c0")[..]].concat();
    assert!(matches!(BlockAccessList::decode(&beyond, 1), Err(AccessListError::Order(_))));
}

#[test]
fn what_is_no_list_is_refused() {
    let huge = vec![0; ACCESS_LIST_BYTES_MAX + 1];
    let oversized = AccessListError::Oversized { bytes: huge.len() };
    assert_eq!(BlockAccessList::decode(&huge, 1), Err(oversized));
    let trailing = BlockAccessList::decode(&bytes!("c000"), 1);
    assert!(matches!(trailing, Err(AccessListError::Rlp(_))));
    assert!(matches!(BlockAccessList::decode(&[], 1), Err(AccessListError::Rlp(_))));
    // A list that says to be 4 GiB long.
    assert!(BlockAccessList::decode(&bytes!("fbffffffff"), 1).is_err());
    let one = AccountChanges::new(Address::repeat_byte(1));
    let twice = alloy::rlp::encode(vec![one.clone(), one]);
    assert!(matches!(BlockAccessList::decode(&twice, 1), Err(AccessListError::Order(_))));
}

/// A block of every kind of change, its state before, and its list.
static SAMPLE: LazyLock<(MemoryState, BlockInput, ExecutedBlock, BlockAccessList)> =
    LazyLock::new(|| {
        let mut chain = Chain::new(3);
        let create = |from: u64, nonce: u64| {
            let creation = request(nonce, TxKind::Create, U256::ZERO, 300_000, STORE_INIT);
            sign(creation, &signer(from))
        };
        chain.advance(vec![], &[create(0, 0)]);
        let contract = signer(0).address().create(0);
        let store = |nonce: u64, key: u64, value: u64| {
            let words = [U256::from(key), U256::from(value)];
            let input = words.iter().flat_map(U256::to_be_bytes::<32>).collect();
            sign(request(nonce, contract.into(), U256::ZERO, 200_000, input), &signer(1))
        };
        let transactions = [
            store(0, 1, 5),
            create(0, 1),
            store(1, 1, 6),
            store(2, 1, 0),
            transfer(2, 0, contract, U256::ZERO),
        ];
        let to = Address::repeat_byte(7);
        let deposits = vec![deposit(signer(9).address(), to.into(), 9, U256::ONE, 50_000)];
        let input = chain.input(deposits, &transactions);
        let block = modes::execute(&chain.state, &input);
        let list = check(&chain.state, &input, &block);
        (chain.state, input, block, list)
    });

#[test]
fn a_slot_has_each_value_it_takes() {
    let (state, _, block, list) = &*SAMPLE;
    let contract = signer(0).address().create(0);
    let claims = Claims::new(state, list);
    let values: Vec<_> = (0..=block.transactions.len())
        .map(|index| claims.before(index).slot(contract, U256::ONE).unwrap().to::<u64>())
        .collect();
    // L1 attributes, deposit, 5, creation, 6, 0, transfer.
    assert_eq!(values, [0, 0, 0, 5, 5, 6, 0, 0]);
    let created = signer(0).address().create(1);
    assert_eq!(claims.before(3).account(created).unwrap(), None);
    let account = claims.before(4).account(created).unwrap().unwrap();
    assert_eq!(account.nonce, 1);
    assert!(!claims.before(4).code(account.code_hash).unwrap().is_empty());
}

#[test]
fn a_list_on_another_state_than_the_blocks_is_an_error() {
    let (_, input, block, _) = &*SAMPLE;
    let other = Chain::new(0).state;
    assert!(access_list(&other, input, block).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Damaged bytes are refused, or are a list that answers every question and lies.
    #[test]
    fn a_hostile_list_does_no_harm(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        transactions in 0usize..10,
    ) {
        let (state, input, block, list) = &*SAMPLE;
        let mut bytes = list.encoded();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let Ok(hostile) = BlockAccessList::decode(&bytes, transactions) else { return Ok(()) };
        prop_assert_eq!(hostile.encoded(), bytes);
        prop_assert_eq!(hostile.writes(transactions).len(), transactions);
        modes::assert_same(block, &replay(state, input, &hostile), "with a hostile list");
        let claims = Claims::new(state, &hostile);
        for index in 0..block.transactions.len() {
            let alone = alone(input, block, index);
            // A result or an error, both of which the one who validates throws away.
            let _ = executor::execute(&claims.before(index), &alone, Mode::Sequential);
        }
    }
}
