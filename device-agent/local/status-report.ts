/** `croupier-agent status`: what `/health` says, for people. */
import { z } from 'zod';
import type { ErrorCode } from '#schema/errors.ts';

/** The part of the health document that is shown. */
export const Health = z.looseObject({
  status: z.enum(['ok', 'not-enrolled', 'certificate-expired']),
  realm: z.string().optional(),
  device: z.string().optional(),
  serial: z.string().optional(),
  notAfter: z.string().optional(),
  generation: z.number(),
  trustVersion: z.number(),
  keySets: z.array(z.object({ keySet: z.string(), active: z.number().nullable() })),
  busy: z.array(z.object({ holder: z.string(), keySet: z.string().nullable(), reason: z.string(), until: z.string() })),
  phase: z.string().optional(),
  lastSeq: z.number().optional(),
  clockTrusted: z.boolean().optional(),
  problem: z.object({ activity: z.string(), code: z.string(), message: z.string() }).nullable().optional(),
});
export type Health = z.infer<typeof Health>;

/** What a status that is not `ok` counts as. */
export const STATUS_ERRORS: Readonly<Record<Health['status'], ErrorCode | undefined>> = {
  ok: undefined,
  'not-enrolled': 'agent.not-enrolled',
  'certificate-expired': 'certificate.expired',
};

export function statusReport(health: Health): string {
  const rows: [string, string][] = [
    ['status', health.phase === undefined ? health.status : `${health.status}, ${health.phase}`],
    ['device', health.device === undefined ? 'not enrolled' : `${health.device} (realm ${health.realm ?? '?'})`],
  ];
  if (health.serial !== undefined) rows.push(['certificate', `${health.serial}, until ${health.notAfter ?? '?'}`]);
  rows.push(['trust', health.trustVersion === 0 ? 'none yet' : `version ${health.trustVersion}`]);
  for (const { keySet, active } of health.keySets)
    rows.push(['key set', `${keySet}, ${active === null ? 'none active' : `version ${active} active`}`]);
  for (const { holder, keySet, reason, until } of health.busy)
    rows.push(['busy', `${holder}: ${keySet ?? 'every key set'} until ${until} (${reason})`]);
  if (health.clockTrusted === false) rows.push(['clock', 'not confirmed by the gateway yet']);
  if (health.problem)
    rows.push(['problem', `${health.problem.activity}: ${health.problem.message} (${health.problem.code})`]);
  return rows.map(([name, value]) => `${name.padEnd(12)}${value}\n`).join('');
}
