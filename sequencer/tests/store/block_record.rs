//! Blocks as the order log keeps them: what was executed comes back, other bytes are refused.

use crate::chain_model::{Model, changes, genesis};
use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    primitives::{Address, B256, Bytes, Signature, TxKind, U256, bytes},
};
use executor::{
    BlockInput, Deposit, ExecutedBlock, L1Origin, Mode, Transaction, execute,
    genesis::GenesisAccount,
};
use proptest::prelude::*;
use sequencer::store::log::{BlockRecord, BlockRecordError};

const SENDER: Address = Address::repeat_byte(0x51);
/// Stores 5 in slot 0, logs a topic and 32 bytes, and returns two bytes of code.
const CREATION: Bytes = bytes!("6005600055602a600052600760206000a15f60005360026000f3");
/// Destroys itself in its creation.
const DESTROYED: Bytes = bytes!("33ff");

fn call(chain_id: u64, nonce: u64, to: TxKind, input: Bytes) -> Transaction {
    let unsigned = TxEip1559 {
        chain_id,
        nonce,
        gas_limit: 500_000,
        max_fee_per_gas: 1_000_000_000,
        to,
        value: U256::from(nonce),
        input,
        ..TxEip1559::default()
    };
    let signature = Signature::new(U256::from_be_slice(SENDER.as_slice()), U256::ONE, false);
    Transaction::from_signed(unsigned.into_signed(signature).into(), SENDER)
}

/// A block of the real executor: attributes, deposits of both kinds, payments, a creation, and a
/// contract that goes in its creation.
fn executed() -> ExecutedBlock {
    let mut genesis = genesis();
    let balance = U256::from(10_u128.pow(20));
    genesis.alloc.insert(SENDER, GenesisAccount { balance, ..GenesisAccount::default() });
    let (state, header, hash) = genesis.build().unwrap();
    let origin = L1Origin {
        number: genesis.l1.origin_number,
        hash: genesis.l1.origin_hash,
        parent_hash: B256::ZERO,
        timestamp: genesis.timestamp,
        base_fee_wei: 1,
        blob_base_fee_wei: 1,
        prevrandao: B256::repeat_byte(0x22),
    };
    let deposit = |index: u64, to, input| Deposit {
        source_hash: B256::from(U256::from(index)),
        from: Address::repeat_byte(0xde),
        to,
        mint_wei: 5,
        value: U256::from(3),
        gas_limit: 200_000,
        input,
    };
    let deposits = vec![
        deposit(1, TxKind::Call(Address::repeat_byte(0x77)), Bytes::new()),
        deposit(2, TxKind::Create, CREATION),
        deposit(3, TxKind::Create, bytes!("fe")),
    ];
    let rules = genesis.chain_rules();
    let parent = (&header, hash);
    let timestamp = header.timestamp + 1;
    let input = BlockInput::rollup(&rules, parent, (&origin, 1), timestamp, deposits);
    let chain_id = genesis.rules.chain_id;
    let input = input.with_transactions(vec![
        call(chain_id, 0, TxKind::Call(Address::repeat_byte(9)), Bytes::new()),
        call(chain_id, 1, TxKind::Create, CREATION),
        call(chain_id, 2, TxKind::Create, DESTROYED),
        call(chain_id, 9, TxKind::Create, DESTROYED),
    ]);
    execute(&state, &input, Mode::Sequential).unwrap()
}

fn assert_kept(block: &ExecutedBlock) {
    let bytes = BlockRecord::encode(block);
    let record = BlockRecord::decode(&bytes).unwrap();
    assert_eq!((&record.header, record.hash), (&block.header, block.hash));
    assert_eq!(record.transactions, block.transactions);
    assert_eq!(record.receipts, block.receipts);
    assert_eq!(record.diff, block.diff);
}

#[test]
fn an_executed_block_comes_back() {
    let block = executed();
    assert_kept(&block);
    // The block is what it is for: logs, creations, a failed deposit, something skipped.
    assert!(block.transactions.iter().filter(|tx| tx.as_deposit().is_some()).count() >= 3);
    assert!(block.receipts.iter().any(|receipt| !receipt.success));
    assert!(block.receipts.iter().any(|receipt| !receipt.logs.is_empty()));
    assert!(!block.diff.codes.is_empty());
    assert_eq!(block.skipped.len(), 1);
    println!(
        "{} transactions, {} bytes",
        block.transactions.len(),
        BlockRecord::encode(&block).len()
    );
}

#[test]
fn cut_or_damaged_bytes_are_refused_or_read_without_harm() {
    let bytes = BlockRecord::encode(&executed());
    for length in 0..bytes.len() {
        BlockRecord::decode(&bytes[..length]).unwrap_err();
    }
    BlockRecord::decode(&[&bytes[..], &[0]].concat()).unwrap_err();
    for at in 0..bytes.len() {
        for value in [0, 1, 0x7f, 0xff, bytes[at] ^ 0x20] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            // Some are other blocks; none panics or asks for more memory than there are bytes.
            let _ = BlockRecord::decode(&damaged);
        }
    }
    let mut newer = bytes;
    newer[0] = 2;
    assert_eq!(BlockRecord::decode(&newer).unwrap_err(), BlockRecordError::Version(2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Changes of every kind, removed accounts among them.
    #[test]
    fn blocks_with_any_changes_come_back(
        blocks in proptest::collection::vec(changes(), 1..4),
        wiped: bool,
    ) {
        let mut model = Model::new(genesis());
        for changes in &blocks {
            let mut block = model.build(changes, 7);
            assert_kept(&block);
            block.diff.accounts.values_mut().for_each(|change| change.wiped = wiped);
            assert_kept(&block);
            block.diff.accounts.values_mut().for_each(|change| change.wiped = false);
            model.push(block, changes);
        }
    }

    #[test]
    fn any_bytes_are_read_without_harm(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let _ = BlockRecord::decode(&bytes);
        let _ = BlockRecord::decode(&[&[1][..], &bytes].concat());
    }
}
