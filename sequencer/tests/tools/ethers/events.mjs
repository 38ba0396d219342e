// ethers and events: queries over ranges, and listeners over HTTP, which poll filters.
import assert from "node:assert/strict";
import { deployCounter, held, provider, wallet } from "./connect.mjs";

const counter = await deployCounter();
const address = await counter.getAddress();

// ethers installs filters for these and polls them.
const heard = new Promise((resolve) => {
  const seen = [];
  counter.on("NumberSet", (by, number, payload) => {
    seen.push([by, number, payload.log.transactionHash]);
    if (seen.length === 2) resolve(seen);
  });
});
const blocks = new Promise((resolve) => {
  const seen = [];
  provider.on("block", (number) => seen.push(number) === 3 && resolve(seen));
});
const pending = new Promise((resolve) => {
  const seen = new Set();
  provider.on("pending", (hash) => {
    seen.add(hash);
    resolve(seen);
  });
});
// The filters are asked for before this, in order.
await counter.listenerCount("NumberSet");
await provider.getBlockNumber();
await new Promise((resolve) => setTimeout(resolve, 500));

const receipts = [await (await counter.set(6n)).wait(), await (await counter.set(7n)).wait()];
const events = await heard;
assert.deepEqual(
  events,
  receipts.map((receipt, index) => [wallet.address, 6n + BigInt(index), receipt.hash]),
);
assert.ok((await pending).size > 0);
const [first, second, third] = await blocks;
assert.deepEqual([second, third], [first + 1, first + 2]);
await counter.removeAllListeners();
await provider.removeAllListeners();

const found = await counter.queryFilter("NumberSet", 0);
assert.deepEqual(found.map(({ args }) => args.number), [6n, 7n]);
assert.deepEqual(found.map(({ transactionHash }) => transactionHash), receipts.map(({ hash }) => hash));
const own = counter.filters.NumberSet(wallet.address);
assert.equal((await counter.queryFilter(own, 0)).length, 2);
const nobody = counter.filters.NumberSet(`0x${"00".repeat(20)}`);
assert.equal((await counter.queryFilter(nobody, 0)).length, 0);
const logs = await provider.getLogs({ address, blockHash: receipts[1].blockHash });
assert.deepEqual(logs.map(({ transactionHash }) => transactionHash), [receipts[1].hash]);
assert.equal(logs[0].removed, false);
const [topic] = logs[0].topics;
const any = { address: [address], topics: [[topic, `0x${"11".repeat(32)}`], null], fromBlock: 0 };
assert.equal((await provider.getLogs(any)).length, 2);
const toBlock = receipts[0].blockNumber;
assert.equal((await provider.getLogs({ address, fromBlock: toBlock, toBlock })).length, 1);
held();
