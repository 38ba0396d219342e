// viem and events: getLogs by every condition, and filters that are polled.
import assert from "node:assert/strict";
import { account, deployCounter, included, l2, l2Wallet, rpcFailure, viem } from "./connect.mjs";

const counter = await deployCounter();
const { abi, address } = counter;
const event = viem.getAbiItem({ abi, name: "NumberSet" });
const set = async (number) =>
  included(await l2Wallet.writeContract({ ...counter, functionName: "set", args: [number] }));

// Filters, before anything happens.
const filters = {
  blocks: await l2.createBlockFilter(),
  pending: await l2.createPendingTransactionFilter(),
  events: await l2.createContractEventFilter({ ...counter, eventName: "NumberSet" }),
  others: await l2.createEventFilter({ address, event, args: { by: viem.zeroAddress } }),
};
const changes = (name) => l2.getFilterChanges({ filter: filters[name] });
assert.deepEqual(await changes("events"), []);

const receipts = [await set(6n), await set(7n), await set(8n)];
const [first, , last] = receipts;
const { blockNumber: fromBlock } = first;
const toBlock = last.blockNumber;

// The same logs by every way to ask.
const numbers = (logs) => logs.map(({ args }) => args.number);
const events = (more) => l2.getContractEvents({ ...counter, eventName: "NumberSet", ...more });
assert.deepEqual(numbers(await events({ fromBlock: 0n })), [6n, 7n, 8n]);
assert.deepEqual(numbers(await events({ fromBlock, toBlock })), [6n, 7n, 8n]);
assert.deepEqual(numbers(await events({ blockHash: first.blockHash })), [6n]);
const by = (address) => ({ fromBlock: 0n, args: { by: address } });
assert.deepEqual(numbers(await events(by(account.address))), [6n, 7n, 8n]);
assert.deepEqual(numbers(await events(by([viem.zeroAddress, account.address]))), [6n, 7n, 8n]);
assert.deepEqual(await events(by(viem.zeroAddress)), []);
const several = [address, viem.zeroAddress];
const logs = await l2.getLogs({ address: several, event, fromBlock, toBlock, strict: true });
assert.deepEqual(numbers(logs), [6n, 7n, 8n]);
assert.deepEqual(logs.map((log) => log.transactionHash), receipts.map((r) => r.transactionHash));
assert.deepEqual(logs[0], { ...viem.parseEventLogs({ abi, logs: first.logs })[0] });
const outside = { address, event, fromBlock: toBlock + 1n, toBlock: toBlock + 1n };
assert.deepEqual(await l2.getLogs(outside), []);
const backwards = [{ fromBlock: viem.toHex(toBlock), toBlock: viem.toHex(fromBlock - 1n) }];
await rpcFailure(l2.request({ method: "eth_getLogs", params: backwards }), -32602);

// What the filters tell, once.
assert.deepEqual(numbers(await changes("events")), [6n, 7n, 8n]);
assert.deepEqual(await changes("events"), []);
assert.deepEqual(await changes("others"), []);
assert.deepEqual(numbers(await l2.getFilterLogs({ filter: filters.events })), []
  .concat(numbers(await events({}))));
const blocks = await changes("blocks");
for (const { blockHash } of receipts) assert.ok(blocks.includes(blockHash));
assert.equal(new Set(blocks).size, blocks.length, "no block twice");
const announced = await changes("pending");
for (const { transactionHash } of receipts) assert.ok(announced.includes(transactionHash));
for (const filter of Object.values(filters)) {
  assert.equal(await l2.uninstallFilter({ filter }), true);
  assert.equal(await l2.uninstallFilter({ filter }), false);
}
const gone = l2.request({ method: "eth_getFilterChanges", params: [filters.events.id] });
await rpcFailure(gone, -32000);
console.log("held");
