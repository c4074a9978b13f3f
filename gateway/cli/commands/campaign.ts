/** `croupier campaign`: has devices renew their certificates, by a rollout. */
import type { Context, Outcome } from '../context.ts';
import type { Register } from './registration.ts';
import { campaignOf, withCampaign, withTerms, type CampaignOptions } from './rollout-terms.ts';
import { startRollout, type StartOptions } from './start-rollout.ts';

interface Options extends StartOptions, CampaignOptions {
  readonly reason: string;
}

export const registerCampaign: Register = (program, run) => {
  const command = program
    .command('campaign')
    .requiredOption('--reason <text>', 'stands in the request that is approved')
    .option('--yes', 'do not ask')
    .option('--no-wait', 'ask and return, without waiting for approval and devices')
    .description('have devices renew their certificates, wave by wave (needs an approval)');
  withCampaign(withTerms(command)).action(run((context, options: Options) => campaign(context, options)));
};

async function campaign(context: Context, options: Options): Promise<Outcome> {
  const { kind, ...asked } = campaignOf(options);
  return startRollout(
    context,
    {
      action: 'enrolment.campaign',
      change: { kind, ...asked },
      // The time that was shown is part of what is approved.
      submit: (api, terms, plan) => {
        const before = asked.before ?? plan?.before ?? undefined;
        const dated = before === undefined ? asked : { ...asked, before };
        return api.call('enrolment.campaign', { body: { ...dated, reason: options.reason, ...terms } });
      },
      begun: 'the campaign has begun\n',
    },
    options,
  );
}
