/** Which audit records a webhook is told of, and what it is told. Pure. */
import type { AuditRecord } from '#schema/audit.ts';
import { alertOf, type Alert } from './alerts.ts';

/** `*` stands for any characters; everything else for itself. */
function matcherOf(pattern: string): (name: string) => boolean {
  const literals = pattern.split(/\*+/).map((text) => RegExp.escape(text));
  const expression = new RegExp(`^${literals.join('.*')}$`);
  return (name) => expression.test(name);
}

/** `webhook.failed` of another webhook may be told, never that of this one: it would fail just the same. */
const isOwnFailure = ({ action, object }: AuditRecord, webhook: string): boolean =>
  action === 'webhook.failed' && object?.id === webhook;

/**
 * Whether a record matches one of the patterns: by its action, or by `alert.` and the code of the alert that it raises.
 */
export function webhookFilter(webhook: string, patterns: readonly string[]): (record: AuditRecord) => boolean {
  const matchers = patterns.map(matcherOf);
  const isWanted = (name: string): boolean => matchers.some((matches) => matches(name));
  return (record) => {
    if (isOwnFailure(record, webhook)) return false;
    if (isWanted(record.action)) return true;
    const alert = alertOf(record);
    return alert !== undefined && isWanted(`alert.${alert.code}`);
  };
}

/** What is sent: docs/webhooks.md. Audit records hold no secrets, so the record goes as it was written. */
export interface WebhookPayload {
  readonly type: string;
  readonly timestamp: string;
  readonly id: string;
  readonly seq: number;
  readonly data: AuditRecord;
  readonly alert?: Alert;
}

export function webhookPayload(record: AuditRecord): WebhookPayload {
  const alert = alertOf(record);
  const { action: type, time: timestamp, id, seq } = record;
  return { type, timestamp, id, seq, data: record, ...(alert === undefined ? {} : { alert }) };
}
