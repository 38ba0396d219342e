// ethers and mistakes: each has to come out with the code that applications look at.
import assert from "node:assert/strict";
import { deployCounter, ethers, failure, held, provider, wallet } from "./connect.mjs";

const counter = await deployCounter();
const to = wallet.address;
const poor = ethers.Wallet.createRandom().connect(provider);
await failure(() => poor.sendTransaction({ to, value: 1n }), "INSUFFICIENT_FUNDS");
const limited = { to, value: 1n, gasLimit: 21_000n };
await failure(() => poor.sendTransaction(limited), "INSUFFICIENT_FUNDS");
await failure(() => wallet.sendTransaction({ ...limited, nonce: 0 }), "NONCE_EXPIRED");

const required = await failure(() => counter.set.staticCall(13n), "CALL_EXCEPTION");
assert.equal(required.reason, "unlucky");
const custom = await failure(() => counter.set.staticCall(1001n), "CALL_EXCEPTION");
assert.deepEqual([custom.revert.name, custom.revert.args[0]], ["TooBig", 1001n]);
const estimated = await failure(() => counter.set(1001n), "CALL_EXCEPTION");
assert.equal(counter.interface.parseError(estimated.data).name, "TooBig");
const sent = await counter.set(13n, { gasLimit: 100_000n });
const reverted = await failure(() => sent.wait(), "CALL_EXCEPTION");
assert.equal(reverted.receipt.status, 0);
const nowhere = new ethers.Contract(poor.address, counter.interface, provider);
await failure(() => nowhere.number(), "BAD_DATA");

// A second transaction with the nonce of one that waits has to pay more; ethers follows the one that
// does, and says that it took the other's place.
const nonce = (await wallet.getNonce()) + 1;
const fees = { maxFeePerGas: 10n ** 9n, maxPriorityFeePerGas: 10n ** 6n };
const waiting = await wallet.sendTransaction({ ...limited, ...fees, nonce });
const cheap = { ...limited, ...fees, nonce, value: 2n };
await failure(() => wallet.sendTransaction(cheap), "REPLACEMENT_UNDERPRICED");
const dearer = { ...cheap, maxFeePerGas: 2n * 10n ** 9n, maxPriorityFeePerGas: 2n * 10n ** 6n };
const replacement = await wallet.sendTransaction(dearer);
const outcome = failure(() => waiting.wait(), "TRANSACTION_REPLACED");
await (await wallet.sendTransaction({ ...limited, nonce: nonce - 1 })).wait();
assert.equal((await replacement.wait()).status, 1);
const replaced = await outcome;
assert.equal(replaced.reason, "replaced", "it pays another value");
assert.equal(replaced.replacement.hash, replacement.hash);

// ethers has no code of its own for these; the words and codes are geth's.
const said = async (attempt, words) => assert.match(String(await attempt.catch((e) => e)), words);
await said(wallet.sendTransaction({ to, gasLimit: 20_000n }), /intrinsic gas too low/);
await said(provider.send("eth_nope", []), /eth_nope does not exist/);
await said(provider.send("eth_getBalance", ["0x12"]), /invalid argument 0/);
held();
