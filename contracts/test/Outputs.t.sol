// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Inbox} from "../src/Inbox.sol";
import {Outputs} from "../src/Outputs.sol";
import {Base} from "./Base.sol";

contract OutputsTest is Base {
    bytes32 private constant GENESIS = keccak256("genesis");
    bytes32 private constant ROOT = keccak256("root");
    uint64 private constant GENESIS_TIME = 1_700_000_000;
    bytes private constant NOT_YET = abi.encodeWithSignature(
        "Error(string)", "L2OutputOracle: cannot get output for a block that has not been proposed"
    );

    Inbox private inbox;
    Outputs private outputs;

    function setUp() public {
        inbox = new Inbox(OWNER, SEQUENCER, 0, 1);
        outputs = deploy(OWNER, PROPOSER, GENESIS, 1, 30, 60);
        append();
        vm.warp(GENESIS_TIME + 100);
    }

    function deploy(
        address owner,
        address proposer,
        bytes32 genesis,
        uint256 blockTime,
        uint256 interval,
        uint256 period
    ) private returns (Outputs) {
        return new Outputs(
            owner, proposer, inbox, genesis, GENESIS_TIME, blockTime, interval, period
        );
    }

    /// @dev Appends a batch; its id is `inbox.nextBatch() - 1` afterwards.
    function append() private returns (bytes32) {
        bytes32 parent = inbox.acc();
        vm.prank(SEQUENCER, SEQUENCER);
        inbox.appendCalldata(parent, "batch");
        return inbox.acc();
    }

    function propose(bytes32 root, uint256 number, uint64 batchId, bytes32 acc) private {
        vm.prank(PROPOSER);
        outputs.proposeOutput(root, number, batchId, acc);
    }

    // Deployment and roles.

    function test_the_genesis_output_exists_from_deployment() public view {
        Outputs.OutputProposal memory output = outputs.getL2Output(0);
        vm.assertEq(output.outputRoot, GENESIS);
        vm.assertEq(output.timestamp, GENESIS_TIME);
        vm.assertEq(output.l2BlockNumber, 0);
        (uint64 batchId, bytes32 acc) = outputs.outputBinding(0);
        vm.assertEq(batchId, 0);
        vm.assertEq(acc, 0);
        vm.assertEq(outputs.latestOutputIndex(), 0);
        vm.assertEq(outputs.nextOutputIndex(), 1);
        vm.assertEq(outputs.latestBlockNumber(), 0);
        vm.assertEq(outputs.getL2OutputIndexAfter(0), 0);
    }

    function test_parameters_are_those_of_the_deployment() public view {
        vm.assertEq(address(outputs.inbox()), address(inbox));
        vm.assertEq(outputs.L2_BLOCK_TIME(), 1);
        vm.assertEq(outputs.SUBMISSION_INTERVAL(), 30);
        vm.assertEq(outputs.FINALIZATION_PERIOD_SECONDS(), 60);
        vm.assertEq(outputs.proposer(), PROPOSER);
        vm.assertEq(outputs.owner(), OWNER);
    }

    function test_deployment_announces_proposer_and_genesis() public {
        vm.expectEmit();
        emit Outputs.ProposerChanged(address(0), PROPOSER);
        vm.expectEmit();
        emit Outputs.OutputProposed(GENESIS, 0, 0, GENESIS_TIME);
        deploy(OWNER, PROPOSER, GENESIS, 1, 1, 1);
    }

    function test_deployment_refuses_zeros() public {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableInvalidOwner.selector, address(0)));
        deploy(address(0), PROPOSER, GENESIS, 1, 1, 1);
        vm.expectRevert(Outputs.ZeroProposer.selector);
        deploy(OWNER, address(0), GENESIS, 1, 1, 1);
        vm.expectRevert(Outputs.ZeroOutputRoot.selector);
        deploy(OWNER, PROPOSER, 0, 1, 1, 1);
        vm.expectRevert(Outputs.ZeroParameter.selector);
        deploy(OWNER, PROPOSER, GENESIS, 0, 1, 1);
        vm.expectRevert(Outputs.ZeroParameter.selector);
        deploy(OWNER, PROPOSER, GENESIS, 1, 0, 1);
        vm.expectRevert(Outputs.ZeroParameter.selector);
        deploy(OWNER, PROPOSER, GENESIS, 1, 1, 0);
    }

    function test_only_the_owner_rotates_the_proposer() public {
        vm.expectRevert(
            abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, PROPOSER)
        );
        vm.prank(PROPOSER);
        outputs.setProposer(STRANGER);
        vm.expectRevert(Outputs.ZeroProposer.selector);
        vm.prank(OWNER);
        outputs.setProposer(address(0));
        vm.expectEmit();
        emit Outputs.ProposerChanged(PROPOSER, STRANGER);
        vm.prank(OWNER);
        outputs.setProposer(STRANGER);

        bytes32 acc = inbox.acc();
        vm.expectRevert(abi.encodeWithSelector(Outputs.NotProposer.selector, PROPOSER));
        propose(ROOT, 1, 0, acc);
        vm.prank(STRANGER);
        outputs.proposeOutput(ROOT, 1, 0, acc);
    }

    // Proposals.

    function test_a_proposal_is_recorded_with_its_binding() public {
        bytes32 acc = append();
        vm.expectEmit();
        emit Outputs.OutputProposed(ROOT, 1, 30, block.timestamp);
        propose(ROOT, 30, 1, acc);

        Outputs.OutputProposal memory output = outputs.getL2Output(1);
        vm.assertEq(output.outputRoot, ROOT);
        vm.assertEq(output.timestamp, block.timestamp);
        vm.assertEq(output.l2BlockNumber, 30);
        (uint64 batchId, bytes32 bound) = outputs.outputBinding(1);
        vm.assertEq(batchId, 1);
        vm.assertEq(bound, acc);
        vm.assertEq(outputs.latestOutputIndex(), 1);
        vm.assertEq(outputs.latestBlockNumber(), 30);
    }

    function test_only_the_proposer_proposes() public {
        bytes32 acc = inbox.acc();
        vm.expectRevert(abi.encodeWithSelector(Outputs.NotProposer.selector, STRANGER));
        vm.prank(STRANGER);
        outputs.proposeOutput(ROOT, 1, 0, acc);
    }

    function test_a_zero_root_is_refused() public {
        bytes32 acc = inbox.acc();
        vm.expectRevert(Outputs.ZeroOutputRoot.selector);
        propose(0, 1, 0, acc);
    }

    function test_block_numbers_increase_strictly_and_fit_in_64_bits() public {
        bytes32 acc = inbox.acc();
        vm.expectRevert(abi.encodeWithSelector(Outputs.BlockNotAfter.selector, 0, 0));
        propose(ROOT, 0, 0, acc);
        propose(ROOT, 5, 0, acc);
        vm.expectRevert(abi.encodeWithSelector(Outputs.BlockNotAfter.selector, 5, 5));
        propose(ROOT, 5, 0, acc);
        vm.expectRevert(abi.encodeWithSelector(Outputs.BlockTooLarge.selector, 1 << 64));
        propose(ROOT, 1 << 64, 0, acc);
        propose(ROOT, type(uint64).max, 0, acc);
        vm.assertEq(outputs.latestBlockNumber(), type(uint64).max);
    }

    function test_an_output_is_bound_to_the_inbox() public {
        bytes32 first = inbox.acc();
        bytes32 second = append();
        vm.expectRevert(abi.encodeWithSelector(Outputs.InboxMismatch.selector, first, second));
        propose(ROOT, 1, 1, first);
        vm.expectRevert(abi.encodeWithSelector(Outputs.InboxMismatch.selector, bytes32(0), first));
        propose(ROOT, 1, 0, 0);
        vm.expectRevert(abi.encodeWithSelector(Inbox.UnknownBatch.selector, 2));
        propose(ROOT, 1, 2, second);
    }

    function test_batches_never_go_back() public {
        bytes32 first = inbox.acc();
        bytes32 second = append();
        propose(ROOT, 1, 1, second);
        vm.expectRevert(abi.encodeWithSelector(Outputs.BatchBefore.selector, 0, 1));
        propose(ROOT, 2, 0, first);
        propose(ROOT, 2, 1, second);
    }

    // Reading.

    function test_an_output_that_does_not_exist_is_refused() public {
        vm.expectRevert(abi.encodeWithSelector(Outputs.UnknownOutput.selector, 1));
        outputs.getL2Output(1);
        vm.expectRevert(abi.encodeWithSelector(Outputs.UnknownOutput.selector, 1));
        outputs.outputBinding(1);
    }

    function test_index_after_at_the_boundaries() public {
        vm.expectRevert(NOT_YET);
        outputs.getL2OutputIndexAfter(1);
        bytes32 acc = inbox.acc();
        propose(ROOT, 10, 0, acc);
        propose(ROOT, 20, 0, acc);
        vm.assertEq(outputs.getL2OutputIndexAfter(0), 0);
        vm.assertEq(outputs.getL2OutputIndexAfter(1), 1);
        vm.assertEq(outputs.getL2OutputIndexAfter(10), 1);
        vm.assertEq(outputs.getL2OutputIndexAfter(11), 2);
        vm.assertEq(outputs.getL2OutputIndexAfter(20), 2);
        vm.expectRevert(NOT_YET);
        outputs.getL2OutputIndexAfter(21);
        vm.expectRevert(NOT_YET);
        outputs.getL2OutputIndexAfter(type(uint256).max);
    }

    function testFuzz_index_after_is_the_first_by_linear_search(uint8[12] calldata gaps) public {
        bytes32 acc = inbox.acc();
        uint256 number = 0;
        for (uint256 i = 0; i < gaps.length; ++i) {
            number += uint256(gaps[i]) % 9 + 1;
            propose(ROOT, number, 0, acc);
        }
        uint256 expected = 0;
        for (uint256 wanted = 0; wanted <= number; ++wanted) {
            while (outputs.getL2Output(expected).l2BlockNumber < wanted) ++expected;
            vm.assertEq(outputs.getL2OutputIndexAfter(wanted), expected);
        }
    }

    function test_selectors_are_those_that_clients_call() public view {
        vm.assertTrue(outputs.getL2OutputIndexAfter.selector == 0x7f006420);
        vm.assertTrue(outputs.getL2Output.selector == 0xa25ae557);
        vm.assertTrue(outputs.latestOutputIndex.selector == 0x69f16eec);
        vm.assertTrue(outputs.L2_BLOCK_TIME.selector == 0x002134cc);
        vm.assertTrue(outputs.SUBMISSION_INTERVAL.selector == 0x529933df);
        vm.assertTrue(outputs.FINALIZATION_PERIOD_SECONDS.selector == 0xf4daa291);
    }

    /// @dev Tests elsewhere forge an output by writing to these slots.
    function test_an_output_takes_three_slots_from_the_array_at_slot_3() public {
        bytes32 acc = append();
        propose(ROOT, 7, 1, acc);
        vm.assertEq(uint256(vm.load(address(outputs), bytes32(uint256(3)))), 2);
        uint256 base = uint256(keccak256(abi.encode(3))) + 3;
        vm.assertEq(vm.load(address(outputs), bytes32(base)), ROOT);
        vm.assertEq(
            uint256(vm.load(address(outputs), bytes32(base + 1))),
            block.timestamp | (7 << 64) | (1 << 128)
        );
        vm.assertEq(vm.load(address(outputs), bytes32(base + 2)), acc);

        vm.store(address(outputs), bytes32(base), keccak256("forged"));
        vm.assertEq(outputs.getL2Output(1).outputRoot, keccak256("forged"));
    }
}
