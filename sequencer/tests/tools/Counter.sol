// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity ^0.8.20;

/// @notice A contract with a constructor argument, an event, and both ways to revert with a reason.
contract Counter {
    uint256 public number;

    event NumberSet(address indexed by, uint256 number);

    error TooBig(uint256 given);

    constructor(uint256 number_) {
        number = number_;
    }

    function set(uint256 number_) external {
        require(number_ != 13, "unlucky");
        if (number_ > 1000) revert TooBig(number_);
        number = number_;
        emit NumberSet(msg.sender, number_);
    }
}
