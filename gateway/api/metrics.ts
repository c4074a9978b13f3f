/** Metrics in the Prometheus text format. Names and labels: docs/metrics.md. */
import { collectDefaultMetrics, Counter, Gauge, Registry } from '@prometheus-io/client';
import type { KeyStoreHealth } from '#pki/keystore/port.ts';
import type { WebhookLag } from '#gateway/audit/webhooks.ts';
import type { Metrics } from '#gateway/ports/metrics.ts';
import type { EstMetrics } from '../est/server.ts';
import { rolloutGauges, type RolloutMetricsPorts } from './rollout-metrics.ts';
import type { ApiMetrics } from './server.ts';

export interface MetricsPorts extends RolloutMetricsPorts {
  readonly hsm: () => KeyStoreHealth;
  readonly webhooks: () => readonly WebhookLag[];
}

export interface MetricsRegistry {
  /** For the use cases. */
  readonly metrics: Metrics;
  /** For the edges. */
  readonly est: EstMetrics;
  readonly api: ApiMetrics;
  /** What is to be scraped; gauges are read from the store now. Errors: `store.unavailable`. */
  render(): Promise<string>;
}

function counters(registry: Registry): Pick<MetricsRegistry, 'metrics' | 'est' | 'api'> {
  const counter = <Label extends string>(name: string, help: string, ...labelNames: Label[]): Counter<Label> =>
    new Counter({ name: `croupier_${name}`, help, labelNames, registers: [registry] });

  const reports = counter('reports_total', 'Reports received from devices', 'outcome');
  const updates = counter('updates_total', 'Updates handed to the broker', 'kind');
  const trustLinks = counter('trust_links_total', 'Trust bundles sent to devices that walk');
  const enrolments = counter('enrolments_total', 'Enrolment requests', 'outcome');
  const connections = counter('mqtt_connections_total', 'MQTT connections judged', 'outcome');
  const webhooks = counter('webhooks_total', 'Attempts to deliver to webhooks', 'webhook', 'outcome');
  const est = counter('est_requests_total', 'EST requests answered', 'operation', 'status');
  const api = counter('api_requests_total', 'Operator API requests answered', 'route', 'status');
  return {
    metrics: {
      reports: (outcome) => reports.inc({ outcome }),
      updates: (kind) => updates.inc({ kind }),
      trustLinks: () => trustLinks.inc(),
      enrolments: (outcome) => enrolments.inc({ outcome }),
      connections: (outcome) => connections.inc({ outcome }),
      webhooks: (webhook, outcome) => webhooks.inc({ webhook, outcome }),
    },
    est: { requests: (operation, status) => est.inc({ operation, status }) },
    api: { requests: (route, status) => api.inc({ route, status }) },
  };
}

/** Gauges of the state, and what sets all of them at once from one reading of the store. */
function gauges(registry: Registry, ports: MetricsPorts): () => Promise<void> {
  const { store, hsm, webhooks } = ports;
  const gauge = <Label extends string>(name: string, help: string, ...labelNames: Label[]): Gauge<Label> =>
    new Gauge({ name: `croupier_${name}`, help, labelNames, registers: [registry] });

  const devices = gauge('devices', 'Devices of the inventory', 'state');
  const connected = gauge('devices_connected', 'Devices connected to the broker');
  const hsmUp = gauge('hsm_up', 'Whether the HSM answers (1) or not (0)');
  const hsmOperations = gauge('hsm_operations', 'HSM operations since the HSM was opened');
  const alerts = gauge('alerts_open', 'Alerts that nobody has acknowledged', 'severity');
  const webhookLag = gauge('webhook_lag_seconds', 'How long the record has waited that is delivered next', 'webhook');
  const auditRecords = gauge('audit_records', 'Records of the audit trail');
  const auditUnsealed = gauge('audit_unsealed_records', 'Audit records after the last checkpoint');
  const trustExpiry = gauge('trust_expires_seconds', 'When the latest trust bundle expires, Unix time');
  const crlExpiry = gauge('crl_next_update_seconds', 'When the revocation list must be renewed, Unix time');

  const readRollouts = rolloutGauges(registry, ports);

  return async () => {
    const health = hsm();
    hsmUp.set(health.state === 'ready' ? 1 : 0);
    if (health.state === 'ready') hsmOperations.set(health.operations);
    const counts = await store.deviceCounts();
    devices.reset();
    for (const [state, count] of Object.entries(counts.byState)) devices.set({ state }, count);
    connected.set(counts.connected);
    for (const [severity, count] of Object.entries(await store.openAlerts())) alerts.set({ severity }, count);
    for (const { name, seconds } of webhooks()) webhookLag.set({ webhook: name }, seconds);
    const { seq } = await store.auditHead();
    auditRecords.set(seq);
    auditUnsealed.set(seq - ((await store.latestCheckpoint())?.seq ?? 0));
    const trust = await store.latestTrustBundle();
    if (trust !== undefined) trustExpiry.set(Date.parse(trust.body.expiresAt) / 1000);
    const crl = await store.latestCrl();
    if (crl !== undefined) crlExpiry.set(crl.nextUpdate.getTime() / 1000);
    await readRollouts();
  };
}

/** One registry of its own; process and event loop metrics included. */
export function createMetrics(ports: MetricsPorts): MetricsRegistry {
  const registry = new Registry();
  collectDefaultMetrics({ register: registry });
  const read = gauges(registry, ports);
  return {
    ...counters(registry),
    render: async () => {
      await read();
      return registry.metrics();
    },
  };
}
