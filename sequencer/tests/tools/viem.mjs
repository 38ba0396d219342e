// What an application does with viem, against a running rollup: reads, transfers, a contract, a
// multicall, errors by their class, new blocks over WebSocket, and the OP Stack's actions of a
// deposit and of a withdrawal up to its proof.
//
// Reads one JSON object from standard input: l1 and l2 (URLs), portal, outputs, key, artifact (a
// file that forge wrote). Ends with status 0 when everything held. `npm ci` in contracts has to have
// run.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../contracts/package.json", import.meta.url));
const viem = require("viem");
const { privateKeyToAccount, generatePrivateKey } = require("viem/accounts");
const op = require("viem/op-stack");

const input = JSON.parse(readFileSync(0, "utf8"));
const artifact = JSON.parse(readFileSync(input.artifact, "utf8"));
const { abi } = artifact;
const account = privateKeyToAccount(input.key);
const ether = viem.parseEther;
const multicall3 = { address: "0xcA11bde05977b3631167028862bE2a173976CA11" };

/** Both chains as an application would define them. */
async function connect() {
  const chain = (id, url, more) =>
    viem.defineChain({
      id,
      name: `chain ${id}`,
      nativeCurrency: { name: "Ether", symbol: "ETH", decimals: 18 },
      rpcUrls: { default: { http: [url] } },
      ...more,
    });
  const id = (url) => viem.createPublicClient({ transport: viem.http(url) }).getChainId();
  const [l1Id, l2Id] = [await id(input.l1), await id(input.l2)];
  const l1Chain = chain(l1Id, input.l1, { contracts: { multicall3 } });
  const l2Chain = chain(l2Id, input.l2, {
    ...op.chainConfig,
    sourceId: l1Id,
    contracts: {
      ...op.chainConfig.contracts,
      multicall3,
      portal: { [l1Id]: { address: input.portal } },
      l2OutputOracle: { [l1Id]: { address: input.outputs } },
    },
  });
  const clients = (chain, url) => {
    const common = { chain, transport: viem.http(url), pollingInterval: 100, cacheTime: 0 };
    return [viem.createPublicClient(common), viem.createWalletClient({ ...common, account })];
  };
  const [l1, l1Wallet] = clients(l1Chain, input.l1);
  const [l2, l2Wallet] = clients(l2Chain, input.l2);
  return {
    l2Chain,
    l1: l1.extend(op.publicActionsL1()),
    l1Wallet: l1Wallet.extend(op.walletActionsL1()),
    l2: l2.extend(op.publicActionsL2()),
    l2Wallet: l2Wallet.extend(op.walletActionsL2()),
  };
}

/** The error of this class in the chain of causes of what `promise` throws. */
async function failure(promise, kind) {
  const error = await promise.then(
    () => assert.fail(`expected ${kind.name}`),
    (error) => error,
  );
  const found = error.walk?.((cause) => cause instanceof kind);
  assert.ok(found, `expected ${kind.name}, got: ${error}`);
  return found;
}

async function reads({ l2 }) {
  const block = await l2.getBlock({ includeTransactions: true });
  assert.equal(block.transactions[0].typeHex, "0x7e", "every block opens with L1's attributes");
  assert.equal(block.transactions[0].type, "deposit");
  assert.equal((await l2.getBlock({ blockHash: block.hash })).number, block.number);
  const finalized = await l2.getBlock({ blockTag: "finalized" });
  const safe = await l2.getBlock({ blockTag: "safe" });
  assert.ok(finalized.number <= safe.number && safe.number <= block.number);
  const pending = await l2.getBlock({ blockTag: "pending" });
  assert.ok(pending.number > block.number);
  const history = await l2.getFeeHistory({ blockCount: 2, rewardPercentiles: [25, 75] });
  assert.equal(history.baseFeePerGas.length, 3);
  assert.ok((await l2.getGasPrice()) >= block.baseFeePerGas);
  assert.ok((await l2.getBalance({ address: account.address })) > 0n);
  assert.equal(await l2.getCode({ address: account.address }), undefined);
}

