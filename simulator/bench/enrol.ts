/** Enrolment, each with a TLS handshake of its own: how many in a second, as the floor grows. */
import { X509Certificate } from 'node:crypto';
import { enrol, type EstServer } from '#agent/est/client.ts';
import { createCsr } from '#pki/csr/create.ts';
import { generateSoftwareKey } from '#pki/keys/software-key.ts';
import { CroupierError } from '#schema/errors.ts';
import type { Ticket } from '#schema/ticket.ts';
import { forEachLimited } from '../floor/limiter.ts';
import { planFloor } from '../floor/plan.ts';
import type { Steps } from '../output/steps.ts';
import { benchDisk, benchHandshakes, benchSignatures } from './limits/measure.ts';
import type { BenchOptions } from './options.ts';
import { openRealm, type Realm } from './realm.ts';
import type { BenchResult, Row } from './result.ts';
import { stopwatch } from './usage.ts';

const SIZES = [500, 2_000, 5_000] as const;
const QUICK_SIZES = [20, 100, 200] as const;
/** Enrolments measured at each size. */
const WINDOW = 500;
const QUICK_WINDOW = 50;
const CONCURRENCY = 32;
const TIMEOUT_MS = 30_000;
const LEAST_PER_SECOND = 250;

interface Request {
  readonly ticket: Ticket;
  readonly csr: Uint8Array;
}

/** Key pairs and requests are made beforehand: on a floor, every device makes its own. */
async function requestOf(ticket: Ticket): Promise<Request> {
  const { signer } = await generateSoftwareKey('EC-P256');
  return { ticket, csr: await createCsr({ subject: { commonName: ticket.device }, signer }) };
}

export function estServerOf({ addresses, installation }: Realm): EstServer {
  const now = new Date();
  const anchors = [new X509Certificate(installation.ca).raw];
  return { url: addresses.est, trust: { anchors, time: { now, trusted: true, floor: now } }, timeoutMs: TIMEOUT_MS };
}

async function enrolAll(server: EstServer, requests: readonly Request[], told: () => void): Promise<void> {
  await forEachLimited(requests, CONCURRENCY, async ({ ticket: { device, code }, csr }) => {
    const answer = await enrol(server, csr, { kind: 'ticket', device, code });
    if (answer.kind !== 'issued') throw new CroupierError('enrolment.refused', `${device} was told to wait`);
    told();
  });
}

export async function benchEnrolment({ quick, sizes: chosen }: BenchOptions, steps: Steps): Promise<BenchResult> {
  const sizes: readonly number[] = chosen ?? (quick ? QUICK_SIZES : SIZES);
  const window = quick ? QUICK_WINDOW : WINDOW;
  await using realm = await steps.run('realm', {}, openRealm);
  const server = estServerOf(realm);
  const { pid } = realm.gateway.run;
  const composition = { egm: (sizes.at(-1) ?? 0) + window, kiosk: 0, pos: 0, service: 0 };
  const plans = planFloor({ seed: 'bench', size: composition, now: new Date() });
  const tickets = await steps.run('inventory and tickets', { total: plans.length }, () =>
    realm.admit(plans.map(({ row }) => row)),
  );
  const requests = await steps.run('keys and requests', { total: tickets.length }, () =>
    Promise.all(tickets.map(requestOf)),
  );
  const [sample] = requests;
  if (sample === undefined) throw new CroupierError('internal.unexpected', 'no request was made');

  const enrolStep = (name: string, from: number, to: number): Promise<void> =>
    steps.run(name, { total: to - from }, (step) => {
      let done = 0;
      return enrolAll(server, requests.slice(from, to), () => step.progress((done += 1)));
    });

  const rows: Row[] = [];
  let enrolled = 0;
  for (const size of sizes) {
    await enrolStep(`up to ${size}`, enrolled, size);
    const stop = await stopwatch(pid);
    await enrolStep(`measured at ${size}`, size, size + window);
    const spent = await stop();
    enrolled = size + window;
    rows.push({
      devices: size,
      figures: [
        { name: 'enrolments', value: window / spent.seconds, unit: '/s' },
        { name: 'gateway CPU', value: (spent.gateway * 1000) / window, unit: 'ms each' },
        { name: 'client CPU', value: (spent.devices * 1000) / window, unit: 'ms each' },
      ],
    });
  }
  const limits = [
    await steps.run('limit: handshakes', {}, () =>
      benchHandshakes(realm, server, sample.csr, { concurrency: CONCURRENCY, quick }),
    ),
    await steps.run('limit: signatures', {}, () => benchSignatures(realm, quick)),
    await steps.run('limit: commits', {}, () => benchDisk(realm, quick)),
  ];
  const slowest = Math.min(...rows.map(({ figures }) => figures[0]?.value ?? 0));
  return {
    bench: 'enrol',
    about: `${window} enrolments at each size, each with its own TLS handshake, ${CONCURRENCY} at once; keys and CSRs made beforehand`,
    rows,
    limits,
    targets: [{ name: 'enrolments, slowest size', value: slowest, unit: '/s', least: LEAST_PER_SECOND }],
  };
}
