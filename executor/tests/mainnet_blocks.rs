//! Real Ethereum blocks from Byzantium to Cancun: the signed transactions are put together again and
//! must have their real hashes and senders; executed, the block must have its real gas used, bloom
//! and receipts root.

use crate::files::{self, input, state};
use executor::{Mode, Transaction};

/// Every block of the data that these rules are complete for.
const BLOCKS: [u64; 25] = [
    4_370_000, 5_526_571, 5_891_667, 6_196_166, 7_280_000, 8_889_776, 9_068_998, 11_114_732,
    12_243_999, 12_459_406, 12_520_364, 13_217_637, 15_274_915, 15_537_394, 15_538_827, 17_666_333,
    19_426_586, 19_426_587, 19_917_570, 19_923_400, 19_929_064, 19_932_148, 19_932_703, 19_933_122,
    19_933_597,
];

#[test]
fn real_blocks_give_their_gas_bloom_and_receipts() {
    let mut gas = 0;
    for number in BLOCKS {
        let Some(file) = files::read(&format!("mainnet-blocks/{number}.json.xz")) else { return };
        let expected = file.expected.as_ref().unwrap();
        let block = executor::execute(&state(&file), &input(&file), Mode::Sequential).unwrap();
        assert!(block.skipped.is_empty(), "block {number}: {:?}", block.skipped[0].reason);
        assert_eq!(block.header.gas_used, expected.gas_used, "block {number}");
        assert_eq!(block.header.logs_bloom, expected.logs_bloom, "block {number}");
        assert_eq!(block.header.receipts_root, expected.receipts_root, "block {number}");
        gas += block.header.gas_used;
    }
    println!("mainnet blocks: {} executed, {gas} gas", BLOCKS.len());
}

#[test]
fn real_signatures_recover_to_their_senders() {
    let Some(file) = files::read("mainnet-blocks/19933597.json.xz") else { return };
    for (tx, transaction) in file.txs.iter().zip(input(&file).transactions) {
        let decoded = Transaction::decode_signed(transaction.raw().clone()).unwrap();
        assert_eq!((decoded.sender(), decoded.hash()), (tx.from, transaction.hash()));
    }
}
