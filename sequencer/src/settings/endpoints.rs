//! Where others are: L1's nodes, several, in the order in which they are used; the sequencer; the ledger.
//! Each URL may hold a user, a password or a key, so none is printed whole. Connects to none.

use batcher::l1::EndpointUrl;
use clap::Args;
use serde::{Deserialize, Deserializer};
use std::fmt;

/// What the operator gave of it.
#[derive(Args, Clone, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EndpointSettings {
    /// JSON-RPC endpoint of the L1 node. Several, separated by commas or as a list in TOML, are used in
    /// this order: one that fails is put aside for a while, and one that is behind does not take over.
    #[arg(
        long,
        env = "WEFT_L1_RPC_URL",
        value_name = "URL",
        value_delimiter = ',',
        hide_env_values = true
    )]
    #[serde(default, deserialize_with = "one_or_several")]
    pub l1_rpc_url: Option<Vec<EndpointUrl>>,
    /// Beacon API that serves blobs; not needed for a local Anvil [default: ask the L1 node].
    #[arg(long, env = "WEFT_L1_BEACON_URL", value_name = "URL", hide_env_values = true)]
    pub l1_beacon_url: Option<EndpointUrl>,
    /// JSON-RPC of the sequencer: a batcher posts its blocks; a follower hands it the transactions that
    /// it is sent, and refuses them without it.
    #[arg(long, env = "WEFT_SEQUENCER_URL", value_name = "URL", hide_env_values = true)]
    pub sequencer_url: Option<EndpointUrl>,
    /// SQL database of the ledger of this process, sqlite:// or postgres:// [default: ledger.sqlite in the
    /// data directory].
    #[arg(long, env = "WEFT_LEDGER_URL", value_name = "URL", hide_env_values = true)]
    pub ledger_url: Option<String>,
}

/// As TOML has it.
#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrSeveral {
    One(String),
    Several(Vec<EndpointUrl>),
}

fn one_or_several<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<EndpointUrl>>, D::Error> {
    let urls = match OneOrSeveral::deserialize(deserializer) {
        Ok(OneOrSeveral::One(text)) => text.split(',').map(str::parse).collect(),
        Ok(OneOrSeveral::Several(urls)) => Ok(urls),
        // What serde would say repeats the text.
        Err(_) => Err(batcher::l1::endpoint::NotAnEndpoint),
    };
    let named = |error| serde::de::Error::custom(format_args!("l1-rpc-url: {error}"));
    urls.map(Some).map_err(named)
}

impl EndpointSettings {
    /// These settings, and those of `base` where these have none.
    #[must_use]
    pub fn over(self, base: Self) -> Self {
        Self {
            l1_rpc_url: self.l1_rpc_url.or(base.l1_rpc_url),
            l1_beacon_url: self.l1_beacon_url.or(base.l1_beacon_url),
            sequencer_url: self.sequencer_url.or(base.sequencer_url),
            ledger_url: self.ledger_url.or(base.ledger_url),
        }
    }
}

impl fmt::Debug for EndpointSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EndpointSettings")
            .field("l1_rpc_url", &self.l1_rpc_url)
            .field("l1_beacon_url", &self.l1_beacon_url)
            .field("sequencer_url", &self.sequencer_url)
            .finish_non_exhaustive()
    }
}
