/** Authorities: what there is, and the steps of their rotation. */
import { authorityView } from '../views/authorities.ts';
import type { DocumentHandlers, HandlerPorts } from './types.ts';

type AuthorityRoutes =
  | 'authority.list'
  | 'authority.prepare'
  | 'authority.install'
  | 'authority.switch'
  | 'authority.withdraw';

export function authorityHandlers({ store, submit }: HandlerPorts): Pick<DocumentHandlers, AuthorityRoutes> {
  return {
    'authority.list': async () => {
      const records = await store.authorities();
      const items = await Promise.all(
        records.map(async (record) =>
          authorityView(
            record,
            records,
            record.role === 'device-ca' ? await store.devicesUnder(record.keyLabel) : null,
          ),
        ),
      );
      const version = (await store.latestTrustBundle())?.version ?? null;
      const behind = version === null ? { connected: 0, away: 0 } : await store.devicesBehind(version);
      return { items, trust: { version, connectedBehind: behind.connected, awayBehind: behind.away } };
    },
    'authority.prepare': ({ body }, operator) => submit(operator, 'authority.prepare', body),
    'authority.install': ({ body }, operator) => submit(operator, 'authority.install', body),
    'authority.switch': ({ body }, operator) => submit(operator, 'authority.switch', body),
    'authority.withdraw': ({ body }, operator) => submit(operator, 'authority.withdraw', body),
  };
}
