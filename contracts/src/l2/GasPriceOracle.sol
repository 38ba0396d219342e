// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {L1Block} from "./L1Block.sol";

/// @title GasPriceOracle
/// @notice What a transaction costs beyond its L2 gas, with the OP Stack's ABI. Predeploy at
/// 0x420000000000000000000000000000000000000F.
///
/// What it deliberately does not do: it does not price the data that the rollup posts to L1. No such
/// fee is charged yet, so `getL1Fee` answers 0: wallets add the answer to the L2 fee, and anything
/// else would show a cost that nobody pays. The version that introduces the fee changes both at
/// once.
contract GasPriceOracle {
    /// @notice Decimals of the scalars.
    uint256 public constant DECIMALS = 6;
    /// @notice Where the attributes of L1 are.
    L1Block public constant L1_BLOCK = L1Block(0x4200000000000000000000000000000000000015);

    /// @notice L1 data fee of a transaction.
    /// @dev Reverts and emits nothing. The argument is the serialized transaction without signature.
    /// @return The fee in wei: none is charged.
    function getL1Fee(bytes memory) external pure returns (uint256) {
        return 0;
    }

    /// @notice Calldata gas that a transaction would use on L1 by itself.
    /// @dev Reverts and emits nothing.
    /// @param data The serialized transaction without signature.
    /// @return 4 per zero byte and 16 per other byte, and 68 other bytes for the signature.
    function getL1GasUsed(bytes memory data) external pure returns (uint256) {
        uint256 total = 68 * 16;
        for (uint256 i = 0; i < data.length; ++i) {
            total += data[i] == 0 ? 4 : 16;
        }
        return total;
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
    /// @return The scalar: zero while no data fee is charged.
    function baseFeeScalar() external view returns (uint32) {
        return L1_BLOCK.baseFeeScalar();
    }

    /// @notice Weight of the blob base fee in the data fee.
    /// @return The scalar: zero while no data fee is charged.
    function blobBaseFeeScalar() external view returns (uint32) {
        return L1_BLOCK.blobBaseFeeScalar();
    }

    /// @notice Decimals of the scalars.
    /// @return The number of decimals.
    function decimals() external pure returns (uint256) {
        return DECIMALS;
    }

    /// @notice Version of this contract.
    /// @return The version as major.minor.patch.
    function version() external pure returns (string memory) {
        return "1.0.0";
    }
}
