//! The case `log`: append and wait of the order log, beside a bare write and fdatasync of the same
//! bytes to a plain file in the same directory, in turns. Checks nothing; the tests do.

use crate::report::Report;
use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    primitives::{Address, B256, Signature, TxKind, U256},
};
use anyhow::Context;
use executor::{
    BlockInput, Genesis, L1Origin, Mode, RollupRules, Transaction, execute,
    genesis::{GenesisAccount, GenesisL1},
};
use sequencer::store::log::{
    BlockRecord, DirectoryFiles, LogConfig, LogError, OrderLog, Record, RecordKind,
    SEGMENT_BYTES_MAX,
};
use std::{
    collections::BTreeMap,
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

/// Transactions of the block that is a case of its own.
const BLOCK_TRANSACTIONS: u64 = 1000;
/// Appends before the clock runs: the first ones allocate.
const WARM_UP: usize = 8;

/// Target for the block's median, as a multiple of the bare one.
const TARGET_RATIO: f64 = 3.0;

/// Measures the case.
pub(crate) fn measure(directory: &Path, appends: usize, report: &Report) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)?;
    let block = block_record()?;
    let started = Instant::now();
    BlockRecord::decode(&block)?;
    let decoding = started.elapsed();
    let sizes = [1 << 10, 10 << 10, 100 << 10, 1 << 20];
    let noise = |bytes: usize| -> Vec<u8> {
        (0..bytes as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
    };
    let cases = sizes.map(|bytes| (format!("{}KiB", bytes >> 10), noise(bytes)));
    for (case, payload) in cases {
        append_each(directory, &case, &payload, appends)?.print(&case, payload.len(), report);
    }
    let case = format!("block-{BLOCK_TRANSACTIONS}-transactions");
    let times = append_each(directory, &case, &block, appends)?;
    times.print(&case, block.len(), report);
    let ratio = percentile(&times.log, 50) as f64 / percentile(&times.bare, 50).max(1) as f64;
    report.say(&format!(
        "    the block's p50 is {ratio:.2} times the bare one (target < {TARGET_RATIO}); reading its \
         record back takes {decoding:.1?}"
    ));
    Ok(())
}

struct Times {
    log: Vec<Duration>,
    bare: Vec<Duration>,
}

impl Times {
    fn print(&self, case: &str, bytes: usize, report: &Report) {
        let (p50, p99) = (percentile(&self.log, 50), percentile(&self.log, 99));
        let (bare_p50, bare_p99) = (percentile(&self.bare, 50), percentile(&self.bare, 99));
        if report.is_json() {
            println!(
                r#"{{"case":"log-{case}","bytes":{bytes},"p50_us":{p50},"p99_us":{p99},"bare_p50_us":{bare_p50},"bare_p99_us":{bare_p99}}}"#
            );
            return;
        }
        println!(
            "{case:>24} {bytes:>9} bytes: p50 {p50:>6} us, p99 {p99:>6} us; \
             bare p50 {bare_p50:>6} us, p99 {bare_p99:>6} us"
        );
    }
}

fn percentile(times: &[Duration], percent: usize) -> u128 {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(index).map_or(0, Duration::as_micros)
}

fn append_each(
    directory: &Path,
    case: &str,
    payload: &[u8],
    appends: usize,
) -> anyhow::Result<Times> {
    let files = Arc::new(DirectoryFiles::new(&directory.join(case))?);
    let config = LogConfig { chain: B256::ZERO, segment_bytes_max: SEGMENT_BYTES_MAX };
    let log = OrderLog::open(files, config, 0, |_: Record<'_>| Ok::<_, LogError>(()))?;
    let bare = File::create(directory.join(format!("{case}.bare")))?;
    let mut times = Times { log: Vec::new(), bare: Vec::new() };
    let mut offset = 0;
    for round in 0..appends + WARM_UP {
        let started = Instant::now();
        log.wait(&log.append(RecordKind::Block, round as u64, payload)?)?;
        let appended = started.elapsed();
        let started = Instant::now();
        bare.write_all_at(payload, offset)?;
        bare.sync_data()?;
        let written = started.elapsed();
        offset += payload.len() as u64;
        if round >= WARM_UP {
            times.log.push(appended);
            times.bare.push(written);
        }
        // As the fold does: what the database has is dropped.
        log.drop_through(log.durable_position(), 0)?;
    }
    Ok(times)
}

fn sender(index: u64) -> Address {
    Address::from_word(U256::from(0x1_0000 + index).into())
}

/// The record of a block of payments between strangers.
fn block_record() -> anyhow::Result<Vec<u8>> {
    let genesis = genesis();
    let (state, header, hash) = genesis.build()?;
    let origin = L1Origin {
        number: genesis.l1.origin_number,
        hash: genesis.l1.origin_hash,
        parent_hash: B256::ZERO,
        timestamp: genesis.timestamp,
        base_fee_wei: 1,
        blob_base_fee_wei: 1,
        prevrandao: B256::ZERO,
    };
    let rules = genesis.chain_rules();
    let attributes = (&origin, 1);
    let input =
        BlockInput::rollup(&rules, (&header, hash), attributes, header.timestamp + 1, Vec::new());
    let payments = (0..BLOCK_TRANSACTIONS).map(|index| payment(genesis.rules.chain_id, index));
    let block = execute(&state, &input.with_transactions(payments), Mode::Automatic)?;
    let skipped = block.skipped.first().map(|skipped| format!("{:?}", skipped.reason));
    anyhow::ensure!(skipped.is_none(), "a payment was skipped: {}", skipped.unwrap_or_default());
    let encoded = BlockRecord::encode(&block);
    let decoded = BlockRecord::decode(&encoded).context("the block does not read back")?;
    anyhow::ensure!(decoded.hash == block.hash, "the block reads back as another one");
    Ok(encoded)
}

fn payment(chain_id: u64, index: u64) -> Transaction {
    let unsigned = TxEip1559 {
        chain_id,
        gas_limit: 21_000,
        max_fee_per_gas: 1_000_000_000,
        to: TxKind::Call(Address::from_word(U256::from(0x9_0000 + index).into())),
        value: U256::from(1_000_000_000 + index),
        ..TxEip1559::default()
    };
    // Execution trusts the sender that admission recovered. As long as a real signature.
    let signature = Signature::new(U256::MAX >> 1, U256::MAX >> 2, false);
    Transaction::from_signed(unsigned.into_signed(signature).into(), sender(index))
}

fn genesis() -> Genesis {
    let balance = U256::from(10_u128.pow(20));
    let rich = |index| (sender(index), GenesisAccount { balance, ..GenesisAccount::default() });
    Genesis {
        rules: RollupRules::default(),
        timestamp: 1_700_000_000,
        alloc: (0..BLOCK_TRANSACTIONS).map(rich).collect(),
        l1: GenesisL1 {
            chain_id: 1,
            origin_number: 10,
            origin_hash: B256::repeat_byte(10),
            blob_schedule: BTreeMap::new(),
            inbox: Address::ZERO,
            outputs: Address::ZERO,
            portal: Address::ZERO,
        },
    }
}
