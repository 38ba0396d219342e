// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

/// @title L2ToL1MessagePasser
/// @notice Where messages leave the rollup, with the OP Stack's ABI and storage. A withdrawal sets one
/// storage word; its storage root is part of every output root, so L1 can check that word by proof.
/// Predeploy at 0x4200000000000000000000000000000000000016.
///
/// What it deliberately does not do: it does not pay anybody and does not look at the message. ETH
/// sent along stays here (or goes to the zero address by `burn`): the portal on L1 pays it out.
contract L2ToL1MessagePasser {
    /// @notice Version of the message encoding, in the top two bytes of every nonce.
    uint16 public constant MESSAGE_VERSION = 1;
    /// @notice Gas on L1 of a withdrawal made by plain transfer.
    uint256 public constant RECEIVE_GAS_LIMIT = 100_000;

    /// @notice Whether a withdrawal hash was sent. Has to be at slot 0: L1 proves against it.
    mapping(bytes32 withdrawalHash => bool sent) public sentMessages;
    /// @dev Number of messages sent. Slot 1.
    uint240 private _messageCount;

    /// @notice A message left the rollup.
    /// @param nonce Nonce of the message with the version in its top two bytes.
    /// @param sender Account that sent it.
    /// @param target Account that is called on L1.
    /// @param value ETH that the call on L1 transfers.
    /// @param gasLimit Least gas of the call on L1.
    /// @param data Calldata of the call on L1.
    /// @param withdrawalHash Hash of all the fields above.
    event MessagePassed(
        uint256 indexed nonce,
        address indexed sender,
        address indexed target,
        uint256 value,
        uint256 gasLimit,
        bytes data,
        bytes32 withdrawalHash
    );
    /// @notice The ETH held here was moved to the zero address.
    /// @param amount Amount in wei.
    event WithdrawerBalanceBurnt(uint256 indexed amount);

    /// @notice The transfer to the zero address failed.
    error BurnFailed();

    /// @notice Withdraws the ETH to the sender's address on L1.
    /// @dev Reverts with nothing of its own. Emits `MessagePassed`.
    receive() external payable {
        initiateWithdrawal(msg.sender, RECEIVE_GAS_LIMIT, "");
    }

    /// @notice Moves all ETH held here to the zero address, where nobody can reach it. Anyone may: it is
    /// ETH that only the portal on L1 pays out, so no claim changes.
    /// @dev Reverts with `BurnFailed`. Emits `WithdrawerBalanceBurnt`.
    function burn() external {
        uint256 amount = address(this).balance;
        (bool ok,) = address(0).call{value: amount}("");
        if (!ok) revert BurnFailed();
        emit WithdrawerBalanceBurnt(amount);
    }

    /// @notice Sends a message to L1, with the ETH sent along.
    /// @dev Reverts with nothing of its own. Emits `MessagePassed`.
    /// @param target Account to call on L1.
    /// @param gasLimit Least gas of that call.
    /// @param data Calldata of that call.
    function initiateWithdrawal(address target, uint256 gasLimit, bytes memory data)
        public
        payable
    {
        uint256 nonce = messageNonce();
        bytes32 withdrawalHash =
            keccak256(abi.encode(nonce, msg.sender, target, msg.value, gasLimit, data));
        sentMessages[withdrawalHash] = true;
        ++_messageCount;
        emit MessagePassed(nonce, msg.sender, target, msg.value, gasLimit, data, withdrawalHash);
    }

    /// @notice Nonce of the next message, with the version in its top two bytes.
    /// @return The nonce.
    function messageNonce() public view returns (uint256) {
        return (uint256(MESSAGE_VERSION) << 240) | _messageCount;
    }
}
