//! The fees beside gas as clients meet them: receipts, the oracle, estimates and refusals agree with
//! what balances say was charged.

use crate::{
    chain::{READER, REVERTER},
    node::{FEE_WEI, Node, calling, quantity, raw, transfer},
};
use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    primitives::{Address, Bytes, TxKind, U256},
    sol_types::SolCall,
};
use contracts::{GAS_PRICE_ORACLE, GasPriceOracle, L1_BLOCK, L1Block};
use executor::{
    FeeRules,
    fees::{L1_FEE_VAULT, OPERATOR_FEE_VAULT},
};
use sequencer::store::StoredBlock;
use serde_json::{Value, json};

fn wei(value: &Value) -> U256 {
    value.as_str().unwrap_or_else(|| panic!("no quantity: {value}")).parse().unwrap()
}

async fn balance(node: &Node, of: Address, block: u64) -> U256 {
    wei(&node.call("eth_getBalance", json!([of, format!("{block:#x}")])).await)
}

async fn ask(node: &Node, to: Address, call: impl SolCall) -> U256 {
    let data = Bytes::from(call.abi_encode());
    wei(&node.call("eth_call", json!([{ "to": to, "data": data }])).await)
}

async fn mine(node: &Node, transactions: impl IntoIterator<Item = Bytes>) -> StoredBlock {
    for transaction in transactions {
        node.call("eth_sendRawTransaction", json!([transaction])).await;
    }
    node.mine()
}

/// Of a receipt: gas used x price, L1 data fee, operator fee.
fn paid(receipt: &Value) -> [U256; 3] {
    let gas = U256::from(quantity(&receipt["gasUsed"]));
    let scaled = gas * wei(&receipt["operatorFeeScalar"]) / U256::from(1_000_000);
    [
        gas * wei(&receipt["effectiveGasPrice"]),
        wei(&receipt["l1Fee"]),
        scaled + wei(&receipt["operatorFeeConstant"]),
    ]
}

#[tokio::test]
async fn receipts_say_what_senders_pay_and_vaults_get() {
    let node = Node::start().await;
    let (alice, bob) = (node.alice.address(), node.bob.address());
    let cover = TxEip1559 { max_priority_fee_per_gas: 5, ..transfer(0) };
    let block = mine(
        &node,
        [
            raw(&node.alice, transfer(0)),
            raw(&node.bob, calling(0, REVERTER, vec![7; 300])),
            raw(&node.alice, calling(1, READER, Bytes::new())),
            raw(&node.bob, TxEip1559 { nonce: 1, gas_limit: 50_000, ..cover }),
        ],
    )
    .await;
    assert_eq!(block.transactions.len(), 5, "attributes and four");
    let receipts = node.call("eth_getBlockReceipts", json!(["0x1"])).await;
    let mut sums = [U256::ZERO; 3];
    // Both send one wei each, to somebody else.
    let mut spent = [(alice, U256::ONE), (bob, U256::ONE)];
    for receipt in &receipts.as_array().unwrap()[1..] {
        let hash = &receipt["transactionHash"];
        let alone = node.call("eth_getTransactionReceipt", json!([hash])).await;
        assert_eq!(alone, *receipt, "the same from both methods");
        let paid = paid(receipt);
        assert!(paid.iter().all(|wei| *wei > U256::ZERO), "{receipt}");
        let from: Address = receipt["from"].as_str().unwrap().parse().unwrap();
        let sender = spent.iter_mut().find(|(address, _)| *address == from).unwrap();
        for (sum, wei) in sums.iter_mut().zip(paid) {
            *sum += wei;
            sender.1 += wei;
        }
    }
    for (address, spent) in spent {
        let before = balance(&node, address, 0).await;
        assert_eq!(before - balance(&node, address, 1).await, spent, "{address}");
    }
    assert_eq!(balance(&node, L1_FEE_VAULT, 0).await, U256::ZERO);
    assert_eq!(balance(&node, L1_FEE_VAULT, 1).await, sums[1]);
    assert_eq!(balance(&node, OPERATOR_FEE_VAULT, 1).await, sums[2]);
}

