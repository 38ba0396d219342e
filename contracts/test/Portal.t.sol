// SPDX-License-Identifier: MIT OR Apache-2.0
pragma solidity 0.8.37;

import {Outputs} from "../src/Outputs.sol";
import {Portal} from "../src/Portal.sol";
import {Base, Forwarder, Vm} from "./Base.sol";

contract PortalTest is Base {
    address private constant USER = address(0x1000000000000000000000000000000000000001);
    address private constant TARGET = address(0x2000000000000000000000000000000000000002);
    uint160 private constant OFFSET = uint160(0x1111000000000000000000000000000000001111);

    Portal private portal;

    function setUp() public {
        portal = new Portal(Outputs(address(0x0707)));
        vm.deal(USER, 100 ether);
        vm.deal(address(this), 100 ether);
    }

    function deposit(uint64 gasLimit, bytes memory data) private {
        vm.prank(USER, USER);
        portal.depositTransaction{value: 1 ether}(TARGET, 2 ether, gasLimit, false, data);
    }

    /// @dev Sender on L2 of the only deposit among the recorded logs.
    function recordedSender() private returns (address) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        return address(uint160(uint256(logs[0].topics[1])));
    }

    // The event.

    function test_the_event_is_the_op_stacks() public {
        vm.recordLogs();
        deposit(100_000, hex"deadbeef");
        Vm.Log[] memory logs = vm.getRecordedLogs();
        vm.assertEq(logs.length, 1);
        vm.assertEq(logs[0].emitter, address(portal));
        vm.assertEq(logs[0].topics.length, 4);
        vm.assertEq(
            logs[0].topics[0], 0xb3813568d9991fc951961fcb4c784893574240a28925604d09fc577c55bb7c32
        );
        vm.assertEq(logs[0].topics[1], bytes32(uint256(uint160(USER))));
        vm.assertEq(logs[0].topics[2], bytes32(uint256(uint160(TARGET))));
        vm.assertEq(logs[0].topics[3], 0);
        // mint ‖ value ‖ gas limit ‖ isCreation ‖ data
        vm.assertEq(
            abi.decode(logs[0].data, (bytes)),
            hex"0000000000000000000000000000000000000000000000000de0b6b3a7640000"
            hex"0000000000000000000000000000000000000000000000001bc16d674ec80000"
            hex"00000000000186a0" hex"00" hex"deadbeef"
        );
    }

    function test_a_creation_has_no_recipient() public {
        vm.expectEmit();
        emit Portal.TransactionDeposited(
            USER, address(0), 0, abi.encodePacked(uint256(0), uint256(3), uint64(50_000), true, "x")
        );
        vm.prank(USER, USER);
        portal.depositTransaction(address(0), 3, 50_000, true, "x");

        vm.expectRevert(abi.encodeWithSelector(Portal.CreationWithRecipient.selector, TARGET));
        vm.prank(USER, USER);
        portal.depositTransaction(TARGET, 0, 50_000, true, "x");
    }

    function testFuzz_opaque_data_is_packed(
        uint96 mint,
        uint256 value,
        uint64 gasLimit,
        bytes calldata data
    ) public {
        uint64 minimum = portal.minimumGasLimit(uint64(data.length));
        gasLimit = uint64(bound(gasLimit, minimum, portal.MAX_DEPOSIT_GAS_PER_BLOCK()));
        vm.deal(USER, mint);
        vm.expectEmit();
        emit Portal.TransactionDeposited(
            USER, TARGET, 0, bytes.concat(abi.encode(mint, value), bytes8(gasLimit), hex"00", data)
        );
        vm.prank(USER, USER);
        portal.depositTransaction{value: mint}(TARGET, value, gasLimit, false, data);
        vm.assertEq(address(portal).balance, mint);
    }

    function test_a_plain_transfer_deposits_to_the_sender() public {
        vm.expectEmit();
        emit Portal.TransactionDeposited(
            USER, USER, 0, abi.encodePacked(uint256(5), uint256(5), uint64(100_000), false)
        );
        vm.prank(USER, USER);
        (bool ok,) = address(portal).call{value: 5}("");
        vm.assertTrue(ok);
        vm.assertEq(address(portal).balance, 5);
    }

    // Who the sender is on L2.

    function test_an_account_with_a_key_keeps_its_address() public {
        vm.recordLogs();
        deposit(21_000, "");
        vm.assertEq(recordedSender(), USER);
    }

    function test_a_contract_is_aliased() public {
        Forwarder forwarder = new Forwarder();
        bytes memory call =
            abi.encodeCall(portal.depositTransaction, (TARGET, 1, 21_000, false, ""));
        vm.recordLogs();
        vm.prank(USER, USER);
        forwarder.forward{value: 1}(address(portal), call);
        vm.assertEq(recordedSender(), address(uint160(address(forwarder)) + OFFSET));
    }

    function test_a_contract_is_aliased_while_it_is_constructed() public {
        vm.recordLogs();
        vm.prank(USER, USER);
        DepositsInConstructor depositor = new DepositsInConstructor(portal);
        vm.assertEq(recordedSender(), address(uint160(address(depositor)) + OFFSET));
    }

    function test_the_alias_wraps_around() public {
        vm.recordLogs();
        vm.prank(address(type(uint160).max), USER);
        portal.depositTransaction(TARGET, 0, 21_000, false, "");
        vm.assertEq(recordedSender(), address(OFFSET - 1));
    }

    function test_a_delegated_account_that_signed_keeps_its_address() public {
        vm.setEvmVersion("prague");
        Forwarder code = new Forwarder();
        vm.etch(USER, abi.encodePacked(hex"ef0100", address(code)));
        bytes memory call =
            abi.encodeCall(portal.depositTransaction, (TARGET, 0, 21_000, false, ""));
        // Directly, and through its own code.
        vm.recordLogs();
        deposit(21_000, "");
        vm.assertEq(recordedSender(), USER);
        vm.prank(USER, USER);
        Forwarder(payable(USER)).forward(address(portal), call);
        vm.assertEq(recordedSender(), USER);
    }

    function test_a_delegated_account_in_a_transaction_of_another_is_aliased() public {
        vm.setEvmVersion("prague");
        Forwarder code = new Forwarder();
        vm.etch(USER, abi.encodePacked(hex"ef0100", address(code)));
        bytes memory call =
            abi.encodeCall(portal.depositTransaction, (TARGET, 0, 21_000, false, ""));
        vm.recordLogs();
        vm.prank(STRANGER, STRANGER);
        Forwarder(payable(USER)).forward(address(portal), call);
        vm.assertEq(recordedSender(), address(uint160(USER) + OFFSET));
    }

    // Limits.

    function test_the_gas_limit_covers_the_data() public {
        vm.assertEq(portal.minimumGasLimit(0), 21_000);
        vm.assertEq(portal.minimumGasLimit(100), 25_000);
        vm.expectRevert(abi.encodeWithSelector(Portal.GasLimitTooLow.selector, 24_999, 25_000));
        deposit(24_999, new bytes(100));
        deposit(25_000, new bytes(100));
    }

    function test_data_is_bounded() public {
        uint256 most = portal.MAX_DATA_BYTES();
        vm.expectRevert(abi.encodeWithSelector(Portal.DataTooLong.selector, most + 1));
        deposit(20_000_000, new bytes(most + 1));
        deposit(20_000_000, new bytes(most));
    }

    function test_deposit_gas_is_capped_per_l1_block() public {
        uint64 cap = portal.MAX_DEPOSIT_GAS_PER_BLOCK();
        vm.expectRevert(abi.encodeWithSelector(Portal.DepositGasExhausted.selector, cap + 1, cap));
        deposit(cap + 1, "");
        deposit(cap - 30_000, "");
        vm.expectRevert(abi.encodeWithSelector(Portal.DepositGasExhausted.selector, 30_001, 30_000));
        deposit(30_001, "");
        deposit(30_000, "");
        vm.expectRevert(abi.encodeWithSelector(Portal.DepositGasExhausted.selector, 21_000, 0));
        deposit(21_000, "");

        vm.roll(block.number + 1);
        deposit(cap, "");
    }

    function testFuzz_the_deposits_of_a_block_never_exceed_the_cap(uint64[20] calldata limits)
        public
    {
        uint64 cap = portal.MAX_DEPOSIT_GAS_PER_BLOCK();
        uint256 total = 0;
        for (uint256 i = 0; i < limits.length; ++i) {
            uint64 gasLimit = uint64(bound(limits[i], 21_000, cap / 4));
            try portal.depositTransaction(TARGET, 0, gasLimit, false, "") {
                total += gasLimit;
            } catch {
                vm.assertTrue(total + gasLimit > cap);
            }
        }
        vm.assertTrue(total <= cap);
    }

    // What clients read.

    function test_clients_see_the_output_oracle_generation() public view {
        vm.assertEq(portal.version(), "2.8.0");
        vm.assertEq(address(portal.outputs()), address(0x0707));
        vm.assertTrue(portal.depositTransaction.selector == 0xe9e05c42);
        vm.assertTrue(portal.version.selector == 0x54fd4d50);
    }
}

/// @dev Deposits while it has no code yet.
contract DepositsInConstructor {
    constructor(Portal portal) {
        portal.depositTransaction(address(0), 0, 21_000, false, "");
    }
}
