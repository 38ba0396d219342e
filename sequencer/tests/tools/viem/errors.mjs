// viem and mistakes: each has to come out as the class of error that applications catch.
import assert from "node:assert/strict";
import {
  account,
  deployCounter,
  failure,
  included,
  l2,
  l2Wallet,
  l2WalletOf,
  rpcFailure,
  stranger,
  viem,
} from "./connect.mjs";

const counter = await deployCounter();
const { address: to } = account;
const gas = 21_000n;

// Funds, nonces, fees, gas.
const poor = l2WalletOf(stranger());
await failure(poor.sendTransaction({ to, value: 1n }), viem.InsufficientFundsError);
await failure(poor.sendTransaction({ to, value: 1n, gas }), viem.InsufficientFundsError);
await failure(l2Wallet.sendTransaction({ to, nonce: 0, gas }), viem.NonceTooLowError);
const low = { maxFeePerGas: 1n, maxPriorityFeePerGas: 1n };
await failure(l2Wallet.sendTransaction({ to, gas, ...low }), viem.FeeCapTooLowError);
const tip = { maxFeePerGas: 10n ** 9n, maxPriorityFeePerGas: 2n * 10n ** 9n };
await failure(l2Wallet.sendTransaction({ to, gas, ...tip }), viem.TipAboveFeeCapError);
await failure(l2Wallet.sendTransaction({ to, gas: 20_000n }), viem.IntrinsicGasTooLowError);
const text = async (promise, words) => {
  const error = await failure(promise, viem.RpcRequestError);
  assert.match(error.details, words);
};
await text(l2Wallet.sendTransaction({ to, gas: 10n ** 12n }), /exceeds block gas limit/);
const fees = { maxFeePerGas: 10n ** 9n, maxPriorityFeePerGas: 1n };
const foreign = await account.signTransaction({ type: "eip1559", chainId: 1, to, gas, ...fees });
await text(l2.sendRawTransaction({ serializedTransaction: foreign }), /invalid chain id/);

// A second transaction with the nonce of one that waits has to pay more; one that does replaces it.
const request = await l2Wallet.prepareTransactionRequest({ to, value: 1n, gas });
const waiting = { ...request, nonce: request.nonce + 1 };
const replaced = await l2Wallet.sendTransaction(waiting);
const cheap = { ...waiting, value: 2n };
await text(l2Wallet.sendTransaction(cheap), /replacement transaction underpriced/);
await text(l2Wallet.sendTransaction(waiting), /already known/);
const dearer = {
  ...cheap,
  maxFeePerGas: waiting.maxFeePerGas * 2n,
  maxPriorityFeePerGas: waiting.maxPriorityFeePerGas * 2n + 1n,
};
const replacement = await l2Wallet.sendTransaction(dearer);
await included(await l2Wallet.sendTransaction(request));
await included(replacement);
await failure(l2.getTransactionReceipt({ hash: replaced }), viem.TransactionReceiptNotFoundError);

// Reverts: with a reason, with a custom error, in calls, estimates and transactions.
const set = (value) => ({ ...counter, functionName: "set", args: [value] });
const reverted = viem.ContractFunctionRevertedError;
const required = await failure(l2.simulateContract(set(13n)), reverted);
assert.equal(required.reason, "unlucky");
const custom = await failure(l2Wallet.writeContract(set(1001n)), reverted);
assert.deepEqual([custom.data.errorName, custom.data.args], ["TooBig", [1001n]]);
const data = viem.encodeFunctionData(set(13n));
const estimate = l2.estimateGas({ account, to: counter.address, data });
await failure(estimate, viem.ExecutionRevertedError);
const panicking = l2.call({ data: "0x634e487b715f526032601c52603260205260245ffd" });
await failure(panicking, viem.ExecutionRevertedError);
const hash = await l2Wallet.writeContract({ ...set(13n), gas: 100_000n });
const receipt = await l2.waitForTransactionReceipt({ hash });
assert.deepEqual([receipt.status, receipt.logs.length], ["reverted", 0]);
await failure(l2.readContract({ ...set(1n), functionName: "number", address: to }), viem.BaseError);

// What is not there.
const unknown = `0x${"11".repeat(32)}`;
await failure(l2.getTransaction({ hash: unknown }), viem.TransactionNotFoundError);
await failure(l2.getTransactionReceipt({ hash: unknown }), viem.TransactionReceiptNotFoundError);
await failure(l2.getBlock({ blockNumber: 1n << 40n }), viem.BlockNotFoundError);
const once = (method, ...params) => l2.request({ method, params }, { retryCount: 0 });
await failure(once("eth_nope"), viem.MethodNotFoundRpcError);
await failure(once("eth_getBalance", "0x12"), viem.InvalidParamsRpcError);
await failure(once("eth_getLogs", { topics: Array(5).fill(null) }), viem.InvalidParamsRpcError);
await rpcFailure(once("eth_getBalance", to, "0xffffffff"), -32000);
console.log("held");