#[tokio::test]
async fn a_receipt_has_op_geths_fields() {
    let node = Node::start().await;
    let bytes = raw(&node.alice, transfer(0));
    let block = mine(&node, [bytes.clone()]).await;
    let hash = block.transactions[1].hash();
    let receipt = node.call("eth_getTransactionReceipt", json!([hash])).await;
    let rules = FeeRules::default();
    let size = rules.size.signed_millionths(&bytes);
    let gas = size * 16 / 1_000_000;
    // The base fees are those of the test chain's L1 origin.
    let byte_price = U256::from(16 * u64::from(rules.l1_base_fee_scalar))
        * U256::from(1_000_000_000)
        + U256::from(rules.l1_blob_base_fee_scalar) * U256::from(3);
    let fee = U256::from(size) * byte_price / U256::from(1_000_000_000_000_u64);
    for (key, value) in [
        ("l1GasPrice", json!("0x3b9aca00")),
        ("l1GasUsed", json!(format!("{gas:#x}"))),
        ("l1Fee", json!(format!("{fee:#x}"))),
        ("l1BaseFeeScalar", json!(format!("{:#x}", rules.l1_base_fee_scalar))),
        ("l1BlobBaseFee", json!("0x3")),
        ("l1BlobBaseFeeScalar", json!(format!("{:#x}", rules.l1_blob_base_fee_scalar))),
        ("operatorFeeScalar", json!(format!("{:#x}", rules.operator_fee_scalar))),
        ("operatorFeeConstant", json!(format!("{:#x}", rules.operator_fee_constant_wei))),
    ] {
        assert_eq!(receipt[key], value, "{key}");
    }
    assert!(receipt.get("l1FeeScalar").is_none(), "gone since Ecotone");
    let attributes = block.transactions[0].hash();
    let receipt = node.call("eth_getTransactionReceipt", json!([attributes])).await;
    let names = receipt.as_object().unwrap().keys();
    let about_fees: Vec<_> =
        names.filter(|key| key.starts_with("l1") || key.starts_with("op")).collect();
    assert!(about_fees.is_empty(), "{about_fees:?}");
}

#[tokio::test]
async fn the_oracle_answers_what_is_charged() {
    let node = Node::start().await;
    node.mine();
    for (nonce, input) in [vec![], vec![0; 500], (0..=255).collect()].into_iter().enumerate() {
        let cover = TxEip1559 { gas_limit: 100_000, ..transfer(nonce as u64) };
        let unsigned = TxEip1559 { input: Bytes::from(input), ..cover };
        let mut before_signing = Vec::new();
        unsigned.encode_for_signing(&mut before_signing);
        let asked = GasPriceOracle::getL1FeeCall { data: before_signing.into() };
        let most = ask(&node, GAS_PRICE_ORACLE, asked).await;
        let bytes = raw(&node.alice, unsigned);
        let asked = GasPriceOracle::getL1FeeSignedCall { raw: bytes.clone() };
        let exact = ask(&node, GAS_PRICE_ORACLE, asked).await;
        let block = mine(&node, [bytes]).await;
        let hash = block.transactions[1].hash();
        let receipt = node.call("eth_getTransactionReceipt", json!([hash])).await;
        let [_, l1, operator] = paid(&receipt);
        assert_eq!(exact, l1);
        assert!(most >= l1 && most - l1 <= l1 / U256::from(5), "{most} {l1}");
        let gas = U256::from(quantity(&receipt["gasUsed"]));
        let asked = GasPriceOracle::getOperatorFeeCall { gasUsed: gas };
        assert_eq!(ask(&node, GAS_PRICE_ORACLE, asked).await, operator);
        let same = |key: &str| wei(&receipt[key]);
        let oracle = GAS_PRICE_ORACLE;
        assert_eq!(ask(&node, oracle, GasPriceOracle::l1BaseFeeCall {}).await, same("l1GasPrice"));
        let scalar = ask(&node, oracle, GasPriceOracle::baseFeeScalarCall {}).await;
        assert_eq!(scalar, same("l1BaseFeeScalar"));
        let constant = ask(&node, L1_BLOCK, L1Block::operatorFeeConstantCall {}).await;
        assert_eq!(constant, same("operatorFeeConstant"));
    }
}

