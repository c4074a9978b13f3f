/** Rotation of a key that every connected device holds: from the approval to the last signed "active". */
import { CroupierError } from '#schema/errors.ts';
import type { Steps } from '../output/steps.ts';
import { askRotation, createFleet, populate, taken } from './fleet.ts';
import { benchMessages, benchSignatures } from './limits/measure.ts';
import type { BenchOptions } from './options.ts';
import { openRealm } from './realm.ts';
import type { BenchResult, Row } from './result.ts';
import { settledOctets, stopwatch } from './usage.ts';

const SIZES = [500, 2_000, 5_000] as const;
const QUICK_SIZES = [20, 50, 100] as const;
const CONNECT_AT_ONCE = 64;
const MOST_SECONDS = 30;
const MOST_KILOBYTES = 100;

/** Each device is sent the new version and its activation, and reports both. */
const MESSAGES_EACH = 4;
const SIGNATURES_EACH = 2;

export async function benchRotation({ quick, state, sizes: chosen }: BenchOptions, steps: Steps): Promise<BenchResult> {
  const sizes: readonly number[] = chosen ?? (quick ? QUICK_SIZES : SIZES);
  const largest = sizes.at(-1) ?? 0;
  await using realm = await steps.run('realm', {}, openRealm);
  const { pid } = realm.gateway.run;
  const messages = await steps.run('limit: messages', {}, () => benchMessages(realm, quick));
  const signatures = await steps.run('limit: signatures', {}, () => benchSignatures(realm, quick));
  const fleet = createFleet(realm, largest, state, CONNECT_AT_ONCE);
  await using cleanup = new AsyncDisposableStack();
  cleanup.defer(() => fleet.floor.stop());
  const empty = await steps.run('gateway at rest', {}, () => settledOctets(pid));

  const rows: Row[] = [];
  let connected = 0;
  for (const size of sizes) {
    const entry = await stopwatch(pid);
    await steps.run(`enrolled to ${size}`, { total: size }, (step) =>
      populate(realm, fleet, fleet.plans.slice(connected, size), size, step),
    );
    const entered = await entry();
    const added = size - connected;
    connected = size;
    const held = await steps.run('settled', {}, () => settledOctets(pid));
    const approve = await askRotation(realm);
    const stop = await stopwatch(pid);
    await steps.run(`rotated ${size}`, { total: size }, async (step) => {
      await taken(realm, fleet, await approve(), size, step);
    });
    const spent = await stop();
    rows.push({
      devices: size,
      figures: [
        { name: 'rotation', value: spent.seconds, unit: 's' },
        { name: 'devices', value: size / spent.seconds, unit: '/s' },
        { name: 'gateway CPU', value: (spent.gateway * 1000) / size, unit: 'ms each' },
        { name: 'agents CPU', value: (spent.devices * 1000) / size, unit: 'ms each' },
        { name: 'messages alone', value: (size * MESSAGES_EACH) / messages.value, unit: 's' },
        { name: 'signatures alone', value: (size * SIGNATURES_EACH) / signatures.value, unit: 's' },
        { name: 'memory each', value: (held - empty) / size / 1000, unit: 'kB' },
        { name: 'gateway CPU to enrol and connect', value: (entered.gateway * 1000) / added, unit: 'ms each' },
      ],
    });
  }
  const { enrolments, faults } = fleet.floor.observer.counts();
  if (enrolments !== largest) throw new CroupierError('internal.unexpected', `${enrolments} of ${largest} enrolled`);
  const last = rows.at(-1)?.figures ?? [];
  const figure = (name: string): number => last.find((one) => one.name === name)?.value ?? Infinity;
  return {
    bench: 'rotate',
    about: `wallet-kek on all connected agents, state in ${state === 'memory' ? 'memory' : 'files'}, from approval to the last signed "active"; ${faults} faults told by agents`,
    rows,
    limits: [messages, signatures],
    targets: [
      { name: `rotation of ${largest} devices`, value: figure('rotation'), unit: 's', most: MOST_SECONDS },
      {
        name: 'gateway memory for each connected device',
        value: figure('memory each'),
        unit: 'kB',
        most: MOST_KILOBYTES,
      },
    ],
  };
}
