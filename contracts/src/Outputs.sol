// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {Inbox} from "./Inbox.sol";

/// @title Outputs
/// @notice Claims about L2 state, with the ABI of the OP Stack's output oracle. Each claim is bound to
/// the inbox accumulator that it was computed from, so it speaks about one history only: after an
/// L1 reorg that changed the batches, a claim about the old ones cannot enter.
///
/// An output root is `keccak256(0 ‖ stateRoot ‖ messagePasserStorageRoot ‖ blockHash)` of one L2
/// block. The output of the genesis block exists from deployment.
///
/// Storage: the array of outputs is at slot 3. Output `i` takes the three slots from
/// `keccak256(uint256(3)) + 3 * i`: the root; `timestamp | l2BlockNumber << 64 | batchId << 128`; the
/// inbox accumulator.
///
/// What it deliberately does not do: it does not check that a root is right (nobody can challenge
/// one yet, so the proposer is trusted), it does not delete outputs, and it does not hold ETH.
contract Outputs is Ownable2Step {
    /// @notice An output as the OP Stack's oracle returns it.
    /// @param outputRoot Commitment to the L2 state.
    /// @param timestamp L1 time at which the output was proposed: its finality window starts here.
    /// @param l2BlockNumber L2 block that the root belongs to.
    struct OutputProposal {
        bytes32 outputRoot;
        uint128 timestamp;
        uint128 l2BlockNumber;
    }

    /// @dev An output as it is stored.
    struct Output {
        bytes32 outputRoot;
        uint64 timestamp;
        uint64 l2BlockNumber;
        uint64 batchId;
        bytes32 inboxAcc;
    }

    /// @notice The list of batches that outputs are bound to.
    Inbox public immutable inbox;
    /// @notice Seconds between two L2 blocks, rounded up to at least 1. For clients' estimates.
    uint256 public immutable L2_BLOCK_TIME;
    /// @notice L2 blocks between two outputs. For clients' estimates: the contract does not hold the
    /// proposer to it.
    uint256 public immutable SUBMISSION_INTERVAL;
    /// @notice Seconds from an output's timestamp until the output is final.
    uint256 public immutable FINALIZATION_PERIOD_SECONDS;

    /// @notice The only account that may propose.
    address public proposer;
    /// @dev All outputs, oldest first; never empty. Slot 3.
    Output[] private _outputs;

    /// @notice An output was proposed.
    /// @param outputRoot Commitment to the L2 state.
    /// @param l2OutputIndex Position of the output.
    /// @param l2BlockNumber L2 block that the root belongs to.
    /// @param l1Timestamp L1 time of the proposal.
    event OutputProposed(
        bytes32 indexed outputRoot,
        uint256 indexed l2OutputIndex,
        uint256 indexed l2BlockNumber,
        uint256 l1Timestamp
    );
    /// @notice The proposer was set or rotated.
    /// @param previous Account that could propose until now; zero at deployment.
    /// @param current Account that can propose from now on.
    event ProposerChanged(address indexed previous, address indexed current);

    /// @notice The caller is not the proposer.
    error NotProposer(address caller);
    /// @notice The proposer must not be the zero address.
    error ZeroProposer();
    /// @notice An output root must not be zero.
    error ZeroOutputRoot();
    /// @notice Block time, interval and window must all be at least 1.
    error ZeroParameter();
    /// @notice The L2 block is not after that of the last output.
    error BlockNotAfter(uint256 given, uint256 last);
    /// @notice The L2 block number does not fit in 64 bits.
    error BlockTooLarge(uint256 given);
    /// @notice The batch is before that of the last output.
    error BatchBefore(uint64 given, uint64 last);
    /// @notice The accumulator is not the inbox's after that batch.
    error InboxMismatch(bytes32 given, bytes32 current);
    /// @notice There is no output with this index.
    error UnknownOutput(uint256 index);

    /// @notice Binds the oracle to an inbox and records the output of the genesis block.
    /// @dev Reverts with `OwnableInvalidOwner`, `ZeroProposer`, `ZeroOutputRoot`, `ZeroParameter`.
    /// Emits `OwnershipTransferred`, `ProposerChanged`, `OutputProposed`.
    /// @param owner_ Account that rotates the proposer.
    /// @param proposer_ First account that may propose.
    /// @param inbox_ The list of batches.
    /// @param genesisOutputRoot Output root of L2 block 0.
    /// @param genesisTimestamp Time recorded for the genesis output.
    /// @param l2BlockTime Value of `L2_BLOCK_TIME`.
    /// @param submissionInterval Value of `SUBMISSION_INTERVAL`.
    /// @param finalizationPeriod Value of `FINALIZATION_PERIOD_SECONDS`.
    constructor(
        address owner_,
        address proposer_,
        Inbox inbox_,
        bytes32 genesisOutputRoot,
        uint64 genesisTimestamp,
        uint256 l2BlockTime,
        uint256 submissionInterval,
        uint256 finalizationPeriod
    ) Ownable(owner_) {
        if (l2BlockTime == 0 || submissionInterval == 0 || finalizationPeriod == 0) {
            revert ZeroParameter();
        }
        inbox = inbox_;
        L2_BLOCK_TIME = l2BlockTime;
        SUBMISSION_INTERVAL = submissionInterval;
        FINALIZATION_PERIOD_SECONDS = finalizationPeriod;
        _setProposer(proposer_);
        // No batch precedes the genesis block: the accumulator of the empty list is zero.
        _push(Output(genesisOutputRoot, genesisTimestamp, 0, 0, 0));
    }

    /// @notice Proposes the output of an L2 block.
    /// @dev Reverts with `NotProposer`, `ZeroOutputRoot`, `BlockNotAfter`, `BlockTooLarge`,
    /// `BatchBefore`, `InboxMismatch`, and the inbox's `UnknownBatch`. Emits `OutputProposed`.
    /// @param outputRoot Commitment to the L2 state.
    /// @param l2BlockNumber L2 block that the root belongs to.
    /// @param batchId Batch that contains this block: with it the block can be derived.
    /// @param inboxAcc The inbox's accumulator after that batch.
    function proposeOutput(
        bytes32 outputRoot,
        uint256 l2BlockNumber,
        uint64 batchId,
        bytes32 inboxAcc
    ) external {
        if (msg.sender != proposer) revert NotProposer(msg.sender);
        Output storage last = _outputs[_outputs.length - 1];
        if (l2BlockNumber <= last.l2BlockNumber) {
            revert BlockNotAfter(l2BlockNumber, last.l2BlockNumber);
        }
        if (l2BlockNumber > type(uint64).max) revert BlockTooLarge(l2BlockNumber);
        if (batchId < last.batchId) revert BatchBefore(batchId, last.batchId);
        bytes32 current = inbox.accAt(batchId);
        if (inboxAcc != current) revert InboxMismatch(inboxAcc, current);
        // forge-lint: disable-next-line(unsafe-typecast)
        _push(Output(outputRoot, uint64(block.timestamp), uint64(l2BlockNumber), batchId, inboxAcc));
    }

    /// @notice Rotates the proposer. Outputs proposed before stay.
    /// @dev Reverts with `OwnableUnauthorizedAccount`, `ZeroProposer`. Emits `ProposerChanged`.
    /// @param proposer_ Account that may propose from now on.
    function setProposer(address proposer_) external onlyOwner {
        _setProposer(proposer_);
    }

    /// @notice An output.
    /// @dev Reverts with `UnknownOutput`.
    /// @param index Position of the output.
    /// @return Root, time and L2 block of the output.
    function getL2Output(uint256 index) external view returns (OutputProposal memory) {
        Output storage output = _output(index);
        return OutputProposal(output.outputRoot, output.timestamp, output.l2BlockNumber);
    }

    /// @notice What an output was computed from.
    /// @dev Reverts with `UnknownOutput`.
    /// @param index Position of the output.
    /// @return batchId Last batch that the output takes into account; 0 for the genesis output.
    /// @return inboxAcc Accumulator after that batch; zero for the genesis output.
    function outputBinding(uint256 index) external view returns (uint64 batchId, bytes32 inboxAcc) {
        Output storage output = _output(index);
        return (output.batchId, output.inboxAcc);
    }

    /// @notice Index of the first output that covers an L2 block.
    /// @dev Reverts with an `Error(string)`, the only one here: clients of the OP Stack compare this
    /// text to tell "not yet" from a failure.
    /// @param l2BlockNumber Block to be covered.
    /// @return Index of the first output with a block number of at least `l2BlockNumber`.
    function getL2OutputIndexAfter(uint256 l2BlockNumber) external view returns (uint256) {
        require(
            l2BlockNumber <= latestBlockNumber(),
            "L2OutputOracle: cannot get output for a block that has not been proposed"
        );
        uint256 low = 0;
        uint256 high = _outputs.length - 1;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (_outputs[middle].l2BlockNumber < l2BlockNumber) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }

    /// @notice Index of the newest output.
    /// @return The index.
    function latestOutputIndex() external view returns (uint256) {
        return _outputs.length - 1;
    }

    /// @notice Index that the next output will get.
    /// @return The index.
    function nextOutputIndex() external view returns (uint256) {
        return _outputs.length;
    }

    /// @notice L2 block of the newest output.
    /// @return The block number.
    function latestBlockNumber() public view returns (uint256) {
        return _outputs[_outputs.length - 1].l2BlockNumber;
    }

    /// @dev Adds an output. Reverts with `ZeroOutputRoot`. Emits `OutputProposed`.
    function _push(Output memory output) private {
        if (output.outputRoot == 0) revert ZeroOutputRoot();
        uint256 index = _outputs.length;
        _outputs.push(output);
        emit OutputProposed(output.outputRoot, index, output.l2BlockNumber, output.timestamp);
    }

    /// @dev Sets the proposer. Reverts with `ZeroProposer`. Emits `ProposerChanged`.
    function _setProposer(address proposer_) private {
        if (proposer_ == address(0)) revert ZeroProposer();
        emit ProposerChanged(proposer, proposer_);
        proposer = proposer_;
    }

    /// @dev The stored output. Reverts with `UnknownOutput`.
    function _output(uint256 index) private view returns (Output storage) {
        if (index >= _outputs.length) revert UnknownOutput(index);
        return _outputs[index];
    }
}
