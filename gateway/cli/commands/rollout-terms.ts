/** Options of commands that start a rollout: by which plan, and when; and which certificates a campaign is about. */
import type { Command } from 'commander';
import { z } from 'zod';
import { CampaignCause } from '#schema/api/commands.ts';
import type { RolloutPlanChange } from '#schema/api/views.ts';
import { CroupierError } from '#schema/errors.ts';
import { DeviceClass, SiteName } from '#schema/ids.ts';
import { PlanName, type Selector } from '#schema/rollout-plan.ts';
import { collect, parsedBy } from './registration.ts';

/** RFC 3339 with any offset, as the operator API wants it. */
const Instant = z.iso.datetime({ offset: true }).transform((text) => new Date(text).toISOString());

export interface TermOptions {
  readonly plan?: PlanName;
  readonly startAt?: string;
}

type PlanName = z.infer<typeof PlanName>;

export function withTerms(command: Command): Command {
  return command
    .option('--plan <name>', 'rollout plan of the policy; the default plan unless named', parsedBy(PlanName))
    .option('--start-at <time>', 'nothing is sent before, e.g. 2026-06-01T02:00:00Z', parsedBy(Instant));
}

export function termsOf({ plan, startAt }: TermOptions): TermOptions {
  return { ...(plan === undefined ? {} : { plan }), ...(startAt === undefined ? {} : { startAt }) };
}

export interface CampaignOptions {
  readonly cause?: z.infer<typeof CampaignCause>;
  readonly class?: readonly string[];
  readonly site?: readonly string[];
  readonly label?: readonly string[];
  readonly issuer?: string;
  readonly before?: string;
}

export function withCampaign(command: Command): Command {
  return command
    .option('--cause <cause>', `why: ${CampaignCause.options.join(', ')}`, parsedBy(CampaignCause))
    .option('--class <class>', 'only devices of this class; may be given several times', collect)
    .option('--site <site>', 'only devices of this site; may be given several times', collect)
    .option('--label <name=value>', 'only devices with this label; may be given several times', collect)
    .option('--issuer <key label>', 'only certificates of this CA')
    .option('--before <time>', 'only certificates issued before; now unless told', parsedBy(Instant));
}

function labelsOf(given: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    given.map((text) => {
      const [name = '', ...rest] = text.split('=');
      if (name === '' || rest.length === 0)
        throw new CroupierError('input.invalid', `--label ${text}: write NAME=VALUE`);
      return [name, rest.join('=')];
    }),
  );
}

function namesBy<Schema extends z.ZodType>(
  schema: Schema,
  option: string,
  given: readonly string[],
): z.output<Schema>[] {
  return given.map((text) => {
    const result = schema.safeParse(text);
    if (result.success) return result.data;
    throw new CroupierError('input.invalid', `${option} ${text}: ${result.error.issues[0]?.message ?? 'refused'}`);
  });
}

function selectorOf({ class: classes, site, label }: CampaignOptions): Selector {
  return {
    ...(classes === undefined ? {} : { class: namesBy(DeviceClass, '--class', classes) }),
    ...(site === undefined ? {} : { site: namesBy(SiteName, '--site', site) }),
    ...(label === undefined ? {} : { labels: labelsOf(label) }),
  };
}

/** Errors: `input.invalid`. */
export function campaignOf(options: CampaignOptions): Extract<RolloutPlanChange, { kind: 're-enrolment' }> {
  const { cause, issuer, before } = options;
  if (cause === undefined)
    throw new CroupierError('input.invalid', `name the cause with --cause: ${CampaignCause.options.join(', ')}`);
  return {
    kind: 're-enrolment',
    cause,
    selector: selectorOf(options),
    ...(issuer === undefined ? {} : { issuer }),
    ...(before === undefined ? {} : { before }),
  };
}
