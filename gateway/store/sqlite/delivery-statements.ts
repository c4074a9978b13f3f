/** The statements behind `delivery.ts`, prepared once. */
import { and, asc, eq, isNotNull, sql } from 'drizzle-orm';
import { z } from 'zod';
import { Sha256 } from '#schema/ids.ts';
import { deviceKeyVersions, deviceSync, rolloutTargets, updates as updatesTable } from '#schema/tables.ts';
import { Instant, reader } from './rows.ts';
import type { StoreContext } from './transaction.ts';

/** No device chooses this; it equals no stored nonce, not even a missing one. */
export const NO_NONCE = '';

const slot = (name: string) => sql`${sql.placeholder(name)}`;

export function deliveryStatements({ db, statements }: Pick<StoreContext, 'db' | 'statements'>) {
  const ofDevice = eq(deviceSync.device, sql.placeholder('device'));
  const kept = deviceKeyVersions;
  return {
    acceptReport: statements.change(
      db
        .update(deviceSync)
        .set({
          counter: slot('counter'),
          digest: slot('digest'),
          boots: slot('boots'),
          reportedFrom: slot('reportedFrom'),
          unexpected: slot('unexpected'),
          nonce: slot('nonce'),
          nonceAnswered: false,
          clockTrusted: slot('clockTrusted'),
          trustVersion: slot('trustVersion'),
          lastSeq: slot('lastSeq'),
          agentVersion: slot('agentVersion'),
          address: sql`coalesce(${sql.placeholder('address')}, ${deviceSync.address})`,
          lastReportAt: slot('at'),
          lastSeenAt: slot('at'),
          dueAt: slot('dueAt'),
          attempts: slot('attempts'),
        })
        .where(ofDevice),
    ),
    send: statements.change(
      db
        .update(deviceSync)
        .set({
          seq: slot('seq'),
          nonceAnswered: sql`(${deviceSync.nonceAnswered} or ${deviceSync.nonce} is ${sql.placeholder('nonce')})`,
          dueAt: slot('dueAt'),
          attempts: slot('attempts'),
        })
        .where(ofDevice),
    ),
    settle: statements.change(
      db
        .update(deviceSync)
        .set({ dueAt: slot('dueAt'), attempts: slot('attempts') })
        .where(ofDevice),
    ),
    presence: statements.change(
      db
        .update(deviceSync)
        .set({
          connected: slot('connected'),
          address: sql`coalesce(${sql.placeholder('address')}, ${deviceSync.address})`,
          lastSeenAt: slot('at'),
        })
        .where(ofDevice),
    ),
    proof: statements.change(
      db
        .insert(kept)
        .values({
          device: sql.placeholder('device'),
          keySet: sql.placeholder('keySet'),
          version: sql.placeholder('version'),
          state: sql.placeholder('state'),
          kcv: sql.placeholder('kcv'),
          changedAt: sql.placeholder('at'),
        })
        .onConflictDoUpdate({
          target: [kept.device, kept.keySet, kept.version],
          set: { state: sql`excluded.state`, kcv: sql`excluded.kcv`, changedAt: sql`excluded.changed_at` },
        }),
    ),
    // What a device has proved outweighs what it is sent once more.
    offer: statements.change(
      db
        .insert(kept)
        .values({
          device: sql.placeholder('device'),
          keySet: sql.placeholder('keySet'),
          version: sql.placeholder('version'),
          state: 'offered',
          kcv: sql.placeholder('kcv'),
          changedAt: sql.placeholder('at'),
        })
        .onConflictDoUpdate({
          target: [kept.device, kept.keySet, kept.version],
          set: { kcv: sql`excluded.kcv` },
          setWhere: eq(kept.state, 'offered'),
        }),
    ),
    target: statements.change(
      db
        .insert(rolloutTargets)
        .values({
          rollout: sql.placeholder('rollout'),
          device: sql.placeholder('device'),
          wave: sql.placeholder('wave'),
          position: sql.placeholder('position'),
          service: sql.placeholder('service'),
          state: sql.placeholder('state'),
          code: sql.placeholder('code'),
          deferredUntil: sql.placeholder('deferredUntil'),
          offeredAt: sql.placeholder('offeredAt'),
          attempts: sql.placeholder('attempts'),
          changedAt: sql.placeholder('changedAt'),
        })
        .onConflictDoUpdate({
          target: [rolloutTargets.rollout, rolloutTargets.device],
          set: {
            wave: sql`excluded.wave`,
            position: sql`excluded.position`,
            service: sql`excluded.service`,
            state: sql`excluded.state`,
            code: sql`excluded.code`,
            deferredUntil: sql`excluded.deferred_until`,
            offeredAt: sql`excluded.offered_at`,
            attempts: sql`excluded.attempts`,
            changedAt: sql`excluded.changed_at`,
          },
        }),
    ),
    update: statements.change(
      db
        .insert(updatesTable)
        .values({
          device: sql.placeholder('device'),
          seq: sql.placeholder('seq'),
          sha256: sql.placeholder('sha256'),
          issuedAt: sql.placeholder('issuedAt'),
        })
        .onConflictDoNothing(),
    ),
    updateDigest: statements.first(
      db
        .select({ sha256: updatesTable.sha256 })
        .from(updatesTable)
        .where(and(eq(updatesTable.device, sql.placeholder('device')), eq(updatesTable.seq, sql.placeholder('seq')))),
      reader(
        z.tuple([Sha256]).transform(([sha256]) => sha256),
        'updates',
      ),
    ),
    nextDue: statements.first(
      db
        .select({ dueAt: deviceSync.dueAt })
        .from(deviceSync)
        .where(and(eq(deviceSync.connected, true), isNotNull(deviceSync.dueAt)))
        .orderBy(asc(deviceSync.dueAt)),
      reader(
        z.tuple([Instant]).transform(([dueAt]) => dueAt),
        'device_sync',
      ),
    ),
  };
}