#[tokio::test]
async fn a_total_fee_covers_what_is_charged() {
    let node = Node::start().await;
    node.mine();
    let alice = node.alice.address();
    let to = Address::repeat_byte(0xcc);
    let bid = json!({
        "from": alice, "to": to, "value": "0x1", "data": "0x0102030000ff",
        "maxFeePerGas": format!("{FEE_WEI:#x}"), "maxPriorityFeePerGas": "0x1",
    });
    let total = node.call("rollup_estimateTotalFee", json!([bid])).await;
    let gas = node.call("eth_estimateGas", json!([bid])).await;
    assert_eq!(total["gas"], gas);
    let part = |key: &str| wei(&total[key]);
    assert_eq!(part("l2Fee"), part("gas") * part("gasPrice"));
    assert_eq!(part("totalFee"), part("l2Fee") + part("l1Fee") + part("operatorFee"));
    let unsigned = TxEip1559 {
        to: TxKind::Call(to),
        gas_limit: quantity(&gas),
        input: "0x0102030000ff".parse().unwrap(),
        ..transfer(0)
    };
    let block = mine(&node, [raw(&node.alice, unsigned)]).await;
    let hash = block.transactions[1].hash();
    let receipt = node.call("eth_getTransactionReceipt", json!([hash])).await;
    let [l2, l1, operator] = paid(&receipt);
    assert_eq!(receipt["effectiveGasPrice"], total["gasPrice"], "the bid as the block charges it");
    assert!(part("l2Fee") >= l2 && part("l1Fee") >= l1 && part("operatorFee") >= operator);
    let charged = l2 + l1 + operator;
    assert!(part("totalFee") - charged <= charged / U256::from(10), "{total} {receipt}");

    // Without a bid the price is eth_gasPrice, and somebody without ether may ask.
    let free = json!({ "from": Address::repeat_byte(0x31), "to": to });
    let total = node.call("rollup_estimateTotalFee", json!([free])).await;
    assert_eq!(total["gasPrice"], node.call("eth_gasPrice", json!([])).await);
    assert_eq!(total["gas"], "0x5208");
    let reverts = json!([{ "to": REVERTER, "data": "0x08c379a0" }]);
    let refused = node.fails("rollup_estimateTotalFee", reverts.clone()).await;
    assert_eq!(refused, node.fails("eth_estimateGas", reverts).await);
    assert_eq!(node.fails("rollup_estimateTotalFee", json!([])).await.0, -32602);
}

/// Holds enough for gas and value, and not for the fees beside them.
#[tokio::test]
async fn who_cannot_pay_all_fees_is_told_so_everywhere() {
    let node = Node::start().await;
    node.mine();
    let poor = alloy::signers::local::PrivateKeySigner::from_slice(&[9; 32]).unwrap();
    let gas_cost = U256::from(21_000) * U256::from(FEE_WEI);
    let give =
        TxEip1559 { to: TxKind::Call(poor.address()), value: gas_cost + U256::ONE, ..transfer(0) };
    mine(&node, [raw(&node.alice, give)]).await;
    let bytes = raw(&poor, transfer(0));
    let words = "insufficient funds for gas * price + value";
    let (code, message) = node.fails("eth_sendRawTransaction", json!([bytes])).await;
    assert!(code == -32000 && message.starts_with(words), "{code} {message}");
    let call = json!([{
        "from": poor.address(), "to": Address::repeat_byte(0xbb), "value": "0x1",
        "gas": "0x5208", "maxFeePerGas": format!("{FEE_WEI:#x}"),
    }]);
    for method in ["eth_estimateGas", "eth_call", "rollup_estimateTotalFee"] {
        let (code, message) = node.fails(method, call.clone()).await;
        assert!(code == -32000 && message.starts_with(words), "{method}: {code} {message}");
    }
    // A little more, and all of them let it through.
    let most = node.call("rollup_estimateTotalFee", json!([{ "to": poor.address() }])).await;
    let more = (wei(&most["l1Fee"]) + wei(&most["operatorFee"])) * U256::from(2);
    let give = TxEip1559 { to: TxKind::Call(poor.address()), value: more, ..transfer(1) };
    mine(&node, [raw(&node.alice, give)]).await;
    for method in ["eth_estimateGas", "eth_call", "rollup_estimateTotalFee"] {
        node.call(method, call.clone()).await;
    }
    let block = mine(&node, [bytes]).await;
    assert_eq!(block.transactions.len(), 2);
    assert_eq!(block.transactions[1].sender(), poor.address());
}

/// Two transactions of one sender are counted together, with the fees beside gas of both.
#[tokio::test]
async fn what_is_queued_counts_with_all_its_fees() {
    let node = Node::start().await;
    node.mine();
    let poor = alloy::signers::local::PrivateKeySigner::from_slice(&[9; 32]).unwrap();
    let gas_cost = U256::from(21_000) * U256::from(FEE_WEI);
    let most = node.call("rollup_estimateTotalFee", json!([{ "to": poor.address() }])).await;
    let beside = wei(&most["l1Fee"]) + wei(&most["operatorFee"]);
    // Enough for two in gas and value, and for the other fees of one.
    let value = (gas_cost + U256::ONE) * U256::from(2) + beside;
    let give = TxEip1559 { to: TxKind::Call(poor.address()), value, ..transfer(0) };
    mine(&node, [raw(&node.alice, give)]).await;
    node.call("eth_sendRawTransaction", json!([raw(&poor, transfer(0))])).await;
    let (code, _) = node.fails("eth_sendRawTransaction", json!([raw(&poor, transfer(1))])).await;
    assert_eq!(code, -32000);
}
