//! The generated bindings. Each type is a module with the calls, events and errors of one contract,
//! its `BYTECODE` and `DEPLOYED_BYTECODE`, and an instance to call it through a provider.

#![allow(
    missing_docs,
    missing_debug_implementations,
    clippy::too_many_arguments,
    clippy::pub_underscore_fields,
    reason = "generated from the ABI; the documentation is in the Solidity sources"
)]

use alloy::sol;

sol!(
    #[sol(rpc, all_derives)]
    Inbox,
    "artifacts/Inbox.json"
);
sol!(
    #[sol(rpc, all_derives)]
    Outputs,
    "artifacts/Outputs.json"
);
sol!(
    #[sol(rpc, all_derives)]
    Portal,
    "artifacts/Portal.json"
);
sol!(
    #[sol(rpc, all_derives)]
    L1Block,
    "artifacts/L1Block.json"
);
sol!(
    #[sol(rpc, all_derives)]
    L2ToL1MessagePasser,
    "artifacts/L2ToL1MessagePasser.json"
);
sol!(
    #[sol(rpc, all_derives)]
    GasPriceOracle,
    "artifacts/GasPriceOracle.json"
);
sol!(
    #[sol(rpc, all_derives)]
    Multicall3,
    "artifacts/Multicall3.json"
);
sol!(
    #[sol(rpc, all_derives)]
    DeterministicDeploymentProxy,
    "artifacts/DeterministicDeploymentProxy.json"
);
