//! Transactions root, receipts root and blooms of a block against alloy's, item by item.

use crate::support::deposit;
use alloy::primitives::{Address, B256, Bloom, Bytes, Log, LogData, TxKind, U256};
use alloy_trie::root::ordered_trie_root_encoded;
use executor::{
    Deposit, Receipt, Transaction,
    block::{receipts_root, transactions_root},
};

/// Items up to here: keys of one, two and three bytes.
const ITEMS: usize = 300;

/// Lengths from next to nothing to more than the lanes take.
fn length_bytes(index: usize) -> usize {
    index * 37 % 1_300
}

fn transaction(index: usize) -> Transaction {
    let input = Bytes::from(vec![index as u8; length_bytes(index)]);
    let to = TxKind::Call(Address::repeat_byte(index as u8));
    let base = deposit(Address::repeat_byte(7), to, index as u128, U256::from(index), 21_000);
    Transaction::from_deposit(Deposit { input, ..base })
}

fn receipt(index: usize) -> Receipt {
    let topics = |log: usize| {
        (0..(index + log) % 5).map(move |topic| B256::repeat_byte((topic + log) as u8))
    };
    let log = |log: usize| Log {
        address: Address::repeat_byte((index * 3 + log) as u8),
        data: LogData::new_unchecked(topics(log).collect(), vec![5; length_bytes(log)].into()),
    };
    Receipt {
        ty: (index % 4) as u8,
        success: !index.is_multiple_of(3),
        state_root: None,
        cumulative_gas_used: index as u64 * 21_000,
        logs: (0..index % 7).map(log).collect(),
        deposit_nonce: None,
    }
}

#[test]
fn roots_of_any_number_of_items_are_alloys() {
    let transactions: Vec<_> = (0..=ITEMS).map(transaction).collect();
    let receipts: Vec<_> = (0..=ITEMS).map(receipt).collect();
    let raw: Vec<_> = transactions.iter().map(|transaction| transaction.raw().clone()).collect();
    let encoded: Vec<_> = receipts.iter().map(Receipt::encoded_2718).collect();
    for count in 0..=ITEMS {
        let root = transactions_root(&transactions[..count]);
        assert_eq!(root, ordered_trie_root_encoded(&raw[..count]), "{count} transactions");
        let (root, bloom) = receipts_root(&receipts[..count]);
        assert_eq!(root, ordered_trie_root_encoded(&encoded[..count]), "{count} receipts");
        let blooms = receipts[..count].iter().map(Receipt::bloom);
        assert_eq!(bloom, blooms.fold(Bloom::ZERO, |all, bloom| all | bloom));
    }
}
