/** Writes to the store of `argv[2]` until it is killed; after each batch that is durable it says so. */
import { openSqliteStore } from '#gateway/store/sqlite/open.ts';
import {
  accepted,
  addKeySet,
  enrol,
  event,
  importDevices,
  proof,
  REALM,
  report,
  rolloutId,
  rotation,
  second,
  startRotation,
  targetMove,
  verified,
} from '#test/support/store-fixtures.ts';

const store = await openSqliteStore({ path: process.argv[2] ?? '', realm: REALM, busyTimeoutMs: 1_000 });
const ids = Array.from({ length: 8 }, (_, index) => `egm-${index}`);
await importDevices(store, ...ids);
await addKeySet(store);
const certificates = [];
for (const id of ids) certificates.push(await enrol(store, id));
await startRotation(store, rotation(1));
for (let counter = 1; ; counter += 1) {
  const state = counter % 2 === 0 ? 'stored' : 'active';
  const batch = certificates.map((certificate) => verified(report(certificate.device, counter), certificate));
  await Promise.all([
    store.recordReports(batch, () =>
      accepted({
        proofs: [proof(2, state)],
        targets: [targetMove(1, state)],
        audit: [event('device.report', { details: { counter } })],
      }),
    ),
    store.advanceRollout(rolloutId(1), second(counter), () => ({ kind: 'stay', until: undefined })),
  ]);
  process.stdout.write(`${counter}\n`);
}
