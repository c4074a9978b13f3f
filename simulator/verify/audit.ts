/** Has the audit trail exported by the auditor, and verified as anybody could: from the file and the root alone. */
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import type { Operators } from '../operator/operators.ts';
import { runCroupier } from '../process/croupier.ts';

export interface AuditCheck {
  readonly verified: boolean;
  readonly records: number;
  /** Why it does not verify. */
  readonly fault: string | undefined;
}

const Verification = z.object({ records: z.int(), root: z.object({ pinned: z.literal(true) }) });

/** Writes the trail to `file`. Errors: those of the export, of a missing auditor; a broken trail is an outcome. */
export async function checkAudit(directory: string, operators: Operators, file: string): Promise<AuditCheck> {
  const { name } = operators.as('auditor');
  const base = ['--data', directory];
  try {
    await runCroupier([...base, '--as', name, 'audit', 'export', file], z.object({ records: z.int() }));
    const { records } = await runCroupier([...base, 'audit', 'verify', file], Verification);
    return { verified: true, records, fault: undefined };
  } catch (error) {
    if (!(error instanceof CroupierError) || error.code !== 'audit.broken') throw error;
    return { verified: false, records: 0, fault: error.message };
  }
}
