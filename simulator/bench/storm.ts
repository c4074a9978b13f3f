/** A floor that comes back all at once, after its key was rotated without it. */
import { setTimeout as delay } from 'node:timers/promises';
import { CroupierError } from '#schema/errors.ts';
import type { Steps } from '../output/steps.ts';
import { askRotation, createFleet, populate, recorded, taken } from './fleet.ts';
import { estServerOf } from './enrol.ts';
import { benchHandshakes, benchMessages, benchSignatures } from './limits/measure.ts';
import type { BenchOptions } from './options.ts';
import { openRealm, type Realm } from './realm.ts';
import type { BenchResult, Row } from './result.ts';
import { stopwatch } from './usage.ts';

const SIZES = [500, 1_000, 2_000] as const;
const QUICK_SIZES = [20, 50, 100] as const;
const SERVICES = 2;
const MOST_SECONDS = 20;
const LEAVE_WITHIN_MS = 30_000;
const REQUEST_OCTETS = 300;

/** Resolves when the gateway has noticed that only `wanted` are left. */
async function left(realm: Realm, wanted: number): Promise<void> {
  const { client } = realm.operators.as('device-engineer');
  const end = performance.now() + LEAVE_WITHIN_MS;
  for (;;) {
    const { devices } = await client.call('status.show', {});
    if (devices.connected <= wanted) return;
    if (performance.now() > end)
      throw new CroupierError('network.timeout', `${devices.connected} devices are still there`);
    await delay(100);
  }
}

export async function benchStorm({ quick, state, sizes: chosen }: BenchOptions, steps: Steps): Promise<BenchResult> {
  const sizes: readonly number[] = chosen ?? (quick ? QUICK_SIZES : SIZES);
  const largest = sizes.at(-1) ?? 0;
  await using realm = await steps.run('realm', {}, openRealm);
  const { pid } = realm.gateway.run;
  const limits = [
    await steps.run('limit: handshakes', {}, () =>
      benchHandshakes(realm, estServerOf(realm), new Uint8Array(REQUEST_OCTETS), { concurrency: 64, quick }),
    ),
    await steps.run('limit: messages', {}, () => benchMessages(realm, quick)),
    await steps.run('limit: signatures', {}, () => benchSignatures(realm, quick)),
  ];
  const kiosk = Math.round(largest * 0.15);
  const pos = Math.round(largest * 0.09);
  const fleet = createFleet(realm, { egm: largest - kiosk - pos, kiosk, pos, service: SERVICES }, state, largest);
  const { floor } = fleet;
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => floor.stop());
  const services = fleet.plans.filter((plan) => plan.class === 'service');
  const machines = fleet.plans.filter((plan) => plan.class !== 'service');

  const rows: Row[] = [];
  let enrolled = 0;
  for (const size of sizes) {
    const stormers = machines.slice(0, size).map(({ id }) => id);
    const present = size + SERVICES;
    const fresh = [...(enrolled === 0 ? services : []), ...machines.slice(enrolled, size)];
    await steps.run(`enrolled to ${size}`, { total: present }, (step) => populate(realm, fleet, fresh, present, step));
    enrolled = size;
    await steps.run('switched off, rotated', {}, async () => {
      await floor.switchOff(stormers);
      await left(realm, SERVICES);
    });
    const approve = await askRotation(realm);
    const begun = await approve();
    await recorded(realm, begun, SERVICES);
    const stop = await stopwatch(pid);
    await steps.run(`storm of ${size}`, { total: present }, async (step) => {
      const on = floor.switchOn(stormers);
      await taken(realm, fleet, begun, present, step);
      await on;
    });
    const spent = await stop();
    rows.push({
      devices: size,
      figures: [
        { name: 'storm', value: spent.seconds, unit: 's' },
        { name: 'devices', value: size / spent.seconds, unit: '/s' },
        { name: 'gateway CPU', value: (spent.gateway * 1000) / size, unit: 'ms each' },
        { name: 'agents CPU', value: (spent.devices * 1000) / size, unit: 'ms each' },
        { name: 'handshakes alone', value: size / (limits[0]?.value ?? 0), unit: 's' },
      ],
    });
  }
  return {
    bench: 'storm',
    about: `enrolled agents that were off during a rotation connect at once, until all have reported the new version active; ${floor.observer.counts().faults} faults told by agents`,
    rows,
    limits,
    targets: [
      {
        name: `storm of ${largest} devices`,
        value: rows.at(-1)?.figures[0]?.value ?? Infinity,
        unit: 's',
        most: MOST_SECONDS,
      },
    ],
  };
}
