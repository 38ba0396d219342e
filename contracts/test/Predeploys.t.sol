// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {L1Block} from "../src/l2/L1Block.sol";
import {L2ToL1MessagePasser} from "../src/l2/L2ToL1MessagePasser.sol";
import {Base, Vm} from "./Base.sol";

/// @dev Each test runs against runtime code put at the predeploy's address, as in the genesis.
contract PredeploysTest is Base {
    L1Block private constant L1_BLOCK = L1Block(0x4200000000000000000000000000000000000015);
    L2ToL1MessagePasser private constant PASSER =
        L2ToL1MessagePasser(payable(0x4200000000000000000000000000000000000016));
    address private constant DEPOSITOR = 0xDeaDDEaDDeAdDeAdDEAdDEaddeAddEAdDEAd0001;
    address private constant USER = address(0x1111111111111111111111111111111111111111);
    address private constant TARGET = address(0x2222222222222222222222222222222222222222);

    function setUp() public {
        vm.etch(address(L1_BLOCK), type(L1Block).runtimeCode);
        vm.etch(address(PASSER), type(L2ToL1MessagePasser).runtimeCode);
        vm.deal(USER, 100 ether);
    }

    function setL1Block() private {
        vm.prank(DEPOSITOR);
        L1_BLOCK.setL1BlockValues(11, 22, 33, bytes32(uint256(44)), 55, 66);
    }

    // L1Block.

    function test_only_the_depositor_sets_l1_values() public {
        vm.assertEq(L1_BLOCK.DEPOSITOR_ACCOUNT(), DEPOSITOR);
        vm.expectRevert(abi.encodeWithSelector(L1Block.NotDepositor.selector, STRANGER));
        vm.prank(STRANGER);
        L1_BLOCK.setL1BlockValues(1, 1, 1, 0, 1, 1);
    }

    function test_l1_values_read_back() public {
        setL1Block();
        vm.assertEq(L1_BLOCK.number(), 11);
        vm.assertEq(L1_BLOCK.timestamp(), 22);
        vm.assertEq(L1_BLOCK.basefee(), 33);
        vm.assertEq(L1_BLOCK.hash(), bytes32(uint256(44)));
        vm.assertEq(L1_BLOCK.sequenceNumber(), 55);
        vm.assertEq(L1_BLOCK.blobBaseFee(), 66);
    }

    function test_l1_values_are_in_the_op_stacks_slots() public {
        setL1Block();
        vm.assertEq(slot(0), 11 | (22 << 64));
        vm.assertEq(slot(1), 33);
        vm.assertEq(slot(2), 44);
        vm.assertEq(slot(3), 55);
        vm.assertEq(slot(7), 66);
    }

    function test_fields_of_the_first_fee_formula_are_zero_and_answer() public {
        setL1Block();
        vm.assertEq(L1_BLOCK.batcherHash(), 0);
        vm.assertEq(L1_BLOCK.l1FeeOverhead(), 0);
        vm.assertEq(L1_BLOCK.l1FeeScalar(), 0);
        vm.assertTrue(L1_BLOCK.operatorFeeScalar.selector == 0x4d5d9a2a);
        vm.assertTrue(L1_BLOCK.operatorFeeConstant.selector == 0x16d3bc7f);
    }

    /// @dev Genesis writes the words as the node's rules say; see `FeeRules::storage_of`.
    function test_fee_parameters_are_in_the_op_stacks_slots_and_stay() public {
        vm.store(address(L1_BLOCK), bytes32(uint256(3)), bytes32(uint256((5 << 64) | (6 << 96))));
        vm.store(address(L1_BLOCK), bytes32(uint256(8)), bytes32(uint256(7 | (8 << 64))));
        setL1Block();
        vm.assertEq(L1_BLOCK.sequenceNumber(), 55);
        vm.assertEq(L1_BLOCK.blobBaseFeeScalar(), 5);
        vm.assertEq(L1_BLOCK.baseFeeScalar(), 6);
        vm.assertEq(L1_BLOCK.operatorFeeConstant(), 7);
        vm.assertEq(L1_BLOCK.operatorFeeScalar(), 8);
    }

    function slot(uint256 index) private view returns (uint256) {
        return uint256(vm.load(address(L1_BLOCK), bytes32(index)));
    }

    // L2ToL1MessagePasser.

    /// @dev Hash and slot were computed by a client of the OP Stack, not by this code.
    function test_a_withdrawal_matches_the_vector_of_a_client() public {
        bytes32 expected = 0xc1a436d9076da6454e4c1ec33a10cb079dab98955fccb969ce6f24c9685da525;
        uint256 nonce = uint256(1) << 240;
        vm.expectEmit();
        emit L2ToL1MessagePasser.MessagePassed(
            nonce, USER, TARGET, 1 ether, 100_000, hex"deadbeef", expected
        );
        vm.prank(USER);
        PASSER.initiateWithdrawal{value: 1 ether}(TARGET, 100_000, hex"deadbeef");

        bytes32 at0 = 0x8fb365c04d02a84a52e1b55d99d8daea78187b835225fd043662164d30e17b54;
        vm.assertEq(uint256(vm.load(address(PASSER), at0)), 1);
        vm.assertTrue(PASSER.sentMessages(expected));
        vm.assertEq(PASSER.messageNonce(), nonce + 1);
        vm.assertEq(uint256(vm.load(address(PASSER), bytes32(uint256(1)))), 1);
        vm.assertEq(address(PASSER).balance, 1 ether);
    }

    function test_the_same_message_twice_is_two_withdrawals() public {
        vm.recordLogs();
        vm.prank(USER);
        PASSER.initiateWithdrawal(TARGET, 1, "x");
        vm.prank(USER);
        PASSER.initiateWithdrawal(TARGET, 1, "x");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 2);
        vm.assertTrue(keccak256(logs[0].data) != keccak256(logs[1].data));
        vm.assertEq(uint256(logs[1].topics[1]), uint256(logs[0].topics[1]) + 1);
    }

    function testFuzz_a_withdrawal_is_the_hash_of_its_fields(
        address sender,
        address target,
        uint96 value,
        uint256 gasLimit,
        bytes calldata data
    ) public {
        if (sender == address(vm) || sender == address(this)) return;
        bytes32 hash = keccak256(
            abi.encode(PASSER.messageNonce(), sender, target, uint256(value), gasLimit, data)
        );
        vm.assertEq(PASSER.sentMessages(hash), false);
        vm.deal(sender, value);
        vm.prank(sender);
        PASSER.initiateWithdrawal{value: value}(target, gasLimit, data);
        vm.assertEq(PASSER.sentMessages(hash), true);
    }

    function test_a_plain_transfer_withdraws_to_the_sender() public {
        bytes32 hash =
            keccak256(abi.encode(uint256(1) << 240, USER, USER, uint256(7), 100_000, bytes("")));
        vm.prank(USER);
        (bool ok,) = address(PASSER).call{value: 7}("");
        vm.assertTrue(ok);
        vm.assertTrue(PASSER.sentMessages(hash));
    }

    function test_burn_moves_the_balance_out_of_reach() public {
        vm.prank(USER);
        PASSER.initiateWithdrawal{value: 3 ether}(TARGET, 0, "");
        uint256 before = address(0).balance;
        vm.expectEmit();
        emit L2ToL1MessagePasser.WithdrawerBalanceBurnt(3 ether);
        vm.prank(STRANGER);
        PASSER.burn();
        vm.assertEq(address(PASSER).balance, 0);
        vm.assertEq(address(0).balance, before + 3 ether);
    }

    /// @dev On L2 nothing is at the zero address. Here something that refuses ETH is put there.
    function test_burn_reverts_when_the_balance_cannot_move() public {
        vm.etch(address(0), hex"5f5ffd");
        vm.expectRevert(L2ToL1MessagePasser.BurnFailed.selector);
        PASSER.burn();
    }

    function test_message_selectors_and_topic_are_the_op_stacks() public pure {
        vm.assertTrue(PASSER.initiateWithdrawal.selector == 0xc2b3e5ac);
        vm.assertEq(
            L2ToL1MessagePasser.MessagePassed.selector,
            0x02a52367d10742d8032712c1bb8e0144ff1ec5ffda1ed7d70bb05a2744955054
        );
    }

    // Contracts that are not ours.

    function test_runtime_code_of_borrowed_contracts_is_what_their_creation_returns() public {
        string[2] memory names = ["Multicall3", "DeterministicDeploymentProxy"];
        for (uint256 i = 0; i < names.length; ++i) {
            string memory json = vm.readFile(string.concat("artifacts/", names[i], ".json"));
            bytes memory creation = vm.parseJsonBytes(json, ".bytecode");
            address deployed;
            assembly ("memory-safe") {
                deployed := create(0, add(creation, 32), mload(creation))
            }
            vm.assertTrue(deployed != address(0));
            vm.assertEq(deployed.code, vm.parseJsonBytes(json, ".deployedBytecode"));
        }
    }
}
