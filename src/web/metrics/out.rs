//! A thin layer over the OpenMetrics encoder for the kinds of metrics used here. The encoder appends units to names, and
//! `_total` to counters.

use std::fmt;

use jiff::Timestamp;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;

use crate::runtime::board::Histogram;

pub(super) struct MetricWriter<'o, 'e> {
    pub(super) encoder: &'o mut DescriptorEncoder<'e>,
}

impl MetricWriter<'_, '_> {
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: f64) -> fmt::Result {
        self.gauges(name, help, None, std::iter::once(([], value)))
    }

    pub(super) fn gauge_in(&mut self, name: &str, help: &str, unit: &Unit, value: f64) -> fmt::Result {
        self.gauges(name, help, Some(unit), std::iter::once(([], value)))
    }

    pub(super) fn seconds_at(&mut self, name: &str, help: &str, at: Option<Timestamp>) -> fmt::Result {
        self.gauges(name, help, Some(&Unit::Seconds), at.into_iter().map(|at| ([], seconds(at))))
    }

    pub(super) fn counter_in(&mut self, name: &str, help: &str, unit: &Unit, value: f64) -> fmt::Result {
        let counter = ConstCounter::new(value);
        let encoder = self.encoder.encode_descriptor(name, help, Some(unit), counter.metric_type())?;
        counter.encode(encoder)
    }

    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, std::iter::once(([], value)))
    }

    pub(super) fn gauges<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        series: impl Iterator<Item = ([(&'l str, &'l str); N], f64)>,
    ) -> fmt::Result {
        let gauge = ConstGauge::new(0.0_f64);
        let mut family = self.encoder.encode_descriptor(name, help, unit, gauge.metric_type())?;
        for (labels, value) in series {
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(super) fn counters<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl Iterator<Item = ([(&'l str, &'l str); N], u64)>,
    ) -> fmt::Result {
        let counter = ConstCounter::new(0_u64);
        let mut family = self.encoder.encode_descriptor(name, help, None, counter.metric_type())?;
        for (labels, value) in series {
            ConstCounter::new(value).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    pub(super) fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str); 1]) -> fmt::Result {
        self.gauges(name, help, None, std::iter::once((*labels, 1.0)))
    }

    pub(super) fn histograms<'l, const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        series: impl Iterator<Item = ([(&'l str, &'l str); N], &'l Histogram)>,
    ) -> fmt::Result {
        let kind = prometheus_client::metrics::MetricType::Histogram;
        let mut family = self.encoder.encode_descriptor(name, help, Some(&Unit::Seconds), kind)?;
        for (labels, of) in series {
            let bounds = Histogram::BOUNDS.into_iter().chain([f64::INFINITY]);
            let buckets: Vec<(f64, u64)> = bounds.zip(of.counts).collect();
            let count = of.counts.iter().sum();
            let mut encoder = family.encode_family(&labels)?;
            encoder.encode_histogram::<[(&str, &str); 0]>(of.sum, count, &buckets, None)?;
        }
        Ok(())
    }
}

/// Seconds since 1970.
pub(super) fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}
