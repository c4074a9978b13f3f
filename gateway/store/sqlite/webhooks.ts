/** How far each webhook has come along the audit trail. */
import { eq } from 'drizzle-orm';
import { z } from 'zod';
import { parseWith } from '#schema/parse.ts';
import { meta } from '#schema/tables.ts';
import type { AuditStore } from '#gateway/ports/store/audit.ts';
import type { StoreContext } from './transaction.ts';

const keyOf = (name: string): string => `webhook:${name}`;
const Cursor = z
  .string()
  .regex(/^\d{1,15}$/)
  .transform(Number);

export function webhookStore({
  db,
  transactions,
}: StoreContext): Pick<AuditStore, 'webhookCursor' | 'saveWebhookCursor'> {
  return {
    async webhookCursor(name) {
      return transactions.read(() => {
        const row = db
          .select()
          .from(meta)
          .where(eq(meta.key, keyOf(name)))
          .get();
        return row === undefined
          ? undefined
          : parseWith(Cursor, row.value, 'store.corrupt', `Cursor of webhook ${name}`);
      });
    },

    async saveWebhookCursor(name, seq) {
      await transactions.write(() => {
        const value = String(seq);
        db.insert(meta)
          .values({ key: keyOf(name), value })
          .onConflictDoUpdate({ target: meta.key, set: { value } })
          .run();
      });
    },
  };
}
