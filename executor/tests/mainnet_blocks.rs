//! Real Ethereum blocks from Frontier to Prague, and the synthetic workloads: the signed transactions
//! are put together again and must have their real hashes and senders; executed in every mode, a
//! block must have its real gas used, bloom and receipts root, and be the same block.

use crate::{
    access_list,
    files::{self, File, input, state},
    modes,
};
use alloy::primitives::{Address, B256, Bytes, U256, address, b256};
use executor::{
    Account, BlockEnv, BlockInput, ChainRules, EthereumRules, ExecuteError, MemoryState, StateDiff,
    StateView, Transaction, state::AccountDiff,
};
use revm::primitives::hardfork::SpecId;
use std::sync::Arc;

/// Every block of the data with an expected result.
const BLOCKS: [u64; 32] = [
    46_147, 116_525, 1_796_867, 2_179_522, 2_462_997, 2_674_998, 4_330_482, 4_370_000, 5_526_571,
    5_891_667, 6_196_166, 7_280_000, 8_889_776, 9_068_998, 11_114_732, 12_243_999, 12_459_406,
    12_520_364, 13_217_637, 15_274_915, 15_537_394, 15_538_827, 17_666_333, 19_426_586, 19_426_587,
    19_917_570, 19_923_400, 19_929_064, 19_932_148, 19_932_703, 19_933_122, 19_933_597,
];

/// State root and receipts root of the older blocks on the part of the state that is in the data,
/// where Ethereum's own cannot be had: computed by the executable specification of Ethereum
/// (`ethereum-spec-evm t8n` of `ethereum-execution` 2.20.0, reward 5 ether, no ommers).
const ROOTS_OF_PARTIAL_STATE: [(u64, B256, B256); 7] = [
    (
        46_147,
        b256!("0x1b90c87b29b28cf86b3f0165672739145960c06f65d1a71f0d538fdc05d86fa3"),
        b256!("0xf6aefee325f779936b7193ce8f1e382a8f00270f7e3501ca1e011ef672e7e3a6"),
    ),
    (
        116_525,
        b256!("0x6ad0cff657743654fe4ac81292beb897466495486ec52dd1c347ce59d7b737a5"),
        b256!("0x8c2c28f0b44e8eee343c1127e98e3d4d024bebea046cd9ec207a6d76cdd0876b"),
    ),
    (
        1_796_867,
        b256!("0x9ff441d7479e1c178a4d6d2e70929692f93c2d92ed7188f22eba1081b20c69ca"),
        b256!("0x0566b05908d5889053becc30063637f7226ab185fbff3b9a52d2bd3dbb0af835"),
    ),
    (
        2_179_522,
        b256!("0xcb53722d746fa5e9166fdfea29efc51b6f169e18d7d8bb3aaf5b26b85db84e82"),
        b256!("0xce9818fd684545cb82605aa3ff255e60e05ab90959925eadeff2cdfa175a4603"),
    ),
    (
        2_462_997,
        b256!("0x1d01d02bc5e6fa7718dd047b7bd012cab7cd4a149577bab9b6b579ad5969515d"),
        b256!("0x44fb5c2d0834ed4f21c3f98fe822ffc577b43a7291dd07a5c854fe470fee46f0"),
    ),
    (
        2_674_998,
        b256!("0x38d157495034ee155a30d56d13602cf5546bca59cfe35d057c0a4101c6bac32a"),
        b256!("0x45f1076e11ad9f15dc8a19fb8fb96ce8e89a0504682a5d4883f0730343379752"),
    ),
    (
        4_330_482,
        b256!("0x44d02f9436dbc7e63fd420ef0b667fd7f3594772fc3da4fe7aceb0c7c8172940"),
        b256!("0x233c022a995500988da533a308f60075705f8d9ae52a20022ef82ca1eecf6b92"),
    ),
];

const WORKLOADS: [&str; 8] = [
    "raw_pair",
    "raw_hot_to",
    "erc20_pair",
    "erc20_fam10",
    "erc20_hot_to",
    "uni_20pools",
    "uni_hot",
    "hybrid_30",
];

/// Transactions of a workload that a test executes: enough for every contract of it, and few enough
/// for the development profile.
const WORKLOAD_TRANSACTIONS: usize = 1_000;

fn read(number: u64) -> Option<File> {
    files::read(&format!("mainnet-blocks/{number}.json.xz"))
}

