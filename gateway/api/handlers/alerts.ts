/** Alerts. */
import { alertView } from '../views/alerts.ts';
import { pageFrom } from './page.ts';
import type { DocumentHandlers, HandlerPorts } from './types.ts';

type AlertRoutes = 'alert.list' | 'alert.acknowledge';

export function alertHandlers({ store, submit }: HandlerPorts): Pick<DocumentHandlers, AlertRoutes> {
  return {
    'alert.list': async ({ query: { open, after, limit } }) => {
      const found = await store.alerts({ open, after, limit: limit + 1 });
      return pageFrom(found.map(alertView), limit, ({ id }) => id);
    },
    'alert.acknowledge': ({ params, body }, operator) =>
      submit(operator, 'alert.acknowledge', { alert: params.id, ...body }),
  };
}
