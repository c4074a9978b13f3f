/** `croupier approval`: what waits for a second person. An approval binds to the hash of what was shown. */
import { Option } from 'commander';
import { z } from 'zod';
import { CroupierError } from '#schema/errors.ts';
import { PolicyApply } from '#schema/api/commands.ts';
import { ApprovalStateName, type ApprovalView } from '#schema/api/views.ts';
import { Sha256 } from '#schema/ids.ts';
import { canonicalJson, type Json } from '#schema/runtime/canonical-json.ts';
import { requestHash } from '#gateway/operators/approval.ts';
import type { ApiClient } from '../client/api-client.ts';
import type { Context, Outcome } from '../context.ts';
import { facts, table, type Cell } from '../output/table.ts';
import { paintWith, printableLines, type Paint, type Style } from '../output/text.ts';
import { confirm } from './confirm.ts';
import { paintChanges } from './policy-changes.ts';
import { PAGE } from './pages.ts';
import { parsedBy, type Register } from './registration.ts';

interface ApproveOptions {
  readonly yes?: true;
  readonly sha256?: Sha256;
}

const STATE_STYLES: Readonly<Record<ApprovalView['state'], Style>> = {
  pending: 'yellow',
  approved: 'cyan',
  executed: 'green',
  refused: 'red',
  failed: 'red',
  expired: 'dim',
};

export const registerApproval: Register = (program, run) => {
  const approval = program.command('approval').description('requests that need another person');
  approval
    .command('list')
    .description('approval requests, newest first')
    .addOption(new Option('--state <state>', 'only this state').choices(ApprovalStateName.options))
    .action(run((context, { state }: { readonly state?: z.infer<typeof ApprovalStateName> }) => list(context, state)));
  approval
    .command('show')
    .argument('<id>', 'id of the request, or its beginning')
    .description('one request with exactly what was asked')
    .action(
      run(async (context: Context, wanted: string): Promise<Outcome> => {
        const api = await context.connect('fleet.view');
        const document = await find(api, wanted);
        return { document, text: await describe(document, api, context.paint) };
      }),
    );
  approval
    .command('approve')
    .argument('<id>', 'id of the request, or its beginning')
    .option('--yes', 'approve what is shown, without asking')
    .option('--sha256 <hash>', 'approve without asking, if the request has this hash', parsedBy(Sha256))
    .description('show what was asked, approve it, and have it done')
    .action(run((context, wanted: string, options: ApproveOptions) => approve(context, wanted, options)));
  approval
    .command('refuse')
    .argument('<id>', 'id of the request, or its beginning')
    .description('refuse a request')
    .action(
      run(async (context: Context, wanted: string): Promise<Outcome> => {
        const api = await context.connect('approval.refuse');
        const { id, summary } = await find(api, wanted);
        const document = await api.call('approval.refuse', { params: { id } });
        return { document, text: `refused: ${printableLines(summary)}\n` };
      }),
    );
};

async function list(context: Context, state: z.infer<typeof ApprovalStateName> | undefined): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const document = await api.call('approval.list', {
    query: { limit: PAGE, ...(state === undefined ? {} : { state }) },
  });
  const rows = document.items.map((item): Cell[] => [
    item.id,
    { text: item.state, style: STATE_STYLES[item.state] },
    item.action,
    item.summary,
    item.requester,
    item.approver ?? undefined,
    item.expiresAt,
  ]);
  return {
    document,
    text: table(['REQUEST', 'STATE', 'ACTION', 'SUMMARY', 'ASKED BY', 'DECIDED BY', 'EXPIRES'], rows, context.paint),
  };
}

/** Errors: `approval.not-found`, `input.invalid` when several begin like that. */
async function find(api: ApiClient, wanted: string): Promise<ApprovalView> {
  if (z.uuid().safeParse(wanted).success) return api.call('approval.show', { params: { id: wanted } });
  const { items } = await api.call('approval.list', { query: { limit: PAGE } });
  const [only, ...others] = items.filter(({ id }) => id.startsWith(wanted));
  if (only === undefined)
    throw new CroupierError('approval.not-found', `there is no approval request that begins with ${wanted}`);
  if (others.length > 0)
    throw new CroupierError('input.invalid', `several approval requests begin with ${wanted}; name more of it`);
  return api.call('approval.show', { params: { id: only.id } });
}

async function describe(approval: ApprovalView, api: ApiClient, paint: Paint): Promise<string> {
  const about = facts(
    [
      ['request', approval.id],
      ['state', { text: approval.state, style: STATE_STYLES[approval.state] }],
      ['action', approval.action],
      ['summary', approval.summary],
      ['asked by', approval.requester],
      ['asked at', approval.createdAt],
      ['expires', approval.expiresAt],
      ['decided by', approval.approver ?? undefined],
      ['decided at', approval.decidedAt ?? undefined],
      ['sha256', approval.sha256],
    ],
    paint,
  );
  const result = approval.result === null ? '' : `\nresult:\n${indented(JSON.stringify(approval.result, null, 2))}`;
  return `${about}\n${await describeRequest(approval, api, paint)}${result}`;
}

const indented = (text: string): string => `${printableLines(text).replace(/^/gm, '  ').trimEnd()}\n`;

/** A policy is shown as it was written, and while it waits with what it would change. */
async function describeRequest(approval: ApprovalView, api: ApiClient, paint: Paint): Promise<string> {
  const policy = approval.action === 'policy.apply' ? PolicyApply.safeParse(approval.request).data : undefined;
  if (policy === undefined) return `asked:\n${indented(JSON.stringify(approval.request, null, 2))}`;
  const text = `asked: replace policy ${policy.replaces ?? '(none)'} by\n${indented(policy.document)}`;
  if (approval.state !== 'pending') return text;
  const { changes } = await api.call('policy.plan', { body: { document: policy.document } });
  return `${text}\nwhat it changes:\n${paintChanges(changes, paint)}`;
}

/** The hash is computed here from what is shown, so that nobody approves another request than the one on the screen. */
function hashOf(approval: ApprovalView): Sha256 {
  const request: Json = approval.request;
  const shown = requestHash(approval.action, canonicalJson(request));
  if (shown !== approval.sha256)
    throw new CroupierError('approval.hash-mismatch', `request ${approval.id} is not what its hash says`);
  return shown;
}

async function approve(context: Context, wanted: string, { yes, sha256 }: ApproveOptions): Promise<Outcome> {
  const { terminal, options } = context;
  const api = await context.connect('approval.approve');
  const approval = await find(api, wanted);
  const shown = hashOf(approval);
  if (sha256 !== undefined && sha256 !== shown)
    throw new CroupierError(
      'approval.hash-mismatch',
      `request ${approval.id} has the hash ${shown}, not the one given`,
    );
  if (approval.state === 'pending') {
    if (options.json === undefined) terminal.stderr(await describe(approval, api, paintWith(terminal.colour)));
    if (
      yes === undefined &&
      sha256 === undefined &&
      !(await confirm(terminal, 'approve exactly this?', '--yes or --sha256 HASH'))
    ) {
      return { document: { approval }, text: 'nothing was decided\n' };
    }
  }
  const document = await api.call('approval.approve', { params: { id: approval.id }, body: { sha256: shown } });
  return { document, text: `approved and done: ${printableLines(approval.summary)}\n` };
}
