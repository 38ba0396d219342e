// What an application does with ethers v6, against a running rollup: reads, transfers, a contract,
// errors by their code, and new blocks and events over WebSocket.
//
// Reads one JSON object from standard input: l2 (URL), key, artifact (a file that forge wrote). Ends
// with status 0 when everything held. `npm ci` in contracts has to have run.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../contracts/package.json", import.meta.url));
const { ethers } = require("ethers");

const input = JSON.parse(readFileSync(0, "utf8"));
const { abi, bytecode } = JSON.parse(readFileSync(input.artifact, "utf8"));
const provider = new ethers.JsonRpcProvider(input.l2, undefined, { cacheTimeout: -1 });
provider.pollingInterval = 100;
const wallet = new ethers.Wallet(input.key, provider);

/** The error with this code that `attempt` throws. */
async function failure(attempt, code) {
  const error = await attempt().then(
    () => assert.fail(`expected ${code}`),
    (error) => error,
  );
  assert.equal(error.code, code, String(error));
  return error;
}

async function reads() {
  const { chainId } = await provider.getNetwork();
  assert.ok(chainId > 0n);
  const block = await provider.getBlock("latest", true);
  const [attributes] = block.prefetchedTransactions;
  assert.equal(attributes.type, 0x7e, "every block opens with L1's attributes");
  const deposit = await provider.getTransaction(attributes.hash);
  assert.equal(deposit.blockHash, block.hash);
  assert.equal((await provider.getTransactionReceipt(deposit.hash)).status, 1);
  assert.equal((await provider.getBlock(block.hash)).number, block.number);
  const [safe, finalized] = [await provider.getBlock("safe"), await provider.getBlock("finalized")];
  assert.ok(finalized.number <= safe.number && safe.number <= block.number);
  assert.ok((await provider.getBlock("pending")).number > block.number);
  const fees = await provider.getFeeData();
  assert.ok(fees.gasPrice > 0n && fees.maxFeePerGas > fees.maxPriorityFeePerGas);
  assert.ok((await provider.getBalance(wallet.address)) > 0n);
  assert.equal(await provider.getCode(wallet.address), "0x");
  assert.equal(await provider.getTransaction(`0x${"11".repeat(32)}`), null);
}

async function transfers() {
  const to = ethers.Wallet.createRandom().address;
  const value = ethers.parseEther("0.5");
  for (const type of [0, 1, 2]) {
    const sent = await wallet.sendTransaction({ to, value, type });
    const receipt = await sent.wait();
    assert.deepEqual([receipt.status, receipt.type, receipt.gasUsed], [1, type, 21_000n]);
    assert.equal((await provider.getTransaction(sent.hash)).blockHash, receipt.blockHash);
  }
  assert.equal(await provider.getBalance(to), 3n * value);
  // Three at once: their nonces come from the pending state.
  const manager = new ethers.NonceManager(wallet);
  const sent = await Promise.all([1n, 2n, 3n].map((wei) => manager.sendTransaction({ to, value: wei })));
  await Promise.all(sent.map((response) => response.wait()));
  assert.equal(await provider.getBalance(to), 3n * value + 6n);
}

async function contracts() {
  const factory = new ethers.ContractFactory(abi, bytecode.object, wallet);
  const counter = await (await factory.deploy(5n)).waitForDeployment();
  assert.equal(await counter.number(), 5n);
  assert.ok((await counter.set.estimateGas(6n)) > 21_000n);
  const receipt = await (await counter.set(6n)).wait();
  assert.equal(await counter.number(), 6n);
  assert.equal(await counter.number({ blockTag: receipt.blockNumber - 1 }), 5n);
  const address = await counter.getAddress();
  assert.equal(BigInt(await provider.getStorage(address, 0)), 6n);
  const [event, ...more] = await counter.queryFilter("NumberSet", 0);
  assert.deepEqual([...event.args, more.length], [wallet.address, 6n, 0]);
  assert.equal(event.transactionHash, receipt.hash);
  return counter;
}

async function errors(counter) {
  const to = wallet.address;
  const poor = ethers.Wallet.createRandom().connect(provider);
  await failure(() => poor.sendTransaction({ to, value: 1n }), "INSUFFICIENT_FUNDS");
  const limited = { to, value: 1n, gasLimit: 21_000n };
  await failure(() => poor.sendTransaction(limited), "INSUFFICIENT_FUNDS");
  await failure(() => wallet.sendTransaction({ ...limited, nonce: 0 }), "NONCE_EXPIRED");
  const required = await failure(() => counter.set.staticCall(13n), "CALL_EXCEPTION");
  assert.equal(required.reason, "unlucky");
  const custom = await failure(() => counter.set.staticCall(1001n), "CALL_EXCEPTION");
  assert.deepEqual([custom.revert.name, custom.revert.args[0]], ["TooBig", 1001n]);
  const estimated = await failure(() => counter.set(1001n), "CALL_EXCEPTION");
  assert.equal(counter.interface.parseError(estimated.data).name, "TooBig");
  const sent = await counter.set(13n, { gasLimit: 100_000n });
  const reverted = await failure(() => sent.wait(), "CALL_EXCEPTION");
  assert.equal(reverted.receipt.status, 0);
  // A second transaction with the nonce of one that waits has to pay more.
  const nonce = (await wallet.getNonce()) + 1;
  const waiting = { ...limited, nonce };
  await wallet.sendTransaction(waiting);
  const cheap = { ...waiting, value: 2n };
  await failure(() => wallet.sendTransaction(cheap), "REPLACEMENT_UNDERPRICED");
  await (await wallet.sendTransaction({ ...limited, nonce: nonce - 1 })).wait();
}

async function sockets(counter) {
  const socket = new ethers.WebSocketProvider(input.l2.replace("http", "ws"));
  const heard = counter.connect(socket);
  const blocks = new Promise((resolve) => {
    const numbers = [];
    socket.on("block", (number) => numbers.push(number) === 3 && resolve(numbers));
  });
  const event = new Promise((resolve) => {
    heard.on("NumberSet", (by, number, payload) => resolve([by, number, payload.log]));
  });
  // The subscriptions were asked for before this, on the same socket.
  await socket.getBlockNumber();
  const sent = await counter.set(7n);
  const [by, number, log] = await event;
  assert.deepEqual([by, number, log.transactionHash], [wallet.address, 7n, sent.hash]);
  const [first, ...rest] = await blocks;
  assert.deepEqual(rest, [first + 1, first + 2]);
  await socket.destroy();
}

await reads();
await transfers();
const counter = await contracts();
await errors(counter);
await sockets(counter);
provider.destroy();
console.log("ethers: all held");
