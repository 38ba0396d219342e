// ethers reads: network, blocks, accounts, fees, deposits, batches.
import assert from "node:assert/strict";
import { ethers, held, input, provider, wallet } from "./connect.mjs";

const { chainId } = await provider.getNetwork();
assert.ok(chainId > 0n);
const block = await provider.getBlock("latest", true);
const [attributes] = block.prefetchedTransactions;
assert.equal(attributes.type, 0x7e, "every block opens with L1's attributes");
const deposit = await provider.getTransaction(attributes.hash);
assert.equal(deposit.blockHash, block.hash);
assert.equal((await provider.getTransactionReceipt(deposit.hash)).status, 1);
assert.equal((await provider.getBlock(block.hash)).number, block.number);
const finalized = await provider.getBlock("finalized");
assert.ok(finalized.number <= (await provider.getBlock("safe")).number);
assert.ok((await provider.getBlock("safe")).number <= (await provider.getBlockNumber()));
assert.ok((await provider.getBlock("pending")).number > block.number);
const fees = await provider.getFeeData();
assert.ok(fees.gasPrice > 0n && fees.maxFeePerGas > fees.maxPriorityFeePerGas);
assert.ok((await provider.getBalance(wallet.address)) > 0n);
assert.equal(await provider.getCode(wallet.address), "0x");
const nonce = await provider.getTransactionCount(wallet.address, "pending");
assert.equal(nonce, await provider.getTransactionCount(wallet.address));
assert.equal(await provider.getTransaction(`0x${"11".repeat(32)}`), null);
assert.equal(await provider.getTransactionReceipt(`0x${"11".repeat(32)}`), null);
assert.equal(await provider.getBlock(10 ** 9), null);

// ethers sends what is asked in the same moment as one batch.
const numbers = Array.from({ length: 40 }, (_, index) => index % (block.number + 1));
const blocks = await Promise.all(numbers.map((number) => provider.getBlock(number)));
assert.deepEqual(blocks.map(({ number }) => number), numbers);

// The block's own object names it in a call (EIP-1898).
const at = { blockHash: block.hash, requireCanonical: true };
const balance = await provider.send("eth_getBalance", [wallet.address, at]);
assert.ok(BigInt(balance) > 0n);
const body = JSON.stringify([
  { jsonrpc: "2.0", id: "a", method: "eth_chainId" },
  { jsonrpc: "2.0", method: "eth_chainId" },
  { jsonrpc: "2.0", id: 2, method: "nope" },
]);
const headers = { "content-type": "application/json" };
const answers = await (await fetch(input.l2, { method: "POST", body, headers })).json();
assert.deepEqual(answers.map(({ id }) => id), ["a", 2]);
assert.equal(BigInt(answers[0].result), chainId);
assert.equal(answers[1].error.code, -32601);
assert.ok(ethers.isHexString(block.hash, 32));
held();
