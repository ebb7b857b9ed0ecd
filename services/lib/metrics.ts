/** What is measured, in Prometheus's words; one registry a process, summed over processes by the admin server. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from "@prometheus-io/client";

/** From half a millisecond, a small read, to ten seconds, a large upload. */
const DURATION_BUCKETS = [
  0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10,
];

export type Metrics = ReturnType<typeof createMetrics>;

export function createMetrics(options: { processMetrics: boolean }) {
  const registry = new Registry();
  const registers = [registry];
  if (options.processMetrics) collectDefaultMetrics({ register: registry, prefix: "anybucket_" });
  return {
    registry,
    requests: new Counter({
      name: "anybucket_s3_requests_total",
      help: "S3 requests answered",
      labelNames: ["operation", "status"],
      registers,
    }),
    requestSeconds: new Histogram({
      name: "anybucket_s3_request_duration_seconds",
      help: "From the request's head to the answer's last byte",
      labelNames: ["operation"],
      buckets: DURATION_BUCKETS,
      registers,
    }),
    bytes: new Counter({
      name: "anybucket_s3_bytes_total",
      help: "Bytes of bodies",
      labelNames: ["direction"],
      registers,
    }),
    inFlight: new Gauge({
      name: "anybucket_s3_inflight_requests",
      help: "S3 requests under way",
      registers,
    }),
    authFailures: new Counter({
      name: "anybucket_s3_auth_failures_total",
      help: "Requests refused for who sent them or how they were signed",
      labelNames: ["reason"],
      registers,
    }),
    diskBytes: new Gauge({
      name: "anybucket_disk_bytes",
      help: "Bytes of a disk: capacity and free of its file system, live and used by shards",
      labelNames: ["disk", "kind"],
      registers,
      aggregator: "max",
    }),
    diskState: new Gauge({
      name: "anybucket_disk_writable",
      help: "1 when the disk takes new shards",
      labelNames: ["disk"],
      registers,
      aggregator: "min",
    }),
    etcdBytes: new Gauge({
      name: "anybucket_etcd_bytes",
      help: "Bytes of a member of etcd: used, allocated (what its quota is for) and its quota",
      labelNames: ["member", "kind"],
      registers,
      aggregator: "max",
    }),
    certificateExpires: new Gauge({
      name: "anybucket_certificate_expires_timestamp_seconds",
      help: "When the certificate in use, or its authority if that is sooner, expires: seconds since the epoch",
      labelNames: ["certificate"],
      registers,
      aggregator: "min",
    }),
    jobProgress: new Gauge({
      name: "anybucket_job_progress",
      help: "Work of a background job: bytes or items done, remaining and failed",
      labelNames: ["job", "kind"],
      registers,
    }),
  };
}
