// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {GasPriceOracle} from "../src/l2/GasPriceOracle.sol";
import {L1Block} from "../src/l2/L1Block.sol";
import {Base} from "./Base.sol";

/// @dev Runs against runtime code and storage put at the predeploys' addresses, as in the genesis. That
/// the node charges what is answered here is tested where both are: `executor` and `sequencer`.
contract GasPriceOracleTest is Base {
    L1Block private constant L1_BLOCK = L1Block(0x4200000000000000000000000000000000000015);
    GasPriceOracle private constant ORACLE =
        GasPriceOracle(0x420000000000000000000000000000000000000F);
    address private constant DEPOSITOR = 0xDeaDDEaDDeAdDeAdDEAdDEaddeAddEAdDEAd0001;

    uint256 private constant L1_BASE_FEE = 1_000_000_000;
    uint256 private constant BLOB_BASE_FEE = 3;
    /// @dev Millionths of a wei for a byte, by the scalars of setUp.
    uint256 private constant BYTE_PRICE = 16 * 40_000 * L1_BASE_FEE + 1_100_000 * BLOB_BASE_FEE;

    function setUp() public {
        vm.etch(address(L1_BLOCK), type(L1Block).runtimeCode);
        vm.etch(address(ORACLE), type(GasPriceOracle).runtimeCode);
        store(address(L1_BLOCK), 3, (1_100_000 << 64) | (40_000 << 96));
        store(address(L1_BLOCK), 8, 10_000_000 | (uint256(1_000_000_000) << 64));
        model(0, 950_000, 24_000_000, 64_000_000);
        vm.prank(DEPOSITOR);
        L1_BLOCK.setL1BlockValues(11, 22, L1_BASE_FEE, bytes32(uint256(44)), 55, BLOB_BASE_FEE);
    }

    function store(address account, uint256 slot, uint256 value) private {
        vm.store(account, bytes32(slot), bytes32(value));
    }

    function model(uint256 zero, uint256 other, uint256 discount, uint256 least) private {
        store(address(ORACLE), 0, zero | (other << 32) | (discount << 64) | (least << 96));
    }

    function ones(uint256 length) private pure returns (bytes memory data) {
        data = new bytes(length);
        for (uint256 i = 0; i < length; ++i) {
            data[i] = 0x01;
        }
    }

    function test_a_data_fee_is_size_by_price() public view {
        // 0.95 x (30 + 70) - 24 = 71 bytes.
        vm.assertEq(ORACLE.getL1Fee(ones(30)), 71_000_000 * BYTE_PRICE / 1e12);
        vm.assertEq(ORACLE.getL1GasUsed(ones(30)), 71 * 16);
        vm.assertEq(ORACLE.getL1FeeSigned(ones(100)), 71_000_000 * BYTE_PRICE / 1e12);
        vm.assertEq(ORACLE.getL1FeeUpperBound(30), 71_000_000 * BYTE_PRICE / 1e12);
    }

    function test_a_size_has_a_minimum() public view {
        vm.assertEq(ORACLE.getL1FeeSigned(""), 64_000_000 * BYTE_PRICE / 1e12);
        vm.assertEq(ORACLE.getL1FeeSigned(ones(3)), 64_000_000 * BYTE_PRICE / 1e12);
        vm.assertEq(ORACLE.getL1FeeSigned(new bytes(4_000)), 64_000_000 * BYTE_PRICE / 1e12);
    }

    function test_an_operator_fee_is_gas_by_scalar_and_a_constant() public {
        vm.assertEq(ORACLE.getOperatorFee(0), 10_000_000);
        vm.assertEq(ORACLE.getOperatorFee(21_000), 21_000 * 1_000 + 10_000_000);
        uint256 most = type(uint256).max / 1e6 + 10_000_000;
        vm.assertEq(ORACLE.getOperatorFee(type(uint256).max), most);
        store(address(L1_BLOCK), 8, 0);
        vm.assertEq(ORACLE.getOperatorFee(type(uint256).max), 0);
    }

    function test_parameters_are_where_genesis_writes_them() public {
        model(1, 2, 3, 4);
        vm.assertEq(ORACLE.zeroByteMillionths(), 1);
        vm.assertEq(ORACLE.otherByteMillionths(), 2);
        vm.assertEq(ORACLE.discountMillionths(), 3);
        vm.assertEq(ORACLE.sizeMinMillionths(), 4);
        vm.assertEq(ORACLE.baseFeeScalar(), 40_000);
        vm.assertEq(ORACLE.blobBaseFeeScalar(), 1_100_000);
    }

    function test_prices_are_those_of_l1_block_and_of_the_block() public {
        vm.fee(77);
        vm.assertEq(ORACLE.l1BaseFee(), L1_BASE_FEE);
        vm.assertEq(ORACLE.blobBaseFee(), BLOB_BASE_FEE);
        vm.assertEq(ORACLE.baseFee(), 77);
        vm.assertEq(ORACLE.gasPrice(), 77);
        vm.assertEq(ORACLE.decimals(), 6);
        vm.assertEq(ORACLE.version(), "2.0.0");
        vm.assertTrue(ORACLE.isEcotone() && ORACLE.isFjord() && ORACLE.isIsthmus());
    }

    /// @dev The words that clients of the OP Stack send.
    function test_selectors_are_those_that_clients_call() public pure {
        vm.assertTrue(ORACLE.getL1Fee.selector == 0x49948e0e);
        vm.assertTrue(ORACLE.getL1GasUsed.selector == 0xde26c4a1);
        vm.assertTrue(ORACLE.l1BaseFee.selector == 0x519b4bd3);
        vm.assertTrue(
            ORACLE.getL1FeeUpperBound.selector == bytes4(keccak256("getL1FeeUpperBound(uint256)"))
        );
        vm.assertTrue(
            ORACLE.getOperatorFee.selector == bytes4(keccak256("getOperatorFee(uint256)"))
        );
        vm.assertTrue(ORACLE.isFjord.selector == bytes4(keccak256("isFjord()")));
    }

    /// @dev Counted byte by byte, in Solidity that says what the assembly does.
    function testFuzz_a_size_is_the_sum_over_the_bytes(
        bytes calldata data,
        uint32 zero,
        uint32 other,
        uint32 discount,
        uint32 least
    ) public {
        model(zero, other, discount, least);
        uint256 sum;
        for (uint256 i = 0; i < data.length; ++i) {
            sum += data[i] == 0 ? zero : other;
        }
        uint256 size = sum > discount ? sum - discount : 0;
        size = size > least ? size : least;
        vm.assertEq(ORACLE.getL1FeeSigned(data), size * BYTE_PRICE / 1e12);
    }

    function testFuzz_the_bound_by_length_holds(bytes calldata data) public view {
        vm.assertTrue(ORACLE.getL1Fee(data) <= ORACLE.getL1FeeUpperBound(data.length));
    }

    /// @dev A call may use 50 million gas.
    function test_the_longest_transaction_can_be_priced_in_a_call() public view {
        bytes memory data = ones(128 * 1024);
        uint256 before = gasleft();
        ORACLE.getL1Fee(data);
        vm.assertTrue(before - gasleft() < 20_000_000);
    }
}
