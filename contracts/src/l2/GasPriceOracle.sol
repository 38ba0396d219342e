// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {L1Block} from "./L1Block.sol";

/// @title GasPriceOracle
/// @notice What a transaction costs beyond its L2 gas, with the OP Stack's ABI. Predeploy at
/// 0x420000000000000000000000000000000000000F.
///
/// Every transaction that is not a deposit pays, besides its gas, an L1 data fee:
///
///   size x (16 x baseFeeScalar x l1BaseFee + blobBaseFeeScalar x blobBaseFee) / 10^12
///
/// and an operator fee: gas used x operatorFeeScalar / 10^6 + operatorFeeConstant. The size is an
/// estimate in millionths of a byte of what the transaction takes of the data on L1: a sum over its
/// bytes less a discount, and not below a minimum. The OP Stack estimates it from a compression with
/// FastLZ instead.
///
/// All parameters are in the storage that genesis gives to this contract and to L1Block, from the
/// chain's rules; nothing changes them. The node computes the same in Rust (`executor::fees`), and
/// its answer counts: this contract charges nobody.
///
/// What it deliberately does not do: it does not know what a transaction was charged. An answer
/// about a transaction without its signature is never below the charge in the same block.
contract GasPriceOracle {
    /// @notice Decimals of the scalars and of the size.
    uint256 public constant DECIMALS = 6;
    /// @notice Where the attributes of L1 and the scalars are.
    L1Block public constant L1_BLOCK = L1Block(0x4200000000000000000000000000000000000015);
    /// @notice Bytes that a signature adds at most, none of them zero.
    uint256 public constant SIGNATURE_BYTES_MAX = 68;
    /// @notice Zero bytes that a signature turns into others at most: in the length of the list.
    uint256 public constant SIGNATURE_CHANGED_BYTES_MAX = 2;

    /// @notice Size of a zero byte, in millionths of a byte. Slot 0.
    uint32 public zeroByteMillionths;
    /// @notice Size of any other byte, in millionths of a byte. Slot 0.
    uint32 public otherByteMillionths;
    /// @notice Taken off the size of every transaction, in millionths of a byte. Slot 0.
    uint32 public discountMillionths;
    /// @notice The least size, in millionths of a byte. Slot 0.
    uint32 public sizeMinMillionths;

    /// @notice L1 data fee of a transaction, at most.
    /// @dev Emits nothing.
    /// @param data The serialized transaction without signature.
    /// @return The fee in wei once it is signed, or a few bytes' worth more.
    function getL1Fee(bytes calldata data) external view returns (uint256) {
        return price(unsignedMillionths(data));
    }

    /// @notice L1 data fee of a transaction as it is charged.
    /// @dev Emits nothing. Not in the OP Stack's ABI.
    /// @param raw The signed transaction, as eth_sendRawTransaction takes it.
    /// @return The fee in wei.
    function getL1FeeSigned(bytes calldata raw) external view returns (uint256) {
        (uint256 zeros, uint256 others) = count(raw);
        return price(millionths(zeros, others));
    }

    /// @notice L1 data fee of any transaction of a length, at most.
    /// @dev Emits nothing. Reverts on overflow, for a length beyond any transaction.
    /// @param unsignedTxSize Length of the serialized transaction without signature, in bytes.
    /// @return The fee in wei.
    function getL1FeeUpperBound(uint256 unsignedTxSize) external view returns (uint256) {
        return price(signedMillionths(0, unsignedTxSize));
    }

    /// @notice Operator fee for an amount of gas.
    /// @dev Emits nothing. Saturates.
    /// @param gasUsed The gas.
    /// @return The fee in wei.
    function getOperatorFee(uint256 gasUsed) external view returns (uint256) {
        uint256 scalar = L1_BLOCK.operatorFeeScalar();
        uint256 most = type(uint256).max;
        uint256 scaled = scalar != 0 && gasUsed > most / scalar ? most : gasUsed * scalar;
        return scaled / 10 ** DECIMALS + L1_BLOCK.operatorFeeConstant();
    }

    /// @notice Calldata gas of as many bytes as a transaction takes on L1 by the estimate, at most.
    /// @dev Emits nothing.
    /// @param data The serialized transaction without signature.
    /// @return The gas: 16 for each byte.
    function getL1GasUsed(bytes calldata data) external view returns (uint256) {
        return unsignedMillionths(data) * 16 / 10 ** DECIMALS;
    }

    /// @notice Price of L2 gas, which is the base fee.
    /// @return The price in wei.
    function gasPrice() external view returns (uint256) {
        return block.basefee;
    }

    /// @notice Base fee of the current L2 block.
    /// @return The base fee in wei.
    function baseFee() external view returns (uint256) {
        return block.basefee;
    }

    /// @notice Base fee of the L1 block that L2 knows.
    /// @return The base fee in wei.
    function l1BaseFee() external view returns (uint256) {
        return L1_BLOCK.basefee();
    }

    /// @notice Blob base fee of the L1 block that L2 knows.
    /// @return The blob base fee in wei.
    function blobBaseFee() external view returns (uint256) {
        return L1_BLOCK.blobBaseFee();
    }

    /// @notice Weight of the L1 base fee in the data fee.
    /// @return The scalar, in millionths.
    function baseFeeScalar() external view returns (uint32) {
        return L1_BLOCK.baseFeeScalar();
    }

    /// @notice Weight of the blob base fee in the data fee.
    /// @return The scalar, in millionths.
    function blobBaseFeeScalar() external view returns (uint32) {
        return L1_BLOCK.blobBaseFeeScalar();
    }

    /// @notice Decimals of the scalars.
    /// @return The number of decimals.
    function decimals() external pure returns (uint256) {
        return DECIMALS;
    }

    /// @notice Whether the data fee has the terms that the OP Stack's Ecotone brought.
    /// @return Always true.
    function isEcotone() external pure returns (bool) {
        return true;
    }

    /// @notice Whether the data fee is by an estimated size, as since the OP Stack's Fjord.
    /// @return Always true.
    function isFjord() external pure returns (bool) {
        return true;
    }

    /// @notice Whether there is an operator fee, as since the OP Stack's Isthmus.
    /// @return Always true.
    function isIsthmus() external pure returns (bool) {
        return true;
    }

    /// @notice Version of this contract.
    /// @return The version as major.minor.patch.
    function version() external pure returns (string memory) {
        return "2.0.0";
    }

    function price(uint256 size) private view returns (uint256) {
        uint256 execution = 16 * uint256(L1_BLOCK.baseFeeScalar()) * L1_BLOCK.basefee();
        uint256 blob = uint256(L1_BLOCK.blobBaseFeeScalar()) * L1_BLOCK.blobBaseFee();
        return size * (execution + blob) / 10 ** (2 * DECIMALS);
    }

    function unsignedMillionths(bytes calldata data) private view returns (uint256) {
        (uint256 zeros, uint256 others) = count(data);
        return signedMillionths(zeros, others);
    }

    function signedMillionths(uint256 zeros, uint256 others) private view returns (uint256) {
        return millionths(zeros, others + SIGNATURE_BYTES_MAX + SIGNATURE_CHANGED_BYTES_MAX);
    }

    function millionths(uint256 zeros, uint256 others) private view returns (uint256) {
        uint256 sum = zeros * zeroByteMillionths + others * otherByteMillionths;
        uint256 discount = discountMillionths;
        uint256 size = sum > discount ? sum - discount : 0;
        uint256 least = sizeMinMillionths;
        return size > least ? size : least;
    }

    /// @dev In assembly: at 128 KiB the compiled loop would need a third of what a call may use.
    function count(bytes calldata data) private pure returns (uint256 zeros, uint256 others) {
        assembly ("memory-safe") {
            let end := add(data.offset, data.length)
            for { let at := data.offset } lt(at, end) { at := add(at, 1) } {
                others := add(others, iszero(iszero(byte(0, calldataload(at)))))
            }
            zeros := sub(data.length, others)
        }
    }
}
