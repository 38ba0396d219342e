// The OP Stack's actions of viem: fees, a deposit, and a withdrawal up to its proof.
import assert from "node:assert/strict";
import {
  account,
  deployCounter,
  ether,
  l1,
  l1Wallet,
  l2,
  l2Chain,
  l2Wallet,
  op,
  stranger,
  viem,
} from "./connect.mjs";

async function fees(counter) {
  const request = { account, to: account.address, value: 1n };
  const [l1Fee, operatorFee, total, gas, baseFee] = await Promise.all([
    l2.estimateL1Fee(request),
    l2.estimateOperatorFee(request),
    l2.estimateTotalFee(request),
    l2.estimateL1Gas(request),
    l2.getL1BaseFee(),
  ]);
  assert.ok(l1Fee > 0n && operatorFee > 0n && total > 0n && gas > 0n && baseFee > 0n);
  const before = await l2.getBalance(account);
  const hash = await l2Wallet.sendTransaction({ to: account.address, value: 1n });
  const receipt = await l2.waitForTransactionReceipt({ hash });
  const gasFee = receipt.gasUsed * receipt.effectiveGasPrice;
  const { l1Fee: chargedL1Fee, l1GasPrice, l1GasUsed } = receipt;
  assert.ok(chargedL1Fee > 0n && l1GasPrice > 0n && l1GasUsed > 0n);
  const raw = await l2.request({ method: "eth_getTransactionReceipt", params: [hash] });
  const chargedOperatorFee =
    (receipt.gasUsed * BigInt(raw.operatorFeeScalar)) / 1_000_000n + BigInt(raw.operatorFeeConstant);
  const after = await l2.getBalance(account);
  assert.equal(before - after, gasFee + chargedL1Fee + chargedOperatorFee);
  const call = { ...counter, account, functionName: "set", args: [1n] };
  assert.ok((await l2.estimateContractTotalFee(call)) > 0n);
  assert.ok((await l1.getBlock()).baseFeePerGas > 0n);
}

async function deposit() {
  const { address } = stranger();
  const args = await l2.buildDepositTransaction({ account, mint: ether("2"), to: address });
  const hash = await l1Wallet.depositTransaction({ ...args, targetChain: l2Chain });
  const receipt = await l1.waitForTransactionReceipt({ hash });
  const [l2Hash] = op.getL2TransactionHashes(receipt);
  const l2Receipt = await l2.waitForTransactionReceipt({ hash: l2Hash });
  assert.equal(l2Receipt.status, "success");
  assert.equal(await l2.getBalance({ address }), ether("2"));
}

async function withdrawal() {
  const args = await l1.buildInitiateWithdrawal({ account, to: account.address, value: ether("1") });
  const hash = await l2Wallet.initiateWithdrawal(args);
  const receipt = await l2.waitForTransactionReceipt({ hash });
  assert.equal(receipt.status, "success");
  const [sent] = op.getWithdrawals(receipt);
  assert.equal(sent.value, ether("1"));
  const place = { l2BlockNumber: receipt.blockNumber, targetChain: l2Chain };
  assert.ok((await l1.getTimeToNextL2Output(place)).seconds >= 0);
  // waitForNextL2Output does the same after a first wait by its own estimate, which is long.
  const notYet = (error) => error.walk?.((e) => e instanceof viem.ContractFunctionRevertedError);
  let output;
  while (!output) {
    output = await l1.getL2Output(place).catch((error) => assert.ok(notYet(error), error));
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  const proof = await l2.buildProveWithdrawal({ account, output, withdrawal: sent });
  assert.ok(proof.withdrawalProof.length > 0);
  // The output root on L1 is the hash of what was just read from L2.
  const { version, stateRoot, messagePasserStorageRoot, latestBlockhash } = proof.outputRootProof;
  const root = viem.keccak256(
    viem.concat([version, stateRoot, messagePasserStorageRoot, latestBlockhash]),
  );
  assert.equal(root, output.outputRoot);
}

await fees(await deployCounter());
await deposit();
await withdrawal();
console.log("held");
