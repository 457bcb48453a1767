//! What happened, in numbers: counted where it happens, read by whoever scrapes.
//!
//! The families are those that an operator of Polkadot's host knows (enqueued, concluded, times, queue
//! times, memory, sizes) and those of this host's own words: verdicts, doubts, faults, kills.

use std::{
    fmt,
    sync::{Arc, Weak},
    time::Duration,
};

use lazaret_wire::frame::Readiness;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::ConstGauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use crate::{
    artifacts::PrunedFile,
    host::{Host, Shared},
    request::{Answer, Usage},
    verdict::Fault,
    worker::QueueState,
};

/// Before the name of every family.
const PREFIX: &str = "lazaret";

/// What kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Asked {
    pub(crate) request: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Concluded {
    request: &'static str,
    /// `returned`, `refused`, `inconclusive` or `fault`.
    conclusion: &'static str,
    /// Its reason; empty if the guest answered.
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InQueue {
    queue: &'static str,
    lane: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Of {
    /// Whose: `execute` or `prepare`.
    pub(crate) role: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WorkerEvent {
    role: &'static str,
    /// `spawning`, `spawned`, `failed` or `retired`.
    event: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Killed {
    role: &'static str,
    /// Why the worker killed the job.
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Begun {
    role: &'static str,
    /// `standby` if the job was forked and confined before its work came, `loaded` if it had loaded
    /// the artifact besides, `fork` if it was not there.
    from: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct From {
    /// Where an artifact came from: `memory`, `disk` or `prepared`.
    origin: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Removed {
    /// Why a file of the cache was removed.
    reason: &'static str,
}

/// One per host. Cloning shares the numbers.
#[derive(Clone)]
pub(crate) struct Metrics {
    enqueued: Family<Asked, Counter>,
    concluded: Family<Concluded, Counter>,
    artifacts: Family<From, Counter>,
    pruned_files: Family<Removed, Counter>,
    pruned_bytes: Family<Removed, Counter>,
    queue_time: Family<InQueue, Histogram, fn() -> Histogram>,
    jobs: Family<Begun, Counter>,
    job_cpu: Family<Of, Histogram, fn() -> Histogram>,
    job_wall: Family<Of, Histogram, fn() -> Histogram>,
    job_memory: Family<Of, Histogram, fn() -> Histogram>,
    workers: Family<WorkerEvent, Counter>,
    kills: Family<Killed, Counter>,
    input_bytes: Histogram,
    code_bytes: Histogram,
    retries: Family<Of, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enqueued: Family::default(),
            concluded: Family::default(),
            artifacts: Family::default(),
            pruned_files: Family::default(),
            pruned_bytes: Family::default(),
            queue_time: Family::new_with_constructor(seconds),
            jobs: Family::default(),
            job_cpu: Family::new_with_constructor(seconds),
            job_wall: Family::new_with_constructor(seconds),
            job_memory: Family::new_with_constructor(bytes),
            workers: Family::default(),
            kills: Family::default(),
            input_bytes: bytes(),
            code_bytes: bytes(),
            retries: Family::default(),
        }
    }
}

/// From 50 us, a fast call, to 200 s, a slow preparation.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(50e-6, 2.0, 23))
}

/// From 1 KiB to 4 GiB.
fn bytes() -> Histogram {
    Histogram::new(exponential_buckets(1024.0, 4.0, 12))
}

impl Metrics {
    pub(crate) fn enqueued(&self, request: &'static str) {
        self.enqueued.get_or_create(&Asked { request }).inc();
    }

    pub(crate) fn concluded<T>(&self, request: &'static str, ended: &Result<Answer<T>, Fault>) {
        let (conclusion, reason) = match ended {
            Ok(answer) => (answer.verdict.word(), answer.verdict.reason_word().unwrap_or_default()),
            Err(fault) => ("fault", fault.word()),
        };
        self.concluded.get_or_create(&Concluded { request, conclusion, reason }).inc();
        let artifact = ended.as_ref().ok().and_then(|answer| answer.artifact.as_ref());
        if let Some(artifact) = artifact {
            self.artifacts.get_or_create(&From { origin: artifact.origin.word() }).inc();
        }
    }

    pub(crate) fn pruned(&self, file: &PrunedFile) {
        let of = Removed { reason: file.reason.word() };
        self.pruned_bytes.get_or_create(&of).inc_by(file.bytes);
        self.pruned_files.get_or_create(&of).inc();
    }

    pub(crate) fn waited(&self, queue: &'static str, lane: &'static str, time: Duration) {
        self.queue_time.get_or_create(&InQueue { queue, lane }).observe(time.as_secs_f64());
    }

    pub(crate) fn job_begun(&self, of: Of, readiness: Readiness) {
        let from = match readiness {
            Readiness::Absent => "fork",
            Readiness::Standby => "standby",
            Readiness::Loaded => "loaded",
        };
        self.jobs.get_or_create(&Begun { role: of.role, from }).inc();
    }

    pub(crate) fn job_ended(&self, of: Of, usage: &Usage, killed: Option<&'static str>) {
        self.job_cpu.get_or_create(&of).observe(usage.cpu.as_secs_f64());
        self.job_wall.get_or_create(&of).observe(usage.wall.as_secs_f64());
        if let Some(bytes) = usage.resident_bytes_peak {
            self.job_memory.get_or_create(&of).observe(bytes as f64);
        }
        if let Some(reason) = killed {
            self.kills.get_or_create(&Killed { role: of.role, reason }).inc();
        }
    }

    pub(crate) fn worker(&self, of: Of, event: &'static str) {
        self.workers.get_or_create(&WorkerEvent { role: of.role, event }).inc();
    }

    pub(crate) fn retried(&self, of: Of) {
        self.retries.get_or_create(&of).inc();
    }

    pub(crate) fn input(&self, input: u64) {
        self.input_bytes.observe(input as f64);
    }

    pub(crate) fn code(&self, code: u64) {
        self.code_bytes.observe(code as f64);
    }

    fn register(&self, registry: &mut Registry) {
        let lazaret = registry.sub_registry_with_prefix(PREFIX);
        lazaret.register("requests", "Requests that came", self.enqueued.clone());
        lazaret.register(
            "concluded",
            "Requests that ended, by conclusion and reason",
            self.concluded.clone(),
        );
        lazaret.register(
            "artifacts",
            "Artifacts that requests used, by where they came from",
            self.artifacts.clone(),
        );
        lazaret.register(
            "cache_pruned_files",
            "Files that were pruned from the cache directory",
            self.pruned_files.clone(),
        );
        lazaret.register_with_unit(
            "cache_pruned",
            "What those files had",
            Unit::Bytes,
            self.pruned_bytes.clone(),
        );
        lazaret.register("workers", "What became of worker processes", self.workers.clone());
        lazaret.register("jobs", "Jobs, by whether one waited ready", self.jobs.clone());
        lazaret.register("kills", "Jobs that their worker killed", self.kills.clone());
        lazaret.register("retries", "Jobs that were run again", self.retries.clone());
        let with_unit = [
            ("job_cpu", "CPU time of a job", Unit::Seconds, self.job_cpu.clone()),
            ("job_wall", "Wall time of a job", Unit::Seconds, self.job_wall.clone()),
            ("job_resident", "The most memory of a job", Unit::Bytes, self.job_memory.clone()),
        ];
        for (name, help, unit, family) in with_unit {
            lazaret.register_with_unit(name, help, unit, family);
        }
        lazaret.register_with_unit(
            "queue_time",
            "Time in the queue for a worker",
            Unit::Seconds,
            self.queue_time.clone(),
        );
        lazaret.register_with_unit(
            "input",
            "What calls were given",
            Unit::Bytes,
            self.input_bytes.clone(),
        );
        lazaret.register_with_unit(
            "code",
            "Code that was prepared, as it is given",
            Unit::Bytes,
            self.code_bytes.clone(),
        );
    }
}

/// How full the host is, looked at when somebody scrapes.
#[derive(Debug)]
struct Occupancy(Weak<Shared>);

impl Collector for Occupancy {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let host = Host { shared };
        let queues: [(&'static str, QueueState); 2] =
            [("execute", host.calls()), ("prepare", host.preparations())];
        let waiting = Family::<InQueue, ConstGaugeCell>::default();
        let running = Family::<Of, ConstGaugeCell>::default();
        for (queue, state) in queues {
            for (lane, count) in state.waiting {
                waiting.get_or_create(&InQueue { queue, lane }).set(count as i64);
            }
            running.get_or_create(&Of { role: queue }).set(state.running as i64);
        }
        let (artifacts, bytes) = host.shared.shelf.hot();
        let families: [(&str, &str, &dyn EncodeMetricOf); 4] = [
            ("lazaret_waiting", "Requests that wait for a worker", &waiting),
            ("lazaret_running", "Requests that have a worker", &running),
            ("lazaret_hot_artifacts", "Artifacts in memory", &ConstGauge::new(artifacts as i64)),
            ("lazaret_hot_bytes", "Bytes of artifacts in memory", &ConstGauge::new(bytes as i64)),
        ];
        for (name, help, family) in families {
            family.encode_into(&mut encoder, name, help)?;
        }
        Ok(())
    }
}

type ConstGaugeCell = prometheus_client::metrics::gauge::Gauge;

/// [`EncodeMetric`] for a table of unlike families.
trait EncodeMetricOf {
    fn encode_into(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
    ) -> fmt::Result;
}

impl<M: EncodeMetric> EncodeMetricOf for M {
    fn encode_into(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
    ) -> fmt::Result {
        let metric = encoder.encode_descriptor(name, help, None, self.metric_type())?;
        self.encode(metric)
    }
}

impl Host {
    /// Adds this host's metrics to a registry of the embedding program. All names begin with `lazaret_`;
    /// docs/metrics.md lists them.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
        registry.register_collector(Box::new(Occupancy(Arc::downgrade(&self.shared))));
    }

    /// This host's metrics in the OpenMetrics text format, as a Prometheus endpoint serves them
    /// (`application/openmetrics-text; version=1.0.0; charset=utf-8`). With the feature `metrics-http`
    /// there is `Host::serve_metrics`, which does.
    pub fn metrics_text(&self) -> String {
        let mut registry = Registry::default();
        self.register_metrics(&mut registry);
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = text::encode(&mut text, &registry);
        text
    }
}
