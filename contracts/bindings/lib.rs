//! Weft's contracts as Rust sees them: typed bindings compiled from the committed artifacts, the
//! addresses and code of the L2 predeploys, and the hash rules that both sides must agree on.
//!
//! What this crate owns: the ABI, the bytecode in `artifacts/`, and the Rust twin of any hash that
//! a contract computes. What it does not: it never talks to a chain, never compiles Solidity, and
//! holds no address of a deployed L1 contract; those are configuration.
//!
//! A contract on L1 is deployed with the generated `deploy` function, for example
//! `Inbox::deploy(provider, owner, sequencer, config_hash, l2_chain_id).await`.

mod bindings;
mod inbox;
mod predeploys;

pub use bindings::{
    DeterministicDeploymentProxy, GasPriceOracle, Inbox, L1Block, L2ToL1MessagePasser, Multicall3,
    Outputs, Portal,
};
pub use inbox::{KIND_BLOB, KIND_CALLDATA, MAX_BLOBS, blobs_data_hash, inbox_accumulator};
pub use predeploys::{
    DEPOSITOR_ACCOUNT, DETERMINISTIC_DEPLOYMENT_PROXY, GAS_PRICE_ORACLE, L1_BLOCK,
    L2_TO_L1_MESSAGE_PASSER, MULTICALL3, Predeploy, predeploys,
};
