//! Uniswap v2 from its npm artifacts on L2: liquidity, swaps from 20 accounts, a kill -9 in the
//! middle, and the whole of it verified from L1.

use crate::support::{
    Anvil, Rollup, account, client, ether, node_modules, raw_receipt, transfer, wait_for,
};
use alloy::{
    eips::BlockNumberOrTag,
    network::TransactionBuilder,
    primitives::{Address, B256, Bytes, U256},
    providers::{DynProvider, Provider},
    rpc::types::{TransactionReceipt, TransactionRequest},
    signers::local::PrivateKeySigner,
    sol,
    sol_types::SolValue,
};

sol! {
    #[sol(rpc)]
    #[allow(clippy::too_many_arguments, reason = "the ABI of the router")]
    interface Router {
        function addLiquidityETH(address token, uint256 tokenMax, uint256 tokenMin, uint256 ethMin, address to, uint256 deadline) external payable returns (uint256, uint256, uint256);
        function swapExactETHForTokens(uint256 outMin, address[] path, address to, uint256 deadline) external payable returns (uint256[]);
        function getAmountOut(uint256 amountIn, uint256 reserveIn, uint256 reserveOut) external pure returns (uint256);
    }
    #[sol(rpc)]
    interface Factory {
        function getPair(address a, address b) external view returns (address);
    }
    #[sol(rpc)]
    interface Token {
        function approve(address spender, uint256 value) external returns (bool);
        function balanceOf(address owner) external view returns (uint256);
    }
}

const TRADERS: u64 = 20;
const DEADLINE: U256 = U256::MAX;

fn bytecode(package: &str, contract: &str) -> Vec<u8> {
    let path = node_modules().join(format!("@uniswap/{package}/build/{contract}.json"));
    let text = std::fs::read_to_string(path).unwrap();
    let artifact: serde_json::Value = serde_json::from_str(&text).unwrap();
    alloy::hex::decode(artifact["bytecode"].as_str().unwrap()).unwrap()
}

async fn create(l2: &DynProvider, mut code: Vec<u8>, arguments: Vec<u8>) -> Address {
    code.extend(arguments);
    let request = TransactionRequest::default().with_deploy_code(Bytes::from(code));
    let receipt = l2.send_transaction(request).await.unwrap().get_receipt().await.unwrap();
    assert!(receipt.status());
    receipt.contract_address.unwrap()
}

fn trader(index: u64) -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&B256::from(U256::from(0x5eed_0000 + index))).unwrap()
}

struct Market {
    router: Address,
    weth: Address,
    token: Address,
    pair: Address,
}

async fn open_market(l2: &DynProvider, owner: Address) -> Market {
    let weth = create(l2, bytecode("v2-periphery", "WETH9"), vec![]).await;
    let factory = bytecode("v2-core", "UniswapV2Factory");
    let factory = create(l2, factory, (owner,).abi_encode()).await;
    let router = bytecode("v2-periphery", "UniswapV2Router02");
    let router = create(l2, router, (factory, weth).abi_encode()).await;
    let token = bytecode("v2-periphery", "ERC20");
    let token = create(l2, token, (ether(1_000_000),).abi_encode()).await;
    let erc20 = Token::new(token, l2);
    let approve = erc20.approve(router, U256::MAX);
    assert!(approve.send().await.unwrap().get_receipt().await.unwrap().status());
    let uniswap = Router::new(router, l2);
    let add = uniswap
        .addLiquidityETH(token, ether(500_000), U256::ZERO, U256::ZERO, owner, DEADLINE)
        .value(ether(100));
    assert!(add.send().await.unwrap().get_receipt().await.unwrap().status());
    let pair = Factory::new(factory, l2).getPair(token, weth).call().await.unwrap();
    Market { router, weth, token, pair }
}

async fn swap(rollup: &Rollup, market: &Market, index: u64) -> Option<B256> {
    let l2 = client(&rollup.url(), &trader(index));
    let to = trader(index).address();
    let path = vec![market.weth, market.token];
    let router = Router::new(market.router, &l2);
    let call = router.swapExactETHForTokens(U256::ZERO, path, to, DEADLINE).value(ether(1));
    // The price moves with every swap, and with it the gas.
    Some(*call.gas(200_000).send().await.ok()?.tx_hash())
}

async fn receipt_of(rollup: &Rollup, hash: B256) -> TransactionReceipt {
    let l2 = rollup.client(0);
    wait_for("a receipt", async || raw_receipt(&l2, hash).await).await
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_traders_survive_a_kill_and_verify_from_l1() {
    let Some(anvil) = Anvil::start() else { return };
    let rollup = Rollup::deploy(&anvil);
    let node = rollup.start().await;
    let deposited = rollup.deposit(0, ether(1_000)).await;
    let owner = account(0).address();
    let l2 = rollup.client(0);
    assert_eq!(l2.get_balance(owner).await.unwrap(), ether(1_000));
    let market = open_market(&l2, owner).await;
    for index in 0..TRADERS {
        transfer(&l2, trader(index).address(), ether(2)).await;
    }

    // Half of the swaps have their receipts when the node is killed, the other half is on its way.
    let mut hashes = Vec::new();
    for index in 0..TRADERS / 2 {
        hashes.push(swap(&rollup, &market, index).await.unwrap());
    }
    let mut receipts = vec![deposited];
    for hash in &hashes {
        receipts.push(receipt_of(&rollup, *hash).await);
    }
    let mut on_their_way = Vec::new();
    for index in TRADERS / 2..TRADERS {
        on_their_way.push(swap(&rollup, &market, index).await.unwrap());
    }
    node.kill();
    let _node = rollup.start().await;
    for receipt in &receipts {
        let again = raw_receipt(&l2, receipt.transaction_hash).await;
        assert_eq!(again.as_ref(), Some(receipt), "a receipt that was served is still there");
    }
    // Those without a receipt were admitted, and nobody has to send them again.
    for hash in on_their_way {
        assert!(receipt_of(&rollup, hash).await.status());
    }
    check_balances(&l2, &market).await;

    let head = rollup.height(BlockNumberOrTag::Latest).await;
    rollup.wait_until_safe(head).await;
    assert!(rollup.verify_agrees().await >= head);
}

/// Every trader has the tokens that the constant product gives, whatever the order of the swaps.
async fn check_balances(l2: &DynProvider, market: &Market) {
    let token = Token::new(market.token, l2);
    let router = Router::new(market.router, l2);
    let (mut eth, mut tokens) = (ether(100), ether(500_000));
    let mut expected = Vec::new();
    for _ in 0..TRADERS {
        let out = router.getAmountOut(ether(1), eth, tokens).call().await.unwrap();
        eth += ether(1);
        tokens -= out;
        expected.push(out);
    }
    let mut found = Vec::new();
    for index in 0..TRADERS {
        let owner = trader(index).address();
        found.push(token.balanceOf(owner).call().await.unwrap());
        assert!(l2.get_balance(owner).await.unwrap() < ether(1), "spent one ether and gas");
    }
    // The n-th swap gets the n-th amount; who was n-th is up to the sequencer.
    found.sort_unstable_by(|a, b| b.cmp(a));
    assert_eq!(found, expected);
    assert_eq!(token.balanceOf(market.pair).call().await.unwrap(), tokens);
    let weth = Token::new(market.weth, l2);
    assert_eq!(weth.balanceOf(market.pair).call().await.unwrap(), eth);
}
