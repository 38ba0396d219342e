//! The GasPriceOracle predeploy answers what is charged: its committed code, in the state that
//! genesis and a block's L1 attributes make, against the functions that charge.

use crate::support::{Chain, data, genesis};
use alloy::{
    primitives::{Address, Bytes, U256},
    sol,
    sol_types::{SolCall, SolValue},
};
use executor::{
    FeeRules, FeeSchedule, Genesis, MemoryState, RollupRules,
    call::{self, CallRequest, CallStatus},
    deposit::L1_BLOCK_ADDRESS,
    fees::{GAS_PRICE_ORACLE_ADDRESS, SIGNATURE_BYTES_MAX, SizeModel},
    genesis::GenesisAccount,
    state::Overlay,
};

sol! {
    function getL1Fee(bytes data) external returns (uint256);
    function getL1FeeSigned(bytes raw) external returns (uint256);
    function getL1GasUsed(bytes data) external returns (uint256);
    function getL1FeeUpperBound(uint256 size) external returns (uint256);
    function getOperatorFee(uint256 gas) external returns (uint256);
    function baseFeeScalar() external returns (uint32);
    function blobBaseFeeScalar() external returns (uint32);
    function operatorFeeScalar() external returns (uint32);
    function operatorFeeConstant() external returns (uint64);
    function l1BaseFee() external returns (uint256);
    function blobBaseFee() external returns (uint256);
    function sizeMinMillionths() external returns (uint32);
}

/// The committed code of a contract.
fn code(name: &str) -> Bytes {
    let path = format!("{}/../contracts/artifacts/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let artifact: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    artifact["deployedBytecode"].as_str().unwrap().parse().unwrap()
}

/// Parameters that are all different, and none of them a default.
fn odd() -> FeeRules {
    FeeRules {
        l1_base_fee_scalar: 5_227,
        l1_blob_base_fee_scalar: 1_014_213,
        operator_fee_scalar: 3_000_000_007,
        operator_fee_constant_wei: 0x1_0000_0000_0001,
        size: SizeModel {
            zero_byte_millionths: 150_000,
            other_byte_millionths: 836_500,
            discount_millionths: 42_585_600,
            size_min_millionths: 100_000_000,
        },
    }
}

/// A chain of these parameters after its first block.
fn chain(fees: FeeRules) -> Chain {
    let predeploy = |name| GenesisAccount { nonce: 1, code: code(name), ..Default::default() };
    let alloc = [
        (L1_BLOCK_ADDRESS, predeploy("L1Block")),
        (GAS_PRICE_ORACLE_ADDRESS, predeploy("GasPriceOracle")),
    ];
    let rules = RollupRules { fees, ..RollupRules::default() };
    let mut chain = Chain::from_genesis(&Genesis { rules, ..genesis(alloc) });
    let block = chain.advance(vec![], &[]);
    assert!(block.receipts[0].success, "the attributes are set");
    chain
}

/// The chain's fees with the L1 base fees of a caller's choice.
struct Oracle<'c> {
    chain: &'c Chain,
    l1_base_fee_wei: u64,
    l1_blob_base_fee_wei: u128,
}

impl Oracle<'_> {
    fn overlay(&self) -> Overlay<'_, MemoryState> {
        let mut overlay = Overlay::new(&self.chain.state);
        let fees =
            [(1, U256::from(self.l1_base_fee_wei)), (7, U256::from(self.l1_blob_base_fee_wei))];
        for (slot, wei) in fees {
            overlay.set_slot(L1_BLOCK_ADDRESS, U256::from(slot), wei).unwrap();
        }
        overlay
    }

    fn schedule(&self) -> FeeSchedule {
        FeeSchedule::of_overlay(&self.chain.rules, &mut self.overlay()).unwrap().unwrap()
    }

    fn ask_at(&self, to: Address, call: impl SolCall) -> U256 {
        let request =
            CallRequest { to: to.into(), input: call.abi_encode().into(), ..Default::default() };
        let env = self.chain.input(vec![], &[]).env;
        let outcome = call::call(self.overlay(), &self.chain.rules, &env, &request);
        let outcome = outcome.unwrap().unwrap();
        assert_eq!(outcome.status, CallStatus::Success);
        U256::abi_decode(&outcome.output).unwrap()
    }

    fn ask(&self, call: impl SolCall) -> U256 {
        self.ask_at(GAS_PRICE_ORACLE_ADDRESS, call)
    }

    /// Everything that can be asked about some bytes, taken as signed and as unsigned.
    fn compare(&self, bytes: &Bytes) {
        let fees = self.schedule();
        let signed = self.ask(getL1FeeSignedCall { raw: bytes.clone() });
        assert_eq!(signed, fees.l1_fee_wei(bytes), "signed {bytes}");
        let unsigned = self.ask(getL1FeeCall { data: bytes.clone() });
        assert_eq!(unsigned, fees.l1_fee_unsigned_wei(bytes), "unsigned {bytes}");
        let gas = fees.rules().size.unsigned_millionths(bytes) * 16 / 1_000_000;
        assert_eq!(self.ask(getL1GasUsedCall { data: bytes.clone() }), U256::from(gas));
        let bound = self.ask(getL1FeeUpperBoundCall { size: U256::from(bytes.len()) });
        assert!(bound >= unsigned && unsigned >= signed);
    }
}

