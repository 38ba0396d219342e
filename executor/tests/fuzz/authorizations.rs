//! EIP-7702 authorizations: the keys that delegate, and what they have signed.
//!
//! Owns the keys and a store of signatures. The executor recovers authorities from real signatures,
//! and signing costs more than executing a block: a signature is made once, and kept for the run.

use alloy::{
    eips::eip7702::{Authorization, SignedAuthorization},
    primitives::{Address, B256, U256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use std::{
    collections::HashMap,
    sync::{Mutex, OnceLock},
};

/// Accounts that sign authorizations.
pub(crate) const KEYS: usize = 6;

type Signed = HashMap<(usize, Authorization), SignedAuthorization>;

struct Store {
    keys: Vec<PrivateKeySigner>,
    signed: Mutex<Signed>,
}

fn store() -> &'static Store {
    static STORE: OnceLock<Store> = OnceLock::new();
    STORE.get_or_init(|| {
        let key = |index: usize| B256::from(U256::from(0x7702_0000 + index));
        let keys = (0..KEYS).map(|index| PrivateKeySigner::from_bytes(&key(index)).unwrap());
        Store { keys: keys.collect(), signed: Mutex::default() }
    })
}

/// Address of a key.
pub(crate) fn authority(key: usize) -> Address {
    store().keys[key].address()
}

/// What a key signed. The chain id zero stands for every chain.
pub(crate) fn signed(
    key: usize,
    chain_id: u64,
    target: Address,
    nonce: u64,
) -> SignedAuthorization {
    let authorization = Authorization { chain_id: U256::from(chain_id), address: target, nonce };
    let store = store();
    let mut signatures = store.signed.lock().unwrap();
    let sign = || {
        let signature = store.keys[key].sign_hash_sync(&authorization.signature_hash()).unwrap();
        authorization.clone().into_signed(signature)
    };
    signatures.entry((key, authorization.clone())).or_insert_with(sign).clone()
}

/// An authorization whose signature is nobody's.
pub(crate) fn forged(chain_id: u64, target: Address, nonce: u64) -> SignedAuthorization {
    let authorization = Authorization { chain_id: U256::from(chain_id), address: target, nonce };
    SignedAuthorization::new_unchecked(authorization, 1, U256::MAX, U256::MAX)
}
