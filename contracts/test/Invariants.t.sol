// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Inbox} from "../src/Inbox.sol";
import {Outputs} from "../src/Outputs.sol";
import {Base, Vm} from "./Base.sol";

/// @dev Acts on an inbox and its oracle at random, honestly and not, and keeps what the events say.
contract Handler is Base {
    Inbox public immutable inbox;
    Outputs public immutable outputs;

    /// @dev Fold of `BatchAppended` over its data: the parent is taken from here, not from the event.
    bytes32 public folded;
    /// @dev Number of those events.
    uint64 public appended;
    /// @dev Number of proposals that were accepted.
    uint256 public proposed;

    constructor(Inbox inbox_, Outputs outputs_) {
        inbox = inbox_;
        outputs = outputs_;
    }

    /// @dev Appends a calldata batch.
    function appendCalldata(bytes calldata data) external {
        if (data.length == 0) return;
        bytes32 parent = inbox.acc();
        vm.recordLogs();
        vm.prank(SEQUENCER, SEQUENCER);
        inbox.appendCalldata(parent, data);
        fold();
    }

    /// @dev Appends a blob batch.
    function appendBlobs(uint256 count) external {
        count = bound(count, 1, 6);
        bytes32 parent = inbox.acc();
        vm.blobhashes(hashes(count));
        vm.recordLogs();
        vm.prank(SEQUENCER, SEQUENCER);
        inbox.appendBlobs(parent, count, "");
        fold();
    }

    /// @dev Tries what must not work.
    function appendWrongly(bytes32 parent, address sender, bytes calldata data) external {
        vm.recordLogs();
        vm.prank(sender, sender);
        try inbox.appendCalldata(parent, data) {
            fold();
        } catch {}
    }

    /// @dev Proposes, often with a block number or batch that is not allowed.
    function propose(bytes32 root, uint64 number, uint64 batchId) external {
        uint64 batches = inbox.nextBatch();
        if (batches == 0) return;
        batchId = uint64(bound(batchId, 0, batches - 1));
        uint256 last = outputs.latestBlockNumber();
        uint256 block_ = bound(number, last > 5 ? last - 5 : 0, last + 20);
        bytes32 acc = inbox.accAt(batchId);
        vm.prank(PROPOSER);
        try outputs.proposeOutput(root, block_, batchId, acc) {
            ++proposed;
        } catch {}
    }

    function fold() private {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i = 0; i < logs.length; ++i) {
            if (logs[i].topics[0] != Inbox.BatchAppended.selector) continue;
            (, uint8 kind, bytes32 dataHash,) =
                abi.decode(logs[i].data, (bytes32, uint8, bytes32, bytes32[]));
            uint64 id = uint64(uint256(logs[i].topics[1]));
            folded = keccak256(abi.encode(folded, id, kind, dataHash));
            ++appended;
        }
    }
}

contract InvariantsTest is Base {
    Inbox private inbox;
    Outputs private outputs;
    Handler private handler;

    function setUp() public {
        inbox = new Inbox(OWNER, SEQUENCER, 0, 1);
        outputs = new Outputs(OWNER, PROPOSER, inbox, keccak256("genesis"), 1, 1, 30, 60);
        handler = new Handler(inbox, outputs);
    }

    function targetContracts() public view returns (address[] memory targets) {
        targets = new address[](1);
        targets[0] = address(handler);
    }

    function invariant_the_accumulator_is_the_fold_of_the_events() public view {
        vm.assertEq(inbox.acc(), handler.folded());
        vm.assertEq(inbox.nextBatch(), handler.appended());
    }

    function invariant_blocks_increase_strictly_and_batches_never_go_back() public view {
        uint256 count = outputs.nextOutputIndex();
        vm.assertEq(count, handler.proposed() + 1);
        uint256 lastBlock = outputs.getL2Output(0).l2BlockNumber;
        uint64 lastBatch = 0;
        for (uint256 i = 1; i < count; ++i) {
            Outputs.OutputProposal memory output = outputs.getL2Output(i);
            (uint64 batchId, bytes32 acc) = outputs.outputBinding(i);
            vm.assertTrue(output.l2BlockNumber > lastBlock && batchId >= lastBatch);
            vm.assertTrue(output.outputRoot != 0);
            vm.assertEq(acc, inbox.accAt(batchId));
            (lastBlock, lastBatch) = (output.l2BlockNumber, batchId);
        }
    }
}