#[test]
fn real_blocks_give_their_gas_bloom_and_receipts_in_every_mode() {
    let mut gas = 0;
    for number in BLOCKS {
        let Some(file) = read(number) else { return };
        let expected = file.expected.as_ref().unwrap();
        let input = input(&file);
        let block = modes::execute(&state(&file), &input);
        assert!(block.skipped.is_empty(), "block {number}: {:?}", block.skipped[0].reason);
        assert_eq!(block.header.gas_used, expected.gas_used, "block {number}");
        assert_eq!(block.header.logs_bloom, expected.logs_bloom, "block {number}");
        // Older receipts hold roots of the whole state, of which the data has a part.
        let partial = ROOTS_OF_PARTIAL_STATE.iter().find(|(block, ..)| *block == number);
        assert_eq!(partial.is_some(), input.rules.receipts_have_roots());
        let receipts_root = partial.map_or(expected.receipts_root, |(.., receipts)| *receipts);
        assert_eq!(block.header.receipts_root, receipts_root, "block {number}");
        if let Some((_, state_root, _)) = partial {
            assert_eq!(block.header.state_root, *state_root, "block {number}");
        }
        gas += block.header.gas_used;
    }
    let blocks = BLOCKS.len();
    println!("mainnet blocks: {blocks} executed in every mode, {gas} gas");
}

#[test]
fn a_prague_block_is_the_same_in_every_mode() {
    let Some(file) = read(22_546_209) else { return };
    let input = input(&file);
    let block = modes::execute(&state(&file), &input);
    let (included, skipped) = (block.receipts.len(), block.skipped.len());
    assert_eq!((included, skipped), (input.transactions.len(), 0));
    println!("block 22546209: {included} transactions, {} gas", block.header.gas_used);
}

#[test]
fn workloads_are_the_same_in_every_mode() {
    for name in WORKLOADS {
        let Some(mut file) = files::read(&format!("workloads/{name}.json.xz")) else { return };
        file.txs.truncate(WORKLOAD_TRANSACTIONS);
        let block = modes::execute(&state(&file), &input(&file));
        assert_eq!((block.receipts.len(), block.skipped.len()), (WORKLOAD_TRANSACTIONS, 0));
        assert!(block.receipts.iter().all(|receipt| receipt.success), "{name}");
        println!("workload {name}: {WORKLOAD_TRANSACTIONS} transactions in every mode");
    }
}

#[test]
fn real_signatures_recover_to_their_senders() {
    let Some(file) = read(19_933_597) else { return };
    for (tx, transaction) in file.txs.iter().zip(input(&file).transactions) {
        let decoded = Transaction::decode_signed(transaction.raw().clone()).unwrap();
        assert_eq!((decoded.sender(), decoded.hash()), (tx.from, transaction.hash()));
    }
}

/// The fork's block before any transaction, on a state of three accounts.
fn dao_fork_block(chain_id: u64, number: u64) -> [U256; 3] {
    let the_dao = address!("0xbb9bc244d798123fde783fcc1c72d3bb8c189413");
    let last_child = address!("0x807640a13483f8ac783c557fcdf27be11ea4ac7a");
    let recipient = address!("0xbf4ed7b27f1d666546e30d74d50d173d20bca754");
    let mut diff = StateDiff::default();
    for (address, wei) in [(the_dao, 7), (last_child, 5), (recipient, 1)] {
        let account = Account { balance_wei: U256::from(wei), ..Account::default() };
        let change = AccountDiff { after: Some(account), ..AccountDiff::default() };
        diff.accounts.insert(address, change);
    }
    let mut before = MemoryState::default();
    before.apply(&diff).unwrap();
    let input = empty_block(chain_id, number, SpecId::HOMESTEAD);
    let block = modes::execute(&before, &input);
    access_list::check(&before, &input, &block);
    before.apply_block(&block).unwrap();
    [the_dao, last_child, recipient].map(|address| {
        before.account(address).unwrap().map_or(U256::MAX, |account| account.balance_wei)
    })
}

fn empty_block(chain_id: u64, number: u64, spec: SpecId) -> BlockInput {
    let env = BlockEnv {
        number,
        parent_hash: B256::ZERO,
        timestamp: 1_469_020_840,
        beneficiary: Address::ZERO,
        gas_limit: 4_712_384,
        base_fee_wei: None,
        prevrandao: B256::ZERO,
        difficulty: U256::from(62_413_376_722_602u64),
        parent_beacon_block_root: None,
        excess_blob_gas: None,
        withdrawals: None,
        ommers: Vec::new(),
        extra_data: Bytes::new(),
    };
    let rules = Arc::new(ChainRules::Ethereum(EthereumRules { chain_id, spec }));
    BlockInput { rules, env, transactions: Vec::new() }
}

#[test]
fn the_dao_fork_moves_ether_at_one_block_of_one_chain() {
    let stays = [7, 5, 1].map(U256::from);
    assert_eq!(dao_fork_block(1, 1_920_000), [0, 0, 13].map(U256::from));
    assert_eq!(dao_fork_block(1, 1_919_999), stays);
    assert_eq!(dao_fork_block(1, 1_920_001), stays);
    assert_eq!(dao_fork_block(61, 1_920_000), stays);
}

#[test]
fn a_hardfork_after_osaka_is_refused() {
    let input = empty_block(1, 30_000_000, SpecId::AMSTERDAM);
    for mode in modes::MODES {
        let refused = executor::execute(&MemoryState::default(), &input, mode);
        assert!(matches!(refused, Err(ExecuteError::UnsupportedSpec { .. })));
    }
}
