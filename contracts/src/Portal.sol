// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Outputs} from "./Outputs.sol";

/// @title Portal
/// @notice Where users enter the rollup from L1, with the ABI of the OP Stack's portal. A deposit is an
/// event: the rollup derives one L2 transaction from it, which mints the ETH that was sent here.
///
/// What it deliberately does not do yet:
/// - withdrawals. ETH that was deposited is locked here until the bridge is complete;
/// - sell L2 gas. A deposit's gas is not paid for, only capped per L1 block: who is willing to fill
///   the cap in every L1 block keeps other deposits out for as long.
contract Portal {
    /// @notice Version of the `opaqueData` encoding.
    uint256 public constant DEPOSIT_VERSION = 0;
    /// @notice Most bytes of data that one deposit may have.
    uint256 public constant MAX_DATA_BYTES = 120_000;
    /// @notice Most L2 gas that the deposits of one L1 block may ask for together. An L2 block has
    /// room for all deposits of an L1 block.
    uint64 public constant MAX_DEPOSIT_GAS_PER_BLOCK = 20_000_000;
    /// @notice L2 gas of a deposit made by plain transfer.
    uint64 public constant RECEIVE_GAS_LIMIT = 100_000;
    /// @notice Difference between a contract's L1 address and the sender of its deposits on L2.
    uint160 public constant ALIAS_OFFSET = uint160(0x1111000000000000000000000000000000001111);

    /// @notice Claims about L2 state that withdrawals will be proven against.
    Outputs public immutable outputs;

    /// @dev L1 block that `_gasInBlock` belongs to. Shares a slot with it.
    uint64 private _gasBlock;
    /// @dev L2 gas asked for by the deposits of that block.
    uint64 private _gasInBlock;

    /// @notice A deposit was made.
    /// @param from Sender of the L2 transaction, aliased if a contract deposited.
    /// @param to Recipient of the L2 transaction; zero for a contract creation.
    /// @param version Version of the encoding of `opaqueData`.
    /// @param opaqueData mint(32) ‖ value(32) ‖ gasLimit(8) ‖ isCreation(1) ‖ data.
    event TransactionDeposited(
        address indexed from, address indexed to, uint256 indexed version, bytes opaqueData
    );

    /// @notice The gas limit does not cover the data.
    error GasLimitTooLow(uint64 given, uint64 minimum);
    /// @notice The data is longer than MAX_DATA_BYTES.
    error DataTooLong(uint256 length);
    /// @notice A contract creation has no recipient.
    error CreationWithRecipient(address to);
    /// @notice This L1 block has less deposit gas left than asked for. A later block has it again.
    error DepositGasExhausted(uint64 given, uint64 left);

    /// @notice Binds the portal to an output oracle.
    /// @dev Reverts and emits nothing.
    /// @param outputs_ Claims about L2 state that withdrawals will be proven against.
    constructor(Outputs outputs_) {
        outputs = outputs_;
    }

    /// @notice Deposits the ETH to the sender's address on L2.
    /// @dev A contract's ETH goes to its own, unaliased address. Reverts with `DepositGasExhausted`.
    /// Emits `TransactionDeposited`.
    receive() external payable {
        depositTransaction(msg.sender, msg.value, RECEIVE_GAS_LIMIT, false, "");
    }

    /// @notice Makes an L2 transaction from the caller, which mints the ETH sent along.
    /// @dev Reverts with `CreationWithRecipient`, `DataTooLong`, `GasLimitTooLow`,
    /// `DepositGasExhausted`. Emits `TransactionDeposited`.
    /// @param to Recipient on L2; zero for a contract creation.
    /// @param value ETH that the L2 transaction transfers, from the sender's balance after the mint.
    /// @param gasLimit L2 gas of the transaction, at least `minimumGasLimit(data.length)`.
    /// @param isCreation Whether the transaction creates a contract.
    /// @param data Calldata, or the init code of the contract.
    function depositTransaction(
        address to,
        uint256 value,
        uint64 gasLimit,
        bool isCreation,
        bytes memory data
    ) public payable {
        if (isCreation && to != address(0)) revert CreationWithRecipient(to);
        if (data.length > MAX_DATA_BYTES) revert DataTooLong(data.length);
        // casting to 'uint64' is safe: the length was just bounded
        // forge-lint: disable-next-line(unsafe-typecast)
        uint64 minimum = minimumGasLimit(uint64(data.length));
        if (gasLimit < minimum) revert GasLimitTooLow(gasLimit, minimum);
        _takeGas(gasLimit);
        emit TransactionDeposited(
            _l2Sender(),
            to,
            DEPOSIT_VERSION,
            abi.encodePacked(msg.value, value, gasLimit, isCreation, data)
        );
    }

    /// @notice Least gas limit of a deposit.
    /// @dev Reverts with a panic on overflow, far above MAX_DATA_BYTES.
    /// @param byteCount Length of the deposit's data.
    /// @return The least gas limit that is accepted.
    function minimumGasLimit(uint64 byteCount) public pure returns (uint64) {
        return byteCount * 40 + 21_000;
    }

    /// @notice Version of the portal's ABI. Below 3 clients use the output oracle.
    /// @return The version as major.minor.patch.
    function version() external pure returns (string memory) {
        return "2.8.0";
    }

    /// @dev Counts a deposit's gas. Reverts with `DepositGasExhausted`.
    function _takeGas(uint64 gasLimit) private {
        uint64 used = _gasBlock == block.number ? _gasInBlock : 0;
        uint64 left = MAX_DEPOSIT_GAS_PER_BLOCK - used;
        if (gasLimit > left) revert DepositGasExhausted(gasLimit, left);
        _gasBlock = uint64(block.number);
        _gasInBlock = used + gasLimit;
    }

    /// @dev Sender of the L2 transaction. A contract is aliased: whoever controls an address by code
    /// on L1 need not control the same address on L2. A key that signed the transaction controls it
    /// on both, whether or not the account has an EIP-7702 delegation (then it has code, and is still
    /// the origin). A delegated account that acts inside a transaction of someone else is aliased:
    /// its L1 code spoke, not its key.
    function _l2Sender() private view returns (address) {
        if (msg.sender == tx.origin) return msg.sender;
        unchecked {
            return address(uint160(msg.sender) + ALIAS_OFFSET);
        }
    }
}
