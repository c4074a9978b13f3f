/** A person has looked: the alert is closed, with what was found or done on record. */
import { CroupierError } from '#schema/errors.ts';
import type { Clock } from '#schema/runtime/clock.ts';
import type { Command } from '#gateway/operators/command.ts';
import type { AlertRecord, AuditStore } from '#gateway/ports/store/audit.ts';

export interface AlertCommandPorts {
  readonly store: AuditStore;
  readonly clock: Clock;
  readonly onAcknowledged: (alert: AlertRecord) => void;
}

export function acknowledgeCommand({ store, clock, onAcknowledged }: AlertCommandPorts): Command<'alert.acknowledge'> {
  const find = async (id: number): Promise<AlertRecord> => {
    const found = await store.alert(id);
    if (found === undefined) throw new CroupierError('alert.not-found', `there is no alert ${id}`);
    return found;
  };
  return {
    summary: ({ alert, note }) => `acknowledge alert ${alert}: ${note}`,
    execute: async ({ alert: id, note }, { actor }) => {
      const { code, device } = await find(id);
      const closed = await store.acknowledgeAlert(id, actor.id, clock.now(), {
        action: 'alert.acknowledge',
        outcome: 'success',
        actor,
        object: { type: 'alert', id: String(id) },
        ...(device === undefined ? {} : { device }),
        details: { code, note },
      });
      onAcknowledged(closed);
      return { alert: id, code, occurrences: closed.occurrences };
    },
  };
}
