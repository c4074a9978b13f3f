/** `croupier authority`: the certificate authorities and signers, and the steps of their rotation (docs/authorities.md). */
import { readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { CroupierError, errorMessage } from '#schema/errors.ts';
import { AuthorityInstall, AuthorityPrepare, AuthoritySwitch } from '#schema/api/commands.ts';
import type { AuthorityList } from '#schema/api/views.ts';
import type { Context, Outcome } from '../context.ts';
import { table, type Cell } from '../output/table.ts';
import { countOf, type Style } from '../output/text.ts';
import { outcomeOf } from './answer.ts';
import { PAGE } from './pages.ts';
import { parsedBy, type Register } from './registration.ts';

interface Reason {
  readonly reason?: string;
}
interface SwitchOptions extends Reason {
  readonly compromised?: true;
  readonly force?: true;
}
interface InstallOptions extends Reason {
  readonly certificate: string;
}
interface RequestOptions {
  readonly out?: string;
}
interface WithdrawOptions extends Reason {
  readonly force?: true;
}

type PreparedRole = z.infer<typeof AuthorityPrepare>['role'];
type InstalledRole = z.infer<typeof AuthorityInstall>['role'];
type SwitchedRole = z.infer<typeof AuthoritySwitch>['role'];

const REASON = ['--reason <text>', 'stands in the request that is approved'] as const;

export const registerAuthority: Register = (program, run) => {
  const authority = program.command('authority').description('certificate authorities and message signers');
  authority
    .command('list')
    .description('all of them, their states, and who uses them')
    .action(run((context) => list(context)));
  authority
    .command('prepare')
    .argument('<role>', AuthorityPrepare.shape.role.options.join(', '), parsedBy(AuthorityPrepare.shape.role))
    .option(...REASON)
    .description('make the key of the next one in the HSM (needs an approval); its request is in the result')
    .action(run((context, role: PreparedRole, options: Reason) => prepare(context, role, options)));
  authority
    .command('request')
    .argument('<key>', 'label of its key, as croupier authority list shows it')
    .option('--out <file>', 'write it there')
    .description('the request (PKCS#10, PEM) of one that is prepared, for the root to sign')
    .action(run((context, keyLabel: string, options: RequestOptions) => request(context, keyLabel, options)));
  authority
    .command('install')
    .argument('<role>', AuthorityInstall.shape.role.options.join(', '), parsedBy(AuthorityInstall.shape.role))
    .requiredOption('--certificate <file>', 'what the ceremony made, PEM')
    .option(...REASON)
    .description('take its certificate and tell the devices with the next trust bundle (needs an approval)')
    .action(run((context, role: InstalledRole, options: InstallOptions) => install(context, role, options)));
  authority
    .command('switch')
    .argument('<role>', AuthoritySwitch.shape.role.options.join(', '), parsedBy(AuthoritySwitch.shape.role))
    .option('--compromised', 'message signers: the one that leaves is not trusted any more')
    .option('--force', 'although connected devices do not know the next one yet')
    .option(...REASON)
    .description('use the next one from now on (needs an approval)')
    .action(run((context, role: SwitchedRole, options: SwitchOptions) => switchTo(context, role, options)));
  authority
    .command('withdraw')
    .argument('<key>', 'label of its key, as croupier authority list shows it')
    .option('--force', 'although devices still use certificates of it')
    .option(...REASON)
    .description('trust it no more: the next trust bundle is without it (needs an approval)')
    .action(run((context, keyLabel: string, options: WithdrawOptions) => withdraw(context, keyLabel, options)));
};

const STYLES: Readonly<Partial<Record<AuthorityList['items'][number]['state'], Style>>> = {
  prepared: 'yellow',
  next: 'cyan',
  current: 'green',
  withdrawn: 'dim',
  compromised: 'red',
};

function styled(state: AuthorityList['items'][number]['state']): Cell {
  const style = STYLES[state];
  return style === undefined ? state : { text: state, style };
}

async function list(context: Context): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const document = await api.call('authority.list', {});
  const rows = document.items.map((item): Cell[] => [
    item.role,
    item.keyLabel,
    styled(item.state),
    item.certificate?.subject,
    item.certificate?.notAfter,
    item.certificate?.issuer ?? undefined,
    item.devices ?? undefined,
  ]);
  const titles = ['ROLE', 'KEY', 'STATE', 'CERTIFICATE', 'NOT AFTER', 'ISSUED BY', 'DEVICES'];
  return { document, text: table(titles, rows, context.paint) + trustLine(document.trust) };
}

function trustLine({ version, connectedBehind, awayBehind }: AuthorityList['trust']): string {
  if (version === null) return '\nno trust bundle is published\n';
  if (connectedBehind + awayBehind === 0) return `\ntrust bundle ${version}: every enrolled device holds it\n`;
  return `\ntrust bundle ${version}: not yet with ${countOf(connectedBehind, 'connected device')} and ${awayBehind} that are away\n`;
}

const withReason = ({ reason }: Reason): { reason?: string } => (reason === undefined ? {} : { reason });

const Prepared = z.object({ keyLabel: z.string(), request: z.string() });

async function prepare(context: Context, role: PreparedRole, options: Reason): Promise<Outcome> {
  const api = await context.connect('authority.prepare');
  const answer = await api.call('authority.prepare', { body: { role, ...withReason(options) } });
  return outcomeOf(answer, `the next ${role} is prepared\n`);
}

/** The request of a prepared authority stands in what came of its approved preparation. */
async function request(context: Context, keyLabel: string, { out }: RequestOptions): Promise<Outcome> {
  const api = await context.connect('fleet.view');
  const { items } = await api.call('approval.list', { query: { limit: PAGE, state: 'executed' } });
  for (const { id, action } of items) {
    if (action !== 'authority.prepare') continue;
    const { result } = await api.call('approval.show', { params: { id } });
    const made = Prepared.safeParse(result).data;
    if (made?.keyLabel !== keyLabel) continue;
    if (out === undefined) return { document: made, text: made.request };
    await writeFile(out, made.request);
    return { document: { ...made, file: out }, text: `the request of ${keyLabel} is in ${out}\n` };
  }
  throw new CroupierError(
    'authority.not-found',
    `no request of ${keyLabel} is on record: prepare it, have it approved`,
  );
}

async function install(context: Context, role: InstalledRole, options: InstallOptions): Promise<Outcome> {
  const certificates = await readFile(options.certificate, 'utf8').catch((error: unknown) => {
    throw new CroupierError('config.missing', `${options.certificate} cannot be read: ${errorMessage(error)}`, {
      cause: error,
    });
  });
  const api = await context.connect('authority.install');
  const answer = await api.call('authority.install', { body: { role, certificates, ...withReason(options) } });
  return outcomeOf(answer, `the next ${role} is installed\n`);
}

async function switchTo(context: Context, role: SwitchedRole, options: SwitchOptions): Promise<Outcome> {
  const { compromised = false, force = false } = options;
  const api = await context.connect('authority.switch');
  const answer = await api.call('authority.switch', { body: { role, compromised, force, ...withReason(options) } });
  return outcomeOf(answer, `the ${role} is switched\n`);
}

async function withdraw(context: Context, keyLabel: string, options: WithdrawOptions): Promise<Outcome> {
  const { force = false } = options;
  const api = await context.connect('authority.withdraw');
  const answer = await api.call('authority.withdraw', { body: { keyLabel, force, ...withReason(options) } });
  return outcomeOf(answer, `${keyLabel} is withdrawn\n`);
}
