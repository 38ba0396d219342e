// What the ethers scripts share: the input, a provider, a wallet, and how to expect an error.
//
// A script reads one JSON object from standard input: l2 (URL), key, and counter and wallet
// (artifacts that forge wrote). It ends with status 0 when everything held. `npm ci` in contracts has
// to have run.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../../contracts/package.json", import.meta.url));
export const { ethers } = require("ethers");

export const input = JSON.parse(readFileSync(0, "utf8"));
export const counterArtifact = JSON.parse(readFileSync(input.counter, "utf8"));
export const walletArtifact = JSON.parse(readFileSync(input.wallet, "utf8"));
export const provider = new ethers.JsonRpcProvider(input.l2, undefined, { cacheTimeout: -1 });
provider.pollingInterval = 100;
export const wallet = new ethers.Wallet(input.key, provider);

/** The error with this code that `attempt` throws. */
export async function failure(attempt, code) {
  const error = await attempt().then(
    () => assert.fail(`expected ${code}`),
    (error) => error,
  );
  assert.equal(error.code, code, String(error));
  return error;
}

/** A Counter that this script alone uses. */
export async function deployCounter(number = 5n) {
  const { abi, bytecode } = counterArtifact;
  const factory = new ethers.ContractFactory(abi, bytecode.object, wallet);
  return (await factory.deploy(number)).waitForDeployment();
}

/** Ends the script: what still polls would keep it alive. */
export function held() {
  provider.destroy();
  console.log("held");
}
