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

use crate::shutdown::Drain;

/// How the page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' own, which every tool reads.
    Prometheus,
    /// OpenMetrics, for those who ask for it.
    OpenMetrics,
}

impl Format {
    /// What an `Accept` header asks for.
    pub fn accepted(accept: &str) -> Self {
        match accept.contains("application/openmetrics-text") {
            true => Self::OpenMetrics,
            false => Self::Prometheus,
        }
    }

    /// The `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

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

    /// The page.
    pub fn encode(&self, format: Format) -> Result<String, fmt::Error> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Prometheus => for_prometheus(&text),
        })
    }
}

/// The same page in Prometheus' own format: a counter's family has the name of its samples there,
/// with `_total`, and the end is not marked.
fn for_prometheus(page: &str) -> String {
    let mut text = String::with_capacity(page.len() + page.len() / 16);
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let described = line
            .strip_prefix("# HELP ")
            .and_then(|rest| rest.split_once(' '));
        let counter = |name: &str, kind: Option<&&str>| {
            kind.is_some_and(|kind| **kind == format!("# TYPE {name} counter"))
        };
        match described {
            Some((name, help)) if counter(name, lines.peek()) => {
                lines.next();
                text += &format!("# HELP {name}_total {help}\n# TYPE {name}_total counter\n");
            }
            _ if line == "# EOF" => {}
            _ => {
                text += line;
                text.push('\n');
            }
        }
    }
    text
}

/// A label's name and value.
pub type Label = (&'static str, &'static str);

/// The process itself.
#[derive(Clone, Debug)]
pub struct Process {
    started: Duration,
    drain: Drain,
}

impl Process {
    /// `started`: since the Unix epoch; `drain`: what is to say whether it ends.
    pub fn new(started: Duration, drain: Drain) -> Self {
        Self { started, drain }
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
        page.gauge(
            "draining",
            "1 once no new callers are taken, because the process is about to end.",
            f64::from(u8::from(self.drain.is_announced())),
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
    fn the_page_comes_in_two_formats() {
        let mut metrics = Metrics::default();
        metrics.add(Two);
        assert_eq!(
            metrics.encode(Format::OpenMetrics).unwrap(),
            "# HELP callbox_calls Calls made.\n\
             # TYPE callbox_calls counter\n\
             callbox_calls_total 3\n\
             # HELP callbox_ports Ports.\n\
             # TYPE callbox_ports gauge\n\
             callbox_ports{state=\"free\"} 1.0\n\
             callbox_ports{state=\"used\"} 2.0\n\
             # EOF\n"
        );
        assert_eq!(
            metrics.encode(Format::Prometheus).unwrap(),
            "# HELP callbox_calls_total Calls made.\n\
             # TYPE callbox_calls_total counter\n\
             callbox_calls_total 3\n\
             # HELP callbox_ports Ports.\n\
             # TYPE callbox_ports gauge\n\
             callbox_ports{state=\"free\"} 1.0\n\
             callbox_ports{state=\"used\"} 2.0\n"
        );
    }

    #[test]
    fn open_metrics_is_for_those_who_ask() {
        let scraper = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
        assert_eq!(Format::accepted(scraper), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Prometheus);
    }
}
