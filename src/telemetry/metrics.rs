//! What the Prometheus page is made of: sources that are asked when somebody reads it.
//!
//! Nothing is counted here. A module that counts has a [`Source`] beside its counters; names begin
//! with `callbox_`, labels take their values from closed sets, never from a user, a room or an
//! address. `docs/metrics.md` lists all families; a test compares it with what is served.

use std::fmt;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

/// The `Content-Type` of [`Metrics::encode`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Something that has numbers to show.
pub trait Source: fmt::Debug + Send + Sync + 'static {
    /// Writes the numbers as they are now.
    fn collect(&self, page: &mut Page<'_>);
}

/// All sources.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            registry: Registry::with_prefix("callbox"),
        }
    }
}

impl Metrics {
    /// Adds a source.
    pub fn add(&mut self, source: impl Source) {
        self.registry
            .register_collector(Box::new(FromSource(source)));
    }

    /// The page in the OpenMetrics text format.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

/// A label's name and value.
pub type Label = (&'static str, &'static str);

/// The process itself.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    started: Duration,
}

impl Process {
    /// `started`: since the Unix epoch.
    pub fn new(started: Duration) -> Self {
        Self { started }
    }
}

impl Source for Process {
    fn collect(&self, page: &mut Page<'_>) {
        page.gauges(
            "build_info",
            "Always 1; the labels say which build this is.",
            [(&[("version", env!("CARGO_PKG_VERSION"))][..], 1.0)],
        );
        page.gauge(
            "start_time_seconds",
            "When the process started, in seconds since the Unix epoch.",
            self.started.as_secs_f64(),
        );
    }
}

/// The page while it is written.
#[derive(Debug)]
pub struct Page<'e> {
    encoder: DescriptorEncoder<'e>,
    result: fmt::Result,
}

impl Page<'_> {
    /// A number that only grows. The name is written without the `_total` that the format adds.
    pub fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.write(name, help, MetricType::Counter, |metric| {
            metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
        });
    }

    /// Counters of one family, told apart by labels.
    pub fn counters<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (&'l [Label], u64)>,
    ) {
        self.write(name, help, MetricType::Counter, |metric| {
            for (labels, value) in samples {
                metric
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&value, None)?;
            }
            Ok(())
        });
    }

    /// A number that goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.write(name, help, MetricType::Gauge, |metric| {
            metric.encode_gauge(&value)
        });
    }

    /// Gauges of one family, told apart by labels.
    pub fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (&'l [Label], f64)>,
    ) {
        self.write(name, help, MetricType::Gauge, |metric| {
            for (labels, value) in samples {
                metric.encode_family(&labels)?.encode_gauge(&value)?;
            }
            Ok(())
        });
    }

    fn write(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        samples: impl FnOnce(&mut prometheus_client::encoding::MetricEncoder<'_>) -> fmt::Result,
    ) {
        if self.result.is_ok() {
            self.result = self
                .encoder
                .encode_descriptor(name, help, None, kind)
                .and_then(|mut metric| samples(&mut metric));
        }
    }
}

/// A source as the registry wants it.
#[derive(Debug)]
struct FromSource<S>(S);

impl<S: Source> Collector for FromSource<S> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page {
            encoder,
            result: Ok(()),
        };
        self.0.collect(&mut page);
        page.result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Two;

    impl Source for Two {
        fn collect(&self, page: &mut Page<'_>) {
            page.counter("calls", "Calls made.", 3);
            page.gauges(
                "ports",
                "Ports.",
                [(&[("state", "free")][..], 1.0), (&[("state", "used")], 2.0)],
            );
        }
    }

    #[test]
    fn the_page_is_open_metrics() {
        let mut metrics = Metrics::default();
        metrics.add(Two);
        assert_eq!(
            metrics.encode().unwrap(),
            "# HELP callbox_calls Calls made.\n\
             # TYPE callbox_calls counter\n\
             callbox_calls_total 3\n\
             # HELP callbox_ports Ports.\n\
             # TYPE callbox_ports gauge\n\
             callbox_ports{state=\"free\"} 1.0\n\
             callbox_ports{state=\"used\"} 2.0\n\
             # EOF\n"
        );
    }
}
