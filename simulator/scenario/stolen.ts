/**
 * Devices are carried away and revoked meanwhile. Whoever switches them on finds every door closed: the broker, enrolment
 * with their certificate, and what is still on its way. Each attempt is on record (I9).
 */
import type { AuditRecord } from '#schema/audit.ts';
import type { DeviceId } from '#schema/ids.ts';
import { parseCrl } from '#pki/crl/parse.ts';
import { revokeDevice } from '../operator/changes.ts';
import { rotate } from '../stage/rotations.ts';
import { sendAway } from '../stage/settle.ts';
import type { Stage } from '../stage/stage.ts';
import type { RunningScenario } from './scenario.ts';

const STOLEN_PERCENT = 4;

export const stolen: RunningScenario = {
  name: 'stolen',
  away: 'it was stolen, and revoked meanwhile',
  back: 'gets nothing, is refused at TLS, EST and MQTT, is logged',
  needs: 'running',
  run: async (stage) => {
    const { floor, chronicle } = stage;
    const gone = stage.choose(STOLEN_PERCENT, 'stolen');
    await stage.step('stolen', () => sendAway(stage, gone, 'power-cut'), undefined, gone.length);
    await stage.step(
      'revoked',
      async () => {
        for (const id of gone) {
          stage.contained.add(id);
          await revokeDevice(stage.operators, id, 'stolen');
        }
      },
      undefined,
      gone.length,
    );
    await stage.step('a rotation without them', () => rotate(stage, 'what was stolen knows the old version'));
    const held = new Map(gone.map((id) => [id, holdingsOf(stage, id)]));
    const certificates = new Map(gone.map((id) => [id, chronicle.of(id).serials.size]));
    const { seq } = await stage.operators.as('auditor').client.call('audit.head', {});

    await stage.step(
      'switched on by the thief',
      async () => {
        await floor.switchOn(gone);
        await stage.untilObserved('the broker refuses every stolen device', () =>
          gone.every((id) => refusedAs(stage, id, 'connect')),
        );
      },
      undefined,
      gone.length,
    );
    await stage.step('asks for a certificate', async () => {
      for (const id of gone) await floor.device(id).running.renew();
    });
    const records = await stage.step('on record', () => auditSince(stage, seq));

    stage.check('it is refused by the broker', gone, ({ connections, errors }) => {
      if (connections.at(-1)?.to === Number.POSITIVE_INFINITY) return 'it is connected';
      return errors.some(({ code }) => code === 'broker.denied') ? undefined : 'nobody refused it';
    });
    stage.check('it gets no certificate', gone, ({ plan, serials, errors }) => {
      if (serials.size > (certificates.get(plan.id) ?? 0)) return 'it has another certificate';
      return errors.some(({ activity }) => activity === 'renew') ? undefined : 'nobody refused it';
    });
    stage.check('it gets no key', gone, ({ plan }) => {
      const now = holdingsOf(stage, plan.id);
      return now === held.get(plan.id) ? undefined : `it holds ${now}, and held ${held.get(plan.id) ?? 'nothing'}`;
    });
    stage.check('both refusals are in the audit trail', gone, ({ plan }) => {
      // A connection is turned away before it has proved to be the device's: it is on record under the name it showed.
      const denied = records.filter(
        ({ device, details, outcome }) =>
          outcome === 'denied' && (device === plan.id || details?.['clientId'] === plan.id),
      );
      const actions = new Set(denied.map(({ action }) => action.split('.')[0]));
      return actions.has('broker') && actions.has('enrolment') ? undefined : `on record: ${[...actions].join(', ')}`;
    });
    const revoked = await revokedSerials(stage);
    stage.check('its certificates are on the list of the revoked', gone, ({ serials }) => {
      const missing = [...serials.keys()].filter((serial) => !revoked.has(serial));
      return missing.length === 0 ? undefined : `not on it: ${missing.join(', ')}`;
    });
  },
};

/** Everything that a device holds, in words. */
function holdingsOf(stage: Stage, id: DeviceId): string {
  const { keyrings } = stage.observed(id);
  return [...keyrings.values()]
    .flatMap(({ keySet, versions }) => versions.map(({ version, state }) => `${keySet} ${version} ${state}`))
    .join(', ');
}

const refusedAs = (stage: Stage, id: DeviceId, activity: string): boolean =>
  stage.chronicle.of(id).errors.some((error) => error.activity === activity && error.code === 'broker.denied');

const PAGE = 1_000;

async function auditSince(stage: Stage, seq: number): Promise<readonly AuditRecord[]> {
  const { client } = stage.operators.as('auditor');
  const records: AuditRecord[] = [];
  for (let after: number | null = seq; after !== null;) {
    const page: { readonly items: readonly AuditRecord[]; readonly next: number | null } = await client.call(
      'audit.records',
      { query: { after, limit: PAGE } },
    );
    records.push(...page.items);
    after = page.next;
  }
  return records;
}

/** As anybody may fetch it. */
async function revokedSerials(stage: Stage): Promise<ReadonlySet<string>> {
  const answer = await fetch(`${stage.gateway.addresses.public}/crl`);
  return new Set(parseCrl(new Uint8Array(await answer.arrayBuffer())).revoked.keys());
}
