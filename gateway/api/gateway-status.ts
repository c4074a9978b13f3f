/** The gateway about itself, for `GET /v1/status`. */
import { Sha256, type Realm } from '#schema/ids.ts';
import type { HsmHealthView, StatusView } from '#schema/api/views.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { KeyStoreHealth } from '#pki/keystore/port.ts';
import type { Store } from '#gateway/ports/store/index.ts';
import { auditHeadView } from './views/audit.ts';
import { instant } from './views/encode.ts';
import { isOver } from './views/governance.ts';

export interface StatusPorts {
  readonly realm: Realm;
  readonly version: string;
  readonly startedAt: Date;
  /** Ports really bound; asked each time, since the API is one of them. */
  readonly ports: () => StatusView['ports'];
  readonly store: Store;
  readonly clock: Clock;
  readonly hsm: () => KeyStoreHealth;
}

/** Counts beyond this are told as this many. */
const MOST_COUNTED = 1_000;

function hsmView(health: KeyStoreHealth): HsmHealthView {
  if (health.state === 'ready') return { ...health };
  return { state: 'unavailable', since: instant(health.since), reason: health.reason };
}

/** Errors: `store.unavailable`. */
export async function readStatus(from: StatusPorts): Promise<StatusView> {
  const { store, clock } = from;
  const now = clock.now();
  const [devices, policy, trust, crl, audit, alerts, rollouts, approvals, enrolments] = await Promise.all([
    store.deviceCounts(),
    store.currentPolicy(),
    store.latestTrustBundle(),
    store.latestCrl(),
    auditHeadView(store),
    store.openAlerts(),
    store.rollouts(true, MOST_COUNTED),
    store.approvals('pending', MOST_COUNTED),
    store.enrolmentRequests('pending', MOST_COUNTED),
  ]);
  return {
    realm: from.realm,
    version: from.version,
    startedAt: instant(from.startedAt),
    now: instant(now),
    ports: from.ports(),
    devices: { ...devices, byState: { ...devices.byState } },
    hsm: hsmView(from.hsm()),
    policy: policy === undefined ? null : { version: policy.version, sha256: Sha256.parse(policy.sha256) },
    trust:
      trust === undefined ? null : { version: trust.version, sha256: trust.sha256, expiresAt: trust.body.expiresAt },
    crl: crl === undefined ? null : { number: crl.number, nextUpdate: instant(crl.nextUpdate) },
    audit,
    openAlerts: { ...alerts },
    openRollouts: rollouts.length,
    pendingApprovals: approvals.filter((approval) => !isOver(approval, now)).length,
    pendingEnrolments: enrolments.length,
  };
}
