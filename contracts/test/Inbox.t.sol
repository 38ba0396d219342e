// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable} from "@openzeppelin/contracts/access/Ownable.sol";
import {Inbox} from "../src/Inbox.sol";
import {Base, Forwarder} from "./Base.sol";

contract InboxTest is Base {
    bytes32 private constant CONFIG = keccak256("config");

    Inbox private inbox;

    function setUp() public {
        inbox = new Inbox(OWNER, SEQUENCER, CONFIG, 4242);
    }

    function appendCalldata(bytes32 parent, bytes memory data) private {
        vm.prank(SEQUENCER, SEQUENCER);
        inbox.appendCalldata(parent, data);
    }

    function appendBlobs(bytes32 parent, uint256 count) private {
        vm.prank(SEQUENCER, SEQUENCER);
        inbox.appendBlobs(parent, count, "");
    }

    // Deployment and roles.

    function test_a_new_inbox_is_empty_and_names_its_chain() public view {
        vm.assertEq(inbox.nextBatch(), 0);
        vm.assertEq(inbox.acc(), 0);
        vm.assertEq(inbox.configHash(), CONFIG);
        vm.assertEq(inbox.l2ChainId(), 4242);
        vm.assertEq(inbox.sequencer(), SEQUENCER);
        vm.assertEq(inbox.owner(), OWNER);
    }

    function test_deployment_announces_the_sequencer() public {
        vm.expectEmit();
        emit Inbox.SequencerChanged(address(0), SEQUENCER);
        new Inbox(OWNER, SEQUENCER, CONFIG, 1);
    }

    function test_deployment_needs_an_owner_and_a_sequencer() public {
        vm.expectRevert(abi.encodeWithSelector(Ownable.OwnableInvalidOwner.selector, address(0)));
        new Inbox(address(0), SEQUENCER, CONFIG, 1);
        vm.expectRevert(Inbox.ZeroSequencer.selector);
        new Inbox(OWNER, address(0), CONFIG, 1);
    }

    function test_only_the_sequencer_appends() public {
        vm.blobhashes(hashes(1));
        bytes memory reason = abi.encodeWithSelector(Inbox.NotSequencer.selector, STRANGER);
        vm.startPrank(STRANGER, STRANGER);
        vm.expectRevert(reason);
        inbox.appendCalldata(0, "data");
        vm.expectRevert(reason);
        inbox.appendBlobs(0, 1, "");
    }

    function test_rotation_changes_who_appends_and_keeps_the_list() public {
        appendCalldata(0, "first");
        bytes32 acc = inbox.acc();
        vm.expectEmit();
        emit Inbox.SequencerChanged(SEQUENCER, STRANGER);
        vm.prank(OWNER);
        inbox.setSequencer(STRANGER);

        vm.expectRevert(abi.encodeWithSelector(Inbox.NotSequencer.selector, SEQUENCER));
        vm.prank(SEQUENCER, SEQUENCER);
        inbox.appendCalldata(acc, "second");

        vm.prank(STRANGER, STRANGER);
        inbox.appendCalldata(acc, "second");
        vm.assertEq(inbox.accAt(0), acc);
        vm.assertEq(inbox.nextBatch(), 2);
    }

    function test_only_the_owner_rotates() public {
        vm.expectRevert(
            abi.encodeWithSelector(Ownable.OwnableUnauthorizedAccount.selector, SEQUENCER)
        );
        vm.prank(SEQUENCER);
        inbox.setSequencer(STRANGER);
        vm.expectRevert(Inbox.ZeroSequencer.selector);
        vm.prank(OWNER);
        inbox.setSequencer(address(0));
    }

    function test_ownership_moves_in_two_steps() public {
        vm.prank(OWNER);
        inbox.transferOwnership(STRANGER);
        vm.assertEq(inbox.owner(), OWNER);
        vm.prank(STRANGER);
        inbox.acceptOwnership();
        vm.assertEq(inbox.owner(), STRANGER);
    }

    // Accumulator.

    /// @dev The same literals are in bindings/inbox.rs.
    function test_accumulator_matches_the_vectors_of_the_rust_side() public {
        appendCalldata(0, "weft");
        bytes32 first = 0x7fce2eacf94a5b7d76b63c87c9e7f47119b37d51580d681a05e1ec4a00bf9d52;
        vm.assertEq(inbox.acc(), first);

        bytes32[] memory list = new bytes32[](2);
        list[0] = 0x0101010101010101010101010101010101010101010101010101010101010101;
        list[1] = 0x0202020202020202020202020202020202020202020202020202020202020202;
        vm.blobhashes(list);
        appendBlobs(first, 2);
        vm.assertEq(inbox.acc(), 0x96e98c1b4a2b5e23d74e9bae88602497e8077af729a30f55d3918bc0fad0e907);
    }

    function test_event_says_what_was_appended() public {
        bytes32 dataHash = keccak256("weft");
        bytes32 first = keccak256(abi.encode(bytes32(0), 0, 0, dataHash));
        vm.expectEmit();
        emit Inbox.BatchAppended(0, first, 0, 0, dataHash, new bytes32[](0));
        appendCalldata(0, "weft");

        bytes32[] memory list = hashes(3);
        vm.blobhashes(list);
        dataHash = keccak256(abi.encodePacked(list));
        bytes32 second = keccak256(abi.encode(first, 1, 1, dataHash));
        vm.expectEmit();
        emit Inbox.BatchAppended(1, second, first, 1, dataHash, list);
        appendBlobs(first, 3);
    }

    function test_a_dropped_batch_is_posted_again_with_the_same_accumulator() public {
        appendCalldata(0, "base");
        bytes32 parent = inbox.acc();
        uint256 snapshot = vm.snapshotState();
        appendCalldata(parent, "lost in a reorg");
        bytes32 acc = inbox.acc();
        vm.revertToState(snapshot);
        vm.roll(block.number + 9);
        vm.warp(block.timestamp + 99);
        appendCalldata(parent, "lost in a reorg");
        vm.assertEq(inbox.acc(), acc);
    }

    function test_calldata_cannot_pass_for_blobs() public {
        bytes32[] memory list = hashes(2);
        vm.blobhashes(list);
        uint256 snapshot = vm.snapshotState();
        appendBlobs(0, 2);
        bytes32 blobs = inbox.acc();
        vm.revertToState(snapshot);
        appendCalldata(0, abi.encodePacked(list));
        vm.assertTrue(inbox.acc() != blobs);
    }

    function testFuzz_accumulator_is_the_hash_of_parent_id_kind_and_data(bytes[] calldata batches)
        public
    {
        bytes32 expected = 0;
        uint64 id = 0;
        for (uint256 i = 0; i < batches.length; ++i) {
            if (batches[i].length == 0) continue;
            appendCalldata(expected, batches[i]);
            expected = keccak256(abi.encode(expected, id, uint8(0), keccak256(batches[i])));
            vm.assertEq(inbox.acc(), expected);
            vm.assertEq(inbox.accAt(id), expected);
            ++id;
        }
        vm.assertEq(inbox.nextBatch(), id);
    }

    function test_a_stale_parent_is_refused() public {
        appendCalldata(0, "first");
        bytes32 acc = inbox.acc();
        bytes memory reason = abi.encodeWithSelector(Inbox.StaleParent.selector, bytes32(0), acc);
        vm.blobhashes(hashes(1));
        vm.startPrank(SEQUENCER, SEQUENCER);
        vm.expectRevert(reason);
        inbox.appendCalldata(0, "second");
        vm.expectRevert(reason);
        inbox.appendBlobs(0, 1, "");
    }

    // Blobs.

    function test_every_blob_count_in_range_is_taken() public {
        for (uint256 count = 1; count <= inbox.MAX_BLOBS(); ++count) {
            vm.blobhashes(hashes(count));
            appendBlobs(inbox.acc(), count);
            vm.assertEq(inbox.nextBatch(), count);
        }
    }

    function test_blob_count_has_to_be_in_range() public {
        vm.blobhashes(hashes(7));
        vm.expectRevert(abi.encodeWithSelector(Inbox.BlobCountOutOfRange.selector, 0));
        appendBlobs(0, 0);
        vm.expectRevert(abi.encodeWithSelector(Inbox.BlobCountOutOfRange.selector, 7));
        appendBlobs(0, 7);
    }

    function test_blob_count_has_to_match_the_transaction() public {
        vm.expectRevert(abi.encodeWithSelector(Inbox.MissingBlob.selector, 0));
        appendBlobs(0, 1);
        vm.blobhashes(hashes(2));
        vm.expectRevert(abi.encodeWithSelector(Inbox.MissingBlob.selector, 2));
        appendBlobs(0, 3);
        vm.expectRevert(abi.encodeWithSelector(Inbox.UnaccountedBlob.selector, 1));
        appendBlobs(0, 1);
        vm.blobhashes(hashes(7));
        vm.expectRevert(abi.encodeWithSelector(Inbox.UnaccountedBlob.selector, 6));
        appendBlobs(0, 6);
    }

    function test_meta_is_bounded_and_not_committed_to() public {
        vm.blobhashes(hashes(1));
        uint256 snapshot = vm.snapshotState();
        appendBlobs(0, 1);
        bytes32 acc = inbox.acc();
        vm.revertToState(snapshot);
        bytes memory longest = new bytes(inbox.MAX_META_BYTES());
        bytes memory tooLong = new bytes(longest.length + 1);

        vm.expectRevert(abi.encodeWithSelector(Inbox.MetaTooLong.selector, tooLong.length));
        vm.prank(SEQUENCER, SEQUENCER);
        inbox.appendBlobs(0, 1, tooLong);
        vm.prank(SEQUENCER, SEQUENCER);
        inbox.appendBlobs(0, 1, longest);
        vm.assertEq(inbox.acc(), acc);
    }

    // Calldata.

    function test_a_calldata_batch_has_bytes() public {
        vm.expectRevert(Inbox.EmptyBatch.selector);
        appendCalldata(0, "");
    }

    function test_a_contract_cannot_append_calldata() public {
        Forwarder forwarder = new Forwarder();
        vm.prank(OWNER);
        inbox.setSequencer(address(forwarder));
        vm.expectRevert(Inbox.NotTopLevel.selector);
        vm.prank(STRANGER, STRANGER);
        forwarder.forward(address(inbox), abi.encodeCall(inbox.appendCalldata, (0, "data")));
    }

    function test_a_delegated_account_cannot_append_calldata_from_its_code() public {
        vm.setEvmVersion("prague");
        Forwarder code = new Forwarder();
        vm.etch(SEQUENCER, abi.encodePacked(hex"ef0100", address(code)));
        // The sequencer calls itself: for the inbox, sender and origin are the same account.
        vm.expectRevert(Inbox.NotTopLevel.selector);
        vm.prank(SEQUENCER, SEQUENCER);
        Forwarder(SEQUENCER)
            .forward(address(inbox), abi.encodeCall(inbox.appendCalldata, (0, "data")));
    }

    function test_a_contract_may_append_blobs() public {
        Forwarder forwarder = new Forwarder();
        vm.prank(OWNER);
        inbox.setSequencer(address(forwarder));
        vm.blobhashes(hashes(1));
        forwarder.forward(address(inbox), abi.encodeCall(inbox.appendBlobs, (0, 1, "")));
        vm.assertEq(inbox.nextBatch(), 1);
    }

    // Ring.

    function test_a_batch_that_does_not_exist_has_no_accumulator() public {
        vm.expectRevert(abi.encodeWithSelector(Inbox.UnknownBatch.selector, 0));
        inbox.accAt(0);
        appendCalldata(0, "first");
        vm.expectRevert(abi.encodeWithSelector(Inbox.UnknownBatch.selector, 1));
        inbox.accAt(1);
        vm.expectRevert(abi.encodeWithSelector(Inbox.UnknownBatch.selector, type(uint64).max));
        inbox.accAt(type(uint64).max);
    }

    function test_the_ring_keeps_exactly_its_size() public {
        uint64 size = uint64(inbox.RING_SIZE());
        bytes32 acc = 0;
        bytes32[3] memory seen;
        vm.startPrank(SEQUENCER, SEQUENCER);
        for (uint64 id = 0; id < size; ++id) {
            inbox.appendCalldata(acc, "batch");
            acc = keccak256(abi.encode(acc, id, uint8(0), keccak256("batch")));
            if (id < 2) seen[id] = acc;
        }
        vm.assertEq(inbox.accAt(0), seen[0]);
        vm.assertEq(inbox.accAt(size - 1), acc);

        inbox.appendCalldata(acc, "batch");
        vm.expectRevert(abi.encodeWithSelector(Inbox.UnknownBatch.selector, 0));
        inbox.accAt(0);
        vm.assertEq(inbox.accAt(1), seen[1]);
        vm.assertEq(inbox.accAt(size), inbox.acc());
        vm.assertEq(inbox.acc(), keccak256(abi.encode(acc, size, uint8(0), keccak256("batch"))));
    }
}
