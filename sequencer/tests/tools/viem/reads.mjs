// viem reads: blocks by tag, number and hash, accounts at any block, proofs, fees, batches.
import assert from "node:assert/strict";
import { account, input, l2, l2Chain, l2Wallet, included, stranger, viem } from "./connect.mjs";

const block = await l2.getBlock({ includeTransactions: true });
assert.equal(block.transactions[0].typeHex, "0x7e", "every block opens with L1's attributes");
assert.equal(block.transactions[0].type, "deposit");
assert.equal((await l2.getBlock({ blockHash: block.hash })).number, block.number);
assert.equal((await l2.getBlock({ blockNumber: block.number })).hash, block.hash);
assert.equal((await l2.getBlock({ blockTag: "earliest" })).number, 0n);
assert.equal(await l2.getBlockTransactionCount({ blockHash: block.hash }), block.transactions.length);
const [safe, finalized] = [
  await l2.getBlock({ blockTag: "safe" }),
  await l2.getBlock({ blockTag: "finalized" }),
];
// Read one after the other: the later answer is about a later head.
assert.ok(safe.number <= (await l2.getBlockNumber()));
assert.ok(finalized.number <= (await l2.getBlock({ blockTag: "safe" })).number);
assert.ok((await l2.getBlock({ blockTag: "pending" })).number > block.number);

const history = await l2.getFeeHistory({ blockCount: 2, rewardPercentiles: [25, 75] });
assert.equal(history.baseFeePerGas.length, 3);
assert.ok((await l2.getGasPrice()) > 0n);
assert.ok((await l2.estimateFeesPerGas()).maxFeePerGas > 0n);
assert.equal(typeof (await l2.estimateMaxPriorityFeePerGas()), "bigint");
assert.ok((await l2.getBlobBaseFee()) >= 1n);

assert.ok((await l2.getBalance({ address: account.address })) > 0n);
assert.equal(await l2.getCode({ address: account.address }), undefined);
assert.ok((await l2.getCode({ address: "0xcA11bde05977b3631167028862bE2a173976CA11" })).length > 2);

// The same account before and after a transaction, by every way to name a block (EIP-1898).
const to = stranger().address;
const receipt = await included(await l2Wallet.sendTransaction({ to, value: 5n }));
const { blockHash, blockNumber } = receipt;
const before = viem.toHex(blockNumber - 1n);
const balance = (at) => l2.request({ method: "eth_getBalance", params: [to, at] });
assert.equal(await l2.getBalance({ address: to, blockNumber: blockNumber - 1n }), 0n);
assert.equal(await l2.getBalance({ address: to, blockNumber }), 5n);
assert.equal(await balance({ blockHash }), "0x5");
assert.equal(await balance({ blockHash, requireCanonical: true }), "0x5");
assert.equal(await balance({ blockNumber: before }), "0x0");
assert.equal(await balance("pending"), "0x5");
assert.equal(await l2.request({ method: "eth_getBalance", params: [to] }), "0x5");
const nonce = await l2.getTransactionCount({ address: account.address, blockTag: "pending" });
assert.equal(nonce, await l2.getTransactionCount({ address: account.address }));

// A proof that is checked against the state root in the Rust tests; here, that viem reads it.
const proof = await l2.getProof({ address: to, storageKeys: [], blockNumber });
assert.equal(proof.balance, 5n);
assert.ok(proof.accountProof.length > 0);

// A batch: viem sends these as one body, and each answer finds its question.
const batching = viem.createPublicClient({
  chain: l2Chain,
  transport: viem.http(input.l2, { batch: { batchSize: 200, wait: 20 } }),
});
const numbers = Array.from({ length: 50 }, (_, index) => BigInt(index) % (blockNumber + 1n));
const blocks = await Promise.all(numbers.map((number) => batching.getBlock({ blockNumber: number })));
assert.deepEqual(blocks.map(({ number }) => number), numbers);
const mixed = await Promise.allSettled([
  batching.getChainId(),
  batching.request({ method: "eth_nope" }),
  batching.getBalance({ address: to }),
]);
assert.deepEqual(mixed.map(({ status }) => status), ["fulfilled", "rejected", "fulfilled"]);
console.log("held");
