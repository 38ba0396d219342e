// What the viem scripts share: the input, both chains as an application would define them, and how
// to expect an error by its class.
//
// A script reads one JSON object from standard input: l1 and l2 (URLs), portal, outputs, key, and
// counter and wallet (artifacts that forge wrote). It ends with status 0 when everything held.
// `npm ci` in contracts has to have run.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../../contracts/package.json", import.meta.url));
export const viem = require("viem");
export const op = require("viem/op-stack");
export const { privateKeyToAccount, generatePrivateKey } = require("viem/accounts");

export const input = JSON.parse(readFileSync(0, "utf8"));
export const counterArtifact = JSON.parse(readFileSync(input.counter, "utf8"));
export const walletArtifact = JSON.parse(readFileSync(input.wallet, "utf8"));
export const { abi } = counterArtifact;
export const account = privateKeyToAccount(input.key);
export const ether = viem.parseEther;
export const multicall3 = { address: "0xcA11bde05977b3631167028862bE2a173976CA11" };

/** An account that nobody used. */
export const stranger = () => privateKeyToAccount(generatePrivateKey());

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
export const l1Chain = chain(l1Id, input.l1, { contracts: { multicall3 } });
export const l2Chain = chain(l2Id, input.l2, {
  ...op.chainConfig,
  sourceId: l1Id,
  contracts: {
    ...op.chainConfig.contracts,
    multicall3,
    portal: { [l1Id]: { address: input.portal } },
    l2OutputOracle: { [l1Id]: { address: input.outputs } },
  },
});

const common = (chain, url) => ({
  chain,
  transport: viem.http(url),
  pollingInterval: 100,
  cacheTime: 0,
});
export const l1 = viem.createPublicClient(common(l1Chain, input.l1)).extend(op.publicActionsL1());
export const l2 = viem.createPublicClient(common(l2Chain, input.l2)).extend(op.publicActionsL2());

/** A client that signs with `signer`. */
export const l2WalletOf = (signer) =>
  viem.createWalletClient({ ...common(l2Chain, input.l2), account: signer });
export const l1Wallet = viem
  .createWalletClient({ ...common(l1Chain, input.l1), account })
  .extend(op.walletActionsL1());
export const l2Wallet = l2WalletOf(account).extend(op.walletActionsL2());

/** The receipt of a transaction that has to succeed. */
export async function included(hash) {
  const receipt = await l2.waitForTransactionReceipt({ hash });
  assert.equal(receipt.status, "success");
  return receipt;
}

/** A Counter that this script alone uses. */
export async function deployCounter(number = 5n) {
  const bytecode = counterArtifact.bytecode.object;
  const { contractAddress } = await included(
    await l2Wallet.deployContract({ abi, bytecode, args: [number] }),
  );
  return { abi, address: contractAddress };
}

/** The error of this class in the chain of causes of what `promise` throws. */
export async function failure(promise, kind) {
  const error = await promise.then(
    () => assert.fail(`expected ${kind.name}`),
    (error) => error,
  );
  const found = error.walk?.((cause) => cause instanceof kind);
  assert.ok(found, `expected ${kind.name}, got: ${error}`);
  return found;
}

/** The error that JSON-RPC answered, with this code, in what `promise` throws. */
export async function rpcFailure(promise, code) {
  const error = await promise.then(
    () => assert.fail(`expected code ${code}`),
    (error) => error,
  );
  const found = error.walk?.((cause) => cause.code === code);
  assert.ok(found, `expected code ${code}, got: ${error}`);
  return found;
}

/** What `watch` calls back with, once `enough` accepts it. */
export function watched(watch, enough) {
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
