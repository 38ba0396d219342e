//! A served node for one test: the chain, its pool, and clients of it.

use crate::chain::{CHAIN_ID, MemoryChain};
use alloy::{
    consensus::{SignableTransaction, TxEip1559, TxEnvelope},
    eips::Encodable2718,
    network::TxSignerSync,
    primitives::{Address, Bytes, TxKind, U256, hex},
    providers::{DynProvider, Provider, ProviderBuilder},
    signers::local::PrivateKeySigner,
};
use sequencer::{
    rpc::{Check, ClientLimits, Readiness, RpcContext, RpcOptions, serve},
    store::StoredBlock,
    txpool::{Config, Pool},
};
use serde_json::{Value, json};
use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::sync::{Notify, oneshot};

/// Gas price that every block takes.
pub(crate) const FEE_WEI: u128 = 1_000_000_000;

/// A running node. Dropping it shuts the server down.
pub(crate) struct Node {
    pub(crate) chain: MemoryChain,
    pub(crate) pool: Arc<Mutex<Pool>>,
    pub(crate) address: SocketAddr,
    pub(crate) alice: PrivateKeySigner,
    pub(crate) bob: PrivateKeySigner,
    pub(crate) is_ready: Arc<AtomicBool>,
    new_transaction: Arc<Notify>,
    http: reqwest::Client,
    _shutdown: oneshot::Sender<()>,
}

impl Node {
    pub(crate) async fn start() -> Self {
        Self::start_with(ClientLimits::default()).await
    }

    pub(crate) async fn start_with(clients: ClientLimits) -> Self {
        Self::serve(RpcOptions { clients, ..RpcOptions::default() }).await
    }

    /// With these options, but for those that the node itself sets.
    pub(crate) async fn serve(options: RpcOptions) -> Self {
        let [alice, bob] = [1_u8, 2].map(|n| PrivateKeySigner::from_slice(&[n; 32]).unwrap());
        let chain = MemoryChain::new(&[alice.address(), bob.address()]);
        let pool = Arc::new(Mutex::new(Pool::new(Config::default())));
        let new_transaction = Arc::new(Notify::new());
        let is_ready = Arc::new(AtomicBool::new(true));
        let ready = is_ready.clone();
        let check = move || Check {
            name: "store",
            ok: ready.load(Ordering::Relaxed),
            detail: "in memory".to_owned(),
        };
        let options = RpcOptions {
            new_transaction: new_transaction.clone(),
            readiness: Arc::new(move || Readiness { checks: vec![check()] }),
            ..options
        };
        let context = Arc::new(RpcContext::new(chain.clone(), pool.clone(), options));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, stopped) = oneshot::channel();
        tokio::spawn(serve(listener, context, async move {
            let _ = stopped.await;
        }));
        let http = reqwest::Client::new();
        let _shutdown = shutdown;
        Self { chain, pool, address, alice, bob, is_ready, new_transaction, http, _shutdown }
    }

    /// Mines whenever the server announces a transaction, as the node's builder does.
    pub(crate) fn mine_always(&self) {
        let (chain, pool) = (self.chain.clone(), self.pool.clone());
        let new_transaction = self.new_transaction.clone();
        tokio::spawn(async move {
            loop {
                new_transaction.notified().await;
                chain.mine_pool(&pool);
            }
        });
    }

    pub(crate) fn mine(&self) -> StoredBlock {
        self.chain.mine_pool(&self.pool)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// alloy's provider, signing as alice.
    pub(crate) fn provider(&self) -> DynProvider {
        let url = self.url().parse().unwrap();
        ProviderBuilder::new().wallet(self.alice.clone()).connect_http(url).erased()
    }

    /// Posts a body as it is and reads JSON back.
    pub(crate) async fn post(&self, body: impl Into<reqwest::Body>) -> Value {
        let answer = self.http.post(self.url()).body(body).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.json().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let answer = self.http.get(format!("{}{path}", self.url())).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn answer(&self, method: &str, params: Value) -> Value {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        self.post(request.to_string()).await
    }

    /// The result of a call that must succeed.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        let mut answer = self.answer(method, params).await;
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].take()
    }

    /// Code and message of a call that must fail.
    pub(crate) async fn fails(&self, method: &str, params: Value) -> (i64, String) {
        let answer = self.answer(method, params).await;
        let error = answer.get("error").unwrap_or_else(|| panic!("{method} succeeded: {answer}"));
        (error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())
    }

    /// The whole error of a call that must fail.
    pub(crate) async fn error(&self, method: &str, params: Value) -> Value {
        self.answer(method, params).await["error"].take()
    }
}

/// A transfer of one wei, to be changed by the test.
pub(crate) fn transfer(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: CHAIN_ID,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: FEE_WEI,
        max_priority_fee_per_gas: 1,
        to: TxKind::Call(Address::repeat_byte(0xbb)),
        value: U256::ONE,
        ..Default::default()
    }
}

/// A call of a contract, with enough gas.
pub(crate) fn calling(nonce: u64, to: Address, input: impl Into<Bytes>) -> TxEip1559 {
    let (to, gas_limit, value) = (TxKind::Call(to), 200_000, U256::ZERO);
    TxEip1559 { to, gas_limit, value, input: input.into(), ..transfer(nonce) }
}

/// The signed transaction's bytes.
pub(crate) fn raw<T>(signer: &PrivateKeySigner, mut unsigned: T) -> Bytes
where
    T: SignableTransaction<alloy::primitives::Signature>,
    alloy::consensus::Signed<T>: Into<TxEnvelope>,
{
    let signature = signer.sign_transaction_sync(&mut unsigned).unwrap();
    let envelope: TxEnvelope = unsigned.into_signed(signature).into();
    envelope.encoded_2718().into()
}

/// A JSON number as clients send and get it.
pub(crate) fn quantity(value: &Value) -> u64 {
    let text = value.as_str().unwrap_or_else(|| panic!("no quantity: {value}"));
    u64::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

/// Call data of `words` words.
pub(crate) fn words<const N: usize>(values: [u64; N]) -> Bytes {
    values.iter().flat_map(|value| U256::from(*value).to_be_bytes::<32>()).collect()
}

/// The hex text of a 32-byte word.
pub(crate) fn word(value: u64) -> String {
    hex::encode_prefixed(U256::from(value).to_be_bytes::<32>())
}
