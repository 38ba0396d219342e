// The network is the node under test, the compiler the solc package of contracts: nothing is
// downloaded.
import { configVariable, defineConfig } from "hardhat/config";

export default defineConfig({
  solidity: { version: "0.8.37", path: process.env.SOLCJS },
  networks: {
    weft: {
      type: "http",
      chainType: "generic",
      url: configVariable("WEFT_URL"),
      accounts: [configVariable("WEFT_KEY")],
    },
  },
});
