//! What a process counts, for Prometheus: one registry, written out at `/metrics`.
//!
//! Owns the names' prefix and the format. Two ways in: a counter or gauge that its owner changes
//! ([`Metrics::registry`]), and a [`Collector`] that reads at each scrape what somebody knows anyway, so
//! that nothing is kept twice. Names carry their unit. Serves nothing itself.

pub use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use prometheus_client::{
    encoding::{EncodeCounterValue, EncodeGaugeValue, EncodeMetric, text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};
use std::fmt;

/// The registry of a process.
#[derive(Debug)]
pub struct Metrics(Registry);

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// Of the text that [`Self::encode`] gives.
    pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// An empty one; every name in it begins with `weft_`.
    #[must_use]
    pub fn new() -> Self {
        Self(Registry::with_prefix("weft"))
    }

    /// Where metrics are registered.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.0
    }

    /// Everything as text, in OpenMetrics' format.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = text::encode(&mut text, &self.0) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        text
    }
}

/// Writes single values in a [`Collector`].
#[derive(Debug)]
pub struct Values<'e>(pub DescriptorEncoder<'e>);

impl Values<'_> {
    /// What may rise and fall.
    ///
    /// # Errors
    /// [`fmt::Error`] of the text.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.write(name, help, &ConstGauge::new(value))
    }

    /// What only rises, but for restarts; the format adds `_total` to its name.
    ///
    /// # Errors
    /// [`fmt::Error`] of the text.
    pub fn counter(
        &mut self,
        name: &str,
        help: &str,
        value: impl EncodeCounterValue,
    ) -> fmt::Result {
        self.write(name, help, &ConstCounter::new(value))
    }

    /// What may rise and fall, once for each value of a label; nothing when there is none.
    ///
    /// # Errors
    /// [`fmt::Error`] of the text.
    pub fn gauge_by<V: EncodeGaugeValue + Copy>(
        &mut self,
        (name, help): (&str, &str),
        label: &'static str,
        values: impl IntoIterator<Item = (&'static str, V)>,
    ) -> fmt::Result {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (of, value) in values {
            ConstGauge::new(value).encode(family.encode_family(&[(label, of)])?)?;
        }
        Ok(())
    }

    fn write(&mut self, name: &str, help: &str, metric: &impl EncodeMetric) -> fmt::Result {
        metric.encode(self.0.encode_descriptor(name, help, None, metric.metric_type())?)
    }
}
