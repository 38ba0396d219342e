//! The URL of an endpoint. It may hold a user, a password or an API key, so it prints without them.
//! Connects to nothing.

use alloy::transports::http::reqwest::Url;
use serde::Deserialize;
use std::{fmt, str::FromStr};

/// An HTTP URL that prints as its scheme, host and port.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct EndpointUrl(Url);

/// A text that is no URL of an endpoint. It is not repeated: it may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a URL that begins with http:// or https://")]
pub struct NotAnEndpoint;

impl EndpointUrl {
    /// All of it, for connecting.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// The URL of a path below it, which begins with a slash; a query of its own stays.
    #[must_use]
    pub fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(&format!("{}{path}", self.0.path().trim_end_matches('/')));
        url
    }
}

impl FromStr for EndpointUrl {
    type Err = NotAnEndpoint;

    fn from_str(text: &str) -> Result<Self, NotAnEndpoint> {
        let url: Url = text.trim().parse().map_err(|_| NotAnEndpoint)?;
        let is_http = matches!(url.scheme(), "http" | "https") && url.has_host();
        if is_http { Ok(Self(url)) } else { Err(NotAnEndpoint) }
    }
}

impl TryFrom<String> for EndpointUrl {
    type Error = NotAnEndpoint;

    fn try_from(text: String) -> Result<Self, NotAnEndpoint> {
        text.parse()
    }
}

impl fmt::Display for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (scheme, host) = (self.0.scheme(), self.0.host_str().unwrap_or_default());
        write!(f, "{scheme}://{host}")?;
        if let Some(port) = self.0.port() {
            write!(f, ":{port}")?;
        }
        let is_plain = matches!(self.0.path(), "" | "/") && self.0.query().is_none();
        f.write_str(if is_plain { "" } else { "/..." })
    }
}

impl fmt::Debug for EndpointUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_prints_without_its_secrets() {
        let print = |text: &str| text.parse::<EndpointUrl>().map(|url| format!("{url} {url:?}"));
        let shown = "https://l1.example:8443/... https://l1.example:8443/...";
        assert_eq!(print("https://user:pass@l1.example:8443/v3/key?token=x").unwrap(), shown);
        assert_eq!(
            print("http://127.0.0.1:8545").unwrap(),
            "http://127.0.0.1:8545 http://127.0.0.1:8545"
        );
        let url: EndpointUrl = "https://u:p@l1.example/key".parse().unwrap();
        assert_eq!(url.url().as_str(), "https://u:p@l1.example/key");
    }

    #[test]
    fn a_path_goes_below_the_endpoint_and_keeps_its_query() {
        let at = |text: &str| text.parse::<EndpointUrl>().unwrap().at("/eth/v1").to_string();
        assert_eq!(at("http://127.0.0.1:5052"), "http://127.0.0.1:5052/eth/v1");
        assert_eq!(at("http://127.0.0.1:5052/"), "http://127.0.0.1:5052/eth/v1");
        assert_eq!(at("https://b.example/key/?token=x"), "https://b.example/key/eth/v1?token=x");
    }

    #[test]
    fn what_is_no_url_is_not_repeated() {
        for text in ["l1.example/secret", "ws://l1.example", "file:///secret", ""] {
            let error = text.parse::<EndpointUrl>().unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
