//! The roots over a block's transactions and receipts, beside alloy-trie's.

use crate::{
    Failure,
    measure::timed,
    options::Options,
    report::{Report, Row},
};
use alloy_primitives::{Address, B256, Bloom, Bytes, Log, LogData, TxKind, U256};
use alloy_trie::root::ordered_trie_root_with_encoder;
use executor::{
    Deposit, Receipt, Transaction,
    block::{receipts_root, transactions_root},
    keccak::Backend,
};

/// Items of a block.
const COUNTS: [usize; 3] = [10, 100, 1_000];

fn transaction(index: usize) -> Transaction {
    Transaction::from_deposit(Deposit {
        source_hash: B256::repeat_byte(1),
        from: Address::repeat_byte(index as u8),
        to: TxKind::Call(Address::repeat_byte(2)),
        mint_wei: 0,
        value: U256::from(index),
        gas_limit: 100_000,
        input: Bytes::from(vec![3; 68]),
    })
}

/// That of a token transfer.
fn receipt(index: usize) -> Receipt {
    let topics = (0..3u64).map(|topic| B256::from(U256::from(topic << 32 | index as u64)));
    let data = LogData::new_unchecked(topics.collect(), vec![4; 32].into());
    Receipt {
        ty: 2,
        success: true,
        state_root: None,
        cumulative_gas_used: index as u64 * 50_000,
        logs: vec![Log { address: Address::repeat_byte(5), data }],
        deposit_nonce: None,
    }
}

/// As alloy does it, blooms included.
fn alloys_receipts_root(receipts: &[Receipt]) -> (B256, Bloom) {
    let root = ordered_trie_root_with_encoder(receipts, |receipt, out| {
        out.extend_from_slice(&receipt.encoded_2718());
    });
    (root, receipts.iter().fold(Bloom::ZERO, |all, receipt| all | receipt.bloom()))
}

fn alloys_transactions_root(transactions: &[Transaction]) -> B256 {
    ordered_trie_root_with_encoder(transactions, |transaction, out| {
        out.extend_from_slice(transaction.raw());
    })
}

/// Measures both lists.
pub(crate) fn measure(options: &Options, report: &Report) -> Result<(), Failure> {
    for count in COUNTS {
        let transactions: Vec<_> = (0..count).map(transaction).collect();
        let receipts: Vec<_> = (0..count).map(receipt).collect();
        let ours = || transactions_root(&transactions);
        compare("txs", count, (options, report), ours, || alloys_transactions_root(&transactions))?;
        let ours = || receipts_root(&receipts);
        compare("receipts", count, (options, report), ours, || alloys_receipts_root(&receipts))?;
    }
    Ok(())
}

fn compare<T: PartialEq>(
    case: &str,
    count: usize,
    (options, report): (&Options, &Report),
    ours: impl Fn() -> T,
    alloys: impl Fn() -> T,
) -> Result<(), Failure> {
    if !options.selects(&format!("lists/{case}/{count}")) {
        return Ok(());
    }
    let mut rounds = Vec::new();
    for _ in 0..options.rounds * 10 {
        let ((root, ms), (expected, baseline_ms)) = (timed(&ours), timed(&alloys));
        if root != expected {
            return Err(format!("the root of {count} {case} is not alloy's"));
        }
        rounds.push((ms, baseline_ms));
    }
    let backend = Backend::detect();
    report.row(&Row { case, accounts: 0, touched: count, backend, threads: 1, rounds: &rounds });
    Ok(())
}
