// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @notice Code that an account delegates to (EIP-7702): it makes several calls in one transaction.
contract Wallet {
    struct Call {
        address to;
        uint256 value;
        bytes data;
    }

    event Executed(address indexed to, uint256 value);

    error NotOwner(address caller);

    receive() external payable {}

    function execute(Call[] calldata calls) external payable {
        if (msg.sender != address(this)) revert NotOwner(msg.sender);
        for (uint256 i = 0; i < calls.length; ++i) {
            (bool success,) = calls[i].to.call{value: calls[i].value}(calls[i].data);
            require(success, "call failed");
            emit Executed(calls[i].to, calls[i].value);
        }
    }
}
