// ethers over WebSocket: new blocks, events and pending transactions as they come.
import assert from "node:assert/strict";
import { deployCounter, ethers, held, input, wallet } from "./connect.mjs";

const counter = await deployCounter();
const socket = new ethers.WebSocketProvider(input.l2.replace("http", "ws"));
const heard = counter.connect(socket);
const blocks = new Promise((resolve) => {
  const numbers = [];
  socket.on("block", (number) => numbers.push(number) === 3 && resolve(numbers));
});
const event = new Promise((resolve) => {
  heard.on("NumberSet", (by, number, payload) => resolve([by, number, payload.log]));
});
const announced = new Set();
let tell;
socket.on("pending", (hash) => {
  announced.add(hash);
  tell?.();
});
// The subscriptions were asked for before this, on the same socket.
await socket.getBlockNumber();
const sent = await counter.set(7n);
const [by, number, log] = await event;
assert.deepEqual([by, number, log.transactionHash], [wallet.address, 7n, sent.hash]);
const [first, second, third] = await blocks;
assert.deepEqual([second, third], [first + 1, first + 2]);
// Blocks and announcements come in no order between them.
while (!announced.has(sent.hash)) await new Promise((resolve) => (tell = resolve));
assert.equal((await socket.getTransactionReceipt(sent.hash)).status, 1);
await socket.destroy();
held();
