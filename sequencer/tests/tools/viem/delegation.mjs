// viem and EIP-7702: an account becomes a contract wallet, acts as one, and stops being one.
import assert from "node:assert/strict";
import {
  account,
  ether,
  failure,
  included,
  l2,
  l2Wallet,
  l2WalletOf,
  stranger,
  viem,
  walletArtifact,
} from "./connect.mjs";

const { abi } = walletArtifact;
const deployed = await l2Wallet.deployContract({ abi, bytecode: walletArtifact.bytecode.object });
const { contractAddress: code } = await included(deployed);

// The account of somebody who has nothing: another one pays for its delegation.
const eoa = stranger();
const authorization = await l2WalletOf(eoa).signAuthorization({ contractAddress: code });
const sponsored = await included(
  await l2Wallet.sendTransaction({ to: eoa.address, value: ether("1"), authorizationList: [authorization] }),
);
assert.equal(sponsored.type, "eip7702");
const transaction = await l2.getTransaction({ hash: sponsored.transactionHash });
assert.equal(transaction.type, "eip7702");
assert.equal(transaction.authorizationList.length, 1);
const designator = viem.concat(["0xef0100", code]).toLowerCase();
assert.equal(await l2.getCode({ address: eoa.address }), designator);
assert.equal(await l2.getTransactionCount({ address: eoa.address }), 1);

// It now runs code: two transfers in one transaction, sent by itself.
const [one, two] = [stranger().address, stranger().address];
const batch = (calls) => ({ abi, address: eoa.address, functionName: "execute", args: [calls] });
const call = (to, value) => ({ to, value, data: "0x" });
const own = l2WalletOf(eoa);
const sent = await included(await own.writeContract(batch([call(one, 1n), call(two, 2n)])));
assert.equal(sent.logs.length, 2);
assert.deepEqual(
  [await l2.getBalance({ address: one }), await l2.getBalance({ address: two })],
  [1n, 2n],
);
// Nobody else may.
const theft = l2Wallet.writeContract(batch([call(account.address, 1n)]));
const refused = await failure(theft, viem.ContractFunctionRevertedError);
assert.equal(refused.data.errorName, "NotOwner");

// Estimates and calls with a delegation that was not made yet.
const other = stranger();
const planned = await l2WalletOf(other).signAuthorization({ contractAddress: code });
const gas = await l2.estimateGas({
  account,
  to: other.address,
  authorizationList: [planned],
});
assert.ok(gas > 21_000n + 12_500n);

// Back to a plain account, by itself: its own nonce is used up by the transaction first.
const back = await own.signAuthorization({
  contractAddress: viem.zeroAddress,
  executor: "self",
});
await included(await own.sendTransaction({ to: one, authorizationList: [back] }));
assert.equal(await l2.getCode({ address: eoa.address }), undefined);
await included(await own.sendTransaction({ to: one, value: 1n }));
console.log("held");
