//! Contracts that exist on L2 from genesis, and where.

use crate::{
    DeterministicDeploymentProxy, GasPriceOracle, L1Block, L2ToL1MessagePasser, Multicall3,
};
use alloy::primitives::{Address, Bytes, address};

/// Sender of the transaction that sets the L1 attributes in every L2 block. Nobody has its key.
pub const DEPOSITOR_ACCOUNT: Address = address!("DeaDDEaDDeAdDeAdDEAdDEaddeAddEAdDEAd0001");

/// Gas price oracle: what a transaction costs beyond its L2 gas.
pub const GAS_PRICE_ORACLE: Address = address!("420000000000000000000000000000000000000F");

/// Attributes of the L1 block that the current L2 block derives its deposits from.
pub const L1_BLOCK: Address = address!("4200000000000000000000000000000000000015");

/// Where messages leave the rollup. Its storage root is part of every output root.
pub const L2_TO_L1_MESSAGE_PASSER: Address = address!("4200000000000000000000000000000000000016");

/// Multicall3, at the address and with the ABI that it has on every public chain, in another build.
/// L1 needs it too.
pub const MULTICALL3: Address = address!("cA11bde05977b3631167028862bE2a173976CA11");

/// The proxy that deploys with CREATE2, at the address that it has on every public chain.
pub const DETERMINISTIC_DEPLOYMENT_PROXY: Address =
    address!("4e59b44847b379578588920cA78FbF26c0B4956C");

/// A contract that the L2 genesis contains. Its nonce is 1, and its storage empty but for the fee
/// parameters, which the executor writes from the chain's rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Predeploy {
    /// Name of the contract, as in `artifacts/`.
    pub name: &'static str,
    /// Address on L2.
    pub address: Address,
    /// Code at that address.
    pub runtime_code: Bytes,
}

/// All predeploys, ordered by address.
#[must_use]
pub fn predeploys() -> [Predeploy; 5] {
    let entry =
        |name, address, code: &Bytes| Predeploy { name, address, runtime_code: code.clone() };
    [
        entry("GasPriceOracle", GAS_PRICE_ORACLE, &GasPriceOracle::DEPLOYED_BYTECODE),
        entry("L1Block", L1_BLOCK, &L1Block::DEPLOYED_BYTECODE),
        entry(
            "L2ToL1MessagePasser",
            L2_TO_L1_MESSAGE_PASSER,
            &L2ToL1MessagePasser::DEPLOYED_BYTECODE,
        ),
        entry(
            "DeterministicDeploymentProxy",
            DETERMINISTIC_DEPLOYMENT_PROXY,
            &DeterministicDeploymentProxy::DEPLOYED_BYTECODE,
        ),
        entry("Multicall3", MULTICALL3, &Multicall3::DEPLOYED_BYTECODE),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::{b256, keccak256};

    #[test]
    fn predeploys_have_code_and_are_ordered_by_address() {
        let all = predeploys();
        assert!(all.iter().all(|p| !p.runtime_code.is_empty()));
        assert!(all.is_sorted_by(|a, b| a.address < b.address));
    }

    #[test]
    fn deployment_proxy_is_the_one_of_public_chains() {
        let expected = b256!("2fa86add0aed31f33a762c9d88e807c475bd51d0f52bd0955754b2608f7e4989");
        assert_eq!(keccak256(&DeterministicDeploymentProxy::DEPLOYED_BYTECODE), expected);
    }
}
