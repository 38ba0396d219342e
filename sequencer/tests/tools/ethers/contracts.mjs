// ethers and contracts: creation, CREATE2 through the proxy, calls at any block, Multicall3.
import assert from "node:assert/strict";
import { counterArtifact, deployCounter, ethers, held, provider, wallet } from "./connect.mjs";

const PROXY = "0x4e59b44847b379578588920cA78FbF26c0B4956C";
const MULTICALL3 = "0xcA11bde05977b3631167028862bE2a173976CA11";
const { abi, bytecode } = counterArtifact;

const counter = await deployCounter();
assert.equal(await counter.number(), 5n);
assert.ok((await counter.set.estimateGas(6n)) > 21_000n);
const receipt = await (await counter.set(6n)).wait();
assert.equal(await counter.number(), 6n);
assert.equal(await counter.number({ blockTag: receipt.blockNumber - 1 }), 5n);
const address = await counter.getAddress();
assert.equal(BigInt(await provider.getStorage(address, 0)), 6n);
assert.equal(BigInt(await provider.getStorage(address, 0, receipt.blockNumber - 1)), 5n);

const factory = new ethers.ContractFactory(abi, bytecode.object, wallet);
const { data } = await factory.getDeployTransaction(77n);
const salt = ethers.keccak256(wallet.address);
const expected = ethers.getCreate2Address(PROXY, salt, ethers.keccak256(data));
assert.equal(await provider.getCode(expected), "0x");
await (await wallet.sendTransaction({ to: PROXY, data: ethers.concat([salt, data]) })).wait();
assert.equal(await counter.attach(expected).number(), 77n);

const multicall = new ethers.Contract(
  MULTICALL3,
  [
    "function aggregate3((address target, bool allowFailure, bytes callData)[] calls) payable returns ((bool success, bytes returnData)[])",
    "function getBlockNumber() view returns (uint256)",
  ],
  wallet,
);
const call = (target, name, args) => ({
  target,
  allowFailure: true,
  callData: counter.interface.encodeFunctionData(name, args),
});
const results = await multicall.aggregate3.staticCall([
  call(address, "number", []),
  call(expected, "number", []),
  call(address, "set", [13n]),
]);
assert.deepEqual(results.map(({ success }) => success), [true, true, false]);
assert.deepEqual(results.slice(0, 2).map(({ returnData }) => BigInt(returnData)), [6n, 77n]);
assert.equal(counter.interface.parseError(results[2].returnData).args[0], "unlucky");
// As a transaction: both counters change in it.
const calls = [call(address, "set", [8n]), call(expected, "set", [9n])];
const sent = await (await multicall.aggregate3(calls)).wait();
assert.equal(sent.logs.length, 2);
assert.deepEqual([await counter.number(), await counter.attach(expected).number()], [8n, 9n]);
assert.ok((await multicall.getBlockNumber()) >= BigInt(sent.blockNumber));
held();
