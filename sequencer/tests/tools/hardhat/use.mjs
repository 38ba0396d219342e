// What a Hardhat script does: Hardhat signs with the network's account and fills in nonce, gas and
// fees by asking the node.
import assert from "node:assert/strict";
import { artifacts, network } from "hardhat";

const { provider } = await network.connect();
const request = (method, ...params) => provider.request({ method, params });
const receiptOf = async (hash) => {
  for (let wait = 0; wait < 600; wait += 1) {
    const receipt = await request("eth_getTransactionReceipt", hash);
    if (receipt) return receipt;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return assert.fail(`no receipt of ${hash}`);
};
const word = (value) => BigInt(value).toString(16).padStart(64, "0");

const [from] = await request("eth_accounts");
const chainId = Number(await request("eth_chainId"));
assert.ok(chainId > 0);

// A transfer, and a creation from Hardhat's own artifact.
const to = `0x${"00".repeat(18)}beef`;
const transfer = await request("eth_sendTransaction", { from, to, value: "0x5" });
assert.equal((await receiptOf(transfer)).status, "0x1");
assert.equal(await request("eth_getBalance", to, "latest"), "0x5");
const { bytecode } = await artifacts.readArtifact("Counter");
const created = await request("eth_sendTransaction", { from, data: bytecode + word(5) });
const { contractAddress, status } = await receiptOf(created);
assert.equal(status, "0x1");

// number() and set(uint256).
const number = () => request("eth_call", { to: contractAddress, data: "0x8381f58a" }, "latest");
const set = (value) => ({ from, to: contractAddress, data: `0x60fe47b1${word(value)}` });
assert.equal(BigInt(await number()), 5n);
const receipt = await receiptOf(await request("eth_sendTransaction", set(6)));
assert.deepEqual([receipt.status, receipt.logs.length], ["0x1", 1]);
assert.equal(BigInt(await number()), 6n);
await assert.rejects(request("eth_sendTransaction", set(13)), /unlucky/);
await assert.rejects(request("eth_call", set(1001), "latest"), /revert/);
