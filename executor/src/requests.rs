//! Execution layer requests (EIP-7685): what an Ethereum block from Prague on asks of the beacon
//! chain. A rollup collects none.
//!
//! Owns the order and the parsing of deposit events (EIP-6110). The system calls that collect the
//! other two kinds (EIP-7002, EIP-7251) are made by the EVM's wiring.

use crate::receipt::Receipt;
use alloc::vec::Vec;
use alloy_eips::{
    eip6110::{DEPOSIT_REQUEST_TYPE, MAINNET_DEPOSIT_CONTRACT_ADDRESS},
    eip7002::WITHDRAWAL_REQUEST_TYPE,
    eip7251::CONSOLIDATION_REQUEST_TYPE,
    eip7685::Requests,
};
use alloy_primitives::{B256, Bytes, U256, b256};

/// `keccak256("DepositEvent(bytes,bytes,bytes,bytes,bytes)")`.
const DEPOSIT_EVENT_TOPIC: B256 =
    b256!("0x649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");

/// Length of each field of a deposit event in bytes: public key, credentials, amount, signature,
/// index.
const DEPOSIT_FIELD_BYTES: [usize; 5] = [48, 32, 8, 96, 8];

/// The block's requests hash from its receipts and the outputs of the two system calls.
pub(crate) fn requests_hash(
    receipts: &[Receipt],
    withdrawals: &Bytes,
    consolidations: &Bytes,
) -> B256 {
    let mut requests = Requests::default();
    requests.push_request_with_type(DEPOSIT_REQUEST_TYPE, deposits(receipts));
    requests.push_request_with_type(WITHDRAWAL_REQUEST_TYPE, withdrawals.iter().copied());
    requests.push_request_with_type(CONSOLIDATION_REQUEST_TYPE, consolidations.iter().copied());
    requests.requests_hash()
}

/// The deposits of all receipts, one after another. The deposit contract of Ethereum mainnet writes
/// its events in one layout only; another event of it is passed over.
fn deposits(receipts: &[Receipt]) -> Vec<u8> {
    let logs = receipts.iter().flat_map(|receipt| &receipt.logs);
    let events = logs.filter(|log| {
        log.address == MAINNET_DEPOSIT_CONTRACT_ADDRESS
            && log.topics().first() == Some(&DEPOSIT_EVENT_TOPIC)
    });
    events.filter_map(|log| deposit(&log.data.data)).flatten().collect()
}

/// The five fields of a deposit event, joined.
fn deposit(data: &[u8]) -> Option<Vec<u8>> {
    let word = |at: usize| -> Option<usize> {
        U256::from_be_slice(data.get(at..at.checked_add(32)?)?).try_into().ok()
    };
    let mut joined = Vec::with_capacity(DEPOSIT_FIELD_BYTES.iter().sum());
    for (index, length) in DEPOSIT_FIELD_BYTES.into_iter().enumerate() {
        let offset = word(index * 32)?;
        if word(offset)? != length {
            return None;
        }
        let start = offset.checked_add(32)?;
        joined.extend_from_slice(data.get(start..start.checked_add(length)?)?);
    }
    Some(joined)
}
