// ethers sends: every type of transaction, many at once.
import assert from "node:assert/strict";
import { ethers, held, input, provider, wallet, walletArtifact } from "./connect.mjs";

const to = ethers.Wallet.createRandom().address;
const value = ethers.parseEther("0.5");
for (const type of [0, 1, 2]) {
  const sent = await wallet.sendTransaction({ to, value, type });
  const receipt = await sent.wait();
  assert.deepEqual([receipt.status, receipt.type, receipt.gasUsed], [1, type, 21_000n]);
  const read = await provider.getTransaction(sent.hash);
  assert.equal(read.blockHash, receipt.blockHash);
  // ethers encodes what it read, and comes to the same hash and sender.
  assert.equal(ethers.Transaction.from(read).hash, sent.hash);
  assert.equal(ethers.Transaction.from(read).from, wallet.address);
}
assert.equal(await provider.getBalance(to), 3n * value);

// Three at once: their nonces come from the pending state.
const manager = new ethers.NonceManager(wallet);
const sent = await Promise.all([1n, 2n, 3n].map((wei) => manager.sendTransaction({ to, value: wei })));
await Promise.all(sent.map((response) => response.wait()));
assert.equal(await provider.getBalance(to), 3n * value + 6n);

// Type 4: the account delegates to code, by its own transaction.
const { abi, bytecode } = walletArtifact;
const factory = new ethers.ContractFactory(abi, bytecode.object, wallet);
const code = await (await (await factory.deploy()).waitForDeployment()).getAddress();
const eoa = ethers.Wallet.createRandom().connect(provider);
const authorization = await eoa.authorize({ address: code, nonce: 0 });
const delegated = await wallet.sendTransaction({
  type: 4,
  to: eoa.address,
  value,
  authorizationList: [authorization],
});
const receipt = await delegated.wait();
assert.deepEqual([receipt.status, receipt.type], [1, 4]);
const shown = await provider.getTransaction(delegated.hash);
assert.equal(shown.authorizationList[0].address, code);
const designator = ethers.concat(["0xef0100", code]);
assert.equal(await provider.getCode(eoa.address), designator);
const own = new ethers.Contract(eoa.address, abi, eoa);
const batch = await (await own.execute([{ to, value: 7n, data: "0x" }])).wait();
assert.equal(batch.status, 1);
assert.equal(await provider.getBalance(to), 3n * value + 13n);

// Type 3 is refused, in words.
const blob = ethers.Transaction.from({
  type: 3,
  chainId: (await provider.getNetwork()).chainId,
  nonce: await wallet.getNonce(),
  to,
  gasLimit: 21_000n,
  maxFeePerGas: 10n ** 10n,
  maxPriorityFeePerGas: 0n,
  maxFeePerBlobGas: 1n,
  blobVersionedHashes: [`0x01${"00".repeat(31)}`],
});
blob.signature = wallet.signingKey.sign(blob.unsignedHash);
const params = [blob.serialized];
const body = JSON.stringify({ jsonrpc: "2.0", id: 1, method: "eth_sendRawTransaction", params });
const answer = await (await fetch(input.l2, { method: "POST", body })).json();
assert.equal(answer.error.code, -32000);
assert.match(answer.error.message, /transaction type not supported.*blob/);
held();
