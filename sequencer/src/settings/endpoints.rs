//! Settings of the L1 nodes: several, in the order in which they are used. Connects to none.

use batcher::l1::EndpointUrl;
use clap::Args;
use serde::{Deserialize, Deserializer};

/// What the operator gave of it.
#[derive(Args, Clone, Debug, Default, Deserialize)]
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
        }
    }
}
