/**
 * Certificates expire while devices are away; real time passes here, a minute of it. Within the grace of the class the old
 * certificate still renews itself; beyond it the request is parked, an alert tells, and an engineer decides (D§6).
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { DeviceId } from '#schema/ids.ts';
import type { PolicyDocument } from '#schema/policy.ts';
import { applyPolicy, approveEnrolment } from '../operator/changes.ts';
import { untilAlerted } from '../stage/containment.ts';
import { ORDINARY_POLICY } from '../stage/ordinary-policy.ts';
import { rotate } from '../stage/rotations.ts';
import { sendAway, settle } from '../stage/settle.ts';
import type { OwnStage } from '../stage/stage.ts';
import type { OwnScenario } from './scenario.ts';

const AWAY_PERCENT = 20;
/** The shortest that there is. */
const VALIDITY = '1m';
const MARGIN_MS = 1_000;

/** The ordinary policy with these terms for everything that is no service. */
function policyWith(terms: { readonly validity?: string; readonly grace: string }): PolicyDocument {
  const classes = Object.entries(ORDINARY_POLICY.classes).map(([name, profile]) => [
    name,
    name === 'service' ? profile : { ...profile, ...terms },
  ]);
  return { ...ORDINARY_POLICY, classes: Object.fromEntries(classes) };
}

export const expiredCertificate: OwnScenario = {
  name: 'expired-certificate',
  away: 'its certificate expired, within grace; and beyond it',
  back: 'renewal; and a parked request with an alert',
  needs: 'own',
  run: async (stage) => {
    const { floor, chronicle } = stage;
    const away = stage.choose(AWAY_PERCENT, 'away', 2);
    const beyond = away.filter((_, index) => index % 2 === 1);
    const within = stage.except(stage.except(away), beyond);
    await stage.step(
      'short certificates',
      async () => {
        await applyPolicy(stage.operators, policyWith({ validity: VALIDITY, grace: '1h' }));
        for (const id of away) await floor.device(id).running.renew();
        await settle(stage);
        await sendAway(stage, away);
        // Nobody else is to expire.
        await applyPolicy(stage.operators, policyWith({ grace: '1h' }));
      },
      () => `valid for ${VALIDITY}, then switched off`,
      away.length,
    );
    await stage.step('a rotation', () => rotate(stage, 'while certificates expire'));
    const expiry = await stage.step('expired', () => untilExpired(stage, away), undefined, away.length);
    const serials = new Map(away.map((id) => [id, chronicle.of(id).serials.size]));
    await stage.step(
      'back within grace',
      async (step) => {
        await floor.switchOn(within);
        await settle(stage, within, step);
      },
      undefined,
      within.length,
    );
    await stage.step('no grace any more', () => applyPolicy(stage.operators, policyWith({ grace: '0s' })));
    await stage.step(
      'back beyond grace',
      async () => {
        await floor.switchOn(beyond);
        await stage.untilObserved('every late device is told to wait', () =>
          beyond.every((id) => chronicle.of(id).parkings > 0),
        );
      },
      () => 'parked',
      beyond.length,
    );
    await stage.step('alerts', () => untilAlerted(stage, beyond, ['enrolment.parked']), undefined, beyond.length);
    stage.check('nobody beyond grace has another certificate yet', beyond, ({ plan, serials: held }) =>
      held.size === (serials.get(plan.id) ?? 0) ? undefined : 'it has one',
    );
    await stage.step(
      'approved by an engineer',
      async (step) => {
        await approveAll(stage, beyond);
        await settle(stage, beyond, step);
      },
      undefined,
      beyond.length,
    );
    stage.check('it was not connected with the expired certificate', away, ({ plan, connections }) => {
      const until = expiry.get(plan.id) ?? 0;
      const early = connections.filter(({ from, to }) => to > until && from < until);
      return early.length === 0 ? undefined : 'it was';
    });
    stage.check('one new certificate was enough', away, ({ plan, serials: held }) => {
      const made = held.size - (serials.get(plan.id) ?? 0);
      return made === 1 ? undefined : `it has got ${made}`;
    });
  },
};

/** Waits until the certificate of each device has expired. Returns when that was. */
async function untilExpired(stage: OwnStage, devices: readonly DeviceId[]): Promise<ReadonlyMap<DeviceId, number>> {
  const expiry = new Map<DeviceId, number>();
  for (const id of devices) {
    const { certificates } = await stage.client.call('device.show', { params: { id } });
    const current = certificates.find(({ slot }) => slot === 'current');
    expiry.set(id, Date.parse(current?.notAfter ?? ''));
  }
  const last = Math.max(...expiry.values());
  await delay(Math.max(0, last + MARGIN_MS - Date.now()), undefined, { signal: stage.signal });
  return expiry;
}

async function approveAll(stage: OwnStage, devices: readonly DeviceId[]): Promise<void> {
  const { items } = await stage.client.call('enrolment.list', { query: { state: 'pending', limit: 1_000 } });
  for (const { id, device } of items)
    if (device !== null && devices.includes(device)) await approveEnrolment(stage.operators, id);
}
