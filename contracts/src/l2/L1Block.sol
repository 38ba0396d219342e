// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title L1Block
/// @notice What L2 knows about L1: the attributes of the L1 block that the current L2 block derives
/// its deposits from. Predeploy at 0x4200000000000000000000000000000000000015.
///
/// Names and storage slots are those of the OP Stack's contract, so that readers of either work. The
/// setter is our own. Scalars and operator fee are written by genesis, from the chain's rules, and
/// never change. The fields of the OP Stack's first fee formula are zero.
///
/// What it deliberately does not do: it does not check the values. The first transaction of an L2
/// block sets them and every node derives that transaction from L1.
contract L1Block {
    /// @notice Sender of the transaction that sets the values. Nobody has its key.
    address public constant DEPOSITOR_ACCOUNT = 0xDeaDDEaDDeAdDeAdDEAdDEaddeAddEAdDEAd0001;

    /// @notice Number of the L1 block. Slot 0.
    uint64 public number;
    /// @notice Time of the L1 block in seconds. Slot 0.
    uint64 public timestamp;
    /// @notice Base fee of the L1 block in wei. Slot 1.
    uint256 public basefee;
    /// @notice Hash of the L1 block. Slot 2.
    bytes32 public hash;
    /// @notice Number of L2 blocks since the first with this L1 block. Slot 3.
    uint64 public sequenceNumber;
    /// @notice Weight of the blob base fee in the L1 data fee, in millionths. Slot 3.
    uint32 public blobBaseFeeScalar;
    /// @notice Weight of the base fee in the L1 data fee, in millionths. Slot 3.
    uint32 public baseFeeScalar;
    /// @notice Versioned hash of the batcher's address in the OP Stack; unused. Slot 4.
    bytes32 public batcherHash;
    /// @notice Fee overhead of the OP Stack's first fee formula; unused. Slot 5.
    uint256 public l1FeeOverhead;
    /// @notice Fee scalar of the OP Stack's first fee formula; unused. Slot 6.
    uint256 public l1FeeScalar;
    /// @notice Blob base fee of the L1 block in wei. Slot 7.
    uint256 public blobBaseFee;
    /// @notice Operator fee of every transaction in wei. Slot 8.
    uint64 public operatorFeeConstant;
    /// @notice Operator fee for each gas, in millionths of a wei. Slot 8.
    uint32 public operatorFeeScalar;

    /// @notice The caller is not the depositor account.
    error NotDepositor(address caller);

    /// @notice Sets the attributes of the L1 block.
    /// @dev Reverts with `NotDepositor`. Emits nothing: every L2 block makes this call.
    /// @param l1Number Number of the L1 block.
    /// @param l1Timestamp Time of the L1 block in seconds.
    /// @param l1Basefee Base fee of the L1 block in wei.
    /// @param l1Hash Hash of the L1 block.
    /// @param l2SequenceNumber Number of L2 blocks since the first with this L1 block.
    /// @param l1BlobBaseFee Blob base fee of the L1 block in wei.
    function setL1BlockValues(
        uint64 l1Number,
        uint64 l1Timestamp,
        uint256 l1Basefee,
        bytes32 l1Hash,
        uint64 l2SequenceNumber,
        uint256 l1BlobBaseFee
    ) external {
        if (msg.sender != DEPOSITOR_ACCOUNT) revert NotDepositor(msg.sender);
        number = l1Number;
        timestamp = l1Timestamp;
        basefee = l1Basefee;
        hash = l1Hash;
        sequenceNumber = l2SequenceNumber;
        blobBaseFee = l1BlobBaseFee;
    }
}
