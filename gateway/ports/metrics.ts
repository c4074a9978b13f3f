/** What use cases count. Names and labels are listed in docs/metrics.md; the Prometheus registry is at the edge. */
export interface Metrics {
  readonly reports: (
    outcome: 'accepted' | 'duplicate' | 'late' | 'quarantine' | 'refused' | 'invalid' | 'dropped',
  ) => void;
  readonly updates: (kind: 'sent' | 'failed') => void;
  readonly trustLinks: () => void;
  readonly enrolments: (outcome: 'issue' | 'repeat' | 'park' | 'wait' | 'refuse' | 'failed') => void;
  readonly connections: (outcome: 'allowed' | 'denied') => void;
  readonly webhooks: (webhook: string, outcome: 'delivered' | 'failed' | 'given-up') => void;
}

export const silentMetrics: Metrics = {
  reports: () => {},
  updates: () => {},
  trustLinks: () => {},
  enrolments: () => {},
  connections: () => {},
  webhooks: () => {},
};