#[test]
fn the_parameters_of_genesis_are_the_oracles() {
    for rules in [FeeRules::default(), odd()] {
        let chain = chain(rules);
        // As the block's attributes left them.
        let oracle = Oracle { chain: &chain, l1_base_fee_wei: 7, l1_blob_base_fee_wei: 1 };
        assert_eq!(
            FeeSchedule::of_state(&chain.rules, &chain.state).unwrap(),
            Some(oracle.schedule())
        );
        assert_eq!(oracle.schedule(), FeeSchedule::new(&rules, 7, 1));
        assert_eq!(oracle.ask(baseFeeScalarCall {}), U256::from(rules.l1_base_fee_scalar));
        assert_eq!(oracle.ask(blobBaseFeeScalarCall {}), U256::from(rules.l1_blob_base_fee_scalar));
        assert_eq!(oracle.ask(l1BaseFeeCall {}), U256::from(7));
        assert_eq!(oracle.ask(blobBaseFeeCall {}), U256::from(1));
        let at_l1_block = |call| oracle.ask_at(L1_BLOCK_ADDRESS, call);
        assert_eq!(at_l1_block(operatorFeeScalarCall {}), U256::from(rules.operator_fee_scalar));
        let constant = oracle.ask_at(L1_BLOCK_ADDRESS, operatorFeeConstantCall {});
        assert_eq!(constant, U256::from(rules.operator_fee_constant_wei));
        let least = oracle.ask(sizeMinMillionthsCall {});
        assert_eq!(least, U256::from(rules.size.size_min_millionths));
        for gas in [0, 1, 21_000, 999_999, 1 << 24, u64::MAX] {
            let fee = oracle.ask(getOperatorFeeCall { gas: U256::from(gas) });
            assert_eq!(fee, oracle.schedule().operator_fee_wei(gas), "{gas}");
        }
    }
}

#[test]
fn the_oracle_charges_made_up_bytes_as_the_chain_does() {
    let most = executor::transaction::TRANSACTION_BYTES_MAX - SIGNATURE_BYTES_MAX as usize;
    for rules in [FeeRules::default(), odd()] {
        let chain = chain(rules);
        for (l1_base_fee_wei, l1_blob_base_fee_wei) in
            [(0, 0), (1, 1), (1_000_000_000, 7), (u64::MAX, u128::MAX)]
        {
            let oracle = Oracle { chain: &chain, l1_base_fee_wei, l1_blob_base_fee_wei };
            for length in [0, 1, 24, 31, 32, 33, 117, 118, 4_096, most] {
                oracle.compare(&vec![0; length].into());
                oracle.compare(&vec![0xff; length].into());
                oracle.compare(&(0..length).map(|at| (at % 5) as u8).collect::<Vec<_>>().into());
            }
        }
    }
}

#[test]
fn the_oracle_charges_real_transactions_as_the_chain_does() {
    let (plain, odd) = (chain(FeeRules::default()), chain(odd()));
    let oracle =
        |chain| Oracle { chain, l1_base_fee_wei: 12_345_678_901, l1_blob_base_fee_wei: 31 };
    let oracles = [oracle(&plain), oracle(&odd)];
    let mut compared = 0;
    for name in ["op-mainnet-channel-a", "linea-2024", "ethereum-a"] {
        let Some(data) = data(&format!("transactions/{name}.jsonl.xz")) else { return };
        for line in String::from_utf8(data).unwrap().lines() {
            let block: serde_json::Value = serde_json::from_str(line).unwrap();
            for (index, raw) in block["txs"].as_array().unwrap().iter().enumerate() {
                let raw: Bytes = raw.as_str().unwrap().parse().unwrap();
                oracles[index % oracles.len()].compare(&raw);
                compared += 1;
            }
        }
    }
    println!("{compared} transactions");
    assert!(compared > 5_000);
}
