/**
 * The CA that issued the certificates of the floor is replaced. Whoever returns before the old one leaves the trust bundle
 * connects as before and is asked to renew; whoever returns after that renews by the grace of the class.
 */
import { z } from 'zod';
import { RolloutId, type DeviceId } from '#schema/ids.ts';
import type { PolicyDocument } from '#schema/policy.ts';
import { Authorities } from '../stage/authorities.ts';
import { ORDINARY_POLICY } from '../stage/ordinary-policy.ts';
import { untilRollout } from '../stage/rotations.ts';
import { sendAway, settle } from '../stage/settle.ts';
import type { OwnStage } from '../stage/stage.ts';
import type { OwnScenario } from './scenario.ts';

const AWAY_PERCENT = 30;
const OLD = 'device-ca-1';
const Campaign = z.object({ rollout: RolloutId });

/** Devices spread their renewals over the time that a plan gives them. */
const POLICY: PolicyDocument = {
  ...ORDINARY_POLICY,
  rollouts: { plans: { brisk: { timeout: '5s' } } },
};

export const newIssuingCa: OwnScenario = {
  name: 'new-issuing-ca',
  away: 'its issuing CA was replaced',
  back: 're-enrols under the new one before the old one leaves the bundle; after that, by grace',
  needs: 'own',
  policy: POLICY,
  run: async (stage) => {
    const { floor, chronicle } = stage;
    const authorities = new Authorities(stage);
    const away = stage.choose(AWAY_PERCENT, 'away', 2);
    const late = away.filter((_, index) => index % 2 === 1);
    const early = stage.except(stage.except(away), late);
    await stage.step('switched off', () => sendAway(stage, away), undefined, away.length);
    const successor = await stage.step(
      'another Device CA',
      async () => {
        const keyLabel = await authorities.introduce('device-ca');
        await authorities.switchTo({ role: 'device-ca' });
        await settle(stage);
        return keyLabel;
      },
      (keyLabel) => keyLabel,
    );
    const campaign = await stage.step('campaign', () => beginCampaign(stage));
    const present = stage.except(away);
    await stage.step('renewed under it', () => untilIssuedBy(stage, present, successor), undefined, present.length);
    await stage.step(
      'back in time',
      async (step) => {
        await floor.switchOn(early);
        await untilIssuedBy(stage, early, successor);
        await settle(stage, early, step);
      },
      undefined,
      early.length,
    );
    const denied = new Map(late.map((id) => [id, chronicle.of(id).errors.length]));
    await stage.step('the old CA leaves', async () => {
      await authorities.withdraw(OLD, true);
      await settle(stage);
    });
    await stage.step(
      'back too late',
      async (step) => {
        await floor.switchOn(late);
        await untilIssuedBy(stage, late, successor);
        await settle(stage, late, step);
      },
      undefined,
      late.length,
    );
    await stage.step('campaign completed', () => untilRollout(stage, campaign, 'completed'));
    stage.check('who was late was refused by the broker with the old certificate', late, ({ plan, errors }) => {
      const since = errors.slice(denied.get(plan.id) ?? 0);
      return since.some(({ activity, code }) => activity === 'connect' && code === 'broker.denied')
        ? undefined
        : `its errors are ${since.map(({ code }) => code).join(', ') || 'none'}`;
    });
    stage.check('one new certificate was enough', stage.devices, ({ serials }) =>
      serials.size === 2 ? undefined : `it has had ${serials.size} certificates`,
    );
  },
};

async function beginCampaign(stage: OwnStage): Promise<RolloutId> {
  const { operators } = stage;
  const { client } = operators.as('key-admin');
  const body = { cause: 'ca-rollover', reason: 'another Device CA', issuer: OLD, plan: 'brisk' } as const;
  return (await operators.complete(await client.call('enrolment.campaign', { body }), Campaign)).rollout;
}

/** Waits until the gateway has seen a certificate of this CA in use, for each of these devices. */
async function untilIssuedBy(stage: OwnStage, devices: readonly DeviceId[], keyLabel: string): Promise<void> {
  const rest = new Set(devices);
  await stage.until(`${devices.length} devices use certificates of ${keyLabel}`, async () => {
    for (const id of rest) {
      const { certificates } = await stage.client.call('device.show', { params: { id } });
      if (certificates.find(({ slot }) => slot === 'current')?.issuer !== keyLabel) return undefined;
      rest.delete(id);
    }
    return true;
  });
}
