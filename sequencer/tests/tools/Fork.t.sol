// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @notice What `forge test --fork-url` sees of the rollup.
contract ForkTest {
    function test_predeploys_are_there() external view {
        require(0x4200000000000000000000000000000000000016.code.length > 0, "message passer");
        require(0xcA11bde05977b3631167028862bE2a173976CA11.code.length > 0, "Multicall3");
    }
}