async function transfers({ l2, l2Wallet }) {
  const to = privateKeyToAccount(generatePrivateKey()).address;
  assert.equal(await l2.estimateGas({ account, to, value: 1n }), 21_000n);
  for (const type of ["legacy", "eip2930", "eip1559"]) {
    const accessList = type === "legacy" ? undefined : [];
    const hash = await l2Wallet.sendTransaction({ to, value: ether("0.5"), type, accessList });
    const receipt = await l2.waitForTransactionReceipt({ hash });
    assert.equal(receipt.status, "success");
    assert.equal(receipt.type, type);
    const transaction = await l2.getTransaction({ hash });
    assert.equal(transaction.type, type);
    assert.equal(transaction.blockHash, receipt.blockHash);
    assert.ok((await l2.getTransactionConfirmations({ hash })) > 0n);
  }
  assert.equal(await l2.getBalance({ address: to }), ether("1.5"));
  const request = await l2Wallet.prepareTransactionRequest({ to, value: 1n });
  const serializedTransaction = await l2Wallet.signTransaction(request);
  const receipt = await l2.sendRawTransactionSync({ serializedTransaction });
  assert.equal(receipt.status, "success", "a receipt in the answer (EIP-7966)");
}

async function contracts({ l2, l2Wallet }) {
  const hash = await l2Wallet.deployContract({ abi, bytecode: artifact.bytecode.object, args: [5n] });
  const { contractAddress: address } = await l2.waitForTransactionReceipt({ hash });
  const counter = { abi, address };
  const number = () => l2.readContract({ ...counter, functionName: "number" });
  assert.equal(await number(), 5n);
  const { request } = await l2.simulateContract({
    ...counter,
    account,
    functionName: "set",
    args: [6n],
  });
  const sent = await l2Wallet.writeContract(request);
  const { blockNumber } = await l2.waitForTransactionReceipt({ hash: sent });
  assert.equal(await number(), 6n);
  const before = { ...counter, functionName: "number", blockNumber: blockNumber - 1n };
  assert.equal(await l2.readContract(before), 5n, "state of the block before");
  const slot = await l2.getStorageAt({ address, slot: "0x0" });
  assert.equal(BigInt(slot), 6n);
  const logs = await l2.getContractEvents({ ...counter, eventName: "NumberSet", fromBlock: 0n });
  assert.deepEqual(logs.map(({ args }) => args), [{ by: account.address, number: 6n }]);
  const filtered = await l2.getLogs({
    address,
    event: viem.getAbiItem({ abi, name: "NumberSet" }),
    args: { by: viem.zeroAddress },
    fromBlock: 0n,
  });
  assert.equal(filtered.length, 0);
  const read = { ...counter, functionName: "number" };
  const balance = {
    ...multicall3,
    abi: viem.parseAbi(["function getEthBalance(address) view returns (uint256)"]),
    functionName: "getEthBalance",
    args: [address],
  };
  const results = await l2.multicall({ contracts: [read, read, balance], allowFailure: false });
  assert.deepEqual(results, [6n, 6n, 0n]);
  return counter;
}

