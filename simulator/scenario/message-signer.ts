/**
 * The message signer is rotated, and the next one is compromised and replaced by the standby, while devices are away. They
 * come back to a signer that they have never seen, believe it by the trust links, and believe the others no more.
 */
import type { DeviceId } from '#schema/ids.ts';
import { NetworkTaps, type Carried } from '../floor/tap.ts';
import { Authorities } from '../stage/authorities.ts';
import { rotate } from '../stage/rotations.ts';
import { sendAway, settle } from '../stage/settle.ts';
import type { OwnStage } from '../stage/stage.ts';
import type { OwnScenario } from './scenario.ts';

const AWAY_PERCENT = 30;

export const messageSigner: OwnScenario = {
  name: 'message-signer',
  away: 'the message signer was rotated, or was compromised and replaced by the standby',
  back: 'accepts the new one, refuses the old',
  needs: 'own',
  run: async (stage) => {
    const { floor } = stage;
    const authorities = new Authorities(stage);
    const away = stage.choose(AWAY_PERCENT, 'away');
    const present = stage.except(away);
    const witnesses = stage
      .choose(100, 'witness')
      .filter((id) => present.includes(id))
      .slice(0, away.length);
    const taps = new NetworkTaps();
    const byFirst = await stage.step('signed by the first signer', () => record(stage, taps, [...away, ...witnesses]));

    await stage.step('switched off', () => sendAway(stage, away), undefined, away.length);
    await stage.step('signer rotated', async () => {
      await authorities.switchTo({ role: 'message-signer' });
      await authorities.replaceStandby();
      await settle(stage);
    });
    await stage.step('signed by the second signer', () => rotate(stage, 'by the second signer'));
    const bySecond = recorded(taps, witnesses);
    await stage.step('second signer compromised', async () => {
      await authorities.switchTo({ role: 'message-signer', compromised: true });
      await settle(stage);
    });
    await stage.step('signed by the third signer', () => rotate(stage, 'by the standby'));
    await stage.step(
      'back',
      async (step) => {
        await floor.switchOn(away, { equipment: taps.equipment });
        await settle(stage, away, step);
      },
      undefined,
      away.length,
    );
    stage.check('nothing that the gateway sent was refused', stage.devices, ({ refused }) =>
      refused.length === 0 ? undefined : `refused ${refused.map(({ code }) => code).join(', ')}`,
    );
    const byThird = recorded(taps, away);
    await stage.step('what the old signers signed, again', async () => {
      await refusedAs(stage, taps, byFirst, 'what the first signer signed', 'message.signer-untrusted');
      await refusedAs(stage, taps, bySecond, 'what the compromised signer signed', 'message.signer-untrusted');
      await repeatedOnly(stage, taps, byThird);
    });
    await stage.step('a standby again', async () => {
      await authorities.replaceStandby();
      await settle(stage);
    });
  },
};

const recorded = (taps: NetworkTaps, devices: readonly DeviceId[]): ReadonlyMap<DeviceId, Carried> =>
  new Map(
    devices.flatMap((id) => {
      const latest = taps.of(id).updates.at(-1);
      return latest === undefined ? [] : [[id, latest]];
    }),
  );

async function record(
  stage: OwnStage,
  taps: NetworkTaps,
  devices: readonly DeviceId[],
): Promise<ReadonlyMap<DeviceId, Carried>> {
  await sendAway(stage, devices);
  await stage.floor.switchOn(devices, { equipment: taps.equipment });
  await rotate(stage, 'by the first signer');
  return recorded(taps, devices);
}

/** Puts each update in front of its device, and waits until it is refused. */
async function refusedAs(
  stage: OwnStage,
  taps: NetworkTaps,
  updates: ReadonlyMap<DeviceId, Carried>,
  what: string,
  code: string,
): Promise<void> {
  const { chronicle } = stage;
  const devices = [...updates.keys()];
  const before = new Map(devices.map((id) => [id, chronicle.of(id).refused.length]));
  for (const [id, update] of updates)
    await stage.until(`${id} is connected`, async () => (taps.of(id).inject(update) ? true : undefined));
  await stage.untilObserved(`every device refuses ${what}`, () =>
    devices.every((id) => chronicle.of(id).refused.length > (before.get(id) ?? 0)),
  );
  stage.check(`${what} is refused`, devices, ({ refused }) => {
    const latest = refused.at(-1)?.code;
    return latest === code ? undefined : `it is refused as ${latest ?? 'nothing'}, not ${code}`;
  });
}

/** The twin: the latest update once more. Its signer is trusted, so that it is known again, and answered. */
async function repeatedOnly(
  stage: OwnStage,
  taps: NetworkTaps,
  updates: ReadonlyMap<DeviceId, Carried>,
): Promise<void> {
  const { chronicle } = stage;
  const devices = [...updates.keys()];
  const before = new Map(devices.map((id) => [id, chronicle.of(id).repeatedUpdates]));
  const isKnown = (id: DeviceId): boolean => chronicle.of(id).repeatedUpdates > (before.get(id) ?? 0);
  for (const [id, update] of updates)
    await stage.until(`${id} is connected`, async () => (taps.of(id).inject(update) ? true : undefined));
  await stage.untilObserved('every device knows what the present signer signed', () => devices.every(isKnown));
  stage.check('what the present signer signed is known again', devices, ({ plan }) =>
    isKnown(plan.id) ? undefined : 'it is not',
  );
}
