//! What is measured of calls: how many by procedure, encoding and outcome, how long they take, how
//! many are in hand.

use std::time::Instant;

use peloton_model::Code;
use peloton_telemetry::metrics::{CounterFamily, GaugeFamily, HistogramFamily, Labels};
use peloton_telemetry::{LATENCY_BUCKETS_SECONDS, Metrics};

/// The procedure of calls that name none of ours: clients must not be able to make up labels.
pub(crate) const UNRECOGNIZED: &str = "unrecognized";

/// How a call came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// YARPC with JSON.
    Json,
    /// gRPC.
    Grpc,
}

impl Encoding {
    /// The name in metrics.
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Grpc => "grpc",
        }
    }
}

/// The metrics of calls.
#[derive(Debug, Clone)]
pub(crate) struct CallMetrics {
    calls: CounterFamily<Labels<3>>,
    seconds: HistogramFamily<Labels<2>>,
    in_hand: GaugeFamily<Labels<1>>,
}

impl CallMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let scope = metrics.scope("api");
        Self {
            calls: scope.counter_family("calls", "Calls that ended, by outcome"),
            seconds: scope.histogram_family(
                "call_seconds",
                "How long calls took",
                LATENCY_BUCKETS_SECONDS,
            ),
            in_hand: scope.gauge_family("calls_in_hand", "Calls that have not ended yet"),
        }
    }

    /// A call begins; it ends when what this returns is finished or dropped.
    pub(crate) fn begin(&self, procedure: &str, encoding: Encoding) -> Flight {
        self.in_hand.get_or_create(&[("encoding", encoding.name().to_owned())]).inc();
        let (metrics, procedure) = (self.clone(), procedure.to_owned());
        Flight { metrics, procedure, encoding, begun: Instant::now(), outcome: "cancelled" }
    }
}

/// A call in hand. Dropped before its end, it counts as cancelled: the caller went away.
#[derive(Debug)]
pub(crate) struct Flight {
    metrics: CallMetrics,
    procedure: String,
    encoding: Encoding,
    begun: Instant,
    outcome: &'static str,
}

impl Flight {
    /// The call ends like this.
    pub(crate) fn end(mut self, error: Option<Code>) {
        self.outcome = error.map_or("ok", Code::name);
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        let (procedure, encoding) = (self.procedure.clone(), self.encoding.name().to_owned());
        let metrics = &self.metrics;
        let seconds = self.begun.elapsed().as_secs_f64();
        tracing::debug!(procedure, encoding, outcome = self.outcome, seconds, "call");
        metrics.in_hand.get_or_create(&[("encoding", encoding.clone())]).dec();
        let labels = [("procedure", procedure.clone()), ("encoding", encoding.clone())];
        metrics.seconds.get_or_create(&labels).observe(seconds);
        let outcome = self.outcome.to_owned();
        let labels = [("procedure", procedure), ("encoding", encoding), ("code", outcome)];
        metrics.calls.get_or_create(&labels).inc();
    }
}
