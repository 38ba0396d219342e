// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import {Counter} from "../src/Counter.sol";

/// @notice The cheat codes used here; forge-std is not needed for them.
interface Vm {
    function startBroadcast() external;
    function stopBroadcast() external;
}

/// @notice What `forge script --broadcast` sends: a creation, a call, and a creation by CREATE2, which
/// goes through the deterministic deployment proxy.
contract Deploy {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function run(uint256 salt) external returns (Counter created, Counter salted) {
        VM.startBroadcast();
        created = new Counter(7);
        created.set(8);
        salted = new Counter{salt: bytes32(salt)}(9);
        VM.stopBroadcast();
    }
}
