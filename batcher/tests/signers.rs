//! Signers of L1 transactions: a remote one against anvil, which signs for its accounts as web3signer
//! does. Anvil signs no blob transaction that way; what such a request looks like, and what is believed
//! of the answer, is tested beside the code.

use crate::support::{
    anvil::account,
    world::{L1_CHAIN_ID, World},
};
use alloy::primitives::{Address, B256, Bytes};
use alloy::sol_types::SolCall;
use batcher::{
    encoder::BlockId,
    txmgr::{Call, Hold, Purpose, RemoteSigner, Sent, TxConfig, TxError, TxManager},
};
use contracts::Inbox;
use std::{sync::Arc, time::Duration};

fn manager(world: &World, url: &str, address: Address) -> TxManager {
    let config = TxConfig { poll: Duration::from_millis(10), ..TxConfig::default() };
    let signer = Arc::new(RemoteSigner::new(url.parse().unwrap(), address).unwrap());
    TxManager::new(world.provider.clone(), signer, world.store.clone(), L1_CHAIN_ID, config)
}

async fn submit(world: &World, manager: &TxManager) -> Result<Sent, TxError> {
    let data = Bytes::from_static(b"bytes");
    let call = Inbox::appendCalldataCall { parentAcc: B256::ZERO, data };
    let (to, input) = (world.inbox, call.abi_encode().into());
    let call = Call { to, input, blob_payload: None, gas_limit: 200_000 };
    let purpose = Purpose::Output { block: BlockId::default(), root: B256::ZERO };
    manager.submit(purpose, call).await
}

#[tokio::test]
async fn a_remote_signer_signs_what_is_sent() {
    let Some(world) = World::new().await else { return };
    let manager = manager(&world, &world.anvil.url, account(1).address());
    let sent = submit(&world, &manager).await.unwrap();
    assert!(matches!(sent, Sent::Confirmed(_)), "{sent:?}");
    assert_eq!((world.sequencer_nonce().await, world.position().await.next_batch), (1, 1));
}

#[tokio::test]
async fn a_signer_that_refuses_or_is_silent_is_waited_for() {
    let Some(world) = World::new().await else { return };
    // Anvil has no key of this account; it has money, so that it comes to signing.
    let stranger = world.outputs;
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = format!("http://{closed}");
    let set = ("anvil_setBalance", (stranger, alloy::primitives::U256::from(1u64 << 62)));
    let _: serde_json::Value =
        alloy::providers::Provider::raw_request(&world.provider, set.0.into(), set.1)
            .await
            .unwrap();
    for (url, address, why) in [
        (&world.anvil.url, stranger, "it refuses"),
        (&silent, account(1).address(), "it does not answer"),
    ] {
        let manager = manager(&world, url, address);
        let error = submit(&world, &manager).await.unwrap_err();
        assert!(matches!(error, TxError::Signer(_)) && error.to_string().contains(why), "{error}");
        assert_eq!(manager.control().status().hold, Some(Hold::SignerAway));
    }
    assert_eq!(world.store.all(), [], "nothing was stored or sent");
}
