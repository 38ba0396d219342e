// viem sends: every type of transaction, answers with the receipt (EIP-7966), many at once.
import assert from "node:assert/strict";
import {
  account,
  ether,
  failure,
  included,
  l2,
  l2Chain,
  l2Wallet,
  rpcFailure,
  stranger,
  viem,
} from "./connect.mjs";

const to = stranger().address;
assert.equal(await l2.estimateGas({ account, to, value: 1n }), 21_000n);
for (const type of ["legacy", "eip2930", "eip1559"]) {
  const listed = [{ address: to, storageKeys: [viem.zeroHash] }];
  const accessList = type === "eip2930" ? listed : undefined;
  const hash = await l2Wallet.sendTransaction({ to, value: ether("0.5"), type, accessList });
  const receipt = await included(hash);
  assert.equal(receipt.type, type);
  const transaction = await l2.getTransaction({ hash });
  assert.equal(transaction.type, type);
  assert.equal(transaction.blockHash, receipt.blockHash);
  assert.equal(transaction.from.toLowerCase(), account.address.toLowerCase());
  assert.ok((await l2.getTransactionConfirmations({ hash })) > 0n);
  // What the node shows is what was signed: the same bytes hash to the same hash.
  const raw = await l2.request({ method: "eth_getRawTransactionByHash", params: [hash] });
  assert.equal(viem.keccak256(raw), hash);
  assert.equal(await viem.recoverTransactionAddress({ serializedTransaction: raw }), account.address);
}
assert.equal(await l2.getBalance({ address: to }), ether("1.5"));

// Blob transactions are refused, in words.
const request = await l2Wallet.prepareTransactionRequest({ to, value: 1n });
const blob = await account.signTransaction({
  type: "eip4844",
  chainId: l2Chain.id,
  nonce: request.nonce,
  to,
  gas: 21_000n,
  maxFeePerGas: request.maxFeePerGas,
  maxPriorityFeePerGas: 0n,
  maxFeePerBlobGas: 1n,
  blobVersionedHashes: [`0x01${"00".repeat(31)}`],
});
const refused = await rpcFailure(l2.sendRawTransaction({ serializedTransaction: blob }), -32000);
assert.match(refused.details ?? refused.message, /transaction type not supported.*blob/s);

// A receipt in the answer.
const serializedTransaction = await l2Wallet.signTransaction(request);
const timeout = 60_000;
const receipt = await l2.sendRawTransactionSync({ serializedTransaction, timeout });
assert.equal(receipt.status, "success");
// It comes before the block is sealed, whose hash nobody knows until then.
const again = await l2.waitForTransactionReceipt({ hash: receipt.transactionHash });
assert.deepEqual({ ...receipt, blockHash: again.blockHash }, again, "and nothing else changes");
const synchronous = await l2Wallet.sendTransactionSync({ to, value: 1n, timeout });
assert.equal(synchronous.status, "success");
// One that has to wait for another is in the pool, and the answer says so with its hash.
const { nonce } = await l2Wallet.prepareTransactionRequest({ to });
const ahead = await l2Wallet.signTransaction({ ...request, nonce: nonce + 1 });
const sent = l2.request(
  { method: "eth_sendRawTransactionSync", params: [ahead, 500] },
  { retryCount: 0 },
);
const waiting = await rpcFailure(sent, 5);
assert.equal(waiting.data, viem.keccak256(ahead));
await included(await l2Wallet.sendTransaction({ to, value: 1n, nonce }));
await included(viem.keccak256(ahead));

// Many at once, with nonces given by the sender.
const first = await l2.getTransactionCount({ address: account.address, blockTag: "pending" });
const hashes = await Promise.all(
  Array.from({ length: 30 }, (_, index) =>
    l2Wallet.sendTransaction({ to, value: 1n, gas: 21_000n, nonce: first + index }),
  ),
);
await Promise.all(hashes.map(included));
assert.equal(await l2.getBalance({ address: to }), ether("1.5") + 34n);
await failure(
  l2.sendRawTransaction({ serializedTransaction }),
  viem.BaseError,
);
console.log("held");
