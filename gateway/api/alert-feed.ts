/** Alerts on the feed: those who look on are told of each as it is raised. */
import type { AuditStore } from '#gateway/ports/store/audit.ts';
import type { EventFeed } from './events.ts';
import { alertEvent } from './views/alerts.ts';

/** Returns what ends it. What repeats is not told again; the views count it. */
export function feedAlerts(store: AuditStore, feed: EventFeed): () => void {
  return store.watchAudit(({ raised }) => {
    for (const alert of raised) feed.publish(alertEvent(alert, 'raised'));
  });
}