async function errors({ l2, l2Wallet, l2Chain }, counter) {
  const { address: to } = account;
  const poor = viem.createWalletClient({
    account: privateKeyToAccount(generatePrivateKey()),
    chain: l2Chain,
    transport: viem.http(input.l2),
  });
  const gas = 21_000n;
  await failure(poor.sendTransaction({ to, value: 1n }), viem.InsufficientFundsError);
  await failure(poor.sendTransaction({ to, value: 1n, gas }), viem.InsufficientFundsError);
  await failure(l2Wallet.sendTransaction({ to, nonce: 0, gas }), viem.NonceTooLowError);
  const fees = { maxFeePerGas: 1n, maxPriorityFeePerGas: 1n };
  await failure(l2Wallet.sendTransaction({ to, gas, ...fees }), viem.FeeCapTooLowError);
  await failure(l2Wallet.sendTransaction({ to, gas: 20_000n }), viem.IntrinsicGasTooLowError);
  const set = (value) => ({ ...counter, functionName: "set", args: [value] });
  const reverted = viem.ContractFunctionRevertedError;
  const required = await failure(l2.simulateContract(set(13n)), reverted);
  assert.equal(required.reason, "unlucky");
  const custom = await failure(l2Wallet.writeContract(set(1001n)), reverted);
  assert.deepEqual([custom.data.errorName, custom.data.args], ["TooBig", [1001n]]);
  const data = viem.encodeFunctionData(set(13n));
  const estimate = l2.estimateGas({ account, to: counter.address, data });
  await failure(estimate, viem.ExecutionRevertedError);
  const hash = `0x${"11".repeat(32)}`;
  await failure(l2.getTransaction({ hash }), viem.TransactionNotFoundError);
  await failure(l2.getTransactionReceipt({ hash }), viem.TransactionReceiptNotFoundError);
  await failure(l2.getBlock({ blockNumber: 1n << 40n }), viem.BlockNotFoundError);
}

/** What `watch` calls back with, once `enough` accepts it. */
function watched(watch, enough) {
  return new Promise((resolve, reject) => {
    const seen = [];
    const stop = watch((things) => {
      seen.push(...[things].flat());
      if (!enough(seen)) return;
      stop();
      resolve(seen);
    }, reject);
  });
}

async function sockets({ l2Wallet, l2Chain }, counter) {
  const transport = viem.webSocket(input.l2.replace("http", "ws"), { reconnect: false });
  const socket = viem.createPublicClient({ chain: l2Chain, transport });
  const blocks = watched(
    (onBlock, onError) => socket.watchBlocks({ onBlock, onError }),
    (seen) => seen.length === 3,
  );
  const set = { ...counter, functionName: "set", args: [7n] };
  const events = watched(
    (onLogs, onError) =>
      socket.watchContractEvent({ ...counter, eventName: "NumberSet", onLogs, onError }),
    (seen) => seen.length === 1,
  );
  // Signed here and sent later, so that its hash is known. Others' transactions may wait, too.
  const data = viem.encodeFunctionData(set);
  const request = await l2Wallet.prepareTransactionRequest({ to: counter.address, data });
  const serializedTransaction = await l2Wallet.signTransaction(request);
  const hash = viem.keccak256(serializedTransaction);
  const pending = watched(
    (onTransactions, onError) => socket.watchPendingTransactions({ onTransactions, onError }),
    (seen) => seen.includes(hash),
  );
  // The subscriptions were asked for before this, on the same socket.
  await socket.getBlockNumber();
  await l2Wallet.sendRawTransaction({ serializedTransaction });
  const numbers = (await blocks).map(({ number }) => number);
  assert.deepEqual(numbers, [numbers[0], numbers[0] + 1n, numbers[0] + 2n]);
  const [log] = await events;
  assert.deepEqual([log.args.number, log.transactionHash], [7n, hash]);
  await pending;
  (await socket.transport.getRpcClient()).close();
}

async function fees({ l1, l2, l2Wallet }, counter) {
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

async function deposit({ l1, l1Wallet, l2, l2Chain }) {
  const { address } = privateKeyToAccount(generatePrivateKey());
  const args = await l2.buildDepositTransaction({ account, mint: ether("2"), to: address });
  const hash = await l1Wallet.depositTransaction({ ...args, targetChain: l2Chain });
  const receipt = await l1.waitForTransactionReceipt({ hash });
  const [l2Hash] = op.getL2TransactionHashes(receipt);
  const l2Receipt = await l2.waitForTransactionReceipt({ hash: l2Hash });
  assert.equal(l2Receipt.status, "success");
  assert.equal(await l2.getBalance({ address }), ether("2"));
}

async function withdrawal({ l1, l2, l2Wallet, l2Chain }) {
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

const clients = await connect();
await reads(clients);
await transfers(clients);
const counter = await contracts(clients);
await errors(clients, counter);
await sockets(clients, counter);
await fees(clients, counter);
await deposit(clients);
await withdrawal(clients);
console.log("viem: all held");
