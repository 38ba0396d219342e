// viem over WebSocket: new blocks, events and pending transactions as they come, and calls beside.
import assert from "node:assert/strict";
import { deployCounter, failure, input, l2Chain, l2Wallet, viem, watched } from "./connect.mjs";

const counter = await deployCounter();
const transport = viem.webSocket(input.l2.replace("http", "ws"), { reconnect: false });
const socket = viem.createPublicClient({ chain: l2Chain, transport });
// viem opens another socket for whoever asks while the first is being opened, and closes only one.
await socket.getChainId();
// viem asks for each head's block, and the answers may overtake each other.
const oldest = (seen) => seen.map(({ number }) => number).sort((a, b) => Number(a - b)).slice(0, 3);
const blocks = watched(
  (onBlock, onError) => socket.watchBlocks({ onBlock, onError }),
  (seen) => seen.length >= 3 && oldest(seen)[2] === oldest(seen)[0] + 2n,
);
const heights = watched(
  (onBlockNumber, onError) => socket.watchBlockNumber({ onBlockNumber, onError }),
  (seen) => seen.length === 2,
);
const events = watched(
  (onLogs, onError) =>
    socket.watchContractEvent({ ...counter, eventName: "NumberSet", onLogs, onError }),
  (seen) => seen.length === 1,
);
// Signed here and sent later, so that its hash is known. Others' transactions may wait, too.
const data = viem.encodeFunctionData({ ...counter, functionName: "set", args: [7n] });
const request = await l2Wallet.prepareTransactionRequest({ to: counter.address, data });
const serializedTransaction = await l2Wallet.signTransaction(request);
const hash = viem.keccak256(serializedTransaction);
const pending = watched(
  (onTransactions, onError) => socket.watchPendingTransactions({ onTransactions, onError }),
  (seen) => seen.includes(hash),
);
// The subscriptions were asked for before this, on the same socket.
await socket.getBlockNumber();
const receipt = await socket.sendRawTransactionSync({
  serializedTransaction,
  timeout: 60_000,
});
assert.deepEqual([receipt.status, receipt.transactionHash], ["success", hash]);
const [first, second, third] = oldest(await blocks);
assert.deepEqual([second, third], [first + 1n, first + 2n], "none is left out");
const [low, high] = await heights;
assert.equal(high, low + 1n);
const [log] = await events;
assert.deepEqual([log.args.number, log.transactionHash], [7n, hash]);
await pending;

// Errors over the socket are those over HTTP.
const set = { ...counter, functionName: "set", args: [13n] };
const reverted = await failure(socket.simulateContract(set), viem.ContractFunctionRevertedError);
assert.equal(reverted.reason, "unlucky");
await failure(socket.request({ method: "eth_nope" }), viem.MethodNotFoundRpcError);
const kind = socket.request({ method: "eth_subscribe", params: ["nope"] }, { retryCount: 0 });
await failure(kind, viem.InvalidParamsRpcError);
(await socket.transport.getRpcClient()).close();
console.log("held");
