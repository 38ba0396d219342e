// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

import {Counter} from "../src/Counter.sol";

/// @notice The cheat codes used here; forge-std is not needed for them.
interface Vm {
    function envAddress(string calldata name) external view returns (address);
    function envUint(string calldata name) external view returns (uint256);
    function envString(string calldata name) external view returns (string memory);
    function createSelectFork(string calldata url, uint256 block_) external returns (uint256);
    function rollFork(uint256 block_) external;
    function prank(address sender) external;
    function expectRevert(bytes calldata data) external;
    function rpc(string calldata method, string calldata params) external returns (bytes memory);
}

/// @notice What `forge test --fork-url` sees of the rollup, and does on its fork of it.
contract ForkTest {
    Vm private constant VM = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

    function test_predeploys_are_there() external view {
        require(0x4200000000000000000000000000000000000016.code.length > 0, "message passer");
        require(0xcA11bde05977b3631167028862bE2a173976CA11.code.length > 0, "Multicall3");
        require(0x4e59b44847b379578588920cA78FbF26c0B4956C.code.length > 0, "CREATE2 proxy");
    }

    function test_the_chain_is_what_it_was() external {
        Counter counter = Counter(VM.envAddress("COUNTER"));
        uint256 number = VM.envUint("COUNTER_BLOCK");
        require(counter.number() == 6, "the newest state");
        VM.rollFork(number);
        require(block.number == number, "at the block");
        require(counter.number() == 5, "the state of the block before");
        VM.rollFork(number - 1);
        require(address(counter).code.length == 0, "not created yet");
        VM.createSelectFork(VM.envString("FORK"), number);
        require(counter.number() == 5, "another fork");
    }

    function test_a_fork_goes_its_own_way() external {
        Counter counter = Counter(VM.envAddress("COUNTER"));
        VM.prank(address(0xaa));
        counter.set(99);
        require(counter.number() == 99, "changed here");
        VM.expectRevert(abi.encodeWithSelector(Counter.TooBig.selector, 1001));
        counter.set(1001);
        require(VM.rpc("eth_chainId", "[]").length > 0, "calls go through");
    }
}
