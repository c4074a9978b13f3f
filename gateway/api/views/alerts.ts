/** Alerts to their views. Pure. */
import type { AlertView, GatewayEvent } from '#schema/api/views.ts';
import type { AlertRecord } from '#gateway/ports/store/audit.ts';
import { instant, instantOrNull } from './encode.ts';

export function alertView(alert: AlertRecord): AlertView {
  const { id, code, severity, message, occurrences, firstSeq, lastSeq } = alert;
  return {
    id,
    code,
    severity,
    device: alert.device ?? null,
    rollout: alert.rollout ?? null,
    keySet: alert.keySet ?? null,
    message,
    occurrences,
    firstSeq,
    lastSeq,
    raisedAt: instant(alert.raisedAt),
    lastAt: instant(alert.lastAt),
    acknowledgedAt: instantOrNull(alert.acknowledgedAt),
    acknowledgedBy: alert.acknowledgedBy ?? null,
  };
}

/** What those who look on are told. */
export function alertEvent(
  { id, code, severity, message }: AlertRecord,
  state: 'raised' | 'acknowledged',
): GatewayEvent {
  return { type: 'alert', alert: id, code, severity, message, state };
}
