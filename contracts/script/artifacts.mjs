// Writes artifacts/NAME.json from forge's output, or with --check compares and names what differs.
// Usage, after `forge build`: node script/artifacts.mjs [--check]
//
// The artifacts are committed: Rust compiles its bindings from them and the L2 genesis holds their
// code, so neither needs a Solidity compiler. Two more contracts are not ours and are taken over byte
// for byte; `source` says from where.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { dirname, join } from "node:path";
import { parseAbi } from "viem";
// viem does not export this constant from its index.
import { multicall3Bytecode } from "../node_modules/viem/_esm/constants/contracts.js";

const root = join(dirname(fileURLToPath(import.meta.url)), "..");

/** Our contracts. Those with an address are predeploys: their runtime code is in the L2 genesis. */
const OURS = [
  { name: "Inbox" },
  { name: "Outputs" },
  { name: "Portal" },
  { name: "L1Block", address: "0x4200000000000000000000000000000000000015" },
  { name: "L2ToL1MessagePasser", address: "0x4200000000000000000000000000000000000016" },
  { name: "GasPriceOracle", address: "0x420000000000000000000000000000000000000F" },
];

/** Names of structs by their fields: the parser drops them and the bindings need them. */
const STRUCTS = {
  "target,callData": "Call",
  "target,allowFailure,callData": "Call3",
  "target,allowFailure,value,callData": "Call3Value",
  "success,returnData": "Result",
};

function withStructName(parameter) {
  if (!parameter.components) return parameter;
  const name = STRUCTS[parameter.components.map((field) => field.name).join(",")];
  const suffix = parameter.type.slice("tuple".length);
  return { ...parameter, internalType: `struct Multicall3.${name}${suffix}` };
}

const MULTICALL3_ABI = parseAbi([
  "struct Call { address target; bytes callData; }",
  "struct Call3 { address target; bool allowFailure; bytes callData; }",
  "struct Call3Value { address target; bool allowFailure; uint256 value; bytes callData; }",
  "struct Result { bool success; bytes returnData; }",
  "function aggregate(Call[] calls) payable returns (uint256 blockNumber, bytes[] returnData)",
  "function aggregate3(Call3[] calls) payable returns (Result[] returnData)",
  "function aggregate3Value(Call3Value[] calls) payable returns (Result[] returnData)",
  "function blockAndAggregate(Call[] calls) payable returns (uint256 blockNumber, bytes32 blockHash, Result[] returnData)",
  "function getBasefee() view returns (uint256 basefee)",
  "function getBlockHash(uint256 blockNumber) view returns (bytes32 blockHash)",
  "function getBlockNumber() view returns (uint256 blockNumber)",
  "function getChainId() view returns (uint256 chainid)",
  "function getCurrentBlockCoinbase() view returns (address coinbase)",
  "function getCurrentBlockDifficulty() view returns (uint256 difficulty)",
  "function getCurrentBlockGasLimit() view returns (uint256 gaslimit)",
  "function getCurrentBlockTimestamp() view returns (uint256 timestamp)",
  "function getEthBalance(address addr) view returns (uint256 balance)",
  "function getLastBlockHash() view returns (bytes32 blockHash)",
  "function tryAggregate(bool requireSuccess, Call[] calls) payable returns (Result[] returnData)",
  "function tryBlockAndAggregate(bool requireSuccess, Call[] calls) payable returns (uint256 blockNumber, bytes32 blockHash, Result[] returnData)",
]).map((item) => ({
  ...item,
  inputs: item.inputs.map(withStructName),
  outputs: item.outputs.map(withStructName),
}));

/** Creation code of the contract that runs `data[32..]` as init code with CREATE2 and salt `data[..32]`. */
const PROXY_CREATION =
  "0x604580600e600039806000f350fe" +
  "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3";

/**
 * The code that a creation code without constructor returns: `CODECOPY` of the tail that follows the
 * first `INVALID`. Throws where the lengths say that this is not what it does.
 */
function runtimeOf(creation, length, offset) {
  const runtime = "0x" + creation.slice(2 + 2 * offset);
  if ((runtime.length - 2) / 2 !== length) throw new Error("unexpected shape of creation code");
  return runtime;
}

function ours({ name, address }) {
  const path = join(root, "out", `${name}.sol`, `${name}.json`);
  if (!existsSync(path)) throw new Error(`${path} is missing: run forge build`);
  const built = JSON.parse(readFileSync(path, "utf8"));
  return {
    contractName: name,
    ...(address && { address }),
    solc: built.metadata.compiler.version,
    abi: built.abi,
    bytecode: built.bytecode.object,
    deployedBytecode: built.deployedBytecode.object,
  };
}

function theirs() {
  return [
    {
      contractName: "Multicall3",
      address: "0xcA11bde05977b3631167028862bE2a173976CA11",
      source: "creation code: constant multicall3Bytecode of the npm package viem (MIT); the ABI of mainnet's, another build of it",
      abi: MULTICALL3_ABI,
      bytecode: multicall3Bytecode,
      deployedBytecode: runtimeOf(multicall3Bytecode, 0x15b9, 0x20),
    },
    {
      contractName: "DeterministicDeploymentProxy",
      address: "0x4e59b44847b379578588920cA78FbF26c0B4956C",
      source: "Arachnid/deterministic-deployment-proxy, the code deployed at this address on mainnet",
      abi: [],
      bytecode: PROXY_CREATION,
      deployedBytecode: runtimeOf(PROXY_CREATION, 0x45, 0x0e),
    },
  ];
}

const check = process.argv.includes("--check");
const differing = [];
for (const artifact of [...OURS.map(ours), ...theirs()]) {
  const path = join(root, "artifacts", `${artifact.contractName}.json`);
  const text = JSON.stringify(artifact, null, 2) + "\n";
  if (existsSync(path) && readFileSync(path, "utf8") === text) continue;
  if (!check) writeFileSync(path, text);
  differing.push(artifact.contractName);
}
const what = check ? "artifacts that differ from the sources" : "artifacts written";
console.log(differing.length === 0 ? "artifacts are up to date" : `${what}: ${differing.join(", ")}`);
if (check && differing.length > 0) process.exitCode = 1;
