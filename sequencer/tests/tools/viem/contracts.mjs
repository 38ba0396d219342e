// viem and contracts: creation, CREATE2 through the proxy, calls at any block, overrides, multicall.
import assert from "node:assert/strict";
import {
  account,
  counterArtifact,
  deployCounter,
  included,
  l2,
  l2Wallet,
  multicall3,
  stranger,
  viem,
} from "./connect.mjs";

const PROXY = "0x4e59b44847b379578588920cA78FbF26c0B4956C";

const counter = await deployCounter();
const { abi, address } = counter;
const read = { ...counter, functionName: "number" };
assert.equal(await l2.readContract(read), 5n);
const { request } = await l2.simulateContract({
  ...counter,
  account,
  functionName: "set",
  args: [6n],
});
const { blockNumber } = await included(await l2Wallet.writeContract(request));
assert.equal(await l2.readContract(read), 6n);
assert.equal(await l2.readContract({ ...read, blockNumber: blockNumber - 1n }), 5n);
assert.equal(BigInt(await l2.getStorageAt({ address, slot: "0x0" })), 6n);
const storage = await l2.getProof({ address, storageKeys: [viem.zeroHash], blockNumber });
assert.equal(storage.storageProof[0].value, 6n);

// Through the deterministic deployment proxy, to the address that follows from code and salt.
const bytecode = viem.encodeDeployData({
  abi,
  bytecode: counterArtifact.bytecode.object,
  args: [77n],
});
const salt = viem.keccak256(account.address);
const expected = viem.getContractAddress({ opcode: "CREATE2", from: PROXY, bytecode, salt });
assert.equal(await l2.getCode({ address: expected }), undefined);
await included(await l2Wallet.sendTransaction({ to: PROXY, data: viem.concat([salt, bytecode]) }));
assert.equal(await l2.readContract({ ...read, address: expected }), 77n);
// viem calls a contract that is not there yet by creating it within the call.
const later = viem.keccak256(salt);
const factoryData = viem.concat([later, bytecode]);
const data = viem.encodeFunctionData(read);
const to = viem.getContractAddress({ opcode: "CREATE2", from: PROXY, bytecode, salt: later });
const called = await l2.call({ to, data, factory: PROXY, factoryData });
assert.equal(BigInt(called.data), 77n);
const bare = await l2.call({ code: bytecode, data });
assert.equal(BigInt(bare.data), 77n, "code that is nowhere");

// Overrides of state and block.
const slot = (value) => ({ slot: viem.zeroHash, value: viem.toHex(value, { size: 32 }) });
const overridden = await l2.readContract({
  ...read,
  stateOverride: [{ address, stateDiff: [slot(99n)] }],
});
assert.equal(overridden, 99n);
// A whole storage that has another slot alone.
const state = [{ ...slot(99n), slot: viem.toHex(1n, { size: 32 }) }];
assert.equal(await l2.readContract({ ...read, stateOverride: [{ address, state }] }), 0n);
const poor = stranger().address;
const rich = [{ address: poor, balance: viem.parseEther("1") }];
const value = viem.parseEther("0.5");
assert.equal(
  await l2.estimateGas({ account: poor, to: account.address, value, stateOverride: rich }),
  21_000n,
);
const time = await l2.readContract({
  ...multicall3,
  abi: viem.parseAbi(["function getCurrentBlockTimestamp() view returns (uint256)"]),
  functionName: "getCurrentBlockTimestamp",
  blockOverrides: { time: 9_999_999_999n },
});
assert.equal(time, 9_999_999_999n);

// Several reads in one call, some of which fail.
const balance = {
  ...multicall3,
  abi: viem.parseAbi(["function getEthBalance(address) view returns (uint256)"]),
  functionName: "getEthBalance",
  args: [address],
};
const results = await l2.multicall({ contracts: [read, read, balance], allowFailure: false });
assert.deepEqual(results, [6n, 6n, 0n]);
const failing = { ...counter, functionName: "set", args: [13n] };
const [good, bad] = await l2.multicall({ contracts: [read, failing] });
assert.deepEqual([good.status, bad.status], ["success", "failure"]);
assert.match(bad.error.message, /unlucky/);

assert.equal((await included(await l2Wallet.writeContract(request))).logs.length, 1);
const empty = await l2Wallet.sendTransaction({ data: "0x60006000f3" });
assert.equal(await l2.getCode({ address: (await included(empty)).contractAddress }), undefined);
console.log("held");
